/*
 * /proc/PID and /proc/PID/task/TID: the tables of their entries and the small ones' texts. What needs the memory of the process is in
 * pid_mem.c, its mappings in pid_maps.c, its numbers in pid_stat.c, its descriptors in fd.c, its mounts in mounts.c.
 *
 * Who may look: files with mode 0400 are their owner's; those that show memory or paths ask proc_may_read() as well.
 */
#include <inttypes.h>
#include <linux/capability.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fs/fs_struct.h"
#include "fs/path.h"
#include "fs/proc/net.h"
#include "fs/proc/proc.h"
#include "net/netstack.h"
#include "sentry/base/cred.h"
#include "sentry/ipc.h"
#include "sentry/mm.h"
#include "sentry/task.h"

static inline void task_put_cleanup(struct task **t)
{
	task_put(*t);
}
#define TASK_REF __cleanup(task_put_cleanup) struct task *

int proc_may_read(struct ctx *c, struct task *t)
{
	const struct cred *mine = c->cred, *its;
	int err = -EACCES;

	if (t->tg->pid == c->tgid)
		return 0;
	its = task_get_cred(t);
	if (!its)
		return -ESRCH;
	if (mine->fsuid == its->uid && mine->fsuid == its->euid && mine->fsuid == its->suid &&
	    mine->fsgid == its->gid && mine->fsgid == its->egid && mine->fsgid == its->sgid &&
	    !(its->cap_permitted & ~mine->cap_permitted))
		err = 0;
	else if (cred_capable(mine, CAP_SYS_PTRACE))
		err = 0;
	cred_put(its);
	return err;
}

static int may_read_access(struct ctx *c, const struct pseudo_ref *r)
{
	TASK_REF t = proc_task(r);

	return t ? proc_may_read(c, t) : -ESRCH;
}

static int comm_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	TASK_REF t = proc_task(r);
	char comm[sizeof(t->comm)];

	if (!t)
		return -ESRCH;
	mutex_lock(&t->tg->lock, L_TASK);
	memcpy(comm, t->comm, sizeof(comm));
	mutex_unlock(&t->tg->lock, L_TASK);
	seq_printf(s, "%.15s\n", comm);
	return 0;
}

static int comm_store(struct ctx *c, const struct pseudo_ref *r, char *text, size_t size)
{
	TASK_REF t = proc_task(r);

	if (!t)
		return -ESRCH;
	if (t->tg->pid != c->tgid)
		return -EINVAL;
	if (size && text[size - 1] == '\n')
		text[size - 1] = 0;
	mutex_lock(&t->tg->lock, L_TASK);
	snprintf(t->comm, sizeof(t->comm), "%.15s", text);
	mutex_unlock(&t->tg->lock, L_TASK);
	return 0;
}

static int oom_score_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	TASK_REF t = proc_task(r);

	if (!t)
		return -ESRCH;
	seq_printf(s, "%d\n", MAX(0, 666 + t->tg->oom_score_adj * 2 / 3));
	return 0;
}

static int oom_score_adj_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	TASK_REF t = proc_task(r);

	if (!t)
		return -ESRCH;
	seq_printf(s, "%d\n", t->tg->oom_score_adj);
	return 0;
}

static int oom_score_adj_store(struct ctx *c, const struct pseudo_ref *r, char *text, size_t size __unused)
{
	TASK_REF t = proc_task(r);
	char *end;
	long v = strtol(text, &end, 10);

	if (!t)
		return -ESRCH;
	if (end == text || (*end && *end != '\n') || v < -1000 || v > 1000)
		return -EINVAL;
	if (v < t->tg->oom_score_adj && !cred_capable(c->cred, CAP_SYS_RESOURCE))
		return -EACCES;
	t->tg->oom_score_adj = (int)v;
	return 0;
}

static int cgroup_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "0::/\n");
	return 0;
}

static int wchan_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "0");
	return 0;
}

static int minus_one_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_printf(s, "%u", UINT32_MAX);
	return 0;
}

static int id_map_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_printf(s, "%10u %10u %10u\n", 0u, 0u, UINT32_MAX);
	return 0;
}

static int setgroups_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "allow\n");
	return 0;
}

static int personality_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	TASK_REF t = proc_task(r);

	if (!t)
		return -ESRCH;
	seq_printf(s, "%08x\n", t->tg->personality);
	return 0;
}

static int children_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	TASK_REF t = proc_task(r);
	struct thread_group *child;

	if (!t)
		return -ESRCH;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	list_for_each(child, &t->tg->children, sibling)
		seq_printf(s, "%d ", child->pid);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return 0;
}

/* exe, cwd, root: magic links. */

static int task_exe(struct task *t, struct path *ret)
{
	struct mm *mm = task_get_mm(t);
	int err = -ENOENT;

	if (!mm)
		return -ENOENT;
	mutex_lock(&mm->lock, L_MM);
	if (mm->exe) {
		*ret = mm->exe->path;
		path_get(ret);
		err = 0;
	}
	mutex_unlock(&mm->lock, L_MM);
	mm_put(mm);
	return err;
}

