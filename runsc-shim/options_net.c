/*
 * The network options of `sandbox exec`, and what the launcher opens for them: see options_net.h. Ports are bound before anything starts, so
 * that one that is taken is told at once, and with the caller's rights, which the sentry does not have.
 */
#include "runsc-shim/options_net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runsc-shim/hostlink.h"
#include "runsc-shim/resolv.h"

#define BACKLOG 4096
#define RULES_MAX 256
#define PUBLISH_FORM "must be [ADDRESS:]HOSTPORT:GUESTPORT[/udp], like 8080:80 or 127.0.0.1:53:53/udp"

void options_net_init(struct net_spec *n)
{
	*n = (struct net_spec){.pcap_fd = -1, .resolv.fd = -1, .link_fd = -1, .keeper_fd = -1};
}

static int usage(struct error *e, const char *option, const char *value, const char *why)
{
	return error_set(e, EXIT_SANDBOX, 0, "see sandbox exec --help", "%s '%s': %s", option, value, why);
}

int options_net_kind(struct net_spec *n, const char *arg, struct error *e)
{
	if (strcmp(arg, "none") == 0)
		n->kind = NET_NONE;
	else if (strcmp(arg, "nat") == 0)
		n->kind = NET_NAT;
	else if (strcmp(arg, "host") == 0)
		n->kind = NET_HOST;
	else if (strncmp(arg, "tap:", 4) == 0)
		return hostlink_parse_tap(n, arg + 4, e);
	else if (strncmp(arg, "device:", 7) == 0)
		return hostlink_parse_device(n, arg + 7, e);
	else
		return usage(e, "--net", arg, "must be none, nat, host, tap:NAME or device:NAME");
	return 0;
}

/* 1 to 65535, of len digits. */
static bool parse_port(const char *s, size_t len, uint16_t *ret)
{
	unsigned n = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		n = n * 10 + (unsigned)(s[i] - '0');
	}
	*ret = (uint16_t)n;
	return n >= 1 && n <= UINT16_MAX;
}

/* An address of either family, IPv6 in brackets. */
static bool parse_address(const char *s, size_t len, struct in6_addr *ret)
{
	char text[INET6_ADDRSTRLEN];

	if (len >= 2 && s[0] == '[' && s[len - 1] == ']') {
		if (len - 2 >= sizeof(text))
			return false;
		snprintf(text, sizeof(text), "%.*s", (int)len - 2, s + 1);
		return inet_pton(AF_INET6, text, ret) == 1;
	}
	if (len >= sizeof(text))
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)len, s);
	*ret = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
	return inet_pton(AF_INET, text, ret->s6_addr + 12) == 1;
}

static bool parse_protocol(const char *s, bool *ret_udp)
{
	*ret_udp = strcmp(s, "/udp") == 0;
	return *ret_udp || !*s || strcmp(s, "/tcp") == 0;
}

int options_net_publish(struct net_spec *n, const char *arg, struct error *e)
{
	size_t len = strcspn(arg, "/");
	struct publish_spec *p = &n->publish[n->publish_count];
	const char *guest, *host;

	if (n->publish_count == PUBLISH_MAX)
		return error_set(e, EXIT_SANDBOX, 0, NULL, "more than %d -p options", PUBLISH_MAX);
	*p = (struct publish_spec){.text = arg, .fd = -1};
	if (!parse_protocol(arg + len, &p->udp))
		return usage(e, "-p", arg, PUBLISH_FORM);
	guest = memrchr(arg, ':', len);
	if (!guest || !parse_port(guest + 1, len - (size_t)(guest + 1 - arg), &p->guest_port))
		return usage(e, "-p", arg, PUBLISH_FORM);
	host = memrchr(arg, ':', (size_t)(guest - arg));
	p->addr_given = host;
	if (host && !parse_address(arg, (size_t)(host - arg), &p->addr))
		return usage(e, "-p", arg, "the address must be one of this machine's: 127.0.0.1, [::1], ...");
	host = host ? host + 1 : arg;
	if (!parse_port(host, (size_t)(guest - host), &p->host_port))
		return usage(e, "-p", arg, PUBLISH_FORM);
	n->publish_count++;
	return 0;
}

int options_net_dns(struct net_spec *n, const char *arg, struct error *e)
{
	struct resolv_spec *r = &n->resolv;

	if (r->dns.server_count == DNS_SERVERS_MAX)
		return error_set(e, EXIT_SANDBOX, 0, "give those that answer", "--dns '%s': more than %u resolvers",
				 arg, DNS_SERVERS_MAX);
	if (!resolv_address(arg, &r->dns.servers[r->dns.server_count]))
		return usage(e, "--dns", arg, "must be the address of a resolver, like 9.9.9.9 or 2620:fe::fe");
	r->dns.server_count++;
	r->given = true;
	return 0;
}

