/*
 * inotify(7).
 *
 * A watch belongs to one instance and one inode, which it holds a reference to; i->watches is the list of an inode's. The VFS calls the hooks of
 * fs/notify.h; when any watch exists at all they come here, look whether the inode (or its directory) has watches, and only then take the lock. Events
 * are copied with their names, because a name may change before it is read. An event like the last one in the queue is not queued again; a full queue
 * ends in one IN_Q_OVERFLOW.
 *
 * One mutex (L_NOTIFY) protects all watches and queues: events are rare next to what causes them. Inodes are put after it was dropped, and events are
 * copied to the guest without it: a guest can make that last.
 */
#include "fs/inotify.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "fs/fasync.h"
#include "fs/notify.h"
#include "sentry/base/slab.h"

#define MAX_QUEUED 16384
#define MAX_WATCHES 65536
#define MAX_INSTANCES 1024

struct event {
	struct list link;
	int wd;
	uint32_t mask, cookie;
	uint32_t name_size; /* with padding; 0: no name */
	char name[];
};

struct inotify {
	struct wait_queue wq;
	struct list events; /* everything: L_NOTIFY */
	unsigned count;
	size_t bytes; /* as read(2) gives them */
	struct list watches;
	struct list async;
	int last_wd;
};

struct inode_watch {
	struct inode_watch *next; /* of the same inode */
	struct list link;         /* inotify.watches */
	struct inotify *in;
	struct inode *inode; /* a reference */
	int wd;
	uint32_t mask;
};

static struct slab inotify_slab = SLAB_INIT(struct inotify);
static struct slab watch_slab = SLAB_INIT(struct inode_watch);
static struct mutex notify_lock = MUTEX_INIT;
static _Atomic unsigned instances;
static uint32_t last_cookie; /* L_NOTIFY */
static const struct file_ops inotify_ops;

_Atomic uint32_t fsnotify_watch_count;

/* ---- queues ---- */

static bool same_as_last(struct inotify *in, int wd, uint32_t mask, const char *name)
{
	struct event *e = list_last(&in->events, struct event, link);

	if (!e || e->wd != wd || e->mask != mask || e->cookie)
		return false;
	return e->name_size ? name && strcmp(e->name, name) == 0 : !name;
}

static void queue_raw(struct inotify *in, int wd, uint32_t mask, uint32_t cookie, const char *name)
{
	size_t len = name ? strlen(name) : 0;
	uint32_t name_size = len ? (uint32_t)((len + 1 + 15) & ~15ul) : 0;
	struct event *e = kalloc(sizeof(*e) + name_size);

	if (!e)
		return;
	e->wd = wd;
	e->mask = mask;
	e->cookie = cookie;
	e->name_size = name_size;
	if (len)
		memcpy(e->name, name, len);
	list_append(&in->events, &e->link);
	in->count++;
	in->bytes += sizeof(struct inotify_event) + name_size;
}

/* With the lock. */
static void queue_event(struct inotify *in, int wd, uint32_t mask, uint32_t cookie, const char *name)
{
	if (!cookie && same_as_last(in, wd, mask, name))
		return;
	if (in->count > MAX_QUEUED)
		return; /* the overflow event is in the queue already */
	if (in->count == MAX_QUEUED)
		queue_raw(in, -1, IN_Q_OVERFLOW, 0, NULL);
	else
		queue_raw(in, wd, mask, cookie, name);
	fasync_notify(&in->async, POLLIN);
	wake_up(&in->wq, POLLIN | POLLRDNORM);
}

/* ---- watches ---- */

/* With the lock: takes w off its inode and instance; the reference to the inode is the caller's to put, without the lock. */
static struct inode *watch_unlink(struct inode_watch *w)
{
	struct inode_watch **at = &w->inode->watches;
	struct inode *i = w->inode;

	while (*at != w)
		at = &(*at)->next;
	__atomic_store_n(at, w->next, __ATOMIC_RELEASE);
	list_remove(&w->link);
	slab_free(&watch_slab, w);
	__atomic_fetch_sub((uint32_t *)&fsnotify_watch_count, 1, __ATOMIC_RELEASE);
	return i;
}

static struct inode *watch_drop(struct inode_watch *w)
{
	queue_event(w->in, w->wd, IN_IGNORED, 0, NULL);
	return watch_unlink(w);
}

