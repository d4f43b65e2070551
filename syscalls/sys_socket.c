/*
 * The socket system calls: what guests pass, checked and copied; the work is in net/.
 *
 * Addresses: at most sizeof(struct sockaddr_storage) comes in; what goes out is cut to the guest's room and its true length is stored, as
 * move_addr_to_user() does. Messages: the header and its vectors are copied once; sendmmsg and recvmmsg report how many were done before an error.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "fs/fdtable.h"
#include "net/socket.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#define CONTROL_MAX 131072 /* net.core.optmem_max */
#define FEW_SEGS 8
#define MMSG_MAX 1024
#define TYPE_MASK 0xf

struct k_msghdr {
	uint64_t name;
	int32_t name_len;
	uint32_t pad;
	uint64_t iov, iov_len;
	uint64_t control, control_len;
	uint32_t flags, pad2;
};
_Static_assert(sizeof(struct k_msghdr) == 56, "ABI");
_Static_assert(offsetof(struct k_msghdr, control_len) == 40, "ABI");

struct k_mmsghdr {
	struct k_msghdr hdr;
	uint32_t len, pad;
};
_Static_assert(sizeof(struct k_mmsghdr) == 64, "ABI");

/* The file if it is a socket; -EBADF, -ENOTSOCK. */
static int socket_get_file(struct ctx *c, int fd, struct file **ret)
{
	struct file *f = fd_get(c, fd);

	if (!f)
		return -EBADF;
	if (!socket_of(f)) {
		file_put(f);
		return -ENOTSOCK;
	}
	*ret = f;
	return 0;
}

static int addr_in(struct ctx *c, uaddr_t addr, int len, struct sockaddr_storage *ret)
{
	if (len < 0 || (size_t)len > sizeof(*ret))
		return -EINVAL;
	memset(ret, 0, sizeof(*ret));
	return copy_in(c, ret, addr, (size_t)len);
}

/* len is what the address has; the guest's room is at len_ptr. */
static int addr_out(struct ctx *c, const struct sockaddr_storage *addr, size_t len, uaddr_t to, uaddr_t len_ptr)
{
	int room, true_len = (int)len;

	if (copy_in(c, &room, len_ptr, sizeof(room)))
		return -EFAULT;
	if (room < 0)
		return -EINVAL;
	if (copy_out(c, to, addr, MIN((size_t)room, len)))
		return -EFAULT;
	return copy_out(c, len_ptr, &true_len, sizeof(true_len));
}

/* ---- making and naming ---- */

static int type_flags(int type)
{
	int flags = type & ~TYPE_MASK;

	return flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK) ? -EINVAL : flags;
}

sysret_t sys_socket(struct task *t, int family, int type, int protocol)
{
	int flags = type_flags(type), err;
	struct socket *s;
	struct file *f;

	if (flags < 0)
		return flags;
	err = socket_create(&t->ctx, family, type & TYPE_MASK, protocol, &s);
	if (!err)
		err = socket_file(&t->ctx, s, flags & SOCK_NONBLOCK, &f);
	return err ? err : fd_install(&t->ctx, f, flags & SOCK_CLOEXEC);
}

/* Two connected sockets with files. */
static int make_pair(struct ctx *c, int family, int type, int protocol, int flags, struct file **ret_a,
		     struct file **ret_b)
{
	SOCKET_NEW a = NULL;
	SOCKET_NEW b = NULL;
	int err = socket_create(c, family, type, protocol, &a);

	if (!err && !a->ops->socketpair)
		err = -EOPNOTSUPP;
	if (!err)
		err = socket_create(c, family, type, protocol, &b);
	if (!err)
		err = a->ops->socketpair(c, a, b);
	if (!err)
		err = socket_file(c, take(a), flags, ret_a);
	if (err)
		return err;
	return socket_file(c, take(b), flags, ret_b);
}

