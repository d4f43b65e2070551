/*
 * The network of a sandbox: --net nat gives the guest's first stack an interface to the gateway (net/nat).
 *
 * A flow has a descriptor of the sentry's. Half of those that the host allows are for flows, at most FLOWS_MAX of each kind; the others are for files.
 */
#include "runsc-shim/boot_net.h"

#include <sys/resource.h>

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

	if (!c.guest || !c.gateway)
		return -ENOMEM;
	for (; c.port_count < s->publish_count; c.port_count++) {
		const struct publish_spec *p = &s->publish[c.port_count];

		ports[c.port_count] = (struct nat_port){p->fd, p->udp, p->guest_port};
	}
	return nat_start(&c, &n);
}

int boot_net(const struct spec *s, struct error *e)
{
	int err = s->net.kind == NET_NAT ? start_nat(&s->net) : 0;

	return err ? error_set(e, EXIT_SANDBOX, -err, NULL, "cannot make the network") : 0;
}
