/*
 * NETLINK_ROUTE: routing rules. ip-rule(8); what is checked, and in which order, is Linux's fib_rules.
 */
#include <string.h>

#include "net/rtnetlink.h"
#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/rule.h"

#define TOS_MASK4 0x1c /* IPTOS_RT_MASK */
#define TOS_MASK6 0xfc /* without ECN */

static void put_prefix(struct nlbuf *b, size_t msg, uint16_t type, const struct in6_addr *a, uint8_t bits)
{
	if (bits)
		nl_addr(b, msg, type, a);
}

static void put_selectors(struct nlbuf *b, size_t msg, const struct rule_config *c)
{
	if (c->mark)
		nl_u32(b, msg, FRA_FWMARK, c->mark);
	if (c->mark_mask || c->mark)
		nl_u32(b, msg, FRA_FWMASK, c->mark_mask);
	if (c->uid.end != UINT32_MAX)
		nl_attr(b, msg, FRA_UID_RANGE, &c->uid, sizeof(c->uid));
	if (c->sport.start)
		nl_attr(b, msg, FRA_SPORT_RANGE, &c->sport, sizeof(c->sport));
	if (c->dport.start)
		nl_attr(b, msg, FRA_DPORT_RANGE, &c->dport, sizeof(c->dport));
	if (c->ip_proto)
		nl_u8(b, msg, FRA_IP_PROTO, c->ip_proto);
}

void rtnetlink_put_rule(struct stack *s, struct nlbuf *b, const struct fib_rule *r, uint16_t type, uint16_t flags)
{
	const struct rule_config *c = &r->c;
	unsigned none = c->v6 ? 0 : V4_BITS;
	struct fib_rule_hdr m = {.family = c->v6 ? AF_INET6 : AF_INET,
				 .dst_len = (uint8_t)(c->dst_plen - none),
				 .src_len = (uint8_t)(c->src_plen - none),
				 .tos = c->tos,
				 .table = (uint8_t)(c->table < 256 ? c->table : RT_TABLE_COMPAT),
				 .action = c->action,
				 .flags = rule_flags(s, r)};
	size_t msg = nl_begin(b, type, flags, &m, sizeof(m));

	nl_u32(b, msg, FRA_TABLE, c->table);
	nl_u32(b, msg, FRA_SUPPRESS_PREFIXLEN, (uint32_t)c->suppress_plen);
	nl_u8(b, msg, FRA_PROTOCOL, c->protocol);
	if (c->iif[0])
		nl_string(b, msg, FRA_IIFNAME, c->iif);
	if (c->oif[0])
		nl_string(b, msg, FRA_OIFNAME, c->oif);
	if (c->priority)
		nl_u32(b, msg, FRA_PRIORITY, c->priority);
	if (c->target)
		nl_u32(b, msg, FRA_GOTO, c->target);
	if (c->suppress_group != -1)
		nl_u32(b, msg, FRA_SUPPRESS_IFGROUP, (uint32_t)c->suppress_group);
	put_selectors(b, msg, c);
	put_prefix(b, msg, FRA_DST, &c->dst, m.dst_len);
	put_prefix(b, msg, FRA_SRC, &c->src, m.src_len);
}

/* Who asks to be checked may ask for a family only. */
static bool dump_ok(const struct nlreq *r)
{
	struct fib_rule_hdr m, only;

	if (!r->strict)
		return true;
	if (!nl_fixed(r, &m, sizeof(m)) || r->size != sizeof(m))
		return false;
	only = (struct fib_rule_hdr){.family = m.family};
	return memcmp(&m, &only, sizeof(m)) == 0;
}

int rtnetlink_dump_rules(struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	uint8_t family = r->size ? (uint8_t)r->data[0] : AF_UNSPEC;
	const struct fib_rule *rule;

	if (!dump_ok(r))
		return -EINVAL;
	if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;

	for (unsigned v6 = 0; v6 < 2; v6++)
		if (family == AF_UNSPEC || family == (v6 ? AF_INET6 : AF_INET))
			list_for_each(rule, &s->rules.list[v6], link)
				rtnetlink_put_rule(s, b, rule, RTM_NEWRULE, NLM_F_MULTI);
	return 0;
}

/* ---- requests ---- */

static bool find_name(const struct nlreq *r, uint16_t type, char *to)
{
	size_t size;
	const char *name = nl_find(r, sizeof(struct fib_rule_hdr), type, 0, &size);

	if (!name)
		return true;
	size = strnlen(name, size);
	if (size >= IFNAMSIZ)
		return false;
	memcpy(to, name, size);
	return true;
}

/* An attribute of just that size. False: it has another. */
static bool find_fixed(const struct nlreq *r, uint16_t type, void *to, size_t want)
{
	size_t size;
	const char *data = nl_find(r, sizeof(struct fib_rule_hdr), type, 0, &size);

	if (data && size < want)
		return false;
	if (data)
		memcpy(to, data, want);
	return true;
}

static int parse_prefix(const struct nlreq *r, const struct fib_rule_hdr *m, uint16_t type, unsigned len,
			struct in6_addr *a, uint8_t *plen)
{
	unsigned most = m->family == AF_INET ? 32 : 128;
	size_t size;

