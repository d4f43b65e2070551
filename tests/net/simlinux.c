/*
 * A simulator between this stack's TCP/IP and Linux's: both on one wire that loses, delays, duplicates, reorders, corrupts, cuts by a queue and a rate, as a
 * seed says. Every byte of every connection is verified, in both directions, and every datagram that arrives; with an undamaged wire Linux may not have found a bad checksum.
 *
 * Each seed is a process in a network namespace of its own (and a user namespace, if need be), which go with it, whatever happens. A TAP device there is
 * Linux's end of the wire; its other end, the wire itself and our stack are in the process: so netem is not needed, and what happens to frames follows from the seed. When it happens
 * does not, since Linux runs in real time. What else a seed decides: MTU, offloads (virtio-net headers, large packets), what both
 * TCPs may use (SACK, timestamps, window scaling, ECN), congestion control, buffers, who connects, pauses of readers. ARP and NDP pass unharmed.
 *
 *	simlinux [--first SEED] [--seeds COUNT] [--jobs COUNT]		simlinux --seed SEED (says what happens)
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/stack/neigh.h"
#include "runsc-shim/hostnet.h"
#include "tests/net/sim.h"

#define SKIP 77
#define SECONDS_MAX 100

struct sim sim;
struct in6_addr ours, theirs;
static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1};

uint64_t rnd(uint64_t below)
{
	sim.random ^= sim.random << 13;
	sim.random ^= sim.random >> 7;
	sim.random ^= sim.random << 17;
	return below ? (sim.random >> 11) % below : 0;
}

bool chance(unsigned of_1000)
{
	return rnd(1000) < of_1000;
}

void describe(char *to, size_t size)
{
	const struct params *p = &sim.p;

	snprintf(
	    to, size,
	    "seed %lu: IPv%d mtu %u offload %d loss %u dup %u reorder %u corrupt %u delay %.1f+%.1f ms rate %lu sack %d ts %d "
	    "ws %d ecn %d linux %s we %s bufs %d/%d %d/%d flows %u pause %u",
	    (unsigned long)p->seed, p->v6 ? 6 : 4, p->mtu, p->offload, p->loss, p->duplicate, p->reorder, p->corrupt,
	    (double)p->delay / 1e6, (double)p->jitter / 1e6, (unsigned long)p->rate, p->sack, p->timestamps, p->scaling,
	    p->ecn, p->cubic ? "cubic" : "reno", p->our_cubic ? "cubic" : "reno", p->our_sndbuf, p->our_rcvbuf,
	    p->linux_sndbuf, p->linux_rcvbuf, p->flows, p->pause);
}

static void describe_flow(unsigned i)
{
	const struct flow *f = &sim.flow[i];
	struct k_tcp_info t = {0};
	struct tcp_info l = {0};
	socklen_t n = sizeof(l);

	printf("  flow %u: we %s, up %d/%d; out %zu sent %zu seen of %zu%s; in %zu sent %zu seen of %zu%s\n", i,
	       f->we_connect ? "connect" : "accept", f->ours_up, f->linux_up, f->out.sent, f->out.received,
	       f->out.total, f->out.ended ? " ended" : "", f->in.sent, f->in.received, f->in.total,
	       f->in.ended ? " ended" : "");
	if (f->tp) {
		stack_enter(sim.s);
		tcp_info(f->tp, &t);
		stack_leave(sim.s);
		printf(
		    "    we: state %u ca %u retransmits %u probes %u backoff %u rto %u cwnd %u unacked %u sacked %u lost %u wnd %u\n",
		    t.state, t.ca_state, t.retransmits, t.probes, t.backoff, t.rto, t.snd_cwnd, t.unacked, t.sacked,
		    t.lost, t.snd_wnd);
	}
	if (f->fd >= 0 && getsockopt(f->fd, IPPROTO_TCP, TCP_INFO, &l, &n) == 0)
		printf(
		    "    Linux: state %u ca %u retransmits %u probes %u backoff %u rto %u cwnd %u unacked %u sacked %u lost %u\n",
		    l.tcpi_state, l.tcpi_ca_state, l.tcpi_retransmits, l.tcpi_probes, l.tcpi_backoff, l.tcpi_rto,
		    l.tcpi_snd_cwnd, l.tcpi_unacked, l.tcpi_sacked, l.tcpi_lost);
}

void fail(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	describe(line, sizeof(line));
	printf("FAILED %s\n  ", line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	for (unsigned i = 0; i < sim.p.flows && sim.s; i++)
		describe_flow(i);
	fflush(stdout);
	_exit(1);
}

void must(long r, const char *what)
{
	if (r < 0)
		fail("%s: %s", what, strerror(r == -1 ? errno : (int)-r));
}
/* ---- setting up ---- */

