/* IPC namespaces: unshare(2), clone(2) and setns(2) with CLONE_NEWIPC. */
#include "sysvipc.h"

#include <linux/sched.h>
#include <sys/syscall.h>

static long link_number(const char *path)
{
	char text[64];
	ssize_t n = readlink(path, text, sizeof(text) - 1);
	long number = 0;

	text[n > 0 ? n : 0] = 0;
	return sscanf(text, "ipc:[%ld]", &number) == 1 ? number : -1;
}

static void separate(void)
{
	int id = MUST(SHM(KEY(1), 4096, IPC_CREAT | 0600));
	int sem = MUST(SEM(KEY(1), 1, IPC_CREAT | 0600));
	int home = MUST(open("/proc/self/ns/ipc", O_RDONLY));
	long number = link_number("/proc/self/ns/ipc");
	struct sembuf up = {0, 1, SEM_UNDO};
	char *p = shmat(id, NULL, 0);
	struct shmid_ds d;
	struct stat st;

	HOLDS(fstat(home, &st) == 0 && (long)st.st_ino == number);
	strcpy(p, "of the old one");
	T(semop(sem, &up, 1));
	T(unshare(CLONE_NEWIPC));
	HOLDS(link_number("/proc/self/ns/ipc") > 0 && link_number("/proc/self/ns/ipc") != number);
	T(shmget(KEY(1), 0, 0));
	T(semget(KEY(1), 0, 0));
	SAY("%s", p);
	T(shmget(KEY(1), 4096, IPC_CREAT | 0600)); /* the first of a new namespace is 0 */
	T(semget(KEY(1), 1, IPC_CREAT | 0600));
	T(msgget(KEY(1), IPC_CREAT | 0600));
	T(semctl(0, 0, GETVAL));
	T(setns(home, CLONE_NEWNET));
	T(setns(home, 0));
	HOLDS(link_number("/proc/self/ns/ipc") == number);
	HOLDS(shmget(KEY(1), 0, 0) == id);
	HOLDS(shmctl(id, IPC_STAT, &d) == 0 && d.shm_nattch == 1);
	T(semctl(sem, 0, GETVAL)); /* undone by leaving */
	T(shmdt(p));
	T(shmctl(id, IPC_RMID, NULL));
	T(semctl(sem, 0, IPC_RMID));
	T(setns(home, CLONE_NEWIPC));
	close(home);
}

static void by_clone(void)
{
	struct clone_args a = {.flags = CLONE_NEWIPC, .exit_signal = SIGCHLD};
	struct clone_args b = {.flags = CLONE_NEWIPC | CLONE_SYSVSEM, .exit_signal = SIGCHLD};
	int id = MUST(MSG(KEY(2), IPC_CREAT | 0600));
	int status;
	long pid;

	T(syscall(SYS_clone3, &b, sizeof(b)));
	fflush(stdout);
	pid = syscall(SYS_clone3, &a, sizeof(a));
	if (!pid) {
		T(msgget(KEY(2), 0));
		T(msgget(KEY(2), IPC_CREAT | 0600));
		T(msgctl(0, IPC_RMID, NULL));
		_exit(0);
	}
	must(pid > 0, "clone3");
	waitpid((pid_t)pid, &status, 0);
	say_status("child", status);
	T(msgctl(id, IPC_RMID, NULL));
}

static void limits(void)
{
	int fd;

	T(unshare(CLONE_NEWIPC));
	fd = open("/proc/sys/kernel/shmmni", O_WRONLY);
	if (fd < 0) {
		SAY("/proc/sys is read-only");
		return;
	}
	HOLDS(write(fd, "2\n", 2) == 2);
	T0(shmget(IPC_PRIVATE, 1, 0600));
	T0(shmget(IPC_PRIVATE, 1, 0600));
	T(shmget(IPC_PRIVATE, 1, 0600));
	close(fd);
	fd = open("/proc/sys/kernel/sem", O_WRONLY);
	HOLDS(write(fd, "10 20 3 4\n", 10) == 10);
	SAY("%s", get_file("/proc/sys/kernel/sem"));
	T(semget(IPC_PRIVATE, 11, 0600));
	T0(semget(IPC_PRIVATE, 10, 0600));
	T0(semget(IPC_PRIVATE, 10, 0600));
	T(semget(IPC_PRIVATE, 1, 0600));
	T(semop(0, (struct sembuf[4]){{0}}, 4));
	close(fd);
	fd = open("/proc/sys/kernel/msgmax", O_WRONLY);
	T(write(fd, "x\n", 2));
	HOLDS(write(fd, "10\n", 3) == 3);
	T0(msgget(IPC_PRIVATE, 0600));
	T(msgsnd(0, (long[]){1, 2, 3}, 11, 0));
	T(msgsnd(0, (long[]){1, 2, 3}, 10, 0));
}

static void refused(void)
{
	CHILD
	{
		int fd = open("/proc/self/ns/ipc", O_RDONLY);

		become_nobody();
		T(unshare(CLONE_NEWIPC));
		T(setns(fd, 0));
	}
}

static void body(void)
{
	separate();
	by_clone();
	refused();
	limits();
}

int main(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(unshare(CLONE_NEWIPC) ? 1 : 0);
	waitpid(pid, &status, 0);
	if (status)
		skip("IPC namespaces need CAP_SYS_ADMIN");
	return with_cleanup(body);
}
