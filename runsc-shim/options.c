/*
 * The command line of `sandbox exec`: getopt_long with "+", so that options end at the program's name. Each mistake is
 * one line that says what is wrong, why and what to do; the status is 125, as docker run gives for its own errors.
 */
#include "runsc-shim/options.h"

#include <fcntl.h>
#include <signal.h>
#include <getopt.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/hostfd.h"
#include "runsc-shim/limits.h"
#include "runsc-shim/options_net.h"
#include "sentry/base/clock.h"

static const char help_text[] =
    "Usage: sandbox exec [options] [--] PROGRAM [ARGUMENT...]\n"
    "\n"
    "Runs PROGRAM on a Linux kernel of its own, in user space. By default it sees this\n"
    "machine's files read-only, and what it writes goes to memory and is dropped at the\n"
    "end; it has its own /proc, /sys, /dev and /tmp, and no network but loopback.\n"
    "Its standard streams, signals and exit status pass through.\n"
    "\n"
    "Files:\n"
    "  --root DIR            use DIR as the root directory instead of /\n"
    "  --bind SRC[:DST][:ro] show the host's SRC at DST; writable unless :ro\n"
    "  --tmpfs DST           an empty in-memory directory at DST\n"
    "  --overlay KIND        where writes go: memory (default, dropped at the end),\n"
    "                        dir=PATH (kept in PATH), none (the root is read-only)\n"
    "  --workdir DIR         start in DIR (default: the current directory if it is\n"
    "                        visible inside, else /)\n"
    "Network:\n"
    "  --net KIND            none (default: loopback only); nat: reaches what this machine\n"
    "                        reaches, by a gateway inside; host: this machine's sockets\n"
    "                        themselves, which is weaker: whoever breaks out of the\n"
    "                        sandbox's kernel reaches what you reach, 127.0.0.1 included;\n"
    "                        tap:NAME[,address=ADDRESS/LENGTH][,gateway=ADDRESS]: a TAP\n"
    "                        device; device:NAME: an Ethernet interface moves inside with\n"
    "                        its addresses and routes, until the end\n"
    "  -p, --publish [ADDRESS:]HOSTPORT:GUESTPORT[/udp]\n"
    "                        with nat: a port of this machine leads to one inside\n"
    "  --allow-net RULE[,RULE...]\n"
    "                        with nat: nothing but this may be reached: HOST, *.DOMAIN,\n"
    "                        ADDRESS or NETWORK/BITS, with :PORT or :FIRST-LAST if only\n"
    "                        that; repeatable\n"
    "  --dns ADDRESS         with nat: names are asked of this resolver (default: this\n"
    "                        machine's); up to three\n"
    "  --pcap FILE           record its packets in FILE, for tcpdump -r and Wireshark\n"
    "Identity and environment:\n"
    "  --env NAME[=VALUE]    set a variable, or pass it on; --env -  starts empty\n"
    "  --user USER[:GROUP]   run as this user (name or number; default: yours), with\n"
    "                        HOME, USER and LOGNAME that fit\n"
    "  --hostname NAME       the name of the machine inside (default: sandbox)\n"
    "Limits:\n"
    "  --memory SIZE         kill the largest process above this (512M, 2G; from 4M)\n"
    "  --pids COUNT          at most so many processes\n"
    "  --timeout DURATION    end it after this (30, 1.5s, 10m, 1h): SIGTERM, and after\n"
    "                        another 5 s SIGKILL; exit status 124\n"
    "Terminal and diagnosis:\n"
    "  --tty                 its terminal is one of the sandbox's own, copied to and\n"
    "                        from the standard streams, even if they are pipes\n"
    "  --no-tty              no controlling terminal (default: the one that is a\n"
    "                        standard stream, if one is)\n"
    "  --platform NAME       auto, trap or ptrace: see `sandbox doctor`\n"
    "  --strace[=FILE]       write system calls and crashes to stderr or FILE\n"
    "  --log FILE            the sandbox's own messages go to FILE\n"
    "  --debug               more of them, and the stacks of programs that crash\n"
    "  --help                this text\n"
    "\n"
    "Exit status: PROGRAM's; 128+N if signal N ended it; 124 timed out, 125 the sandbox\n"
    "failed, 126 PROGRAM cannot be run, 127 PROGRAM was not found.\n"
    "\n"
    "Examples:\n"
    "  sandbox exec -- python3 script.py\n"
    "  sandbox exec --bind $PWD/out:/out -- make -j2 DESTDIR=/out install\n"
    "  sandbox exec --overlay dir=$HOME/box -- bash\n"
    "  sandbox exec --root /srv/debian --user nobody --memory 1G --timeout 5m -- ./job\n";

