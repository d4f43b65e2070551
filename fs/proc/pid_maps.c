/*
 * /proc/PID/maps, smaps and smaps_rollup: proc_pid_maps(5), proc_pid_smaps(5).
 *
 * Mappings are the sentry's VMA tree, copied under L_MM so that files can be named without it. Pages are the host kernel's: how many there are is what the host
 * says of the stub process, by mapping of its own (platform/hostproc.h). Both lists are in the order of addresses, so that one pass over the
 * host's sums up what lies within each of ours. The host may have merged what the guest sees as two mappings (they differ in a lock or an advice
 * that only the sentry knows); then their pages are counted one by one, where that tells. What is not known is not shown: no line says
 * 0 for want of knowledge.
 *
 * "Shared" and the proportional sizes count every process of the host's that maps a page, as Linux does. Pages are locked where the guest locked
 * them; the host is not asked to.
 */
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/fs_struct.h"
#include "fs/path.h"
#include "fs/proc/proc.h"
#include "platform/hostproc.h"
#include "platform/platform.h"
#include "sentry/base/slab.h"
#include "sentry/mm.h"
#include "sentry/task.h"

#define SNAPSHOT_EXTRA 16
#define KNOWN(m, size) ((m)->known >> (size)&1)

struct vma_snapshot {
	struct vma *vmas; /* kalloc'ed; files are references */
	size_t count, room;
};

/* ---- the mappings ---- */

static bool snapshot_add(const struct vma *v, void *arg)
{
	struct vma_snapshot *snap = arg;

	if (snap->count == snap->room)
		return false;
	snap->vmas[snap->count] = *v;
	if (v->file)
		file_get(v->file);
	snap->count++;
	return true;
}

/* The platform's own pages that a guest may know of. They lie above all others. */
static void snapshot_add_vdso(struct vma_snapshot *snap)
{
	const struct platform_vdso *p = platform->vdso ? platform->vdso() : NULL;
	struct vma v = {.flags = MAP_PRIVATE};

	if (!p || !p->vdso_size || !snap->count)
		return;
	v.start = p->vvar;
	v.end = p->vvar + p->vvar_size;
	v.prot = v.max_prot = PROT_READ;
	v.name = "[vvar]";
	snapshot_add(&v, snap);
	v.start = p->ehdr;
	v.end = p->ehdr + p->vdso_size;
	v.prot = v.max_prot = PROT_READ | PROT_EXEC;
	v.name = "[vdso]";
	snapshot_add(&v, snap);
}

/* 0 with the mappings of a task, -ENOMEM. A process that has ended has none. */
static int snapshot_take(struct task *t, struct vma_snapshot *snap)
{
	struct mm *mm = task_get_mm(t);

	*snap = (struct vma_snapshot){0};
	if (!mm)
		return 0;
	snap->room = mm->vmas.count + SNAPSHOT_EXTRA;
	snap->vmas = kalloc(snap->room * sizeof(struct vma));
	if (snap->vmas) {
		mm_for_each(mm, snapshot_add, snap);
		snapshot_add_vdso(snap);
	}
	mm_put(mm);
	return snap->vmas ? 0 : -ENOMEM;
}

static void snapshot_finish(struct vma_snapshot *snap)
{
	for (size_t i = 0; i < snap->count; i++)
		file_put(snap->vmas[i].file);
	if (snap->vmas)
		kfree(snap->vmas, snap->room * sizeof(struct vma));
}

/* root: the reader's. */
static void show_vma(struct seq *s, const struct vma *v, const struct path *root, char *buf)
{
	size_t start = s->len;
	const char *name = v->name;
	int err;

	seq_printf(s, "%08" PRIx64 "-%08" PRIx64 " %c%c%c%c %08" PRIx64 " %02x:%02x %" PRIu64 " ", v->start, v->end,
		   v->prot & PROT_READ ? 'r' : '-', v->prot & PROT_WRITE ? 'w' : '-', v->prot & PROT_EXEC ? 'x' : '-',
		   v->flags & MAP_SHARED ? 's' : 'p', v->file ? v->off : 0,
		   v->file ? major(v->file->inode->super->dev) : 0, v->file ? minor(v->file->inode->super->dev) : 0,
		   v->file ? v->file->inode->ino : 0);
	if (!name && v->file)
		name = path_to_string(&v->file->path, root, buf, PATH_MAX, &err);
	if (name && *name) {
		seq_pad(s, start, 73);
		seq_escape(s, name, "\n");
	}
	seq_puts(s, "\n");
}

