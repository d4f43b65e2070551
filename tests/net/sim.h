/* What the files of the simulator share: see simlinux.c. */
#pragma once

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "net/stack/dgram.h"
#include "net/stack/netdev.h"
#include "net/stack/tcp.h"
#include "sentry/base/clock.h"

#define FLOWS_MAX 3
#define DATAGRAMS 40
#define MS NSEC_PER_MSEC

struct params {
	uint64_t seed;
	unsigned mtu, loss, duplicate, reorder, corrupt; /* of 1000 frames */
	int64_t delay, jitter, reorder_by;               /* ns */
	uint64_t rate;                                   /* bytes a second; 0: any */
	int64_t queue;                                   /* ns of it */
	bool v6, offload, sack, timestamps, scaling, cubic, our_cubic;
	int ecn;
	unsigned flows, pause;                                  /* pause: of 1000 reads */
	int linux_sndbuf, linux_rcvbuf, our_sndbuf, our_rcvbuf; /* 0: tuned */
};

struct way {
	size_t total, sent, received;
	bool shut, ended;
	int64_t read_at; /* when its reader goes on */
};

struct flow {
	struct tcp_sock *tp, *listener; /* ours */
	int fd, listen_fd;              /* Linux's */
	bool we_connect, ours_up, linux_up;
	struct way out, in; /* out: from us */
};

struct frame;

extern struct sim {
	struct params p;
	uint64_t random; /* what happens on the wire and to the calls */
	uint64_t secret; /* the stack's */
	struct stack *s;
	struct netdev *dev;
	int tap;
	struct frame **heap;
	size_t heap_count, heap_room;
	uint64_t order;
	int64_t busy[2], wish;
	struct flow flow[FLOWS_MAX];
	struct udp_sock udp;
	int udp_fd;
	unsigned udp_out, udp_in, udp_out_seen, udp_in_seen;
	uint64_t frames, lost, harmed;
	bool verbose;
} sim;

extern struct in6_addr ours, theirs;

/* Says what, and where everything is, and ends the process. */
void fail(const char *fmt, ...) __printf(1, 2) __noreturn;
/* r is -errno, or -1 with errno. */
void must(long r, const char *what);
void describe(char *to, size_t size);
uint64_t rnd(uint64_t below);
bool chance(unsigned of_1000);

/* simwire.c: what a seed means; the wire. False, for both: there was nothing to do. */
void draw(uint64_t seed);
int transmit(struct stack *s, struct netdev *dev, struct pkt *p);
bool deliver_frames(int64_t now);
bool read_tap(void);
/* When the next frame arrives; INT64_MAX: there is none. */
int64_t next_frame(void);

/* simcalls.c: connections and datagrams. */
void open_flow(struct flow *f, uint16_t port);
bool run_flow(struct flow *f, uint16_t port, int64_t now);
bool finished(const struct flow *f);
void close_flow(struct flow *f);
int linux_socket(int type);
socklen_t linux_name(struct sockaddr_storage *ret, const struct in6_addr *a, uint16_t port);
void send_datagrams(void);
void receive_datagrams(void);
