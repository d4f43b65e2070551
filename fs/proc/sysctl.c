/*
 * /proc/sys: the settings that programs read. Those that this kernel honours are writable; the others say what is in force and refuse writes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "fs/proc/net.h"
#include "fs/proc/proc.h"
#include "sentry/system.h"

static int text_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	static const struct {
		const char *name, *text;
	} texts[] = {
	    /* kernel */
	    {"cap_last_cap", "40"},
	    {"core_pattern", "core"},
	    {"core_uses_pid", "0"},
	    {"dmesg_restrict", "1"},
	    {"kptr_restrict", "2"},
	    {"ngroups_max", "65536"},
	    {"ostype", "Linux"},
	    {"overflowgid", "65534"},
	    {"overflowuid", "65534"},
	    {"perf_event_paranoid", "4"},
	    {"pid_max", "4194304"},
	    {"printk", "4\t4\t1\t7"},
	    {"randomize_va_space", "2"},
	    {"sched_child_runs_first", "0"},
	    {"shm_rmid_forced", "0"},
	    {"tainted", "0"},
	    {"unprivileged_bpf_disabled", "2"},
	    /* vm */
	    {"max_map_count", "65530"},
	    {"mmap_min_addr", "65536"},
	    {"nr_hugepages", "0"},
	    {"overcommit_kbytes", "0"},
	    {"overcommit_memory", "0"},
	    {"overcommit_ratio", "50"},
	    {"swappiness", "60"},
	    /* fs */
	    {"aio-max-nr", "65536"},
	    {"aio-nr", "0"},
	    {"file-max", "9223372036854775807"},
	    {"file-nr", "0\t0\t9223372036854775807"},
	    {"nr_open", "1048576"},
	    {"pipe-max-size", "1048576"},
	    {"pipe-user-pages-hard", "0"},
	    {"pipe-user-pages-soft", "16384"},
	    {"protected_hardlinks", "1"},
	    {"protected_symlinks", "1"},
	    {"protected_fifos", "1"},
	    {"protected_regular", "2"},
	    {"suid_dumpable", "0"},
	    {"max_queued_events", "16384"},
	    {"max_user_instances", "128"},
	    {"max_user_watches", "65536"},
	    /* net */
	    {"somaxconn", "4096"},
	    {"rmem_max", "212992"},
	    {"wmem_max", "212992"},
	    {"rmem_default", "212992"},
	    {"wmem_default", "212992"},
	    {"max_dgram_qlen", "512"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].name, r->node->name) == 0)
			seq_printf(s, "%s\n", texts[i].text);
	return 0;
}

static int release_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	seq_printf(s, "%s\n", strcmp(r->node->name, "version") == 0 ? machine.version : machine.release);
	return 0;
}

static int hostname_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	char name[SYSTEM_NAME_MAX + 1];

	if (strcmp(r->node->name, "hostname") == 0)
		system_nodename(name);
	else
		system_domainname(name);
	seq_printf(s, "%s\n", name);
	return 0;
}

static int hostname_store(struct ctx *c __unused, const struct pseudo_ref *r, char *text, size_t size)
{
	size = strcspn(text, "\n") < size ? strcspn(text, "\n") : size;
	if (strcmp(r->node->name, "hostname") == 0)
		return system_set_nodename(text, size);
	return system_set_domainname(text, size);
}

static int threads_max_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_printf(s, "%u\n", machine.pids_max);
	return 0;
}

static int boot_id_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_printf(s, "%s\n", machine.boot_id);
	return 0;
}

static int uuid_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	unsigned char u[16];

	if (getrandom(u, sizeof(u), 0) != sizeof(u))
		return -EIO;
	u[6] = (u[6] & 0x0f) | 0x40;
	u[8] = (u[8] & 0x3f) | 0x80;
	for (size_t i = 0; i < sizeof(u); i++)
		seq_printf(s, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", u[i]);
	seq_puts(s, "\n");
	return 0;
}

static int entropy_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "256\n");
	return 0;
}

#define TEXT(n)                                                                                                        \
	{                                                                                                              \
		.name = n, .mode = 0444, .show = text_show                                                             \
	}

#define IPC_LIMIT(n)                                                                                                   \
	{                                                                                                              \
		.name = n, .mode = 0644, .show = proc_ipc_limit_show, .store = proc_ipc_limit_store                    \
	}

