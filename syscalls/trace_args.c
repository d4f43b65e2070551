/*
 * The values of arguments, decoded from guest memory: what --strace prints for them. One small function a kind; a
 * pointer that cannot be read is printed as a number, and so is what a failed call did not write.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "syscalls/trace_impl.h"

#define SHOWN 32 /* bytes of a buffer */
#define ITEMS 16 /* of an array */
#define PATH_SHOWN 512

static bool fetch(const struct trace_call *c, void *dst, uint64_t addr, size_t size)
{
	return copy_in(&c->t->ctx, dst, UADDR(addr), size) == 0;
}

static void add_pointer(struct text *x, uint64_t v)
{
	if (v)
		text_add(x, "%#lx", (unsigned long)v);
	else
		text_add(x, "NULL");
}

static void add_string(struct text *x, const struct trace_call *c, uint64_t addr, size_t shown)
{
	char buf[PATH_SHOWN];
	ssize_t n = addr ? copy_in_string(&c->t->ctx, buf, UADDR(addr), shown) : -EFAULT;

	if (n == -EFAULT)
		add_pointer(x, addr);
	else
		text_quote(x, buf, n < 0 ? shown : (size_t)n, n < 0);
}

static void add_buffer(struct text *x, const struct trace_call *c, uint64_t addr, uint64_t size)
{
	char buf[SHOWN];
	size_t n = MIN(size, sizeof(buf));

	if (!addr || !fetch(c, buf, addr, n))
		add_pointer(x, addr);
	else
		text_quote(x, buf, n, size > n);
}

static void add_vector(struct text *x, const struct trace_call *c, uint64_t addr, uint64_t count, uint64_t limit)
{
	struct {
		uint64_t base, size;
	} v;

	text_add(x, "[");
	for (uint64_t i = 0; i < count && i < ITEMS && fetch(c, &v, addr + i * sizeof(v), sizeof(v)); i++) {
		uint64_t n = MIN(v.size, limit);

		text_add(x, "%s{iov_base=", i ? ", " : "");
		add_buffer(x, c, v.base, n);
		text_add(x, ", iov_len=%" PRIu64 "}", v.size);
		limit -= n;
	}
	text_add(x, count > ITEMS ? ", ...]" : "]");
}

static void add_semops(struct text *x, const struct trace_call *c, uint64_t addr, uint64_t count)
{
	struct {
		uint16_t num;
		int16_t op, flags;
	} o;

	text_add(x, "[");
	for (uint64_t i = 0; i < count && i < ITEMS && fetch(c, &o, addr + i * sizeof(o), sizeof(o)); i++)
		text_add(x, "%s{%u, %d, %#o}", i ? ", " : "", o.num, o.op, (unsigned)o.flags);
	text_add(x, count > ITEMS ? ", ...]" : "]");
}

static void add_strings(struct text *x, const struct trace_call *c, uint64_t addr)
{
	uint64_t p;

	if (!addr || !fetch(c, &p, addr, sizeof(p))) {
		add_pointer(x, addr);
		return;
	}
	text_add(x, "[");
	for (unsigned i = 0; i < 2 * ITEMS && fetch(c, &p, addr + i * sizeof(p), sizeof(p)) && p; i++) {
		text_add(x, "%s", i ? ", " : "");
		add_string(x, c, p, 4 * SHOWN);
	}
	text_add(x, "]");
}

static void add_environment(struct text *x, const struct trace_call *c, uint64_t addr)
{
	unsigned count = 0;
	uint64_t p;

	while (addr && count < 4096 && fetch(c, &p, addr + count * sizeof(p), sizeof(p)) && p)
		count++;
	add_pointer(x, addr);
	text_add(x, " /* %u vars */", count);
}

static void add_stat(struct text *x, const struct stat *s)
{
	text_add(x, "{st_mode=");
	trace_mode(x, s->st_mode);
	if (S_ISCHR(s->st_mode) || S_ISBLK(s->st_mode))
		text_add(x, ", st_rdev=makedev(%#x, %#x), ...}", major(s->st_rdev), minor(s->st_rdev));
	else
		text_add(x, ", st_size=%ld, ...}", (long)s->st_size);
}

