# What the tests reach: clang's counters live in files that all processes of a run map, so that those that abort, exec or are killed
# count, too, and the preloaded library needs nothing at exit. Some tests fail with it, since the counters' file is one more mapping; that
# is theirs to tell in `make test`, of which this is no part.
COVERAGE_BUILD := $(abspath $(BUILD))/coverage
COVERAGE_FLAGS := -fprofile-instr-generate=$(COVERAGE_BUILD)/raw/%c%m.profraw -fcoverage-mapping -mllvm -runtime-counter-relocation \
    -Wno-unused-command-line-argument
COVERAGE_MAKE = $(MAKE) -s BUILD=$(COVERAGE_BUILD) CC="clang $(COVERAGE_FLAGS)" FUZZ_FLAGS="-std=gnu17 -O1 -g -fsanitize=fuzzer,undefined $(COVERAGE_FLAGS)"
COVERAGE_PARTS := $(addprefix $(COVERAGE_BUILD)/,test/unit test/model test/fuzz/calls liblowtide.so)
# Suites that preload the library; those that run other programs do not, so lines of preload/python.c stay open.
COVERAGE_SUITES ?= fault-tests trap-tests inject-tests sleep-tests live-tests

coverage: ## lines and branches of core/, trim-policy/ and preload/ that the tests reach: docs/COVERAGE.md
	scripts/install-deps coverage
	rm -rf $(COVERAGE_BUILD)/raw && mkdir -p $(COVERAGE_BUILD)/raw
	+$(COVERAGE_MAKE) $(COVERAGE_PARTS)
	-$(UNIT_RUN) $(COVERAGE_BUILD)/test/unit --jobs $(UNIT_JOBS) >$(COVERAGE_BUILD)/unit.log 2>&1
	test/fuzz/run.sh $(COVERAGE_BUILD)/test/fuzz -max_total_time=60 calls
	$(COVERAGE_BUILD)/test/model -n 1000000
	$(COVERAGE_BUILD)/test/model -t 3 -n 500000
	+-for suite in $(COVERAGE_SUITES); do $(COVERAGE_MAKE) $$suite >$(COVERAGE_BUILD)/$$suite.log 2>&1; tail -1 $(COVERAGE_BUILD)/$$suite.log; done
	python3 test/coverage/coverage.py $(COVERAGE_BUILD) $(COVERAGE_PARTS) >docs/COVERAGE.md

.PHONY: coverage
