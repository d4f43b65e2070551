/* Futexes that a dying task holds: get_robust_list(2). */
#pragma once

#include "sentry/task.h"

/*
 * Walks t's robust list in guest memory: marks each lock that t holds as owner-dead and wakes a waiter. By t itself,
 * its cpu stopped.
 */
void robust_list_exit(struct task *t);
