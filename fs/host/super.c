/*
 * host: superblocks, inodes and the descriptors that lead to them.
 *
 * An inode is known by the host's (device, number), so that hard links are one inode here too. It is reached by its parent's descriptor
 * and its name; only directories keep a descriptor (O_PATH, or readable once somebody listed them), and of those that nobody uses right now
 * at most host_dir_fds_max stay open, the least recently used go first. A directory whose descriptor was closed is reached again from
 * the nearest ancestor that has one, by one openat2() beneath it, and checked to be the same directory still.
 *
 * host_lock (a leaf) protects the table, the names and the descriptors. Attributes are single words, copied from statx().
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "fs/host/hostfs.h"
#include "fs/hostio.h"
#include "fs/vfs.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

#define BUCKETS 8192u
#define RESOLVE_FLAGS (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

struct mutex host_lock = MUTEX_INIT;
size_t host_dir_fds_max = 384;

static struct slab node_slab = {.name = "struct host_node", .size = sizeof(struct host_node), .lock = MUTEX_INIT};
static struct slab name_slab = {.name = "struct host_name", .size = sizeof(struct host_name), .lock = MUTEX_INIT};
static struct slab super_slab = {.name = "struct host_super", .size = sizeof(struct host_super), .lock = MUTEX_INIT};
static struct host_node *buckets[BUCKETS];
static struct list lru = LIST_INIT(lru);
static size_t lru_count;

static int open_beneath(int dirfd, const char *path, int flags)
{
	struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW), .resolve = RESOLVE_FLAGS};
	int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static int open_flags(int flags)
{
	if (flags & O_PATH)
		return flags;
	return flags & HOST_OPEN_WAITS ? (flags & ~HOST_OPEN_WAITS) | O_NOCTTY : flags | O_NONBLOCK | O_NOCTTY;
}

int host_statx(int dirfd, const char *name, struct statx *ret)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);

	return statx(dirfd, name, flags, STATX_BASIC_STATS | STATX_BTIME, ret) ? -errno : 0;
}

static uint64_t stx_dev(const struct statx *stx)
{
	return makedev(stx->stx_dev_major, stx->stx_dev_minor);
}

static int64_t stx_ns(const struct statx_timestamp *t)
{
	/* A file system's times may be beyond what ns hold (2262). */
	return timespec_to_ns(&(struct timespec){t->tv_sec, t->tv_nsec});
}

bool host_same(const struct host_node *n, const struct statx *stx)
{
	return n->host_ino == stx->stx_ino && n->host_dev == stx_dev(stx) && n->host_btime == stx_ns(&stx->stx_btime) &&
	       ((n->inode->mode ^ stx->stx_mode) & S_IFMT) == 0;
}

/* Each device of the host is a device of its own here; the root's is the superblock's. */
static dev_t map_dev(struct super *s, uint64_t host)
{
	struct host_super *h = host_super(s);
	dev_t dev = s->dev;
	unsigned i;

	mutex_lock(&h->lock, L_CACHE);
	for (i = 0; i < h->dev_count && h->devs[i].host != host; i++)
		;
	if (i == h->dev_count && i < HOST_DEVS) {
		h->devs[i].host = host;
		h->devs[i].guest = i ? super_alloc_dev() : s->dev;
		h->dev_count++;
	}
	if (i < HOST_DEVS)
		dev = h->devs[i].guest;
	mutex_unlock(&h->lock, L_CACHE);
	return dev;
}

void host_set_attrs(struct inode *i, const struct statx *stx)
{
	struct host_node *n = host_node(i);

	i->mode = stx->stx_mode;
	i->uid = stx->stx_uid;
	i->gid = stx->stx_gid;
	i->nlink = stx->stx_nlink;
	i->size = stx->stx_size;
	i->rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor);
	i->atime = stx_ns(&stx->stx_atime);
	i->mtime = stx_ns(&stx->stx_mtime);
	i->ctime = stx_ns(&stx->stx_ctime);
	i->btime = stx->stx_mask & STATX_BTIME ? stx_ns(&stx->stx_btime) : 0;
	n->blocks = stx->stx_blocks;
	n->blksize = stx->stx_blksize;
}

