/*
 * The contents of /dev. It is an ordinary tmpfs, so that programs may add to it (/dev/log); what its device nodes do is decided by their numbers
 * (fs/dev.h). There is no /dev/mqueue, no /dev/kmsg and no block device.
 */
#include "fs/dev/devfs.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "fs/dev/hosttty.h"
#include "fs/dev/pty.h"
#include "fs/path.h"
#include "fs/tmp/tmpfs.h"
#include "fs/vfs.h"

void devfs_init(void)
{
	mem_devices_init();
	tty_devices_init();
	hosttty_init();
}

struct super *devfs_create(void)
{
	return tmpfs_create(&(struct tmpfs_options){.mode = 0755});
}

static int make_node(struct ctx *c, const char *name, uint32_t mode, unsigned major_no, unsigned minor_no)
{
	PATH_REF p = {NULL, NULL};
	int err = vfs_mknod(c, AT_FDCWD, name, S_IFCHR | mode, makedev(major_no, minor_no));

	/* Past the umask. */
	if (!err)
		err = path_lookup(c, AT_FDCWD, name, 0, &p);
	return err ? err : vfs_chmod(c, &p, mode);
}

static int make_nodes(struct ctx *c)
{
	static const struct {
		const char *name;
		uint32_t mode;
		unsigned major, minor;
	} nodes[] = {
	    {"/dev/null", 0666, 1, 3},    {"/dev/zero", 0666, 1, 5},    {"/dev/full", 0666, 1, 7},
	    {"/dev/random", 0666, 1, 8},  {"/dev/urandom", 0666, 1, 9}, {"/dev/tty", 0666, 5, 0},
	    {"/dev/console", 0620, 5, 1}, {"/dev/ptmx", 0666, 5, 2},
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(nodes) && !err; i++)
		err = make_node(c, nodes[i].name, nodes[i].mode, nodes[i].major, nodes[i].minor);
	return err;
}

static int make_links(struct ctx *c)
{
	static const char *const links[][2] = {
	    {"/proc/self/fd", "/dev/fd"},
	    {"/proc/self/fd/0", "/dev/stdin"},
	    {"/proc/self/fd/1", "/dev/stdout"},
	    {"/proc/self/fd/2", "/dev/stderr"},
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(links) && !err; i++)
		err = vfs_symlink(c, links[i][0], AT_FDCWD, links[i][1]);
	return err;
}

/* Takes over the reference to s. */
static int mount_below(struct ctx *c, struct super *s, const char *at, uint64_t flags, const char *source)
{
	PATH_REF p = {NULL, NULL};
	int err = s ? vfs_mkdir(c, AT_FDCWD, at, 0755) : -ENOMEM;

	if (!err)
		err = path_lookup(c, AT_FDCWD, at, LOOKUP_DIRECTORY, &p);
	if (!err)
		err = mount_add(c->mnt_ns, s, &p, flags, source);
	super_put(s);
	return err;
}

int devfs_populate(struct ctx *c)
{
	int err = make_nodes(c);

	if (!err)
		err = make_links(c);
	if (!err)
		err = vfs_mkdir(c, AT_FDCWD, "/dev/net", 0755);
	if (!err)
		err = make_node(c, "/dev/net/tun", 0666, 10, 200);
	if (!err)
		err = mount_below(c, devpts_create(), "/dev/pts", MS_NOSUID | MS_NOEXEC, "devpts");
	if (!err)
		err = mount_below(c, tmpfs_create(&(struct tmpfs_options){.mode = 01777}), "/dev/shm",
				  MS_NOSUID | MS_NODEV, "shm");
	return err;
}
