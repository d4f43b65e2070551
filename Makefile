# Builds bin/sandbox (also runsc and containerd-shim-runsc-v1, by name). `make help` lists the targets.
CC ?= gcc
BUILD ?= build
WARN = -Wall -Wextra -Werror -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes
HARDEN = -fstack-protector-strong -fstack-clash-protection -fcf-protection=full -D_FORTIFY_SOURCE=3
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE -I. -fPIE $(WARN) $(HARDEN) $(CFLAGS)
LDLIBS = -lseccomp -lcapstone -lpthread
LDFLAGS_ALL = -static-pie -Wl,-z,relro,-z,now,-z,separate-code $(LDFLAGS)

DIRS = sentry/base platform platform/trap platform/ptrace platform/fake fs $(wildcard fs/*/) net sentry syscalls runsc-shim
SRCS = $(sort $(foreach d,$(DIRS),$(wildcard $(d:/=)/*.c $(d:/=)/*.S)))
OBJS = $(SRCS:%=$(BUILD)/%.o)

all: bin/sandbox

bin/sandbox: $(OBJS)
	@mkdir -p bin
	$(CC) $(ALL_CFLAGS) $(LDFLAGS_ALL) -o $@ $(OBJS) $(LDLIBS)

$(BUILD)/%.c.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.S.o: %.S
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

clean:
	rm -rf $(BUILD) bin

-include $(OBJS:.o=.d)
.PHONY: all clean
