/*
 * PACKET_FANOUT: packet(7). Sockets with one protocol and one interface that form a group; each frame goes to one of them, which the group's mode chooses. There is no
 * processor and no queue that a frame came by: those modes (CPU, QM) give all frames to the first member, as Linux does with one of each. Fragments are not put together first
 * (PACKET_FANOUT_FLAG_DEFRAG is EINVAL); they are told apart by addresses alone.
 *
 * A group belongs to a stack and is guarded by its lock; it lives while sockets belong to it. Those whose interface is down are no members meanwhile. All members are
 * taps; the one that is asked first for a frame chooses, and the others are asked about the same frame.
 */
#include <linux/if_packet.h>
#include <string.h>

#include "net/packet.h"
#include "sentry/base/slab.h"

#define MEMBERS_MAX 256u
#define GROUPS_MAX 256u
#define FLAGS_KNOWN (PACKET_FANOUT_FLAG_ROLLOVER | FLAG_UNIQUE)
#define FLAG_UNIQUE 0x2000u /* PACKET_FANOUT_FLAG_UNIQUEID */

struct packet_fanout {
	struct list link; /* L_SOCKLIST: groups */
	struct stack *stack;
	struct list members; /* of those that run */
	unsigned count, max; /* members */
	unsigned sockets;
	uint16_t id, mode, flags;
	uint16_t protocol;
	unsigned dev;
	uint32_t next; /* of PACKET_FANOUT_LB */
	/* The frame that the last choice was about, and who it is. */
	const struct pkt *seen;
	bool seen_out;
	unsigned asked;
	struct packet_sock *chosen;
};

static struct slab fanout_slab = SLAB_INIT(struct packet_fanout);
static struct mutex groups_lock = MUTEX_INIT;
static struct list groups = LIST_INIT(groups);
static unsigned group_count;

static struct packet_fanout *find_group(const struct stack *s, uint16_t id)
{
	struct packet_fanout *g;

	list_for_each(g, &groups, link)
		if (g->stack == s && g->id == id)
			return g;
	return NULL;
}

static struct packet_fanout *group_create(const struct packet_sock *k, uint16_t id, uint16_t type, uint32_t max)
{
	struct packet_fanout *g = group_count < GROUPS_MAX ? slab_alloc(&fanout_slab) : NULL;

	if (!g)
		return NULL;
	g->stack = k->stack;
	list_init(&g->members);
	g->id = id;
	g->mode = type & 0xff;
	g->flags = type & 0xff00;
	g->protocol = k->protocol;
	g->dev = k->dev;
	g->max = max ? max : MEMBERS_MAX;
	list_push(&groups, &g->link);
	group_count++;
	return g;
}

static bool mode_known(uint16_t mode)
{
	return mode <= PACKET_FANOUT_QM;
}

/* An id that no group has, for PACKET_FANOUT_FLAG_UNIQUEID. */
static bool pick_id(const struct stack *s, uint16_t *ret)
{
	for (uint32_t id = 0; id <= UINT16_MAX; id++)
		if (!find_group(s, (uint16_t)id)) {
			*ret = (uint16_t)id;
			return true;
		}
	return false;
}

void packet_fanout_run(struct packet_sock *k, bool on)
{
	struct packet_fanout *g = k->fanout;

	if (!g || on != list_empty(&k->fanout_link))
		return;
	if (on) {
		list_append(&g->members, &k->fanout_link);
		g->count++;
	} else {
		list_remove(&k->fanout_link);
		g->count--;
	}
	g->seen = NULL;
}

static int join(struct packet_sock *k, uint16_t id, uint16_t type, uint32_t max) REQUIRES(L_NET)
{
	struct packet_fanout *g;

	if (type & 0xff00 & FLAG_UNIQUE) {
		if (id)
			return -EINVAL;
		if (!pick_id(k->stack, &id))
			return -ENOMEM;
		type &= (uint16_t)~FLAG_UNIQUE;
	}
	g = find_group(k->stack, id);
	if (g && (g->mode != (type & 0xff) || g->flags != (type & 0xff00) || (max && g->max != max)))
		return -EINVAL;
	if (!g)
		g = group_create(k, id, type, max);
	if (!g)
		return -ENOMEM;
	if (g->protocol != k->protocol || g->dev != k->dev)
		return -EINVAL;
	if (g->sockets == g->max)
		return -ENOSPC;
	g->sockets++;
	k->fanout = g;
	packet_fanout_run(k, true);
	return 0;
}

