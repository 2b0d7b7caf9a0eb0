# Programs that misuse the allocator, and their runner.
FAULTS_BUILD := $(BUILD)/test/faults
FAULTS_FLAGS := -O1 -g -pthread -fno-builtin -w

$(FAULTS_BUILD)/library.so: test/faults/library.c
	@mkdir -p $(@D)
	$(CC) $(FAULTS_FLAGS) -fPIC -shared -o $@ $<

$(FAULTS_BUILD)/deepbound-lazy.so: test/faults/deepbound.c
	@mkdir -p $(@D)
	$(CC) $(FAULTS_FLAGS) -fPIC -shared -Wl,-z,lazy,-z,norelro -o $@ $<

$(FAULTS_BUILD)/deepbound-now.so: test/faults/deepbound.c
	@mkdir -p $(@D)
	$(CC) $(FAULTS_FLAGS) -fPIC -shared -Wl,-z,now,-z,relro -o $@ $<

$(FAULTS_BUILD)/elsewhere/opener.so: test/faults/opener.c
	@mkdir -p $(@D)
	$(CC) $(FAULTS_FLAGS) -fPIC -shared -Wl,-rpath,'$$ORIGIN' -o $@ $< -ldl

$(FAULTS_BUILD)/elsewhere/opener-rpath.so: test/faults/opener.c
	@mkdir -p $(@D)
	$(CC) $(FAULTS_FLAGS) -fPIC -shared -Wl,--disable-new-dtags,-rpath,'$$ORIGIN' -o $@ $< -ldl

$(FAULTS_BUILD)/elsewhere/found.so: $(FAULTS_BUILD)/library.so
	@mkdir -p $(@D)
	cp $< $@

$(FAULTS_BUILD)/%: test/faults/%.c test/traps/trap.h
	@mkdir -p $(@D)
	$(CC) $(FAULTS_FLAGS) -o $@ $< -ldl

FAULTS_RUN = python3 test/faults/faults.py --library $(BUILD)/liblowtide.so --programs $(FAULTS_BUILD)
FAULTS_NEEDS := $(BUILD)/liblowtide.so $(addprefix $(FAULTS_BUILD)/,misuse offsets lookalike library.so deepbound-lazy.so deepbound-now.so elsewhere/opener.so elsewhere/opener-rpath.so elsewhere/found.so)

fault-tests: $(FAULTS_NEEDS) ## misuse is reported, what looks like it is not
	$(FAULTS_RUN)

fault-soak: $(FAULTS_NEEDS) ## a pointer to every byte inside a block of every class is reported
	$(FAULTS_RUN) --stride 1 --only "every address"

.PHONY: fault-tests fault-soak
