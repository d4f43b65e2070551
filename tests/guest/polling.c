/* poll, select, epoll, eventfd, timerfd, signalfd, inotify, pidfd. */
#include "guest.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

/* Bits above the room of the descriptor table are ignored. It has as much as a fork needs, 64 at least, and doubles. */
static void select_beyond(void)
{
	CHILD
	{
		struct timeval tv = {0, 0};
		fd_set r;

		FD_ZERO(&r);
		FD_SET(50, &r);
		T(select(201, &r, NULL, NULL, &tv));
		FD_ZERO(&r);
		FD_SET(100, &r);
		FD_SET(200, &r);
		T(select(201, &r, NULL, NULL, &tv));
		SAY("%d %d", FD_ISSET(100, &r) != 0, FD_ISSET(200, &r) != 0);
		MUST(dup2(0, 99));
		T(select(201, &r, NULL, NULL, &tv));
		FD_CLR(100, &r);
		T(select(201, &r, NULL, NULL, &tv));
		close(99);
		CHILD
		{
			FD_SET(100, &r);
			T(select(201, &r, NULL, NULL, &tv));
		}
	}
}

static void polls(void)
{
	struct pollfd p[3];
	struct timeval tv = {0, 1000};
	fd_set r, w;
	int fds[2];

	MUST(pipe(fds));
	p[0] = (struct pollfd){fds[0], POLLIN, 0};
	p[1] = (struct pollfd){fds[1], POLLOUT, 0};
	p[2] = (struct pollfd){99, POLLIN, 0};
	T(poll(p, 2, 0));
	SAY("%x %x", p[0].revents, p[1].revents);
	T(poll(p, 3, 0));
	SAY("%x %x %x", p[0].revents, p[1].revents, p[2].revents);
	p[2].fd = -1;
	T(poll(p, 3, 0));
	T(poll(p, 1, 10));
	MUST(write(fds[1], "x", 1));
	T(poll(p, 1, -1));
	close(fds[1]);
	T(poll(p, 1, -1));
	SAY("%x", p[0].revents);
	T(poll(BAD, 1, 0));
	T(poll(p, 100000000, 0));
	T(ppoll(p, 1, &(struct timespec){0, 2000000000}, NULL));
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(fds[0], &r);
	T(select(fds[0] + 1, &r, NULL, NULL, NULL));
	SAY("%d", FD_ISSET(fds[0], &r) != 0);
	select_beyond();
	T(select(-1, NULL, NULL, NULL, &tv));
	T(select(0, NULL, NULL, NULL, &tv));
	SAY("left %ld", (long)tv.tv_usec);
	tv.tv_usec = -1;
	T(select(0, NULL, NULL, NULL, &tv));
	T(select(1, BAD, NULL, NULL, NULL));
	close(fds[0]);
	int f = MUST(open("file", O_RDWR | O_CREAT, 0600));
	T(poll(&(struct pollfd){f, POLLIN | POLLOUT | POLLPRI, 0}, 1, 0));
	close(f);
}

