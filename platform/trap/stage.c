/*
 * Staged inputs: for calls from patched sites the stub copies small inputs (path names, short buffers and structures) into the
 * thread area before it reports, because it does so in nanoseconds and process_vm_readv takes 1.7 us.
 *
 * Which argument of which call is a table in the constants page. A name is copied as a window of STRING bytes, or up to the
 * end of its page, which is how copy_in_string() asks for it. A fault while copying leaves nothing staged. The copy is
 * as hostile as the guest's memory itself, and is used for one event: it is dropped as soon as what it shows may have changed.
 */
#include <string.h>
#include <sys/syscall.h>

#include "platform/trap/trap.h"

#define STRING 256
#define BUFFER 1024
#define CAP_MAX 0xfff

/* Arguments as offsets in a ucontext. */
enum { A0 = 104, A1 = 112, A2 = 136, A3 = 56 };

/* An entry: offset of the pointer | offset of the count << 8 | log2 of an element's size << 16 | most bytes << 20. */
#define FIXED(ptr, size) ((ptr) | (uint32_t)(size) << 20)
#define COUNTED(ptr, count, shift) ((ptr) | (count) << 8 | (shift) << 16 | BUFFER << 20)
#define NAME(ptr) FIXED(ptr, STRING)

static const struct {
	uint16_t nr;
	uint32_t entry;
} staged[] = {
    {SYS_open, NAME(A0)},
    {SYS_openat, NAME(A1)},
    {SYS_stat, NAME(A0)},
    {SYS_lstat, NAME(A0)},
    {SYS_newfstatat, NAME(A1)},
    {SYS_statx, NAME(A1)},
    {SYS_access, NAME(A0)},
    {SYS_faccessat, NAME(A1)},
    {SYS_faccessat2, NAME(A1)},
    {SYS_readlink, NAME(A0)},
    {SYS_readlinkat, NAME(A1)},
    {SYS_unlink, NAME(A0)},
    {SYS_unlinkat, NAME(A1)},
    {SYS_mkdir, NAME(A0)},
    {SYS_mkdirat, NAME(A1)},
    {SYS_chdir, NAME(A0)},
    {SYS_execve, NAME(A0)},
    {SYS_getxattr, NAME(A0)},
    {SYS_lgetxattr, NAME(A0)},
    {SYS_write, COUNTED(A1, A2, 0)},
    {SYS_pwrite64, COUNTED(A1, A2, 0)},
    {SYS_sendto, COUNTED(A1, A2, 0)},
    {SYS_writev, COUNTED(A1, A2, 4)},
    {SYS_readv, COUNTED(A1, A2, 4)},
    {SYS_poll, COUNTED(A0, A1, 3)},
    {SYS_nanosleep, FIXED(A0, 16)},
    {SYS_clock_nanosleep, FIXED(A2, 16)},
    {SYS_rt_sigaction, FIXED(A1, 32)},
    {SYS_rt_sigprocmask, FIXED(A1, 8)},
    {SYS_epoll_ctl, FIXED(A3, 12)},
    {SYS_sendmsg, FIXED(A1, 56)},
    {SYS_recvmsg, FIXED(A1, 56)},
    {SYS_clone3, FIXED(A0, 88)},
};

_Static_assert(BUFFER <= CAP_MAX && STRING <= BUFFER && T_BUFFER + BUFFER <= T_SIGSTACK, "room for what is staged");

void stage_fill(uint32_t *table)
{
	for (size_t i = 0; i < ARRAY_SIZE(staged); i++)
		table[staged[i].nr] = staged[i].entry;
}

void stage_take(struct trap_cpu *c)
{
	const char *thr = cpu_thr(c);
	uint64_t size = 0;

	if (c->frame == T_FAST)
		size = __atomic_load_n((const uint64_t *)(thr + T_STAGED_SIZE), __ATOMIC_RELAXED);
	c->staged_size = size <= BUFFER ? (uint32_t)size : 0;
	c->staged = __atomic_load_n((const uint64_t *)(thr + T_STAGED), __ATOMIC_RELAXED);
}

bool stage_read(const struct trap_cpu *c, void *dst, uint64_t addr, size_t size)
{
	uint64_t off = addr - c->staged;

	if (off >= c->staged_size || size > c->staged_size - off)
		return false;
	memcpy(dst, cpu_thr(c) + T_BUFFER + off, size);
	return true;
}

void stage_drop(struct trap_cpu *c, uint64_t addr, uint64_t size)
{
	if (addr < c->staged + c->staged_size && (size > ~addr || addr + size > c->staged))
		c->staged_size = 0;
}