static void add_statx(struct text *x, const struct statx *s)
{
	text_add(x, "{stx_mask=%#x, stx_mode=", s->stx_mask);
	trace_mode(x, s->stx_mode);
	text_add(x, ", stx_size=%llu, ...}", (unsigned long long)s->stx_size);
}

static void add_timespec(struct text *x, const int64_t *v, const char *fraction)
{
	text_add(x, "{tv_sec=%" PRId64 ", tv_%ssec=%" PRId64 "}", v[0], fraction, v[1]);
}

static void add_interval(struct text *x, const int64_t *v, const char *fraction)
{
	text_add(x, "{it_interval=");
	add_timespec(x, v, fraction);
	text_add(x, ", it_value=");
	add_timespec(x, v + 2, fraction);
	text_add(x, "}");
}

static void add_action(struct text *x, const struct k_sigaction *a)
{
	text_add(x, "{sa_handler=");
	if (a->handler <= 1)
		text_add(x, a->handler ? "SIG_IGN" : "SIG_DFL");
	else
		add_pointer(x, a->handler);
	text_add(x, ", sa_mask=");
	trace_sigset(x, a->mask);
	text_add(x, ", sa_flags=%#lx}", (unsigned long)a->flags);
}

static void add_siginfo(struct text *x, const siginfo_t *i)
{
	text_add(x, "{si_signo=");
	trace_signal_name(x, i->si_signo);
	text_add(x, ", si_code=%d, si_pid=%d, si_uid=%u}", i->si_code, i->si_pid, i->si_uid);
}

static void add_status(struct text *x, int s)
{
	if (WIFEXITED(s))
		text_add(x, "[{WIFEXITED(s) && WEXITSTATUS(s) == %d}]", WEXITSTATUS(s));
	else if (WIFCONTINUED(s))
		text_add(x, "[{WIFCONTINUED(s)}]");
	else
		text_add(x, "[{%s(s) && %s(s) == %s}]", WIFSTOPPED(s) ? "WIFSTOPPED" : "WIFSIGNALED",
			 WIFSTOPPED(s) ? "WSTOPSIG" : "WTERMSIG",
			 signal_name(WIFSTOPPED(s) ? WSTOPSIG(s) : WTERMSIG(s)));
}

static void add_limit(struct text *x, uint64_t v)
{
	if (v == RLIM64_INFINITY)
		text_add(x, "RLIM64_INFINITY");
	else if (v && v % 1024 == 0)
		text_add(x, "%" PRIu64 "*1024", v / 1024);
	else
		text_add(x, "%" PRIu64, v);
}

