/*
 * The life of a cpu: a host thread of a stub, and the sentry thread that traces it.
 *
 * ptrace() may only be called by the thread that seized the tracee. So each cpu has its own tracer thread, which also
 * runs the upcalls: it seizes the new host thread, which waits in the stub, and then alternates between
 *
 *	idle      the cpu is stopped: wait for cpu_start(), cpu_put(), or work that another thread asks for
 *	          (tracer_call(): memory operations on a cpu that was just created, for example);
 *	running   resume the guest, wait for its next stop, tell the client, until the client says CPU_STOP.
 *
 * A kick is the flag `kicked` and, if the host thread may be in guest code, a signal. The tracer publishes in_guest
 * before it looks at the flag for the last time, the kicker sets the flag before it looks at in_guest: one of them sees
 * the other. A signal that comes too late stops the thread once more for nothing.
 *
 * The end: a host thread cannot leave its process and be replaced cheaply, and the leader cannot leave before the others
 * at all (nobody could wait for it). So a cpu given back while others of its aspace are in use is parked, and handed out
 * again by cpu_create(); beyond PARKED_MAX it exits unless it is the leader. With the last user the process is killed
 * and each parked tracer reaps its own thread. aspace_kill() only sets a flag and kicks everybody: the host process goes
 * with the last put. That keeps the leader's tracer from waiting for threads whose upcalls have yet to end.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/hostproc.h"
#include "platform/ptrace/internal.h"
#include "sentry/base/slab.h"

#define PARKED_MAX 8
#define EFLAGS_INIT 0x202
#define TRACER_STACK (512 << 10)
#define TRACE_OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)

const struct platform_client *ptrace_client;
static struct slab pcpu_slab = SLAB_INIT(struct pcpu);
static struct slab aspace_slab = SLAB_INIT(struct aspace);
/* The cpu whose tracer this thread is. */
static __thread struct pcpu *self;

struct aspace *aspace_new(pid_t pid)
{
	struct aspace *a = slab_alloc(&aspace_slab);

	if (!a)
		return NULL;
	ref_init(&a->ref);
	a->pid = pid;
	mutex_init(&a->lock);
	mutex_init(&a->scratch);
	list_init(&a->cpus);
	list_init(&a->parked);
	ptrace_watch_add(a);
	return a;
}

void aspace_put(struct aspace *a)
{
	bool ended = a->ending;

	if (!ref_put(&a->ref))
		return;
	ptrace_watch_remove(a);
	slab_free(&aspace_slab, a);
	if (ended)
		aspace_end_over();
}

struct pcpu *tracer_self(void)
{
	return self;
}

void tracer_signal(struct pcpu *c, bool *flag)
{
	pthread_mutex_lock(&c->lock.m);
	*flag = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock.m);
}

long tracer_call(struct pcpu *c, long (*fn)(struct pcpu *c, void *arg), void *arg)
{
	struct tracer_request r = {.fn = fn, .arg = arg};

	if (self == c)
		return fn(c, arg);
	pthread_mutex_lock(&c->lock.m);
	while (c->request)
		pthread_cond_wait(&c->answered, &c->lock.m);
	c->request = &r;
	pthread_cond_signal(&c->wake);
	while (!r.done)
		pthread_cond_wait(&c->answered, &c->lock.m);
	pthread_mutex_unlock(&c->lock.m);
	return r.result;
}

void tracer_put(struct pcpu *c)
{
	struct aspace *a = c->cpu.aspace;

	if (--a->given == 0) {
		a->ending = true;
		aspace_end_begin();
	}
	tracer_signal(c, &c->put);
}

/* Called and returns with c->lock held. */
static void request_serve(struct pcpu *c)
{
	struct tracer_request *r = c->request;

	pthread_mutex_unlock(&c->lock.m);
	r->result = r->fn(c, r->arg);
	pthread_mutex_lock(&c->lock.m);
	r->done = true;
	c->request = NULL;
	pthread_cond_broadcast(&c->answered);
}

/* Waits for one of two flags, serving requests meanwhile; clears and tells which: true for `a`. */
static bool idle(struct pcpu *c, bool *a, bool *b)
{
	bool is_a;

	pthread_mutex_lock(&c->lock.m);
	for (;;) {
		if (c->request)
			request_serve(c);
		else if (*a || *b)
			break;
		else
			pthread_cond_wait(&c->wake, &c->lock.m);
	}
	is_a = *a;
	*a = *b = false;
	pthread_mutex_unlock(&c->lock.m);
	return is_a;
}

static void tracee_attach(struct pcpu *c)
{
	int status;

	c->lost = true;
	if (ptrace(PTRACE_SEIZE, c->tid, 0, TRACE_OPTIONS) < 0)
		return;
	c->lost = false;
	c->attached = c->seized = true;
	if (ptrace(PTRACE_INTERRUPT, c->tid, 0, 0) < 0)
		c->lost = true;
	else
		tracee_wait(c, &status);
}

/* Lets a dying host thread go and collects it. */
static void tracee_reap(struct pcpu *c)
{
	int status;

	while (c->attached) {
		ptrace(PTRACE_CONT, c->tid, 0, 0);
		tracee_wait(c, &status);
	}
	/* Killed before it was seized: an ordinary child, if it was a process. */
	if (c->leader && !c->seized)
		waitpid(c->tid, &status, __WALL);
}

