/*
 * The ptrace platform's table: making aspaces and cpus, and the small operations.
 *
 * A new aspace is a fork of the template, a guest's fork is a fork of its own stub, a thread is a thread of the stub: all
 * three are a clone() injected into an existing, stopped host thread, followed by a tracer for the child. The template's
 * own tracer is made at the first use, so that init() leaves no thread behind. From the first fork on one aspace is kept ready for an exec.
 */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "platform/hostproc.h"
#include "platform/ptrace/internal.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

/* For room for an exec, where the host limits processes. */
#define ROOM_WAIT_NS NSEC_PER_SEC
#define ROOM_TRIES 100

static struct mutex template_lock = MUTEX_INIT;
static struct pcpu *template_cpu; /* template_lock */
static struct cpu *spare;         /* template_lock: for exec, from the first fork on; or NULL */
static _Atomic bool forked;

static struct pcpu *pcpu_of(struct cpu *cpu)
{
	return container_of(cpu, struct pcpu, cpu);
}

static int ptrace_init(const struct platform_config *config)
{
	ptrace_client = config->client;
	place_init();
	return stub_init(config);
}

/* The template may have been seized on its way: lets it go on until it waits. */
static long boot_finish(struct pcpu *c, void *arg __unused)
{
	bool waits, entering = false;
	struct k_user_regs r;
	int status;

	for (;;) {
		if (c->lost || ptrace(PTRACE_GETREGS, c->tid, 0, &r) < 0)
			return -ESRCH;
		waits = r.rip >= STUB_ADDR(ptrace_stub_wait) && r.rip < STUB_ADDR(ptrace_stub_call);
		if (waits && !entering)
			return xstate_set(c, NULL, 0);
		/* Out of the stop at pause()'s entry, where the filter has yet to see the call's number. */
		if (waits)
			ptrace(PTRACE_INTERRUPT, c->tid, 0, 0);
		if (ptrace(waits ? PTRACE_CONT : PTRACE_SYSCALL, c->tid, 0, 0) < 0)
			return -ESRCH;
		entering = tracee_wait(c, &status) && status >> 16 == 0;
	}
}

static int template_start(void)
{
	struct aspace *a = aspace_new(stub.template_pid);
	struct pcpu *c;
	int err;

	if (!a)
		return -ENOMEM;
	err = tracer_start(a, a->pid, true, NULL, &c);
	aspace_put(a);
	if (err)
		return err;
	err = (int)tracer_call(c, boot_finish, NULL);
	if (err)
		tracer_put(c);
	else
		template_cpu = c;
	return err;
}

struct clone_request {
	uint64_t flags;
};

static long clone_run(struct pcpu *c, void *arg)
{
	struct clone_request *r = arg;

	return inject_syscall(c, ptrace_stub_clone, SYS_clone, (const uint64_t[6]){r->flags});
}

/* A new process with c's memory and registers. */
static int process_fork(struct pcpu *c, struct cpu **ret_cpu)
{
	struct clone_request r = {STUB_CLONE_PROCESS};
	long pid = tracer_call(c, clone_run, &r);
	struct pcpu *child;
	struct aspace *a;
	int err = -ENOMEM;

	if (pid < 0)
		return pid == -ESRCH ? -EAGAIN : (int)pid;
	a = aspace_new((pid_t)pid);
	if (a)
		err = tracer_start(a, (pid_t)pid, true, c, &child);
	if (a)
		aspace_put(a);
	if (err) {
		stub_discard((pid_t)pid);
		return err;
	}
	*ret_cpu = &child->cpu;
	return 0;
}

static void ptrace_cpu_put(struct cpu *cpu);

static struct cpu *spare_take(void)
{
	struct cpu *c;

	pthread_mutex_lock(&template_lock.m);
	c = spare;
	spare = NULL;
	pthread_mutex_unlock(&template_lock.m);
	if (!c || !c->aspace->lost)
		return c;
	ptrace_cpu_put(c); /* somebody has killed it */
	return NULL;
}

