/*
 * Options of sockets of the host: see hostinet.h. platform/hostopts.def is the list of what is passed on; the sentry's filter is made of the same list. Those of
 * SOL_SOCKET are kept and read by net/sockopt.c, and told to the host when they have been set.
 */
#include <string.h>

#include "net/hostinet.h"
#include "platform/hostopts.h"
#include "sentry/base/log.h"

struct host_option {
	int level, name;
	size_t size; /* 0: net/sockopt.c keeps it */
};

#define HOSTOPT(level, name, size) {level, name, size},
#define HOSTOPT_SOCKET(name) {SOL_SOCKET, name, 0},
static const struct host_option options[] = {
#include "platform/hostopts.def"
};

static const struct host_option *find(int level, int name)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (options[i].level == level && options[i].name == name)
			return &options[i];
	return NULL;
}

int hostinet_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size)
{
	const struct host_option *o = find(level, name);
	char copy[256] = "";

	if (!o || !o->size)
		return -ENOPROTOOPT;
	size = MIN(size, MIN(o->size, sizeof(copy)));
	if (copy_in(c, copy, value, size))
		return -EFAULT;
	return setsockopt(hostinet_fd(s), level, name, copy, (socklen_t)size) < 0 ? -errno : 0;
}

int hostinet_getsockopt(struct ctx *c __unused, struct socket *s, int level, int name, void *value, size_t *size)
{
	const struct host_option *o = find(level, name);
	bool listening = level == SOL_SOCKET && name == SO_ACCEPTCONN;
	socklen_t len = (socklen_t)*size;

	if (!listening && (!o || !o->size))
		return -ENOPROTOOPT;
	if (getsockopt(hostinet_fd(s), level, name, value, &len) < 0)
		return -errno;
	*size = len;
	return 0;
}

static int int_of(const struct socket *s, int name)
{
	switch (name) {
	case SO_REUSEADDR:
		return socket_option(s, SOCK_OPT_REUSEADDR);
	case SO_REUSEPORT:
		return socket_option(s, SOCK_OPT_REUSEPORT);
	case SO_KEEPALIVE:
		return socket_option(s, SOCK_OPT_KEEPALIVE);
	case SO_BROADCAST:
		return socket_option(s, SOCK_OPT_BROADCAST);
	case SO_OOBINLINE:
		return socket_option(s, SOCK_OPT_OOBINLINE);
	case SO_DONTROUTE:
		return socket_option(s, SOCK_OPT_DONTROUTE);
	case SO_TIMESTAMP:
		return socket_option(s, SOCK_OPT_TIMESTAMP);
	case SO_TIMESTAMPNS:
		return socket_option(s, SOCK_OPT_TIMESTAMPNS);
	case SO_RXQ_OVFL:
		return socket_option(s, SOCK_OPT_RXQ_OVFL);
	case SO_NO_CHECK:
		return socket_option(s, SOCK_OPT_NO_CHECK);
	case SO_SNDBUF:
		return s->sndbuf / 2; /* it is doubled again */
	case SO_RCVBUF:
		return s->rcvbuf / 2;
	case SO_RCVLOWAT:
		return s->rcvlowat;
	default:
		return s->priority;
	}
}

/* With a time, a close() would wait in the host. */
static void change_linger(struct socket *s)
{
	struct linger l = {.l_onoff = s->linger_on && s->linger_seconds == 0};

	if (setsockopt(hostinet_fd(s), SOL_SOCKET, SO_LINGER, &l, sizeof(l)) < 0)
		log_debug("the host refuses SO_LINGER: %s", strerror(errno));
}

void hostinet_changed(struct socket *s, int name)
{
	const struct host_option *o;
	int value;

	if (name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE)
		name = name == SO_SNDBUFFORCE ? SO_SNDBUF : SO_RCVBUF;
	o = find(SOL_SOCKET, name);
	if (!o || o->size)
		return;
	if (name == SO_LINGER) {
		change_linger(s);
		return;
	}
	value = int_of(s, name);
	/* net/sockopt.c has checked it; who set it has gone on. */
	if (setsockopt(hostinet_fd(s), SOL_SOCKET, name, &value, sizeof(value)) < 0)
		log_debug("the host refuses option %d: %s", name, strerror(errno));
}

int hostinet_buffer(struct socket *s, bool send)
{
	int size = 0;
	socklen_t len = sizeof(size);

	if (getsockopt(hostinet_fd(s), SOL_SOCKET, send ? SO_SNDBUF : SO_RCVBUF, &size, &len) < 0)
		return send ? s->sndbuf : s->rcvbuf;
	return size;
}

int hostinet_take_error(struct socket *s)
{
	int err = 0;
	socklen_t len = sizeof(err);

	return getsockopt(hostinet_fd(s), SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? 0 : -err;
}
