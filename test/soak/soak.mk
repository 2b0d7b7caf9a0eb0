# Hours of random tests, in turns. What was interrupted goes on with the next `make soak`.
SOAK_MINUTES ?= 120
SOAK_ARGS ?=

soak: $(BUILD)/liblowtide.so bench-programs $(BUILD)/test/model storms-programs inject-programs $(BUILD)/test/fuzz/calls ## two hours (SOAK_MINUTES) of random tests and of a server with a tide of load; resumable; a report
	python3 test/soak/soak.py --library $(BUILD)/liblowtide.so --programs $(BUILD)/test --state $(BUILD)/soak --minutes $(SOAK_MINUTES) $(SOAK_ARGS)

.PHONY: soak
