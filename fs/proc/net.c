/*
 * /proc/PID/net, sockets: proc_pid_net(5). They are about the process's network namespace. Columns and widths are Linux's, byte for byte, since programs read
 * them by position. The files about interfaces and routes are in net_stack.c.
 *
 * A table is what all sockets tell of themselves, without a lock held, and for TCP what the stack has beside those. Where Linux prints the address of
 * its socket this prints zeros, as Linux does for who may not know it. What describes Linux's own code (protocols) is left out.
 */
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>

#include "fs/proc/net.h"
#include "fs/proc/proc.h"
#include "net/netstack.h"
#include "net/sockinfo.h"
#include "net/stack/addr.h"
#include "net/stack/netmem.h"
#include "net/stack/tcp.h"
#include "sentry/task.h"

#define SS_UNCONNECTED 1
#define SS_CONNECTING 2
#define SS_CONNECTED 3
#define SS_DISCONNECTING 4
#define ACCEPTING_FLAG 0x10000u /* __SO_ACCEPTCON */

#define ADDR6_HEADER                                                                                                   \
	"  sl  local_address                         remote_address                        st tx_queue rx_queue tr "   \
	"tm->when retrnsmt   uid  timeout inode"
#define DATAGRAM_HEADER                                                                                                \
	"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref "        \
	"pointer drops"

/* ---- Internet sockets ---- */

/* A table in the making. */
struct inet_table {
	struct seq *s;
	int family;
	unsigned count;
};

/* In words of the machine's order, as Linux prints them. */
static void show_addr(struct seq *s, int family, const struct in6_addr *a, uint16_t port)
{
	for (int i = family == AF_INET ? 3 : 0; i < 4; i++)
		seq_printf(s, "%08X", a->s6_addr32[i]);
	seq_printf(s, ":%04X ", port);
}

static void show_ends(struct seq *s, const struct sock_info *i)
{
	show_addr(s, i->family, &i->local, i->local_port);
	show_addr(s, i->family, &i->remote, i->remote_port);
}

/* In hundredths of a second, as the files have it. */
static uint64_t ticks(int64_t ns)
{
	return (uint64_t)MAX(ns, 0) / (NSEC_PER_SEC / 100);
}

static void show_tcp_row(struct inet_table *t, const struct sock_info *i, const char *end)
{
	size_t start = t->s->len;

	seq_printf(t->s, "%4u: ", t->count++);
	show_ends(t->s, i);
	seq_printf(t->s, "%02X %08X:%08X %02X:%08" PRIX64 " %08X %5u %8u %" PRIu64 " %u %016x%s", i->state, i->unsent,
		   i->unread, i->timer, ticks(i->timer_left), i->retransmits, i->uid, i->probes, i->ino, i->refs, 0,
		   end);
	if (i->family == AF_INET)
		seq_pad(t->s, start, 149);
	seq_puts(t->s, "\n");
}

static void show_tcp(const struct sock_info *i, void *arg)
{
	char end[64];

	if (i->type != SOCK_STREAM || i->state == TCP_CLOSE)
		return;
	snprintf(end, sizeof(end), " %" PRIu64 " %" PRIu64 " %u %u %d", ticks(i->rto), ticks(i->ato), i->quick, i->cwnd,
		 i->ssthresh);
	show_tcp_row(arg, i, end);
}

/* What has no socket: connections that nobody has accepted yet, or that go on after close(2). */
static void show_tcp_rest(const struct tcp_ep *ep, void *arg) REQUIRES(L_NET)
{
	const struct tcp_sock *tp = container_of(ep, struct tcp_sock, ep);
	int family = addr_is_v4(&ep->key.laddr) ? AF_INET : AF_INET6;
	struct inet_table *t = arg;
	int64_t deadline = 0;
	struct sock_info i = {.state = ep->state, .refs = 1, .uid = ep->bind.uid};

	if (ep->kind == TCP_IS_SOCK && tp->owner)
		return;
	if (ep->kind == TCP_IS_SOCK && tp->listener && !addr_is_v4(&tp->listener->ep.bind.addr))
		family = AF_INET6;
	if (family != t->family)
		return;
	i.family = (uint16_t)family;
	i.local = ep->key.laddr;
	i.local_port = ep->key.lport;
	i.remote = ep->key.raddr;
	i.remote_port = ep->key.rport;
	i.timer = (uint8_t)tcp_timer_kind(ep, &deadline);
	i.timer_left = i.timer ? deadline - stack_now(ep->stack) : 0;
	if (ep->kind == TCP_IS_SOCK)
		i.unread = tcp_inq(tp);
	show_tcp_row(t, &i, ep->kind == TCP_IS_SOCK ? " 20 4 0 10 -1" : "");
}

struct netns *proc_net_of(const struct pseudo_ref *r)
{
	struct task *t = proc_task(r);
	struct netns *net = t ? task_get_net(t) : NULL;

	task_put(t);
	return net;
}

