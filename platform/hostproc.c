/*
 * Host processes' memory and CPU time: see hostproc.h. The files are read afresh each time: one open descriptor each would cost more.
 *
 * smaps is as long as a guest makes it. It is read in pieces and understood line by line: a line of a mapping begins with its range in lower-case
 * digits, those that follow with a name and a colon, and what is not known is passed over. A file's name is the guest's choice, but no
 * newline stands in it as such. Only mappings in ascending order are believed, so that reading ends.
 */
#include "platform/hostproc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sentry/base/slab.h"

/* Clocks of a whole other process: the encoding of clock_getcpuclockid(3). */
#define CPU_CLOCK(pid, which) ((clockid_t)(~(uint32_t)(pid) << 3 | (which)))
#define CPU_CLOCK_PROF 0u /* user and system */
#define CPU_CLOCK_VIRT 1u /* user */

static int proc_dir = -1;

void hostproc_init(int proc_fd)
{
	proc_dir = proc_fd;
}

bool hostproc_available(void)
{
	return proc_dir >= 0;
}

static int open_file(const char *path)
{
	int fd;

	if (proc_dir < 0)
		return -EOPNOTSUPP;
	fd = openat(proc_dir, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -EOPNOTSUPP;
	return fd;
}

/* A small file as a string. */
static int read_text(const char *path, char *buf, size_t size)
{
	int fd = open_file(path);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	buf[n] = 0;
	return 0;
}

int hostproc_rss(pid_t pid, uint64_t *ret_bytes, uint64_t *ret_anon)
{
	char path[32], text[128];
	unsigned long total, resident, file;
	int err;

	snprintf(path, sizeof(path), "%d/statm", pid);
	if ((err = read_text(path, text, sizeof(text))))
		return err;
	if (sscanf(text, "%lu %lu %lu", &total, &resident, &file) != 3)
		return -EOPNOTSUPP;
	*ret_bytes = (uint64_t)resident * PAGE_SIZE;
	*ret_anon = (uint64_t)(resident - MIN(file, resident)) * PAGE_SIZE;
	return 0;
}

/* ---- smaps ---- */

#define SMAPS_BUFFER 16384

const char *const hostproc_size_names[HOST_SIZES] = {
    [HOST_RSS] = "Rss",
    [HOST_PSS] = "Pss",
    [HOST_PSS_DIRTY] = "Pss_Dirty",
    [HOST_SHARED_CLEAN] = "Shared_Clean",
    [HOST_SHARED_DIRTY] = "Shared_Dirty",
    [HOST_PRIVATE_CLEAN] = "Private_Clean",
    [HOST_PRIVATE_DIRTY] = "Private_Dirty",
    [HOST_REFERENCED] = "Referenced",
    [HOST_ANONYMOUS] = "Anonymous",
    [HOST_KSM] = "KSM",
    [HOST_LAZYFREE] = "LazyFree",
    [HOST_ANON_HUGE] = "AnonHugePages",
    [HOST_SHMEM_HUGE] = "ShmemPmdMapped",
    [HOST_FILE_HUGE] = "FilePmdMapped",
    [HOST_SHARED_HUGETLB] = "Shared_Hugetlb",
    [HOST_PRIVATE_HUGETLB] = "Private_Hugetlb",
    [HOST_SWAP] = "Swap",
    [HOST_SWAP_PSS] = "SwapPss",
    [HOST_LOCKED] = "Locked",
};

struct smaps_reader {
	bool (*fn)(const struct host_map *m, void *arg);
	void *arg;
	struct host_map map; /* the one whose lines are being read; end 0: none */
	bool stop;
};

int hostproc_open(pid_t pid, const char *name)
{
	char path[32];

	snprintf(path, sizeof(path), "%d/%s", pid, name);
	return open_file(path);
}

static void end_map(struct smaps_reader *r)
{
	if (r->map.end && !r->stop)
		r->stop = !r->fn(&r->map, r->arg);
}

static void begin_map(struct smaps_reader *r, const char *line)
{
	struct host_map next = {0};
	char *s;

	next.start = strtoul(line, &s, 16);
	if (*s != '-')
		return;
	next.end = strtoul(s + 1, &s, 16);
	if (*s != ' ' || next.start >= next.end || next.start < r->map.end)
		return;
	end_map(r);
	r->map = next;
}

static void size_line(struct host_map *m, const char *line)
{
	const char *colon = strchr(line, ':');
	size_t len = colon ? (size_t)(colon - line) : 0;

	for (unsigned i = 0; i < HOST_SIZES; i++) {
		if (strncmp(line, hostproc_size_names[i], len) != 0 || hostproc_size_names[i][len])
			continue;
		m->kb[i] = strtoul(colon + 1, NULL, 10);
		m->known |= 1u << i;
		return;
	}
}

static void smaps_line(struct smaps_reader *r, const char *line)
{
	if ((*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f'))
		begin_map(r, line);
	else
		size_line(&r->map, line);
}

/* Of a line that is longer than the buffer, which a file's name can make it, the beginning is enough. */
static int read_lines(int fd, struct smaps_reader *r, char *buf)
{
	bool skip = false;
	size_t len = 0;

	while (!r->stop) {
		ssize_t n = read(fd, buf + len, SMAPS_BUFFER - 1 - len);
		char *line = buf, *end;

		if (n <= 0)
			return n < 0 ? -errno : 0;
		len += (size_t)n;
		for (; (end = memchr(line, '\n', len - (size_t)(line - buf))); line = end + 1) {
			*end = 0;
			if (!skip)
				smaps_line(r, line);
			skip = false;
		}
		len -= (size_t)(line - buf);
		memmove(buf, line, len);
		if (len == SMAPS_BUFFER - 1) {
			buf[len] = 0;
			if (!skip)
				smaps_line(r, buf);
			skip = true;
			len = 0;
		}
	}
	return 0;
}

int hostproc_smaps(int fd, bool (*fn)(const struct host_map *m, void *arg), void *arg)
{
	struct smaps_reader r = {.fn = fn, .arg = arg};
	char *buf = kalloc(SMAPS_BUFFER);
	int err = buf ? read_lines(fd, &r, buf) : -ENOMEM;

	if (!err)
		end_map(&r);
	if (buf)
		kfree(buf, SMAPS_BUFFER);
	return err;
}

/* ---- pagemap ---- */

#define PAGES_MAX (1ul << 18)
#define PM_PRESENT (1ul << 63)
#define PM_SWAP (1ul << 62)
#define PM_FILE (1ul << 61)
#define PM_EXCLUSIVE (1ul << 56)

struct page_counts {
	uint64_t file, own, swapped, unclear;
	bool shared;
};

/* A page that is neither of a file nor only here may be one that a fork shares, or the zero page, which does not count. */
static void count_page(struct page_counts *n, uint64_t entry)
{
	if (entry & PM_SWAP)
		n->swapped++;
	if (!(entry & PM_PRESENT))
		return;
	if (entry & PM_FILE)
		n->file++;
	else if (entry & PM_EXCLUSIVE)
		n->own++;
	else
		n->unclear++;
	n->shared |= !(entry & PM_EXCLUSIVE);
}

static void set_size(struct host_map *m, enum host_size which, uint64_t pages)
{
	m->kb[which] = pages << (PAGE_SHIFT - 10);
	m->known |= 1u << which;
}

int hostproc_pages(int fd, uint64_t start, uint64_t end, struct host_map *ret)
{
	struct page_counts n = {0};
	uint64_t entries[512];

	if (end - start > PAGES_MAX << PAGE_SHIFT)
		return -EOPNOTSUPP;
	for (uint64_t at = start; at < end;) {
		size_t want = MIN((end - at) >> PAGE_SHIFT, ARRAY_SIZE(entries));
		ssize_t got = pread(fd, entries, want * sizeof(entries[0]), (off_t)(at >> PAGE_SHIFT) * 8);

		if (got < 8)
			return got < 0 ? -errno : -ESRCH;
		for (ssize_t i = 0; i < got / 8; i++)
			count_page(&n, entries[i]);
		at += (uint64_t)(got / 8) << PAGE_SHIFT;
	}
	if (n.unclear)
		return -EOPNOTSUPP;
	*ret = (struct host_map){.start = start, .end = end};
	set_size(ret, HOST_RSS, n.file + n.own);
	set_size(ret, HOST_ANONYMOUS, n.own);
	set_size(ret, HOST_SWAP, n.swapped);
	if (!n.shared)
		set_size(ret, HOST_PSS, n.file + n.own);
	return 0;
}

/* ---- time ---- */

int hostproc_thread_time(pid_t pid, pid_t tid, uint64_t *ret_ns)
{
	char path[64], text[128];
	unsigned long ns;
	int err;

	snprintf(path, sizeof(path), "%d/task/%d/schedstat", pid, tid);
	if ((err = read_text(path, text, sizeof(text))))
		return err;
	if (sscanf(text, "%lu", &ns) != 1)
		return -EOPNOTSUPP;
	*ret_ns = ns;
	return 0;
}

static int read_clock(clockid_t id, uint64_t *ret_ns)
{
	struct timespec ts;

	if (clock_gettime(id, &ts))
		return -errno;
	*ret_ns = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	return 0;
}

int hostproc_process_time(pid_t pid, uint64_t *ret_user, uint64_t *ret_sys)
{
	uint64_t user = 0, both = 0;
	int err;

	if ((err = read_clock(CPU_CLOCK(pid, CPU_CLOCK_VIRT), &user)) ||
	    (err = read_clock(CPU_CLOCK(pid, CPU_CLOCK_PROF), &both)))
		return err;
	*ret_user = user;
	*ret_sys = both > user ? both - user : 0;
	return 0;
}
