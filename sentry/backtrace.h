/* The stack of a guest that is about to die. */
#pragma once

struct task;

/* By the task itself, its cpu stopped, without locks: to the tracer's file and to the log, if those are on. */
void task_backtrace(struct task *t, int signo);
