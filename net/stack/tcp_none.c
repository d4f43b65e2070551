/* In TCP's place: every segment is dropped, without a reset. */
#include "net/stack/ip.h"

int tcp_stack_init(struct stack *s __unused)
{
	return 0;
}

void tcp_stack_fini(struct stack *s __unused)
{
}

void tcp_input(struct stack *s __unused, struct pkt *p, const struct ip_in *in __unused)
{
	pkt_free(p);
}

void tcp_error(struct stack *s __unused, const struct ip_error *e __unused)
{
}
