/*
 * pidfds: pidfd_open(2), CLONE_PIDFD. A pidfd keeps the process object, not the process: it stays valid, and refers
 * to nobody else, after the process has been waited for. It is readable for poll(2) once the process has ended, and
 * hung up once it has been collected.
 */
#include "sentry/pidfd.h"

#include <poll.h>
#include <stdio.h>

#include "sentry/base/slab.h"
#include "sentry/pid.h"

struct pidfd {
	struct thread_group *tg; /* a reference */
	struct task *thread;     /* a reference; NULL: the process */
};

static struct slab pidfd_slab = SLAB_INIT(struct pidfd);

static uint32_t pidfd_poll(struct file *f, struct poll_table *p)
{
	struct pidfd *pf = f->priv;
	bool dead, gone;

	poll_wait(p, &pf->tg->exit_wait);
	dead = pf->thread ? pf->thread->dead : pf->tg->zombie;
	gone = pf->thread && pf->thread != pf->tg->leader ? dead : dead && !pf->tg->leader;
	return (dead ? POLLIN | POLLRDNORM : 0) | (gone ? POLLHUP : 0);
}

static void pidfd_release(struct file *f)
{
	struct pidfd *pf = f->priv;

	tg_put(pf->tg);
	task_put(pf->thread);
	slab_free(&pidfd_slab, pf);
}

static void pidfd_show(struct file *f, char *buf, size_t size)
{
	struct pidfd *pf = f->priv;
	int32_t pid = pf->thread ? pf->thread->ctx.tid : pf->tg->pid;

	if (!pf->tg->leader)
		pid = -1;
	snprintf(buf, size, "Pid:\t%d\nNSpid:\t%d\n", pid, pid);
}

static const struct file_ops pidfd_ops = {
    .poll = pidfd_poll,
    .release = pidfd_release,
    .show_fdinfo = pidfd_show,
};

int pidfd_create(struct ctx *c, struct task *t, int flags, struct file **ret)
{
	struct pidfd *pf = slab_alloc(&pidfd_slab);
	int err;

	if (!pf)
		return -ENOMEM;
	pf->tg = tg_get(t->tg);
	if (flags & PIDFD_THREAD)
		pf->thread = task_get(t);
	err = anon_file_create(c, "[pidfd]", 0, &pidfd_ops, pf, O_RDWR | (flags & (O_NONBLOCK | PIDFD_THREAD)), ret);
	if (err) {
		tg_put(pf->tg);
		task_put(pf->thread);
		slab_free(&pidfd_slab, pf);
	}
	return err;
}

struct thread_group *pidfd_group(struct file *f, struct task **ret_thread)
{
	struct pidfd *pf = f->priv;

	if (f->ops != &pidfd_ops)
		return NULL;
	if (ret_thread)
		*ret_thread = pf->thread ? task_get(pf->thread) : NULL;
	return tg_get(pf->tg);
}
