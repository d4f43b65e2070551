/*
 * Memberships of datagram endpoints in groups, and their source filters: ip(7), RFC 3678.
 *
 * A membership wants all sources but those of a list, or only those: it begins as the first by IP_ADD_MEMBERSHIP, as the
 * second by IP_ADD_SOURCE_MEMBERSHIP. It may become the other only as a whole (IP_MSFILTER), or while it has no list.
 * The interface learns which sources an endpoint wants only (mcast.c); what else comes is passed over here, when a
 * packet is delivered. When the last source is dropped, the membership ends. Errors are Linux's.
 */
#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/dgram.h"
#include "net/stack/route.h"
#include "sentry/base/slab.h"

struct membership {
	struct list link;
	struct in6_addr group;
	unsigned dev;
	struct dgram_filter *filter; /* NULL: all sources, and no list yet */
};

static struct slab membership_slab = SLAB_INIT(struct membership);
static struct slab filter_slab = SLAB_INIT(struct dgram_filter);

static bool includes(const struct membership *m)
{
	return m->filter && m->filter->include;
}

/* The interface hears that the sources of m are not wanted any more, or that not all are. */
static void withdraw(struct stack *s, struct membership *m) REQUIRES(L_NET)
{
	struct netdev *dev = netdev_by_index(s, m->dev);

	if (!dev)
		return;
	if (!includes(m))
		mcast_leave(s, dev, &m->group);
	for (unsigned i = 0; includes(m) && i < m->filter->count; i++)
		mcast_leave_source(s, dev, &m->group, &m->filter->source[i]);
}

static void drop_membership(struct stack *s, struct dgram *d, struct membership *m) REQUIRES(L_NET)
{
	withdraw(s, m);
	list_remove(&m->link);
	d->member_count--;
	slab_free(&filter_slab, m->filter);
	slab_free(&membership_slab, m);
}

void dgram_leave_all(struct stack *s, struct dgram *d)
{
	struct membership *m;

	while ((m = list_first(&d->members, struct membership, link)))
		drop_membership(s, d, m);
}

static struct membership *find_membership(const struct dgram *d, const struct in6_addr *group, unsigned dev)
{
	struct membership *m;

	list_for_each(m, &d->members, link)
		if (addr_eq(&m->group, group) && (!dev || m->dev == dev))
			return m;
	return NULL;
}

static int find_source(const struct dgram_filter *f, const struct in6_addr *source)
{
	for (unsigned i = 0; i < f->count; i++)
		if (addr_eq(&f->source[i], source))
			return (int)i;
	return -1;
}

bool dgram_wants_group(const struct dgram *d, const struct in6_addr *group, const struct in6_addr *src, unsigned dev)
{
	const struct membership *m = find_membership(d, group, dev);

	if (!m)
		return !d->no_mc_all;
	return !m->filter || (find_source(m->filter, src) >= 0) == m->filter->include;
}

/* The interface for a group when none is named. */
static struct netdev *dev_for(struct stack *s, const struct in6_addr *group, unsigned dev) REQUIRES(L_NET)
{
	const struct route_flow f = {.dst = *group};
	const struct route *r = dev ? NULL : route_lookup(s, &f);

	if (dev)
		return netdev_by_index(s, dev);
	return r && !route_errno(r) ? r->c.dev : NULL;
}

/* A new one that wants nothing. */
static int create(struct dgram *d, const struct in6_addr *group, struct netdev *on, struct membership **ret)
{
	struct membership *m;

	if (find_membership(d, group, on->index))
		return -EADDRINUSE;
	if (addr_is_v4(group) && d->member_count == DGRAM_MEMBERSHIPS_MAX)
		return -ENOBUFS;
	*ret = m = slab_alloc(&membership_slab);
	if (!m)
		return -ENOMEM;
	m->group = *group;
	m->dev = on->index;
	list_append(&d->members, &m->link);
	d->member_count++;
	return 0;
}

static void destroy(struct dgram *d, struct membership *m)
{
	list_remove(&m->link);
	d->member_count--;
	slab_free(&filter_slab, m->filter);
	slab_free(&membership_slab, m);
}

int dgram_join(struct stack *s, struct dgram *d, const struct in6_addr *group, unsigned dev)
{
	struct netdev *on = dev_for(s, group, dev);
	struct membership *m;
	int err;

	if (!addr_is_multicast(group) || (!addr_is_v4(group) && !d->v6))
		return -EINVAL;
	if (!on)
		return -ENODEV;
	err = create(d, group, on, &m);
	if (err)
		return err;
	err = mcast_join(s, on, group);
	if (err)
		destroy(d, m);
	return err;
}

int dgram_leave(struct stack *s, struct dgram *d, const struct in6_addr *group, unsigned dev)
{
	struct membership *m = find_membership(d, group, dev);

	if (!m)
		return -EADDRNOTAVAIL;
	drop_membership(s, d, m);
	return 0;
}

/* ---- sources ---- */

static unsigned most_sources(const struct in6_addr *group)
{
	return addr_is_v4(group) ? DGRAM_SOURCES4_MAX : DGRAM_SOURCES_MAX;
}

