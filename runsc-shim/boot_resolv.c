/*
 * The guest's /etc/resolv.conf: see boot_resolv.h.
 *
 * It is mounted on the name itself, whatever lies there: a file, a link that leads anywhere or nowhere, nothing. So it is seen with each kind of root and
 * overlay, and nothing is written for it.
 */
#include "runsc-shim/boot_resolv.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>

#include "fs/host/host.h"
#include "fs/path.h"
#include "sentry/base/log.h"

#define RESOLV_CONF "/etc/resolv.conf"

static int mount_name(struct ctx *c, struct super *s)
{
	PATH_REF at = {NULL, NULL};
	char last[NAME_MAX + 1];
	struct path dir;
	bool slash;
	int err = path_parent(c, AT_FDCWD, RESOLV_CONF, 0, &dir, last, &slash);

	if (err)
		return err;
	at.mnt = dir.mnt;
	err = dentry_lookup(c, dir.dentry, last, strlen(last), &at.dentry);
	dentry_put(dir.dentry);
	if (err)
		return err;
	return mount_add(c->mnt_ns, s, &at, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, "resolv.conf");
}

int boot_resolv(struct ctx *c, const struct spec *s, struct error *e)
{
	const struct host_options o = {.read_only = true};
	struct super *super;
	int err;

	if (s->net.resolv.fd < 0)
		return 0;
	err = host_create(s->net.resolv.fd, &o, &super);
	if (err)
		return error_set(e, EXIT_SANDBOX, -err, NULL, "cannot make the guest's " RESOLV_CONF);
	err = mount_name(c, super);
	super_put(super);
	if (err)
		log_info(RESOLV_CONF " is not the gateway's: %s", strerror(-err));
	return 0;
}