sysret_t sys_socketpair(struct task *t, int family, int type, int protocol, uaddr_t fds)
{
	struct ctx *c = &t->ctx;
	FILE_REF a = NULL;
	FILE_REF b = NULL;
	int flags = type_flags(type), fd[2], err;

	if (flags < 0)
		return flags;
	fd[0] = fd_reserve(c, 0);
	if (fd[0] < 0)
		return fd[0];
	fd[1] = fd_reserve(c, 0);
	err = fd[1] < 0 ? fd[1] : copy_out(c, fds, fd, sizeof(fd));
	if (!err)
		err = make_pair(c, family, type & TYPE_MASK, protocol, flags & SOCK_NONBLOCK, &a, &b);
	if (err) {
		fd_unreserve(c, fd[0]);
		if (fd[1] >= 0)
			fd_unreserve(c, fd[1]);
		return err;
	}
	fd_fill(c, fd[0], take(a), flags & SOCK_CLOEXEC);
	fd_fill(c, fd[1], take(b), flags & SOCK_CLOEXEC);
	return 0;
}

sysret_t sys_bind(struct task *t, int fd, uaddr_t addr, unsigned len)
{
	struct sockaddr_storage sa;
	FILE_REF f = NULL;
	struct socket *s;
	int err = socket_get_file(&t->ctx, fd, &f);

	if (!err)
		err = addr_in(&t->ctx, addr, (int)len, &sa);
	if (err)
		return err;
	s = socket_of(f);
	return s->ops->bind ? s->ops->bind(&t->ctx, s, (struct sockaddr *)&sa, len) : -EOPNOTSUPP;
}

sysret_t sys_connect(struct task *t, int fd, uaddr_t addr, unsigned len)
{
	struct sockaddr_storage sa;
	FILE_REF f = NULL;
	struct socket *s;
	int err = socket_get_file(&t->ctx, fd, &f);

	if (!err)
		err = addr_in(&t->ctx, addr, (int)len, &sa);
	if (err)
		return err;
	s = socket_of(f);
	if (!s->ops->connect)
		return -EOPNOTSUPP;
	return s->ops->connect(&t->ctx, s, (struct sockaddr *)&sa, len, f->flags);
}

sysret_t sys_listen(struct task *t, int fd, int backlog)
{
	FILE_REF f = NULL;
	struct socket *s;
	int err = socket_get_file(&t->ctx, fd, &f);

	if (err)
		return err;
	s = socket_of(f);
	return s->ops->listen ? s->ops->listen(&t->ctx, s, backlog) : -EOPNOTSUPP;
}

/* Accepts and tells the peer's address, before a descriptor is made. */
static int accept_file(struct ctx *c, struct file *listener, uaddr_t addr, uaddr_t len_ptr, int flags,
		       struct file **ret)
{
	struct socket *s = socket_of(listener), *n;
	struct sockaddr_storage sa = {0};
	int len, err;

	if (!s->ops->accept)
		return -EOPNOTSUPP;
	err = s->ops->accept(c, s, listener->flags, &n);
	if (err)
		return err;
	err = socket_file(c, n, flags & SOCK_NONBLOCK, ret);
	if (err || !addr.v)
		return err;
	len = n->ops->accepted_name ? n->ops->accepted_name(n, &sa) : n->ops->getname(n, true, &sa);
	if (len < 0)
		return -ECONNABORTED;
	return addr_out(c, &sa, (size_t)len, addr, len_ptr);
}

sysret_t sys_accept4(struct task *t, int fd, uaddr_t addr, uaddr_t len_ptr, int flags)
{
	struct ctx *c = &t->ctx;
	FILE_REF listener = NULL;
	FILE_REF f = NULL;
	int nfd, err;

	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	err = socket_get_file(c, fd, &listener);
	if (err)
		return err;
	nfd = fd_reserve(c, 0);
	if (nfd < 0)
		return nfd;
	err = accept_file(c, listener, addr, len_ptr, flags, &f);
	if (err) {
		fd_unreserve(c, nfd);
		return err;
	}
	fd_fill(c, nfd, take(f), flags & SOCK_CLOEXEC);
	return nfd;
}

