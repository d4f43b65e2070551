/* sentry/backtrace.c on platform/fake: chains, stacks without frame pointers, and stacks made to hurt */
#include "sentry/backtrace.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sentry/base/log.h"
#include "sentry/task.h"
#include "tests/kernel/kernel.h"
#include "tests/unit/unit.h"

#define CODE 0x30000000ul
#define CALLED (CODE + 0x100) /* 16 bytes apart, each right behind a call */
#define STACK KERNEL_SCRATCH
#define STACK_WORDS (KERNEL_SCRATCH_SIZE / 8)

static struct cpu *init;
static int pipe_fds[2];
static char text[65536];

static uint64_t call(unsigned n)
{
	return CALLED + 16 * n;
}

static void setup(void)
{
	static const unsigned char insn[] = {0xe8, 1, 2, 3, 4};

	init = kernel_boot();
	ck_assert_int_eq(KCALL(init, SYS_mmap, CODE, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 CODE);
	for (unsigned n = 0; n < 128; n++)
		kernel_poke(init, call(n) - sizeof(insn), insn, sizeof(insn));
	platform->cpu_regs(init)->rip = CODE;
	platform->cpu_regs(init)->rsp = STACK;
	platform->cpu_regs(init)->rbp = 0;
}

static void put(unsigned word, uint64_t value)
{
	kernel_poke(init, STACK + 8ul * word, &value, sizeof(value));
}

/* The trace's addresses as one string, `?` before those that are not certain, without the first, which is rip. */
static const char *trace(void)
{
	static char found[8192];
	size_t len = 0;
	ssize_t n;

	ck_assert_int_eq(pipe(pipe_fds), 0);
	log_init(pipe_fds[1], LOG_DEBUG, false);
	task_backtrace(cpu_client(init), SIGSEGV);
	close(pipe_fds[1]);
	n = read(pipe_fds[0], text, sizeof(text) - 1);
	text[MAX(n, 0)] = 0;
	close(pipe_fds[0]);
	found[0] = 0;
	for (char *p = strstr(text, "#1 "); p; p = strstr(p + 1, "  #")) {
		unsigned long addr = strtoul(strstr(p, ") [") + 3, NULL, 16);

		len += (size_t)snprintf(found + len, sizeof(found) - len, "%s%lu ",
					strstr(p, "? ") && strstr(p, "? ") < strstr(p, ") [") ? "?" : "",
					(addr - CALLED) / 16);
	}
	return found;
}

START_TEST(a_chain_of_frame_pointers)
{
	setup();
	platform->cpu_regs(init)->rbp = STACK + 8 * 10;
	put(10, STACK + 8 * 20);
	put(11, call(1));
	put(20, STACK + 8 * 90000);
	put(21, call(2));
	put(90000, 0);
	put(90001, call(3));
	put(90003, call(4));
	ck_assert_str_eq(trace(), "1 2 3 ");
	ck_assert_ptr_nonnull(strstr(text, "#0  [anonymous](+0) [0x30000000]\n"));
	ck_assert_ptr_nonnull(strstr(text, "pid 1 "));
	put(15, call(7));
	put(16, CODE + 0x108); /* not behind a call */
	put(17, STACK);
	ck_assert_str_eq(trace(), "1 ?7 2 3 ");
}
END_TEST

START_TEST(without_frame_pointers)
{
	setup();
	put(0, call(1));
	put(5, call(2));
	put(9, CODE);
	put(600, call(3)); /* on the second page */
	ck_assert_str_eq(trace(), "?1 ?2 ?3 ");
	put(8, STACK + 8 * 90000); /* a frame pointer below a return address */
	put(9, call(4));
	put(90000, 0);
	put(90001, call(5));
	ck_assert_str_eq(trace(), "?1 ?2 ?4 ?3 ?5 ");
	put(90001, CODE);
	ck_assert_str_eq(trace(), "?1 ?2 ?4 ?3 ");
}
END_TEST

START_TEST(a_chain_that_does_not_go_up_ends)
{
	setup();
	platform->cpu_regs(init)->rbp = STACK + 8 * 10;
	put(10, STACK + 8 * 10);
	put(11, call(1));
	ck_assert_str_eq(trace(), "1 ");
	put(10, STACK + 8 * 12 + 1);
	ck_assert_str_eq(trace(), "1 ");
	put(10, STACK + KERNEL_SCRATCH_SIZE - 8); /* its return address is not mapped */
	ck_assert_str_eq(trace(), "1 ");
	put(10, UINT64_MAX - 7);
	ck_assert_str_eq(trace(), "1 ");
	put(11, STACK);
	ck_assert_str_eq(trace(), "");
}
END_TEST

START_TEST(an_overflown_stack)
{
	setup();
	put(0, call(1));
	platform->cpu_regs(init)->rsp = STACK - 2 * PAGE_SIZE - 16;
	ck_assert_str_eq(trace(), "?1 ");
}
END_TEST

START_TEST(no_more_than_64_lines)
{
	setup();
	for (unsigned i = 0; i < 2048; i++)
		put(i, call(i % 64));
	trace();
	ck_assert_ptr_nonnull(strstr(text, "#63 "));
	ck_assert_ptr_null(strstr(text, "#64 "));
	platform->cpu_regs(init)->rbp = STACK;
	for (unsigned i = 0; i < 2048; i += 2)
		put(i, STACK + 8 * (i + 2));
	trace();
	ck_assert_ptr_nonnull(strstr(text, "#63 "));
	ck_assert_ptr_null(strstr(text, "#64 "));
}
END_TEST

/* What lies before an address in memory, and whether it is a call. */
static const struct {
	unsigned char code[8];
	bool call;
} forms[] = {
    {{0x90, 0x90, 0xe8, 0, 0, 0, 0}, true},                    /* rel32 */
    {{0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0}, true},        /* *%rax */
    {{0x90, 0x90, 0x90, 0x90, 0x41, 0xff, 0xd3}, true},        /* *%r11 */
    {{0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0x10}, true},        /* *(%rax) */
    {{0x90, 0x90, 0x90, 0x90, 0xff, 0x50, 0x08}, true},        /* *8(%rax) */
    {{0x90, 0x90, 0x90, 0x90, 0xff, 0x14, 0xc8}, true},        /* *(%rax,%rcx,8) */
    {{0x90, 0x90, 0x90, 0xff, 0x54, 0x24, 0x08}, true},        /* *8(%rsp) */
    {{0x90, 0xff, 0x15, 1, 2, 3, 4}, true},                    /* *x(%rip) */
    {{0x90, 0xff, 0x90, 1, 2, 3, 4}, true},                    /* *x(%rax) */
    {{0xff, 0x94, 0x24, 1, 2, 3, 4}, true},                    /* *x(%rsp) */
    {{0xff, 0x14, 0x25, 1, 2, 3, 4}, true},                    /* *x */
    {{0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xe0}, false},       /* jmp *%rax */
    {{0x90, 0x90, 0xe9, 0, 0, 0, 0}, false},                   /* jmp rel32 */
    {{0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0x50}, false},       /* cut */
    {{0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0}, false}, /* in the middle */
    {{0x90, 0x90, 0x90, 0x90, 0x90, 0x0f, 0x05}, false},       /* syscall */
};

START_TEST(every_form_of_a_call)
{
	setup();
	put(0, call(200));
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		kernel_poke(init, call(200) - 7, forms[i].code, sizeof(forms[i].code));
		ck_assert_msg(!strcmp(trace(), forms[i].call ? "?200 " : ""), "form %zu: %s", i, text);
	}
}
END_TEST

