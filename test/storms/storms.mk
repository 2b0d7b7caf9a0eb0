# Storms of processes, threads and signals (one program a family, see their heads), and their runner.
STORMS_BUILD := $(BUILD)/test/storms
STORMS_FLAGS := -std=gnu17 -O1 -g -pthread -fno-builtin -Wall -Wextra
STORMS_PROGRAMS := processes threads leaving signals forks

$(STORMS_BUILD)/%.so: test/storms/%.c
	@mkdir -p $(@D)
	$(CC) $(STORMS_FLAGS) -fPIC -ftls-model=global-dynamic -shared -o $@ $<

$(STORMS_BUILD)/forks: $(BUILD)/test/traps/forks
	@mkdir -p $(@D)
	cp $< $@

$(STORMS_BUILD)/%: test/storms/%.c test/storms/storm.h test/traps/trap.h
	@mkdir -p $(@D)
	$(CC) $(STORMS_FLAGS) -rdynamic -o $@ $< -ldl

# For instance STORM_ARGS='--only raw'; of storms-soak, STORM_SECONDS.
STORM_ARGS ?=
STORM_SECONDS ?= 600
STORMS_ALL := $(BUILD)/liblowtide.so $(addprefix $(STORMS_BUILD)/,$(STORMS_PROGRAMS) opened.so)

storms-programs: $(STORMS_ALL)

storm-tests: $(STORMS_ALL) ## storms of processes, threads and signals
	python3 test/storms/storms.py --library $(BUILD)/liblowtide.so --programs $(STORMS_BUILD) $(STORM_ARGS)

storms-soak: $(STORMS_ALL) ## the same with ever new seeds for STORM_SECONDS (600)
	python3 test/storms/storms.py --library $(BUILD)/liblowtide.so --programs $(STORMS_BUILD) --seconds $(STORM_SECONDS)

.PHONY: storms-programs storm-tests storms-soak
