/*
 * System V shared memory: shmget(2), shmop(2), shmctl(2).
 *
 * A segment is a nameless file of the internal tmpfs (fs/tmp), so that its memory counts as that of other files in memory does. Each shmat() opens it once
 * more, with ops of our own, and maps that: the open file is what shmdt() knows an attachment by, and what the mapping layer tells (map_open,
 * map_close) whenever a part of an address space begins or ceases to map it: fork, munmap of a part, mremap, exec and exit need
 * nothing else. shm_nattch counts those parts, as on Linux.
 *
 * map_open comes with an address space locked, so L_IPC is ordered after L_MM. Files are made and released without L_IPC: a segment is
 * counted, by the table of ids and by each open file. A segment that was removed while attached (SHM_DEST) keeps its id, but not its
 * key, until the last mapping goes.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/personality.h>

#include "fs/file.h"
#include "fs/tmp/tmpfs.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/ipc.h"
#include "sentry/mm.h"
#include "sentry/system.h"
#include "sentry/task.h"

#ifndef F_SEAL_SEAL
#define F_SEAL_SEAL 1
#endif
#define HUGE_SHIFT_2M 21
#define HUGE_SHIFT_1G 30

/* What shmget() asks for and then needs: a file that can only be made without the lock. */
#define NEEDS_FILE (-EINPROGRESS)

struct shm_segment {
	struct kern_ipc_perm perm; /* first member; what follows is L_IPC where it changes */
	struct ref ref;
	struct file *file; /* a reference */
	uint64_t size;
	int64_t atime, dtime, ctime;
	int32_t cpid, lpid;
	uint64_t attached; /* parts of address spaces, and calls that are about to map it */
	uint32_t locker;   /* the user who locked it, if SHM_LOCKED */
};

/* The priv of an attachment's file. */
struct shm_attachment {
	struct ipc_namespace *ns;    /* a reference */
	struct shm_segment *segment; /* a reference */
};

static struct slab segment_slab = SLAB_INIT(struct shm_segment);
static struct slab attachment_slab = SLAB_INIT(struct shm_attachment);

static struct shm_segment *segment_of(struct kern_ipc_perm *p)
{
	return p ? container_of(p, struct shm_segment, perm) : NULL;
}

static uint64_t pages_of(uint64_t size)
{
	return PAGE_UP(size) >> PAGE_SHIFT;
}

static struct shm_segment *segment_get(struct shm_segment *s)
{
	ref_get(&s->ref);
	return s;
}

static void segment_put(struct shm_segment *s)
{
	if (!s || !ref_put(&s->ref))
		return;
	file_put(s->file);
	slab_free(&segment_slab, s);
	ipc_uncharge(sizeof(*s));
}

/* The table's reference is the caller's to put. */
static void segment_unlink(struct ipc_namespace *ns, struct shm_segment *s) REQUIRES(L_IPC)
{
	ipc_remove(&ns->ids[IPC_SHM], &s->perm);
	ns->shm_pages -= pages_of(s->size);
}

/* IPC_RMID. True: nobody has it, the table's reference is the caller's. */
static bool segment_remove(struct ipc_namespace *ns, struct shm_segment *s) REQUIRES(L_IPC)
{
	if (s->attached) {
		ipc_forget_key(&s->perm);
		s->perm.mode |= SHM_DEST;
		return false;
	}
	segment_unlink(ns, s);
	return true;
}

/* One user fewer. */
static void segment_unuse(struct ipc_namespace *ns, struct shm_segment *s, bool was_mapped) EXCLUDES(L_IPC)
{
	bool last;

	ipc_lock(ns);
	if (was_mapped) {
		s->dtime = ipc_now();
		s->lpid = ipc_current_tgid;
	}
	last = --s->attached == 0 && s->perm.mode & SHM_DEST && !s->perm.deleted;
	if (last)
		segment_unlink(ns, s);
	ipc_unlock(ns);
	if (last)
		segment_put(s);
}

void shm_clear(struct ipc_namespace *ns)
{
	struct ipc_ids *ids = &ns->ids[IPC_SHM];

	for (unsigned i = 0; i < ids->room; i++) {
		struct shm_segment *s;

		ipc_lock(ns);
		s = segment_of(ids->table[i]);
		if (s && !segment_remove(ns, s))
			s = NULL;
		ipc_unlock(ns);
		segment_put(s);
	}
}

/* ---- the open file of an attachment ---- */

static void attachment_map_open(struct file *f)
{
	struct shm_attachment *a = f->priv;

	ipc_lock(a->ns);
	a->segment->attached++;
	a->segment->atime = ipc_now();
	a->segment->lpid = ipc_current_tgid;
	ipc_unlock(a->ns);
}

