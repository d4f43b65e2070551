/* Directories and names: mkdir, rmdir, link, symlink, rename, unlink, getdents, chdir, paths. */
#include "guest.h"

#include <dirent.h>
#include <sys/statfs.h>

static void make_remove(void)
{
	T(mkdir("d", 0755));
	T(mkdir("d", 0755));
	T(mkdir("d/", 0755));
	T(mkdir("new/", 0755));
	T(mkdir("absent/x", 0755));
	T(mkdir(".", 0755));
	T(mkdir("", 0755));
	T(mkdir("/", 0755));
	T(mkdir(BAD, 0755));
	T(mkdirat(99, "x", 0755));
	put_file("d/f", "x");
	T(mkdir("d/f/x", 0755));
	T(rmdir("d"));
	T(rmdir("d/f"));
	T(rmdir("absent"));
	T(rmdir("new/."));
	T(rmdir("new/.."));
	T(rmdir("new/"));
	T(rmdir("/"));
	T(rmdir("."));
	T(unlink("d"));
	T(unlink("d/f/"));
	T(unlink("absent"));
	T(unlinkat(AT_FDCWD, "d", 0));
	T(unlinkat(AT_FDCWD, "d/f", AT_REMOVEDIR));
	T(unlinkat(AT_FDCWD, "d/f", 0x1234));
	T(unlinkat(AT_FDCWD, "d/f", 0));
	T(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
}

static void links(void)
{
	char buf[64] = "";
	struct stat st;

	put_file("f", "data");
	MUST(mkdir("sub", 0755));
	T(link("f", "g"));
	T(stat("g", &st));
	SAY("links %ld", (long)st.st_nlink);
	T(link("f", "g"));
	T(link("absent", "h"));
	T(link("sub", "h"));
	T(link("f", "absent/h"));
	T(link("f", "h/"));
	T(linkat(AT_FDCWD, "f", AT_FDCWD, "h", 0x8000));
	T(symlink("f", "s"));
	T(symlink("f", "s"));
	T(symlink("", "empty"));
	T(symlink("nowhere", "dangling"));
	T(readlink("s", buf, sizeof(buf)));
	T(readlink("s", buf, 0));
	T(readlink("f", buf, sizeof(buf)));
	T(readlink("absent", buf, sizeof(buf)));
	T(readlink("s", BAD, 10));
	T(readlink("dangling", buf, 3));
	SAY("%.3s", buf);
	T(lstat("s", &st));
	SAY("symlink size %ld mode %o", (long)st.st_size, st.st_mode & S_IFMT);
	T(stat("dangling", &st));
	T(open("dangling", O_RDONLY));
	T(linkat(AT_FDCWD, "s", AT_FDCWD, "s2", 0));
	T(lstat("s2", &st));
	HOLDS(S_ISLNK(st.st_mode));
	T(linkat(AT_FDCWD, "s", AT_FDCWD, "s3", AT_SYMLINK_FOLLOW));
	T(lstat("s3", &st));
	HOLDS(S_ISREG(st.st_mode));
	T0(open("dangling", O_WRONLY | O_CREAT, 0644));
	T(access("nowhere", F_OK));
	T(unlink("s"));
	T(access("f", F_OK));
	T(symlink("sub", "sl"));
	T(rmdir("sl"));
	T(rmdir("sl/"));
	T(access("sl/.", F_OK));
	T(access("f/.", F_OK));
	T(access("sl/../f", F_OK));
}

static void renames(void)
{
	MUST(mkdir("r", 0755));
	MUST(chdir("r"));
	put_file("a", "a");
	put_file("b", "b");
	MUST(mkdir("d1", 0755));
	MUST(mkdir("d2", 0755));
	put_file("d2/x", "x");
	T(rename("a", "c"));
	T(rename("a", "c"));
	T(rename("b", "c"));
	SAY("%s", get_file("c"));
	T(rename("c", "d1"));
	T(rename("d1", "c"));
	T(rename("d1", "d2"));
	T(rename("d2", "d1"));
	T(rename("d1", "d1/in"));
	T(rename("d1", "d1/../d3"));
	T(rename("d3", "d3"));
	T(rename("c", "d3/c"));
	T(rename(".", "x"));
	T(rename("d3", ".."));
	T(rename("d3/c", "absent/c"));
	T(rename("d3/c/", "e"));
	T(rename("d3/", "d4/"));
	T(rename("", "x"));
	put_file("p", "p");
	put_file("q", "q");
	T(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_NOREPLACE));
	T(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_EXCHANGE));
	SAY("p is %s", get_file("p"));
	T(renameat2(AT_FDCWD, "p", AT_FDCWD, "absent", RENAME_EXCHANGE));
	T(renameat2(AT_FDCWD, "p", AT_FDCWD, "d4", RENAME_EXCHANGE));
	T(access("d4/x", F_OK));
	T(access("p/x", F_OK));
	T(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_EXCHANGE | RENAME_NOREPLACE));
	T(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", 0x100));
	T(link("q", "q2"));
	T(rename("q", "q2"));
	T(access("q", F_OK));
	MUST(chdir(".."));
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *dir)
{
	char *names[300];
	struct dirent *e;
	size_t n = 0;
	DIR *d = opendir(dir);

	if (!d) {
		SAY("opendir %s: %s", dir, strerrorname_np(errno));
		return;
	}
	while ((e = readdir(d)) && n < COUNT(names)) {
		char text[300];

		snprintf(text, sizeof(text), "%s%s", e->d_name,
			 e->d_type == DT_DIR   ? "/"
			 : e->d_type == DT_LNK ? "@"
			 : e->d_type == DT_REG ? ""
					       : "?");
		names[n++] = strdup(text);
	}
	closedir(d);
	qsort(names, n, sizeof(*names), compare);
	printf("%s:", dir);
	for (size_t i = 0; i < n && i < 20; i++)
		printf(" %s", names[i]);
	SAY(" (%zu)", n);
}

