/*
 * Control messages: cmsg(3), unix(7). What travels beside the data: descriptors and credentials.
 *
 * Sending: the guest's control buffer was copied once by the system call; the headers in it are checked here as Linux's CMSG_OK() and scm_send()
 * do. Receiving: messages are written to the guest one after the other; one that does not fit sets MSG_CTRUNC. Descriptors are
 * installed only after their numbers could be written, so that a fault leaks none.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>

#include "fs/fdtable.h"
#include "net/socket.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

/* The header as the guest lays it out. */
struct k_cmsghdr {
	uint64_t len;
	int32_t level, type;
};
_Static_assert(sizeof(struct k_cmsghdr) == 16, "ABI");

static struct slab scm_slab = SLAB_INIT(struct scm_files);

#define CMSG_ROUND(n) (((n) + 7) & ~(size_t)7)

struct scm_files *scm_files_create(void)
{
	return slab_alloc(&scm_slab);
}

static int parse_rights(struct ctx *c, struct scm *scm, const char *data, size_t size)
{
	unsigned count = (unsigned)(size / sizeof(int));

	if (count > SCM_FD_MAX - scm->file_count)
		return -EINVAL;
	if (count == 0)
		return 0;
	if (!scm->files)
		scm->files = scm_files_create();
	if (!scm->files)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		struct file *f;
		int fd;

		memcpy(&fd, data + i * sizeof(fd), sizeof(fd));
		f = fd_get_raw(c, fd);
		if (!f)
			return -EBADF;
		scm->files->at[scm->file_count++] = f;
	}
	return 0;
}

static bool id_is_own(uint32_t id, uint32_t real, uint32_t effective, uint32_t saved)
{
	return id == real || id == effective || id == saved;
}

static int parse_creds(struct ctx *c, struct scm *scm, const char *data, size_t size)
{
	const struct cred *cr = c->cred;
	struct ucred u;

	if (size != sizeof(u))
		return -EINVAL;
	memcpy(&u, data, sizeof(u));
	if (u.pid != c->tgid && !cred_capable(cr, CAP_SYS_ADMIN))
		return -EPERM;
	if (!id_is_own(u.uid, cr->uid, cr->euid, cr->suid) && !cred_capable(cr, CAP_SETUID))
		return -EPERM;
	if (!id_is_own(u.gid, cr->gid, cr->egid, cr->sgid) && !cred_capable(cr, CAP_SETGID))
		return -EPERM;
	if (u.uid == UINT32_MAX || u.gid == UINT32_MAX)
		return -EINVAL;
	scm->pid = u.pid;
	scm->uid = u.uid;
	scm->gid = u.gid;
	scm->has_cred = true;
	return 0;
}

static int parse_all(struct ctx *c, const struct net_msg *m, struct scm *scm)
{
	size_t at = 0;

	while (m->control_size - at >= sizeof(struct k_cmsghdr)) {
		struct k_cmsghdr h;
		int err = 0;

		memcpy(&h, m->control + at, sizeof(h));
		if (h.len < sizeof(h) || h.len > m->control_size - at)
			return -EINVAL;
		if (h.level == SOL_SOCKET && h.type == SCM_RIGHTS)
			err = parse_rights(c, scm, m->control + at + sizeof(h), h.len - sizeof(h));
		else if (h.level == SOL_SOCKET && h.type == SCM_CREDENTIALS)
			err = parse_creds(c, scm, m->control + at + sizeof(h), h.len - sizeof(h));
		else if (h.level == SOL_SOCKET)
			err = -EINVAL;
		if (err)
			return err;
		at += MIN(CMSG_ROUND(h.len), m->control_size - at);
	}
	return 0;
}

int scm_parse(struct ctx *c, const struct net_msg *m, struct scm *ret)
{
	int err;

	*ret = (struct scm){.pid = c->tgid, .uid = c->cred->uid, .gid = c->cred->gid};
	err = parse_all(c, m, ret);
	if (err)
		scm_drop(ret);
	return err;
}

/*
 * Dropping the last reference to a socket frees its messages, which drops what they carry, and so on: a guest can make that chain as long as it
 * likes. So the outermost drop on a thread works off a list that the inner ones only add to.
 */
static __thread struct scm_files *drop_list;
static __thread bool dropping;

static void drop_all(void)
{
	struct scm_files *sf;

	while ((sf = drop_list)) {
		drop_list = sf->next;
		for (unsigned i = 0; i < sf->dropped; i++)
			file_put(sf->at[i]);
		slab_free(&scm_slab, sf);
	}
}

bool scm_dropping(void)
{
	return dropping;
}

void scm_drop(struct scm *scm)
{
	struct scm_files *sf = take(scm->files);

	if (!sf)
		return;
	sf->dropped = scm->file_count;
	sf->next = drop_list;
	drop_list = sf;
	scm->file_count = 0;
	if (dropping)
		return;
	dropping = true;
	drop_all();
	dropping = false;
}

/* Writes a header and moves on by the space of `size` bytes of data. */
static void cmsg_header(struct ctx *c, struct net_msg *m, int level, int type, size_t size)
{
	struct k_cmsghdr h = {sizeof(h) + size, level, type};

	if (copy_out(c, uaddr_add(m->control_to, m->control_used), &h, sizeof(h)))
		m->out_flags |= MSG_CTRUNC;
	m->control_used += MIN(sizeof(h) + CMSG_ROUND(size), m->control_room - m->control_used);
}

void cmsg_put(struct ctx *c, struct net_msg *m, int level, int type, const void *data, size_t size)
{
	size_t room = m->control_room - m->control_used;

	if (room < sizeof(struct k_cmsghdr)) {
		m->out_flags |= MSG_CTRUNC;
		return;
	}
	room -= sizeof(struct k_cmsghdr);
	if (room < size) {
		m->out_flags |= MSG_CTRUNC;
		size = room;
	}
	if (copy_out(c, uaddr_add(m->control_to, m->control_used + sizeof(struct k_cmsghdr)), data, size)) {
		m->out_flags |= MSG_CTRUNC;
		return;
	}
	cmsg_header(c, m, level, type, size);
}

/* One descriptor for f, its number at the given place. */
static int install_at(struct ctx *c, uaddr_t to, struct file *f, int flags)
{
	int fd = fd_reserve(c, 0);

	if (fd < 0)
		return fd;
	if (copy_out(c, to, &fd, sizeof(fd))) {
		fd_unreserve(c, fd);
		return -EFAULT;
	}
	fd_fill(c, fd, file_get(f), flags);
	return 0;
}

void scm_put_files(struct ctx *c, struct net_msg *m, const struct scm_files *files, unsigned count)
{
	size_t room = m->control_room - m->control_used;
	uaddr_t to = uaddr_add(m->control_to, m->control_used + sizeof(struct k_cmsghdr));
	unsigned fit = 0, done = 0;

	if (room > sizeof(struct k_cmsghdr))
		fit = (unsigned)MIN((room - sizeof(struct k_cmsghdr)) / sizeof(int), count);
	while (done < fit && install_at(c, uaddr_add(to, done * sizeof(int)), files->at[done],
					m->flags & MSG_CMSG_CLOEXEC ? O_CLOEXEC : 0) == 0)
		done++;
	if (done)
		cmsg_header(c, m, SOL_SOCKET, SCM_RIGHTS, done * sizeof(int));
	if (done < count)
		m->out_flags |= MSG_CTRUNC;
}
