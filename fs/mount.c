/*
 * The mount tree. One lock (L_MOUNT) for all namespaces: it changes rarely and a walk takes it only where a dentry says that something is
 * mounted on it (dentry.mounts) or when ".." leaves a mount.
 *
 * A namespace's list owns one reference to each mount in it; a mounted mount owns one to its parent, so a count above the list's, the
 * caller's and nobody else's means busy. A detached mount has no parent and no ns, and lives for as long as a path refers to it.
 * Propagation types are kept and shown; events are not passed on, because one sandbox's namespaces share no peer group yet.
 */
#include "fs/mount.h"

#include <string.h>
#include <sys/mount.h>

#include "sentry/base/slab.h"

#define MOUNT_MAX 100000u

static struct slab mount_slab = SLAB_INIT(struct mount);
static struct slab ns_slab = SLAB_INIT(struct mnt_ns);
static struct mutex mount_lock = MUTEX_INIT;
static struct fs_type *fs_types;
static unsigned mount_count;  /* mount_lock */
static unsigned last_id = 20; /* mount_lock */

void path_get(const struct path *p)
{
	if (p->mnt)
		mount_get(p->mnt);
	if (p->dentry)
		dentry_get(p->dentry);
}

void path_put(struct path *p)
{
	struct dentry *d = take(p->dentry);
	struct mount *m = take(p->mnt);

	dentry_put(d);
	mount_put(m);
}

void fs_type_register(struct fs_type *t)
{
	struct fs_type **at = &fs_types;

	while (*at)
		at = (struct fs_type **)&(*at)->next;
	*at = t;
}

const struct fs_type *fs_type_next(const struct fs_type *t)
{
	return t ? t->next : fs_types;
}

const struct fs_type *fs_type_find(const char *name)
{
	const struct fs_type *t = fs_types;

	while (t && strcmp(t->name, name) != 0)
		t = t->next;
	return t;
}

/* A detached mount, count 1. */
static struct mount *mount_create(struct super *s, struct dentry *root, uint64_t flags, const char *source)
{
	struct mount *m = slab_alloc(&mount_slab);

	if (!m)
		return NULL;
	m->source = kstrdup(source ? source : "none");
	if (!m->source) {
		slab_free(&mount_slab, m);
		return NULL;
	}
	ref_init(&m->ref);
	m->super = super_get(s);
	m->root = dentry_get(root);
	m->flags = flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME);
	m->propagation = MS_PRIVATE;
	list_init(&m->link);
	return m;
}

size_t mnt_ns_snapshot(struct mnt_ns *ns, struct mount **ret, size_t room)
{
	struct mount *m;
	size_t n = 0;

	mutex_lock(&mount_lock, L_MOUNT);
	list_for_each(m, &ns->mounts, link) {
		if (n < room)
			ret[n] = mount_get(m);
		n++;
	}
	mutex_unlock(&mount_lock, L_MOUNT);
	return n;
}

struct mount *mount_get(struct mount *m)
{
	ref_get(&m->ref);
	return m;
}

void mount_put(struct mount *m)
{
	if (!m || !ref_put(&m->ref))
		return;
	dentry_put(m->root);
	super_put(m->super);
	kfree_string(m->source);
	slab_free(&mount_slab, m);
}

/* Enters m into ns at `at`, or as its root; the list takes over the caller's reference. */
static int attach(struct mnt_ns *ns, struct mount *m, const struct path *at) REQUIRES(L_MOUNT)
{
	if (mount_count >= MOUNT_MAX)
		return -ENOSPC;
	mount_count++;
	m->ns = ns;
	m->id = (int)(++last_id & INT32_MAX);
	list_append(&ns->mounts, &m->link);
	if (at) {
		m->parent = mount_get(at->mnt);
		m->point = dentry_get(at->dentry);
		__atomic_fetch_add((uint32_t *)&at->dentry->mounts, 1, __ATOMIC_RELAXED);
	}
	return 0;
}

/* Takes m off its place but leaves it in the list; *old gets the references to where it was. */
static void unhang(struct mount *m, struct path *old) REQUIRES(L_MOUNT)
{
	*old = (struct path){m->parent, m->point};
	m->parent = NULL;
	m->point = NULL;
	if (old->dentry)
		__atomic_fetch_sub((uint32_t *)&old->dentry->mounts, 1, __ATOMIC_RELAXED);
}

static void hang(struct mount *m, const struct path *at) REQUIRES(L_MOUNT)
{
	path_get(at);
	m->parent = at->mnt;
	m->point = at->dentry;
	__atomic_fetch_add((uint32_t *)&at->dentry->mounts, 1, __ATOMIC_RELAXED);
}

