# Test suites of others (CPython's, numpy's), under stock glibc and preloaded. An hour or so; not part of `make test`.
suites: $(BUILD)/liblowtide.so ## CPython's and numpy's own tests, stock and preloaded: nothing may fail only preloaded
	scripts/install-deps suites
	python3 test/suites/suites.py --library $(BUILD)/liblowtide.so --programs $(BUILD)/test/suites

.PHONY: suites
