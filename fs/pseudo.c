/*
 * Generated file systems: see pseudo.h.
 *
 * Inodes carry a copy of their pseudo_ref and the `valid` and `owner` functions that apply. Text files are generated whole when
 * they are read at position 0 (or for the first time), into a buffer of the open description, so that one reader sees one state; a
 * reader that seeks back to 0 sees a new one, as Linux's seq_file does. Names are cached as dentries; those under a `valid` are
 * asked again on every walk, and misses in computed directories are not believed twice.
 */
#include "fs/pseudo.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/statfs.h>

#include "sentry/base/slab.h"

struct pseudo_inode {
	struct pseudo_ref ref;
	bool (*valid)(struct ctx *, const struct pseudo_ref *);
	void (*owner)(struct ctx *, const struct pseudo_ref *, uint32_t *, uint32_t *);
};

struct pseudo_super {
	struct super_ops ops;
	const struct pseudo_node *root;
};

/* An open text file. */
struct pseudo_open {
	struct seq seq;
	bool filled;
};

static struct slab pseudo_inode_slab = SLAB_INIT(struct pseudo_inode);
static struct slab pseudo_open_slab = SLAB_INIT(struct pseudo_open);

static const struct inode_ops pseudo_dir_ops, pseudo_file_ops, pseudo_link_ops, pseudo_magic_ops;
static const struct file_ops pseudo_dir_fops, pseudo_text_fops;

static struct pseudo_inode *pseudo_of(const struct inode *i)
{
	return i->priv;
}

const struct pseudo_ref *pseudo_inode_ref(const struct inode *i)
{
	return &pseudo_of(i)->ref;
}

static uint32_t node_type(const struct pseudo_node *n)
{
	if (n->children || n->dir)
		return S_IFDIR;
	return n->target || n->readlink ? S_IFLNK : S_IFREG;
}

static const struct inode_ops *node_inode_ops(const struct pseudo_node *n)
{
	if (n->children || n->dir)
		return &pseudo_dir_ops;
	if (n->follow)
		return &pseudo_magic_ops;
	return n->target || n->readlink ? &pseudo_link_ops : &pseudo_file_ops;
}

static const struct file_ops *node_file_ops(const struct pseudo_node *n)
{
	if (n->children || n->dir)
		return &pseudo_dir_fops;
	return n->fops ? n->fops : &pseudo_text_fops;
}

static struct inode *pseudo_inode_create(struct super *s, const struct pseudo_ref *r, const struct pseudo_inode *parent)
{
	const struct pseudo_node *n = r->node;
	struct pseudo_inode *p = slab_alloc(&pseudo_inode_slab);
	struct inode *i;

	if (!p)
		return NULL;
	p->ref = *r;
	p->valid = n->valid ? n->valid : parent ? parent->valid : NULL;
	p->owner = n->owner ? n->owner : parent ? parent->owner : NULL;
	i = inode_create(s, node_inode_ops(n), node_file_ops(n), node_type(n) | n->mode, 0);
	if (!i) {
		slab_free(&pseudo_inode_slab, p);
		return NULL;
	}
	i->priv = p;
	i->nlink = node_type(n) == S_IFDIR ? 2 : 1;
	return i;
}

static void pseudo_evict(struct inode *i)
{
	slab_free(&pseudo_inode_slab, i->priv);
}

/* Walks and stat. */

static int find_child(struct ctx *c, const struct pseudo_ref *dir, const char *name, struct pseudo_ref *ret)
{
	*ret = *dir;
	for (const struct pseudo_node *n = dir->node->children; n && n->name; n++)
		if (strcmp(n->name, name) == 0) {
			ret->node = n;
			return 0;
		}
	return dir->node->dir ? dir->node->dir->lookup(c, dir, name, ret) : -ENOENT;
}

static int pseudo_lookup(struct ctx *c, struct inode *dir, struct dentry *d)
{
	struct pseudo_ref r;
	struct inode *i;
	int err = find_child(c, pseudo_inode_ref(dir), d->name, &r);

	/* As in Linux's proc: a name that is not there is an error even for who would create it. */
	if (err)
		return err;
	i = pseudo_inode_create(dir->super, &r, pseudo_of(dir));
	if (!i)
		return -ENOMEM;
	dentry_instantiate(d, i);
	return 0;
}

static int pseudo_revalidate(struct ctx *c, struct dentry *d)
{
	const struct pseudo_inode *p;

	if (dentry_negative(d))
		return 0;
	p = pseudo_of(d->inode);
	return p->valid ? p->valid(c, &p->ref) : 1;
}

