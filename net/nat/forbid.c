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
 *	168.63.129.16,		clouds whose services for the machine itself (metadata, credentials, the agent's secrets) are not at
 *	100.100.100.200,	169.254.169.254: Azure, Alibaba, Oracle Classic, Amazon and Google by IPv6. They know who asks by his
 *	192.0.0.192, ...	address, which is the host's
 *
 * The same in disguise: IPv4 in IPv6 as ::a.b.c.d (deprecated), ::ffff:a.b.c.d (no packet may have it), ::ffff:0:a.b.c.d (SIIT),
 * 64:ff9b::a.b.c.d and 64:ff9b:1::/48 (NAT64, RFC 6052 and 8215), 2002:aabb:ccdd:: (6to4). The host's other addresses are not forbidden: what listens there can be reached from the network, too.
 */
#include "net/nat/forbid.h"

#include <string.h>

#include "net/stack/addr.h"

static bool forbidden4(const uint8_t *a)
{
	static const uint8_t clouds[][4] = {{168, 63, 129, 16}, {100, 100, 100, 200}, {192, 0, 0, 192}};

	for (size_t i = 0; i < ARRAY_SIZE(clouds); i++)
		if (memcmp(a, clouds[i], sizeof(clouds[i])) == 0)
			return true;
	return a[0] == 0 || a[0] == 127 || (a[0] == 169 && a[1] == 254) || a[0] >= 224;
}

/* fd00:ec2::/32 is Amazon's for such services, fd20:ce::254 Google's. */
static bool is_cloud6(const struct in6_addr *dst)
{
	static const struct in6_addr amazon = {.s6_addr = {0xfd, 0, 0x0e, 0xc2}},
				     google = {.s6_addr = {0xfd, 0x20, 0, 0xce, [14] = 0x02, [15] = 0x54}};

	return addr_prefix_eq(dst, &amazon, 32) || addr_eq(dst, &google);
}

/* IPv4 at one of the places that RFC 6052 has for prefixes from 48 bits on; what is 0 there is another place's. */
static bool forbidden_inside(const uint8_t *a)
{
	const uint8_t places[][4] = {{a[12], a[13], a[14], a[15]},
				     {a[6], a[7], a[9], a[10]},
				     {a[7], a[9], a[10], a[11]},
				     {a[9], a[10], a[11], a[12]}};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (places[i][0] && forbidden4(places[i]))
			return true;
	return false;
}

bool nat_forbidden(const struct in6_addr *dst)
{
	static const struct in6_addr nat64 = {.s6_addr = {0, 0x64, 0xff, 0x9b}}, compatible = {.s6_addr = {0}};
	static const struct in6_addr nat64_local = {.s6_addr = {0, 0x64, 0xff, 0x9b, 0, 1}},
				     siit = {.s6_addr = {[8] = 0xff, 0xff}};
	const uint8_t *a = dst->s6_addr;

	if (addr_is_v4(dst))
		return forbidden4(a + 12);
	if (addr_prefix_eq(dst, &compatible, 96))
		return true;
	if ((addr_prefix_eq(dst, &nat64, 96) || addr_prefix_eq(dst, &siit, 96)) && forbidden4(a + 12))
		return true;
	if (addr_prefix_eq(dst, &nat64_local, 48) && forbidden_inside(a))
		return true;
	if (a[0] == 0x20 && a[1] == 0x02 && forbidden4(a + 2))
		return true;
	return is_cloud6(dst) || IN6_IS_ADDR_LINKLOCAL(dst) || addr_is_multicast(dst);
}
