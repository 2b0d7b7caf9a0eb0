# Pages of 16 and 64 KiB: programs of other suites, under a library that stands in for such a kernel.
PAGES_BUILD := $(BUILD)/test/pages

# Its own calls go to its own functions, not by way of the allocator's.
$(PAGES_BUILD)/coarse%.so: test/pages/coarse.c test/inject/direct.h
	@mkdir -p $(@D)
	$(CC) -O1 -g -fno-builtin -Wall -Wextra -DCOARSE_KIB=$* -fPIC -shared -Wl,-Bsymbolic -o $@ $< -ldl

PAGES_NEEDS := $(BUILD)/liblowtide.so $(BUILD)/test/model $(PAGES_BUILD)/coarse16.so $(PAGES_BUILD)/coarse64.so \
    $(addprefix $(BUILD)/test/traps/,matrix rules ends forks limits pending heap bound) \
    $(addprefix $(BUILD)/test/faults/,misuse lookalike library.so)

page-tests: $(PAGES_NEEDS) ## pages of 16 and 64 KiB
	python3 test/pages/pages.py --library $(BUILD)/liblowtide.so --programs $(BUILD)/test

.PHONY: page-tests
