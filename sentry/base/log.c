/*
 * The log: see log.h.
 *
 * A message is put together on the stack and leaves by one write(2), so that lines of several threads do not mix and no lock
 * is held; it allocates nothing, so that it works when memory is gone. Bytes that could steer a terminal or forge a line
 * (control characters, which may come from a guest's names) are shown as '?' in text and escaped in JSON.
 *
 * A back-trace gives addresses relative to the program's start: `addr2line -fe bin/sandbox ADDRESS...` names them. The sentry
 * has an empty root, so it cannot read its own symbols. The stack is walked by LLVM's libunwind, which makes no
 * system call in a program of one file and whose static library is position independent; nongnu.org's of Debian 12 is not
 * (docs/next.md). After a fault the walk begins at the instruction at fault, not in the handler.
 */
#include "sentry/base/log.h"

#include <libunwind.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define LINE_MAX_SIZE 2048
#define BACKTRACE_MAX 64

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static struct {
	int fd;
	enum log_level level;
	bool json;
} log_state = {.fd = STDERR_FILENO, .level = LOG_WARN};

static const char *const level_names[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warning",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

void log_init(int fd, enum log_level level, bool json)
{
	log_state.fd = fd;
	log_state.level = level;
	log_state.json = json;
}

bool log_enabled(enum log_level level)
{
	return level <= log_state.level;
}

struct line {
	char text[LINE_MAX_SIZE];
	size_t size;
};

static void __printf(2, 3) line_printf(struct line *l, const char *fmt, ...)
{
	size_t room = sizeof(l->text) - l->size;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->text + l->size, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->size += MIN((size_t)n, room - 1);
}

/*
 * UTC, as RFC 3339 has it. Not by gmtime_r(3), which reads the time zone's file first, with malloc and locks: a signal handler
 * of ours may be the first to ask. Years are counted from March on, so that a leap day is a year's last.
 */
static void line_time(struct line *l)
{
	struct timespec ts;
	long days, era, day, year, month, second;

	clock_gettime(CLOCK_REALTIME, &ts);
	days = ts.tv_sec / 86400 + 719468; /* since 1 March 0 */
	second = ts.tv_sec % 86400;
	era = days / 146097; /* of 400 years */
	day = days % 146097;
	year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153; /* 153 days in five months */
	day -= (153 * month + 2) / 5;
	year += 400 * era + (month >= 10);
	month += month < 10 ? 3 : -9;
	line_printf(l, "%04ld-%02ld-%02ldT%02ld:%02ld:%02ld.%06ldZ", year, month, day + 1, second / 3600,
		    second / 60 % 60, second % 60, ts.tv_nsec / 1000);
}

static void line_text(struct line *l, const char *s)
{
	for (; *s; s++)
		line_printf(l, "%c", ((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f ? '?' : *s);
}

static void line_json(struct line *l, const char *s)
{
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			line_printf(l, "\\%c", *s);
		else if ((unsigned char)*s < ' ' || *s == 0x7f)
			line_printf(l, "\\u%04x", (unsigned char)*s);
		else
			line_printf(l, "%c", *s);
	}
}

/* Once for each: the first line that is lost, not all of them. */
static void say_lost(int fd, const char *what, int err, bool *said)
{
	if (fd == STDERR_FILENO || __atomic_exchange_n(said, true, __ATOMIC_RELAXED))
		return;
	dprintf(STDERR_FILENO, "sandbox: warning: cannot write to the %s: %s; what does not fit is lost\n", what,
		strerrordesc_np(err));
}

void log_lines(int fd, const char *what, const char *text, size_t size, bool *said)
{
	int saved = errno;

	while (size > 0) {
		ssize_t n = write(fd, text, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			say_lost(fd, what, n ? errno : ENOSPC, said);
			break;
		}
		text += n;
		size -= (size_t)n;
	}
	errno = saved;
}

static void line_write(struct line *l)
{
	static bool said;

	l->size = MIN(l->size, sizeof(l->text) - 1);
	l->text[l->size++] = '\n';
	log_lines(log_state.fd, "log", l->text, l->size, &said);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char message[LINE_MAX_SIZE / 2];
	struct line l = {.size = 0};
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (log_state.json) {
		line_printf(&l, "{\"time\":\"");
		line_time(&l);
		line_printf(&l, "\",\"level\":\"%s\",\"msg\":\"", level_names[level]);
		line_json(&l, message);
		l.size = MIN(l.size, sizeof(l.text) - sizeof("\"}\n"));
		line_printf(&l, "\"}");
	} else if (log_state.fd == STDERR_FILENO) {
		line_printf(&l, "sandbox: %s: ", level_names[level]);
		line_text(&l, message);
	} else {
		line_time(&l);
		line_printf(&l, " %d %s: ", gettid(), level_names[level]);
		line_text(&l, message);
	}
	line_write(&l);
}

/* From where the cursor stands, outwards. */
static void log_frames(unw_cursor_t *cursor)
{
	unw_word_t ip;

	for (int depth = 0; depth < BACKTRACE_MAX; depth++) {
		if (unw_get_reg(cursor, UNW_REG_IP, &ip) || !ip)
			return;
		/* A return address: one less lies in the call. */
		log_error("  #%-2d sandbox+%#lx", depth, ip - 1 - (unsigned long)__ehdr_start);
		if (unw_step(cursor) <= 0)
			return;
	}
}

void log_backtrace(void)
{
	unw_context_t context;
	unw_cursor_t cursor;

	if (!unw_getcontext(&context) && !unw_init_local(&cursor, &context) && unw_step(&cursor) > 0)
		log_frames(&cursor);
}

/* As if gregs had returned to ip with sp. False: there is no code that is known. */
static bool cursor_set(unw_cursor_t *cursor, const greg_t *gregs, unw_word_t ip, unw_word_t sp)
{
	/* By DWARF's numbers, which are libunwind's. */
	static const int order[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
				    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
	unw_context_t context;
	unw_proc_info_t info;

	unw_getcontext(&context);
	unw_init_local(cursor, &context);
	for (int i = 0; i < (int)ARRAY_SIZE(order); i++)
		unw_set_reg(cursor, i, (unw_word_t)gregs[order[i]]);
	unw_set_reg(cursor, UNW_REG_SP, sp);
	unw_set_reg(cursor, UNW_REG_IP, ip);
	return !unw_get_proc_info(cursor, &info);
}

/* The stack of what a signal interrupted. A call to where there is no code has pushed its return address: it begins there. */
static void log_interrupted(const greg_t *gregs)
{
	const unw_word_t *sp = (const unw_word_t *)gregs[REG_RSP];
	unw_cursor_t cursor;

	/* What holds for an address is looked up for the one before it: all are taken for return addresses. */
	if (!cursor_set(&cursor, gregs, (unw_word_t)gregs[REG_RIP] + 1, (unw_word_t)sp)) {
		log_error("  no code at %#llx, called from", gregs[REG_RIP]);
		cursor_set(&cursor, gregs, *sp, (unw_word_t)(sp + 1));
	}
	log_frames(&cursor);
}

/* SIGABRT: the C library found a stack or a heap damaged. */
static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
static _Thread_local bool crashing; /* told already: what abort() does next is no news */

/* The instruction at fault is run again with the default action, so that whoever waits for us sees the true signal. */
static void on_crash(int signo, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	if (crashing)
		return;
	crashing = true;
	log_error("the sentry got %s at address %p", sigdescr_np(signo), info->si_addr);
	log_interrupted(uc->uc_mcontext.gregs);
}

void log_crashes(void)
{
	struct sigaction sa = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(crash_signals); i++) {
		sigaction(crash_signals[i], &sa, NULL);
		sigaddset(&set, crash_signals[i]);
	}
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void log_thread_mask(sigset_t *ret)
{
	sigfillset(ret);
	for (size_t i = 0; i < ARRAY_SIZE(crash_signals); i++)
		sigdelset(ret, crash_signals[i]);
}

void bug(const char *file, int line, const char *what)
{
	log_error("BUG at %s:%d: %s", file, line, what);
	if (!crashing) {
		crashing = true;
		log_backtrace();
	}
	abort();
}
