/* The fake platform's own structures. */
#pragma once

#include "platform/cpu.h"
#include "platform/fake/fake.h"
#include "sentry/base/list.h"
#include "sentry/base/lock.h"
#include "sentry/base/ref.h"

#define FAKE_XSAVE_SIZE 832 /* x87, SSE, AVX in the standard format */
#define FAKE_XCR0 7

/* Host memory behind one or several areas. */
struct backing {
	struct ref ref;
	char *mem;
	size_t size;
	bool file;   /* touching it may raise SIGBUS: copied by the kernel only */
	bool shared; /* a fork uses the same */
	bool writable;
};

struct area {
	struct list link; /* aspace.areas, by address */
	uint64_t start, end;
	int prot;
	struct backing *b;
	size_t offset; /* of start in b */
};

struct aspace {
	struct mutex lock;
	struct list areas; /* L_ASPACE */
	unsigned cpus;     /* L_ASPACE */
	_Atomic bool killed;
};

struct fake_cpu {
	struct cpu cpu;
	struct k_user_regs regs;
	_Alignas(64) unsigned char fp[FAKE_XSAVE_SIZE];
	_Atomic bool kicked;
	bool in_event, put;
};

/* areas.c. All take the lock themselves. */
void areas_free(struct aspace *a);
int areas_copy(struct aspace *to, struct aspace *from);
int areas_map(struct aspace *a, uint64_t addr, size_t size, int prot, int flags, int fd, uint64_t off);
int areas_unmap(struct aspace *a, uint64_t addr, size_t size);
int areas_protect(struct aspace *a, uint64_t addr, size_t size, int prot);
int areas_advise(struct aspace *a, uint64_t addr, size_t size, int advice);
int areas_sync(struct aspace *a, uint64_t addr, size_t size, int flags);
int areas_move(struct aspace *a, uint64_t old, size_t old_size, uint64_t to, size_t size);
int areas_mincore(struct aspace *a, uint64_t addr, size_t size, unsigned char *vec);
uint64_t areas_rss(struct aspace *a);
ssize_t areas_read(struct aspace *a, void *dst, uint64_t addr, size_t size);
ssize_t areas_write(struct aspace *a, uint64_t addr, const void *src, size_t size);
int areas_cas32(struct aspace *a, uint64_t addr, uint32_t *expected, uint32_t desired);
