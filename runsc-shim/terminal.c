/*
 * The caller's terminal: see terminal.h.
 *
 * Settings are changed only from the foreground: in the background the terminal is somebody else's. The launcher blocks SIGTTOU, so nothing
 * would stop it.
 */
#include "runsc-shim/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

void terminal_open(struct terminal *t, struct spec *s)
{
	int last = s->tty == TTY_YES ? STDIN_FILENO : STDERR_FILENO;

	t->fd = -1;
	t->raw = s->tty == TTY_YES;
	for (int fd = 0; fd <= last && t->fd < 0; fd++)
		if (tcgetattr(fd, &t->start) == 0)
			t->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (t->fd >= 0)
		s->modes = &t->start;
}

bool terminal_is_ours(const struct terminal *t)
{
	pid_t group = t->fd < 0 ? -1 : tcgetpgrp(t->fd);

	return group < 0 || group == getpgrp();
}

void stop_by(int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	raise(signo);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

void terminal_enter(struct terminal *t)
{
	struct termios raw = t->start;

	if (t->fd < 0 || !t->raw)
		return;
	if (!terminal_is_ours(t))
		stop_by(SIGTTOU); /* as a program that changes settings, until its shell says fg */
	cfmakeraw(&raw);
	if (terminal_is_ours(t))
		tcsetattr(t->fd, TCSANOW, &raw);
}

void terminal_leave(const struct terminal *t)
{
	if (t->fd >= 0 && t->raw && terminal_is_ours(t))
		tcsetattr(t->fd, TCSANOW, &t->start);
}

/* What a person at a shell needs has been switched off. */
static bool left_raw(const struct termios *start, const struct termios *now)
{
	return (start->c_lflag & ~now->c_lflag & (ICANON | ECHO | ISIG)) || (start->c_iflag & ~now->c_iflag & ICRNL) ||
	       (start->c_oflag & ~now->c_oflag & OPOST);
}

void terminal_close(struct terminal *t)
{
	struct termios now;

	if (t->fd >= 0 && tcgetattr(t->fd, &now) == 0 && left_raw(&t->start, &now) && terminal_is_ours(t))
		tcsetattr(t->fd, TCSANOW, &t->start);
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}
