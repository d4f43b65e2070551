/*
 * Namespaces as files: namespaces(7). What each kind embeds, and the file system behind /proc/PID/ns, whose files keep a namespace alive while they
 * are open or mounted somewhere.
 */
#pragma once

#include "fs/mount.h"

struct ns;

struct ns_ops {
	const char *name;               /* "net" */
	int type;                       /* CLONE_NEWNET... */
	void (*destroy)(struct ns *ns); /* the last reference is gone; any lock may be held */
};

struct ns {
	struct ref ref;
	const struct ns_ops *ops; /* constant */
	uint32_t inum;            /* constant: what st_ino and readlink tell */
};

static inline void ns_get(struct ns *ns)
{
	ref_get(&ns->ref);
}
void ns_put(struct ns *ns);
/* A number that no namespace has had; it fits into an inode number as Linux prints it. */
uint32_t ns_alloc_inum(void);
/* The file of ns, a path for a magic link. ns stays the caller's. -ENOMEM. */
int __must_check nsfs_path(struct ns *ns, struct path *ret);
/* The namespace that f refers to, borrowed from it; NULL: it is another file. */
struct ns *nsfs_of(const struct file *f);
