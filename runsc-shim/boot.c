/*
 * From a spec to a running first process, in the sentry.
 *
 * Order: arena and log, the machine's names and sizes, the platform (which forks its template while there is one thread), the sentry's own filter, the
 * file tree, the identity, the standard streams, the program. From the filter on the sentry can do what platform/hostcalls.def lists and nothing else. Everything that
 * can go wrong is told to the launcher as one error with its exit status.
 */
#include "runsc-shim/boot.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/hostio.h"
#include "fs/dev/devfs.h"
#include "fs/sys/sysfs.h"
#include "fs/dev/hosttty.h"
#include "fs/dev/relay.h"
#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "fs/hostfd.h"
#include "fs/tmp/tmpfs.h"
#include "net/hostsock.h"
#include "net/netstack.h"
#include "net/pcap.h"
#include "net/tun.h"
#include "platform/hostproc.h"
#include "platform/platform.h"
#include "platform/seccomp.h"
#include "runsc-shim/boot_fs.h"
#include "runsc-shim/boot_link.h"
#include "runsc-shim/boot_net.h"
#include "runsc-shim/boot_user.h"
#include "runsc-shim/isolate.h"
#include "sentry/base/cred.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"
#include "sentry/memlimit.h"
#include "sentry/signal.h"
#include "sentry/system.h"
#include "sentry/task.h"
#include "syscalls/trace.h"

#define ARENA_MAX (16ul << 30)

static void no_raise(struct ctx *c __unused, int signo __unused)
{
}

