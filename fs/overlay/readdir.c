/*
 * overlay: reading directories.
 *
 * A directory that exists in one host layer only, which does not change, is read from there, offsets included. Any other is read as a
 * whole when it is read from its beginning, the upper layer first, and served from that list: its offsets are places in the list and stay good
 * until the next rewind, however the directory changes. Whether an entry is a whiteout is asked when its layer has been read,
 * because a layer may hold its directory's lock while it calls us.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/overlay/ovl.h"
#include "fs/vfs.h"
#include "sentry/base/slab.h"

struct ovl_dirent {
	uint64_t ino;
	uint32_t hash;
	uint8_t type;
	bool hidden; /* a whiteout: only there to hide lower ones */
	uint16_t len;
	char *name;
};

static struct slab file_slab = {.name = "struct ovl_dir", .size = sizeof(struct ovl_file), .lock = MUTEX_INIT};

int ovl_dir_open(struct ctx *c, struct inode *i, struct file *f)
{
	struct ovl_node *n = ovl_node(i);
	struct ovl_file *of = slab_alloc(&file_slab);
	struct inode *upper = ovl_upper(i);
	int err;

	if (!of)
		return -ENOMEM;
	of->merged = upper || n->lower_count > 1 || strcmp(n->lowers[0]->super->ops->name, "host") != 0;
	err = of->merged ? 0
			 : ovl_layer_open(c, ovl_super(i->super), ovl_real(i), O_RDONLY | O_DIRECTORY,
					  upper ? &of->upper : &of->lower);
	if (err) {
		slab_free(&file_slab, of);
		return err;
	}
	f->ops = &ovl_dir_file_ops;
	f->priv = of;
	return 0;
}

static void list_free(struct ovl_file *of)
{
	for (size_t i = 0; i < of->list_count; i++)
		kfree(of->list[i].name, of->list[i].len + 1u);
	kfree(of->list, of->list_cap * sizeof(*of->list));
	of->list = NULL;
	of->list_count = of->list_cap = 0;
}

static void ovl_dir_release(struct file *f)
{
	struct ovl_file *of = f->priv;

	list_free(of);
	file_put(of->lower);
	file_put(of->upper);
	slab_free(&file_slab, of);
}

struct ovl_sink {
	struct dir_sink sink;
	struct ctx *c;
	struct inode *dir;    /* the overlay's */
	struct inode *real;   /* the layer's directory being read */
	struct dir_sink *out; /* pass-through: the caller's */
	struct ovl_file *of;  /* merging: where to */
	uint32_t *index;      /* merging: hash of names to list places + 1 */
	size_t index_size;
	int err;
};

/* What an entry of a layer is: hidden, or with the number that stat shows. */
static bool examine(struct ovl_sink *s, const char *name, unsigned type, uint64_t *ino)
{
	struct ovl_super *o = ovl_super(s->dir->super);
	bool upper = s->real->super == o->upper, hidden = false;
	struct inode *i = NULL;

	if (type != DT_CHR && !(upper && type == DT_REG))
		return false;
	if (ovl_layer_lookup(s->c, s->real, name, &i) || !i)
		return false;
	hidden = ovl_is_whiteout(s->c, o, i);
	if (upper && !hidden && !o->upper_is_host && i->ops->getxattr) {
		uint64_t origin[2];

		inode_lock(i);
		if (i->ops->getxattr(s->c, i, "trusted.overlay.origin", origin, sizeof(origin)) == sizeof(origin))
			*ino = origin[0];
		inode_unlock(i);
	}
	inode_put(i);
	return hidden;
}

