/* Resident sizes by mapping: /proc/PID/smaps and smaps_rollup, of memory whose pages this test itself touches. */
#include "guest.h"

#define PAGE 4096ul
#define PAGES 64

/* The lines of the mapping that begins at p, in a static buffer; "" if there is none. */
static const char *entry(pid_t pid, const void *p)
{
	static char text[4096];
	char path[64], line[512], want[32];
	size_t len = 0;
	bool in = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	snprintf(want, sizeof(want), "%08lx-", (unsigned long)p);
	f = fopen(path, "r");
	must(f, path);
	while (fgets(line, sizeof(line), f)) {
		if (line[0] < 'A' || line[0] > 'Z')
			in = strncmp(line, want, strlen(want)) == 0;
		if (in && len + strlen(line) < sizeof(text))
			len += (size_t)sprintf(text + len, "%s", line);
	}
	fclose(f);
	text[len] = 0;
	return text;
}

static long kb(const char *text, const char *name)
{
	const char *at = text;

	while ((at = strstr(at, name)) && (at[-1] != '\n' || at[strlen(name)] != ':'))
		at++;
	return at ? atol(at + strlen(name) + 1) : -1;
}

static void say(const char *what, const char *text)
{
	SAY("%s: Size %ld Rss %ld Pss %ld Anonymous %ld Swap %ld Locked %ld", what, kb(text, "Size"), kb(text, "Rss"),
	    kb(text, "Pss"), kb(text, "Anonymous"), kb(text, "Swap"), kb(text, "Locked"));
}

static void say_sharing(const char *what, const char *text)
{
	SAY("%s: private %ld %ld shared %ld %ld", what, kb(text, "Private_Clean"), kb(text, "Private_Dirty"),
	    kb(text, "Shared_Clean"), kb(text, "Shared_Dirty"));
}

/* Memory between two mappings of another kind. */
static char *apart(void)
{
	char *p = mmap(NULL, 3 * PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + PAGES * PAGE;

	MUST(mprotect(p, PAGES * PAGE, PROT_READ | PROT_WRITE));
	madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE);
	return p;
}

static void touch(char *p, int pages)
{
	for (int i = 0; i < pages; i++)
		p[(unsigned long)i * PAGE] = 1;
}

static void own(void)
{
	char *p = apart();
	const char *e = entry(getpid(), p);

	say("new", e);
	HOLDS(strstr(e, " rw-p 00000000 00:00 0 \n"));
	HOLDS(strstr(e, "\nVmFlags: rd wr mr mw me "));
	HOLDS(strstr(
	    e, "\nSize:                256 kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\nRss:  "));
	touch(p, 10);
	e = entry(getpid(), p);
	say("10 pages", e);
	say_sharing("10 pages", e);
	HOLDS(strstr(e, "\nRss:                  40 kB\n"));
	MUST(madvise(p, 5 * PAGE, MADV_DONTNEED));
	say("5 dropped", entry(getpid(), p));
	MUST(mprotect(p, PAGES * PAGE, PROT_READ));
	say("read-only", entry(getpid(), p));
	MUST(mprotect(p, PAGES * PAGE, PROT_READ | PROT_WRITE));
	MUST(mmap(p, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p ? 0
														: -1);
	madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE);
	say("replaced", entry(getpid(), p));
	MUST(munmap(p, PAGES * PAGE));
	SAY("unmapped: '%s'", entry(getpid(), p));
}

/* Part of a mapping is locked: it becomes one of its own. */
static void locked(void)
{
	char *p = apart();
	const char *e;

	touch(p, 4);
	if (mlock(p + 32 * PAGE, 8 * PAGE)) {
		SAY("may not lock");
		return;
	}
	say("below", entry(getpid(), p));
	e = entry(getpid(), p + 32 * PAGE);
	say("locked", e);
	HOLDS(strstr(strstr(e, "VmFlags:"), " lo "));
	say("above", entry(getpid(), p + 40 * PAGE));
	MUST(munlock(p + 32 * PAGE, 8 * PAGE));
	say("unlocked", entry(getpid(), p));
}

static void wait_for_end(void)
{
	pause();
	_exit(0);
}

static void forked(void)
{
	char *p = apart(), path[64], c;
	const char *e;
	int ready[2];
	siginfo_t si;
	pid_t pid;

	touch(p, 10);
	MUST(pipe(ready));
	pid = MUST(fork());
	if (pid == 0) {
		touch(p, 4);
		touch(p + 20 * PAGE, 3);
		MUST(write(ready[1], "x", 1));
		wait_for_end();
	}
	MUST(read(ready[0], &c, 1));
	e = entry(getpid(), p);
	say("parent", e);
	say_sharing("parent", e);
	e = entry(pid, p);
	say("child", e);
	say_sharing("child", e);
	MUST(kill(pid, SIGKILL));
	MUST(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT));
	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	SAY("a zombie's: '%s'", get_file(path));
	MUST(waitpid(pid, NULL, 0));
	T(open(path, O_RDONLY));
	e = entry(getpid(), p);
	say("alone again", e);
	say_sharing("alone again", e);
}

static void files(void)
{
	char *p, *e;
	int fd = MUST(open("file", O_RDWR | O_CREAT, 0600));

	MUST(ftruncate(fd, PAGES * PAGE));
	p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED, "mmap");
	touch(p, 10);
	e = (char *)entry(getpid(), p);
	HOLDS(kb(e, "Rss") >= 40);
	HOLDS(kb(e, "Anonymous") == 0);
	HOLDS(strstr(e, "/file\nSize:                256 kB\n"));
	HOLDS(strstr(strstr(e, "VmFlags:"), " sh mr mw me ms "));
	p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	must(p != MAP_FAILED, "mmap");
	touch(p, 3);
	HOLDS(kb(entry(getpid(), p), "Anonymous") == 12);
	p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	touch(p, 6);
	HOLDS(kb(entry(getpid(), p), "Rss") == 24);
	HOLDS(kb(entry(getpid(), p), "Anonymous") == 0);
	close(fd);
}

static void rollup(void)
{
	char *p = apart(), text[4096];
	long before, after;

	snprintf(text, sizeof(text), "%s", get_file("/proc/self/smaps_rollup"));
	before = kb(text, "Rss");
	touch(p, 50);
	snprintf(text, sizeof(text), "%s", get_file("/proc/self/smaps_rollup"));
	after = kb(text, "Rss");
	HOLDS(strstr(text, " ---p 00000000 00:00 0  ") && strstr(text, "[rollup]\nRss: ") == text + 73);
	HOLDS(after - before >= 200 && after - before < 400);
	HOLDS(kb(text, "Anonymous") >= 200);
	HOLDS(kb(text, "Private_Dirty") >= 200);
	HOLDS(kb(text, "Size") == -1);
}

int main(void)
{
	own();
	locked();
	forked();
	files();
	rollup();
	return 0;
}
