# The suite of programs beside other allocators, and tables of figures.
BENCH_BUILD := $(BUILD)/bench
BENCH_FLAGS := -std=gnu17 -D_GNU_SOURCE -O2 -g -pthread $(WARNINGS)
# Or the compiler leaves out pairs of malloc and free.
BENCH_FLAGS += -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free
BENCH_HEADERS := $(wildcard test/bench/*.h test/bench/suite/*.h)
BENCH_FIGURES := $(patsubst test/bench/%.c,$(BENCH_BUILD)/%,$(wildcard test/bench/*.c))
BENCH_SUITE := $(patsubst test/bench/suite/%.c,$(BENCH_BUILD)/suite/%,$(wildcard test/bench/suite/*.c))
# For instance BENCH_ARGS='--only random --runs 9 --allocators glibc,lowtide'.
BENCH_ARGS ?=
# Groups of figures.
FIGURES ?=
BENCH_RUN = LOWTIDE_LIB=$${LOWTIDE_LIB:-$(BUILD)/liblowtide.so} LOWTIDE_BENCH_DIR=$(BENCH_BUILD) python3

$(BENCH_BUILD)/%: test/bench/%.c $(BENCH_HEADERS) test/bench/bench.mk
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) -o $@ $< -lm

bench-programs: $(BUILD)/liblowtide.so $(BENCH_BUILD)/launch $(BENCH_SUITE)

figures-programs: $(BENCH_FIGURES)

# A program that failed under a peer ends the suite with 1, and is no reason to measure nothing else.
bench: bench-programs figures-programs ## the suite, and instructions, statistics, scale, packing, fork and costs, under every allocator: bench/results/*.md (long; BENCH_ARGS: the suite alone)
	$(BENCH_RUN) test/bench/suite.py $(BENCH_ARGS); suite=$$?; [ $$suite -le 1 ] || exit $$suite; \
	$(if $(BENCH_ARGS),,$(BENCH_RUN) test/bench/figures.py --results &&) exit $$suite

bench-quick: bench-programs ## the same with fewer runs of smaller programs (three minutes)
	$(BENCH_RUN) test/bench/suite.py --quick $(BENCH_ARGS)

bench-figures: $(BUILD)/liblowtide.so figures-programs ## those groups of `make bench` alone: bench/results/figures.md (FIGURES='scale fork'; LOWTIDE_BENCH_SCALE=5: small)
	$(BENCH_RUN) test/bench/figures.py --results $(FIGURES)

figures: $(BUILD)/liblowtide.so figures-programs ## all tables of figures beside stock glibc, jemalloc, mimalloc and tcmalloc (long)
	$(BENCH_RUN) test/bench/figures.py $(FIGURES)

.PHONY: bench bench-quick bench-programs bench-figures figures figures-programs