/* Out of the tree, into `gone`: detach_finish() drops the references outside of the lock. */
static void detach(struct mount *m, struct list *gone) REQUIRES(L_MOUNT)
{
	list_remove(&m->link);
	list_append(gone, &m->link);
	mount_count--;
	m->ns = NULL;
	if (m->point)
		__atomic_fetch_sub((uint32_t *)&m->point->mounts, 1, __ATOMIC_RELAXED);
}

static void detach_finish(struct list *gone)
{
	struct mount *m, *next;

	list_for_each_safe(m, next, gone, link) {
		struct path at = {m->parent, m->point};

		list_remove(&m->link);
		m->parent = NULL;
		m->point = NULL;
		path_put(&at);
		mount_put(m);
	}
}

static bool mount_is_below(const struct mount *m, const struct mount *top) REQUIRES(L_MOUNT)
{
	while (m && m != top)
		m = m->parent;
	return m != NULL;
}

static void detach_tree(struct mnt_ns *ns, struct mount *top, struct list *gone) REQUIRES(L_MOUNT)
{
	struct list tree = LIST_INIT(tree);
	struct mount *m, *next;

	list_for_each_safe(m, next, &ns->mounts, link) {
		if (!mount_is_below(m, top))
			continue;
		list_remove(&m->link);
		list_append(&tree, &m->link);
	}
	list_for_each_safe(m, next, &tree, link)
		detach(m, gone);
}

static struct mount *find_on(const struct path *p) REQUIRES(L_MOUNT)
{
	struct mount *m;

	if (!p->mnt->ns)
		return NULL;
	list_for_each(m, &p->mnt->ns->mounts, link)
		if (m->parent == p->mnt && m->point == p->dentry)
			return m;
	return NULL;
}

bool mount_cross(struct path *p)
{
	bool crossed = false;

	while (p->dentry->mounts) {
		struct path top = {NULL, NULL};
		struct mount *m;

		mutex_lock(&mount_lock, L_MOUNT);
		m = find_on(p);
		if (m)
			top = (struct path){mount_get(m), dentry_get(m->root)};
		mutex_unlock(&mount_lock, L_MOUNT);
		if (!m)
			break;
		path_put(p);
		*p = top;
		crossed = true;
	}
	return crossed;
}

bool mount_up(struct path *p)
{
	struct path up = {NULL, NULL};

	if (p->dentry != p->mnt->root)
		return false;
	mutex_lock(&mount_lock, L_MOUNT);
	if (p->mnt->parent) {
		up = (struct path){p->mnt->parent, p->mnt->point};
		path_get(&up);
	}
	mutex_unlock(&mount_lock, L_MOUNT);
	if (!up.mnt)
		return false;
	path_put(p);
	*p = up;
	return true;
}

struct mnt_ns *mnt_ns_create(struct super *root, uint64_t flags, const char *source)
{
	struct mnt_ns *ns = slab_alloc(&ns_slab);
	struct mount *m = ns ? mount_create(root, root->root, flags, source) : NULL;
	int err;

	if (!m) {
		slab_free(&ns_slab, ns);
		return NULL;
	}
	ref_init(&ns->ref);
	list_init(&ns->mounts);
	ns->root = m;
	mutex_lock(&mount_lock, L_MOUNT);
	err = attach(ns, m, NULL);
	mutex_unlock(&mount_lock, L_MOUNT);
	if (err) {
		mount_put(m);
		slab_free(&ns_slab, ns);
		return NULL;
	}
	return ns;
}

struct mnt_ns *mnt_ns_get(struct mnt_ns *ns)
{
	ref_get(&ns->ref);
	return ns;
}

void mnt_ns_put(struct mnt_ns *ns)
{
	struct list gone = LIST_INIT(gone);
	struct mount *m, *next;

	if (!ns || !ref_put(&ns->ref))
		return;
	mutex_lock(&mount_lock, L_MOUNT);
	list_for_each_safe(m, next, &ns->mounts, link)
		detach(m, &gone);
	mutex_unlock(&mount_lock, L_MOUNT);
	detach_finish(&gone);
	slab_free(&ns_slab, ns);
}

/* Can root be mounted on at? */
static int check_point(const struct mnt_ns *ns, const struct dentry *root, const struct path *at) REQUIRES(L_MOUNT)
{
	if (at->mnt->ns != ns)
		return -EINVAL;
	if (at->dentry->parent != at->dentry && !at->dentry->hashed)
		return -ENOENT;
	return S_ISDIR(root->inode->mode) == S_ISDIR(at->dentry->inode->mode) ? 0 : -ENOTDIR;
}

static int attach_new(struct mnt_ns *ns, struct mount *m, const struct path *at)
{
	int err;

	mutex_lock(&mount_lock, L_MOUNT);
	err = check_point(ns, m->root, at);
	if (!err)
		err = attach(ns, m, at);
	mutex_unlock(&mount_lock, L_MOUNT);
	if (err)
		mount_put(m);
	return err;
}

