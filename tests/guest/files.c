/* open, read, write, seek, truncate, dup, fcntl and their errors. */
#include "guest.h"

#include <sys/sendfile.h>
#include <sys/uio.h>

static void open_errors(void)
{
	char longname[300], longpath[5000];

	memset(longname, 'a', sizeof(longname));
	longname[299] = 0;
	memset(longpath, '/', sizeof(longpath));
	longpath[4999] = 0;
	T(open("absent", O_RDONLY));
	T(open("absent/x", O_RDONLY | O_CREAT, 0644));
	T(open("", O_RDONLY));
	T(open(BAD, O_RDONLY));
	T(syscall(SYS_open, NULL, O_RDONLY));
	T(open(longname, O_RDONLY));
	T(open(longpath, O_RDONLY));
	put_file("plain", "text");
	T(open("plain/x", O_RDONLY));
	T(open("plain/", O_RDONLY));
	T(open("plain", O_RDONLY | O_DIRECTORY));
	T(open("plain", O_WRONLY | O_CREAT | O_EXCL, 0644));
	T(open("new/", O_WRONLY | O_CREAT, 0644));
	T(open(".", O_WRONLY));
	T(open(".", O_RDWR | O_CREAT, 0644));
	T(open(".", O_RDONLY | O_TRUNC));
	T(openat(99, "x", O_RDONLY));
	T(openat(0, "x", O_RDONLY));
	T(openat(-5, "x", O_RDONLY));
	T(close(99));
	T(close(-1));
	MUST(symlink("loop", "loop"));
	T(open("loop", O_RDONLY));
	T(open("loop", O_RDONLY | O_NOFOLLOW));
	MUST(symlink("plain", "link"));
	T(open("link", O_RDONLY | O_NOFOLLOW));
	T(open("link", O_WRONLY | O_CREAT | O_EXCL, 0644));
	T(open("/dev/full", O_WRONLY) >= 0);
	T(write(open("/dev/full", O_WRONLY), "x", 1));
}

static void read_write(void)
{
	char buf[32] = "";
	int fd = MUST(open("rw", O_RDWR | O_CREAT, 0600));

	T(write(fd, "0123456789", 10));
	T(read(fd, buf, sizeof(buf)));
	T(lseek(fd, 0, SEEK_SET));
	T(read(fd, buf, 4));
	SAY("%.4s", buf);
	T(read(fd, BAD, 4));
	T(lseek(fd, 0, SEEK_CUR));
	T(read(fd, edge(2), 4));
	T(write(fd, BAD, 4));
	T(write(fd, BAD, 0));
	T(read(fd, BAD, 0));
	T(syscall(SYS_write, fd, "x", -1L));
	T(pread(fd, buf, 3, 5));
	SAY("%.3s", buf);
	T(pread(fd, buf, 3, -1));
	T(pread(fd, buf, 3, 100));
	T(pwrite(fd, "AB", 2, 20));
	T(pwrite(fd, "AB", 2, -1));
	T(lseek(fd, 0, SEEK_END));
	T(lseek(fd, -30, SEEK_CUR));
	T(lseek(fd, 1L << 40, SEEK_SET));
	T(read(fd, buf, 4));
	T(lseek(fd, 0, 77));
	T(lseek(fd, 3, SEEK_DATA));
	T(lseek(fd, 22, SEEK_DATA));
	T(lseek(fd, 22, SEEK_HOLE));
	T(lseek(fd, LONG_MAX, SEEK_CUR));
	close(fd);
	fd = MUST(open("rw", O_RDONLY));
	T(write(fd, "x", 1));
	T(ftruncate(fd, 1));
	close(fd);
	fd = MUST(open("rw", O_WRONLY | O_APPEND));
	T(read(fd, buf, 1));
	T(lseek(fd, 0, SEEK_SET));
	T(write(fd, "end", 3));
	T(lseek(fd, 0, SEEK_CUR));
	T(pwrite(fd, "more", 4, 0));
	T(lseek(fd, 0, SEEK_END));
	close(fd);
	fd = MUST(open("rw", O_PATH));
	T(read(fd, buf, 1));
	T(fchmod(fd, 0600));
	T(fcntl(fd, F_GETFL) & O_PATH ? 1 : 0);
	close(fd);
}

static void vectors(void)
{
	char a[4] = "", b[4] = "";
	struct iovec iov[3] = {{a, 3}, {NULL, 0}, {b, 3}};
	int fd = MUST(open("vec", O_RDWR | O_CREAT, 0600));

	T(writev(fd, (struct iovec[]){{"abc", 3}, {"defg", 4}}, 2));
	T(lseek(fd, 0, SEEK_SET));
	T(readv(fd, iov, 3));
	SAY("%s %s", a, b);
	T(readv(fd, iov, 0));
	T(readv(fd, iov, -1));
	T(readv(fd, iov, 1025));
	T(readv(fd, BAD, 1));
	iov[0].iov_len = (size_t)-1;
	T(readv(fd, iov, 1));
	iov[0] = (struct iovec){a, 2};
	iov[1] = (struct iovec){BAD, 2};
	T(preadv(fd, iov, 2, 0));
	T(pwritev(fd, (struct iovec[]){{"XY", 2}}, 1, 1));
	T(preadv2(fd, (struct iovec[]){{a, 3}}, 1, 0, 0));
	SAY("%s", a);
	T(preadv2(fd, iov, 1, 0, 0x40000000));
	T(preadv2(fd, iov, 1, -2, 0));
	close(fd);
}