static void attachment_map_close(struct file *f)
{
	struct shm_attachment *a = f->priv;

	segment_unuse(a->ns, a->segment, true);
}

static int attachment_mmap(struct ctx *c, struct file *f, uint64_t off, size_t size, int prot, int flags,
			   struct file_backing *ret)
{
	const struct shm_attachment *a = f->priv;

	return a->segment->file->ops->mmap(c, f, off, size, prot, flags, ret);
}

static void attachment_release(struct file *f)
{
	struct shm_attachment *a = f->priv;

	segment_put(a->segment);
	ipc_ns_put(a->ns);
	slab_free(&attachment_slab, a);
}

static const struct file_ops attachment_ops = {
    .mmap = attachment_mmap,
    .map_open = attachment_map_open,
    .map_close = attachment_map_close,
    .release = attachment_release,
};

/* A file of its own over the segment's memory. */
static int attachment_create(struct task *t, struct shm_segment *s, int access, struct file **ret)
{
	struct shm_attachment *a = slab_alloc(&attachment_slab);
	struct file *f = a ? file_create(&s->file->path, &attachment_ops, access, t->ctx.cred) : NULL;

	if (!f) {
		slab_free(&attachment_slab, a);
		return -ENOMEM;
	}
	a->ns = ipc_ns_get(t->ipc_ns);
	a->segment = segment_get(s);
	f->priv = a;
	f->opened = true;
	if (access != O_RDONLY)
		__atomic_fetch_add((int32_t *)&f->inode->write_count, 1, __ATOMIC_ACQ_REL);
	*ret = f;
	return 0;
}

/* ---- shmget ---- */

struct shm_params {
	struct task *t;
	uint64_t size;
	struct shm_segment *new; /* made in advance; taken */
};

/* SHM_HUGETLB: a machine that reserved no huge pages. */
static int refuse_huge(const struct ipc_get_request *r)
{
	const struct shm_params *p = r->params;
	unsigned shift = ((unsigned)r->flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK;

	if (shift && shift != HUGE_SHIFT_2M && shift != HUGE_SHIFT_1G)
		return -EINVAL;
	if (p->size > task_rlimit(p->t, RLIMIT_MEMLOCK) && !cred_capable(r->cred, CAP_IPC_LOCK))
		return -EPERM;
	return -ENOMEM;
}

static int check_size(struct ipc_namespace *ns, const struct ipc_get_request *r, uint64_t size) REQUIRES(L_IPC)
{
	uint64_t pages = pages_of(size);

	if (size < 1 || size > ns->limits.shmmax)
		return -EINVAL;
	if (pages << PAGE_SHIFT < size)
		return -ENOSPC;
	if (ns->shm_pages + pages < pages || ns->shm_pages + pages > ns->limits.shmall)
		return -ENOSPC;
	if (r->flags & SHM_HUGETLB)
		return refuse_huge(r);
	if (size > INT64_MAX)
		return -EINVAL;
	return !(r->flags & SHM_NORESERVE) && size > machine.memory_total ? -ENOMEM : 0;
}

static int segment_create(struct ipc_namespace *ns, const struct ipc_get_request *r) REQUIRES(L_IPC)
{
	struct shm_params *p = r->params;
	struct shm_segment *s = p->new;
	int err = check_size(ns, r, p->size);
	int id;

	if (err)
		return err;
	if ((int)ns->ids[IPC_SHM].in_use >= ns->limits.shmmni)
		return -ENOSPC;
	if (!s)
		return NEEDS_FILE;
	s->perm.key = r->key;
	s->perm.mode = (uint32_t)r->flags & 0777;
	id = ipc_add(&ns->ids[IPC_SHM], &s->perm, r->cred, ns->limits.shmmni);
	if (id < 0)
		return id;
	s->file->inode->ino = (uint64_t)id; /* as /proc/PID/maps shows it */
	ns->shm_pages += pages_of(s->size);
	p->new = NULL;
	return id;
}

static int segment_check(const struct kern_ipc_perm *perm, const struct ipc_get_request *r) REQUIRES(L_IPC)
{
	const struct shm_params *p = r->params;

	return container_of(perm, const struct shm_segment, perm)->size < p->size ? -EINVAL : 0;
}

static int segment_alloc(struct task *t, int32_t key, uint64_t size, struct shm_segment **ret)
{
	struct shm_segment *s = ipc_charge(sizeof(*s)) ? slab_alloc(&segment_slab) : NULL;
	char name[16];
	int err;

	if (!s)
		return -ENOMEM;
	snprintf(name, sizeof(name), "SYSV%08x", (unsigned)key);
	err = tmpfs_file_create(&t->ctx, name, size, O_RDWR, F_SEAL_SEAL, &s->file);
	if (err) {
		slab_free(&segment_slab, s);
		ipc_uncharge(sizeof(*s));
		return err == -EFBIG ? -EINVAL : err;
	}
	ref_init(&s->ref);
	s->size = size;
	s->ctime = ipc_now();
	s->cpid = t->ctx.tgid;
	*ret = s;
	return 0;
}

sysret_t shm_get(struct task *t, int32_t key, size_t size, int flags)
{
	struct shm_params p = {.t = t, .size = size};
	struct ipc_get_request r = {
	    .key = key,
	    .flags = flags,
	    .cred = t->ctx.cred,
	    .params = &p,
	    .create = segment_create,
	    .check = segment_check,
	};
	int ret = ipc_get(t->ipc_ns, IPC_SHM, &r);
	int err;

	if (ret != NEEDS_FILE)
		return ret;
	if ((err = segment_alloc(t, key, size, &p.new)))
		return err;
	ret = ipc_get(t->ipc_ns, IPC_SHM, &r);
	segment_put(p.new);
	return ret;
}

/* ---- shmat, shmdt ---- */

struct shm_access {
	int prot, open_flags;
	unsigned permission;
};

static struct shm_access access_of(struct task *t, int flags)
{
	struct shm_access a = {PROT_READ | PROT_WRITE, O_RDWR, IPC_READ | IPC_WRITE};

	if (flags & SHM_RDONLY)
		a = (struct shm_access){PROT_READ, O_RDONLY, IPC_READ};
	if (flags & SHM_EXEC) {
		a.prot |= PROT_EXEC;
		a.permission |= 0111;
	}
	if (t->tg->personality & READ_IMPLIES_EXEC)
		a.prot |= PROT_EXEC;
	return a;
}

/* Where; *ret_flags: mmap's. */
static int place(uint64_t *addr, int flags, int *ret_flags)
{
	*ret_flags = MAP_SHARED;
	if (!*addr)
		return flags & SHM_REMAP ? -EINVAL : 0;
	if (*addr & ~PAGE_MASK) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		*addr &= PAGE_MASK;
		if (!*addr && flags & SHM_REMAP)
			return -EINVAL;
	}
	*ret_flags |= flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	return 0;
}