int mount_add(struct mnt_ns *ns, struct super *s, const struct path *at, uint64_t flags, const char *source)
{
	struct mount *m = mount_create(s, s->root, flags, source);

	return m ? attach_new(ns, m, at) : -ENOMEM;
}

/* Copies of the mounts below from->dentry, under the new mount `top`. */
static int bind_children(struct mnt_ns *ns, const struct path *from, struct mount *top) REQUIRES(L_MOUNT)
{
	struct list *last = ns->mounts.prev;
	struct mount *m, *copy;
	int err = 0;

	list_for_each(m, &ns->mounts, link) {
		struct path at = {top, m->point};

		if (m != top && m->parent == from->mnt && dentry_is_below(m->point, from->dentry)) {
			copy = mount_create(m->super, m->root, m->flags, m->source);
			err = copy ? attach(ns, copy, &at) : -ENOMEM;
			if (!err)
				err = bind_children(ns, &(struct path){m, m->root}, copy);
			else
				mount_put(copy);
		}
		if (err || &m->link == last)
			break;
	}
	return err;
}

int mount_bind(struct mnt_ns *ns, const struct path *from, const struct path *at, uint64_t flags)
{
	struct mount *m = mount_create(from->mnt->super, from->dentry, flags | from->mnt->flags, from->mnt->source);
	int err;

	if (!m)
		return -ENOMEM;
	err = attach_new(ns, m, at);
	if (err || !(flags & MS_REC))
		return err;
	mutex_lock(&mount_lock, L_MOUNT);
	if (m->ns == ns)
		err = bind_children(ns, from, m);
	mutex_unlock(&mount_lock, L_MOUNT);
	return err;
}

static bool has_children(const struct mnt_ns *ns, const struct mount *top) REQUIRES(L_MOUNT)
{
	struct mount *m;

	list_for_each(m, &ns->mounts, link)
		if (m->parent == top)
			return true;
	return false;
}

int mount_remove(struct ctx *c __unused, const struct path *at, int flags)
{
	struct list gone = LIST_INIT(gone);
	struct mount *m = at->mnt;
	int err = 0;

	mutex_lock(&mount_lock, L_MOUNT);
	if (at->dentry != m->root || !m->ns)
		err = -EINVAL;
	else if (m == m->ns->root)
		err = -EINVAL;
	else if (flags & MNT_DETACH)
		detach_tree(m->ns, m, &gone);
	else if (has_children(m->ns, m) || ref_count(&m->ref) > 2)
		err = -EBUSY;
	else
		detach(m, &gone);
	mutex_unlock(&mount_lock, L_MOUNT);
	detach_finish(&gone);
	return err;
}

int mount_move(struct mnt_ns *ns, const struct path *from, const struct path *to)
{
	struct path old = {NULL, NULL};
	struct mount *m = from->mnt;
	int err;

	mutex_lock(&mount_lock, L_MOUNT);
	err = check_point(ns, m->root, to);
	if (!err && (from->dentry != m->root || m->ns != ns || m == ns->root))
		err = -EINVAL;
	if (!err && mount_is_below(to->mnt, m))
		err = -ELOOP;
	if (!err) {
		unhang(m, &old);
		hang(m, to);
	}
	mutex_unlock(&mount_lock, L_MOUNT);
	path_put(&old);
	return err;
}

int mount_remount(const struct path *at, uint64_t flags, bool super_too)
{
	const uint64_t kept = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME;
	int err = 0;

	mutex_lock(&mount_lock, L_MOUNT);
	if (at->dentry != at->mnt->root)
		err = -EINVAL;
	else if (super_too && at->mnt->super->frozen && !(flags & MS_RDONLY))
		err = -EROFS;
	else
		at->mnt->flags = (at->mnt->flags & ~kept) | (flags & kept);
	if (!err && super_too)
		at->mnt->super->read_only = (flags & MS_RDONLY) != 0;
	mutex_unlock(&mount_lock, L_MOUNT);
	return err;
}

int mount_set_propagation(const struct path *at, unsigned type, bool recursive)
{
	struct mount *m;

	if (at->dentry != at->mnt->root)
		return -EINVAL;
	mutex_lock(&mount_lock, L_MOUNT);
	at->mnt->propagation = type;
	if (recursive && at->mnt->ns)
		list_for_each(m, &at->mnt->ns->mounts, link)
			if (mount_is_below(m, at->mnt))
				m->propagation = type;
	mutex_unlock(&mount_lock, L_MOUNT);
	return 0;
}

int mount_want_write(const struct mount *m)
{
	return (m->flags & MS_RDONLY) || m->super->read_only ? -EROFS : 0;
}

/* The nth mount of ns. */
static struct mount *nth(const struct mnt_ns *ns, size_t n) REQUIRES(L_MOUNT)
{
	struct mount *m;

