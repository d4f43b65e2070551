/* What the files that make, change and end tasks share: sentry/{task,clone,exec,exit,wait}.c. Not for others. */
#pragma once

#include "sentry/pid.h"

struct file;

/* What a guest is told when the host has no process or thread for it. */
static inline int task_host_error(int err)
{
	return err == -ENOMEM ? err : -EAGAIN;
}

/* Somebody waits in vfork(2) until the task has a new address space or none. */
struct vfork_done {
	struct ref ref;
	struct wait_queue wq;
	_Atomic bool done;
};
struct vfork_done *vfork_create(void);
void vfork_put(struct vfork_done *v);
/* Lets the parent go on, if t has one that waits. */
void vfork_release(struct task *t);

/*
 * A task with nothing in it, count 1; NULL: no memory. What is put into it later is released with the last reference.
 */
struct task *task_alloc(void);
/* A thread group with nothing in it, count 1. */
struct thread_group *tg_alloc(void);

/*
 * Makes t, whose group and cpu are set, visible: gives it an id if it has none (ctx.tid 0), puts it into its group
 * and the table, counts it. *parent: what a new group becomes a child of (NULL: a thread or init). -EAGAIN: too many
 * tasks; -EINTR: the group is dying.
 */
int task_publish_locked(struct task *t, struct thread_group *parent, int32_t parent_tid) REQUIRES(L_PIDTREE);
/* A task that was never published: gives up the only reference. NULL is fine. */
void task_discard(struct task *t);
/* Replaces what t, whose cpu is still the old memory's, uses as memory (NULL: nothing); takes over the reference. */
void task_set_mm(struct task *t, struct mm *mm);

/* Ends the calling task: sentry/exit.c. Its cpu is given back: the upcall returns CPU_STOP and touches t no more. */
void task_exit(struct task *t);
/* Tells the parent of a dead group; true: it does not want to wait for it. */
bool tg_notify_dead(struct thread_group *tg) REQUIRES(L_PIDTREE);
/* What t leaves in memory that it gives up (exit, exec): robust futexes, clear_child_tid, a parent in vfork. */
void task_release_memory(struct task *t);
/* Collects a dead group that nobody has to wait for any more. */
void tg_release(struct thread_group *tg) REQUIRES(L_PIDTREE);
/*
 * Kills all other threads of t's group and waits until they are gone; t becomes the leader. 0, or -EINTR: t is killed
 * itself.
 */
int task_become_leader(struct task *t);

/* Takes a cpu from a task, under the locks that others look at it with, and gives it back. */
void task_put_cpu(struct task *t, struct cpu *successor);

/* Gives t a table of its own if it shares one: CLONE_FILES undone. */
int task_unshare_files(struct task *t);
/* The same for CLONE_FS. */
int task_unshare_fs(struct task *t);
/* A copy of the mount namespace for t, which shares its root and cwd with nobody (CLONE_NEWNS). */
int task_new_mounts(struct task *t);
/* t enters net, whose reference it takes over. */
void task_set_net(struct task *t, struct netns *net);

/* Loads the first program into t, which has no cpu and no memory yet: sentry/exec.c. argv and envp are ours. */
int task_exec_kernel(struct task *t, const struct init_spec *spec);
