# Real kernels with larger pages, Debian's, under qemu-system: library and programs are cross-built, and run there by a small init.
KERNEL_BUILD := $(BUILD)/kernel
KERNEL_MACHINES := powerpc64le aarch64
KERNEL_SYSTEM_powerpc64le := ppc64el bookworm linux-image-powerpc64le
KERNEL_SYSTEM_aarch64 := arm64 trixie linux-image-arm64-16k
KERNEL_FILES := $(CROSS_FILES) $(addprefix test/traps/,rules forks heap bound)
# For instance KERNEL_ARGS='--only python'.
KERNEL_ARGS ?=

$(KERNEL_BUILD)/%/system.cpio.gz:
	scripts/install-deps kernel
	test/kernel/fetch $(@D) $(KERNEL_SYSTEM_$*)

$(BUILD)/test/kernel/init: test/kernel/init.c
	@mkdir -p $(@D)
	$(CC) -O1 -g -Wall -Wextra -static -o $@ $<

$(addprefix kernel-,$(KERNEL_MACHINES)): kernel-%: $(KERNEL_BUILD)/%/system.cpio.gz
	+@$(MAKE) -s -j2 CC=$*-linux-gnu-gcc BUILD=$(KERNEL_BUILD)/$* CFLAGS='-O2 -g -Werror' \
	    $(addprefix $(KERNEL_BUILD)/$*/,$(KERNEL_FILES) test/kernel/init)
	test/kernel/pack $(KERNEL_BUILD)/$* $(KERNEL_FILES)
	python3 test/kernel/kernel.py --library $(KERNEL_BUILD)/$*/liblowtide.so --programs $(KERNEL_BUILD)/$*/test $(KERNEL_ARGS)

kernel-tests: ## booted kernels with pages of 64 and 16 KiB (long; downloads 170 MB, emulates; KERNEL_ARGS='--only TEXT')
	$(MAKE) -s kernel-powerpc64le
	$(MAKE) -s kernel-aarch64

.PRECIOUS: $(KERNEL_BUILD)/%/system.cpio.gz
.PHONY: kernel-tests $(addprefix kernel-,$(KERNEL_MACHINES))
