/* Capability sets: capget(2), capset(2). capabilities(7), "Programmatically adjusting capability sets". */
#include <linux/capability.h>

#include "sentry/base/cred.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

/* How many 32-bit words per set the version in the header has; it is replaced by ours if it is unknown (-EINVAL). */
static int cap_words(struct task *t, uaddr_t header, struct __user_cap_header_struct *h)
{
	uint32_t version = _LINUX_CAPABILITY_VERSION_3;

	if (copy_in(&t->ctx, h, header, sizeof(*h)))
		return -EFAULT;
	switch (h->version) {
	case _LINUX_CAPABILITY_VERSION_1:
		return _LINUX_CAPABILITY_U32S_1;
	case _LINUX_CAPABILITY_VERSION_2:
	case _LINUX_CAPABILITY_VERSION_3:
		return _LINUX_CAPABILITY_U32S_3;
	}
	return copy_out(&t->ctx, header, &version, sizeof(version)) ? -EFAULT : -EINVAL;
}

static const struct cred *cred_of(struct task *t, int32_t pid)
{
	struct task *target;
	const struct cred *c;

	if (pid == 0 || pid == t->ctx.tid)
		return cred_get(t->ctx.cred);
	target = task_find(pid);
	c = target ? task_get_cred(target) : NULL;
	task_put(target);
	return c;
}

sysret_t sys_capget(struct task *t, uaddr_t header, uaddr_t data)
{
	struct __user_cap_header_struct h;
	struct __user_cap_data_struct d[2];
	const struct cred *c;
	int words = cap_words(t, header, &h);

	if (words < 0)
		return words == -EINVAL && !data.v ? 0 : words;
	if (h.pid < 0)
		return -EINVAL;
	c = cred_of(t, h.pid);
	if (!c)
		return -ESRCH;
	for (int i = 0; i < 2; i++) {
		d[i].effective = (uint32_t)(c->cap_effective >> 32 * i);
		d[i].permitted = (uint32_t)(c->cap_permitted >> 32 * i);
		d[i].inheritable = (uint32_t)(c->cap_inheritable >> 32 * i);
	}
	cred_put(c);
	if (!data.v)
		return 0;
	return copy_out(&t->ctx, data, d, (size_t)words * sizeof(d[0]));
}

static bool subset(uint64_t set, uint64_t of)
{
	return !(set & ~of);
}

static sysret_t cap_change(struct task *t, uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	const struct cred *old = t->ctx.cred;
	struct cred *new;

	if (!cred_capable(old, CAP_SETPCAP) && !subset(inheritable, old->cap_inheritable | old->cap_permitted))
		return -EPERM;
	if (!subset(inheritable, old->cap_inheritable | old->cap_bounding) || !subset(permitted, old->cap_permitted) ||
	    !subset(effective, permitted))
		return -EPERM;
	new = cred_clone(old);
	if (!new)
		return -ENOMEM;
	new->cap_effective = effective;
	new->cap_permitted = permitted;
	new->cap_inheritable = inheritable;
	new->cap_ambient &= permitted &inheritable;
	task_set_cred(t, new);
	return 0;
}

sysret_t sys_capset(struct task *t, uaddr_t header, uaddr_t data)
{
	struct __user_cap_header_struct h;
	struct __user_cap_data_struct d[2] = {0};
	int words = cap_words(t, header, &h);

	if (words < 0)
		return words;
	if (h.pid != 0 && h.pid != t->ctx.tid)
		return -EPERM;
	if (copy_in(&t->ctx, d, data, (size_t)words * sizeof(d[0])))
		return -EFAULT;
	return cap_change(t, (d[0].effective | (uint64_t)d[1].effective << 32) & CAP_FULL_SET,
			  (d[0].permitted | (uint64_t)d[1].permitted << 32) & CAP_FULL_SET,
			  (d[0].inheritable | (uint64_t)d[1].inheritable << 32) & CAP_FULL_SET);
}