static int task_fs_path(struct task *t, bool root, struct path *ret)
{
	struct fs_struct *fs = task_get_fs(t);

	if (!fs)
		return -ENOENT;
	mutex_lock(&fs->lock, L_FDTABLE);
	*ret = root ? fs->root : fs->cwd;
	path_get(ret);
	mutex_unlock(&fs->lock, L_FDTABLE);
	fs_struct_put(fs);
	return 0;
}

static int link_path(struct ctx *c, const struct pseudo_ref *r, struct path *ret)
{
	TASK_REF t = proc_task(r);
	int err = t ? proc_may_read(c, t) : -ENOENT;

	if (err)
		return err;
	if (strcmp(r->node->name, "exe") == 0)
		return task_exe(t, ret);
	return task_fs_path(t, strcmp(r->node->name, "root") == 0, ret);
}

static int link_text(struct ctx *c, const struct pseudo_ref *r, char *buf, size_t size)
{
	PATH_REF p = {NULL, NULL};
	PATH_REF root = {NULL, NULL};
	int err = link_path(c, r, &p);
	char *text;

	if (err)
		return err;
	fs_get_root(c, &root);
	text = path_to_string(&p, &root, buf, size, &err);
	if (!text)
		return err;
	memmove(buf, text, strlen(text) + 1);
	return 0;
}

/* ns: one namespace of each kind but of the network. */

static int ns_readlink(struct ctx *c __unused, const struct pseudo_ref *r, char *buf, size_t size)
{
	static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
	unsigned i = 0;

	while (i + 1 < ARRAY_SIZE(names) && strcmp(names[i], r->node->name) != 0)
		i++;
	snprintf(buf, size, "%s:[%u]", names[i], 4026531834u + i);
	return 0;
}

static int net_ns(struct ctx *c, const struct pseudo_ref *r, struct netns **ret)
{
	TASK_REF t = proc_task(r);
	int err = t ? proc_may_read(c, t) : -ENOENT;

	if (!err && !(*ret = task_get_net(t)))
		err = -ENOENT;
	return err;
}

static int net_ns_readlink(struct ctx *c, const struct pseudo_ref *r, char *buf, size_t size)
{
	NETNS_REF net = NULL;
	int err = net_ns(c, r, &net);

	if (!err)
		snprintf(buf, size, "net:[%u]", net->ns.inum);
	return err;
}

static int net_ns_follow(struct ctx *c, const struct pseudo_ref *r, struct path *ret)
{
	NETNS_REF net = NULL;
	int err = net_ns(c, r, &net);

	return err ? err : nsfs_path(&net->ns, ret);
}

static int ipc_ns(struct ctx *c, const struct pseudo_ref *r, struct ipc_namespace **ret)
{
	TASK_REF t = proc_task(r);
	int err = t ? proc_may_read(c, t) : -ENOENT;

	if (!err && !(*ret = task_get_ipc(t)))
		err = -ENOENT;
	return err;
}

static int ipc_ns_readlink(struct ctx *c, const struct pseudo_ref *r, char *buf, size_t size)
{
	struct ipc_namespace *ipc = NULL;
	int err = ipc_ns(c, r, &ipc);

	if (!err)
		snprintf(buf, size, "ipc:[%u]", ipc->ns.inum);
	ipc_ns_put(ipc);
	return err;
}

static int ipc_ns_follow(struct ctx *c, const struct pseudo_ref *r, struct path *ret)
{
	struct ipc_namespace *ipc = NULL;
	int err = ipc_ns(c, r, &ipc);

	if (!err)
		err = nsfs_path(&ipc->ns, ret);
	ipc_ns_put(ipc);
	return err;
}

#define NS_NODE(ns)                                                                                                    \
	{                                                                                                              \
		.name = ns, .mode = 0777, .readlink = ns_readlink                                                      \
	}

static const struct pseudo_node ns_nodes[] = {
    NS_NODE("cgroup"), {.name = "ipc", .mode = 0777, .readlink = ipc_ns_readlink, .follow = ipc_ns_follow},
    NS_NODE("mnt"),    {.name = "net", .mode = 0777, .readlink = net_ns_readlink, .follow = net_ns_follow},
    NS_NODE("pid"),    NS_NODE("time"),
    NS_NODE("user"),   NS_NODE("uts"),
    PSEUDO_END,
};

/* task: the threads. */

static const struct pseudo_node tid_node = {.name = "TID", .mode = 0555, .immutable = true, .children = proc_tid_nodes};

static int task_lookup(struct ctx *c __unused, const struct pseudo_ref *dir, const char *name, struct pseudo_ref *ret)
{
	TASK_REF leader = proc_task(dir);
	uint64_t tid;
	struct task *t;
	int err;

	if (!leader || !proc_parse_id(name, &tid))
		return -ENOENT;
	t = task_find((int32_t)tid);
	err = t && t->tg == leader->tg ? 0 : -ENOENT;
	task_put(t);
	ret->node = &tid_node;
	ret->key[0] = tid;
	return err;
}

