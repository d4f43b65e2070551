/* What /proc/PID shows of the contents of a process's memory: cmdline, environ, auxv and mem itself. Its mappings are in pid_maps.c. */
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
