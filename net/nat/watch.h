/*
 * The thread that waits for the host's sockets on behalf of nat: one, asleep in epoll_wait() while nothing happens, started with the first socket.
 */
#pragma once

#include "sentry/base/ref.h"

/* A host socket that is watched. Made by its owner, who embeds it; fd is the owner's to close, after watch_remove(). */
struct watched {
	int fd;
	/* On the thread, no lock held, whenever the host reports something new (EPOLL*, edge-triggered). It must not block. */
	void (*ready)(struct watched *w, uint32_t events);
	/* The thread holds one while it calls ready(); the owner's object lives that long. get() is called with L_HOSTFD held: it only counts. */
	void (*get)(struct watched *w);
	void (*put)(struct watched *w);
	/* watch.c's: */
	uint64_t id; /* 0: not watched */
	struct watched *next;
};

/*
 * events: EPOLLIN, EPOLLOUT or both; errors and hang-ups come unasked. 0, -ENOMEM, -ENOSPC or why no thread can be started. Not while holding a lock
 * after L_HOSTFD.
 */
int __must_check watch_add(struct watched *w, uint32_t events);
/* ready() may be running; it is not called again. Harmless if it is not watched. The owner calls it before the last put(). */
void watch_remove(struct watched *w);
/* As watch_remove(), for a descriptor that is closed next: the host forgets it then by itself. */
void watch_forget(struct watched *w);
/* What the host has to report of it now is reported once more, on the thread: for who stops before EAGAIN. By its owner, while it is watched. */
void watch_again(struct watched *w, uint32_t events);