static struct host_node **bucket_of(uint64_t dev, uint64_t ino)
{
	return &buckets[((ino ^ dev << 20) * 0x9e3779b97f4a7c15ull >> 40) % BUCKETS];
}

static struct inode *table_find(struct super *s, const struct statx *stx)
{
	struct host_node *n = *bucket_of(stx_dev(stx), stx->stx_ino);

	for (; n; n = n->hash_next)
		if (n->inode->super == s && host_same(n, stx) && ref_get_unless_zero(&n->inode->ref))
			return n->inode;
	return NULL;
}

static const struct inode_ops *ops_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return &host_dir_ops;
	case S_IFREG:
		return &host_file_inode_ops;
	case S_IFLNK:
		return &host_symlink_ops;
	}
	return &host_special_ops;
}

static const struct file_ops *file_ops_of(uint32_t mode)
{
	if (S_ISDIR(mode))
		return &host_dir_file_ops;
	return S_ISREG(mode) ? &host_file_ops : NULL;
}

static struct inode *node_create(struct super *s, const struct statx *stx)
{
	struct host_node *n = slab_alloc(&node_slab);
	struct inode *i;

	if (!n)
		return NULL;
	i = inode_create(s, ops_of(stx->stx_mode), file_ops_of(stx->stx_mode), stx->stx_mode, stx->stx_ino);
	if (!i) {
		slab_free(&node_slab, n);
		return NULL;
	}
	i->priv = n;
	n->inode = i;
	n->host_dev = stx_dev(stx);
	n->host_ino = stx->stx_ino;
	n->host_btime = stx_ns(&stx->stx_btime);
	n->fd = n->stash_fd = -1;
	n->dev = map_dev(s, n->host_dev);
	list_init(&n->lru);
	list_init(&n->opens);
	host_set_attrs(i, stx);
	return i;
}

void host_lru_remove(struct host_node *n)
{
	if (list_empty(&n->lru))
		return;
	list_remove(&n->lru);
	lru_count--;
}

static void name_free(struct host_name *x)
{
	if (!x)
		return;
	kfree_string(x->name);
	inode_put(x->parent);
	slab_free(&name_slab, x);
}

static void host_evict(struct inode *i)
{
	struct host_node *n = host_node(i);
	struct host_node **p;

	mutex_lock(&host_lock, L_CACHE);
	for (p = bucket_of(n->host_dev, n->host_ino); *p && *p != n; p = &(*p)->hash_next)
		;
	if (*p)
		*p = n->hash_next;
	host_lru_remove(n);
	mutex_unlock(&host_lock, L_CACHE);
	if (n->fd >= 0)
		close(n->fd);
	if (n->stash_fd >= 0)
		close(n->stash_fd);
	while (n->others) {
		struct host_name *x = n->others;

		n->others = x->next;
		name_free(x);
	}
	kfree_string(n->name);
	inode_put(n->parent);
	slab_free(&node_slab, n);
}

static bool is_called(const struct inode *parent, const char *have, const struct inode *dir, const char *name)
{
	return have && parent == dir && strcmp(have, name) == 0;
}

/* Takes that name out of the list. */
static struct host_name *take_other(struct host_node *n, const struct inode *dir, const char *name) REQUIRES(L_CACHE)
{
	struct host_name **p = &n->others, *found;

	while (*p && !is_called((*p)->parent, (*p)->name, dir, name))
		p = &(*p)->next;
	found = *p;
	if (found)
		*p = found->next;
	return found;
}

void host_add_name(struct inode *i, struct inode *dir, const char *name)
{
	struct host_node *n = host_node(i);
	struct host_name *x, *known = NULL;

	if (is_called(n->parent, n->name, dir, name))
		return;
	x = slab_alloc(&name_slab);
	if (!x)
		return;
	x->name = kstrdup(name);
	x->parent = inode_get(dir);
	mutex_lock(&host_lock, L_CACHE);
	if (x->name) {
		struct host_name old = {NULL, n->parent, n->name};

		known = take_other(n, dir, name);
		n->parent = x->parent;
		n->name = x->name;
		x->parent = old.parent;
		x->name = old.name;
		if (old.name && !S_ISDIR(i->mode) && i->nlink > 1) {
			x->next = n->others;
			n->others = x;
			x = NULL;
		}
	}
	mutex_unlock(&host_lock, L_CACHE);
	name_free(known);
	name_free(x);
}

