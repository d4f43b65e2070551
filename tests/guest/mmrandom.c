/*
 * Thousands of random memory calls on a small window of addresses, wrong ones included: every result, and after each the state of every
 * page (readable, writable, contents), must be Linux's. The sequence is the same in every run.
 */
#include "guest.h"

#include <sys/uio.h>

#define PAGES 24
#define FILE_PAGES 9
#define PG 4096ul
#define STEPS 1000

static char *window;
static int fds[3]; /* memfd read-write, the same read-only, pipe to probe with */
static int probe[2];
static uint32_t state = 12345;

static uint32_t rnd(uint32_t n)
{
	state = state * 1664525u + 1013904223u;
	return (state >> 10) % n;
}

static char *page(unsigned i)
{
	return window + i * PG;
}

static bool readable(const char *p)
{
	char c;

	if (write(probe[1], p, 1) != 1)
		return false;
	must(read(probe[0], &c, 1) == 1, "probe");
	return true;
}

static bool writable(char *p)
{
	char c;

	if (!readable(p))
		return false;
	c = *p;
	must(write(probe[1], &c, 1) == 1, "probe");
	if (read(probe[0], p, 1) == 1)
		return true;
	must(read(probe[0], &c, 1) == 1, "probe");
	return false;
}

/* A letter for each page: what can be done with it, and its byte. */
static void say_state(const char *what)
{
	char text[PAGES * 4 + 1], *at = text;

	for (unsigned i = 0; i < PAGES; i++) {
		char *p = page(i) + 8;
		bool r = readable(p);

		at += sprintf(at, "%c%02x", !r ? '-' : writable(p) ? 'w' : 'r', r ? (unsigned char)*p : 0);
	}
	SAY("%s %s", what, text);
}

static void fill(unsigned step)
{
	unsigned i = rnd(PAGES);

	if (writable(page(i) + 8))
		page(i)[8] = (char)(step * 7 + 1);
}

static const char *result(long r)
{
	static char text[32];

	if (r == -1)
		return strerrorname_np(errno);
	if (r >= (long)window && r < (long)window + (long)(PAGES * PG))
		snprintf(text, sizeof(text), "page %ld", (r - (long)window) / (long)PG);
	else
		snprintf(text, sizeof(text), "%ld", r);
	return text;
}

static const int prots[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
			    PROT_WRITE | PROT_READ | PROT_EXEC};

static void step_mmap(char *out)
{
	unsigned at = rnd(PAGES), n = 1 + rnd(6);
	int prot = prots[rnd(COUNT(prots))];
	int kind = (int)rnd(6), flags = MAP_FIXED | (rnd(5) ? 0 : MAP_FIXED_NOREPLACE), fd = -1;
	off_t off = 0;
	size_t odd = rnd(20) ? 0 : 100;

	if (at + n > PAGES)
		n = PAGES - at;
	switch (kind) {
	case 0:
	case 1:
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	case 2:
		flags |= MAP_SHARED | MAP_ANONYMOUS;
		break;
	case 3:
		flags |= MAP_SHARED;
		fd = fds[rnd(2)];
		break;
	case 4:
		flags |= MAP_PRIVATE;
		fd = fds[rnd(2)];
		break;
	default:
		flags |= MAP_SHARED_VALIDATE | (rnd(2) ? MAP_ANONYMOUS : 0);
		fd = fds[rnd(2)];
	}
	if (fd >= 0)
		off = (off_t)(rnd(FILE_PAGES + 2) * PG);
	errno = 0;
	sprintf(out, "mmap %u+%u prot %d kind %d off %ld odd %zu: %s", at, n, prot, kind, (long)(off / (long)PG), odd,
		result((long)mmap(page(at) + odd, n * PG, prot, flags, fd, off)));
}

static void step_munmap(char *out)
{
	unsigned at = rnd(PAGES), n = rnd(6);

	if (at + n > PAGES)
		n = PAGES - at;
	sprintf(out, "munmap %u+%u: %s", at, n, result(munmap(page(at), n * PG)));
}

static void step_mprotect(char *out)
{
	unsigned at = rnd(PAGES), n = rnd(9);
	int prot = prots[rnd(COUNT(prots))];

	if (at + n > PAGES)
		n = PAGES - at;
	sprintf(out, "mprotect %u+%u %d: %s", at, n, prot, result(mprotect(page(at), n * PG, prot)));
}

