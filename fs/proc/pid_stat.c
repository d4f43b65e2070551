/*
 * The numbers of a process: stat, status, statm, limits. proc_pid_stat(5), proc_pid_status(5). CPU times come from the platform; what this kernel
 * does not count (faults of a page, switches) is 0.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "fs/proc/proc.h"
#include "platform/platform.h"
#include "fs/dev/tty.h"
#include "sentry/base/clock.h"
#include "sentry/base/cred.h"
#include "sentry/mm.h"
#include "sentry/system.h"
#include "sentry/task.h"

/* What both stat and status say, gathered under the locks that each part needs. */
struct pid_facts {
	char comm[16], state;
	int32_t pid, tid, ppid, pgid, sid, tracer, tty_pgrp;
	dev_t tty;
	unsigned threads;
	uint64_t utime, stime, cutime, cstime; /* ns */
	int nice;
	int64_t start; /* ns since the guest's boot */
	uint64_t vsize, rss, stack_start, start_code, end_code, start_data, end_data, brk, arg_start, arg_end,
	    env_start, env_end;
	uint64_t data_vm, exec_vm, stack_vm, locked_vm; /* pages */
	k_sigset_t pending, shared_pending, blocked, ignored, caught;
	int exit_code, policy, priority;
	bool has_mm;
};

static char task_state(const struct task *t)
{
	if (t->tg->zombie || t->dead)
		return 'Z';
	if (t->stop_waiting)
		return 'T';
	return parker_sleeping(&t->ctx.parker) ? 'S' : 'R';
}

static void gather_tree(struct task *t, struct pid_facts *f)
{
	struct thread_group *tg = t->tg;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	f->pid = tg->pid;
	f->tid = t->ctx.tid;
	f->ppid = tg->parent ? tg->parent->pid : 0;
	f->pgid = tg->pgrp ? tg->pgrp->id : 0;
	f->sid = tg->pgrp && tg->pgrp->session ? tg->pgrp->session->id : 0;
	f->threads = MAX(tg->task_count, 1u);
	f->tty_pgrp = -1;
	if (tg->pgrp && tg->pgrp->session)
		tty_of_session(tg->pgrp->session, &f->tty, &f->tty_pgrp);
	f->state = task_state(t);
	f->exit_code = tg->exit_code;
	mutex_unlock(&pidtree_lock, L_PIDTREE);
}

static void gather_signals(struct task *t, struct pid_facts *f) NO_TSA
{
	struct sighand *sh = sighand_lock_tg(t->tg);

	if (!sh)
		return;
	sigmask_look(t);
	f->pending = t->pending.set;
	f->shared_pending = t->tg->pending.set;
	f->blocked = t->blocked;
	for (int i = 0; i < K_NSIG; i++) {
		if (sh->action[i].handler == (uint64_t)(uintptr_t)SIG_IGN)
			f->ignored |= SIGBIT(i + 1);
		else if (sh->action[i].handler != (uint64_t)(uintptr_t)SIG_DFL)
			f->caught |= SIGBIT(i + 1);
	}
	sighand_unlock(sh);
}

static void gather_mm(struct task *t, struct pid_facts *f)
{
	struct mm *mm = task_get_mm(t);

	if (!mm)
		return;
	f->has_mm = true;
	mutex_lock(&mm->lock, L_MM);
	f->vsize = mm->total_vm << PAGE_SHIFT;
	f->data_vm = mm->data_vm;
	f->exec_vm = mm->exec_vm;
	f->stack_vm = mm->stack_vm;
	f->locked_vm = mm->locked_vm;
	f->start_code = mm->start_code;
	f->end_code = mm->end_code;
	f->start_data = mm->start_data;
	f->end_data = mm->end_data;
	f->brk = mm->start_brk;
	f->stack_start = mm->start_stack;
	f->arg_start = mm->arg_start;
	f->arg_end = mm->arg_end;
	f->env_start = mm->env_start;
	f->env_end = mm->env_end;
	mutex_unlock(&mm->lock, L_MM);
	mm_put(mm);
	(void)task_rss(t, &f->rss);
}

static int gather(const struct pseudo_ref *r, struct pid_facts *f)
{
	struct task *t = proc_task(r);
	struct usage u;

	if (!t)
		return -ESRCH;
	memset(f, 0, sizeof(*f));
	gather_tree(t, f);
	gather_signals(t, f);
	gather_mm(t, f);
	tg_usage(t->tg, &u);
	mutex_lock(&t->tg->lock, L_TASK);
	memcpy(f->comm, t->comm, sizeof(f->comm));
	f->comm[sizeof(f->comm) - 1] = 0;
	f->utime = u.utime;
	f->stime = u.stime;
	f->cutime = t->tg->child_usage.utime;
	f->cstime = t->tg->child_usage.stime;
	f->nice = t->nice;
	f->policy = t->sched_policy;
	f->priority = t->sched_priority;
	f->start = MAX(t->tg->start_time - machine.boot_boottime, 0);
	mutex_unlock(&t->tg->lock, L_TASK);
	task_put(t);
	return 0;
}

