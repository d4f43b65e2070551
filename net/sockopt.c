/*
 * getsockopt(2) and setsockopt(2) at SOL_SOCKET: socket(7).
 *
 * Boolean options are bits, set and read by one table. Buffer sizes are doubled when set and reported doubled, as Linux does. Options of a
 * family's own, and those at other levels, go to its ops.
 */
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/time.h>

#include "net/filter.h"
#include "net/netstack.h"
#include "net/socket.h"
#include "sentry/base/cred.h"

#define BUF_MAX 212992 /* net.core.rmem_max and wmem_max */
#define SNDBUF_MIN 4608
#define RCVBUF_MIN 2304

/* Numbers that the C library may not have. */
#ifndef SO_TIMESTAMP_OLD
#define SO_TIMESTAMP_OLD 29
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef SO_RCVTIMEO_NEW
#define SO_RCVTIMEO_NEW 66
#define SO_SNDTIMEO_NEW 67
#endif
#ifndef SO_TIMESTAMPNS_OLD
#define SO_TIMESTAMPNS_OLD 35
#endif

static const struct {
	int name;
	enum sock_option bit;
} bool_options[] = {
    {SO_DEBUG, SOCK_OPT_DEBUG},
    {SO_REUSEADDR, SOCK_OPT_REUSEADDR},
    {SO_REUSEPORT, SOCK_OPT_REUSEPORT},
    {SO_KEEPALIVE, SOCK_OPT_KEEPALIVE},
    {SO_BROADCAST, SOCK_OPT_BROADCAST},
    {SO_OOBINLINE, SOCK_OPT_OOBINLINE},
    {SO_DONTROUTE, SOCK_OPT_DONTROUTE},
    {SO_PASSCRED, SOCK_OPT_PASSCRED},
    {SO_TIMESTAMP_OLD, SOCK_OPT_TIMESTAMP},
    {SO_TIMESTAMPNS_OLD, SOCK_OPT_TIMESTAMPNS},
    {SO_RXQ_OVFL, SOCK_OPT_RXQ_OVFL},
    {SO_PASSSEC, SOCK_OPT_PASSSEC},
    {SO_NO_CHECK, SOCK_OPT_NO_CHECK},
};

static uint32_t bool_option(int name)
{
	for (size_t i = 0; i < ARRAY_SIZE(bool_options); i++)
		if (bool_options[i].name == name)
			return bool_options[i].bit;
	return 0;
}

int sockopt_int(struct ctx *c, uaddr_t value, size_t size, int *ret)
{
	if (size < sizeof(*ret))
		return -EINVAL;
	return copy_in(c, ret, value, sizeof(*ret));
}

