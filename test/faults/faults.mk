# Programs that misuse the allocator, and their runner.
FAULTS_BUILD := $(BUILD)/test/faults
FAULTS_FLAGS := -O1 -g -pthread -fno-builtin -w

$(FAULTS_BUILD)/library.so: test/faults/library.c
	@mkdir -p $(@D)
	$(CC) $(FAULTS_FLAGS) -fPIC -shared -o $@ $<

$(FAULTS_BUILD)/%: test/faults/%.c
	@mkdir -p $(@D)
	$(CC) $(FAULTS_FLAGS) -o $@ $< -ldl

fault-tests: $(BUILD)/liblowtide.so $(addprefix $(FAULTS_BUILD)/,misuse lookalike library.so) ## misuse is reported, what looks like it is not
	python3 test/faults/faults.py --library $(BUILD)/liblowtide.so --programs $(FAULTS_BUILD)

.PHONY: fault-tests
