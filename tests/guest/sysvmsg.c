/* System V message queues: msgget(2), msgsnd(2), msgrcv(2), msgctl(2). */
#include "sysvipc.h"

#include <sys/syscall.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

static struct {
	long type;
	char text[65536];
} m;

static int send_type(int id, long type, const char *text, int flags)
{
	m.type = type;
	strcpy(m.text, text);
	return msgsnd(id, &m, strlen(text), flags);
}

static void receive(const char *what, int id, size_t max, long type, int flags)
{
	ssize_t n;

	memset(m.text, 0, 100);
	errno = 0;
	n = msgrcv(id, &m, max, type, flags);
	if (n < 0)
		SAY("%s = -1 %s", what, strerrorname_np(errno));
	else
		SAY("%s = %zd, type %ld '%s'", what, n, m.type, m.text);
}
#define R(...) receive("msgrcv(" #__VA_ARGS__ ")", __VA_ARGS__)

static void getting(void)
{
	T(msgget(KEY(1), 0));
	int a = MUST(MSG(KEY(1), IPC_CREAT | IPC_EXCL | 0640));
	HOLDS(msgget(KEY(1), 0) == a);
	T(msgget(KEY(1), IPC_CREAT | IPC_EXCL));
	int b = MUST(MSG(IPC_PRIVATE, 0600));
	HOLDS(a != b);
	T(msgctl(b, IPC_RMID, NULL));
	T(msgctl(b, IPC_RMID, NULL));
	T(msgctl(a, IPC_RMID, NULL));
}

static void selecting(void)
{
	int id = MUST(MSG(IPC_PRIVATE, 0600));
	static const long types[] = {5, 3, 9, 3, 1, 7};

	for (size_t i = 0; i < COUNT(types); i++)
		T(send_type(id, types[i], (char[]){(char)('a' + i), 0}, 0));
	R(id, 10, 0, MSG_COPY | IPC_NOWAIT);
	R(id, 10, 4, MSG_COPY | IPC_NOWAIT);
	R(id, 10, 6, MSG_COPY | IPC_NOWAIT);
	R(id, 10, -1, MSG_COPY | IPC_NOWAIT);
	R(id, 10, 0, MSG_COPY);
	R(id, 10, 0, MSG_COPY | IPC_NOWAIT | MSG_EXCEPT);
	R(id, 0, 0, MSG_COPY | IPC_NOWAIT);
	R(id, 0, 0, MSG_COPY | IPC_NOWAIT | MSG_NOERROR);
	R(id, 10, 3, 0);
	R(id, 10, -4, 0);
	R(id, 10, -4, 0);
	R(id, 10, -4, IPC_NOWAIT);
	R(id, 10, 5, MSG_EXCEPT);
	R(id, 10, LONG_MIN, 0);
	R(id, 10, 0, 0);
	R(id, 10, 0, IPC_NOWAIT);
	T(send_type(id, 1, "long text", 0));
	R(id, 4, 0, 0);
	R(id, 4, 0, MSG_NOERROR);
	R(id, 4, 0, IPC_NOWAIT);
	T(send_type(id, 1, "", 0));
	R(id, 0, 0, 0);
	T(msgctl(id, IPC_RMID, NULL));
}

static void errors(void)
{
	int id = MUST(MSG(IPC_PRIVATE, 0600));
	struct msqid_ds d;

	T(send_type(id, 0, "x", 0));
	T(send_type(id, -1, "x", 0));
	m.type = 1;
	T(msgsnd(id, &m, 8193, 0));
	T(msgsnd(id, &m, (size_t)-1, 0));
	T(msgsnd(-1, &m, 1, 0));
	T(msgsnd(GONE(id), &m, 1, 0));
	T(msgsnd(id, BAD, 1, 0));
	T(msgsnd(id, BAD, 10000, 0));
	T(msgsnd(-1, BAD, 1, 0));
	*(long *)edge(8) = 1;
	T(msgsnd(id, edge(8), 1, 0));
	T(msgsnd(id, edge(8), 0, 0));
	T(msgrcv(id, &m, (size_t)-1, 0, 0));
	T(msgrcv(-1, &m, 1, 0, 0));
	T(msgrcv(GONE(id), &m, 1, 0, 0));
	T(msgrcv(id, BAD, 1, 0, 0));
	T(msgrcv(id, &m, 1, 0, IPC_NOWAIT)); /* it is gone */
	T(msgsnd(id, &m, 8192, IPC_NOWAIT));
	T(msgsnd(id, &m, 8192, IPC_NOWAIT));
	T(msgsnd(id, &m, 1, IPC_NOWAIT));
	T(msgsnd(id, &m, 0, IPC_NOWAIT));
	T(msgctl(id, IPC_STAT, &d));
	SAY("bytes %lu count %lu max %lu", d.__msg_cbytes, d.msg_qnum, d.msg_qbytes);
	T(msgctl(id, IPC_RMID, NULL));
}

