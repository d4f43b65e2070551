/*
 * File-event hooks: what the VFS calls so that inotify(7) sees a change. Each costs one load while no watch exists anywhere.
 * Masks are IN_* of sys/inotify.h; IN_ISDIR is added here. Hooks may be called with L_INODE and pos_lock held, not with anything
 * after L_FILE. They never fail: an event that finds no memory becomes an overflow event.
 */
#pragma once

#include <fcntl.h>
#include <sys/inotify.h>

#include "fs/file.h"

/* Watches that exist in the whole sandbox. */
extern _Atomic uint32_t fsnotify_watch_count;

static inline bool fsnotify_active(void)
{
	return __atomic_load_n((uint32_t *)&fsnotify_watch_count, __ATOMIC_ACQUIRE) != 0;
}

/* The slow halves: fs/inotify.c. */
void fsnotify_dentry_slow(struct dentry *d, uint32_t mask);
void fsnotify_file_slow(struct file *f, uint32_t mask);
void fsnotify_name_slow(struct inode *dir, uint32_t mask, const char *name, struct inode *what);
void fsnotify_move_slow(struct inode *from, const char *old_name, struct inode *to, const char *new_name,
			struct inode *moved);
void fsnotify_inode_slow(struct inode *i, uint32_t mask);
void fsnotify_removed_slow(struct inode *i);

/* Something happened to d's inode: IN_ATTRIB, IN_MODIFY (truncate by path)... Told to its own watches and its directory's. */
static inline void fsnotify_dentry(struct dentry *d, uint32_t mask)
{
	if (fsnotify_active())
		fsnotify_dentry_slow(d, mask);
}

/* After a successful open: IN_OPEN; read: IN_ACCESS; write, truncate, fallocate: IN_MODIFY. Not for O_PATH descriptions. */
static inline void fsnotify_file(struct file *f, uint32_t mask)
{
	if (fsnotify_active())
		fsnotify_file_slow(f, mask);
}

/* The last reference of an open description goes: before anything of f is freed. */
static inline void fsnotify_close(struct file *f)
{
	if (fsnotify_active())
		fsnotify_file_slow(f, (f->flags & O_ACCMODE) == O_RDONLY ? IN_CLOSE_NOWRITE : IN_CLOSE_WRITE);
}

/* `what` has a new name in dir: create, mknod, mkdir, symlink, tmpfile's linkat. link(2) calls fsnotify_inode(what, IN_ATTRIB) too. */
static inline void fsnotify_create(struct inode *dir, const char *name, struct inode *what)
{
	if (fsnotify_active())
		fsnotify_name_slow(dir, IN_CREATE, name, what);
}

/* The name is gone: unlink, rmdir. For unlink call fsnotify_inode(what, IN_ATTRIB) first (the link count changed). */
static inline void fsnotify_delete(struct inode *dir, const char *name, struct inode *what)
{
	if (fsnotify_active())
		fsnotify_name_slow(dir, IN_DELETE, name, what);
}

/* A rename succeeded: IN_MOVED_FROM and IN_MOVED_TO with one cookie, and IN_MOVE_SELF. An exchange calls it twice. */
static inline void fsnotify_move(struct inode *from, const char *old_name, struct inode *to, const char *new_name,
				 struct inode *moved)
{
	if (fsnotify_active())
		fsnotify_move_slow(from, old_name, to, new_name, moved);
}

/* Only the inode's own watches. */
static inline void fsnotify_inode(struct inode *i, uint32_t mask)
{
	if (fsnotify_active())
		fsnotify_inode_slow(i, mask);
}

/*
 * An inode without names (nlink 0) lost its last user: IN_DELETE_SELF and IN_IGNORED; its watches are dropped. Call it where the last
 * reference to an unlinked dentry goes (at the unlink itself if nobody has it open). A watch itself holds a reference to the inode,
 * so this cannot be left to eviction.
 */
static inline void fsnotify_removed(struct inode *i)
{
	if (fsnotify_active())
		fsnotify_removed_slow(i);
}
