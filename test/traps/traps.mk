# Programs that step into what other allocators fell into (one program a family, see their heads), and their runner.
TRAPS_BUILD := $(BUILD)/test/traps
TRAPS_FLAGS := -O1 -g -pthread -fno-builtin -w
TRAPS_PROGRAMS := matrix rules forks ends locals limits filtered calls heap bound other forked pending patched sanitized asan tsan lsan asan-clang tsan-clang msan-clang
TRAPS_LIBRARIES := early.so hooks.so counted.so
# For instance TRAP_ARGS='--only fork'.
TRAP_ARGS ?=

$(TRAPS_BUILD)/%.so: test/traps/%.c
	@mkdir -p $(@D)
	$(CC) $(TRAPS_FLAGS) -fPIC -shared -o $@ $< -ldl

$(TRAPS_BUILD)/locals: test/traps/locals.cpp
	@mkdir -p $(@D)
	$(CXX) $(TRAPS_FLAGS) -o $@ $<

$(TRAPS_BUILD)/%: test/traps/%.c test/traps/trap.h test/storms/storm.h
	@mkdir -p $(@D)
	$(CC) $(TRAPS_FLAGS) -o $@ $< -ldl

$(TRAPS_BUILD)/filtered: test/traps/filtered.c test/traps/trap.h
	@mkdir -p $(@D)
	$(CC) $(TRAPS_FLAGS) -o $@ $< -ldl -lseccomp

$(TRAPS_BUILD)/other: test/traps/other.c test/traps/trap.h
	@mkdir -p $(@D)
	$(CC) $(TRAPS_FLAGS) -o $@ $< -l:libjemalloc.so.2

# With each of the sanitizers that have an allocator: gcc's in libraries, clang's in the program.
TRAPS_SANITIZER_asan := address
TRAPS_SANITIZER_tsan := thread
TRAPS_SANITIZER_lsan := leak
TRAPS_SANITIZER_msan := memory
TRAPS_SANITIZED = @mkdir -p $(@D); $(1) -O0 -g -pthread -w -fsanitize=$(TRAPS_SANITIZER_$(2)) -o $@ $<
$(addprefix $(TRAPS_BUILD)/,asan tsan lsan): $(TRAPS_BUILD)/%: test/traps/sanitized.c test/traps/trap.h
	$(call TRAPS_SANITIZED,gcc,$*)

$(TRAPS_BUILD)/%-clang: test/traps/sanitized.c test/traps/trap.h
	$(call TRAPS_SANITIZED,clang,$*)

$(TRAPS_BUILD)/forked: test/bench/forked.c test/bench/bench.h
	@mkdir -p $(@D)
	$(CC) $(TRAPS_FLAGS) -o $@ $<

trap-tests: $(BUILD)/liblowtide.so $(addprefix $(TRAPS_BUILD)/,$(TRAPS_PROGRAMS) $(TRAPS_LIBRARIES)) ## what other preloaded allocators fell into
	python3 test/traps/traps.py --library $(BUILD)/liblowtide.so --programs $(TRAPS_BUILD) $(TRAP_ARGS)

.PHONY: trap-tests
