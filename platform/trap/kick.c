/*
 * Kicks. A cpu that runs guest code is stopped by a host signal to its thread; one whose upcall runs, or that has not
 * been started, sees the wish before it resumes. At most one signal is in flight for a cpu, and one is sent for each event, so
 * that frames do not pile up on its signal stack, however fast kicks come.
 *
 * A signal can land in the stub's own code. Then its handler reports a nested frame, and nested_report() decides by the
 * interrupted instruction: before the report, nothing is to be done, because an event is on its way, or is made of what the stub was doing by itself; after the answer, the
 * thread is turned back to report the frame that it was about to resume; within a final list, the list is made to
 * report at its end. While the thread waits for an answer the host holds signals back (WAIT_KILLABLE_RECV).
 */
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <unistd.h>

#include "platform/trap/trap.h"

#define KICKED_NS 5000000000
#define FRAME_MIN 0x200 /* less than the host's signal frame: what is closer is the guest's invention */

void kick_signal(struct trap_cpu *c)
{
	uint32_t old = __atomic_fetch_or((uint32_t *)&c->state, CPU_SIGNAL, __ATOMIC_SEQ_CST);

	if (!(old & CPU_SIGNAL))
		syscall(SYS_tgkill, c->cpu.aspace->pid, c->tid, KICK_SIGNAL);
}

void trap_cpu_kick(struct cpu *cpu)
{
	struct trap_cpu *c = to_trap(cpu);
	uint32_t old = __atomic_fetch_or((uint32_t *)&c->state, CPU_KICKED, __ATOMIC_SEQ_CST);

	if ((old & CPU_RUNNING) && !(old & CPU_KICKED)) /* one is enough: its frame and the next one's would pile up */
		kick_signal(c);
}

/* The stub was about to resume c's frame: let it report that instead. */
static void turn_back(struct trap_cpu *c, uint32_t frame)
{
	frame_set_reg(c, frame, REG_RIP, STUB_ADDR(stub_report));
	frame_set_reg(c, frame, REG_R12, KICK_SIGNAL);
	frame_set_reg(c, frame, REG_R13, slot_address(c->slot) + c->frame);
	frame_set_reg(c, frame, REG_R14, 0);
	frame_set_reg(c, frame, REG_R9, REPORT_SIGNAL);
	c->turned_back = true;
}

static void end_list_early(struct trap_cpu *c, uint32_t frame, uint64_t rip)
{
	*(volatile uint64_t *)(cpu_ctl(c) + C_FINAL) = 0;
	frame_set_reg(c, frame, REG_R15, 0);
	if (rip >= STUB_ADDR(stub_list_branch) && rip < STUB_ADDR(stub_list_failed)) /* decided already */
		frame_set_reg(c, frame, REG_RIP, STUB_ADDR(stub_list_test));
}

static void divert_answered(struct trap_cpu *c, uint32_t frame, int64_t rax)
{
	if (rax == ANSWER_RESUME || rax == ANSWER_IRET || rax == ANSWER_FAST)
		turn_back(c, frame);
	else if (rax > 0)
		end_list_early(c, frame, 0);
}

/*
 * A call that waits at the door, or has just been answered there. RUNNING is set, so the answer is there or about to be,
 * unless nobody has taken the call yet: then its event is still to come.
 */
static void divert_at_door(struct trap_cpu *c, uint32_t frame, uint64_t rip)
{
	uint32_t *door = (uint32_t *)(cpu_thr(c) + T_DOOR), now = 0;

	for (unsigned tries = 0; tries < 10000 && rip <= STUB_ADDR(stub_door_answered); tries++) {
		now = __atomic_load_n(door, __ATOMIC_SEQ_CST);
		if (now != DOOR_TAKEN && now != DOOR_WAITING)
			break;
		__builtin_ia32_pause();
	}
	if (now != DOOR_ANSWERED && rip <= STUB_ADDR(stub_door_answered))
		return;
	divert_answered(c, frame, __atomic_load_n((int64_t *)(cpu_thr(c) + T_ANSWER), __ATOMIC_SEQ_CST));
	if (c->turned_back)
		__atomic_store_n(door, DOOR_IDLE, __ATOMIC_SEQ_CST);
}

/* A change of the signal mask is taken back, and the call reported. */
static void divert_mask(struct trap_cpu *c, uint32_t frame, uint64_t rip)
{
	bool begun = rip > STUB_ADDR(stub_mask_commit);

	frame_set_reg(c, frame, REG_RIP, begun ? STUB_ADDR(stub_mask_undo) : STUB_ADDR(stub_fast_event));
}

/* What interrupted is itself the handler of a signal in the stub's code, whose frame it is about to resume; else 0. */
static uint32_t interrupted_frame(struct trap_cpu *c, uint32_t frame)
{
	uint32_t inner = frame_offset(c, frame_reg(c, frame, REG_R13));

	return inner >= frame + FRAME_MIN && inner != c->frame && inner >= T_SIGSTACK ? inner : 0;
}

static void divert(struct trap_cpu *c, uint32_t frame, uint64_t rip);

