/*
 * Identities: user and group ids, and what a change of user does to capabilities. credentials(7), capabilities(7)
 * "Effect of user ID changes on capabilities". A call works on a copy of the credentials, which replaces the old ones
 * as a whole.
 */
#include <linux/capability.h>
#include <linux/securebits.h>

#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/mm.h"
#include "sentry/task.h"
#include "syscalls/abi.h"
#include "syscalls/syscalls.h"

#define KEEP UINT32_MAX /* -1: leave this id as it is */
#define GROUPS_MAX 65536
#define FS_CAPS                                                                                                        \
	(1ull << CAP_CHOWN | 1ull << CAP_MKNOD | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_DAC_READ_SEARCH |              \
	 1ull << CAP_FOWNER | 1ull << CAP_FSETID | 1ull << CAP_LINUX_IMMUTABLE | 1ull << CAP_MAC_OVERRIDE)

sysret_t sys_getuid(struct task *t)
{
	return t->ctx.cred->uid;
}

sysret_t sys_geteuid(struct task *t)
{
	return t->ctx.cred->euid;
}

sysret_t sys_getgid(struct task *t)
{
	return t->ctx.cred->gid;
}

sysret_t sys_getegid(struct task *t)
{
	return t->ctx.cred->egid;
}

/* Takes over the reference to new. Who gains or changes identity is no longer open to those of the old one. */
static void commit(struct task *t, struct cred *new)
{
	const struct cred *old = t->ctx.cred;

	if (new->euid != old->euid || new->egid != old->egid || new->fsuid != old->fsuid || new->fsgid != old->fsgid ||
	    (new->cap_permitted & ~old->cap_permitted)) {
		t->mm->dumpable = false;
		t->pdeath_signal = 0;
	}
	task_set_cred(t, new);
}

static bool has_root(const struct cred *c)
{
	return c->uid == 0 || c->euid == 0 || c->suid == 0;
}

static void fixup_caps(const struct cred *old, struct cred *new)
{
	if (new->securebits & SECBIT_NO_SETUID_FIXUP)
		return;
	if (has_root(old) && !has_root(new)) {
		if (!(new->securebits &SECBIT_KEEP_CAPS))
			new->cap_permitted = new->cap_effective = 0;
		new->cap_ambient = 0;
	}
	if (old->euid == 0 && new->euid != 0)
		new->cap_effective = 0;
	if (old->euid != 0 && new->euid == 0)
		new->cap_effective = new->cap_permitted;
}

static sysret_t finish_uid(struct task *t, struct cred *new, bool allowed)
{
	if (!allowed) {
		cred_put(new);
		return -EPERM;
	}
	fixup_caps(t->ctx.cred, new);
	commit(t, new);
	return 0;
}

static sysret_t finish_gid(struct task *t, struct cred *new, bool allowed)
{
	if (allowed)
		commit(t, new);
	else
		cred_put(new);
	return allowed ? 0 : -EPERM;
}

sysret_t sys_setuid(struct task *t, uint32_t uid)
{
	const struct cred *old = t->ctx.cred;
	bool capable = cred_capable(old, CAP_SETUID);
	struct cred *new;

	if (uid == KEEP)
		return -EINVAL;
	new = cred_clone(old);
	if (!new)
		return -ENOMEM;
	if (capable)
		new->uid = new->suid = uid;
	new->euid = new->fsuid = uid;
	return finish_uid(t, new, capable || uid == old->uid || uid == old->suid);
}

sysret_t sys_setgid(struct task *t, uint32_t gid)
{
	const struct cred *old = t->ctx.cred;
	bool capable = cred_capable(old, CAP_SETGID);
	struct cred *new;

	if (gid == KEEP)
		return -EINVAL;
	new = cred_clone(old);
	if (!new)
		return -ENOMEM;
	if (capable)
		new->gid = new->sgid = gid;
	new->egid = new->fsgid = gid;
	return finish_gid(t, new, capable || gid == old->gid || gid == old->sgid);
}

sysret_t sys_setreuid(struct task *t, uint32_t ruid, uint32_t euid)
{
	const struct cred *old = t->ctx.cred;
	bool capable = cred_capable(old, CAP_SETUID);
	bool real_ok = ruid == KEEP || ruid == old->uid || ruid == old->euid;
	bool eff_ok = euid == KEEP || euid == old->uid || euid == old->euid || euid == old->suid;
	struct cred *new = cred_clone(old);

	if (!new)
		return -ENOMEM;
	if (ruid != KEEP)
		new->uid = ruid;
	if (euid != KEEP)
		new->euid = euid;
	if (ruid != KEEP || (euid != KEEP && euid != old->uid))
		new->suid = new->euid;
	new->fsuid = new->euid;
	return finish_uid(t, new, capable || (real_ok && eff_ok));
}

sysret_t sys_setregid(struct task *t, uint32_t rgid, uint32_t egid)
{
	const struct cred *old = t->ctx.cred;
	bool capable = cred_capable(old, CAP_SETGID);
	bool real_ok = rgid == KEEP || rgid == old->gid || rgid == old->egid;
	bool eff_ok = egid == KEEP || egid == old->gid || egid == old->egid || egid == old->sgid;
	struct cred *new = cred_clone(old);

	if (!new)
		return -ENOMEM;
	if (rgid != KEEP)
		new->gid = rgid;
	if (egid != KEEP)
		new->egid = egid;
	if (rgid != KEEP || (egid != KEEP && egid != old->gid))
		new->sgid = new->egid;
	new->fsgid = new->egid;
	return finish_gid(t, new, capable || (real_ok && eff_ok));
}