static void control(void)
{
	int id = MUST(MSG(KEY(4), IPC_CREAT | 0620));
	struct msqid_ds d, e;
	struct msginfo info;
	time_t now = time(NULL);

	T(msgctl(id, IPC_STAT, &d));
	SAY("mode %o bytes %lu count %lu max %lu stime %ld rtime %ld lspid %d lrpid %d", d.msg_perm.mode,
	    d.__msg_cbytes, d.msg_qnum, d.msg_qbytes, d.msg_stime, d.msg_rtime, d.msg_lspid, d.msg_lrpid);
	HOLDS(d.msg_ctime >= now && d.msg_ctime <= now + 5 && d.msg_perm.__key == KEY(4));
	T(send_type(id, 4, "twelve bytes", 0));
	T(send_type(id, 4, "more", 0));
	R(id, 100, 0, 0);
	T(msgctl(id, IPC_STAT, &e));
	SAY("bytes %lu count %lu", e.__msg_cbytes, e.msg_qnum);
	HOLDS(e.msg_lspid == getpid() && e.msg_lrpid == getpid() && e.msg_stime >= now && e.msg_rtime >= now);
	T(msgctl(id, IPC_STAT, BAD));
	T(msgctl(id, IPC_SET, BAD));
	T(msgctl(GONE(id), IPC_STAT, &e));
	T(msgctl(-1, IPC_STAT, &e));
	T(msgctl(id, -1, &e));
	T(msgctl(id, 99, &e));
	d.msg_perm.mode = 0700;
	d.msg_qbytes = 4;
	T(msgctl(id, IPC_SET, &d));
	T(send_type(id, 1, "x", IPC_NOWAIT));
	d.msg_qbytes = 100000; /* with CAP_SYS_RESOURCE, which not every root has */
	HOLDS(msgctl(id, IPC_SET, &d) == 0 || errno == EPERM);
	d.msg_qbytes = 10000;
	T(msgctl(id, IPC_SET, &d));
	T(send_type(id, 1, "x", IPC_NOWAIT));
	T(msgctl(id, IPC_STAT, &e));
	SAY("mode %o max %lu", e.msg_perm.mode, e.msg_qbytes);
	d.msg_perm.uid = -1;
	T(msgctl(id, IPC_SET, &d));
	HOLDS(msgctl(0, IPC_INFO, (void *)&info) >= (id & 32767));
	SAY("%d %d %d %d %d %d %d %d", info.msgpool, info.msgmap, info.msgmax, info.msgmnb, info.msgmni, info.msgssz,
	    info.msgtql, info.msgseg);
	HOLDS(msgctl(0, MSG_INFO, (void *)&info) >= (id & 32767));
	HOLDS(info.msgpool >= 1 && info.msgmap >= 2 && info.msgtql >= 5);
	HOLDS(msgctl(id & 32767, MSG_STAT, &e) == id);
	HOLDS(msgctl(id & 32767, MSG_STAT_ANY, &e) == id && e.msg_qnum == 2);
	T(msgctl(32767, MSG_STAT, &e));
	T(msgctl(id, IPC_RMID, NULL));
}

static void ended(pid_t pid)
{
	int status;

	MUST(waitpid(pid, &status, 0));
	say_status("other", status);
}

/* What it received, or why it did not. */
static pid_t child_receive(int id, size_t max, long type, int flags)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(msgrcv(id, &m, max, type, flags) < 0 ? 100 + errno : m.text[0]);
	sleep_ms(100);
	return pid;
}

static pid_t child_send(int id, long type, size_t size)
{
	pid_t pid;

	fflush(stdout);
	m.type = type;
	pid = fork();
	if (!pid)
		_exit(msgsnd(id, &m, size, 0) ? 100 + errno : 1);
	sleep_ms(100);
	return pid;
}

