/*
 * The memory that all TCP endpoints hold: net.ipv4.tcp_mem, as tcp(7) has it.
 *
 * An endpoint's own account, rmem and wmem, is exact and moves with each segment; what it holds in whole pages is
 * brought to the common account when an entry point returns. What is charged is at least half of what is kept: a
 * receive queue copies what would keep more (tcp_data.c), a send queue counts half of a buffer for its first byte.
 *
 * Under pressure buffers grow no more, and windows shrink to some segments. When all is used up, senders wait, early
 * segments go, what arrives is dropped, and orphans that hold more than a little are reset; but everybody may have the
 * smallest buffer (tcp_rmem, tcp_wmem), so that each connection goes on, if slowly.
 */
#include "net/stack/tcp_priv.h"

#define ORPHAN_LEAST 4608u /* SOCK_MIN_SNDBUF */

void tcp_memory_sync(struct tcp_sock *tp)
{
	net_memory_adjust(&tcp_memory, &tp->mem_pages, (uint64_t)tp->rmem + tp->wmem);
}

bool tcp_memory_full(uint32_t have, uint32_t least)
{
	return unlikely(net_memory_pressure(&tcp_memory)) && have >= least && net_memory_full(&tcp_memory);
}

bool tcp_orphan_too_dear(const struct tcp_sock *tp)
{
	const struct tcp_stack *n = tcp_stack(tp->ep.stack);

	return n->orphans > n->conf.max_orphans || tcp_memory_full(tp->wmem, ORPHAN_LEAST);
}
