/*
 * Patching hot call sites: a jump to a trampoline in place of the trap. No signal frame, no XSAVE.
 *
 * Only a site that has trapped HOT times is looked at, forwards from the trapped address; code is never scanned. Kinds:
 *
 *	LOAD  `mov $nr,%eax` (5 or 7 bytes) before the call: the load becomes the jump, the call stays and traps if anything
 *	      jumps right to it.
 *	MUSL  `mov %r11,8(%rsp)` before it, `ret` behind it (__syscall_cp_asm): likewise.
 *	NEXT  anything else: the call and the next instruction become the jump. A thread that was about to execute the next
 *	      instruction must not run the jump's middle: the trampoline is placed so that the byte at that address is a
 *	      hlt, whose fault is redirected.
 *
 * The bytes are written by the thread that trapped, before it resumes: its command list makes the page writable,
 * stores, and makes it read-only again. With other threads about, the first byte is an int3 meanwhile, with a core
 * serializing barrier between the steps, so that no processor sees half an instruction; SIGTRAP is redirected too.
 *
 * The guest never sees a trampoline: addresses are translated when registers are shown (patch_show) and back when they are loaded
 * (patch_hide). Trampolines lie in areas within reach of a jump that the client sets aside. Records are published once and
 * never changed, so that looking up needs no lock; adding and forgetting are under the aspace's lock.
 */
#include <capstone/capstone.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "platform/trap/trap.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"

#define HOT 4
#define SITES_MAX 128
#define AREAS_MAX 4
#define AREA_SIZE 0x10000ul
#define GRANULE 64
#define GRANULES (AREA_SIZE / GRANULE)
#define REACH 0x7ff00000l
#define HLT 0xf4
#define RX (PROT_READ | PROT_EXEC)

enum kind { LOAD, MUSL, NEXT };

struct site {
	uint64_t call;  /* the syscall instruction; 0: forgotten */
	uint64_t start; /* the jump */
	uint64_t tramp;
	uint8_t kind, moved,
	    back;            /* bytes of the moved instruction; offset in the trampoline of the return from the stub */
	uint8_t original[8]; /* from start */
	uint32_t nr;         /* LOAD */
};

struct area {
	uint64_t base;
	uint8_t owner[GRANULES]; /* site + 1 */
};

struct hit {
	uint64_t ret;
	uint32_t count;
};

struct patches {
	unsigned sites, areas; /* published */
	bool busy;             /* atomic: somebody writes */
	struct hit hits[64];
	struct site site[SITES_MAX];
	struct area area[AREAS_MAX];
};

static const struct platform_client *client;
static bool enabled;

void patch_init(const struct platform_config *config)
{
	client = config->client;
	enabled = !config->no_patch && client->code_range && client->reserve;
}

static struct patches *patches_of(const struct trap_cpu *c)
{
	return __atomic_load_n(&c->cpu.aspace->patches, __ATOMIC_ACQUIRE);
}

static unsigned site_count(const struct patches *p)
{
	return __atomic_load_n(&p->sites, __ATOMIC_ACQUIRE);
}

/* Looking up. */

static const struct site *site_in_area(const struct patches *p, uint64_t rip)
{
	unsigned n = __atomic_load_n(&p->areas, __ATOMIC_ACQUIRE);

	for (unsigned i = 0; i < n; i++) {
		uint64_t off = rip - p->area[i].base;

		if (off < AREA_SIZE) {
			unsigned owner = __atomic_load_n(&p->area[i].owner[off / GRANULE], __ATOMIC_ACQUIRE);

			return owner ? &p->site[owner - 1] : NULL;
		}
	}
	return NULL;
}

uint64_t patch_show(struct trap_cpu *c, uint64_t rip)
{
	const struct patches *p = patches_of(c);
	const struct site *s = p ? site_in_area(p, rip) : NULL;
	uint64_t off;

	if (!s)
		return rip;
	off = rip - s->tramp;
	if (s->kind != NEXT)
		return off < s->moved ? s->start : s->start + s->moved;
	if (off < s->back)
		return s->start;
	return off == s->back ? s->start + 2 : s->start + 2 + s->moved;
}

