/*
 * The Internet checksum: RFC 1071, with RFC 1624's care for the two zeros left to callers.
 *
 * One's complement addition does not care for byte order: words are added as this machine reads them, eight bytes at a
 * time with the carry put back, and the result is right when it is stored as this machine writes it. Data that begins
 * at an odd offset adds its sum with the two bytes swapped.
 */
#include "net/stack/pkt.h"

#include <string.h>

static uint32_t fold64(uint64_t sum)
{
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT32_MAX) + (sum >> 32);
	return (uint32_t)sum;
}

static uint16_t fold32(uint32_t sum)
{
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	return (uint16_t)sum;
}

static inline uint64_t add_carry(uint64_t sum, uint64_t v)
{
	uint64_t r;

	return __builtin_add_overflow(sum, v, &r) ? r + 1 : r;
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t sum_bytes(const uint8_t *p, size_t n)
{
	uint64_t a = 0, b = 0, last = 0;

	for (; n >= 32; p += 32, n -= 32) {
		a = add_carry(add_carry(a, load64(p)), load64(p + 16));
		b = add_carry(add_carry(b, load64(p + 8)), load64(p + 24));
	}
	for (; n >= 8; p += 8, n -= 8)
		a = add_carry(a, load64(p));
	if (n)
		memcpy(&last, p, n);
	return add_carry(add_carry(a, b), last);
}

uint32_t sum_add(uint32_t sum, const void *data, size_t n, bool odd)
{
	uint32_t part = fold64(sum_bytes(data, n));

	if (odd)
		part = __builtin_bswap16(fold32(part));
	return fold64((uint64_t)sum + part);
}

uint32_t sum_pkt(uint32_t sum, const struct pkt *p, uint32_t off)
{
	uint32_t linear = p->tail - p->head;
	bool odd = false;

	if (off < linear) {
		sum = sum_add(sum, p->room + p->head + off, linear - off, false);
		odd = (linear - off) & 1;
		off = linear;
	}
	off -= linear;
	for (unsigned i = 0; i < p->count; i++) {
		const struct slice *s = &p->slice[i];

		if (off >= s->len) {
			off -= s->len;
			continue;
		}
		sum = sum_add(sum, s->buf->data + s->off + off, s->len - off, odd);
		odd ^= (s->len - off) & 1;
		off = 0;
	}
	return sum;
}

uint32_t sum_pseudo(const struct in6_addr *src, const struct in6_addr *dst, uint8_t protocol, uint32_t len)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(dst);
	uint32_t tail[2] = {htonl(len), htonl(protocol)};
	size_t skip = v4 ? 12 : 0;
	uint32_t sum;

	sum = sum_add(0, src->s6_addr + skip, 16 - skip, false);
	sum = sum_add(sum, dst->s6_addr + skip, 16 - skip, false);
	return sum_add(sum, tail, sizeof(tail), false);
}

uint16_t sum_fold(uint32_t sum)
{
	return (uint16_t)~fold32(sum);
}