static int set_bool(struct socket *s, uint32_t bit, int value)
{
	if (value)
		__atomic_fetch_or((uint32_t *)&s->options, bit, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and((uint32_t *)&s->options, ~bit, __ATOMIC_RELAXED);
	return 0;
}

static int buf_size(int value, bool force, int least)
{
	int max = force ? INT32_MAX / 2 : BUF_MAX;

	if (!force && (uint32_t)value > BUF_MAX)
		value = BUF_MAX;
	return MAX(MIN(MAX(value, 0), max) * 2, least);
}

/* A struct timeval of the call to ns; 0 means no limit. */
static int set_timeo(struct ctx *c, _Atomic int64_t *timeo, uaddr_t value, size_t size)
{
	struct timeval tv;

	if (size < sizeof(tv))
		return -EINVAL;
	if (copy_in(c, &tv, value, sizeof(tv)))
		return -EFAULT;
	if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
		return -EDOM;
	if (tv.tv_sec < 0)
		*timeo = 0;
	else if (tv.tv_sec == 0 && tv.tv_usec == 0)
		*timeo = TIME_NEVER;
	else
		*timeo = timespec_to_ns(&(struct timespec){tv.tv_sec, tv.tv_usec * NSEC_PER_USEC});
	return 0;
}

static int set_linger(struct ctx *c, struct socket *s, uaddr_t value, size_t size)
{
	struct linger l;

	if (size < sizeof(l))
		return -EINVAL;
	if (copy_in(c, &l, value, sizeof(l)))
		return -EFAULT;
	s->linger_on = l.l_onoff != 0;
	if (l.l_onoff)
		s->linger_seconds = l.l_linger;
	return 0;
}

static int set_priority(struct ctx *c, struct socket *s, int value)
{
	if ((value < 0 || value > 6) && !cred_capable(c->cred, CAP_NET_ADMIN) && !cred_capable(c->cred, CAP_NET_RAW))
		return -EPERM;
	s->priority = value;
	return 0;
}

static int set_mark(struct ctx *c, struct socket *s, int value)
{
	if (!cred_capable(c->cred, CAP_NET_ADMIN) && !cred_capable(c->cred, CAP_NET_RAW))
		return -EPERM;
	s->mark = (uint32_t)value;
	return 0;
}

static int set_int(struct ctx *c, struct socket *s, int name, int value)
{
	bool admin = cred_capable(c->cred, CAP_NET_ADMIN);

	switch (name) {
	case SO_SNDBUFFORCE:
	case SO_RCVBUFFORCE:
		if (!admin)
			return -EPERM;
		break;
	case SO_PRIORITY:
		return set_priority(c, s, value);
	case SO_MARK:
		return set_mark(c, s, value);
	case SO_RCVLOWAT:
		s->rcvlowat = value < 0 ? INT32_MAX : value ? value : 1;
		return 0;
	case SO_BSDCOMPAT:
	case SO_INCOMING_CPU:
	case SO_BUSY_POLL:
		return 0;
	}
	if (name == SO_SNDBUF || name == SO_SNDBUFFORCE) {
		s->sndbuf = buf_size(value, name == SO_SNDBUFFORCE, SNDBUF_MIN);
		wake_up(&s->wq, 0);
		return 0;
	}
	if (name == SO_RCVBUF || name == SO_RCVBUFFORCE) {
		s->rcvbuf = buf_size(value, name == SO_RCVBUFFORCE, RCVBUF_MIN);
		return 0;
	}
	return -ENOPROTOOPT;
}

/* Eight bytes, or four of which the largest number means no limit either. */
static int set_pacing_rate(struct ctx *c, struct socket *s, uaddr_t value, size_t size)
{
	uint64_t rate = 0;

	if (copy_in(c, &rate, value, size >= sizeof(rate) ? sizeof(rate) : sizeof(uint32_t)))
		return -EFAULT;
	s->pacing_rate = size < sizeof(rate) && rate == UINT32_MAX ? UINT64_MAX : rate;
	return 0;
}

static int set_socket_level(struct ctx *c, struct socket *s, int name, uaddr_t value, size_t size)
{
	uint32_t bit = bool_option(name);
	int v, err;

	if (name == SO_BINDTODEVICE)
		return -ENOPROTOOPT; /* a string, of the family */
	err = filter_setsockopt(c, s, name, value, size);
	if (err != -ENOPROTOOPT)
		return err;
	err = sockopt_int(c, value, size, &v);
	if (err)
		return err;
	if (bit)
		return set_bool(s, bit, v);
	switch (name) {
	case SO_RCVTIMEO:
	case SO_RCVTIMEO_NEW:
		return set_timeo(c, &s->rcvtimeo, value, size);
	case SO_SNDTIMEO:
	case SO_SNDTIMEO_NEW:
		return set_timeo(c, &s->sndtimeo, value, size);
	case SO_LINGER:
		return set_linger(c, s, value, size);
	case SO_MAX_PACING_RATE:
		return set_pacing_rate(c, s, value, size);
	default:
		return set_int(c, s, name, v);
	}
}

int socket_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size)
{
	int err = -ENOPROTOOPT;

	if (size > INT32_MAX)
		return -EINVAL;
	if (level == SOL_SOCKET)
		err = set_socket_level(c, s, name, value, size);
	if (!err && level == SOL_SOCKET && s->ops->changed)
		s->ops->changed(s, name);
	if (err == -ENOPROTOOPT && s->ops->setsockopt)
		err = s->ops->setsockopt(c, s, level, name, value, size);
	else if (level != SOL_SOCKET)
		err = -EOPNOTSUPP;
	return err;
}

