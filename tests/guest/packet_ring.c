/* Rings of packet sockets: PACKET_RX_RING and PACKET_TX_RING, of all versions, also when they are written to by who should not. */
#include "packet.h"

/* ---- rings ---- */

struct ring {
	int s, version;
	struct tpacket_req3 q;
	unsigned char *at;
	size_t size;
};

static long set_ring(int s, int version, const struct tpacket_req3 *q)
{
	return setsockopt(s, SOL_PACKET, PACKET_RX_RING, q,
			  version == TPACKET_V3 ? sizeof(*q) : sizeof(struct tpacket_req));
}

static void ring_open(struct ring *r, int version, int type)
{
	r->s = opened(SOCK_RAW, type);
	r->version = version;
	r->q = (struct tpacket_req3){4096, 4, 1024, 16, 0, 0, 0};
	if (version == TPACKET_V3)
		r->q.tp_retire_blk_tov = 400; /* long enough for what is to be in one block */
	MUST(flag(r->s, PACKET_VERSION, version));
	MUST(set_ring(r->s, version, &r->q));
	r->size = (size_t)r->q.tp_block_size * r->q.tp_block_nr;
	r->at = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->s, 0);
	if (r->at == MAP_FAILED)
		SAY("mmap: %s", strerrorname_np(errno));
}

static void ring_close(struct ring *r)
{
	munmap(r->at, r->size);
	close(r->s);
}

static void requests(int version)
{
	struct tpacket_req3 good = {4096, 4, 1024, 16, 0, 0, 0}, q;
	int s = opened(SOCK_RAW, TYPE);
	char *p, *half;

	SAY("version %d", version);
	MUST(flag(s, PACKET_VERSION, version));
#define TRY_RING(what, change)                                                                                         \
	q = good;                                                                                                      \
	change;                                                                                                        \
	TN(what, set_ring(s, version, &q))
	TRY_RING("block not of pages", q.tp_block_size = 4000);
	TRY_RING("no block", q.tp_block_size = 0);
	TRY_RING("a frame that is too small", q.tp_frame_size = 32);
	TRY_RING("a crooked frame", q.tp_frame_size = 1000);
	TRY_RING("a frame larger than a block", q.tp_frame_size = 8192);
	TRY_RING("too few frames", q.tp_frame_nr = 15);
	TRY_RING("frames without blocks", q.tp_block_nr = 0);
	TRY_RING("nothing, for nothing", memset(&q, 0, sizeof(q)));
	if (version == TPACKET_V3) {
		TRY_RING("a private area that is too large", q.tp_sizeof_priv = 4096);
	}
	T(setsockopt(s, SOL_PACKET, PACKET_RX_RING, &q, 8));
	T((long)mmap(NULL, 16384, PROT_READ, MAP_SHARED, s, 0));
	TRY_RING("good", (void)0);
	TRY_RING("again", (void)0);
	T(flag(s, PACKET_VERSION, TPACKET_V1));
	T(flag(s, PACKET_RESERVE, 0));
	T((long)mmap(NULL, 8192, PROT_READ, MAP_SHARED, s, 0));
	T((long)mmap(NULL, 16384, PROT_READ, MAP_SHARED, s, 4096));
	p = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, s, 0);
	HOLDS(p != MAP_FAILED);
	TRY_RING("gone while mapped", memset(&q, 0, sizeof(q)));
	half = p + 8192;
	T(munmap(p, 8192));
	TRY_RING("gone while half of it is mapped", memset(&q, 0, sizeof(q)));
	T(munmap(half, 8192));
	TRY_RING("gone", memset(&q, 0, sizeof(q)));
	TRY_RING("another", (void)0);
	close(s);
}

static uint32_t status_of(const struct ring *r, int frame)
{
	unsigned char *p = r->at + 1024 * frame;

	return r->version == TPACKET_V1 ? (uint32_t)((volatile struct tpacket_hdr *)p)->tp_status
					: ((volatile struct tpacket2_hdr *)p)->tp_status;
}

static void give_back(const struct ring *r, int frame)
{
	unsigned char *p = r->at + 1024 * frame;

	if (r->version == TPACKET_V1)
		((volatile struct tpacket_hdr *)p)->tp_status = TP_STATUS_KERNEL;
	else
		((volatile struct tpacket2_hdr *)p)->tp_status = TP_STATUS_KERNEL;
}

