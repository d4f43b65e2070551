/*
 * --pcap: see pcap.h. The file is pcapng (draft-ietf-opsawg-pcapng): interfaces have their names, times are nanoseconds, and tcpdump and Wireshark read it.
 *
 * A tap on all interfaces hangs references to what it sees on a queue, in the order of the stack, and a thread writes it: no lock of the stack is held for the file. If
 * the file is slower than the network the queue is full some time; what is lost then is counted and told at the end. The thread writes as soon as there
 * is something, so that little is missing if the sentry is killed.
 *
 * Every interface is written as Ethernet, with a header of zeros where it has none. Packets of lo are seen twice, going out and coming in; the file has them once. A
 * checksum that is left out because the packet never leaves this machine is filled in; large packets that stand for several segments are as the stack has them.
 *
 * A file that cannot be written, because the disk is full, is cut off behind the last whole packet; that is told once, and nothing is recorded any more.
 */
#include "net/pcap.h"

#include <inttypes.h>
#include <net/if_arp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/packet.h"
#include "net/stack/inet.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"

#define QUEUE_MAX (64u << 20) /* bytes of memory that what waits may hold */
#define BUFFER (256u << 10)
#define BLOCK_MAX (80u << 10) /* one packet with its header */
#define SNAP_MAX 262144u
#define INTERFACES_MAX 4096u
#define FINISH_SECONDS 10
#define STACK_SIZE (256u << 10)

enum { BLOCK_SECTION = 0x0a0d0d0a, BLOCK_INTERFACE = 1, BLOCK_PACKET = 6 };
enum { OPT_END, IF_NAME = 2, IF_TSRESOL = 9, EPB_FLAGS = 2 };
enum { WAY_UNKNOWN, WAY_IN, WAY_OUT };

struct record {
	struct list link;
	struct pkt *p;
	int64_t stamp;
	uint32_t weight;
	unsigned dev;
	char name[IFNAMSIZ];
	uint8_t way;
	uint8_t made; /* bytes of header */
	uint8_t header[ETH_HLEN];
};

static struct slab record_slab = SLAB_INIT(struct record);

static struct pcap {
	struct stack *stack;
	int fd;
	pthread_t thread;
	struct netdev_tap tap;  /* L_NET */
	struct wakeup wakeup;   /* L_NET */
	struct mutex lock;      /* L_LINK: all that follows up to the writer's */
	pthread_cond_t changed; /* something for the thread; it has ended */
	struct list queue;
	uint32_t weight;
	uint64_t lost;
	bool stop, ended;
	_Atomic bool failed;
	/* The writer's own. */
	uint8_t *buffer;
	size_t used;
	off_t written;
	unsigned *known; /* indices of interfaces, in the order of their numbers in the file */
	unsigned known_count;
} pcap = {.lock = MUTEX_INIT, .changed = PTHREAD_COND_INITIALIZER, .queue = LIST_INIT(pcap.queue)};

/* ---- the tap ---- */

static void hold(struct wakeup *w __unused)
{
}

static void deliver(struct wakeup *w __unused, uint32_t events __unused)
{
	mutex_lock(&pcap.lock, L_LINK);
	pthread_cond_broadcast(&pcap.changed);
	mutex_unlock(&pcap.lock, L_LINK);
}

static struct record *record_create(struct netdev *dev, const struct pkt *p, bool out)
{
	struct record *r = slab_alloc(&record_slab);
	struct packet_frame f;

	if (!r)
		return NULL;
	r->p = pkt_clone(p);
	if (!r->p) {
		slab_free(&record_slab, r);
		return NULL;
	}
	packet_frame_init(&f, dev, p, out);
	list_init(&r->link);
	r->stamp = f.stamp;
	r->dev = dev->index;
	memcpy(r->name, dev->name, sizeof(r->name));
	r->way = dev->type == ARPHRD_LOOPBACK ? WAY_UNKNOWN : out ? WAY_OUT : WAY_IN;
	if (f.made || !f.link_len) {
		r->made = ETH_HLEN;
		r->header[12] = (uint8_t)(f.protocol >> 8);
		r->header[13] = (uint8_t)f.protocol;
	}
	r->weight = (uint32_t)(sizeof(*r) + sizeof(*p));
	for (unsigned i = 0; i < p->count; i++)
		r->weight += p->slice[i].buf->size;
	return r;
}

