/*
 * The page of code in every address space of the ptrace platform. It is position independent, works in registers only
 * (there is no stack), and is copied to an address chosen at start. Only the sentry sends a thread here; a guest that
 * jumps here meets the same interception of system calls as anywhere else.
 */
#include <asm/unistd.h>

	.section .rodata.ptrace_stub, "a"
	.balign 4096
	.globl ptrace_stub_begin, ptrace_stub_boot, ptrace_stub_wait, ptrace_stub_call, ptrace_stub_clone
	.globl ptrace_stub_cas, ptrace_stub_end

ptrace_stub_begin:

/*
 * A new template. rdi, rsi: the range below the platform's; r12, r13: the range above it; r14: the filter's program.
 * Unmaps both, installs the filter, then waits.
 */
ptrace_stub_boot:
	mov	$__NR_munmap, %eax
	syscall
	test	%rax, %rax
	jnz	fail
	mov	%r12, %rdi
	mov	%r13, %rsi
	mov	$__NR_munmap, %eax
	syscall
	test	%rax, %rax
	jnz	fail
	mov	$1, %edi		/* SECCOMP_SET_MODE_FILTER */
	xor	%esi, %esi
	mov	%r14, %rdx
	mov	$__NR_seccomp, %eax
	syscall
	test	%rax, %rax
	jnz	fail
	jmp	ptrace_stub_wait
fail:
	mov	$1, %edi
	mov	$__NR_exit_group, %eax
	syscall
	hlt

/* A new thread or process stays here until its tracer has seized it. */
ptrace_stub_wait:
	mov	$__NR_pause, %eax
	syscall
	jmp	ptrace_stub_wait

/* One system call, in the registers that the sentry has set. */
ptrace_stub_call:
	syscall
	int3

/* A clone: the child goes to wait. */
ptrace_stub_clone:
	syscall
	test	%eax, %eax
	jz	ptrace_stub_wait
	int3

/* Compare and swap of the word at rdi: eax expected, edx desired; eax what was there. */
ptrace_stub_cas:
	lock cmpxchgl %edx, (%rdi)
	int3
ptrace_stub_end:

	.section .note.GNU-stack, "", @progbits
