/*
 * The first process. It has no parent and leads its own session and process group; the front end gives it files, identity, limits
 * and a program.
 */
#include <string.h>

#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "net/netstack.h"
#include "sentry/base/cred.h"
#include "sentry/ipc.h"
#include "sentry/system.h"
#include "sentry/task_impl.h"

static const struct rlimit64 default_limits[RLIM_NLIMITS] = {
    [RLIMIT_CPU] = {RLIM64_INFINITY, RLIM64_INFINITY},
    [RLIMIT_FSIZE] = {RLIM64_INFINITY, RLIM64_INFINITY},
    [RLIMIT_DATA] = {RLIM64_INFINITY, RLIM64_INFINITY},
    [RLIMIT_STACK] = {8ull << 20, RLIM64_INFINITY},
    [RLIMIT_CORE] = {0, RLIM64_INFINITY},
    [RLIMIT_RSS] = {RLIM64_INFINITY, RLIM64_INFINITY},
    [RLIMIT_NPROC] = {RLIM64_INFINITY, RLIM64_INFINITY},
    [RLIMIT_NOFILE] = {1024, 1ull << 20},
    [RLIMIT_MEMLOCK] = {8ull << 20, 8ull << 20},
    [RLIMIT_AS] = {RLIM64_INFINITY, RLIM64_INFINITY},
    [RLIMIT_LOCKS] = {RLIM64_INFINITY, RLIM64_INFINITY},
    [RLIMIT_SIGPENDING] = {31000, 31000},
    [RLIMIT_MSGQUEUE] = {819200, 819200},
    [RLIMIT_NICE] = {0, 0},
    [RLIMIT_RTPRIO] = {0, 0},
    [RLIMIT_RTTIME] = {RLIM64_INFINITY, RLIM64_INFINITY},
};

static int init_group(struct task *t, const struct init_spec *spec)
{
	const struct rlimit64 *limits = spec->rlimits ? spec->rlimits : default_limits;

	t->tg = tg_alloc();
	if (!t->tg)
		return -ENOMEM;
	memcpy(t->tg->rlimit, limits, sizeof(t->tg->rlimit));
	t->nice = spec->nice;
	t->tg->sighand = sighand_create();
	if (!t->tg->sighand)
		return -ENOMEM;
	for (int i = 0; i < K_NSIG; i++)
		if (spec->ignored & ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP)) & SIGBIT(i + 1))
			t->tg->sighand->action[i].handler = (uint64_t)SIG_IGN;
	t->blocked = spec->blocked & ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
	return 0;
}

static void init_context(struct task *t, const struct init_spec *spec)
{
	t->ctx.cred = cred_get(spec->cred);
	t->ctx.fs = fs_struct_get(spec->fs);
	t->ctx.fdt = fdtable_get(spec->fdt);
	t->ctx.mnt_ns = mnt_ns_get(spec->mnt_ns);
	t->ctx.rlimit_fsize = t->tg->rlimit[RLIMIT_FSIZE].rlim_cur;
	t->ctx.rlimit_nofile = t->tg->rlimit[RLIMIT_NOFILE].rlim_cur;
	t->strace = task_strace ? &task_strace : NULL;
}

/* Its own session and group. L_PIDTREE is held. */
static int init_session(struct thread_group *tg) REQUIRES(L_PIDTREE)
{
	struct session *s = session_create(tg->pid);
	struct pgrp *pg = s ? pgrp_create(tg->pid, s) : NULL;

	if (pg)
		tg_set_pgrp(tg, pg);
	pgrp_put(pg);
	session_put(s);
	return pg ? 0 : -ENOMEM;
}

/* For requests that name a network namespace by one of its processes. */
static struct netns *net_of_pid(int32_t pid)
{
	struct task *t = task_find(pid);
	struct netns *net = t ? task_get_net(t) : NULL;

	task_put(t);
	return net;
}

int task_create_init(const struct init_spec *spec, struct task **ret)
{
	struct task *t = task_alloc();
	int err;

	if (!t)
		return -ENOMEM;
	signal_init();
	netns_by_pid = net_of_pid;
	err = init_group(t, spec);
	if (err)
		goto out;
	init_context(t, spec);
	t->ipc_ns = ipc_ns_create();
	if (!t->ipc_ns) {
		err = -ENOMEM;
		goto out;
	}
	err = task_exec_kernel(t, spec);
	if (err)
		goto out;
	t->tg->did_exec = false;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	err = task_publish_locked(t, NULL, 0);
	if (!err)
		err = init_session(t->tg);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
out:
	if (err) {
		task_discard(t);
		return err;
	}
	timers_rlimit_cpu(t->tg);
	*ret = t;
	return 0;
}