sysret_t sys_accept(struct task *t, int fd, uaddr_t addr, uaddr_t len_ptr)
{
	return sys_accept4(t, fd, addr, len_ptr, 0);
}

static sysret_t get_name(struct ctx *c, int fd, bool peer, uaddr_t addr, uaddr_t len_ptr)
{
	struct sockaddr_storage sa = {0};
	FILE_REF f = NULL;
	int len = socket_get_file(c, fd, &f);
	struct socket *s;

	if (len)
		return len;
	s = socket_of(f);
	len = s->ops->getname ? s->ops->getname(s, peer, &sa) : -EOPNOTSUPP;
	return len < 0 ? len : addr_out(c, &sa, (size_t)len, addr, len_ptr);
}

sysret_t sys_getsockname(struct task *t, int fd, uaddr_t addr, uaddr_t len_ptr)
{
	return get_name(&t->ctx, fd, false, addr, len_ptr);
}

sysret_t sys_getpeername(struct task *t, int fd, uaddr_t addr, uaddr_t len_ptr)
{
	return get_name(&t->ctx, fd, true, addr, len_ptr);
}

sysret_t sys_shutdown(struct task *t, int fd, int how)
{
	FILE_REF f = NULL;
	struct socket *s;
	int err = socket_get_file(&t->ctx, fd, &f);

	if (err)
		return err;
	s = socket_of(f);
	if (how < SHUT_RD || how > SHUT_RDWR)
		return -EINVAL;
	return s->ops->shutdown ? s->ops->shutdown(&t->ctx, s, how) : -EOPNOTSUPP;
}

sysret_t sys_setsockopt(struct task *t, int fd, int level, int name, uaddr_t value, int size)
{
	FILE_REF f = NULL;
	int err;

	if (size < 0)
		return -EINVAL;
	err = socket_get_file(&t->ctx, fd, &f);
	return err ? err : socket_setsockopt(&t->ctx, socket_of(f), level, name, value, (size_t)size);
}

sysret_t sys_getsockopt(struct task *t, int fd, int level, int name, uaddr_t value, uaddr_t size_ptr)
{
	FILE_REF f = NULL;
	int err = socket_get_file(&t->ctx, fd, &f);

	return err ? err : socket_getsockopt(&t->ctx, socket_of(f), level, name, value, size_ptr);
}

/* ---- one buffer ---- */

sysret_t sys_sendto(struct task *t, int fd, uaddr_t buf, size_t size, int flags, uaddr_t addr, unsigned addr_len)
{
	struct net_msg m = {.flags = flags};
	FILE_REF f = NULL;
	struct iobuf b;
	int err = socket_get_file(&t->ctx, fd, &f);

	if (!err && addr.v) {
		err = addr_in(&t->ctx, addr, (int)addr_len, &m.addr);
		m.addr_len = addr_len;
	}
	if (err)
		return err;
	iobuf_init_user(&b, &t->ctx, buf, size);
	m.data = &b;
	return socket_sendmsg(&t->ctx, f, &m);
}

sysret_t sys_recvfrom(struct task *t, int fd, uaddr_t buf, size_t size, int flags, uaddr_t addr, uaddr_t len_ptr)
{
	struct net_msg m = {.flags = flags};
	FILE_REF f = NULL;
	struct iobuf b;
	sysret_t n;
	int err = socket_get_file(&t->ctx, fd, &f);

	if (err)
		return err;
	iobuf_init_user(&b, &t->ctx, buf, size);
	m.data = &b;
	n = socket_recvmsg(&t->ctx, f, &m);
	if (n >= 0 && addr.v) {
		err = addr_out(&t->ctx, &m.addr, m.addr_len, addr, len_ptr);
		if (err)
			return err;
	}
	return n;
}

/* ---- messages ---- */

/* A header's vectors, which may lie in `few` or on the heap. */
struct msg_segs {
	struct iobuf_seg few[FEW_SEGS];
	struct iobuf_seg *segs;
	size_t count;
};