static void write_text(const char *path, const char *fmt, ...) __printf(2, 3);
static void write_text(const char *path, const char *fmt, ...)
{
	char text[128];
	va_list ap;
	int fd = open(path, O_WRONLY), n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		fail("%s: %s", path, strerror(errno));
	close(fd);
}

static void skip(const char *why)
{
	printf("%s: %s\n", why, strerror(errno));
	fflush(stdout);
	_exit(SKIP);
}

static void enter_namespaces(void)
{
	unsigned uid = getuid(), gid = getgid();

	if (unshare(CLONE_NEWNET) == 0)
		return;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		skip("no network namespace can be made");
	write_text("/proc/self/setgroups", "deny");
	write_text("/proc/self/uid_map", "0 %u 1", uid);
	write_text("/proc/self/gid_map", "0 %u 1", gid);
}

static void open_tap(void)
{
	struct ifreq r = {.ifr_name = "tap0", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	unsigned offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	sim.tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	if (sim.tap < 0)
		skip("/dev/net/tun cannot be opened");
	must(ioctl(sim.tap, TUNSETIFF, &r), "TUNSETIFF");
	must(ioctl(sim.tap, TUNSETOFFLOAD, sim.p.offload ? offload : 0), "TUNSETOFFLOAD");
}

/* Linux's end: address, neighbour, MTU, up. */
static void set_up_linux(uint8_t *ret_mac)
{
	struct hostnet_link link;
	struct hostnet_addr addr = {
	    .addr = theirs, .plen = sim.p.v6 ? 64 : 120, .valid = UINT32_MAX, .preferred = UINT32_MAX};
	struct hostnet_neigh neigh = {.addr = ours, .state = NUD_PERMANENT};
	struct hostnet h = {.addrs = &addr, .addr_count = 1, .neighs = &neigh, .neigh_count = 1}, now;
	struct ifreq r = {.ifr_name = "tap0", .ifr_mtu = (int)sim.p.mtu};
	int nl = hostnet_socket(-1), fd = socket(AF_INET, SOCK_DGRAM, 0);

	must(nl, "netlink");
	must(ioctl(fd, SIOCSIFMTU, &r), "SIOCSIFMTU");
	r.ifr_flags = IFF_UP;
	must(ioctl(fd, SIOCSIFFLAGS, &r), "SIOCSIFFLAGS");
	must(hostnet_read(nl, if_nametoindex("tap0"), &now), "hostnet_read");
	link = now.links[0];
	memcpy(ret_mac, link.mac, 6);
	addr.index = neigh.index = link.index;
	memcpy(neigh.mac, our_mac, 6);
	must(hostnet_restore(nl, &h), "hostnet_restore");
	hostnet_free(&now);
	close(nl);
	close(fd);
	write_text("/proc/sys/net/ipv4/tcp_sack", "%d", sim.p.sack);
	write_text("/proc/sys/net/ipv4/tcp_timestamps", "%d", sim.p.timestamps);
	write_text("/proc/sys/net/ipv4/tcp_window_scaling", "%d", sim.p.scaling);
	write_text("/proc/sys/net/ipv4/tcp_ecn", "%d", sim.p.ecn);
}

static int64_t env_now(void *arg __unused)
{
	return clock_now(CLOCK_MONOTONIC);
}

static void env_random(void *arg __unused, void *to, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sim.secret = sim.secret * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)to)[i] = (uint8_t)(sim.secret >> 40);
	}
}

static void env_wake_at(void *arg __unused, int64_t deadline)
{
	sim.wish = deadline;
}

static void hold_nothing(struct wakeup *w __unused)
{
}

static void deliver_nothing(struct wakeup *w __unused, uint32_t events __unused)
{
}

