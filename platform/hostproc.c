/* Host processes' memory and CPU time: see hostproc.h. The files are read afresh each time: one open descriptor each would cost more. */
#include "platform/hostproc.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

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

/* A small file as a string. */
static int read_text(const char *path, char *buf, size_t size)
{
	ssize_t n;
	int fd;

	if (proc_dir < 0)
		return -EOPNOTSUPP;
	fd = openat(proc_dir, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -EOPNOTSUPP;
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
