/*
 * The list of all sockets, and what is told about each: see sockinfo.h.
 *
 * A socket is on the list from the moment in which others can find it until its memory is freed; the list holds no reference. A walk holds one to
 * the socket at which it is, which keeps its place on the list, and goes on from there: under L_SOCKLIST, a leaf, it takes a reference to the next
 * one that still lives. New sockets stand in front, so that a walk ends however many are made meanwhile.
 */
#include "net/sockinfo.h"

#include <netinet/tcp.h>
#include <string.h>

static struct mutex all_lock = MUTEX_INIT;
static struct list all = LIST_INIT(all); /* L_SOCKLIST: socket.all */

void socket_publish(struct socket *s)
{
	mutex_lock(&all_lock, L_SOCKLIST);
	list_push(&all, &s->all);
	mutex_unlock(&all_lock, L_SOCKLIST);
}

void socket_unpublish(struct socket *s)
{
	mutex_lock(&all_lock, L_SOCKLIST);
	list_remove(&s->all);
	mutex_unlock(&all_lock, L_SOCKLIST);
}

/* The socket behind s, whose reference is given back; NULL is the first one's predecessor and the last one's successor. */
static struct socket *next_socket(struct socket *s)
{
	struct socket *next = NULL;

	mutex_lock(&all_lock, L_SOCKLIST);
	for (struct list *l = s ? s->all.next : all.next; l != &all && !next; l = l->next) {
		next = list_entry(l, struct socket, all);
		if (!ref_get_unless_zero(&next->ref))
			next = NULL;
	}
	mutex_unlock(&all_lock, L_SOCKLIST);
	socket_put(s);
	return next;
}

/* What all families have. */
static void common_info(struct socket *s, struct sock_info *i)
{
	memset(i, 0, sizeof(*i));
	i->family = s->family;
	i->type = s->type;
	i->protocol = s->protocol;
	i->state = TCP_CLOSE;
	i->refs = ref_count(&s->ref) - 1;
	mutex_lock(&s->lock, L_SOCK);
	if (s->inode) {
		i->ino = s->inode->ino;
		i->uid = s->inode->uid;
	}
	mutex_unlock(&s->lock, L_SOCK);
}

void socket_for_each(const struct netns *net, int family, void (*fn)(const struct sock_info *i, void *arg), void *arg)
{
	struct sock_info i;

	for (struct socket *s = next_socket(NULL); s; s = next_socket(s)) {
		if ((family != AF_UNSPEC && s->family != family) || (net && s->net != net))
			continue;
		common_info(s, &i);
		if (!s->ops->info || s->ops->info(s, &i))
			fn(&i, arg);
	}
}