static void epoll_errors(void)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 7}, out[4];
	int ep, ep2, fd, p[2];

	T(epoll_create(0));
	T(epoll_create1(0x7));
	ep = MUST(epoll_create1(EPOLL_CLOEXEC));
	MUST(pipe(p));
	fd = MUST(open("file", O_RDWR | O_CREAT, 0600));
	T(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	T(epoll_ctl(ep, EPOLL_CTL_ADD, 99, &ev));
	T(epoll_ctl(99, EPOLL_CTL_ADD, p[0], &ev));
	T(epoll_ctl(fd, EPOLL_CTL_ADD, p[0], &ev));
	T(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &ev));
	T(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
	T(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
	T(epoll_ctl(ep, EPOLL_CTL_MOD, p[1], &ev));
	T(epoll_ctl(ep, EPOLL_CTL_DEL, p[1], &ev));
	T(epoll_ctl(ep, 99, p[1], &ev));
	T(epoll_ctl(ep, EPOLL_CTL_ADD, p[1], BAD));
	T(epoll_wait(ep, out, 0, 0));
	T(epoll_wait(ep, out, -1, 0));
	T(epoll_wait(fd, out, 1, 0));
	T(epoll_wait(ep, out, 4, 0));
	MUST(write(p[1], "x", 1));
	T(epoll_wait(ep, BAD, 4, 0));
	T(epoll_wait(ep, out, 4, 0));
	ep2 = MUST(epoll_create1(0));
	T(epoll_ctl(ep2, EPOLL_CTL_ADD, ep, &ev));
	T(epoll_ctl(ep, EPOLL_CTL_ADD, ep2, &ev));
	T(epoll_wait(ep2, out, 4, 0));
	T(poll(&(struct pollfd){ep2, POLLIN, 0}, 1, 0));
	T(read(ep, out, 1));
	close(ep);
	close(ep2);
	close(fd);
	close(p[0]);
	close(p[1]);
}

static void epoll_modes(void)
{
	struct epoll_event ev, out[4];
	int ep = MUST(epoll_create1(0)), e = MUST(eventfd(0, EFD_NONBLOCK)), d;
	uint64_t v = 1;

	ev = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.u64 = 1};
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
	T(epoll_wait(ep, out, 4, 0));
	MUST(write(e, &v, 8));
	T(epoll_wait(ep, out, 4, 0));
	SAY("%x %lu", out[0].events, out[0].data.u64);
	T(epoll_wait(ep, out, 4, 0));
	MUST(write(e, &v, 8));
	T(epoll_wait(ep, out, 4, 0));
	ev.events = EPOLLIN | EPOLLONESHOT;
	T(epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev));
	T(epoll_wait(ep, out, 4, 0));
	T(epoll_wait(ep, out, 4, 0));
	ev.events = EPOLLIN | EPOLLOUT;
	ev.data.u64 = 1ul << 40;
	T(epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev));
	T(epoll_wait(ep, out, 4, 0));
	SAY("%x %lx", out[0].events, out[0].data.u64);
	/* An interest lives as long as the open description, not the descriptor. */
	d = dup(e);
	close(e);
	T(epoll_wait(ep, out, 4, 0));
	close(d);
	T(epoll_wait(ep, out, 4, 0));
	T(syscall(SYS_epoll_pwait2, ep, out, 4, &(struct timespec){0, 1000000}, NULL, 0));
	close(ep);
}

static void *write_later(void *arg)
{
	uint64_t v = 5;

	sleep_ms(20);
	MUST(write(*(int *)arg, &v, 8));
	return NULL;
}

static void eventfds(void)
{
	uint64_t v = 0;
	pthread_t t;
	int e, ep;

	T(eventfd(0, 0x7));
	e = MUST(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK));
	T(read(e, &v, 8));
	SAY("%lu", v);
	T(read(e, &v, 7));
	T(read(e, &v, 8));
	T(read(e, &v, 8));
	T(read(e, &v, 8));
	v = UINT64_MAX;
	T(write(e, &v, 8));
	v--;
	T(write(e, &v, 8));
	v = 1;
	T(write(e, &v, 8));
	T(poll(&(struct pollfd){e, POLLOUT, 0}, 1, 0));
	T(write(e, &v, 4));
	T(write(e, BAD, 8));
	close(e);
	e = MUST(eventfd(0, 0));
	pthread_create(&t, NULL, write_later, &e);
	T(read(e, &v, 8));
	SAY("%lu", v);
	pthread_join(t, NULL);
	ep = MUST(epoll_create1(0));
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, e, &(struct epoll_event){.events = EPOLLIN}));
	pthread_create(&t, NULL, write_later, &e);
	T(epoll_wait(ep, &(struct epoll_event){0}, 1, -1));
	pthread_join(t, NULL);
}