static void truncation(void)
{
	struct stat st;
	char buf[8] = "";
	int fd = MUST(open("trunc", O_RDWR | O_CREAT, 0600));

	T(write(fd, "12345678", 8));
	T(ftruncate(fd, 3));
	T(ftruncate(fd, 6));
	T(pread(fd, buf, 8, 0));
	HOLDS(memcmp(buf, "123\0\0\0\0\0", 8) == 0);
	T(ftruncate(fd, -1));
	T(truncate("trunc", 1));
	T(fstat(fd, &st));
	SAY("size %ld", (long)st.st_size);
	T(truncate("absent", 1));
	T(truncate(".", 1));
	T(truncate("trunc", -1));
	T(ftruncate(99, 1));
	T(fallocate(fd, 0, 0, 100));
	T(fstat(fd, &st));
	SAY("size %ld", (long)st.st_size);
	T(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1000));
	T(fallocate(fd, 0, 0, 0));
	T(fallocate(fd, 0, -1, 5));
	T(fallocate(99, 0, 0, 5));
	T(fsync(fd));
	T(fdatasync(fd));
	T(fsync(99));
	close(fd);
}

static void descriptors(void)
{
	int fd = MUST(open("dup", O_RDWR | O_CREAT, 0600));
	int d = T(dup(fd));

	T(write(fd, "xyz", 3));
	T(lseek(d, 0, SEEK_CUR));
	T(dup(99));
	T(dup2(fd, fd));
	T(dup2(99, 5));
	T(dup2(fd, -1));
	T(dup2(fd, 20));
	T(dup3(fd, fd, 0));
	T(dup3(fd, 21, O_CLOEXEC));
	T(dup3(fd, 21, 0xffff));
	T(fcntl(21, F_GETFD));
	T(fcntl(20, F_GETFD));
	T(fcntl(20, F_SETFD, FD_CLOEXEC));
	T(fcntl(20, F_GETFD));
	T(fcntl(fd, F_DUPFD, 30));
	T(fcntl(fd, F_DUPFD_CLOEXEC, 30));
	T(fcntl(31, F_GETFD));
	T(fcntl(fd, F_DUPFD, -1));
	T(fcntl(fd, F_DUPFD, 100000000));
	T(fcntl(99, F_GETFD));
	T(fcntl(fd, 9999));
	T(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	T(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
	T(fcntl(d, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	T(syscall(SYS_close_range, 20, 40, 0));
	T(fcntl(30, F_GETFD));
	T(syscall(SYS_close_range, 40, 20, 0));
	T(syscall(SYS_close_range, 3, 5, 0xff));
	close(fd);
	T(write(d, "x", 1));
	close(d);
}

static void copying(void)
{
	int in = MUST(open("in", O_RDWR | O_CREAT, 0600));
	int out = MUST(open("out", O_RDWR | O_CREAT, 0600));
	off_t off = 2;
	loff_t a = 0, b = 1;

	MUST(write(in, "0123456789", 10));
	T(sendfile(out, in, &off, 5));
	SAY("offset %ld", (long)off);
	T(sendfile(out, in, NULL, 5));
	T(lseek(in, 0, SEEK_SET));
	T(sendfile(out, in, NULL, 100));
	SAY("%s", get_file("out"));
	T(sendfile(99, in, NULL, 1));
	T(sendfile(out, 99, NULL, 1));
	T(sendfile(out, in, BAD, 1));
	T(copy_file_range(in, &a, out, &b, 4, 0));
	SAY("%ld %ld %s", (long)a, (long)b, get_file("out"));
	T(copy_file_range(in, &a, out, &b, 4, 1));
	T(copy_file_range(in, &a, 99, &b, 4, 0));
	close(in);
	close(out);
}

static void temporary(void)
{
	int fd = T0(open(".", O_TMPFILE | O_RDWR, 0600)) ? 0 : 0;
	struct stat st;

	(void)fd;
	fd = open("gone", O_RDWR | O_CREAT, 0600);
	T(unlink("gone"));
	T(write(fd, "still", 5));
	T(fstat(fd, &st));
	SAY("links %ld size %ld", (long)st.st_nlink, (long)st.st_size);
	T(access("gone", F_OK));
	close(fd);
	T(open("plain", O_TMPFILE | O_RDWR, 0600));
	T(open(".", O_TMPFILE | O_RDONLY, 0600));
}

int main(void)
{
	umask(022);
	open_errors();
	read_write();
	vectors();
	truncation();
	descriptors();
	copying();
	temporary();
	return 0;
}
