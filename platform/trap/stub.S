/*
 * The stub: one page of code at a fixed address in every guest process. It has no data of its own: what matters is in
 * registers, in the read-only control and constant pages, or in the signal frame. The guest can jump to any instruction
 * here with any registers: the filters make every call safe for arbitrary arguments (filter.c).
 *
 * boot      The template forgets the sentry's memory and installs the base filter.
 * mother    A thread without a listener that makes threads and forks on command. Her signals are blocked, rsp is 0: she
 *           reads nothing that the guest can write.
 * start     A new guest thread: alternate stack, empty signal mask, strict filter with its own listener.
 * fast      Calls from patched sites, without a signal: the registers go to the thread area.
 * signal    Each host signal of a guest thread: the frame is the register page. Reports, does what the sentry queued,
 *           resumes. A kick that lands in here is sorted out by the sentry (kick.c), by the labels below.
 */
#include "platform/trap/layout.h"

#define SYS_close 3
#define SYS_lseek 8
#define SYS_mmap 9
#define SYS_munmap 11
#define SYS_rt_sigprocmask 14
#define SYS_getpid 39
#define SYS_clone 56
#define SYS_getuid 102
#define SYS_getgid 104
#define SYS_geteuid 107
#define SYS_getegid 108
#define SYS_getppid 110
#define SYS_sigaltstack 131
#define SYS_prctl 157
#define SYS_gettid 186
#define SYS_futex 202
#define SYS_exit_group 231
#define SYS_seccomp 317

#define CONST(off) stub_start + STUB_CODE_SIZE + off(%rip)

	.globl stub_start, stub_end, stub_boot, stub_signal, stub_restorer
	.globl stub_report, stub_answered, stub_list, stub_resume, stub_resume_end
	.globl stub_list_test, stub_list_branch, stub_cas, stub_cas_fault
	.globl stub_stage, stub_stage_fault
	.globl stub_resume_sp, stub_list_failed, stub_door_answered
	.globl stub_store1, stub_store8, stub_xsave, stub_store_fault, stub_resume_fast, stub_door
	.globl stub_fast, stub_fast_any, stub_fast_pid, stub_fast_tid, stub_fast_ppid, stub_fast_uid, stub_fast_euid
	.globl stub_fast_gid, stub_fast_egid
	.globl stub_mask, stub_mask_load, stub_mask_store, stub_mask_commit, stub_mask_undo, stub_mask_return, stub_mask_end
	.globl stub_fast_event

	.section .rodata
	.balign 4096
stub_start:

/* ---- boot: rsp is not used any more ---- */
stub_boot:
	lea CONST(K_HOLES), %rbx
1:	mov 8(%rbx), %rsi
	test %rsi, %rsi
	jz 2f
	mov (%rbx), %rdi
	mov $SYS_munmap, %eax
	syscall
	test %rax, %rax
	mov $71, %ebp
	jnz die
	add $16, %rbx
	jmp 1b
2:	xor %esp, %esp
	mov $SYS_seccomp, %eax
	mov $1, %edi
	xor %esi, %esi
	lea CONST(K_FPROG_BASE), %rdx
	syscall
	test %rax, %rax
	mov $72, %ebp
	jnz die
	xor %r15d, %r15d

/* ---- the mother: r15d is the last command done, rbp her control page ---- */
mother:
	movabs $STUB_CTL, %rbp
1:	mov M_SEQ(%rbp), %eax
	cmp %eax, %r15d
	jne 2f
	mov $SYS_futex, %eax
	lea M_SEQ(%rbp), %rdi
	xor %esi, %esi /* FUTEX_WAIT */
	mov %r15d, %edx
	xor %r10d, %r10d
	syscall
	jmp 1b
