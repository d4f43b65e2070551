/*
 * `sandbox exec`: the launcher. It opens what the command line names, starts the sentry in its cage (isolate.c), and then only passes signals
 * in and the result out. It holds no lock and no state that matters: killing it ends the sandbox (isolate.h).
 */
#include "runsc-shim/exec.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/hostneed.h"
#include "platform/platform.h"
#include "runsc-shim/boot.h"
#include "runsc-shim/isolate.h"
#include "runsc-shim/limits.h"
#include "runsc-shim/options.h"
#include "runsc-shim/options_net.h"
#include "runsc-shim/terminal.h"
#include "sentry/base/clock.h"

/* Between the first signal of --timeout and SIGKILL. */
#define TIMEOUT_GRACE_NS (5 * NSEC_PER_SEC)

struct launcher {
	struct spec spec;
	int control[2]; /* [0] ours, [1] the sentry's */
	int signal_fd, timer_fd;
	bool timed_out;
	struct terminal terminal;
	struct isolated sentry;
	struct boot_result result;
};

/* In the sentry's process. */
static int sentry_main(void *arg)
{
	struct launcher *l = arg;
	struct boot_result r;

	boot_run(&l->spec, l->control[1], &r);
	return write(isolate_status_fd(), &r, sizeof(r)) == sizeof(r) ? 0 : 1;
}

static size_t fds_to_keep(const struct launcher *l, int *fds)
{
	const struct spec *s = &l->spec;
	const int named[] = {STDERR_FILENO, s->stream_fd[0], s->stream_fd[1], s->stream_fd[2],
			     s->strace_fd,  s->log_fd,       l->control[1]};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		if (named[i] >= 0 && fcntl(named[i], F_GETFD) >= 0)
			fds[n++] = named[i];
	for (size_t i = 0; i < s->mount_count; i++)
		if (s->mounts[i].fd >= 0 && !s->mounts[i].is_dir)
			fds[n++] = s->mounts[i].fd;
	return n + options_net_fds(&s->net, fds + n);
}

static size_t dirs_to_confine(const struct spec *s, struct isolate_dir *dirs)
{
	const struct isolate_dir named[] = {{s->root_fd, true}, {s->overlay_fd, false}, {s->cwd_fd, true}};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		if (named[i].fd >= 0)
			dirs[n++] = named[i];
	for (size_t i = 0; i < s->mount_count; i++)
		if (s->mounts[i].fd >= 0 && s->mounts[i].is_dir)
			dirs[n++] = (struct isolate_dir){s->mounts[i].fd, s->mounts[i].read_only};
	return n;
}

/* They are the sandbox's now: whoever is at the other end hears when the last guest closes them. Messages still need stderr. */
static void release_streams(struct spec *s)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd <= 2; fd++) {
		if (s->stream_fd[fd] < 0)
			continue;
		close(s->stream_fd[fd]);
		if (fd != STDERR_FILENO && null >= 0)
			dup2(null, fd);
	}
	if (null > STDERR_FILENO)
		close(null);
}

static int start_sentry(struct launcher *l, struct error *e)
{
	int fds[MOUNTS_MAX + PUBLISH_MAX + 24];
	struct isolate_dir dirs[MOUNTS_MAX + 3];
	struct isolate_spec cage = {
	    .fds = fds,
	    .dirs = dirs,
	    .hostname = l->spec.hostname,
	    .memory_bytes = l->spec.memory_bytes,
	    .share_net = l->spec.net.kind == NET_NAT || l->spec.net.kind == NET_HOST,
	};

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, l->control))
		return error_set(e, EXIT_SANDBOX, errno, NULL, "cannot make a socket pair");
	cage.fd_count = fds_to_keep(l, fds);
	cage.dir_count = dirs_to_confine(&l->spec, dirs);
	terminal_open(&l->terminal, &l->spec);
	if (isolate_start(&cage, sentry_main, l, &l->sentry, e))
		return -1;
	close(l->control[1]);
	release_streams(&l->spec);
	return 0;
}

/* Signals that mean the program: all but those that are about the launcher itself. The terminal's stops are among them: see docs/terminals.md. */
static int open_signals(struct launcher *l, struct error *e)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, SIGCHLD);
	sigdelset(&set, SIGPIPE);
	sigprocmask(SIG_SETMASK, &set, NULL);
	l->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (l->signal_fd < 0 || l->timer_fd < 0)
		return error_set(e, EXIT_SANDBOX, errno, NULL, "cannot wait for signals");
	return 0;
}

static void arm_timeout(struct launcher *l, uint64_t ns)
{
	struct itimerspec its = {.it_value = ns_to_timespec((int64_t)ns)};

	if (ns)
		timerfd_settime(l->timer_fd, 0, &its, NULL);
}

