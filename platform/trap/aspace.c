/*
 * Aspaces and the life of their cpus.
 *
 * Two files hold what the sentry shares with all stubs: control pages (read-only for stubs) and thread areas. Each aspace has
 * an index, which is its place in both; each thread a slot in the aspace. Both files are sparse: only what is used
 * takes memory, and the thread areas of an aspace are punched out when it is gone, so that nothing of one guest process is
 * seen by the next.
 *
 * A fresh aspace is a fork of the template. A few are kept ready, with their first thread waiting in its first report; a
 * thread of our own refills that pool, because exec should not wait for a fork, nor fail where the host limits processes: then a fork
 * fails, as programs expect, while there is no spare, and an exec waits until an exec before it has made room. A cpu that is given back while others
 * of its aspace live is parked: its thread stays in its report and serves the next cpu_create().
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "platform/hostneed.h"
#include "platform/hostproc.h"
#include "platform/trap/trap.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"

#define POOL_TARGET 2
#define SPARE_WAIT_S 1 /* for a spare, where the host has no room for another process */
#define ASPACES_MAX 16384

#define FD_HIGH 64

static struct slab cpu_slab = SLAB_INIT(struct trap_cpu);

static struct aspace *aspaces; /* [0] is the template */
static unsigned aspace_count;
static int thr_fd = -1;
static char *ctl_base, *thr_base;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t refill_wanted = PTHREAD_COND_INITIALIZER;
static pthread_cond_t refilled = PTHREAD_COND_INITIALIZER;
static struct aspace *free_aspaces; /* lock */
static unsigned next_aspace = 1;    /* lock: never used so far */
static struct trap_cpu *pool;       /* lock */
static unsigned pool_count;         /* lock */
static bool refiller_runs;          /* lock */
static bool starved;                /* lock: the host had no room for the last spare */
static int deaths = -1;             /* epoll over the processes that nobody is to kill but we */

static void aspace_place(struct aspace *a)
{
	a->index = (unsigned)(a - aspaces);
	a->ctl = ctl_base + (size_t)a->index * CTL_SIZE;
	a->thr = thr_base + (size_t)a->index * THR_SIZE;
}

static struct aspace *aspace_alloc(void)
{
	struct aspace *a;

	pthread_mutex_lock(&lock);
	a = free_aspaces;
	if (a)
		free_aspaces = a->next;
	else if (next_aspace < aspace_count)
		a = &aspaces[next_aspace++];
	pthread_mutex_unlock(&lock);
	if (!a)
		return NULL;
	aspace_place(a);
	a->pid = 0;
	a->pidfd = -1;
	a->mother_at = NOWHERE;
	a->cpus = 0;
	a->top_slot = 0;
	a->parked = NULL;
	a->parked_count = 0;
	a->patches = NULL;
	a->killed = a->lost = a->outside = false;
	memset(a->slots, 0, sizeof(a->slots));
	a->slots[0] = 1; /* the mother's */
	mutex_init(&a->lock);
	*(uint32_t *)(a->ctl + M_SEQ) = 0;
	return a;
}

/* The process is gone, or there never was one. */
static void aspace_free(struct aspace *a)
{
	if (a->pidfd >= 0)
		close(a->pidfd);
	a->pidfd = -1;
	patch_free(a);
	fallocate(thr_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(a->index * THR_SIZE), THR_SIZE);
	if (a->top_slot > 1)
		madvise(a->ctl + 2 * CTL_PAGE, (size_t)(a->top_slot - 1) * CTL_PAGE, MADV_REMOVE);
	pthread_mutex_lock(&lock);
	a->pid = 0;
	a->next = free_aspaces;
	free_aspaces = a;
	if (starved)
		pthread_cond_signal(&refill_wanted);
	pthread_mutex_unlock(&lock);
}

void aspace_kill(struct aspace *a)
{
	a->killed = true;
	syscall(SYS_pidfd_send_signal, a->pidfd, SIGKILL, NULL, 0);
}

void trap_aspace_kill(struct cpu *any)
{
	aspace_kill(any->aspace);
}

/* ---- processes that somebody else kills ---- */

/* epoll reports index and pid, so that a late report is not taken for that of the next process. */
#define DEATH_INDEX 32
#define LAST_THREAD_MS 5000 /* on a busy host; from one thread's end to the process's, if that ends, too */