2:	mov %eax, %r15d
	mov M_SLOT(%rbp), %r13d
	mov M_CTLOFF(%rbp), %r14
	mov M_THROFF(%rbp), %r12
	mov M_OP(%rbp), %ebx
	mov $SYS_close, %eax /* the sentry has the previous listener by now */
	mov $FD_LSN, %edi
	syscall
	xor %esi, %esi
	xor %edx, %edx
	xor %r10d, %r10d
	xor %r8d, %r8d
	cmp $M_OP_THREAD, %ebx
	jne mother_fork
	mov $SYS_clone, %eax
	mov $MOTHER_THREAD, %edi
	syscall
	test %rax, %rax
	jz start
	jns mother
	shl $16, %r13d
	movabs $STUB_THR, %rdi
	add %r13, %rdi
	movl $HINT_FAILED, T_HINT(%rdi)
	jmp mother_wake

mother_fork:
	mov $SYS_clone, %eax
	mov $MOTHER_FORK, %edi
	syscall
	test %rax, %rax
	jnz mother_answer
	/* The child: its own pages before anything reads them. Its first command is already posted. */
	mov $SYS_mmap, %eax
	movabs $STUB_CTL, %rdi
	mov $CTL_SIZE, %esi
	mov $1, %edx      /* PROT_READ */
	mov $0x11, %r10d  /* MAP_SHARED | MAP_FIXED */
	mov $FD_CTL, %r8d
	mov %r14, %r9
	syscall
	cmp %rdi, %rax
	mov $73, %ebp
	jne die
	mov $SYS_mmap, %eax
	movabs $STUB_THR, %rdi
	mov $THR_SIZE, %esi
	mov $3, %edx      /* PROT_READ | PROT_WRITE */
	mov $0x11, %r10d
	mov $FD_THR, %r8d
	mov %r12, %r9
	syscall
	cmp %rdi, %rax
	mov $74, %ebp
	jne die
	mov $SYS_prctl, %eax /* PR_SET_PDEATHSIG, SIGKILL: not inherited */
	mov $1, %edi
	mov $9, %esi
	syscall
	xor %r15d, %r15d
	jmp mother

/* The trusted answer of a fork: the file offset of FD_CTL = command << 32 | pid, 0x7fffffff for an error. */
mother_answer:
	mov %rax, %rbx
	test %rax, %rax
	jns 1f
	mov $0x7fffffff, %ebx
1:	mov %r15d, %esi
	shl $32, %rsi
	or %rbx, %rsi
	mov $SYS_lseek, %eax
	mov $FD_CTL, %edi
	xor %edx, %edx
	syscall
	movabs $STUB_THR, %rdi
	mov %r15d, T_HINT(%rdi)
mother_wake:
	mov $SYS_futex, %eax
	mov $1, %esi /* FUTEX_WAKE */
	mov $1, %edx
	xor %r10d, %r10d
	syscall
	jmp mother

/* ---- a new guest thread: r13 = slot, rbp = the mother's control page ---- */
start:
	mov %r13d, %ebx
	shl $12, %ebx
	add %rbp, %rbx
	mov $SYS_sigaltstack, %eax
	lea C_STACK(%rbx), %rdi
	xor %esi, %esi
	syscall
	mov C_UC(%rbx), %rsp
	sub $256, %rsp /* on the alternate stack from now on: signals may come */
	mov $SYS_rt_sigprocmask, %eax
	mov $2, %edi
	lea CONST(K_ZERO), %rsi
	xor %edx, %edx
	mov $8, %r10d
	syscall
	mov $SYS_seccomp, %eax
	mov $1, %edi
	mov $LISTENER_FLAGS, %esi
	lea CONST(K_FPROG_THR), %rdx
	syscall
	test %rax, %rax
	mov $75, %ebp
	js die
	shl $16, %r13d
	movabs $STUB_THR, %rdi
	add %r13, %rdi
	movl $HINT_HERE, T_HINT(%rdi)
	mov $SYS_futex, %eax
	mov $1, %esi
	mov $1, %edx
	xor %r10d, %r10d
	syscall
	xor %r12d, %r12d
	mov C_UC(%rbx), %r13
	xor %r14d, %r14d
	xor %r9d, %r9d
	jmp stub_report