static int pseudo_getattr(struct ctx *c, struct inode *i, struct attr *ret)
{
	const struct pseudo_inode *p = pseudo_of(i);

	*ret = (struct attr){.mode = i->mode, .nlink = i->nlink, .ino = i->ino, .dev = i->super->dev};
	ret->blksize = 1024;
	ret->atime = ret->mtime = ret->ctime = i->mtime;
	if (p->owner)
		p->owner(c, &p->ref, &ret->uid, &ret->gid);
	return 0;
}

static int pseudo_permission(struct ctx *c, struct inode *i, int mask)
{
	const struct pseudo_inode *p = pseudo_of(i);
	uint32_t uid = 0, gid = 0;

	if ((mask & MAY_WRITE) && p->ref.node->immutable)
		return -EPERM;
	if (p->owner)
		p->owner(c, &p->ref, &uid, &gid);
	return inode_permission_generic(c->cred, i->mode, uid, gid, mask);
}

static int pseudo_setattr(struct ctx *c __unused, struct inode *i __unused, unsigned valid, const struct attr *a)
{
	/* O_TRUNC on a writable file is what `echo 1 > /proc/...` does: nothing to do. */
	return (valid & (ATTR_MODE | ATTR_UID | ATTR_GID)) || a->size ? -EPERM : 0;
}

static int pseudo_readlink(struct ctx *c, struct inode *i, char **ret_target)
{
	const struct pseudo_ref *r = pseudo_inode_ref(i);
	char *buf;
	int err = 0;

	if (r->node->target) {
		*ret_target = kstrdup(r->node->target);
		return *ret_target ? 0 : -ENOMEM;
	}
	buf = kalloc(PATH_MAX);
	if (!buf)
		return -ENOMEM;
	err = r->node->readlink(c, r, buf, PATH_MAX);
	*ret_target = err ? NULL : kstrdup(buf);
	kfree(buf, PATH_MAX);
	if (err)
		return err;
	return *ret_target ? 0 : -ENOMEM;
}

static int pseudo_follow(struct ctx *c, struct inode *i, struct path *ret)
{
	const struct pseudo_ref *r = pseudo_inode_ref(i);

	return r->node->follow(c, r, ret);
}

/* Directories. Positions: 0 and 1 the dots, then constant children, then the computed ones from PSEUDO_DYNAMIC on. */

#define PSEUDO_DYNAMIC 0x10000

static bool emit_static(const struct pseudo_node *dir, struct dir_sink *s, off_t *pos)
{
	const struct pseudo_node *n = dir->children;

	for (off_t at = 2; n && n->name; n++, at++) {
		if (at < *pos)
			continue;
		if (!s->emit(s, n->name, strlen(n->name), (uint64_t)(uintptr_t)n >> 3, node_type(n) >> 12, at + 1))
			return false;
		*pos = at + 1;
	}
	return true;
}

static bool emit_dynamic(struct ctx *c, const struct pseudo_ref *dir, struct dir_sink *s, off_t *pos)
{
	uint64_t cursor = (uint64_t)(*pos - PSEUDO_DYNAMIC);
	const struct pseudo_node *n;
	char name[32];

	while (dir->node->dir->next(c, dir, &cursor, name, &n)) {
		off_t next = (off_t)cursor + PSEUDO_DYNAMIC;

		if (!s->emit(s, name, strlen(name), (uint64_t)next, node_type(n) >> 12, next))
			return false;
		*pos = next;
	}
	return true;
}

static int pseudo_iterate(struct ctx *c, struct file *f, struct dir_sink *s, off_t *pos)
{
	const struct pseudo_ref *r = pseudo_inode_ref(f->inode);

	for (; *pos < 2; (*pos)++)
		if (!s->emit(s, "..", (size_t)*pos + 1, f->inode->ino, DT_DIR, *pos + 1))
			return 0;
	if (*pos < PSEUDO_DYNAMIC) {
		if (!emit_static(r->node, s, pos))
			return 0;
		if (!r->node->dir)
			return 0;
		*pos = PSEUDO_DYNAMIC;
	}
	if (r->node->dir)
		emit_dynamic(c, r, s, pos);
	return 0;
}

/* Text files. */

static int pseudo_open(struct ctx *c, struct inode *i, struct file *f)
{
	const struct pseudo_node *n = pseudo_inode_ref(i)->node;
	int err = n->access ? n->access(c, pseudo_inode_ref(i)) : 0;

	if (err)
		return err;
	f->ops = i->file_ops;
	if (n->fops)
		return 0;
	f->priv = slab_alloc(&pseudo_open_slab);
	return f->priv ? 0 : -ENOMEM;
}

