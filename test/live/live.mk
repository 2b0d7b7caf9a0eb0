# Live statistics from outside: lowtide top, stats and trim on running programs.
LIVE_BUILD := $(BUILD)/test/live

$(LIVE_BUILD)/%: test/live/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -O1 -g -fno-builtin -Wall -Wextra -o $@ $<

live-tests: $(BUILD)/liblowtide.so $(LIVE_BUILD)/job ## lowtide top, stats and trim on running programs
	python3 test/live/live.py --library $(BUILD)/liblowtide.so --programs $(LIVE_BUILD)

.PHONY: live-tests
