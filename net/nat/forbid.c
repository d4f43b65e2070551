/*
 * Destinations that no guest reaches by nat, whatever the policy says.
 *
 * Flows of the guest leave by sockets of the host, and so from inside of what a firewall would protect:
 *
 *	127.0.0.0/8, ::1	the host itself: services that listen there trust who can reach them (databases, debuggers,
 *				display and agent sockets), because only local processes can
 *	0.0.0.0/8, ::		Linux takes 0.0.0.0 and :: as a destination for the loopback address
 *	169.254.0.0/16,		only the host's own links have them: cloud metadata services (credentials of the machine at
 *	fe80::/10		169.254.169.254), and neighbours that did not mean to serve a guest
 *	224.0.0.0/4, ff00::/8,	one datagram to many; discovery protocols answer to everybody on the link
 *	240.0.0.0/4 with the	reserved: no host has them; the last one is broadcast
 *	broadcast address
 *
 * The same in disguise: IPv4 in IPv6 as ::a.b.c.d (deprecated), ::ffff:a.b.c.d (no packet may have it), 64:ff9b::a.b.c.d (NAT64),
 * 2002:aabb:ccdd:: (6to4). The host's other addresses are not forbidden: what listens there can be reached from the network, too.
 */
#include "net/nat/forbid.h"

#include "net/stack/addr.h"

static bool forbidden4(const uint8_t *a)
{
	return a[0] == 0 || a[0] == 127 || (a[0] == 169 && a[1] == 254) || a[0] >= 224;
}

bool nat_forbidden(const struct in6_addr *dst)
{
	static const struct in6_addr nat64 = {.s6_addr = {0, 0x64, 0xff, 0x9b}}, compatible = {.s6_addr = {0}};
	const uint8_t *a = dst->s6_addr;

	if (addr_is_v4(dst))
		return forbidden4(a + 12);
	if (addr_prefix_eq(dst, &compatible, 96))
		return true;
	if (addr_prefix_eq(dst, &nat64, 96) && forbidden4(a + 12))
		return true;
	if (a[0] == 0x20 && a[1] == 0x02 && forbidden4(a + 2))
		return true;
	return IN6_IS_ADDR_LINKLOCAL(dst) || addr_is_multicast(dst);
}
