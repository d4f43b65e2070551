/*
 * The pid table, process groups and sessions. Everything here is under pidtree_lock (L_PIDTREE). For
 * sentry/{task,clone,exit,exec, wait}.c and the handlers of setpgid and the like; others use task_find() and
 * tg_find() of task.h.
 */
#pragma once

#include "sentry/task.h"

/* An id that no task, process group or session has; -EAGAIN. It is taken once pid_hash() is called. */
int32_t pid_alloc(void) REQUIRES(L_PIDTREE);
/* Makes t findable by its ctx.tid; the table takes a reference. */
void pid_hash(struct task *t) REQUIRES(L_PIDTREE);
/* The table's reference goes to the caller. */
void pid_unhash(struct task *t) REQUIRES(L_PIDTREE);
/* Borrowed; NULL: none. Zombies included. */
struct task *task_find_locked(int32_t tid) REQUIRES(L_PIDTREE);
struct thread_group *tg_find_locked(int32_t pid) REQUIRES(L_PIDTREE);

/* Borrowed; NULL: none has that id. */
struct pgrp *pgrp_find_locked(int32_t id) REQUIRES(L_PIDTREE);
/* A new group in a session (a reference is taken); count 1, the caller's. NULL: no memory. */
struct pgrp *pgrp_create(int32_t id, struct session *s) REQUIRES(L_PIDTREE);
struct pgrp *pgrp_get(struct pgrp *pg);
void pgrp_put(struct pgrp *pg) REQUIRES(L_PIDTREE);
struct session *session_create(int32_t id);
struct session *session_get(struct session *s);
void session_put(struct session *s);
/* Moves tg into pg (NULL: into none); a reference is taken. */
void tg_set_pgrp(struct thread_group *tg, struct pgrp *pg) REQUIRES(L_PIDTREE);

/* Tasks by real user id, for RLIMIT_NPROC. Without memory for a counter a user is not counted. */
void uid_count_add(uint32_t uid, int delta) REQUIRES(L_PIDTREE);
unsigned uid_count(uint32_t uid) REQUIRES(L_PIDTREE);
/* All tasks of the sandbox. */
extern unsigned task_total;
