/*
 * Shared anonymous memory. Each mapping gets a nameless host file of its own behind a file with an inode of its own: the inode is the identity of
 * futexes in it, and children of fork() keep the file by their copy of the mapping. One file per mapping means that a stub
 * never holds a descriptor of somebody else's memory. Its size is the mapping's and never changes: as on Linux, what mremap() adds behind
 * the end is SIGBUS. The file lies in hostio_memory_dir, whose size is --memory's: touching more is SIGBUS, too.
 */
#include "sentry/shmem.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/hostio.h"
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

static int host_file_new(void)
{
	static uint64_t count;
	char name[32];
	int fd;

	if (hostio_memory_dir < 0)
		return memfd_create("shared", MFD_CLOEXEC);
	snprintf(name, sizeof(name), "shared-%lu", (unsigned long)__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED));
	fd = openat(hostio_memory_dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	if (fd >= 0)
		unlinkat(hostio_memory_dir, name, 0);
	return fd;
}

int shmem_create(struct ctx *c, uint64_t size, struct file **ret)
{
	struct shmem *s = slab_alloc(&shmem_slab);
	int err;

	if (!s)
		return -ENOMEM;
	s->fd = host_file_new();
	if (s->fd < 0) {
		slab_free(&shmem_slab, s);
		return -ENFILE;
	}
	err = ftruncate(s->fd, (off_t)size) ? -ENOMEM : anon_file_create(c, "dev/zero", 0, &shmem_ops, s, O_RDWR, ret);
	if (err)
		shmem_free(s);
	return err;
}