static void segs_free(struct msg_segs *v)
{
	if (v->count > FEW_SEGS)
		kfree(v->segs, v->count * sizeof(*v->segs));
	v->count = 0;
}

static int segs_in(struct ctx *c, const struct k_msghdr *h, struct msg_segs *v)
{
	int err;

	v->count = 0;
	v->segs = v->few;
	if (h->iov_len > IOV_MAX)
		return -EMSGSIZE;
	if (h->iov_len > FEW_SEGS) {
		v->segs = kalloc(h->iov_len * sizeof(*v->segs));
		if (!v->segs)
			return -ENOMEM;
	}
	v->count = h->iov_len;
	err = iobuf_import(c, UADDR(h->iov), v->count, v->segs);
	if (err)
		segs_free(v);
	return err;
}

static int control_in(struct ctx *c, const struct k_msghdr *h, struct net_msg *m)
{
	char *copy;

	if (!h->control_len)
		return 0;
	if (h->control_len > CONTROL_MAX)
		return -ENOBUFS;
	copy = kalloc(h->control_len);
	if (!copy)
		return -ENOBUFS;
	if (copy_in(c, copy, UADDR(h->control), h->control_len)) {
		kfree(copy, h->control_len);
		return -EFAULT;
	}
	m->control = copy;
	m->control_size = h->control_len;
	return 0;
}

static int header_in(struct ctx *c, uaddr_t msg, struct k_msghdr *h)
{
	if (copy_in(c, h, msg, sizeof(*h)))
		return -EFAULT;
	if (!h->name)
		h->name_len = 0;
	if (h->name_len < 0)
		return -EINVAL;
	h->name_len = MIN(h->name_len, (int)sizeof(struct sockaddr_storage));
	return 0;
}

static sysret_t send_one(struct ctx *c, struct file *f, uaddr_t msg, int flags)
{
	struct net_msg m = {.flags = flags};
	struct msg_segs v;
	struct k_msghdr h;
	struct iobuf b;
	sysret_t r = header_in(c, msg, &h);

	if (!r && h.name_len)
		r = addr_in(c, UADDR(h.name), h.name_len, &m.addr);
	if (!r)
		r = segs_in(c, &h, &v);
	if (r)
		return r;
	m.addr_len = (uint32_t)h.name_len;
	r = control_in(c, &h, &m);
	if (!r) {
		iobuf_init_segs(&b, c, v.segs, v.count);
		m.data = &b;
		r = socket_sendmsg(c, f, &m);
	}
	kfree((void *)m.control, m.control_size);
	segs_free(&v);
	return r;
}

/* What recvmsg tells in the header besides the data. */
static int header_out(struct ctx *c, uaddr_t msg, const struct k_msghdr *h, const struct net_msg *m)
{
	int32_t name_len = (int32_t)m->addr_len;
	uint32_t flags = (uint32_t)(m->out_flags | (m->flags & MSG_CMSG_CLOEXEC));
	uint64_t control_len = m->control_used;

	if (h->name) {
		if (copy_out(c, UADDR(h->name), &m->addr, MIN((uint32_t)h->name_len, m->addr_len)) ||
		    copy_out(c, uaddr_add(msg, offsetof(struct k_msghdr, name_len)), &name_len, sizeof(name_len)))
			return -EFAULT;
	}
	if (copy_out(c, uaddr_add(msg, offsetof(struct k_msghdr, flags)), &flags, sizeof(flags)))
		return -EFAULT;
	return copy_out(c, uaddr_add(msg, offsetof(struct k_msghdr, control_len)), &control_len, sizeof(control_len));
}