/* ---- their sizes ---- */

static void sizes_add(struct host_map *to, const struct host_map *m)
{
	to->known |= m->known;
	for (unsigned i = 0; i < HOST_SIZES; i++)
		to->kb[i] += m->kb[i];
}

/* The size of what is locked in v, whose sizes are m's. */
static void sizes_lock(struct host_map *m, const struct vma *v)
{
	if (KNOWN(m, HOST_PSS))
		m->known |= 1u << HOST_LOCKED;
	m->kb[HOST_LOCKED] = v->flags & MAP_LOCKED ? m->kb[HOST_PSS] : 0;
}

static void sizes_show(struct seq *s, const struct host_map *m)
{
	for (unsigned i = 0; i < HOST_SIZES; i++) {
		size_t start = s->len;

		if (!KNOWN(m, i))
			continue;
		seq_printf(s, "%s:", hostproc_size_names[i]);
		seq_pad(s, start, 16);
		seq_printf(s, "%8" PRIu64 " kB\n", m->kb[i]);
	}
}

/* The flags that the sentry has, in Linux's order; it does not know of others. */
static void flags_show(struct seq *s, const struct vma *v)
{
	bool shared = v->flags & MAP_SHARED;
	const struct {
		bool set;
		const char *name;
	} flags[] = {
	    {v->prot & PROT_READ, "rd "},      {v->prot & PROT_WRITE, "wr "},
	    {v->prot & PROT_EXEC, "ex "},      {shared && v->max_prot & PROT_WRITE, "sh "},
	    {v->max_prot & PROT_READ, "mr "},  {v->max_prot & PROT_WRITE, "mw "},
	    {v->max_prot & PROT_EXEC, "me "},  {shared, "ms "},
	    {v->flags & MAP_GROWSDOWN, "gd "}, {v->flags & MAP_LOCKED, "lo "},
	    {v->advice & VMA_DONTFORK, "dc "}, {v->flags & MAP_LOCKED && v->advice & VMA_LOCK_ONFAULT, "lf "},
	    {v->flags & MAP_NORESERVE, "nr "}, {v->advice & VMA_WIPEONFORK, "wf "},
	    {v->advice & VMA_DONTDUMP, "dd "},
	};

	seq_puts(s, "VmFlags: ");
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (flags[i].set)
			seq_puts(s, flags[i].name);
	seq_puts(s, "\n");
}

/* The pass over the host's mappings. */
struct smaps {
	struct seq *s;
	const struct path *root;
	char *buf; /* PATH_MAX */
	const struct vma_snapshot *snap;
	size_t at;             /* the mapping whose sizes are being summed up... */
	struct host_map sizes; /* ...here */
	uint64_t mixed_to;     /* what begins below this shares a host mapping with a neighbour */
	int pagemap;
};

/* The sizes of v are complete: shows it. */
static void smaps_show_one(struct smaps *w)
{
	const struct vma *v = &w->snap->vmas[w->at++];
	uint64_t kb = (v->end - v->start) >> 10;
	uint32_t known = w->sizes.known;

	show_vma(w->s, v, w->root, w->buf);
	seq_printf(w->s, "Size:           %8" PRIu64 " kB\nKernelPageSize: %8lu kB\nMMUPageSize:    %8lu kB\n", kb,
		   PAGE_SIZE >> 10, PAGE_SIZE >> 10);
	if (v->start >= w->mixed_to || hostproc_pages(w->pagemap, v->start, v->end, &w->sizes) == 0) {
		sizes_lock(&w->sizes, v);
		sizes_show(w->s, &w->sizes);
	}
	flags_show(w->s, v);
	w->sizes = (struct host_map){.known = known};
}

