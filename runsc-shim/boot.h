/*
 * The sentry's side of a start: from a spec to a running first process. Runs in the sentry's process after isolation, sees the host through the spec's fds only.
 */
#pragma once

#include "runsc-shim/error.h"
#include "runsc-shim/spec.h"

/* What the sentry tells the launcher at the end, over the status pipe. */
struct boot_result {
	int wait_status; /* of the first process, if error.status is 0 */
	struct error error;
};

/* One request of the launcher over the control socket; the other way round, one to stop. */
struct boot_request {
	int signo; /* to the first process; the one that has stopped it */
	/* The terminal sent it: to the guest's foreground group, if there is one. The other way round: it cannot be read in the background. */
	bool from_terminal;
};

/*
 * Builds the file tree and the first process, runs it and blocks until it ends. control_fd: a socket that gives boot_requests. Called once.
 */
void boot_run(const struct spec *s, int control_fd, struct boot_result *ret);
