/* Process ids, process groups, sessions: getpid(2), setpgid(2), setsid(2), credentials(7). */
#include "sentry/pid.h"
#include "syscalls/syscalls.h"

sysret_t sys_getpid(struct task *t)
{
	return t->ctx.tgid;
}

sysret_t sys_gettid(struct task *t)
{
	return t->ctx.tid;
}

sysret_t sys_getppid(struct task *t)
{
	int32_t pid;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	pid = t->tg->parent ? t->tg->parent->pid : 0;
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return pid;
}

sysret_t sys_set_tid_address(struct task *t, uaddr_t addr)
{
	t->clear_child_tid = addr;
	return t->ctx.tid;
}

enum { ID_PGRP, ID_SESSION };

/* The group or session of a process (0: one's own), or of the process that a thread id belongs to. */
static sysret_t id_of(struct task *t, int32_t pid, int which)
{
	sysret_t id = -ESRCH;
	struct task *target;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	target = pid ? task_find_locked(pid) : t;
	if (target && target->tg->pgrp)
		id = which == ID_PGRP ? target->tg->pgrp->id : target->tg->pgrp->session->id;
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return id;
}

sysret_t sys_getpgid(struct task *t, int32_t pid)
{
	return id_of(t, pid, ID_PGRP);
}

sysret_t sys_getpgrp(struct task *t)
{
	return id_of(t, 0, ID_PGRP);
}

sysret_t sys_getsid(struct task *t, int32_t pid)
{
	return id_of(t, pid, ID_SESSION);
}

/* Whom setpgid may move: itself, or a child that has not executed another program yet. */
static int setpgid_target(struct task *t, int32_t pid, struct thread_group **ret) REQUIRES(L_PIDTREE)
{
	struct task *target = task_find_locked(pid);
	struct thread_group *tg;

	if (!target)
		return -ESRCH;
	tg = target->tg;
	if (tg->pid != pid)
		return -EINVAL;
	if (tg->parent == t->tg) {
		if (tg->pgrp->session != t->tg->pgrp->session)
			return -EPERM;
		if (tg->did_exec)
			return -EACCES;
	} else if (tg != t->tg) {
		return -ESRCH;
	}
	if (tg->pgrp->session->id == tg->pid)
		return -EPERM;
	*ret = tg;
	return 0;
}

static int setpgid_move(struct thread_group *tg, int32_t pgid) REQUIRES(L_PIDTREE)
{
	struct session *s = tg->pgrp->session;
	struct pgrp *pg = pgrp_find_locked(pgid);

	if (pg && pg->session != s)
		return -EPERM;
	if (pg) {
		tg_set_pgrp(tg, pg);
		return 0;
	}
	if (pgid != tg->pid)
		return -EPERM;
	pg = pgrp_create(pgid, s);
	if (!pg)
		return -ENOMEM;
	tg_set_pgrp(tg, pg);
	pgrp_put(pg);
	return 0;
}

sysret_t sys_setpgid(struct task *t, int32_t pid, int32_t pgid)
{
	struct thread_group *tg;
	int err;

	if (!pid)
		pid = t->tg->pid;
	if (!pgid)
		pgid = pid;
	if (pgid < 0)
		return -EINVAL;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	err = setpgid_target(t, pid, &tg);
	if (!err)
		err = setpgid_move(tg, pgid);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return err;
}

static int new_session(struct thread_group *tg) REQUIRES(L_PIDTREE)
{
	struct session *s;
	struct pgrp *pg;

	/* Also true of a session's leader: its first group has its id. */
	if (pgrp_find_locked(tg->pid))
		return -EPERM;
	s = session_create(tg->pid);
	pg = s ? pgrp_create(tg->pid, s) : NULL;
	session_put(s);
	if (!pg)
		return -ENOMEM;
	tg_set_pgrp(tg, pg);
	pgrp_put(pg);
	return 0;
}

sysret_t sys_setsid(struct task *t)
{
	int err;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	err = new_session(t->tg);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return err ? err : t->tg->pid;
}