/* Without IN_ISDIR where old programs do not expect it. */
static uint32_t reported(uint32_t mask)
{
	return mask & (IN_MOVE_SELF | IN_DELETE_SELF) ? mask & ~(uint32_t)IN_ISDIR : mask;
}

/*
 * One event at the watches of i. The caller holds a reference to i. `unlinked`: the name it came by is gone already, which IN_EXCL_UNLINK asks to
 * leave out.
 */
static void notify(struct inode *i, uint32_t mask, uint32_t cookie, const char *name, bool unlinked)
{
	struct inode_watch *w, *next;
	unsigned dropped = 0;

	if (!__atomic_load_n(&i->watches, __ATOMIC_ACQUIRE))
		return;
	mutex_lock(&notify_lock, L_NOTIFY);
	for (w = i->watches; w; w = next) {
		next = w->next;
		if (!(mask & w->mask & IN_ALL_EVENTS) || (unlinked && w->mask & IN_EXCL_UNLINK))
			continue;
		queue_event(w->in, w->wd, reported(mask), cookie, name);
		if (w->mask & IN_ONESHOT) {
			watch_drop(w);
			dropped++;
		}
	}
	mutex_unlock(&notify_lock, L_NOTIFY);
	while (dropped--)
		inode_put(i);
}

static uint32_t dir_bit(const struct inode *i)
{
	return S_ISDIR(i->mode) ? IN_ISDIR : 0;
}

void fsnotify_inode_slow(struct inode *i, uint32_t mask)
{
	notify(i, mask | dir_bit(i), 0, NULL, false);
}

/* To the directory that d is in, with its name. */
static void notify_parent(struct dentry *d, uint32_t mask)
{
	char name[256];
	struct dentry *parent;
	bool unlinked;

	dentry_names_lock();
	unlinked = !d->hashed;
	parent = d->parent != d && d->parent->inode && d->parent->inode->watches ? dentry_get(d->parent) : NULL;
	if (parent)
		snprintf(name, sizeof(name), "%s", d->name);
	dentry_names_unlock();
	if (parent)
		notify(parent->inode, mask, 0, name, unlinked);
	dentry_put(parent);
}

void fsnotify_dentry_slow(struct dentry *d, uint32_t mask)
{
	if (!d->inode)
		return;
	mask |= dir_bit(d->inode);
	notify_parent(d, mask);
	notify(d->inode, mask, 0, NULL, false);
}

void fsnotify_file_slow(struct file *f, uint32_t mask)
{
	if (!(f->flags & O_PATH))
		fsnotify_dentry_slow(f->path.dentry, mask);
}

void fsnotify_name_slow(struct inode *dir, uint32_t mask, const char *name, struct inode *what)
{
	notify(dir, mask | (what ? dir_bit(what) : 0), 0, name, false);
}

void fsnotify_move_slow(struct inode *from, const char *old_name, struct inode *to, const char *new_name,
			struct inode *moved)
{
	uint32_t cookie = __atomic_add_fetch(&last_cookie, 1, __ATOMIC_RELAXED);

	notify(from, IN_MOVED_FROM | dir_bit(moved), cookie, old_name, false);
	notify(to, IN_MOVED_TO | dir_bit(moved), cookie, new_name, false);
	notify(moved, IN_MOVE_SELF | dir_bit(moved), 0, NULL, false);
}

void fsnotify_removed_slow(struct inode *i)
{
	unsigned dropped = 0;

	notify(i, IN_DELETE_SELF, 0, NULL, false);
	mutex_lock(&notify_lock, L_NOTIFY);
	while (i->watches) {
		watch_drop(i->watches);
		dropped++;
	}
	mutex_unlock(&notify_lock, L_NOTIFY);
	while (dropped--)
		inode_put(i);
}

/* ---- the instance's file ---- */

static size_t event_size(const struct event *e)
{
	return sizeof(struct inotify_event) + e->name_size;
}

/* The first event, off the queue; NULL: there is none, or it does not fit. */
static struct event *event_take(struct inotify *in, size_t room) REQUIRES(L_NOTIFY)
{
	struct event *e = list_first(&in->events, struct event, link);

	if (!e || event_size(e) > room)
		return NULL;
	list_remove(&e->link);
	in->count--;
	in->bytes -= event_size(e);
	return e;
}