static void show_frame(const struct ring *r, int frame)
{
	unsigned char *p = r->at + 1024 * frame;
	struct tpacket_hdr *h1 = (void *)p;
	struct tpacket2_hdr *h2 = (void *)p;
	struct sockaddr_ll *a = (void *)(p + TPACKET_ALIGN(r->version == TPACKET_V1 ? sizeof(*h1) : sizeof(*h2)));
	unsigned mac = r->version == TPACKET_V1 ? h1->tp_mac : h2->tp_mac;

	if (r->version == TPACKET_V1)
		SAY("status %lx len %u snap %u mac %u net %u", h1->tp_status, h1->tp_len, h1->tp_snaplen, h1->tp_mac,
		    h1->tp_net);
	else
		SAY("status %x len %u snap %u mac %u net %u vlan %u", h2->tp_status, h2->tp_len, h2->tp_snaplen,
		    h2->tp_mac, h2->tp_net, h2->tp_vlan_tci);
	SAY("protocol %x type %d hatype %d; %02x%02x %02x %02x", ntohs(a->sll_protocol), a->sll_pkttype, a->sll_hatype,
	    p[mac + 12], p[mac + 13], p[mac + 14], p[mac + 15]);
	HOLDS(llabs(time(NULL) - (r->version == TPACKET_V1 ? h1->tp_sec : h2->tp_sec)) < 5);
}

static void show_stats(int s)
{
	struct tpacket_stats_v3 st = {0};
	socklen_t len = sizeof(st);

	T0(getsockopt(s, SOL_PACKET, PACKET_STATISTICS, &st, &len));
	SAY("%u packets, %u lost, frozen %u, len %u", st.tp_packets, st.tp_drops, st.tp_freeze_q_cnt, len);
}

static void frames(int version)
{
	struct ring r;

	ring_open(&r, version, TYPE);
	HOLDS(!waits(r.s, 0));
	send_frame(0, 7);
	HOLDS(waits(r.s, 1000));
	show_frame(&r, 0);
	T(recv(r.s, (char[1]){0}, 1, MSG_DONTWAIT));
	give_back(&r, 0);
	HOLDS(!waits(r.s, 0));
	for (int i = 0; i < 20; i++)
		send_frame(0, (unsigned char)i);
	SAY("%x %x %x", status_of(&r, 0), status_of(&r, 1), status_of(&r, 15));
	show_stats(r.s);
	give_back(&r, 1);
	give_back(&r, 2);
	for (int i = 0; i < 3; i++)
		send_frame(0, 1);
	SAY("%x %x %x", status_of(&r, 1), status_of(&r, 2), status_of(&r, 3));
	show_stats(r.s);
	ring_close(&r);
}

/* What is too long for a frame. */
static void cut(int thresh)
{
	unsigned char buf[2000] = {0};
	struct ring r;

	ring_open(&r, TPACKET_V2, TYPE);
	MUST(flag(r.s, PACKET_COPY_THRESH, thresh));
	make_frame(buf, 0, 1);
	MUST(send(r.s, buf, 1500, 0));
	show_frame(&r, 0);
	T(recv(r.s, buf, sizeof(buf), MSG_DONTWAIT));
	show_stats(r.s);
	ring_close(&r);
}

static volatile struct tpacket_block_desc *block(const struct ring *r, int n)
{
	return (void *)(r->at + 4096 * n);
}

static void show_block(const struct ring *r, int n)
{
	volatile struct tpacket_block_desc *b = block(r, n);
	unsigned at = b->hdr.bh1.offset_to_first_pkt;

	SAY("status %x packets %u first %u len %u sequence %llu priv %u version %u", b->hdr.bh1.block_status,
	    b->hdr.bh1.num_pkts, at, b->hdr.bh1.blk_len, (unsigned long long)b->hdr.bh1.seq_num, b->offset_to_priv,
	    b->version);
	for (unsigned i = 0; i < b->hdr.bh1.num_pkts && i < 2; i++) {
		struct tpacket3_hdr *h = (void *)((char *)b + at);

		SAY("next %u len %u snap %u mac %u net %u status %x %02x", h->tp_next_offset, h->tp_len, h->tp_snaplen,
		    h->tp_mac, h->tp_net, h->tp_status, ((unsigned char *)h)[h->tp_net]);
		at += h->tp_next_offset;
	}
}

