/*
 * Generated file systems (/proc, /sys): trees of constant nodes, with directories whose entries are computed. A node says what it is
 * by which of its members are set:
 *	children	a directory of further nodes, ended by one without a name; may be joined by `dir`
 *	dir		a directory whose entries are asked for (pids, fds)
 *	show, store	a text file: generated when read from the start, parsed when written
 *	target		a constant symbolic link
 *	readlink	a symbolic link; with follow, a magic one that leads to a path without looking at its text
 *	fops		a file with ops of its own
 *
 * A pseudo_ref is a node and up to two keys (pid, fd...) that directories hand down to what is beneath them.
 */
#pragma once

#include "fs/file.h"
#include "fs/seq.h"

struct pseudo_node;

struct pseudo_ref {
	const struct pseudo_node *node;
	uint64_t key[2];
};

struct pseudo_dir {
	/* The entry called name: fills ret (node and keys; keys start as the directory's). -ENOENT. */
	int (*lookup)(struct ctx *c, const struct pseudo_ref *dir, const char *name, struct pseudo_ref *ret);
	/* The first entry at or after *cursor: its name and node; advances *cursor behind it. False: no more. */
	bool (*next)(struct ctx *c, const struct pseudo_ref *dir, uint64_t *cursor, char name[32],
		     const struct pseudo_node **ret);
};

struct pseudo_node {
	const char *name;
	uint32_t mode; /* permission bits; the type follows from the members */
	const struct pseudo_node *children;
	const struct pseudo_dir *dir;
	bool immutable; /* writing is EPERM whatever the mode says */
	int (*show)(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
	/* The whole write(2), NUL-terminated; 0 or -errno. */
	int (*store)(struct ctx *c, const struct pseudo_ref *r, char *text, size_t size);
	const char *target;
	int (*readlink)(struct ctx *c, const struct pseudo_ref *r, char *buf, size_t size);
	int (*follow)(struct ctx *c, const struct pseudo_ref *r, struct path *ret);
	const struct file_ops *fops;
	/* Permission to open or enter beyond the mode bits (/proc/PID/mem): 0 or -errno. */
	int (*access)(struct ctx *c, const struct pseudo_ref *r);
	/* Inherited by what is beneath where absent there: does it still exist; who owns it. */
	bool (*valid)(struct ctx *c, const struct pseudo_ref *r);
	void (*owner)(struct ctx *c, const struct pseudo_ref *r, uint32_t *uid, uint32_t *gid);
};

#define PSEUDO_END                                                                                                     \
	{                                                                                                              \
		.name = NULL                                                                                           \
	}

/* A superblock over the tree below root. name: "proc"; magic: statfs'. */
struct super *pseudo_super_create(const char *name, uint64_t magic, const struct pseudo_node *root);
/* The reference behind an inode of such a file system. */
const struct pseudo_ref *pseudo_inode_ref(const struct inode *i);