struct next_tid {
	int32_t from, found;
};

static bool find_next_tid(struct task *t, void *arg)
{
	struct next_tid *n = arg;

	if (t->ctx.tid >= n->from && (n->found < 0 || t->ctx.tid < n->found))
		n->found = t->ctx.tid;
	return true;
}

static bool task_next(struct ctx *c __unused, const struct pseudo_ref *dir, uint64_t *cursor, char name[32],
		      const struct pseudo_node **ret)
{
	TASK_REF leader = proc_task(dir);
	struct next_tid n = {.from = (int32_t)MIN(*cursor, (uint64_t)INT32_MAX), .found = -1};

	if (!leader)
		return false;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	task_for_each(leader->tg, find_next_tid, &n);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	if (n.found < 0)
		return false;
	*cursor = (uint64_t)n.found + 1;
	*ret = &tid_node;
	snprintf(name, 32, "%d", n.found);
	return true;
}

const struct pseudo_dir proc_task_dir = {.lookup = task_lookup, .next = task_next};

/* What a process and a thread have in common. */
#define COMMON_NODES                                                                                                   \
	{.name = "auxv", .mode = 0400, .show = proc_pid_auxv_show, .access = may_read_access},                         \
	    {.name = "cgroup", .mode = 0444, .show = cgroup_show},                                                     \
	    {.name = "children", .mode = 0444, .show = children_show},                                                 \
	    {.name = "cmdline", .mode = 0444, .show = proc_pid_cmdline_show},                                          \
	    {.name = "comm", .mode = 0644, .show = comm_show, .store = comm_store},                                    \
	    {.name = "cwd", .mode = 0777, .readlink = link_text, .follow = link_path},                                 \
	    {.name = "environ", .mode = 0400, .show = proc_pid_environ_show, .access = may_read_access},               \
	    {.name = "exe", .mode = 0777, .readlink = link_text, .follow = link_path},                                 \
	    {.name = "fd", .mode = 0500, .immutable = true, .dir = &proc_fd_dir, .access = may_read_access},           \
	    {.name = "fdinfo", .mode = 0555, .dir = &proc_fdinfo_dir, .access = may_read_access},                      \
	    {.name = "gid_map", .mode = 0644, .show = id_map_show},                                                    \
	    {.name = "limits", .mode = 0444, .show = proc_pid_limits_show},                                            \
	    {.name = "loginuid", .mode = 0444, .show = minus_one_show},                                                \
	    {.name = "maps", .mode = 0444, .show = proc_pid_maps_show, .access = may_read_access},                     \
	    {.name = "mem", .mode = 0600, .fops = &proc_mem_fops, .access = may_read_access},                          \
	    {.name = "mountinfo", .mode = 0444, .show = proc_pid_mountinfo_show},                                      \
	    {.name = "mounts", .mode = 0444, .show = proc_pid_mounts_show},                                            \
	    {.name = "net", .mode = 0555, .children = proc_net_nodes},                                                 \
	    {.name = "ns", .mode = 0511, .children = ns_nodes},                                                        \
	    {.name = "oom_score", .mode = 0444, .show = oom_score_show},                                               \
	    {.name = "oom_score_adj", .mode = 0644, .show = oom_score_adj_show, .store = oom_score_adj_store},         \
	    {.name = "personality", .mode = 0400, .show = personality_show},                                           \
	    {.name = "projid_map", .mode = 0644, .show = id_map_show},                                                 \
	    {.name = "root", .mode = 0777, .readlink = link_text, .follow = link_path},                                \
	    {.name = "sessionid", .mode = 0444, .show = minus_one_show},                                               \
	    {.name = "setgroups", .mode = 0644, .show = setgroups_show},                                               \
	    {.name = "smaps", .mode = 0444, .show = proc_pid_smaps_show, .access = may_read_access},                   \
	    {.name = "smaps_rollup", .mode = 0444, .show = proc_pid_smaps_rollup_show, .access = may_read_access},     \
	    {.name = "stat", .mode = 0444, .show = proc_pid_stat_show},                                                \
	    {.name = "statm", .mode = 0444, .show = proc_pid_statm_show},                                              \
	    {.name = "status", .mode = 0444, .show = proc_pid_status_show},                                            \
	    {.name = "uid_map", .mode = 0644, .show = id_map_show},                                                    \
	{                                                                                                              \
		.name = "wchan", .mode = 0444, .show = wchan_show                                                      \
	}

const struct pseudo_node proc_pid_nodes[] = {
    COMMON_NODES,
    {.name = "mountstats", .mode = 0400, .show = proc_pid_mountstats_show},
    {.name = "task", .mode = 0555, .dir = &proc_task_dir},
    PSEUDO_END,
};

const struct pseudo_node proc_tid_nodes[] = {
    COMMON_NODES,
    PSEUDO_END,
};
