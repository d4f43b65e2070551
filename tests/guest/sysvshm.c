/* System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2). */
#include "sysvipc.h"

#include <sys/resource.h>
#include <sys/syscall.h>

static long attached(int id)
{
	struct shmid_ds d;

	return shmctl(id, IPC_STAT, &d) ? -1 : (long)d.shm_nattch;
}

static void getting(void)
{
	T(shmget(KEY(1), 100, 0));
	int a = MUST(SHM(KEY(1), 10000, IPC_CREAT | IPC_EXCL | 0640));
	HOLDS(shmget(KEY(1), 0, 0) == a);
	HOLDS(shmget(KEY(1), 10000, IPC_CREAT) == a);
	T(shmget(KEY(1), 10001, 0));
	T(shmget(KEY(1), 100, IPC_CREAT | IPC_EXCL));
	T(shmget(KEY(1), 20000, IPC_CREAT | IPC_EXCL));
	T(shmget(KEY(2), 0, IPC_CREAT | 0600));
	T(shmget(IPC_PRIVATE, 0, 0600));
	T(shmget(IPC_PRIVATE, SIZE_MAX, 0600));
	T(shmget(IPC_PRIVATE, SIZE_MAX - (1 << 24), 0600));
	T(shmget(IPC_PRIVATE, 1ul << 62, 0600));
	T(shmget(IPC_PRIVATE, 4096, SHM_HUGETLB | 5 << 26 | 0600));
	int b = MUST(SHM(IPC_PRIVATE, 1, 0));
	HOLDS(a != b);
	int c = MUST(SHM(IPC_PRIVATE, 1ul << 33, SHM_NORESERVE | 0600));
	T(shmctl(c, IPC_RMID, NULL));
	T(shmctl(b, IPC_RMID, NULL));
	T(shmctl(b, IPC_RMID, NULL));
	T(shmctl(a, IPC_RMID, NULL));
	T(shmget(KEY(1), 0, 0));
}

static void attaching(void)
{
	int id = MUST(SHM(IPC_PRIVATE, 3 * 4096 - 7, 0600));
	char *p = shmat(id, NULL, 0);
	char *q = shmat(id, NULL, SHM_RDONLY);

	HOLDS(p != (void *)-1 && q != (void *)-1 && p != q);
	HOLDS(attached(id) == 2);
	HOLDS(p[0] == 0 && p[3 * 4096 - 1] == 0);
	strcpy(p + 4096, "seen");
	SAY("%s", q + 4096);
	T(mprotect(q, 4096, PROT_READ | PROT_WRITE));
	T(mprotect(p, 3 * 4096, PROT_READ));
	HOLDS(attached(id) == 2);
	T(mprotect(p, 3 * 4096, PROT_READ | PROT_WRITE));
	T(shmdt(p + 4096));
	T(shmdt(p + 1));
	T(shmdt(BAD));
	T(shmdt(NULL));
	T(shmdt(q));
	T(shmdt(q));
	HOLDS(attached(id) == 1);
	T((long)shmat(id, p, 0));
	T((long)shmat(id, p + 1, 0));
	T((long)shmat(id, p + 2 * 4096, 0));
	T((long)shmat(id, p + 1, SHM_RND));
	T((long)shmat(id, NULL, SHM_REMAP));
	T((long)shmat(id, (void *)1, SHM_REMAP | SHM_RND));
	T((long)shmat(id, (void *)-4096, 0));
	T((long)shmat(id, (void *)(1ul << 60), 0));
	T((long)shmat(-1, NULL, 0));
	T((long)shmat(GONE(id), NULL, 0));
	T((long)shmat(id + 32768, NULL, 0));
	HOLDS(attached(id) == 1);
	HOLDS(shmat(id, p, SHM_REMAP) == p);
	HOLDS(attached(id) == 1);
	SAY("%s", p + 4096);
	T(shmdt(p));
	HOLDS(attached(id) == 0);
	HOLDS(shmat(id, p + 5, SHM_RND) == p);
	SAY("%s", p + 4096);
	q = shmat(id, NULL, SHM_EXEC);
	HOLDS(q != (void *)-1);
	T(shmdt(q));
	T(shmctl(id, IPC_RMID, NULL));
	T(shmdt(p));
	T(attached(id));
}

