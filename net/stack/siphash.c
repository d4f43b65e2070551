/*
 * SipHash-2-4, as its paper has it: a state of four words, two rounds a word of input, four at the end. For tables whose keys come from a
 * network, initial sequence numbers and SYN cookies.
 */
#include "net/stack/siphash.h"

#include <string.h>

static inline uint64_t rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] = rotate(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] = rotate(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
}

uint64_t siphash(const uint64_t key[2], const void *data, size_t n)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
			 key[1] ^ 0x7465646279746573};
	const uint8_t *p = data;
	uint64_t m;
	size_t left;

	for (left = n; left >= sizeof(m); left -= sizeof(m), p += sizeof(m)) {
		memcpy(&m, p, sizeof(m));
		sip_word(v, m);
	}
	m = 0;
	memcpy(&m, p, left);
	sip_word(v, m | (uint64_t)n << 56);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