void host_drop_name(struct inode *i, struct inode *dir, const char *name)
{
	struct host_node *n = host_node(i);
	struct host_name *x;
	struct inode *parent = NULL;
	char *old = NULL;

	mutex_lock(&host_lock, L_CACHE);
	x = take_other(n, dir, name);
	if (is_called(n->parent, n->name, dir, name)) {
		struct host_name *next = n->others;

		parent = n->parent;
		old = n->name;
		n->others = next ? next->next : NULL;
		n->parent = next ? next->parent : NULL;
		n->name = next ? next->name : NULL;
		slab_free(&name_slab, next);
	}
	mutex_unlock(&host_lock, L_CACHE);
	name_free(x);
	kfree_string(old);
	inode_put(parent);
}

int host_name_get(struct inode *i, struct inode **ret_dir, char **ret_name)
{
	const struct host_node *n = host_node(i);
	int err = -ESTALE;

	mutex_lock(&host_lock, L_CACHE);
	if (n->parent && n->name) {
		*ret_name = kstrdup(n->name);
		err = *ret_name ? 0 : -ENOMEM;
	}
	if (!err)
		*ret_dir = inode_get(n->parent);
	mutex_unlock(&host_lock, L_CACHE);
	return err;
}

int host_inode_get(struct super *s, struct inode *dir, const char *name, const struct statx *stx, struct inode **ret)
{
	struct inode *i, *other = NULL;

	mutex_lock(&host_lock, L_CACHE);
	i = table_find(s, stx);
	mutex_unlock(&host_lock, L_CACHE);
	if (i) {
		host_set_attrs(i, stx);
		host_add_name(i, dir, name);
		*ret = i;
		return 0;
	}
	i = node_create(s, stx);
	if (!i)
		return -ENOMEM;
	host_add_name(i, dir, name);
	mutex_lock(&host_lock, L_CACHE);
	other = table_find(s, stx);
	if (!other) {
		struct host_node **b = bucket_of(stx_dev(stx), stx->stx_ino);

		host_node(i)->hash_next = *b;
		*b = host_node(i);
	}
	mutex_unlock(&host_lock, L_CACHE);
	if (other)
		inode_put(i);
	*ret = other ? other : i;
	return host_node(*ret)->name || !dir ? 0 : (inode_put(*ret), -ENOMEM);
}

/* Prepends name to the path that ends at *at; false: no room. */
static bool prepend(const char *start, char **at, const char *name)
{
	size_t len = strlen(name);

	if ((size_t)(*at - start) < len + 1)
		return false;
	if (**at)
		*--*at = '/';
	*at -= len;
	memcpy(*at, name, len);
	return true;
}

/*
 * The nearest ancestor of n (n itself excluded) whose fd is open, with fd_users raised, and the path from there to n in buf. If the names
 * do not fit, the path ends at a directory in between.
 */
static struct host_node *find_base(struct host_node *n, char *buf, size_t size, char **ret_path) REQUIRES(L_CACHE)
{
	char *at = buf + size - 1;

	*at = 0;
	while (n->parent && n->name) {
		if (!prepend(buf, &at, n->name)) {
			at = buf + size - 1;
			*at = 0;
			prepend(buf, &at, n->name);
		}
		n = host_node(n->parent);
		if (n->fd >= 0) {
			n->fd_users++;
			host_lru_remove(n);
			*ret_path = at;
			return n;
		}
	}
	return NULL;
}

static void trim_lru(int *ret_close) REQUIRES(L_CACHE)
{
	struct host_node *old = lru_count > host_dir_fds_max ? list_first(&lru, struct host_node, lru) : NULL;

	*ret_close = -1;
	if (!old)
		return;
	host_lru_remove(old);
	*ret_close = old->fd;
	old->fd = -1;
	old->fd_readable = false;
}

