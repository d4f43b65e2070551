/*
 * tmpfs file data.
 *
 * A small file is a buffer in kernel memory. When it grows over INLINE_MAX, is mapped, or gets a hole punched, it moves to a host file of its
 * own and stays there: one per file, so that a stub that maps it never holds a descriptor of another file's pages. It lies in hostio_memory_dir
 * under a number, so that it can be opened read-only for a guest that may only read it; without that directory, and for files with seals,
 * it is a memfd. Its size is always the inode's size.
 *
 * Locking: everything under the inode's lock, but for reads of a memfd, which the host serialises as it does for any tmpfs file.
 *
 * Space: a dense file (every byte below its end was written) is charged by its size; once it has holes the host's count of its blocks is
 * taken, which costs a host call a write. Pages that a guest dirties through a mapping of a hole are seen at the next write; until then the size of
 * hostio_memory_dir bounds them, and a memfd that was mapped once is charged by its size, holes included.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "fs/hostio.h"
#include "fs/tmp/tmp.h"
#include "fs/vfs.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define INLINE_MAX (64ul << 10)
#define INLINE_FIRST 64ul
#define FEW 1024 /* bytes that a read moves by way of the stack */
#define SIZE_MAX_FILE ((uint64_t)INT64_MAX & PAGE_MASK)

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

static struct tmp_data *data_of(struct inode *i)
{
	return &tmp_node(i)->data;
}

void tmp_data_init(struct tmp_data *d)
{
	d->fd = d->fd_ro = -1;
	d->seals = F_SEAL_SEAL;
}

static void name_of(uint64_t n, char name[24])
{
	snprintf(name, 24, "%lu", (unsigned long)n);
}

static void forget_name(struct tmp_data *d)
{
	char name[24];

	if (!d->host_name)
		return;
	name_of(d->host_name, name);
	unlinkat(hostio_memory_dir, name, 0);
	d->host_name = 0;
}

void tmp_data_free(struct inode *i)
{
	struct tmp_data *d = data_of(i);

	kfree(d->mem, d->mem_cap);
	if (d->fd >= 0)
		close(d->fd);
	if (d->fd_ro >= 0)
		close(d->fd_ro);
	forget_name(d);
	tmp_charge(i->super, -(int64_t)d->pages);
}

static uint64_t pages_for(uint64_t size)
{
	return (size + PAGE_SIZE - 1) / PAGE_SIZE;
}

/* The file is charged for `pages` from now on. */
static int charge_to(struct inode *i, uint64_t pages)
{
	struct tmp_data *d = data_of(i);
	int err = pages == d->pages ? 0 : tmp_charge(i->super, (int64_t)(pages - d->pages));

	if (!err)
		d->pages = pages;
	return err;
}

static uint64_t host_pages(const struct tmp_data *d)
{
	struct stat st;

	return fstat(d->fd, &st) == 0 ? (uint64_t)st.st_blocks / 8 : d->pages;
}

/* What a sparse file of that size is charged. */
static uint64_t sparse_pages(const struct tmp_data *d, uint64_t size)
{
	uint64_t pages = host_pages(d);

	return d->mapped ? MAX(pages, pages_for(size)) : pages;
}

uint64_t tmp_data_blocks(struct inode *i)
{
	const struct tmp_data *d = data_of(i);

	return (d->fd >= 0 ? host_pages(d) : pages_for(i->size)) * 8;
}

static int host_errno(void)
{
	/* A full host tmpfs or memory limit is a full file system for the guest. */
	return errno == ENOMEM || errno == EMFILE || errno == ENFILE ? -ENOSPC : -errno;
}

