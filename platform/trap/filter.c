/*
 * The two filters of a stub, as classic BPF.
 *
 * The base filter is installed by the template and inherited by all. A call from outside the stub's code page is the
 * guest's: it traps (SIGSYS). A call from inside is the stub's, or the guest's, which can jump there with any registers:
 * so what is allowed must be harmless for arbitrary arguments. Mothers may make threads and forks and map their own
 * control pages; the filter that each guest thread adds before it runs guest code refuses that and routes reports to
 * its listener.
 *
 * Addresses: everything below GUEST_END is the guest's own and may be mapped, unmapped or protected at will (the sentry
 * bookkeeping is for the guest's benefit); everything above must stay. Ranges are summed with carry in 32-bit halves.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "platform/trap/trap.h"

struct prog {
	struct sock_filter *f;
	unsigned n, max;
	uint32_t deny;
};

#define NR offsetof(struct seccomp_data, nr)
#define ARCH offsetof(struct seccomp_data, arch)
#define IP offsetof(struct seccomp_data, instruction_pointer)
#define LO(i) (offsetof(struct seccomp_data, args) + 8 * (i))
#define HI(i) (LO(i) + 4)
#define PROTS (PROT_READ | PROT_WRITE | PROT_EXEC)
#define MAP_ALLOWED (MAP_FIXED | MAP_PRIVATE | MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE)

static void emit(struct prog *p, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
	BUG_ON(p->n >= p->max);
	p->f[p->n++] = (struct sock_filter){code, jt, jf, k};
}

static void load(struct prog *p, uint32_t off)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, off);
}

static void jump(struct prog *p, uint16_t op, uint32_t k, uint8_t jt, uint8_t jf)
{
	emit(p, BPF_JMP | op | BPF_K, jt, jf, k);
}

static void ret(struct prog *p, uint32_t action)
{
	emit(p, BPF_RET | BPF_K, 0, 0, action);
}

static void need_word(struct prog *p, uint32_t off, uint32_t value)
{
	load(p, off);
	jump(p, BPF_JEQ, value, 1, 0);
	ret(p, p->deny);
}

static void need(struct prog *p, unsigned arg, uint64_t value)
{
	need_word(p, HI(arg), (uint32_t)(value >> 32));
	need_word(p, LO(arg), (uint32_t)value);
}

static void need_no_bits(struct prog *p, unsigned arg, uint32_t bad)
{
	load(p, LO(arg));
	jump(p, BPF_JSET, bad, 0, 1);
	ret(p, p->deny);
}

/* The argument (an int) is one of these. */
static void need_one_of(struct prog *p, unsigned arg, const uint32_t *values, unsigned count)
{
	load(p, LO(arg));
	for (unsigned i = 0; i < count; i++)
		jump(p, BPF_JEQ, values[i], count - i, 0);
	ret(p, p->deny);
}

/* args[addr] + args[size] <= GUEST_END, exactly. */
static void need_guest_range(struct prog *p, unsigned addr, unsigned size)
{
	load(p, HI(addr));
	jump(p, BPF_JGE, STUB_HI, 3, 0);
	load(p, HI(size));
	jump(p, BPF_JGE, STUB_HI, 1, 0);
	jump(p, BPF_JA, 1, 0, 0);
	ret(p, p->deny);
	load(p, LO(addr));
	emit(p, BPF_MISC | BPF_TAX, 0, 0, 0);
	load(p, LO(size));
	emit(p, BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0);
	emit(p, BPF_ST, 0, 0, 0); /* M[0]: the low half of the end */
	emit(p, BPF_JMP | BPF_JGE | BPF_X, 2, 0, 0);
	emit(p, BPF_LD | BPF_IMM, 0, 0, 1);
	jump(p, BPF_JA, 1, 0, 0);
	emit(p, BPF_LD | BPF_IMM, 0, 0, 0);
	emit(p, BPF_MISC | BPF_TAX, 0, 0, 0); /* X = carry */
	load(p, HI(addr));
	emit(p, BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0);
	emit(p, BPF_MISC | BPF_TAX, 0, 0, 0);
	load(p, HI(size));
	emit(p, BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0);
	jump(p, BPF_JGT, STUB_HI, 3, 0);
	jump(p, BPF_JEQ, STUB_HI, 0, 3);
	emit(p, BPF_LD | BPF_MEM, 0, 0, 0);
	jump(p, BPF_JEQ, 0, 1, 0);
	ret(p, p->deny);
}

/* "If it is this call and the checks pass, allow": the body denies what fails. */
static void allow(struct prog *p, uint32_t nr, void (*body)(struct prog *))
{
	unsigned at;

	load(p, NR);
	at = p->n;
	jump(p, BPF_JEQ, nr, 0, 0);
	if (body)
		body(p);
	ret(p, SECCOMP_RET_ALLOW);
	BUG_ON(p->n - at - 1 > 255);
	p->f[at].jf = (uint8_t)(p->n - at - 1);
}