uint64_t patch_hide(struct trap_cpu *c, uint64_t rip)
{
	const struct patches *p = patches_of(c);

	if (!p)
		return rip;
	for (unsigned i = 0, n = site_count(p); i < n; i++)
		if (p->site[i].kind == NEXT && p->site[i].call == rip - 2 && rip > 2)
			return p->site[i].tramp + p->site[i].back;
	return rip;
}

uint64_t patch_redirect(struct trap_cpu *c, int signo, uint64_t rip)
{
	const struct patches *p = patches_of(c);

	if (!p)
		return 0;
	if (signo == SIGSEGV) {
		uint64_t to = patch_hide(c, rip);

		return to == rip ? 0 : to;
	}
	for (unsigned i = 0, n = site_count(p); i < n; i++)
		if (p->site[i].call && p->site[i].start == rip - 1)
			return p->site[i].tramp;
	return 0;
}

/* Recognizing. code[8] is the call; false: cannot be patched. */

static bool is_prefix(uint8_t b)
{
	return (b >= 0x40 && b <= 0x4f) || b == 0x66;
}

/* The instruction can run elsewhere: no branch, no reference to its own address. Its size, or 0. */
static unsigned movable(const uint8_t *code, size_t size, uint64_t addr)
{
	unsigned n = 0;
	cs_insn *in;
	csh h;

	if (code[0] == 0x48 && code[1] == 0x3d) /* cmp $imm32,%rax: what libc does most */
		return 6;
	if (cs_open(CS_ARCH_X86, CS_MODE_64, &h) != CS_ERR_OK)
		return 0;
	cs_option(h, CS_OPT_DETAIL, CS_OPT_ON);
	if (cs_disasm(h, code, size, addr, 1, &in) == 1) {
		const cs_detail *d = in->detail;

		n = in->size;
		for (unsigned i = 0; i < d->groups_count; i++)
			if (d->groups[i] >= CS_GRP_JUMP && d->groups[i] <= CS_GRP_IRET)
				n = 0;
		if (cs_insn_group(h, in, CS_GRP_PRIVILEGE) || cs_insn_group(h, in, CS_GRP_BRANCH_RELATIVE) ||
		    in->id == X86_INS_SYSCALL || in->id == X86_INS_UD2 || in->id == X86_INS_HLT)
			n = 0;
		for (unsigned i = 0; i < d->x86.op_count; i++)
			if (d->x86.operands[i].type == X86_OP_MEM && d->x86.operands[i].mem.base == X86_REG_RIP)
				n = 0;
		cs_free(in, 1);
	}
	cs_close(&h);
	return n >= 3 && n <= 15 ? n : 0;
}

static bool recognize(struct site *s, const uint8_t *code, uint64_t call, uint32_t nr)
{
	static const uint8_t musl[] = {0x4c, 0x89, 0x5c, 0x24, 0x08, 0x0f, 0x05, 0xc3};
	uint32_t imm;

	if (code[8] != 0x0f || code[9] != 0x05)
		return false;
	memcpy(&imm, code + 4, sizeof(imm));
	s->call = call;
	s->nr = nr;
	if (code[3] == 0xb8 && imm == nr && !is_prefix(code[2])) {
		s->kind = LOAD;
		s->moved = 5;
	} else if (code[1] == 0x48 && code[2] == 0xc7 && code[3] == 0xc0 && imm == nr) {
		s->kind = LOAD;
		s->moved = 7;
	} else if (memcmp(code + 3, musl, sizeof(musl)) == 0) {
		s->kind = MUSL;
		s->moved = 5;
	} else {
		s->kind = NEXT;
		s->moved = (uint8_t)movable(code + 10, 16, call + 2);
		s->start = call;
		memcpy(s->original, code + 8, sizeof(s->original));
		return s->moved != 0;
	}
	s->start = call - s->moved;
	memcpy(s->original, code + 8 - s->moved, sizeof(s->original));
	return true;
}

/* Does another patch touch [start, end)? */
static bool overlaps(const struct patches *p, const struct site *s)
{
	uint64_t end = s->call + 2 + (s->kind == NEXT ? s->moved : 0);

	for (unsigned i = 0; i < p->sites; i++) {
		const struct site *o = &p->site[i];

		if (o->call && s->start < o->call + 2 + 15 && o->start < end)
			return true;
	}
	return false;
}

