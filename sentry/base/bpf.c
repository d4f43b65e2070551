/*
 * Classic BPF: see bpf.h.
 *
 * The checks are those of Linux's bpf_check_classic(): only known instructions; no jump leads outside, none backwards, since offsets are unsigned; no constant
 * divisor is 0, no constant shift is 32 or more; a word of scratch memory is written on every way before it is read; the last instruction returns. So the
 * interpreter checks nothing but divisors in X, and what it loads.
 *
 * Words that are written on the ways to an instruction are kept as a mask for each: the first is empty, and each jump takes the intersection with what its target
 * has from earlier ones.
 */
#include "sentry/base/bpf.h"

#include <string.h>

#include "sentry/base/slab.h"

#define LOAD_ANCILLARY ((uint32_t)SKF_AD_OFF)

/* Every instruction that there is, without its operands. */
static bool known(uint16_t code)
{
	switch (code) {
	case BPF_ALU | BPF_ADD | BPF_K:
	case BPF_ALU | BPF_ADD | BPF_X:
	case BPF_ALU | BPF_SUB | BPF_K:
	case BPF_ALU | BPF_SUB | BPF_X:
	case BPF_ALU | BPF_MUL | BPF_K:
	case BPF_ALU | BPF_MUL | BPF_X:
	case BPF_ALU | BPF_DIV | BPF_K:
	case BPF_ALU | BPF_DIV | BPF_X:
	case BPF_ALU | BPF_MOD | BPF_K:
	case BPF_ALU | BPF_MOD | BPF_X:
	case BPF_ALU | BPF_AND | BPF_K:
	case BPF_ALU | BPF_AND | BPF_X:
	case BPF_ALU | BPF_OR | BPF_K:
	case BPF_ALU | BPF_OR | BPF_X:
	case BPF_ALU | BPF_XOR | BPF_K:
	case BPF_ALU | BPF_XOR | BPF_X:
	case BPF_ALU | BPF_LSH | BPF_K:
	case BPF_ALU | BPF_LSH | BPF_X:
	case BPF_ALU | BPF_RSH | BPF_K:
	case BPF_ALU | BPF_RSH | BPF_X:
	case BPF_ALU | BPF_NEG:
	case BPF_LD | BPF_W | BPF_ABS:
	case BPF_LD | BPF_H | BPF_ABS:
	case BPF_LD | BPF_B | BPF_ABS:
	case BPF_LD | BPF_W | BPF_IND:
	case BPF_LD | BPF_H | BPF_IND:
	case BPF_LD | BPF_B | BPF_IND:
	case BPF_LD | BPF_W | BPF_LEN:
	case BPF_LD | BPF_IMM:
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_B | BPF_MSH:
	case BPF_LDX | BPF_IMM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX:
	case BPF_MISC | BPF_TAX:
	case BPF_MISC | BPF_TXA:
	case BPF_RET | BPF_K:
	case BPF_RET | BPF_A:
	case BPF_JMP | BPF_JA:
	case BPF_JMP | BPF_JEQ | BPF_K:
	case BPF_JMP | BPF_JEQ | BPF_X:
	case BPF_JMP | BPF_JGE | BPF_K:
	case BPF_JMP | BPF_JGE | BPF_X:
	case BPF_JMP | BPF_JGT | BPF_K:
	case BPF_JMP | BPF_JGT | BPF_X:
	case BPF_JMP | BPF_JSET | BPF_K:
	case BPF_JMP | BPF_JSET | BPF_X:
		return true;
	default:
		return false;
	}
}

static bool known_ancillary(uint32_t k)
{
	uint32_t what = k - LOAD_ANCILLARY;

	return what % 4 == 0 && what < SKF_AD_MAX;
}