/* ---- reading ---- */

static struct timeval timeo_to_timeval(int64_t timeo)
{
	if (timeo == TIME_NEVER)
		return (struct timeval){0, 0};
	return (struct timeval){timeo / NSEC_PER_SEC, timeo % NSEC_PER_SEC / NSEC_PER_USEC};
}

/* The value of an int option; false: unknown. */
static bool get_int(struct socket *s, int name, int *ret)
{
	uint32_t bit = bool_option(name);

	if (bit) {
		*ret = (s->options & bit) != 0;
		return true;
	}
	switch (name) {
	case SO_SNDBUF:
		*ret = s->ops->buffer ? s->ops->buffer(s, true) : s->sndbuf;
		return true;
	case SO_RCVBUF:
		*ret = s->ops->buffer ? s->ops->buffer(s, false) : s->rcvbuf;
		return true;
	case SO_TYPE:
		*ret = s->type;
		return true;
	case SO_DOMAIN:
		*ret = s->family;
		return true;
	case SO_PROTOCOL:
		*ret = s->protocol;
		return true;
	case SO_ERROR:
		*ret = -socket_take_error(s);
		return true;
	case SO_PRIORITY:
		*ret = s->priority;
		return true;
	case SO_MARK:
		*ret = (int)s->mark;
		return true;
	case SO_RCVLOWAT:
		*ret = s->rcvlowat;
		return true;
	case SO_SNDLOWAT:
		*ret = 1;
		return true;
	case SO_BSDCOMPAT:
		*ret = 0;
		return true;
	case SO_INCOMING_CPU:
		*ret = 0;
		return true;
	case SO_BUSY_POLL:
		*ret = 0;
		return true;
	case SO_LOCK_FILTER:
		*ret = s->filter_locked;
		return true;
	case SO_TIMESTAMPING:
		*ret = 0;
		return true;
	}
	return false;
}

static void get_peercred(struct socket *s, struct ucred *ret)
{
	*ret = (struct ucred){0, UINT32_MAX, UINT32_MAX};
	mutex_lock(&s->lock, L_SOCK);
	if (s->peer_cred)
		*ret = (struct ucred){s->peer_pid, s->peer_cred->euid, s->peer_cred->egid};
	mutex_unlock(&s->lock, L_SOCK);
}

/* SO_PEERGROUPS: all or -ERANGE with the size that is needed. */
static int get_peergroups(struct ctx *c, struct socket *s, uaddr_t value, uaddr_t size_ptr, int room)
{
	const struct cred *cr = NULL;
	int size, err = -ENODATA;

	mutex_lock(&s->lock, L_SOCK);
	if (s->peer_cred)
		cr = cred_get(s->peer_cred);
	mutex_unlock(&s->lock, L_SOCK);
	if (!cr)
		return err;
	size = (int)(cr->group_count * sizeof(uint32_t));
	err = copy_out(c, size_ptr, &size, sizeof(size));
	if (!err)
		err = room < size ? -ERANGE : copy_out(c, value, cr->groups, (size_t)size);
	cred_put(cr);
	return err;
}

static int get_peername(struct socket *s, struct sockaddr_storage *ret, size_t *size)
{
	int len = s->ops->getname ? s->ops->getname(s, true, ret) : -EOPNOTSUPP;

	if (len < 0)
		return -ENOTCONN;
	if ((size_t)len < *size)
		*size = (size_t)len;
	else if ((size_t)len > *size)
		return -EINVAL;
	return 0;
}

union option_value {
	int i;
	struct timeval tv;
	struct linger linger;
	struct ucred ucred;
	uint64_t cookie;
	struct sockaddr_storage addr;
	char other[256];
};

