/*
 * Microbenchmarks of the kernel interface, in one static program that runs unmodified natively and in any sandbox.
 *
 *	mb [-m ms] [-t timeout_s] [-d fixture_dir] [-w work_dir] [-x program] [-F] [-l] [name...]
 *	mb -s count -- command...	(outside: starts the command so often, and prints the median time of one in ms)
 *
 * Prints one line each: name value unit, or: name FAIL reason. Each runs in a forked child (unless -F), so that one that hangs
 * or crashes does not take the rest with it. A sample is made longer until it lasts -m milliseconds; with -m 0 it is the first one,
 * that is what a program sees at its start. Fixtures: big64m (64 MiB), small4k (4 KiB), dir10k/ (10,000 files).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static const char *fixdir = "fix";
static const char *workdir = "work";
static char truebin[512] = "/bin/true";
static double target = 0.15; /* seconds a final sample should last */

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static void die(const char *what)
{
	fprintf(stderr, "mb: %s: %s\n", what, strerror(errno));
	_exit(3);
}
#define CK(x)                                                                                                          \
	do {                                                                                                           \
		if ((long)(x) == -1)                                                                                   \
			die(#x);                                                                                       \
	} while (0)

static char *fixp(const char *n)
{
	static char b[4][512];
	static int i;
	char *p = b[i++ & 3];
	snprintf(p, 512, "%s/%s", fixdir, n);
	return p;
}
static char *workp(const char *n)
{
	static char b[4][512];
	static int i;
	char *p = b[i++ & 3];
	snprintf(p, 512, "%s/%s", workdir, n);
	return p;
}

/* Syscalls. */
static void b_empty(long n)
{
	for (long i = 0; i < n; i++)
		__asm__ volatile("" ::: "memory");
}
static void b_cpu(long n)
{
	uint64_t x = 88172645463325252ull;
	for (long i = 0; i < n; i++) {
		for (int k = 0; k < 1000; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
		}
		__asm__ volatile("" ::"r"(x));
	}
}
static void b_getpid(long n)
{
	while (n--)
		syscall(SYS_getpid);
}
static void b_getppid(long n)
{
	while (n--)
		getppid();
}
static void b_clock_vdso(long n)
{
	struct timespec ts;
	while (n--)
		clock_gettime(CLOCK_MONOTONIC, &ts);
}
static void b_clock_sys(long n)
{
	struct timespec ts;
	while (n--)
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
}
/* A call that nobody can answer without the kernel, and that costs it nothing. */
static void b_umask(long n)
{
	while (n--)
		syscall(SYS_umask, 022);
}
static void b_yield(long n)
{
	while (n--)
		sched_yield();
}
static void *getpid_thr(void *a)
{
	b_getpid((long)a);
	return 0;
}
static void b_getpid_mt2(long n)
{
	pthread_t t;
	pthread_create(&t, 0, getpid_thr, (void *)(n / 2));
	b_getpid(n - n / 2);
	pthread_join(t, 0);
}

/* Ping-pong. */
struct pp {
	int r, w;
	long n;
};
static void echo1(int r, int w, long n)
{
	char c;
	while (n--) {
		if (read(r, &c, 1) != 1)
			return;
		if (write(w, &c, 1) != 1)
			return;
	}
}
static void drive1(int r, int w, long n)
{
	char c = 'x';
	while (n--) {
		if (write(w, &c, 1) != 1)
			die("pp write");
		if (read(r, &c, 1) != 1)
			die("pp read");
	}
}
static void *echo_thr(void *a)
{
	struct pp *p = a;
	echo1(p->r, p->w, p->n);
	return 0;
}
static void pp_thread(int r1, int w1, int r2, int w2, long n)
{ /* echo thread reads r1 writes w2; driver writes w1 reads r2 */
	struct pp p = {r1, w2, n};
	pthread_t t;
	if (pthread_create(&t, 0, echo_thr, &p))
		die("pthread_create");
	drive1(r2, w1, n);
	pthread_join(t, 0);
}
static void b_pipe_thr(long n)
{
	int a[2], b[2];
	CK(pipe(a));
	CK(pipe(b));
	pp_thread(a[0], a[1], b[0], b[1], n);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}
static void b_pipe_proc(long n)
{
	int a[2], b[2];
	CK(pipe(a));
	CK(pipe(b));
	pid_t p = fork();
	if (!p) {
		echo1(a[0], b[1], n);
		_exit(0);
	}
	CK(p);
	drive1(b[0], a[1], n);
	waitpid(p, 0, 0);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}
static void b_pipe_self(long n) /* no switch: 1-byte write then read */
{
	int a[2];
	char c = 1;
	CK(pipe(a));
	while (n--) {
		if (write(a[1], &c, 1) != 1 || read(a[0], &c, 1) != 1)
			die("pipe");
	}
	close(a[0]);
	close(a[1]);
}
static void b_usock(long n)
{
	int s[2];
	CK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pp_thread(s[1], s[0], s[0], s[1], n);
	close(s[0]);
	close(s[1]);
}
static _Atomic int fx;
static long futex(_Atomic int *u, int op, int v)
{
	return syscall(SYS_futex, u, op, v, 0, 0, 0);
}
static void *futex_thr(void *a)
{
	for (long n = (long)a; n--;) {
		while (atomic_load(&fx) != 1)
			futex(&fx, FUTEX_WAIT_PRIVATE, 0);
		atomic_store(&fx, 0);
		futex(&fx, FUTEX_WAKE_PRIVATE, 1);
	}
	return 0;
}
static void b_futex_pp(long n)
{
	pthread_t t;
	atomic_store(&fx, 0);
	pthread_create(&t, 0, futex_thr, (void *)n);
	for (long i = 0; i < n; i++) {
		atomic_store(&fx, 1);
		futex(&fx, FUTEX_WAKE_PRIVATE, 1);
		while (atomic_load(&fx) != 0)
			futex(&fx, FUTEX_WAIT_PRIVATE, 1);
	}
	pthread_join(t, 0);
}
struct ep {
	int e1, e2;
	long n;
};
static void ep_wait_read(int ep, int efd)
{
	struct epoll_event ev;
	uint64_t v;
	if (epoll_wait(ep, &ev, 1, -1) != 1)
		die("epoll_wait");
	if (read(efd, &v, 8) != 8)
		die("eventfd read");
}
static int ep_for(int fd)
{
	int ep = epoll_create1(0);
	struct epoll_event ev = {.events = EPOLLIN};
	CK(ep);
	CK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	return ep;
}
static void *ep_thr(void *a)
{
	struct ep *p = a;
	uint64_t one = 1;
	int ep = ep_for(p->e1);
	for (long n = p->n; n--;) {
		ep_wait_read(ep, p->e1);
		if (write(p->e2, &one, 8) != 8)
			die("ev");
	}
	close(ep);
	return 0;
}
static void b_epoll_pp(long n)
{
	struct ep p = {eventfd(0, 0), eventfd(0, 0), n};
	uint64_t one = 1;
	pthread_t t;
	int ep = ep_for(p.e2);
	pthread_create(&t, 0, ep_thr, &p);
	while (n--) {
		if (write(p.e1, &one, 8) != 8)
			die("ev");
		ep_wait_read(ep, p.e2);
	}
	pthread_join(t, 0);
	close(ep);
	close(p.e1);
	close(p.e2);
}

/* Memory. */
static void mmap_n(long n, size_t len)
{
	while (n--) {
		char *p = mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			die("mmap");
		for (size_t i = 0; i < len; i += 4096)
			p[i] = 1;
		munmap(p, len);
	}
}
static void b_mmap4k(long n)
{
	mmap_n(n, 4096);
}
static void b_mmap1m(long n)
{
	mmap_n(n, 1 << 20);
}
/* one op = first touch of one 4 KiB page, THP disabled; 64 MiB per round */
static void b_fault64m(long n)
{
	long pages = 16384;
	while (n > 0) {
		char *p = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			die("mmap");
		madvise(p, pages * 4096, MADV_NOHUGEPAGE);
		for (long i = 0; i < pages; i++)
			p[i * 4096] = 1;
		munmap(p, pages * 4096);
		n -= pages;
	}
}
static void b_mprotect(long n) /* one op = RO + RW flip of one touched page */
{
	char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*p = 1;
	while (n--) {
		mprotect(p, 4096, PROT_READ);
		mprotect(p, 4096, PROT_READ | PROT_WRITE);
		*(volatile char *)p = 1;
	}
	munmap(p, 4096);
}

/* Processes and threads. */
static void fork_wait(long n)
{
	while (n--) {
		pid_t p = fork();
		if (!p)
			_exit(0);
		CK(p);
		waitpid(p, 0, 0);
	}
}
static void b_fork(long n)
{
	fork_wait(n);
}
static char *ballast;
static void b_fork100m(long n)
{
	if (!ballast) {
		ballast = mmap(0, 100 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(ballast, 1, 100 << 20);
	}
	fork_wait(n);
}
static void b_forkexec(long n)
{
	char *av[] = {truebin, 0};
	while (n--) {
		pid_t p = fork();
		int st;
		if (!p) {
			execve(truebin, av, environ);
			_exit(127);
		}
		CK(p);
		waitpid(p, &st, 0);
		if (st) {
			errno = 0;
			die("exec child failed");
		}
	}
}
static void b_spawn(long n)
{
	char *av[] = {truebin, 0};
	pid_t p;
	int st;
	while (n--) {
		if (posix_spawn(&p, truebin, 0, 0, av, environ))
			die("posix_spawn");
		waitpid(p, &st, 0);
		if (st) {
			errno = 0;
			die("spawned child failed");
		}
	}
}
static void *nop_thr(void *a)
{
	return a;
}
static void b_thread(long n)
{
	pthread_t t;
	while (n--) {
		if (pthread_create(&t, 0, nop_thr, 0))
			die("pthread_create");
		pthread_join(t, 0);
	}
}
static volatile sig_atomic_t hits;
static void onsig(int s)
{
	(void)s;
	hits++;
}
static void b_sigself(long n)
{
	signal(SIGUSR1, onsig);
	pid_t me = getpid();
	while (n--)
		kill(me, SIGUSR1);
}
static char *segv_page;
static void onsegv(int s)
{
	(void)s;
	mprotect(segv_page, 4096, PROT_READ | PROT_WRITE);
}
static void b_sigsegv(long n) /* fault -> handler -> mprotect, then re-protect */
{
	segv_page = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	signal(SIGSEGV, onsegv);
	while (n--) {
		*(volatile char *)segv_page = 1;
		mprotect(segv_page, 4096, PROT_READ);
	}
	signal(SIGSEGV, SIG_DFL);
}

/* Files. */
static void b_stat(long n)
{
	struct stat st;
	char *p = fixp("small4k");
	while (n--)
		CK(stat(p, &st));
}
static void b_stat_miss(long n)
{
	struct stat st;
	char *p = fixp("nonesuch");
	while (n--)
		if (stat(p, &st) == 0)
			die("?");
}
static void b_open(long n)
{
	char *p = fixp("small4k");
	while (n--) {
		int fd = open(p, O_RDONLY);
		CK(fd);
		close(fd);
	}
}
static void b_open_read(long n)
{
	char *p = fixp("small4k"), b[4096];
	while (n--) {
		int fd = open(p, O_RDONLY);
		CK(fd);
		if (read(fd, b, 4096) != 4096)
			die("read");
		close(fd);
	}
}
static void rd(long n, size_t sz)
{
	int fd = open(fixp("big64m"), O_RDONLY);
	static char b[1 << 20];
	CK(fd);
	while (n--) {
		ssize_t r = read(fd, b, sz);
		if (r == 0) {
			lseek(fd, 0, SEEK_SET);
			n++;
			continue;
		}
		if (r != (ssize_t)sz)
			die("short read");
	}
	close(fd);
}
static void b_read4k(long n)
{
	rd(n, 4096);
}
static void b_read64k(long n)
{
	rd(n, 65536);
}
static void b_read1m(long n)
{
	rd(n, 1 << 20);
}
static void b_mmap_file(long n) /* one op = fault+touch one page of a 64 MB file mapping */
{
	int fd = open(fixp("big64m"), O_RDONLY);
	volatile char s = 0;
	CK(fd);
	while (n > 0) {
		char *p = mmap(0, 64 << 20, PROT_READ, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			die("mmap file");
		for (long i = 0; i < 16384; i++)
			s += p[i * 4096];
		munmap(p, 64 << 20);
		n -= 16384;
	}
	close(fd);
}
static void b_write4k(long n) /* sequential 4 KiB writes, wrapping at 64 MiB */
{
	int fd = open(workp("wr"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	static char b[4096];
	CK(fd);
	for (long i = 0; i < n; i++)
		if (pwrite(fd, b, 4096, (i & 16383) * 4096) != 4096)
			die("write");
	close(fd);
	unlink(workp("wr"));
}
static void b_write1m(long n)
{
	int fd = open(workp("wr"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	static char b[1 << 20];
	CK(fd);
	for (long i = 0; i < n; i++)
		if (pwrite(fd, b, 1 << 20, (i & 63) << 20) != 1 << 20)
			die("write");
	close(fd);
	unlink(workp("wr"));
}
static void b_create(long n)
{
	char *p = workp("cr");
	while (n--) {
		int fd = open(p, O_RDWR | O_CREAT | O_EXCL, 0644);
		CK(fd);
		close(fd);
		unlink(p);
	}
}
static void b_rename(long n)
{
	char *a = workp("ra"), *b = workp("rb");
	close(open(a, O_RDWR | O_CREAT, 0644));
	while (n--) {
		CK(rename(a, b));
		char *t = a;
		a = b;
		b = t;
	}
	unlink(a);
}
static void b_readdir(long n) /* one op = a full scan of 10,000 entries */
{
	char *p = fixp("dir10k");
	while (n--) {
		DIR *d = opendir(p);
		long k = 0;
		if (!d)
			die("opendir");
		while (readdir(d))
			k++;
		closedir(d);
		if (k != 10002) {
			fprintf(stderr, "mb: readdir saw %ld entries\n", k);
			errno = 0;
			die("readdir");
		}
	}
}
static void b_getcwd(long n)
{
	char b[512];
	while (n--)
		CK(getcwd(b, sizeof(b)) ? 0 : -1);
}
static void b_proc_read(long n)
{
	char b[4096];
	while (n--) {
		int fd = open("/proc/self/stat", O_RDONLY);
		CK(fd);
		if (read(fd, b, sizeof(b)) <= 0)
			die("proc");
		close(fd);
	}
}

/* Network. */
static void tcp_pair(int *a, int *b)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t l = sizeof(sa);
	int one = 1;
	int s = socket(AF_INET, SOCK_STREAM, 0);
	CK(s);
	CK(bind(s, (void *)&sa, sizeof(sa)));
	CK(listen(s, 8));
	CK(getsockname(s, (void *)&sa, &l));
	*a = socket(AF_INET, SOCK_STREAM, 0);
	CK(*a);
	CK(connect(*a, (void *)&sa, sizeof(sa)));
	*b = accept(s, 0, 0);
	CK(*b);
	setsockopt(*a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(*b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(s);
}
static void b_tcp_pp(long n)
{
	int a, b;
	tcp_pair(&a, &b);
	pp_thread(b, a, a, b, n);
	close(a);
	close(b);
}
struct sink {
	int fd;
	long bytes;
};
static void *sink_thr(void *a)
{
	struct sink *s = a;
	char *b = malloc(65536);
	ssize_t r;
	while (s->bytes > 0 && (r = read(s->fd, b, 65536)) > 0)
		s->bytes -= r;
	free(b);
	return 0;
}
static void bulk(int w, int r, long n)
{
	static char b[65536];
	struct sink s = {r, n * 65536};
	pthread_t t;
	pthread_create(&t, 0, sink_thr, &s);
	while (n--)
		for (size_t o = 0; o < sizeof(b);) {
			ssize_t k = write(w, b + o, sizeof(b) - o);
			if (k <= 0)
				die("bulk write");
			o += k;
		}
	pthread_join(t, 0);
}
static void b_tcp_bulk(long n)
{
	int a, b;
	tcp_pair(&a, &b);
	bulk(a, b, n);
	close(a);
	close(b);
}
static void b_pipe_bulk(long n)
{
	int p[2];
	CK(pipe(p));
	bulk(p[1], p[0], n);
	close(p[0]);
	close(p[1]);
}
static void b_tcp_connect(long n)
{
	while (n--) {
		int a, b;
		tcp_pair(&a, &b);
		close(a);
		close(b);
	}
}
static void b_udp_pp(long n)
{
	struct sockaddr_in sa[2];
	int s[2];
	socklen_t l = sizeof(sa[0]);
	for (int i = 0; i < 2; i++) {
		memset(&sa[i], 0, sizeof(sa[i]));
		sa[i].sin_family = AF_INET;
		sa[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		s[i] = socket(AF_INET, SOCK_DGRAM, 0);
		CK(s[i]);
		CK(bind(s[i], (void *)&sa[i], sizeof(sa[i])));
		CK(getsockname(s[i], (void *)&sa[i], &l));
	}
	CK(connect(s[0], (void *)&sa[1], sizeof(sa[1])));
	CK(connect(s[1], (void *)&sa[0], sizeof(sa[0])));
	pp_thread(s[1], s[0], s[0], s[1], n);
	close(s[0]);
	close(s[1]);
}

/* Table. */
/* kind: 'n' ns/op, 'u' us/op, 'm' ms/op, 'g' GB/s with opbytes */
static const struct b {
	const char *name;
	void (*fn)(long);
	char kind;
	long bytes, min;
} tab[] = {
    {"cpu_1000xorshift", b_cpu, 'n', 0, 1000},
    {"getpid", b_getpid, 'n', 0, 1000},
    {"getpid_2thr", b_getpid_mt2, 'n', 0, 1000},
    {"getppid", b_getppid, 'n', 0, 1000},
    {"clock_vdso", b_clock_vdso, 'n', 0, 1000},
    {"clock_syscall", b_clock_sys, 'n', 0, 1000},
    {"umask", b_umask, 'n', 0, 1000},
    {"sched_yield", b_yield, 'n', 0, 1000},
    {"pipe_self_1B", b_pipe_self, 'n', 0, 100},
    {"pipe_pp_threads", b_pipe_thr, 'u', 0, 100},
    {"pipe_pp_procs", b_pipe_proc, 'u', 0, 100},
    {"pipe_bulk_64K", b_pipe_bulk, 'g', 65536, 64},
    {"futex_pp", b_futex_pp, 'u', 0, 100},
    {"epoll_eventfd_pp", b_epoll_pp, 'u', 0, 100},
    {"unix_socketpair_pp", b_usock, 'u', 0, 100},
    {"tcp_pp_1B", b_tcp_pp, 'u', 0, 100},
    {"tcp_bulk_64K", b_tcp_bulk, 'g', 65536, 64},
    {"tcp_connect_accept", b_tcp_connect, 'u', 0, 10},
    {"udp_pp_1B", b_udp_pp, 'u', 0, 100},
    {"signal_self", b_sigself, 'n', 0, 100},
    {"sigsegv_mprotect", b_sigsegv, 'n', 0, 100},
    {"mmap_touch_munmap_4K", b_mmap4k, 'n', 0, 100},
    {"mmap_touch_munmap_1M", b_mmap1m, 'u', 0, 10},
    {"first_touch_64M_page", b_fault64m, 'n', 0, 16384},
    {"mprotect_flip_touch", b_mprotect, 'n', 0, 100},
    {"fork_exit_wait", b_fork, 'u', 0, 10},
    {"fork_exit_wait_100M", b_fork100m, 'u', 0, 5},
    {"fork_exec_true_wait", b_forkexec, 'u', 0, 5},
    {"posix_spawn_true", b_spawn, 'u', 0, 5},
    {"pthread_create_join", b_thread, 'u', 0, 10},
    {"stat", b_stat, 'n', 0, 100},
    {"stat_enoent", b_stat_miss, 'n', 0, 100},
    {"getcwd", b_getcwd, 'n', 0, 100},
    {"open_close", b_open, 'n', 0, 100},
    {"open_read4K_close", b_open_read, 'n', 0, 100},
    {"proc_self_stat", b_proc_read, 'u', 0, 100},
    {"read_4K", b_read4k, 'g', 4096, 16384},
    {"read_64K", b_read64k, 'g', 65536, 1024},
    {"read_1M", b_read1m, 'g', 1 << 20, 64},
    {"mmap_file_page", b_mmap_file, 'n', 0, 16384},
    {"write_4K", b_write4k, 'g', 4096, 16384},
    {"write_1M", b_write1m, 'g', 1 << 20, 64},
    {"create_unlink", b_create, 'u', 0, 50},
    {"rename", b_rename, 'u', 0, 50},
    {"readdir_10000", b_readdir, 'm', 0, 1},
    {"empty", b_empty, 'n', 0, 1000000},
};
#define NTAB (int)(sizeof(tab) / sizeof(tab[0]))

static void run1(const struct b *b)
{
	long n = b->min;
	double dt;
	for (;;) {
		double t0 = now();
		b->fn(n);
		dt = now() - t0;
		if (dt >= target)
			break;
		double f = dt > 0 ? target * 1.25 / dt : 100;
		if (f > 20)
			f = 20;
		if (f < 1.3)
			f = 1.3;
		n = (long)(n * f) + 1;
	}
	/* fault benches work in whole rounds */
	if (b->fn == b_fault64m || b->fn == b_mmap_file)
		n = (n + 16383) / 16384 * 16384;
	double per = dt / n;
	switch (b->kind) {
	case 'n':
		printf("%s %.2f ns\n", b->name, per * 1e9);
		break;
	case 'u':
		printf("%s %.3f us\n", b->name, per * 1e6);
		break;
	case 'm':
		printf("%s %.4f ms\n", b->name, per * 1e3);
		break;
	case 'g':
		printf("%s %.4f GB/s\n", b->name, b->bytes / per * 1e-9);
		break;
	}
	fflush(stdout);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int start_command(long count, char **argv)
{
	double *t = calloc(count, sizeof(*t));
	pid_t p;
	int st;

	if (!t || !argv[0])
		return 2;
	for (long i = 0; i < count; i++) {
		double t0 = now();

		if (posix_spawnp(&p, argv[0], 0, 0, argv, environ))
			die(argv[0]);
		waitpid(p, &st, 0);
		t[i] = now() - t0;
		if (st)
			return 1;
	}
	qsort(t, count, sizeof(*t), compare);
	printf("start %.4f ms\n", t[count / 2] * 1e3);
	return 0;
}

static void run_forked(const struct b *b, int timeout)
{
	pid_t p = fork();
	int st;

	if (!p) {
		alarm(timeout);
		run1(b);
		_exit(0);
	}
	if (p < 0) {
		printf("%s FAIL fork:%s\n", b->name, strerror(errno));
		return;
	}
	waitpid(p, &st, 0);
	if (WIFSIGNALED(st))
		printf("%s FAIL signal:%d%s\n", b->name, WTERMSIG(st), WTERMSIG(st) == SIGALRM ? "(timeout)" : "");
	else if (WEXITSTATUS(st))
		printf("%s FAIL exit:%d\n", b->name, WEXITSTATUS(st));
	fflush(stdout);
}

static int wanted(const char *name, char **names)
{
	int any = !*names;

	for (; *names; names++)
		any |= !strcmp(*names, name);
	return any;
}

int main(int ac, char **av)
{
	int c, nofork = 0, timeout = 30;

	while ((c = getopt(ac, av, "+m:t:d:w:x:s:Fl")) != -1)
		switch (c) {
		case 'm':
			target = atof(optarg) / 1000;
			break;
		case 't':
			timeout = atoi(optarg);
			break;
		case 'd':
			fixdir = optarg;
			break;
		case 'w':
			workdir = optarg;
			break;
		case 'x':
			snprintf(truebin, sizeof(truebin), "%s", optarg);
			break;
		case 's':
			return start_command(atol(optarg) > 0 ? atol(optarg) : 1,
					     av + optind + (av[optind] && !strcmp(av[optind], "--")));
		case 'F':
			nofork = 1;
			break;
		case 'l':
			for (int i = 0; i < NTAB; i++)
				puts(tab[i].name);
			return 0;
		default:
			return 2;
		}
	mkdir(workdir, 0777);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < NTAB; i++) {
		if (!wanted(tab[i].name, av + optind))
			continue;
		if (nofork)
			run1(&tab[i]);
		else
			run_forked(&tab[i], timeout);
	}
	return 0;
}
