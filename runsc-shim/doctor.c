/*
 * `sandbox doctor`. Each line is one fact, tested here and now rather than read from a version number, with its consequence. Facts that keep
 * sandboxes from running are marked "missing", those that weaken or slow them "absent".
 */
#include "runsc-shim/doctor.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "platform/hostneed.h"
#include "platform/platform.h"
#include "runsc-shim/isolate.h"
#include "runsc-shim/limits.h"

#define CGROUP2_MAGIC 0x63677270

static void line(const char *state, const char *what, const char *why)
{
	printf("  %-8s %-24s %s\n", state, what, why);
}

static bool read_word(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : -1;

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return false;
	buf[n] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return true;
}

static void show_kernel(void)
{
	struct utsname u;
	char text[256];

	uname(&u);
	snprintf(text, sizeof(text), "%s %s on %s", u.sysname, u.release, u.machine);
	line("", "kernel", text);
}

static bool show_isolation(void)
{
	struct error e;
	bool has_proc;

	if (isolate_probe(&has_proc, &e)) {
		line("missing", "namespaces", e.text);
		return false;
	}
	line("ok", "namespaces", "user, pid, mount, network, IPC and UTS namespaces can be made");
	if (has_proc)
		line("ok", "own /proc", "sizes and times of processes are known");
	else
		line(
		    "absent", "own /proc",
		    "parts of /proc are hidden here, as containers do it: no --memory, no sizes and times of processes");
	return true;
}

static void show_seccomp(void)
{
	struct seccomp_notif_sizes sizes;
	uint32_t action = SECCOMP_RET_USER_NOTIF;

	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) == 0 &&
	    syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
		line("ok", "seccomp notification", "the trap platform can hand system calls over");
	else
		line("absent", "seccomp notification",
		     "the trap platform cannot run: ptrace, which is slower, is used");
}

static void show_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		line("absent", "KVM", errno == ENOENT ? "no /dev/kvm here; it is not needed" : strerror(errno));
		return;
	}
	line("ok", "KVM",
	     ioctl(fd, KVM_GET_API_VERSION, 0) == 12 ? "present; no platform uses it yet" : "unknown version");
	close(fd);
}

static void show_cgroups(void)
{
	struct statfs st;

	if (statfs("/sys/fs/cgroup", &st) || st.f_type != CGROUP2_MAGIC)
		line("absent", "cgroup v2", "--memory and --pids are enforced by the sandbox itself");
	else
		line("ok", "cgroup v2", "mounted; --memory and --pids are enforced by the sandbox itself all the same");
}

static bool show_yama(void)
{
	char scope[16];
	bool ok = true;

	if (!read_word("/proc/sys/kernel/yama/ptrace_scope", scope, sizeof(scope))) {
		line("ok", "Yama", "not in this kernel: a process may look at its children");
	} else {
		ok = strcmp(scope, "0") == 0 || strcmp(scope, "1") == 0;
		line(
		    ok ? "ok" : "missing", "Yama",
		    ok ? "ptrace_scope lets a process look at its children"
		       : "ptrace_scope lets no unprivileged process look at another: sysctl kernel.yama.ptrace_scope=1");
	}
	return ok;
}

static bool show_calls(void)
{
	const char *why = "those that a sandbox needs are there";
	int err = hostneed_check(NULL, &why);

	line(err ? "missing" : "ok", "system calls", why);
	return !err;
}

static bool show_platforms(bool ok)
{
	const struct platform_ops *const all[] = {&platform_trap, &platform_ptrace};
	const char *chosen = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		const char *why = "";
		int err = all[i]->probe(&why);
		char text[256];

		snprintf(text, sizeof(text), "%s%s%s", why && *why ? why : "can be used", err ? ": " : "",
			 err ? strerror(-err) : "");
		line(err ? "absent" : "ok", all[i]->name, text);
		if (!err && !chosen)
			chosen = all[i]->name;
	}
	if (chosen && !ok)
		printf("\n`sandbox exec` will fail here, because of what is missing above.\n");
	else if (chosen)
		printf("\n`sandbox exec` uses the %s platform here: the first of the usable ones, fastest first.\n",
		       chosen);
	else
		printf("\nNo platform can be used here: `sandbox exec` will fail.\n");
	return chosen;
}

static void show_defences(void)
{
	printf("\nDefences of each sandbox:\n");
	line("active", "no capabilities", "the sentry gives up all of them before it looks at guest code");
	line("active", "empty root", "the sentry sees no file but those handed over");
	line("active", "sentry's own filter", "host system calls are limited to platform/hostcalls.def");
	line("active", "stubs' filter", "guest threads can make no host call but memory work in their own space");
	if (prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0) == PR_SPEC_NOT_AFFECTED)
		line("active", "store bypass", "this processor is not affected");
	if (geteuid() == 0)
		line("absent", "unprivileged start", "started as root: the sentry keeps your uid, without its powers");
	else
		line("active", "unprivileged start", "no part ever runs as root");
}

int doctor_main(void)
{
	bool ok;

	limits_raise();
	printf("This machine:\n");
	show_kernel();
	ok = show_calls();
	ok = show_isolation() && ok;
	show_seccomp();
	show_kvm();
	show_cgroups();
	ok = show_yama() && ok;
	printf("\nPlatforms:\n");
	ok = show_platforms(ok) && ok;
	show_defences();
	return ok ? 0 : 1;
}