static const struct trace_name poll_bits[] = {
    {POLLIN, "POLLIN"},     {POLLPRI, "POLLPRI"},       {POLLOUT, "POLLOUT"},
    {POLLERR, "POLLERR"},   {POLLHUP, "POLLHUP"},       {POLLRDHUP, "POLLRDHUP"},
    {POLLNVAL, "POLLNVAL"}, {POLLRDNORM, "POLLRDNORM"}, {0, NULL},
};
static const struct trace_name epoll_bits[] = {
    {EPOLLIN, "EPOLLIN"},
    {EPOLLPRI, "EPOLLPRI"},
    {EPOLLOUT, "EPOLLOUT"},
    {EPOLLERR, "EPOLLERR"},
    {EPOLLHUP, "EPOLLHUP"},
    {EPOLLRDHUP, "EPOLLRDHUP"},
    {EPOLLET, "EPOLLET"},
    {EPOLLONESHOT, "EPOLLONESHOT"},
    {EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"},
    {0, NULL},
};

static void add_pollfds(struct text *x, const struct trace_call *c, uint64_t addr, uint64_t count)
{
	struct pollfd p;

	text_add(x, "[");
	for (uint64_t i = 0; i < count && i < ITEMS && fetch(c, &p, addr + i * sizeof(p), sizeof(p)); i++) {
		text_add(x, "%s{fd=%d, events=", i ? ", " : "", p.fd);
		trace_bits(x, (uint16_t)p.events, poll_bits, NULL);
		text_add(x, "}");
	}
	text_add(x, count > ITEMS ? ", ...]" : "]");
}

static void add_epoll_event(struct text *x, const struct epoll_event *e)
{
	text_add(x, "{events=");
	trace_bits(x, e->events, epoll_bits, NULL);
	text_add(x, ", data={u64=%" PRIu64 "}}", e->data.u64);
}

static void add_epoll_events(struct text *x, const struct trace_call *c, uint64_t addr)
{
	struct epoll_event e;

	text_add(x, "[");
	for (sysret_t i = 0; i < c->ret && i < ITEMS && fetch(c, &e, addr + (uint64_t)i * sizeof(e), sizeof(e)); i++) {
		text_add(x, "%s", i ? ", " : "");
		add_epoll_event(x, &e);
	}
	text_add(x, "]");
}

union address {
	struct sockaddr any;
	struct sockaddr_un un;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static void add_address(struct text *x, const struct trace_call *c, uint64_t addr, uint32_t size)
{
	union address a;
	char host[INET6_ADDRSTRLEN] = "";
	size_t n = MIN((size_t)size, sizeof(a));

	memset(&a, 0, sizeof(a));
	if (!addr || n < sizeof(a.any.sa_family) || !fetch(c, &a, addr, n)) {
		add_pointer(x, addr);
		return;
	}
	text_add(x, "{sa_family=");
	trace_flags(x, ARG_AF, a.any.sa_family);
	if (a.any.sa_family == AF_UNIX) {
		bool abstract = n > 2 && !a.un.sun_path[0];
		size_t len = n - 2;

		text_add(x, ", sun_path=%s", abstract ? "@" : "");
		text_quote(x, a.un.sun_path + abstract, abstract ? len - 1 : strnlen(a.un.sun_path, len), false);
	} else if (a.any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof(host));
		text_add(x, ", sin_port=htons(%u), sin_addr=inet_addr(\"%s\")", ntohs(a.in.sin_port), host);
	} else if (a.any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof(host));
		text_add(x, ", sin6_port=htons(%u), sin6_addr=\"%s\"", ntohs(a.in6.sin6_port), host);
	}
	text_add(x, "}");
}

static void add_message(struct text *x, const struct trace_call *c, uint64_t addr, bool received)
{
	struct msghdr m;

	if (!fetch(c, &m, addr, sizeof(m))) {
		add_pointer(x, addr);
		return;
	}
	text_add(x, "{msg_name=");
	add_address(x, c, (uint64_t)m.msg_name, m.msg_namelen);
	text_add(x, ", msg_namelen=%u, msg_iov=", m.msg_namelen);
	add_vector(x, c, (uint64_t)m.msg_iov, m.msg_iovlen, received ? (uint64_t)MAX(c->ret, 0) : UINT64_MAX);
	text_add(x, ", msg_iovlen=%zu, msg_controllen=%zu, msg_flags=", (size_t)m.msg_iovlen, (size_t)m.msg_controllen);
	trace_flags(x, ARG_MSGFLAGS, (uint64_t)m.msg_flags);
	text_add(x, "}");
}

static void add_clone_args(struct text *x, const struct trace_call *c, uint64_t addr, uint64_t size)
{
	struct clone_args_k a = {0};

	if (!fetch(c, &a, addr, MIN(size, sizeof(a)))) {
		add_pointer(x, addr);
		return;
	}
	text_add(x, "{flags=");
	trace_flags(x, ARG_CLONEFLAGS, a.flags);
	text_add(x, ", exit_signal=");
	trace_signal_name(x, (int)a.exit_signal);
	text_add(x, ", stack=%#lx, stack_size=%#lx", (unsigned long)a.stack, (unsigned long)a.stack_size);
	text_add(x, ", parent_tid=%#lx, child_tid=%#lx, tls=%#lx}", (unsigned long)a.parent_tid,
		 (unsigned long)a.child_tid, (unsigned long)a.tls);
}

/* Structures of a fixed size: fetched, then added. */
union value {
	struct stat stat;
	struct statx statx;
	int64_t times[4];
	uint64_t word;
	struct k_sigaction action;
	siginfo_t info;
	int ints[2];
	uint64_t limits[2];
	struct utsname uts;
	struct epoll_event event;
	uint64_t how[3];
};

static void add_uts(struct text *x, const struct utsname *u)
{
	text_add(x, "{sysname=\"%.64s\", nodename=\"%.64s\", release=\"%.64s\", ...}", u->sysname, u->nodename,
		 u->release);
}

