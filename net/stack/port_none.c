/* In the place of ports: one list, TCP's only. */
#include "net/stack/port.h"

#include <string.h>

static struct list all = LIST_INIT(all);

void port_bind_init(struct port_bind *b, enum port_space space)
{
	memset(b, 0, sizeof(*b));
	b->space = (uint8_t)space;
	list_init(&b->link);
}

static bool taken(const struct port_bind *b, uint16_t port)
{
	struct port_bind *o;

	list_for_each(o, &all, link)
		if (o != b && o->port == port && o->peer_port == b->peer_port &&
		    !(o->reuse_addr && b->reuse_addr && !o->listening))
			return true;
	return false;
}

int port_bind(struct stack *s, struct port_bind *b, uint16_t port)
{
	b->bucket = (struct port_bucket *)s;
	for (unsigned i = 0; !port && i < 20000; i++) {
		uint16_t p = (uint16_t)(32768 + (stack_random32(s) + i) % 28000);

		if (!taken(b, p))
			port = p;
	}
	if (!port || taken(b, port))
		return -EADDRINUSE;
	b->port = port;
	list_append(&all, &b->link);
	return 0;
}

int port_connect(struct stack *s, struct port_bind *b, const struct in6_addr *peer __unused,
		 uint16_t peer_port __unused, bool (*usable)(void *arg, uint16_t port), void *arg)
{
	for (unsigned i = 0; i < 20000; i++) {
		uint16_t p = (uint16_t)(32768 + (stack_random32(s) + i) % 28000);

		if (usable(arg, p)) {
			b->port = p;
			b->bucket = (struct port_bucket *)s;
			list_append(&all, &b->link);
			return 0;
		}
	}
	return -EADDRNOTAVAIL;
}

void port_inherit(struct stack *s, struct port_bind *b, const struct port_bind *from)
{
	b->port = from->port;
	b->bucket = (struct port_bucket *)s;
	list_append(&all, &b->link);
}

int port_listen(struct stack *s __unused, struct port_bind *b)
{
	b->listening = true;
	return 0;
}

void port_unlisten(struct stack *s __unused, struct port_bind *b)
{
	b->listening = false;
}

void port_unbind(struct stack *s __unused, struct port_bind *b)
{
	list_remove(&b->link);
	b->port = 0;
	b->listening = false;
}

struct port_bind *port_lookup(struct stack *s, enum port_space space __unused, const struct in6_addr *dst __unused,
			      uint16_t dport, const struct in6_addr *src __unused, uint16_t sport __unused,
			      unsigned dev __unused, uint32_t hash __unused)
{
	struct port_bind *o;

	list_for_each(o, &all, link)
		if (o->listening && o->port == dport && o->bucket == (struct port_bucket *)s)
			return o;
	return NULL;
}