START_TEST(odd_registers)
{
	static const uint64_t odd[] = {0,
				       1,
				       7,
				       CODE,
				       STACK,
				       STACK + 3,
				       GUEST_MIN - 1,
				       GUEST_END - 8,
				       GUEST_END,
				       1ul << 47,
				       1ul << 63,
				       UINT64_MAX - 15,
				       UINT64_MAX - 7,
				       UINT64_MAX};
	struct k_user_regs *regs;

	setup();
	regs = platform->cpu_regs(init);
	for (size_t i = 0; i < ARRAY_SIZE(odd) * ARRAY_SIZE(odd) * ARRAY_SIZE(odd); i++) {
		regs->rip = odd[i % ARRAY_SIZE(odd)];
		regs->rsp = odd[i / ARRAY_SIZE(odd) % ARRAY_SIZE(odd)];
		regs->rbp = odd[i / ARRAY_SIZE(odd) / ARRAY_SIZE(odd)];
		trace();
		ck_assert_ptr_nonnull(strstr(text, "#0 "));
	}
}
END_TEST

static uint64_t random_word(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	switch (*seed >> 61) {
	case 0:
		return *seed >> 20;
	case 1:
	case 2:
		return call(*seed >> 32 & 127);
	case 3:
		return CODE + (*seed >> 32) % PAGE_SIZE;
	default:
		return STACK + 8 * ((*seed >> 32) % (STACK_WORDS + 16));
	}
}

START_TEST(random_stacks)
{
	static uint64_t words[4096];
	uint64_t seed = 1;

	setup();
	log_init(-1, LOG_DEBUG, false);
	for (int round = 0; round < 300; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(words); i++)
			words[i] = random_word(&seed);
		kernel_poke(init, STACK, words, sizeof(words));
		kernel_poke(init, STACK + KERNEL_SCRATCH_SIZE - sizeof(words), words, sizeof(words));
		platform->cpu_regs(init)->rsp = round % 2 ? STACK + 8 * (unsigned)round : words[0];
		platform->cpu_regs(init)->rbp = words[1];
		task_backtrace(cpu_client(init), SIGSEGV);
	}
}
END_TEST

START_TEST(nothing_unless_asked_for)
{
	setup();
	ck_assert_int_eq(pipe(pipe_fds), 0);
	log_init(pipe_fds[1], LOG_INFO, false);
	task_backtrace(cpu_client(init), SIGSEGV);
	close(pipe_fds[1]);
	ck_assert_int_eq(read(pipe_fds[0], text, sizeof(text)), 0);
}
END_TEST

UNIT_MAIN(a_chain_of_frame_pointers, without_frame_pointers, a_chain_that_does_not_go_up_ends, an_overflown_stack,
	  no_more_than_64_lines, every_form_of_a_call, odd_registers, random_stacks, nothing_unless_asked_for)
