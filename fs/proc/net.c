/*
 * /proc/PID/net: proc_pid_net(5). There is one network for all processes: sockets that connect to each other within the sandbox (net/loop.c,
 * net/unix.c) and the interface lo. Columns and widths are Linux's, byte for byte, since programs read them by position.
 *
 * Left out is what nobody counts here (snmp, netstat) and what describes Linux's own code (protocols). Of a TCP connection that never loses a
 * packet there is no timer, no estimate and nothing unacknowledged; those columns show what a new connection has on Linux. Where Linux prints the
 * address of its socket this prints zeros, as Linux does for who may not know it.
 */
#include <inttypes.h>
#include <netinet/tcp.h>

#include "fs/proc/proc.h"
#include "net/netstack.h"
#include "net/sockinfo.h"
#include "net/stack/netdev.h"

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

static void show_tcp(const struct sock_info *i, void *arg)
{
	bool listening = i->state == TCP_LISTEN;
	struct inet_table *t = arg;
	size_t start = t->s->len;

	if (i->type != SOCK_STREAM || i->state == TCP_CLOSE)
		return;
	seq_printf(t->s, "%4u: ", t->count++);
	show_ends(t->s, i);
	seq_printf(t->s, "%02X %08X:%08X 00:00000000 00000000 %5u        0 %" PRIu64 " %u %016x %s", i->state, 0,
		   i->unread, i->uid, i->ino, i->refs, 0, listening ? "100 0 0 10 0" : "20 4 0 10 -1");
	if (i->family == AF_INET)
		seq_pad(t->s, start, 149);
	seq_puts(t->s, "\n");
}

static void show_udp(const struct sock_info *i, void *arg)
{
	struct inet_table *t = arg;
	size_t start = t->s->len;

	if (i->type != SOCK_DGRAM || !i->local_port)
		return;
	seq_printf(t->s, "%5u: ", t->count++);
	show_ends(t->s, i);
	seq_printf(t->s, "%02X %08X:%08X 00:00000000 00000000 %5u        0 %" PRIu64 " %u %016x %u", i->state, 0,
		   i->charged, i->uid, i->ino, i->refs, 0, i->drops);
	if (i->family == AF_INET)
		seq_pad(t->s, start, 127);
	seq_puts(t->s, "\n");
}

static int tcp_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct inet_table t = {.s = s};

	seq_printf(s, "%-149s\n",
		   "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode");
	socket_for_each(AF_INET, show_tcp, &t);
	return 0;
}

static int tcp6_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct inet_table t = {.s = s};

	seq_puts(s, ADDR6_HEADER "\n");
	socket_for_each(AF_INET6, show_tcp, &t);
	return 0;
}

static int udp_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct inet_table t = {.s = s};

	seq_printf(s, "%-127s\n", " " DATAGRAM_HEADER);
	socket_for_each(AF_INET, show_udp, &t);
	return 0;
}

static int udp6_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct inet_table t = {.s = s};

	seq_puts(s, ADDR6_HEADER " ref pointer drops\n");
	socket_for_each(AF_INET6, show_udp, &t);
	return 0;
}

/* There are none. */
static int raw_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, DATAGRAM_HEADER "\n");
	return 0;
}

static int raw6_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, ADDR6_HEADER " ref pointer drops\n");
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

static int unix_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "Num       RefCount Protocol Flags    Type St Inode Path\n");
	socket_for_each(AF_UNIX, show_unix, s);
	return 0;
}

static int packet_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n");
	return 0;
}

struct sock_counts {
	unsigned all, tcp_alloc;
	unsigned tcp[2], udp[2]; /* in use; IPv4, IPv6 */
	uint64_t tcp_memory, udp_memory;
};

static void count_socket(const struct sock_info *i, void *arg)
{
	struct sock_counts *n = arg;
	int v6 = i->family == AF_INET6;
	uint64_t pages = (i->charged + PAGE_SIZE - 1) >> PAGE_SHIFT;

	n->all++;
	if (i->family != AF_INET && i->family != AF_INET6)
		return;
	if (i->type == SOCK_STREAM) {
		n->tcp_alloc++;
		n->tcp[v6] += i->state != TCP_CLOSE;
		n->tcp_memory += pages;
	} else {
		n->udp[v6] += i->local_port != 0;
		n->udp_memory += pages;
	}
}