	list_for_each(m, &ns->mounts, link)
		if (n-- == 0)
			return m;
	return NULL;
}

/* The superblock of the nth mount of ns, active; NULL: there is none. */
static struct super *nth_super(struct mnt_ns *ns, size_t n)
{
	struct super *s = NULL;
	struct mount *m;

	mutex_lock(&mount_lock, L_MOUNT);
	m = nth(ns, n);
	if (m)
		s = super_get(m->super);
	mutex_unlock(&mount_lock, L_MOUNT);
	return s;
}

void mnt_ns_sync(struct mnt_ns *ns)
{
	struct super *s;

	for (size_t n = 0; (s = nth_super(ns, n)); n++) {
		if (s->ops->sync)
			s->ops->sync(s);
		super_put(s);
	}
}

static size_t index_of(const struct mnt_ns *ns, const struct mount *what) REQUIRES(L_MOUNT)
{
	struct mount *m;
	size_t n = 0;

	list_for_each(m, &ns->mounts, link) {
		if (m == what)
			break;
		n++;
	}
	return n;
}

static void move_path(const struct mnt_ns *from, const struct mnt_ns *to, struct path *p) REQUIRES(L_MOUNT)
{
	if (!p || !p->mnt || p->mnt->ns != from)
		return;
	/* The old mount stays in `from`: this is not its last reference. */
	p->mnt = mount_get(nth(to, index_of(from, p->mnt)));
}

static int copy_mounts(struct mnt_ns *from, struct mnt_ns *to) REQUIRES(L_MOUNT)
{
	struct mount *m, *copy;

	list_for_each(m, &from->mounts, link) {
		int err;

		copy = mount_create(m->super, m->root, m->flags, m->source);
		err = copy ? attach(to, copy, NULL) : -ENOMEM;
		if (err) {
			mount_put(copy);
			return err;
		}
		copy->propagation = m->propagation;
	}
	list_for_each(m, &from->mounts, link) {
		copy = nth(to, index_of(from, m));
		if (m == from->root)
			to->root = copy;
		if (m->parent)
			hang(copy, &(struct path){nth(to, index_of(from, m->parent)), m->point});
	}
	return 0;
}

int mnt_ns_clone(struct mnt_ns *ns, struct path *root, struct path *cwd, struct mnt_ns **ret)
{
	struct mnt_ns *n = slab_alloc(&ns_slab);
	struct mount *old_root = root ? root->mnt : NULL, *old_cwd = cwd ? cwd->mnt : NULL;
	int err;

	if (!n)
		return -ENOMEM;
	ref_init(&n->ref);
	list_init(&n->mounts);
	mutex_lock(&mount_lock, L_MOUNT);
	err = copy_mounts(ns, n);
	if (!err) {
		move_path(ns, n, root);
		move_path(ns, n, cwd);
	}
	mutex_unlock(&mount_lock, L_MOUNT);
	if (err) {
		mnt_ns_put(n);
		return err;
	}
	if (root && root->mnt != old_root)
		mount_put(old_root);
	if (cwd && cwd->mnt != old_cwd)
		mount_put(old_cwd);
	*ret = n;
	return 0;
}

static int check_pivot(const struct mnt_ns *ns, const struct path *root, const struct path *new_root,
		       const struct path *put_old) REQUIRES(L_MOUNT)
{
	const struct mount *n = new_root->mnt;

	if (n->ns != ns || root->mnt->ns != ns || put_old->mnt->ns != ns)
		return -EINVAL;
	if (n == root->mnt || put_old->mnt == root->mnt)
		return -EBUSY;
	if (new_root->dentry != n->root || root->dentry != root->mnt->root || !n->parent)
		return -EINVAL;
	if (!mount_is_below(n, root->mnt) || !mount_is_below(put_old->mnt, n))
		return -EINVAL;
	return put_old->mnt != n || dentry_is_below(put_old->dentry, new_root->dentry) ? 0 : -EINVAL;
}

int mount_pivot(struct mnt_ns *ns, const struct path *root, const struct path *new_root, const struct path *put_old)
{
	struct path at_root = {NULL, NULL}, at_new = {NULL, NULL};
	int err;

	mutex_lock(&mount_lock, L_MOUNT);
	err = check_pivot(ns, root, new_root, put_old);
	if (!err) {
		unhang(root->mnt, &at_root);
		unhang(new_root->mnt, &at_new);
		hang(root->mnt, put_old);
		if (at_root.mnt)
			hang(new_root->mnt, &at_root);
		if (ns->root == root->mnt)
			ns->root = new_root->mnt;
	}
	mutex_unlock(&mount_lock, L_MOUNT);
	path_put(&at_root);
	path_put(&at_new);
	return err;
}