/* ---- a host signal: rdi = signo, rsi = siginfo, rdx = ucontext ---- */
stub_signal:
	mov %edi, %r12d
	mov %rdx, %r13
	xor %r14d, %r14d
	xor %r9d, %r9d
	mov 168(%r13), %rax /* what interrupts the stub itself is sorted out by a report, and kicks are rare */
	movabs $STUB_CODE, %rcx
	sub %rcx, %rax
	cmp $STUB_CODE_SIZE, %rax
	jb stub_report
	cmp $KICK_SIGNAL, %edi
	jne by_door

/* Reports: r12 = signo, r13 = frame, r14 = result of a list, r9 = what is reported. */
stub_report:
	mov $NR_REPORT, %eax
	mov %r12, %rdi
	mov %r13, %rsi
	mov %r14, %rdx
	rdfsbase %r10
	rdgsbase %r8
	syscall
stub_answered:
	test %rax, %rax
	jz stub_resume
	js no_answer
	cmp $ANSWER_FAST, %rax
	je stub_resume_fast
	cmp $ANSWER_IRET, %rax
	je resume_iret

/* The commands of this thread's control page: the slot follows from the frame's address. */
stub_list:
	mov %r13d, %ebx
	and $(MAX_SLOTS - 1) << 16, %ebx
	shr $4, %ebx
	movabs $STUB_CTL, %rcx
	add %rcx, %rbx
	mov C_COUNT(%rbx), %ebp
	mov C_FINAL(%rbx), %r15d
	add $C_LIST, %rbx
1:	mov (%rbx), %rax
	mov 8(%rbx), %rdi
	mov 16(%rbx), %rsi
	mov 24(%rbx), %rdx
	mov 32(%rbx), %r10
	mov 40(%rbx), %r8
	mov 48(%rbx), %r9
	xor %r14d, %r14d
	test %rax, %rax
	js 4f
	syscall
	mov %rax, %r14
	cmp $-4096, %rax
	ja 3f
2:	add $CMD_SIZE, %rbx
	dec %ebp
	jnz 1b
stub_list_test:
	test %r15d, %r15d
stub_list_branch:
	jnz list_final
list_done:
	mov $REPORT_LIST, %r9d
	jmp stub_report
list_final:
	cmp $ANSWER_IRET, %r15d
	jb stub_resume
	je resume_iret
	jmp stub_resume_fast
stub_list_failed:
3:	testl $CMD_MAY_FAIL, 56(%rbx)
	jz list_done
	xor %r14d, %r14d
	jmp 2b
4:	cmp $CMD_CAS, %rax
	je 5f
	cmp $CMD_FSBASE, %rax
	je 6f
	cmp $CMD_GSBASE, %rax
	je 7f
	cmp $CMD_STORE, %rax
	je 8f
	mov CONST(K_XMASK), %eax
	mov CONST(K_XMASK + 4), %edx
stub_xsave:
	xsave64 (%rdi)
	jmp 2b
5:	mov %esi, %eax
stub_cas:
	lock cmpxchg %edx, (%rdi)
	mov %eax, %r14d
	jmp 2b
6:	wrfsbase %rdi
	jmp 2b
7:	wrgsbase %rdi
	jmp 2b
8:	cmp $1, %edx
	je 9f
stub_store8:
	mov %rsi, (%rdi)
	jmp 2b
9:
stub_store1:
	mov %sil, (%rdi)
	jmp 2b
stub_cas_fault:
	mov $-14, %r14
	jmp list_done
stub_store_fault:
	mov $-14, %r14
	jmp 3b

/*
 * To the guest. Not by rt_sigreturn: a forged one would change the signal mask. Until the iretq this can be started
 * again from the report: only r13, and at the end rsp, say which frame it is.
 */
stub_resume:
	mov 224(%r13), %rbx
	mov CONST(K_XMASK), %eax
	mov CONST(K_XMASK + 4), %edx
	xrstor64 (%rbx)
resume_iret:
	lea -64(%r13), %rsp
