/*
 * What a user does with an endpoint: send, receive, poll. RFC 9293 3.10.2 and 3.10.3; errors and poll bits are those of
 * Linux's tcp(7), send(2), recv(2) and poll(2).
 *
 * Bytes are neither copied in nor out here: chunks of the user's buffers go into the send queue, references to received
 * buffers come out. Who receives copies them to a guest without the stack's lock.
 */
#include "net/stack/tcp_priv.h"

#include <poll.h>
#include <sys/socket.h>

#define POLL_IN (POLLIN | POLLRDNORM)
#define POLL_OUT (POLLOUT | POLLWRNORM)

int tcp_take_error(struct tcp_sock *tp)
{
	int err = tp->err;

	tp->err = 0;
	return err;
}

/* ---- sending ---- */

static int send_error(struct tcp_sock *tp) REQUIRES(L_NET)
{
	if (tp->err)
		return -tcp_take_error(tp);
	if (tp->shutdown & TCP_SHUT_SEND)
		return -EPIPE;
	if (tp->ep.state == TCP_SYN_SENT || tp->ep.state == TCP_SYN_RECV)
		return -EAGAIN;
	return tp->ep.state == TCP_ESTABLISHED || tp->ep.state == TCP_CLOSE_WAIT ? 0 : -EPIPE;
}

static bool lowat_reached(const struct tcp_sock *tp)
{
	return tp->notsent_lowat && tp->write_seq - tp->snd_nxt >= tp->notsent_lowat;
}

/* What is acknowledged makes room again, and wakes: nobody waits with less than the smallest buffer. */
static bool no_memory(const struct tcp_sock *tp) REQUIRES(L_NET)
{
	return tcp_memory_full(tp->wmem, tcp_conf(tp->ep.stack)->wmem[0]);
}

/* Linux wakes writers, and says POLLOUT, when a third of the buffer is free. */
static bool writable(const struct tcp_sock *tp) REQUIRES(L_NET)
{
	return tp->wmem <= tp->sndbuf / 3 * 2 && !lowat_reached(tp) && !no_memory(tp);
}

void tcp_write_space(struct tcp_sock *tp)
{
	if (tp->nospace && writable(tp))
		tcp_wake(tp, POLL_OUT | POLLWRBAND);
}

ssize_t tcp_send_room(struct tcp_sock *tp)
{
	int err = send_error(tp);

	if (err)
		return err;
	if (tp->wmem < tp->sndbuf && !lowat_reached(tp) && !no_memory(tp))
		return tp->sndbuf - tp->wmem;
	tp->nospace = true;
	return -EAGAIN;
}

/* Takes the reference. A chunk costs half of its buffer at least: no more of it may ever be sent. */
static bool queue_slice(struct tcp_sock *tp, const struct slice *s)
{
	bool ok = tcp_chunk_append(&tp->sendq, tp->write_seq, s);
	struct tcp_chunk *c;
	uint32_t cost;

	if (ok) {
		c = list_last(&tp->sendq, struct tcp_chunk, link);
		cost = TCP_CHUNK_COST + MAX(c->s.len, c->s.buf->size / 2);
		tp->wmem += cost - c->cost;
		c->cost = cost;
		tp->write_seq += s->len;
	}
	buf_put(s->buf);
	return ok;
}

ssize_t tcp_send(struct tcp_sock *tp, const struct slice *slices, unsigned count, int flags)
{
	uint32_t before = tp->write_seq;
	int err = send_error(tp);
	unsigned i = 0;

	for (; !err && i < count; i++)
		if (slices[i].len == 0)
			buf_put(slices[i].buf);
		else if (!queue_slice(tp, &slices[i]))
			err = -ENOMEM;
	for (; i < count; i++)
		buf_put(slices[i].buf);
	if (tp->write_seq == before)
		return err;
	tp->more = flags & MSG_MORE;
	if (flags & MSG_OOB) {
		tp->snd_up = tp->write_seq;
		tp->urgent_out = true;
	}
	if (tp->snd_nxt == tp->snd_una && tcp_now(tp) - tp->last_data_at < tp->ato)
		tp->pingpong = true; /* an answer: acknowledgments can ride on the next one */
	tcp_push(tp, 0);
	tcp_memory_sync(tp);
	return tp->write_seq - before;
}

