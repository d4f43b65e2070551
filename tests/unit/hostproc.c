/* What is read from the host's smaps and pagemap, by texts of every shape. */
#include "platform/hostproc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static struct host_map seen[8];
static unsigned count;

static bool keep(const struct host_map *m, void *arg)
{
	ck_assert_uint_lt(count, ARRAY_SIZE(seen));
	seen[count++] = *m;
	return !arg || count < *(unsigned *)arg;
}

/* A file with these bytes. */
static int holding(const void *data, size_t size)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static int parse(const char *text, unsigned *stop_at)
{
	int fd = holding(text, strlen(text)), err;

	count = 0;
	err = hostproc_smaps(fd, keep, stop_at);
	close(fd);
	return err;
}

START_TEST(mappings)
{
	unsigned one = 1;
	const char *text = "00400000-00402000 r--p 00000000 fe:00 247278                     /usr/bin/head\n"
			   "Size:                  8 kB\nRss:                   4 kB\nSomethingNew:    7 kB\n"
			   "Private_Dirty:         4 kB\nVmFlags: rd mr mw me \n"
			   "7ffc0000a000-7ffc0000b000 rw-p 00000000 00:00 0\nRss:       12345678901 kB\nSwap: 1 kB\n";

	ck_assert_int_eq(parse(text, NULL), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert(seen[0].start == 0x400000 && seen[0].end == 0x402000);
	ck_assert_uint_eq(seen[0].known, 1u << HOST_RSS | 1u << HOST_PRIVATE_DIRTY);
	ck_assert_uint_eq(seen[0].kb[HOST_RSS], 4);
	ck_assert(seen[1].start == 0x7ffc0000a000 && seen[1].end == 0x7ffc0000b000);
	ck_assert_uint_eq(seen[1].known, 1u << HOST_RSS | 1u << HOST_SWAP);
	ck_assert_uint_eq(seen[1].kb[HOST_RSS], 12345678901);
	ck_assert_int_eq(parse(text, &one), 0);
	ck_assert_uint_eq(count, 1);
}
END_TEST

START_TEST(strange_texts)
{
	ck_assert_int_eq(parse("", NULL), 0);
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(parse("Rss: 4 kB\n\n:\nRss\n12\nabc-\nfff-eee r\n", NULL), 0);
	ck_assert_uint_eq(count, 0);
	/* Not in ascending order, and without a last newline. */
	ck_assert_int_eq(
	    parse("2000-3000 r\nRss: 4 kB\n1000-2000 r\nPss: 1 kB\n2800-4000 r\n3000-4000 r\nRss: 8", NULL), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(seen[0].kb[HOST_RSS], 4);
	ck_assert_uint_eq(seen[1].start, 0x3000);
	ck_assert_uint_eq(seen[1].known, 0);
}
END_TEST

START_TEST(long_lines)
{
	static char text[70000];
	size_t n = (size_t)sprintf(text, "1000-2000 r--p 00000000 00:00 0 /");

	/* A name that would look like a line of its own where the buffer ends. */
	while (n < 60000)
		n += (size_t)sprintf(text + n, "Rss: 4 kB 3000-4000 ");
	sprintf(text + n, "\nRss: 16 kB\n5000-6000 r\n");
	ck_assert_int_eq(parse(text, NULL), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(seen[0].end, 0x2000);
	ck_assert_uint_eq(seen[0].kb[HOST_RSS], 16);
	ck_assert_uint_eq(seen[1].start, 0x5000);
}
END_TEST

static int pages(const uint64_t *entries, size_t n, uint64_t start, uint64_t end, struct host_map *m)
{
	int fd = holding(entries, n * sizeof(*entries));
	int err = hostproc_pages(fd, start, end, m);

	close(fd);
	return err;
}

START_TEST(single_pages)
{
	const uint64_t here = 1ul << 63, swapped = 1ul << 62, of_file = 1ul << 61, alone = 1ul << 56;
	struct host_map m;

	ck_assert_int_eq(pages((uint64_t[]){here, here | alone, 0, swapped, here | alone}, 5, 0x1000, 0x5000, &m), 0);
	ck_assert_uint_eq(m.kb[HOST_RSS], 8);
	ck_assert_uint_eq(m.kb[HOST_ANONYMOUS], 8);
	ck_assert_uint_eq(m.kb[HOST_SWAP], 4);
	ck_assert_uint_eq(m.kb[HOST_PSS], 8);
	ck_assert_int_eq(pages((uint64_t[]){here | of_file, here | alone}, 2, 0, 0x2000, &m), 0);
	ck_assert_uint_eq(m.kb[HOST_RSS], 8);
	ck_assert_uint_eq(m.kb[HOST_ANONYMOUS], 4);
	ck_assert_uint_eq(m.known, 1u << HOST_RSS | 1u << HOST_ANONYMOUS | 1u << HOST_SWAP);
	/* The zero page, or one that a fork shares. */
	ck_assert_int_eq(pages((uint64_t[]){here, here | alone}, 2, 0, 0x2000, &m), -EOPNOTSUPP);
	ck_assert_int_eq(pages((uint64_t[]){0, 0}, 2, 0, 0x3000, &m), -ESRCH);
	ck_assert_int_eq(pages((uint64_t[]){0, 0}, 2, 0, 1ul << 40, &m), -EOPNOTSUPP);
	ck_assert_int_lt(hostproc_pages(-1, 0, 0x1000, &m), 0);
}
END_TEST

static const void *own_page;

static bool is_own(const struct host_map *m, void *arg)
{
	if (m->start <= (uint64_t)own_page && (uint64_t)own_page < m->end)
		*(struct host_map *)arg = *m;
	return true;
}

START_TEST(this_process)
{
	struct host_map m = {0}, p;
	int fd;

	ck_assert_int_eq(hostproc_open(getpid(), "smaps"), -EOPNOTSUPP);
	hostproc_init(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	own_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*(volatile char *)own_page = 1;
	fd = hostproc_open(getpid(), "smaps");
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(hostproc_smaps(fd, is_own, &m), 0);
	close(fd);
	ck_assert_uint_ge(m.kb[HOST_RSS], 4);
	fd = hostproc_open(getpid(), "pagemap");
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(hostproc_pages(fd, (uint64_t)own_page, (uint64_t)own_page + 4096, &p), 0);
	close(fd);
	ck_assert_uint_eq(p.kb[HOST_PSS], 4);
	ck_assert_int_eq(hostproc_open(4000000, "smaps"), -ESRCH);
}
END_TEST

UNIT_MAIN(mappings, strange_texts, long_lines, single_pages, this_process)