/* The calls whose first two arguments are a range of guest memory: checked once for all of them. */
static void check_ranges(struct prog *p)
{
	static const uint32_t calls[] = {SYS_mmap,   SYS_munmap, SYS_mprotect, SYS_madvise,
					 SYS_mremap, SYS_msync,  SYS_mincore};
	unsigned n = ARRAY_SIZE(calls), at;

	load(p, NR);
	for (unsigned i = 0; i < n; i++)
		jump(p, BPF_JEQ, calls[i], (uint8_t)(n - i), 0);
	at = p->n;
	emit(p, BPF_JMP | BPF_JA, 0, 0, 0);
	need_guest_range(p, 0, 1);
	p->f[at].k = p->n - at - 1;
}

static void check_protect(struct prog *p)
{
	need_word(p, HI(2), 0);
	need_no_bits(p, 2, ~(uint32_t)PROTS);
}

static void check_advice(struct prog *p)
{
	static const uint32_t advice[] = {
	    MADV_NORMAL,   MADV_RANDOM,     MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED,      MADV_FREE,
	    MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLD,       MADV_PAGEOUT,  MADV_POPULATE_READ, MADV_POPULATE_WRITE,
	};

	need_one_of(p, 2, advice, ARRAY_SIZE(advice));
}

/* A move to a given place, or growth in place, which must not reach beyond the guest's range either. */
static void check_move(struct prog *p)
{
	static const uint32_t flags[] = {0, MREMAP_MAYMOVE | MREMAP_FIXED};
	unsigned at;

	need_guest_range(p, 4, 2);
	need_word(p, HI(3), 0);
	need_one_of(p, 3, flags, ARRAY_SIZE(flags));
	load(p, LO(3));
	at = p->n;
	jump(p, BPF_JEQ, 0, 0, 0);
	need_guest_range(p, 0, 2);
	p->f[at].jf = (uint8_t)(p->n - at - 1);
}

/* A guest mapping: anonymous, or of a descriptor that the sentry has put there for it. */
static void check_map(struct prog *p)
{
	check_protect(p);
	need_word(p, HI(3), 0);
	need_no_bits(p, 3, ~(uint32_t)MAP_ALLOWED);
	load(p, LO(3));
	jump(p, BPF_JSET, MAP_FIXED, 1, 0);
	ret(p, p->deny);
	jump(p, BPF_JSET, MAP_ANONYMOUS, 4, 0);
	load(p, LO(4));
	jump(p, BPF_JGE, FD_MAP + MAX_SLOTS, 1, 0);
	jump(p, BPF_JGE, FD_MAP, 1, 0);
	ret(p, p->deny);
}

/* A mother's mmap in a forked child: exactly these, at any file offset. Anything else goes on to the next rules. */
static void allow_own_pages(struct prog *p)
{
	static const uint64_t own[2][5] = {
	    {STUB_CTL, CTL_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, FD_CTL},
	    {STUB_THR, THR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, FD_THR},
	};

	for (unsigned m = 0; m < 2; m++) {
		unsigned start = p->n;

		load(p, NR);
		jump(p, BPF_JEQ, SYS_mmap, 0, 0);
		for (unsigned i = 0; i < 5; i++) {
			load(p, HI(i));
			jump(p, BPF_JEQ, (uint32_t)(own[m][i] >> 32), 0, 0);
			load(p, LO(i));
			jump(p, BPF_JEQ, (uint32_t)own[m][i], 0, 0);
		}
		ret(p, SECCOMP_RET_ALLOW);
		for (unsigned i = start + 1; i < p->n - 1; i += 2)
			p->f[i].jf = (uint8_t)(p->n - i - 1);
	}
}

static void check_futex(struct prog *p)
{
	static const uint32_t ops[] = {FUTEX_WAIT, FUTEX_WAKE};

	need_one_of(p, 1, ops, ARRAY_SIZE(ops));
}