static void pseudo_release(struct file *f)
{
	struct pseudo_open *o = f->priv;

	if (!o)
		return;
	seq_finish(&o->seq);
	slab_free(&pseudo_open_slab, o);
}

/* Generates without a lock (show may take any), then puts the text in place. */
static int pseudo_fill(struct ctx *c, struct file *f, struct pseudo_open *o)
{
	const struct pseudo_inode *p = pseudo_of(f->inode);
	struct seq fresh = {0}, old;
	int err;

	if (p->valid && !p->valid(c, &p->ref))
		return -ESRCH;
	err = p->ref.node->show(c, &p->ref, &fresh);
	if (!err)
		err = seq_error(&fresh);
	if (err) {
		seq_finish(&fresh);
		return err;
	}
	mutex_lock(&f->inode->lock, L_INODE);
	old = o->seq;
	o->seq = fresh;
	o->filled = true;
	mutex_unlock(&f->inode->lock, L_INODE);
	seq_finish(&old);
	return 0;
}

static ssize_t pseudo_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	struct pseudo_open *o = f->priv;
	ssize_t n = 0;

	if (!pseudo_inode_ref(f->inode)->node->show)
		return -EINVAL;
	if (*pos == 0 || !o->filled)
		n = pseudo_fill(c, f, o);
	if (n)
		return n;
	mutex_lock(&f->inode->lock, L_INODE);
	if (*pos >= 0 && (size_t)*pos < o->seq.len)
		n = iobuf_put(b, o->seq.buf + *pos, o->seq.len - (size_t)*pos);
	mutex_unlock(&f->inode->lock, L_INODE);
	if (n > 0)
		*pos += n;
	return n;
}

static ssize_t pseudo_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	const struct pseudo_ref *r = pseudo_inode_ref(f->inode);
	char text[PAGE_SIZE];
	size_t size = iobuf_left(b);
	ssize_t n;
	int err;

	if (!r->node->store || size >= sizeof(text))
		return -EINVAL;
	n = iobuf_get(b, text, size);
	if (n < 0)
		return n;
	text[n] = 0;
	err = r->node->store(c, r, text, (size_t)n);
	return err ? err : n;
}

static const struct inode_ops pseudo_dir_ops = {
    .lookup = pseudo_lookup,
    .getattr = pseudo_getattr,
    .setattr = pseudo_setattr,
    .permission = pseudo_permission,
};

static const struct inode_ops pseudo_file_ops = {
    .open = pseudo_open,
    .getattr = pseudo_getattr,
    .setattr = pseudo_setattr,
    .permission = pseudo_permission,
};

static const struct inode_ops pseudo_link_ops = {
    .readlink = pseudo_readlink,
    .getattr = pseudo_getattr,
    .setattr = pseudo_setattr,
    .permission = pseudo_permission,
};

static const struct inode_ops pseudo_magic_ops = {
    .readlink = pseudo_readlink,
    .follow = pseudo_follow,
    .getattr = pseudo_getattr,
    .setattr = pseudo_setattr,
    .permission = pseudo_permission,
};

static const struct file_ops pseudo_dir_fops = {
    .iterate = pseudo_iterate,
    .llseek = file_llseek_generic,
};

static const struct file_ops pseudo_text_fops = {
    .read = pseudo_read,
    .write = pseudo_write,
    .llseek = file_llseek_generic,
    .release = pseudo_release,
};

static void pseudo_kill(struct super *s)
{
	kfree(s->priv, sizeof(struct pseudo_super));
}

struct super *pseudo_super_create(const char *name, uint64_t magic, const struct pseudo_node *root)
{
	struct pseudo_super *p = kalloc(sizeof(*p));
	struct pseudo_ref r = {.node = root};
	struct super *s;
	struct inode *i;

	if (!p)
		return NULL;
	p->root = root;
	p->ops = (struct super_ops){.name = name, .magic = magic, .revalidate = pseudo_revalidate};
	p->ops.evict = pseudo_evict;
	p->ops.kill = pseudo_kill;
	s = super_create(&p->ops, p);
	if (!s) {
		kfree(p, sizeof(*p));
		return NULL;
	}
	i = pseudo_inode_create(s, &r, NULL);
	s->root = i ? dentry_create_root(s, i) : NULL;
	if (!s->root) {
		super_put(s);
		return NULL;
	}
	return s;
}
