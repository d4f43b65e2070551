/* Classic BPF: which programs are taken, what they give, and that what is taken reads nothing else and ends. */
#include "sentry/base/bpf.h"

#include <string.h>

#include "sentry/base/slab.h"
#include "tests/unit/unit.h"

#define S(code, k) BPF_STMT(code, k)
#define J(code, k, t, f) BPF_JUMP(code, k, t, f)
#define RET(k) S(BPF_RET | BPF_K, k)
#define RETA S(BPF_RET | BPF_A, 0)
#define AD(what) ((uint32_t)(SKF_AD_OFF + (what)))
#define LIMIT 8

static const uint8_t bytes[] = {0x45, 0x00, 0x01, 0x02, 0xff, 0xfe, 0x80, 0x07};

static const struct {
	const char *what;
	bool ok;
	uint32_t gives;
	struct sock_filter at[LIMIT];
} table[] = {
    {"a constant", true, 7, {RET(7)}},
    {"A at the start", true, 0, {RETA}},
    {"X at the start", true, 0, {S(BPF_MISC | BPF_TXA, 0), RETA}},
    {"a word", true, 0x0102fffe, {S(BPF_LD | BPF_W | BPF_ABS, 2), RETA}},
    {"half a word", true, 0x4500, {S(BPF_LD | BPF_H | BPF_ABS, 0), RETA}},
    {"a byte", true, 0x80, {S(BPF_LD | BPF_B | BPF_ABS, 6), RETA}},
    {"the last word", true, 0xfffe8007, {S(BPF_LD | BPF_W | BPF_ABS, 4), RETA}},
    {"a word over the end", true, 0, {S(BPF_LD | BPF_W | BPF_ABS, 5), RET(1)}},
    {"a byte behind the end", true, 0, {S(BPF_LD | BPF_B | BPF_ABS, 8), RET(1)}},
    {"far behind the end", true, 0, {S(BPF_LD | BPF_W | BPF_ABS, INT32_MAX), RET(1)}},
    {"before the start", true, 0, {S(BPF_LD | BPF_B | BPF_ABS, 0x80000000), RET(1)}},
    {"by X", true, 0xff, {S(BPF_LDX | BPF_IMM, 3), S(BPF_LD | BPF_B | BPF_IND, 1), RETA}},
    {"by X, around", true, 0x45, {S(BPF_LDX | BPF_IMM, UINT32_MAX), S(BPF_LD | BPF_B | BPF_IND, 1), RETA}},
    {"by X, before", true, 0, {S(BPF_LDX | BPF_IMM, UINT32_MAX), S(BPF_LD | BPF_B | BPF_IND, 0), RET(1)}},
    {"the length of a header", true, 20, {S(BPF_LDX | BPF_B | BPF_MSH, 0), S(BPF_MISC | BPF_TXA, 0), RETA}},
    {"the length", true, 8, {S(BPF_LD | BPF_W | BPF_LEN, 0), RETA}},
    {"the length in X", true, 8, {S(BPF_LDX | BPF_W | BPF_LEN, 0), S(BPF_MISC | BPF_TXA, 0), RETA}},
    {"scratch",
     true,
     5,
     {S(BPF_LD | BPF_IMM, 5), S(BPF_ST, 15), S(BPF_LDX | BPF_MEM, 15), S(BPF_MISC | BPF_TXA, 0), RETA}},
    {"arithmetic", true, 0xfffffff9, {S(BPF_LD | BPF_IMM, 7), S(BPF_ALU | BPF_NEG, 0), RETA}},
    {"a product", true, 0xfffffffe, {S(BPF_LD | BPF_IMM, UINT32_MAX), S(BPF_ALU | BPF_MUL | BPF_K, 2), RETA}},
    {"a quotient", true, 3, {S(BPF_LD | BPF_IMM, 7), S(BPF_ALU | BPF_DIV | BPF_K, 2), RETA}},
    {"a rest", true, 1, {S(BPF_LD | BPF_IMM, 7), S(BPF_ALU | BPF_MOD | BPF_K, 2), RETA}},
    {"division by an X of 0", true, 0, {S(BPF_ALU | BPF_DIV | BPF_X, 0), RET(1)}},
    {"a rest by an X of 0", true, 0, {S(BPF_ALU | BPF_MOD | BPF_X, 0), RET(1)}},
    {"a shift", true, 0x80000000, {S(BPF_LD | BPF_IMM, 1), S(BPF_ALU | BPF_LSH | BPF_K, 31), RETA}},
    {"a shift by X",
     true,
     2,
     {S(BPF_LDX | BPF_IMM, 33), S(BPF_LD | BPF_IMM, 1), S(BPF_ALU | BPF_LSH | BPF_X, 0), RETA}},
    {"a jump", true, 2, {S(BPF_JMP | BPF_JA, 1), RET(1), RET(2)}},
    {"yes", true, 1, {J(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), RET(1), RET(2)}},
    {"no", true, 2, {J(BPF_JMP | BPF_JGT | BPF_K, 0, 0, 1), RET(1), RET(2)}},
    {"bits", true, 1, {S(BPF_LD | BPF_B | BPF_ABS, 6), J(BPF_JMP | BPF_JSET | BPF_K, 0x80, 0, 1), RET(1), RET(2)}},
    {"with X", true, 1, {S(BPF_LDX | BPF_IMM, 0), J(BPF_JMP | BPF_JGE | BPF_X, 0, 0, 1), RET(1), RET(2)}},
    {"both ways write",
     true,
     9,
     {J(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), S(BPF_ST, 0), S(BPF_ST, 0), S(BPF_LD | BPF_MEM, 0), RET(9)}},
    {"ancillary data of bytes", true, 0, {S(BPF_LD | BPF_W | BPF_ABS, AD(SKF_AD_PROTOCOL)), RET(1)}},
    {"no return", false, 0, {S(BPF_LD | BPF_IMM, 0)}},
    {"a return that is not last", false, 0, {RET(1), S(BPF_LD | BPF_IMM, 1)}},
    {"return X", false, 0, {S(BPF_RET | BPF_X, 0)}},
    {"a jump to the end", false, 0, {S(BPF_JMP | BPF_JA, 1), RET(1)}},
    {"a jump back", false, 0, {S(BPF_JMP | BPF_JA, UINT32_MAX), RET(1)}},
    {"a jump around", false, 0, {RET(1), S(BPF_JMP | BPF_JA, UINT32_MAX - 1), RET(1)}},
    {"a branch to the end", false, 0, {J(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), RET(1)}},
    {"another branch to the end", false, 0, {J(BPF_JMP | BPF_JEQ | BPF_K, 0, 255, 0), RET(1)}},
    {"division by 0", false, 0, {S(BPF_ALU | BPF_DIV | BPF_K, 0), RET(1)}},
    {"a rest by 0", false, 0, {S(BPF_ALU | BPF_MOD | BPF_K, 0), RET(1)}},
    {"a shift too far", false, 0, {S(BPF_ALU | BPF_RSH | BPF_K, 32), RET(1)}},
    {"scratch outside", false, 0, {S(BPF_ST, 16), RET(1)}},
    {"scratch not written", false, 0, {S(BPF_LD | BPF_MEM, 0), RET(1)}},
    {"written on one way",
     false,
     0,
     {J(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), S(BPF_ST, 0), S(BPF_LD | BPF_MEM, 0), RET(1)}},
    {"jumped over", false, 0, {S(BPF_JMP | BPF_JA, 1), S(BPF_ST, 0), S(BPF_LDX | BPF_MEM, 0), RET(1)}},
    {"unknown ancillary data", false, 0, {S(BPF_LD | BPF_W | BPF_ABS, AD(SKF_AD_MAX)), RET(1)}},
    {"between ancillary data", false, 0, {S(BPF_LD | BPF_B | BPF_ABS, AD(1)), RET(1)}},
    {"unknown", false, 0, {S(0xffff, 0), RET(1)}},
    {"eBPF", false, 0, {S(BPF_ALU | 0xb0, 0), RET(1)}},
};

