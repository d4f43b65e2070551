/* The table of character devices: a list that is complete before the first guest runs, so it needs no lock. See dev.h. */
#include <sys/sysmacros.h>

#include "fs/dev.h"

static struct chrdev *devices;

void chrdev_register(struct chrdev *d)
{
	d->next = devices;
	devices = d;
}

int chrdev_open(struct ctx *c, struct inode *i, struct file *f)
{
	unsigned major_no = major(i->rdev), minor_no = minor(i->rdev);

	for (const struct chrdev *d = devices; d; d = d->next) {
		if (d->major != major_no || minor_no < d->first_minor || minor_no > d->last_minor)
			continue;
		f->ops = d->ops;
		return d->open ? d->open(c, i, f) : 0;
	}
	return -ENXIO;
}
