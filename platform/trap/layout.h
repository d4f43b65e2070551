/*
 * The stub's address space above GUEST_END and its file descriptors: shared by stub.S, the filters and the sentry side.
 * Everything here is visible to the guest. The code, constant and control pages are read-only for it (the control pages
 * are a shared mapping of a file opened read-only); the thread areas are writable, so that whatever is read from them
 * is hostile.
 *
 *	STUB_CODE   one page of code, one page of constants (filter programs, the initial XSAVE image)
 *	STUB_BEAT   one page for all stubs: the spinner's heartbeat
 *	STUB_CTL    control pages: page 0 is the mother's, page k belongs to thread slot k
 *	STUB_VDSO   the host's vvar and vDSO, moved here in the template
 *	STUB_THR    thread areas of SLOT_SIZE: area 0 is the mother's, area k belongs to thread slot k
 */
#pragma once

#define STUB_HI 0x7fff /* the upper half of every address of the platform, and of no guest address */
#define STUB_END 0x7ffffffff000
#define STUB_CODE 0x7fff10000000
#define STUB_CONST 0x7fff10001000
#define STUB_CODE_SIZE 0x1000
#define STUB_CONST_SIZE 0x3000
#define STUB_BEAT 0x7fff18000000
#define STUB_BEAT_SIZE 0x1000
#define STUB_CTL 0x7fff20000000
#define CTL_SIZE 0x800000
#define CTL_PAGE 0x1000
#define STUB_VDSO 0x7fff30000000
#define VDSO_MAX 0x100000
#define STUB_THR 0x7fff40000000
#define THR_SIZE 0x8000000
#define SLOT_SIZE 0x10000
#define MAX_SLOTS 2048 /* slot 0 is the mother's */

/* Offsets in the constants page. */
#define K_FPROG_BASE 0x00 /* struct sock_fprog: the filter of the whole stub */
#define K_FPROG_THR 0x10  /* struct sock_fprog: on top of it, for threads that run guest code */
#define K_XMASK 0x20      /* the XSAVE components that are saved and restored */
#define K_ZERO 0x28       /* an empty signal mask */
#define K_HOLES 0x40      /* what the template unmaps: pairs of address and size, ended by size 0 */
#define K_PROG_BASE 0x200
#define K_PROG_THR 0x1000
#define K_STAGE 0x1800 /* by call: what is staged (stage.c) */
#define STAGE_CALLS 512
#define K_FPINIT 0x2000 /* an XSAVE image of the initial state; the processor may read its full size */

/* The mother's control page. */
#define M_SEQ 0x00 /* changes when a command is posted; she waits on it */
#define M_OP 0x04
#define M_SLOT 0x08
#define M_CTLOFF 0x10 /* for a fork: the child's offsets in the two files */
#define M_THROFF 0x18
#define M_OP_THREAD 1
#define M_OP_FORK 2

/* A thread's control page. */
#define C_STACK 0x00    /* stack_t of the alternate signal stack */
#define C_UC 0x18       /* the frame that a new thread starts from */
#define C_SELF 0x20     /* address of the thread's area */
#define C_FAST_OFF 0x28 /* not 0: nothing is answered in the stub */
#define C_PID 0x30
#define C_TID 0x34
#define C_PPID 0x38
#define C_UID 0x3c
#define C_EUID 0x40
#define C_GID 0x44
#define C_EGID 0x48
#define C_MASK_OFF 0x50   /* not 0, it or the next one: signal masks are not changed in the stub */
#define C_MASK_EVENT 0x54 /* a kick wants an event of what the stub is doing */
#define C_COUNT 0x400     /* the command list: count, final, then entries */
#define C_FINAL 0x408
#define C_LIST 0x440
#define CMD_SIZE 64
#define CMD_MAX 46