static void blocks(void)
{
	struct ring r;

	ring_open(&r, TPACKET_V3, TYPE);
	HOLDS(!waits(r.s, 50));
	send_frame(0, 7);
	send_frame(0, 8);
	HOLDS(waits(r.s, 2000));
	show_block(&r, 0);
	block(&r, 0)->hdr.bh1.block_status = TP_STATUS_KERNEL;
	HOLDS(!waits(r.s, 50));
	/* 26 fit into a block; the last ones find none. */
	for (int i = 0; i < 130; i++)
		send_frame(0, (unsigned char)i);
	HOLDS(waits(r.s, 2000));
	for (int i = 0; i < 4; i++)
		SAY("block %d: %x %u", i, block(&r, i)->hdr.bh1.block_status & ~TP_STATUS_BLK_TMO,
		    block(&r, i)->hdr.bh1.num_pkts);
	show_stats(r.s);
	for (int i = 0; i < 4; i++)
		block(&r, i)->hdr.bh1.block_status = TP_STATUS_KERNEL;
	send_frame(0, 9);
	HOLDS(waits(r.s, 2000));
	ring_close(&r);
}

/* Whatever is written into a ring harms nobody else. */
static void scribble(int version)
{
	unsigned seed = 1;
	struct ring r;
	pid_t child;

	ring_open(&r, version, TYPE);
	child = fork();
	if (child == 0)
		for (;;)
			for (size_t i = 0; i < r.size; i += 4)
				*(volatile unsigned *)(r.at + i) = seed = seed * 1103515245 + 12345;
	for (int i = 0; i < 2000; i++) {
		send_frame(0, (unsigned char)i);
		if (i % 10 == 0)
			for (size_t j = 0; j < r.size; j += 8)
				*(volatile uint64_t *)(r.at + j) = i % 20 ? 0 : UINT64_MAX;
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	memset(r.at, 0, r.size);
	SAY("version %d survived", version);
	ring_close(&r);
}

/* ---- sending from a ring ---- */

static void tx_put(const struct ring *r, int frame, uint32_t len, uint32_t off)
{
	unsigned char *p = r->at + 1024 * frame;
	struct tpacket_hdr *h1 = (void *)p;
	struct tpacket2_hdr *h2 = (void *)p;
	struct tpacket3_hdr *h3 = (void *)p;
	size_t head = r->version == TPACKET_V1 ? sizeof(*h1) : r->version == TPACKET_V2 ? sizeof(*h2) : sizeof(*h3);

	make_frame(p + TPACKET_ALIGN(head) + off, 0, (unsigned char)(frame + 1));
	if (r->version == TPACKET_V1) {
		h1->tp_len = len;
		h1->tp_mac = (unsigned short)(TPACKET_ALIGN(head) + off);
		h1->tp_status = TP_STATUS_SEND_REQUEST;
	} else if (r->version == TPACKET_V2) {
		h2->tp_len = len;
		h2->tp_mac = (unsigned short)(TPACKET_ALIGN(head) + off);
		h2->tp_status = TP_STATUS_SEND_REQUEST;
	} else {
		h3->tp_len = len;
		h3->tp_mac = (unsigned short)(TPACKET_ALIGN(head) + off);
		h3->tp_status = TP_STATUS_SEND_REQUEST;
	}
}

static uint32_t tx_status(const struct ring *r, int frame)
{
	unsigned char *p = r->at + 1024 * frame;

	sleep_ms(10); /* Linux gives a frame back when it is out */
	return r->version == TPACKET_V3 ? ((volatile struct tpacket3_hdr *)p)->tp_status : status_of(r, frame);
}

static void tx_open(struct ring *r, int version)
{
	r->s = MUST(socket(AF_PACKET, SOCK_RAW, 0));
	MUST(bind_to(r->s, lo, 0));
	r->version = version;
	r->q = (struct tpacket_req3){4096, 2, 1024, 8, 0, 0, 0};
	r->size = 8192;
	MUST(flag(r->s, PACKET_VERSION, version));
}

static void transmitting(int version)
{
	int s = opened(SOCK_RAW, TYPE);
	struct ring r;

	SAY("version %d", version);
	tx_open(&r, version);
	MUST(flag(r.s, PACKET_TX_HAS_OFF, 0));
	if (version == TPACKET_V3) {
		r.q.tp_retire_blk_tov = 10;
		T(setsockopt(r.s, SOL_PACKET, PACKET_TX_RING, &r.q, sizeof(r.q)));
		r.q.tp_retire_blk_tov = 0;
	}
	T(setsockopt(r.s, SOL_PACKET, PACKET_TX_RING, &r.q,
		     version == TPACKET_V3 ? sizeof(r.q) : sizeof(struct tpacket_req)));
	T(setsockopt(r.s, SOL_PACKET, PACKET_TX_RING, &r.q,
		     version == TPACKET_V3 ? sizeof(r.q) : sizeof(struct tpacket_req)));
	T(flag(r.s, PACKET_LOSS, 1));
	r.at = mmap(NULL, r.size, PROT_READ | PROT_WRITE, MAP_SHARED, r.s, 0);
	must(r.at != MAP_FAILED, "map");
	T(send(r.s, NULL, 0, MSG_DONTWAIT));
	for (int i = 0; i < 3; i++)
		tx_put(&r, i, FRAME, 0);
	T(send(r.s, NULL, 0, MSG_DONTWAIT));
	SAY("%x %x", tx_status(&r, 0), tx_status(&r, 2));
	for (int i = 0; i < 4; i++)
		show(s, "sent");
	tx_put(&r, 3, FRAME, 0);
	tx_put(&r, 4, 2000, 0);
	tx_put(&r, 5, FRAME, 0);
	T(send(r.s, NULL, 0, MSG_DONTWAIT));
	SAY("%x %x %x", tx_status(&r, 3), tx_status(&r, 4), tx_status(&r, 5));
	show(s, "sent");
	show(s, "sent");
	tx_put(&r, 4, FRAME, 0);
	T(send(r.s, NULL, 0, MSG_DONTWAIT));
	tx_put(&r, 6, 10, 0);
	T(send(r.s, NULL, 0, MSG_DONTWAIT));
	SAY("%x", tx_status(&r, 6));
	ring_close(&r);
	close(s);
}

static void offsets(void)
{
	int s = opened(SOCK_RAW, TYPE);
	struct ring r;

	tx_open(&r, TPACKET_V2);
	T(flag(r.s, PACKET_TX_HAS_OFF, 1));
	T(flag(r.s, PACKET_LOSS, 1));
	T(set_ring(r.s, TPACKET_V2, &r.q));
	MUST(setsockopt(r.s, SOL_PACKET, PACKET_TX_RING, &r.q, sizeof(struct tpacket_req)));
	/* Both rings in one mapping, the receiving one first. */
	T((long)mmap(NULL, r.size, PROT_READ | PROT_WRITE, MAP_SHARED, r.s, 0));
	r.at = mmap(NULL, 2 * r.size, PROT_READ | PROT_WRITE, MAP_SHARED, r.s, 0);
	must(r.at != MAP_FAILED, "map");
	r.at += r.size;
	tx_put(&r, 0, FRAME, 100);
	tx_put(&r, 1, FRAME, 900);
	((struct tpacket2_hdr *)(r.at + 1024))->tp_mac = 1000;
	tx_put(&r, 2, FRAME, 0);
	((struct tpacket2_hdr *)(r.at + 2048))->tp_mac = 3;
	tx_put(&r, 3, 5000, 0);
	tx_put(&r, 4, FRAME, 8);
	T(send(r.s, NULL, 0, MSG_DONTWAIT) > 0);
	SAY("%x %x %x", tx_status(&r, 0), tx_status(&r, 1), tx_status(&r, 4));
	for (int i = 0; i < 3; i++)
		show(s, "sent");
	r.at -= r.size;
	munmap(r.at, 2 * r.size);
	close(r.s);
	close(s);
}

/* The mapping outlives the descriptor, and a child has it too. */
static void outlives(void)
{
	struct ring r;

	ring_open(&r, TPACKET_V2, TYPE);
	close(r.s);
	send_frame(0, 1);
	SAY("status %x", status_of(&r, 0));
	CHILD
	{
		SAY("status %x", status_of(&r, 0));
	}
	munmap(r.at, r.size);
}

int main(void)
{
	packet_begin();
	for (int v = TPACKET_V1; v <= TPACKET_V3; v++)
		requests(v);
	frames(TPACKET_V1);
	frames(TPACKET_V2);
	cut(0);
	cut(1);
	blocks();
	for (int v = TPACKET_V1; v <= TPACKET_V3; v++)
		scribble(v);
	for (int v = TPACKET_V1; v <= TPACKET_V3; v++)
		transmitting(v);
	offsets();
	outlives();
	return 0;
}