static void record_free(struct record *r)
{
	pkt_free(r->p);
	slab_free(&record_slab, r);
}

static void see(struct stack *s, struct netdev_tap *t __unused, struct netdev *dev, const struct pkt *p, bool out)
    REQUIRES(L_NET)
{
	struct record *r;
	bool full, first = false;

	if (pcap.failed || (out && dev->type == ARPHRD_LOOPBACK))
		return;
	r = record_create(dev, p, out);
	mutex_lock(&pcap.lock, L_LINK);
	full = !r || pcap.weight + r->weight > QUEUE_MAX;
	if (full) {
		pcap.lost++;
	} else {
		first = list_empty(&pcap.queue);
		list_append(&pcap.queue, &r->link);
		pcap.weight += r->weight;
	}
	mutex_unlock(&pcap.lock, L_LINK);
	if (full && r)
		record_free(r);
	if (first)
		stack_wake(s, &pcap.wakeup, 1);
}

/* ---- the file ---- */

static size_t block_size(const uint8_t *at)
{
	uint32_t size;

	memcpy(&size, at + 4, sizeof(size));
	return size;
}

/* How much of the buffer's first n bytes are whole blocks. */
static size_t whole_blocks(size_t n)
{
	size_t at = 0;

	while (at + 8 <= n && at + block_size(pcap.buffer + at) <= n)
		at += block_size(pcap.buffer + at);
	return at;
}

static void fail(int err, size_t done)
{
	pcap.failed = true;
	log_warn("the file of --pcap cannot be written, it ends here: %s", strerror(err));
	/* A pipe stays as it is. */
	if (ftruncate(pcap.fd, pcap.written + (off_t)whole_blocks(done)))
		log_debug("the file of --pcap ends in the middle of a packet");
}

static void flush(void)
{
	size_t done = 0;

	while (done < pcap.used && !pcap.failed) {
		ssize_t n = write(pcap.fd, pcap.buffer + done, pcap.used - done);

		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			fail(n == 0 ? ENOSPC : errno, done);
	}
	pcap.written += (off_t)done;
	pcap.used = 0;
}

static void put(const void *data, size_t size)
{
	memcpy(pcap.buffer + pcap.used, data, size);
	pcap.used += size;
}

static void put32(uint32_t v)
{
	put(&v, sizeof(v));
}

static void pad(void)
{
	static const uint8_t zeros[4];

	put(zeros, -pcap.used & 3);
}

static void put_option(uint16_t code, const void *data, uint16_t size)
{
	put(&code, sizeof(code));
	put(&size, sizeof(size));
	put(data, size);
	pad();
}

/* Where a block begins that is to be ended by end_block(). */
static size_t begin_block(uint32_t type)
{
	size_t at = pcap.used;

	put32(type);
	put32(0);
	return at;
}

static void end_block(size_t at)
{
	uint32_t size = (uint32_t)(pcap.used + 4 - at);

	put32(size);
	memcpy(pcap.buffer + at + 4, &size, sizeof(size));
}

static void put_section(void)
{
	uint16_t version[2] = {1, 0};
	int64_t length = -1;
	size_t at = begin_block(BLOCK_SECTION);

	put32(0x1a2b3c4d);
	put(version, sizeof(version));
	put(&length, sizeof(length));
	end_block(at);
}

static void put_interface(const struct record *r)
{
	uint16_t type[2] = {1 /* LINKTYPE_ETHERNET */, 0};
	uint8_t nanoseconds = 9;
	size_t at = begin_block(BLOCK_INTERFACE);

	put(type, sizeof(type));
	put32(SNAP_MAX);
	put_option(IF_NAME, r->name, (uint16_t)strnlen(r->name, sizeof(r->name)));
	put_option(IF_TSRESOL, &nanoseconds, 1);
	put32(OPT_END);
	end_block(at);
}

/* The interface's number in the file, where it is described first if need be; -1: there are too many. */
static int interface_of(const struct record *r)
{
	for (unsigned i = pcap.known_count; i-- > 0;)
		if (pcap.known[i] == r->dev)
			return (int)i;
	if (pcap.known_count == INTERFACES_MAX)
		return -1;
	put_interface(r);
	pcap.known[pcap.known_count] = r->dev;
	return (int)pcap.known_count++;
}

