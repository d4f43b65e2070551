/*
 * Fuzzes classic BPF and what it reads of packets: an input is a program, and what it is about.
 *
 *	COUNT HEAD STEP START NET instruction... byte...	a packet of the bytes, HEAD of them in its room, the rest in slices of STEP; the program begins at
 *								START, the network header is at NET
 *
 * A program that is taken ends, and reads nothing else; on bytes in one piece it says the same as on the packet.
 */
#include <string.h>

#include "net/filter.h"
#include "net/stack/pkt.h"
#include "sentry/base/slab.h"

#define HEADER 5
#define BYTES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct socket sock;

static struct pkt *make_packet(const uint8_t *bytes, size_t size, size_t head, size_t step)
{
	struct pkt *p = pkt_create();
	struct buf *b = buf_create(2 * BYTES_MAX);

	head = MIN(head, size);
	p->head = 0;
	p->tail = (uint16_t)head;
	p->len = (uint32_t)head;
	memcpy(p->room, bytes, head);
	for (size_t at = head, to = 0; at < size; to += step + 1) {
		size_t n = p->count == PKT_SLICES - 1 ? size - at : MIN(step, size - at);

		memcpy(b->data + to, bytes + at, n);
		if (!pkt_append(p, b, (uint32_t)to, (uint32_t)n))
			__builtin_trap();
		at += n;
	}
	buf_put(b);
	return p;
}

/* The program's offset 0 is the packet's; ancillary data is another matter. */
static bool reads_bytes_only(const struct bpf_prog *p)
{
	for (unsigned i = 0; i < p->count; i++) {
		uint16_t code = p->at[i].code;

		if (BPF_CLASS(code) == BPF_LDX && BPF_MODE(code) == BPF_MSH && (int32_t)p->at[i].k < 0)
			return false;
		if (BPF_CLASS(code) == BPF_LD &&
		    (BPF_MODE(code) == BPF_IND || (BPF_MODE(code) == BPF_ABS && (int32_t)p->at[i].k < 0)))
			return false;
	}
	return true;
}

static void run(struct bpf_prog *prog, const uint8_t *h, const uint8_t *bytes, size_t size)
{
	struct pkt *p = make_packet(bytes, size, h[1] % PKT_HEAD, 1 + h[2]);
	uint8_t pulled = (uint8_t)(h[3] % (p->tail + 1));
	struct pkt_view v;
	struct bpf_flat f;
	uint32_t says, flat;

	/* What is in front of the head is there as well. */
	p->net = MIN(h[4], pulled);
	pkt_skip(p, pulled);
	v = pkt_view_at(p, (uint16_t)(h[3] % (pulled + 1)), NULL);
	sock.filter = prog;
	filter_packet(&sock, &v);
	v = pkt_view_at(p, p->head, NULL);
	says = filter_packet(&sock, &v);
	bpf_flat_init(&f, bytes + pulled, (uint32_t)(size - pulled), true);
	flat = bpf_run(prog, &f.data);
	if (reads_bytes_only(prog) && says != flat)
		__builtin_trap();
	sock.filter = NULL;
	pkt_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sock_filter at[256];
	struct bpf_prog *p;
	size_t count;

	if (size < HEADER)
		return 0;
	count = MIN((size_t)data[0], (size - HEADER) / sizeof(at[0]));
	memcpy(at, data + HEADER, count * sizeof(at[0]));
	if (bpf_create(at, count, &p))
		return 0;
	size -= HEADER + count * sizeof(at[0]);
	run(p, data, data + HEADER + count * sizeof(at[0]), MIN(size, (size_t)BYTES_MAX));
	bpf_put(p);
	return 0;
}
