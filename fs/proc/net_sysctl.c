/*
 * /proc/sys/net/ipv4, and what there is of ipv6: ip-sysctl. What TCP is configured with (struct tcp_conf) and forwarding are read and written here, of the
 * caller's network namespace; writing needs CAP_NET_ADMIN. The rest is constant, and there because programs ask for it.
 */
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#include "fs/proc/net.h"
#include "net/hostinet.h"
#include "net/netstack.h"
#include "net/stack/netmem.h"
#include "net/stack/port.h"
#include "net/stack/tcp.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

enum kind { NUMBER, FLAG };

static const struct setting {
	const char *name;
	enum kind kind;
	size_t offset;
	int low, high;
} settings[] = {
#define SETTING(name, kind, field, low, high)                                                                          \
	{                                                                                                              \
		name, kind, offsetof(struct tcp_conf, field), low, high                                                \
	}
    SETTING("tcp_abort_on_overflow", FLAG, abort_on_overflow, 0, 1),
    SETTING("tcp_ecn", NUMBER, ecn, 0, 2),
    SETTING("tcp_fastopen", NUMBER, fastopen, 0, INT32_MAX),
    SETTING("tcp_fin_timeout", NUMBER, fin_timeout, 0, 32767),
    SETTING("tcp_keepalive_intvl", NUMBER, keepalive_interval, 1, 32767),
    SETTING("tcp_keepalive_probes", NUMBER, keepalive_probes, 1, 127),
    SETTING("tcp_keepalive_time", NUMBER, keepalive_time, 1, 32767),
    SETTING("tcp_max_orphans", NUMBER, max_orphans, 0, 1 << 20),
    SETTING("tcp_max_syn_backlog", NUMBER, max_syn_backlog, 0, 1 << 16),
    SETTING("tcp_max_tw_buckets", NUMBER, max_tw_buckets, 0, 1 << 20),
    SETTING("tcp_min_snd_mss", NUMBER, min_snd_mss, 48, 65535),
    SETTING("tcp_moderate_rcvbuf", FLAG, moderate_rcvbuf, 0, 1),
    SETTING("tcp_orphan_retries", NUMBER, orphan_retries, 0, 255),
    SETTING("tcp_retries1", NUMBER, retries1, 0, 255),
    SETTING("tcp_retries2", NUMBER, retries2, 0, 255),
    SETTING("tcp_rfc1337", FLAG, rfc1337, 0, 1),
    SETTING("tcp_sack", FLAG, sack, 0, 1),
    SETTING("tcp_slow_start_after_idle", FLAG, idle_restart, 0, 1),
    SETTING("tcp_syn_retries", NUMBER, syn_retries, 1, 127),
    SETTING("tcp_synack_retries", NUMBER, synack_retries, 0, 255),
    SETTING("tcp_syncookies", FLAG, syncookies, 0, 1),
    SETTING("tcp_timestamps", FLAG, timestamps, 0, 1),
    SETTING("tcp_tw_reuse", NUMBER, tw_reuse, 0, 2),
    SETTING("tcp_window_scaling", FLAG, window_scaling, 0, 1),
};

static const struct setting *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (strcmp(settings[i].name, name) == 0)
			return &settings[i];
	return NULL;
}

/* Nobody may with --net host, where the stack is a picture only. */
static bool may_change(const struct ctx *c)
{
	return cred_capable(c->cred, CAP_NET_ADMIN) && !hostinet_used();
}

static int setting_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	const struct setting *k = find(r->node->name);
	struct stack *st = netstack_of(c);
	const char *at;
	int v;

	if (!st || !k)
		return -ENOMEM;
	stack_enter(st);
	at = (const char *)tcp_conf(st) + k->offset;
	v = k->kind == FLAG ? *(const bool *)at : *(const int *)at;
	stack_leave(st);
	seq_printf(s, "%d\n", v);
	return 0;
}