static void add_how(struct text *x, const uint64_t *how)
{
	text_add(x, "{flags=");
	trace_open_flags(x, how[0]);
	text_add(x, ", mode=0%lo, resolve=%#lx}", (unsigned long)how[1], (unsigned long)how[2]);
}

static size_t value_size(enum argkind kind)
{
	switch (kind) {
	case ARG_STAT:
		return sizeof(struct stat);
	case ARG_STATX:
		return sizeof(struct statx);
	case ARG_TIMESPEC:
	case ARG_OTIMESPEC:
	case ARG_TIMEVAL:
	case ARG_OTIMEVAL:
	case ARG_RLIMIT:
	case ARG_ORLIMIT:
		return 16;
	case ARG_TIMESPEC2:
	case ARG_ITIMERVAL:
	case ARG_OITIMERVAL:
	case ARG_ITIMERSPEC:
	case ARG_OITIMERSPEC:
	case ARG_SIGACTION:
	case ARG_OSIGACTION:
		return 32;
	case ARG_SIGSET:
	case ARG_OSIGSET:
	case ARG_FDPAIR:
		return 8;
	case ARG_SIGINFO:
	case ARG_OSIGINFO:
		return sizeof(siginfo_t);
	case ARG_WSTATUS:
		return 4;
	case ARG_UTSNAME:
		return sizeof(struct utsname);
	case ARG_EPEVENT:
		return sizeof(struct epoll_event);
	case ARG_OPENHOW:
		return 24;
	default:
		return 0;
	}
}

static void add_value(struct text *x, enum argkind kind, const union value *v)
{
	switch (kind) {
	case ARG_STAT:
		add_stat(x, &v->stat);
		break;
	case ARG_STATX:
		add_statx(x, &v->statx);
		break;
	case ARG_TIMESPEC:
	case ARG_OTIMESPEC:
		add_timespec(x, v->times, "n");
		break;
	case ARG_TIMEVAL:
	case ARG_OTIMEVAL:
		add_timespec(x, v->times, "u");
		break;
	case ARG_TIMESPEC2:
		text_add(x, "[");
		add_timespec(x, v->times, "n");
		text_add(x, ", ");
		add_timespec(x, v->times + 2, "n");
		text_add(x, "]");
		break;
	case ARG_ITIMERVAL:
	case ARG_OITIMERVAL:
		add_interval(x, v->times, "u");
		break;
	case ARG_ITIMERSPEC:
	case ARG_OITIMERSPEC:
		add_interval(x, v->times, "n");
		break;
	case ARG_SIGACTION:
	case ARG_OSIGACTION:
		add_action(x, &v->action);
		break;
	case ARG_SIGSET:
	case ARG_OSIGSET:
		trace_sigset(x, v->word);
		break;
	case ARG_SIGINFO:
	case ARG_OSIGINFO:
		add_siginfo(x, &v->info);
		break;
	case ARG_WSTATUS:
		add_status(x, v->ints[0]);
		break;
	case ARG_FDPAIR:
		text_add(x, "[%d, %d]", v->ints[0], v->ints[1]);
		break;
	case ARG_RLIMIT:
	case ARG_ORLIMIT:
		text_add(x, "{rlim_cur=");
		add_limit(x, v->limits[0]);
		text_add(x, ", rlim_max=");
		add_limit(x, v->limits[1]);
		text_add(x, "}");
		break;
	case ARG_UTSNAME:
		add_uts(x, &v->uts);
		break;
	case ARG_EPEVENT:
		add_epoll_event(x, &v->event);
		break;
	default:
		add_how(x, v->how);
	}
}

bool trace_is_output(enum argkind kind)
{
	switch (kind) {
	case ARG_OSTR:
	case ARG_OBUF:
	case ARG_OIOVEC:
	case ARG_STAT:
	case ARG_STATX:
	case ARG_OTIMESPEC:
	case ARG_OTIMEVAL:
	case ARG_OITIMERVAL:
	case ARG_OITIMERSPEC:
	case ARG_OSIGSET:
	case ARG_OSIGACTION:
	case ARG_OSIGINFO:
	case ARG_WSTATUS:
	case ARG_RUSAGE:
	case ARG_ORLIMIT:
	case ARG_UTSNAME:
	case ARG_FDPAIR:
	case ARG_OEPEVENTS:
	case ARG_OSOCKADDR:
	case ARG_OMSGHDR:
		return true;
	default:
		return false;
	}
}

