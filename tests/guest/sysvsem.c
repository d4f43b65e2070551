/* System V semaphores: semget(2), semop(2), semtimedop(2), semctl(2). */
#include "sysvipc.h"

#include <sys/resource.h>
#include <sys/syscall.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
	void *any;
};

static int value(int id, int n)
{
	return semctl(id, n, GETVAL);
}

static int set(int id, int n, int v)
{
	return semctl(id, n, SETVAL, (union semun){.val = v});
}

static int op(int id, int n, int by, int flags)
{
	struct sembuf b = {(unsigned short)n, (short)by, (short)flags};

	return semop(id, &b, 1);
}

/* Until somebody waits for it. */
static void wait_for_waiters(int id, int n, int cmd, int count)
{
	for (int i = 0; i < 1000 && semctl(id, n, cmd) < count; i++)
		sleep_ms(5);
	SAY("%s: %d", cmd == GETNCNT ? "GETNCNT" : "GETZCNT", semctl(id, n, cmd));
}

static void getting(void)
{
	T(semget(KEY(1), 1, 0));
	int a = MUST(SEM(KEY(1), 3, IPC_CREAT | IPC_EXCL | 0640));
	HOLDS(semget(KEY(1), 0, 0) == a);
	HOLDS(semget(KEY(1), 3, IPC_CREAT) == a);
	T(semget(KEY(1), 4, 0));
	T(semget(KEY(1), 3, IPC_CREAT | IPC_EXCL));
	T(semget(KEY(1), -1, 0));
	T(semget(KEY(1), 32001, 0));
	T(semget(KEY(2), 0, IPC_CREAT | 0600));
	T(semget(IPC_PRIVATE, 0, 0600));
	T(semget(IPC_PRIVATE, 32001, 0600));
	int b = MUST(SEM(IPC_PRIVATE, 32000, 0600));
	T(value(b, 31999));
	T(semctl(b, 0, IPC_RMID));
	T(semctl(b, 0, IPC_RMID));
	T(semctl(a, 0, IPC_RMID));
}

static void operations(void)
{
	int id = MUST(SEM(IPC_PRIVATE, 4, 0600));
	struct sembuf many[501];
	struct sembuf two[] = {{0, 2, 0}, {1, -1, IPC_NOWAIT}};
	struct sembuf same[] = {{0, -1, IPC_NOWAIT}, {0, 0, IPC_NOWAIT}, {0, 1, 0}};
	struct timespec t = {0, 20000000}, bad = {0, 1000000000}, negative = {-1, 0};

	T(op(id, 0, 5, 0));
	T(value(id, 0));
	HOLDS(semctl(id, 0, GETPID) == getpid());
	T(semctl(id, 1, GETPID));
	T(op(id, 0, -6, IPC_NOWAIT));
	T(op(id, 0, 0, IPC_NOWAIT));
	T(op(id, 1, 0, IPC_NOWAIT));
	HOLDS(semctl(id, 1, GETPID) == getpid());
	T(op(id, 0, 32767, 0));
	T(op(id, 4, 1, 0));
	T(op(id, 65535, 1, 0));
	T(semop(id, two, 2));
	T(value(id, 0));
	T(set(id, 0, 1));
	T(semop(id, same, 3));
	T(value(id, 0));
	T(semop(id, two, 0));
	T(semop(id, NULL, 0));
	T(semop(id, NULL, 1));
	T(semop(id, BAD, 501));
	T(semop(-1, BAD, 1));
	T(semop(-1, two, 1));
	T(semop(-1, two, 0));
	T(semop(GONE(id), two, 1));
	for (int i = 0; i < 501; i++)
		many[i] = (struct sembuf){(unsigned short)(i % 4), 1, 0};
	T(semop(id, many, 500));
	T(semop(id, many, 501));
	T(value(id, 3));
	many[499].sem_num = 4;
	T(semop(id, many, 500));
	many[499] = (struct sembuf){2, -32000, IPC_NOWAIT};
	T(semop(id, many, 500));
	T(value(id, 2));
	T(semtimedop(id, two, 1, BAD));
	T(semtimedop(id, two, 1, &bad));
	T(semtimedop(id, two, 1, &negative));
	T(semtimedop(id, BAD, 1, &bad));
	T(semtimedop(id, two, 501, &bad));
	two[0] = (struct sembuf){2, -32000, 0};
	int64_t from = now_ms();
	T(semtimedop(id, two, 1, &t));
	HOLDS(now_ms() - from >= 19 && now_ms() - from < 5000);
	t = (struct timespec){0, 0};
	T(semtimedop(id, two, 1, &t));
	T(semctl(id, 2, GETNCNT));
	T(semctl(id, 0, IPC_RMID));
	T(op(id, 0, 1, 0));
}