	*a = m->family == AF_INET ? addr_from_v4(0) : in6addr_any;
	*plen = (uint8_t)(len + 128 - most);
	if (!len)
		return 0;
	if (len > most || !nl_find(r, sizeof(*m), type, 0, &size) || size != most / 8)
		return -EINVAL;
	nl_find_addr(r, sizeof(*m), type, m->family, a);
	return 0;
}

static bool ports_ok(const struct fib_rule_port_range *p)
{
	return p->start && p->end && p->end < 0xffff && p->start <= p->end;
}

static int parse_ports(const struct nlreq *r, uint16_t type, struct fib_rule_port_range *ret)
{
	size_t size;

	if (!nl_find(r, sizeof(struct fib_rule_hdr), type, 0, &size))
		return 0;
	return find_fixed(r, type, ret, sizeof(*ret)) && size == sizeof(*ret) && ports_ok(ret) ? 0 : -EINVAL;
}

static int parse_uid(const struct nlreq *r, struct fib_rule_uid_range *ret)
{
	size_t size;

	if (!nl_find(r, sizeof(struct fib_rule_hdr), FRA_UID_RANGE, 0, &size))
		return 0;
	if (size != sizeof(*ret) || !find_fixed(r, FRA_UID_RANGE, ret, sizeof(*ret)))
		return -EINVAL;
	return ret->start == UINT32_MAX || ret->end == UINT32_MAX || ret->start > ret->end ? -EINVAL : 0;
}

/* FRA_GOTO and the action go together. */
static int parse_target(const struct nlreq *r, struct rule_config *c)
{
	bool given = nl_find_u32(r, sizeof(struct fib_rule_hdr), FRA_GOTO, &c->target);

	return given == (c->action == FR_ACT_GOTO) ? 0 : -EINVAL;
}

static int parse_mark(const struct nlreq *r, struct rule_config *c)
{
	if (!find_fixed(r, FRA_FWMARK, &c->mark, sizeof(c->mark)))
		return -EINVAL;
	c->mark_mask = c->mark ? UINT32_MAX : 0;
	return find_fixed(r, FRA_FWMASK, &c->mark_mask, sizeof(c->mark_mask)) ? 0 : -EINVAL;
}

static int parse_selectors(const struct nlreq *r, const struct fib_rule_hdr *m, struct rule_config *c)
{
	int err = parse_prefix(r, m, FRA_SRC, m->src_len, &c->src, &c->src_plen);

	err = err ? err : parse_prefix(r, m, FRA_DST, m->dst_len, &c->dst, &c->dst_plen);
	err = err ? err : parse_mark(r, c);
	if (!err && (!find_name(r, FRA_IIFNAME, c->iif) || !find_name(r, FRA_OIFNAME, c->oif)))
		err = -EINVAL;
	err = err ? err : parse_uid(r, &c->uid);
	err = err ? err : parse_ports(r, FRA_SPORT_RANGE, &c->sport);
	return err ? err : parse_ports(r, FRA_DPORT_RANGE, &c->dport);
}

static int parse_rule(const struct nlreq *r, struct rule_config *c)
{
	struct fib_rule_hdr m;
	size_t size;
	int err;

	if (!nl_fixed(r, &m, sizeof(m)))
		return -EINVAL;
	if (m.family != AF_INET && m.family != AF_INET6)
		return -EAFNOSUPPORT;
	*c = (struct rule_config){.v6 = m.family == AF_INET6,
				  .action = m.action,
				  .tos = m.tos,
				  .flags = m.flags & (FIB_RULE_PERMANENT | FIB_RULE_INVERT),
				  .table = m.table,
				  .suppress_plen = -1,
				  .suppress_group = -1,
				  .uid = {0, UINT32_MAX}};
	c->has_priority = nl_find_u32(r, sizeof(m), FRA_PRIORITY, &c->priority);
	nl_find_u32(r, sizeof(m), FRA_TABLE, &c->table);
	if (!find_fixed(r, FRA_SUPPRESS_PREFIXLEN, &c->suppress_plen, 4) ||
	    !find_fixed(r, FRA_SUPPRESS_IFGROUP, &c->suppress_group, 4) ||
	    !find_fixed(r, FRA_PROTOCOL, &c->protocol, 1) || !find_fixed(r, FRA_IP_PROTO, &c->ip_proto, 1))
		return -EINVAL;
	/* There are neither tunnel metadata nor domains here. */
	if (nl_find(r, sizeof(m), FRA_L3MDEV, 0, &size) || nl_find(r, sizeof(m), FRA_TUN_ID, 0, &size))
		return -EINVAL;
	err = parse_selectors(r, &m, c);
	return err ? err : parse_target(r, c);
}

/* What is asked only of a new one. */
static int check_new(struct stack *s, struct rule_config *c) REQUIRES(L_NET)
{
	if (c->tos & ~(c->v6 ? TOS_MASK6 : TOS_MASK4))
		return -EINVAL;
	if (c->table || c->action != FR_ACT_TO_TBL)
		return 0;
	if (c->v6)
		return -EINVAL;
	c->table = route_empty_table(s);
	return c->table ? 0 : -ENOBUFS;
}

int rtnetlink_change_rule(struct stack *s, const struct nlreq *r)
{
	struct rule_config c;
	int err = parse_rule(r, &c);

	if (err)
		return err;
	if (r->h->nlmsg_type == RTM_DELRULE)
		return rule_del(s, &c);
	err = check_new(s, &c);
	return err ? err : rule_add(s, &c, r->h->nlmsg_flags & NLM_F_EXCL);
}