static void reading(void)
{
	char buf[4096], name[32];
	int fd, seen = 0;
	long n;

	list(".");
	list("r");
	list("absent");
	list("f");
	MUST(mkdir("many", 0755));
	for (int i = 0; i < 250; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		put_file(name, "");
	}
	list("many");
	fd = MUST(open("many", O_RDONLY | O_DIRECTORY));
	T(syscall(SYS_getdents64, fd, buf, 10));
	T(syscall(SYS_getdents64, fd, BAD, 4096));
	T(syscall(SYS_getdents64, 99, buf, sizeof(buf)));
	T(syscall(SYS_getdents64, 0, buf, sizeof(buf)));
	T(read(fd, buf, 10));
	T(lseek(fd, 0, SEEK_SET));
	while ((n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < n; at += ((struct dirent *)(buf + at))->d_reclen)
			seen++;
	SAY("entries %d", seen);
	T(syscall(SYS_getdents64, fd, buf, sizeof(buf)));
	/* Names removed while the directory is read. */
	MUST(lseek(fd, 0, SEEK_SET));
	seen = 0;
	while ((n = syscall(SYS_getdents64, fd, buf, 512)) > 0)
		for (long at = 0; at < n; at += ((struct dirent *)(buf + at))->d_reclen)
			seen += unlinkat(fd, ((struct dirent *)(buf + at))->d_name, 0) == 0;
	SAY("removed %d", seen);
	close(fd);
	T(rmdir("many"));
}

static void working_directory(void)
{
	char buf[PATH_MAX], base[PATH_MAX];
	int fd;

	MUST(getcwd(base, sizeof(base)) ? 0 : -1);
	T(chdir("sub"));
	HOLDS(getcwd(buf, sizeof(buf)) && strcmp(strrchr(buf, '/'), "/sub") == 0);
	T(syscall(SYS_getcwd, buf, 2));
	T(syscall(SYS_getcwd, BAD, 4096));
	T(chdir(".."));
	T(chdir("f"));
	T(chdir("absent"));
	T(chdir(BAD));
	T(fchdir(99));
	fd = MUST(open("f", O_RDONLY));
	T(fchdir(fd));
	close(fd);
	fd = MUST(open("sub", O_RDONLY));
	MUST(mkdir("gone", 0755));
	T(chdir("gone"));
	T(rmdir("../gone"));
	T(syscall(SYS_getcwd, buf, sizeof(buf)));
	T(open("x", O_WRONLY | O_CREAT, 0644));
	T(mkdir("x", 0755));
	T(access(".", F_OK));
	T(access("..", F_OK));
	T(fchdir(fd));
	T(chdir(base));
	close(fd);
	T(access("sub/../sub/./../f", F_OK));
	T(access("/../../..", F_OK));
	T(access("//", F_OK));
}

static void beneath(void)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = {O_RDONLY, 0, 0};
	static const uint64_t resolve[] = {1, 2, 4, 8, 16};

	for (size_t i = 0; i < COUNT(resolve); i++) {
		how.resolve = resolve[i];
		printf("resolve %d: ", (int)resolve[i]);
		T0(syscall(SYS_openat2, AT_FDCWD, "../", &how, sizeof(how)));
		T0(syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how)));
		T0(syscall(SYS_openat2, AT_FDCWD, "sl/../f", &how, sizeof(how)));
	}
	how.resolve = 1 << 20;
	T(syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof(how)));
	how.resolve = 0;
	how.mode = 0644;
	T(syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof(how)));
	T(syscall(SYS_openat2, AT_FDCWD, "f", &how, 8));
	T(syscall(SYS_openat2, AT_FDCWD, "f", BAD, sizeof(how)));
}

static void statfs_calls(void)
{
	struct statfs s;

	T(statfs("/proc", &s));
	HOLDS(s.f_type == 0x9fa0);
	T(statfs("absent", &s));
	T(statfs(".", BAD));
	T(fstatfs(99, &s));
	T(statfs(".", &s));
	HOLDS(s.f_namelen == 255 && s.f_bsize > 0);
}

int main(void)
{
	umask(022);
	make_remove();
	links();
	renames();
	reading();
	working_directory();
	beneath();
	statfs_calls();
	return 0;
}