static void configure(const uint8_t *their_mac) REQUIRES(L_NET)
{
	static const struct link_ops ops = {.transmit = transmit};
	const struct netdev_config c = {.name = "eth0",
					.type = ARPHRD_ETHER,
					.flags = IFF_BROADCAST | IFF_MULTICAST,
					.features = NETDEV_ETHER | (sim.p.offload ? NETDEV_CHECKSUM | NETDEV_TSO : 0),
					.mtu = sim.p.mtu,
					.mac = our_mac,
					.ops = &ops};
	struct addr_config a = {
	    .addr = ours, .peer = ours, .plen = sim.p.v6 ? 64 : 120, .valid = INT64_MAX, .preferred = INT64_MAX};
	struct tcp_conf *conf = tcp_conf(sim.s);

	must(netdev_create(sim.s, &c, &sim.dev), "netdev_create");
	must(netdev_add_addr(sim.s, sim.dev, &a), "netdev_add_addr");
	must(netdev_set_flags(sim.s, sim.dev, IFF_UP, IFF_UP), "up");
	must(neigh_update(sim.s, sim.dev, &theirs, their_mac, NUD_PERMANENT, NEIGH_CREATE | NEIGH_ADMIN),
	     "neigh_update");
	conf->sack = rnd(4);
	conf->timestamps = rnd(4);
	conf->window_scaling = rnd(4);
	conf->ecn = (int)rnd(3);
	strcpy(conf->congestion, sim.p.our_cubic ? "cubic" : "reno");
	udp_init(&sim.udp, sim.p.v6);
	sim.udp.d.wakeup.hold = hold_nothing;
	sim.udp.d.wakeup.deliver = deliver_nothing;
	sim.udp.d.rcvbuf = 1 << 20;
	must(udp_bind(sim.s, &sim.udp, &ours, 9001, 0), "udp_bind");
}

