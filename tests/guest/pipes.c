/* pipe2, FIFOs, SIGPIPE, capacity, splice, tee, vmsplice. */
#include "guest.h"

#include <sys/ioctl.h>
#include <sys/uio.h>

static void basics(void)
{
	char buf[64] = "";
	int p[2], n;

	T(syscall(SYS_pipe2, BAD, 0));
	T(syscall(SYS_pipe2, p, 0x7));
	T(syscall(SYS_pipe2, p, O_CLOEXEC | O_NONBLOCK));
	T(fcntl(p[0], F_GETFD));
	T(fcntl(p[1], F_GETFL) & O_NONBLOCK ? 1 : 0);
	T(read(p[0], buf, 1));
	T(write(p[1], "hello", 5));
	T(ioctl(p[0], FIONREAD, &n));
	SAY("%d", n);
	T(ioctl(p[0], 0x12345678, &n));
	T(lseek(p[0], 0, SEEK_SET));
	T(pread(p[0], buf, 1, 0));
	T(ftruncate(p[1], 0));
	T(read(p[1], buf, 1));
	T(write(p[0], buf, 1));
	T(read(p[0], BAD, 3));
	T(read(p[0], edge(2), 5));
	T(read(p[0], buf, 64));
	T(write(p[1], BAD, 3));
	T(write(p[1], "", 0));
	T(read(p[0], buf, 64));
	close(p[1]);
	T(read(p[0], buf, 64));
	close(p[0]);
}

static void broken(void)
{
	int p[2];

	CHILD
	{
		MUST(pipe(p));
		close(p[0]);
		T(write(p[1], "x", 1));
		SAY("not reached");
	}
	signal(SIGPIPE, SIG_IGN);
	MUST(pipe(p));
	close(p[0]);
	T(write(p[1], "x", 1));
	T(write(p[1], "x", 0));
	close(p[1]);
	signal(SIGPIPE, SIG_DFL);
}

static void capacity(void)
{
	static char big[1 << 20];
	int p[2];

	MUST(pipe2(p, O_NONBLOCK));
	T(fcntl(p[0], F_GETPIPE_SZ));
	T(write(p[1], big, sizeof(big)));
	T(write(p[1], big, 1));
	T(write(p[1], big, 5000));
	T(read(p[0], big, 4095));
	T(write(p[1], big, 4096));
	T(read(p[0], big, 1));
	T(write(p[1], big, 4096));
	T(fcntl(p[0], F_SETPIPE_SZ, 4096));
	T(read(p[0], big, sizeof(big)));
	T(fcntl(p[0], F_SETPIPE_SZ, 5000));
	T(fcntl(p[0], F_GETPIPE_SZ));
	T(write(p[1], big, 100000));
	T(fcntl(p[0], F_SETPIPE_SZ, 0));
	T(fcntl(p[0], F_SETPIPE_SZ, -1));
	T(fcntl(0, F_GETPIPE_SZ));
	close(p[0]);
	close(p[1]);
}

static void blocking_between_processes(void)
{
	static char data[300000];
	char buf[7000];
	long sum = 0, total = 0, n;
	int p[2], status;
	pid_t pid;

	MUST(pipe(p));
	pid = MUST(fork());
	if (pid == 0) {
		close(p[0]);
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (char)(i % 101);
		_exit(write(p[1], data, sizeof(data)) == sizeof(data) ? 3 : 4);
	}
	close(p[1]);
	while ((n = read(p[0], buf, sizeof(buf))) > 0) {
		total += n;
		for (long i = 0; i < n; i++)
			sum += buf[i];
	}
	SAY("read %ld bytes, sum %ld", total, sum);
	MUST(waitpid(pid, &status, 0));
	say_status("writer", status);
	close(p[0]);
}

static void fifos(void)
{
	char buf[16] = "";
	int fd, status;
	pid_t pid;

	MUST(mkfifo("fifo", 0600));
	T(open("fifo", O_WRONLY | O_NONBLOCK));
	pid = MUST(fork());
	if (pid == 0) {
		fd = open("fifo", O_WRONLY);
		_exit(write(fd, "through", 7) == 7 ? 0 : 1);
	}
	fd = T0(open("fifo", O_RDONLY));
	fd = fd ? fd : 0;
	MUST(waitpid(pid, &status, 0));
	say_status("writer", status);
	fd = open("fifo", O_RDONLY | O_NONBLOCK);
	T(read(fd, buf, sizeof(buf)));
	T0(open("fifo", O_WRONLY | O_NONBLOCK));
	T(read(fd, buf, sizeof(buf)));
}

static void splicing(void)
{
	int p[2], q[2], fd;
	char buf[32] = "";
	loff_t off = 2;

	MUST(pipe2(p, O_NONBLOCK));
	MUST(pipe2(q, O_NONBLOCK));
	put_file("src", "0123456789");
	fd = MUST(open("src", O_RDWR));
	T(splice(fd, NULL, p[1], NULL, 4, 0));
	T(splice(fd, &off, p[1], NULL, 3, 0));
	SAY("%ld", (long)off);
	T(tee(p[0], q[1], 5, 0));
	T(read(q[0], buf, sizeof(buf)));
	SAY("%s", buf);
	T(splice(p[0], NULL, q[1], NULL, 100, 0));
	memset(buf, 0, sizeof(buf));
	T(read(q[0], buf, sizeof(buf)));
	SAY("%s", buf);
	T(splice(p[0], NULL, q[1], NULL, 1, SPLICE_F_NONBLOCK));
	T(splice(fd, NULL, fd, NULL, 1, 0));
	T(splice(p[0], &off, q[1], NULL, 1, 0));
	T(splice(99, NULL, q[1], NULL, 1, 0));
	T(splice(p[1], NULL, q[1], NULL, 1, 0));
	T(splice(p[0], NULL, p[1], NULL, 1, 0));
	T(tee(p[0], fd, 1, 0));
	T(vmsplice(p[1], (struct iovec[]){{"vm", 2}}, 1, 0));
	T(read(p[0], buf, 2));
	MUST(lseek(fd, 0, SEEK_END));
	MUST(write(p[1], "tail", 4));
	T(splice(p[0], NULL, fd, NULL, 10, 0));
	SAY("%s", get_file("src"));
}

int main(void)
{
	umask(022);
	basics();
	broken();
	capacity();
	blocking_between_processes();
	fifos();
	splicing();
	return 0;
}
