/*
 * Names of unix sockets: in the file system, abstract, and autobound.
 *
 * Abstract names (a leading NUL byte) are in a hash under L_SOCKNAME, one name space for each socket type and network namespace. A name in the file system is a
 * S_IFSOCK inode whose `bound` field points at the socket; the socket holds a reference to the path, so the inode outlives it. The table and the field hold no reference to
 * the socket: a look-up takes one only if the socket is still alive, under L_SOCKNAME, and closing takes the name away under the same lock.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fs/path.h"
#include "net/unix.h"
#include "sentry/base/slab.h"

#define BUCKETS 256
#define FAMILY_SIZE offsetof(struct sockaddr_un, sun_path)

static struct slab addr_slab = SLAB_INIT(struct unix_addr);
static struct mutex table_lock = MUTEX_INIT;
static struct unix_sock *table[BUCKETS]; /* L_SOCKNAME */
static uint32_t autobind_next;           /* L_SOCKNAME */

struct unix_addr *unix_addr_get(struct unix_addr *a)
{
	if (a)
		ref_get(&a->ref);
	return a;
}

void unix_addr_put(struct unix_addr *a)
{
	if (a && ref_put(&a->ref))
		slab_free(&addr_slab, a);
}

struct unix_addr *unix_addr_create(const void *sa, size_t len)
{
	struct unix_addr *a = slab_alloc(&addr_slab);

	if (!a)
		return NULL;
	ref_init(&a->ref);
	memcpy(&a->sun, sa, len);
	a->len = (uint32_t)len;
	return a;
}

int unix_check_addr(const struct sockaddr *addr, size_t len)
{
	if (len <= FAMILY_SIZE || len > sizeof(struct sockaddr_un) || addr->sa_family != AF_UNIX)
		return -EINVAL;
	return 0;
}

static bool is_abstract(const struct sockaddr *addr)
{
	return ((const struct sockaddr_un *)addr)->sun_path[0] == 0;
}

/* The name in the file system, NUL-terminated. */
static void addr_path(const struct sockaddr *addr, size_t len, char ret[sizeof(struct sockaddr_un)])
{
	memset(ret, 0, sizeof(struct sockaddr_un));
	memcpy(ret, ((const struct sockaddr_un *)addr)->sun_path, len - FAMILY_SIZE);
}

static struct unix_sock **bucket_of(const void *name, size_t len, int type, const struct netns *net)
{
	uint32_t h = (uint32_t)type ^ (uint32_t)((uintptr_t)net >> 6);

	for (size_t i = 0; i < len; i++)
		h = h * 31 + ((const unsigned char *)name)[i];
	return &table[(h ^ h >> 8 ^ h >> 16) % BUCKETS];
}

/* With L_SOCKNAME: borrowed, or NULL. */
static struct unix_sock *table_find(const void *name, size_t len, int type, const struct netns *net)
{
	struct unix_sock *u = *bucket_of(name, len, type, net);

	while (u &&
	       (u->s.type != type || u->s.net != net || u->addr->len != len || memcmp(&u->addr->sun, name, len) != 0))
		u = u->name_next;
	return u;
}

static void table_insert(struct unix_sock *u)
{
	struct unix_sock **at = bucket_of(&u->addr->sun, u->addr->len, u->s.type, u->s.net);

	u->name_next = *at;
	*at = u;
}

static void table_remove(struct unix_sock *u)
{
	struct unix_sock **at = bucket_of(&u->addr->sun, u->addr->len, u->s.type, u->s.net);

	while (*at && *at != u)
		at = &(*at)->name_next;
	if (*at)
		*at = u->name_next;
}

/* Names u; takes over the reference to a on success. */
static int name_abstract(struct unix_sock *u, struct unix_addr *a)
{
	int err = 0;

	mutex_lock(&u->s.lock, L_SOCK);
	mutex_lock(&table_lock, L_SOCKNAME);
	if (u->addr)
		err = -EINVAL;
	else if (table_find(&a->sun, a->len, u->s.type, u->s.net))
		err = -EADDRINUSE;
	if (!err) {
		u->addr = a;
		table_insert(u);
	}
	mutex_unlock(&table_lock, L_SOCKNAME);
	mutex_unlock(&u->s.lock, L_SOCK);
	return err;
}

int unix_autobind(struct unix_sock *u)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int err = 0;

	if (u->addr)
		return 0;
	for (unsigned tries = 0; tries <= 0xfffff; tries++) {
		struct unix_addr *a;

		mutex_lock(&table_lock, L_SOCKNAME);
		snprintf(sun.sun_path + 1, 6, "%05x", autobind_next++ & 0xfffff);
		mutex_unlock(&table_lock, L_SOCKNAME);
		a = unix_addr_create((struct sockaddr *)&sun, FAMILY_SIZE + 6);
		if (!a)
			return -ENOMEM;
		err = name_abstract(u, a);
		if (!err)
			return 0;
		unix_addr_put(a);
		if (err != -EADDRINUSE)
			return 0; /* another thread named it meanwhile */
	}
	return -ENOSPC;
}

static void inode_unbind(struct inode *i)
{
	mutex_lock(&table_lock, L_SOCKNAME);
	__atomic_store_n(&i->bound, NULL, __ATOMIC_RELEASE);
	mutex_unlock(&table_lock, L_SOCKNAME);
}

