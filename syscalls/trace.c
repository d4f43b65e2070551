/*
 * System calls and signals in the manner of strace(1), for --strace.
 *
 * What a call reads is printed as it was before the call; what it writes, after it. A line is put together in a
 * buffer and written with one write(2) when the call is over, so that lines of different tasks do not mix. Guest
 * memory is read through the task's own accessors, again: the line shows what is there when it is made, which a
 * second thread may have changed since. The tracer never decides anything by it.
 */
#include "syscalls/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sentry/base/log.h"
#include "sentry/base/slab.h"
#include "syscalls/dispatch.h"
#include "syscalls/trace_impl.h"

#define ARG_TEXT 2048
#define LINE_TEXT 8192

struct trace_line {
	char args[6][ARG_TEXT];
	char line[LINE_TEXT];
};

static int trace_fd = STDERR_FILENO;

void trace_init(int fd)
{
	trace_fd = fd;
	task_strace = true;
}

void text_add(struct text *x, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (x->len + 1 >= x->size)
		return;
	va_start(ap, fmt);
	n = vsnprintf(x->buf + x->len, x->size - x->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		x->len = MIN(x->len + (size_t)n, x->size - 1);
}

static void quote_char(struct text *x, unsigned char ch, bool digit_follows)
{
	static const char from[] = "\n\t\r\f\v\"\\";
	static const char to[] = "ntrfv\"\\";
	const char *p = ch ? strchr(from, ch) : NULL;

	if (p)
		text_add(x, "\\%c", to[p - from]);
	else if (ch >= ' ' && ch < 0x7f)
		text_add(x, "%c", ch);
	else
		text_add(x, digit_follows ? "\\%03o" : "\\%o", ch);
}

void text_quote(struct text *x, const char *s, size_t size, bool more)
{
	text_add(x, "\"");
	for (size_t i = 0; i < size; i++)
		quote_char(x, (unsigned char)s[i], i + 1 < size && s[i + 1] >= '0' && s[i + 1] <= '7');
	text_add(x, more ? "\"..." : "\"");
}

static void write_line(struct text *x)
{
	static bool said;

	if (x->len + 1 >= x->size)
		x->len = x->size - 2;
	x->buf[x->len++] = '\n';
	log_lines(trace_fd, "trace", x->buf, x->len, &said);
}

/* Where the result is an address or a set of flags rather than a number. */
static bool result_is_hex(uint32_t nr)
{
	return nr == SYS_mmap || nr == SYS_brk || nr == SYS_mremap || nr == SYS_shmat;
}

static void add_error(struct text *x, sysret_t ret)
{
	const char *name = strerrorname_np((int)-ret);

	if (is_restart_code(ret))
		text_add(x, "? ERESTART%s",
			 ret == -ERESTARTSYS      ? "SYS (To be restarted if SA_RESTART is set)"
			 : ret == -ERESTARTNOINTR ? "NOINTR (To be restarted)"
			 : ret == -ERESTARTNOHAND ? "NOHAND (To be restarted if no handler)"
						  : "_RESTARTBLOCK (Interrupted by signal)");
	else
		text_add(x, "-1 %s (%s)", name ? name : "E?", strerror((int)-ret));
}

static void add_result(struct text *x, const struct task *t, uint32_t nr, sysret_t ret)
{
	text_add(x, " = ");
	if (t->exiting != TASK_RUNS || nr == SYS_rt_sigreturn)
		text_add(x, "?");
	else if (ret < 0 && ret >= -4095)
		add_error(x, ret);
	else if (result_is_hex(nr))
		text_add(x, "%#lx", (unsigned long)ret);
	else
		text_add(x, "%ld", (long)ret);
}

static void collect(struct trace_line *l, const struct trace_call *c, bool outputs)
{
	for (unsigned i = 0; i < c->count; i++) {
		struct text x = {l->args[i], ARG_TEXT, 0};

		if (trace_is_output(c->kinds[i]) == outputs)
			trace_arg(&x, c, i);
	}
}

static void print_call(struct trace_line *l, const struct trace_call *c, uint32_t nr, const char *name)
{
	struct text x = {l->line, LINE_TEXT, 0};

	text_add(&x, "[pid %5d] ", c->t->ctx.tid);
	if (name)
		text_add(&x, "%s(", name);
	else
		text_add(&x, "syscall_%#x(", nr);
	for (unsigned i = 0; i < c->count; i++)
		text_add(&x, "%s%s", i ? ", " : "", l->args[i]);
	text_add(&x, ")");
	add_result(&x, c->t, nr, c->ret);
	write_line(&x);
}

sysret_t trace_syscall(struct task *t, uint32_t nr, const uint64_t args[6])
{
	const struct syscall_info *info = syscall_info(nr);
	struct trace_line *l = kalloc(sizeof(*l));
	struct trace_call c = {.t = t, .args = args};

	if (!l)
		return syscall_dispatch(t, nr, args);
	if (info) {
		c.kinds = info->kinds;
		c.count = info->arg_count;
	}
	collect(l, &c, false);
	c.ret = syscall_dispatch(t, nr, args);
	collect(l, &c, true);
	print_call(l, &c, nr, info ? info->name : NULL);
	kfree(l, sizeof(*l));
	return c.ret;
}

static const char *code_name(int signo, int code)
{
	if (code == SI_USER)
		return "SI_USER";
	if (code == SI_TKILL)
		return "SI_TKILL";
	if (code == SI_QUEUE)
		return "SI_QUEUE";
	if (code == SI_TIMER)
		return "SI_TIMER";
	if (code == SI_KERNEL)
		return "SI_KERNEL";
	if (signo == SIGSEGV && code == SEGV_MAPERR)
		return "SEGV_MAPERR";
	if (signo == SIGSEGV && code == SEGV_ACCERR)
		return "SEGV_ACCERR";
	if (signo == SIGCHLD && code == CLD_EXITED)
		return "CLD_EXITED";
	if (signo == SIGCHLD && code == CLD_KILLED)
		return "CLD_KILLED";
	return NULL;
}

static bool has_address(const siginfo_t *info)
{
	int s = info->si_signo;

	return info->si_code > 0 && info->si_code != SI_KERNEL &&
	       (s == SIGSEGV || s == SIGBUS || s == SIGFPE || s == SIGILL || s == SIGTRAP);
}

void trace_signal(struct task *t, const siginfo_t *info)
{
	const char *code = code_name(info->si_signo, info->si_code);
	char buf[256];
	struct text x = {buf, sizeof(buf), 0};

	text_add(&x, "[pid %5d] --- ", t->ctx.tid);
	trace_signal_name(&x, info->si_signo);
	text_add(&x, " {si_signo=");
	trace_signal_name(&x, info->si_signo);
	if (code)
		text_add(&x, ", si_code=%s", code);
	else
		text_add(&x, ", si_code=%d", info->si_code);
	if (has_address(info))
		text_add(&x, ", si_addr=%#lx", (unsigned long)info->si_addr);
	else if (info->si_code <= 0 || info->si_signo == SIGCHLD)
		text_add(&x, ", si_pid=%d, si_uid=%u", info->si_pid, info->si_uid);
	text_add(&x, "} ---");
	write_line(&x);
}

/* As strace -k has it. */
void trace_frame(struct task *t, const char *text)
{
	char buf[512];
	struct text x = {buf, sizeof(buf), 0};

	text_add(&x, "[pid %5d]  > %s", t->ctx.tid, text);
	write_line(&x);
}

void trace_exit(struct task *t)
{
	int status = t->tg->group_exit ? t->tg->exit_code : t->exit_code;
	char buf[128];
	struct text x = {buf, sizeof(buf), 0};

	text_add(&x, "[pid %5d] +++ ", t->ctx.tid);
	if (WIFSIGNALED(status)) {
		text_add(&x, "killed by ");
		trace_signal_name(&x, WTERMSIG(status));
	} else {
		text_add(&x, "exited with %d", WEXITSTATUS(status));
	}
	text_add(&x, " +++");
	write_line(&x);
}