/* m has a list of that kind, if need be an empty one. */
static int need_filter(struct stack *s, struct membership *m, struct netdev *on, bool include) REQUIRES(L_NET)
{
	if (m->filter)
		return m->filter->include == include ? 0 : -EINVAL;
	m->filter = slab_alloc(&filter_slab);
	if (!m->filter)
		return -ENOMEM;
	m->filter->include = include;
	if (include)
		mcast_leave(s, on, &m->group); /* it wanted all */
	return 0;
}

static int add_source(struct stack *s, struct membership *m, struct netdev *on, const struct in6_addr *source)
    REQUIRES(L_NET)
{
	struct dgram_filter *f = m->filter;
	int err;

	if (find_source(f, source) >= 0)
		return -EADDRNOTAVAIL;
	if (f->count == most_sources(&m->group))
		return -ENOBUFS;
	err = f->include ? mcast_join_source(s, on, &m->group, source) : 0;
	if (!err)
		f->source[f->count++] = *source;
	return err;
}

static int remove_source(struct stack *s, struct dgram *d, struct membership *m, struct netdev *on,
			 const struct in6_addr *source) REQUIRES(L_NET)
{
	struct dgram_filter *f = m->filter;
	int at = f ? find_source(f, source) : -1;

	if (at < 0)
		return -EADDRNOTAVAIL;
	if (f->include)
		mcast_leave_source(s, on, &m->group, source);
	f->count--;
	memmove(&f->source[at], &f->source[at + 1], (f->count - (unsigned)at) * sizeof(f->source[0]));
	if (f->include && f->count == 0)
		destroy(d, m);
	return 0;
}

static int join_source(struct stack *s, struct dgram *d, const struct in6_addr *group, struct netdev *on,
		       const struct in6_addr *source) REQUIRES(L_NET)
{
	struct membership *m;
	int err = create(d, group, on, &m);
	bool fresh = !err;

	if (err == -EADDRINUSE) {
		m = find_membership(d, group, on->index);
		err = need_filter(s, m, on, true);
	} else if (!err) {
		m->filter = slab_alloc(&filter_slab);
		if (m->filter)
			m->filter->include = true;
		err = m->filter ? 0 : -ENOMEM;
	} else {
		return err;
	}
	err = err ? err : add_source(s, m, on, source);
	if (err && (fresh || (m->filter && m->filter->include && !m->filter->count)))
		destroy(d, m);
	return err;
}

int dgram_change_source(struct stack *s, struct dgram *d, const struct in6_addr *group, unsigned dev,
			const struct in6_addr *source, enum dgram_source_op op)
{
	struct netdev *on = dev_for(s, group, dev);
	struct membership *m;
	int err;

	if (!addr_is_multicast(group))
		return -EINVAL;
	if (!on)
		return -ENODEV;
	if (op == SOURCE_JOIN)
		return join_source(s, d, group, on, source);
	m = find_membership(d, group, on->index);
	if (!m || (m->filter && m->filter->include != (op == SOURCE_LEAVE)))
		return -EINVAL;
	if (op != SOURCE_BLOCK)
		return remove_source(s, d, m, on, source);
	err = need_filter(s, m, on, false);
	return err ? err : add_source(s, m, on, source);
}

/* The sources of f become wanted; all or none. */
static int want_all(struct stack *s, struct netdev *on, const struct in6_addr *group, const struct dgram_filter *f)
    REQUIRES(L_NET)
{
	unsigned n = 0;
	int err = f->include ? 0 : mcast_join(s, on, group);

	for (; !err && f->include && n < f->count; n += !err)
		err = mcast_join_source(s, on, group, &f->source[n]);
	while (err && n)
		mcast_leave_source(s, on, group, &f->source[--n]);
	return err;
}

int dgram_set_filter(struct stack *s, struct dgram *d, const struct in6_addr *group, unsigned dev,
		     const struct dgram_filter *f)
{
	struct netdev *on = dev_for(s, group, dev);
	struct dgram_filter *fresh = NULL;
	struct membership *m;
	int err;

	if (!addr_is_multicast(group))
		return -EINVAL;
	if (!on)
		return -ENODEV;
	if (f->include && !f->count)
		return dgram_leave(s, d, group, on->index);
	m = find_membership(d, group, on->index);
	if (!m)
		return -EINVAL;
	if (f->count > most_sources(group))
		return -ENOBUFS;
	if (f->count && !(fresh = slab_alloc(&filter_slab)))
		return -ENOMEM;
	err = want_all(s, on, group, f);
	if (err) {
		slab_free(&filter_slab, fresh);
		return err;
	}
	withdraw(s, m);
	slab_free(&filter_slab, m->filter);
	m->filter = fresh;
	if (fresh)
		*fresh = *f;
	return 0;
}

int dgram_get_filter(struct stack *s, struct dgram *d, const struct in6_addr *group, unsigned dev,
		     struct dgram_filter *ret)
{
	struct netdev *on = dev_for(s, group, dev);
	struct membership *m;

	if (!on)
		return -ENODEV;
	m = find_membership(d, group, on->index);
	if (!m)
		return -EADDRNOTAVAIL;
	memset(ret, 0, sizeof(*ret));
	if (m->filter)
		*ret = *m->filter;
	return 0;
}
