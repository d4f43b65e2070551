/* POSIX record locks, open file description locks, flock, leases; deadlocks and waiting. */
#include "guest.h"

#include <sys/file.h>

static int lock(int fd, int cmd, int type, long start, long len)
{
	struct flock fl = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	return fcntl(fd, cmd, &fl);
}

static void ask(int fd, int cmd, int type, long start, long len)
{
	struct flock fl = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	int r = fcntl(fd, cmd, &fl);

	if (r)
		SAY("ask %d: %s", type, strerrorname_np(errno));
	else
		SAY("ask %d [%ld,%ld): type %d start %ld len %ld owner %s", type, start, len, fl.l_type,
		    (long)fl.l_start, (long)fl.l_len,
		    fl.l_type == F_UNLCK    ? "-"
		    : fl.l_pid == getppid() ? "parent"
		    : fl.l_pid == -1        ? "ofd"
					    : "other");
}

static void records(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0600)), ro;

	T(lock(fd, F_SETLK, F_WRLCK, 10, 10));
	T(lock(fd, F_SETLK, F_RDLCK, 14, 2));
	CHILD
	{
		ask(fd, F_GETLK, F_RDLCK, 0, 100);
		ask(fd, F_GETLK, F_RDLCK, 14, 2);
		ask(fd, F_GETLK, F_WRLCK, 14, 2);
		ask(fd, F_GETLK, F_WRLCK, 20, 0);
		T(lock(fd, F_SETLK, F_WRLCK, 0, 10));
		T(lock(fd, F_SETLK, F_WRLCK, 5, 10));
		T(lock(fd, F_SETLK, F_RDLCK, 14, 2));
		T(lock(fd, F_SETLK, F_RDLCK, 10, 1));
	}
	T(lock(fd, F_SETLK, F_UNLCK, 12, 4));
	CHILD
	{
		ask(fd, F_GETLK, F_WRLCK, 11, 0);
		ask(fd, F_GETLK, F_WRLCK, 12, 4);
		ask(fd, F_GETLK, F_WRLCK, 12, 0);
	}
	T(lock(fd, F_SETLK, 77, 0, 1));
	T(lock(fd, F_SETLK, F_WRLCK, -1, 1));
	T(lock(fd, F_SETLK, F_WRLCK, 5, -3));
	T(lock(fd, F_SETLK, F_WRLCK, LONG_MAX, 2));
	T(lock(99, F_SETLK, F_WRLCK, 0, 1));
	T(fcntl(fd, F_SETLK, BAD));
	ro = MUST(open("f", O_RDONLY));
	T(lock(ro, F_SETLK, F_WRLCK, 0, 1));
	T(lock(ro, F_SETLK, F_RDLCK, 50, 1));
	close(ro);
	/* Closing any descriptor of the file gave up all locks. */
	CHILD
	{
		ask(fd, F_GETLK, F_WRLCK, 0, 0);
	}
	T(lockf(fd, F_LOCK, 10));
	CHILD
	{
		T(lockf(fd, F_TEST, 10));
	}
	T(lockf(fd, F_ULOCK, 0));
	close(fd);
}

static void waiting(void)
{
	int fd = MUST(open("w", O_RDWR | O_CREAT, 0600)), status, p[2];
	pid_t pid;
	char c;

	MUST(pipe(p));
	MUST(lock(fd, F_SETLK, F_WRLCK, 0, 1));
	pid = MUST(fork());
	if (pid == 0) {
		MUST(lock(fd, F_SETLK, F_WRLCK, 1, 1));
		MUST(write(p[1], "r", 1));
		int r = lock(fd, F_SETLKW, F_WRLCK, 0, 1);
		_exit(r == 0 ? 3 : errno == EDEADLK ? 4 : 5);
	}
	MUST(read(p[0], &c, 1));
	sleep_ms(30);
	T(lock(fd, F_SETLKW, F_WRLCK, 1, 1));
	T(lock(fd, F_SETLK, F_UNLCK, 0, 1));
	waitpid(pid, &status, 0);
	say_status("waiter", status);
	T(lock(fd, F_SETLK, F_WRLCK, 1, 1));
	close(fd);
}

static void descriptions(void)
{
	int a = MUST(open("o", O_RDWR | O_CREAT, 0600)), b = MUST(open("o", O_RDWR)), d;

	T(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	T(lock(b, F_OFD_SETLK, F_WRLCK, 5, 10));
	ask(b, F_OFD_GETLK, F_WRLCK, 0, 0);
	ask(b, F_GETLK, F_WRLCK, 0, 0);
	d = dup(a);
	close(a);
	T(lock(b, F_OFD_SETLK, F_RDLCK, 0, 1));
	close(d);
	T(lock(b, F_OFD_SETLK, F_RDLCK, 0, 1));
	T(fcntl(b, F_OFD_SETLK, &(struct flock){.l_type = F_RDLCK, .l_pid = 5}));
	close(b);
}

static void whole_files(void)
{
	int a = MUST(open("l", O_RDWR | O_CREAT, 0600)), b = MUST(open("l", O_RDONLY)), status;
	pid_t pid;

	T(flock(a, LOCK_SH));
	T(flock(b, LOCK_SH | LOCK_NB));
	T(flock(b, LOCK_EX | LOCK_NB));
	T(flock(a, LOCK_UN));
	T(flock(b, LOCK_EX | LOCK_NB));
	T(flock(a, LOCK_SH | LOCK_NB));
	T(flock(a, 77));
	T(flock(99, LOCK_SH));
	pid = MUST(fork());
	if (pid == 0)
		_exit(flock(a, LOCK_EX) == 0 ? 6 : 7);
	sleep_ms(30);
	T(flock(b, LOCK_UN));
	waitpid(pid, &status, 0);
	say_status("waiter", status);
	close(b);
	T(flock(a, LOCK_EX));
	CHILD
	{
		T(flock(a, LOCK_UN));
	}
	b = MUST(open("l", O_RDONLY));
	T(flock(b, LOCK_EX | LOCK_NB));
	close(a);
	close(b);
}

int main(void)
{
	records();
	waiting();
	descriptions();
	whole_files();
	return 0;
}
