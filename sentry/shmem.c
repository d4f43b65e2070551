/*
 * Shared anonymous memory. Each mapping gets a host memfd of its own behind a file with an inode of its own: the inode is the identity of
 * futexes in it, and children of fork() keep the file by their copy of the mapping. One memfd per mapping means that a stub
 * never holds a descriptor of somebody else's memory. Its size is the mapping's and never changes: as on Linux, what mremap() adds behind
 * the end is SIGBUS.
 */
#include "sentry/shmem.h"

#include <sys/mman.h>
#include <unistd.h>

#include "sentry/base/slab.h"

struct shmem {
	int fd;
};

static struct slab shmem_slab = SLAB_INIT(struct shmem);

static int shmem_mmap(struct ctx *c __unused, struct file *f, uint64_t off, size_t size __unused, int prot __unused,
		      int flags __unused, struct file_backing *ret)
{
	struct shmem *s = f->priv;

	ret->host_fd = s->fd;
	ret->off = off;
	return 0;
}

static void shmem_free(struct shmem *s)
{
	close(s->fd);
	slab_free(&shmem_slab, s);
}

static void shmem_release(struct file *f)
{
	shmem_free(f->priv);
}

static const struct file_ops shmem_ops = {
    .mmap = shmem_mmap,
    .release = shmem_release,
};

int shmem_create(struct ctx *c, uint64_t size, struct file **ret)
{
	struct shmem *s = slab_alloc(&shmem_slab);
	int err;

	if (!s)
		return -ENOMEM;
	s->fd = memfd_create("shared", MFD_CLOEXEC);
	if (s->fd < 0) {
		slab_free(&shmem_slab, s);
		return -ENFILE;
	}
	err = ftruncate(s->fd, (off_t)size) ? -ENOMEM : anon_file_create(c, "dev/zero", 0, &shmem_ops, s, O_RDWR, ret);
	if (err)
		shmem_free(s);
	return err;
}
