/*
 * Looking at another task: references to what it uses. The task replaces these pointers under its group's lock (L_TASK) only, so that
 * whoever holds the lock may take a reference. ptrace(2) "access mode checking" is the caller's business.
 */
#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "net/netstack.h"
#include "sentry/base/cred.h"
#include "sentry/mm.h"
#include "sentry/task.h"

struct mm *task_get_mm(struct task *t)
{
	struct mm *mm;

	mutex_lock(&t->tg->lock, L_TASK);
	mm = t->mm ? mm_get(t->mm) : NULL;
	mutex_unlock(&t->tg->lock, L_TASK);
	return mm;
}

struct fdtable *task_get_fdtable(struct task *t)
{
	struct fdtable *fdt;

	mutex_lock(&t->tg->lock, L_TASK);
	fdt = t->ctx.fdt ? fdtable_get(t->ctx.fdt) : NULL;
	mutex_unlock(&t->tg->lock, L_TASK);
	return fdt;
}

struct fs_struct *task_get_fs(struct task *t)
{
	struct fs_struct *fs;

	mutex_lock(&t->tg->lock, L_TASK);
	fs = t->ctx.fs ? fs_struct_get(t->ctx.fs) : NULL;
	mutex_unlock(&t->tg->lock, L_TASK);
	return fs;
}

struct netns *task_get_net(struct task *t)
{
	struct netns *net;

	mutex_lock(&t->tg->lock, L_TASK);
	net = t->ctx.fs ? netns_get(netns_of(&t->ctx)) : NULL;
	mutex_unlock(&t->tg->lock, L_TASK);
	return net;
}

const struct cred *task_get_cred(struct task *t)
{
	const struct cred *cred;

	mutex_lock(&t->tg->lock, L_TASK);
	cred = t->ctx.cred ? cred_get(t->ctx.cred) : NULL;
	mutex_unlock(&t->tg->lock, L_TASK);
	return cred;
}
