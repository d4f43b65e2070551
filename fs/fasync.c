/*
 * Signal-driven input and output: fcntl(2), "Managing signals".
 *
 * The owner belongs to the open description and is made when first set. A stream that supports O_ASYNC keeps a list of the descriptions that want
 * it, under its own lock; its set_flags op enters and leaves them. Who may be signalled is decided when the signal is sent, by
 * fasync_send, with the credentials of whoever set the owner, as Linux's sigio_perm() does. Signals are a layer above: this file only knows
 * numbers.
 */
#include "fs/fasync.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

/* Kernel numbers; the C library's header spells them by other names. */
#ifndef F_SETOWN_EX
#define F_SETOWN_EX 15
#define F_GETOWN_EX 16
#endif

struct k_f_owner_ex {
	int32_t type;
	int32_t pid;
};
_Static_assert(sizeof(struct k_f_owner_ex) == 8, "ABI");

static struct slab fasync_slab = SLAB_INIT(struct fasync);

void (*fasync_send)(const struct fasync_signal *s);

/* f's record, made on first use. Two threads may race for it: the loser frees its own. */
static struct fasync *fasync_get(struct file *f)
{
	struct fasync *old = NULL, *fa = __atomic_load_n(&f->fasync, __ATOMIC_ACQUIRE);

	if (fa)
		return fa;
	fa = slab_alloc(&fasync_slab);
	if (!fa)
		return NULL;
	list_init(&fa->link);
	mutex_init(&fa->lock);
	fa->file = f;
	fa->fd = -1;
	fa->type = F_OWNER_PID;
	if (__atomic_compare_exchange_n(&f->fasync, &old, fa, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return fa;
	slab_free(&fasync_slab, fa);
	return old;
}

void fasync_free(struct file *f)
{
	if (!f->fasync)
		return;
	BUG_ON(!list_empty(&f->fasync->link));
	slab_free(&fasync_slab, f->fasync);
	f->fasync = NULL;
}

static long set_owner(struct ctx *c, struct file *f, int type, int32_t owner)
{
	struct fasync *fa = fasync_get(f);

	if (!fa)
		return -ENOMEM;
	mutex_lock(&fa->lock, L_TASK);
	fa->type = type;
	fa->owner = owner;
	fa->uid = c->cred->uid;
	fa->euid = c->cred->euid;
	mutex_unlock(&fa->lock, L_TASK);
	return 0;
}

/* F_SETOWN: a negative number is a process group. */
static long set_own(struct ctx *c, struct file *f, int32_t arg)
{
	if (arg == INT32_MIN)
		return -EINVAL;
	return set_owner(c, f, arg < 0 ? F_OWNER_PGRP : F_OWNER_PID, arg < 0 ? -arg : arg);
}

static long set_own_ex(struct ctx *c, struct file *f, uaddr_t arg)
{
	struct k_f_owner_ex o;

	if (copy_in(c, &o, arg, sizeof(o)))
		return -EFAULT;
	if (o.type < F_OWNER_TID || o.type > F_OWNER_PGRP || o.pid < 0)
		return -EINVAL;
	return set_owner(c, f, o.type, o.pid);
}

static long get_own_ex(struct ctx *c, struct file *f, uaddr_t arg)
{
	struct fasync *fa = f->fasync;
	struct k_f_owner_ex o = {fa ? fa->type : F_OWNER_TID, fa ? fa->owner : 0};

	return copy_out(c, arg, &o, sizeof(o));
}

static long set_sig(struct file *f, uint64_t arg)
{
	struct fasync *fa;

	if (arg > 64)
		return -EINVAL;
	fa = fasync_get(f);
	if (!fa)
		return -ENOMEM;
	fa->signo = (int)arg;
	return 0;
}

static long get_own(struct file *f)
{
	struct fasync *fa = f->fasync;

	if (!fa)
		return 0;
	return fa->type == F_OWNER_PGRP ? -fa->owner : fa->owner;
}

long fasync_fcntl(struct ctx *c, struct file *f, int cmd, uint64_t arg)
{
	switch (cmd) {
	case F_SETOWN:
		return set_own(c, f, (int32_t)arg);
	case F_GETOWN:
		return get_own(f);
	case F_SETOWN_EX:
		return set_own_ex(c, f, UADDR(arg));
	case F_GETOWN_EX:
		return get_own_ex(c, f, UADDR(arg));
	case F_SETSIG:
		return set_sig(f, arg);
	case F_GETSIG:
		return f->fasync ? f->fasync->signo : 0;
	default:
		return -EINVAL;
	}
}

int fasync_set(struct file *f, struct list *list, int flags)
{
	struct fasync *fa;

	if (!(flags & O_ASYNC)) {
		fasync_remove(f);
		return 0;
	}
	fa = fasync_get(f);
	if (!fa)
		return -ENOMEM;
	if (list_empty(&fa->link))
		list_append(list, &fa->link);
	return 0;
}

void fasync_remove(struct file *f)
{
	if (f->fasync)
		list_remove(&f->fasync->link);
}

static int band_code(uint32_t band)
{
	if (band & POLLERR)
		return POLL_ERR;
	if (band & POLLHUP)
		return POLL_HUP;
	if (band & POLLPRI)
		return POLL_PRI;
	return band & POLLOUT ? POLL_OUT : POLL_IN;
}

/* si_band carries the data and the normal-priority bits together, as Linux's band table has them. */
static uint32_t band_bits(uint32_t band)
{
	if (band & POLLIN)
		band |= POLLRDNORM;
	if (band & POLLOUT)
		band |= POLLWRNORM | POLLWRBAND;
	return band;
}

static void fasync_send_one(struct fasync *fa, uint32_t band)
{
	struct fasync_signal s;

	mutex_lock(&fa->lock, L_TASK);
	s = (struct fasync_signal){fa->type, fa->owner,       fa->signo,       fa->uid,
				   fa->euid, band_code(band), band_bits(band), fa->fd};
	mutex_unlock(&fa->lock, L_TASK);
	if (s.signo == 0) {
		s.signo = SIGIO;
		s.code = 0;
	}
	if (s.owner && fasync_send)
		fasync_send(&s);
}

void fasync_notify(struct list *list, uint32_t band)
{
	struct fasync *fa;

	list_for_each(fa, list, link)
		fasync_send_one(fa, band);
}