static void check_membarrier(struct prog *p)
{
	need(p, 0, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
	need(p, 1, 0);
}

static void check_clone(struct prog *p)
{
	static const uint32_t flags[] = {MOTHER_THREAD, MOTHER_FORK};

	need_word(p, HI(0), 0);
	need_one_of(p, 0, flags, ARRAY_SIZE(flags));
}

static void check_seccomp(struct prog *p)
{
	need(p, 0, SECCOMP_SET_MODE_FILTER);
	need(p, 1, LISTENER_FLAGS);
	need(p, 2, STUB_CONST + K_FPROG_THR);
}

static void check_sigaltstack(struct prog *p)
{
	need_word(p, HI(0), STUB_HI);
	need(p, 1, 0);
}

static void check_sigmask(struct prog *p)
{
	need(p, 0, SIG_SETMASK);
	need(p, 1, STUB_CONST + K_ZERO);
	need(p, 2, 0);
	need(p, 3, 8);
}

static void check_prctl(struct prog *p)
{
	need(p, 0, 1); /* PR_SET_PDEATHSIG */
	need(p, 1, SIGKILL);
}

static void check_lseek(struct prog *p)
{
	need(p, 0, FD_CTL);
	need(p, 2, SEEK_SET);
}

/* A host thread that is used again notes what it has used before: T_BASE. It can write that nowhere but to memory of the guest's. */
static void check_clock(struct prog *p)
{
	need(p, 0, CLOCK_THREAD_CPUTIME_ID);
}

static void check_close(struct prog *p)
{
	load(p, LO(0));
	jump(p, BPF_JEQ, FD_LSN, 2, 0);
	jump(p, BPF_JGE, FD_MAP, 1, 0);
	ret(p, p->deny);
}

/* What guest threads and mothers may do alike. */
static void allow_memory(struct prog *p)
{
	check_ranges(p);
	allow(p, SYS_mmap, check_map);
	allow(p, SYS_munmap, NULL);
	allow(p, SYS_mprotect, check_protect);
	allow(p, SYS_madvise, check_advice);
	allow(p, SYS_mremap, check_move);
	allow(p, SYS_msync, NULL);
	allow(p, SYS_mincore, NULL);
	allow(p, SYS_futex, check_futex);
	allow(p, SYS_membarrier, check_membarrier);
	allow(p, SYS_clock_gettime, check_clock);
	allow(p, SYS_exit, NULL);
	allow(p, SYS_exit_group, NULL);
}

unsigned filter_base(struct sock_filter *prog, unsigned max)
{
	struct prog p = {.f = prog, .max = max, .deny = SECCOMP_RET_ERRNO | EADDRNOTAVAIL};

	load(&p, ARCH);
	jump(&p, BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0);
	ret(&p, SECCOMP_RET_TRAP); /* int 0x80: the sentry makes a fault of it */
	load(&p, IP + 4);
	jump(&p, BPF_JEQ, (uint32_t)((uint64_t)STUB_CODE >> 32), 1, 0);
	ret(&p, SECCOMP_RET_TRAP);
	load(&p, IP);
	jump(&p, BPF_JGE, (uint32_t)(STUB_CODE & 0xffffffff), 0, 1);
	jump(&p, BPF_JGT, (uint32_t)((STUB_CODE + STUB_CODE_SIZE) & 0xffffffff), 0, 1);
	ret(&p, SECCOMP_RET_TRAP);
	allow(&p, NR_REPORT, NULL);
	allow(&p, SYS_close, check_close);
	allow_own_pages(&p);
	allow_memory(&p);
	allow(&p, SYS_clone, check_clone);
	allow(&p, SYS_seccomp, check_seccomp);
	allow(&p, SYS_sigaltstack, check_sigaltstack);
	allow(&p, SYS_rt_sigprocmask, check_sigmask);
	allow(&p, SYS_prctl, check_prctl);
	allow(&p, SYS_lseek, check_lseek);
	ret(&p, p.deny);
	return p.n;
}

/* A mapping of the two files that only mothers map. A descriptor does not matter with MAP_ANONYMOUS. */
static void refuse_own_pages(struct prog *p)
{
	load(p, NR);
	jump(p, BPF_JEQ, SYS_mmap, 0, 5);
	load(p, LO(3));
	jump(p, BPF_JSET, MAP_ANONYMOUS, 3, 0);
	load(p, LO(4));
	jump(p, BPF_JGE, FD_MAP, 1, 0);
	ret(p, p->deny);
}

/*
 * Everything that the base filter allows is harmless for arbitrary arguments but what mothers and starting threads need:
 * that is taken away here. Short, because each thread of the guest has its own copy, compiled anew.
 */
unsigned filter_thread(struct sock_filter *prog, unsigned max)
{
	static const uint32_t refused[] = {SYS_clone,          SYS_seccomp, SYS_sigaltstack,
					   SYS_rt_sigprocmask, SYS_prctl,   SYS_lseek};
	struct prog p = {.f = prog, .max = max, .deny = SECCOMP_RET_ERRNO | EADDRINUSE};
	unsigned n = ARRAY_SIZE(refused);

	/* Guest calls: the base filter's TRAP wins over whatever is said here but ALLOW. */
	load(&p, NR);
	jump(&p, BPF_JEQ, NR_REPORT, 0, 1);
	ret(&p, SECCOMP_RET_USER_NOTIF);
	for (unsigned i = 0; i < n; i++)
		jump(&p, BPF_JEQ, refused[i], (uint8_t)(n - i), 0);
	emit(&p, BPF_JMP | BPF_JA, 0, 0, 1);
	ret(&p, p.deny);
	jump(&p, BPF_JEQ, SYS_close, 0, 3);
	load(&p, LO(0));
	jump(&p, BPF_JEQ, FD_LSN, 0, 1);
	ret(&p, p.deny);
	refuse_own_pages(&p);
	ret(&p, SECCOMP_RET_ALLOW);
	return p.n;
}
