/* Clocks, sleeping, interval and POSIX timers, alarm, times, getrusage, sysinfo, uname, getrandom. */
#include "guest.h"

#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>

static volatile sig_atomic_t hits;

static void on_signal(int sig)
{
	(void)sig;
	hits++;
}

static void clocks(void)
{
	static const clockid_t ids[] = {CLOCK_REALTIME,
					CLOCK_MONOTONIC,
					CLOCK_PROCESS_CPUTIME_ID,
					CLOCK_THREAD_CPUTIME_ID,
					CLOCK_MONOTONIC_RAW,
					CLOCK_REALTIME_COARSE,
					CLOCK_MONOTONIC_COARSE,
					CLOCK_BOOTTIME,
					CLOCK_TAI,
					50};
	struct timespec a, b;
	struct timeval tv;

	for (size_t i = 0; i < COUNT(ids); i++) {
		int r = clock_gettime(ids[i], &a), e = errno;
		int res = clock_getres(ids[i], &b);

		SAY("clock %d: %s %d nsec %d", ids[i], r ? strerrorname_np(e) : "ok", res,
		    r || (a.tv_nsec >= 0 && a.tv_nsec < 1000000000));
		clock_gettime(ids[i], &b);
		if (!r)
			HOLDS(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
	}
	T(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, BAD));
	T(syscall(SYS_gettimeofday, BAD, NULL));
	T(syscall(SYS_gettimeofday, &tv, NULL));
	HOLDS(llabs((long long)time(NULL) - tv.tv_sec) <= 1);
	HOLDS(syscall(SYS_time, NULL) - tv.tv_sec <= 1);
	T(clock_settime(50, &a));
	T(syscall(SYS_clock_settime, CLOCK_MONOTONIC, &a));
	clock_getcpuclockid(getpid(), &(clockid_t){0});
}

static void sleeping(void)
{
	struct timespec ts = {0, 20000000};
	int64_t start = now_ms();

	T(nanosleep(&ts, NULL));
	HOLDS(now_ms() - start >= 20 && now_ms() - start < 2000);
	T(nanosleep(&(struct timespec){0, 1000000000}, NULL));
	T(nanosleep(&(struct timespec){-1, 0}, NULL));
	T(syscall(SYS_nanosleep, BAD, NULL));
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += 10000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	T(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL));
	T(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL));
	T(syscall(SYS_clock_nanosleep, 50, 0, &ts, NULL));
	T(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &ts, NULL));
}

static void interval_timers(void)
{
	struct itimerval it = {{0, 5000}, {0, 5000}}, old;

	signal(SIGALRM, on_signal);
	T(alarm(100));
	T(alarm(0));
	T(setitimer(ITIMER_REAL, &it, NULL));
	for (int i = 0; hits < 3 && i < 400; i++)
		sleep_ms(2);
	HOLDS(hits >= 3);
	T(getitimer(ITIMER_REAL, &old));
	HOLDS(old.it_interval.tv_usec == 5000 && old.it_value.tv_usec <= 5000);
	T(setitimer(ITIMER_REAL, &(struct itimerval){0}, &old));
	T(setitimer(7, &it, NULL));
	it.it_value.tv_usec = 1000000;
	T(setitimer(ITIMER_REAL, &it, NULL));
	T(setitimer(ITIMER_REAL, BAD, NULL));
	T(getitimer(7, &old));
	CHILD
	{
		signal(SIGALRM, SIG_DFL);
		setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 1000}}, NULL);
		pause();
	}
	hits = 0;
	signal(SIGVTALRM, on_signal);
	setitimer(ITIMER_VIRTUAL, &(struct itimerval){{0, 0}, {0, 10000}}, NULL);
	for (int64_t start = now_ms(); !hits && now_ms() - start < 5000;)
		;
	SAY("virtual timer %d", hits);
}