void tcp_sendq_clean(struct tcp_sock *tp, uint32_t una)
{
	struct tcp_chunk *c;

	while ((c = list_first(&tp->sendq, struct tcp_chunk, link)) && !seq_after(c->seq + c->s.len, una)) {
		if (c == tp->send_head)
			tp->send_head = NULL;
		tp->wmem -= c->cost;
		tcp_chunk_free(c);
	}
	tcp_tune_sndbuf(tp);
}

/* ---- receiving ---- */

static void drop_front(struct tcp_sock *tp, uint32_t n)
{
	struct tcp_chunk *c;

	/* A reader may come back after the connection that he has read from: there is less then, or nothing. */
	while (n && (c = list_first(&tp->recvq, struct tcp_chunk, link))) {
		uint32_t part = MIN(n, c->s.len);

		c->seq += part;
		c->s.off += part;
		c->s.len -= part;
		tp->rmem -= part;
		tp->copied_seq += part;
		n -= part;
		if (c->s.len == 0) {
			tp->rmem -= TCP_CHUNK_COST;
			tcp_chunk_free(c);
		}
	}
}

/* Bytes in the queue from seq on. */
static uint32_t queued(const struct tcp_sock *tp, uint32_t seq)
{
	const struct tcp_chunk *last = list_last(&tp->recvq, struct tcp_chunk, link);
	int32_t n = last ? (int32_t)(last->seq + last->s.len - seq) : 0;

	return n > 0 ? (uint32_t)n : 0;
}

/* The urgent byte is no part of the stream. */
static bool mark_skipped(const struct tcp_sock *tp, uint32_t seq)
{
	return tp->urgent_in && tp->urg_seq == seq && !tp->oobinline && queued(tp, seq);
}

static size_t before_mark(const struct tcp_sock *tp, uint32_t seq, size_t size)
{
	if (tp->urgent_in && seq_after(tp->urg_seq, seq))
		return MIN(size, (size_t)(tp->urg_seq - seq));
	return size;
}

/* References to [seq, seq + size), as far as there are bytes and places for them. */
static size_t refer(struct tcp_sock *tp, uint32_t seq, size_t size, struct slice *slices, unsigned *count)
{
	struct tcp_chunk *c;
	unsigned used = 0;
	size_t done = 0;

	list_for_each(c, &tp->recvq, link) {
		uint32_t off = seq + (uint32_t)done - c->seq;

		if (done == size || used == *count)
			break;
		if (seq_after(c->seq, seq + (uint32_t)done) || off >= c->s.len)
			continue;
		slices[used] =
		    (struct slice){buf_get(c->s.buf), c->s.off + off, (uint32_t)MIN(c->s.len - off, size - done)};
		done += slices[used++].len;
	}
	*count = used;
	return done;
}

static ssize_t nothing_to_read(struct tcp_sock *tp) REQUIRES(L_NET)
{
	if (tp->ep.state == TCP_LISTEN)
		return -ENOTCONN;
	if (tp->done)
		return 0;
	if (tp->err)
		return -tcp_take_error(tp);
	if (tp->shutdown & TCP_SHUT_RCV)
		return 0;
	return tp->ep.state == TCP_CLOSE ? -ENOTCONN : -EAGAIN;
}

void tcp_consume(struct tcp_sock *tp, size_t n)
{
	n = MIN(n, (size_t)queued(tp, tp->copied_seq));
	if (mark_skipped(tp, tp->copied_seq))
		drop_front(tp, 1);
	drop_front(tp, (uint32_t)MIN(n, (size_t)queued(tp, tp->copied_seq)));
	if (tp->urgent_in && seq_after(tp->copied_seq, tp->urg_seq))
		tp->urgent_in = false;
	tcp_memory_sync(tp);
	tcp_tune_rcvbuf(tp);
	tcp_window_update(tp, n);
}

