/* Pseudo-terminals: modes, canonical and raw input, echo, signals from keys, job control, window size, hang-up. */
#include "guest.h"

#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;

static void open_pair(void)
{
	char name[64];

	master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
	T(grantpt(master));
	T(unlockpt(master));
	T(ptsname_r(master, name, sizeof(name)));
	HOLDS(strncmp(name, "/dev/pts/", 9) == 0);
	slave = MUST(open(name, O_RDWR | O_NOCTTY));
	T(isatty(slave));
	T(isatty(master));
}

static void send_keys(const char *keys)
{
	MUST(write(master, keys, strlen(keys)));
}

/*
 * Prints what can be read, control characters as ^X: of the slave one read, of the master all until it is quiet, because what
 * arrives there arrives in pieces.
 */
static void show(const char *who, int fd)
{
	char buf[1024];
	ssize_t n, have = 0;

	do {
		n = -2;
		if (poll(&(struct pollfd){fd, POLLIN, 0}, 1, fd == master ? 100 : 500) == 1)
			n = read(fd, buf + have, sizeof(buf) - (size_t)have);
		have += n > 0 ? n : 0;
	} while (n > 0 && fd == master);
	if (have == 0 && n < 0) {
		SAY("%s: %s", who, n == -2 ? "nothing" : strerrorname_np(errno));
		return;
	}
	printf("%s: ", who);
	for (ssize_t i = 0; i < have; i++)
		printf((unsigned char)buf[i] < ' ' ? "^%c" : "%c", (unsigned char)buf[i] < ' ' ? buf[i] + '@' : buf[i]);
	SAY(" (%zd)", have);
}

static void set_modes(void (*change)(struct termios *t))
{
	struct termios t;

	MUST(tcgetattr(slave, &t));
	change(&t);
	MUST(tcsetattr(slave, TCSANOW, &t));
}

static void defaults(void)
{
	struct termios t;
	struct winsize w = {0};
	int n;

	T(tcgetattr(slave, &t));
	SAY("%o %o %o %o", t.c_iflag, t.c_oflag, t.c_cflag & ~(unsigned)CBAUD, t.c_lflag);
	SAY("intr %d eof %d erase %d kill %d susp %d min %d time %d", t.c_cc[VINTR], t.c_cc[VEOF], t.c_cc[VERASE],
	    t.c_cc[VKILL], t.c_cc[VSUSP], t.c_cc[VMIN], t.c_cc[VTIME]);
	T(ioctl(slave, TIOCGWINSZ, &w));
	SAY("%d %d", w.ws_row, w.ws_col);
	w = (struct winsize){24, 80, 0, 0};
	T(ioctl(master, TIOCSWINSZ, &w));
	w.ws_row = 0;
	T(ioctl(slave, TIOCGWINSZ, &w));
	SAY("%d %d", w.ws_row, w.ws_col);
	T(ioctl(slave, TIOCGWINSZ, BAD));
	T(ioctl(slave, 0x5499, &n));
	T(ioctl(slave, FIONREAD, &n));
	T(ioctl(slave, TIOCOUTQ, &n));
	T(ioctl(master, TIOCGPTN, BAD));
	T(ioctl(slave, TIOCGPTN, &n));
	T(tcgetpgrp(slave));
	T(tcsetpgrp(slave, getpgrp()));
	T(tcgetsid(slave));
	T(tcgetattr(0, &t));
	T(lseek(slave, 0, SEEK_SET));
}

static void canonical(void)
{
	char buf[8];

	send_keys("hello");
	show("slave", slave);
	show("echo", master);
	send_keys("\n");
	show("slave", slave);
	show("echo", master);
	send_keys("abc\x7f\x7fx\ty\n");
	show("slave", slave);
	show("echo", master);
	send_keys("one two\x17three\n");
	show("slave", slave);
	show("echo", master);
	send_keys("gone\x15kept\n");
	show("slave", slave);
	show("echo", master);
	send_keys("part\x04");
	show("slave", slave);
	send_keys("\x04");
	show("slave", slave);
	show("echo", master);
	send_keys("literal \x16\x03\n");
	show("slave", slave);
	show("echo", master);
	send_keys("two\nlines\n");
	T(read(slave, buf, 2));
	show("slave", slave);
	show("slave", slave);
	show("echo", master);
	MUST(write(slave, "out\nput\t.", 9));
	show("output", master);
	T(write(slave, BAD, 3));
	T(read(slave, BAD, 0));
}

static void no_echo(struct termios *t)
{
	t->c_lflag &= ~(tcflag_t)ECHO;
}

static void timed(struct termios *t)
{
	cfmakeraw(t);
	t->c_cc[VMIN] = 0;
	t->c_cc[VTIME] = 1;
}

static void minimum(struct termios *t)
{
	t->c_cc[VMIN] = 4;
	t->c_cc[VTIME] = 0;
}

