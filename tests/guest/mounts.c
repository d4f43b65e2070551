/* mount(2), umount2(2): stacks, binds with what hangs below, many of them. */
#include "guest.h"

#include <sys/mount.h>

#define DEEP 5000

static char home[PATH_MAX];

static void tmpfs_on(const char *dir)
{
	MUST(mount("none", dir, "tmpfs", 0, NULL));
}

static void stacks(void)
{
	MUST(mkdir("s", 0755));
	put_file("s/below", "");
	tmpfs_on("s");
	put_file("s/first", "");
	tmpfs_on("s");
	T(access("s/first", F_OK));
	T(umount2("s", 0));
	T(access("s/first", F_OK));
	T(access("s/below", F_OK));
	T(chdir("s"));
	T(umount2("../s", 0));
	T(umount2("../s", MNT_DETACH));
	T(access("first", F_OK));
	T(access("../s/below", F_OK));
	T(chdir(".."));
	HOLDS(access("s", F_OK) == -1);
	MUST(chdir(home));
	T(umount2("s", 0));
}

static void binds(void)
{
	MUST(mkdir("b", 0755));
	MUST(mkdir("b/in", 0755));
	MUST(mkdir("plain", 0755));
	MUST(mkdir("all", 0755));
	tmpfs_on("b/in");
	MUST(mkdir("b/in/deeper", 0755));
	tmpfs_on("b/in/deeper");
	put_file("b/in/deeper/f", "");
	T(mount("b", "plain", NULL, MS_BIND, NULL));
	T(access("plain/in/deeper", F_OK));
	T(mount("b", "all", NULL, MS_BIND | MS_REC, NULL));
	T(access("all/in/deeper/f", F_OK));
	T(umount2("all", 0));
	T(umount2("all/in/deeper", 0));
	T(access("b/in/deeper/f", F_OK));
	T(umount2("all", MNT_DETACH));
	/* Into itself: what is there is copied, the copy is not. */
	MUST(mkdir("b/self", 0755));
	T(mount("b", "b/self", NULL, MS_BIND | MS_REC, NULL));
	T(access("b/self/in/deeper/f", F_OK));
	T(access("b/self/self/in", F_OK));
	T(mount("b/in", "plain", NULL, MS_MOVE, NULL));
	T(access("plain/deeper/f", F_OK));
	T(access("b/in/deeper", F_OK));
}

/* One on the other: a bind of the tree below copies them all, and they all go at once. */
static void many(void)
{
	char buf[4096];
	int lines = 0;
	FILE *f;

	MUST(mkdir("m", 0755));
	MUST(mkdir("m/top", 0755));
	MUST(mkdir("copy", 0755));
	for (int i = 0; i < DEEP; i++)
		tmpfs_on("m/top");
	put_file("m/top/f", "");
	T(mount("m", "copy", NULL, MS_BIND | MS_REC, NULL));
	T(access("copy/top/f", F_OK));
	f = fopen("/proc/self/mounts", "r");
	while (fgets(buf, sizeof(buf), f))
		lines += strstr(buf, "/top ") != NULL;
	fclose(f);
	HOLDS(lines == 2 * DEEP);
	T(umount2("copy", MNT_DETACH));
	T(access("copy/top", F_OK));
	T(access("m/top/f", F_OK));
}

int main(void)
{
	/* A sandbox gives out no namespaces and needs none; whoever may mount on Linux may have one. */
	if ((unshare(CLONE_NEWNS) && errno != EPERM) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		skip("no right to mount");
	must(getcwd(home, sizeof(home)) != NULL, "getcwd");
	stacks();
	binds();
	many();
	return 0;
}