/* A command is a system call (nr >= 0) or one of these. */
#define CMD_CAS -1 /* 32 bits at a0: expected a1, desired a2 */
#define CMD_FSBASE -2
#define CMD_GSBASE -3
#define CMD_STORE -4   /* a2 bytes (1 or 8) of a1 at a0 */
#define CMD_XSAVE -5   /* the FP state to a0 */
#define CMD_MAY_FAIL 1 /* flag: go on after an error */

/* A thread's area. */
#define T_HINT 0x00   /* HINT_*, or in the mother's the last command that was done; a hint, no more */
#define T_DOOR 0x40   /* DOOR_*: an event handed to the spinner instead of reported */
#define T_ANSWER 0x48 /* its answer */
#define T_STAGED 0x50 /* address of what is staged in T_BUFFER, and its size */
#define T_STAGED_SIZE 0x58
#define T_SIGNO 0x60 /* what is handed over at the door: as in a report */
#define T_FRAME 0x68
#define T_FSBASE 0x70
#define T_GSBASE 0x78
#define T_BASE 0x80 /* struct timespec: CPU time that the host thread had used for earlier guest threads */
#define T_MASK 0x90 /* the guest's signal mask, and what it was before the call at hand */
#define T_MASK_OLD 0x98
#define T_FAST 0x200    /* registers of a call from a patched site, laid out as a ucontext */
#define T_BUFFER 0x2000 /* results and staged copies */
#define T_SIGSTACK 0x8000
#define T_SIGSTACK_SIZE 0x8000

/* File descriptors in the stub. */
#define FD_CTL 0  /* all control pages, read-only; its file offset is the mother's answer */
#define FD_THR 1  /* all thread areas */
#define FD_LSN 2  /* a new listener lands here: the lowest free number */
#define FD_MAP 16 /* plus the slot: a file to be mapped */

/* The call that reports to the sentry: no real system call has this number. */
#define NR_REPORT 0x7a7
#define REPORT_SIGNAL 0
#define REPORT_LIST 1
#define REPORT_FAST 2 /* a call from a patched site */
#define REPORT_OWN 3  /* a call that was handed to the spinner, on request */

/* What the sentry answers, and what a final list ends with. Else (also a descriptor's number): run the list. */
#define ANSWER_RESUME 0 /* load FP state and registers of the frame; as the end of a list: report its result */
#define ANSWER_LIST 1   /* as the end of a list: resume as by ANSWER_RESUME */
#define ANSWER_IRET 2   /* the registers; FP state is still loaded */
#define ANSWER_FAST 3   /* the registers, rcx = rip, r11 = flags: return as from a system call */

/* T_HINT of a new thread */
#define HINT_HERE 1
#define HINT_FAILED 2 /* the host has no room for it */

/* T_DOOR */
#define DOOR_IDLE 0
#define DOOR_REQUEST 1
#define DOOR_TAKEN 2
#define DOOR_WAITING 3 /* taken, and the thread sleeps on the word */
#define DOOR_ANSWERED 4
#define DOOR_REPORT 5 /* the sentry wants a report instead */

/* The heartbeat page: the last one of the template's control pages. In units of the time stamp counter. */
#define BEAT_OFFSET (CTL_SIZE - STUB_BEAT_SIZE) /* in the control file */
#define BEAT_TIME 0x00                          /* when the spinner looked last */
#define BEAT_LIMIT 0x08                         /* older: do not use the door */
#define BEAT_WAIT 0x10                          /* how long to spin for an answer */

#define KICK_SIGNAL 10        /* SIGUSR1 */
#define MOTHER_THREAD 0x50f00 /* CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM */
#define MOTHER_FORK 0x8000    /* CLONE_PARENT: every stub is the sentry's child */
#define LISTENER_FLAGS 0x28   /* SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE_RECV */

/* Where a thread area holds the frame that the sentry writes for a new thread, and FP state that it sets. */
#define FRESH_FRAME (SLOT_SIZE - 0x200)
#define FRESH_FPSTATE 0x400
