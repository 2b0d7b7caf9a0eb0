# Before sleeping: the interposed blocking calls beside libc's own, and what a process holds while it blocks.
SLEEP_BUILD := $(BUILD)/test/sleep
SLEEP_FLAGS := -std=gnu17 -O1 -g -pthread -fno-builtin -Wall -Wextra
SLEEP_SEMANTICS := $(wildcard test/sleep/semantics*.c)

$(SLEEP_BUILD)/%.so: test/sleep/%.c
	@mkdir -p $(@D)
	$(CC) $(SLEEP_FLAGS) -fPIC -shared -o $@ $<

$(SLEEP_BUILD)/semantics: $(SLEEP_SEMANTICS) test/sleep/semantics.h test/sleep/fortified.h test/sleep/spend.h
	@mkdir -p $(@D)
	$(CC) $(SLEEP_FLAGS) -o $@ $(SLEEP_SEMANTICS) -ldl

$(SLEEP_BUILD)/%: test/sleep/%.c test/sleep/fortified.h test/sleep/spend.h
	@mkdir -p $(@D)
	$(CC) $(SLEEP_FLAGS) -o $@ $<

sleep-tests: $(BUILD)/liblowtide.so $(addprefix $(SLEEP_BUILD)/,semantics target busy handlers release.so) ## blocking calls are libc's, and give back what is retained
	python3 test/sleep/sleep.py --library $(BUILD)/liblowtide.so --programs $(SLEEP_BUILD)

.PHONY: sleep-tests
