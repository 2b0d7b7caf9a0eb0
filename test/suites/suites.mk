# Test suites and servers of others, under stock glibc and preloaded.
# For instance SUITES_ARGS='--only test_gc'.
SUITES_ARGS ?=
SUITES_RUN = python3 test/suites/suites.py --library $(BUILD)/liblowtide.so --programs $(BUILD)/test/suites

suite-tests: $(BUILD)/liblowtide.so ## some of CPython's own tests, stock and preloaded
	$(SUITES_RUN) --short 1 $(SUITES_ARGS)

suites: $(BUILD)/liblowtide.so ## all of CPython's, numpy's and pandas' own tests, and servers under load, stock and preloaded (hours; SUITES_ARGS='--only TEXT': those tests alone)
	scripts/install-deps suites
	$(SUITES_RUN) $(SUITES_ARGS)
	$(if $(SUITES_ARGS),,LOWTIDE_LIB=$(BUILD)/liblowtide.so CASES=long test/preload/run.sh)

.PHONY: suite-tests suites
