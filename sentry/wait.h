/* Waiting for children: what wait4(2) and waitid(2) have in common. */
#pragma once

#include "sentry/task.h"

struct wait_request {
	int which; /* P_ALL, P_PID, P_PGID */
	int32_t id;
	int options; /* WEXITED, WSTOPPED, WCONTINUED, WNOHANG, WNOWAIT, __WALL, __WCLONE, __WNOTHREAD */
};

struct wait_result {
	int32_t pid;
	uint32_t uid;
	int code;           /* CLD_* */
	int status;         /* as waitid's si_status */
	int wstatus;        /* as wait4's status word */
	struct usage usage; /* of the child and of those it waited for */
};

/* The child's pid with *ret filled; 0: WNOHANG and none is ready; -ECHILD, -ERESTARTSYS. */
sysret_t task_wait(struct task *t, const struct wait_request *req, struct wait_result *ret);
