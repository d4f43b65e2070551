/*
 * Classic BPF, as guests hand it in for socket filters: <linux/filter.h>, Linux's Documentation/networking/filter.rst. A program is checked once, when it is made;
 * what has been checked ends after at most as many steps as it has instructions, and reads nothing but its data.
 *
 * What a program is about is behind struct bpf_data: a packet (net/filter.h) or a flat buffer.
 */
#pragma once

#include <linux/filter.h>

#include "sentry/base/ref.h"

struct bpf_prog {
	struct ref ref;
	unsigned count;
	struct sock_filter at[];
};

struct bpf_data {
	uint32_t len; /* what BPF_LEN says */
	/* size (1, 2, 4) bytes at off, in network order as a number. False: there are none, and the program's result is 0. */
	bool (*load)(const struct bpf_data *d, int32_t off, unsigned size, uint32_t *ret);
	/*
	 * One of SKF_AD_*, with the registers that some of them read. False: as with load(). May be absent: such programs
	 * are not given this data.
	 */
	bool (*ancillary)(const struct bpf_data *d, unsigned what, uint32_t a, uint32_t x, uint32_t *ret);
};

/* Whether a program may run: 0 or -EINVAL. */
int __must_check bpf_check(const struct sock_filter *at, size_t count);
/* A checked copy, count 1. -EINVAL, -ENOMEM. */
int __must_check bpf_create(const struct sock_filter *at, size_t count, struct bpf_prog **ret);
struct bpf_prog *bpf_get(struct bpf_prog *p);
/* NULL is fine. */
void bpf_put(struct bpf_prog *p);
/* What the program returns. */
uint32_t bpf_run(const struct bpf_prog *p, const struct bpf_data *d);

/* Bytes in memory, without ancillary data; big_endian: as packets have numbers, else in the machine's order. */
struct bpf_flat {
	struct bpf_data data;
	const void *bytes;
	bool big_endian;
};
void bpf_flat_init(struct bpf_flat *f, const void *bytes, uint32_t size, bool big_endian);
