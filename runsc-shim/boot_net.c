/*
 * The network of a sandbox: --net nat gives the guest's first stack an interface to the gateway (net/nat).
 *
 * A flow has a descriptor of the sentry's. Half of those that the host allows are for flows, at most FLOWS_MAX of each kind; the others are for files.
 */
#include "runsc-shim/boot_net.h"

#include <sys/resource.h>

#include "net/nat/dns.h"
#include "net/nat/egress.h"
#include "net/nat/nat.h"
#include "net/netstack.h"
#include "platform/seccomp.h"

#define FLOWS_MAX 8192u
#define FLOWS_MIN 64u

static unsigned flows_max;

void boot_net_early(const struct spec *s)
{
	struct rlimit r = {.rlim_cur = 1024};

	if (s->net.kind != NET_NAT)
		return;
	seccomp_allow_network();
	getrlimit(RLIMIT_NOFILE, &r);
	flows_max = (unsigned)MAX(MIN(r.rlim_cur / 4, (rlim_t)FLOWS_MAX), (rlim_t)FLOWS_MIN);
}

/* The resolver that the guest's resolv.conf names. */
static int start_dns(struct stack *gateway, const struct dns_config *c, struct policy *policy)
{
	struct dns *d = dns_create(gateway, c, policy);
	int err;

	if (!d)
		return -ENOMEM;
	stack_enter(gateway);
	err = dns_listen(d, &nat_dns4);
	err = err ? err : dns_listen(d, &nat_dns6);
	stack_leave(gateway);
	return err;
}

static struct policy *make_policy(const struct net_spec *s, const struct nat_config *c)
{
	const struct policy_config config = {
	    .rules = s->rules,
	    .rule_count = s->rule_count,
	    .guest = c->guest,
	    .gateway = c->gateway,
	};

	return policy_create(&config);
}

static int start_nat(const struct net_spec *s)
{
	struct nat_port ports[PUBLISH_MAX];
	struct nat_config c = {
	    .guest = netstack_of(NULL),
	    .gateway = netstack_make(),
	    .ports = ports,
	    .flows_max = flows_max,
	    .v6 = nat_host_has_v6(),
	};
	struct nat *n;
	int err;

	if (!c.guest || !c.gateway)
		return -ENOMEM;
	c.policy = s->rules ? make_policy(s, &c) : NULL;
	if (s->rules && !c.policy)
		return -ENOMEM;
	for (; c.port_count < s->publish_count; c.port_count++) {
		const struct publish_spec *p = &s->publish[c.port_count];

		ports[c.port_count] = (struct nat_port){p->fd, p->udp, p->guest_port};
	}
	err = nat_start(&c, &n);
	return err ? err : start_dns(c.gateway, &s->resolv.dns, c.policy);
}

int boot_net(const struct spec *s, struct error *e)
{
	int err = s->net.kind == NET_NAT ? start_nat(&s->net) : 0;

	return err ? error_set(e, EXIT_SANDBOX, -err, NULL, "cannot make the network") : 0;
}