enum {
	OPT_ROOT = 256,
	OPT_BIND,
	OPT_TMPFS,
	OPT_OVERLAY,
	OPT_WORKDIR,
	OPT_NET,
	OPT_PUBLISH,
	OPT_ALLOW_NET,
	OPT_DNS,
	OPT_PCAP,
	OPT_ENV,
	OPT_USER,
	OPT_HOSTNAME,
	OPT_MEMORY,
	OPT_PIDS,
	OPT_TIMEOUT,
	OPT_TTY,
	OPT_NO_TTY,
	OPT_PLATFORM,
	OPT_STRACE,
	OPT_LOG,
	OPT_DEBUG,
	OPT_HELP,
};

static const struct option long_options[] = {
    {"root", required_argument, NULL, OPT_ROOT},
    {"bind", required_argument, NULL, OPT_BIND},
    {"tmpfs", required_argument, NULL, OPT_TMPFS},
    {"overlay", required_argument, NULL, OPT_OVERLAY},
    {"workdir", required_argument, NULL, OPT_WORKDIR},
    {"net", required_argument, NULL, OPT_NET},
    {"publish", required_argument, NULL, OPT_PUBLISH},
    {"allow-net", required_argument, NULL, OPT_ALLOW_NET},
    {"dns", required_argument, NULL, OPT_DNS},
    {"pcap", required_argument, NULL, OPT_PCAP},
    {"env", required_argument, NULL, OPT_ENV},
    {"user", required_argument, NULL, OPT_USER},
    {"hostname", required_argument, NULL, OPT_HOSTNAME},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"pids", required_argument, NULL, OPT_PIDS},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"tty", no_argument, NULL, OPT_TTY},
    {"no-tty", no_argument, NULL, OPT_NO_TTY},
    {"platform", required_argument, NULL, OPT_PLATFORM},
    {"strace", optional_argument, NULL, OPT_STRACE},
    {"log", required_argument, NULL, OPT_LOG},
    {"debug", no_argument, NULL, OPT_DEBUG},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

#define MEMORY_MIN (4ul << 20)
#define HOSTNAME_MAX 64
#define HOSTNAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

const char *const user_env[USER_ENV_COUNT] = {"HOME", "USER", "LOGNAME"};

static int usage(struct error *e, const char *option, const char *value, const char *why)
{
	return error_set(e, EXIT_SANDBOX, 0, "see sandbox exec --help", "%s '%s': %s", option, value, why);
}

static int parse_name(const char **ret, const char *option, const char *arg, const char *why, struct error *e)
{
	*ret = arg;
	return *arg ? 0 : usage(e, option, arg, why);
}

/* A count with an optional suffix K, M, G or T (powers of 1024). False: not one. */
static bool parse_size(const char *s, uint64_t *ret)
{
	static const char suffixes[] = "KMGT";
	char *end;
	uint64_t n;
	unsigned shift = 0;
	const char *suffix;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	n = strtoull(s, &end, 10);
	suffix = *end ? strchr(suffixes, *end & ~0x20) : NULL;
	if (suffix) {
		shift = 10 * (unsigned)(suffix - suffixes + 1);
		end++;
		if (*end == 'i')
			end++;
		if (*end == 'B' || *end == 'b')
			end++;
	}
	if (errno || *end || n == 0 || n > UINT64_MAX >> shift)
		return false;
	*ret = n << shift;
	return true;
}

/* Seconds with an optional suffix s, m, h or d, fractions allowed, as timeout(1). */
static bool parse_duration(const char *s, uint64_t *ret_ns)
{
	double factor = 1;
	char *end;
	double n;

	if ((*s < '0' || *s > '9') && *s != '.')
		return false;
	n = strtod(s, &end);
	switch (*end) {
	case 'd':
		factor = 86400;
		break;
	case 'h':
		factor = 3600;
		break;
	case 'm':
		factor = 60;
		break;
	case 's':
	case 0:
		break;
	default:
		return false;
	}
	if (*end && end[1])
		return false;
	if (!(n > 0) || n * factor > 1e9)
		return false;
	*ret_ns = MAX((uint64_t)(n * factor * (double)NSEC_PER_SEC), 1ul);
	return true;
}

