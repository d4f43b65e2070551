/*
 * Mutexes and their order.
 *
 * Each mutex belongs to a lock class. Classes are declared below in the order in which they may be taken: a thread that
 * holds a lock of one class may take locks of later classes only. clang checks it (-Wthread-safety
 * -Wthread-safety-beta) by the global tokens L_X; builds with LOCK_DEBUG=1 check it at run time too. Two locks of one
 * class: mutex_lock_two(), which goes by address.
 *
 *	mutex_lock(&e->lock, L_FILE);		fields: uint64_t count GUARDED_BY(L_FILE);
 *	mutex_unlock(&e->lock, L_FILE);		functions: static int f(struct x *) REQUIRES(L_FILE);
 */
#pragma once

#include <pthread.h>

#include "sentry/base/types.h"

#if defined(__clang__)
#define TSA(x) __attribute__((x))
#else
#define TSA(x)
#endif
#define CAPABILITY(x) TSA(capability(x))
#define GUARDED_BY(x) TSA(guarded_by(x))
#define REQUIRES(...) TSA(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) TSA(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) TSA(acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) TSA(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...) TSA(release_capability(__VA_ARGS__))
#define ACQUIRED_AFTER(x) TSA(acquired_after(x))
#define NO_TSA TSA(no_thread_safety_analysis)

struct CAPABILITY("mutex") lock_class {
	const char *name;
	int rank;
};

/* name, token, class before it. In order of acquisition. */
#define LOCK_CLASSES(X)                                                                                                \
	X(mount, 10)    /* the mount tree and its namespaces */                                                        \
	X(rename, 15)   /* one directory rename at a time in a file system */                                          \
	X(dentry, 20)   /* a directory's children and names */                                                         \
	X(pos, 25)      /* the position of an open description, over the whole read or write */                        \
	X(inode, 28)    /* an inode's attributes and data */                                                           \
	X(copyup, 29)   /* overlay: one inode's move to the upper layer */                                             \
	X(layer, 30)    /* inodes of a file system that is a layer of an overlay */                                    \
	X(flock, 32)    /* an inode's file locks */                                                                    \
	X(flocks, 33)   /* which file locks there are, and who waits for whose */                                      \
	X(epoll, 34)    /* an epoll instance's interest list */                                                        \
	X(epollctl, 35) /* which files are watched by which epoll instances */                                         \
	X(file, 40)     /* an open description: position, pipe and socket buffers */                                   \
	X(notify, 42)   /* inotify watches and event queues */                                                         \
	X(sockread, 43) /* one receive at a time takes from a stream */                                                \
	X(inflight, 44) /* unix sockets whose descriptors travel in messages */                                        \
	X(sock, 45)     /* a socket and its protocol state */                                                          \
	X(sockname, 46) /* names of unix sockets; tables of ports */                                                   \
	X(net, 47)      /* the TCP/IP stack of a network namespace */                                                  \
	X(socklist, 48) /* leaf: the list of all sockets */                                                            \
	X(futexpi, 49)  /* priority-inheritance futexes: held while the lock word is changed in guest memory */        \
	X(mm, 50)       /* an address space's VMA tree */                                                              \
	X(ipc, 52)      /* System V IPC: a namespace and all its objects */                                            \
	X(pidtree, 60)  /* processes, groups, sessions, parents and children */                                        \
	X(tty, 65)      /* a terminal's line discipline and its foreground group */                                    \
	X(ctty, 66)     /* leaf: which terminal controls which session, foreground groups */                           \
	X(sighand, 70)  /* handlers, pending signals of a thread group */                                              \
	X(task, 80)     /* one task's own state */                                                                     \
	X(cache, 90)    /* page and attribute caches */                                                                \
	X(dcache, 92)   /* leaf: a bucket of the dentry cache, names and parents */                                    \
	X(aspace, 100)  /* platform: an address space and its cpus */                                                  \
	X(fdtable, 110) /* leaf: descriptor tables */                                                                  \
	X(hostfd, 115)  /* leaf: the host descriptors that are watched */                                              \
	X(timer, 120)   /* leaf: the timer queue */                                                                    \
	X(futex, 125)   /* leaf: a futex bucket */                                                                     \
	X(filter, 127)  /* leaf: which filter a socket has */                                                          \
	X(wait, 130)    /* leaf: a wait queue */                                                                       \
	X(ready, 135)   /* leaf: an epoll instance's ready list */                                                     \
	X(link, 137)    /* leaf: frames between a network stack and what its link leads to */                          \
	X(egress, 138)  /* leaf: which names have which addresses, what was refused */                                 \
	X(slab, 140)    /* leaf: an allocator cache */                                                                 \
	X(log, 150)     /* leaf: the log */

#define LOCK_CLASS_DECLARE(cls, r) extern struct lock_class lock_class_##cls;
LOCK_CLASSES(LOCK_CLASS_DECLARE)
#undef LOCK_CLASS_DECLARE

