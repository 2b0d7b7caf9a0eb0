# The model-based random test, in three builds.
MODEL_SOURCES := test/stress/model.c $(CORE)
MODEL_HEADERS := $(wildcard test/stress/*.h) $(HEADERS)
MODEL_BUILD = @mkdir -p $(@D)
MODEL_COMPILE = $(CC) $(CPPFLAGS) $(CORE_FLAGS) -pthread

$(BUILD)/test/model: $(MODEL_SOURCES) $(MODEL_HEADERS)
	$(MODEL_BUILD)
	$(MODEL_COMPILE) -O2 -g -o $@ $(MODEL_SOURCES)
$(BUILD)/test/model-asan: $(MODEL_SOURCES) $(MODEL_HEADERS)
	$(MODEL_BUILD)
	$(MODEL_COMPILE) -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -o $@ $(MODEL_SOURCES)
$(BUILD)/test/model-tsan: $(MODEL_SOURCES) $(MODEL_HEADERS)
	$(MODEL_BUILD)
	$(MODEL_COMPILE) -O1 -g -fsanitize=thread -o $@ $(MODEL_SOURCES)

stress-tests: $(BUILD)/test/model $(BUILD)/test/model-asan $(BUILD)/test/model-tsan
	test/stress/run.sh $(BUILD)/test
.PHONY: stress-tests
