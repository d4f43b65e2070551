/*
 * The spinner: while a guest thread makes calls in quick succession and a processor is free, one thread of ours looks at the
 * doors of such threads, so that a call costs a cache line each way instead of two wake-ups.
 *
 * Guarded: the spinner publishes a heartbeat; stubs use the door only while it is fresh, and fall back to a report when nobody
 * takes the call. It looks on for as long as the calls that came have saved, and promotions that did not pay are followed by a growing pause. It
 * keeps off the processor of the guest thread that called for it. An idle sandbox has no spinner.
 *
 * The spinner runs the upcall itself. If that sleeps (park_hook), or the cpu needs a report (a file to hand over, a
 * list to wait for), the role is given up and the thread goes on as an ordinary worker; the stub meanwhile sleeps on its door.
 *
 * Ownership: a running cpu has a worker that waits for reports (ATTACHED). The spinner takes an event by clearing RUNNING, as the
 * worker does, so that a cpu has one owner whatever a guest writes to the door. door_own() asks the stub for a report; the worker that
 * gets it leaves, and the owner is the worker from then on. hot[] holds cpus that may be given back at any time: the spinner names the one it looks at in
 * `looking_at`, and spin_forget() waits until it is another one.
 */
#include <cpuid.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "platform/trap/trap.h"
#include "sentry/base/wait.h"

#define FIRST_NS 50000   /* for the first call: its thread does not know of us yet */
#define SPIN_NS 10000    /* for another one, at least: a thread that was interrupted may go on */
#define SAVED_NS 6000    /* what a call that comes by the door saves: so long may be waited for others */
#define CREDIT_NS 200000 /* but no longer than this */
#define ANSWER_NS 20000  /* what a thread waits for an answer before it sleeps, which costs more */
#define BEAT_NS 5000
#define CLOSE_NS 20000 /* calls that come this soon after the last answer are a burst */
#define BURST 8
#define WORTH 16 /* calls that make a promotion productive */
#define PAUSE_MIN_NS 200000
#define PAUSE_MAX_NS 50000000
#define HOT_MAX 8
#define OWN_TIMEOUT_S 1

static const struct platform_client *client;
static bool enabled;
static char *beat;
static uint64_t tsc_start, ns_start;
static uint64_t ticks_per_us; /* 0: not known yet */

static struct trap_cpu *hot[HOT_MAX];  /* atomic */
static struct trap_cpu *looking_at;    /* atomic */
static uint32_t role;                  /* atomic: 1 while there is a spinner */
static struct trap_cpu *pinned;        /* atomic: the promoter, kept on its processor while there is a spinner */
static unsigned guest_processor;       /* where that is */
static uint64_t pause_until, pause_ns; /* the spinner's; read by promoters */

static __thread bool spinning; /* this thread has the role */
static __thread bool extra;    /* and the reservation of a spinner, perhaps longer */

static bool tsc_usable(void)
{
	uint32_t a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d >> 8 & 1);
}

static uint64_t *beat_word(unsigned off)
{
	return (uint64_t *)(beat + off);
}

static void beat_now(uint64_t tsc)
{
	__atomic_store_n(beat_word(BEAT_TIME), tsc, __ATOMIC_RELEASE);
}

/* From how far the clock and the counter have come since the start. */
static bool calibrate(void)
{
	uint64_t ns = now_ns() - ns_start, ticks = __rdtsc() - tsc_start;

	if (ticks_per_us)
		return true;
	if (ns < 1000000)
		return false;
	__atomic_store_n(beat_word(BEAT_LIMIT), ticks * BEAT_NS / ns, __ATOMIC_RELAXED);
	__atomic_store_n(beat_word(BEAT_WAIT), ticks * ANSWER_NS / ns, __ATOMIC_RELAXED);
	__atomic_store_n(&ticks_per_us, ticks * 1000 / ns, __ATOMIC_SEQ_CST);
	return ticks_per_us != 0;
}

/*
 * The promoter stays where it is, and the spinner keeps off: else the host moves the one next to the other, and both wait for one
 * processor. Either may fail, which costs only time.
 */
static void pin(struct trap_cpu *c)
{
	guest_processor = (unsigned)sched_getcpu();
	if (affinity_bind(c->tid, guest_processor))
		__atomic_store_n(&pinned, c, __ATOMIC_SEQ_CST);
}

static void unpin(void)
{
	struct trap_cpu *c = __atomic_load_n(&pinned, __ATOMIC_SEQ_CST);

	__atomic_store_n(&looking_at, c, __ATOMIC_SEQ_CST);
	if (c && __atomic_exchange_n(&pinned, NULL, __ATOMIC_SEQ_CST) == c)
		affinity_restore(c);
	__atomic_store_n(&looking_at, NULL, __ATOMIC_SEQ_CST);
}

void spin_stop(void)
{
	if (!spinning)
		return;
	spinning = false;
	unpin();
	__atomic_store_n(beat_word(BEAT_TIME), 0, __ATOMIC_SEQ_CST);
	affinity_free(0);
	__atomic_store_n(&role, 0, __ATOMIC_SEQ_CST);
}

