/*
 * The table of pseudo-terminals and the file system over it: /dev/pts has a character device for each terminal whose master is open, and ptmx.
 * pts(4). There is one table for the sandbox, as with the devpts of one container.
 *
 * A slot is taken from the open of the master until the last reference to the pair is gone, so that a number is not given to another terminal while somebody
 * still has the old one open; its name goes away as soon as the master closes. The table is under a lock of its own (of class L_CTTY: a leaf that is never held with
 * the other one).
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fs/dev.h"
#include "fs/dev/pty.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define DEVPTS_MAGIC 0x1cd1
#define TTY_GID 5
#define FIRST_INO 3

struct slot {
	struct pty *pty; /* no reference: pts_free() comes before it goes */
	int (*open)(struct ctx *c, struct inode *i, struct file *f);
	struct inode *inode; /* a reference; NULL: hidden */
	bool taken;
};

static struct mutex lock = MUTEX_INIT;
static struct slot *slots; /* PTY_MAX, from the first terminal on; NULL before */
static struct super *devpts;
static const struct inode_ops pts_inode_ops;

static struct inode *node_create(struct ctx *c, unsigned index)
{
	struct inode *i = inode_create(devpts, &pts_inode_ops, NULL, S_IFCHR | 0620, index + FIRST_INO);

	if (!i)
		return NULL;
	i->uid = c->cred->fsuid;
	i->gid = TTY_GID;
	i->rdev = makedev(PTS_MAJOR + index / 256, index % 256);
	return i;
}

static int slot_take(void)
{
	if (!slots)
		slots = kalloc(PTY_MAX * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (unsigned i = 0; i < PTY_MAX; i++) {
		if (slots[i].taken)
			continue;
		slots[i].taken = true;
		return (int)i;
	}
	return -ENOSPC;
}

static int add(struct ctx *c, struct pty *p, int (*open)(struct ctx *, struct inode *, struct file *))
{
	struct inode *node;
	int index;

	mutex_lock(&lock, L_CTTY);
	index = slot_take();
	mutex_unlock(&lock, L_CTTY);
	if (index < 0)
		return index;
	node = devpts ? node_create(c, (unsigned)index) : NULL;
	if (!node) {
		pts_free((unsigned)index);
		return -ENOMEM;
	}
	mutex_lock(&lock, L_CTTY);
	slots[index].pty = p;
	slots[index].open = open;
	slots[index].inode = node;
	mutex_unlock(&lock, L_CTTY);
	return index;
}

int pts_add(struct ctx *c, struct pty *p)
{
	return add(c, p, NULL);
}

int pts_add_foreign(struct ctx *c, int (*open)(struct ctx *c, struct inode *i, struct file *f))
{
	return add(c, NULL, open);
}

void pts_hide(unsigned index)
{
	struct inode *node;

	mutex_lock(&lock, L_CTTY);
	node = take(slots[index].inode);
	mutex_unlock(&lock, L_CTTY);
	inode_put(node);
}

void pts_free(unsigned index)
{
	pts_hide(index);
	mutex_lock(&lock, L_CTTY);
	slots[index] = (struct slot){.taken = false};
	mutex_unlock(&lock, L_CTTY);
}

struct pty *pts_find(unsigned index)
{
	struct pty *p = NULL;

	if (index >= PTY_MAX || !slots)
		return NULL;
	mutex_lock(&lock, L_CTTY);
	if (slots[index].inode && slots[index].pty && ref_get_unless_zero(&slots[index].pty->tty.ref))
		p = slots[index].pty;
	mutex_unlock(&lock, L_CTTY);
	return p;
}

static unsigned index_of(dev_t rdev)
{
	return (major(rdev) - PTS_MAJOR) * 256 + minor(rdev);
}

int pts_open(struct ctx *c, struct inode *i, struct file *f)
{
	unsigned index = index_of(i->rdev);
	struct pty *p;
	int err;

	if (index < PTY_MAX && slots && slots[index].open)
		return slots[index].open(c, i, f);
	p = pts_find(index);
	if (!p)
		return -EIO;
	err = pty_slave_open(c, p, f);
	tty_put(&p->tty);
	return err;
}

/* ---- the directory ---- */

/* A reference to the node of an index, or NULL. */
static struct inode *node_get(unsigned index)
{
	struct inode *i = NULL;

	if (index >= PTY_MAX || !slots)
		return NULL;
	mutex_lock(&lock, L_CTTY);
	if (slots[index].inode)
		i = inode_get(slots[index].inode);
	mutex_unlock(&lock, L_CTTY);
	return i;
}

/* Decimal without leading zeros; PTY_MAX if it is none. */
static unsigned parse_index(const char *name)
{
	unsigned n = 0;

	if (!*name || (name[0] == '0' && name[1]))
		return PTY_MAX;
	for (; *name; name++) {
		if (*name < '0' || *name > '9' || n >= PTY_MAX)
			return PTY_MAX;
		n = n * 10 + (unsigned)(*name - '0');
	}
	return MIN(n, PTY_MAX);
}

static struct inode *ptmx_create(struct super *s)
{
	struct inode *i = inode_create(s, &pts_inode_ops, NULL, S_IFCHR | 0666, 2);

	if (i)
		i->rdev = makedev(5, 2);
	return i;
}

static int pts_lookup(struct ctx *c __unused, struct inode *dir, struct dentry *d)
{
	struct inode *i;

	if (strcmp(d->name, "ptmx") == 0) {
		i = ptmx_create(dir->super);
		if (!i)
			return -ENOMEM;
	} else {
		i = node_get(parse_index(d->name));
	}
	if (i)
		dentry_instantiate(d, i);
	return 0;
}

static int pts_revalidate(struct ctx *c __unused, struct dentry *d)
{
	unsigned index = parse_index(d->name);
	struct inode *now;

	if (index == PTY_MAX)
		return d->inode != NULL;
	now = node_get(index);
	inode_put(now);
	return now && now == d->inode;
}

static int pts_iterate(struct ctx *c __unused, struct file *f, struct dir_sink *s, off_t *pos)
{
	static const char *const fixed[] = {".", "..", "ptmx"};
	char name[16];

	for (; *pos < (off_t)ARRAY_SIZE(fixed); (*pos)++)
		if (!s->emit(s, fixed[*pos], strlen(fixed[*pos]), f->inode->ino, *pos < 2 ? DT_DIR : DT_CHR, *pos + 1))
			return 0;
	for (; slots && *pos - 3 < (off_t)PTY_MAX; (*pos)++) {
		unsigned index = (unsigned)(*pos - 3);
		int len = snprintf(name, sizeof(name), "%u", index);

		if (slots[index].inode && !s->emit(s, name, (size_t)len, index + FIRST_INO, DT_CHR, *pos + 1))
			return 0;
	}
	return 0;
}

static const struct inode_ops pts_dir_ops = {.lookup = pts_lookup};
static const struct file_ops pts_dir_fops = {.iterate = pts_iterate, .llseek = file_llseek_generic};
static const struct super_ops devpts_ops = {.name = "devpts", .magic = DEVPTS_MAGIC, .revalidate = pts_revalidate};

struct super *devpts_create(void)
{
	struct inode *root;

	if (devpts)
		return super_get(devpts);
	devpts = super_create(&devpts_ops, NULL);
	root = devpts ? inode_create(devpts, &pts_dir_ops, &pts_dir_fops, S_IFDIR | 0755, 1) : NULL;
	if (root)
		devpts->root = dentry_create_root(devpts, root);
	if (!devpts || !devpts->root) {
		super_put(devpts);
		devpts = NULL;
		return NULL;
	}
	return super_get(devpts);
}