/* Placing. */

static bool fits(const struct site *s, uint64_t tramp)
{
	int64_t rel = (int64_t)(tramp - (s->start + 5));

	if (rel > REACH || rel < -REACH)
		return false;
	return s->kind != NEXT || (rel >> 8 & 0xff) == HLT;
}

static uint64_t place(struct patches *p, const struct site *s, uint8_t **ret_owner)
{
	for (unsigned a = 0; a < p->areas; a++) {
		for (unsigned g = 0; g < GRANULES; g++) {
			if (p->area[a].owner[g] || !fits(s, p->area[a].base + g * GRANULE))
				continue;
			*ret_owner = &p->area[a].owner[g];
			return p->area[a].base + g * GRANULE;
		}
	}
	return 0;
}

static size_t put(uint8_t *buf, size_t at, const void *bytes, size_t n)
{
	memcpy(buf + at, bytes, n);
	return at + n;
}

static size_t put_rel(uint8_t *buf, size_t at, uint64_t here, uint64_t to)
{
	int32_t rel = (int32_t)(to - (here + at + 4));

	return put(buf, at, &rel, sizeof(rel));
}

static uint64_t entry_for(const struct site *s)
{
	if (s->kind != LOAD)
		return STUB_ADDR(stub_fast_any);
	switch (s->nr) {
	case SYS_getpid:
		return STUB_ADDR(stub_fast_pid);
	case SYS_gettid:
		return STUB_ADDR(stub_fast_tid);
	case SYS_getppid:
		return STUB_ADDR(stub_fast_ppid);
	case SYS_getuid:
		return STUB_ADDR(stub_fast_uid);
	case SYS_geteuid:
		return STUB_ADDR(stub_fast_euid);
	case SYS_getgid:
		return STUB_ADDR(stub_fast_gid);
	case SYS_getegid:
		return STUB_ADDR(stub_fast_egid);
	default:
		return STUB_ADDR(stub_fast);
	}
}

/* The trampoline: r11 = where to return; the plain call lies right before that address in any case. */
static void build(struct site *s, const uint8_t *code, uint8_t buf[GRANULE])
{
	static const uint8_t lea_r11[] = {0x4c, 0x8d, 0x1d}, jump[] = {0xff, 0x25, 0, 0, 0, 0}, call[] = {0x0f, 0x05},
			     jump_rel[] = {0xe9};
	uint64_t entry = entry_for(s);
	size_t n = 0, lea;

	memset(buf, HLT, GRANULE);
	if (s->kind != NEXT) {
		n = put(buf, n, code + 8 - s->moved, s->moved);
		n = put(buf, n, lea_r11, sizeof(lea_r11));
		n = put_rel(buf, n, s->tramp, s->call + 2);
		n = put(buf, n, jump, sizeof(jump));
		put(buf, n, &entry, sizeof(entry));
		return;
	}
	lea = n = put(buf, n, lea_r11, sizeof(lea_r11));
	n = put(buf, n + 4, jump, sizeof(jump));
	n = put(buf, n, &entry, sizeof(entry));
	n = put(buf, n, call, sizeof(call));
	s->back = (uint8_t)n;
	put_rel(buf, lea, s->tramp, s->tramp + s->back);
	n = put(buf, n, code + 10, s->moved);
	n = put(buf, n, jump_rel, sizeof(jump_rel));
	put_rel(buf, n, s->tramp, s->call + 2 + s->moved);
}

/*
 * Writing: one list that ends at its first failure, so that nothing jumps to a trampoline that is not there as a whole. One writer
 * at a time in an aspace, because each takes the write permission away again at its end.
 */

static void add(struct trap_cpu *c, int64_t nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
	list_add(c, nr, (uint64_t[6]){a0, a1, a2}, 0);
}