ssize_t tcp_recv(struct tcp_sock *tp, struct slice *slices, unsigned *count, size_t size, int flags, uint32_t peek_off)
{
	uint32_t seq = tp->copied_seq + (flags & MSG_PEEK ? peek_off : 0);
	unsigned room = *count;
	size_t n;

	*count = 0;
	if (mark_skipped(tp, seq))
		seq++;
	n = MIN(before_mark(tp, seq, size), (size_t)queued(tp, seq));
	if (n == 0)
		return size ? nothing_to_read(tp) : 0;
	*count = room;
	n = refer(tp, seq, n, slices, count);
	if (!(flags & MSG_PEEK))
		tcp_consume(tp, n);
	return (ssize_t)n;
}

int tcp_recv_urgent(struct tcp_sock *tp, uint8_t *ret, bool peek)
{
	if (tp->oobinline || !tp->urgent_in || tp->urg_taken)
		return -EINVAL;
	if (tp->ep.state == TCP_CLOSE && !tp->done)
		return -ENOTCONN;
	if (tp->urg_here) {
		*ret = tp->urg_byte;
		tp->urg_taken = !peek;
		return 1;
	}
	return tp->ep.state == TCP_CLOSE || tp->shutdown & TCP_SHUT_RCV ? 0 : -EAGAIN;
}

/* ---- what is there ---- */

static bool handshaking(const struct tcp_sock *tp)
{
	return tp->ep.state == TCP_SYN_SENT || (tp->ep.state == TCP_SYN_RECV && !tp->fastopen_child);
}

uint32_t tcp_inq(const struct tcp_sock *tp)
{
	uint32_t n = queued(tp, tp->copied_seq);

	if (handshaking(tp))
		return 0;
	if (tp->oobinline || !tp->urgent_in || seq_before(tp->urg_seq, tp->copied_seq) ||
	    !seq_before(tp->urg_seq, tp->rcv_nxt))
		return n;
	return tp->urg_seq - tp->copied_seq;
}

uint32_t tcp_outq(const struct tcp_sock *tp)
{
	return tp->ep.state == TCP_SYN_SENT || tp->ep.state == TCP_SYN_RECV ? 0 : tcp_send_end(tp) - tp->snd_una;
}

uint32_t tcp_outq_unsent(const struct tcp_sock *tp)
{
	return tp->ep.state == TCP_SYN_SENT || tp->ep.state == TCP_SYN_RECV ? 0 : tcp_send_end(tp) - tp->snd_nxt;
}

bool tcp_at_mark(const struct tcp_sock *tp)
{
	return tp->urgent_in && tp->urg_seq == tp->copied_seq;
}

static bool readable(const struct tcp_sock *tp)
{
	uint32_t target = MAX(tp->rcvlowat, 1u), n = queued(tp, tp->copied_seq);

	if (tp->urgent_in && tp->urg_seq == tp->copied_seq && !tp->oobinline)
		target++;
	/* When the buffer is full, waiting for more would be in vain. */
	return n >= target || (n && tp->rmem >= tp->rcvbuf - tp->rcvbuf / 8);
}

static uint32_t poll_open(struct tcp_sock *tp) REQUIRES(L_NET)
{
	uint32_t mask = readable(tp) ? POLL_IN : 0;

	if (tp->fastopen_child)
		return mask; /* answers wait for the end of the handshake */
	if (tp->shutdown & TCP_SHUT_SEND || writable(tp))
		mask |= POLL_OUT;
	else
		tp->nospace = true;
	if (tp->urgent_in && tp->urg_here && !tp->urg_taken)
		mask |= POLLPRI;
	return mask;
}

uint32_t tcp_poll(struct tcp_sock *tp)
{
	uint32_t mask = 0;

	if (tp->ep.state == TCP_LISTEN)
		return list_empty(&tp->accept) ? 0 : POLL_IN;
	if (tp->shutdown == TCP_SHUT_BOTH || tp->ep.state == TCP_CLOSE)
		mask |= POLLHUP;
	if (tp->shutdown & TCP_SHUT_RCV)
		mask |= POLL_IN | POLLRDHUP;
	if (!handshaking(tp))
		mask |= poll_open(tp);
	return mask | (tp->err ? POLLERR : 0);
}