static int show_tcp_table(const struct pseudo_ref *r, struct seq *s, int family)
{
	struct inet_table t = {.s = s, .family = family};
	NETNS_REF net = proc_net_of(r);
	struct stack *st = net ? netns_stack(net) : NULL;

	if (!st)
		return net ? -ENOMEM : -EINVAL;
	socket_for_each(net, family, show_tcp, &t);
	stack_enter(st);
	tcp_for_each(st, show_tcp_rest, &t);
	stack_leave(st);
	return 0;
}

/* A row of udp, icmp or raw, which is padded in some of them. */
static void show_dgram(struct inet_table *t, const struct sock_info *i, const char *number, size_t width)
{
	size_t start = t->s->len;

	seq_printf(t->s, number, i->type == SOCK_RAW ? i->local_port : t->count++);
	show_ends(t->s, i);
	seq_printf(t->s, "%02X %08X:%08X 00:00000000 00000000 %5u        0 %" PRIu64 " %u %016x %u", i->state, 0,
		   i->charged, i->uid, i->ino, i->refs, 0, i->drops);
	if (i->family == AF_INET && width)
		seq_pad(t->s, start, width);
	seq_puts(t->s, "\n");
}

static void show_udp(const struct sock_info *i, void *arg)
{
	if (i->protocol == IPPROTO_UDP && i->type == SOCK_DGRAM && i->local_port)
		show_dgram(arg, i, "%5u: ", 127);
}

static void show_udplite(const struct sock_info *i, void *arg)
{
	if (i->protocol == IPPROTO_UDPLITE && i->type == SOCK_DGRAM && i->local_port)
		show_dgram(arg, i, "%5u: ", 127);
}

static void show_ping(const struct sock_info *i, void *arg)
{
	if ((i->protocol == IPPROTO_ICMP || i->protocol == IPPROTO_ICMPV6) && i->type == SOCK_DGRAM && i->local_port)
		show_dgram(arg, i, "%5u: ", 127);
}

static void show_raw(const struct sock_info *i, void *arg)
{
	if (i->type == SOCK_RAW)
		show_dgram(arg, i, "%4u: ", 0);
}

static int tcp_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	seq_printf(s, "%-149s\n",
		   "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode");
	return show_tcp_table(r, s, AF_INET);
}

static int tcp6_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	seq_puts(s, ADDR6_HEADER "\n");
	return show_tcp_table(r, s, AF_INET6);
}

typedef void (*show_fn)(const struct sock_info *i, void *arg);

/* udp, udplite, icmp and raw: which of them the file's name says. */
static show_fn dgram_rows(const char *name)
{
	if (strncmp(name, "udplite", 7) == 0)
		return show_udplite;
	return *name == 'r' ? show_raw : *name == 'u' ? show_udp : show_ping;
}

static int dgram_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	struct inet_table t = {.s = s};
	NETNS_REF net = proc_net_of(r);
	bool raw = r->node->name[0] == 'r';

	if (!net)
		return -EINVAL;
	if (raw)
		seq_puts(s, DATAGRAM_HEADER "\n");
	else
		seq_printf(s, "%-127s\n", " " DATAGRAM_HEADER);
	socket_for_each(net, AF_INET, dgram_rows(r->node->name), &t);
	return 0;
}

static int dgram6_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	struct inet_table t = {.s = s};
	NETNS_REF net = proc_net_of(r);

	if (!net)
		return -EINVAL;
	seq_puts(s, ADDR6_HEADER " ref pointer drops\n");
	socket_for_each(net, AF_INET6, dgram_rows(r->node->name), &t);
	return 0;
}

/* ---- other sockets ---- */

static unsigned unix_show_state(const struct sock_info *i)
{
	if (i->ino)
		return i->state == TCP_ESTABLISHED ? SS_CONNECTED : SS_UNCONNECTED;
	return i->state == TCP_ESTABLISHED ? SS_CONNECTING : SS_DISCONNECTING;
}

static void show_unix(const struct sock_info *i, void *arg)
{
	struct seq *s = arg;

	seq_printf(s, "%016x: %08X %08X %08X %04X %02X %5" PRIu64, 0, i->refs, 0,
		   i->state == TCP_LISTEN ? ACCEPTING_FLAG : 0, i->type, unix_show_state(i), i->ino);
	if (i->name_len)
		seq_puts(s, " ");
	for (unsigned n = 0; n < i->name_len; n++)
		seq_write(s, i->name[n] ? &i->name[n] : "@", 1);
	seq_puts(s, "\n");
}

static int unix_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	NETNS_REF net = proc_net_of(r);

	if (!net)
		return -EINVAL;
	seq_puts(s, "Num       RefCount Protocol Flags    Type St Inode Path\n");
	socket_for_each(net, AF_UNIX, show_unix, s);
	return 0;
}

static void show_packet(const struct sock_info *i, void *arg)
{
	seq_printf(arg, "%016x %-6u %-4u %04x   %-5d %1d %-6u %-6u %-6" PRIu64 "\n", 0, i->refs + 1 + i->running,
		   i->type, i->local_port, (int)i->dev, i->running, i->charged, i->uid, i->ino);
}