int packet_fanout_join(struct packet_sock *k, uint32_t arg, uint32_t max)
{
	uint16_t id = (uint16_t)arg, type = (uint16_t)(arg >> 16), mode = type & 0xff;
	int err;

	if (!mode_known(mode) || type & 0xff00 & ~(unsigned)FLAGS_KNOWN)
		return -EINVAL;
	if (mode == PACKET_FANOUT_ROLLOVER && type & PACKET_FANOUT_FLAG_ROLLOVER)
		return -EINVAL;
	if (max > MEMBERS_MAX)
		return -EINVAL;
	if (k->fanout)
		return -EALREADY;
	if (!k->running)
		return -EINVAL;
	mutex_lock(&groups_lock, L_SOCKLIST);
	err = join(k, id, type, max);
	mutex_unlock(&groups_lock, L_SOCKLIST);
	return err;
}

void packet_fanout_leave(struct packet_sock *k)
{
	struct packet_fanout *g = k->fanout;

	if (!g)
		return;
	packet_fanout_run(k, false);
	k->fanout = NULL;
	if (--g->sockets)
		return;
	mutex_lock(&groups_lock, L_SOCKLIST);
	list_remove(&g->link);
	group_count--;
	mutex_unlock(&groups_lock, L_SOCKLIST);
	slab_free(&fanout_slab, g);
}

uint32_t packet_fanout_get(const struct packet_sock *k)
{
	const struct packet_fanout *g = k->fanout;

	return g ? g->id | (uint32_t)(g->mode | g->flags) << 16 : 0;
}

/* ---- choosing ---- */

/* The same for both directions of a flow: addresses and ports added up. */
static uint32_t flow_hash(const struct packet_frame *f)
{
	uint8_t h[60] = {0};
	uint32_t sum = 0, off = f->link_len, n = MIN(f->len - off, (uint32_t)sizeof(h));
	bool v6 = f->protocol == ETH_P_IPV6;
	unsigned addrs = v6 ? 8 : 12, size = v6 ? 32 : 8, ports;

	packet_frame_copy(f, off, h, n);
	if (f->protocol != ETH_P_IP && !v6)
		return 0;
	ports = v6 ? 40 : (h[0] & 15) * 4u;
	if (!v6 && (h[6] & 0x3f || h[7]))
		ports = sizeof(h);
	for (unsigned i = addrs; i < addrs + size; i += 4)
		sum += (uint32_t)h[i] << 24 | (uint32_t)h[i + 1] << 16 | (uint32_t)h[i + 2] << 8 | h[i + 3];
	if ((h[v6 ? 6 : 9] == IPPROTO_TCP || h[v6 ? 6 : 9] == IPPROTO_UDP) && ports + 4 <= sizeof(h))
		sum += (uint32_t)(h[ports] << 8 | h[ports + 1]) + (uint32_t)(h[ports + 2] << 8 | h[ports + 3]);
	return sum * 2654435761u;
}

static struct packet_sock *member_at(struct packet_fanout *g, unsigned n) REQUIRES(L_NET)
{
	struct packet_sock *k;

	list_for_each(k, &g->members, fanout_link)
		if (n-- == 0)
			return k;
	return NULL;
}

/* From k on, the first with room. */
static struct packet_sock *roll(struct packet_fanout *g, struct packet_sock *k) REQUIRES(L_NET)
{
	struct packet_sock *at;

	if (k->bytes < (uint32_t)k->s.rcvbuf)
		return k;
	list_for_each(at, &g->members, fanout_link)
		if (at->bytes < (uint32_t)at->s.rcvbuf)
			return at;
	return k;
}

static struct packet_sock *choose(struct packet_fanout *g, const struct packet_frame *f) REQUIRES(L_NET)
{
	struct packet_sock *k;
	uint32_t n = 0;

	switch (g->mode) {
	case PACKET_FANOUT_HASH:
		n = flow_hash(f) >> 8;
		break;
	case PACKET_FANOUT_LB:
		n = g->next++;
		break;
	case PACKET_FANOUT_RND:
		n = stack_random32(g->stack);
		break;
	}
	k = member_at(g, n % g->count);
	return k && (g->mode == PACKET_FANOUT_ROLLOVER || g->flags & PACKET_FANOUT_FLAG_ROLLOVER) ? roll(g, k) : k;
}

bool packet_fanout_mine(struct packet_sock *k, const struct packet_frame *f)
{
	struct packet_fanout *g = k->fanout;

	/* Who is the first to be asked about a frame chooses; when all have been asked, the next frame may have the same address. */
	if (g->seen != f->p || g->seen_out != f->out || g->asked >= g->count) {
		g->seen = f->p;
		g->seen_out = f->out;
		g->asked = 0;
		g->chosen = choose(g, f);
	}
	g->asked++;
	return g->chosen == k;
}
