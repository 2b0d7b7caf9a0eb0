# lowtide: make = build/liblowtide.so, which needs a C compiler, make and libc's headers. Other targets: see `make help`.
VERSION := 0.1.0
CC ?= cc
BUILD ?= build
WARNINGS := -Wall -Wextra -Wshadow -Wconversion
CPPFLAGS += -D_GNU_SOURCE -DLOWTIDE_VERSION='"$(VERSION)"'
CFLAGS ?= -O2 -g
# Not -std=c17: initial-exec TLS, asm and alias attributes are GNU's. No builtins for what is defined here, or the compiler would
# make calls of malloc out of calloc's own body.
CORE_FLAGS := -std=gnu17 -fPIC -fvisibility=hidden -fno-plt -ftls-model=initial-exec \
    -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free $(WARNINGS)
LIBRARY_FLAGS := -shared -Wl,-z,now,-z,relro,-z,defs -Wl,--as-needed -Wl,--sort-section=name

CORE := $(wildcard core/*.c)
POLICY := $(wildcard trim-policy/*.c)
PRELOAD := $(wildcard preload/*.c)
HEADERS := $(wildcard core/*.h core/*.def preload/*.h trim-policy/*.h trim-policy/*.def)
OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(CORE) $(POLICY) $(PRELOAD))

all: $(BUILD)/liblowtide.so ## the library

$(BUILD)/liblowtide.so: $(OBJECTS)
	$(CC) $(CFLAGS) $(LIBRARY_FLAGS) $(LDFLAGS) -o $@ $(OBJECTS)

$(BUILD)/%.o: %.c $(HEADERS) Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(CORE_FLAGS) -c -o $@ $<

include $(wildcard test/*/*.mk)

demo: all ## the main job under stock glibc and under lowtide, side by side
	python3 scripts/demo.py

test: all ## every test, with counts at the end
	test/run.sh

lint: ## no warning from gcc and clang at the strictest
	test/lint.sh

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INSTALL ?= install
MANDIR := $(PREFIX)/share/man
BASH_COMPLETION := $(PREFIX)/share/bash-completion/completions
ZSH_COMPLETION := $(PREFIX)/share/zsh/site-functions

install: all ## library, command, man pages and completions under DESTDIR/PREFIX (/usr/local)
	$(INSTALL) -d $(addprefix $(DESTDIR),$(LIBDIR) $(PREFIX)/bin $(PREFIX)/lib/lowtide/lowtide_cli $(MANDIR)/man1 $(MANDIR)/man7 \
	    $(BASH_COMPLETION) $(ZSH_COMPLETION))
	$(INSTALL) -m 755 $(BUILD)/liblowtide.so $(DESTDIR)$(LIBDIR)/liblowtide.so
	$(INSTALL) -m 755 scripts/lowtide $(DESTDIR)$(PREFIX)/bin/lowtide
	$(INSTALL) -m 644 scripts/lowtide_cli/*.py $(DESTDIR)$(PREFIX)/lib/lowtide/lowtide_cli/
	$(INSTALL) -m 644 man/lowtide.1 $(DESTDIR)$(MANDIR)/man1/lowtide.1
	$(INSTALL) -m 644 man/liblowtide.7 $(DESTDIR)$(MANDIR)/man7/liblowtide.7
	$(INSTALL) -m 644 completion/lowtide.bash $(DESTDIR)$(BASH_COMPLETION)/lowtide
	$(INSTALL) -m 644 completion/_lowtide $(DESTDIR)$(ZSH_COMPLETION)/_lowtide

uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR),$(LIBDIR)/liblowtide.so $(PREFIX)/bin/lowtide $(MANDIR)/man1/lowtide.1 $(MANDIR)/man7/liblowtide.7 \
	    $(BASH_COMPLETION)/lowtide $(ZSH_COMPLETION)/_lowtide)
	rm -rf $(DESTDIR)$(PREFIX)/lib/lowtide

man: all ## the lists in man/liblowtide.7, from the tables of options and statistics
	scripts/make-man

clean: ## remove what was built
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST)

.PHONY: all demo test lint install uninstall man clean help