static int watch_add(const struct aspace *a)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = (uint64_t)a->index << DEATH_INDEX | (uint32_t)a->pid};

	return epoll_ctl(deaths, EPOLL_CTL_ADD, a->pidfd, &e) < 0 ? -errno : 0;
}

static void watch_remove(const struct aspace *a)
{
	epoll_ctl(deaths, EPOLL_CTL_DEL, a->pidfd, NULL);
}

/* A guest can end its own process, but not like this: nobody is told of what he does to himself. */
static void note_end(struct aspace *a)
{
	siginfo_t si = {0};

	if (waitid(P_PIDFD, (id_t)a->pidfd, &si, WEXITED | WNOHANG | WNOWAIT) || !si.si_pid)
		return;
	a->outside = !a->killed && si.si_code == CLD_KILLED && si.si_status == SIGKILL;
	a->lost = true;
}

void aspace_note_lost(struct aspace *a)
{
	struct pollfd p = {.fd = a->pidfd, .events = POLLIN};

	if (!a->killed && !a->lost && poll(&p, 1, LAST_THREAD_MS) > 0)
		note_end(a);
}

static enum platform_loss death(uint64_t report)
{
	struct aspace *a = &aspaces[report >> DEATH_INDEX];
	bool known;

	pthread_mutex_lock(&lock);
	known = a->pid == (pid_t)report;
	if (known) {
		watch_remove(a);
		note_end(a);
	}
	pthread_mutex_unlock(&lock);
	if (!known)
		return LOSS_NONE;
	return a == &aspaces[0] ? LOSS_ALL : LOSS_ASPACE;
}

int trap_watch_fd(void)
{
	return deaths;
}

enum platform_loss trap_watch(void)
{
	enum platform_loss loss = LOSS_NONE;
	struct epoll_event events[16];
	int n = epoll_wait(deaths, events, ARRAY_SIZE(events), 0);

	for (int i = 0; i < n; i++)
		loss = MAX(loss, death(events[i].data.u64));
	return loss;
}

bool trap_aspace_lost(struct cpu *any, bool *ret_outside)
{
	*ret_outside = any->aspace->outside;
	return any->aspace->lost;
}

static unsigned slot_alloc(struct aspace *a) REQUIRES(L_ASPACE)
{
	for (unsigned i = 0; i < ARRAY_SIZE(a->slots); i++) {
		unsigned bit, slot;

		if (a->slots[i] == ~0ull)
			continue;
		bit = (unsigned)__builtin_ctzll(~a->slots[i]);
		slot = i * 64 + bit;
		a->slots[i] |= 1ull << bit;
		a->top_slot = MAX(a->top_slot, slot);
		return slot;
	}
	return 0;
}

static void slot_free(struct aspace *a, unsigned slot) REQUIRES(L_ASPACE)
{
	a->slots[slot / 64] &= ~(1ull << (slot % 64));
}

/* A cpu without a thread yet, in a slot of its own, counted in a->cpus. */
static struct trap_cpu *cpu_alloc(struct aspace *a)
{
	struct trap_cpu *c = slab_alloc(&cpu_slab);

	if (!c)
		return NULL;
	mutex_lock(&a->lock, L_ASPACE);
	c->slot = slot_alloc(a);
	if (c->slot)
		a->cpus++;
	mutex_unlock(&a->lock, L_ASPACE);
	if (c->slot == 0) {
		slab_free(&cpu_slab, c);
		return NULL;
	}
	c->cpu.aspace = a;
	c->listener = -1;
	c->map_fd = -1;
	list_reset(c);
	return c;
}

/* Its thread is gone, or has never been. */
static void cpu_free(struct trap_cpu *c)
{
	struct aspace *a = c->cpu.aspace;

	list_reset(c);
	if (c->listener >= 0)
		close(c->listener);
	mutex_lock(&a->lock, L_ASPACE);
	slot_free(a, c->slot);
	mutex_unlock(&a->lock, L_ASPACE);
	slab_free(&cpu_slab, c);
}

