# The kernel refuses memory calls: the program that is refused, what refuses, and their runner.
INJECT_BUILD := $(BUILD)/test/inject
INJECT_FLAGS := -O1 -g -pthread -fno-builtin -w
INJECT_RUN = python3 test/inject/inject.py --library $(BUILD)/liblowtide.so --programs $(INJECT_BUILD)
INJECT_NEEDS := $(BUILD)/liblowtide.so $(addprefix $(INJECT_BUILD)/,work inject.so batch.so)

$(INJECT_BUILD)/inject.so: test/inject/inject.c test/inject/direct.h
	@mkdir -p $(@D)
	$(CC) $(INJECT_FLAGS) -fPIC -shared -o $@ $<

$(INJECT_BUILD)/batch.so: test/inject/inject.c test/inject/direct.h
	@mkdir -p $(@D)
	$(CC) $(INJECT_FLAGS) -DBATCH -fPIC -shared -o $@ $<

$(INJECT_BUILD)/work: test/inject/work.c test/traps/trap.h
	@mkdir -p $(@D)
	$(CC) $(INJECT_FLAGS) -o $@ $< -ldl -lseccomp

inject-programs: $(INJECT_NEEDS)

inject-tests: $(INJECT_NEEDS) ## the kernel refuses memory calls, one after the other
	$(INJECT_RUN)

INJECT_SHARE ?= 1
INJECT_SHARES ?= 1
inject-soak: $(INJECT_NEEDS) ## every call refused, with every error; the Kth of N parts by INJECT_SHARE=K INJECT_SHARES=N
	$(INJECT_RUN) --most 1000000 --share $(INJECT_SHARE) --shares $(INJECT_SHARES)

.PHONY: inject-programs inject-tests inject-soak
