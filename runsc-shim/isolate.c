/*
 * The sentry's cage: see isolate.h.
 *
 * The launcher makes the child with all its namespaces in one clone3(), writes the id maps of its user namespace, and
 * lets it go on. The child then takes its rights away in an order in which each step still has what it needs: host name,
 * mounts, limits, descriptors, and capabilities last. It reports the step that failed, or that all is done, through the
 * status pipe; nothing else is shared by then.
 *
 * Ids are mapped one to one, so that files show their owners and nobody becomes anybody else. Root maps all that it has;
 * anybody else may map himself only, and sees other owners as the overflow id. A full map is written by the launcher,
 * because only it has the right; the child could write the short one, but one way is enough.
 *
 * Where user namespaces are refused, root goes on without one: the sentry is then the host's uid 0, but still without any capability. That
 * includes a root in a chroot, whose root directory cannot be pivoted either: the sentry is chrooted into the tmpfs then.
 *
 * The root becomes an empty read-only tmpfs: mounted on /proc, a directory that exists wherever this can work at all,
 * turned into the root by pivot_root(".", "."), and the old tree detached. What the sentry may see of the host are the
 * descriptors that it was given.
 *
 * The child is a fork made without fork(): glibc's copy of the thread id is set by CLONE_CHILD_SETTID at the address
 * that glibc gave the kernel (PR_GET_TID_ADDRESS), as fork() does it.
 */
#include "runsc-shim/isolate.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/hostneed.h"

#define NAMESPACES (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)
#define FDS_MAX 256
#define DIRS_MAX 80
#define ID_MAP_MAX 4096
#define TMPFS_OPTIONS "size=4k,nr_inodes=1,mode=555"

#define SECUREBITS                                                                                                     \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |               \
	 SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

/* What the child does, in this order; the text completes "cannot ...". */
#define STEPS(X)                                                                                                       \
	X(WAIT, "start")                                                                                               \
	X(HOSTNAME, "set the host name of its UTS namespace")                                                          \
	X(TMPFS, "mount an empty root in its mount namespace")                                                         \
	X(PIVOT, "make the empty root its root directory")                                                             \
	X(DETACH, "leave the host's file tree")                                                                        \
	X(LIMITS, "set resource limits")                                                                               \
	X(FDS, "close the launcher's descriptors")                                                                     \
	X(CAPABILITIES, "drop its capabilities")                                                                       \
	X(LIFELINE, "tie its life to the launcher's")                                                                  \
	X(DONE, "")

#define STEP_ENUM(name, text) STEP_##name,
#define STEP_TEXT(name, text) text,
enum step { STEPS(STEP_ENUM) };
static const char *const step_text[] = {STEPS(STEP_TEXT)};

struct report {
	enum step step;
	int err;
	int dirs_err; /* see isolated.dirs_err */
	bool has_proc;
};

struct child {
	const struct isolate_spec *spec;
	int go_fd;     /* end of file: the launcher has gone; a byte: the id maps are written */
	int status_fd; /* the pipe's end for writing */
	bool userns;
	sigset_t mask; /* the launcher's */
	int pins[DIRS_MAX];
};

static int status_pipe = -1;
static int proc_mount = -1;
static int memory_mount = -1;

int isolate_status_fd(void)
{
	return status_pipe;
}

int isolate_memory_fd(void)
{
	return memory_mount;
}

int isolate_proc_fd(void)
{
	return proc_mount;
}

/* The child's half */

/*
 * The same directory in our own mount namespace: a mount can only be copied from there. Found by its path and checked to be
 * the same.
 */
static int open_own(int fd)
{
	char name[64], path[PATH_MAX];
	struct stat theirs, ours;
	ssize_t n;
	int own;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	n = readlink(name, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	own = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (own < 0)
		return -errno;
	if (fstat(fd, &theirs) == 0 && fstat(own, &ours) == 0 && theirs.st_dev == ours.st_dev &&
	    theirs.st_ino == ours.st_ino)
		return own;
	close(own);
	return -ESTALE;
}

/* The descriptor of the new mount, which exists as long as it is open. */
static int mount_copy(int dir, bool read_only)
{
	struct mount_attr attr = {.attr_set =
				      MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | (read_only ? MOUNT_ATTR_RDONLY : 0)};
	int tree =
	    (int)syscall(SYS_open_tree, dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	int err;

	if (tree < 0)
		return -errno;
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) == 0)
		return tree;
	err = -errno;
	close(tree);
	return err;
}

