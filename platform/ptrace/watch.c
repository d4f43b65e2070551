/*
 * Stubs that somebody else kills.
 *
 * A tracer notices when it waits for its tracee, but not while an upcall sleeps or its cpu is parked. So the host's SIGCHLD, which comes for each tracee that has
 * ended, is read from a descriptor, and then all of them are looked at: signals coalesce, and do not say for whom they came.
 *
 * PTRACE_O_TRACEEXIT would have each dying thread wait for its tracer before anybody can see that it dies. Without it the first thread of a process can be waited for only
 * when the others have been: their tracers must not keep them once the aspace is dead.
 */
#include <signal.h>
#include <stdatomic.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/ptrace/internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list all = LIST_INIT(all); /* lock: aspace.link */
static int child_fd = -1;

int watch_init(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL); /* all later threads, too */
	child_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return child_fd < 0 ? -errno : 0;
}

void ptrace_watch_add(struct aspace *a)
{
	pthread_mutex_lock(&lock);
	list_append(&all, &a->link);
	pthread_mutex_unlock(&lock);
}

void ptrace_watch_remove(struct aspace *a)
{
	pthread_mutex_lock(&lock);
	list_remove(&a->link);
	pthread_mutex_unlock(&lock);
}

static bool has_ended(pid_t tid, bool *ret_killed)
{
	siginfo_t si = {0};

	if (waitid(P_PID, (id_t)tid, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) || si.si_pid != tid)
		return false;
	*ret_killed = si.si_code == CLD_KILLED && si.si_status == SIGKILL;
	/* Stops of tracees are reported whether one asks for them or not. */
	return si.si_code != CLD_TRAPPED && si.si_code != CLD_STOPPED;
}

/* Those in use leave by themselves, when their upcalls have ended. */
static void let_parked_die(struct aspace *a) REQUIRES(L_ASPACE)
{
	struct pcpu *c, *next;

	list_for_each_safe(c, next, &a->parked, link) {
		list_remove(&c->link);
		tracer_signal(c, &c->die);
	}
	a->parked_count = 0;
}

static bool look(struct aspace *a)
{
	bool lost = false, killed = false;
	struct pcpu *c;

	mutex_lock(&a->lock, L_ASPACE);
	if (!a->lost)
		list_for_each(c, &a->cpus, link)
			lost = lost || has_ended(c->tid, &killed);
	if (lost) {
		a->outside = killed && !a->dead;
		a->lost = a->dead = true;
		let_parked_die(a);
	}
	mutex_unlock(&a->lock, L_ASPACE);
	return lost;
}

int ptrace_watch_fd(void)
{
	return child_fd;
}

enum platform_loss ptrace_watch(void)
{
	enum platform_loss loss = LOSS_NONE;
	struct signalfd_siginfo si;
	struct aspace *a;

	while (read(child_fd, &si, sizeof(si)) > 0)
		;
	pthread_mutex_lock(&lock);
	list_for_each(a, &all, link)
		if (look(a))
			loss = MAX(loss, a->pid == stub.template_pid ? LOSS_ALL : LOSS_ASPACE);
	pthread_mutex_unlock(&lock);
	return loss;
}

bool ptrace_aspace_lost(struct cpu *any, bool *ret_outside)
{
	*ret_outside = any->aspace->outside;
	return any->aspace->lost;
}