static int bind_path(struct ctx *c, struct unix_sock *u, const struct sockaddr *addr, size_t len)
{
	char name[sizeof(struct sockaddr_un)];
	struct unix_addr *a;
	PATH_REF p = {NULL, NULL};
	int err;

	addr_path(addr, len, name);
	if (u->addr)
		return -EINVAL;
	a = unix_addr_create(addr, MIN(len, FAMILY_SIZE + strlen(name) + 1));
	if (!a)
		return -ENOMEM;
	a->len = (uint32_t)(FAMILY_SIZE + strlen(name) + 1);
	err = vfs_mksock(c, name, S_IFSOCK | 0777, u, &p);
	if (!err) {
		mutex_lock(&u->s.lock, L_SOCK);
		if (u->addr || u->dead) {
			err = -EINVAL; /* another thread named or closed it meanwhile */
			inode_unbind(p.dentry->inode);
		} else {
			u->addr = a;
			u->path = p;
			p = (struct path){NULL, NULL};
		}
		mutex_unlock(&u->s.lock, L_SOCK);
	}
	if (err)
		unix_addr_put(a);
	return err == -EEXIST ? -EADDRINUSE : err;
}

int unix_bind(struct ctx *c, struct socket *s, const struct sockaddr *addr, size_t len)
{
	struct unix_sock *u = unix_of(s);
	struct unix_addr *a;
	int err;

	if (len == FAMILY_SIZE && addr->sa_family == AF_UNIX)
		return u->addr ? -EINVAL : unix_autobind(u);
	err = unix_check_addr(addr, len);
	if (err)
		return err;
	if (!is_abstract(addr))
		return bind_path(c, u, addr, len);
	a = unix_addr_create(addr, len);
	if (!a)
		return -ENOMEM;
	err = name_abstract(u, a);
	if (err)
		unix_addr_put(a);
	return err;
}

/* The socket behind an inode, if it still lives. */
static struct unix_sock *inode_socket(struct inode *i)
{
	struct unix_sock *u;

	mutex_lock(&table_lock, L_SOCKNAME);
	u = __atomic_load_n(&i->bound, __ATOMIC_ACQUIRE);
	if (u && !ref_get_unless_zero(&u->s.ref))
		u = NULL;
	mutex_unlock(&table_lock, L_SOCKNAME);
	return u;
}

static int find_path(struct ctx *c, const struct sockaddr *addr, size_t len, struct unix_sock **ret)
{
	char name[sizeof(struct sockaddr_un)];
	PATH_REF p = {NULL, NULL};
	struct inode *i;
	int err;

	addr_path(addr, len, name);
	err = path_lookup(c, AT_FDCWD, name, LOOKUP_FOLLOW, &p);
	if (err)
		return err;
	i = p.dentry->inode;
	err = inode_permission(c, i, MAY_WRITE);
	if (err)
		return err;
	if (!S_ISSOCK(i->mode))
		return -ECONNREFUSED;
	*ret = inode_socket(i);
	return *ret ? 0 : -ECONNREFUSED;
}

int unix_find(struct ctx *c, const struct netns *net, const struct sockaddr *addr, size_t len, int type,
	      struct unix_sock **ret)
{
	struct unix_sock *u = NULL;
	int err = 0;

	if (is_abstract(addr)) {
		mutex_lock(&table_lock, L_SOCKNAME);
		u = table_find(addr, len, type, net);
		if (!u || !ref_get_unless_zero(&u->s.ref)) {
			u = NULL;
			err = -ECONNREFUSED;
		}
		mutex_unlock(&table_lock, L_SOCKNAME);
	} else {
		err = find_path(c, addr, len, &u);
	}
	if (!err && u->s.type != type) {
		unix_put(u);
		return -EPROTOTYPE;
	}
	if (!err)
		*ret = u;
	return err;
}

void unix_unname(struct unix_sock *u)
{
	if (u->path.dentry) {
		inode_unbind(u->path.dentry->inode);
		return;
	}
	mutex_lock(&table_lock, L_SOCKNAME);
	if (u->addr)
		table_remove(u);
	mutex_unlock(&table_lock, L_SOCKNAME);
}

int unix_getname(struct socket *s, bool peer, struct sockaddr_storage *ret)
{
	struct unix_sock *u = unix_of(s);
	struct unix_addr *a = NULL;
	UNIX_REF other = NULL;
	int len = FAMILY_SIZE;

	mutex_lock(&s->lock, L_SOCK);
	if (peer)
		other = unix_get(u->peer);
	else
		a = unix_addr_get(u->addr);
	mutex_unlock(&s->lock, L_SOCK);
	if (peer && !other)
		return -ENOTCONN;
	if (other) {
		mutex_lock(&other->s.lock, L_SOCK);
		a = unix_addr_get(other->addr);
		mutex_unlock(&other->s.lock, L_SOCK);
	}
	ret->ss_family = AF_UNIX;
	if (a) {
		len = (int)a->len;
		memcpy(ret, &a->sun, sizeof(a->sun));
	}
	unix_addr_put(a);
	return len;
}