static int sockstat_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct sock_counts n = {0};

	socket_for_each(AF_UNSPEC, count_socket, &n);
	seq_printf(s, "sockets: used %u\nTCP: inuse %u orphan 0 tw 0 alloc %u mem %" PRIu64 "\n", n.all, n.tcp[0],
		   n.tcp_alloc, n.tcp_memory);
	seq_printf(s, "UDP: inuse %u mem %" PRIu64 "\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
		   n.udp[0], n.udp_memory);
	return 0;
}

static int sockstat6_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct sock_counts n = {0};

	socket_for_each(AF_INET6, count_socket, &n);
	seq_printf(s, "TCP6: inuse %u\nUDP6: inuse %u\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n",
		   n.tcp[1], n.udp[1]);
	return 0;
}

/* ---- the interface ---- */

static void show_dev(struct seq *s, const struct netdev *d)
{
	const struct netdev_stats *n = &d->stats;

	seq_printf(s, "%6s: %7" PRIu64 " %7" PRIu64 " %4" PRIu64 " %4" PRIu64 "    0     0          0 %9" PRIu64,
		   d->name, n->rx_bytes, n->rx_packets, n->rx_errors, n->rx_dropped, n->multicast);
	seq_printf(s, " %8" PRIu64 " %7" PRIu64 " %4" PRIu64 " %4" PRIu64 "    0     0       0          0\n",
		   n->tx_bytes, n->tx_packets, n->tx_errors, n->tx_dropped);
}

static int dev_show(struct ctx *c, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct stack *st = netstack_of(c);
	const struct netdev *d = NULL;

	if (!st)
		return -ENOMEM;
	seq_puts(s, "Inter-|   Receive                                                |  Transmit\n"
		    " face |bytes    packets errs drop fifo frame compressed multicast|"
		    "bytes    packets errs drop fifo colls carrier compressed\n");
	stack_enter(st);
	while ((d = netdev_next(st, d ? d->index : 0)))
		show_dev(s, d);
	stack_leave(st);
	return 0;
}

#define NO_ADDR "00000000000000000000000000000000"
#define LO_ADDR "00000000000000000000000000000001"

static int if_inet6_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, LO_ADDR " 01 80 10 80       lo\n");
	return 0;
}

/* The main table, which is empty without a network; lo's addresses stand in the local one, which Linux does not show here. */
static int route_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_printf(s, "%-127s\n",
		   "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT");
	return 0;
}

/* For IPv6 it shows all: the own address, and that everything else is unreachable. */
static int ipv6_route_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, LO_ADDR " 80 " NO_ADDR " 00 " NO_ADDR " 00000000 00000002 00000000 80200001       lo\n");
	seq_puts(s, NO_ADDR " 00 " NO_ADDR " 00 " NO_ADDR " ffffffff 00000001 00000000 00200200       lo\n");
	return 0;
}

static int arp_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "IP address       HW type     Flags       HW address            Mask     Device\n");
	return 0;
}

const struct pseudo_node proc_net_nodes[] = {
    {.name = "arp", .mode = 0444, .show = arp_show},
    {.name = "dev", .mode = 0444, .show = dev_show},
    {.name = "if_inet6", .mode = 0444, .show = if_inet6_show},
    {.name = "ipv6_route", .mode = 0444, .show = ipv6_route_show},
    {.name = "packet", .mode = 0444, .show = packet_show},
    {.name = "raw", .mode = 0444, .show = raw_show},
    {.name = "raw6", .mode = 0444, .show = raw6_show},
    {.name = "route", .mode = 0444, .show = route_show},
    {.name = "sockstat", .mode = 0444, .show = sockstat_show},
    {.name = "sockstat6", .mode = 0444, .show = sockstat6_show},
    {.name = "tcp", .mode = 0444, .show = tcp_show},
    {.name = "tcp6", .mode = 0444, .show = tcp6_show},
    {.name = "udp", .mode = 0444, .show = udp_show},
    {.name = "udp6", .mode = 0444, .show = udp6_show},
    {.name = "unix", .mode = 0444, .show = unix_show},
    PSEUDO_END,
};
