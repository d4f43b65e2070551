/*
 * The mount tree. One lock (L_MOUNT) for all namespaces: it changes rarely and a walk takes it only where a dentry says that something is
 * mounted on it (dentry.mounts) or when ".." leaves a mount. What is mounted where is found by a hash. A guest can have many mounts, nested as deep
 * as there are: nothing here recurses, and what looks at a whole tree looks at each mount once.
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
#define BUCKET_BITS 13

static struct slab mount_slab = SLAB_INIT(struct mount);
static struct slab ns_slab = SLAB_INIT(struct mnt_ns);
static struct mutex mount_lock = MUTEX_INIT;
static struct mount *buckets[1 << BUCKET_BITS]; /* mount_lock: by parent and point */
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
	list_init(&m->children);
	list_init(&m->sibling);
	return m;
}

struct mount **mnt_ns_snapshot(struct mnt_ns *ns, size_t *ret_count)
{
	struct mount **all, *m;
	size_t n = 0;

	mutex_lock(&mount_lock, L_MOUNT);
	list_for_each(m, &ns->mounts, link)
		n++;
	all = kalloc(n * sizeof(*all));
	*ret_count = all ? n : 0;
	n = 0;
	if (all)
		list_for_each(m, &ns->mounts, link)
			all[n++] = mount_get(m);
	mutex_unlock(&mount_lock, L_MOUNT);
	return all;
}

