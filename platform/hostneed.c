/*
 * Each call is made with arguments that any kernel refuses: what comes back tells whether the call itself is there, and nothing happens. The exceptions are
 * EPERM and ENOSYS, with which filters and kernels refuse the call as such; so a call that may give EPERM for its arguments cannot be asked for here.
 *
 * Calls without which no program could have come this far are left out.
 */
#include "platform/hostneed.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct need {
	const char *platform;     /* NULL: all */
	const char *name, *since; /* of Linux; NULL: before all others here */
	long nr, args[6];
};

#define NEED(platform, call, since, ...)                                                                               \
	{                                                                                                              \
		platform, #call, since, SYS_##call,                                                                    \
		{                                                                                                      \
			__VA_ARGS__                                                                                    \
		}                                                                                                      \
	}

static const struct need needs[] = {
    NEED(NULL, seccomp, NULL, SECCOMP_GET_ACTION_AVAIL),
    NEED(NULL, clone, NULL, CLONE_SIGHAND),
    NEED(NULL, clone3, "5.3", 0),
    NEED(NULL, openat2, "5.6", -1),
    NEED(NULL, close_range, "5.9", 1),
    NEED(NULL, process_vm_readv, NULL, 0),
    NEED(NULL, process_vm_writev, NULL, 0),
    NEED(NULL, getrandom, NULL, 0, 0, -1),
    NEED(NULL, memfd_create, NULL, 0, -1),
    NEED(NULL, pidfd_send_signal, "5.1", -1, 0, 0, -1),
    NEED(NULL, statx, NULL, -1, 0, -1),
    NEED(NULL, preadv2, NULL, -1),
    NEED(NULL, pwritev2, NULL, -1),
    NEED(NULL, socketpair, NULL, AF_UNIX, -1),
    NEED(NULL, signalfd4, NULL, -1),
    NEED(NULL, timerfd_create, NULL, -1),
    NEED(NULL, eventfd2, NULL, 0, -1),
    NEED(NULL, epoll_create1, NULL, -1),
    NEED(NULL, pipe2, NULL, 0, -1),
    NEED(NULL, kill, NULL, 0, -1),
    NEED(NULL, rt_sigaction, NULL, -1),
    NEED(NULL, poll, NULL, 0, -1),
    NEED(NULL, mremap, NULL, 1),
    NEED("trap", ioctl, "5.0", -1, SECCOMP_IOCTL_NOTIF_RECV),
    NEED("trap", pidfd_open, "5.3", -1, -1),
    NEED("trap", pidfd_getfd, "5.6", -1, -1, -1),
    NEED("trap", waitid, NULL, -1),
    NEED("trap", lseek, NULL, -1),
    NEED("trap", sigaltstack, NULL, 1),
    NEED("ptrace", dup3, NULL, -1, -1, -1),
};

bool hostneed_filtered(void)
{
	int mode = prctl(PR_GET_SECCOMP);

	/* EINVAL: a kernel without seccomp. Anything else that is not a mode is a filter's answer. */
	return mode == SECCOMP_MODE_FILTER || (mode < 0 && errno != EINVAL);
}

static void explain(const struct need *n, int err, char *text, size_t size)
{
	bool filtered = hostneed_filtered();
	const char *what = filtered         ? "a seccomp filter refuses"
			   : err == -ENOSYS ? "this kernel lacks"
					    : "this host refuses";
	size_t at = (size_t)snprintf(text, size, "%s the system call %s", what, n->name);

	if (n->since && err == -ENOSYS)
		snprintf(text + at, size - at, "%s older than Linux %s", filtered ? ", or the kernel is" : ": it is",
			 n->since);
}

static int need_check(const struct need *n)
{
	const long *a = n->args;

	return syscall(n->nr, a[0], a[1], a[2], a[3], a[4], a[5]) < 0 && (errno == EPERM || errno == ENOSYS) ? -errno
													     : 0;
}

int hostneed_check(const char *platform, const char **ret_why)
{
	static char text[160];

	for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
		const struct need *n = &needs[i];
		int err = 0;

		if (platform ? n->platform && strcmp(n->platform, platform) == 0 : !n->platform)
			err = need_check(n);
		if (!err)
			continue;
		explain(n, err, text, sizeof(text));
		*ret_why = text;
		return err;
	}
	return 0;
}

int hostneed_reach(pid_t pid)
{
	char byte;
	struct iovec local = {&byte, 1}, nowhere = {NULL, 1};

	/* Whether we may is decided before the address is looked at. */
	if (process_vm_readv(pid, &local, 1, &nowhere, 1, 0) < 0 && errno == EPERM)
		return -EPERM;
	return process_vm_writev(pid, &local, 1, &nowhere, 1, 0) < 0 && errno == EPERM ? -EPERM : 0;
}