static void send_signal(struct launcher *l, int signo, bool from_terminal)
{
	struct boot_request r = {.signo = signo, .from_terminal = from_terminal};

	/* A sentry that has gone is seen on the status pipe. */
	if (send(l->control[0], &r, sizeof(r), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void on_signal(struct launcher *l)
{
	struct signalfd_siginfo si;

	if (read(l->signal_fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGCONT)
		terminal_enter(&l->terminal);
	send_signal(l, (int)si.ssi_signo, si.ssi_code == SI_KERNEL);
}

/* The first process has stopped, or wants to read in the background: so does the launcher, with the same signal, for its own shell to see. Then both go on. */
static void on_stop(struct launcher *l)
{
	struct boot_request r;

	if (recv(l->control[0], &r, sizeof(r), MSG_DONTWAIT) != sizeof(r))
		return;
	if (!r.from_terminal || !terminal_is_ours(&l->terminal)) {
		terminal_leave(&l->terminal);
		stop_by(r.signo);
		terminal_enter(&l->terminal);
	}
	send_signal(l, SIGCONT, false);
}

static void on_timeout(struct launcher *l)
{
	uint64_t ticks;

	if (read(l->timer_fd, &ticks, sizeof(ticks)) != sizeof(ticks))
		return;
	if (l->timed_out) {
		kill(l->sentry.pid, SIGKILL);
		return;
	}
	l->timed_out = true;
	send_signal(l, SIGTERM, false);
	arm_timeout(l, TIMEOUT_GRACE_NS);
}

/* Until the sentry has said how it ended, or has gone. */
static void wait_for_result(struct launcher *l)
{
	struct pollfd p[] = {
	    {l->sentry.status_fd, POLLIN, 0},
	    {l->signal_fd, POLLIN, 0},
	    {l->timer_fd, POLLIN, 0},
	    {l->control[0], POLLIN, 0},
	};

	arm_timeout(l, l->spec.timeout_ns);
	for (;;) {
		if (poll(p, ARRAY_SIZE(p), -1) < 0)
			continue;
		if (p[1].revents)
			on_signal(l);
		if (p[2].revents)
			on_timeout(l);
		if (p[0].revents)
			break;
		if (p[3].revents & (POLLHUP | POLLERR))
			p[3].fd = -1;
		else if (p[3].revents)
			on_stop(l);
	}
	if (read(l->sentry.status_fd, &l->result, sizeof(l->result)) != sizeof(l->result))
		l->result.error.status = -1;
}

/* The sentry has gone without a word. */
static int sentry_lost(int host_status, uint64_t cpu_ns, struct error *e)
{
	const char *how = WIFSIGNALED(host_status) ? strsignal(WTERMSIG(host_status)) : "it left by itself";
	const char *advice = "the messages above or in --log may say why";

	if (limits_cpu_spent(cpu_ns))
		advice = "it has probably used up the limit of CPU time: ulimit -t";
	return error_set(e, EXIT_SANDBOX, 0, advice, "the sandbox's kernel has ended: %s", how);
}

/* Of a child that has not been waited for. */
static uint64_t cpu_time(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)timespec_to_ns(&ts);
}

static int result_status(struct launcher *l, struct error *e)
{
	uint64_t cpu_ns = cpu_time(l->sentry.pid);
	int host_status = isolate_finish(&l->sentry);
	int w = l->result.wait_status;

	if (l->timed_out)
		return EXIT_TIMEOUT;
	if (l->result.error.status == -1)
		return sentry_lost(host_status, cpu_ns, e);
	if (l->result.error.status) {
		*e = l->result.error;
		return -1;
	}
	return WIFSIGNALED(w) ? 128 + WTERMSIG(w) : WEXITSTATUS(w);
}

static int select_platform(const struct spec *s, struct error *e)
{
	const char *why;
	int err = hostneed_check(NULL, &why);

	if (!err)
		err = platform_select(s->platform, &why);
	if (!err)
		return 0;
	return error_set(e, EXIT_SANDBOX, -err,
			 hostneed_filtered() ? "in a container: docker run --security-opt seccomp=unconfined"
					     : "sandbox doctor says what this machine offers",
			 "cannot run programs here: %s", why);
}

int exec_main(int argc, char **argv, char **environment)
{
	static struct launcher l;
	struct error e = {0};
	int status = options_parse(argc, argv, environment, &l.spec, &e);

	if (status == 1)
		return 0;
	limits_raise();
	if (status == 0 && !limits_check(&e) && !select_platform(&l.spec, &e) && !spec_open(&l.spec, &e) &&
	    !open_signals(&l, &e) && !start_sentry(&l, &e)) {
		terminal_enter(&l.terminal);
		wait_for_result(&l);
		terminal_close(&l.terminal);
		status = result_status(&l, &e);
	} else {
		status = -1;
	}
	spec_finish(&l.spec);
	if (status >= 0)
		return status;
	error_print("sandbox", &e);
	return e.status;
}
