# Jobs under real and feigned shortage of memory, and their driver. Some cases need a memory control group: root, usually.
PRESSURE_BUILD := $(BUILD)/test/pressure

$(PRESSURE_BUILD)/%: test/pressure/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -O1 -g -pthread -fno-builtin -Wall -Wextra -o $@ $<

pressure-tests: $(BUILD)/liblowtide.so $(addprefix $(PRESSURE_BUILD)/,falling hog) ## jobs in a control group that is too small for others, and while memory falls
	python3 test/pressure/pressure.py --library $(BUILD)/liblowtide.so --programs $(PRESSURE_BUILD)

.PHONY: pressure-tests