/* *ret_pin stays open for good, since whoever works with `fd` may close it while he uses what he opened beneath it. */
static int confine_dir(const struct isolate_dir *d, int *ret_pin)
{
	int own = open_own(d->fd), tree, err = 0;

	if (own < 0)
		return own;
	tree = mount_copy(own, d->read_only);
	close(own);
	if (tree < 0)
		return tree;
	if (dup3(tree, d->fd, O_CLOEXEC) < 0)
		err = -errno;
	*ret_pin = tree;
	return err;
}

/* Best effort: an old kernel goes without, and says so. */
static int confine_dirs(struct child *c)
{
	int first = 0;

	for (size_t i = 0; i < c->spec->dir_count; i++) {
		int err = confine_dir(&c->spec->dirs[i], &c->pins[i]);

		if (!first)
			first = err;
	}
	return first;
}

#ifndef MOUNT_ATTR_RDONLY
#define MOUNT_ATTR_RDONLY 1
#define MOUNT_ATTR_NOSUID 2
#define MOUNT_ATTR_NODEV 4
#define MOUNT_ATTR_NOEXEC 8
#endif

/*
 * A proc file system of our own pid namespace that hangs in no tree: processes only, read-only. Where the host's /proc is not wholly visible (in
 * containers) we may not have one, and do without. The descriptor, or -1.
 */