static int packet_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	NETNS_REF net = proc_net_of(r);

	if (!net)
		return -EINVAL;
	seq_puts(s, "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n");
	socket_for_each(net, AF_PACKET, show_packet, s);
	return 0;
}

struct sock_counts {
	unsigned all, tcp_alloc, tcp_orphan, tcp_wait;
	unsigned tcp[2], udp[2], raw[2]; /* in use; IPv4, IPv6 */
};

static void count_socket(const struct sock_info *i, void *arg)
{
	struct sock_counts *n = arg;
	int v6 = i->family == AF_INET6;

	n->all++;
	if (i->family != AF_INET && i->family != AF_INET6)
		return;
	if (i->type == SOCK_STREAM) {
		n->tcp_alloc++;
		n->tcp[v6] += i->state != TCP_CLOSE;
	} else if (i->type == SOCK_RAW) {
		n->raw[v6]++;
	} else if (i->protocol == IPPROTO_UDP) {
		n->udp[v6] += i->local_port != 0;
	}
}

static void count_rest(const struct tcp_ep *ep, void *arg)
{
	const struct tcp_sock *tp = container_of(ep, struct tcp_sock, ep);
	struct sock_counts *n = arg;

	if (ep->kind == TCP_IS_TIMEWAIT)
		n->tcp_wait++;
	else if (ep->kind == TCP_IS_SOCK && tp->orphan)
		n->tcp_orphan++;
}

static int sockstat_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	NETNS_REF net = proc_net_of(r);
	struct stack *st = net ? netns_stack(net) : NULL;
	struct sock_counts n = {0};

	if (!st)
		return net ? -ENOMEM : -EINVAL;
	socket_for_each(net, AF_UNSPEC, count_socket, &n);
	stack_enter(st);
	tcp_for_each(st, count_rest, &n);
	stack_leave(st);
	seq_printf(s, "sockets: used %u\nTCP: inuse %u orphan %u tw %u alloc %u mem %" PRIu64 "\n", n.all, n.tcp[0],
		   n.tcp_orphan, n.tcp_wait, n.tcp_alloc, net_memory_used(&tcp_memory));
	seq_printf(s, "UDP: inuse %u mem %" PRIu64 "\nUDPLITE: inuse 0\nRAW: inuse %u\nFRAG: inuse 0 memory 0\n",
		   n.udp[0], net_memory_used(&udp_memory), n.raw[0]);
	return 0;
}

static int sockstat6_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	NETNS_REF net = proc_net_of(r);
	struct sock_counts n = {0};

	if (!net)
		return -EINVAL;
	socket_for_each(net, AF_INET6, count_socket, &n);
	seq_printf(s, "TCP6: inuse %u\nUDP6: inuse %u\nUDPLITE6: inuse 0\nRAW6: inuse %u\nFRAG6: inuse 0 memory 0\n",
		   n.tcp[1], n.udp[1], n.raw[1]);
	return 0;
}

const struct pseudo_node proc_net_nodes[] = {
    {.name = "arp", .mode = 0444, .show = proc_net_arp},
    {.name = "dev", .mode = 0444, .show = proc_net_dev},
    {.name = "dev_mcast", .mode = 0444, .show = proc_net_dev_mcast},
    {.name = "icmp", .mode = 0444, .show = dgram_show},
    {.name = "icmp6", .mode = 0444, .show = dgram6_show},
    {.name = "if_inet6", .mode = 0444, .show = proc_net_if_inet6},
    {.name = "igmp", .mode = 0444, .show = proc_net_igmp},
    {.name = "igmp6", .mode = 0444, .show = proc_net_igmp6},
    {.name = "ipv6_route", .mode = 0444, .show = proc_net_ipv6_route},
    {.name = "netstat", .mode = 0444, .show = proc_net_netstat},
    {.name = "packet", .mode = 0444, .show = packet_show},
    {.name = "raw", .mode = 0444, .show = dgram_show},
    {.name = "raw6", .mode = 0444, .show = dgram6_show},
    {.name = "route", .mode = 0444, .show = proc_net_route},
    {.name = "snmp", .mode = 0444, .show = proc_net_snmp},
    {.name = "snmp6", .mode = 0444, .show = proc_net_snmp6},
    {.name = "sockstat", .mode = 0444, .show = sockstat_show},
    {.name = "sockstat6", .mode = 0444, .show = sockstat6_show},
    {.name = "tcp", .mode = 0444, .show = tcp_show},
    {.name = "tcp6", .mode = 0444, .show = tcp6_show},
    {.name = "udp", .mode = 0444, .show = dgram_show},
    {.name = "udp6", .mode = 0444, .show = dgram6_show},
    {.name = "udplite", .mode = 0444, .show = dgram_show},
    {.name = "udplite6", .mode = 0444, .show = dgram6_show},
    {.name = "unix", .mode = 0444, .show = unix_show},
    PSEUDO_END,
};
