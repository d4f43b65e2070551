/*
 * The signal mask of a task that runs guest code: sigprocmask(2).
 *
 * A platform may change it by itself, which saves most of what a pthread_create() or a sigsetjmp() costs. That is harmless while no signal is
 * pending, because nothing can become deliverable then, and nobody looks at the mask of a task that has none. So the mask is open from the moment a task without pending
 * signals goes to the guest until somebody has a signal for its group. He closes it first, under L_SIGHAND, and then looks: either he sees a change
 * or it has not been made, and its call comes as an event, as all further ones do. What he saw may still be taken back by the guest that was
 * about to change it; then its event is on the way, and brings the mask that counts.
 *
 * task->blocked is what counts while the task is in the sentry, and what senders go by. The guest may forge what we take over here: only its own mask.
 */
#include "sentry/sigimpl.h"
#include "sentry/task.h"

static bool pending(const struct task *t)
{
	return t->pending.set | t->tg->pending.set;
}

void sigmask_take(struct task *t)
{
	struct sighand *s = t->tg->sighand;

	if (!t->mask_given)
		return;
	/* Somebody looked while the guest ran, and may be about to write down what he saw. */
	if (__atomic_load_n(&t->mask_seen, __ATOMIC_SEQ_CST)) {
		mutex_lock(&s->lock, L_SIGHAND);
		t->mask_seen = false;
		mutex_unlock(&s->lock, L_SIGHAND);
	}
	t->given_mask = platform->cpu_mask(t->cpu);
	signal_set_blocked(t, t->given_mask);
}

void sigmask_give(struct task *t)
{
	struct sighand *s = t->tg->sighand;

	if (!platform->cpu_give_mask)
		return;
	if (t->mask_given && t->given_mask == t->blocked && (t->mask_open || pending(t)))
		return;
	mutex_lock(&s->lock, L_SIGHAND);
	t->mask_open = !pending(t);
	platform->cpu_give_mask(t->cpu, t->blocked, t->mask_open);
	mutex_unlock(&s->lock, L_SIGHAND);
	t->given_mask = t->blocked;
	t->mask_given = true;
}

void sigmask_forget(struct task *t)
{
	t->mask_open = t->mask_given = false;
}

void sigmask_look(struct task *t)
{
	if (!t->mask_open)
		return;
	t->mask_open = false;
	__atomic_store_n(&t->mask_seen, true, __ATOMIC_SEQ_CST);
	platform->cpu_close_mask(t->cpu);
	if (__atomic_load_n((bool *)&t->in_guest, __ATOMIC_SEQ_CST))
		__atomic_store_n(&t->blocked, platform->cpu_mask(t->cpu) & ~SIG_ONLY_MASK, __ATOMIC_RELAXED);
}