static struct mount_spec *mount_new(struct spec *s, struct error *e)
{
	if (s->mount_count == MOUNTS_MAX) {
		error_set(e, EXIT_SANDBOX, 0, NULL, "more than %d --bind and --tmpfs options", MOUNTS_MAX);
		return NULL;
	}
	s->mounts[s->mount_count] = (struct mount_spec){.fd = -1};
	return &s->mounts[s->mount_count++];
}

static int bind_usage(const struct mount_spec *m, const char *why, struct error *e)
{
	bool cut = m->dst != m->src;

	return error_set(e, EXIT_SANDBOX, 0, "see sandbox exec --help", "--bind '%s%s%s': %s", m->src, cut ? ":" : "",
			 cut ? m->dst : "", why);
}

/* SRC[:DST][:ro|:rw]; the argument's own memory is cut at the colons. */
static int parse_bind(struct spec *s, char *arg, struct error *e)
{
	struct mount_spec *m = mount_new(s, e);
	char *colon;

	if (!m)
		return -1;
	m->kind = MOUNT_BIND;
	m->src = m->dst = arg;
	colon = strrchr(arg, ':');
	if (colon && (strcmp(colon, ":ro") == 0 || strcmp(colon, ":rw") == 0)) {
		m->read_only = colon[2] == 'o';
		*colon = 0;
		colon = strrchr(arg, ':');
	}
	if (colon) {
		*colon = 0;
		m->dst = colon + 1;
	}
	if (!*m->src)
		return bind_usage(m, "the source is empty: must be SRC[:DST][:ro]", e);
	if (*m->dst != '/' && m->dst == m->src) {
		m->dst = realpath(m->src, NULL);
		if (!m->dst)
			return error_set(e, EXIT_SANDBOX, errno, "the source must exist", "cannot use '%s' of --bind",
					 m->src);
	}
	if (*m->dst != '/')
		return bind_usage(m, "the destination must be an absolute path: SRC[:DST][:ro]", e);
	return 0;
}

static int parse_tmpfs(struct spec *s, char *arg, struct error *e)
{
	struct mount_spec *m = mount_new(s, e);

	if (!m)
		return -1;
	m->kind = MOUNT_TMPFS;
	m->src = "tmpfs";
	m->dst = arg;
	m->is_dir = true;
	if (strchr(arg, ':'))
		return usage(e, "--tmpfs", arg, "must be a path without a colon; there are no options");
	return *arg == '/' ? 0 : usage(e, "--tmpfs", arg, "the destination must be an absolute path");
}

static int parse_overlay(struct spec *s, const char *arg, struct error *e)
{
	if (strcmp(arg, "none") == 0)
		s->overlay = OVERLAY_NONE;
	else if (strcmp(arg, "memory") == 0)
		s->overlay = OVERLAY_MEMORY;
	else if (strncmp(arg, "dir=", 4) == 0 && arg[4]) {
		s->overlay = OVERLAY_DIR;
		s->overlay_path = arg + 4;
	} else
		return usage(e, "--overlay", arg, "must be none, memory or dir=PATH");
	return 0;
}

/* Replaces or adds NAME=VALUE; value-less entries copy from `environment`. */
static int parse_env(struct spec *s, char *arg, char **environment, struct error *e)
{
	size_t len = strcspn(arg, "="), n = 0;
	char *entry = arg;

	if (strcmp(arg, "-") == 0) {
		s->envp[0] = NULL;
		return 0;
	}
	if (len == 0)
		return usage(e, "--env", arg, "the name is empty: must be NAME or NAME=VALUE");
	if (!arg[len]) {
		for (; *environment; environment++)
			if (strncmp(*environment, arg, len) == 0 && (*environment)[len] == '=')
				break;
		if (!*environment)
			return 0;
		entry = *environment;
	}
	for (; s->envp[n]; n++)
		if (strncmp(s->envp[n], arg, len) == 0 && s->envp[n][len] == '=')
			break;
	if (!s->envp[n])
		s->envp[n + 1] = NULL;
	s->envp[n] = entry;
	for (size_t i = 0; i < ARRAY_SIZE(user_env); i++)
		if (strlen(user_env[i]) == len && strncmp(user_env[i], arg, len) == 0)
			s->user_env_given |= 1u << i;
	return 0;
}

