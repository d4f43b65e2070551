/*
 * /proc/PID/fd and /proc/PID/fdinfo: the open descriptors of a process, as magic links and as text. key[1] is the descriptor.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "fs/path.h"
#include "fs/proc/proc.h"
#include "sentry/task.h"

/* The file at fd of the task of r; a reference, and NULL if there is none. */
static struct file *fd_file(const struct pseudo_ref *r, uint64_t fd)
{
	struct task *t = proc_task(r);
	struct fdtable *fdt = t ? task_get_fdtable(t) : NULL;
	struct file *f = NULL;

	if (fdt && fd <= INT_MAX && fdtable_next(fdt, (int)fd, &f) != (int)fd) {
		file_put(f);
		f = NULL;
	}
	fdtable_put(fdt);
	task_put(t);
	return f;
}

static bool fd_valid(struct ctx *c __unused, const struct pseudo_ref *r)
{
	FILE_REF f = fd_file(r, r->key[1]);

	return f;
}

static int fd_follow(struct ctx *c __unused, const struct pseudo_ref *r, struct path *ret)
{
	FILE_REF f = fd_file(r, r->key[1]);

	if (!f)
		return -ENOENT;
	*ret = f->path;
	path_get(ret);
	return 0;
}

static int fd_readlink(struct ctx *c, const struct pseudo_ref *r, char *buf, size_t size)
{
	FILE_REF f = fd_file(r, r->key[1]);
	PATH_REF root = {NULL, NULL};
	char *text;
	int err = 0;

	if (!f)
		return -ENOENT;
	fs_get_root(c, &root);
	text = path_to_string(&f->path, &root, buf, size, &err);
	if (!text)
		return err;
	memmove(buf, text, strlen(text) + 1);
	return 0;
}

static int fdinfo_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	FILE_REF f = fd_file(r, r->key[1]);
	char more[2048];

	if (!f)
		return -ENOENT;
	seq_printf(s, "pos:\t%" PRId64 "\nflags:\t0%o\nmnt_id:\t%d\nino:\t%" PRIu64 "\n", (int64_t)f->pos,
		   (unsigned)f->flags | O_LARGEFILE, f->path.mnt ? f->path.mnt->id : 0, f->inode->ino);
	if (f->ops->show_fdinfo) {
		more[0] = 0;
		f->ops->show_fdinfo(f, more, sizeof(more));
		seq_puts(s, more);
	}
	return 0;
}

/* A link shows by its permission bits how the file is open. */
static const struct pseudo_node fd_nodes[4] = {
    {.name = "fd", .mode = 0100, .readlink = fd_readlink, .follow = fd_follow, .valid = fd_valid},
    {.name = "fd", .mode = 0500, .readlink = fd_readlink, .follow = fd_follow, .valid = fd_valid},
    {.name = "fd", .mode = 0300, .readlink = fd_readlink, .follow = fd_follow, .valid = fd_valid},
    {.name = "fd", .mode = 0700, .readlink = fd_readlink, .follow = fd_follow, .valid = fd_valid},
};

static const struct pseudo_node fdinfo_node = {.name = "fdinfo", .mode = 0444, .show = fdinfo_show, .valid = fd_valid};

static const struct pseudo_node *fd_node(const struct file *f)
{
	switch (f->flags & O_ACCMODE) {
	case O_RDONLY:
		return &fd_nodes[f->flags & O_PATH ? 0 : 1];
	case O_WRONLY:
		return &fd_nodes[2];
	default:
		return &fd_nodes[3];
	}
}

static int any_lookup(const struct pseudo_ref *dir, const char *name, bool info, struct pseudo_ref *ret)
{
	struct file *f;

	if (!proc_parse_id(name, &ret->key[1]))
		return -ENOENT;
	f = fd_file(dir, ret->key[1]);
	if (!f)
		return -ENOENT;
	ret->node = info ? &fdinfo_node : fd_node(f);
	file_put(f);
	return 0;
}

static bool any_next(const struct pseudo_ref *dir, uint64_t *cursor, char name[32], bool info,
		     const struct pseudo_node **ret)
{
	struct task *t = proc_task(dir);
	struct fdtable *fdt = t ? task_get_fdtable(t) : NULL;
	struct file *f = NULL;
	int fd = fdt && *cursor <= INT_MAX ? fdtable_next(fdt, (int)*cursor, &f) : -1;

	if (fd >= 0) {
		snprintf(name, 32, "%d", fd);
		*cursor = (uint64_t)fd + 1;
		*ret = info ? &fdinfo_node : fd_node(f);
		file_put(f);
	}
	fdtable_put(fdt);
	task_put(t);
	return fd >= 0;
}

static int fd_lookup(struct ctx *c __unused, const struct pseudo_ref *dir, const char *name, struct pseudo_ref *ret)
{
	return any_lookup(dir, name, false, ret);
}

static int fdinfo_lookup(struct ctx *c __unused, const struct pseudo_ref *dir, const char *name, struct pseudo_ref *ret)
{
	return any_lookup(dir, name, true, ret);
}

static bool fd_next(struct ctx *c __unused, const struct pseudo_ref *dir, uint64_t *cursor, char name[32],
		    const struct pseudo_node **ret)
{
	return any_next(dir, cursor, name, false, ret);
}

static bool fdinfo_next(struct ctx *c __unused, const struct pseudo_ref *dir, uint64_t *cursor, char name[32],
			const struct pseudo_node **ret)
{
	return any_next(dir, cursor, name, true, ret);
}

const struct pseudo_dir proc_fd_dir = {.lookup = fd_lookup, .next = fd_next};
const struct pseudo_dir proc_fdinfo_dir = {.lookup = fdinfo_lookup, .next = fdinfo_next};
