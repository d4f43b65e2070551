/*
 * Who may look into another task: ptrace(2), "Ptrace access mode checking". Memory, descriptors, robust lists and
 * much of /proc/PID go through it.
 */
#include <linux/capability.h>

#include "sentry/base/cred.h"
#include "sentry/mm.h"
#include "sentry/task.h"

static bool same_identity(const struct cred *target, uint32_t uid, uint32_t gid)
{
	return uid == target->euid && uid == target->suid && uid == target->uid && gid == target->egid &&
	       gid == target->sgid && gid == target->gid;
}

static bool is_dumpable(struct task *target)
{
	struct mm *mm = task_get_mm(target);
	bool dumpable = !mm || mm->dumpable;

	mm_put(mm);
	return dumpable;
}

int task_may_access(struct task *t, struct task *target, bool fs)
{
	const struct cred *me = t->ctx.cred;
	const struct cred *c;
	bool ok;

	if (t->tg == target->tg || cred_capable(me, CAP_SYS_PTRACE))
		return 0;
	c = task_get_cred(target);
	if (!c)
		return -ESRCH;
	ok = same_identity(c, fs ? me->fsuid : me->uid, fs ? me->fsgid : me->gid) && is_dumpable(target) &&
	     !(c->cap_permitted & ~me->cap_permitted);
	cred_put(c);
	return ok ? 0 : -EPERM;
}