stub_resume_sp:
	movq $0x202, (%rsp) /* a guest's NT or AC must not reach the iretq */
	popfq
	lea -48(%r13), %rsp
	mov 168(%r13), %rax
	mov %rax, 0(%rsp)
	movq $0x33, 8(%rsp)
	mov 176(%r13), %rax
	mov %rax, 16(%rsp)
	mov 160(%r13), %rax
	mov %rax, 24(%rsp)
	movq $0x2b, 32(%rsp)
	mov 40(%r13), %r8
	mov 48(%r13), %r9
	mov 56(%r13), %r10
	mov 64(%r13), %r11
	mov 72(%r13), %r12
	mov 88(%r13), %r14
	mov 96(%r13), %r15
	mov 104(%r13), %rdi
	mov 112(%r13), %rsi
	mov 120(%r13), %rbp
	mov 128(%r13), %rbx
	mov 136(%r13), %rdx
	mov 144(%r13), %rax
	mov 152(%r13), %rcx
	mov 80(%r13), %r13
	iretq
/* As a system call returns: rcx = rip, r11 = flags, FP state untouched. */
stub_resume_fast:
	lea 176(%r13), %rsp
	popfq
	mov 40(%r13), %r8
	mov 48(%r13), %r9
	mov 56(%r13), %r10
	mov 64(%r13), %r11
	mov 72(%r13), %r12
	mov 88(%r13), %r14
	mov 96(%r13), %r15
	mov 104(%r13), %rdi
	mov 112(%r13), %rsi
	mov 120(%r13), %rbp
	mov 128(%r13), %rbx
	mov 136(%r13), %rdx
	mov 144(%r13), %rax
	mov 152(%r13), %rcx
	mov 160(%r13), %rsp
	mov 80(%r13), %r13
	jmp *%rcx
stub_resume_end:

/*
 * ---- a patched call site, from its trampoline: r11 = where to return, rcx free, flags and all else the guest's ----
 * gs is ours while the guest's own is 0 (its base then is the thread's control page); if it is not, the plain system call
 * instruction in front of the return address traps instead. No instruction before the pushfq changes a flag.
 */
	.macro check_gs slow
	rdgsbase %rcx
	bswap %rcx
	lea 0x810000(%rcx), %ecx /* 0 if the upper half was STUB_HI */
	jrcxz 1f
\slow:
	lea -2(%r11), %rcx
	jmp *%rcx
1:
	.endm

/* Up to the last jump rax is the number of the call: undo_fast_answer() relies on it. */
	.macro answer_id name, off, insn, reg
	.balign 16
\name:
	check_gs \name\()_slow
\name\()_answer:
	mov %gs:C_FAST_OFF, %ecx
	jrcxz 2f
	jmp fast_save
2:	mov %r11, %rcx
	\insn %gs:\off, \reg
	jmp *%r11
	.endm

	answer_id stub_fast_pid, C_PID, movslq, %rax
	answer_id stub_fast_tid, C_TID, movslq, %rax
	answer_id stub_fast_ppid, C_PPID, movslq, %rax
	answer_id stub_fast_uid, C_UID, mov, %eax
	answer_id stub_fast_euid, C_EUID, mov, %eax
	answer_id stub_fast_gid, C_GID, mov, %eax
	answer_id stub_fast_egid, C_EGID, mov, %eax

/* A site whose number is known only now. */
	.macro when nr, then
	lea -\nr(%rax), %ecx
	jrcxz \then
	.endm

	.balign 16
stub_fast_any:
	check_gs stub_fast_any_slow
	when SYS_getpid, 1f
	when SYS_gettid, 2f
	when SYS_getppid, 3f
	when SYS_getuid, 4f
	when SYS_geteuid, 5f
	when SYS_getgid, 6f
	when SYS_getegid, 7f
	jmp fast_save
1:	jmp stub_fast_pid_answer
2:	jmp stub_fast_tid_answer
3:	jmp stub_fast_ppid_answer
4:	jmp stub_fast_uid_answer
5:	jmp stub_fast_euid_answer
6:	jmp stub_fast_gid_answer
7:	jmp stub_fast_egid_answer

	.balign 16
stub_fast:
	check_gs stub_fast_slow