/* Found and permitted; in use from here on. A reference. */
static struct shm_segment *segment_use(struct task *t, int id, unsigned permission, int *ret_err)
{
	struct shm_segment *s;

	ipc_lock(t->ipc_ns);
	s = segment_of(ipc_find(&t->ipc_ns->ids[IPC_SHM], id, ret_err));
	if (s && (*ret_err = ipc_permits(&s->perm, t->ctx.cred, permission)))
		s = NULL;
	if (s) {
		segment_get(s);
		s->attached++;
	}
	ipc_unlock(t->ipc_ns);
	return s;
}

static sysret_t map_segment(struct task *t, struct shm_segment *s, uint64_t addr, const struct shm_access *a,
			    int map_flags)
{
	FILE_REF f = NULL;
	sysret_t ret;
	int err;

	if (map_flags != MAP_SHARED && addr + s->size < addr)
		return -EINVAL;
	if ((err = attachment_create(t, s, a->open_flags, &f)))
		return err;
	ret = mm_map(t->mm, &t->ctx, t->cpu, addr, s->size, a->prot, map_flags, f, 0);
	return ret == -EEXIST ? -EINVAL : ret;
}

sysret_t shm_attach(struct task *t, int id, uint64_t addr, int flags)
{
	struct shm_access a = access_of(t, flags);
	struct shm_segment *s;
	int map_flags, err;
	sysret_t ret;

	if (id < 0)
		return -EINVAL;
	if ((err = place(&addr, flags, &map_flags)))
		return err;
	s = segment_use(t, id, a.permission, &err);
	if (!s)
		return err;
	ret = map_segment(t, s, addr, &a, map_flags);
	segment_unuse(t->ipc_ns, s, false);
	segment_put(s);
	return ret;
}

sysret_t shm_detach(struct task *t, uint64_t addr)
{
	return mm_detach(t->mm, t->cpu, addr, &attachment_ops);
}

/* ---- shmctl ---- */

sysret_t shm_stat(struct ipc_namespace *ns, const struct cred *cred, int id, bool by_index, bool any,
		  struct shmid_ds *ret, uint64_t *ret_rss)
{
	struct shm_segment *s;
	int err;