static int setting_store(struct ctx *c, const struct pseudo_ref *r, char *text, size_t size __unused)
{
	const struct setting *k = find(r->node->name);
	struct stack *st = netstack_of(c);
	char *end, *at;
	long v = strtol(text, &end, 10);

	if (!may_change(c))
		return -EPERM;
	if (!st || !k)
		return -ENOMEM;
	if (end == text || end[strspn(end, " \t\n")] || v < k->low || v > k->high)
		return -EINVAL;
	stack_enter(st);
	at = (char *)tcp_conf(st) + k->offset;
	if (k->kind == FLAG)
		*(bool *)at = v;
	else
		*(int *)at = (int)v;
	stack_leave(st);
	return 0;
}

/* tcp_rmem, tcp_wmem: the smallest, the first and the largest size. */
static int memory_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	struct stack *st = netstack_of(c);
	uint32_t m[3];

	if (!st)
		return -ENOMEM;
	stack_enter(st);
	memcpy(m, strcmp(r->node->name, "tcp_rmem") == 0 ? tcp_conf(st)->rmem : tcp_conf(st)->wmem, sizeof(m));
	stack_leave(st);
	seq_printf(s, "%u\t%u\t%u\n", m[0], m[1], m[2]);
	return 0;
}

static int memory_store(struct ctx *c, const struct pseudo_ref *r, char *text, size_t size __unused)
{
	struct stack *st = netstack_of(c);
	uint32_t m[3];

	if (!may_change(c))
		return -EPERM;
	if (sscanf(text, "%u %u %u", &m[0], &m[1], &m[2]) != 3 || m[0] < 4096 || m[2] > 1u << 30 || m[0] > m[1] ||
	    m[1] > m[2])
		return -EINVAL;
	if (!st)
		return -ENOMEM;
	stack_enter(st);
	memcpy(strcmp(r->node->name, "tcp_rmem") == 0 ? tcp_conf(st)->rmem : tcp_conf(st)->wmem, m, sizeof(m));
	stack_leave(st);
	return 0;
}

/* tcp_mem, udp_mem: of the whole sandbox, in pages. */
static struct net_memory *memory_of(const struct pseudo_ref *r)
{
	return strcmp(r->node->name, "tcp_mem") == 0 ? &tcp_memory : &udp_memory;
}

static int pages_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	uint32_t m[3];

	net_memory_limits(memory_of(r), m);
	seq_printf(s, "%u\t%u\t%u\n", m[0], m[1], m[2]);
	return 0;
}

static int pages_store(struct ctx *c, const struct pseudo_ref *r, char *text, size_t size __unused)
{
	uint32_t m[3];
	size_t pages = arena_limit() / PAGE_SIZE;

	if (!cred_capable(c->cred, CAP_NET_ADMIN))
		return -EPERM;
	if (sscanf(text, "%u %u %u", &m[0], &m[1], &m[2]) != 3)
		return -EINVAL;
	/* A guest may have less than the sandbox has for this, not more. */
	for (unsigned i = 0; i < ARRAY_SIZE(m); i++)
		m[i] = (uint32_t)MIN((size_t)m[i], pages / 8);
	net_memory_set_limits(memory_of(r), m);
	return 0;
}

static int ports_show(struct ctx *c, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct stack *st = netstack_of(c);
	uint16_t low, high;

	if (!st)
		return -ENOMEM;
	stack_enter(st);
	port_range_get(st, &low, &high);
	stack_leave(st);
	seq_printf(s, "%u\t%u\n", low, high);
	return 0;
}

static int ports_store(struct ctx *c, const struct pseudo_ref *r __unused, char *text, size_t size __unused)
{
	struct stack *st = netstack_of(c);
	unsigned low, high;

	if (!may_change(c))
		return -EPERM;
	if (sscanf(text, "%u %u", &low, &high) != 2 || low < 1 || high > 65535 || low > high)
		return -EINVAL;
	if (!st)
		return -ENOMEM;
	stack_enter(st);
	port_range_set(st, (uint16_t)low, (uint16_t)high);
	stack_leave(st);
	return 0;
}