void spin_init(const struct platform_config *config, char *beat_page)
{
	client = config->client;
	beat = beat_page;
	enabled = affinity_init() > 1 && !config->no_spin && tsc_usable();
	tsc_start = __rdtsc();
	ns_start = now_ns();
	park_hook = spin_stop;
}

/* Calling the spinner. */

static bool hot_add(struct trap_cpu *c)
{
	for (unsigned i = 0; i < HOT_MAX; i++)
		if (__atomic_load_n(&hot[i], __ATOMIC_RELAXED) == c)
			return true;
	for (unsigned i = 0; i < HOT_MAX; i++) {
		struct trap_cpu *none = NULL;

		if (__atomic_compare_exchange_n(&hot[i], &none, c, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return true;
	}
	return false;
}

static void promote(struct trap_cpu *c)
{
	uint32_t none = 0;

	if (!calibrate() || !hot_add(c))
		return;
	if (now_ns() < __atomic_load_n(&pause_until, __ATOMIC_RELAXED))
		return;
	if (!__atomic_compare_exchange_n(&role, &none, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	pin(c);
	if (worker_reserve() == 0) {
		worker_give(NULL);
	} else {
		unpin();
		__atomic_store_n(&role, 0, __ATOMIC_SEQ_CST);
	}
}

void spin_note(struct trap_cpu *c)
{
	uint64_t now = __rdtsc(), per_us = __atomic_load_n(&ticks_per_us, __ATOMIC_RELAXED);

	if (!enabled)
		return;
	c->hot = now - c->answered < (per_us ? per_us : 3000) * CLOSE_NS / 1000 ? c->hot + 1 : 0;
	if (c->hot >= BURST) {
		c->hot = 0;
		promote(c);
	}
}

void spin_forget(struct trap_cpu *c)
{
	struct trap_cpu *promoter = c;

	for (unsigned i = 0; i < HOT_MAX; i++) {
		struct trap_cpu *it = c;

		__atomic_compare_exchange_n(&hot[i], &it, NULL, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	if (__atomic_compare_exchange_n(&pinned, &promoter, NULL, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ||
	    c->has_affinity)
		affinity_free(c->tid);
	c->has_affinity = false;
	while (__atomic_load_n(&looking_at, __ATOMIC_SEQ_CST) == c)
		__builtin_ia32_pause();
}

/* The door. */

/* There is one thread less beside the cpus' own. */
static void settle(void)
{
	if (extra)
		worker_release();
	extra = false;
}

static uint32_t *door_of(const struct trap_cpu *c)
{
	return (uint32_t *)(cpu_thr(c) + T_DOOR);
}

void door_clear(struct trap_cpu *c)
{
	__atomic_store_n(door_of(c), DOOR_IDLE, __ATOMIC_SEQ_CST);
}

void door_answer(struct trap_cpu *c, int64_t value)
{
	uint32_t *door = door_of(c);
	bool asleep;

	c->door = false; /* the next event may come from now on */
	if (spinning)    /* and be quicker than our next look */
		beat_now(__rdtsc());
	__atomic_store_n((int64_t *)(cpu_thr(c) + T_ANSWER), value, __ATOMIC_RELAXED);
	asleep = __atomic_exchange_n(door, DOOR_ANSWERED, __ATOMIC_SEQ_CST) == DOOR_WAITING;
	let_go(c); /* before the host runs the thread instead of us */
	if (asleep)
		syscall(SYS_futex, door, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void door_own(struct trap_cpu *c)
{
	const struct timespec ts = {OWN_TIMEOUT_S, 0};
	uint32_t *door = door_of(c), now;

	spin_stop();
	if (__atomic_exchange_n(door, DOOR_REPORT, __ATOMIC_SEQ_CST) == DOOR_WAITING)
		syscall(SYS_futex, door, FUTEX_WAKE, 1, NULL, NULL, 0);
	while ((now = __atomic_load_n((uint32_t *)&c->state, __ATOMIC_SEQ_CST)) & CPU_ATTACHED)
		if (syscall(SYS_futex, &c->state, FUTEX_WAIT_PRIVATE, now, &ts, NULL, 0) < 0 && errno == ETIMEDOUT)
			aspace_kill(c->cpu.aspace); /* the guest has played with the word */
	c->door = false;
	settle();
}

/* Puts back a cpu that had no call: a kick may have come meanwhile. */
static void unclaim(struct trap_cpu *c)
{
	uint32_t old = __atomic_load_n((uint32_t *)&c->state, __ATOMIC_SEQ_CST);

	while (!__atomic_compare_exchange_n((uint32_t *)&c->state, &old, (old & ~(uint32_t)CPU_HELD) | CPU_RUNNING,
					    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	if (old & CPU_KICKED)
		kick_signal(c);
}

/* Takes the call at c's door, if there is one. */
static bool door_take(struct trap_cpu *c)
{
	uint32_t *door = door_of(c), request = DOOR_REQUEST, old;

	if (__atomic_load_n(door, __ATOMIC_ACQUIRE) != DOOR_REQUEST)
		return false;
	old = __atomic_load_n((uint32_t *)&c->state, __ATOMIC_SEQ_CST);
	do
		if ((old & (CPU_RUNNING | CPU_HELD)) != CPU_RUNNING)
			return false;
	while (!__atomic_compare_exchange_n((uint32_t *)&c->state, &old, (old & ~(uint32_t)CPU_RUNNING) | CPU_HELD,
					    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	if (!__atomic_compare_exchange_n(door, &request, DOOR_TAKEN, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		unclaim(c);
		return false;
	}
	__atomic_fetch_and((uint32_t *)&c->state, ~(uint32_t)(CPU_HELD | CPU_KICKED), __ATOMIC_SEQ_CST);
	return true;
}

static uint64_t thr_word(const struct trap_cpu *c, unsigned off)
{
	return __atomic_load_n((const uint64_t *)(cpu_thr(c) + off), __ATOMIC_RELAXED);
}

/* Makes an event of what has been handed over. The words are the guest's: each is read once. */
static void door_read(struct trap_cpu *c, struct cpu_event *ret_ev)
{
	int signo = (int)thr_word(c, T_SIGNO);

	if (!frame_take(c, thr_word(c, T_FRAME)) || frame_reg(c, c->frame, REG_RIP) - STUB_CODE < STUB_CODE_SIZE) {
		aspace_kill(c->cpu.aspace); /* the stub does not do this: the guest plays tricks */
		ret_ev->kind = CPU_KICK;
		return;
	}
	c->fs_base = thr_word(c, T_FSBASE);
	c->gs_base = thr_word(c, T_GSBASE);
	make_event(c, patch_diverted(c, signo) ? KICK_SIGNAL : signo, ret_ev);
}

/* Handles the event that has been taken. */
static void door_event(struct trap_cpu *c)
{
	struct cpu_event ev = {0};

	c->door = true;
	c->turned_back = false;
	door_read(c, &ev);
	while (client->event(&c->cpu, &ev) == CPU_RESUME) {
		prepare_resume(c);
		if (!c->door || c->regs.rip >> 47) { /* ours as a worker now */
			if (c->door)
				door_own(c);
			run(c);
			return;
		}
		if (enter_guest(c, 0, CPU_ATTACHED)) {
			resume(c);
			return;
		}
		if (!(__atomic_load_n((uint32_t *)&c->state, __ATOMIC_SEQ_CST) & CPU_ATTACHED)) { /* the stub is gone */
			spin_stop();
			c->door = false;
			run(c);
			return;
		}
		memset(&ev, 0, sizeof(ev));
		ev.kind = CPU_KICK;
	}
}

/* One look at all doors: the calls that were handled. Ends early when the role is lost. */
static unsigned scan(void)
{
	unsigned handled = 0;

	for (unsigned i = 0; i < HOT_MAX && spinning; i++) {
		struct trap_cpu *c = __atomic_load_n(&hot[i], __ATOMIC_SEQ_CST);
		bool taken;

		if (!c)
			continue;
		__atomic_store_n(&looking_at, c, __ATOMIC_SEQ_CST);
		taken = __atomic_load_n(&hot[i], __ATOMIC_SEQ_CST) == c && door_take(c);
		__atomic_store_n(&looking_at, NULL, __ATOMIC_SEQ_CST);
		if (taken) {
			door_event(c);
			handled++;
		}
	}
	return handled;
}

/*
 * Looks at the doors for as long as that has paid: what calls have saved may be spent on waiting for others, in the gaps between the bursts of a program
 * that computes a little after every few calls. The calls that came.
 */
static unsigned look(uint64_t per_us)
{
	const uint64_t saved = SAVED_NS * per_us / 1000, least = SPIN_NS * per_us / 1000,
		       most = CREDIT_NS * per_us / 1000;
	uint64_t credit = FIRST_NS * per_us / 1000, last = __rdtsc(), now = last;
	unsigned calls = 0, n;

	for (; spinning && now - last < credit; now = __rdtsc()) {
		beat_now(now);
		n = scan();
		if (n) {
			credit -= MIN(now - last, credit);
			credit = MAX(MIN((calls ? credit : 0) + n * saved, most), least);
			calls += n;
			last = __rdtsc();
		}
		__builtin_ia32_pause();
	}
	return calls;
}

void spin_main(void)
{
	unsigned calls;

	spinning = extra = true;
	affinity_avoid(0, guest_processor);
	calls = look(__atomic_load_n(&ticks_per_us, __ATOMIC_RELAXED));
	if (spinning) {
		__atomic_store_n(beat_word(BEAT_TIME), 0, __ATOMIC_SEQ_CST);
		calls += scan();
	}
	if (calls >= WORTH)
		pause_ns = 0;
	else
		pause_ns = pause_ns ? MIN(pause_ns * 2, PAUSE_MAX_NS) : PAUSE_MIN_NS;
	__atomic_store_n(&pause_until, now_ns() + pause_ns, __ATOMIC_RELAXED);
	spin_stop();
	settle();
}
