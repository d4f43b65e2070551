/* mmap, munmap, mprotect, mremap, brk, madvise, msync, mincore, mlock; sharing between processes; files. */
#include "guest.h"

#include <setjmp.h>
#include <sys/resource.h>

static sigjmp_buf escape;

static void on_fault(int sig)
{
	siglongjmp(escape, sig);
}

static const char *touch(volatile char *p, bool write)
{
	int sig = sigsetjmp(escape, 1);

	if (sig)
		return signal_name(sig);
	if (write)
		*p = 1;
	else
		(void)*p;
	return "fine";
}

#define TOUCH(p, w) SAY("%s %s: %s", w ? "write" : "read", #p, touch(p, w))

/* Addresses are not printed: ok or the errno. */
#define MAP(...)                                                                                                       \
	({                                                                                                             \
		char *m_ = mmap(__VA_ARGS__);                                                                          \
		if (m_ == MAP_FAILED)                                                                                  \
			SAY("mmap(%s) %s", #__VA_ARGS__, strerrorname_np(errno));                                      \
		else                                                                                                   \
			SAY("mmap(%s) ok", #__VA_ARGS__);                                                              \
		m_;                                                                                                    \
	})

static void map_errors(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
	int ro = MUST(open("f", O_RDONLY));
	int wo = MUST(open("f", O_WRONLY));
	int dir = MUST(open(".", O_RDONLY));
	int p[2];

	MUST(ftruncate(fd, 10000));
	MUST(pipe(p));
	MAP(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MAP(NULL, 4096, PROT_READ, 0, fd, 0);
	MAP(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_SHARED, fd, 0);
	MAP(NULL, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0);
	MAP(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 100);
	MAP(NULL, 4096, PROT_READ, MAP_PRIVATE, 99, 0);
	MAP(NULL, 4096, PROT_READ, MAP_PRIVATE, dir, 0);
	MAP(NULL, 4096, PROT_READ, MAP_PRIVATE, p[0], 0);
	MAP(NULL, 4096, PROT_READ, MAP_PRIVATE, wo, 0);
	MAP(NULL, 4096, PROT_WRITE, MAP_SHARED, ro, 0);
	MAP(NULL, 4096, PROT_WRITE, MAP_PRIVATE, ro, 0);
	MAP((void *)123, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	MAP((void *)(1ul << 62), 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	MAP(NULL, 1ul << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MAP(NULL, -1ul, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MAP(NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE | 0x40000000, fd, 0);
	T(munmap((void *)123, 4096));
	T(munmap(edge(4096), 0));
	T(munmap((void *)0x10000, 4096));
	T(mprotect((void *)123, 4096, PROT_READ));
	T(mprotect((void *)0x10000, 4096, PROT_READ));
	T(mprotect(edge(4096), 4096, 0x100));
	T(mprotect(edge(4096), 0, PROT_READ));
	T(madvise(edge(4096), 4096, 999));
	T(madvise((void *)0x10000, 4096, MADV_DONTNEED));
	T(msync((void *)0x10000, 4096, MS_SYNC));
	T(msync(edge(4096), 4096, MS_SYNC | MS_ASYNC));
	T(mincore((void *)0x10000, 4096, (unsigned char *)edge(1)));
	T(mremap((void *)0x10000, 4096, 8192, 0) == MAP_FAILED);
	SAY("%s", strerrorname_np(errno));
	close(fd);
	close(ro);
	close(wo);
	close(dir);
}

static void protections(void)
{
	char *p = MAP(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(p, 7, 4 * 4096);
	T(mprotect(p + 4096, 4096, PROT_READ));
	T(mprotect(p + 2 * 4096, 4096, PROT_NONE));
	TOUCH(p, 1);
	TOUCH(p + 4096, 0);
	TOUCH(p + 4096, 1);
	TOUCH(p + 2 * 4096, 0);
	TOUCH(p + 3 * 4096, 1);
	T(mprotect(p, 4 * 4096, PROT_READ | PROT_WRITE));
	HOLDS(p[4096] == 7 && p[2 * 4096] == 7);
	T(munmap(p + 4096, 4096));
	TOUCH(p + 4096, 0);
	T(mprotect(p, 4 * 4096, PROT_READ));
	TOUCH(p, 1);
	T(madvise(p + 2 * 4096, 4096, MADV_DONTNEED));
	HOLDS(p[2 * 4096] == 0 && p[3 * 4096] == 1);
	HOLDS(mmap(p + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + 4096);
	TOUCH(p + 4096, 1);
	HOLDS(mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED &&
	      errno == EEXIST);
	T(munmap(p, 4 * 4096));
	T(munmap(p, 4 * 4096));
	p = MAP(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(p, "\xb8\x2a\x00\x00\x00\xc3", 6);
	SAY("code returns %d", ((int (*)(void))p)());
	T(mprotect(p, 4096, PROT_READ | PROT_EXEC));
	SAY("code returns %d", ((int (*)(void))p)());
	TOUCH(p, 1);
}

static void remapping(void)
{
	char *p = MAP(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *q, *hole;

	for (int i = 0; i < 3; i++)
		p[i * 4096] = (char)('a' + i);
	T(mremap(p, 3 * 4096, 2 * 4096, 0) == p);
	TOUCH(p + 2 * 4096, 0);
	hole = mmap(p + 2 * 4096, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	HOLDS(hole == p + 2 * 4096);
	HOLDS(mremap(p, 2 * 4096, 3 * 4096, 0) == MAP_FAILED && errno == ENOMEM);
	q = mremap(p, 2 * 4096, 100 * 4096, MREMAP_MAYMOVE);
	HOLDS(q != MAP_FAILED && q != p && q[0] == 'a' && q[4096] == 'b' && q[99 * 4096] == 0);
	TOUCH(p, 0);
	p = MAP(NULL, 10 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	HOLDS(mremap(q, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, p + 4096) == p + 4096);
	HOLDS(p[4096] == 'a' && p[0] == 0);
	TOUCH(q, 0);
	HOLDS(q[4096] == 'b');
	HOLDS(mremap(q + 4096, 4096, 4096, MREMAP_FIXED, p) == MAP_FAILED && errno == EINVAL);
	HOLDS(mremap(p, 4096, 4096, 0x10) == MAP_FAILED && errno == EINVAL);
	HOLDS(mremap(p, 4096, 0, 0) == MAP_FAILED && errno == EINVAL);
	HOLDS(mremap(p + 1, 4096, 8192, 0) == MAP_FAILED && errno == EINVAL);
}

static void files(void)
{
	char buf[16] = "";
	int fd = MUST(open("map", O_RDWR | O_CREAT, 0600));
	char *shared, *private;

	MUST(ftruncate(fd, 3 * 4096));
	MUST(pwrite(fd, "first", 5, 0));
	MUST(pwrite(fd, "second", 6, 4096));
	shared = MAP(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private = MAP(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	SAY("%s %s", shared, private + 4096);
	memcpy(shared, "FIRST", 5);
	memcpy(private + 4096, "SECOND", 6);
	T(pread(fd, buf, 6, 0));
	SAY("%s", buf);
	T(pread(fd, buf, 6, 4096));
	SAY("%s", buf);
	SAY("%s", private);
	MUST(pwrite(fd, "again", 5, 0));
	SAY("%s", shared);
	T(msync(shared, 3 * 4096, MS_SYNC));
	T(ftruncate(fd, 4096));
	TOUCH(shared + 4096, 0);
	TOUCH(private + 2 * 4096, 0);
	TOUCH(shared, 0);
	T(ftruncate(fd, 3 * 4096));
	TOUCH(shared + 4096, 1);
	close(fd);
	memcpy(shared, "after close", 11);
	SAY("%s", get_file("map"));
	T(munmap(shared, 3 * 4096));
}

static void sharing(void)
{
	int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int *private = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = MUST(memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	char *m;

	CHILD
	{
		*shared = 5;
		*private = 5;
	}
	SAY("shared %d private %d", *shared, *private);
	MUST(ftruncate(fd, 4096));
	m = MAP(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHILD
	{
		memcpy(m, "from the child", 14);
	}
	SAY("%s", m);
	T(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK));
	T(ftruncate(fd, 8192));
	T(ftruncate(fd, 0));
	T(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	T(munmap(m, 4096));
	T(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
	T(write(fd, "x", 1));
	MAP(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MAP(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	T(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	T(fcntl(fd, F_GET_SEALS));
	T(memfd_create("x", 0x100));
	T(memfd_create(BAD, 0));
}

/*
 * A child that has a file mapped; *ret_end is at its end when the child has left its memory. It touches no page: Linux waits for
 * references to pages only for a while.
 */
static pid_t mapped_in_child(int *ret_fd, int *ret_end, void (*then)(void))
{
	int end[2];
	pid_t pid;

	*ret_fd = MUST(memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	MUST(ftruncate(*ret_fd, 1 << 20));
	MUST(pipe2(end, O_CLOEXEC));
	pid = MUST(fork());
	if (pid == 0) {
		mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
		then();
	}
	close(end[1]);
	*ret_end = end[0];
	return pid;
}

static void leave(void)
{
	_exit(0);
}

static void be_killed(void)
{
	raise(SIGKILL);
}

static void exec_true(void)
{
	execl("/bin/true", "true", NULL);
	_exit(1);
}

/* Nothing of a process is mapped any more when it can be waited for, or when another program runs in it. */
static void seals_after(const char *what, void (*end)(void))
{
	int fd, closed, sealed = 0;
	pid_t pid;
	char c;

	for (int i = 0; i < 100; i++) {
		pid = mapped_in_child(&fd, &closed, end);
		if (end == exec_true)
			read(closed, &c, 1);
		else
			MUST(waitpid(pid, NULL, 0));
		sealed += fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0;
		if (end == exec_true)
			MUST(waitpid(pid, NULL, 0));
		close(closed);
		close(fd);
	}
	SAY("sealed after %s: %d of 100", what, sealed);
}

static void heap(void)
{
	char *start = sbrk(0), *p;

	T(brk(start + 100000));
	start[99999] = 1;
	HOLDS((char *)sbrk(0) == start + 100000);
	T(brk(start));
	TOUCH(start + 99999, 0);
	HOLDS((char *)syscall(SYS_brk, NULL) == start);
	HOLDS((char *)syscall(SYS_brk, 1ul << 46) == start);
	p = malloc(50 << 20);
	memset(p, 1, 50 << 20);
	SAY("big allocation %d", p[(50 << 20) - 1]);
	free(p);
}

static void limits(void)
{
	CHILD
	{
		struct rlimit rl = {64 << 20, 64 << 20};

		MUST(setrlimit(RLIMIT_AS, &rl));
		MAP(NULL, 100 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		MAP(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
	CHILD
	{
		struct rlimit rl = {0, 0};

		MUST(setrlimit(RLIMIT_DATA, &rl));
		HOLDS(syscall(SYS_brk, (char *)sbrk(0) + (1 << 20)) == (long)sbrk(0));
	}
}

static void residence(void)
{
	char *p = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char v[4] = {9, 9, 9, 9};

	p[0] = p[2 * 4096] = 1;
	T(mincore(p, 4 * 4096, v));
	SAY("%d %d %d %d", v[0], v[1], v[2], v[3]);
	T(mincore(p + 1, 4096, v));
	T(mincore(p, 4096, BAD));
	T(mlock(p, 4096));
	T(munlock(p, 4096));
	T(madvise(p, 4096, MADV_WILLNEED));
	T(madvise(p, 4096, MADV_RANDOM));
	T(madvise(p, 4 * 4096, MADV_DONTFORK));
	CHILD
	{
		TOUCH(p, 0);
	}
	T(madvise(p, 4 * 4096, MADV_DOFORK));
	T(madvise(p, 4 * 4096, MADV_WIPEONFORK));
	CHILD
	{
		SAY("wiped %d", p[0]);
	}
	SAY("kept %d", p[0]);
}

/* A copy-on-write copy of a large area stays independent. */
static void copies(void)
{
	size_t size = 8 << 20;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long sum = 0;

	memset(p, 1, size);
	CHILD
	{
		memset(p, 2, size);
		for (size_t i = 0; i < size; i += 512)
			sum += p[i];
		SAY("child %ld", sum);
	}
	for (size_t i = 0; i < size; i += 512)
		sum += p[i];
	SAY("parent %ld", sum);
}

int main(void)
{
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	map_errors();
	protections();
	remapping();
	files();
	sharing();
	seals_after("exit", leave);
	seals_after("kill", be_killed);
	seals_after("exec", exec_true);
	heap();
	limits();
	residence();
	copies();
	return 0;
}