#define L_MOUNT (&lock_class_mount)
#define L_RENAME (&lock_class_rename)
#define L_DENTRY (&lock_class_dentry)
#define L_POS (&lock_class_pos)
#define L_INODE (&lock_class_inode)
#define L_COPYUP (&lock_class_copyup)
#define L_LAYER (&lock_class_layer)
#define L_FLOCK (&lock_class_flock)
#define L_FLOCKS (&lock_class_flocks)
#define L_EPOLL (&lock_class_epoll)
#define L_EPOLLCTL (&lock_class_epollctl)
#define L_FILE (&lock_class_file)
#define L_NOTIFY (&lock_class_notify)
#define L_SOCKREAD (&lock_class_sockread)
#define L_INFLIGHT (&lock_class_inflight)
#define L_SOCK (&lock_class_sock)
#define L_SOCKNAME (&lock_class_sockname)
#define L_NET (&lock_class_net)
#define L_SOCKLIST (&lock_class_socklist)
#define L_FUTEXPI (&lock_class_futexpi)
#define L_MM (&lock_class_mm)
#define L_IPC (&lock_class_ipc)
#define L_PIDTREE (&lock_class_pidtree)
#define L_TTY (&lock_class_tty)
#define L_CTTY (&lock_class_ctty)
#define L_SIGHAND (&lock_class_sighand)
#define L_TASK (&lock_class_task)
#define L_CACHE (&lock_class_cache)
#define L_DCACHE (&lock_class_dcache)
#define L_ASPACE (&lock_class_aspace)
#define L_FDTABLE (&lock_class_fdtable)
#define L_HOSTFD (&lock_class_hostfd)
#define L_TIMER (&lock_class_timer)
#define L_FUTEX (&lock_class_futex)
#define L_FILTER (&lock_class_filter)
#define L_WAIT (&lock_class_wait)
#define L_READY (&lock_class_ready)
#define L_LINK (&lock_class_link)
#define L_EGRESS (&lock_class_egress)
#define L_SLAB (&lock_class_slab)
#define L_LOG (&lock_class_log)

struct mutex {
	pthread_mutex_t m;
};

#define MUTEX_INIT                                                                                                     \
	{                                                                                                              \
		PTHREAD_MUTEX_INITIALIZER                                                                              \
	}

static inline void mutex_init(struct mutex *m)
{
	pthread_mutex_init(&m->m, NULL);
}

/* For a lock that threads of several processors want all the time and none holds for long: who finds it taken looks again for a moment before he sleeps. */
static inline void mutex_init_brief(struct mutex *m)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&m->m, &a);
	pthread_mutexattr_destroy(&a);
}

#if LOCK_DEBUG
void lock_debug_acquire(const struct lock_class *cls, bool same_ok);
void lock_debug_release(const struct lock_class *cls);
#else
static inline void lock_debug_acquire(const struct lock_class *cls __unused, bool same_ok __unused)
{
}
static inline void lock_debug_release(const struct lock_class *cls __unused)
{
}
#endif

/*
 * Wake-ups that a thread owes while it holds locks. Made at once, the host may run the woken thread in its place, only to have it wait for
 * one of these locks; so they are made when the last one is given back. (Linux has wake_q for this.)
 */
struct lock_wakes {
	unsigned locks; /* held by this thread */
	unsigned count;
	uint32_t *words[8];
};
extern __thread struct lock_wakes lock_wakes;

/* Wakes one thread that sleeps on the futex word, later if need be. The word may be gone by then: sleepers bear being woken for nothing. */
void lock_wake(uint32_t *word);
/* Now, for a thread that is about to sleep with a lock. */
void lock_wakes_flush(void);

static inline void lock_take(struct mutex *m)
{
	pthread_mutex_lock(&m->m);
	lock_wakes.locks++;
}

static inline void lock_give_back(struct mutex *m)
{
	pthread_mutex_unlock(&m->m);
	if (--lock_wakes.locks == 0 && unlikely(lock_wakes.count))
		lock_wakes_flush();
}

static inline void mutex_lock(struct mutex *m, struct lock_class *cls) ACQUIRE(cls) NO_TSA;
static inline void mutex_lock(struct mutex *m, struct lock_class *cls)
{
	lock_debug_acquire(cls, false);
	lock_take(m);
}

/* A second lock of a class that is held, where the objects form a tree (nested epoll instances): the caller knows the order. */
static inline void mutex_lock_nested(struct mutex *m, struct lock_class *cls) NO_TSA;
static inline void mutex_lock_nested(struct mutex *m, struct lock_class *cls)
{
	lock_debug_acquire(cls, true);
	lock_take(m);
}

static inline void mutex_unlock_nested(struct mutex *m, struct lock_class *cls) NO_TSA;
static inline void mutex_unlock_nested(struct mutex *m, struct lock_class *cls)
{
	lock_debug_release(cls);
	lock_give_back(m);
}

static inline bool mutex_trylock(struct mutex *m, struct lock_class *cls) TRY_ACQUIRE(true, cls) NO_TSA;
static inline bool mutex_trylock(struct mutex *m, struct lock_class *cls)
{
	if (pthread_mutex_trylock(&m->m) != 0)
		return false;
	lock_wakes.locks++;
	lock_debug_acquire(cls, true);
	return true;
}

static inline void mutex_unlock(struct mutex *m, struct lock_class *cls) RELEASE(cls) NO_TSA;
static inline void mutex_unlock(struct mutex *m, struct lock_class *cls)
{
	lock_debug_release(cls);
	lock_give_back(m);
}

/* Two of one class, in the order of their addresses; a == b locks once. */
void mutex_lock_two(struct mutex *a, struct mutex *b, struct lock_class *cls) ACQUIRE(cls);
void mutex_unlock_two(struct mutex *a, struct mutex *b, struct lock_class *cls) RELEASE(cls);