static sysret_t recv_one(struct ctx *c, struct file *f, uaddr_t msg, int flags)
{
	struct net_msg m = {.flags = flags};
	struct msg_segs v;
	struct k_msghdr h;
	struct iobuf b;
	sysret_t r = header_in(c, msg, &h);
	int err;

	if (!r)
		r = segs_in(c, &h, &v);
	if (r)
		return r;
	m.control_to = UADDR(h.control);
	m.control_room = MIN(h.control_len, (uint64_t)INT32_MAX);
	iobuf_init_segs(&b, c, v.segs, v.count);
	m.data = &b;
	r = socket_recvmsg(c, f, &m);
	segs_free(&v);
	if (r < 0)
		return r;
	err = header_out(c, msg, &h, &m);
	return err ? err : r;
}

sysret_t sys_sendmsg(struct task *t, int fd, uaddr_t msg, int flags)
{
	FILE_REF f = NULL;
	int err = socket_get_file(&t->ctx, fd, &f);

	return err ? err : send_one(&t->ctx, f, msg, flags);
}

sysret_t sys_recvmsg(struct task *t, int fd, uaddr_t msg, int flags)
{
	FILE_REF f = NULL;
	int err = socket_get_file(&t->ctx, fd, &f);

	return err ? err : recv_one(&t->ctx, f, msg, flags);
}

static int store_len(struct ctx *c, uaddr_t msg, sysret_t n)
{
	uint32_t len = (uint32_t)n;

	return copy_out(c, uaddr_add(msg, offsetof(struct k_mmsghdr, len)), &len, sizeof(len));
}

sysret_t sys_sendmmsg(struct task *t, int fd, uaddr_t msgs, unsigned count, int flags)
{
	FILE_REF f = NULL;
	unsigned done = 0;
	sysret_t r = socket_get_file(&t->ctx, fd, &f);

	if (r)
		return r;
	for (count = MIN(count, MMSG_MAX); done < count; done++) {
		uaddr_t msg = uaddr_add(msgs, done * sizeof(struct k_mmsghdr));

		r = send_one(&t->ctx, f, msg, flags);
		if (r >= 0)
			r = store_len(&t->ctx, msg, r);
		if (r < 0)
			break;
	}
	return done ? done : r;
}

/* Receives until `count`, an error, or the deadline; an error after the first message is kept for the next call. */
static sysret_t recv_many(struct ctx *c, struct file *f, uaddr_t msgs, unsigned count, int flags, int64_t deadline)
{
	unsigned done = 0;
	sysret_t r = socket_take_error(socket_of(f));

	while (!r && done < count) {
		uaddr_t msg = uaddr_add(msgs, done * sizeof(struct k_mmsghdr));

		r = recv_one(c, f, msg, flags & ~MSG_WAITFORONE);
		if (r >= 0)
			r = store_len(c, msg, r);
		if (r < 0)
			break;
		done++;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if (deadline != TIME_NEVER && clock_now(CLOCK_MONOTONIC) >= deadline)
			break;
	}
	if (done && r < 0 && r != -EAGAIN && !is_restart_code(r) && r != -EINTR)
		socket_set_error(socket_of(f), (int)-r);
	return done ? done : r;
}

sysret_t sys_recvmmsg(struct task *t, int fd, uaddr_t msgs, unsigned count, int flags, uaddr_t timeout)
{
	int64_t deadline = TIME_NEVER;
	struct timespec ts;
	FILE_REF f = NULL;
	sysret_t r;

	if (timeout.v) {
		if (copy_in(&t->ctx, &ts, timeout, sizeof(ts)))
			return -EFAULT;
		if (!timespec_valid(&ts))
			return -EINVAL;
		deadline = deadline_after(clock_now(CLOCK_MONOTONIC), timespec_to_ns(&ts));
	}
	r = socket_get_file(&t->ctx, fd, &f);
	if (r)
		return r;
	r = recv_many(&t->ctx, f, msgs, MIN(count, MMSG_MAX), flags, deadline);
	if (r > 0 && timeout.v) {
		ts = ns_to_timespec(MAX(deadline - clock_now(CLOCK_MONOTONIC), 0));
		if (copy_out(&t->ctx, timeout, &ts, sizeof(ts)))
			return -EFAULT;
	}
	return r;
}