static void control(void)
{
	int id = MUST(SEM(KEY(4), 3, IPC_CREAT | 0620));
	unsigned short all[3] = {1, 2, 32767}, out[3];
	struct semid_ds d, e;
	struct seminfo info;
	time_t now = time(NULL);

	T(semctl(id, 0, IPC_STAT, &d));
	SAY("nsems %lu mode %o otime %ld", d.sem_nsems, d.sem_perm.mode, d.sem_otime);
	HOLDS(d.sem_ctime >= now && d.sem_ctime <= now + 5 && d.sem_perm.__key == KEY(4));
	HOLDS(d.sem_perm.uid == geteuid() && d.sem_perm.cgid == getegid());
	T(semctl(id, 0, SETALL, all));
	T(semctl(id, 0, GETALL, out));
	SAY("%d %d %d", out[0], out[1], out[2]);
	HOLDS(semctl(id, 1, GETPID) == getpid());
	all[1] = 32768;
	T(semctl(id, 0, SETALL, all));
	T(semctl(id, 0, SETALL, BAD));
	T(semctl(id, 0, GETALL, BAD));
	T(value(id, 0));
	T(set(id, 0, 32768));
	T(set(id, 0, -1));
	T(set(id, 3, 1));
	T(set(id, -1, 1));
	T(set(GONE(id), 0, -1));
	T(value(id, 3));
	T(value(id, -1));
	T(semctl(id, 3, GETPID));
	T(semctl(id, 3, GETNCNT));
	T(semctl(id, 99, GETALL, out));
	T(semctl(id, 0, 99));
	T(syscall(SYS_semctl, id, 0, -1, 0));
	T(semctl(-1, 0, 99));
	T(semctl(-1, 0, IPC_STAT, &d));
	T(semctl(id, 0, IPC_STAT, BAD));
	T(semctl(id, 0, IPC_SET, BAD));
	d.sem_perm.mode = 0777;
	d.sem_nsems = 9;
	T(semctl(id, 0, IPC_SET, &d));
	T(op(id, 0, 1, 0));
	T(semctl(id, 0, IPC_STAT, &e));
	SAY("nsems %lu mode %o", e.sem_nsems, e.sem_perm.mode);
	HOLDS(e.sem_otime >= now);
	d.sem_perm.gid = -1;
	T(semctl(id, 0, IPC_SET, &d));
	HOLDS(semctl(0, 0, IPC_INFO, &info) >= (id & 32767));
	SAY("%d %d %d %d %d %d %d %d %d %d", info.semmap, info.semmni, info.semmns, info.semmnu, info.semmsl,
	    info.semopm, info.semume, info.semusz, info.semvmx, info.semaem);
	HOLDS(semctl(0, 0, SEM_INFO, &info) >= (id & 32767));
	HOLDS(info.semusz >= 1 && info.semaem >= 3);
	HOLDS(semctl(id & 32767, 0, SEM_STAT, &e) == id);
	HOLDS(semctl(id & 32767, 0, SEM_STAT_ANY, &e) == id && e.sem_nsems == 3);
	T(semctl(32767, 0, SEM_STAT, &e));
	T(semctl(id, 0, IPC_RMID));
}

static pid_t child_op(int id, struct sembuf *ops, size_t count, int code)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(semop(id, ops, count) ? errno == EIDRM ? 100 : errno == EINTR ? 101 : 102 : code);
	return pid;
}

static void ended(pid_t pid)
{
	int status;

	MUST(waitpid(pid, &status, 0));
	say_status("waiter", status);
}