static void node_fd_put(struct host_node *n)
{
	int to_close = -1;

	mutex_lock(&host_lock, L_CACHE);
	/* The root's is never given up, nor is a pinned one without a name. */
	if (--n->fd_users == 0 && n->parent && S_ISDIR(n->inode->mode)) {
		list_append(&lru, &n->lru);
		lru_count++;
		trim_lru(&to_close);
	}
	mutex_unlock(&host_lock, L_CACHE);
	if (to_close >= 0)
		close(to_close);
}

/* 0 if fd is what n was. Read-only exclusive trees do not change, so they are not asked. */
static int check_identity(const struct host_node *n, int fd)
{
	struct statx stx;

	if (!host_super(n->inode->super)->shared && n->inode->super->read_only)
		return 0;
	if (host_statx(fd, "", &stx))
		return -errno;
	return host_same(n, &stx) ? 0 : -ESTALE;
}

int host_open_node(struct inode *i, int flags)
{
	struct host_node *n = host_node(i), *base;
	char buf[PATH_MAX];
	char *path = NULL;
	int fd, err, self = -1;

	flags = open_flags(flags);
	mutex_lock(&host_lock, L_CACHE);
	base = find_base(n, buf, sizeof(buf), &path);
	if (!base) {
		self = n->fd;
		n->fd_users++;
	}
	mutex_unlock(&host_lock, L_CACHE);
	if (!base) {
		if (self < 0)
			fd = -ESTALE;
		else
			fd = S_ISDIR(i->mode) ? open_beneath(self, ".", flags) : hostio_reopen(self, flags);
		node_fd_put(n);
		return fd;
	}
	fd = open_beneath(base->fd, path, flags);
	node_fd_put(base);
	if (fd < 0)
		return fd == -ELOOP || fd == -EXDEV || fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
	err = check_identity(n, fd);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int host_dir_get(struct inode *dir, int *ret_fd)
{
	struct host_node *n = host_node(dir);
	int fd;

	for (;;) {
		mutex_lock(&host_lock, L_CACHE);
		if (n->fd >= 0) {
			n->fd_users++;
			host_lru_remove(n);
			*ret_fd = n->fd;
			mutex_unlock(&host_lock, L_CACHE);
			return 0;
		}
		mutex_unlock(&host_lock, L_CACHE);
		fd = host_open_node(dir, O_PATH | O_DIRECTORY);
		if (fd < 0)
			return fd;
		mutex_lock(&host_lock, L_CACHE);
		if (n->fd < 0) {
			n->fd = fd;
			fd = -1;
		}
		mutex_unlock(&host_lock, L_CACHE);
		if (fd >= 0)
			close(fd);
	}
}

void host_dir_put(struct inode *dir)
{
	node_fd_put(host_node(dir));
}

void host_pin(struct inode *i)
{
	struct host_node *n = host_node(i);
	int fd = -1;

	if (n->fd < 0)
		fd = host_open_node(i, O_PATH);
	mutex_lock(&host_lock, L_CACHE);
	if (n->fd < 0) {
		n->fd = fd;
		fd = -1;
	}
	if (n->fd >= 0) {
		/* Never on the list again: what it lies in is no way to it any more. */
		host_lru_remove(n);
		n->fd_users++;
	}
	mutex_unlock(&host_lock, L_CACHE);
	if (fd >= 0)
		close(fd);
}

void host_mark_dirty(struct inode *i)
{
	__atomic_store_n(&host_node(i)->dirty, true, __ATOMIC_RELAXED);
}

/* By an open description or the node's own fd: 0, -errno, or 1 if there is none. */
static int stat_by_fd(struct host_node *n, struct statx *stx)
{
	struct host_file *open;
	int err = 1, fd;

	mutex_lock(&host_lock, L_CACHE);
	open = list_first(&n->opens, struct host_file, link);
	fd = open ? open->fd : n->fd;
	if (fd >= 0)
		err = host_statx(fd, "", stx);
	mutex_unlock(&host_lock, L_CACHE);
	return err;
}

static int stat_node(struct inode *i, struct statx *stx)
{
	struct inode *dir;
	char *name;
	int fd, err = stat_by_fd(host_node(i), stx);

	if (err <= 0)
		return err;
	err = host_name_get(i, &dir, &name);
	if (err)
		return err;
	err = host_dir_get(dir, &fd);
	if (!err) {
		err = host_statx(fd, name, stx);
		host_dir_put(dir);
	}
	kfree_string(name);
	inode_put(dir);
	return err;
}

int host_refresh(struct inode *i)
{
	struct statx stx;
	int err = stat_node(i, &stx);

	if (err)
		return err == -ENOENT ? -ESTALE : err;
	if (!host_same(host_node(i), &stx))
		return -ESTALE;
	host_set_attrs(i, &stx);
	return 0;
}

int host_revalidate(struct ctx *c __unused, struct dentry *d)
{
	struct inode *dir = d->parent->inode;
	struct statx stx;
	int fd, err;

	if (d->parent == d || (d->inode && !host_node(d->inode)->parent))
		return 1;
	/* What is mounted there stays, whatever becomes of the name outside. */
	if (d->mounts)
		return 1;
	err = host_dir_get(dir, &fd);
	if (err)
		return 0;
	err = host_statx(fd, d->name, &stx);
	host_dir_put(dir);
	if (err)
		return err == -ENOENT && dentry_negative(d);
	if (dentry_negative(d) || !host_same(host_node(d->inode), &stx))
		return 0;
	host_set_attrs(d->inode, &stx);
	return 1;
}

static int host_statfs(struct ctx *c __unused, struct super *s, struct k_statfs *ret)
{
	struct statfs st;

	if (fstatfs(host_super(s)->fs_fd, &st))
		return -errno;
	ret->type = st.f_type;
	ret->bsize = st.f_bsize;
	ret->blocks = st.f_blocks;
	ret->bfree = st.f_bfree;
	ret->bavail = st.f_bavail;
	ret->files = st.f_files;
	ret->ffree = st.f_ffree;
	ret->namelen = st.f_namelen;
	ret->frsize = st.f_frsize;
	return 0;
}

static int host_sync(struct super *s)
{
	return s->read_only || syncfs(host_super(s)->fs_fd) == 0 || errno == EBADF ? 0 : -errno;
}

static void host_kill(struct super *s)
{
	struct host_super *h = host_super(s);

	if (h->fs_fd >= 0)
		close(h->fs_fd);
	slab_free(&super_slab, h);
}

static const struct super_ops exclusive_ops = {
    .name = "host",
    .evict = host_evict,
    .statfs = host_statfs,
    .sync = host_sync,
    .kill = host_kill,
};

static const struct super_ops shared_ops = {
    .name = "host",
    .revalidate = host_revalidate,
    .evict = host_evict,
    .statfs = host_statfs,
    .sync = host_sync,
    .kill = host_kill,
};

/* The root inode owns fd. */
static int make_root(struct super *s, int fd)
{
	struct statx stx;
	struct inode *root;
	int err = host_statx(fd, "", &stx);

	if (err)
		return err;
	if (!S_ISDIR(stx.stx_mode) && !S_ISREG(stx.stx_mode))
		return -ENOTSUP;
	root = node_create(s, &stx);
	if (!root)
		return -ENOMEM;
	host_node(root)->fd = fd;
	host_node(root)->fd_users = 1;
	s->root = dentry_create_root(s, root);
	return s->root ? 0 : -ENOMEM;
}

int host_create(int fd, const struct host_options *o, struct super **ret)
{
	struct host_super *h = slab_alloc(&super_slab);
	struct super *s = h ? super_create(o->shared ? &shared_ops : &exclusive_ops, h) : NULL;
	int err;

	if (!s) {
		slab_free(&super_slab, h);
		close(fd);
		return -ENOMEM;
	}
	mutex_init(&h->lock);
	h->shared = o->shared;
	h->fifos = o->fifos;
	s->read_only = s->frozen = o->read_only;
	h->fs_fd = open_beneath(fd, ".", O_RDONLY | O_DIRECTORY);
	if (h->fs_fd < 0)
		h->fs_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	err = make_root(s, fd);
	if (err) {
		if (!s->root)
			close(fd);
		super_put(s);
		return err;
	}
	*ret = s;
	return 0;
}
