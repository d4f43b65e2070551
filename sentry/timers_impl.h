/* What sentry/timers.c, itimers.c and cputimers.c share. Private to them. */
#pragma once

#include "sentry/clocks.h"
#include "sentry/task.h"
#include "sentry/timers.h"

/* A timer of CPU time: fires when its clock shows `at`. L_TASK of the group's lock. */
struct cpu_timer {
	clockid_t clock; /* normalized */
	int64_t at;      /* 0: not armed */
	int64_t interval;
};

enum { CPU_ITIMER_VIRTUAL, CPU_ITIMER_PROF, CPU_ITIMER_COUNT };

/* tg->itimers: made on first use, lives as long as the group. */
struct itimer {
	struct thread_group *tg;        /* borrowed */
	struct timer real;              /* ITIMER_REAL */
	int64_t real_at, real_interval; /* CLOCK_MONOTONIC; 0: not armed; L_TASK */
	struct timer watch;             /* cputimers.c: the next look at CPU clocks */
	bool watching;                  /* L_TASK */
	unsigned idle;                  /* looks without change; only the watch's */
	int64_t last_sum;               /* only the watch's */
	struct cpu_timer cpu[CPU_ITIMER_COUNT];
	int64_t xcpu_at;      /* CPU time in ns of the next SIGXCPU; 0: no limit; L_TASK */
	int next_id;          /* of POSIX timers; L_TASK */
	unsigned timer_count; /* L_TASK */
};

/* A POSIX timer: in tg->posix_timers, L_TASK. */
struct posix_timer {
	struct ref ref;
	struct list link;
	struct thread_group *tg; /* borrowed: timers_exit() ends all */
	struct task *target;     /* SIGEV_THREAD_ID: a reference */
	int id;
	clockid_t clock; /* normalized if it is a CPU clock */
	bool is_cpu;
	int notify, signo;
	union sigval value;
	struct timer timer;
	bool deleted;         /* L_TASK, as all below */
	bool pending;         /* its signal is in a queue: what expires until it is taken is an overrun */
	int64_t at, interval; /* at: next expiry by the clock; 0: not armed */
	int64_t overrun;      /* of the last signal taken */
	int64_t missed;       /* expiries of a CPU timer since its signal was queued */
};

/* tg's, made if it has none; NULL: no memory. */
struct itimer *itimers_of(struct thread_group *tg);
/* SIGPROF and the like, from the kernel. */
void itimer_signal(struct thread_group *tg, int signo);
/* Moves *at beyond now by whole intervals; how many. */
int64_t timer_forward(int64_t *at, int64_t interval, int64_t now);
/* Sends the signal of a timer that has expired and is marked pending. */
void posix_timer_notify(struct posix_timer *p);
void posix_timer_put(struct posix_timer *p);

/* Something was armed: look at tg's CPU clocks soon. */
void cputimers_kick(struct itimer *it);
void cputimers_init(struct itimer *it);
