# Storms of processes, threads and signals (one program a family, see their heads), and their runner.
STORMS_BUILD := $(BUILD)/test/storms
STORMS_FLAGS := -std=gnu17 -O1 -g -pthread -fno-builtin -rdynamic -Wall -Wextra
STORMS_PROGRAMS := processes threads

$(STORMS_BUILD)/%: test/storms/%.c test/storms/storm.h test/traps/trap.h
	@mkdir -p $(@D)
	$(CC) $(STORMS_FLAGS) -o $@ $<