/* Of eight bytes, or what of it four can tell. */
static size_t get_pacing_rate(const struct socket *s, size_t room, union option_value *v)
{
	uint64_t rate = s->pacing_rate;

	if (room >= sizeof(v->cookie)) {
		v->cookie = rate;
		return sizeof(v->cookie);
	}
	v->i = (int)MIN(rate, (uint64_t)UINT32_MAX);
	return sizeof(v->i);
}

/* Fills v and cuts *size to what there is. */
static int get_socket_level(struct ctx *c, struct socket *s, int name, union option_value *v, size_t *size)
{
	size_t have = sizeof(int);

	switch (name) {
	case SO_RCVTIMEO:
	case SO_RCVTIMEO_NEW:
		v->tv = timeo_to_timeval(s->rcvtimeo);
		have = sizeof(v->tv);
		break;
	case SO_SNDTIMEO:
	case SO_SNDTIMEO_NEW:
		v->tv = timeo_to_timeval(s->sndtimeo);
		have = sizeof(v->tv);
		break;
	case SO_LINGER:
		v->linger = (struct linger){s->linger_on, s->linger_seconds};
		have = sizeof(v->linger);
		break;
	case SO_PEERCRED:
		get_peercred(s, &v->ucred);
		have = sizeof(v->ucred);
		break;
	case SO_COOKIE:
		v->cookie = (uint64_t)(s->inode ? s->inode->ino : 0);
		have = sizeof(v->cookie);
		if (*size < have)
			return -EINVAL;
		break;
	case SO_NETNS_COOKIE:
		v->cookie = (s->net ? s->net : netns_of(NULL))->cookie;
		have = sizeof(v->cookie);
		if (*size < have)
			return -EINVAL;
		break;
	case SO_MAX_PACING_RATE:
		have = get_pacing_rate(s, *size, v);
		break;
	case SO_PEERNAME:
		return get_peername(s, &v->addr, size);
	default:
		if (get_int(s, name, &v->i))
			break;
		if (name == SO_ACCEPTCONN || !s->ops->getsockopt)
			return s->ops->getsockopt ? s->ops->getsockopt(c, s, SOL_SOCKET, name, v, size) : -ENOPROTOOPT;
		return s->ops->getsockopt(c, s, SOL_SOCKET, name, v, size);
	}
	*size = MIN(*size, have);
	return 0;
}

/* The buffer says what is asked about. */
static bool asks(int level, int name)
{
	return level == IPPROTO_IP && name == IP_MSFILTER;
}

int socket_getsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, uaddr_t size_ptr)
{
	union option_value v;
	size_t size;
	int len, err;

	if (copy_in(c, &len, size_ptr, sizeof(len)))
		return -EFAULT;
	if (len < 0)
		return -EINVAL;
	if (level == SOL_SOCKET && name == SO_PEERGROUPS)
		return get_peergroups(c, s, value, size_ptr, len);
	if (level == SOL_SOCKET && name == SO_GET_FILTER) {
		len = filter_get(c, s, value, len);
		return len < 0 ? len : copy_out(c, size_ptr, &len, sizeof(len));
	}
	memset(&v, 0, sizeof(v));
	size = MIN((size_t)len, sizeof(v));
	if (asks(level, name) && copy_in(c, &v, value, size))
		return -EFAULT;
	/* The one option that is asked a question. */
	if (level == SOL_PACKET && name == PACKET_HDRLEN && size >= sizeof(v.i) && copy_in(c, &v.i, value, sizeof(v.i)))
		return -EFAULT;
	if (level == SOL_SOCKET)
		err = get_socket_level(c, s, name, &v, &size);
	else
		err = s->ops->getsockopt ? s->ops->getsockopt(c, s, level, name, &v, &size) : -EOPNOTSUPP;
	if (err)
		return err;
	len = (int)size;
	if (copy_out(c, value, &v, size) || copy_out(c, size_ptr, &len, sizeof(len)))
		return -EFAULT;
	return 0;
}