static void posix_timers(void)
{
	struct sigevent se = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 8};
	struct itimerspec its = {{0, 0}, {0, 5000000}}, old;
	sigset_t set;
	siginfo_t si;
	timer_t t;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	T(timer_create(50, &se, &t));
	se.sigev_signo = 100;
	T(timer_create(CLOCK_MONOTONIC, &se, &t));
	se.sigev_signo = SIGRTMIN;
	T(timer_create(CLOCK_MONOTONIC, &se, &t));
	T(timer_settime(t, 0, &its, NULL));
	HOLDS(sigwaitinfo(&set, &si) == SIGRTMIN);
	SAY("code %d value %d overrun %d", si.si_code, si.si_value.sival_int, si.si_overrun);
	T(timer_gettime(t, &old));
	SAY("%ld %ld", (long)old.it_value.tv_sec, old.it_value.tv_nsec);
	its.it_interval.tv_nsec = 1000000;
	T(timer_settime(t, 0, &its, NULL));
	sleep_ms(30);
	HOLDS(sigwaitinfo(&set, &si) == SIGRTMIN);
	HOLDS(si.si_overrun > 3 && timer_getoverrun(t) == si.si_overrun);
	its.it_value.tv_nsec = -1;
	T(timer_settime(t, 0, &its, NULL));
	T(timer_settime(t, 0, &(struct itimerspec){0}, NULL));
	T(timer_delete(t));
	T(syscall(SYS_timer_delete, 55));
	T(syscall(SYS_timer_gettime, 55, &old));
	T(syscall(SYS_timer_settime, 55, 0, &its, NULL));
}

static void usage(void)
{
	struct rusage u;
	struct tms tms;
	struct sysinfo si;
	struct utsname n;
	char buf[16] = "";

	for (int64_t start = now_ms(); now_ms() - start < 30;)
		;
	T(getrusage(RUSAGE_SELF, &u));
	HOLDS(u.ru_utime.tv_sec > 0 || u.ru_utime.tv_usec + u.ru_stime.tv_usec > 5000);
	HOLDS(u.ru_maxrss > 100);
	T(getrusage(RUSAGE_CHILDREN, &u));
	T(getrusage(RUSAGE_THREAD, &u));
	T(getrusage(77, &u));
	T(syscall(SYS_getrusage, RUSAGE_SELF, BAD));
	HOLDS(times(&tms) != -1 && tms.tms_utime + tms.tms_stime > 0);
	HOLDS(clock() > 5000);
	T(sysinfo(&si));
	HOLDS(si.totalram > 0 && si.freeram <= si.totalram && si.procs > 0 && si.mem_unit > 0);
	T(syscall(SYS_sysinfo, BAD));
	T(uname(&n));
	SAY("%s %s", n.sysname, n.machine);
	T(syscall(SYS_uname, BAD));
	T(getrandom(buf, 16, 0));
	T(getrandom(buf, 16, 0x100));
	T(syscall(SYS_getrandom, BAD, 16, 0));
	T(syscall(SYS_getcpu, NULL, NULL, NULL));
}

/* The page that programs of 2003 call for the time, where it still works. */
static void vsyscalls(void)
{
	int (*gettimeofday_at)(struct timeval *, struct timezone *) = (void *)0xffffffffff600000;
	time_t (*time_at)(time_t *) = (void *)0xffffffffff600400;
	int (*getcpu_at)(unsigned *, unsigned *, void *) = (void *)0xffffffffff600800;
	struct timeval tv = {0, 0};
	unsigned cpu = 9999;
	time_t t = 0;

	CHILD
	{
		T(gettimeofday_at(&tv, NULL));
		HOLDS(labs(tv.tv_sec - time(NULL)) <= 1);
		HOLDS(time_at(&t) == t && labs(t - time(NULL)) <= 1);
		HOLDS(time_at(NULL) >= t);
		T(getcpu_at(&cpu, NULL, NULL));
		HOLDS(cpu < 9999);
	}
	CHILD
	{
		T(((int (*)(void))0xffffffffff600100)());
	}
	CHILD
	{
		T(((int (*)(void))0xffffffffff601000)());
	}
}

int main(void)
{
	clocks();
	sleeping();
	interval_timers();
	posix_timers();
	usage();
	vsyscalls();
	return 0;
}
