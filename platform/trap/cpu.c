/*
 * Running a cpu: answer its report so that it resumes, wait for the next one, make an event of it, call the client.
 *
 * Each running cpu has a worker thread (worker.c) in this loop. Hand-offs are cheap only so (SYNC_WAKE_UP, one listener and one
 * waiter for each guest thread).
 */
#include <linux/futex.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "platform/trap/trap.h"
#include "sentry/base/log.h"

#define CANONICAL_END 0x800000000000ul
#define FIRST_REPORT_NS 10000000000
#define REPORT_MS 2000 /* what a final list can take, and much more than any other way through the stub */

static const struct platform_client *client;
static bool poll_first; /* RECV does not notice that a stub is gone: before Linux 6.11 */

void run_init(const struct platform_config *config)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	client = config->client;
	if (uname(&u) == 0)
		sscanf(u.release, "%u.%u", &major, &minor);
	poll_first = major < 6 || (major == 6 && minor < 11);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

bool answer_report(const struct trap_cpu *c, uint64_t notification, int64_t value)
{
	struct seccomp_notif_resp r = {.id = notification, .val = value};
	int err;

	do
		err = ioctl(c->listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
	while (err && errno == EINTR);
	return err == 0;
}

bool answer(struct trap_cpu *c, int64_t value)
{
	if (!c->door)
		return answer_report(c, c->notification, value);
	door_answer(c, value);
	return true;
}

/* Waits if `block`: true if all users of the filter are gone. */
static bool hung_up(const struct trap_cpu *c, bool block)
{
	struct pollfd p = {.fd = c->listener, .events = POLLIN};

	while (poll(&p, 1, block ? -1 : 0) < 0 && errno == EINTR)
		;
	return p.revents & (POLLHUP | POLLERR | POLLNVAL);
}

/*
 * A kick has come to the stub's code, where a report must follow at once: a guest that has jumped into the stub can stay there instead,
 * in a loop with forged registers.
 */
static void expect_report(struct trap_cpu *c)
{
	struct pollfd p = {.fd = c->listener, .events = POLLIN};
	const uint32_t due = CPU_RUNNING | CPU_KICKED;
	int n;

	while ((n = poll(&p, 1, REPORT_MS)) < 0 && errno == EINTR)
		;
	c->kicked_inside = false;
	if (n == 0 && (__atomic_load_n((uint32_t *)&c->state, __ATOMIC_SEQ_CST) & due) == due) {
		log_debug("stub %d: kicked, and no report in %d ms: killed", c->cpu.aspace->pid, REPORT_MS);
		aspace_kill(c->cpu.aspace);
	}
}

/* Waits for a report until a time of CLOCK_MONOTONIC; false if there is none. */
static bool await_report(const struct trap_cpu *c, uint64_t until)
{
	struct pollfd p = {.fd = c->listener, .events = POLLIN};
	uint64_t now;
	int n;

	do {
		now = now_ns();
		n = poll(&p, 1, now < until ? (int)((until - now) / 1000000 + 1) : 0);
	} while (n < 0 && errno == EINTR);
	return n != 0;
}

/*
 * The sentry waits for the result of a list, perhaps with a lock held, and the guest can keep it from coming: other threads can write
 * to the frame of a fault or signal that interrupts it.
 */
static void expect_list(const struct trap_cpu *c)
{
	if (await_report(c, c->list_until))
		return;
	log_debug("stub %d: no end of its memory work: killed", c->cpu.aspace->pid);
	aspace_kill(c->cpu.aspace);
}

static bool receive(struct trap_cpu *c, struct seccomp_notif *n)
{
	for (;;) {
		if (c->own_list)
			expect_list(c);
		else if (c->kicked_inside)
			expect_report(c);
		if (poll_first && hung_up(c, true))
			return false;
		memset(n, 0, sizeof(*n));
		if (ioctl(c->listener, SECCOMP_IOCTL_NOTIF_RECV, n) == 0)
			break;
		/* ENOENT: the report was withdrawn because of a signal, or the thread is gone. */
		if (errno != EINTR && (errno != ENOENT || hung_up(c, false)))
			return false;
	}
	return true;
}

bool first_report(struct trap_cpu *c)
{
	struct seccomp_notif n;

	/* A guest that says "I am here" in its place can make us take the listener of another thread. */
	if (!await_report(c, now_ns() + FIRST_REPORT_NS) || !receive(c, &n) || !frame_offset(c, n.data.args[1]))
		return false;
	c->notification = n.id;
	c->tid = (pid_t)n.pid;
	c->fs_base = n.data.args[3];
	c->gs_base = n.data.args[4];
	affinity_free(c->tid); /* it was made by a mother, who is bound */
	return true;
}

/* A trampoline is shown to nobody. */
static void show_rip(struct trap_cpu *c)
{
	c->raw_rip = c->regs.rip;
	c->regs.rip = c->shown_rip = patch_show(c, c->raw_rip);
	if (c->frame == T_FAST)
		c->regs.rcx = c->regs.rip;
}

/* What the host sends to a thread for what its code does. A guest that makes reports of its own can name any number. */
static bool is_fault(int signo)
{
	return signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL || signo == SIGTRAP;
}

void make_event(struct trap_cpu *c, int signo, struct cpu_event *ret_ev)
{
	frame_read(c);
	show_rip(c);
	stage_take(c);
	c->trapped = 0;
	if (signo == SIGSYS && c->frame != T_FAST && frame_is_32bit(c)) { /* as on a kernel without 32-bit emulation */
		*ret_ev = (struct cpu_event){.kind = CPU_FAULT, .signo = SIGSEGV, .code = SI_KERNEL, .trapno = 13};
		ret_ev->err = 0x402;
		c->regs.rip -= 2;
	} else if (signo == SIGSYS) {
		ret_ev->kind = CPU_SYSCALL;
		c->regs.orig_rax = c->regs.rax;
		c->regs.rax = (uint64_t)-ENOSYS;
		if (c->frame != T_FAST)
			c->trapped = c->regs.rip;
	} else if (is_fault(signo)) {
		frame_event(c, signo, ret_ev);
	} else {
		ret_ev->kind = CPU_KICK;
		if (signo != KICK_SIGNAL)
			aspace_kill(c->cpu.aspace);
	}
}

/* Goes on with the frame as it is, if no kick has come meanwhile. */
static bool answer_at_once(struct trap_cpu *c)
{
	if (!enter_guest(c, CPU_ATTACHED, 0))
		return false;
	answer(c, c->fp_live ? ANSWER_IRET : ANSWER_RESUME);
	let_go(c);
	return true;
}

bool patch_diverted(struct trap_cpu *c, int signo)
{
	uint64_t to = 0;

	if (signo == SIGTRAP || signo == SIGSEGV)
		to = patch_redirect(c, signo, frame_reg(c, c->frame, REG_RIP));
	if (to)
		frame_set_reg(c, c->frame, REG_RIP, to);
	return to != 0;
}

/* A report from guest code, claimed. False: one that the guest has nothing to do with, answered. */
static bool guest_report(struct trap_cpu *c, const struct seccomp_notif *n, bool kicked, struct cpu_event *ret_ev)
{
	int signo = (int)n->data.args[0];

	if (c->turned_back) {
		c->turned_back = false;
		ret_ev->kind = CPU_KICK;
		return true;
	}
	frame_take(c, n->data.args[1]);
	c->fs_base = n->data.args[3];
	c->gs_base = n->data.args[4];
	if (signo == KICK_SIGNAL) {
		__atomic_fetch_and((uint32_t *)&c->state, ~(uint32_t)CPU_SIGNAL, __ATOMIC_SEQ_CST);
		if (!kicked && answer_at_once(c))
			return false;
	} else if (patch_diverted(c, signo)) {
		if (!kicked && answer_at_once(c))
			return false;
		signo = KICK_SIGNAL;
	}
	make_event(c, signo, ret_ev);
	spin_note(c);
	return true;
}

/* A report from the stub's own code that the stub's own code has caused. */
static bool stub_report_ok(struct trap_cpu *c, const struct seccomp_notif *n, uint32_t frame, uint64_t rip)
{
	int signo = (int)n->data.args[0];

	if (nested_report(c, signo, frame, rip))
		return true;
	log_debug("stub %d: signal %d at %#lx in the stub", c->cpu.aspace->pid, signo, rip);
	return false;
}

/* The state when nobody holds it. */
static uint32_t state_settled(const struct trap_cpu *c)
{
	uint32_t old;

	while ((old = __atomic_load_n((const uint32_t *)&c->state, __ATOMIC_SEQ_CST)) & CPU_HELD)
		__builtin_ia32_pause();
	return old;
}

/* The thread is gone. Whoever has its event, if anybody has, finds us gone too and tells the client. */
static enum report lost(struct trap_cpu *c)
{
	uint32_t old, drop;

	if (c->own_list)
		return REPORTED_LOST;
	do {
		old = state_settled(c);
		drop = old & CPU_RUNNING ? CPU_RUNNING | CPU_KICKED : CPU_ATTACHED;
	} while (!__atomic_compare_exchange_n((uint32_t *)&c->state, &old, old & ~drop, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST));
	if (old & CPU_RUNNING)
		return REPORTED_LOST;
	syscall(SYS_futex, &c->state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	return REPORTED_DETACHED;
}

/* The owner of an event at the door has asked for a report: it is answered there. False: nobody has an event. */
static bool hand_over_report(struct trap_cpu *c, uint64_t id)
{
	uint32_t old = state_settled(c);

	c->notification = id;
	do
		if (old & (CPU_RUNNING | CPU_HELD))
			return false;
	while (!__atomic_compare_exchange_n((uint32_t *)&c->state, &old, old & ~(uint32_t)CPU_ATTACHED, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	syscall(SYS_futex, &c->state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	return true;
}

/* What comes while list_run() waits. False: the guest plays tricks, and must not be left to go on without an event. */
static bool own_report(struct trap_cpu *c, const struct seccomp_notif *n)
{
	if (n->data.args[5] != REPORT_LIST) {
		aspace_kill(c->cpu.aspace);
		return false;
	}
	c->notification = n->id;
	c->list_result = (int64_t)n->data.args[2];
	return true;
}

enum report wait_report(struct trap_cpu *c, struct cpu_event *ret_ev)
{
	struct seccomp_notif n;
	uint32_t frame, state;
	uint64_t rip;

	while (receive(c, &n)) {
		frame = frame_offset(c, n.data.args[1]);
		if (!frame) {
			aspace_kill(c->cpu.aspace);
			continue;
		}
		if (n.data.args[5] == REPORT_OWN && !c->own_list) {
			if (hand_over_report(c, n.id))
				return REPORTED_DETACHED;
			aspace_kill(c->cpu.aspace); /* nobody has asked */
			continue;
		}
		rip = frame_reg(c, frame, REG_RIP);
		if (n.data.args[5] != REPORT_LIST && rip - STUB_CODE < STUB_CODE_SIZE &&
		    !undo_fast_answer(c, (int)n.data.args[0], frame, rip)) {
			c->nested = n.id;
			if (!stub_report_ok(c, &n, frame, rip))
				aspace_kill(c->cpu.aspace);
			continue;
		}
		if (c->own_list) {
			if (own_report(c, &n))
				return REPORTED_LIST;
			continue;
		}
		if (!claim_event(c, &state)) { /* two events of one thread: not without tricks */
			aspace_kill(c->cpu.aspace);
			continue;
		}
		c->notification = n.id;
		if (n.data.args[5] == REPORT_LIST) {
			c->list_result = (int64_t)n.data.args[2];
			return REPORTED_LIST;
		}
		if (guest_report(c, &n, state & CPU_KICKED, ret_ev))
			return REPORTED_EVENT;
	}
	return lost(c);
}

bool enter_guest(struct trap_cpu *c, uint32_t also, uint32_t need)
{
	uint32_t old = __atomic_load_n((uint32_t *)&c->state, __ATOMIC_SEQ_CST);

	do {
		if (old & CPU_KICKED) {
			__atomic_fetch_and((uint32_t *)&c->state, ~(uint32_t)CPU_KICKED, __ATOMIC_SEQ_CST);
			return false;
		}
		if ((old & need) != need)
			return false;
	} while (!__atomic_compare_exchange_n((uint32_t *)&c->state, &old, old | CPU_RUNNING | CPU_HELD | also, false,
					      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return true;
}

void let_go(struct trap_cpu *c)
{
	__atomic_fetch_and((uint32_t *)&c->state, ~(uint32_t)CPU_HELD, __ATOMIC_SEQ_CST);
}

bool claim_event(struct trap_cpu *c, uint32_t *ret_old)
{
	uint32_t old = state_settled(c);

	do {
		if (old & CPU_HELD)
			old = state_settled(c);
		if (!(old & CPU_RUNNING))
			return false;
	} while ((old & CPU_HELD) ||
		 !__atomic_compare_exchange_n((uint32_t *)&c->state, &old, old & ~(uint32_t)(CPU_RUNNING | CPU_KICKED),
					      false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	*ret_old = old;
	return true;
}

/* gs is borrowed while the guest does not use it: patched sites find their thread by it (stub.S). */
static void queue_bases(struct trap_cpu *c)
{
	uint64_t gs = c->regs.gs_base ? c->regs.gs_base : ctl_address(c->slot);

	if (c->regs.fs_base != c->fs_base && c->regs.fs_base < CANONICAL_END) {
		list_add(c, CMD_FSBASE, (uint64_t[6]){c->regs.fs_base}, 0);
		c->fs_base = c->regs.fs_base;
	}
	if (gs != c->gs_base && gs < CANONICAL_END) {
		list_add(c, CMD_GSBASE, (uint64_t[6]){gs}, 0);
		c->gs_base = gs;
	}
}

void prepare_resume(struct trap_cpu *c)
{
	if (c->trapped)
		patch_count(c, c->trapped, (uint32_t)c->regs.orig_rax);
	c->trapped = 0;
	*(volatile uint32_t *)(cpu_ctl(c) + C_MASK_EVENT) = 0;
	queue_bases(c);
	if (c->door && c->map_fd >= 0)
		door_own(c);
}

bool resume(struct trap_cpu *c)
{
	uint64_t how = frame_write(c);

	__atomic_store_n(&c->answered, __rdtsc(), __ATOMIC_RELAXED);
	if (c->queued)
		return list_send(c, how == ANSWER_RESUME ? ANSWER_LIST : how);
	return answer(c, (int64_t)how);
}

/*
 * Resumes an attached cpu and lets go of it; a failure shows as a lost stub. The host may run the thread at once instead of us, so
 * that calls by the door would find the cpu held: let go before, if nobody else can write to the door.
 */
static void go(struct trap_cpu *c)
{
	bool alone = !c->door && __atomic_load_n(&c->cpu.aspace->cpus, __ATOMIC_RELAXED) == 1;

	if (alone) {
		door_clear(c);
		let_go(c);
	}
	resume(c);
	if (!alone)
		let_go(c);
}

static void fatal(struct cpu_event *ev, int signo)
{
	*ev = (struct cpu_event){.kind = CPU_FAULT, .signo = signo, .code = SI_KERNEL};
}

/* Resumes c. False: it cannot be; *ev says why. */
static bool set_off(struct trap_cpu *c, struct cpu_event *ev)
{
	memset(ev, 0, sizeof(*ev));
	if (c->regs.rip + CANONICAL_END >= 2 * CANONICAL_END) { /* the stub's iretq would fault instead of the guest */
		fatal(ev, SIGSEGV);
		return false;
	}
	prepare_resume(c);
	if (c->list_failed) {
		c->list_failed = false;
		fatal(ev, SIGKILL);
		return false;
	}
	if (!enter_guest(c, CPU_ATTACHED, 0)) {
		ev->kind = CPU_KICK;
		return false;
	}
	go(c);
	return true;
}

/* The event of a cpu that has been resumed. False: the cpu is not ours any more. */
static bool await_event(struct trap_cpu *c, struct cpu_event *ev)
{
	switch (wait_report(c, ev)) {
	case REPORTED_EVENT:
		break;
	case REPORTED_LIST:
		ev->kind = CPU_KICK;
		if (c->list_result < 0 && c->list_result >= -4095) {
			log_debug("stub %d: queued memory work failed: %ld", c->cpu.aspace->pid, (long)c->list_result);
			fatal(ev, SIGKILL);
		}
		break;
	case REPORTED_LOST:
		aspace_note_lost(c->cpu.aspace);
		ev->kind = CPU_LOST;
		break;
	case REPORTED_DETACHED:
		return false;
	}
	return true;
}

static bool next_event(struct trap_cpu *c, struct cpu_event *ev)
{
	return !set_off(c, ev) || await_event(c, ev);
}

void run_event(struct trap_cpu *c, struct cpu_event *ev)
{
	while (client->event(&c->cpu, ev) == CPU_RESUME)
		if (!next_event(c, ev))
			return;
	/* c may be running elsewhere, or gone */
}

void run(struct trap_cpu *c)
{
	struct cpu_event ev;

	if (next_event(c, &ev))
		run_event(c, &ev);
}

void take_over(struct trap_cpu *c)
{
	struct cpu_event ev = c->start_event;

	if (!c->set_off || await_event(c, &ev))
		run_event(c, &ev);
}

void trap_cpu_start(struct cpu *cpu)
{
	struct trap_cpu *c = to_trap(cpu);

	if (c->door)
		door_own(c);
	c->set_off = set_off(c, &c->start_event); /* here, because a worker that sleeps wakes up slowly */
	worker_give(c);
}
