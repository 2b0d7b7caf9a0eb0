# Every parser, the policy's arithmetic, and sequences of calls under libFuzzer with ASan and UBSan.
FUZZ_BUILD := $(BUILD)/test/fuzz
FUZZ_TARGETS := text lines meminfo cgroup level pressure options watermark idle
FUZZ_SOURCES := core/line.c $(addprefix trim-policy/,text.c file.c meminfo.c cgroup.c cgroup_read.c pressure.c sample.c watermark.c profile.c options.c)
FUZZ_FLAGS := -std=gnu17 -O2 -g $(WARNINGS) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
FUZZ_LINK_options := -Wl,--wrap=write
# Runs of each target in `make fuzz`.
FUZZ_RUNS ?= 10000000
FUZZ_SECONDS ?= 900

$(FUZZ_BUILD)/%: test/fuzz/fuzz_%.c test/fuzz/fuzz.h $(FUZZ_SOURCES) $(HEADERS) test/fuzz/fuzz.mk
	@mkdir -p $(@D)
	clang $(CPPFLAGS) $(FUZZ_FLAGS) $(FUZZ_LINK_$*) -o $@ $< $(FUZZ_SOURCES)

# Sequences of calls need all of core, and the interposed family by other names, since malloc itself is the sanitizer's.
comma := ,
FUZZ_CALLS_SOURCES := test/fuzz/door.c $(CORE) trim-policy/profile.c
FUZZ_CALLS_RENAMED := malloc free calloc realloc memalign aligned_alloc posix_memalign valloc pvalloc malloc_usable_size cfree free_sized \
    free_aligned_sized malloc_trim __libc_malloc __libc_free __libc_calloc __libc_realloc __libc_memalign __libc_valloc __libc_pvalloc \
    __posix_memalign
FUZZ_CALLS_FLAGS := -ftls-model=initial-exec -D__libc_single_threaded=fuzz_is_single_threaded -fno-builtin
FUZZ_CALLS_HEADERS := $(HEADERS) $(wildcard test/fuzz/*.h test/stress/*.h) test/fuzz/fuzz.mk

$(FUZZ_BUILD)/family.o: preload/malloc.c $(FUZZ_CALLS_HEADERS)
	@mkdir -p $(@D)
	clang $(CPPFLAGS) $(subst fuzzer,fuzzer-no-link,$(FUZZ_FLAGS)) $(FUZZ_CALLS_FLAGS) -c -o $@ $<
	objcopy $(foreach name,$(FUZZ_CALLS_RENAMED),--redefine-sym $(name)=lowtide_$(name)) $@

# What guides libFuzzer is the coverage of lowtide, not of its model.
$(FUZZ_BUILD)/calls.o: test/fuzz/fuzz_calls.c $(FUZZ_CALLS_HEADERS)
	@mkdir -p $(@D)
	clang $(CPPFLAGS) $(subst fuzzer$(comma),,$(FUZZ_FLAGS)) $(FUZZ_CALLS_FLAGS) -c -o $@ $<

$(FUZZ_BUILD)/calls: $(FUZZ_BUILD)/calls.o $(FUZZ_BUILD)/family.o $(FUZZ_CALLS_SOURCES) $(FUZZ_CALLS_HEADERS)
	clang $(CPPFLAGS) $(FUZZ_FLAGS) $(FUZZ_CALLS_FLAGS) -Wl,--wrap=mprotect -o $@ $(filter %.o %.c,$^)

FUZZ_PROGRAMS := $(addprefix $(FUZZ_BUILD)/,$(FUZZ_TARGETS) calls)

fuzz-tests: $(FUZZ_PROGRAMS) ## every parser under libFuzzer for a second or two each, sequences of calls for eight
	test/fuzz/run.sh $(FUZZ_BUILD) -max_total_time=1 $(FUZZ_TARGETS)
	test/fuzz/run.sh $(FUZZ_BUILD) -max_total_time=8 calls

fuzz: $(FUZZ_PROGRAMS) ## every parser under libFuzzer, FUZZ_RUNS (10 million) inputs each (long)
	test/fuzz/run.sh $(FUZZ_BUILD) -runs=$(FUZZ_RUNS) $(FUZZ_TARGETS)

fuzz-calls: $(FUZZ_BUILD)/calls ## sequences of calls under libFuzzer for FUZZ_SECONDS (900)
	test/fuzz/run.sh $(FUZZ_BUILD) -max_total_time=$(FUZZ_SECONDS) calls

.PHONY: fuzz-tests fuzz fuzz-calls