static bool smaps_add(const struct host_map *m, void *arg)
{
	struct smaps *w = arg;
	const struct vma *v;

	w->sizes.known |= m->known;
	while (w->at < w->snap->count && w->snap->vmas[w->at].end <= m->start)
		smaps_show_one(w);
	if (w->at == w->snap->count)
		return false;
	v = &w->snap->vmas[w->at];
	if (m->start >= v->start && m->end <= v->end)
		sizes_add(&w->sizes, m);
	else if (m->end > v->start)
		w->mixed_to = m->end;
	return true;
}

static int smaps_walk(struct task *t, struct smaps *w)
{
	int fd = task_account(t, "smaps"), err = fd;

	w->pagemap = task_account(t, "pagemap");
	if (fd >= 0) {
		err = hostproc_smaps(fd, smaps_add, w);
		close(fd);
	}
	if (err)
		w->mixed_to = UINT64_MAX;
	while (w->at < w->snap->count)
		smaps_show_one(w);
	if (w->pagemap >= 0)
		close(w->pagemap);
	return err == -ENOMEM ? err : 0;
}

static int show_mappings(struct ctx *c, const struct pseudo_ref *r, struct seq *s, bool with_sizes)
{
	struct task *t = proc_task(r);
	PATH_REF root = {NULL, NULL};
	struct vma_snapshot snap;
	char *buf;
	int err = t ? snapshot_take(t, &snap) : -ESRCH;

	if (err) {
		task_put(t);
		return err;
	}
	fs_get_root(c, &root);
	buf = kalloc(PATH_MAX);
	if (!buf) {
		err = -ENOMEM;
	} else if (with_sizes && snap.count) {
		err = smaps_walk(t, &(struct smaps){.s = s, .root = &root, .buf = buf, .snap = &snap});
	} else {
		for (size_t i = 0; i < snap.count; i++)
			show_vma(s, &snap.vmas[i], &root, buf);
	}
	snapshot_finish(&snap);
	if (buf)
		kfree(buf, PATH_MAX);
	task_put(t);
	return err;
}

int proc_pid_maps_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	return show_mappings(c, r, s, false);
}

int proc_pid_smaps_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	return show_mappings(c, r, s, true);
}

/* ---- their sum ---- */

struct rollup {
	const struct vma_snapshot *snap;
	size_t at;
	struct host_map sum;
};

static bool rollup_add(const struct host_map *m, void *arg)
{
	struct rollup *sum = arg;
	const struct vma *v;
	uint64_t locked;

	while (sum->at < sum->snap->count && sum->snap->vmas[sum->at].end <= m->start)
		sum->at++;
	if (sum->at == sum->snap->count)
		return false;
	v = &sum->snap->vmas[sum->at];
	if (m->end <= v->start)
		return true;
	locked = sum->sum.kb[HOST_LOCKED] + (v->flags & MAP_LOCKED ? m->kb[HOST_PSS] : 0);
	sizes_add(&sum->sum, m);
	sum->sum.kb[HOST_LOCKED] = locked;
	return true;
}

static int rollup_walk(struct task *t, struct rollup *sum)
{
	int fd = task_account(t, "smaps"), err;

	if (fd < 0)
		return 0;
	err = hostproc_smaps(fd, rollup_add, sum);
	close(fd);
	if (err)
		sum->sum.known = 0;
	return err == -ENOMEM ? err : 0;
}

int proc_pid_smaps_rollup_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	struct task *t = proc_task(r);
	struct vma_snapshot snap;
	struct rollup sum = {.snap = &snap};
	int err = t ? snapshot_take(t, &snap) : -ESRCH;

	if (!err && !snap.count)
		err = -ESRCH;
	else if (!err)
		err = rollup_walk(t, &sum);
	if (!err) {
		size_t start = s->len;

		seq_printf(s, "%08" PRIx64 "-%08" PRIx64 " ---p 00000000 00:00 0", snap.vmas[0].start,
			   snap.vmas[snap.count - 1].end);
		seq_pad(s, start, 73);
		seq_puts(s, "[rollup]\n");
		sizes_show(s, &sum.sum);
	}
	if (t)
		snapshot_finish(&snap);
	task_put(t);
	return err;
}
