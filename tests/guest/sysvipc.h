/*
 * For tests of System V IPC. Natively the objects would outlive the test: the body runs in a child, notes what it makes, and the parent removes what is
 * left, however the child ended. Keys are the process's own. Ids are never shown.
 */
#pragma once

#include "guest.h"

#include <sys/time.h>

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif
#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

#define KEY(n) (key_base + (n))
/* An id that nobody has, whatever others do meanwhile: of the same index, from another time. */
#define GONE(id) ((id) ^ 0x40000000)
#define NOTES_MAX 256

static key_t key_base;

struct notes {
	int count;
	struct {
		char kind;
		int id;
	} note[NOTES_MAX];
};
static struct notes *notes;

static inline int note(char kind, int id)
{
	int at;

	if (id < 0)
		return id;
	at = __atomic_fetch_add(&notes->count, 1, __ATOMIC_RELAXED);
	if (at < NOTES_MAX) {
		notes->note[at].kind = kind;
		notes->note[at].id = id;
	}
	return id;
}

#define SHM(...) note('m', shmget(__VA_ARGS__))
#define SEM(...) note('s', semget(__VA_ARGS__))
#define MSG(...) note('q', msgget(__VA_ARGS__))

static inline void remove_all(void)
{
	for (int i = 0; i < notes->count && i < NOTES_MAX; i++) {
		int id = notes->note[i].id;

		switch (notes->note[i].kind) {
		case 'm':
			shmctl(id, IPC_RMID, NULL);
			break;
		case 's':
			semctl(id, 0, IPC_RMID);
			break;
		default:
			msgctl(id, IPC_RMID, NULL);
		}
	}
}

static pid_t body_group;

static inline void end_body(int sig)
{
	(void)sig;
	kill(-body_group, SIGKILL);
}

static inline int with_cleanup(void (*body)(void))
{
	int status = 0;
	pid_t pid;

	notes = mmap(NULL, sizeof(*notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(notes != MAP_FAILED, "mmap");
	key_base = 0x53000000 | getpid() << 8;
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		setpgid(0, 0);
		body();
		fflush(stdout);
		_exit(0);
	}
	setpgid(pid, pid);
	body_group = pid;
	signal(SIGINT, end_body);
	signal(SIGTERM, end_body);
	signal(SIGALRM, end_body);
	alarm(40);
	waitpid(pid, &status, 0);
	remove_all();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Does what follows as somebody without rights. */
static inline void become_nobody(void)
{
	must(setgid(54321) == 0 && setuid(54321) == 0, "setuid");
}

static inline void on_signal(int sig)
{
	(void)sig;
}

/* A signal after a while, if the call has not returned by then. */
static inline void signal_later(int flags, void (*handler)(int), long ms)
{
	struct sigaction sa = {.sa_flags = flags, .sa_handler = handler};
	struct itimerval it = {{0, 0}, {ms / 1000, ms % 1000 * 1000}};

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}
