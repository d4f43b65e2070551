/* /proc: proc(5). The tree is constant nodes (fs/pseudo.h); directories of processes and descriptors are computed. */
#pragma once

#include "fs/pseudo.h"

struct task;

/* The file system of /proc. NULL: no memory. */
struct super *procfs_create(void);

/* The parts of the tree, one file each. */
extern const struct pseudo_node proc_sys_nodes[];     /* sysctl.c: /proc/sys */
extern const struct pseudo_node proc_pid_nodes[];     /* pid.c: /proc/PID */
extern const struct pseudo_node proc_tid_nodes[];     /* pid.c: /proc/PID/task/TID */
extern const struct pseudo_node proc_net_nodes[];     /* net.c: /proc/PID/net */
extern const struct pseudo_node proc_sysvipc_nodes[]; /* sysvipc.c: /proc/sysvipc */
extern const struct pseudo_dir proc_fd_dir;           /* fd.c: /proc/PID/fd */
extern const struct pseudo_dir proc_fdinfo_dir;       /* fd.c: /proc/PID/fdinfo */
extern const struct pseudo_dir proc_task_dir;         /* pid.c: /proc/PID/task */
extern const struct file_ops proc_mem_fops;           /* pid_mem.c: /proc/PID/mem */

/* Text of single files. Keys of r: key[0] is the tid. */
#define PROC_SHOW(name) int proc_##name##_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
PROC_SHOW(cpuinfo);
PROC_SHOW(meminfo);
PROC_SHOW(stat);
PROC_SHOW(vmstat);
PROC_SHOW(pid_stat);
PROC_SHOW(pid_status);
PROC_SHOW(pid_statm);
PROC_SHOW(pid_limits);
PROC_SHOW(pid_maps);
PROC_SHOW(pid_smaps);
PROC_SHOW(pid_smaps_rollup);
PROC_SHOW(pid_cmdline);
PROC_SHOW(pid_environ);
PROC_SHOW(pid_auxv);
PROC_SHOW(pid_mounts);
PROC_SHOW(pid_mountinfo);
PROC_SHOW(pid_mountstats);

/* sysvipc.c: what /proc/sys/kernel says of System V IPC. */
int proc_ipc_limit_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_ipc_limit_store(struct ctx *c, const struct pseudo_ref *r, char *text, size_t size);

/* The task a reference speaks of: a reference to it, or NULL if it is gone. */
struct task *proc_task(const struct pseudo_ref *r);
/* ptrace(2) "access mode" PTRACE_MODE_READ_FSCREDS of the caller on the task: 0 or -EACCES. */
int proc_may_read(struct ctx *c, struct task *t);
/* Parses a decimal number without leading zeros. False: not one. */
bool proc_parse_id(const char *name, uint64_t *ret);