static int parse_platform(struct spec *s, const char *arg, struct error *e)
{
	s->platform = arg;
	if (strcmp(arg, "auto") != 0 && strcmp(arg, "trap") != 0 && strcmp(arg, "ptrace") != 0)
		return usage(e, "--platform", arg, "must be auto, trap or ptrace");
	return 0;
}

static int parse_hostname(struct spec *s, const char *arg, struct error *e)
{
	size_t len = strlen(arg);

	s->hostname = arg;
	if (len >= 1 && len <= HOSTNAME_MAX && strspn(arg, HOSTNAME_CHARS) == len)
		return 0;
	return usage(e, "--hostname", arg, "must be 1 to 64 letters, digits, dots, dashes or underscores");
}

static int parse_user(struct spec *s, const char *arg, struct error *e)
{
	size_t len = strcspn(arg, ":");

	s->user = arg;
	if (len == 0 || strcmp(arg + len, ":") == 0)
		return usage(e, "--user", arg, "must be USER or USER:GROUP, names or numbers");
	return 0;
}

static int parse_memory(struct spec *s, const char *arg, struct error *e)
{
	if (!parse_size(arg, &s->memory_bytes))
		return usage(e, "--memory", arg, "must be a number of bytes, or one with K, M, G or T, like 512M");
	if (s->memory_bytes < MEMORY_MIN)
		return usage(e, "--memory", arg, "must be at least 4M, for the sandbox's kernel and a shell");
	return 0;
}

static int parse_limits(struct spec *s, int opt, const char *arg, struct error *e)
{
	uint64_t n;

	if (opt == OPT_MEMORY)
		return parse_memory(s, arg, e);
	if (opt == OPT_TIMEOUT)
		return parse_duration(arg, &s->timeout_ns)
			   ? 0
			   : usage(e, "--timeout", arg, "must be like 30, 1.5s or 10m, and at most 11574d");
	if (!parse_size(arg, &n) || n > 4194304)
		return usage(e, "--pids", arg, "must be a number from 1 to 4194304");
	s->pids_max = (unsigned)n;
	return 0;
}

static int parse_net(struct net_spec *n, int opt, const char *arg, struct error *e)
{
	if (opt == OPT_NET)
		return options_net_kind(n, arg, e);
	if (opt == OPT_ALLOW_NET)
		return options_net_allow(n, arg, e);
	if (opt == OPT_DNS)
		return options_net_dns(n, arg, e);
	if (opt == OPT_PCAP)
		return parse_name(&n->pcap_path, "--pcap", arg, "must be a file", e);
	return options_net_publish(n, arg, e);
}

static int parse_one(struct spec *s, int opt, char *arg, char **environment, struct error *e)
{
	switch (opt) {
	case OPT_NET:
	case OPT_PUBLISH:
	case OPT_ALLOW_NET:
	case OPT_DNS:
	case OPT_PCAP:
	case 'p':
		return parse_net(&s->net, opt, arg, e);
	case OPT_ROOT:
		return parse_name(&s->root, "--root", arg, "must be a directory", e);
	case OPT_BIND:
		return parse_bind(s, arg, e);
	case OPT_TMPFS:
		return parse_tmpfs(s, arg, e);
	case OPT_OVERLAY:
		return parse_overlay(s, arg, e);
	case OPT_WORKDIR:
		s->workdir = arg;
		s->workdir_given = true;
		return *arg == '/' ? 0 : usage(e, "--workdir", arg, "must be an absolute path inside the sandbox");
	case OPT_ENV:
		return parse_env(s, arg, environment, e);
	case OPT_USER:
		return parse_user(s, arg, e);
	case OPT_HOSTNAME:
		return parse_hostname(s, arg, e);
	case OPT_MEMORY:
	case OPT_PIDS:
	case OPT_TIMEOUT:
		return parse_limits(s, opt, arg, e);
	case OPT_TTY:
		s->tty = TTY_YES;
		return 0;
	case OPT_NO_TTY:
		s->tty = TTY_NO;
		return 0;
	case OPT_PLATFORM:
		return parse_platform(s, arg, e);
	case OPT_STRACE:
		s->strace = true;
		return arg ? parse_name(&s->strace_path, "--strace", arg, "must be a file, or be without =", e) : 0;
	case OPT_LOG:
		return parse_name(&s->log_path, "--log", arg, "must be a file", e);
	default:
		s->debug = true;
		return 0;
	}
}

