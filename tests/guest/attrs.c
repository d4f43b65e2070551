/* stat, statx, chmod, chown, utimes, access, umask, xattrs, mknod. */
#include "guest.h"

#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/xattr.h>

static void show(const char *name)
{
	struct stat st;

	if (lstat(name, &st))
		SAY("%s: %s", name, strerrorname_np(errno));
	else
		SAY("%s: mode %o links %ld size %ld mtime %ld.%09ld", name, st.st_mode, (long)st.st_nlink,
		    S_ISDIR(st.st_mode) ? 0 : (long)st.st_size,
		    st.st_mtim.tv_sec < 2000000 ? (long)st.st_mtim.tv_sec : -1,
		    st.st_mtim.tv_sec < 2000000 ? st.st_mtim.tv_nsec : -1);
}

static void stat_calls(void)
{
	struct stat a, b;
	struct statx x;

	T(stat("f", &a));
	T(fstatat(AT_FDCWD, "f", &b, 0));
	HOLDS(a.st_ino == b.st_ino && a.st_dev == b.st_dev && a.st_blksize == b.st_blksize);
	T(fstat(99, &a));
	T(syscall(SYS_stat, "f", BAD));
	T(syscall(SYS_stat, BAD, &a));
	T(fstatat(AT_FDCWD, "", &a, 0));
	T(fstatat(AT_FDCWD, "", &a, AT_EMPTY_PATH));
	HOLDS(S_ISDIR(a.st_mode));
	T(fstatat(AT_FDCWD, "f", &a, 0x40));
	T(fstatat(99, "f", &a, 0));
	T(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
	HOLDS((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	HOLDS(x.stx_ino == b.st_ino && x.stx_size == (uint64_t)b.st_size && x.stx_mode == b.st_mode);
	T(statx(AT_FDCWD, "f", 0x10000, STATX_BASIC_STATS, &x));
	T(statx(AT_FDCWD, "f", 0, 0x80000000u, &x));
	T(syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_SIZE, BAD));
	T(stat("/dev/null", &a));
	SAY("null %o %u:%u", a.st_mode, major(a.st_rdev), minor(a.st_rdev));
	T(stat("/proc/self", &a));
}

static void modes(void)
{
	T(chmod("f", 0));
	show("f");
	T(chmod("f", 07777));
	show("f");
	T(chmod("f", 0644 | S_IFDIR));
	show("f");
	T(chmod("absent", 0644));
	T(fchmod(99, 0644));
	T(fchmodat(AT_FDCWD, "d", 01777, 0));
	show("d");
	T(umask(077));
	put_file("masked", "");
	show("masked");
	MUST(mkdir("dmasked", 02777));
	show("dmasked");
	T(umask(0));
	T0(open("open", O_WRONLY | O_CREAT, 07777));
	show("open");
	T(umask(022));
	T(access("f", R_OK | W_OK));
	T(access("f", 8));
	T(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
	T(syscall(439, AT_FDCWD, "f", R_OK, 0x4000));
}

static void times(void)
{
	struct timespec ts[2] = {{1000, 5}, {2000, 999999999}};
	struct timeval tv[2] = {{3000, 7}, {4000, 8}};
	struct stat st;

	T(utimensat(AT_FDCWD, "f", ts, 0));
	show("f");
	T(stat("f", &st));
	SAY("atime %ld.%09ld", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec);
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1].tv_nsec = UTIME_OMIT;
	T(utimensat(AT_FDCWD, "f", ts, 0));
	show("f");
	ts[1].tv_nsec = 1000000000;
	T(utimensat(AT_FDCWD, "f", ts, 0));
	T(utimensat(AT_FDCWD, "absent", NULL, 0));
	T(utimensat(AT_FDCWD, "f", BAD, 0));
	T(utimensat(AT_FDCWD, "f", NULL, 0x1));
	T(utimes("f", tv));
	show("f");
	tv[0].tv_usec = 1000000;
	T(utimes("f", tv));
	MUST(symlink("f", "sym"));
	ts[0] = ts[1] = (struct timespec){77, 0};
	T(utimensat(AT_FDCWD, "sym", ts, AT_SYMLINK_NOFOLLOW));
	show("sym");
	show("f");
	T(stat("f", &st));
	HOLDS(st.st_ctim.tv_sec > 1000000000);
}

static void owners(void)
{
	struct stat st;

	T(chown("f", -1, -1));
	T(chown("absent", 0, 0));
	T(fchown(99, 0, 0));
	T(fchownat(AT_FDCWD, "f", 0, 0, 0x1));
	if (geteuid() != 0)
		return;
	MUST(chmod("f", 06755));
	T(chown("f", 1000, 1001));
	T(stat("f", &st));
	SAY("%u:%u %o", st.st_uid, st.st_gid, st.st_mode);
	T(lchown("sym", 5, 6));
	T(lstat("sym", &st));
	SAY("%u:%u", st.st_uid, st.st_gid);
	T(stat("f", &st));
	SAY("%u:%u", st.st_uid, st.st_gid);
	CHILD
	{
		MUST(setgid(1001));
		MUST(setuid(1000));
		T(chmod("f", 0600));
		T(chown("f", 0, -1));
		T(chown("f", -1, 1001));
		T(chmod("d", 0700));
		T(open("masked", O_RDONLY));
		T(access("masked", R_OK));
		T(access("f", R_OK));
		T(unlink("f"));
		T(utimensat(AT_FDCWD, "d", NULL, 0));
		T(utimensat(AT_FDCWD, "masked", (struct timespec[2]){{1, 1}, {1, 1}}, 0));
	}
	MUST(chown("f", 0, 0));
}

static void attributes(void)
{
	char buf[64] = "";
	ssize_t n;

	if (setxattr("f", "user.probe", "x", 1, 0) && errno == ENOTSUP) {
		SAY("no user attributes here");
		return;
	}
	MUST(removexattr("f", "user.probe"));
	T(setxattr("f", "user.one", "value", 5, 0));
	T(setxattr("f", "user.one", "other", 5, XATTR_CREATE));
	T(setxattr("f", "user.two", "other", 5, XATTR_REPLACE));
	T(setxattr("f", "user.one", "longer value", 12, XATTR_REPLACE));
	T(getxattr("f", "user.one", buf, sizeof(buf)));
	SAY("%s", buf);
	T(getxattr("f", "user.one", buf, 3));
	T(getxattr("f", "user.one", NULL, 0));
	T(getxattr("f", "user.absent", buf, sizeof(buf)));
	T(getxattr("f", "bogus.name", buf, sizeof(buf)));
	T(getxattr("f", "", buf, sizeof(buf)));
	T(setxattr("f", "user.x", BAD, 5, 0));
	T(setxattr("f", "user.x", "v", 1, 7));
	T(setxattr("f", "user.x", "v", 70000, 0));
	n = T(listxattr("f", buf, sizeof(buf)));
	SAY("%s", n > 0 ? buf : "none");
	T(listxattr("f", buf, 3));
	T(removexattr("f", "user.one"));
	T(removexattr("f", "user.one"));
	T(lsetxattr("sym", "user.x", "v", 1, 0));
	T(fsetxattr(99, "user.x", "v", 1, 0));
	T(fgetxattr(99, "user.x", buf, 1));
}

static void nodes(void)
{
	T(mkfifo("fifo", 0644));
	show("fifo");
	T(mkfifo("fifo", 0644));
	T(mknod("reg", S_IFREG | 0600, 0));
	show("reg");
	T(mknod("reg", S_IFREG | 0600, 0));
	T(mknod("dir", S_IFDIR | 0600, 0));
	T(mknod("sock", S_IFSOCK | 0600, 0));
	show("sock");
	T(open("sock", O_RDONLY));
	T(mknod("odd", 0170000, 0));
	T(open("fifo", O_WRONLY | O_NONBLOCK));
	T0(open("fifo", O_RDONLY | O_NONBLOCK));
	T0(open("fifo", O_RDWR));
}

int main(void)
{
	umask(022);
	put_file("f", "four");
	MUST(mkdir("d", 0755));
	stat_calls();
	modes();
	times();
	owners();
	attributes();
	nodes();
	return 0;
}