static bool is_dot(const char *name, size_t len)
{
	return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

/* "." and ".." have the overlay's numbers. */
static uint64_t dot_ino(const struct inode *dir, size_t len)
{
	const struct ovl_node *n = ovl_node(dir);

	return len == 1 || !n->parent ? n->ino : ovl_node(n->parent)->ino;
}

static bool pass_entry(struct dir_sink *sink, const char *name, size_t len, uint64_t ino, unsigned type, off_t next)
{
	struct ovl_sink *s = container_of(sink, struct ovl_sink, sink);

	if (is_dot(name, len))
		ino = dot_ino(s->dir, len);
	else if (examine(s, name, type, &ino))
		return true;
	return s->out->emit(s->out, name, len, ino, type, next);
}

static uint32_t name_hash(const char *name, size_t len)
{
	uint32_t h = 2166136261u;

	while (len--)
		h = (h ^ (uint8_t)*name++) * 16777619u;
	return h;
}

static int index_grow(struct ovl_sink *s)
{
	size_t size = MAX(s->index_size * 4, 64ul);
	uint32_t *n = kalloc(size * sizeof(*n));

	if (!n)
		return -ENOMEM;
	for (size_t i = 0; i < s->of->list_count; i++) {
		size_t at = s->of->list[i].hash % size;

		while (n[at])
			at = (at + 1) % size;
		n[at] = (uint32_t)i + 1;
	}
	kfree(s->index, s->index_size * sizeof(*n));
	s->index = n;
	s->index_size = size;
	return 0;
}

/* The free place for that name, or NULL: it is there already. */
static uint32_t *index_place(struct ovl_sink *s, const char *name, size_t len, uint32_t hash)
{
	size_t at = hash % s->index_size;

	for (; s->index[at]; at = (at + 1) % s->index_size) {
		const struct ovl_dirent *e = &s->of->list[s->index[at] - 1];

		if (e->hash == hash && e->len == len && memcmp(e->name, name, len) == 0)
			return NULL;
	}
	return &s->index[at];
}

static int list_room(struct ovl_file *of)
{
	size_t cap = MAX(of->list_cap * 2, 32ul);
	struct ovl_dirent *n;

	if (of->list_count < of->list_cap)
		return 0;
	n = krealloc(of->list, of->list_cap * sizeof(*n), cap * sizeof(*n));
	if (!n)
		return -ENOMEM;
	of->list = n;
	of->list_cap = cap;
	return 0;
}

static int merge(struct ovl_sink *s, const char *name, size_t len, uint64_t ino, unsigned type)
{
	struct ovl_file *of = s->of;
	uint32_t hash = name_hash(name, len), *place;
	struct ovl_dirent *e;

	if ((of->list_count + 1) * 2 > s->index_size && index_grow(s))
		return -ENOMEM;
	place = index_place(s, name, len, hash);
	if (!place)
		return 0;
	if (list_room(of))
		return -ENOMEM;
	e = &of->list[of->list_count];
	*e = (struct ovl_dirent){.hash = hash, .type = (uint8_t)type, .len = (uint16_t)len, .name = kalloc(len + 1)};
	if (!e->name)
		return -ENOMEM;
	memcpy(e->name, name, len);
	e->ino = ino;
	*place = (uint32_t)++of->list_count;
	return 0;
}

static bool merge_entry(struct dir_sink *sink, const char *name, size_t len, uint64_t ino, unsigned type,
			off_t next __unused)
{
	struct ovl_sink *s = container_of(sink, struct ovl_sink, sink);

	if (!is_dot(name, len))
		s->err = merge(s, name, len, ino, type);
	return !s->err;
}

static int merge_layer(struct ovl_sink *s, struct inode *real)
{
	size_t first = s->of->list_count;
	FILE_REF f = NULL;
	int err = ovl_layer_open(s->c, ovl_super(s->dir->super), real, O_RDONLY | O_DIRECTORY, &f);

	if (err)
		return err;
	s->real = real;
	err = f->ops->iterate(s->c, f, &s->sink, &f->pos);
	for (size_t i = first; i < s->of->list_count; i++) {
		struct ovl_dirent *e = &s->of->list[i];

		e->hidden = examine(s, e->name, e->type, &e->ino);
	}
	return s->err ? s->err : err;
}

/* Everything that dir shows, into of->list. */
static int merge_all(struct ctx *c, struct inode *dir, struct ovl_file *of)
{
	struct ovl_sink s = {.sink.emit = merge_entry, .c = c, .dir = dir, .of = of};
	struct ovl_node *n = ovl_node(dir);
	struct inode *upper = ovl_upper(dir);
	int err = index_grow(&s);

	if (!err && upper)
		err = merge_layer(&s, upper);
	for (size_t i = 0; i < n->lower_count && !err; i++)
		err = merge_layer(&s, n->lowers[i]);
	kfree(s.index, s.index_size * sizeof(*s.index));
	return err;
}

static int iterate_merged(struct ctx *c, struct file *f, struct dir_sink *out, off_t *pos)
{
	struct ovl_file *of = f->priv;
	int err = 0;

	if (*pos == 0 || !of->list) {
		list_free(of);
		err = merge_all(c, f->inode, of);
	}
	if (err || *pos < 0)
		return err;
	for (; *pos < 2; ++*pos)
		if (!out->emit(out, "..", (size_t)*pos + 1, dot_ino(f->inode, (size_t)*pos + 1), DT_DIR, *pos + 1))
			return 0;
	for (; (uint64_t)*pos - 2 < of->list_count; ++*pos) {
		const struct ovl_dirent *e = &of->list[*pos - 2];

		if (!e->hidden && !out->emit(out, e->name, e->len, e->ino, e->type, *pos + 1))
			break;
	}
	return 0;
}

static int ovl_iterate(struct ctx *c, struct file *f, struct dir_sink *out, off_t *pos)
{
	struct ovl_file *of = f->priv;
	struct file *real = of->upper ? of->upper : of->lower;
	struct ovl_sink s = {.sink.emit = pass_entry, .c = c, .dir = f->inode, .out = out};

	/* A lower directory that was copied up since: merged from the next beginning on. */
	if (*pos == 0 && !of->merged && of->lower && ovl_upper(f->inode))
		of->merged = true;
	if (of->merged)
		return iterate_merged(c, f, out, pos);
	s.real = real->inode;
	return real->ops->iterate(c, real, &s.sink, pos);
}

static off_t ovl_dir_llseek(struct ctx *c, struct file *f, off_t off, int whence)
{
	struct ovl_file *of = f->priv;
	struct file *real = of->upper ? of->upper : of->lower;
	off_t r;

	if (of->merged)
		return whence == SEEK_END ? -EINVAL : file_llseek_size(f, off, whence, 0);
	real->pos = f->pos;
	r = real->ops->llseek(c, real, off, whence);
	if (r >= 0)
		f->pos = r;
	return r;
}

static int ovl_dir_fsync(struct ctx *c, struct file *f, bool data_only)
{
	struct file *real = ((struct ovl_file *)f->priv)->upper;

	return real && real->ops->fsync ? real->ops->fsync(c, real, data_only) : 0;
}

const struct file_ops ovl_dir_file_ops = {
    .llseek = ovl_dir_llseek,
    .iterate = ovl_iterate,
    .fsync = ovl_dir_fsync,
    .release = ovl_dir_release,
};

int ovl_dir_is_empty(struct ctx *c, struct inode *dir)
{
	struct ovl_file of = {.merged = true};
	int err = merge_all(c, dir, &of);

	for (size_t i = 0; i < of.list_count && !err; i++)
		if (!of.list[i].hidden)
			err = -ENOTEMPTY;
	list_free(&of);
	return err;
}

int ovl_clear_whiteouts(struct ctx *c, struct inode *dir)
{
	struct ovl_file of = {.merged = true};
	struct inode *upper = ovl_upper(dir);
	struct ovl_sink s = {.sink.emit = merge_entry, .c = c, .dir = dir, .of = &of};
	int err = index_grow(&s);

	if (!err)
		err = merge_layer(&s, upper);
	for (size_t i = 0; i < of.list_count && !err; i++)
		err = ovl_layer_remove(c, upper, of.list[i].name);
	kfree(s.index, s.index_size * sizeof(*s.index));
	list_free(&of);
	return err;
}