/* What the new thread reads from its control page. */
static void cpu_prepare(struct trap_cpu *c)
{
	stack_t *ss = (stack_t *)(cpu_ctl(c) + C_STACK);

	ss->ss_sp = (void *)(slot_address(c->slot) + T_SIGSTACK);
	ss->ss_flags = 0;
	ss->ss_size = T_SIGSTACK_SIZE;
	*(uint64_t *)(cpu_ctl(c) + C_UC) = slot_address(c->slot) + c->frame;
	*(uint64_t *)(cpu_ctl(c) + C_FAST_OFF) = 1;
	*(uint64_t *)(cpu_ctl(c) + C_SELF) = slot_address(c->slot);
	memset(cpu_thr(c) + T_BASE, 0, sizeof(struct timespec));
}

/* Waits for the process to end; it has been killed. */
static void aspace_reap(struct aspace *a)
{
	siginfo_t si;

	while (waitid(P_PIDFD, (id_t)a->pidfd, &si, WEXITED) && errno == EINTR)
		;
}

static void aspace_destroy(struct aspace *a)
{
	struct trap_cpu *c, *next;

	watch_remove(a);
	aspace_kill(a);
	for (c = a->parked; c; c = next) {
		next = c->next;
		cpu_free(c);
	}
	aspace_reap(a);
	aspace_free(a);
}

/* Lets the host thread end and waits until it no longer uses its slot. */
static void thread_end(struct trap_cpu *c)
{
	struct cpu_event ev;

	list_add(c, SYS_exit, (uint64_t[6]){0}, 0);
	c->own_list = true;
	c->list_until = now_ns() + c->list_limit;
	if (list_send(c, ANSWER_RESUME))
		while (wait_report(c, &ev) != REPORTED_LOST)
			aspace_kill(c->cpu.aspace); /* the guest plays tricks */
	cpu_free(c);
}

void trap_cpu_put(struct cpu *cpu)
{
	struct trap_cpu *c = to_trap(cpu);
	struct aspace *a = cpu->aspace;
	bool last, park;

	if (c->door)
		door_own(c);
	spin_forget(c);
	if (__atomic_load_n(&a->cpus, __ATOMIC_RELAXED) > 1)
		list_run(c); /* what the cpu still owed its aspace */
	list_reset(c);
	mutex_lock(&a->lock, L_ASPACE);
	last = --a->cpus == 0;
	park = last || a->parked_count < PARKED_MAX;
	if (park) {
		__atomic_fetch_and((uint32_t *)&c->state, (uint32_t)CPU_SIGNAL, __ATOMIC_SEQ_CST);
		c->cpu.client = NULL;
		*(volatile uint64_t *)(cpu_ctl(c) + C_FAST_OFF) = 1;
		c->next = a->parked;
		a->parked = c;
		a->parked_count++;
	}
	mutex_unlock(&a->lock, L_ASPACE);
	if (last)
		aspace_destroy(a);
	else if (!park)
		thread_end(c);
	worker_release();
}

void aspace_log_lost(const struct aspace *a, const char *when, int err)
{
	siginfo_t si = {0};

	waitid(P_PIDFD, (id_t)a->pidfd, &si, WEXITED | WNOHANG | WNOWAIT);
	if ((si.si_code == CLD_KILLED && si.si_status == SIGKILL) || (!err && !si.si_pid))
		return; /* its task says so */
	log_warn("stub %d: lost %s: error %d, code %d, status %d", a->pid, when, -err, si.si_code, si.si_status);
}

/* Forks `from` into a new aspace with one cpu whose registers are like `like`'s. A worker is reserved for it. */
static int aspace_spawn(struct aspace *from, const struct trap_cpu *like, struct trap_cpu **ret_cpu)
{
	struct trap_cpu *c;
	struct aspace *a;
	size_t fp_bytes = 0;
	const void *fp = NULL;
	int err = worker_reserve();

	if (err)
		return err;
	err = -EAGAIN;
	a = aspace_alloc();
	if (!a)
		goto out_worker;
	err = -ENOMEM;
	c = cpu_alloc(a);
	if (!c)
		goto out_aspace;
	if (like) {
		c->regs = like->regs;
		fp = trap_fpstate((struct cpu *)(uintptr_t)&like->cpu, &fp_bytes);
	}
	frame_create(c, fp, fp_bytes);
	cpu_prepare(c);
	err = mother_fork(from, c);
	if (err && !a->pid)
		goto out_cpu;
	if (!err && like && !patch_fork(from, a))
		err = -ENOMEM;
	if (!err && !first_report(c))
		err = -ESRCH;
	if (!err)
		err = watch_add(a);
	if (err)
		goto out_process;
	if (!like) {
		c->regs.fs_base = 0;
		c->regs.gs_base = 0;
		c->regs.eflags = 0x202;
	}
	*ret_cpu = c;
	return 0;
out_process:
	if (err == -ESRCH)
		aspace_log_lost(a, "at its start", err);
	aspace_kill(a);
	aspace_reap(a);
out_cpu:
	cpu_free(c);
out_aspace:
	aspace_free(a);
out_worker:
	worker_release();
	return err;
}