/* One instruction by itself; left: how many follow it. */
static bool instruction_ok(const struct sock_filter *f, size_t left)
{
	if (!known(f->code))
		return false;
	switch (f->code) {
	case BPF_ALU | BPF_DIV | BPF_K:
	case BPF_ALU | BPF_MOD | BPF_K:
		return f->k;
	case BPF_ALU | BPF_LSH | BPF_K:
	case BPF_ALU | BPF_RSH | BPF_K:
		return f->k < 32;
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX:
		return f->k < BPF_MEMWORDS;
	case BPF_JMP | BPF_JA:
		return f->k < left;
	case BPF_LD | BPF_W | BPF_ABS:
	case BPF_LD | BPF_H | BPF_ABS:
	case BPF_LD | BPF_B | BPF_ABS:
		return f->k < LOAD_ANCILLARY || known_ancillary(f->k);
	}
	return BPF_CLASS(f->code) != BPF_JMP || (f->jt < left && f->jf < left);
}

/* Scratch memory: at[pc] with what is written on all ways to it in masks[pc]. */
static bool scratch_ok(const struct sock_filter *f, uint16_t *masks, uint16_t *written)
{
	switch (f->code) {
	case BPF_ST:
	case BPF_STX:
		*written |= (uint16_t)(1u << f->k);
		return true;
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
		return *written & 1u << f->k;
	case BPF_JMP | BPF_JA:
		masks[1 + f->k] &= *written;
		*written = UINT16_MAX;
		return true;
	}
	if (BPF_CLASS(f->code) == BPF_JMP) {
		masks[1 + f->jt] &= *written;
		masks[1 + f->jf] &= *written;
		*written = UINT16_MAX;
	}
	return true;
}

static int check_scratch(const struct sock_filter *at, size_t count)
{
	uint16_t *masks = kalloc(count * sizeof(*masks)), written = 0;
	bool ok = true;

	if (!masks)
		return -ENOMEM;
	memset(masks, 0xff, count * sizeof(*masks));
	for (size_t pc = 0; ok && pc < count; pc++) {
		written &= masks[pc];
		ok = scratch_ok(&at[pc], masks + pc, &written);
	}
	kfree(masks, count * sizeof(*masks));
	return ok ? 0 : -EINVAL;
}

int bpf_check(const struct sock_filter *at, size_t count)
{
	if (count == 0 || count > BPF_MAXINSNS)
		return -EINVAL;
	for (size_t pc = 0; pc < count; pc++)
		if (!instruction_ok(&at[pc], count - pc - 1))
			return -EINVAL;
	if (BPF_CLASS(at[count - 1].code) != BPF_RET)
		return -EINVAL;
	return check_scratch(at, count);
}

static size_t prog_size(size_t count)
{
	return sizeof(struct bpf_prog) + count * sizeof(struct sock_filter);
}

int bpf_create(const struct sock_filter *at, size_t count, struct bpf_prog **ret)
{
	int err = bpf_check(at, count);
	struct bpf_prog *p = err ? NULL : kalloc(prog_size(count));

	if (err)
		return err;
	if (!p)
		return -ENOMEM;
	ref_init(&p->ref);
	p->count = (unsigned)count;
	memcpy(p->at, at, count * sizeof(*at));
	*ret = p;
	return 0;
}

struct bpf_prog *bpf_get(struct bpf_prog *p)
{
	ref_get(&p->ref);
	return p;
}

void bpf_put(struct bpf_prog *p)
{
	if (p && ref_put(&p->ref))
		kfree(p, prog_size(p->count));
}

/* ---- running ---- */

struct machine {
	uint32_t a, x, mem[BPF_MEMWORDS];
	const struct bpf_data *d;
};

static unsigned load_size(uint16_t code)
{
	return BPF_SIZE(code) == BPF_W ? 4 : BPF_SIZE(code) == BPF_H ? 2 : 1;
}

/* BPF_LD and BPF_LDX. False: the program ends. */
static bool load(struct machine *m, const struct sock_filter *f)
{
	uint32_t *to = BPF_CLASS(f->code) == BPF_LD ? &m->a : &m->x;

	switch (BPF_MODE(f->code)) {
	case BPF_IMM:
		*to = f->k;
		return true;
	case BPF_MEM:
		*to = m->mem[f->k];
		return true;
	case BPF_LEN:
		*to = m->d->len;
		return true;
	case BPF_ABS:
		if (f->k >= LOAD_ANCILLARY)
			return m->d->ancillary && m->d->ancillary(m->d, f->k - LOAD_ANCILLARY, m->a, m->x, &m->a);
		return m->d->load(m->d, (int32_t)f->k, load_size(f->code), &m->a);
	case BPF_IND:
		return m->d->load(m->d, (int32_t)(m->x + f->k), load_size(f->code), &m->a);
	default: /* BPF_MSH */
		if (!m->d->load(m->d, (int32_t)f->k, 1, &m->x))
			return false;
		m->x = (m->x & 15) * 4;
		return true;
	}
}

