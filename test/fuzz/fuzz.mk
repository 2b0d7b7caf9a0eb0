# Every parser and the policy's arithmetic under libFuzzer with ASan and UBSan.
FUZZ_BUILD := $(BUILD)/test/fuzz
FUZZ_TARGETS := text lines meminfo cgroup level pressure options watermark idle
FUZZ_SOURCES := core/line.c $(addprefix trim-policy/,text.c file.c meminfo.c cgroup.c cgroup_read.c pressure.c sample.c watermark.c profile.c options.c)
FUZZ_FLAGS := -std=gnu17 -O2 -g $(WARNINGS) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
FUZZ_LINK_options := -Wl,--wrap=write
# Runs of each target in `make fuzz`.
FUZZ_RUNS ?= 10000000

$(FUZZ_BUILD)/%: test/fuzz/fuzz_%.c test/fuzz/fuzz.h $(FUZZ_SOURCES) $(HEADERS) test/fuzz/fuzz.mk
	@mkdir -p $(@D)
	clang $(CPPFLAGS) $(FUZZ_FLAGS) $(FUZZ_LINK_$*) -o $@ $< $(FUZZ_SOURCES)

fuzz-tests: $(addprefix $(FUZZ_BUILD)/,$(FUZZ_TARGETS)) ## every parser under libFuzzer for a second or two each
	test/fuzz/run.sh $(FUZZ_BUILD) -max_total_time=1 $(FUZZ_TARGETS)

fuzz: $(addprefix $(FUZZ_BUILD)/,$(FUZZ_TARGETS)) ## every parser under libFuzzer, FUZZ_RUNS (10 million) inputs each (long)
	test/fuzz/run.sh $(FUZZ_BUILD) -runs=$(FUZZ_RUNS) $(FUZZ_TARGETS)

.PHONY: fuzz-tests fuzz
