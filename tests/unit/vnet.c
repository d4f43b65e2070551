/* virtio-net headers: what they may say of a packet, and what is made of it. */
#include "net/link/vnet.h"

#include <string.h>

#include "net/stack/inet.h"
#include "tests/kernel/netbed.h"
#include "tests/unit/unit.h"

#define CSUM VIRTIO_NET_HDR_F_NEEDS_CSUM
#define UDP_L4 5

/* Of TCP or UDP, with a payload of that size. */
static struct pkt *packet(const char *dst, uint8_t protocol, size_t size)
{
	static uint8_t f[4096];
	struct netbed_packet p = {
	    .src = strchr(dst, ':') ? "2001:db8::2" : "10.0.0.2", .dst = dst, .protocol = protocol, .size = size};
	struct pkt *r = pkt_from(f, netbed_frame(&p, f));

	ck_assert_ptr_nonnull(r);
	return r;
}

static unsigned count_of(struct vnet_head h, struct pkt *p)
{
	struct list to = LIST_INIT(to);
	unsigned n = vnet_accept(&h, p, &to), seen = 0;
	struct pkt *q;

	list_for_each(q, &to, link)
		seen++;
	ck_assert_uint_eq(n, seen);
	pkt_free_all(&to);
	return n;
}

/* The only one. */
static struct pkt *accepted(struct vnet_head h, struct pkt *p)
{
	struct list to = LIST_INIT(to);

	ck_assert_uint_eq(vnet_accept(&h, p, &to), 1);
	p = list_first(&to, struct pkt, link);
	list_remove(&p->link);
	return p;
}

START_TEST(checksums)
{
	struct pkt *p = accepted((struct vnet_head){0}, packet("10.0.0.1", IPPROTO_TCP, 100));

	ck_assert(!p->checksum_ok && !p->checksum_partial && !p->gso_size);
	pkt_free(p);
	p = accepted((struct vnet_head){.flags = VIRTIO_NET_HDR_F_DATA_VALID}, packet("10.0.0.1", IPPROTO_TCP, 100));
	ck_assert(p->checksum_ok && !p->checksum_partial);
	pkt_free(p);
	p = accepted((struct vnet_head){.flags = CSUM, .csum_start = 34, .csum_offset = 16},
		     packet("10.0.0.1", IPPROTO_TCP, 100));
	ck_assert(p->checksum_ok && p->checksum_partial);
	pkt_free(p);
	p = accepted((struct vnet_head){.flags = CSUM, .csum_start = 54, .csum_offset = 6},
		     packet("2001:db8::1", IPPROTO_UDP, 100));
	ck_assert(p->checksum_ok && p->checksum_partial);
	pkt_free(p);
}
END_TEST

/* Elsewhere than in the transport's header it is completed at once. */
START_TEST(inner_checksum)
{
	static const uint8_t inner[100] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
	uint8_t f[256];
	size_t n = netbed_frame(
	    &(struct netbed_packet){
		.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = IPPROTO_UDP, .data = inner, .size = sizeof(inner)},
	    f);
	struct pkt *p =
	    accepted((struct vnet_head){.flags = CSUM, .csum_start = 50, .csum_offset = 10}, pkt_from(f, n));

	ck_assert(!p->checksum_ok && !p->checksum_partial);
	ck_assert_uint_eq(sum_fold(sum_pkt(0, p, 50)), 0);
	ck_assert(pkt_copy(p, 60, f, 2) && (f[0] || f[1]));
	pkt_free(p);
}
END_TEST

START_TEST(checksum_out_of_bounds)
{
	static const struct {
		uint16_t start, offset;
	} bad[] = {{0, 16}, {13, 16}, {34, 4000}, {65535, 65535}, {170, 5}, {14, 300}};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vnet_head h = {.flags = CSUM, .csum_start = bad[i].start, .csum_offset = bad[i].offset};

		ck_assert_uint_eq(count_of(h, packet("10.0.0.1", IPPROTO_TCP, 100)), 0);
	}
}
END_TEST

static struct vnet_head large(uint8_t type, uint16_t size, uint16_t start, uint16_t offset)
{
	return (struct vnet_head){
	    .flags = CSUM, .gso_type = type, .gso_size = size, .csum_start = start, .csum_offset = offset};
}