/* What the stop means for the guest; false: nothing, go on. */
static bool stop_event(struct pcpu *c, int status, struct cpu_event *ev)
{
	int sig = WSTOPSIG(status);

	if (status >> 16)
		return false;
	if (ptrace(PTRACE_GETREGS, c->tid, 0, &c->regs) < 0) {
		c->lost = true;
		return false;
	}
	if (sig == (SIGTRAP | 0x80))
		return syscall_event(c, ev);
	if (sig != KICK_SIGNAL)
		return fault_event(c, ev);
	ev->kind = CPU_KICK;
	return atomic_exchange(&c->kicked, false);
}

static bool must_leave(struct pcpu *c, struct cpu_event *ev)
{
	struct aspace *a = c->cpu.aspace;

	if (c->lost || a->dead) {
		a->outside = a->outside || (c->killed && !a->dead);
		ev->kind = CPU_LOST;
		return true;
	}
	ev->kind = CPU_KICK;
	return c->kicked && atomic_exchange(&c->kicked, false);
}

/* Runs the guest until there is something to tell. */
static void guest_run(struct pcpu *c, struct cpu_event *ev)
{
	bool stopped;
	int status;

	for (;;) {
		*ev = (struct cpu_event){0};
		if (!c->lost && !tracee_set_regs(c, &c->regs))
			c->lost = true;
		c->in_guest = true;
		if (must_leave(c, ev))
			break;
		stopped = ptrace(PTRACE_SYSEMU, c->tid, 0, 0) == 0 && tracee_wait(c, &status);
		c->in_guest = false;
		if (!stopped)
			c->lost = true;
		else if (stop_event(c, status, ev))
			break;
	}
	c->in_guest = false;
}

static void cpu_run(struct pcpu *c)
{
	struct cpu_event ev;

	do {
		place_running(c);
		guest_run(c, &ev);
	} while (ptrace_client->event(&c->cpu, &ev) == CPU_RESUME);
	place_idle(c);
}

/* The last user has gone: nothing runs in the stub any more. */
static void aspace_end(struct aspace *a)
{
	struct pcpu *c, *next;

	kill(a->pid, SIGKILL);
	list_for_each_safe(c, next, &a->parked, link) {
		list_remove(&c->link);
		tracer_signal(c, &c->die);
	}
}

/* Takes the cpu out of use. True if it is parked now, false if its host thread shall go. */
static bool cpu_unuse(struct pcpu *c)
{
	struct aspace *a = c->cpu.aspace;
	bool park;

	hostproc_thread_time(a->pid, c->tid, &c->time_base);
	mutex_lock(&a->lock, L_ASPACE);
	list_remove(&c->link);
	if (--a->users == 0)
		aspace_end(a);
	park = a->users && !a->lost && (c->leader || (!c->lost && a->parked_count < PARKED_MAX));
	if (park) {
		list_append(&a->parked, &c->link);
		a->parked_count++;
	}
	mutex_unlock(&a->lock, L_ASPACE);
	return park;
}

static void thread_exit(struct pcpu *c)
{
	if (!c->lost && !c->leader)
		inject(c, SYS_exit);
	tracee_reap(c);
}

static void *tracer_main(void *arg)
{
	struct pcpu *c = arg;

	self = c;
	c->tracer_tid = gettid();
	tracee_attach(c);
	do {
		while (idle(c, &c->start, &c->put))
			cpu_run(c);
	} while (cpu_unuse(c) && idle(c, &c->reuse, &c->die));
	thread_exit(c);
	self = NULL;
	aspace_put(c->cpu.aspace);
	if (c->fpstate)
		kfree(c->fpstate, xstate_size(NULL));
	pthread_cond_destroy(&c->wake);
	pthread_cond_destroy(&c->answered);
	slab_free(&pcpu_slab, c);
	return NULL;
}

static void pcpu_init(struct pcpu *c, struct aspace *a, pid_t tid, bool leader)
{
	c->cpu.aspace = a;
	c->tid = tid;
	c->leader = leader;
	c->regs.eflags = EFLAGS_INIT;
	list_init(&c->link);
	list_init(&c->place_link);
	mutex_init(&c->lock);
	pthread_cond_init(&c->wake, NULL);
	pthread_cond_init(&c->answered, NULL);
}

static int thread_start(struct pcpu *c)
{
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, TRACER_STACK);
	err = pthread_create(&thread, &attr, tracer_main, c);
	pthread_attr_destroy(&attr);
	return -err;
}

static void aspace_link(struct aspace *a, struct pcpu *c)
{
	mutex_lock(&a->lock, L_ASPACE);
	list_append(&a->cpus, &c->link);
	a->users++;
	a->given++;
	mutex_unlock(&a->lock, L_ASPACE);
}

static void aspace_unlink(struct aspace *a, struct pcpu *c)
{
	mutex_lock(&a->lock, L_ASPACE);
	list_remove(&c->link);
	a->users--;
	a->given--;
	mutex_unlock(&a->lock, L_ASPACE);
}

int tracer_start(struct aspace *a, pid_t tid, bool leader, const struct pcpu *from, struct pcpu **ret)
{
	struct pcpu *c = slab_alloc(&pcpu_slab);
	int err;

	if (!c)
		return -ENOMEM;
	pcpu_init(c, a, tid, leader);
	if (from)
		c->regs = from->regs;
	place_inherit(c, self, self == from);
	ref_get(&a->ref);
	aspace_link(a, c);
	err = thread_start(c);
	if (err) {
		aspace_unlink(a, c);
		aspace_put(a);
		slab_free(&pcpu_slab, c);
		return err;
	}
	*ret = c;
	return 0;
}