static void *refiller_main(void *arg __unused)
{
	struct trap_cpu *c;
	int err;

	pthread_mutex_lock(&lock);
	for (;;) {
		while (pool_count >= POOL_TARGET)
			pthread_cond_wait(&refill_wanted, &lock);
		pthread_mutex_unlock(&lock);
		err = aspace_spawn(&aspaces[0], NULL, &c);
		pthread_mutex_lock(&lock);
		starved = err != 0;
		if (err) {
			pthread_cond_wait(&refill_wanted, &lock);
			continue;
		}
		c->next = pool;
		pool = c;
		pool_count++;
		pthread_cond_signal(&refilled);
	}
	return NULL;
}

static void start_refiller(void)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_mutex_lock(&lock);
	if (refiller_runs) {
		pthread_mutex_unlock(&lock);
		return;
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&t, &attr, refiller_main, NULL) == 0)
		refiller_runs = true;
	pthread_attr_destroy(&attr);
	pthread_mutex_unlock(&lock);
}

/* Gives back one that has been taken from the pool. */
static void spare_destroy(struct trap_cpu *c)
{
	struct aspace *a = c->cpu.aspace;

	a->cpus = 0;
	cpu_free(c);
	aspace_destroy(a);
	worker_release();
}

/* One of the pool, NULL if there is none. Waits for it if the host has no room for another process. */
static struct trap_cpu *spare_take(bool wait)
{
	struct timespec until;
	struct trap_cpu *c;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += SPARE_WAIT_S;
	pthread_mutex_lock(&lock);
	if (refiller_runs)
		pthread_cond_signal(&refill_wanted);
	while (wait && refiller_runs && !pool)
		if (pthread_cond_clockwait(&refilled, &lock, CLOCK_MONOTONIC, &until))
			break;
	c = pool;
	if (c) {
		pool = c->next;
		pool_count--;
	}
	pthread_mutex_unlock(&lock);
	return c;
}

/* Whether a process that is made now could exec. */
static bool spare_left(void)
{
	bool left;

	pthread_mutex_lock(&lock);
	left = !starved || pool;
	if (starved)
		pthread_cond_signal(&refill_wanted);
	pthread_mutex_unlock(&lock);
	return left;
}

int trap_aspace_create(struct cpu **ret_cpu)
{
	struct trap_cpu *c;
	int err = 0;

	while ((c = spare_take(false)) && aspace_dead(c->cpu.aspace))
		spare_destroy(c); /* somebody has killed it */

	for (int tries = 0; !c && (!err || (err == -ESRCH && tries < 4)); tries++)
		err = aspace_spawn(&aspaces[0], NULL, &c);
	if (err == -EAGAIN)
		c = spare_take(true);
	if (!c)
		return err;
	c->next = NULL;
	*ret_cpu = &c->cpu;
	return 0;
}

int trap_aspace_fork(struct cpu *parent, struct cpu **ret_cpu)
{
	struct trap_cpu *c;
	int err = list_run(to_trap(parent));

	if (err)
		return err;
	spin_stop();
	err = spare_left() ? aspace_spawn(parent->aspace, to_trap(parent), &c) : -EAGAIN;
	if (err)
		return err;
	if (!__atomic_load_n(&refiller_runs, __ATOMIC_RELAXED))
		start_refiller(); /* an exec is likely to follow */
	*ret_cpu = &c->cpu;
	return 0;
}

static struct trap_cpu *unpark(struct aspace *a)
{
	struct trap_cpu *c;

