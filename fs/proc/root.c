/*
 * /proc itself: the system-wide files that need little code, the links of the caller, and the directory of processes.
 * The larger texts are in system.c, /proc/sys in sysctl.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/locks.h"
#include "fs/proc/proc.h"
#include "sentry/base/clock.h"
#include "sentry/base/cred.h"
#include "sentry/system.h"
#include "sentry/task.h"

#define PROC_SUPER_MAGIC 0x9fa0

static int version_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_printf(s, "Linux version %s (sandbox@sandbox) (gcc) %s\n", machine.release, machine.version);
	return 0;
}

static int uptime_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	int64_t ms = (clock_now(CLOCK_MONOTONIC) - machine.boot_monotonic) / NSEC_PER_MSEC;

	seq_printf(s, "%" PRId64 ".%02" PRId64 " 0.00\n", ms / 1000, ms % 1000 / 10);
	return 0;
}

struct load {
	unsigned running, total;
	int32_t last;
};

static bool count_tasks(struct thread_group *tg, void *arg)
{
	struct load *l = arg;

	l->total += tg->task_count;
	if (tg->leader && tg->leader->state == 'R')
		l->running++;
	l->last = MAX(l->last, tg->pid);
	return true;
}

static int loadavg_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct load l = {0};

	mutex_lock(&pidtree_lock, L_PIDTREE);
	tg_for_each(count_tasks, &l);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	seq_printf(s, "0.00 0.00 0.00 %u/%u %d\n", l.running, l.total, l.last);
	return 0;
}

static int locks_file_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	locks_show(s);
	return 0;
}

static int filesystems_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevpts\nnodev\tdevtmpfs\nnodev\toverlay\n");
	return 0;
}

static int devices_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n"
		    "\nBlock devices:\n");
	return 0;
}

static int swaps_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
	return 0;
}

static int cmdline_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "\n");
	return 0;
}

static int cgroups_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
	return 0;
}

static int empty_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s __unused)
{
	return 0;
}

/* /proc/self and /proc/thread-self. */

static int self_readlink(struct ctx *c, const struct pseudo_ref *r __unused, char *buf, size_t size)
{
	snprintf(buf, size, "%d", c->tgid);
	return 0;
}

static int thread_self_readlink(struct ctx *c, const struct pseudo_ref *r __unused, char *buf, size_t size)
{
	snprintf(buf, size, "%d/task/%d", c->tgid, c->tid);
	return 0;
}

/* /proc/PID: a directory each. */

static bool pid_valid(struct ctx *c __unused, const struct pseudo_ref *r)
{
	struct task *t = proc_task(r);

	task_put(t);
	return t;
}

static void pid_owner(struct ctx *c __unused, const struct pseudo_ref *r, uint32_t *uid, uint32_t *gid)
{
	struct task *t = proc_task(r);
	const struct cred *cred = t ? task_get_cred(t) : NULL;

	*uid = cred ? cred->euid : 0;
	*gid = cred ? cred->egid : 0;
	cred_put(cred);
	task_put(t);
}

static const struct pseudo_node pid_node = {
    .name = "PID",
    .mode = 0555,
    .immutable = true,
    .children = proc_pid_nodes,
    .valid = pid_valid,
    .owner = pid_owner,
};

bool proc_parse_id(const char *name, uint64_t *ret)
{
	uint64_t n = 0;

	if (!*name || (*name == '0' && name[1]) || strlen(name) > 10)
		return false;
	for (; *name; name++) {
		if (*name < '0' || *name > '9')
			return false;
		n = n * 10 + (uint64_t)(*name - '0');
	}
	*ret = n;
	return n <= INT32_MAX;
}

struct task *proc_task(const struct pseudo_ref *r)
{
	return task_find((int32_t)r->key[0]);
}

static int root_lookup(struct ctx *c __unused, const struct pseudo_ref *dir __unused, const char *name,
		       struct pseudo_ref *ret)
{
	struct task *t;

	if (!proc_parse_id(name, &ret->key[0]))
		return -ENOENT;
	ret->node = &pid_node;
	t = proc_task(ret);
	if (!t)
		return -ENOENT;
	task_put(t);
	return 0;
}

struct next_pid {
	int32_t from, found;
};

static bool find_next_pid(struct thread_group *tg, void *arg)
{
	struct next_pid *n = arg;

	if (tg->pid >= n->from && (n->found < 0 || tg->pid < n->found))
		n->found = tg->pid;
	return true;
}

static bool root_next(struct ctx *c __unused, const struct pseudo_ref *dir __unused, uint64_t *cursor, char name[32],
		      const struct pseudo_node **ret)
{
	struct next_pid n = {.from = (int32_t)MIN(*cursor, (uint64_t)INT32_MAX), .found = -1};

	mutex_lock(&pidtree_lock, L_PIDTREE);
	tg_for_each(find_next_pid, &n);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	if (n.found < 0)
		return false;
	*cursor = (uint64_t)n.found + 1;
	*ret = &pid_node;
	snprintf(name, 32, "%d", n.found);
	return true;
}

static const struct pseudo_dir root_dir = {.lookup = root_lookup, .next = root_next};

static const struct pseudo_node root_nodes[] = {
    {.name = "cgroups", .mode = 0444, .show = cgroups_show},
    {.name = "cmdline", .mode = 0444, .show = cmdline_show},
    {.name = "cpuinfo", .mode = 0444, .show = proc_cpuinfo_show},
    {.name = "devices", .mode = 0444, .show = devices_show},
    {.name = "diskstats", .mode = 0444, .show = empty_show},
    {.name = "filesystems", .mode = 0444, .show = filesystems_show},
    {.name = "locks", .mode = 0444, .show = locks_file_show},
    {.name = "loadavg", .mode = 0444, .show = loadavg_show},
    {.name = "meminfo", .mode = 0444, .show = proc_meminfo_show},
    {.name = "modules", .mode = 0444, .show = empty_show},
    {.name = "mounts", .mode = 0777, .target = "self/mounts"},
    {.name = "net", .mode = 0777, .target = "self/net"},
    {.name = "self", .mode = 0777, .readlink = self_readlink},
    {.name = "stat", .mode = 0444, .show = proc_stat_show},
    {.name = "swaps", .mode = 0444, .show = swaps_show},
    {.name = "sys", .mode = 0555, .children = proc_sys_nodes},
    {.name = "sysvipc", .mode = 0555, .children = proc_sysvipc_nodes},
    {.name = "thread-self", .mode = 0777, .readlink = thread_self_readlink},
    {.name = "uptime", .mode = 0444, .show = uptime_show},
    {.name = "version", .mode = 0444, .show = version_show},
    {.name = "vmstat", .mode = 0444, .show = proc_vmstat_show},
    PSEUDO_END,
};

static const struct pseudo_node proc_root = {
    .name = "proc",
    .mode = 0555,
    .children = root_nodes,
    .dir = &root_dir,
};

struct super *procfs_create(void)
{
	return pseudo_super_create("proc", PROC_SUPER_MAGIC, &proc_root);
}
