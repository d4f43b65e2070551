/* A path walk in progress: what fs/path.c shares with fs/open.c, which goes on after a final symbolic link. */
#pragma once

#include <limits.h>

#include "fs/path.h"

#define WALK_LINKS_MAX 40

struct walk {
	struct ctx *c;
	unsigned flags;          /* LOOKUP_* */
	struct path root;        /* references */
	struct path path;        /* where we are; the parent of `last` at the end */
	const char *name;        /* what is left of the current string */
	char last[NAME_MAX + 1]; /* "" for the root itself, also "." and ".." */
	bool slash;              /* a slash stood behind last */
	bool followed_last;      /* ends at a path (magic link) instead of a name: path is the result */
	unsigned links, depth, buf_count;
	const char *rest[WALK_LINKS_MAX];
	char *bufs[WALK_LINKS_MAX];
};

/* start: where a relative name begins; name must outlive the walk. */
int walk_init(struct walk *w, struct ctx *c, const struct path *start, const char *name, unsigned flags);
int walk_init_at(struct walk *w, struct ctx *c, int dirfd, const char *name, unsigned flags);
void walk_done(struct walk *w);
/* Walks up to the last component: path, last and slash are set. */
int walk_parent(struct walk *w);
/* The last component itself: child, mounts crossed, possibly negative; a symbolic link is not followed. "." and ".." too. */
int walk_child(struct walk *w, struct path *ret);
/*
 * `link` is the symbolic link called w->last: continues with its target up to the next last component. With followed_last set
 * the walk is over: a magic link gave a path.
 */
int walk_follow(struct walk *w, const struct path *link);
/* The whole walk; the result is positive and a reference. */
int walk_to_end(struct walk *w, struct path *ret);
