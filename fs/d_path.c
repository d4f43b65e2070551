/*
 * The other direction: from a path to a string, as d_path() and getcwd(2) do it. The string is built from its end. Names stand still under the
 * names lock; mounts are climbed by references, so that the mount lock and the names lock are never held together.
 */
#include <string.h>

#include "fs/anon.h"
#include "fs/path.h"

static bool prepend(char **at, const char *start, const char *s, size_t len)
{
	if ((size_t)(*at - start) < len)
		return false;
	*at -= len;
	memcpy(*at, s, len);
	return true;
}

/* The names from d up to and excluding `top`; true in *ret_hit if top (or root, if it lies on the way) was met. */
static bool prepend_names(char **at, const char *start, struct dentry *d, const struct dentry *top,
			  const struct dentry *root, bool *ret_root)
{
	bool fits = true;

	*ret_root = false;
	dentry_names_lock();
	for (; fits && d != root && d != top && d->parent != d; d = d->parent)
		fits = prepend(at, start, d->name, d->name_len) && prepend(at, start, "/", 1);
	*ret_root = d == root;
	dentry_names_unlock();
	return fits;
}

static bool is_deleted(const struct path *p)
{
	return p->dentry->parent != p->dentry && !p->dentry->hashed && p->dentry != p->mnt->root;
}

static char *too_long(int *ret_err)
{
	*ret_err = -ENAMETOOLONG;
	return NULL;
}

char *path_to_string(const struct path *p, const struct path *root, char *buf, size_t size, int *ret_err)
{
	PATH_REF cur = *p;
	char *at = buf + size;
	bool met_root = false, fits;

	path_get(&cur);
	fits = prepend(&at, buf, "", 1);
	if (anon_dentry(p->dentry) && p->dentry != p->mnt->root)
		return prepend(&at, buf, p->dentry->name, p->dentry->name_len) ? at : too_long(ret_err);
	if (is_deleted(p))
		fits = prepend(&at, buf, " (deleted)", 10);
	if (p->dentry->alone)
		return prepend(&at, buf, p->dentry->name, p->dentry->name_len) && prepend(&at, buf, "/", 1)
			   ? at
			   : too_long(ret_err);
	char *end = at;
	while (fits && !met_root) {
		const struct dentry *stop = cur.mnt == root->mnt ? root->dentry : NULL;

		fits = prepend_names(&at, buf, cur.dentry, cur.mnt->root, stop, &met_root);
		dentry_put(cur.dentry);
		cur.dentry = dentry_get(cur.mnt->root);
		if (met_root || !mount_up(&cur))
			break;
	}
	if (fits && at == end)
		fits = prepend(&at, buf, "/", 1);
	/* The namespace's root is reachable from nowhere else but itself. */
	if (fits && !met_root && !(cur.mnt->ns && cur.mnt == cur.mnt->ns->root && root->dentry == cur.mnt->root))
		fits = prepend(&at, buf, "(unreachable)", 13);
	return fits ? at : too_long(ret_err);
}