/* Whole mappings of equal size may be moved together since Linux 6.17: that is left out. */
static void step_mremap(char *out)
{
	unsigned at = rnd(PAGES), to = rnd(PAGES), old = rnd(5), new = rnd(7);
	int flags = (int)rnd(3);
	long r;

	if (at + old > PAGES)
		old = PAGES - at;
	if (at + new > PAGES && flags != 2)
		new = PAGES - at;
	if (to + new > PAGES)
		to = PAGES - new;
	if (flags == 2 && (old == new &&old > 1))
		new ++;
	if (to + new > PAGES)
		to = PAGES - new;
	if (flags == 1)
		flags = 0;
	r = (long)(flags ? mremap(page(at), old * PG, new *PG, MREMAP_MAYMOVE | MREMAP_FIXED, page(to))
			 : mremap(page(at), old * PG, new *PG, 0));
	sprintf(out, "mremap %u+%u to %d+%u: %s", at, old, flags ? (int)to : -1, new, result(r));
}

static void step_madvise(char *out)
{
	static const int advice[] = {MADV_NORMAL,
				     MADV_DONTNEED,
				     MADV_DONTNEED,
				     MADV_DONTFORK,
				     MADV_DOFORK,
				     MADV_WIPEONFORK,
				     MADV_KEEPONFORK,
				     MADV_WILLNEED,
				     MADV_HUGEPAGE,
				     MADV_COLD,
				     MADV_DODUMP,
				     MADV_DONTDUMP,
				     77,
				     MADV_RANDOM};
	unsigned at = rnd(PAGES), n = rnd(6);
	int a = advice[rnd(COUNT(advice))];

	if (at + n > PAGES)
		n = PAGES - at;
	sprintf(out, "madvise %u+%u %d: %s", at, n, a, result(madvise(page(at), n * PG, a)));
}

static void step_other(char *out)
{
	unsigned at = rnd(PAGES), n = rnd(6);
	unsigned char vec[PAGES];

	if (at + n > PAGES)
		n = PAGES - at;
	switch (rnd(5)) {
	case 0:
		sprintf(out, "mincore %u+%u: %s", at, n, result(mincore(page(at), n * PG, vec)));
		break;
	case 1:
		sprintf(out, "msync %u+%u: %s", at, n,
			result(msync(page(at), n * PG, rnd(2) ? MS_SYNC : MS_INVALIDATE)));
		break;
	case 2:
		sprintf(out, "mlock %u+%u: %s", at, n, result(mlock(page(at) + 5, n * PG)));
		break;
	case 3:
		sprintf(out, "munlock %u+%u: %s", at, n, result(munlock(page(at) + 5, n * PG)));
		break;
	default:
		sprintf(out, "mprotect odd: %s", result(mprotect(page(at) + 1, PG, PROT_READ)));
	}
}

/* What a child sees: MADV_DONTFORK, MADV_WIPEONFORK, sharing. */
static void step_fork(char *out)
{
	CHILD
	{
		say_state("  child");
		if (writable(page(3) + 8))
			page(3)[8] = 99;
	}
	sprintf(out, "forked");
}

static void setup(void)
{
	fds[0] = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
	MUST(ftruncate(fds[0], FILE_PAGES * PG - 100));
	for (unsigned i = 0; i < FILE_PAGES; i++) {
		char c = (char)(0xa0 + i);

		MUST(pwrite(fds[0], &c, 1, (off_t)(i * PG + 8)));
	}
	fds[1] = (int)MUST(open("file", O_RDONLY));
	MUST(pipe(probe));
	/* Guards on both sides, so that nothing grows out of the window or merges with what lies around it. */
	window = mmap(NULL, (PAGES + 64) * PG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(window != MAP_FAILED, "mmap");
	window += 32 * PG;
	MUST(munmap(window, PAGES * PG));
}

int main(void)
{
	static void (*const steps[])(char *) = {step_mmap,     step_mmap,   step_mmap,    step_munmap, step_mprotect,
						step_mprotect, step_mremap, step_madvise, step_other};
	char what[256];

	setup();
	for (unsigned i = 0; i < STEPS; i++) {
		if (i % 100 == 99)
			step_fork(what);
		else
			steps[rnd(COUNT(steps))](what);
		say_state(what);
		fill(i);
	}
	return 0;
}
