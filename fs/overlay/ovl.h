/* What the files of fs/overlay share. */
#pragma once

#include "fs/file.h"
#include "fs/overlay/overlay.h"
#include "sentry/base/list.h"

#define OVL_LAYERS_MAX 64

struct ovl_super {
	struct mutex lock;       /* L_CACHE: the tables */
	struct super *upper;     /* active reference, or NULL */
	struct mnt_ns *upper_ns; /* private mounts of the layers, for their open files */
	size_t lower_count;
	struct super *lowers[OVL_LAYERS_MAX];
	struct mnt_ns *lower_ns[OVL_LAYERS_MAX];
	bool upper_is_host; /* whiteouts by attribute; no O_PATH-free pinning of renamed directories */
	struct ovl_node **by_upper, **by_lower;
	struct list pinned; /* ovl_node.pin_link: nodes with a reference of our own */
};

#define OVL_BUCKETS 1024

struct ovl_node {
	struct inode *inode;   /* back */
	struct inode *upper;   /* a reference; NULL until copied up; set once under copyup, read with acquire */
	struct inode **lowers; /* references; files have one at most; constant */
	size_t lower_count;
	struct mutex copyup;  /* L_COPYUP */
	struct inode *parent; /* a reference: where to copy up to; constant while there is no upper */
	char *name;
	struct ovl_node *upper_next, *lower_next; /* in the tables */
	bool in_upper, in_lower;
	bool pinned;
	struct list pin_link;
	uint64_t ino;
	dev_t dev;
};

/* An open file's real ones. */
struct ovl_file {
	struct file *lower;      /* opened before the copy-up */
	struct file *upper;      /* set once under the node's copyup lock */
	struct ovl_dirent *list; /* merged directories: names at the last rewind */
	size_t list_count, list_cap;
	bool merged;
};

extern const struct inode_ops ovl_dir_ops, ovl_file_inode_ops, ovl_symlink_ops, ovl_special_ops;
extern const struct file_ops ovl_file_ops, ovl_dir_file_ops;

static inline struct ovl_super *ovl_super(const struct super *s)
{
	return s->priv;
}

static inline struct ovl_node *ovl_node(const struct inode *i)
{
	return i->priv;
}

static inline struct inode *ovl_upper(const struct inode *i)
{
	return __atomic_load_n(&ovl_node(i)->upper, __ATOMIC_ACQUIRE);
}

/* Where its attributes and data are now. */
static inline struct inode *ovl_real(const struct inode *i)
{
	struct inode *u = ovl_upper(i);

	return u ? u : ovl_node(i)->lowers[0];
}

/* ---- layers: fs/overlay/layer.c. Their inodes are locked here; the ops see scratch dentries. ---- */

/* *ret NULL: no such name. A reference. */
int ovl_layer_lookup(struct ctx *c, struct inode *dir, const char *name, struct inode **ret);
bool ovl_is_whiteout(struct ctx *c, const struct ovl_super *o, struct inode *i);
/* Is there something under that name in one of the lower layers of dir? 1, 0, -errno. */
int ovl_lower_has(struct ctx *c, struct inode *dir, const char *name);
/* Makes a whiteout in the upper directory (unlocked), where there is nothing now. */
int ovl_whiteout(struct ctx *c, struct inode *updir, const char *name);
/* Removes name from the upper directory if it is there: file, empty directory or whiteout. */
int ovl_layer_remove(struct ctx *c, struct inode *updir, const char *name);
int ovl_layer_set_xattr(struct ctx *c, struct inode *i, const char *suffix, const void *value, size_t size);
bool ovl_is_opaque(struct ctx *c, struct inode *dir);
/* The real inode opened, without checks, on the private mount of its layer. */
int ovl_layer_open(struct ctx *c, const struct ovl_super *o, struct inode *real, int flags, struct file **ret);
/* Changes attributes of a layer's inode. */
int ovl_layer_setattr(struct ctx *c, struct inode *real, unsigned valid, const struct attr *a);
/* "trusted.overlay." or "user.overlay.": what the guest does not see. */
bool ovl_private_xattr(const char *name);

/* ---- nodes: fs/overlay/super.c ---- */

/* The inode for these real ones, of which it takes over the references in every case. lowers is copied. */
int ovl_inode_get(struct ctx *c, struct super *s, struct inode *dir, const char *name, struct inode *upper,
		  struct inode **lowers, size_t lower_count, struct inode **ret);
/* The real attributes that the VFS reads from the inode. */
void ovl_copy_attrs(struct inode *i);
/* The node has its upper now. */
void ovl_set_upper(struct inode *i, struct inode *upper);
/* Keeps i for as long as the overlay lives. */
void ovl_pin(struct inode *i);

/* Makes i, and the directories above it, exist in the upper layer. no_data: it will be truncated. */
int ovl_copy_up(struct ctx *c, struct inode *i, bool no_data);

/* Gives a file of the upper layer a further name. */
int ovl_link_upper(struct ctx *c, struct inode *updir, const char *name, struct inode *upper);

/* ---- directories ---- */
int ovl_dir_is_empty(struct ctx *c, struct inode *dir);
/* Removes the whiteouts in an upper directory that is otherwise empty. */
int ovl_clear_whiteouts(struct ctx *c, struct inode *dir);
int ovl_dir_open(struct ctx *c, struct inode *i, struct file *f);

int ovl_getattr(struct ctx *c, struct inode *i, struct attr *ret);
int ovl_setattr(struct ctx *c, struct inode *i, unsigned valid, const struct attr *a);
ssize_t ovl_getxattr(struct ctx *c, struct inode *i, const char *name, void *value, size_t size);
int ovl_setxattr(struct ctx *c, struct inode *i, const char *name, const void *value, size_t size, int flags);
int ovl_removexattr(struct ctx *c, struct inode *i, const char *name);
ssize_t ovl_listxattr(struct ctx *c, struct inode *i, char *list, size_t size);
int ovl_open(struct ctx *c, struct inode *i, struct file *f);
int ovl_readlink(struct ctx *c, struct inode *i, char **ret_target);
