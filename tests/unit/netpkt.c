/* Packets and checksums: every way to split the same bytes gives the same answers. */
#include "tests/unit/unit.h"

#include <string.h>

#include "net/stack/pkt.h"
#include "sentry/base/slab.h"

#define BYTES 400

static uint8_t bytes[BYTES];

static void fill(void)
{
	for (unsigned i = 0; i < BYTES; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 13);
}

/* The bytes [from, BYTES) in slices of `step`, the first `linear` of them in the room. */
static struct pkt *split(unsigned linear, unsigned step)
{
	struct pkt *p = pkt_create();
	struct buf *b = buf_create(2 * BYTES);

	memcpy(pkt_push(p, linear), bytes, linear);
	for (unsigned at = linear, where = 0; at < BYTES; at += step, where += step + 1) {
		unsigned n = MIN(step, BYTES - at);

		memcpy(b->data + where, bytes + at, n);
		ck_assert(pkt_append(p, b, where, n));
	}
	buf_put(b);
	return p;
}

static uint16_t slow_sum(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

START_TEST(sums)
{
	fill();
	for (unsigned n = 0; n < BYTES; n++)
		for (unsigned off = 0; off < 9; off++)
			if (off + n <= BYTES)
				ck_assert_uint_eq(sum_fold(sum_add(0, bytes + off, n, false)),
						  slow_sum(bytes + off, n));
	for (unsigned cut = 0; cut < BYTES; cut++) {
		uint32_t sum = sum_add(0, bytes, cut, false);

		sum = sum_add(sum, bytes + cut, BYTES - cut, cut & 1);
		ck_assert_uint_eq(sum_fold(sum), slow_sum(bytes, BYTES));
	}
	memset(bytes, 0xff, BYTES);
	ck_assert_uint_eq(sum_fold(sum_add(0, bytes, BYTES, false)), 0);
}
END_TEST

START_TEST(sums_of_slices)
{
	fill();
	for (unsigned linear = 0; linear < 60; linear += 3)
		for (unsigned step = 29; step < BYTES; step += 7) {
			struct pkt *p = split(linear, step);

			for (unsigned off = 0; off < BYTES; off++)
				ck_assert_uint_eq(sum_fold(sum_pkt(0, p, off)), slow_sum(bytes + off, BYTES - off));
			pkt_free(p);
		}
}
END_TEST

START_TEST(pseudo_headers)
{
	static const uint8_t v4[12] = {10, 0, 0, 1, 192, 168, 5, 6, 0, 17, 1, 44};
	struct in6_addr a = {.s6_addr = {[10] = 0xff, 0xff, 10, 0, 0, 1}}, b = a;
	uint8_t v6[40] = {0};

	memcpy(b.s6_addr + 12, v4 + 4, 4);
	ck_assert_uint_eq(sum_fold(sum_pseudo(&a, &b, 17, 300)), slow_sum(v4, 12));
	a.s6_addr[0] = b.s6_addr[0] = 0x20;
	memcpy(v6, &a, 16);
	memcpy(v6 + 16, &b, 16);
	v6[33] = 1; /* 65536 + 300 */
	v6[34] = 1;
	v6[35] = 44;
	v6[39] = 6;
	ck_assert_uint_eq(sum_fold(sum_pseudo(&a, &b, 6, 65836)), slow_sum(v6, 40));
}
END_TEST

START_TEST(pulling)
{
	fill();
	for (unsigned linear = 0; linear < 60; linear += 3)
		for (unsigned step = 29; step < BYTES; step += 7)
			for (unsigned first = 0; first < 100; first += 11) {
				struct pkt *p = split(linear, step);

				ck_assert_mem_eq(pkt_pull(p, first), bytes, first);
				ck_assert_mem_eq(pkt_pull(p, 40), bytes + first, 40);
				p->net = p->head - 40;
				p->transport = p->head;
				ck_assert_mem_eq(pkt_peek(p, 60), bytes + first + 40, 60);
				ck_assert_mem_eq(pkt_pull(p, 59), bytes + first + 40, 59);
				ck_assert_mem_eq(p->room + p->net, bytes + first, 99);
				ck_assert_ptr_null(pkt_pull(p, 257));
				ck_assert_ptr_null(pkt_peek(p, 200));
				ck_assert_uint_eq(p->len, BYTES - first - 99);
				ck_assert_uint_eq(sum_fold(sum_pkt(0, p, 0)),
						  slow_sum(bytes + first + 99, BYTES - first - 99));
				pkt_unpull(p, p->net);
				ck_assert_uint_eq(sum_fold(sum_pkt(0, p, 0)), slow_sum(bytes + first, BYTES - first));
				pkt_free(p);
			}
}
END_TEST

START_TEST(cutting)
{
	uint8_t out[BYTES];

	fill();
	for (unsigned linear = 0; linear < 60; linear += 13)
		for (unsigned step = 29; step < BYTES; step += 17)
			for (unsigned cut = 0; cut <= BYTES; cut += 9) {
				struct pkt *p = split(linear, step), *q = pkt_clone(p), *r = pkt_create();
				unsigned half = (BYTES - cut) / 2;

				pkt_skip(p, cut);
				ck_assert(pkt_copy(p, 0, out, BYTES - cut));
				ck_assert(!pkt_copy(p, 0, out, BYTES - cut + 1));
				ck_assert(!pkt_copy(p, BYTES - cut + 1, out, 0));
				ck_assert_mem_eq(out, bytes + cut, BYTES - cut);
				ck_assert(pkt_append_from(r, q, cut, half));
				ck_assert(!pkt_append_from(r, q, cut, BYTES - cut + 1));
				ck_assert(pkt_append_from(r, q, cut + half, BYTES - cut - half));
				pkt_trim(q, cut);
				ck_assert_uint_eq(q->len, cut);
				ck_assert(pkt_copy(q, 0, out, cut));
				ck_assert_mem_eq(out, bytes, cut);
				ck_assert_uint_eq(sum_fold(sum_pkt(0, r, 0)), slow_sum(bytes + cut, BYTES - cut));
				pkt_free(p);
				pkt_free(q);
				pkt_free(r);
			}
}
END_TEST

START_TEST(limits)
{
	struct pkt *p = pkt_create();
	struct buf *b = buf_create(100);

	ck_assert_ptr_nonnull(pkt_push(p, PKT_HEAD));
	ck_assert_ptr_null(pkt_push(p, 1));
	ck_assert_ptr_nonnull(pkt_pull(p, PKT_HEAD));
	for (unsigned i = 0; i < PKT_SLICES; i++)
		ck_assert(pkt_append(p, b, i * 2, 1));
	ck_assert(!pkt_append(p, b, 90, 1));
	ck_assert(pkt_append(p, b, PKT_SLICES * 2 - 1, 1)); /* it continues the last slice */
	ck_assert_uint_eq(p->len, PKT_SLICES + 1);
	pkt_skip(p, 100);
	ck_assert_uint_eq(p->len, 0);
	ck_assert_uint_eq(p->count, 0);
	ck_assert_ptr_null(pkt_pull(p, 1));
	buf_put(b);
	pkt_free(p);
	pkt_free(NULL);
	ck_assert_ptr_null(buf_create(UINT32_MAX));
	p = pkt_from(bytes, 160);
	ck_assert_uint_eq(p->count, 0);
	pkt_free(p);
	p = pkt_from(bytes, 161);
	ck_assert_uint_eq(p->count, 1);
	pkt_free(p);
}
END_TEST

static int make(void *arg __unused)
{
	struct pkt *p = pkt_from(bytes, BYTES), *q = p ? pkt_clone(p) : NULL;
	bool ok = q && pkt_peek(q, 20) && pkt_append_from(q, q, 0, 30);

	pkt_free(p);
	pkt_free(q);
	return ok ? 0 : -ENOMEM;
}

START_TEST(no_memory)
{
	unit_each_allocation_fails(make, NULL);
}
END_TEST

UNIT_MAIN(sums, sums_of_slices, pseudo_headers, pulling, cutting, limits, no_memory)