START_TEST(large_tcp)
{
	struct vnet_head h = large(VIRTIO_NET_HDR_GSO_TCPV4, 500, 34, 16);
	struct pkt *p = accepted(h, packet("10.0.0.1", IPPROTO_TCP, 1400));

	ck_assert_uint_eq(p->gso_size, 500);
	pkt_free(p);
	/* One segment is nothing large. */
	p = accepted(h, packet("10.0.0.1", IPPROTO_TCP, 500));
	ck_assert_uint_eq(p->gso_size, 0);
	pkt_free(p);
	h.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	pkt_free(accepted(h, packet("10.0.0.1", IPPROTO_TCP, 1400)));
	pkt_free(accepted(large(VIRTIO_NET_HDR_GSO_TCPV6, 500, 54, 16), packet("2001:db8::1", IPPROTO_TCP, 1400)));
}
END_TEST

START_TEST(large_lies)
{
	struct vnet_head h = large(VIRTIO_NET_HDR_GSO_TCPV6, 500, 34, 16);

	ck_assert_uint_eq(count_of(h, packet("10.0.0.1", IPPROTO_TCP, 1400)), 0);
	h.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	ck_assert_uint_eq(count_of(h, packet("10.0.0.1", IPPROTO_UDP, 1400)), 0);
	h.gso_type = 77;
	ck_assert_uint_eq(count_of(h, packet("10.0.0.1", IPPROTO_TCP, 1400)), 0);
	h = large(VIRTIO_NET_HDR_GSO_TCPV4, 0, 34, 16);
	ck_assert_uint_eq(count_of(h, packet("10.0.0.1", IPPROTO_TCP, 1400)), 0);
	h = large(VIRTIO_NET_HDR_GSO_TCPV4, 1, 34, 16);
	ck_assert_uint_eq(count_of(h, packet("10.0.0.1", IPPROTO_TCP, 1400)), 0);
	h = large(VIRTIO_NET_HDR_GSO_TCPV4, 500, 34, 16);
	h.flags = 0;
	ck_assert_uint_eq(count_of(h, packet("10.0.0.1", IPPROTO_TCP, 1400)), 0);
	/* A checksum that is not the transport's. */
	h = large(VIRTIO_NET_HDR_GSO_TCPV4, 500, 36, 16);
	ck_assert_uint_eq(count_of(h, packet("10.0.0.1", IPPROTO_TCP, 1400)), 0);
}
END_TEST

/* They are cut apart, and each has a checksum that Linux would complete to the right one. */
START_TEST(large_udp)
{
	struct vnet_head h = large(UDP_L4, 300, 34, 6);
	struct list to = LIST_INIT(to);
	static const unsigned sizes[] = {300, 300, 300, 100};
	unsigned i = 0;
	struct pkt *p;

	ck_assert_uint_eq(vnet_accept(&h, packet("10.0.0.1", IPPROTO_UDP, 1000), &to), 4);
	list_for_each(p, &to, link) {
		uint8_t bytes[64];

		ck_assert(pkt_copy(p, 0, bytes, 44));
		ck_assert_uint_eq(p->len, 42 + sizes[i]);
		ck_assert_uint_eq(bytes[16] << 8 | bytes[17], 28 + sizes[i]);
		ck_assert_uint_eq(bytes[38] << 8 | bytes[39], 8 + sizes[i]);
		ck_assert_uint_eq(bytes[42], (uint8_t)(300 * i));
		ck_assert_uint_eq(sum_fold(sum_add(0, bytes + 14, 20, false)), 0);
		i++;
	}
	pkt_free_all(&to);
	ck_assert_uint_eq(count_of(large(UDP_L4, 400, 54, 6), packet("2001:db8::1", IPPROTO_UDP, 1000)), 3);
	ck_assert_uint_eq(count_of(h, packet("10.0.0.1", IPPROTO_TCP, 1000)), 0);
}
END_TEST

/* Whatever the header says of however much of a packet: nothing worse than a drop. */
START_TEST(cut_off)
{
	static const uint8_t types[] = {0, 1, 3, 4, 5, 0x81, 0x84, 0xff};
	uint8_t f[2048];
	size_t size = netbed_frame(
	    &(struct netbed_packet){.src = "2001:db8::2", .dst = "2001:db8::1", .protocol = IPPROTO_TCP, .size = 40},
	    f);

	for (size_t n = 1; n <= size; n++)
		for (size_t t = 0; t < ARRAY_SIZE(types); t++)
			for (uint16_t start = 0; start < 140; start += 9)
				count_of(large(types[t], 8, start, 16), pkt_from(f, n));
	f[20] = IPPROTO_HOPOPTS;
	f[54] = IPPROTO_DSTOPTS;
	f[55] = 255;
	ck_assert_uint_eq(count_of(large(VIRTIO_NET_HDR_GSO_TCPV6, 8, 54, 16), pkt_from(f, size)), 0);
}
END_TEST

UNIT_MAIN(checksums, inner_checksum, checksum_out_of_bounds, large_tcp, large_lies, large_udp, cut_off)