static void set_up(void)
{
	const struct stack_env env = {env_now, env_random, env_wake_at, NULL};
	struct sockaddr_storage name;
	socklen_t len;
	uint8_t mac[6];

	inet_pton(AF_INET6, sim.p.v6 ? "fd00::2" : "::ffff:10.0.0.2", &ours);
	inet_pton(AF_INET6, sim.p.v6 ? "fd00::1" : "::ffff:10.0.0.1", &theirs);
	sim.wish = INT64_MAX;
	enter_namespaces();
	write_text("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
	open_tap();
	set_up_linux(mac);
	sim.s = stack_create(&env);
	if (!sim.s)
		fail("no memory");
	stack_enter(sim.s);
	configure(mac);
	stack_leave(sim.s);
	sim.udp_fd = linux_socket(SOCK_DGRAM);
	len = linux_name(&name, &theirs, 9000);
	must(bind(sim.udp_fd, (struct sockaddr *)&name, len), "bind");
	for (unsigned i = 0; i < sim.p.flows; i++)
		open_flow(&sim.flow[i], (uint16_t)(7000 + i));
}

/* ---- the run ---- */

static void sleep_a_little(int64_t now)
{
	int64_t until = MIN(sim.wish, now + 20 * MS);
	struct pollfd p[1 + 2 * FLOWS_MAX] = {{.fd = sim.tap, .events = POLLIN}};
	unsigned n = 1;

	until = MIN(until, next_frame());
	for (unsigned i = 0; i < sim.p.flows; i++) {
		struct flow *f = &sim.flow[i];

		if (now < f->out.read_at)
			until = MIN(until, f->out.read_at);
		if (now < f->in.read_at)
			until = MIN(until, f->in.read_at);
	}
	if (until > now)
		ppoll(p, n, &(struct timespec){0, MIN(until - now, 20 * MS)}, NULL);
}

/* Of /proc/net/snmp: the value in a column of a group. */
static unsigned long snmp(const char *group, const char *column)
{
	char names[1024], values[1024];
	char *n, *v, *n_rest, *v_rest;
	FILE *f = fopen("/proc/net/snmp", "re");

	while (f && fgets(names, sizeof(names), f) && fgets(values, sizeof(values), f)) {
		if (strncmp(names, group, strlen(group)) != 0)
			continue;
		n = strtok_r(names, " \n", &n_rest);
		v = strtok_r(values, " \n", &v_rest);
		for (; n && v; n = strtok_r(NULL, " \n", &n_rest), v = strtok_r(NULL, " \n", &v_rest))
			if (strcmp(n, column) == 0) {
				fclose(f);
				return strtoul(v, NULL, 10);
			}
	}
	fail("/proc/net/snmp has no %s of %s", column, group);
}

static void check_counters(void)
{
	if (sim.p.corrupt)
		return;
	if (snmp("Tcp:", "InCsumErrors") || snmp("Udp:", "InCsumErrors") || snmp("Ip:", "InHdrErrors"))
		fail("Linux has found bad checksums or headers of ours");
	stack_enter(sim.s);
	if (mib_get(sim.s, MIB_TCP_IN_CSUM_ERRORS) || mib_get(sim.s, MIB_IP_IN_HDR_ERRORS))
		fail("we have found bad checksums or headers of Linux's");
	stack_leave(sim.s);
	if (!sim.p.loss && !sim.p.rate && sim.udp_out && sim.udp_in && !(sim.udp_out_seen && sim.udp_in_seen))
		fail("no datagram arrives: %u of %u, %u of %u", sim.udp_out_seen, sim.udp_out, sim.udp_in_seen,
		     sim.udp_in);
}

static bool all_finished(void)
{
	for (unsigned i = 0; i < sim.p.flows; i++)
		if (!finished(&sim.flow[i]))
			return false;
	return true;
}

static void step(int64_t now)
{
	bool any = read_tap();

	any |= deliver_frames(now);
	if (now >= sim.wish) {
		sim.wish = INT64_MAX;
		stack_run(sim.s);
	}
	for (unsigned i = 0; i < sim.p.flows; i++)
		any |= run_flow(&sim.flow[i], (uint16_t)(7000 + i), now);
	send_datagrams();
	receive_datagrams();
	if (!any)
		sleep_a_little(now);
}

static int run_seed(uint64_t seed)
{
	int64_t start, now;
	char line[512];

	draw(seed);
	set_up();
	start = now = clock_now(CLOCK_MONOTONIC);
	/* The last datagrams have 300 ms. */
	for (int64_t end = INT64_MAX; now < end; now = clock_now(CLOCK_MONOTONIC)) {
		if (now - start > SECONDS_MAX * NSEC_PER_SEC)
			fail("stalled: %lu frames, %lu lost, %lu harmed", (unsigned long)sim.frames,
			     (unsigned long)sim.lost, (unsigned long)sim.harmed);
		step(now);
		if (end == INT64_MAX && all_finished())
			end = now + 300 * MS;
	}
	check_counters();
	for (unsigned i = 0; i < sim.p.flows; i++)
		close_flow(&sim.flow[i]);
	stack_enter(sim.s);
	udp_close(sim.s, &sim.udp);
	stack_leave(sim.s);
	describe(line, sizeof(line));
	if (sim.verbose)
		printf("%s\n  %.2f s, %lu frames, %lu lost, %lu harmed, datagrams %u of %u and %u of %u\n", line,
		       (double)(now - start) / 1e9, (unsigned long)sim.frames, (unsigned long)sim.lost,
		       (unsigned long)sim.harmed, sim.udp_out_seen, sim.udp_out, sim.udp_in_seen, sim.udp_in);
	stack_destroy(sim.s);
	return 0;
}

static void start(uint64_t seed)
{
	fflush(stdout);
	if (fork() == 0) {
		int status = run_seed(seed);

		fflush(stdout);
		_exit(status);
	}
}

static int run_all(uint64_t first, unsigned count, unsigned jobs)
{
	unsigned started = 0, running = 0, failed = 0, skipped = 0;
	int status;

	while (started < count || running) {
		if (started < count && running < jobs && !skipped) {
			start(first + started++);
			running++;
			continue;
		}
		if (!running || wait(&status) < 0)
			break;
		running--;
		if (WIFEXITED(status) && WEXITSTATUS(status) == SKIP)
			skipped++;
		else if (status)
			failed++;
		if (WIFSIGNALED(status))
			printf("FAILED a seed near %lu: signal %d\n", (unsigned long)(first + started),
			       WTERMSIG(status));
	}
	if (skipped)
		return SKIP;
	printf("%u seeds from %lu on, %u failed\n", count, (unsigned long)first, failed);
	return failed != 0;
}

int main(int argc, char **argv)
{
	static const struct option known[] = {{"first", required_argument, NULL, 'f'},
					      {"seeds", required_argument, NULL, 'n'},
					      {"jobs", required_argument, NULL, 'j'},
					      {"seed", required_argument, NULL, 's'},
					      {NULL, 0, NULL, 0}};
	unsigned count = 20, jobs = 8;
	uint64_t first = 1;
	int opt;

	signal(SIGPIPE, SIG_IGN);
	while ((opt = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		if (opt == 'f')
			first = strtoul(optarg, NULL, 0);
		else if (opt == 'n')
			count = (unsigned)strtoul(optarg, NULL, 0);
		else if (opt == 'j')
			jobs = (unsigned)strtoul(optarg, NULL, 0);
		else if (opt != 's')
			return 2;
		if (opt != 's')
			continue;
		sim.verbose = true;
		return run_seed(strtoul(optarg, NULL, 0));
	}
	return run_all(first, count, jobs);
}