static void timerfds(void)
{
	struct itimerspec its = {{0, 0}, {0, 20000000}}, old;
	uint64_t n = 0;
	int64_t start = now_ms();
	int t;

	T(timerfd_create(99, 0));
	T(timerfd_create(CLOCK_MONOTONIC, 0x7));
	t = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	T(read(t, &n, 8));
	T(timerfd_settime(t, 0, &its, NULL));
	T(read(t, &n, 8));
	T(timerfd_gettime(t, &old));
	HOLDS(old.it_value.tv_nsec > 0 && old.it_value.tv_nsec <= 20000000 && old.it_interval.tv_nsec == 0);
	T(poll(&(struct pollfd){t, POLLIN, 0}, 1, 5000));
	HOLDS(now_ms() - start >= 20);
	T(read(t, &n, 8));
	SAY("%lu", n);
	its.it_interval.tv_nsec = 5000000;
	T(timerfd_settime(t, 0, &its, NULL));
	sleep_ms(60);
	T(read(t, &n, 8));
	HOLDS(n >= 6 && n < 100);
	T(timerfd_settime(t, 0, &(struct itimerspec){0}, &old));
	HOLDS(old.it_interval.tv_nsec == 5000000);
	its.it_value.tv_nsec = 1000000000;
	T(timerfd_settime(t, 0, &its, NULL));
	T(timerfd_settime(t, 0, BAD, NULL));
	T(timerfd_settime(t, 77, &old, NULL));
	T(timerfd_settime(0, 0, &old, NULL));
	its = (struct itimerspec){{0, 0}, {1, 0}};
	T(timerfd_settime(t, TFD_TIMER_ABSTIME, &its, NULL));
	T(poll(&(struct pollfd){t, POLLIN, 0}, 1, 1000));
	T(read(t, &n, 4));
}

static void signalfds(void)
{
	struct signalfd_siginfo si;
	sigset_t set;
	int s;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s = MUST(signalfd(-1, &set, SFD_NONBLOCK));
	T(read(s, &si, sizeof(si)));
	T(raise(SIGUSR1));
	T(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 9}));
	T(poll(&(struct pollfd){s, POLLIN, 0}, 1, 0));
	T(read(s, &si, sizeof(si)));
	SAY("%s %d", signal_name((int)si.ssi_signo), si.ssi_code);
	T(read(s, &si, sizeof(si)));
	SAY("%d %d", si.ssi_signo == (unsigned)SIGRTMIN, si.ssi_int);
	T(read(s, &si, 10));
	T(signalfd(0, &set, 0));
	T(signalfd(-1, &set, 0x7));
	sigdelset(&set, SIGUSR1);
	HOLDS(signalfd(s, &set, 0) == s);
	raise(SIGUSR1);
	T(read(s, &si, sizeof(si)));
	HOLDS(sigtimedwait(&(sigset_t){{1ul << (SIGUSR1 - 1)}}, NULL, &(struct timespec){0, 0}) == SIGUSR1);
}

static void watch(int fd)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} bits[] = {{IN_ACCESS, "access"},           {IN_MODIFY, "modify"},
		    {IN_ATTRIB, "attrib"},           {IN_CLOSE_WRITE, "close-write"},
		    {IN_CLOSE_NOWRITE, "close"},     {IN_OPEN, "open"},
		    {IN_MOVED_FROM, "from"},         {IN_MOVED_TO, "to"},
		    {IN_CREATE, "create"},           {IN_DELETE, "delete"},
		    {IN_DELETE_SELF, "delete-self"}, {IN_MOVE_SELF, "move-self"},
		    {IN_IGNORED, "ignored"},         {IN_ISDIR, "dir"}};
	char buf[4096];
	long n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			struct inotify_event *e = (void *)(buf + at);

			printf("  wd %d", e->wd);
			for (size_t i = 0; i < COUNT(bits); i++)
				if (e->mask & bits[i].bit)
					printf(" %s", bits[i].name);
			SAY(" %s", e->len ? e->name : "-");
			at += (long)sizeof(*e) + e->len;
		}
	}
}