static int boot_kernel(const struct spec *s, struct error *e)
{
	struct platform_config config = {.client = &task_client, .max_aspaces = s->pids_max};
	int err = arena_init(ARENA_MAX);

	log_init(s->log_fd >= 0 ? s->log_fd : STDERR_FILENO, s->debug ? LOG_DEBUG : LOG_WARN, false);
	if (err)
		return error_set(e, EXIT_SANDBOX, -err, NULL, "cannot reserve memory for the kernel");
	umask(0); /* a mode that a guest gives a file on the host is the mode that it has */
	system_init(s->hostname, s->memory_bytes, s->pids_max);
	hostproc_init(isolate_proc_fd());
	hostio_memory_dir = isolate_memory_fd();
	tmpfs_limit_nameless(s->memory_bytes);
	if (isolate_proc_fd() >= 0)
		hostio_self_dir = openat(isolate_proc_fd(), "self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	err = platform->init(&config);
	if (err)
		return error_set(e, EXIT_SANDBOX, -err,
				 err == -EPERM
				     ? "may a process reach its children's memory? sysctl kernel.yama.ptrace_scope=1"
				     : "see sandbox doctor",
				 "cannot start the %s platform", platform->name);
	log_crashes();
	/* For those who look for what hostcalls.def lacks: the host's kernel logs it. */
	if (getenv("SANDBOX_SECCOMP_LOG"))
		seccomp_set_strictness(SECCOMP_LOG);
	boot_net_early(s);
	if (s->net.kind == NET_HOST)
		seccomp_allow_host_sockets();
	err = seccomp_install_sentry();
	if (err)
		return error_set(e, EXIT_SANDBOX, -err, "see sandbox doctor", "cannot confine the sentry");
	if (s->strace)
		trace_init(s->strace_fd >= 0 ? s->strace_fd : STDERR_FILENO);
	return 0;
}

/* A socket has one description, by however many numbers it is handed over: the earlier stream that is the same, or NULL. */
static struct file *same_socket(struct ctx *c, const struct spec *s, int fd, const struct stat *st)
{
	struct stat other;

	for (int i = 0; i < fd; i++)
		if (s->stream_fd[i] >= 0 && fstat(s->stream_fd[i], &other) == 0 && other.st_ino == st->st_ino &&
		    other.st_dev == st->st_dev)
			return fd_get(c, i);
	return NULL;
}

static int open_stream(struct ctx *c, const struct spec *s, int fd, struct file **ret)
{
	int host_fd = s->stream_fd[fd];
	struct stat st;

	if (fstat(host_fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		return hostfd_open(c, host_fd, ret);
	*ret = same_socket(c, s, fd, &st);
	if (!*ret)
		return hostsock_open(c, host_fd, ret);
	close(host_fd);
	return 0;
}

/* Descriptors 0, 1 and 2; those that are closed outside stay closed inside. */
static int boot_streams(struct ctx *c, const struct spec *s, struct error *e)
{
	/* What the host sends for a write that fails is told to the guest by the sentry itself. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	for (int fd = 0; fd <= 2; fd++) {
		struct file *f;
		int err;

		if (s->stream_fd[fd] < 0)
			continue;
		err = open_stream(c, s, fd, &f);
		if (!err)
			err = fd_replace(c, fd, f, 0);
		if (err < 0)
			return error_set(e, EXIT_SANDBOX, -err, "it must be open for reading or writing",
					 "cannot pass standard stream %d on", fd);
	}
	return 0;
}

/* What the launcher's terminal means for the guest's. */
static int (*terminal_signal)(int signo) = hosttty_signal;

static void ask_to_stop(const struct boot_request *r);

/* The host's terminal cannot be read from the background. */
static void in_background(void)
{
	ask_to_stop(&(struct boot_request){.signo = SIGTTIN, .from_terminal = true});
}

/* --tty: the same terminal for all three. */
static int boot_relay(struct ctx *c, const struct spec *s, struct error *e)
{
	struct relay_spec r = {.modes = s->modes, .background = in_background};
	FILE_REF slave = NULL;
	int err;

	memcpy(r.host_fd, s->stream_fd, sizeof(r.host_fd));
	terminal_signal = relay_signal;
	err = relay_open(c, &r, &slave);
	for (int fd = 0; fd <= 2 && err >= 0; fd++)
		err = fd_replace(c, fd, file_get(slave), 0);
	return err < 0 ? error_set(e, EXIT_SANDBOX, -err, NULL, "cannot make a terminal") : 0;
}

/* 0: there is a file that may be executed; -EACCES: there is something else; -ENOENT: nothing that can be seen. */
static int try_program(struct ctx *c, const char *path)
{
	PATH_REF at = {NULL, NULL};

	if (path_lookup(c, AT_FDCWD, path, LOOKUP_FOLLOW, &at))
		return -ENOENT;
	return S_ISREG(at.dentry->inode->mode) ? inode_permission(c, at.dentry->inode, MAY_EXEC) : -EACCES;
}

/*
 * The program's name as shells find it: 0 with *ret (kalloc'ed string), or -errno. An empty element of the search path is the current directory.
 */
static int find_program(struct ctx *c, const char *name, const char *search, char **ret)
{
	char candidate[PATH_MAX];
	int err = -ENOENT;

	*ret = NULL;
	if (strchr(name, '/')) {
		*ret = kstrdup(name);
		return *ret ? 0 : -ENOMEM;
	}
	while (search) {
		const char *end = strchrnul(search, ':');
		int n = snprintf(candidate, sizeof(candidate), "%.*s%s%s", (int)(end - search), search,
				 end > search ? "/" : "./", name);
		int found = n < PATH_MAX ? try_program(c, candidate) : -ENOENT;

		if (!found) {
			*ret = kstrdup(candidate);
			return *ret ? 0 : -ENOMEM;
		}
		if (found != -ENOENT)
			err = found;
		search = *end ? end + 1 : NULL;
	}
	return err;
}

static const char *env_get(char **envp, const char *name)
{
	size_t len = strlen(name);

	for (; *envp; envp++)
		if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
			return *envp + len + 1;
	return NULL;
}

/* path: what was found for the program, or NULL; interp: its interpreter, if that is to blame, or "". */
static const char *program_advice(const char *name, int err, const char *path, const char *interp)
{
	switch (-err) {
	case ENOENT:
	case ENOTDIR:
		if (!*interp && strpbrk(name, " |&;<>$"))
			return "for a command line take a shell: sh -c 'COMMANDS'";
		if (!path)
			return "no directory of PATH has it inside the sandbox";
		if (strchr(interp, '\r'))
			return "the script's lines end in CR LF";
		return boot_missing_advice(*interp ? interp : path, "it does not exist inside the sandbox");
	case EACCES:
		return "it must be an executable file that this user can reach, on a mount without noexec";
	case ENOEXEC:
	case ELIBBAD:
		return "neither an x86-64 ELF program nor a script that begins with #!";
	case EFAULT:
	case EINVAL:
	case EIO:
		return "the file is cut off or damaged";
	case E2BIG:
		return "pass fewer or shorter arguments and variables";
	case ELOOP:
		return "its links or interpreters lead in a circle";
	default:
		return NULL;
	}
}

static int program_error(const struct spec *s, int err, const char *path, const char *interp, struct error *e)
{
	bool missing = err == -ENOENT || err == -ENOTDIR;
	bool damaged = err == -EFAULT || err == -EINVAL;
	int status = missing          ? EXIT_NOT_FOUND
		     : err == -EAGAIN ? EXIT_SANDBOX
				      : EXIT_NOT_RUNNABLE; /* EAGAIN: the host has no room for a process */

	if (err == -ESRCH)
		return error_set(e, EXIT_SANDBOX, 0, "see sandbox doctor",
				 "the host ends the processes of the %s platform", platform->name);
	return error_set(e, status, damaged ? ENOEXEC : -err, program_advice(s->program, err, path, interp),
			 "cannot run '%s'%s%s%s", s->program, *interp ? ": bad interpreter '" : "", interp,
			 *interp ? "'" : "");
}

static int boot_program(struct ctx *c, const struct spec *s, struct task **ret, struct error *e)
{
	const char *search = env_get(s->envp, "PATH");
	struct init_spec init = {.argv = s->argv, .envp = s->envp, .cred = c->cred, .fs = c->fs, .fdt = c->fdt};
	char interp[PATH_MAX] = "", *path;
	int err = find_program(c, s->program, search ? search : "/usr/local/bin:/usr/bin:/bin", &path);

	if (err)
		return program_error(s, err, NULL, "", e);
	init.mnt_ns = c->mnt_ns;
	init.rlimits = s->rlimits;
	init.nice = s->nice;
	init.ignored = s->sig_ignored;
	init.blocked = s->sig_blocked;
	init.path = path;
	init.ret_interp = interp;
	err = task_create_init(&init, ret);
	if (err)
		program_error(s, err, path, interp, e);
	kfree_string(path);
	return err ? -1 : 0;
}

/* Terminals signal, and shells continue, a job, not a process. */
static void signal_job(struct thread_group *init, int signo)
{
	int err = 0;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	if (init->pgrp)
		err = signal_send_pgrp(init->pgrp, signo, NULL);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	(void)err;
}

static void on_request(const struct boot_request *r)
{
	struct thread_group *init = tg_find(1);
	int err = 0;

	if (!init || r->signo <= 0 || r->signo > K_NSIG)
		goto out;
	if (r->from_terminal && terminal_signal(r->signo) == 0)
		goto out;
	if (r->signo == SIGCONT)
		relay_continue();
	if (r->from_terminal || r->signo == SIGCONT)
		signal_job(init, r->signo);
	else
		err = signal_send_forced(init, r->signo, NULL);
out:
	(void)err;
	tg_put(init);
}

/* Signals that the launcher forwards. */
static bool on_control(int fd)
{
	struct boot_request r;

	if (read(fd, &r, sizeof(r)) != sizeof(r))
		return false;
	on_request(&r);
	return true;
}

static int stop_fd; /* the control socket */

static void ask_to_stop(const struct boot_request *r)
{
	if (write(stop_fd, r, sizeof(*r)) != sizeof(*r))
		log_debug("the launcher cannot be told of a stop");
}

/* signal_init_hook: the launcher is to stop like the first process. */
static void tell_stop(int code, int signo)
{
	if (code == CLD_STOPPED)
		ask_to_stop(&(struct boot_request){.signo = signo});
}

static bool on_loss(int fd __unused)
{
	struct boot_result r = {.wait_status = 0};
	ssize_t n;

	switch (platform->watch()) {
	case LOSS_NONE:
		break;
	case LOSS_ASPACE:
		tasks_lost();
		break;
	case LOSS_ALL:
		error_set(&r.error, EXIT_SANDBOX, 0, "somebody outside has killed it",
			  "the process that the sandbox makes others from has ended");
		n = write(isolate_status_fd(), &r, sizeof(r));
		_exit(n == sizeof(r) ? 0 : 1);
	}
	return true;
}

static int boot_control(int control_fd, struct error *e)
{
	int err = hostfd_call(control_fd, on_control);

	if (!err)
		err = hostfd_call(platform->watch_fd(), on_loss);
	stop_fd = control_fd;
	signal_init_hook = tell_stop;
	return err ? error_set(e, EXIT_SANDBOX, -err, NULL, "cannot listen to the launcher") : 0;
}

/* Everything up to the first process, which is made but not started. */
static int boot_prepare(struct ctx *c, const struct spec *s, int control_fd, struct task **ret, struct error *e)
{
	const struct cred *cred = NULL;

	if (boot_kernel(s, e))
		return -1;
	c->raise = no_raise;
	c->rlimit_nofile = 1024;
	c->rlimit_fsize = UINT64_MAX;
	c->tid = c->tgid = 1;
	parker_init(&c->parker);
	c->cred = cred_create(0, 0, NULL, 0);
	c->fdt = fdtable_create();
	if (!c->cred || !c->fdt)
		return error_set(e, EXIT_SANDBOX, ENOMEM, NULL, "cannot start");
	if (boot_net(s, e))
		return -1;
	devfs_init();
	sysfs_init();
	tun_init();
	tmpfs_register();
	if (boot_mounts(c, s, e) || boot_user(c, s, &cred, e))
		return -1;
	cred_put(c->cred);
	c->cred = cred;
	/* They are the user's: he can open a pipe by /dev/stdin again. */
	if (s->tty == TTY_YES ? boot_relay(c, s, e) : boot_streams(c, s, e))
		return -1;
	if (boot_workdir(c, s, e) || boot_net_link(&s->net, e))
		return -1;
	/* Signals that come before there is somebody to get them wait in the socket. */
	return boot_program(c, s, ret, e) ? -1 : boot_control(control_fd, e);
}

/* --pcap: before anything can be sent. */
static int boot_pcap(struct ctx *c, const struct spec *s, struct error *e)
{
	struct stack *stack;
	int err;

	if (s->net.pcap_fd < 0)
		return 0;
	stack = netstack_of(c);
	err = stack ? pcap_start(stack, s->net.pcap_fd) : -ENOMEM;
	return err ? error_set(e, EXIT_SANDBOX, -err, NULL, "cannot record packets") : 0;
}

void boot_run(const struct spec *s, int control_fd, struct boot_result *ret)
{
	static struct ctx c;
	struct task *init = NULL;
	int err;

	memset(ret, 0, sizeof(*ret));
	if (boot_prepare(&c, s, control_fd, &init, &ret->error) || boot_pcap(&c, s, &ret->error))
		return;
	if (s->memory_bytes && !hostproc_available()) {
		error_set(&ret->error, EXIT_SANDBOX, 0,
			  "in a container: docker run --security-opt systempaths=unconfined",
			  "cannot watch the memory limit: parts of this machine's /proc are hidden");
		return;
	}
	err = s->memory_bytes ? memlimit_start(s->memory_bytes) : 0;
	if (err) {
		error_set(&ret->error, EXIT_SANDBOX, -err, NULL, "cannot watch the memory limit");
		return;
	}
	if (s->tty == TTY_AUTO)
		hosttty_attach(init);
	if (s->tty == TTY_YES && (err = relay_start(init))) {
		error_set(&ret->error, EXIT_SANDBOX, -err, NULL, "cannot start a thread");
		return;
	}
	task_start(init);
	ret->wait_status = task_wait_init();
	if (s->tty == TTY_YES)
		relay_finish();
	pcap_finish();
}