static void barrier(struct trap_cpu *c)
{
	add(c, SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
}

static void write_trampoline(struct trap_cpu *c, const struct site *s, const uint8_t *buf)
{
	uint64_t page = PAGE_DOWN(s->tramp), word;

	add(c, SYS_mprotect, page, PAGE_SIZE, RX | PROT_WRITE);
	for (unsigned i = 0; i < GRANULE; i += 8) {
		memcpy(&word, buf + i, sizeof(word));
		add(c, CMD_STORE, s->tramp + i, word, 8);
	}
	add(c, SYS_mprotect, page, PAGE_SIZE, RX);
}

static void protect_site(struct trap_cpu *c, const struct site *s, int prot)
{
	uint64_t page = PAGE_DOWN(s->start);

	add(c, SYS_mprotect, page, PAGE_UP(s->start + 8) - page, (uint64_t)prot);
}

static bool is_alone(const struct trap_cpu *c)
{
	return __atomic_load_n(&c->cpu.aspace->cpus, __ATOMIC_RELAXED) == 1;
}

/* bytes[8] replace what is at the site. */
static void write_site(struct trap_cpu *c, const struct site *s, const uint8_t *bytes, bool alone)
{
	uint64_t word;

	protect_site(c, s, RX | PROT_WRITE);
	if (alone) {
		memcpy(&word, bytes, sizeof(word));
		add(c, CMD_STORE, s->start, word, 8);
	} else {
		add(c, CMD_STORE, s->start, 0xcc, 1);
		if (s->kind == NEXT)
			add(c, CMD_STORE, s->start + 2, HLT, 1);
		barrier(c);
		for (unsigned i = 1; i < 5; i++)
			if (i != 2 || s->kind != NEXT)
				add(c, CMD_STORE, s->start + i, bytes[i], 1);
		barrier(c);
		if (s->kind == NEXT)
			add(c, CMD_STORE, s->start + 2, bytes[2], 1);
		add(c, CMD_STORE, s->start, bytes[0], 1);
		barrier(c);
	}
	protect_site(c, s, RX);
}

static bool add_area(struct trap_cpu *c, struct patches *p, uint64_t near)
{
	uint64_t base;

	if (p->areas == AREAS_MAX)
		return false;
	base = client->reserve(&c->cpu, near, AREA_SIZE);
	if (!base || base % PAGE_SIZE || base < GUEST_MIN || base > GUEST_END - AREA_SIZE)
		return false;
	mutex_lock(&c->cpu.aspace->lock, L_ASPACE);
	if (p->areas < AREAS_MAX) {
		p->area[p->areas].base = base;
		__atomic_store_n(&p->areas, p->areas + 1, __ATOMIC_RELEASE);
	}
	mutex_unlock(&c->cpu.aspace->lock, L_ASPACE);
	return true;
}

/* Takes a place and a record: under the lock, so that of two threads at one site one does it. */
static struct site *publish(struct trap_cpu *c, struct patches *p, struct site *s, const uint8_t *code,
			    uint8_t buf[GRANULE])
{
	struct aspace *a = c->cpu.aspace;
	struct site *ret = NULL;
	uint8_t *owner = NULL;

	mutex_lock(&a->lock, L_ASPACE);
	if (p->sites < SITES_MAX && !overlaps(p, s))
		s->tramp = place(p, s, &owner);
	if (s->tramp) {
		build(s, code, buf);
		ret = &p->site[p->sites];
		*ret = *s;
		__atomic_store_n(owner, (uint8_t)(p->sites + 1), __ATOMIC_RELEASE);
		__atomic_store_n(&p->sites, p->sites + 1, __ATOMIC_RELEASE);
	}
	mutex_unlock(&a->lock, L_ASPACE);
	return ret;
}

static void install(struct trap_cpu *c, struct patches *p, uint64_t call, uint32_t nr)
{
	uint8_t code[32], buf[GRANULE], jump[8];
	struct site s = {0}, *pub;
	uint64_t lo, hi;

	if (!client->code_range(&c->cpu, call, &lo, &hi) || call - 8 < lo || call + 24 > hi)
		return;
	if (trap_read(&c->cpu, code, call - 8, sizeof(code)) != sizeof(code) || !recognize(&s, code, call, nr))
		return;
	pub = publish(c, p, &s, code, buf);
	if (!pub && add_area(c, p, call))
		pub = publish(c, p, &s, code, buf);
	if (!pub)
		return;
	memcpy(jump, s.original, sizeof(jump));
	jump[0] = 0xe9;
	put_rel(jump, 1, s.start, s.tramp);
	write_trampoline(c, &s, buf);
	write_site(c, &s, jump, is_alone(c));
	if (list_run(c) == 0 && c->raw_rip == s.call + 2 && s.kind == NEXT)
		c->raw_rip = s.tramp + s.back;
}

static bool lock_writing(struct patches *p)
{
	return !__atomic_exchange_n(&p->busy, true, __ATOMIC_ACQUIRE);
}

static void unlock_writing(struct patches *p)
{
	__atomic_store_n(&p->busy, false, __ATOMIC_RELEASE);
}

/* Runs what the guest has queued: its failure is not ours, and is told at the resume. */
static bool run_queued(struct trap_cpu *c)
{
	int err = list_run(c);

	if (err)
		log_debug("stub %d: queued memory work failed: %d", c->cpu.aspace->pid, err);
	c->list_failed = c->list_failed || err;
	return err == 0;
}

/* False: try again at the next trap. What the guest has queued is run first. */
static bool try_install(struct trap_cpu *c, struct patches *p, uint64_t call, uint32_t nr)
{
	if (!lock_writing(p))
		return false;
	if (run_queued(c))
		install(c, p, call, nr);
	unlock_writing(p);
	return true;
}

static struct patches *patches_get(struct aspace *a)
{
	struct patches *p = __atomic_load_n(&a->patches, __ATOMIC_ACQUIRE);

	if (p)
		return p;
	mutex_lock(&a->lock, L_ASPACE);
	if (!a->patches)
		__atomic_store_n(&a->patches, kalloc(sizeof(struct patches)), __ATOMIC_RELEASE);
	p = a->patches;
	mutex_unlock(&a->lock, L_ASPACE);
	return p;
}

void patch_count(struct trap_cpu *c, uint64_t ret, uint32_t nr)
{
	struct patches *p;
	struct hit *h;

	if (!enabled || ret < GUEST_MIN + 16 || ret >= GUEST_END - 64)
		return;
	p = patches_get(c->cpu.aspace);
	if (!p)
		return;
	h = &p->hits[ret / 2 % ARRAY_SIZE(p->hits)];
	if (__atomic_load_n(&h->ret, __ATOMIC_RELAXED) != ret) { /* the counts are hints: races lose some */
		__atomic_store_n(&h->ret, ret, __ATOMIC_RELAXED);
		__atomic_store_n(&h->count, 1, __ATOMIC_RELAXED);
	} else if (__atomic_add_fetch(&h->count, 1, __ATOMIC_RELAXED) == HOT && !try_install(c, p, ret - 2, nr)) {
		__atomic_sub_fetch(&h->count, 1, __ATOMIC_RELAXED);
	}
}

/* Forgetting. */

static void restore_site(struct trap_cpu *c, struct patches *p, const struct site *s)
{
	if (!lock_writing(p)) /* it goes on jumping: only a stale address in its middle is lost */
		return;
	(void)run_queued(c);
	write_site(c, s, s->original, is_alone(c));
	(void)list_run(c);
	unlock_writing(p);
}

void patch_forget(struct trap_cpu *c, uint64_t addr, uint64_t size, bool restore)
{
	struct patches *p = patches_of(c);

	if (!p)
		return;
	for (unsigned i = 0, n = site_count(p); i < n; i++) {
		struct site *s = &p->site[i];

		if (!s->call || s->start + 8 <= addr || s->start >= addr + size)
			continue;
		if (restore)
			restore_site(c, p, s);
		__atomic_store_n(&s->call, 0, __ATOMIC_RELEASE);
	}
}

bool patch_fork(struct aspace *from, struct aspace *to)
{
	bool ok = true;

	mutex_lock(&from->lock, L_ASPACE);
	if (from->patches) {
		to->patches = kalloc(sizeof(struct patches));
		ok = to->patches != NULL;
		if (ok)
			memcpy(to->patches, from->patches, sizeof(struct patches));
		if (ok)
			to->patches->busy = false;
	}
	mutex_unlock(&from->lock, L_ASPACE);
	return ok;
}

void patch_free(struct aspace *a)
{
	if (a->patches)
		kfree(a->patches, sizeof(struct patches));
	a->patches = NULL;
}