static int add_rule(struct net_spec *n, const char *text, size_t len, struct error *e)
{
	struct rule rule, *more;
	const char *why = rule_parse(text, len, &rule);

	if (why)
		return error_set(e, EXIT_SANDBOX, 0, "HOST, *.DOMAIN, ADDRESS or NETWORK/BITS, and :PORT if only that",
				 "--allow-net '%.*s': %s", (int)len, text, why);
	if (n->rule_count == RULES_MAX)
		return error_set(e, EXIT_SANDBOX, 0, NULL, "--allow-net '%.*s': more than %d rules", (int)len, text,
				 RULES_MAX);
	more = reallocarray(n->rules, n->rule_count + 1, sizeof(*more));
	if (!more)
		return error_set(e, EXIT_SANDBOX, ENOMEM, NULL, "cannot start");
	n->rules = more;
	n->rules[n->rule_count++] = rule;
	return 0;
}

int options_net_allow(struct net_spec *n, const char *arg, struct error *e)
{
	size_t len;

	for (;; arg += len + 1) {
		len = strcspn(arg, ",");
		if (add_rule(n, arg, len, e))
			return -1;
		if (!arg[len])
			return 0;
	}
}

int options_net_check(const struct net_spec *n, struct error *e)
{
	if (n->kind != NET_NAT && (n->resolv.given || n->rules))
		return error_set(e, EXIT_SANDBOX, 0, n->kind == NET_NONE ? "add --net nat" : "use --net nat",
				 "%s: it is for --net nat", n->rules ? "--allow-net" : "--dns");
	if (n->publish_count && n->kind == NET_HOST)
		return error_set(e, EXIT_SANDBOX, 0, "with --net host, what listens inside is reached without it",
				 "-p '%s': the sandbox has no ports of its own", n->publish[0].text);
	if (n->pcap_path && n->kind == NET_HOST)
		return error_set(e, EXIT_SANDBOX, 0, "with --net host take tcpdump on this machine",
				 "--pcap '%s': the packets are not the sandbox's", n->pcap_path);
	if (n->publish_count && n->kind != NET_NAT)
		return error_set(e, EXIT_SANDBOX, 0, "add --net nat", "-p '%s': there is no network to publish it from",
				 n->publish[0].text);
	return 0;
}

static int bind_socket(int family, const struct publish_spec *p)
{
	int fd = socket(family, (p->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, off = 0;
	struct sockaddr_in6 sa6 = {.sin6_family = AF_INET6, .sin6_port = htons(p->host_port), .sin6_addr = p->addr};
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(p->host_port)};
	bool v6 = family == AF_INET6;
	int err = 0;

	if (fd < 0)
		return -errno;
	memcpy(&sa.sin_addr, p->addr.s6_addr + 12, sizeof(sa.sin_addr));
	if (!p->udp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (v6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, p->addr_given ? &on : &off, sizeof(on));
	if (bind(fd, v6 ? (void *)&sa6 : (void *)&sa, v6 ? sizeof(sa6) : sizeof(sa)) ||
	    (!p->udp && listen(fd, BACKLOG)))
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

static const char *bind_advice(int err)
{
	switch (-err) {
	case EADDRINUSE:
		return "another program has this port: choose another one";
	case EACCES:
		return "ports below /proc/sys/net/ipv4/ip_unprivileged_port_start are root's: choose a higher one";
	case EADDRNOTAVAIL:
		return "the address must be one of this machine's";
	default:
		return NULL;
	}
}

static int publish_open(struct publish_spec *p, struct error *e)
{
	bool v4 = p->addr_given && IN6_IS_ADDR_V4MAPPED(&p->addr);

	p->fd = bind_socket(v4 ? AF_INET : AF_INET6, p);
	if (p->fd < 0 && !p->addr_given && (p->fd == -EAFNOSUPPORT || p->fd == -EADDRNOTAVAIL))
		p->fd = bind_socket(AF_INET, p);
	if (p->fd < 0)
		return error_set(e, EXIT_SANDBOX, -p->fd, bind_advice(p->fd), "cannot publish port %u of -p '%s'",
				 p->host_port, p->text);
	return 0;
}

static int pcap_open(struct net_spec *n, struct error *e)
{
	if (!n->pcap_path)
		return 0;
	n->pcap_fd = open(n->pcap_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (n->pcap_fd < 0)
		return error_set(e, EXIT_SANDBOX, errno, "choose a file that you may write to",
				 "cannot write the file '%s' of --pcap", n->pcap_path);
	return 0;
}

int options_net_open(struct net_spec *n, struct error *e)
{
	if (pcap_open(n, e))
		return -1;
	for (size_t i = 0; i < n->publish_count; i++)
		if (publish_open(&n->publish[i], e))
			return -1;
	if (n->kind == NET_NAT && resolv_open(&n->resolv, e))
		return -1;
	return hostlink_open(n, e);
}

void options_net_finish(struct net_spec *n)
{
	hostlink_close(n);
}

size_t options_net_fds(const struct net_spec *n, int *fds)
{
	size_t count = 0;

	for (size_t i = 0; i < n->publish_count; i++)
		if (n->publish[i].fd >= 0)
			fds[count++] = n->publish[i].fd;
	if (n->link_fd >= 0)
		fds[count++] = n->link_fd;
	if (n->pcap_fd >= 0)
		fds[count++] = n->pcap_fd;
	if (n->resolv.fd >= 0)
		fds[count++] = n->resolv.fd;
	return count;
}