static uint64_t ticks(uint64_t ns)
{
	return ns / 10000000;
}

int proc_pid_stat_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	struct pid_facts f;
	struct task *t;
	int err = gather(r, &f);
	bool see;

	if (err)
		return err;
	t = proc_task(r);
	see = t && proc_may_read(c, t) == 0;
	task_put(t);
	/* 1-13 */
	seq_printf(s, "%d (%s) %c %d %d %d %u %d 4194304 0 0 0 0 ", f.tid, f.comm, f.state, f.ppid, f.pgid, f.sid,
		   (unsigned)f.tty, f.tty_pgrp);
	/* 14-22 */
	seq_printf(s, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d %d %u 0 %" PRIu64, ticks(f.utime),
		   ticks(f.stime), ticks(f.cutime), ticks(f.cstime), 20 + f.nice, f.nice, f.threads,
		   ticks((uint64_t)f.start));
	/* 23-30 */
	seq_printf(s, " %" PRIu64 " %" PRIu64 " 18446744073709551615 %" PRIu64 " %" PRIu64 " %" PRIu64 " 0 0", f.vsize,
		   f.rss >> PAGE_SHIFT, see ? f.start_code : 1, see ? f.end_code : 1, see ? f.stack_start : 0);
	/* 31-44 */
	seq_printf(s, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " 0 0 0 17 0 %d %d 0 0 0", f.pending & INT32_MAX,
		   f.blocked & INT32_MAX, f.ignored & INT32_MAX, f.caught & INT32_MAX, f.priority, f.policy);
	/* 45-52 */
	if (!see)
		f.start_data = f.end_data = f.brk = f.arg_start = f.arg_end = f.env_start = f.env_end = 0;
	seq_printf(s, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d\n",
		   f.start_data, f.end_data, f.brk, f.arg_start, f.arg_end, f.env_start, f.env_end,
		   see && f.state == 'Z' ? f.exit_code : 0);
	return 0;
}

int proc_pid_statm_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	struct pid_facts f;
	int err = gather(r, &f);

	if (err)
		return err;
	seq_printf(s, "%" PRIu64 " %" PRIu64 " 0 %" PRIu64 " 0 %" PRIu64 " 0\n", f.vsize >> PAGE_SHIFT,
		   f.rss >> PAGE_SHIFT, f.exec_vm, f.data_vm + f.stack_vm);
	return 0;
}

static const char *state_text(char state)
{
	switch (state) {
	case 'R':
		return "R (running)";
	case 'T':
		return "T (stopped)";
	case 'Z':
		return "Z (zombie)";
	case 'D':
		return "D (disk sleep)";
	default:
		return "S (sleeping)";
	}
}

static void status_memory(struct seq *s, const struct pid_facts *f)
{
	const struct {
		const char *name;
		uint64_t kb;
	} lines[] = {
	    {"VmPeak", f->vsize >> 10},
	    {"VmSize", f->vsize >> 10},
	    {"VmLck", f->locked_vm << 2},
	    {"VmPin", 0},
	    {"VmHWM", f->rss >> 10},
	    {"VmRSS", f->rss >> 10},
	    {"RssAnon", f->rss >> 10},
	    {"RssFile", 0},
	    {"RssShmem", 0},
	    {"VmData", f->data_vm << 2},
	    {"VmStk", f->stack_vm << 2},
	    {"VmExe", f->exec_vm << 2},
	    {"VmLib", 0},
	    {"VmPTE", 0},
	    {"VmSwap", 0},
	    {"HugetlbPages", 0},
	};

	if (!f->has_mm)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		seq_printf(s, "%s:\t%8" PRIu64 " kB\n", lines[i].name, lines[i].kb);
}

static void status_cred(struct seq *s, const struct cred *cred)
{
	seq_printf(s, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", cred->uid, cred->euid, cred->suid, cred->fsuid,
		   cred->gid, cred->egid, cred->sgid, cred->fsgid);
}

static void status_groups(struct seq *s, const struct cred *cred)
{
	seq_puts(s, "Groups:\t");
	for (size_t i = 0; i < cred->group_count; i++)
		seq_printf(s, "%u ", cred->groups[i]);
	seq_puts(s, "\n");
}

static void status_caps(struct seq *s, const struct cred *cred)
{
	seq_printf(s, "CapInh:\t%016" PRIx64 "\nCapPrm:\t%016" PRIx64 "\nCapEff:\t%016" PRIx64 "\n",
		   cred->cap_inheritable, cred->cap_permitted, cred->cap_effective);
	seq_printf(s, "CapBnd:\t%016" PRIx64 "\nCapAmb:\t%016" PRIx64 "\nNoNewPrivs:\t%d\n", cred->cap_bounding,
		   cred->cap_ambient, cred->no_new_privs);
}