fast_save:
	mov %gs:C_SELF, %rcx
	lea T_FAST(%rcx), %rcx
	mov %rsp, 160(%rcx)
	lea 184(%rcx), %rsp
	pushfq
	cld
	mov %r8, 40(%rcx)
	mov %r9, 48(%rcx)
	mov %r10, 56(%rcx)
	mov %r12, 72(%rcx)
	mov %r13, 80(%rcx)
	mov %r14, 88(%rcx)
	mov %r15, 96(%rcx)
	mov %rdi, 104(%rcx)
	mov %rsi, 112(%rcx)
	mov %rbp, 120(%rcx)
	mov %rbx, 128(%rcx)
	mov %rdx, 136(%rcx)
	mov %rax, 144(%rcx)
	mov %r11, 152(%rcx)
	mov %r11, 168(%rcx)
	mov 176(%rcx), %rax
	mov %rax, 64(%rcx)
	mov %rcx, %r13
	cmpq $SYS_rt_sigprocmask, 144(%r13)
	je stub_mask

stub_fast_event:
/* Small inputs go along (stage.c): rdx = the table's entry, rsi = where from, rcx = how much. */
	xor %ebp, %ebp
	mov 144(%r13), %rax
	cmp $STAGE_CALLS, %rax
	jae 3f
	lea CONST(K_STAGE), %rbx
	mov (%rbx, %rax, 4), %edx
	test %edx, %edx
	jz 3f
	movzbl %dl, %eax
	mov (%r13, %rax), %rsi
	mov %edx, %r8d
	shr $20, %r8d
	movzbl %dh, %eax
	test %eax, %eax
	jz 1f
	mov (%r13, %rax), %rdi
	cmp %r8, %rdi
	ja 3f
	mov %edx, %ecx
	shr $16, %ecx
	and $15, %ecx
	shl %cl, %rdi
	cmp %r8, %rdi
	ja 3f
	mov %edi, %ecx
	jmp 2f
1:	mov %esi, %ecx /* not across the end of the page */
	or $-4096, %ecx
	neg %ecx
	cmp %r8d, %ecx
	cmova %r8d, %ecx
2:	mov %rsi, T_STAGED - T_FAST(%r13)
	lea T_BUFFER - T_FAST(%r13), %rdi
	mov %ecx, %ebp
stub_stage:
	rep movsb
	jmp 3f
stub_stage_fault:
	xor %ebp, %ebp
3:	mov %rbp, T_STAGED_SIZE - T_FAST(%r13)

	mov $31, %r12d /* SIGSYS */
	xor %r14d, %r14d
	mov $REPORT_FAST, %r9d

	jmp by_door

/*
 * A signal mask is changed here while no signal is pending: r8 = the old one, r9 = the new one. r13 is restored last. What cannot be done here, or is
 * disturbed, becomes an event, as if nothing had been done: by kick.c for kicks and faults, by the look at C_MASK_OFF for signals
 * that come at the same time, whose senders set it before they look at the mask.
 */
stub_mask:
	cmpl $0, %gs:C_FAST_OFF
	jne stub_fast_event
	cmpq $0, %gs:C_MASK_OFF
	jne stub_fast_event
	cmpq $8, 56(%r13)
	jne stub_fast_event
	movabs $STUB_CODE, %rbx
	mov T_MASK - T_FAST(%r13), %r8
	mov %r8, %r9
	mov 112(%r13), %rsi
	test %rsi, %rsi
	jz 3f
	cmp %rbx, %rsi
	jae stub_fast_event
stub_mask_load:
	mov (%rsi), %rsi
	mov 104(%r13), %edi
	test %edi, %edi /* SIG_BLOCK */
	jz 1f
	cmp $2, %edi /* SIG_SETMASK */
	ja stub_fast_event
	je 2f
	not %rsi
	and %rsi, %r9
	jmp 3f
1:	or %rsi, %r9
	jmp 3f
