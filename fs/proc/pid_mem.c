/*
 * What /proc/PID shows of a process's memory: maps, smaps_rollup, cmdline, environ, auxv and mem itself. Mappings are the sentry's VMA tree; resident sizes
 * are known for the whole address space only, so that there is a roll-up but no smaps.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "fs/fs_struct.h"
#include "fs/path.h"
#include "fs/proc/proc.h"
#include "platform/platform.h"
#include "sentry/base/slab.h"
#include "sentry/mm.h"
#include "sentry/task.h"

/* A copy of the tree: files are named after L_MM is dropped. */
struct vma_snapshot {
	struct vma *vmas; /* kalloc'ed; files are references */
	size_t count, room;
};

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

/* 0 with the mappings of r's process, -ESRCH, -ENOMEM. A process that has ended has none. */
static int snapshot_take(const struct pseudo_ref *r, struct vma_snapshot *snap)
{
	struct task *t = proc_task(r);
	struct mm *mm = t ? task_get_mm(t) : NULL;

	*snap = (struct vma_snapshot){0};
	task_put(t);
	if (!t)
		return -ESRCH;
	if (!mm)
		return 0;
	snap->room = mm->vmas.count + 16;
	snap->vmas = kalloc(snap->room * sizeof(struct vma));
	if (snap->vmas)
		mm_for_each(mm, snapshot_add, snap);
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

/* The platform's own pages that a guest may know of. */
static void show_vdso(struct seq *s)
{
	const struct platform_vdso *v = platform->vdso ? platform->vdso() : NULL;
	size_t start;

	if (!v || !v->vdso_size)
		return;
	start = s->len;
	seq_printf(s, "%08" PRIx64 "-%08" PRIx64 " r--p 00000000 00:00 0", v->vvar, v->vvar + v->vvar_size);
	seq_pad(s, start, 73);
	seq_puts(s, "[vvar]\n");
	start = s->len;
	seq_printf(s, "%08" PRIx64 "-%08" PRIx64 " r-xp 00000000 00:00 0", v->ehdr, v->ehdr + v->vdso_size);
	seq_pad(s, start, 73);
	seq_puts(s, "[vdso]\n");
}

int proc_pid_maps_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	PATH_REF root = {NULL, NULL};
	struct vma_snapshot snap;
	int err = snapshot_take(r, &snap);
	char *buf = kalloc(PATH_MAX);

	if (!err && !buf)
		err = -ENOMEM;
	fs_get_root(c, &root);
	for (size_t i = 0; !err && i < snap.count; i++)
		show_vma(s, &snap.vmas[i], &root, buf);
	if (!err && snap.count)
		show_vdso(s);
	snapshot_finish(&snap);
	if (buf)
		kfree(buf, PATH_MAX);
	return err;
}

int proc_pid_smaps_rollup_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	struct task *t = proc_task(r);
	uint64_t rss = 0;

	if (!t)
		return -ESRCH;
	(void)task_rss(t, &rss);
	task_put(t);
	seq_printf(s, "00010000-7fff00000000 ---p 00000000 00:00 0                              [rollup]\n");
	seq_printf(
	    s, "Rss:            %8" PRIu64 " kB\nPss:            %8" PRIu64 " kB\nPrivate_Dirty:  %8" PRIu64 " kB\n",
	    rss >> 10, rss >> 10, rss >> 10);
	return 0;
}

/* A range of the process's memory, as much of it as is readable, up to a bound. */
static int range_show(struct task *t, struct seq *s, uint64_t start, uint64_t end)
{
	char chunk[1024];

	for (end = MIN(end, start + (1ul << 20)); start < end;) {
		ssize_t n = task_peek(t, chunk, start, MIN(end - start, sizeof(chunk)));

		if (n <= 0)
			break;
		seq_write(s, chunk, (size_t)n);
		start += (size_t)n;
	}
	return 0;
}

static int strings_show(const struct pseudo_ref *r, struct seq *s, bool of_environ)
{
	struct task *t = proc_task(r);
	struct mm *mm = t ? task_get_mm(t) : NULL;
	uint64_t start = 0, end = 0;

	if (mm) {
		mutex_lock(&mm->lock, L_MM);
		start = of_environ ? mm->env_start : mm->arg_start;
		end = of_environ ? mm->env_end : mm->arg_end;
		mutex_unlock(&mm->lock, L_MM);
		range_show(t, s, start, end);
	}
	mm_put(mm);
	task_put(t);
	return 0;
}

int proc_pid_cmdline_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return strings_show(r, s, false);
}

int proc_pid_environ_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return strings_show(r, s, true);
}

int proc_pid_auxv_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	struct task *t = proc_task(r);
	struct mm *mm = t ? task_get_mm(t) : NULL;
	size_t n = 0;

	task_put(t);
	if (!mm)
		return 0;
	while (n + 2 < ARRAY_SIZE(mm->auxv) && mm->auxv[n])
		n += 2;
	seq_write(s, mm->auxv, (n + 2) * sizeof(mm->auxv[0]));
	mm_put(mm);
	return 0;
}

/* /proc/PID/mem: the process's memory at the file's position, through its own protections. */

static ssize_t mem_copy(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos, bool write)
{
	struct task *t = proc_task(pseudo_inode_ref(f->inode));
	int err = t ? proc_may_read(c, t) : 0;
	ssize_t done = 0;
	char chunk[4096];

	while (!err && t && iobuf_left(b)) {
		size_t want = MIN(iobuf_left(b), sizeof(chunk));
		ssize_t n = write ? iobuf_get(b, chunk, want) : task_peek(t, chunk, (uint64_t)*pos, want);

		if (n > 0 && write)
			n = task_poke(t, (uint64_t)*pos, chunk, (size_t)n);
		else if (n > 0)
			n = iobuf_put(b, chunk, (size_t)n);
		if (n <= 0) {
			err = done ? 0 : n == -EFAULT || n == 0 ? -EIO : (int)n;
			break;
		}
		done += n;
		*pos += n;
	}
	task_put(t);
	return err ? err : done;
}

static ssize_t mem_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	return mem_copy(c, f, b, pos, false);
}

static ssize_t mem_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	return mem_copy(c, f, b, pos, true);
}

static off_t mem_llseek(struct ctx *c __unused, struct file *f, off_t off, int whence)
{
	if (whence != SEEK_SET && whence != SEEK_CUR)
		return -EINVAL;
	f->pos = whence == SEEK_SET ? off : f->pos + off;
	return f->pos;
}

const struct file_ops proc_mem_fops = {.read = mem_read, .write = mem_write, .llseek = mem_llseek};
