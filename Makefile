# Builds bin/sandbox (also runsc and containerd-shim-runsc-v1, by name). `make help` lists the targets and variables.
#
# Sources are found, not listed: every .c and .S below the directories of SRC_DIRS belongs to the program, except the platform
# for tests. CFLAGS_path/to/file.c adds flags for one file. Each compiler and sanitizer has its own directory below build/.

ifeq ($(origin CC),default)
CC = gcc
endif
SAN ?=
V ?= 0
PREFIX ?= /usr/local

comma = ,
BUILD ?= build/$(notdir $(CC))$(if $(SAN),-$(subst $(comma),-,$(SAN)))
CLANG := $(findstring clang,$(notdir $(CC)))

CFLAGS ?= -O2 -g
WARN = -Wall -Wextra -Werror -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wno-missing-field-initializers
HARDEN = -fstack-protector-strong -fstack-clash-protection -fcf-protection=full
LDFLAGS_HARDEN = -Wl,-z,relro,-z,now,-z,separate-code,-z,noexecstack
ifeq ($(SAN),)
# Release: arithmetic and array bounds trap instead of going on with nonsense.
HARDEN += -D_FORTIFY_SOURCE=3 -fsanitize=bounds,signed-integer-overflow
HARDEN += $(if $(CLANG),-fsanitize-trap=all,-fsanitize-undefined-trap-on-error)
LINK = -static-pie
else
HARDEN += -fsanitize=$(SAN) -fno-sanitize-recover=all $(if $(findstring undefined,$(SAN)),-fno-sanitize=nonnull-attribute) -fno-omit-frame-pointer -DLOCK_DEBUG=1
HARDEN += $(if $(filter thread,$(SAN)),$(if $(CLANG),,-Wno-tsan))
LINK = -pie
endif
HARDEN += $(if $(CLANG),,-ftrivial-auto-var-init=zero -fzero-call-used-regs=used-gpr)
# LLVM's libunwind has its headers where no compiler looks; last, because <unwind.h> there is another one.
INCLUDES = -I. -idirafter /usr/include/libunwind
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE $(INCLUDES) -fPIE $(WARN) $(HARDEN) $(CFLAGS)
ALL_LDFLAGS = $(LINK) $(LDFLAGS_HARDEN) $(LDFLAGS)
LDLIBS = -lseccomp -lcapstone -l:libunwind.a -lpthread

SRC_DIRS = sentry platform fs net syscalls runsc-shim
MAIN = $(wildcard runsc-shim/main.c)
FOUND := $(sort $(foreach d,$(SRC_DIRS),$(foreach x,c S,$(wildcard $(d)/*.$(x) $(d)/*/*.$(x) $(d)/*/*/*.$(x)))))
FAKE_SRCS = $(filter platform/fake/%,$(FOUND))
SRCS = $(filter-out $(FAKE_SRCS),$(FOUND))
OBJS = $(SRCS:%=$(BUILD)/%.o)
# What tests link against: everything but main(), and the platform for tests.
LIB_OBJS = $(patsubst %,$(BUILD)/%.o,$(filter-out $(MAIN),$(SRCS)) $(FAKE_SRCS))
LIB = $(BUILD)/libsandbox.a

ifeq ($(V),0)
Q = @
say = @printf '  %-5s %s\n' $(1) $(2);
else
say =
endif

.DEFAULT_GOAL = all
all: $(if $(MAIN),bin/sandbox bin/runsc bin/containerd-shim-runsc-v1,$(OBJS))

# bin/sandbox is the last one built, whichever compiler that was; a build with sanitizers stays in its own directory.
$(BUILD)/sandbox: $(OBJS)
	$(call say,LD,$@) $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(OBJS) $(LDLIBS)

# The same without bin/: to see whether it builds.
program: $(if $(MAIN),$(BUILD)/sandbox,$(OBJS))

bin/sandbox: $(BUILD)/sandbox $(if $(SAN),,FORCE)
	$(Q)mkdir -p bin
	$(Q)$(if $(SAN),:,[ $@ -ef $< ] || ln -f $< $@)

bin/runsc bin/containerd-shim-runsc-v1: bin/sandbox
	$(Q)ln -sf sandbox $@

$(LIB): $(LIB_OBJS)
	$(call say,AR,$@) rm -f $@ && ar crs $@ $(LIB_OBJS)

# Everything is made again when the flags change.
$(BUILD)/flags: FORCE
	$(Q)mkdir -p $(@D)
	$(Q)echo '$(subst ','\'',$(CC) $(ALL_CFLAGS))' | cmp -s - $@ || echo '$(subst ','\'',$(CC) $(ALL_CFLAGS))' >$@

$(BUILD)/%.c.o: %.c $(BUILD)/flags | build/.deps
	$(Q)mkdir -p $(@D)
	$(call say,CC,$<) $(CC) $(ALL_CFLAGS) $(CFLAGS_$<) -MMD -MP -c -o $@ $<

$(BUILD)/%.S.o: %.S $(BUILD)/flags | build/.deps
	$(Q)mkdir -p $(@D)
	$(call say,AS,$<) $(CC) $(ALL_CFLAGS) $(CFLAGS_$<) -MMD -MP -c -o $@ $<

# Without what it needs to build, say so once instead of failing in the middle. `make deps` installs it.
build/.deps: mk/deps.sh
	$(Q)sh mk/deps.sh check build
	$(Q)mkdir -p build && touch $@

deps:
	$(Q)sh mk/deps.sh install build run

run: deps
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) all
	$(Q)sh mk/demo.sh

install: all
	install -D -m 755 bin/sandbox $(DESTDIR)$(PREFIX)/bin/sandbox
	ln -sf sandbox $(DESTDIR)$(PREFIX)/bin/runsc
	ln -sf sandbox $(DESTDIR)$(PREFIX)/bin/containerd-shim-runsc-v1

clean:
	rm -rf build bin

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

FORCE:
.PHONY: all program deps run install clean help FORCE
.SECONDARY:

include mk/lint.mk mk/tests.mk mk/platform.mk
-include $(OBJS:.o=.d) $(LIB_OBJS:.o=.d)

## make             bin/sandbox, bin/runsc, bin/containerd-shim-runsc-v1
## make run         installs what is missing, builds, and shows what a sandbox does
## make check       every test: unit tests (also under sanitizers), lint, guest tests on each platform, a short fuzzing run
## make unit        the unit tests alone;   make guest   the guest tests alone
## make sim-linux   our TCP/IP against Linux's over a bad wire; SIM_FLAGS='--first 1000 --seeds 500 --jobs 16'
## make lint        format, layers, sizes, headers, thread-safety analysis, cppcheck, sparse, spelling
## make bench       the performance table: native, each platform, and the peers that are installed
## make suites      test suites that others wrote, natively and here; make suite NAME=... runs one (tests/suites/run --list)
## make software    real servers and clients natively and here: nginx, redis, ssh, iperf3, Go, Node, ...; NAME=... (tests/software/run --list)
## make fuzz        fuzzes the system calls on the platform for tests; FUZZ_SECONDS=1800
## make install     to PREFIX (/usr/local), below DESTDIR
## make tidy        clang-tidy, which takes minutes
## make format      runs clang-format over the sources
## make deps        installs what building and running need (Debian packages)
## make clean       removes build/ and bin/
##
## Variables: CC=gcc|clang-14   SAN=address,undefined|thread   V=1 (shows commands)   CFLAGS   BUILD   PREFIX   DESTDIR
