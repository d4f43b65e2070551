/*
 * What kind of machine this is: uname(2), sethostname(2), sysinfo(2), getcpu(2); and calls that only the machine's
 * owner may make.
 */
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "sentry/pid.h"
#include "sentry/system.h"
#include "syscalls/syscalls.h"

#define PER_MASK 0xff

sysret_t sys_uname(struct task *t, uaddr_t buf)
{
	struct utsname u;

	memset(&u, 0, sizeof(u));
	strcpy(u.sysname, "Linux");
	system_nodename(u.nodename);
	system_domainname(u.domainname);
	strncpy(u.release, machine.release, sizeof(u.release) - 1);
	strncpy(u.version, machine.version, sizeof(u.version) - 1);
	strcpy(u.machine, (t->tg->personality & PER_MASK) == PER_LINUX32 ? "i686" : "x86_64");
	return copy_out(&t->ctx, buf, &u, sizeof(u));
}

static sysret_t set_name(struct task *t, uaddr_t name, int size, int (*set)(const char *, size_t))
{
	char buf[SYSTEM_NAME_MAX];

	if (!task_capable(t, CAP_SYS_ADMIN))
		return -EPERM;
	if (size < 0 || size > SYSTEM_NAME_MAX)
		return -EINVAL;
	if (copy_in(&t->ctx, buf, name, (size_t)size))
		return -EFAULT;
	return set(buf, (size_t)size);
}

sysret_t sys_sethostname(struct task *t, uaddr_t name, int size)
{
	return set_name(t, name, size, system_set_nodename);
}

sysret_t sys_setdomainname(struct task *t, uaddr_t name, int size)
{
	return set_name(t, name, size, system_set_domainname);
}

sysret_t sys_sysinfo(struct task *t, uaddr_t info)
{
	uint64_t used = system_memory_used();
	struct sysinfo si;

	memset(&si, 0, sizeof(si));
	si.uptime = (clock_now(CLOCK_BOOTTIME) - machine.boot_boottime) / NSEC_PER_SEC;
	si.totalram = machine.memory_total;
	si.freeram = machine.memory_total - MIN(used, machine.memory_total);
	si.procs = (unsigned short)MIN(task_total, UINT16_MAX);
	si.mem_unit = 1;
	return copy_out(&t->ctx, info, &si, sizeof(si));
}

/*
 * The sentry runs the call on the processor of the thread that made it, or on one next to it: as good an answer as
 * any that is old already.
 */
sysret_t sys_getcpu(struct task *t, uaddr_t cpu, uaddr_t node, uaddr_t cache __unused)
{
	uint32_t here = (uint32_t)MAX(sched_getcpu(), 0);
	uint32_t zero = 0;

	if (cpu.v && copy_out(&t->ctx, cpu, &here, sizeof(here)))
		return -EFAULT;
	if (node.v && copy_out(&t->ctx, node, &zero, sizeof(zero)))
		return -EFAULT;
	return 0;
}

sysret_t sys_personality(struct task *t, unsigned persona)
{
	uint32_t old = t->tg->personality;

	if (persona != 0xffffffffu)
		t->tg->personality = persona;
	return old;
}

/* What a container may not do, whoever it is inside. */
sysret_t sys_reboot(struct task *t __unused, unsigned m1 __unused, unsigned m2 __unused, unsigned cmd __unused,
		    uaddr_t arg __unused)
{
	return -EPERM;
}

sysret_t sys_acct(struct task *t __unused, uaddr_t path __unused)
{
	return -EPERM;
}

sysret_t sys_syslog(struct task *t __unused, int type __unused, uaddr_t buf __unused, int size __unused)
{
	return -EPERM;
}

sysret_t sys_vhangup(struct task *t __unused)
{
	return -EPERM;
}

sysret_t sys_swapon(struct task *t __unused, uaddr_t path __unused, int flags __unused)
{
	return -EPERM;
}

sysret_t sys_swapoff(struct task *t __unused, uaddr_t path __unused)
{
	return -EPERM;
}

sysret_t sys_iopl(struct task *t __unused, unsigned level)
{
	return level > 3 ? -EINVAL : -EPERM;
}

sysret_t sys_ioperm(struct task *t __unused, uint64_t from, uint64_t count, int on)
{
	if (from + count <= from || from + count > 65536)
		return -EINVAL;
	return on ? -EPERM : 0;
}

sysret_t sys_init_module(struct task *t __unused, uaddr_t image __unused, uint64_t size __unused, uaddr_t args __unused)
{
	return -EPERM;
}

sysret_t sys_finit_module(struct task *t __unused, int fd __unused, uaddr_t args __unused, int flags __unused)
{
	return -EPERM;
}

sysret_t sys_delete_module(struct task *t __unused, uaddr_t name __unused, unsigned flags __unused)
{
	return -EPERM;
}

sysret_t sys_perf_event_open(struct task *t __unused, uaddr_t attr __unused, int32_t pid __unused, int cpu __unused,
			     int group __unused, uint64_t flags __unused)
{
	return -EACCES;
}

sysret_t sys_bpf(struct task *t __unused, int cmd __unused, uaddr_t attr __unused, unsigned size __unused)
{
	return -EPERM;
}

sysret_t sys_userfaultfd(struct task *t __unused, int flags __unused)
{
	return -EPERM;
}