static void waiting(void)
{
	int id = MUST(MSG(IPC_PRIVATE, 0600));
	struct msqid_ds d;
	pid_t a, b, c;

	a = child_receive(id, 10, 2, 0);
	b = child_receive(id, 10, 0, 0);
	c = child_receive(id, 1, 3, 0);
	T(send_type(id, 1, "A", 0));
	ended(b);
	T(send_type(id, 3, "too long", 0));
	ended(c);
	R(id, 10, 3, IPC_NOWAIT);
	T(send_type(id, 2, "B", 0));
	HOLDS(msgctl(id, IPC_STAT, &d) == 0 && d.msg_lrpid == a && d.msg_lspid == getpid());
	ended(a);

	T(msgsnd(id, &m, 8192, 0));
	T(msgsnd(id, &m, 8000, 0));
	a = child_send(id, 5, 1000);
	b = child_send(id, 6, 100);
	R(id, 10, 5, IPC_NOWAIT);
	ended(b);
	T(msgctl(id, IPC_STAT, &d));
	SAY("bytes %lu count %lu", d.__msg_cbytes, d.msg_qnum);
	T(msgrcv(id, &m, sizeof(m.text), 0, 0));
	ended(a);
	T(msgctl(id, IPC_STAT, &d));
	SAY("bytes %lu count %lu", d.__msg_cbytes, d.msg_qnum);

	while (msgrcv(id, &m, sizeof(m.text), 0, IPC_NOWAIT) >= 0)
		;
	a = child_receive(id, 10, 0, 0);
	d.msg_qbytes = 100;
	T(msgctl(id, IPC_SET, &d));
	T(send_type(id, 1, "C", 0));
	ended(a);
	T(msgsnd(id, &m, 100, 0));
	a = child_send(id, 1, 1);
	b = child_receive(id, 10, 77, 0);
	T(msgctl(id, IPC_RMID, NULL));
	ended(a);
	ended(b);
}

static void interrupted(void)
{
	int id = MUST(MSG(IPC_PRIVATE, 0600));
	pid_t a;

	signal_later(SA_RESTART, on_signal, 50);
	R(id, 10, 0, 0);
	m.type = 1;
	T(msgsnd(id, &m, 8192, 0));
	T(msgsnd(id, &m, 8192, 0));
	signal_later(SA_RESTART, on_signal, 50);
	T(msgsnd(id, &m, 1, 0));
	while (msgrcv(id, &m, sizeof(m.text), 0, IPC_NOWAIT) >= 0)
		;
	a = child_receive(id, 10, 0, 0);
	kill(a, SIGSTOP);
	sleep_ms(50);
	kill(a, SIGCONT);
	sleep_ms(50);
	T(send_type(id, 1, "D", 0));
	ended(a);
	T(msgctl(id, IPC_RMID, NULL));
}

static void permissions(void)
{
	int id = MUST(MSG(KEY(5), IPC_CREAT | 0604));
	struct msqid_ds d;

	if (geteuid() != 0) {
		SAY("permissions of others: not as root");
		return;
	}
	T(send_type(id, 1, "for all", 0));
	CHILD
	{
		become_nobody();
		HOLDS(msgget(KEY(5), 0) == id);
		T(msgget(KEY(5), 0600));
		T(send_type(id, 1, "x", 0));
		T(msgctl(id, IPC_STAT, &d));
		T(msgctl(id, IPC_SET, &d));
		T(msgctl(id, IPC_RMID, NULL));
		R(id, 10, 0, 0);
		int own = MSG(IPC_PRIVATE, 0000);
		T(send_type(own, 1, "x", 0));
		d.msg_perm.uid = geteuid();
		d.msg_perm.gid = getegid();
		d.msg_perm.mode = 0600;
		d.msg_qbytes = 16385;
		T(msgctl(own, IPC_SET, &d));
		d.msg_qbytes = 16384;
		T(msgctl(own, IPC_SET, &d));
		T(send_type(own, 1, "x", 0));
		T(msgctl(own, IPC_RMID, NULL));
	}
	T(msgctl(id, IPC_RMID, NULL));
}

static void body(void)
{
	getting();
	selecting();
	errors();
	control();
	waiting();
	interrupted();
	permissions();
}

int main(void)
{
	return with_cleanup(body);
}
