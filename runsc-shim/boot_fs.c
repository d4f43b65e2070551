/*
 * The file tree of a new sandbox.
 *
 *	/		the host's directory, read-only, with an overlay on top as --overlay says
 *	/proc /sys /dev	the sandbox's own
 *	/tmp		empty, in memory
 *	cwd		if it lies under /tmp: that directory of the host's with an overlay in memory, since /tmp hides it
 *	--bind --tmpfs	in the order of the command line
 *
 * Mount points that do not exist are made where the tree can be written. The standard mounts are left out where they cannot be; the user's own are an error.
 */
#include "runsc-shim/boot_fs.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "fs/dev/devfs.h"
#include "fs/fs_struct.h"
#include "fs/host/host.h"
#include "fs/overlay/overlay.h"
#include "fs/proc/proc.h"
#include "fs/sys/sysfs.h"
#include "fs/tmp/tmpfs.h"
#include "runsc-shim/boot_resolv.h"
#include "sentry/base/log.h"
#include "sentry/system.h"

#define HOSTS "/etc/hosts"

/* lower, which it takes over, with memory or a host directory on top. */
static int overlay_on(struct super *lower, struct super *upper, struct super **ret)
{
	int err = -ENOMEM;

	if (upper)
		err = overlay_create(&lower, 1, upper, ret);
	super_put(lower);
	super_put(upper);
	return err;
}

static int host_super(int fd, bool read_only, bool shared, struct super **ret)
{
	struct host_options o = {.read_only = read_only, .shared = shared};

	return host_create(fd, &o, ret);
}

/* A directory or a file that the user names: its FIFOs lead outside. */
static int bind_super(const struct mount_spec *m, struct super **ret)
{
	struct host_options o = {.read_only = m->read_only, .shared = true, .fifos = true};

	return host_create(m->fd, &o, ret);
}

/* Files in memory count as memory: at most --memory, else half of the machine's, as Linux's tmpfs. */
static struct super *memory_super(const struct spec *s, uint32_t mode)
{
	struct tmpfs_options o = {.mode = mode};

	o.max_bytes = s->memory_bytes ? s->memory_bytes : machine.memory_total / 2;
	return tmpfs_create(&o);
}

static int root_super(const struct spec *s, struct super **ret, struct error *e)
{
	struct super *lower = NULL, *upper = NULL;
	int err = host_super(s->root_fd, true, s->overlay == OVERLAY_NONE, &lower);

	if (!err && s->overlay == OVERLAY_DIR)
		err = host_super(s->overlay_fd, false, false, &upper);
	else if (!err && s->overlay == OVERLAY_MEMORY)
		upper = memory_super(s, 0755);
	if (err)
		super_put(lower);
	else if (s->overlay == OVERLAY_NONE)
		*ret = lower;
	else
		err = overlay_on(lower, upper, ret);
	if (err)
		return error_set(e, EXIT_SANDBOX, -err, NULL, "cannot make the root directory from %s", s->root);
	return 0;
}

