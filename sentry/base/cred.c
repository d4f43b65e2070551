/*
 * Credentials: see cred.h. A published credential is shared by tasks, open files and sockets without a lock, because nobody
 * writes to it any more; whoever changes identity works on a clone. Supplementary groups are kept sorted, so that the
 * question "is it in this group", asked on every path component, is a binary search.
 */
#include "sentry/base/cred.h"

#include <string.h>

#include "sentry/base/slab.h"

static struct slab cred_slab = SLAB_INIT(struct cred);

static int compare_gid(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

int cred_set_groups(struct cred *c, const uint32_t *groups, size_t count)
{
	uint32_t *copy = NULL;

	if (count) {
		copy = kalloc(count * sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		memcpy(copy, groups, count * sizeof(*copy));
		qsort(copy, count, sizeof(*copy), compare_gid);
	}
	kfree(c->groups, c->group_count * sizeof(*c->groups));
	c->groups = copy;
	c->group_count = count;
	return 0;
}

struct cred *cred_create(uint32_t uid, uint32_t gid, const uint32_t *groups, size_t group_count)
{
	struct cred *c = slab_alloc(&cred_slab);

	if (!c)
		return NULL;
	ref_init(&c->ref);
	c->uid = c->euid = c->suid = c->fsuid = uid;
	c->gid = c->egid = c->sgid = c->fsgid = gid;
	c->cap_bounding = CAP_FULL_SET;
	if (uid == 0)
		c->cap_permitted = c->cap_effective = CAP_FULL_SET;
	if (cred_set_groups(c, groups, group_count)) {
		slab_free(&cred_slab, c);
		return NULL;
	}
	return c;
}

struct cred *cred_clone(const struct cred *from)
{
	struct cred *c = slab_alloc(&cred_slab);

	if (!c)
		return NULL;
	*c = *from;
	ref_init(&c->ref);
	c->groups = NULL;
	c->group_count = 0;
	if (cred_set_groups(c, from->groups, from->group_count)) {
		slab_free(&cred_slab, c);
		return NULL;
	}
	return c;
}

/* The count is the one field of a published credential that changes. */
const struct cred *cred_get(const struct cred *c)
{
	ref_get((struct ref *)&c->ref);
	return c;
}

void cred_put(const struct cred *c)
{
	struct cred *dying = (struct cred *)c;

	if (!c || !ref_put(&dying->ref))
		return;
	kfree(dying->groups, dying->group_count * sizeof(*dying->groups));
	slab_free(&cred_slab, dying);
}

bool cred_capable(const struct cred *c, int cap)
{
	return cap >= 0 && cap < 64 && (c->cap_effective >> cap & 1);
}

bool cred_in_group(const struct cred *c, uint32_t gid)
{
	if (gid == c->fsgid)
		return true;
	return c->group_count && bsearch(&gid, c->groups, c->group_count, sizeof(gid), compare_gid) != NULL;
}