static void waiting(void)
{
	int id = MUST(SEM(IPC_PRIVATE, 3, 0600));
	struct sembuf one = {0, -1, 0}, three = {0, -3, 0}, zero = {1, 0, 0};
	struct sembuf both[] = {{0, -1, 0}, {1, -1, 0}};
	pid_t a, b, c;

	a = child_op(id, &three, 1, 3);
	wait_for_waiters(id, 0, GETNCNT, 1);
	b = child_op(id, &one, 1, 1);
	wait_for_waiters(id, 0, GETNCNT, 2);
	T(op(id, 0, 2, 0)); /* not enough for the first: the second goes */
	ended(b);
	T(value(id, 0));
	HOLDS(semctl(id, 0, GETPID) == b);
	T(op(id, 0, 2, 0));
	ended(a);
	T(value(id, 0));

	T(set(id, 1, 2));
	a = child_op(id, &zero, 1, 0);
	wait_for_waiters(id, 1, GETZCNT, 1);
	b = child_op(id, both, 2, 2);
	wait_for_waiters(id, 0, GETNCNT, 1);
	T(semctl(id, 1, GETNCNT));
	T(op(id, 1, -1, 0));
	T(op(id, 0, 1, 0)); /* takes the last of 1 along, which the other waits for */
	ended(b);
	ended(a);

	a = child_op(id, both, 2, 2);
	wait_for_waiters(id, 0, GETNCNT, 1);
	T(op(id, 0, 1, 0));
	wait_for_waiters(id, 1, GETNCNT, 1);
	T(semctl(id, 0, GETNCNT));
	T(value(id, 0));
	T(semctl(id, 0, SETALL, (unsigned short[]){7, 7, 7}));
	ended(a);
	T(value(id, 0));
	T(value(id, 1));

	T(set(id, 0, 0));
	a = child_op(id, &one, 1, 1);
	b = child_op(id, &one, 1, 1);
	wait_for_waiters(id, 0, GETNCNT, 2);
	kill(a, SIGKILL);
	ended(a);
	T(semctl(id, 0, GETNCNT));
	c = child_op(id, &three, 1, 1);
	wait_for_waiters(id, 0, GETNCNT, 2);
	T(semctl(id, 0, IPC_RMID));
	ended(b);
	ended(c);
}

static void interrupted(void)
{
	int id = MUST(SEM(IPC_PRIVATE, 1, 0600));
	struct timespec t = {10, 0};
	struct sembuf one = {0, -1, 0};

	signal_later(SA_RESTART, on_signal, 50);
	T(op(id, 0, -1, 0));
	signal_later(0, on_signal, 50);
	T(semtimedop(id, &one, 1, &t));
	T(semctl(id, 0, GETNCNT));
	CHILD
	{
		one.sem_op = 1;
		sleep_ms(50);
		semop(id, &one, 1);
	}
	one.sem_op = -1;
	T(semtimedop(id, &one, 1, &t));
	T(semctl(id, 0, IPC_RMID));
}

static _Atomic pid_t thread_id;

static void *add_and_end(void *arg)
{
	thread_id = gettid();
	T(op(*(int *)arg, 0, 1, SEM_UNDO));
	return NULL;
}

static void undoing(const char *self)
{
	int id = MUST(SEM(IPC_PRIVATE, 3, 0600));
	struct sembuf one = {0, -1, 0};
	pthread_t thread;
	pid_t a;

	T(set(id, 0, 5));
	CHILD
	{
		T(op(id, 0, 3, SEM_UNDO));
		T(op(id, 0, -7, SEM_UNDO));
		T(op(id, 1, 4, SEM_UNDO));
		T(op(id, 2, 1, 0));
		T(value(id, 0));
		a = getpid();
	}
	SAY("%d %d %d", value(id, 0), value(id, 1), value(id, 2));
	CHILD
	{
		T(op(id, 0, 5, SEM_UNDO));
		T(set(id, 0, 1)); /* forgets it */
	}
	T(value(id, 0));
	CHILD
	{
		T(op(id, 0, 5, SEM_UNDO));
		CHILD
		{
			T(op(id, 0, -6, 0)); /* less is left than is to be taken */
		}
	}
	T(value(id, 0));
	CHILD
	{
		T(op(id, 1, 32767, SEM_UNDO));
		T(op(id, 1, -32767, IPC_NOWAIT));
		T(op(id, 1, 1, SEM_UNDO)); /* more than can be undone */
		T(op(id, 1, 2, SEM_UNDO));
		T(op(id, 1, -1, SEM_UNDO | IPC_NOWAIT));
	}
	SAY("%d", value(id, 1));
	CHILD
	{
		T(op(id, 0, 2, SEM_UNDO));
		pthread_create(&thread, NULL, add_and_end, &id);
		pthread_join(thread, NULL);
		while (tgkill(getpid(), thread_id, 0) == 0) /* which leaves the list a little later */
			sched_yield();
		T(value(id, 0)); /* threads share the list */
		T(unshare(CLONE_SYSVSEM));
		T(value(id, 0));
		T(op(id, 0, 2, SEM_UNDO));
	}
	T(value(id, 0));
	a = child_op(id, &one, 1, 1);
	wait_for_waiters(id, 0, GETNCNT, 1);
	T(set(id, 1, 1));
	CHILD
	{
		T(op(id, 1, -1, SEM_UNDO));
		T(set(id, 2, 0));
	}
	T(value(id, 1));
	CHILD
	{
		T(set(id, 2, 3));
		T(op(id, 2, -1, SEM_UNDO));
		execl(self, self, "nothing", NULL);
	}
	T(value(id, 2));
	CHILD
	{
		T(set(id, 0, 0));
		int gone = SEM(IPC_PRIVATE, 2, 0600);
		T(op(gone, 0, 1, SEM_UNDO));
		T(semctl(gone, 0, IPC_RMID));
	}
	T(op(id, 0, 1, 0));
	ended(a);
	T(semctl(id, 0, IPC_RMID));
}