/* Waits for the first event that fits. */
static int event_wait(struct ctx *c, struct file *f, size_t room, struct event **ret)
{
	struct inotify *in = f->priv;
	int err = 0;

	mutex_lock(&notify_lock, L_NOTIFY);
	while (!err && list_empty(&in->events))
		err = f->flags & O_NONBLOCK ? -EAGAIN : wait_on(c, &in->wq, &notify_lock, L_NOTIFY);
	*ret = err ? NULL : event_take(in, room);
	mutex_unlock(&notify_lock, L_NOTIFY);
	return err || *ret ? err : -EINVAL;
}

static struct event *event_next(struct inotify *in, size_t room)
{
	struct event *e;

	mutex_lock(&notify_lock, L_NOTIFY);
	e = event_take(in, room);
	mutex_unlock(&notify_lock, L_NOTIFY);
	return e;
}

/* Its size or -EFAULT; it is gone in both cases, as on Linux. */
static ssize_t event_put(struct event *e, struct iobuf *b)
{
	struct inotify_event k = {e->wd, e->mask, e->cookie, e->name_size};
	ssize_t size = (ssize_t)event_size(e);

	if (iobuf_put(b, &k, sizeof(k)) != sizeof(k) ||
	    (e->name_size && iobuf_put(b, e->name, e->name_size) != (ssize_t)e->name_size))
		size = -EFAULT;
	kfree(e, sizeof(*e) + e->name_size);
	return size;
}

static ssize_t inotify_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	ssize_t done = 0, n = 0;
	struct event *e;
	int err = event_wait(c, f, iobuf_left(b), &e);

	if (err)
		return err;
	for (; e && n >= 0; e = n >= 0 ? event_next(f->priv, iobuf_left(b)) : NULL) {
		n = event_put(e, b);
		done += MAX(n, 0);
	}
	return done ? done : n;
}

static uint32_t inotify_poll(struct file *f, struct poll_table *p)
{
	struct inotify *in = f->priv;
	bool ready;

	poll_wait(p, &in->wq);
	mutex_lock(&notify_lock, L_NOTIFY);
	ready = !list_empty(&in->events);
	mutex_unlock(&notify_lock, L_NOTIFY);
	return ready ? POLLIN | POLLRDNORM : 0;
}

static long inotify_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg)
{
	struct inotify *in = f->priv;
	int bytes;

	if (cmd != FIONREAD)
		return -ENOTTY;
	mutex_lock(&notify_lock, L_NOTIFY);
	bytes = (int)in->bytes;
	mutex_unlock(&notify_lock, L_NOTIFY);
	return copy_out(c, UADDR(arg), &bytes, sizeof(bytes));
}

static int inotify_set_flags(struct file *f, int flags)
{
	struct inotify *in = f->priv;
	int err;

	mutex_lock(&notify_lock, L_NOTIFY);
	err = fasync_set(f, &in->async, flags);
	mutex_unlock(&notify_lock, L_NOTIFY);
	return err;
}

static void instance_free(struct inotify *in)
{
	slab_free(&inotify_slab, in);
	__atomic_fetch_sub((unsigned *)&instances, 1, __ATOMIC_RELAXED);
}

static void inotify_release(struct file *f)
{
	struct inotify *in = f->priv;
	struct inode_watch *w;
	struct event *e;

	mutex_lock(&notify_lock, L_NOTIFY);
	fasync_remove(f);
	while ((w = list_first(&in->watches, struct inode_watch, link))) {
		struct inode *i = watch_unlink(w);

		mutex_unlock(&notify_lock, L_NOTIFY);
		inode_put(i);
		mutex_lock(&notify_lock, L_NOTIFY);
	}
	mutex_unlock(&notify_lock, L_NOTIFY);
	while ((e = event_next(in, SIZE_MAX)))
		kfree(e, sizeof(*e) + e->name_size);
	instance_free(in);
}