static void inotifies(void)
{
	int in, fd;

	T(inotify_init1(0x7));
	in = MUST(inotify_init1(IN_NONBLOCK));
	MUST(mkdir("w", 0755));
	T(inotify_add_watch(in, "absent", IN_ALL_EVENTS));
	T(inotify_add_watch(in, "w", 0));
	T(inotify_add_watch(0, "w", IN_ALL_EVENTS));
	T(inotify_add_watch(in, BAD, IN_ALL_EVENTS));
	T(inotify_add_watch(in, "w", IN_ALL_EVENTS));
	put_file("w/a", "text");
	watch(in);
	T(inotify_add_watch(in, "w/a", IN_ALL_EVENTS));
	T(inotify_add_watch(in, "w/a", IN_ONLYDIR | IN_OPEN));
	fd = open("w/a", O_RDWR);
	MUST(read(fd, &(char){0}, 1));
	MUST(ftruncate(fd, 0));
	MUST(fchmod(fd, 0600));
	close(fd);
	watch(in);
	MUST(rename("w/a", "w/b"));
	MUST(mkdir("w/d", 0755));
	MUST(rename("w/d", "moved"));
	MUST(link("w/b", "w/c"));
	watch(in);
	MUST(unlink("w/b"));
	MUST(unlink("w/c"));
	watch(in);
	T(inotify_rm_watch(in, 1));
	T(inotify_rm_watch(in, 1));
	T(inotify_rm_watch(in, 99));
	watch(in);
	HOLDS(inotify_add_watch(in, "w", IN_DELETE_SELF | IN_ONESHOT) == 3);
	MUST(rmdir("w"));
	watch(in);
	T(read(in, BAD, 100));
}

static void pidfds(void)
{
	pid_t pid;
	int fd;
	siginfo_t si = {0};

	T(syscall(SYS_pidfd_open, 4100000, 0));
	T(syscall(SYS_pidfd_open, getpid(), 0x1));
	pid = MUST(fork());
	if (pid == 0) {
		pause();
		_exit(0);
	}
	fd = MUST(syscall(SYS_pidfd_open, pid, 0));
	T(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0));
	T(fcntl(fd, F_GETFD));
	T(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	T(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	T(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 5000));
	T(waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
	SAY("%d %s", si.si_code, signal_name(si.si_status));
	T(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	T(waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
}

/* How many of `most` instances can watch `top` before one is refused. */
static int watchers(int top, int most)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int n = 0, e;

	for (; n < most; n++) {
		e = MUST(epoll_create1(0));
		if (epoll_ctl(e, EPOLL_CTL_ADD, top, &ev)) {
			SAY("%s", strerrorname_np(errno));
			return n;
		}
	}
	return n;
}

/* The ways that lead up from a file are limited, by their length. */
static void epoll_paths(void)
{
	struct epoll_event ev = {.events = EPOLLIN};

	for (int nests = 0; nests <= 4; nests++) {
		CHILD
		{
			int top = MUST(eventfd(0, 0)), up;

			for (int i = 0; i < nests; i++) {
				up = MUST(epoll_create1(0));
				MUST(epoll_ctl(up, EPOLL_CTL_ADD, top, &ev));
				top = up;
			}
			SAY("%d between: %d", nests, watchers(top, 600));
		}
	}
	CHILD
	{
		int e = MUST(epoll_create1(0)), fd = MUST(eventfd(0, 0)), other = MUST(eventfd(0, 0));

		SAY("without a file: %d", watchers(e, 501));
		T(epoll_ctl(e, EPOLL_CTL_ADD, fd, &ev) == -1 && errno == EINVAL);
		MUST(close(500));
		T(epoll_ctl(e, EPOLL_CTL_ADD, fd, &ev));
		T(epoll_ctl(e, EPOLL_CTL_ADD, other, &ev));
		SAY("with it: %d", watchers(e, 1));
		SAY("more: %d", watchers(e, 1));
		T(eventfd_write(fd, 1));
		T(epoll_wait(499, &ev, 1, 0));
	}
}

int main(void)
{
	umask(022);
	polls();
	epoll_errors();
	epoll_modes();
	epoll_paths();
	eventfds();
	timerfds();
	signalfds();
	inotifies();
	pidfds();
	return 0;
}