static void status_cpus(struct seq *s)
{
	seq_puts(s, "Seccomp:\t0\nSeccomp_filters:\t0\nSpeculation_Store_Bypass:\tvulnerable\n");
	seq_printf(s, "Cpus_allowed:\t%" PRIx64 "\nCpus_allowed_list:\t0",
		   machine.cpus < 64 ? (1ul << machine.cpus) - 1 : UINT64_MAX);
	if (machine.cpus > 1)
		seq_printf(s, "-%u", machine.cpus - 1);
	seq_puts(s, "\nMems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t0\n"
		    "nonvoluntary_ctxt_switches:\t0\n");
}

int proc_pid_status_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	struct task *t = proc_task(r);
	const struct cred *cred = t ? task_get_cred(t) : NULL;
	struct fs_struct *fs = t ? task_get_fs(t) : NULL;
	struct pid_facts f;
	int err = t ? gather(r, &f) : -ESRCH;

	if (!err) {
		seq_puts(s, "Name:\t");
		seq_escape(s, f.comm, "\n");
		seq_puts(s, "\n");
		if (fs)
			seq_printf(s, "Umask:\t%04o\n", fs->umask);
		seq_printf(s, "State:\t%s\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n",
			   state_text(f.state), f.pid, f.tid, f.ppid);
		if (cred)
			status_cred(s, cred);
		seq_puts(s, "FDSize:\t256\n");
		if (cred)
			status_groups(s, cred);
		seq_printf(s, "NStgid:\t%d\nNSpid:\t%d\nNSpgid:\t%d\nNSsid:\t%d\nKthread:\t0\n", f.pid, f.tid, f.pgid,
			   f.sid);
		status_memory(s, &f);
		seq_printf(s, "CoreDumping:\t0\nTHP_enabled:\t1\nThreads:\t%u\nSigQ:\t0/63000\n", f.threads);
		seq_printf(s, "SigPnd:\t%016" PRIx64 "\nShdPnd:\t%016" PRIx64 "\nSigBlk:\t%016" PRIx64 "\n", f.pending,
			   f.shared_pending, f.blocked);
		seq_printf(s, "SigIgn:\t%016" PRIx64 "\nSigCgt:\t%016" PRIx64 "\n", f.ignored, f.caught);
		if (cred)
			status_caps(s, cred);
		status_cpus(s);
	}
	cred_put(cred);
	fs_struct_put(fs);
	task_put(t);
	return err;
}

static void limit_value(struct seq *s, uint64_t v)
{
	size_t start = s->len;

	if (v == RLIM64_INFINITY)
		seq_puts(s, "unlimited");
	else
		seq_printf(s, "%" PRIu64, v);
	seq_pad(s, start, 21);
}

int proc_pid_limits_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	static const struct {
		const char *name, *unit;
	} limits[RLIM_NLIMITS] = {
	    [RLIMIT_CPU] = {"Max cpu time", "seconds"},
	    [RLIMIT_FSIZE] = {"Max file size", "bytes"},
	    [RLIMIT_DATA] = {"Max data size", "bytes"},
	    [RLIMIT_STACK] = {"Max stack size", "bytes"},
	    [RLIMIT_CORE] = {"Max core file size", "bytes"},
	    [RLIMIT_RSS] = {"Max resident set", "bytes"},
	    [RLIMIT_NPROC] = {"Max processes", "processes"},
	    [RLIMIT_NOFILE] = {"Max open files", "files"},
	    [RLIMIT_MEMLOCK] = {"Max locked memory", "bytes"},
	    [RLIMIT_AS] = {"Max address space", "bytes"},
	    [RLIMIT_LOCKS] = {"Max file locks", "locks"},
	    [RLIMIT_SIGPENDING] = {"Max pending signals", "signals"},
	    [RLIMIT_MSGQUEUE] = {"Max msgqueue size", "bytes"},
	    [RLIMIT_NICE] = {"Max nice priority", ""},
	    [RLIMIT_RTPRIO] = {"Max realtime priority", ""},
	    [RLIMIT_RTTIME] = {"Max realtime timeout", "us"},
	};
	struct task *t = proc_task(r);
	struct rlimit64 rlimit[RLIM_NLIMITS];

	if (!t)
		return -ESRCH;
	mutex_lock(&t->tg->lock, L_TASK);
	memcpy(rlimit, t->tg->rlimit, sizeof(rlimit));
	mutex_unlock(&t->tg->lock, L_TASK);
	task_put(t);
	seq_puts(s, "Limit                     Soft Limit           Hard Limit           Units     \n");
	for (size_t i = 0; i < RLIM_NLIMITS; i++) {
		size_t start = s->len;

		seq_puts(s, limits[i].name);
		seq_pad(s, start, 26);
		limit_value(s, rlimit[i].rlim_cur);
		limit_value(s, rlimit[i].rlim_max);
		start = s->len;
		seq_puts(s, limits[i].unit);
		seq_pad(s, start, 10);
		seq_puts(s, "\n");
	}
	return 0;
}
