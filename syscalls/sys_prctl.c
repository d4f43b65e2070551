/*
 * prctl(2). An option is here if it does what it says; the others are EINVAL, as on a kernel that was built without
 * them. Unused arguments must be zero where Linux wants it.
 */
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>

#include "sentry/base/cred.h"
#include "sentry/mm.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#define DEFAULT_SLACK (50 * NSEC_PER_USEC)
#ifndef PR_GET_AUXV
#define PR_GET_AUXV 0x41555856
#endif

struct prctl_args {
	uint64_t a2, a3, a4, a5;
};

static sysret_t put_int(struct task *t, uint64_t addr, int value)
{
	return copy_out(&t->ctx, UADDR(addr), &value, sizeof(value));
}

static sysret_t set_name(struct task *t, uint64_t addr)
{
	char name[sizeof(t->comm)] = {0};
	ssize_t n = copy_in_string(&t->ctx, name, UADDR(addr), sizeof(name) - 1);

	if (n == -EFAULT)
		return -EFAULT;
	name[sizeof(name) - 1] = 0;
	mutex_lock(&t->tg->lock, L_TASK);
	memcpy(t->comm, name, sizeof(name));
	mutex_unlock(&t->tg->lock, L_TASK);
	return 0;
}

static sysret_t change_cred(struct task *t, void (*change)(struct cred *c, uint64_t arg), uint64_t arg)
{
	struct cred *new = cred_clone(t->ctx.cred);

	if (!new)
		return -ENOMEM;
	change(new, arg);
	task_set_cred(t, new);
	return 0;
}

static void change_no_new_privs(struct cred *c, uint64_t arg __unused)
{
	c->no_new_privs = true;
}

static void change_securebits(struct cred *c, uint64_t arg)
{
	c->securebits = (uint32_t)arg;
}

static void change_bounding(struct cred *c, uint64_t arg)
{
	c->cap_bounding &= ~(1ull << arg);
}

static void change_ambient(struct cred *c, uint64_t arg)
{
	c->cap_ambient = arg;
}

static sysret_t set_securebits(struct task *t, uint64_t bits)
{
	uint64_t old = t->ctx.cred->securebits;
	uint64_t locks = old & SECURE_ALL_LOCKS;

	if ((locks >> 1) & (old ^ bits) || locks & ~bits || bits & ~(uint64_t)(SECURE_ALL_LOCKS | SECURE_ALL_BITS) ||
	    !task_capable(t, CAP_SETPCAP))
		return -EPERM;
	return change_cred(t, change_securebits, bits);
}

static sysret_t set_keepcaps(struct task *t, uint64_t on)
{
	uint64_t bits = t->ctx.cred->securebits;

	if (on > 1)
		return -EINVAL;
	if (bits & SECBIT_KEEP_CAPS_LOCKED)
		return -EPERM;
	return change_cred(t, change_securebits, on ? bits | SECBIT_KEEP_CAPS : bits & ~(uint64_t)SECBIT_KEEP_CAPS);
}

static sysret_t drop_bounding(struct task *t, uint64_t cap)
{
	if (!task_capable(t, CAP_SETPCAP))
		return -EPERM;
	if (cap > CAP_LAST_CAP)
		return -EINVAL;
	return change_cred(t, change_bounding, cap);
}

static sysret_t cap_ambient(struct task *t, const struct prctl_args *a)
{
	const struct cred *c = t->ctx.cred;
	uint64_t bit;

	if (a->a2 == PR_CAP_AMBIENT_CLEAR_ALL)
		return a->a3 | a->a4 | a->a5 ? -EINVAL : change_cred(t, change_ambient, 0);
	if (a->a4 | a->a5 || a->a3 > CAP_LAST_CAP)
		return -EINVAL;
	bit = 1ull << a->a3;
	switch (a->a2) {
	case PR_CAP_AMBIENT_IS_SET:
		return !!(c->cap_ambient & bit);
	case PR_CAP_AMBIENT_RAISE:
		if (!(c->cap_permitted & c->cap_inheritable & bit) || (c->securebits & SECBIT_NO_CAP_AMBIENT_RAISE))
			return -EPERM;
		return change_cred(t, change_ambient, c->cap_ambient | bit);
	case PR_CAP_AMBIENT_LOWER:
		return change_cred(t, change_ambient, c->cap_ambient & ~bit);
	}
	return -EINVAL;
}

static bool mark_descendants(struct thread_group *tg, void *arg)
{
	for (struct thread_group *p = tg->parent; p; p = p->parent)
		if (p == arg)
			tg->has_subreaper = true;
	return true;
}

static sysret_t set_subreaper(struct task *t, uint64_t on)
{
	mutex_lock(&pidtree_lock, L_PIDTREE);
	t->tg->is_subreaper = on != 0;
	if (on)
		tg_for_each(mark_descendants, t->tg);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return 0;
}

