/* Counters of a stack, and their names: RFC 4293, 4113, 4022 and Linux's own. */
#include "net/stack/core.h"

static const struct {
	const char *group, *name;
} names[MIB_COUNT] = {
#define MIB(id, group, name) [MIB_##id] = {group, name},
#include "net/stack/mib.def"
#undef MIB
};

void mib_add(struct stack *s, enum mib counter, uint64_t n)
{
	s->mib[counter] += n;
}

uint64_t mib_get(struct stack *s, enum mib counter)
{
	return s->mib[counter];
}

const char *mib_group(enum mib counter)
{
	return names[counter].group;
}

const char *mib_name(enum mib counter)
{
	return names[counter].name;
}