static int congestion_show(struct ctx *c, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct stack *st = netstack_of(c);

	if (!st)
		return -ENOMEM;
	stack_enter(st);
	seq_printf(s, "%s\n", tcp_conf(st)->congestion);
	stack_leave(st);
	return 0;
}

static int congestion_store(struct ctx *c, const struct pseudo_ref *r __unused, char *text, size_t size __unused)
{
	struct stack *st = netstack_of(c);

	if (!may_change(c))
		return -EPERM;
	text[strcspn(text, "\n")] = 0;
	if (strcmp(text, "cubic") != 0 && strcmp(text, "reno") != 0)
		return -ENOENT;
	if (!st)
		return -ENOMEM;
	stack_enter(st);
	strcpy(tcp_conf(st)->congestion, text);
	stack_leave(st);
	return 0;
}

/* ipv4/ip_forward; ipv6/conf/all/forwarding. */
static int forward_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	struct stack *st = netstack_of(c);
	bool on;

	if (!st)
		return -ENOMEM;
	stack_enter(st);
	on = stack_forwarding(st, r->node->name[0] == 'f');
	stack_leave(st);
	seq_printf(s, "%d\n", on);
	return 0;
}

static int forward_store(struct ctx *c, const struct pseudo_ref *r, char *text, size_t size __unused)
{
	struct stack *st = netstack_of(c);
	char *end;
	long v = strtol(text, &end, 10);

	if (!cred_capable(c->cred, CAP_NET_ADMIN))
		return -EPERM;
	if (end == text || end[strspn(end, " \t\n")])
		return -EINVAL;
	if (!st)
		return -ENOMEM;
	stack_enter(st);
	stack_set_forwarding(st, r->node->name[0] == 'f', v != 0);
	stack_leave(st);
	return 0;
}

/* ipv4/ and ipv6/fib_multipath_hash_policy, which are told apart by where they are. */
static int policy_show(struct ctx *c, struct seq *s, bool v6)
{
	struct stack *st = netstack_of(c);
	uint8_t policy;

	if (!st)
		return -ENOMEM;
	stack_enter(st);
	policy = stack_hash_policy(st, v6);
	stack_leave(st);
	seq_printf(s, "%u\n", policy);
	return 0;
}

static int policy_store(struct ctx *c, char *text, bool v6)
{
	struct stack *st = netstack_of(c);
	char *end;
	long v = strtol(text, &end, 10);

	if (!may_change(c))
		return -EPERM;
	if (end == text || end[strspn(end, " \t\n")] || v < 0 || v > 1)
		return -EINVAL;
	if (!st)
		return -ENOMEM;
	stack_enter(st);
	stack_set_hash_policy(st, v6, (uint8_t)v);
	stack_leave(st);
	return 0;
}

static int policy4_show(struct ctx *c, const struct pseudo_ref *r __unused, struct seq *s)
{
	return policy_show(c, s, false);
}

static int policy4_store(struct ctx *c, const struct pseudo_ref *r __unused, char *text, size_t size __unused)
{
	return policy_store(c, text, false);
}

static int policy6_show(struct ctx *c, const struct pseudo_ref *r __unused, struct seq *s)
{
	return policy_show(c, s, true);
}

static int policy6_store(struct ctx *c, const struct pseudo_ref *r __unused, char *text, size_t size __unused)
{
	return policy_store(c, text, true);
}

static int constant_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	static const struct {
		const char *name, *text;
	} texts[] = {
	    {"icmp_echo_ignore_all", "0"},
	    {"ip_default_ttl", "64"},
	    {"ip_nonlocal_bind", "0"},
	    {"ip_unprivileged_port_start", "1024"},
	    {"ping_group_range", "0\t2147483647"},
	    {"tcp_allowed_congestion_control", "reno cubic"},
	    {"tcp_available_congestion_control", "reno cubic"},
	    {"tcp_mtu_probing", "0"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].name, r->node->name) == 0)
			seq_printf(s, "%s\n", texts[i].text);
	return 0;
}