static int open_proc(void)
{
	int fs = fsopen("proc", FSOPEN_CLOEXEC);
	int fd = -1;

	if (fs < 0)
		return -1;
	if (fsconfig(fs, FSCONFIG_SET_STRING, "subset", "pid", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(fs, FSMOUNT_CLOEXEC,
			     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	close(fs);
	return fd;
}

/*
 * A tmpfs that hangs in no tree, for files of which the sentry needs a second, read-only description. Its size bounds what guests make of holes in
 * files that they map, which nobody else counts. The descriptor, or -1.
 */
static int open_memory(uint64_t bytes)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	char size[32] = "100%";
	int fd = -1;

	if (fs < 0)
		return -1;
	if (bytes)
		snprintf(size, sizeof(size), "%lu", (unsigned long)bytes);
	if (fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	close(fs);
	return fd;
}

static int enter_empty_root(const struct child *c, enum step *step)
{
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	*step = STEP_TMPFS;
	/* The mounts of a new user namespace's mount namespace propagate nothing to the host's anyway. */
	if (!c->userns && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 && errno != EINVAL)
		return -errno;
	if (mount("sandbox", "/proc", "tmpfs", flags | MS_RDONLY, TMPFS_OPTIONS) < 0)
		return -errno;
	*step = STEP_PIVOT;
	if (chdir("/proc") < 0)
		return -errno;
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return errno == EINVAL && chroot(".") == 0 ? 0 : -errno;
	*step = STEP_DETACH;
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

static int set_limits(void)
{
	struct rlimit none = {0, 0};

	return setrlimit(RLIMIT_CORE, &none) < 0 ? -errno : 0;
}

static int compare_fds(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/* Closes the gaps between those that stay. */
static int close_others(const struct child *c)
{
	int keep[FDS_MAX + 2 * DIRS_MAX + 3];
	size_t n = c->spec->fd_count;
	unsigned from = 0;

	memcpy(keep, c->spec->fds, n * sizeof(int));
	keep[n++] = c->status_fd;
	keep[n++] = proc_mount;
	keep[n++] = memory_mount;
	for (size_t i = 0; i < c->spec->dir_count; i++) {
		keep[n++] = c->spec->dirs[i].fd;
		keep[n++] = c->pins[i];
	}
	qsort(keep, n, sizeof(int), compare_fds);
	for (size_t i = 0; i < n; i++) {
		if (keep[i] < 0)
			continue;
		if ((unsigned)keep[i] > from && close_range(from, (unsigned)keep[i] - 1, 0) < 0)
			return -errno;
		from = MAX(from, (unsigned)keep[i] + 1);
	}
	return close_range(from, ~0u, 0) < 0 ? -errno : 0;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

/*
 * From here the launcher's death is ours; if it came before, the pipe has no reader. Dumpable, so that the stubs, which
 * inherit it, can be traced and read by a sentry that has no capability.
 */
static int tie_to_launcher(const struct child *c)
{
	struct pollfd p = {.fd = c->status_fd};

	if (prctl(PR_SET_DUMPABLE, 1) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return poll(&p, 1, 0) < 0 || (p.revents & POLLERR) ? -EPIPE : 0;
}

static void reset_signals(const struct child *c)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL}, ign = {.sa_handler = SIG_IGN};

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, sig == SIGPIPE || sig == SIGXFSZ ? &ign : &dfl, NULL);
	sigprocmask(SIG_SETMASK, &c->mask, NULL);
}

static void step(struct report *r, enum step which, int err)
{
	r->step = which;
	r->err = -err;
}

static struct report enter(struct child *c)
{
	const char *name = c->spec->hostname ? c->spec->hostname : "sandbox";
	struct report r = {.step = STEP_WAIT};
	char go;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "sentry");
	/* Still in the launcher's session: the host's terminal treats us as a part of its job (docs/terminals.md). */
	if (read(c->go_fd, &go, 1) != 1) {
		r.err = EPIPE;
		return r;
	}
	r.step = STEP_HOSTNAME;
	if (sethostname(name, MIN(strlen(name), 64ul)) < 0) {
		r.err = errno;
		return r;
	}
	proc_mount = open_proc();
	r.has_proc = proc_mount >= 0;
	memory_mount = open_memory(c->spec->memory_bytes);
	r.dirs_err = confine_dirs(c);
	r.err = -enter_empty_root(c, &r.step);
	if (!r.err)
		step(&r, STEP_LIMITS, set_limits());
	if (!r.err)
		step(&r, STEP_FDS, close_others(c));
	if (!r.err)
		step(&r, STEP_CAPABILITIES, drop_capabilities());
	if (!r.err)
		step(&r, STEP_LIFELINE, tie_to_launcher(c));
	if (!r.err)
		r.step = STEP_DONE;
	return r;
}

static void child_main(struct child *c, int (*sentry_main)(void *arg), void *arg) __noreturn;
static void child_main(struct child *c, int (*sentry_main)(void *arg), void *arg)
{
	struct report r;

	reset_signals(c);
	r = enter(c);
	if (write(c->status_fd, &r, sizeof(r)) != sizeof(r) || r.step != STEP_DONE)
		_exit(1);
	status_pipe = c->status_fd;
	_exit(sentry_main(arg));
}

/* The launcher's half */

static int write_file(pid_t pid, const char *name, const char *text)
{
	char path[64];
	ssize_t n;
	int fd, err;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	err = n < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* The caller's own map of `name`, made one to one. Empty if it cannot be read. */
static void identity_of(const char *name, char *ret, size_t size)
{
	char path[64], line[128];
	size_t n = 0;
	FILE *f;

	ret[0] = '\0';
	snprintf(path, sizeof(path), "/proc/self/%s", name);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		unsigned inside, outside, count;

		if (sscanf(line, "%u %u %u", &inside, &outside, &count) == 3 && n < size)
			n += (size_t)snprintf(ret + n, size - n, "%u %u %u\n", inside, inside, count);
	}
	if (f)
		fclose(f);
	if (n >= size)
		ret[0] = '\0';
}

static int map_all(pid_t pid)
{
	char uids[ID_MAP_MAX], gids[ID_MAP_MAX];
	int err;

	identity_of("uid_map", uids, sizeof(uids));
	identity_of("gid_map", gids, sizeof(gids));
	if (!uids[0] || !gids[0])
		return -ENOENT;
	/* The groups first: if that is refused, nothing has been written yet. */
	err = write_file(pid, "gid_map", gids);
	return err ? err : write_file(pid, "uid_map", uids);
}

static int map_self(pid_t pid)
{
	char line[64];
	int err = write_file(pid, "setgroups", "deny");

	if (err)
		return err;
	snprintf(line, sizeof(line), "%u %u 1\n", getegid(), getegid());
	err = write_file(pid, "gid_map", line);
	snprintf(line, sizeof(line), "%u %u 1\n", geteuid(), geteuid());
	return err ? err : write_file(pid, "uid_map", line);
}

static int write_id_maps(pid_t pid)
{
	if (geteuid() == 0 && map_all(pid) == 0)
		return 0;
	return map_self(pid);
}

/* What to do about a refusal, as far as the host's settings tell why. */
static const char *advice(int err)
{
	static const struct {
		const char *path, *bad, *advice;
		bool for_root;
	} known[] = {
	    {"/proc/sys/kernel/unprivileged_userns_clone", "0",
	     "unprivileged user namespaces are off: sysctl kernel.unprivileged_userns_clone=1, or run as root"},
	    {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
	     "AppArmor restricts user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run as root"},
	    {"/proc/sys/user/max_user_namespaces", "0",
	     "user namespaces are off: sysctl user.max_user_namespaces=10000", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		char value[32] = "";
		FILE *f = fopen(known[i].path, "re");

		if (f && fgets(value, sizeof(value), f))
			value[strcspn(value, "\n")] = '\0';
		if (f)
			fclose(f);
		if (strcmp(value, known[i].bad) == 0 && (known[i].for_root || geteuid() != 0))
			return known[i].advice;
	}
	if (err == ENOSPC || err == EUSERS)
		return "too many namespaces exist or they are nested too deeply: see /proc/sys/user";
	if (err == ENOENT || err == EROFS)
		return "/proc must be mounted here, and not read-only";
	if (err == EACCES)
		return "a security module refuses it, such as AppArmor; in a container: docker run --security-opt apparmor=unconfined";
	if ((err == EPERM || err == ENOSYS) && hostneed_filtered())
		return "a seccomp filter may refuse it; in a container: docker run --security-opt seccomp=unconfined";
	if (err == EPERM)
		return "in a container, its runtime must allow user namespaces; in a chroot they are never allowed";
	return NULL;
}

/* Where glibc keeps the id of this thread; 0 if the kernel does not tell. */
static uint64_t tid_address(void)
{
	int *p = NULL;

	return prctl(PR_GET_TID_ADDRESS, &p) < 0 ? 0 : (uint64_t)p;
}

/* Both sides return: 0 in the child. */
static long clone_child(struct child *c, int *ret_pidfd)
{
	long pid;
	struct clone_args args = {
	    .flags = NAMESPACES | CLONE_PIDFD,
	    .pidfd = (uint64_t)ret_pidfd,
	    .child_tid = tid_address(),
	    .exit_signal = SIGCHLD,
	};

	if (!c->spec->share_net)
		args.flags |= CLONE_NEWNET;
	if (args.child_tid)
		args.flags |= CLONE_CHILD_SETTID;
	c->userns = true;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid >= 0 || geteuid() != 0)
		return pid;
	args.flags &= ~(uint64_t)CLONE_NEWUSER;
	c->userns = false;
	return syscall(SYS_clone3, &args, sizeof(args));
}

static int start_failed(struct isolated *i, const struct report *r, struct error *e)
{
	int status = isolate_finish(i);

	if (!r)
		return error_set(e, EXIT_SANDBOX, 0, NULL, "the sandbox's kernel has ended at its start (status %#x)",
				 (unsigned)status);
	return error_set(e, EXIT_SANDBOX, r->err, advice(r->err), "the sandbox's kernel cannot %s", step_text[r->step]);
}

/* Lets the child go on and waits until it is in its cage. */
static int release_child(struct isolated *i, int go_fd, struct error *e)
{
	struct report r;
	int err = i->userns ? write_id_maps(i->pid) : 0;

	if (err) {
		isolate_finish(i);
		return error_set(
		    e, EXIT_SANDBOX, -err,
		    err == -EPERM && geteuid() == 0
			? "root needs CAP_SETFCAP for that: docker run --cap-add SETFCAP; or start it as an ordinary user"
			: advice(-err),
		    "cannot write the id maps of the sandbox's user namespace");
	}
	if (write(go_fd, "g", 1) != 1 || read(i->status_fd, &r, sizeof(r)) != sizeof(r))
		return start_failed(i, NULL, e);
	i->dirs_err = r.dirs_err;
	i->has_proc = r.has_proc;
	return r.step == STEP_DONE ? 0 : start_failed(i, &r, e);
}

static int make_pipes(int go[2], int status[2], struct error *e)
{
	if (pipe2(go, O_CLOEXEC) < 0)
		return error_set(e, EXIT_SANDBOX, errno, NULL, "cannot make a pipe");
	if (pipe2(status, O_CLOEXEC) == 0)
		return 0;
	error_set(e, EXIT_SANDBOX, errno, NULL, "cannot make a pipe");
	close(go[0]);
	close(go[1]);
	return -1;
}

int isolate_start(const struct isolate_spec *spec, int (*sentry_main)(void *arg), void *arg, struct isolated *ret,
		  struct error *e)
{
	struct child c = {.spec = spec};
	struct isolated i;
	int go[2], status[2], err;
	sigset_t all;
	long pid;

	memset(c.pins, -1, sizeof(c.pins));
	if (spec->fd_count > FDS_MAX || spec->dir_count > DIRS_MAX)
		return error_set(e, EXIT_SANDBOX, E2BIG, NULL, "too many descriptors for the sandbox");
	if (make_pipes(go, status, e))
		return -1;
	c.go_fd = go[0];
	c.status_fd = status[1];
	/* No handler of the launcher's runs in the child. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &c.mask);
	pid = clone_child(&c, &i.pidfd);
	err = errno;
	if (pid == 0) {
		close(go[1]);
		close(status[0]);
		child_main(&c, sentry_main, arg);
	}
	sigprocmask(SIG_SETMASK, &c.mask, NULL);
	close(go[0]);
	close(status[1]);
	i.pid = (pid_t)pid;
	i.status_fd = status[0];
	i.userns = c.userns;
	if (pid < 0) {
		close(status[0]);
		error_set(e, EXIT_SANDBOX, err,
			  err == EINVAL
			      ? "this kernel lacks one of user, pid, mount, net, ipc, uts and cgroup namespaces"
			      : advice(err),
			  "cannot make the sandbox's namespaces");
	} else if (release_child(&i, go[1], e) == 0) {
		*ret = i;
		err = 0;
	} else {
		err = -1;
	}
	close(go[1]);
	return err ? -1 : 0;
}

int isolate_finish(struct isolated *i)
{
	int status = -1;
	pid_t r;

	syscall(SYS_pidfd_send_signal, i->pidfd, SIGKILL, NULL, 0);
	do
		r = waitpid(i->pid, &status, 0);
	while (r < 0 && errno == EINTR);
	close(i->pidfd);
	close(i->status_fd);
	return r == i->pid ? status : -1;
}

static int probe_main(void *arg __unused)
{
	return 0;
}

int isolate_probe(bool *ret_has_proc, struct error *e)
{
	struct isolate_dir root = {.fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), .read_only = true};
	struct isolate_spec spec = {.dirs = &root, .dir_count = 1};
	struct isolated i;
	int err = isolate_start(&spec, probe_main, NULL, &i, e);

	close(root.fd);
	if (err)
		return -1;
	isolate_finish(&i);
	*ret_has_proc = i.has_proc;
	if (i.dirs_err)
		return error_set(e, EXIT_SANDBOX, -i.dirs_err, "Linux 5.12 can",
				 "directories cannot be given to the sandbox's kernel as mounts of their own");
	return 0;
}
