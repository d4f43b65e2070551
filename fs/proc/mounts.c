/* /proc/PID/mounts, mountinfo, mountstats: the mounts that the process can reach from its root. proc_pid_mountinfo(5). */
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "fs/fs_struct.h"
#include "fs/path.h"
#include "fs/proc/proc.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"

enum mounts_style { MOUNTS, MOUNTINFO, MOUNTSTATS };

struct mount_option {
	uint64_t flag;
	const char *text;
};

static const struct mount_option mount_options[] = {
    {MS_NOSUID, ",nosuid"},   {MS_NODEV, ",nodev"},           {MS_NOEXEC, ",noexec"},
    {MS_NOATIME, ",noatime"}, {MS_NODIRATIME, ",nodiratime"}, {MS_RELATIME, ",relatime"},
};

static void show_flags(struct seq *s, const struct mount *m)
{
	seq_puts(s, m->flags & MS_RDONLY || m->super->read_only ? "ro" : "rw");
	for (size_t i = 0; i < ARRAY_SIZE(mount_options); i++)
		if (m->flags & mount_options[i].flag)
			seq_puts(s, mount_options[i].text);
}

static void show_super_options(struct seq *s, const struct mount *m)
{
	char more[512] = "";

	if (m->super->ops->show_options)
		m->super->ops->show_options(m->super, more, sizeof(more));
	seq_puts(s, more);
}

static const char *source_of(const struct mount *m)
{
	return m->source && *m->source ? m->source : "none";
}

/* The path of a mount's root inside its own file system. */
static void show_fs_root(struct seq *s, const struct mount *m)
{
	struct dentry *chain[64];
	size_t n = 0;

	for (struct dentry *d = m->root; d->parent != d && n < ARRAY_SIZE(chain); d = d->parent)
		chain[n++] = d;
	if (n == 0)
		seq_puts(s, "/");
	while (n-- > 0) {
		seq_puts(s, "/");
		seq_escape(s, chain[n]->name, " \t\n");
	}
}

static void show_mount(struct seq *s, const struct mount *m, const char *at, enum mounts_style style)
{
	if (style == MOUNTINFO) {
		seq_printf(s, "%d %d %u:%u ", m->id, m->parent ? m->parent->id : m->id, major(m->super->dev),
			   minor(m->super->dev));
		show_fs_root(s, m);
		seq_puts(s, " ");
		seq_escape(s, at, " \t\n");
		seq_puts(s, " ");
		show_flags(s, m);
		seq_printf(s, "%s - %s ", m->propagation == MS_SHARED ? " shared:1" : "", m->super->ops->name);
		seq_escape(s, source_of(m), " \t\n");
		seq_puts(s, m->super->read_only ? " ro" : " rw");
		show_super_options(s, m);
		seq_puts(s, "\n");
		return;
	}
	if (style == MOUNTSTATS)
		seq_puts(s, "device ");
	seq_escape(s, source_of(m), " \t\n");
	seq_puts(s, style == MOUNTSTATS ? " mounted on " : " ");
	seq_escape(s, at, " \t\n");
	seq_printf(s, style == MOUNTSTATS ? " with fstype %s\n" : " %s ", m->super->ops->name);
	if (style == MOUNTSTATS)
		return;
	show_flags(s, m);
	show_super_options(s, m);
	seq_puts(s, " 0 0\n");
}

static int mounts_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s, enum mounts_style style)
{
	struct task *t = proc_task(r);
	struct fs_struct *fs = t ? task_get_fs(t) : NULL;
	PATH_REF root = {NULL, NULL};
	char *buf = kalloc(PATH_MAX);
	struct mount **all = NULL;
	size_t n = 0;
	int err = 0;

	task_put(t);
	if (fs) {
		mutex_lock(&fs->lock, L_FDTABLE);
		root = fs->root;
		path_get(&root);
		mutex_unlock(&fs->lock, L_FDTABLE);
		all = mnt_ns_snapshot(c->mnt_ns, &n);
	}
	fs_struct_put(fs);
	for (size_t i = 0; i < n; i++) {
		struct path p = {all[i], all[i]->root};
		char *at = buf ? path_to_string(&p, &root, buf, PATH_MAX, &err) : NULL;

		if (at && *at == '/')
			show_mount(s, all[i], at, style);
	}
	mounts_put(all, n);
	if (buf)
		kfree(buf, PATH_MAX);
	return 0;
}

int proc_pid_mounts_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	return mounts_show(c, r, s, MOUNTS);
}

int proc_pid_mountinfo_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	return mounts_show(c, r, s, MOUNTINFO);
}

int proc_pid_mountstats_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	return mounts_show(c, r, s, MOUNTSTATS);
}