/* Parts of an attachment. */
static void parts(void)
{
	int id = MUST(SHM(IPC_PRIVATE, 5 * 4096, 0600));
	char *p = shmat(id, NULL, 0);
	char *q;

	for (int i = 0; i < 5; i++)
		p[i * 4096] = (char)('a' + i);
	T(munmap(p + 4096, 4096));
	HOLDS(attached(id) == 2);
	T(munmap(p, 4096));
	HOLDS(attached(id) == 1);
	T(shmdt(p));
	HOLDS(attached(id) == 0);

	p = shmat(id, NULL, 0);
	T(mprotect(p + 4096, 4096, PROT_READ));
	HOLDS(attached(id) == 3);
	T(shmdt(p));
	HOLDS(attached(id) == 0);

	p = shmat(id, NULL, 0);
	q = mremap(p, 5 * 4096, 5 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, p - 64 * 4096);
	HOLDS(q == p - 64 * 4096);
	HOLDS(attached(id) == 1);
	SAY("%c%c", q[0], q[4 * 4096]);
	T(shmdt(q));
	HOLDS(attached(id) == 0);

	p = shmat(id, NULL, 0);
	T(mmap(p + 2 * 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + 2 * 4096);
	HOLDS(attached(id) == 2);
	T(shmdt(p));
	HOLDS(attached(id) == 0);
	HOLDS(p[2 * 4096] == 0);
	munmap(p + 2 * 4096, 4096);
	T(shmctl(id, IPC_RMID, NULL));
}

static void processes(const char *self)
{
	int id = MUST(SHM(KEY(3), 4096, IPC_CREAT | 0600));
	char *p = shmat(id, NULL, 0);
	struct shmid_ds d;
	pid_t child;

	CHILD
	{
		HOLDS(attached(id) == 2);
		strcpy(p, "by the child");
		T(shmdt(p));
		HOLDS(attached(id) == 1);
		HOLDS(shmat(id, NULL, 0) != (void *)-1);
	}
	HOLDS(attached(id) == 1);
	SAY("%s", p);
	child = fork();
	if (!child) {
		execl(self, self, "nothing", NULL);
		_exit(1);
	}
	waitpid(child, NULL, 0);
	HOLDS(attached(id) == 1);
	HOLDS(shmctl(id, IPC_STAT, &d) == 0 && d.shm_cpid == getpid() && d.shm_lpid == child);
	child = fork();
	if (!child) {
		pause();
		_exit(1);
	}
	HOLDS(attached(id) == 2);
	HOLDS(shmctl(id, IPC_STAT, &d) == 0 && d.shm_lpid == getpid());
	T(shmctl(id, IPC_RMID, NULL));
	HOLDS(shmctl(id, IPC_STAT, &d) == 0 && d.shm_perm.mode == (01000 | 0600) && d.shm_perm.__key == 0);
	T(shmget(KEY(3), 0, 0));
	T(shmdt(p));
	HOLDS(attached(id) == 1);
	p = shmat(id, NULL, 0);
	HOLDS(p != (void *)-1);
	SAY("%s", p);
	T(shmdt(p));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	T(attached(id));
}

static void control(void)
{
	int id = MUST(SHM(KEY(4), 5000, IPC_CREAT | 0620));
	struct shmid_ds d, e;
	struct shminfo info;
	struct shm_info usage;
	time_t now = time(NULL);

	T(shmctl(id, IPC_STAT, &d));
	SAY("size %lu mode %o nattch %lu atime %ld dtime %ld lpid %d", d.shm_segsz, d.shm_perm.mode, d.shm_nattch,
	    d.shm_atime, d.shm_dtime, d.shm_lpid);
	HOLDS(d.shm_cpid == getpid() && d.shm_perm.__key == KEY(4) && d.shm_perm.__seq == id >> 15);
	HOLDS(d.shm_perm.uid == geteuid() && d.shm_perm.cuid == geteuid() && d.shm_perm.gid == getegid());
	HOLDS(d.shm_ctime >= now && d.shm_ctime <= now + 5);
	T(shmctl(id, IPC_STAT, NULL));
	T(shmctl(id, IPC_STAT, BAD));
	T(shmctl(id, IPC_SET, BAD));
	T(shmctl(GONE(id), IPC_SET, BAD));
	T(shmctl(GONE(id), IPC_SET, &d));
	T(shmctl(id + 32768, IPC_STAT, &e));
	T(shmctl(-1, IPC_STAT, &e));
	T(shmctl(id, -1, &e));
	T(shmctl(id, 99, &e));
	T(syscall(SYS_shmctl, id, IPC_STAT | 0x100, &e));
	d.shm_perm.mode = 07777;
	d.shm_segsz = 1;
	T(shmctl(id, IPC_SET, &d));
	T(shmctl(id, IPC_STAT, &e));
	SAY("size %lu mode %o", e.shm_segsz, e.shm_perm.mode);
	d.shm_perm.uid = -1;
	T(shmctl(id, IPC_SET, &d));
	HOLDS(shmctl(0, IPC_INFO, (void *)&info) >= (id & 32767));
	SAY("min %lu ni %lu seg %lu", info.shmmin, info.shmmni, info.shmseg);
	HOLDS(shmctl(0, SHM_INFO, (void *)&usage) >= (id & 32767));
	HOLDS(usage.used_ids >= 1 && usage.shm_tot >= 2);
	T(shmctl(0, IPC_INFO, BAD));
	HOLDS(shmctl(id & 32767, SHM_STAT, &e) == id);
	HOLDS(shmctl(id & 32767, SHM_STAT_ANY, &e) == id && e.shm_segsz == 5000);
	T(shmctl(32767, SHM_STAT, &e));
	T(shmctl(id, SHM_LOCK, NULL));
	T(shmctl(id, IPC_STAT, &e));
	SAY("mode %o", e.shm_perm.mode);
	T(shmctl(id, SHM_UNLOCK, NULL));
	T(shmctl(id, SHM_UNLOCK, NULL));
	T(shmctl(id, IPC_STAT, &e));
	SAY("mode %o", e.shm_perm.mode);
	T(shmctl(id, IPC_RMID, NULL));
}

static void permissions(void)
{
	int id = MUST(SHM(KEY(5), 4096, IPC_CREAT | 0604));
	int hidden = MUST(SHM(KEY(6), 4096, IPC_CREAT | 0600));
	struct shmid_ds d;

	if (geteuid() != 0) {
		SAY("permissions of others: not as root");
		return;
	}
	CHILD
	{
		struct rlimit none = {0, 0};

		become_nobody();
		HOLDS(shmget(KEY(5), 0, 0) == id);
		HOLDS(shmget(KEY(5), 0, 0444) == id);
		T(shmget(KEY(5), 0, 0600));
		T(shmget(KEY(6), 0, 0400));
		HOLDS(shmget(KEY(6), 0, 0) == hidden);
		T((long)shmat(id, NULL, 0));
		HOLDS(shmat(id, NULL, SHM_RDONLY) != (void *)-1);
		T((long)shmat(id, NULL, SHM_RDONLY | SHM_EXEC));
		T(shmctl(id, IPC_STAT, &d));
		T(shmctl(hidden, IPC_STAT, &d));
		T(shmctl(hidden & 32767, SHM_STAT, &d));
		HOLDS(shmctl(hidden & 32767, SHM_STAT_ANY, &d) == hidden);
		T(shmctl(id, IPC_SET, &d));
		T(shmctl(id, IPC_RMID, NULL));
		T(shmctl(id, SHM_LOCK, NULL));
		T(shmctl(id, SHM_UNLOCK, NULL));
		int own = SHM(IPC_PRIVATE, 4096, 0600);
		T(shmctl(own, SHM_LOCK, NULL));
		T(shmctl(own, SHM_UNLOCK, NULL));
		setrlimit(RLIMIT_MEMLOCK, &none);
		T(shmctl(own, SHM_LOCK, NULL));
		T(shmctl(own, SHM_UNLOCK, NULL));
		T(shmctl(own, IPC_RMID, NULL));
	}
	shmctl(id, IPC_STAT, &d);
	d.shm_perm.uid = 54321;
	d.shm_perm.mode = 0400;
	T(shmctl(id, IPC_SET, &d));
	CHILD
	{
		become_nobody();
		T((long)shmat(id, NULL, 0));
		HOLDS(shmat(id, NULL, SHM_RDONLY) != (void *)-1);
		T(shmctl(id, IPC_RMID, NULL));
	}
	T(attached(id));
	T(shmctl(hidden, IPC_RMID, NULL));
}

static char *line_with(const char *file, const char *text, char *line, size_t size)
{
	FILE *f = fopen(file, "r");
	char *found = NULL;

	must(f, "open a file of /proc");
	while (!found && fgets(line, (int)size, f))
		if (strstr(line, text))
			found = line;
	fclose(f);
	return found;
}

static void seen_in_proc(void)
{
	int id = MUST(SHM(KEY(7), 5000, IPC_CREAT | 0640));
	char *p = shmat(id, NULL, 0);
	char line[512], key[32];
	int values[10] = {0};

	p[0] = 1;
	snprintf(key, sizeof(key), "/SYSV%08x (deleted)", KEY(7));
	HOLDS(line_with("/proc/self/maps", key, line, sizeof(line)) != NULL);
	HOLDS(strstr(line, " rw-s 00000000 "));
	snprintf(key, sizeof(key), " %d ", id);
	HOLDS(strstr(line, key));
	HOLDS(line_with("/proc/sysvipc/shm", "key", line, sizeof(line)) != NULL);
	SAY("%s", line);
	snprintf(key, sizeof(key), "%10d %10d  ", KEY(7), id);
	HOLDS(line_with("/proc/sysvipc/shm", key, line, sizeof(line)) != NULL);
	HOLDS(sscanf(line, "%d %d %o %d %d %d %d %d", &values[0], &values[1], &values[2], &values[3], &values[4],
		     &values[5], &values[6], &values[7]) == 8);
	SAY("mode %o size %d nattch %d, %zu bytes", values[2], values[3], values[6], strlen(line));
	HOLDS(values[4] == getpid() && values[5] == getpid());
	HOLDS(line_with("/proc/sys/kernel/shmmni", "4096", line, sizeof(line)) != NULL);
	T(shmdt(p));
	T(shmctl(id, IPC_RMID, NULL));
}

static void body(void)
{
	getting();
	attaching();
	parts();
	processes("/proc/self/exe");
	control();
	permissions();
	seen_in_proc();
}

int main(int argc, char **argv __attribute__((unused)))
{
	return argc > 1 ? 0 : with_cleanup(body);
}