void mounts_put(struct mount **all, size_t count)
{
	for (size_t i = 0; i < count; i++)
		mount_put(all[i]);
	kfree(all, count * sizeof(*all));
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

static struct mount **bucket_of(const struct mount *parent, const struct dentry *point)
{
	uint64_t key = (uintptr_t)parent ^ ((uintptr_t)point << 20 | (uintptr_t)point >> 44);

	return &buckets[key * 0x9e3779b97f4a7c15ull >> (64 - BUCKET_BITS)];
}

static struct mount *find_on(const struct path *p) REQUIRES(L_MOUNT)
{
	struct mount *m = *bucket_of(p->mnt, p->dentry);

	while (m && (m->parent != p->mnt || m->point != p->dentry))
		m = m->hash_next;
	return m;
}

/* m hangs at `at`. */
static void hang(struct mount *m, const struct path *at) REQUIRES(L_MOUNT)
{
	struct mount **bucket = bucket_of(at->mnt, at->dentry);

	path_get(at);
	m->parent = at->mnt;
	m->point = at->dentry;
	m->hash_next = *bucket;
	*bucket = m;
	list_append(&at->mnt->children, &m->sibling);
	__atomic_fetch_add((uint32_t *)&at->dentry->mounts, 1, __ATOMIC_RELAXED);
}

/* Takes m off its place but leaves it in the list; *old gets the references to where it was. */
static void unhang(struct mount *m, struct path *old) REQUIRES(L_MOUNT)
{
	struct mount **at;

	*old = (struct path){m->parent, m->point};
	if (!m->parent)
		return;
	for (at = bucket_of(m->parent, m->point); *at != m; at = &(*at)->hash_next)
		;
	*at = m->hash_next;
	list_remove(&m->sibling);
	__atomic_fetch_sub((uint32_t *)&m->point->mounts, 1, __ATOMIC_RELAXED);
	m->parent = NULL;
	m->point = NULL;
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
	if (at)
		hang(m, at);
	return 0;
}

/* Out of the tree, into `gone`: detach_finish() drops the references outside of the lock. */
static void detach(struct mount *m, struct list *gone) REQUIRES(L_MOUNT)
{
	struct path at;

	list_remove(&m->link);
	list_append(gone, &m->link);
	mount_count--;
	m->ns = NULL;
	unhang(m, &at);
	m->old_parent = at.mnt;
	m->old_point = at.dentry;
}

static void detach_finish(struct list *gone)
{
	struct mount *m, *next;

	list_for_each_safe(m, next, gone, link) {
		struct path at = {m->old_parent, m->old_point};

		list_remove(&m->link);
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

/* The mount after m in the tree on top, parents first; `skip` leaves out what hangs on m. NULL: m was the last. */
static struct mount *tree_next(struct mount *m, const struct mount *top, bool skip) REQUIRES(L_MOUNT)
{
	if (!skip && !list_empty(&m->children))
		return list_first(&m->children, struct mount, sibling);
	for (; m != top; m = m->parent)
		if (m->sibling.next != &m->parent->children)
			return list_entry(m->sibling.next, struct mount, sibling);
	return NULL;
}

static void detach_tree(struct mount *top, struct list *gone) REQUIRES(L_MOUNT)
{
	struct list tree = LIST_INIT(tree);
	struct mount *m, *next;

	for (m = top; m; m = tree_next(m, top, false)) {
		list_remove(&m->link);
		list_append(&tree, &m->link);
	}
	list_for_each_safe(m, next, &tree, link)
		detach(m, gone);
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
	bool is_dir;

	if (at->mnt->ns != ns)
		return -EINVAL;
	if (at->dentry->parent != at->dentry && !at->dentry->hashed)
		return -ENOENT;
	/* A name that does not exist can carry a file: only we mount there. */
	is_dir = !dentry_negative(at->dentry) && S_ISDIR(at->dentry->inode->mode);
	return S_ISDIR(root->inode->mode) == is_dir ? 0 : -ENOTDIR;
}

static int attach_new(struct mnt_ns *ns, struct mount *m, const struct path *at)
{
	struct path top = *at;
	struct mount *on;
	int err;

	mutex_lock(&mount_lock, L_MOUNT);
	while ((on = find_on(&top))) /* somebody was faster */
		top = (struct path){on, on->root};
	err = check_point(ns, m->root, &top);
	if (!err)
		err = attach(ns, m, &top);
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

/* Copies of the mounts below from->dentry, and of all that hangs on those, under the new mount `top`. */
static int bind_children(struct mnt_ns *ns, const struct path *from, struct mount *top) REQUIRES(L_MOUNT)
{
	struct mount *m = from->mnt;
	bool skip = false;
	int err = 0;

	m->copy = top;
	while (!err && (m = tree_next(m, from->mnt, skip))) {
		struct path at = {m->parent->copy, m->point};

		skip = m == top || (m->parent == from->mnt && !dentry_is_below(m->point, from->dentry));
		if (skip)
			continue;
		m->copy = mount_create(m->super, m->root, m->flags, m->source);
		err = m->copy ? attach(ns, m->copy, &at) : -ENOMEM;
		if (err)
			mount_put(m->copy);
	}
	return err;
}

int mount_bind(struct mnt_ns *ns, const struct path *from, const struct path *at, uint64_t flags)
{
	struct mount *m = mount_create(from->mnt->super, from->dentry, flags | from->mnt->flags, from->mnt->source);
	struct list gone = LIST_INIT(gone);
	int err;

	if (!m)
		return -ENOMEM;
	err = attach_new(ns, m, at);
	if (err || !(flags & MS_REC))
		return err;
	mutex_lock(&mount_lock, L_MOUNT);
	if (m->ns == ns)
		err = bind_children(ns, from, m);
	if (err)
		detach_tree(m, &gone);
	mutex_unlock(&mount_lock, L_MOUNT);
	detach_finish(&gone);
	return err;
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
		detach_tree(m, &gone);
	else if (!list_empty(&m->children) || ref_count(&m->ref) > 2)
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
	for (m = at->mnt; m; m = tree_next(m, at->mnt, !recursive))
		m->propagation = type;
	mutex_unlock(&mount_lock, L_MOUNT);
	return 0;
}

int mount_want_write(const struct mount *m)
{
	return (m->flags & MS_RDONLY) || m->super->read_only ? -EROFS : 0;
}

void mnt_ns_sync(struct mnt_ns *ns)
{
	size_t count;
	struct mount **all = mnt_ns_snapshot(ns, &count);

	for (size_t i = 0; i < count; i++)
		if (all[i]->super->ops->sync)
			all[i]->super->ops->sync(all[i]->super);
	mounts_put(all, count);
}

/* To the copy of the mount that it is in. */
static void move_path(const struct mnt_ns *from, struct path *p) REQUIRES(L_MOUNT)
{
	/* The old mount stays in `from`: this is not its last reference. */
	if (p && p->mnt && p->mnt->ns == from)
		p->mnt = mount_get(p->mnt->copy);
}

static int copy_mounts(struct mnt_ns *from, struct mnt_ns *to) REQUIRES(L_MOUNT)
{
	struct mount *m;

	list_for_each(m, &from->mounts, link) {
		int err;

		m->copy = mount_create(m->super, m->root, m->flags, m->source);
		err = m->copy ? attach(to, m->copy, NULL) : -ENOMEM;
		if (err) {
			mount_put(m->copy);
			return err;
		}
		m->copy->propagation = m->propagation;
	}
	list_for_each(m, &from->mounts, link)
		if (m->parent)
			hang(m->copy, &(struct path){m->parent->copy, m->point});
	to->root = from->root->copy;
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
		move_path(ns, root);
		move_path(ns, cwd);
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
