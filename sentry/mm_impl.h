/* What sentry/mm.c, mmap.c, mremap.c, madvise.c and mlock.c share. Private to them. */
#pragma once

#include <sys/mman.h>
#include <sys/mount.h>

#include "sentry/base/slab.h"
#include "sentry/task.h"
#include "sentry/vma.h"

/* A change of this size or more, or with that many mappings, is executed at once, so that the host's refusal becomes an errno. */
#define MM_SYNC_SIZE (64ul << 20)
#define MM_SYNC_COUNT 60000

void mm_lock(struct mm *mm) ACQUIRE(L_MM);
/* Also frees what was unlinked meanwhile: files may be released only now. */
void mm_unlock(struct mm *mm) RELEASE(L_MM);

/* Makes sure that `count` mappings can be made without failing. -ENOMEM. */
int __must_check mm_reserve(struct mm *mm, unsigned count) REQUIRES(L_MM);
/* An unlinked vma out of the reserve, zeroed. */
struct vma *mm_take_spare(struct mm *mm) REQUIRES(L_MM);
/* Unlinks v and frees it at mm_unlock(). */
void mm_drop(struct mm *mm, struct vma *v) REQUIRES(L_MM);
/* Links v, counts its pages and merges it with its neighbours; the mapping that covers v's range now. */
struct vma *mm_link(struct mm *mm, struct vma *v) REQUIRES(L_MM);
struct vma *mm_merge(struct mm *mm, struct vma *v) REQUIRES(L_MM);
/* Makes addr a boundary: the mapping around it is split. Takes at most one spare. */
void mm_split_at(struct mm *mm, uint64_t addr) REQUIRES(L_MM);
/* Forgets what is mapped in the range. Takes at most two spares. */
void mm_clear(struct mm *mm, uint64_t start, uint64_t end) REQUIRES(L_MM);
/* Adds v's pages to the totals (sign 1) or takes them off (-1). */
void mm_account(struct mm *mm, const struct vma *v, int sign) REQUIRES(L_MM);

/* RLIMIT_AS and RLIMIT_DATA: may `pages` of this kind be added? c NULL: no limits. */
bool mm_may_expand(struct mm *mm, struct ctx *c, int prot, int flags, uint64_t pages) REQUIRES(L_MM);
/* RLIMIT_MEMLOCK: -EAGAIN if pages more may not be locked. */
int mm_may_lock(struct mm *mm, struct ctx *c, uint64_t pages) REQUIRES(L_MM);
bool mm_counts_as_data(int prot, int flags);

/* The limit of the task that c belongs to. c NULL: infinite. */
uint64_t mm_limit(struct ctx *c, int resource);

/*
 * A place for a new mapping as get_unmapped_area() chooses it; flags: MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_32BIT. The address or -errno.
 */
sysret_t mm_find_free(struct mm *mm, uint64_t addr, uint64_t size, int flags, bool huge) REQUIRES(L_MM);

/* What the platform is told of v: fd, offset and flags of the part of it at addr. */
int mm_host_map(struct cpu *cpu, const struct vma *v, uint64_t addr, uint64_t size);
/* Executes what is queued if the change was large; 0 or the error. */
int mm_settle(struct mm *mm, struct cpu *cpu, uint64_t size) REQUIRES(L_MM);
/*
 * Faults the range in, as mlock and MAP_POPULATE do. -ENOMEM: some page cannot be; for mmap that does not matter. Only what is
 * mapped when its turn comes.
 */
int mm_populate(struct mm *mm, struct cpu *cpu, uint64_t addr, uint64_t size);
