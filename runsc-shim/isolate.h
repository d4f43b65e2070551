/*
 * Starting the sentry in its cage: a child process of the launcher, without exec, that is pid 1 of its own pid namespace, in
 * its own user, mount, network, IPC, UTS and cgroup namespaces, with an empty read-only root, no capabilities and no way
 * to get any, and with no descriptor of the launcher's but those named here. The sentry's own system call filter is
 * installed later, by seccomp_install_sentry() (platform/seccomp.h), when it has set itself up.
 *
 * Lifetime: the sentry gets SIGKILL when the *thread* that called isolate_start() ends, in whatever way; and when the
 * sentry ends, the kernel kills everything in its pid namespace. So nothing outlives the launcher's first thread.
 */
#pragma once

#include "runsc-shim/error.h"

/*
 * A directory of the host's, O_PATH. In the sentry the descriptor of the same number leads to a mount of its own, of that
 * directory and what is mounted beneath it: nothing above can be reached from it, device nodes cannot be opened, and
 * read_only is enforced by the host's kernel, whatever becomes of the sentry.
 */
struct isolate_dir {
	int fd;
	bool read_only;
};

struct isolate_spec {
	const struct isolate_dir *dirs;
	size_t dir_count;
	const int *fds; /* kept open in the sentry, at the same numbers; all others are closed there */
	size_t fd_count;
	const char *hostname;  /* of the UTS namespace, for the host's tools only; NULL: "sandbox" */
	uint64_t memory_bytes; /* how much isolate_memory_fd() holds; 0: no limit */
	bool share_net;        /* stay in the launcher's network namespace (links that are opened later) */
};

struct isolated {
	pid_t pid; /* as the launcher sees it: a child to wait for */
	int pidfd;
	bool userns;   /* false: this host refuses user namespaces, and the caller is root */
	int dirs_err;  /* 0, or why (-errno) a directory is the launcher's own and not confined as above */
	bool has_proc; /* it has a proc file system of its own: sizes and times of its processes are known */
	int status_fd; /* what the sentry writes to isolate_status_fd(); end of file when it has gone */
};

/*
 * Starts it and returns when the isolation is complete and sentry_main(arg) runs, as the child's main function: what it returns is the exit
 * status. 0, or -1 with *e (then no process is left). Call it from the launcher's first thread while that is the only one.
 * *ret's fds are the caller's; isolate_finish() closes them.
 */
int isolate_start(const struct isolate_spec *spec, int (*sentry_main)(void *arg), void *arg, struct isolated *ret,
		  struct error *e);
/* Kills the sentry if it still runs, waits for it, closes the fds. Returns its wait status, -1 if it had been waited for. */
int isolate_finish(struct isolated *i);

/* In the sentry: where to write messages for the launcher (a pipe; up to PIPE_BUF bytes are one message). */
int isolate_status_fd(void);
/* In the sentry: a proc file system of its pid namespace, read-only and with processes only; -1 if the host refused it. */
int isolate_proc_fd(void);
/* In the sentry: a private, empty tmpfs of the host for hostio_memory_dir, or -1. */
int isolate_memory_fd(void);

/* Whether this host lets the caller do this, without starting anything that stays: 0, or -1 with *e. For `sandbox doctor`. */
int isolate_probe(bool *ret_has_proc, struct error *e);
