# The suite of programs beside other allocators, and the older tables of figures.
BENCH_BUILD := $(BUILD)/bench
BENCH_FLAGS := -std=gnu17 -D_GNU_SOURCE -O2 -g -pthread $(WARNINGS)
# Or the compiler leaves out pairs of malloc and free.
BENCH_FLAGS += -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free
BENCH_SUITE := $(patsubst test/bench/suite/%.c,$(BENCH_BUILD)/suite/%,$(wildcard test/bench/suite/*.c))
# For instance BENCH_ARGS='--only random --runs 9 --allocators glibc,lowtide'.
BENCH_ARGS ?=
BENCH_RUN = LOWTIDE_LIB=$${LOWTIDE_LIB:-$(BUILD)/liblowtide.so} LOWTIDE_BENCH_DIR=$(BENCH_BUILD) python3

$(BENCH_BUILD)/%: test/bench/%.c $(wildcard test/bench/*.h)
	@mkdir -p $(@D)
	$(CC) -O2 -g -Wall -Wextra -pthread -o $@ $<

$(BENCH_BUILD)/launch: test/bench/launch.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) -o $@ $<

$(BENCH_BUILD)/suite/%: test/bench/suite/%.c test/bench/suite/suite.h test/bench/bench.h test/bench/bench.mk
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) -o $@ $< -lm

bench-programs: $(BUILD)/liblowtide.so $(BENCH_BUILD)/launch $(BENCH_SUITE)

bench: bench-programs ## the suite under every allocator: bench/results/bench.md and bench.svg (long; BENCH_ARGS)
	$(BENCH_RUN) test/bench/suite.py $(BENCH_ARGS)

bench-quick: bench-programs ## the same with fewer runs of smaller programs (three minutes)
	$(BENCH_RUN) test/bench/suite.py --quick $(BENCH_ARGS)

figures: $(BUILD)/liblowtide.so ## the table of figures beside stock glibc, jemalloc, mimalloc and tcmalloc (long)
	python3 test/bench/figures.py

.PHONY: bench bench-quick bench-programs figures
