# Unit tests of core and trim-policy (Criterion), three times: as they are, under ASan + UBSan, under TSan.
# The sanitizers take the place of the system's malloc, not of lowtide's, which the tests call as core_malloc.
UNIT_BUILDS := unit unit-asan unit-tsan
UNIT_HEADERS := $(wildcard core/*.h core/*.def trim-policy/*.h trim-policy/*.def test/unit/*.h)
UNIT_OBJECTS := $(patsubst %.c,%.o,$(wildcard core/*.c trim-policy/*.c test/unit/*.c))
# getauxval is wrapped in these objects, so that a test can claim a page size or raised privileges; report_misuse, so that one can
# make many mistakes.
# Core's idea of being alone is the tests' to set: Criterion keeps a thread in each test's process, and libc must go on knowing of it.
UNIT_DEFINES := -D__libc_single_threaded=unit_is_single_threaded
UNIT_LINK := -Wl,--wrap=getauxval,--wrap=report_misuse -lcriterion -lpthread
UNIT_FLAGS_unit := -O2 -g
UNIT_FLAGS_unit-asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
UNIT_FLAGS_unit-tsan := -O1 -g -fsanitize=thread
# Leaks: Criterion never frees its list of tests, and what the tests leave is not the system malloc's. The first race ends a test
# by its exit code, which Criterion reports as a failure; a SIGABRT would pass for the one that tests of misuse expect.
UNIT_ENVIRONMENT_unit-asan := ASAN_OPTIONS=detect_leaks=0
UNIT_ENVIRONMENT_unit-tsan := TSAN_OPTIONS=halt_on_error=1:exitcode=66
UNIT_JOBS ?= 2
# A test that hangs is ended by its alarm (unit.c) and counted; should Criterion itself hang, everything is.
UNIT_RUN := timeout -k 5 400

define UNIT_BUILD
$$(BUILD)/test/$(1): $$(addprefix $$(BUILD)/test/objects/$(1)/,$$(UNIT_OBJECTS))
	$$(CC) $$(UNIT_FLAGS_$(1)) $$(LDFLAGS) -o $$@ $$^ $$(UNIT_LINK)
$$(BUILD)/test/objects/$(1)/%.o: %.c $$(UNIT_HEADERS) Makefile test/unit/unit.mk
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) $$(UNIT_DEFINES) $$(UNIT_FLAGS_$(1)) $$(CORE_FLAGS) -c -o $$@ $$<
endef
$(foreach build,$(UNIT_BUILDS),$(eval $(call UNIT_BUILD,$(build))))

unit-tests: $(addprefix $(BUILD)/test/,$(UNIT_BUILDS)) ## core and trim-policy under Criterion: plain, ASan + UBSan, TSan
	@failed=0; $(foreach build,$(UNIT_BUILDS),echo "== $(build)"; \
	    $(UNIT_ENVIRONMENT_$(build)) $(UNIT_RUN) $(BUILD)/test/$(build) --jobs $(UNIT_JOBS) || failed=1;) exit $$failed

.PHONY: unit-tests