/* Makes path (absolute) and the directories above it; the last one a directory or an empty file. */
static int make_point(struct ctx *c, const char *path, bool is_dir)
{
	char name[PATH_MAX];
	char *slash = name;
	int err = 0;

	if (snprintf(name, sizeof(name), "%s", path) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	while ((slash = strchr(slash + 1, '/'))) {
		*slash = 0;
		err = vfs_mkdir(c, AT_FDCWD, name, 0755);
		*slash = '/';
		if (err && err != -EEXIST)
			return err;
	}
	err = is_dir ? vfs_mkdir(c, AT_FDCWD, name, 0755) : vfs_mknod(c, AT_FDCWD, name, S_IFREG | 0644, 0);
	return err == -EEXIST ? 0 : err;
}

/* The place to mount on: existing, or made. */
static int mount_point(struct ctx *c, const char *dst, bool is_dir, struct path *ret)
{
	int err = path_lookup(c, AT_FDCWD, dst, LOOKUP_FOLLOW, ret);

	if (err != -ENOENT)
		return err;
	err = make_point(c, dst, is_dir);
	return err ? err : path_lookup(c, AT_FDCWD, dst, LOOKUP_FOLLOW, ret);
}

static int mount_on(struct ctx *c, struct super *s, const char *dst, bool is_dir, uint64_t flags, const char *source)
{
	PATH_REF at = {NULL, NULL};
	int err = mount_point(c, dst, is_dir, &at);

	if (!err && at.mnt == c->mnt_ns->root && at.dentry == at.mnt->root)
		err = -EBUSY; /* nobody would see it */
	if (!err && S_ISDIR(at.dentry->inode->mode) != is_dir)
		err = is_dir ? -ENOTDIR : -EISDIR;
	return err ? err : mount_add(c->mnt_ns, s, &at, flags, source);
}

/* Consumes the reference to super. Failure is noted, not fatal: a minimal read-only root has no /sys. */
static void mount_standard(struct ctx *c, struct super *s, const char *dst, uint64_t flags)
{
	int err = s ? mount_on(c, s, dst, true, flags, s->ops->name) : -ENOMEM;

	if (err)
		log_info("%s is not mounted: %s", dst, strerror(-err));
	super_put(s);
}

static void mount_standard_all(struct ctx *c, const struct spec *s)
{
	int err;

	mount_standard(c, procfs_create(), "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
	mount_standard(c, sysfs_create(), "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY);
	mount_standard(c, devfs_create(), "/dev", MS_NOSUID | MS_NOEXEC);
	err = devfs_populate(c);
	if (err)
		log_info("/dev is incomplete: %s", strerror(-err));
	mount_standard(c, memory_super(s, 01777), "/tmp", MS_NOSUID | MS_NODEV);
}

static int mount_user(struct ctx *c, const struct spec *spec, const struct mount_spec *m, struct error *e)
{
	uint64_t flags = MS_NOSUID | MS_NODEV | (m->read_only ? MS_RDONLY : 0);
	struct super *s = NULL;
	int err = 0;

	if (m->kind == MOUNT_TMPFS)
		s = memory_super(spec, 01777);
	else
		err = bind_super(m, &s);
	if (!err)
		err = s ? mount_on(c, s, m->dst, m->is_dir, flags, m->src) : -ENOMEM;
	super_put(s);
	if (err)
		return error_set(e, EXIT_SANDBOX, -err,
				 err == -EBUSY ? "for another root directory there is --root"
					       : "choose another destination",
				 "cannot mount '%s' on '%s'", m->src, m->dst);
	return 0;
}

/* The caller's directory, where /tmp would hide it. */
static int mount_cwd(struct ctx *c, const struct spec *s)
{
	struct super *lower, *both;
	int err;

	if (s->cwd_fd < 0)
		return 0;
	err = host_super(s->cwd_fd, true, false, &lower);
	if (!err)
		err = overlay_on(lower, memory_super(s, 0755), &both);
	if (err)
		return err;
	err = mount_on(c, both, s->workdir, true, MS_NOSUID | MS_NODEV, s->workdir);
	super_put(both);
	return err;
}

static bool is_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += len)
		if ((at == text || isspace((unsigned char)at[-1])) && (!at[len] || isspace((unsigned char)at[len])))
			return true;
	return false;
}

/*
 * The machine's own name can be looked up, as on Debian by 127.0.1.1, where nothing is changed by that but memory. A hosts file that cannot be read or is
 * very long stays as it is; one that is no file at all, as a root directory of somebody else's may have, is not waited for.
 */
static void name_in_hosts(struct ctx *c, const struct spec *s)
{
	char text[16384] = "", line[HOST_NAME_MAX + 32];
	FILE_REF f = NULL;
	struct iobuf b;
	off_t pos = 0;
	ssize_t n;

	if (s->overlay != OVERLAY_MEMORY || vfs_open(c, AT_FDCWD, HOSTS, O_RDONLY | O_NONBLOCK, 0, LOOKUP_FOLLOW, &f) ||
	    !S_ISREG(f->path.dentry->inode->mode))
		return;
	iobuf_init_kernel(&b, text, sizeof(text) - 1);
	n = file_read(c, f, &b, &pos);
	if (n < 0 || n == (ssize_t)sizeof(text) - 1 || is_word(text, s->hostname))
		return;
	file_put(f);
	f = NULL;
	if (vfs_open(c, AT_FDCWD, HOSTS, O_WRONLY | O_APPEND | O_NONBLOCK, 0, LOOKUP_FOLLOW, &f))
		return;
	snprintf(line, sizeof(line), "%s127.0.1.1\t%s\n", n && text[n - 1] != '\n' ? "\n" : "", s->hostname);
	iobuf_init_kernel(&b, line, strlen(line));
	n = file_write(c, f, &b, &pos);
	if (n < 0)
		log_info(HOSTS " does not have this machine's name: %s", strerror((int)-n));
}

int boot_mounts(struct ctx *c, const struct spec *s, struct error *e)
{
	struct super *root;
	struct path top;
	int err;

	if (root_super(s, &root, e))
		return -1;
	c->mnt_ns = mnt_ns_create(root, s->overlay == OVERLAY_NONE ? MS_RDONLY : 0, s->root);
	super_put(root);
	if (!c->mnt_ns)
		return error_set(e, EXIT_SANDBOX, ENOMEM, NULL, "cannot make the file tree");
	top = (struct path){c->mnt_ns->root, c->mnt_ns->root->root};
	c->fs = fs_struct_create(&top, &top, s->umask);
	if (!c->fs)
		return error_set(e, EXIT_SANDBOX, ENOMEM, NULL, "cannot make the file tree");
	mount_standard_all(c, s);
	name_in_hosts(c, s);
	if (boot_resolv(c, s, e))
		return -1;
	err = mount_cwd(c, s);
	if (err)
		return error_set(e, EXIT_SANDBOX, -err, "start it elsewhere, or give --workdir",
				 "cannot show %s inside", s->workdir);
	for (size_t i = 0; i < s->mount_count; i++)
		if (mount_user(c, s, &s->mounts[i], e))
			return -1;
	return 0;
}

const char *boot_missing_advice(const char *path, const char *otherwise)
{
	bool in_tmp = strncmp(path, "/tmp/", 5) == 0;

	return in_tmp ? "the sandbox has a /tmp of its own: --bind shows a directory of yours" : otherwise;
}

int boot_workdir(struct ctx *c, const struct spec *s, struct error *e)
{
	PATH_REF at = {NULL, NULL};
	int err = s->workdir ? path_lookup(c, AT_FDCWD, s->workdir, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &at) : -ENOENT;

	if (!err && s->workdir_given)
		err = inode_permission(c, at.dentry->inode, MAY_EXEC);
	if (err && s->workdir_given)
		return error_set(
		    e, EXIT_SANDBOX, -err,
		    boot_missing_advice(s->workdir, "it must be a directory inside that the user may enter"),
		    "cannot start in '%s'", s->workdir);
	if (!err)
		fs_set_cwd(c, &at);
	return 0;
}