static bool is_one_of(uint32_t id, uint32_t a, uint32_t b, uint32_t c)
{
	return id == KEEP || id == a || id == b || id == c;
}

sysret_t sys_setresuid(struct task *t, uint32_t ruid, uint32_t euid, uint32_t suid)
{
	const struct cred *o = t->ctx.cred;
	bool allowed = cred_capable(o, CAP_SETUID) ||
		       (is_one_of(ruid, o->uid, o->euid, o->suid) && is_one_of(euid, o->uid, o->euid, o->suid) &&
			is_one_of(suid, o->uid, o->euid, o->suid));
	struct cred *new = cred_clone(o);

	if (!new)
		return -ENOMEM;
	if (ruid != KEEP)
		new->uid = ruid;
	if (euid != KEEP)
		new->euid = euid;
	if (suid != KEEP)
		new->suid = suid;
	new->fsuid = new->euid;
	return finish_uid(t, new, allowed);
}

sysret_t sys_setresgid(struct task *t, uint32_t rgid, uint32_t egid, uint32_t sgid)
{
	const struct cred *o = t->ctx.cred;
	bool allowed = cred_capable(o, CAP_SETGID) ||
		       (is_one_of(rgid, o->gid, o->egid, o->sgid) && is_one_of(egid, o->gid, o->egid, o->sgid) &&
			is_one_of(sgid, o->gid, o->egid, o->sgid));
	struct cred *new = cred_clone(o);

	if (!new)
		return -ENOMEM;
	if (rgid != KEEP)
		new->gid = rgid;
	if (egid != KEEP)
		new->egid = egid;
	if (sgid != KEEP)
		new->sgid = sgid;
	new->fsgid = new->egid;
	return finish_gid(t, new, allowed);
}

static sysret_t put_three(struct task *t, const uint32_t id[3], uaddr_t a, uaddr_t b, uaddr_t c)
{
	if (copy_out(&t->ctx, a, &id[0], 4) || copy_out(&t->ctx, b, &id[1], 4) || copy_out(&t->ctx, c, &id[2], 4))
		return -EFAULT;
	return 0;
}

sysret_t sys_getresuid(struct task *t, uaddr_t ruid, uaddr_t euid, uaddr_t suid)
{
	const struct cred *c = t->ctx.cred;

	return put_three(t, (uint32_t[]){c->uid, c->euid, c->suid}, ruid, euid, suid);
}

sysret_t sys_getresgid(struct task *t, uaddr_t rgid, uaddr_t egid, uaddr_t sgid)
{
	const struct cred *c = t->ctx.cred;

	return put_three(t, (uint32_t[]){c->gid, c->egid, c->sgid}, rgid, egid, sgid);
}

/* Both return the old id, whether it was changed or not. */
sysret_t sys_setfsuid(struct task *t, uint32_t uid)
{
	const struct cred *old = t->ctx.cred;
	uint32_t before = old->fsuid;
	struct cred *new;

	if (uid == KEEP || uid == before ||
	    !(cred_capable(old, CAP_SETUID) || is_one_of(uid, old->uid, old->euid, old->suid)))
		return before;
	new = cred_clone(old);
	if (!new)
		return before;
	new->fsuid = uid;
	if (!(new->securebits &SECBIT_NO_SETUID_FIXUP)) {
		if (before == 0)
			new->cap_effective &= ~FS_CAPS;
		if (uid == 0)
			new->cap_effective |= new->cap_permitted &FS_CAPS;
	}
	commit(t, new);
	return before;
}

sysret_t sys_setfsgid(struct task *t, uint32_t gid)
{
	const struct cred *old = t->ctx.cred;
	uint32_t before = old->fsgid;
	struct cred *new;

	if (gid == KEEP || gid == before ||
	    !(cred_capable(old, CAP_SETGID) || is_one_of(gid, old->gid, old->egid, old->sgid)))
		return before;
	new = cred_clone(old);
	if (!new)
		return before;
	new->fsgid = gid;
	commit(t, new);
	return before;
}

sysret_t sys_getgroups(struct task *t, int count, uaddr_t list)
{
	const struct cred *c = t->ctx.cred;

	if (count < 0)
		return -EINVAL;
	if (count == 0)
		return (sysret_t)c->group_count;
	if ((size_t)count < c->group_count)
		return -EINVAL;
	if (copy_out(&t->ctx, list, c->groups, c->group_count * sizeof(*c->groups)))
		return -EFAULT;
	return (sysret_t)c->group_count;
}

static int read_groups(struct task *t, uint32_t *groups, size_t count, uaddr_t list)
{
	if (copy_in(&t->ctx, groups, list, count * sizeof(*groups)))
		return -EFAULT;
	for (size_t i = 0; i < count; i++)
		if (groups[i] == KEEP)
			return -EINVAL;
	return 0;
}

sysret_t sys_setgroups(struct task *t, int count, uaddr_t list)
{
	size_t size = (size_t)(unsigned)count * sizeof(uint32_t);
	uint32_t *groups;
	struct cred *new;
	int err;

	if (!task_capable(t, CAP_SETGID))
		return -EPERM;
	if ((unsigned)count > GROUPS_MAX)
		return -EINVAL;
	groups = kalloc(MAX(size, 1ul));
	new = cred_clone(t->ctx.cred);
	err = groups && new ? read_groups(t, groups, (size_t)count, list) : -ENOMEM;
	if (!err)
		err = cred_set_groups(new, groups, (size_t)count);
	kfree(groups, MAX(size, 1ul));
	if (err)
		cred_put(new);
	else
		commit(t, new);
	return err;
}
