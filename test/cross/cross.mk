# Other machines: library and programs are built by Debian's cross compilers, without a warning, and run by qemu-user.
CROSS_MACHINES := riscv64 powerpc64le s390x
CROSS_BUILD := $(BUILD)/cross
CROSS_FILES := liblowtide.so test/model $(addprefix test/traps/,matrix ends limits pending hooks.so) \
    $(addprefix test/faults/,misuse lookalike library.so)

$(addprefix cross-,aarch64 $(CROSS_MACHINES)): cross-%:
	+@$(MAKE) -s -j2 CC=$*-linux-gnu-gcc BUILD=$(CROSS_BUILD)/$* CFLAGS='-O2 -g -Werror' $(addprefix $(CROSS_BUILD)/$*/,$(CROSS_FILES))
	python3 test/cross/cross.py --library $(CROSS_BUILD)/$*/liblowtide.so --programs $(CROSS_BUILD)/$*/test

cross-tests: cross-aarch64 ## another machine, emulated: aarch64 with pages of 4 and 64 KiB
cross-all: cross-aarch64 $(addprefix cross-,$(CROSS_MACHINES)) ## the same, and RISC-V, POWER and s390x (see scripts/install-deps machines)

.PHONY: cross-tests cross-all $(addprefix cross-,aarch64 $(CROSS_MACHINES))