static size_t count_of(const struct sock_filter *at)
{
	size_t n = LIMIT;

	while (n > 1 && at[n - 1].code == 0 && at[n - 1].k == 0)
		n--;
	return n;
}

START_TEST(programs)
{
	struct bpf_prog *p;
	struct bpf_flat f;

	bpf_flat_init(&f, bytes, sizeof(bytes), true);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct sock_filter *at = table[i].at;
		int err = bpf_create(at, count_of(at), &p);

		ck_assert_msg(err == (table[i].ok ? 0 : -EINVAL), "%s: %d", table[i].what, err);
		if (err)
			continue;
		ck_assert_msg(bpf_run(p, &f.data) == table[i].gives, "%s: %x", table[i].what, bpf_run(p, &f.data));
		bpf_put(p);
	}
}
END_TEST

START_TEST(lengths)
{
	static struct sock_filter at[BPF_MAXINSNS + 1];
	struct bpf_prog *p;
	struct bpf_flat f;

	bpf_flat_init(&f, bytes, sizeof(bytes), false);
	for (size_t i = 0; i < ARRAY_SIZE(at); i++)
		at[i] = (struct sock_filter)S(BPF_ALU | BPF_ADD | BPF_K, 1);
	at[BPF_MAXINSNS - 1] = at[BPF_MAXINSNS] = (struct sock_filter)RETA;
	ck_assert_int_eq(bpf_create(at, 0, &p), -EINVAL);
	ck_assert_int_eq(bpf_create(at, BPF_MAXINSNS + 1, &p), -EINVAL);
	ck_assert_int_eq(bpf_create(at, BPF_MAXINSNS, &p), 0);
	ck_assert_uint_eq(bpf_run(p, &f.data), BPF_MAXINSNS - 1);
	bpf_put(p);
}
END_TEST

