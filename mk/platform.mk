# Platforms without the sentry: a small client (tests/platform/client.c) runs a static guest.
PT = $(BUILD)/tests/platform

$(PT)/client: tests/platform/client.c $(LIB) $(BUILD)/flags
	$(Q)mkdir -p $(@D)
	$(call say,LD,$@) $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

$(PT)/guest: tests/platform/guest.c
	$(Q)mkdir -p $(@D)
	$(call say,CC,$@) gcc -std=gnu17 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -static -pthread -o $@ $<

$(PT)/attack: tests/platform/attack.c platform/trap/layout.h
	$(Q)mkdir -p $(@D)
	$(call say,CC,$@) gcc -std=gnu17 -D_GNU_SOURCE -I. -O1 -g -Wall -Wextra -Werror -Wno-missing-field-initializers -static -pthread -o $@ $<

$(PT)/attack_ptrace: tests/platform/attack_ptrace.c
	$(Q)mkdir -p $(@D)
	$(call say,CC,$@) gcc -std=gnu17 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -static -pthread -o $@ $<

check-platform: $(PT)/client $(PT)/guest $(PT)/attack $(PT)/attack_ptrace
	$(Q)timeout 120 $(PT)/client trap $(PT)/attack
	$(Q)timeout 60 $(PT)/client trap $(PT)/guest
	$(Q)timeout 60 $(PT)/client ptrace $(PT)/attack_ptrace
	$(Q)timeout 60 $(PT)/client ptrace $(PT)/guest

.PHONY: check-platform

$(PT)/hostcalls: tests/platform/hostcalls.c $(LIB) $(BUILD)/flags
	$(Q)mkdir -p $(@D)
	$(call say,LD,$@) $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

# The page's own text ends where the table begins.
docs/security.md: platform/hostcalls.def $(PT)/hostcalls
	$(Q)sed -i '/^|/d' $@ && $(PT)/hostcalls >>$@