static const struct pseudo_node random_nodes[] = {
    {.name = "boot_id", .mode = 0444, .show = boot_id_show},
    {.name = "entropy_avail", .mode = 0444, .show = entropy_show},
    {.name = "poolsize", .mode = 0444, .show = entropy_show},
    {.name = "uuid", .mode = 0444, .show = uuid_show},
    PSEUDO_END,
};

static const struct pseudo_node kernel_nodes[] = {
    TEXT("cap_last_cap"),
    TEXT("core_pattern"),
    TEXT("core_uses_pid"),
    TEXT("dmesg_restrict"),
    {.name = "domainname", .mode = 0644, .show = hostname_show, .store = hostname_store},
    {.name = "hostname", .mode = 0644, .show = hostname_show, .store = hostname_store},
    TEXT("kptr_restrict"),
    IPC_LIMIT("msgmax"),
    IPC_LIMIT("msgmnb"),
    IPC_LIMIT("msgmni"),
    TEXT("ngroups_max"),
    {.name = "osrelease", .mode = 0444, .show = release_show},
    TEXT("ostype"),
    TEXT("overflowgid"),
    TEXT("overflowuid"),
    TEXT("perf_event_paranoid"),
    TEXT("pid_max"),
    TEXT("printk"),
    {.name = "random", .mode = 0555, .children = random_nodes},
    TEXT("randomize_va_space"),
    TEXT("sched_child_runs_first"),
    IPC_LIMIT("sem"),
    IPC_LIMIT("shmall"),
    IPC_LIMIT("shmmax"),
    IPC_LIMIT("shmmni"),
    TEXT("shm_rmid_forced"),
    TEXT("tainted"),
    {.name = "threads-max", .mode = 0444, .show = threads_max_show},
    TEXT("unprivileged_bpf_disabled"),
    {.name = "version", .mode = 0444, .show = release_show},
    PSEUDO_END,
};

static const struct pseudo_node vm_nodes[] = {
    TEXT("max_map_count"),     TEXT("mmap_min_addr"),    TEXT("nr_hugepages"), TEXT("overcommit_kbytes"),
    TEXT("overcommit_memory"), TEXT("overcommit_ratio"), TEXT("swappiness"),   PSEUDO_END,
};

static const struct pseudo_node inotify_nodes[] = {
    TEXT("max_queued_events"),
    TEXT("max_user_instances"),
    TEXT("max_user_watches"),
    PSEUDO_END,
};

static const struct pseudo_node epoll_nodes[] = {TEXT("max_user_watches"), PSEUDO_END};

static const struct pseudo_node fs_nodes[] = {
    TEXT("aio-max-nr"),
    TEXT("aio-nr"),
    {.name = "epoll", .mode = 0555, .children = epoll_nodes},
    TEXT("file-max"),
    TEXT("file-nr"),
    {.name = "inotify", .mode = 0555, .children = inotify_nodes},
    TEXT("nr_open"),
    TEXT("pipe-max-size"),
    TEXT("pipe-user-pages-hard"),
    TEXT("pipe-user-pages-soft"),
    TEXT("protected_fifos"),
    TEXT("protected_hardlinks"),
    TEXT("protected_regular"),
    TEXT("protected_symlinks"),
    TEXT("suid_dumpable"),
    PSEUDO_END,
};

static const struct pseudo_node net_core_nodes[] = {
    TEXT("rmem_default"), TEXT("rmem_max"), TEXT("somaxconn"), TEXT("wmem_default"), TEXT("wmem_max"), PSEUDO_END,
};

static const struct pseudo_node net_unix_nodes[] = {TEXT("max_dgram_qlen"), PSEUDO_END};

static const struct pseudo_node net_nodes[] = {
    {.name = "core", .mode = 0555, .children = net_core_nodes},
    {.name = "ipv4", .mode = 0555, .children = proc_sys_ipv4_nodes},
    {.name = "ipv6", .mode = 0555, .children = proc_sys_ipv6_nodes},
    {.name = "unix", .mode = 0555, .children = net_unix_nodes},
    PSEUDO_END,
};

const struct pseudo_node proc_sys_nodes[] = {
    {.name = "fs", .mode = 0555, .children = fs_nodes},
    {.name = "kernel", .mode = 0555, .children = kernel_nodes},
    {.name = "net", .mode = 0555, .children = net_nodes},
    {.name = "vm", .mode = 0555, .children = vm_nodes},
    PSEUDO_END,
};