START_TEST(machine_order)
{
	struct sock_filter at[] = {S(BPF_LD | BPF_W | BPF_ABS, 4), RETA};
	uint32_t words[2] = {1, 0x12345678};
	struct bpf_prog *p;
	struct bpf_flat f;

	bpf_flat_init(&f, words, sizeof(words), false);
	ck_assert_int_eq(bpf_create(at, 2, &p), 0);
	ck_assert_uint_eq(bpf_run(p, &f.data), words[1]);
	bpf_put(p);
}
END_TEST

static uint64_t seed = 88172645463325252u;

static uint32_t some(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

/* Instructions that are mostly sensible: the others are refused, and say nothing about the interpreter. */
static struct sock_filter some_instruction(void)
{
	static const uint16_t codes[] = {
	    BPF_LD | BPF_W | BPF_ABS,
	    BPF_LD | BPF_H | BPF_IND,
	    BPF_LD | BPF_B | BPF_ABS,
	    BPF_LDX | BPF_B | BPF_MSH,
	    BPF_ST,
	    BPF_STX,
	    BPF_LD | BPF_MEM,
	    BPF_LDX | BPF_MEM,
	    BPF_MISC | BPF_TAX,
	    BPF_MISC | BPF_TXA,
	    BPF_ALU | BPF_DIV | BPF_X,
	    BPF_ALU | BPF_LSH | BPF_X,
	    BPF_ALU | BPF_SUB | BPF_K,
	    BPF_JMP | BPF_JEQ | BPF_K,
	    BPF_JMP | BPF_JGT | BPF_X,
	    BPF_JMP | BPF_JA,
	    BPF_LD | BPF_W | BPF_LEN,
	    BPF_LDX | BPF_IMM,
	    BPF_RET | BPF_A,
	    BPF_ALU | BPF_MOD | BPF_K,
	};
	uint32_t k = some() % 4 ? some() % 16 : some();

	return (struct sock_filter){some() % 64 ? codes[some() % ARRAY_SIZE(codes)] : (uint16_t)some(),
				    (uint8_t)(some() % 5), (uint8_t)(some() % 5), k};
}

START_TEST(at_random)
{
	uint8_t *data = malloc(sizeof(bytes)); /* whose end sanitizers know */
	unsigned taken = 0;
	struct bpf_flat f;

	memcpy(data, bytes, sizeof(bytes));
	bpf_flat_init(&f, data, sizeof(bytes), true);
	for (unsigned round = 0; round < 200000; round++) {
		struct sock_filter at[12];
		size_t n = 1 + some() % ARRAY_SIZE(at);
		struct bpf_prog *p;

		for (size_t i = 0; i < n; i++)
			at[i] = some_instruction();
		at[n - 1].code = BPF_RET | BPF_A;
		if (bpf_create(at, n, &p))
			continue;
		taken++;
		bpf_run(p, &f.data);
		bpf_put(p);
	}
	ck_assert_uint_gt(taken, 1000);
	free(data);
}
END_TEST

static int create_one(void)
{
	struct sock_filter at[] = {RET(1)};
	struct bpf_prog *p = NULL;
	int err = bpf_create(at, 1, &p);

	bpf_put(p);
	return err;
}

START_TEST(no_memory)
{
	slab_fail_nth(1);
	ck_assert_int_eq(create_one(), -ENOMEM);
	slab_fail_nth(2);
	ck_assert_int_eq(create_one(), -ENOMEM);
	slab_fail_nth(0);
	ck_assert_int_eq(create_one(), 0);
}
END_TEST

UNIT_MAIN(programs, lengths, machine_order, at_random, no_memory)