/* BPF_ALU. False: a division by 0. */
static bool compute(struct machine *m, const struct sock_filter *f)
{
	uint32_t by = BPF_SRC(f->code) == BPF_X ? m->x : f->k;

	switch (BPF_OP(f->code)) {
	case BPF_ADD:
		m->a += by;
		break;
	case BPF_SUB:
		m->a -= by;
		break;
	case BPF_MUL:
		m->a *= by;
		break;
	case BPF_DIV:
		if (!by)
			return false;
		m->a /= by;
		break;
	case BPF_MOD:
		if (!by)
			return false;
		m->a %= by;
		break;
	case BPF_AND:
		m->a &= by;
		break;
	case BPF_OR:
		m->a |= by;
		break;
	case BPF_XOR:
		m->a ^= by;
		break;
	case BPF_LSH:
		m->a <<= by & 31;
		break;
	case BPF_RSH:
		m->a >>= by & 31;
		break;
	default: /* BPF_NEG */
		m->a = 0 - m->a;
	}
	return true;
}

/* How far a jump goes. */
static uint32_t jump(const struct machine *m, const struct sock_filter *f)
{
	uint32_t with = BPF_SRC(f->code) == BPF_X ? m->x : f->k;
	bool yes;

	switch (BPF_OP(f->code)) {
	case BPF_JA:
		return f->k;
	case BPF_JEQ:
		yes = m->a == with;
		break;
	case BPF_JGT:
		yes = m->a > with;
		break;
	case BPF_JGE:
		yes = m->a >= with;
		break;
	default: /* BPF_JSET */
		yes = m->a & with;
	}
	return yes ? f->jt : f->jf;
}

uint32_t bpf_run(const struct bpf_prog *p, const struct bpf_data *d)
{
	struct machine m = {.d = d};

	for (size_t pc = 0; pc < p->count; pc++) {
		const struct sock_filter *f = &p->at[pc];

		switch (BPF_CLASS(f->code)) {
		case BPF_LD:
		case BPF_LDX:
			if (!load(&m, f))
				return 0;
			break;
		case BPF_ST:
			m.mem[f->k] = m.a;
			break;
		case BPF_STX:
			m.mem[f->k] = m.x;
			break;
		case BPF_ALU:
			if (!compute(&m, f))
				return 0;
			break;
		case BPF_JMP:
			pc += jump(&m, f);
			break;
		case BPF_RET:
			return BPF_RVAL(f->code) == BPF_A ? m.a : f->k;
		default: /* BPF_MISC */
			if (BPF_MISCOP(f->code) == BPF_TAX)
				m.x = m.a;
			else
				m.a = m.x;
		}
	}
	return 0; /* not reached: the last instruction returns */
}

/* ---- bytes in memory ---- */

static bool flat_load(const struct bpf_data *d, int32_t off, unsigned size, uint32_t *ret)
{
	const struct bpf_flat *f = container_of(d, const struct bpf_flat, data);
	const uint8_t *p = f->bytes;
	uint32_t v = 0;

	if (off < 0 || (uint32_t)off > d->len || size > d->len - (uint32_t)off)
		return false;
	for (unsigned i = 0; i < size; i++)
		v = v << 8 | p[(uint32_t)off + (f->big_endian ? i : size - 1 - i)];
	*ret = v;
	return true;
}

void bpf_flat_init(struct bpf_flat *f, const void *bytes, uint32_t size, bool big_endian)
{
	*f = (struct bpf_flat){.data = {.len = size, .load = flat_load}, .bytes = bytes, .big_endian = big_endian};
}