static void sane(struct termios *t)
{
	t->c_iflag = ICRNL | IXON;
	t->c_oflag = OPOST | ONLCR;
	t->c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | IEXTEN | ECHOCTL | ECHOKE;
	t->c_cc[VMIN] = 1;
	t->c_cc[VTIME] = 0;
}

static void modes(void)
{
	char buf[8];

	set_modes(no_echo);
	send_keys("secret\n");
	show("slave", slave);
	show("echo", master);
	set_modes(cfmakeraw);
	send_keys("\x03\x04x\r\n");
	show("slave", slave);
	show("echo", master);
	MUST(write(slave, "raw\n", 4));
	show("output", master);
	set_modes(timed);
	T(read(slave, buf, sizeof(buf)));
	send_keys("k");
	T(read(slave, buf, sizeof(buf)));
	set_modes(minimum);
	send_keys("ab");
	T(poll(&(struct pollfd){slave, POLLIN, 0}, 1, 0));
	send_keys("cd");
	T(read(slave, buf, sizeof(buf)));
	set_modes(sane);
	send_keys("discarded");
	show("echo", master);
	T(tcflush(slave, TCIFLUSH));
	send_keys("kept\n");
	show("slave", slave);
	T(tcflush(slave, 77));
	T(tcflow(slave, 77));
	T(tcdrain(slave));
	show("echo", master);
}

static volatile sig_atomic_t got;

static void on_signal(int sig)
{
	got = sig;
}

static void wait_signal(const char *what)
{
	for (int i = 0; !got && i < 200; i++)
		sleep_ms(5);
	SAY("%s: %s", what, got ? signal_name(got) : "none");
	got = 0;
}

static void session(void)
{
	struct sigaction sa = {.sa_handler = on_signal};
	pid_t pid;
	int status;

	T(open("/dev/tty", O_RDWR));
	T(ioctl(slave, TIOCSCTTY, 0));
	HOLDS(tcgetpgrp(slave) == getpgrp() && tcgetsid(slave) == getsid(0));
	T0(open("/dev/tty", O_RDWR));
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGQUIT, &sa, NULL);
	sigaction(SIGTSTP, &sa, NULL);
	sigaction(SIGWINCH, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	send_keys("lost\x03");
	wait_signal("^C");
	send_keys("\x1c");
	wait_signal("^\\");
	send_keys("\x1a");
	wait_signal("^Z");
	MUST(ioctl(master, TIOCSWINSZ, &(struct winsize){50, 100, 0, 0}));
	wait_signal("resize");
	show("echo", master);
	/* A background process that reads is stopped; one that writes is not, unless TOSTOP. */
	pid = MUST(fork());
	if (pid == 0) {
		setpgid(0, 0);
		signal(SIGTTIN, SIG_DFL);
		MUST(write(slave, "bg\n", 3));
		_exit(read(slave, &(char){0}, 1) == 1 ? 0 : 1);
	}
	setpgid(pid, pid);
	waitpid(pid, &status, WUNTRACED);
	say_status("background reader", status);
	T(tcsetpgrp(slave, pid));
	MUST(kill(-pid, SIGCONT));
	send_keys("y\n");
	waitpid(pid, &status, 0);
	say_status("foreground reader", status);
	signal(SIGTTOU, SIG_IGN);
	T(tcsetpgrp(slave, getpgrp()));
	T(tcsetpgrp(slave, 4100000));
	T(tcsetpgrp(slave, -1));
	/* In an orphaned process group such a read fails instead. */
	show("output", master);
	close(master);
	wait_signal("hang-up");
	T(read(slave, &(char){0}, 1));
	T(write(slave, "x", 1));
}

static void ends(void)
{
	open_pair();
	close(slave);
	T(read(master, &(char){0}, 1));
	T(poll(&(struct pollfd){master, POLLIN, 0}, 1, 0));
	close(master);
	T(access("/dev/ptmx", R_OK | W_OK));
	T(open("/dev/pts/999999", O_RDWR));
}

static void exclusive_and_packet(void)
{
	char buf[16] = "";

	open_pair();
	T(ioctl(master, TIOCPKT, &(int){1}));
	MUST(write(slave, "p", 1));
	T(read(master, buf, sizeof(buf)));
	SAY("%d %c", buf[0], buf[1]);
	T(tcflush(slave, TCIOFLUSH));
	T(read(master, buf, sizeof(buf)) > 0);
	T(ioctl(master, TIOCPKT, &(int){0}));
	T(ioctl(slave, TIOCSTI, "z") >= -1 ? 0 : 1);
	close(master);
	close(slave);
}

int main(void)
{
	if (access("/dev/ptmx", R_OK | W_OK))
		skip("no /dev/ptmx here");
	CHILD
	{
		ends();
		exclusive_and_packet();
	}
	CHILD
	{
		/* Without the runner's terminal, if it has one. */
		MUST(setsid());
		open_pair();
		defaults();
		canonical();
		modes();
		session();
	}
	return 0;
}
