# What `make lint` checks, one target each. Checks of single files leave a stamp below build/lint, so that only what changed is
# looked at again. Messages are FILE:LINE: TEXT; every check runs even if one before it fails.

LINT = layers sizes format headers tsa sparse cppcheck spelling
LINT_FILES := $(FOUND) $(wildcard tests/unit/*.c tests/fuzz/*.c tests/kernel/*.c tests/net/*.c)
LINT_C := $(filter %.c,$(LINT_FILES))
LINT_H := $(sort $(foreach d,$(SRC_DIRS),$(wildcard $(d)/*.h $(d)/*/*.h $(d)/*/*/*.h)) $(wildcard tests/unit/*.h tests/kernel/*.h tests/net/*.h))
LINT_FORMAT := $(LINT_C) $(LINT_H) $(wildcard tests/guest/*.[ch] tests/bench/*.[ch])
LINT_FLAGS = -std=gnu17 -D_GNU_SOURCE $(INCLUDES) $(WARN) -fsyntax-only
L = build/lint

lint:
	$(Q)sh mk/deps.sh check build test
	$(Q)mkdir -p $(L)
	$(Q)$(MAKE) --no-print-directory -k -j$(shell nproc) $(LINT:%=lint-%) >$(L)/out 2>&1; status=$$?; grep -v '^make' $(L)/out; exit $$status

lint-layers:
	$(call say,LINT,layers) python3 tests/lint/layers.py

lint-sizes:
	$(call say,LINT,sizes) python3 tests/lint/sizes.py

lint-format: $(LINT_FORMAT:%=$(L)/%.format)
lint-headers: $(LINT_H:%=$(L)/%.gcc) $(LINT_H:%=$(L)/%.clang)
lint-tsa: $(LINT_C:%=$(L)/%.tsa)
lint-sparse: $(LINT_C:%=$(L)/%.sparse)

lint-cppcheck: | $(L)/.dir
	$(call say,LINT,cppcheck) mkdir -p $(L)/cppcheck && cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr \
		--enable=warning,portability --suppressions-list=tests/lint/cppcheck.supp --cppcheck-build-dir=$(L)/cppcheck \
		--template='{file}:{line}: {severity}: {message} [{id}]' -D_GNU_SOURCE -D__x86_64__ -I. -j$(shell nproc) $(LINT_C)

lint-spelling:
	$(call say,LINT,spelling) git ls-files -z | xargs -0 codespell -I tests/lint/words --quiet-level=2

# How the formatter would have it, as file:line messages. `make format` does it.
$(L)/%.format: % .clang-format | $(L)/.dir
	$(Q)mkdir -p $(@D)
	$(Q)clang-format-14 --dry-run -Werror --ferror-limit=3 $< 2>&1 | grep -E '^[^ ].*:[0-9]+:' | sed 's/: error: code should.*/: not as clang-format has it/' | sort -u | { ! grep .; }
	$(Q)touch $@

format:
	$(Q)clang-format-14 -i $(LINT_FORMAT)

$(L)/%.h.gcc: %.h | $(L)/.dir
	$(Q)mkdir -p $(@D)
	$(Q)echo '#include "$<"' | gcc $(LINT_FLAGS) -O2 -MMD -MP -MF $@.d -MT $@ -x c -
	$(Q)touch $@

$(L)/%.h.clang: %.h | $(L)/.dir
	$(Q)mkdir -p $(@D)
	$(Q)echo '#include "$<"' | clang-14 $(LINT_FLAGS) -MMD -MP -MF $@.d -MT $@ -x c -
	$(Q)touch $@

$(L)/%.c.tsa: %.c | $(L)/.dir
	$(Q)mkdir -p $(@D)
	$(Q)clang-14 $(LINT_FLAGS) -Wthread-safety -Wthread-safety-beta -MMD -MP -MF $@.d -MT $@ $<
	$(Q)touch $@

# sparse knows neither every builtin nor every attribute of the system's headers: only its own kinds of finding count.
$(L)/%.c.sparse: %.c $(L)/%.c.tsa
	$(Q)mkdir -p $(@D)
	$(Q)sparse -std=gnu17 -D_GNU_SOURCE $(INCLUDES) -I$(shell gcc -print-file-name=include) -Wno-decl -Wno-non-pointer-null -Wno-transparent-union $< 2>&1 | sh tests/lint/sparse-filter
	$(Q)touch $@

$(L)/.dir:
	$(Q)mkdir -p $(L) && touch $@

-include $(LINT_H:%=$(L)/%.gcc.d) $(LINT_H:%=$(L)/%.clang.d) $(LINT_C:%=$(L)/%.tsa.d)
.PHONY: lint format $(LINT:%=lint-%)

# Deeper and slower: one process for each file that changed.
$(L)/%.c.tidy: %.c .clang-tidy | $(L)/.dir
	$(Q)mkdir -p $(@D)
	$(call say,TIDY,$<) clang-tidy-14 --quiet $< -- -std=gnu17 -D_GNU_SOURCE $(INCLUDES) -MMD -MP -MF $@.d -MT $@ 2>/dev/null
	$(Q)touch $@

tidy: $(LINT_C:%=$(L)/%.tidy)

-include $(LINT_C:%=$(L)/%.tidy.d)
.PHONY: tidy
