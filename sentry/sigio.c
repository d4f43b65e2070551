/*
 * SIGIO: what fs/fasync.c asks for is sent to its owner with the rights of whoever set the owner. fcntl(2), F_SETOWN and F_SETSIG.
 *
 * Without F_SETSIG it is a plain SIGIO to the process. With it, a queued signal with the descriptor and the event; if it cannot be queued, SIGIO, so that the owner
 * knows that something was lost.
 */
#include <fcntl.h>
#include <string.h>

#include "fs/fasync.h"
#include "sentry/base/cred.h"
#include "sentry/pid.h"
#include "sentry/signal.h"

static bool permitted(const struct fasync_signal *s, struct task *t)
{
	const struct cred *c = task_get_cred(t);
	bool ok = c &&
		  (s->euid == 0 || s->euid == c->suid || s->euid == c->uid || s->uid == c->suid || s->uid == c->uid);

	cred_put(c);
	return ok;
}

static void send_one(const struct fasync_signal *s, struct task *t, bool thread)
{
	siginfo_t info;
	int err = -EAGAIN;

	if (!permitted(s, t))
		return;
	memset(&info, 0, sizeof(info));
	info.si_signo = s->signo ? s->signo : SIGIO;
	info.si_code = s->code ? s->code : SI_KERNEL;
	info.si_band = s->band;
	info.si_fd = s->fd;
	if (s->signo)
		err = thread ? signal_send_task(t, s->signo, &info) : signal_send_group(t->tg, s->signo, &info);
	if (err)
		err = thread ? signal_send_task(t, SIGIO, NULL) : signal_send_group(t->tg, SIGIO, NULL);
}

static void sigio_send(const struct fasync_signal *s)
{
	struct thread_group *tg;
	struct pgrp *pg;
	struct task *t;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	if (s->type == F_OWNER_PGRP) {
		pg = pgrp_find_locked(s->owner);
		if (pg)
			list_for_each(tg, &pg->members, pgrp_link)
				if (tg->leader)
					send_one(s, tg->leader, false);
	} else {
		t = task_find_locked(s->owner);
		if (t)
			send_one(s, t, s->type == F_OWNER_TID);
	}
	mutex_unlock(&pidtree_lock, L_PIDTREE);
}

void signal_init(void)
{
	fasync_send = sigio_send;
}
