/*
 * Character devices: what an open of a S_IFCHR node gets, by its number. No host device is ever behind one: a node with an unknown number is
 * -ENXIO, and so is every block device.
 */
#pragma once

#include "fs/file.h"

struct chrdev {
	unsigned major;
	unsigned first_minor, last_minor; /* inclusive */
	/* Installed as f->ops before open is called. */
	const struct file_ops *ops;
	/* May be NULL. Sets f->priv, may change f->ops. i->rdev tells which minor. No lock held. 0 or -errno. */
	int (*open)(struct ctx *c, struct inode *i, struct file *f);
	struct chrdev *next; /* chrdev_register()'s own */
};

/* d stays the caller's, for ever. Before the first guest runs. A later registration of the same number wins. */
void chrdev_register(struct chrdev *d);
/* The open of a S_IFCHR inode: -ENXIO if nobody has its number. */
int chrdev_open(struct ctx *c, struct inode *i, struct file *f);