	mutex_lock(&a->lock, L_ASPACE);
	c = a->parked;
	if (c) {
		a->parked = c->next;
		a->parked_count--;
		a->cpus++;
	}
	mutex_unlock(&a->lock, L_ASPACE);
	return c;
}

/* A thread of its own for c: it has none yet. */
static int thread_create(struct trap_cpu *c)
{
	struct aspace *a = c->cpu.aspace;
	int err;

	cpu_prepare(c);
	err = mother_thread(c);
	if (!err && !first_report(c))
		err = -ESRCH;
	if (!err)
		return 0;
	mutex_lock(&a->lock, L_ASPACE);
	a->cpus--;
	mutex_unlock(&a->lock, L_ASPACE);
	cpu_free(c);
	return err;
}

int trap_cpu_create(struct cpu *from, struct cpu **ret_cpu)
{
	struct trap_cpu *c = NULL;
	int err = worker_reserve();
	size_t fp_bytes;
	const void *fp;
	bool fresh;

	if (err)
		return err;
	c = unpark(from->aspace);
	fresh = c == NULL;
	if (fresh)
		c = cpu_alloc(from->aspace);
	if (!c) {
		worker_release();
		return -EAGAIN;
	}
	c->next = NULL;
	c->raw_rip = c->shown_rip = c->trapped = 0;
	c->regs = to_trap(from)->regs;
	fp = trap_fpstate(from, &fp_bytes);
	frame_create(c, fp, fp_bytes);
	if (!fresh) {
		const uint64_t args[6] = {CLOCK_THREAD_CPUTIME_ID, slot_address(c->slot) + T_BASE};

		list_add(c, SYS_clock_gettime, args, CMD_MAY_FAIL);
	}
	err = fresh ? thread_create(c) : 0;
	if (err)
		worker_release();
	else
		*ret_cpu = &c->cpu;
	return err;
}

/* A memfd out of the way of the numbers that standard streams and the stub's own files have. */
static int high_memfd(const char *name, unsigned flags)
{
	int low = memfd_create(name, flags);
	int high = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, FD_HIGH);

	if (low >= 0)
		close(low);
	return high;
}

/*
 * The two files and our views of them. Once we have ours, the control file is sealed: no new mapping of it is writable. (Opening it
 * again read-only would need /proc, which is not there.)
 */
static int map_files(unsigned count, int *ret_ctl_fd)
{
	int rw = high_memfd("control", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	thr_fd = high_memfd("threads", MFD_CLOEXEC);
	if (rw < 0 || thr_fd < 0)
		return -errno;
	if (ftruncate(rw, (off_t)count * CTL_SIZE) || ftruncate(thr_fd, (off_t)count * THR_SIZE))
		return -errno;
	ctl_base = mmap(NULL, (size_t)count * CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, rw, 0);
	thr_base = mmap(NULL, (size_t)count * THR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, thr_fd, 0);
	if (ctl_base == MAP_FAILED || thr_base == MAP_FAILED)
		return -errno;
	if (fcntl(rw, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	*ret_ctl_fd = rw;
	return 0;
}

static void raise_fd_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

int aspaces_init(const struct platform_config *config)
{
	struct aspace *t;
	int ctl_fd = -1, err;

	aspace_count = MIN(config->max_aspaces ? config->max_aspaces : ASPACES_DEFAULT, ASPACES_MAX) + POOL_TARGET + 1;
	aspaces = mmap(NULL, aspace_count * sizeof(*aspaces), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (aspaces == MAP_FAILED)
		return -errno;
	raise_fd_limit();
	if ((err = map_files(aspace_count, &ctl_fd)) || (err = mother_init(ctl_fd)))
		return err;
	spin_init(config, ctl_base + BEAT_OFFSET);
	t = &aspaces[0];
	aspace_place(t);
	t->mother_at = NOWHERE;
	mutex_init(&t->lock);
	err = template_init(ctl_fd, thr_fd, &t->pid);
	if (err)
		return err;
	t->pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
	if (t->pidfd < 0)
		return -errno;
	deaths = epoll_create1(EPOLL_CLOEXEC);
	if (deaths < 0)
		return -errno;
	err = watch_add(t);
	return err ? err : hostneed_reach(t->pid);
}
