/*
 * Talking to a stub's mother thread: a command in her control page and a change of its sequence word, on which she waits.
 *
 * She answers a fork by the file offset of the control file, which every stub shares with us (command number << 32 |
 * pid): guest threads may not lseek, so it can be believed, once it is checked that the pid is a child of ours. Words in
 * the thread areas only tell when to look. One fork at a time in the sandbox: there is one offset.
 */
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "platform/trap/trap.h"

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1ul
#endif

#define HINT_NAP_NS 10000000      /* look for a dead stub after this */
#define HINT_LIMIT_NS 10000000000 /* and give up after this */

static pthread_mutex_t mailbox_lock = PTHREAD_MUTEX_INITIALIZER;
static int mailbox = -1;
static uint32_t sequence;

int mother_init(int ctl_fd)
{
	mailbox = ctl_fd;
	return 0;
}

#define WORD(a, off) ((uint32_t *)((a)->ctl + (off)))

static uint32_t post(struct aspace *a, uint32_t op, unsigned slot, const struct aspace *child)
{
	uint32_t seq;

	do
		seq = __atomic_add_fetch(&sequence, 1, __ATOMIC_RELAXED) & 0x3fffffff;
	while (seq == 0);
	*WORD(a, M_OP) = op;
	*WORD(a, M_SLOT) = slot;
	if (child) {
		*(uint64_t *)(a->ctl + M_CTLOFF) = (uint64_t)child->index * CTL_SIZE;
		*(uint64_t *)(a->ctl + M_THROFF) = (uint64_t)child->index * THR_SIZE;
	}
	__atomic_store_n(WORD(a, M_SEQ), seq, __ATOMIC_SEQ_CST);
	return seq;
}

/* Guest threads may wait on her word too: wake all. */
static void mother_wake(struct aspace *a)
{
	syscall(SYS_futex, WORD(a, M_SEQ), FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

bool aspace_dead(const struct aspace *a)
{
	siginfo_t si = {0};

	return waitid(P_PIDFD, (id_t)a->pidfd, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid != 0;
}

/* Sleeps while the hostile word says `seen`, for a short time. A guest can see to it that this returns at once. */
static void nap(uint32_t *word, uint32_t seen)
{
	struct timespec ts = {0, HINT_NAP_NS};

	syscall(SYS_futex, word, FUTEX_WAIT, seen, &ts, NULL, 0);
}

/*
 * Waits for what the mother or the new thread says: 0 if the thread is there, -EAGAIN if it could not be made, -ESRCH if the stub is dead, or
 * it has taken so long that the guest must have written to the hostile word. On a busy machine this may take longer than one would think.
 * Who says that it failed, and lies, has a thread whose reports nobody takes.
 */
static int wait_hint(const struct aspace *a, char *area)
{
	uint32_t *word = (uint32_t *)(area + T_HINT), now;
	uint64_t until = now_ns() + HINT_LIMIT_NS;

	while ((now = __atomic_load_n(word, __ATOMIC_SEQ_CST)) != HINT_HERE) {
		if (now == HINT_FAILED)
			return -EAGAIN;
		if (aspace_dead(a) || now_ns() > until)
			return -ESRCH;
		nap(word, now);
	}
	return 0;
}

static pid_t read_answer(uint32_t seq)
{
	off_t o = lseek(mailbox, 0, SEEK_CUR);

	return o >> 32 == seq ? (pid_t)(o & 0x7fffffff) : 0;
}

/*
 * She is bound to the processor of the thread that waits for her, and so is what she makes. Callers hold the aspace's lock; what she has
 * made is set free by its first report (first_report()).
 */
static void work_begin(struct aspace *a)
{
	unsigned here = (unsigned)sched_getcpu();

	if (a->mother_at != here && affinity_bind(a->pid, here))
		a->mother_at = here;
	affinity_bind(0, here);
}

static void work_end(void)
{
	affinity_free(0);
}

/* A child's first thread says that it is there long after the mother has answered, unless there is no child. */
static void await_child(const struct aspace *from, const struct trap_cpu *c, uint32_t seq, uint64_t until)
{
	uint32_t *word = (uint32_t *)(cpu_thr(c) + T_HINT);

	do
		nap(word, 0);
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == 0 && !read_answer(seq) && !aspace_dead(from) &&
	       now_ns() < until);
}

/* The word is no more than a reason to look: all forks of the sandbox wait for this one, whatever its guest writes there. */
static pid_t fork_answer(struct aspace *from, const struct trap_cpu *c, uint32_t seq)
{
	uint32_t *word = (uint32_t *)(from->thr + T_HINT), seen;
	uint64_t until = now_ns() + HINT_LIMIT_NS;
	bool last = false;
	pid_t pid;

	await_child(from, c, seq, until);
	for (;;) {
		seen = __atomic_load_n(word, __ATOMIC_SEQ_CST);
		pid = read_answer(seq);
		if (pid)
			return pid;
		if (last)
			return 0;
		last = aspace_dead(from) || now_ns() > until;
		if (!last)
			nap(word, seen);
	}
}

/* The process that the answer names, if it is a child of ours. */
static int adopt(struct aspace *to, pid_t pid)
{
	siginfo_t si = {0};
	int err;

	if (pid == 0)
		return -ESRCH;
	if (pid == 0x7fffffff)
		return -EAGAIN;
	if (waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT))
		return -ESRCH;
	to->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (to->pidfd < 0) {
		err = -errno;
		kill(pid, SIGKILL);
		waitid(P_PID, (id_t)pid, &si, WEXITED);
		return err;
	}
	to->pid = pid;
	return 0;
}

static int fetch_listener(struct trap_cpu *c)
{
	const struct aspace *a = c->cpu.aspace;
	uint64_t flags = SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP;
	/* Not before the thread says so: until then the number may still be the previous thread's listener. */
	int err = wait_hint(a, cpu_thr(c));

	if (err)
		return err;
	c->listener = (int)syscall(SYS_pidfd_getfd, a->pidfd, FD_LSN, 0);
	if (c->listener < 0)
		return -errno;
	ioctl(c->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, flags); /* before Linux 6.6: slower, not wrong */
	return 0;
}

int mother_fork(struct aspace *from, struct trap_cpu *c)
{
	struct aspace *to = c->cpu.aspace;
	uint32_t seq;
	int err;

	*(volatile uint32_t *)(cpu_thr(c) + T_HINT) = 0;
	post(to, M_OP_THREAD, c->slot, NULL);
	mutex_lock(&from->lock, L_ASPACE);
	pthread_mutex_lock(&mailbox_lock);
	work_begin(from);
	to->mother_at = from->mother_at;
	seq = post(from, M_OP_FORK, 0, to);
	mother_wake(from);
	err = adopt(to, fork_answer(from, c, seq));
	work_end();
	pthread_mutex_unlock(&mailbox_lock);
	mutex_unlock(&from->lock, L_ASPACE);
	return err ? err : fetch_listener(c);
}

int mother_thread(struct trap_cpu *c)
{
	struct aspace *a = c->cpu.aspace;
	int err;

	mutex_lock(&a->lock, L_ASPACE);
	*(volatile uint32_t *)(cpu_thr(c) + T_HINT) = 0;
	work_begin(a);
	post(a, M_OP_THREAD, c->slot, NULL);
	mother_wake(a);
	err = fetch_listener(c);
	work_end();
	mutex_unlock(&a->lock, L_ASPACE);
	return err;
}