/* What is forked is likely to exec: where the host has no room for that, the fork fails, as programs expect, and not the exec. */
static int spare_make(void)
{
	int err = 0;

	pthread_mutex_lock(&template_lock.m);
	if (!spare)
		err = process_fork(template_cpu, &spare);
	pthread_mutex_unlock(&template_lock.m);
	return err;
}

static int ptrace_aspace_create(struct cpu **ret_cpu)
{
	const struct timespec pause = ns_to_timespec(ROOM_WAIT_NS / ROOM_TRIES);
	int err = 0;

	pthread_mutex_lock(&template_lock.m);
	if (!template_cpu)
		err = template_start();
	pthread_mutex_unlock(&template_lock.m);
	if (err)
		return err;
	/* Several execs share one spare: each makes room for the next, when its old stub has gone. */
	for (int tries = 0; tries < ROOM_TRIES; tries++) {
		*ret_cpu = spare_take();
		err = *ret_cpu ? 0 : process_fork(template_cpu, ret_cpu);
		if (err != -EAGAIN || !forked)
			break;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return err;
}

static int ptrace_aspace_fork(struct cpu *parent, struct cpu **ret_cpu)
{
	int err = spare_make();

	forked = true;
	return err ? err : process_fork(pcpu_of(parent), ret_cpu);
}

/* A parked cpu of the aspace, back in use; NULL if there is none. */
static struct pcpu *parked_take(struct aspace *a)
{
	struct pcpu *c, *found = NULL;

	mutex_lock(&a->lock, L_ASPACE);
	list_for_each(c, &a->parked, link) {
		if (c->lost)
			continue;
		found = c;
		break;
	}
	if (found) {
		list_remove(&found->link);
		list_append(&a->cpus, &found->link);
		a->parked_count--;
		a->users++;
		a->given++;
	}
	mutex_unlock(&a->lock, L_ASPACE);
	return found;
}

static long fp_get(struct pcpu *c, void *arg)
{
	return xstate_get(c, arg) ? 0 : -ENOMEM;
}

struct fp_image {
	const void *image;
	size_t size;
};

static long fp_set(struct pcpu *c, void *arg)
{
	struct fp_image *i = arg;

	return xstate_set(c, i->image, i->size);
}

/* Makes a parked cpu look as if it had been cloned from `from`. */
static int parked_prepare(struct pcpu *c, struct pcpu *from)
{
	struct fp_image i;
	int err = (int)tracer_call(from, fp_get, &i.size);

	c->regs = from->regs;
	c->cpu.client = NULL;
	c->kicked = false;
	tracer_signal(c, &c->reuse);
	if (!err) {
		i.image = from->fpstate;
		err = (int)tracer_call(c, fp_set, &i);
	}
	if (err)
		tracer_put(c);
	return err;
}

static int ptrace_cpu_create(struct cpu *from_cpu, struct cpu **ret_cpu)
{
	struct clone_request r = {STUB_CLONE_THREAD};
	struct pcpu *from = pcpu_of(from_cpu);
	struct pcpu *c = parked_take(from->cpu.aspace);
	long tid;
	int err;

	if (c) {
		err = parked_prepare(c, from);
	} else {
		tid = tracer_call(from, clone_run, &r);
		if (tid < 0)
			return tid == -ESRCH ? -EAGAIN : (int)tid;
		/* If it fails the thread stays in the stub's wait until its process ends. */
		err = tracer_start(from->cpu.aspace, (pid_t)tid, false, from, &c);
	}
	if (!err)
		*ret_cpu = &c->cpu;
	return err;
}

static void ptrace_cpu_start(struct cpu *cpu)
{
	struct pcpu *c = pcpu_of(cpu);

	tracer_signal(c, &c->start);
}

static void ptrace_cpu_put(struct cpu *cpu)
{
	tracer_put(pcpu_of(cpu));
}

static void kick_host(struct pcpu *c)
{
	if (c->in_guest)
		syscall(SYS_tgkill, c->cpu.aspace->pid, c->tid, KICK_SIGNAL);
}

static void ptrace_cpu_kick(struct cpu *cpu)
{
	struct pcpu *c = pcpu_of(cpu);

	if (!atomic_exchange(&c->kicked, true))
		kick_host(c);
}

static void ptrace_aspace_kill(struct cpu *any)
{
	struct aspace *a = any->aspace;
	struct pcpu *c;

	a->dead = true;
	mutex_lock(&a->lock, L_ASPACE);
	list_for_each(c, &a->cpus, link)
		kick_host(c);
	mutex_unlock(&a->lock, L_ASPACE);
}

static struct k_user_regs *ptrace_cpu_regs(struct cpu *cpu)
{
	return &pcpu_of(cpu)->regs;
}

static const void *ptrace_cpu_fpstate(struct cpu *cpu, size_t *ret_size)
{
	struct pcpu *c = pcpu_of(cpu);

	if (tracer_call(c, fp_get, ret_size) < 0)
		return NULL;
	return c->fpstate;
}

static int ptrace_cpu_set_fpstate(struct cpu *cpu, const void *image, size_t size)
{
	struct fp_image i = {image, size};

	return (int)tracer_call(pcpu_of(cpu), fp_set, &i);
}

static int ptrace_cpu_sync(struct cpu *cpu __unused)
{
	return 0;
}

static void ptrace_cpu_set_fast(struct cpu *cpu __unused, const struct cpu_fast *fast __unused)
{
}

static int ptrace_cpu_time(struct cpu *cpu, uint64_t *ret_ns)
{
	struct pcpu *c = pcpu_of(cpu);
	uint64_t now;
	int err = hostproc_thread_time(cpu->aspace->pid, c->tid, &now);

	if (!err)
		*ret_ns = now - MIN(c->time_base, now);
	return err;
}

static int ptrace_aspace_time(struct cpu *any, uint64_t *ret_user, uint64_t *ret_sys)
{
	return hostproc_process_time(any->aspace->pid, ret_user, ret_sys);
}

static int ptrace_aspace_rss(struct cpu *any, uint64_t *ret_bytes, uint64_t *ret_anon)
{
	return hostproc_rss(any->aspace->pid, ret_bytes, ret_anon);
}

static int ptrace_aspace_account(struct cpu *any, const char *name)
{
	return hostproc_open(any->aspace->pid, name);
}

static int ptrace_cpu_affinity(struct cpu *cpu, const void *mask, size_t size)
{
	return place_limit(pcpu_of(cpu), mask, size);
}

static const struct platform_vdso *ptrace_vdso(void)
{
	return &stub.vdso;
}

const struct platform_ops platform_ptrace = {
    .name = "ptrace",
    .init = ptrace_init,
    .probe = stub_probe,
    .aspace_create = ptrace_aspace_create,
    .aspace_fork = ptrace_aspace_fork,
    .cpu_create = ptrace_cpu_create,
    .cpu_start = ptrace_cpu_start,
    .cpu_put = ptrace_cpu_put,
    .cpu_kick = ptrace_cpu_kick,
    .aspace_kill = ptrace_aspace_kill,
    .watch_fd = ptrace_watch_fd,
    .watch = ptrace_watch,
    .aspace_lost = ptrace_aspace_lost,
    .cpu_regs = ptrace_cpu_regs,
    .cpu_fpstate = ptrace_cpu_fpstate,
    .cpu_set_fpstate = ptrace_cpu_set_fpstate,
    .fpstate_size = xstate_size,
    .aspace_map = ptrace_map,
    .aspace_unmap = ptrace_unmap,
    .aspace_protect = ptrace_protect,
    .aspace_advise = ptrace_advise,
    .aspace_move = ptrace_move,
    .aspace_sync = ptrace_sync,
    .aspace_mincore = ptrace_mincore,
    .cpu_sync = ptrace_cpu_sync,
    .cpu_read = ptrace_read,
    .cpu_write = ptrace_write,
    .cpu_cas32 = ptrace_cas32,
    .aspace_read = ptrace_read,
    .aspace_write = ptrace_write,
    .cpu_set_fast = ptrace_cpu_set_fast,
    .cpu_time = ptrace_cpu_time,
    .aspace_time = ptrace_aspace_time,
    .aspace_rss = ptrace_aspace_rss,
    .aspace_account = ptrace_aspace_account,
    .cpu_affinity = ptrace_cpu_affinity,
    .vdso = ptrace_vdso,
};