/* The caller's groups, environment and current directory. */
/* What the program would have inherited: nohup(1) ignores SIGHUP, shells ignore keys for what they start in the background. */
static void inherit_signals(struct spec *s)
{
	struct sigaction sa;
	sigset_t blocked;

	sigprocmask(SIG_BLOCK, NULL, &blocked);
	for (int signo = 1; signo <= 64; signo++) {
		if (sigismember(&blocked, signo) == 1)
			s->sig_blocked |= 1ull << (signo - 1);
		if (sigaction(signo, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			s->sig_ignored |= 1ull << (signo - 1);
	}
}

/* more: how many variables may be added. */
static int spec_init(struct spec *s, char **environment, size_t more, struct error *e)
{
	static char cwd[PATH_MAX];
	size_t n = 0;
	int groups = getgroups(0, NULL);

	*s = (struct spec){.root = "/", .root_fd = -1, .overlay_fd = -1, .strace_fd = -1, .log_fd = -1, .cwd_fd = -1};
	s->umask = umask(0);
	umask(s->umask);
	for (int i = 0; i < 3; i++)
		s->stream_fd[i] = -1;
	options_net_init(&s->net);
	inherit_signals(s);
	limits_inherit(s);
	s->platform = "auto";
	s->hostname = "sandbox";
	s->uid = geteuid();
	s->gid = getegid();
	while (environment[n])
		n++;
	s->envp = calloc(n + more + 1, sizeof(*s->envp));
	s->groups = calloc((size_t)MAX(groups, 0) + 1, sizeof(*s->groups));
	if (!s->envp || !s->groups)
		return error_set(e, EXIT_SANDBOX, ENOMEM, NULL, "cannot start");
	groups = getgroups(groups, s->groups);
	s->group_count = groups > 0 ? (size_t)groups : 0;
	memcpy(s->envp, environment, n * sizeof(*s->envp));
	if (getcwd(cwd, sizeof(cwd)))
		s->workdir = cwd;
	return 0;
}

/* getopt_long() said '?' or ':'; `arg` is where it was, but for a letter. */
static int bad_option(int said, const char *arg, struct error *e)
{
	char letter[] = {'-', (char)optopt, 0};
	bool is_long = optopt == 0 || optopt >= OPT_ROOT;

	return error_set(e, EXIT_SANDBOX, 0, "see sandbox exec --help", "%s: %s", is_long ? arg : letter,
			 said == ':'          ? "its value is missing"
			 : optopt >= OPT_ROOT ? "takes no value"
					      : "unknown option");
}

int options_parse(int argc, char **argv, char **environment, struct spec *s, struct error *e)
{
	int opt;

	if (spec_init(s, environment, (size_t)argc, e))
		return -1;
	opterr = 0;
	optind = 1;
	while ((opt = getopt_long(argc, argv, "+:hp:", long_options, NULL)) != -1) {
		if (opt == OPT_HELP || opt == 'h') {
			fputs(help_text, stdout);
			return 1;
		}
		if (opt == '?' || opt == ':')
			return bad_option(opt, argv[optind - 1], e);
		if (parse_one(s, opt, optarg, environment, e))
			return -1;
	}
	if (optind == argc)
		return error_set(e, EXIT_SANDBOX, 0, "sandbox exec [options] -- PROGRAM [ARGUMENT...]; see --help",
				 "no program given");
	if (!**(argv + optind))
		return error_set(e, EXIT_NOT_FOUND, 0, NULL, "the program's name is empty");
	if (options_net_check(&s->net, e))
		return -1;
	s->argv = argv + optind;
	s->program = s->argv[0];
	return 0;
}

static int open_output(const char *option, const char *path, int *ret, struct error *e)
{
	if (!path)
		return 0;
	*ret = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
	if (*ret < 0)
		return error_set(e, EXIT_SANDBOX, errno, "choose a file that you may write to",
				 "cannot write the file '%s' of %s", path, option);
	return 0;
}

/* Whether the sentry may, which has the caller's ids but none of his capabilities. 0, or -errno; 0 if the host cannot say. */
static int check_access(int fd, int mode)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct own[_LINUX_CAPABILITY_U32S_3], less[_LINUX_CAPABILITY_U32S_3];
	int err = 0;

	if (syscall(SYS_capget, &header, own))
		return 0;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		less[i] = (struct __user_cap_data_struct){0, own[i].permitted, own[i].inheritable};
	syscall(SYS_capset, &header, less);
	if (faccessat(fd, "", mode, AT_EACCESS | AT_EMPTY_PATH))
		err = errno == EACCES || errno == EROFS ? -errno : 0;
	syscall(SYS_capset, &header, own);
	return err;
}

static int access_error(struct error *e, int err, const char *advice, const char *what, const char *path,
			const char *option)
{
	if (err == -EACCES && geteuid() == 0)
		advice = "its permissions must allow it: the sandbox has no power over them, even if root starts it";
	return error_set(e, EXIT_SANDBOX, -err, advice, "cannot use %s'%s' of %s", what, path, option);
}

static int open_dir(const char *option, const char *path, int mode, int *ret, struct error *e)
{
	const char *advice = mode & W_OK ? "choose one that you may write to"
					 : "it must be a directory that you may enter";
	int err;

	*ret = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	err = *ret < 0 ? -errno : check_access(*ret, mode);
	if (err == -ENOENT && (mode & W_OK))
		advice = "make it first, with mkdir";
	return err ? access_error(e, err, advice, "the directory ", path, option) : 0;
}

static int open_streams(struct spec *s, struct error *e)
{
	for (int i = 0; i < 3; i++) {
		struct stat st;

		if (fstat(i, &st))
			continue;
		s->stream_fd[i] = S_ISDIR(st.st_mode) ? -EISDIR : hostfd_reopen(i);
		if (s->stream_fd[i] < 0)
			return error_set(e, EXIT_SANDBOX, -s->stream_fd[i],
					 "it must be a file, a pipe, a socket, a terminal or another device",
					 "cannot pass standard stream %d on", i);
	}
	return 0;
}

/* A single file is handed over open for what may be done with it: writing too, if the bind and the file allow. */
static int reopen_file(struct mount_spec *m, const struct stat *seen)
{
	int fd = m->read_only ? -1 : open(m->src, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat now;

	if (fd < 0)
		fd = open(m->src, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	close(m->fd);
	m->fd = fd;
	if (fstat(fd, &now) == 0 && now.st_ino == seen->st_ino && now.st_dev == seen->st_dev)
		return 0;
	errno = ESTALE;
	return -1;
}

static int open_bind(struct mount_spec *m, struct error *e)
{
	struct stat st;
	int err;

	m->fd = open(m->src, O_PATH | O_CLOEXEC);
	if (m->fd < 0 || fstat(m->fd, &st))
		return access_error(e, -errno, "it must exist, and you must be able to reach it", "", m->src, "--bind");
	m->is_dir = S_ISDIR(st.st_mode);
	if (!m->is_dir && !S_ISREG(st.st_mode))
		return error_set(e, EXIT_SANDBOX, 0, "bind the directory that holds it, or use --tmpfs",
				 "cannot use '%s' of --bind: neither a directory nor a regular file", m->src);
	err = !m->is_dir && reopen_file(m, &st) ? -errno : check_access(m->fd, m->is_dir ? R_OK | X_OK : R_OK);
	if (err)
		return access_error(e, err, "you need the right to read it", "", m->src, "--bind");
	return 0;
}

int spec_open(struct spec *s, struct error *e)
{
	if (open_streams(s, e) || open_dir("--root", s->root, X_OK, &s->root_fd, e))
		return -1;
	if (!s->workdir_given && s->workdir && strncmp(s->workdir, "/tmp/", 5) == 0 && strcmp(s->root, "/") == 0)
		s->cwd_fd = open(s->workdir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->overlay == OVERLAY_DIR && open_dir("--overlay", s->overlay_path, R_OK | W_OK | X_OK, &s->overlay_fd, e))
		return -1;
	for (size_t i = 0; i < s->mount_count; i++)
		if (s->mounts[i].kind == MOUNT_BIND && open_bind(&s->mounts[i], e))
			return -1;
	if (options_net_open(&s->net, e) || open_output("--strace", s->strace_path, &s->strace_fd, e))
		return -1;
	return open_output("--log", s->log_path, &s->log_fd, e);
}

void spec_finish(struct spec *s)
{
	options_net_finish(&s->net);
	free(s->envp);
	free(s->groups);
	free(s->net.rules);
	s->net.rules = NULL;
	s->envp = NULL;
	s->groups = NULL;
}