static void undo_wakes(void)
{
	int id = MUST(SEM(IPC_PRIVATE, 1, 0600));
	struct sembuf lock = {0, -1, SEM_UNDO};
	pid_t owner, waiter;

	T(set(id, 0, 1));
	fflush(stdout);
	owner = fork();
	if (!owner) {
		semop(id, &lock, 1);
		pause();
	}
	while (value(id, 0))
		sleep_ms(5);
	waiter = child_op(id, &lock, 1, 1);
	wait_for_waiters(id, 0, GETNCNT, 1);
	kill(owner, SIGKILL);
	ended(owner);
	ended(waiter);
	T(value(id, 0));
	T(semctl(id, 0, IPC_RMID));
}

static void permissions(void)
{
	int id = MUST(SEM(KEY(5), 2, IPC_CREAT | 0604));
	unsigned short all[2] = {40000, 0};
	struct semid_ds d;

	if (geteuid() != 0) {
		SAY("permissions of others: not as root");
		return;
	}
	CHILD
	{
		become_nobody();
		HOLDS(semget(KEY(5), 0, 0) == id);
		T(semget(KEY(5), 0, 0200));
		T(op(id, 0, 1, 0));
		T(op(id, 0, 0, 0));
		T(op(id, 9, 1, 0));
		T(value(id, 0));
		T(value(id, 9));
		T(set(id, 0, 1));
		T(set(id, 9, 1));
		T(set(id, 9, -1));
		T(semctl(id, 0, GETALL, all));
		T(semctl(id, 0, SETALL, all));
		T(semctl(id, 0, SETALL, BAD));
		T(semctl(id, 0, IPC_STAT, &d));
		T(semctl(id, 0, IPC_SET, &d));
		T(semctl(id, 0, IPC_SET, BAD));
		T(semctl(id, 0, IPC_RMID));
	}
	T(semctl(id, 0, IPC_RMID));
}

static void many_waiters(void)
{
	int id = MUST(SEM(IPC_PRIVATE, 32000, 0600));
	struct sembuf ops[500];
	pid_t pids[20];

	for (int i = 0; i < 500; i++)
		ops[i] = (struct sembuf){(unsigned short)(i * 64), -1, 0};
	for (size_t i = 0; i < COUNT(pids); i++)
		pids[i] = child_op(id, ops, 500, 0);
	wait_for_waiters(id, 0, GETNCNT, COUNT(pids));
	for (int i = 0; i < 500; i++)
		ops[i].sem_op = COUNT(pids);
	T(semop(id, ops, 500));
	for (size_t i = 0; i < COUNT(pids); i++)
		ended(pids[i]);
	T(value(id, 0));
	T(semctl(id, 0, IPC_RMID));
}

static void body(void)
{
	getting();
	operations();
	control();
	waiting();
	interrupted();
	undoing("/proc/self/exe");
	undo_wakes();
	permissions();
	many_waiters();
}

int main(int argc, char **argv __attribute__((unused)))
{
	return argc > 1 ? 0 : with_cleanup(body);
}