static void inotify_show_fdinfo(struct file *f, char *buf, size_t size)
{
	struct inotify *in = f->priv;
	struct inode_watch *w;
	size_t at = 0;

	mutex_lock(&notify_lock, L_NOTIFY);
	list_for_each(w, &in->watches, link) {
		if (at >= size)
			break;
		at += (size_t)snprintf(buf + at, size - at, "inotify wd:%x ino:%llx sdev:%llx mask:%x ignored_mask:0\n",
				       w->wd, (unsigned long long)w->inode->ino,
				       (unsigned long long)w->inode->super->dev, w->mask);
	}
	mutex_unlock(&notify_lock, L_NOTIFY);
}

static const struct file_ops inotify_ops = {
    .read = inotify_read,
    .poll = inotify_poll,
    .ioctl = inotify_ioctl,
    .release = inotify_release,
    .set_flags = inotify_set_flags,
    .show_fdinfo = inotify_show_fdinfo,
};

int inotify_create(struct ctx *c, int flags, struct file **ret)
{
	struct inotify *in = NULL;
	int err = -EMFILE;

	if (flags & ~(IN_NONBLOCK | IN_CLOEXEC))
		return -EINVAL;
	if (__atomic_add_fetch((unsigned *)&instances, 1, __ATOMIC_RELAXED) <= MAX_INSTANCES) {
		in = slab_alloc(&inotify_slab);
		err = -ENOMEM;
	}
	if (!in) {
		__atomic_fetch_sub((unsigned *)&instances, 1, __ATOMIC_RELAXED);
		return err;
	}
	wait_queue_init(&in->wq);
	list_init(&in->events);
	list_init(&in->watches);
	list_init(&in->async);
	err = anon_file_create(c, "inotify", 0, &inotify_ops, in, O_RDONLY | (flags & O_NONBLOCK), ret);
	if (err)
		instance_free(in);
	return err;
}

bool inotify_is(const struct file *f)
{
	return f->ops == &inotify_ops;
}

/* With the lock: a number that is not in use; they go up, and round after 2^31. */
static int new_wd(struct inotify *in)
{
	struct inode_watch *w;
	int wd = in->last_wd;

again:
	wd = wd == INT32_MAX ? 1 : wd + 1;
	if (wd <= in->last_wd)
		list_for_each(w, &in->watches, link)
			if (w->wd == wd)
				goto again;
	in->last_wd = wd;
	return wd;
}

static int watch_create(struct inotify *in, struct inode *i, uint32_t mask)
{
	struct inode_watch *w;

	if (fsnotify_watch_count >= MAX_WATCHES)
		return -ENOSPC;
	w = slab_alloc(&watch_slab);
	if (!w)
		return -ENOMEM;
	*w = (struct inode_watch){.next = i->watches, .in = in, .inode = inode_get(i), .wd = new_wd(in), .mask = mask};
	list_append(&in->watches, &w->link);
	__atomic_fetch_add((uint32_t *)&fsnotify_watch_count, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&i->watches, w, __ATOMIC_RELEASE);
	return w->wd;
}

static int watch_change(struct inode_watch *w, uint32_t mask, uint32_t flags)
{
	if (flags & IN_MASK_CREATE)
		return -EEXIST;
	w->mask = flags & IN_MASK_ADD ? w->mask | mask : mask;
	return w->wd;
}

int inotify_add(struct file *f, struct inode *i, uint32_t flags)
{
	uint32_t mask = flags & (IN_ALL_EVENTS | IN_UNMOUNT | IN_EXCL_UNLINK | IN_ONESHOT);
	struct inotify *in = f->priv;
	struct inode_watch *w;
	int wd;

	if (f->ops != &inotify_ops)
		return -EINVAL;
	mutex_lock(&notify_lock, L_NOTIFY);
	for (w = i->watches; w && w->in != in; w = w->next)
		;
	wd = w ? watch_change(w, mask, flags) : watch_create(in, i, mask);
	mutex_unlock(&notify_lock, L_NOTIFY);
	return wd;
}

int inotify_remove(struct file *f, int wd)
{
	struct inotify *in = f->priv;
	struct inode_watch *w;
	struct inode *i = NULL;

	if (f->ops != &inotify_ops)
		return -EINVAL;
	mutex_lock(&notify_lock, L_NOTIFY);
	list_for_each(w, &in->watches, link) {
		if (w->wd != wd)
			continue;
		i = watch_drop(w);
		break;
	}
	mutex_unlock(&notify_lock, L_NOTIFY);
	inode_put(i);
	return i ? 0 : -EINVAL;
}