2:	mov %rsi, %r9
3:	and $~0x40100, %r9 /* SIGKILL, SIGSTOP */
	mov 136(%r13), %rdx
	test %rdx, %rdx
	jz 4f
	cmp %rbx, %rdx
	jae stub_fast_event
stub_mask_store:
	mov %r8, (%rdx)
4:	mov %r8, T_MASK_OLD - T_FAST(%r13)
stub_mask_commit:
	mov %r9, T_MASK - T_FAST(%r13)
	mfence
	cmpq $0, %gs:C_MASK_OFF
	jne stub_mask_undo
	lea 176(%r13), %rsp
	popfq
	mov 40(%r13), %r8
	mov 48(%r13), %r9
	mov 64(%r13), %r11
	mov 104(%r13), %rdi
	mov 112(%r13), %rsi
	mov 128(%r13), %rbx
	mov 136(%r13), %rdx
	mov 152(%r13), %rcx
	mov $0, %eax
	mov 160(%r13), %rsp
	mov 80(%r13), %r13
stub_mask_return:
	jmp *%rcx
stub_mask_undo:
	cld
	mov T_MASK_OLD - T_FAST(%r13), %r8
	mov %r8, T_MASK - T_FAST(%r13)
	jmp stub_fast_event
stub_mask_end:

/* An event by the door, while a spinner looks, else by a report: r12, r13, r14, r9 as there. Then rbp = the word, r15 = since when. */
by_door:
	movabs $STUB_BEAT, %rbx
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	mov %rax, %r15
	sub BEAT_TIME(%rbx), %rax /* signed: the beat may be younger than our look at the counter */
	cmp BEAT_LIMIT(%rbx), %rax
	jge stub_report
	mov %r13, %rbp
	and $-SLOT_SIZE, %rbp
	rdfsbase %rax
	rdgsbase %rcx
	mov %r12, T_SIGNO(%rbp)
	mov %r13, T_FRAME(%rbp)
	mov %rax, T_FSBASE(%rbp)
	mov %rcx, T_GSBASE(%rbp)
	add $T_DOOR, %rbp
	movl $DOOR_REQUEST, (%rbp)
stub_door:
	mov (%rbp), %eax
	cmp $DOOR_ANSWERED, %eax
	je stub_door_answered
	cmp $DOOR_REPORT, %eax
	je door_report
	pause
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	mov %rax, %rdx
	sub %r15, %rax
	cmp BEAT_WAIT(%rbx), %rax
	jb 1f
	mov $DOOR_TAKEN, %eax
	mov $DOOR_WAITING, %ecx
	lock cmpxchg %ecx, (%rbp)
	je door_sleep
	cmp $DOOR_WAITING, %eax
	je door_sleep
	jmp 2f
1:	sub BEAT_TIME(%rbx), %rdx
	cmp BEAT_WAIT(%rbx), %rdx
	jl stub_door
2:	mov $DOOR_REQUEST, %eax /* the spinner is gone */
	xor %ecx, %ecx
	lock cmpxchg %ecx, (%rbp)
	je stub_report
	jmp stub_door
door_sleep:
	mov $SYS_futex, %eax
	mov %rbp, %rdi
	xor %esi, %esi
	mov $DOOR_WAITING, %edx
	xor %r10d, %r10d
	syscall
	jmp stub_door
door_report:
	movl $DOOR_IDLE, (%rbp)
	mov $REPORT_OWN, %r9d
	jmp stub_report
stub_door_answered:
	movl $DOOR_IDLE, (%rbp)
	mov T_ANSWER - T_DOOR(%rbp), %rax
	jmp stub_answered

no_answer:
	cmp $-4, %rax /* interrupted before the sentry saw it: again */
	je stub_report
	mov $76, %ebp
die:	/* ebp is the exit status, and tells where: 71 boot, 72 its filter, 73 control pages, 74 thread areas, 75 listener, 76 report */
	mov $SYS_exit_group, %eax
	mov %ebp, %edi
	syscall
stub_restorer:
	hlt

	.org stub_start + STUB_CODE_SIZE, 0xf4
stub_end:
	.section .note.GNU-stack, "", @progbits