#define CONSTANT(n)                                                                                                    \
	{                                                                                                              \
		.name = n, .mode = 0444, .show = constant_show                                                         \
	}
#define VARIABLE(n)                                                                                                    \
	{                                                                                                              \
		.name = n, .mode = 0644, .show = setting_show, .store = setting_store                                  \
	}

const struct pseudo_node proc_sys_ipv4_nodes[] = {
    {.name = "fib_multipath_hash_policy", .mode = 0644, .show = policy4_show, .store = policy4_store},
    CONSTANT("icmp_echo_ignore_all"),
    CONSTANT("ip_default_ttl"),
    {.name = "ip_forward", .mode = 0644, .show = forward_show, .store = forward_store},
    {.name = "ip_local_port_range", .mode = 0644, .show = ports_show, .store = ports_store},
    CONSTANT("ip_nonlocal_bind"),
    CONSTANT("ip_unprivileged_port_start"),
    CONSTANT("ping_group_range"),
    VARIABLE("tcp_abort_on_overflow"),
    CONSTANT("tcp_allowed_congestion_control"),
    CONSTANT("tcp_available_congestion_control"),
    {.name = "tcp_congestion_control", .mode = 0644, .show = congestion_show, .store = congestion_store},
    VARIABLE("tcp_ecn"),
    VARIABLE("tcp_fastopen"),
    VARIABLE("tcp_fin_timeout"),
    VARIABLE("tcp_keepalive_intvl"),
    VARIABLE("tcp_keepalive_probes"),
    VARIABLE("tcp_keepalive_time"),
    VARIABLE("tcp_max_orphans"),
    VARIABLE("tcp_max_syn_backlog"),
    VARIABLE("tcp_max_tw_buckets"),
    {.name = "tcp_mem", .mode = 0644, .show = pages_show, .store = pages_store},
    VARIABLE("tcp_min_snd_mss"),
    VARIABLE("tcp_moderate_rcvbuf"),
    CONSTANT("tcp_mtu_probing"),
    VARIABLE("tcp_orphan_retries"),
    VARIABLE("tcp_retries1"),
    VARIABLE("tcp_retries2"),
    VARIABLE("tcp_rfc1337"),
    {.name = "tcp_rmem", .mode = 0644, .show = memory_show, .store = memory_store},
    VARIABLE("tcp_sack"),
    VARIABLE("tcp_slow_start_after_idle"),
    VARIABLE("tcp_syn_retries"),
    VARIABLE("tcp_synack_retries"),
    VARIABLE("tcp_syncookies"),
    VARIABLE("tcp_timestamps"),
    VARIABLE("tcp_tw_reuse"),
    VARIABLE("tcp_window_scaling"),
    {.name = "tcp_wmem", .mode = 0644, .show = memory_show, .store = memory_store},
    {.name = "udp_mem", .mode = 0644, .show = pages_show, .store = pages_store},
    PSEUDO_END,
};

static const struct pseudo_node ipv6_all_nodes[] = {
    {.name = "forwarding", .mode = 0644, .show = forward_show, .store = forward_store},
    PSEUDO_END,
};

static const struct pseudo_node ipv6_conf_nodes[] = {
    {.name = "all", .mode = 0555, .children = ipv6_all_nodes},
    PSEUDO_END,
};

const struct pseudo_node proc_sys_ipv6_nodes[] = {
    {.name = "conf", .mode = 0555, .children = ipv6_conf_nodes},
    {.name = "fib_multipath_hash_policy", .mode = 0644, .show = policy6_show, .store = policy6_store},
    PSEUDO_END,
};
