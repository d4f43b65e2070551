/*
 * What all flows share: references, who runs them, their host sockets.
 *
 * A flow is run by one thread at a time, without locks: by the guest's thread whose packet or read caused something to do, by the thread that watches
 * host sockets, by the timers'. Who finds it running leaves a note (f->work) and goes; the runner looks for notes before he stops. So there is no order of locks
 * between a flow and the stack, bytes keep their order, and nobody waits. The host socket belongs to who runs.
 *
 * A flow is over when its run() has taken it from nat's lists and put their reference. Later notes are harmless.
 */
#include "net/nat/flow.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/stack/addr.h"

struct flow *flow_get(struct flow *f)
{
	ref_get(&f->ref);
	return f;
}

void flow_put(struct flow *f)
{
	struct nat *n = f->nat;

	if (!ref_put(&f->ref))
		return;
	BUG_ON(f->watched.fd >= 0 || f->watched.id);
	f->destroy(f);
	nat_put(n);
}

static struct flow *of_watched(struct watched *w)
{
	return container_of(w, struct flow, watched);
}

static void watched_get(struct watched *w)
{
	flow_get(of_watched(w));
}

static void watched_put(struct watched *w)
{
	flow_put(of_watched(w));
}

static void watched_ready(struct watched *w, uint32_t events)
{
	uint32_t work = 0;

	if (events & EPOLLIN)
		work |= WORK_HOST_IN;
	if (events & EPOLLOUT)
		work |= WORK_HOST_OUT;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		work |= WORK_HOST_IN | WORK_HOST_OUT | WORK_HOST_END;
	flow_kick(of_watched(w), work);
}

static void wakeup_hold(struct wakeup *w)
{
	flow_get(container_of(w, struct flow, wakeup));
}

static void wakeup_deliver(struct wakeup *w, uint32_t events __unused)
{
	struct flow *f = container_of(w, struct flow, wakeup);

	flow_kick(f, WORK_GUEST);
	flow_put(f);
}

void flow_init(struct flow *f, struct nat *n, const struct nat_flow *id, void (*run)(struct flow *f, uint32_t work),
	       void (*destroy)(struct flow *f))
{
	ref_init(&f->ref);
	ref_get(&n->ref);
	f->nat = n;
	f->id = *id;
	f->watched = (struct watched){.fd = -1, .ready = watched_ready, .get = watched_get, .put = watched_put};
	f->wakeup = (struct wakeup){.deliver = wakeup_deliver, .hold = wakeup_hold};
	list_init(&f->wakeup.link);
	f->run = run;
	f->destroy = destroy;
}

void flow_kick(struct flow *f, uint32_t work)
{
	uint32_t old = __atomic_fetch_or((uint32_t *)&f->work, work | WORK_RUNNING, __ATOMIC_ACQ_REL);

	if (old & WORK_RUNNING)
		return;
	work |= old;
	do {
		__atomic_fetch_and((uint32_t *)&f->work, ~work | WORK_RUNNING, __ATOMIC_ACQ_REL);
		f->run(f, work & ~(uint32_t)WORK_RUNNING);
		work = WORK_RUNNING;
		if (__atomic_compare_exchange_n((uint32_t *)&f->work, &work, 0, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			return;
	} while (true);
}

/* ---- the host's socket ---- */

void host_option(int fd, int level, int name, int value)
{
	(void)!setsockopt(fd, level, name, &value, sizeof(value));
}

socklen_t host_address(const struct in6_addr *addr, uint16_t port, struct sockaddr_storage *ret)
{
	*ret = (struct sockaddr_storage){0};
	if (addr_is_v4(addr)) {
		struct sockaddr_in *sa = (struct sockaddr_in *)ret;

		sa->sin_family = AF_INET;
		sa->sin_port = htons(port);
		sa->sin_addr.s_addr = addr_v4(addr);
		return sizeof(*sa);
	}
	*(struct sockaddr_in6 *)ret =
	    (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = *addr};
	return sizeof(struct sockaddr_in6);
}

bool host_address_parse(const struct sockaddr_storage *sa, struct in6_addr *ret_addr, uint16_t *ret_port)
{
	if (sa->ss_family == AF_INET) {
		const struct sockaddr_in *sin = (const struct sockaddr_in *)sa;

		*ret_addr = addr_from_v4(sin->sin_addr.s_addr);
		*ret_port = ntohs(sin->sin_port);
		return true;
	}
	if (sa->ss_family == AF_INET6) {
		const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)sa;

		*ret_addr = sin6->sin6_addr;
		*ret_port = ntohs(sin6->sin6_port);
		return true;
	}
	return false;
}

int host_error(int err)
{
	switch (err) {
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -EADDRNOTAVAIL: /* no port is left on the host */
		return -ECONNREFUSED;
	case -ENETUNREACH:
	case -ENETDOWN:
	case -EAFNOSUPPORT: /* a host without IPv6 */
	case -EINVAL:
		return -ENETUNREACH;
	case -EHOSTUNREACH:
	case -EHOSTDOWN:
	case -ENONET:
		return -EHOSTUNREACH;
	case -EACCES:
	case -EPERM:
		return -EACCES;
	default:
		return -ETIMEDOUT; /* silence */
	}
}

int flow_connect(struct flow *f, int type, int protocol, void (*prepare)(struct flow *f, int fd))
{
	struct sockaddr_storage sa;
	socklen_t size = host_address(&f->id.dst, f->id.dport, &sa);
	int fd = socket(sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return -errno;
	f->watched.fd = fd;
	if (prepare)
		prepare(f, fd);
	return connect(fd, (struct sockaddr *)&sa, size) ? -errno : 0;
}

static void reset_on_close(int fd)
{
	const struct linger now = {.l_onoff = 1};

	(void)!setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

void host_reset(int fd)
{
	reset_on_close(fd);
	close(fd);
}

void flow_close(struct flow *f, bool reset)
{
	watch_forget(&f->watched);
	if (f->watched.fd < 0)
		return;
	if (reset)
		reset_on_close(f->watched.fd);
	close(f->watched.fd);
	f->watched.fd = -1;
}