static void divert_interrupted(struct trap_cpu *c, uint32_t frame)
{
	uint64_t rip = frame_reg(c, frame, REG_RIP);

	if (rip - STUB_CODE < STUB_CODE_SIZE)
		divert(c, frame, rip);
}

static void divert(struct trap_cpu *c, uint32_t frame, uint64_t rip)
{
	uint32_t inner = interrupted_frame(c, frame);
	uint64_t outer = slot_address(c->slot) + c->frame;
	uint64_t sp = frame_reg(c, frame, REG_RSP);

	if (inner) {
		divert_interrupted(c, inner);
		return;
	}
	if (rip >= STUB_ADDR(stub_mask) && rip < STUB_ADDR(stub_mask_end)) {
		divert_mask(c, frame, rip);
		return;
	}
	if (rip >= STUB_ADDR(stub_fast) && rip < STUB_ADDR(stub_fast_event))
		__atomic_store_n((uint32_t *)(cpu_ctl(c) + C_MASK_EVENT), 1, __ATOMIC_SEQ_CST);
	if (rip < STUB_ADDR(stub_answered))
		return;
	if (rip >= STUB_ADDR(stub_resume_end)) {
		if (rip >= STUB_ADDR(stub_door))
			divert_at_door(c, frame, rip);
		return;
	}
	if (rip >= STUB_ADDR(stub_resume_fast)) {
		turn_back(c, frame);
		return;
	}
	if (rip < STUB_ADDR(stub_resume_sp) ? frame_reg(c, frame, REG_R13) != outer
					    : sp < outer - 64 || sp > outer - 48)
		return;
	if (rip >= STUB_ADDR(stub_resume))
		turn_back(c, frame);
	else if (rip >= STUB_ADDR(stub_list))
		end_list_early(c, frame, rip);
	else
		divert_answered(c, frame, (int64_t)frame_reg(c, frame, REG_RAX));
}

/* Its last jump: the answer is there, and all that is left is to return. */
static bool is_fast_return(uint64_t rip)
{
	static const uint8_t jmp_r11[] = {0x41, 0xff, 0xe3};

	return memcmp(stub_start + (rip - STUB_CODE), jmp_r11, sizeof(jmp_r11)) == 0;
}

bool undo_fast_answer(struct trap_cpu *c, int signo, uint32_t frame, uint64_t rip)
{
	uint64_t ret;

	if (signo == KICK_SIGNAL && rip == STUB_ADDR(stub_mask_return)) {
		frame_set_reg(c, frame, REG_RIP, frame_reg(c, frame, REG_RCX));
		return true;
	}
	if (signo != KICK_SIGNAL || rip < STUB_ADDR(stub_fast_pid) || rip >= STUB_ADDR(stub_fast))
		return false;
	ret = frame_reg(c, frame, REG_R11);
	frame_set_reg(c, frame, REG_RIP, is_fast_return(rip) ? ret : ret - 2);
	return true;
}

/* Instructions of the stub that may fault, and where they go on then. */
static uint64_t fixup(uint64_t rip)
{
	if (rip == STUB_ADDR(stub_cas))
		return STUB_ADDR(stub_cas_fault);
	if (rip == STUB_ADDR(stub_stage))
		return STUB_ADDR(stub_stage_fault);
	if (rip == STUB_ADDR(stub_store1) || rip == STUB_ADDR(stub_store8) || rip == STUB_ADDR(stub_xsave))
		return STUB_ADDR(stub_store_fault);
	if (rip == STUB_ADDR(stub_mask_load) || rip == STUB_ADDR(stub_mask_store) ||
	    rip == STUB_ADDR(stub_fast_event)) /* where a kick has sent it before the fault was reported */
		return STUB_ADDR(stub_fast_event);
	return 0;
}

/* A report from inside, while an event is due, is allowed as long as the thread makes progress, or for a time: else it would report so for ever, and nothing else. */
static bool kicked_too_long(struct trap_cpu *c)
{
	uint64_t answered = __atomic_load_n(&c->answered, __ATOMIC_RELAXED), now = now_ns();

	c->kicked_inside = true;
	if (c->kicked_at && c->kicked_answer == answered)
		return now - c->kicked_at > KICKED_NS;
	c->kicked_at = now;
	c->kicked_answer = answered;
	return false;
}

bool nested_report(struct trap_cpu *c, int signo, uint32_t frame, uint64_t rip)
{
	const uint32_t due = CPU_RUNNING | CPU_KICKED;
	uint32_t state;
	uint64_t to;

	if (signo == SIGSEGV || signo == SIGBUS) {
		state = __atomic_load_n((uint32_t *)&c->state, __ATOMIC_SEQ_CST);
		to = fixup(rip);
		if (!to || ((state & due) == due && kicked_too_long(c)))
			return false;
		frame_set_reg(c, frame, REG_RIP, to);
	} else if (signo == KICK_SIGNAL) {
		state = __atomic_fetch_and((uint32_t *)&c->state, ~(uint32_t)CPU_SIGNAL, __ATOMIC_SEQ_CST);
		if ((state & due) == due) {
			if (kicked_too_long(c))
				return false;
			divert(c, frame, rip);
		}
	} else {
		return false;
	}
	answer_report(c, c->nested, ANSWER_RESUME); /* a failure shows at the next report */
	return true;
}
