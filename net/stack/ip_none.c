/* In IP's place: there is no route to anywhere. */
#include "net/stack/ip.h"

int ip_route(struct stack *s __unused, const struct ip_out *o __unused, struct ip_route *ret __unused)
{
	return -ENETUNREACH;
}

bool ip_route_stale(const struct stack *s __unused, const struct ip_route *r __unused)
{
	return true;
}

void ip_confirm(struct stack *s __unused, const struct ip_route *r __unused)
{
}

void ip_pmtu(struct stack *s __unused, const struct in6_addr *dst __unused, uint32_t mtu __unused)
{
}

uint32_t ip_mss(const struct in6_addr *dst __unused, const struct ip_route *r __unused)
{
	return 536;
}

int ip_output(struct stack *s __unused, struct pkt *p, const struct ip_out *o __unused,
	      const struct ip_route *r __unused)
{
	pkt_free(p);
	return -ENETUNREACH;
}