	ipc_lock(ns);
	s = segment_of(ipc_stat_find(ns, IPC_SHM, id, by_index, any, cred, &err));
	if (s) {
		*ret = (struct shmid_ds){
		    .shm_segsz = s->size,
		    .shm_atime = s->atime,
		    .shm_dtime = s->dtime,
		    .shm_ctime = s->ctime,
		    .shm_cpid = s->cpid,
		    .shm_lpid = s->lpid,
		    .shm_nattch = s->attached,
		};
		ipc_perm_show(&s->perm, &ret->shm_perm);
		err = s->perm.id;
		segment_get(s);
	}
	ipc_unlock(ns);
	if (s && ret_rss)
		*ret_rss = tmpfs_file_bytes(s->file);
	segment_put(s);
	return err;
}

sysret_t shm_set(struct task *t, int id, const struct ipc_perm *to)
{
	struct ipc_namespace *ns = t->ipc_ns;
	struct shm_segment *s;
	int err;

	ipc_lock(ns);
	s = segment_of(ipc_control_find(&ns->ids[IPC_SHM], id, t->ctx.cred, &err));
	if (s && !(err = ipc_perm_set(&s->perm, to)))
		s->ctime = ipc_now();
	ipc_unlock(ns);
	return err;
}

sysret_t shm_remove(struct task *t, int id)
{
	struct ipc_namespace *ns = t->ipc_ns;
	struct shm_segment *s;
	int err;

	ipc_lock(ns);
	s = segment_of(ipc_control_find(&ns->ids[IPC_SHM], id, t->ctx.cred, &err));
	if (s && !segment_remove(ns, s))
		s = NULL;
	ipc_unlock(ns);
	segment_put(s);
	return err;
}

/* What the user has locked already. */
static uint64_t locked_pages(struct ipc_ids *ids, uint32_t uid) REQUIRES(L_IPC)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < ids->room; i++) {
		const struct shm_segment *s = segment_of(ids->table[i]);

		if (s && s->perm.mode & SHM_LOCKED && s->locker == uid)
			pages += pages_of(s->size);
	}
	return pages;
}

static int may_lock(struct task *t, struct shm_segment *s, bool lock) REQUIRES(L_IPC)
{
	const struct cred *cred = t->ctx.cred;
	uint64_t limit = task_rlimit(t, RLIMIT_MEMLOCK);

	if (cred_capable(cred, CAP_IPC_LOCK))
		return 0;
	if (cred->euid != s->perm.uid && cred->euid != s->perm.cuid)
		return -EPERM;
	if (!lock || s->perm.mode & SHM_LOCKED)
		return 0;
	if (!limit)
		return -EPERM;
	if (locked_pages(&t->ipc_ns->ids[IPC_SHM], cred->uid) + pages_of(s->size) > limit >> PAGE_SHIFT)
		return -ENOMEM;
	return 0;
}

sysret_t shm_set_locked(struct task *t, int id, bool lock)
{
	struct shm_segment *s;
	int err;

	ipc_lock(t->ipc_ns);
	s = segment_of(ipc_find(&t->ipc_ns->ids[IPC_SHM], id, &err));
	if (s && !(err = may_lock(t, s, lock))) {
		if (lock && !(s->perm.mode & SHM_LOCKED))
			s->locker = t->ctx.cred->uid;
		s->perm.mode = lock ? s->perm.mode | SHM_LOCKED : s->perm.mode & ~(uint32_t)SHM_LOCKED;
	}
	ipc_unlock(t->ipc_ns);
	return err;
}

int shm_info(struct ipc_namespace *ns, struct shminfo *ret)
{
	int max;

	ipc_lock(ns);
	*ret = (struct shminfo){
	    .shmmax = ns->limits.shmmax,
	    .shmmin = 1,
	    .shmmni = (unsigned long)ns->limits.shmmni,
	    .shmseg = (unsigned long)ns->limits.shmmni,
	    .shmall = ns->limits.shmall,
	};
	max = ipc_max_index(&ns->ids[IPC_SHM]);
	ipc_unlock(ns);
	return MAX(max, 0);
}

int shm_usage(struct ipc_namespace *ns, struct shm_info *ret)
{
	struct shmid_ds ds;
	uint64_t rss;
	int max;

	ipc_lock(ns);
	*ret = (struct shm_info){
	    .used_ids = (int)ns->ids[IPC_SHM].in_use,
	    .shm_tot = ns->shm_pages,
	};
	max = ipc_max_index(&ns->ids[IPC_SHM]);
	ipc_unlock(ns);
	for (int i = 0; i <= max; i++)
		if (shm_stat(ns, NULL, i, true, true, &ds, &rss) >= 0)
			ret->shm_rss += rss >> PAGE_SHIFT;
	return MAX(max, 0);
}
