/*
 * What AF_INET and AF_INET6 sockets inside the sandbox tell of themselves: /proc/net/tcp and udp, TCP_INFO.
 *
 * States follow from who has ended which direction. Since nothing is on its way, an end is known to both sides at once: FIN_WAIT1, CLOSING and
 * LAST_ACK do not occur, and a connection that both have ended is closed, without TIME_WAIT. What was sent lies in the receiver's queue already,
 * so that a sender never has anything that is not acknowledged.
 */
#include <netinet/tcp.h>

#include "net/loop.h"
#include "net/sockinfo.h"

/* Has the other end said that it sends no more? The own shutdown(SHUT_RD) looks the same from here, but is no state of TCP. */
static bool peer_ended(struct unix_sock *peer)
{
	bool ended;

	if (!peer)
		return true;
	mutex_lock(&peer->s.lock, L_SOCK);
	ended = peer->dead || peer->shutdown & UNIX_SEND_SHUTDOWN;
	mutex_unlock(&peer->s.lock, L_SOCK);
	return ended;
}

uint8_t loop_tcp_state(struct loop_sock *l)
{
	UNIX_REF peer = NULL;
	enum unix_state state;
	bool sent, received, reset;

	mutex_lock(&l->u.s.lock, L_SOCK);
	state = l->u.state;
	peer = unix_get(l->u.peer);
	sent = l->u.shutdown & UNIX_SEND_SHUTDOWN;
	reset = l->reset;
	mutex_unlock(&l->u.s.lock, L_SOCK);
	if (state == UNIX_LISTENING)
		return TCP_LISTEN;
	if (state != UNIX_CONNECTED || reset)
		return TCP_CLOSE;
	received = peer_ended(peer);
	if (sent)
		return received ? TCP_CLOSE : TCP_FIN_WAIT2;
	return received ? TCP_CLOSE_WAIT : TCP_ESTABLISHED;
}

bool loop_info(struct socket *s, struct sock_info *i)
{
	struct loop_sock *l = loop_of(s);

	if (!unix_info(s, i))
		return false;
	if (s->type == SOCK_STREAM)
		i->state = loop_tcp_state(l);
	mutex_lock(&s->lock, L_SOCK);
	i->local = l->local.addr;
	i->local_port = l->local.port;
	i->drops = l->drops;
	if (l->has_remote) {
		i->remote = l->remote.addr;
		i->remote_port = l->remote.port;
	}
	mutex_unlock(&s->lock, L_SOCK);
	return true;
}
