/*
 * File locks: POSIX record locks (owner: the descriptor table), open-file-description locks and flock(2) (owner: the description).
 * fcntl(2), flock(2). The hooks cost one load when the inode never had a lock.
 */
#pragma once

#include "fs/file.h"

struct seq;

/* F_GETLK, F_SETLK, F_SETLKW and the OFD forms; arg is a struct flock in the guest. 0 or -errno, -ERESTARTSYS. */
int __must_check locks_fcntl(struct ctx *c, struct file *f, int cmd, uaddr_t arg);
/* LOCK_SH, LOCK_EX, LOCK_UN with LOCK_NB. */
int __must_check locks_flock(struct ctx *c, struct file *f, int op);

void locks_remove_posix_slow(struct inode *i, const void *owner);
void locks_remove_file_slow(struct file *f);

/* Each close of a descriptor, and each descriptor of a dying table: drops the POSIX locks that `owner` (a struct fdtable) has on f. */
static inline void locks_remove_posix(struct file *f, const void *owner)
{
	if (__atomic_load_n(&f->inode->locks, __ATOMIC_ACQUIRE))
		locks_remove_posix_slow(f->inode, owner);
}

/* The last reference of a description: drops its flock and OFD locks. */
static inline void locks_remove_file(struct file *f)
{
	if (__atomic_load_n(&f->inode->locks, __ATOMIC_ACQUIRE))
		locks_remove_file_slow(f);
}

/* Eviction of an inode: frees i->locks, which holds no lock any more. */
void locks_inode_free(struct inode *i);

/* /proc/locks. */
void locks_show(struct seq *s);