static void put_packet(struct record *r, int interface)
{
	uint32_t len = r->made + r->p->len, way = r->way;
	size_t at = begin_block(BLOCK_PACKET);

	if (r->p->checksum_partial && !pkt_complete_checksum(r->p))
		log_debug("--pcap: a packet without its checksum");
	put32((uint32_t)interface);
	put32((uint32_t)((uint64_t)r->stamp >> 32));
	put32((uint32_t)r->stamp);
	put32(len);
	put32(len);
	put(r->header, r->made);
	if (!pkt_copy(r->p, 0, pcap.buffer + pcap.used, r->p->len))
		memset(pcap.buffer + pcap.used, 0, r->p->len); /* not reached: it is as long as it says */
	pcap.used += r->p->len;
	pad();
	if (way != WAY_UNKNOWN) {
		put_option(EPB_FLAGS, &way, sizeof(way));
		put32(OPT_END);
	}
	end_block(at);
}

/* False: it is lost. */
static bool write_record(struct record *r)
{
	int interface;

	if (pcap.failed)
		return false;
	if (pcap.used > BUFFER - BLOCK_MAX)
		flush();
	interface = r->p->len < BLOCK_MAX - 256 ? interface_of(r) : -1;
	if (interface >= 0)
		put_packet(r, interface);
	return interface >= 0;
}

/* ---- the thread ---- */

/* Waits for something to write; false: there will be nothing more. */
static bool next_batch(struct list *batch)
{
	bool more;

	mutex_lock(&pcap.lock, L_LINK);
	while (list_empty(&pcap.queue) && !pcap.stop)
		pthread_cond_wait(&pcap.changed, &pcap.lock.m);
	more = !list_empty(&pcap.queue);
	list_splice(batch, &pcap.queue);
	mutex_unlock(&pcap.lock, L_LINK);
	return more;
}

static void write_batch(struct list *batch)
{
	uint64_t lost = 0;
	uint32_t weight;
	struct record *r;

	while ((r = list_first(batch, struct record, link))) {
		list_remove(&r->link);
		lost += !write_record(r);
		weight = r->weight;
		record_free(r);
		mutex_lock(&pcap.lock, L_LINK);
		pcap.weight -= weight;
		mutex_unlock(&pcap.lock, L_LINK);
	}
	flush();
	mutex_lock(&pcap.lock, L_LINK);
	pcap.lost += lost;
	mutex_unlock(&pcap.lock, L_LINK);
}

static void *writer(void *arg __unused)
{
	struct list batch = LIST_INIT(batch);

	put_section();
	flush();
	while (next_batch(&batch))
		write_batch(&batch);
	mutex_lock(&pcap.lock, L_LINK);
	pcap.ended = true;
	pthread_cond_broadcast(&pcap.changed);
	mutex_unlock(&pcap.lock, L_LINK);
	return NULL;
}

static int start_thread(void)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	log_thread_mask(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&pcap.thread, &attr, writer, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

int pcap_start(struct stack *s, int fd)
{
	int err;

	pcap.buffer = kalloc(BUFFER);
	pcap.known = kalloc(INTERFACES_MAX * sizeof(*pcap.known));
	if (!pcap.buffer || !pcap.known)
		return -ENOMEM;
	pcap.fd = fd;
	pcap.wakeup = (struct wakeup){.hold = hold, .deliver = deliver};
	list_init(&pcap.wakeup.link);
	pcap.tap.see = see;
	err = start_thread();
	if (err)
		return err;
	pcap.stack = stack_get(s);
	stack_enter(s);
	stack_tap_add(s, &pcap.tap);
	stack_leave(s);
	return 0;
}

void pcap_finish(void)
{
	struct timespec until;
	uint64_t lost;
	int err = 0;

	if (!pcap.stack)
		return;
	stack_enter(pcap.stack);
	netdev_tap_remove(&pcap.tap);
	stack_leave(pcap.stack);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += FINISH_SECONDS;
	mutex_lock(&pcap.lock, L_LINK);
	pcap.stop = true;
	pthread_cond_broadcast(&pcap.changed);
	while (!pcap.ended && !err)
		err = pthread_cond_timedwait(&pcap.changed, &pcap.lock.m, &until);
	lost = pcap.lost;
	mutex_unlock(&pcap.lock, L_LINK);
	if (err)
		log_warn("the file of --pcap takes no more, and is not complete");
	if (lost)
		log_warn("the file of --pcap lacks %" PRIu64 " packets, which came faster than it could be written",
			 lost);
	stack_put(take(pcap.stack));
}
