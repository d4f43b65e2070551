/*
 * tmpfs extended attributes: a list per inode, under its lock. All of an inode's attributes together take at most XATTR_TOTAL bytes, so that
 * the memory that one inode (which nr_inodes= counts) can take is bounded.
 */
#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/tmp/tmp.h"
#include "sentry/base/slab.h"

#define XATTR_TOTAL (128ul << 10)

static size_t xattr_bytes(const struct tmp_xattr *x)
{
	return sizeof(*x) + x->name_len + 1 + x->size;
}

static struct tmp_xattr **find(struct tmp_node *n, const char *name)
{
	struct tmp_xattr **p = &n->xattrs;

	while (*p && strcmp((*p)->data, name) != 0)
		p = &(*p)->next;
	return p;
}

static void drop(struct tmp_node *n, struct tmp_xattr **p)
{
	struct tmp_xattr *x = *p;

	*p = x->next;
	n->xattr_bytes -= xattr_bytes(x);
	kfree(x, xattr_bytes(x));
}

void tmp_xattr_free(struct inode *i)
{
	while (tmp_node(i)->xattrs)
		drop(tmp_node(i), &tmp_node(i)->xattrs);
}

ssize_t tmp_getxattr(struct ctx *c __unused, struct inode *i, const char *name, void *value, size_t size)
{
	const struct tmp_xattr *x = *find(tmp_node(i), name);

	if (!x)
		return -ENODATA;
	if (size == 0)
		return (ssize_t)x->size;
	if (size < x->size)
		return -ERANGE;
	memcpy(value, x->data + x->name_len + 1, x->size);
	return (ssize_t)x->size;
}

int tmp_setxattr(struct ctx *c __unused, struct inode *i, const char *name, const void *value, size_t size, int flags)
{
	struct tmp_node *n = tmp_node(i);
	struct tmp_xattr **p = find(n, name), *x;
	size_t len = strlen(name), bytes = sizeof(*x) + len + 1 + size;

	if (*p && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!*p && (flags & XATTR_REPLACE))
		return -ENODATA;
	if (n->xattr_bytes + bytes > XATTR_TOTAL)
		return -ENOSPC;
	x = kalloc(bytes);
	if (!x)
		return -ENOMEM;
	x->name_len = len;
	x->size = size;
	memcpy(x->data, name, len + 1);
	memcpy(x->data + len + 1, value, size);
	if (*p)
		drop(n, p);
	x->next = *p;
	*p = x;
	n->xattr_bytes += bytes;
	i->ctime = inode_now();
	return 0;
}

int tmp_removexattr(struct ctx *c __unused, struct inode *i, const char *name)
{
	struct tmp_xattr **p = find(tmp_node(i), name);

	if (!*p)
		return -ENODATA;
	drop(tmp_node(i), p);
	i->ctime = inode_now();
	return 0;
}

ssize_t tmp_listxattr(struct ctx *c __unused, struct inode *i, char *list, size_t size)
{
	size_t total = 0;

	for (const struct tmp_xattr *x = tmp_node(i)->xattrs; x; x = x->next) {
		if (size && total + x->name_len + 1 > size)
			return -ERANGE;
		if (size)
			memcpy(list + total, x->data, x->name_len + 1);
		total += x->name_len + 1;
	}
	return total > XATTR_LIST_MAX ? -E2BIG : (ssize_t)total;
}