static sysret_t get_auxv(struct task *t, const struct prctl_args *a)
{
	size_t size = sizeof(t->mm->auxv);

	if (a->a4 | a->a5)
		return -EINVAL;
	if (copy_out(&t->ctx, UADDR(a->a2), t->mm->auxv, MIN(size, a->a3)))
		return -EFAULT;
	return (sysret_t)size;
}

static sysret_t set_slack(struct task *t, uint64_t ns)
{
	t->timer_slack = (int64_t)ns <= 0 ? DEFAULT_SLACK : ns;
	return 0;
}

static sysret_t set_pdeathsig(struct task *t, uint64_t signo)
{
	if (signo > K_NSIG)
		return -EINVAL;
	t->pdeath_signal = (int32_t)signo;
	return 0;
}

static sysret_t set_dumpable(struct task *t, uint64_t value)
{
	if (value > 1)
		return -EINVAL;
	t->mm->dumpable = value;
	return 0;
}

static sysret_t set_no_new_privs(struct task *t, const struct prctl_args *a)
{
	if (a->a2 != 1 || a->a3 | a->a4 | a->a5)
		return -EINVAL;
	return change_cred(t, change_no_new_privs, 0);
}

static sysret_t get_name(struct task *t, uint64_t addr)
{
	char name[sizeof(t->comm)];

	mutex_lock(&t->tg->lock, L_TASK);
	memcpy(name, t->comm, sizeof(name));
	mutex_unlock(&t->tg->lock, L_TASK);
	return copy_out(&t->ctx, UADDR(addr), name, sizeof(name));
}

static sysret_t prctl_set(struct task *t, int option, const struct prctl_args *a)
{
	switch (option) {
	case PR_SET_PDEATHSIG:
		return set_pdeathsig(t, a->a2);
	case PR_SET_DUMPABLE:
		return set_dumpable(t, a->a2);
	case PR_SET_KEEPCAPS:
		return set_keepcaps(t, a->a2);
	case PR_SET_NAME:
		return set_name(t, a->a2);
	case PR_SET_TIMING:
		return a->a2 == PR_TIMING_STATISTICAL ? 0 : -EINVAL;
	case PR_SET_SECUREBITS:
		return set_securebits(t, a->a2);
	case PR_CAPBSET_DROP:
		return drop_bounding(t, a->a2);
	case PR_SET_TIMERSLACK:
		return set_slack(t, a->a2);
	case PR_TASK_PERF_EVENTS_DISABLE: /* there are none */
	case PR_TASK_PERF_EVENTS_ENABLE:
		return 0;
	case PR_SET_CHILD_SUBREAPER:
		return set_subreaper(t, a->a2);
	case PR_SET_NO_NEW_PRIVS:
		return set_no_new_privs(t, a);
	case PR_SET_MM:
	case PR_SET_IO_FLUSHER:
		return -EPERM;
	case PR_CAP_AMBIENT:
		return cap_ambient(t, a);
	}
	return -EINVAL;
}

static sysret_t prctl_get(struct task *t, int option, const struct prctl_args *a)
{
	const struct cred *c = t->ctx.cred;

	switch (option) {
	case PR_GET_PDEATHSIG:
		return put_int(t, a->a2, t->pdeath_signal);
	case PR_GET_DUMPABLE:
		return t->mm->dumpable;
	case PR_GET_KEEPCAPS:
		return !!(c->securebits & SECBIT_KEEP_CAPS);
	case PR_GET_NAME:
		return get_name(t, a->a2);
	case PR_GET_TIMING:
		return PR_TIMING_STATISTICAL;
	case PR_GET_SECCOMP:
		return 0;
	case PR_GET_TSC:
		return put_int(t, a->a2, PR_TSC_ENABLE);
	case PR_GET_SECUREBITS:
		return c->securebits;
	case PR_CAPBSET_READ:
		return a->a2 > CAP_LAST_CAP ? -EINVAL : (sysret_t)(c->cap_bounding >> a->a2 & 1);
	case PR_GET_TIMERSLACK:
		return (sysret_t)t->timer_slack;
	case PR_GET_CHILD_SUBREAPER:
		return put_int(t, a->a2, t->tg->is_subreaper);
	case PR_GET_NO_NEW_PRIVS:
		return a->a2 | a->a3 | a->a4 | a->a5 ? -EINVAL : c->no_new_privs;
	case PR_GET_TID_ADDRESS:
		return copy_out(&t->ctx, UADDR(a->a2), &t->clear_child_tid.v, sizeof(uint64_t));
	case PR_GET_THP_DISABLE:
		return a->a2 | a->a3 | a->a4 | a->a5 ? -EINVAL : 0;
	case PR_GET_AUXV:
		return get_auxv(t, a);
	}
	return prctl_set(t, option, a);
}

sysret_t sys_prctl(struct task *t, int option, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
	struct prctl_args a = {a2, a3, a4, a5};

	return prctl_get(t, option, &a);
}