static void add_out_address(struct text *x, const struct trace_call *c, unsigned n, uint64_t v)
{
	uint32_t size = 0;

	if (v && n + 1 < 6 && c->args[n + 1] && !fetch(c, &size, c->args[n + 1], sizeof(size)))
		size = 0;
	add_address(x, c, v, size);
}

/* Kinds whose size lies in another argument or in the result. True: done. */
static bool add_sized(struct text *x, const struct trace_call *c, unsigned n, uint64_t v)
{
	uint64_t next = n + 1 < 6 ? c->args[n + 1] : 0;

	switch ((enum argkind)c->kinds[n]) {
	case ARG_PATH:
		add_string(x, c, v, PATH_SHOWN);
		return true;
	case ARG_STR:
		add_string(x, c, v, 2 * SHOWN);
		return true;
	case ARG_OSTR:
	case ARG_OBUF:
		add_buffer(x, c, v, (uint64_t)c->ret);
		return true;
	case ARG_IBUF:
		add_buffer(x, c, v, next);
		return true;
	case ARG_IOVEC:
		add_vector(x, c, v, next, UINT64_MAX);
		return true;
	case ARG_OIOVEC:
		add_vector(x, c, v, next, (uint64_t)c->ret);
		return true;
	case ARG_STRV:
		add_strings(x, c, v);
		return true;
	case ARG_ENVV:
		add_environment(x, c, v);
		return true;
	case ARG_POLLFDS:
		add_pollfds(x, c, v, next);
		return true;
	case ARG_OEPEVENTS:
		add_epoll_events(x, c, v);
		return true;
	case ARG_SOCKADDR:
		add_address(x, c, v, (uint32_t)next);
		return true;
	case ARG_OSOCKADDR:
		add_out_address(x, c, n, v);
		return true;
	case ARG_MSGHDR:
	case ARG_OMSGHDR:
		add_message(x, c, v, c->kinds[n] == ARG_OMSGHDR);
		return true;
	case ARG_SEMOPS:
		add_semops(x, c, v, next);
		return true;
	case ARG_CLONEARGS:
		add_clone_args(x, c, v, next);
		return true;
	default:
		return false;
	}
}

static void add_number(struct text *x, enum argkind kind, uint64_t v)
{
	switch (kind) {
	case ARG_DIRFD:
		if ((int)v == AT_FDCWD)
			text_add(x, "AT_FDCWD");
		else
			text_add(x, "%d", (int)v);
		break;
	case ARG_INT:
	case ARG_FD:
	case ARG_PID:
	case ARG_UID:
	case ARG_GID:
	case ARG_IPCID:
		text_add(x, "%d", (int)v);
		break;
	case ARG_IPCKEY:
		text_add(x, v ? "%#x" : "IPC_PRIVATE", (unsigned)v);
		break;
	case ARG_UINT:
		text_add(x, "%u", (unsigned)v);
		break;
	case ARG_LONG:
	case ARG_OFF:
		text_add(x, "%" PRId64, (int64_t)v);
		break;
	case ARG_SIZE:
		text_add(x, "%" PRIu64, v);
		break;
	case ARG_MODE:
		text_add(x, "0%03o", (unsigned)v);
		break;
	case ARG_DEV:
		text_add(x, "makedev(%#x, %#x)", major(v), minor(v));
		break;
	case ARG_SIG:
		trace_signal_name(x, (int)v);
		break;
	case ARG_PTR:
	case ARG_ADDR:
	case ARG_RUSAGE:
		add_pointer(x, v);
		break;
	default:
		text_add(x, v < 10 ? "%lu" : "%#lx", (unsigned long)v);
	}
}

void trace_arg(struct text *x, const struct trace_call *c, unsigned n)
{
	enum argkind kind = c->kinds[n];
	size_t size = value_size(kind);
	uint64_t v = c->args[n];
	union value value;

	if (trace_is_output(kind) && c->ret < 0)
		add_pointer(x, v);
	else if (size && v && fetch(c, &value, v, size))
		add_value(x, kind, &value);
	else if (size)
		add_pointer(x, v);
	else if (!add_sized(x, c, n, v) && !trace_flags(x, kind, v))
		add_number(x, kind, v);
}