static int memfd_new(void)
{
	int fd = memfd_create("tmpfs", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	return fd < 0 && errno == EINVAL ? memfd_create("tmpfs", MFD_CLOEXEC | MFD_ALLOW_SEALING) : fd;
}

/* A file in the private directory, or a memfd: the descriptor. */
static int host_file_new(struct tmp_data *d)
{
	static uint64_t count;
	uint64_t n = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
	char name[24];
	int fd;

	d->memfd = hostio_memory_dir < 0 || d->seals != F_SEAL_SEAL;
	if (d->memfd)
		return memfd_new();
	name_of(n, name);
	fd = openat(hostio_memory_dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	if (fd >= 0)
		d->host_name = n;
	return fd;
}

static int fill_host_file(int fd, const char *mem, uint64_t size)
{
	uint64_t done = 0;

	if (ftruncate(fd, (off_t)size))
		return host_errno();
	while (done < size) {
		ssize_t n = pwrite(fd, mem + done, size - done, (off_t)done);

		if (n <= 0)
			return host_errno();
		done += (uint64_t)n;
	}
	return 0;
}

/* Moves the file to a memfd, if it is not in one. */
static int to_host_file(struct inode *i)
{
	struct tmp_data *d = data_of(i);
	int fd, err;

	if (d->fd >= 0)
		return 0;
	fd = host_file_new(d);
	if (fd < 0)
		return host_errno();
	err = fill_host_file(fd, d->mem, d->mem ? i->size : 0);
	if (!err && !d->mem && i->size && ftruncate(fd, (off_t)i->size))
		err = host_errno();
	if (err) {
		close(fd);
		forget_name(d);
		return err;
	}
	kfree(d->mem, d->mem_cap);
	d->mem = NULL;
	d->mem_cap = 0;
	d->fd = fd;
	return 0;
}

/* Room for `size` bytes of inline data. */
static int inline_room(struct tmp_data *d, uint64_t size)
{
	size_t cap = MAX(d->mem_cap, INLINE_FIRST);
	char *mem;

	if (size <= d->mem_cap)
		return 0;
	while (cap < size)
		cap *= 2;
	mem = kalloc(cap);
	if (!mem)
		return -ENOSPC;
	if (d->mem) {
		memcpy(mem, d->mem, d->mem_cap);
		kfree(d->mem, d->mem_cap);
	}
	d->mem = mem;
	d->mem_cap = cap;
	return 0;
}

static int resize_inline(struct inode *i, uint64_t size)
{
	struct tmp_data *d = data_of(i);
	int err = charge_to(i, pages_for(size));

	if (!err)
		err = inline_room(d, size);
	if (err)
		return err;
	if (size < i->size)
		memset(d->mem + size, 0, i->size - size);
	return 0;
}

int tmp_data_resize(struct inode *i, uint64_t size)
{
	struct tmp_data *d = data_of(i);
	int err;

	if (size > SIZE_MAX_FILE)
		return -EFBIG;
	if ((size < i->size && (d->seals & F_SEAL_SHRINK)) || (size > i->size && (d->seals & F_SEAL_GROW)))
		return -EPERM;
	if (d->fd < 0 && size <= INLINE_MAX) {
		err = resize_inline(i, size);
	} else {
		err = to_host_file(i);
		if (!err && d->mapped && size > i->size)
			err = charge_to(i, MAX(d->pages, pages_for(size)));
		if (!err && ftruncate(d->fd, (off_t)size))
			err = host_errno();
		if (!err && size > i->size)
			d->sparse = true;
		if (!err)
			err = charge_to(i, d->sparse ? sparse_pages(d, size) : pages_for(size));
	}
	if (!err)
		i->size = size;
	return err;
}

/* How much there is behind pos. */
static size_t rest_of(const struct inode *i, off_t pos)
{
	uint64_t size = __atomic_load_n(&i->size, __ATOMIC_RELAXED);

	return (uint64_t)pos < size ? size - (uint64_t)pos : 0;
}

/* A copy of `room` bytes or of what there is, if it lies here: how many. Else the descriptor that it is to be read by. */
static size_t peek_inline(struct inode *i, char *buf, size_t room, off_t pos, int *ret_fd)
{
	const struct tmp_data *d = data_of(i);
	size_t n = 0;

	inode_lock(i);
	*ret_fd = d->fd;
	if (d->fd < 0)
		n = MIN(room, rest_of(i, pos));
	if (n)
		memcpy(buf, d->mem + pos, n);
	inode_unlock(i);
	return n;
}

/* What lies inline goes through a buffer: a guest can make a copy to it last, and nobody else shall wait for that. */
static ssize_t tmp_read(struct ctx *c __unused, struct file *f, struct iobuf *b, off_t *pos)
{
	size_t room = MIN(MIN(iobuf_left(b), rest_of(f->inode, MAX(*pos, 0))), INLINE_MAX);
	char few[FEW], *buf = few;
	ssize_t n;
	int fd;

	if (*pos < 0)
		return -EINVAL;
	if (room > sizeof(few) && !(buf = kalloc(room)))
		return -ENOMEM;
	n = (ssize_t)peek_inline(f->inode, buf, room, *pos, &fd);
	n = fd < 0 ? iobuf_put(b, buf, (size_t)n) : hostio_read(fd, b, pos);
	if (fd < 0)
		*pos += MAX(n, 0);
	if (buf != few)
		kfree(buf, room);
	file_accessed(f);
	return n;
}

/* The space that a write of [pos, pos+size) may take, before it is done. */
static int charge_write(struct inode *i, uint64_t pos, uint64_t size)
{
	struct tmp_data *d = data_of(i);
	uint64_t end = pos + size;

	if (d->mapped)
		return charge_to(i, MAX(d->pages, pages_for(MAX(end, i->size))));
	if (d->sparse)
		return charge_to(i, MIN(d->pages + pages_for(size) + 1, MAX(pages_for(MAX(end, i->size)), d->pages)));
	if (pos > i->size + PAGE_SIZE && end > INLINE_MAX)
		d->sparse = true;
	return end > i->size ? charge_to(i, d->sparse ? d->pages + pages_for(size) + 1 : pages_for(end)) : 0;
}

static ssize_t write_inline(struct inode *i, struct iobuf *b, off_t *pos)
{
	struct tmp_data *d = data_of(i);
	uint64_t end = (uint64_t)*pos + iobuf_left(b);
	int err = inline_room(d, end);
	ssize_t n;

	if (err)
		return err;
	n = iobuf_get(b, d->mem + *pos, iobuf_left(b));
	if (n <= 0)
		return n;
	/* A fault in the middle may have left bytes behind what counts. */
	if ((uint64_t)(*pos + n) < end && end > i->size)
		memset(d->mem + MAX((uint64_t)(*pos + n), i->size), 0, end - MAX((uint64_t)(*pos + n), i->size));
	*pos += n;
	return n;
}

static ssize_t write_data(struct inode *i, struct iobuf *b, off_t *pos)
{
	struct tmp_data *d = data_of(i);
	ssize_t n;
	int err = charge_write(i, (uint64_t)*pos, iobuf_left(b));

	if (!err && d->fd < 0 && (uint64_t)*pos + iobuf_left(b) > INLINE_MAX)
		err = to_host_file(i);
	if (err)
		return err;
	n = d->fd < 0 ? write_inline(i, b, pos) : hostio_write(d->fd, b, pos);
	if (n == -ENOMEM)
		n = -ENOSPC;
	if (n > 0 && (uint64_t)*pos > i->size)
		i->size = (uint64_t)*pos;
	if (d->sparse && d->fd >= 0)
		(void)charge_to(i, sparse_pages(d, i->size));
	return n;
}

static int check_seals(const struct tmp_data *d, const struct inode *i, const struct iobuf *b, off_t pos)
{
	if (d->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	return (d->seals & F_SEAL_GROW) && (uint64_t)pos + iobuf_left(b) > i->size ? -EPERM : 0;
}

static ssize_t write_locked(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	struct inode *i = f->inode;
	ssize_t n;
	int err;

	if (f->flags & O_APPEND)
		*pos = (off_t)i->size;
	err = file_write_limit(c, f, b, *pos);
	if (!err && (uint64_t)*pos >= SIZE_MAX_FILE)
		err = -EFBIG;
	if (!err)
		err = check_seals(data_of(i), i, b, *pos);
	if (!err)
		err = inode_remove_privs(c, i);
	if (err)
		return err;
	iobuf_truncate(b, SIZE_MAX_FILE - (uint64_t)*pos);
	n = write_data(i, b, pos);
	if (n > 0)
		i->mtime = i->ctime = inode_now();
	return n;
}

static ssize_t tmp_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	ssize_t n;

	if (*pos < 0)
		return -EINVAL;
	inode_lock(f->inode);
	n = write_locked(c, f, b, pos);
	inode_unlock(f->inode);
	return n;
}

static off_t seek_hole_data(struct file *f, off_t off, int whence)
{
	struct inode *i = f->inode;
	off_t r = -1;
	int fd;

	inode_lock(i);
	fd = data_of(i)->fd;
	if (fd >= 0 && off >= 0 && (uint64_t)off < i->size) {
		r = lseek(fd, off, whence);
		r = r < 0 ? -errno : r;
	} else {
		r = file_llseek_size(f, off, whence, (off_t)i->size);
	}
	inode_unlock(i);
	if (r >= 0)
		f->pos = r;
	return r;
}

static off_t tmp_llseek(struct ctx *c, struct file *f, off_t off, int whence)
{
	if (whence == SEEK_HOLE || whence == SEEK_DATA)
		return seek_hole_data(f, off, whence);
	return file_llseek_generic(c, f, off, whence);
}

/* A descriptor that cannot write. */
static int read_only_fd(struct tmp_data *d)
{
	char name[24];

	if (d->fd_ro >= 0)
		return d->fd_ro;
	if (d->host_name) {
		name_of(d->host_name, name);
		d->fd_ro = openat(hostio_memory_dir, name, O_RDONLY | O_CLOEXEC);
		forget_name(d);
	} else {
		d->fd_ro = hostio_reopen(d->fd, O_RDONLY);
	}
	return d->fd_ro < 0 ? -EMFILE : d->fd_ro;
}

/* From now on its holes count. */
static int charge_mapped(struct inode *i)
{
	struct tmp_data *d = data_of(i);

	if (!d->memfd || d->mapped)
		return 0;
	if (charge_to(i, MAX(d->pages, pages_for(i->size))))
		return -ENOMEM;
	d->sparse = d->mapped = true;
	return 0;
}

static int tmp_mmap(struct ctx *c __unused, struct file *f, uint64_t off, size_t size __unused, int prot, int flags,
		    struct file_backing *ret)
{
	bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
	bool writer = shared && (f->flags & O_ACCMODE) == O_RDWR;
	struct tmp_data *d = data_of(f->inode);
	int fd, err;

	inode_lock(f->inode);
	err = to_host_file(f->inode);
	if (!err && shared && (d->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))) {
		if (prot & PROT_WRITE)
			err = -EPERM;
		writer = false;
	}
	if (!err)
		err = charge_mapped(f->inode);
	fd = err ? err : writer ? d->fd : read_only_fd(d);
	if (fd >= 0 && writer)
		d->sparse = true;
	inode_unlock(f->inode);
	if (fd < 0)
		return fd;
	*ret = (struct file_backing){fd, off};
	file_accessed(f);
	return 0;
}

static int fallocate_locked(struct inode *i, int mode, off_t off, off_t size)
{
	struct tmp_data *d = data_of(i);
	uint64_t end = (uint64_t)off + (uint64_t)size;
	bool grows = !(mode & FALLOC_FL_KEEP_SIZE) && end > i->size;
	int err;

	if (d->seals & (mode & FALLOC_FL_PUNCH_HOLE ? F_SEAL_WRITE : 0))
		return -EPERM;
	if (grows && (d->seals & F_SEAL_GROW))
		return -EPERM;
	err = to_host_file(i);
	d->sparse = true;
	if (!err && !(mode & FALLOC_FL_PUNCH_HOLE))
		err = charge_to(i, d->mapped
				       ? MAX(d->pages, pages_for(end))
				       : MAX(d->pages, MIN(d->pages + pages_for((uint64_t)size) + 1, pages_for(end))));
	if (!err && fallocate(d->fd, mode, off, size))
		err = host_errno();
	if (!err && grows)
		i->size = end;
	(void)charge_to(i, d->fd >= 0 ? sparse_pages(d, i->size) : d->pages);
	if (!err)
		i->mtime = i->ctime = inode_now();
	return err;
}

/* Host tmpfs knows no ZERO_RANGE: a hole, then room for it again. */
static int zero_range(struct inode *i, int mode, off_t off, off_t size)
{
	int err = fallocate_locked(i, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, size);

	return err ? err : fallocate_locked(i, mode & FALLOC_FL_KEEP_SIZE, off, size);
}

static int tmp_fallocate(struct ctx *c __unused, struct file *f, int mode, off_t off, off_t size)
{
	struct inode *i = f->inode;
	int err;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if ((uint64_t)off + (uint64_t)size > SIZE_MAX_FILE)
		return -EFBIG;
	inode_lock(i);
	err = mode & FALLOC_FL_ZERO_RANGE ? zero_range(i, mode, off, size) : fallocate_locked(i, mode, off, size);
	inode_unlock(i);
	return err;
}

static int tmp_fsync(struct ctx *c __unused, struct file *f __unused, bool data_only __unused)
{
	return 0;
}

const struct inode_ops tmp_file_inode_ops = {
    .getattr = tmp_getattr,
    .setattr = tmp_setattr,
    .getxattr = tmp_getxattr,
    .setxattr = tmp_setxattr,
    .removexattr = tmp_removexattr,
    .listxattr = tmp_listxattr,
};

const struct file_ops tmp_file_ops = {
    .read = tmp_read,
    .write = tmp_write,
    .llseek = tmp_llseek,
    .mmap = tmp_mmap,
    .fsync = tmp_fsync,
    .fallocate = tmp_fallocate,
};

static pthread_once_t shm_once = PTHREAD_ONCE_INIT;
static struct mnt_ns *shm_ns;
static uint64_t shm_max_bytes;

void tmpfs_limit_nameless(uint64_t max_bytes)
{
	shm_max_bytes = max_bytes;
}

static void shm_init(void)
{
	struct tmpfs_options o = {.mode = 01777, .max_bytes = shm_max_bytes};
	struct super *s = tmpfs_create(&o);

	if (!s)
		return;
	shm_ns = mnt_ns_create(s, 0, "tmpfs");
	super_put(s);
}

int tmpfs_file_create(struct ctx *c, const char *name, uint64_t size, int flags, unsigned seals, struct file **ret)
{
	PATH_REF p = {NULL, NULL};
	struct inode *i;
	int err;

	pthread_once(&shm_once, shm_init);
	if (!shm_ns)
		return -ENOMEM;
	i = tmp_inode_create(c, shm_ns->root->super, NULL, S_IFREG | 0777, 0, &err);
	if (!i)
		return err;
	i->nlink = 0;
	i->uid = c->cred->fsuid;
	i->gid = c->cred->fsgid;
	data_of(i)->seals = seals;
	err = size ? to_host_file(i) : 0;
	if (!err && size && ftruncate(data_of(i)->fd, (off_t)size))
		err = host_errno();
	if (err) {
		inode_put(i);
		return err;
	}
	data_of(i)->sparse = size != 0;
	i->size = size;
	p.mnt = mount_get(shm_ns->root);
	p.dentry = dentry_create_unnamed(shm_ns->root->root, name, i);
	if (!p.dentry)
		return -ENOMEM;
	p.dentry->alone = true;
	err = file_open_path(c, &p, flags, ret);
	return err;
}

uint64_t tmpfs_file_bytes(struct file *f)
{
	uint64_t blocks;

	inode_lock(f->inode);
	blocks = tmp_data_blocks(f->inode);
	inode_unlock(f->inode);
	return blocks * 512;
}

int tmpfs_get_seals(struct file *f)
{
	return f->ops == &tmp_file_ops ? (int)data_of(f->inode)->seals : -EINVAL;
}

bool tmpfs_may_seal(struct file *f)
{
	return f->ops == &tmp_file_ops && !(__atomic_load_n(&data_of(f->inode)->seals, __ATOMIC_RELAXED) & F_SEAL_SEAL);
}

int tmpfs_add_seals(struct file *f, unsigned seals)
{
	const unsigned all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
	struct tmp_data *d;
	int err = 0;

	if (f->ops != &tmp_file_ops || (seals & ~all))
		return -EINVAL;
	if ((f->flags & O_ACCMODE) == O_RDONLY)
		return -EPERM;
	d = data_of(f->inode);
	inode_lock(f->inode);
	if (d->seals & F_SEAL_SEAL)
		err = -EPERM;
	/* Only the host knows whether somebody has it mapped for writing. Its own seal also holds in every stub. */
	if (!err && (seals & F_SEAL_WRITE) && d->fd >= 0 && fcntl(d->fd, F_ADD_SEALS, F_SEAL_WRITE))
		err = -errno;
	if (!err)
		d->seals |= seals;
	inode_unlock(f->inode);
	return err;
}
