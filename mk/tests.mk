# Targets that check and measure.

KERNEL_NEEDS = fs/tmp/tmpfs.h fs/dev/devfs.c fs/locks.c fs/inotify.c sentry/timers.c
KERNEL = $(if $(filter-out $(wildcard $(KERNEL_NEEDS)),$(KERNEL_NEEDS)),,tests/kernel/kernel.c)
UNIT = $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(filter-out tests/unit/unit.c $(if $(KERNEL),,tests/unit/syscalls.c),$(wildcard tests/unit/*.c)))
GUEST_SRCS = $(wildcard tests/guest/*.c)
GUEST = $(GUEST_SRCS:tests/guest/%.c=build/guest/%)
FUZZ_SECONDS ?= 60
TEST ?=

# What tests share: the runner, a whole kernel on the platform for tests, and a network stack on a bench.
NETBED = tests/kernel/netbed.c
TESTLIB = $(BUILD)/libtest.a
$(TESTLIB): $(BUILD)/tests/unit/unit.c.o $(KERNEL:%=$(BUILD)/%.o) $(NETBED:%=$(BUILD)/%.o)
	$(call say,AR,$@) rm -f $@ && ar crs $@ $^

# One program for each file of tests/unit, against the whole program's code.
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.c.o $(TESTLIB) $(LIB)
	$(call say,LD,$@) $(CC) $(ALL_CFLAGS) -pie $(LDFLAGS) -o $@ $< $(TESTLIB) $(LIB) \
		-lcheck -lsubunit -lrt -lm $(LDLIBS)

unit-programs: $(UNIT)

unit: unit-programs
	$(Q)python3 tests/run --unit $(BUILD) $(TEST)

# Guest programs know nothing of the sandbox: the host's compiler and libc, once static and once dynamic.
build/guest/%: tests/guest/%.c $(wildcard tests/guest/*.h)
	$(Q)mkdir -p $(@D)
	$(call say,GUEST,$<) gcc -std=gnu17 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Wno-unused-result -Wno-nonnull -Wno-infinite-recursion -Wno-stringop-overread -Wno-stringop-overflow -pthread -static -o $@ $<
	$(Q)gcc -std=gnu17 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Wno-unused-result -Wno-nonnull -Wno-infinite-recursion -Wno-stringop-overread -Wno-stringop-overflow -pthread -o $@.dyn $<

guest-programs: $(GUEST)

guest: all guest-programs
	$(Q)python3 tests/run --guest $(TEST)

check:
	$(Q)sh mk/deps.sh install build run test
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) all unit-programs guest-programs sim-program
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) CC=clang-14 program
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) SAN=address,undefined unit-programs sim-program
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) SAN=thread unit-programs
	$(Q)python3 tests/run --all $(TEST)

# Our TCP/IP against Linux's, over a wire that a seed spoils: SIM_FLAGS='--first 1000 --seeds 500 --jobs 16', or --seed 7.
SIM_FLAGS ?= --seeds 200 --jobs 8
SIM = $(BUILD)/tests/net/simlinux
$(SIM): $(BUILD)/tests/net/simlinux.c.o $(BUILD)/tests/net/simwire.c.o $(BUILD)/tests/net/simcalls.c.o $(LIB)
	$(call say,LD,$@) $(CC) $(ALL_CFLAGS) -pie $(LDFLAGS) -o $@ $^ $(LDLIBS)

sim-program: $(SIM)

sim-linux: $(SIM)
	$(Q)$(SIM) $(SIM_FLAGS)

bench: all
	$(Q)sh mk/deps.sh install build bench
	$(Q)python3 tests/bench/run

# Suites that other people wrote: NAME=... for one of them.
suites suite: all
	$(Q)sh mk/deps.sh install suites
	$(Q)python3 tests/suites/run $(NAME)

# Real servers and clients: NAME=... for one of them. What is not installed is named, and installed where that may be.
software: all
	$(Q)sh mk/deps.sh install software || true
	$(Q)python3 tests/software/run $(NAME)

# libFuzzer comes with clang; its main() is linked only into the targets.
FUZZ = $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/*.c))
FUZZLIB = $(BUILD)/tests/kernel/kernel.c.o $(NETBED:%=$(BUILD)/%.o)
$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.c.o $(FUZZLIB) $(LIB)
	$(call say,LD,$@) $(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -pie $(LDFLAGS) -o $@ $< $(FUZZLIB) $(LIB) $(LDLIBS)

fuzz-programs: $(FUZZ)

fuzz:
	$(Q)$(MAKE) --no-print-directory CC=clang-14 SAN=fuzzer-no-link,address,undefined BUILD=build/fuzz fuzz-programs
	$(Q)python3 tests/fuzz/run $(FUZZ_SECONDS)

.PHONY: sim-linux sim-program unit unit-programs guest guest-programs check suites suite software bench fuzz fuzz-programs

-include $(wildcard $(BUILD)/tests/unit/*.d $(BUILD)/tests/kernel/*.d $(BUILD)/tests/fuzz/*.d $(BUILD)/tests/net/*.d)
