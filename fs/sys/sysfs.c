/*
 * /sys: constant directories with the few files that run-time systems read when they start (glibc, JVM, Go, Node, hwloc, psutil): processors with their
 * topology, one memory node, transparent huge pages, an empty /sys/fs/cgroup to mount on. It describes this sandbox, nothing of the host's devices.
 */
#include "fs/sys/sysfs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/pseudo.h"
#include "fs/sys/net.h"
#include "sentry/system.h"

#define SYSFS_MAGIC 0x62656572

static const struct pseudo_node empty_dir[] = {PSEUDO_END};

#define EMPTY(n)                                                                                                       \
	{                                                                                                              \
		.name = n, .mode = 0755, .children = empty_dir                                                         \
	}

static int cpu_list_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "0");
	if (machine.cpus > 1)
		seq_printf(s, "-%u", machine.cpus - 1);
	seq_puts(s, "\n");
	return 0;
}

/* A mask in words of 32 bits, the highest first. */
static int cpu_map_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	unsigned words = (machine.cpus + 31) / 32;

	for (unsigned w = words; w-- > 0;) {
		unsigned bits = MIN(machine.cpus - w * 32, 32u);

		seq_printf(s, w + 1 < words ? ",%08x" : "%x", bits == 32 ? UINT32_MAX : (1u << bits) - 1);
	}
	seq_puts(s, "\n");
	return 0;
}

static int text_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	static const struct {
		const char *name, *text;
	} texts[] = {
	    {"offline", ""},
	    {"kernel_max", "8191"},
	    {"isolated", ""},
	    {"physical_package_id", "0"},
	    {"die_id", "0"},
	    {"online", "1"},
	    {"enabled", "always [madvise] never"},
	    {"defrag", "always defer defer+madvise [madvise] never"},
	    {"shmem_enabled", "always within_size advise [never] deny force"},
	    {"use_zero_page", "1"},
	    {"hpage_pmd_size", "2097152"},
	    {"distance", "10"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].name, r->node->name) == 0)
			seq_printf(s, "%s\n", texts[i].text);
	return 0;
}

/* key[0] is the processor. */
static int core_id_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	seq_printf(s, "%" PRIu64 "\n", r->key[0]);
	return 0;
}

static int own_map_show(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	seq_printf(s, "%x", 1u << r->key[0] % 32);
	for (uint64_t w = r->key[0] / 32; w > 0; w--)
		seq_puts(s, ",00000000");
	seq_puts(s, "\n");
	return 0;
}

static int node_meminfo_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	uint64_t total = machine.memory_total >> 10, used = MIN(system_memory_used() >> 10, total);

	seq_printf(s, "Node 0 MemTotal:       %8" PRIu64 " kB\nNode 0 MemFree:        %8" PRIu64 " kB\n", total,
		   total - used);
	seq_printf(s, "Node 0 MemUsed:        %8" PRIu64 " kB\n", used);
	return 0;
}

static int zero_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	seq_puts(s, "0\n");
	return 0;
}

#define TEXT(n)                                                                                                        \
	{                                                                                                              \
		.name = n, .mode = 0444, .show = text_show                                                             \
	}

static const struct pseudo_node topology_nodes[] = {
    {.name = "core_cpus", .mode = 0444, .show = own_map_show},
    {.name = "core_cpus_list", .mode = 0444, .show = core_id_show},
    {.name = "core_id", .mode = 0444, .show = core_id_show},
    {.name = "core_siblings", .mode = 0444, .show = cpu_map_show},
    {.name = "core_siblings_list", .mode = 0444, .show = cpu_list_show},
    TEXT("die_id"),
    {.name = "package_cpus", .mode = 0444, .show = cpu_map_show},
    {.name = "package_cpus_list", .mode = 0444, .show = cpu_list_show},
    TEXT("physical_package_id"),
    {.name = "thread_siblings", .mode = 0444, .show = own_map_show},
    {.name = "thread_siblings_list", .mode = 0444, .show = core_id_show},
    PSEUDO_END,
};

static const struct pseudo_node cpu_nodes[] = {
    TEXT("online"),
    {.name = "topology", .mode = 0755, .children = topology_nodes},
    PSEUDO_END,
};

static const struct pseudo_node cpu_node = {.name = "cpuN", .mode = 0755, .children = cpu_nodes};

static int cpus_lookup(struct ctx *c __unused, const struct pseudo_ref *dir __unused, const char *name,
		       struct pseudo_ref *ret)
{
	unsigned n;
	char back[16];

	if (sscanf(name, "cpu%5u", &n) != 1 || n >= machine.cpus)
		return -ENOENT;
	snprintf(back, sizeof(back), "cpu%u", n);
	if (strcmp(back, name) != 0)
		return -ENOENT;
	ret->node = &cpu_node;
	ret->key[0] = n;
	return 0;
}

static bool cpus_next(struct ctx *c __unused, const struct pseudo_ref *dir __unused, uint64_t *cursor, char name[32],
		      const struct pseudo_node **ret)
{
	if (*cursor >= machine.cpus)
		return false;
	snprintf(name, 32, "cpu%u", (unsigned)*cursor);
	*ret = &cpu_node;
	++*cursor;
	return true;
}

static const struct pseudo_dir cpus_dir = {.lookup = cpus_lookup, .next = cpus_next};

static const struct pseudo_node cpus_nodes[] = {
    TEXT("isolated"),
    TEXT("kernel_max"),
    TEXT("offline"),
    {.name = "online", .mode = 0444, .show = cpu_list_show},
    {.name = "possible", .mode = 0444, .show = cpu_list_show},
    {.name = "present", .mode = 0444, .show = cpu_list_show},
    PSEUDO_END,
};

static const struct pseudo_node node0_nodes[] = {
    {.name = "cpulist", .mode = 0444, .show = cpu_list_show},
    {.name = "cpumap", .mode = 0444, .show = cpu_map_show},
    TEXT("distance"),
    {.name = "meminfo", .mode = 0444, .show = node_meminfo_show},
    PSEUDO_END,
};

static const struct pseudo_node numa_nodes[] = {
    {.name = "has_cpu", .mode = 0444, .show = zero_show},
    {.name = "has_memory", .mode = 0444, .show = zero_show},
    {.name = "has_normal_memory", .mode = 0444, .show = zero_show},
    {.name = "node0", .mode = 0755, .children = node0_nodes},
    {.name = "online", .mode = 0444, .show = zero_show},
    {.name = "possible", .mode = 0444, .show = zero_show},
    PSEUDO_END,
};

static const struct pseudo_node system_nodes[] = {
    {.name = "cpu", .mode = 0755, .children = cpus_nodes, .dir = &cpus_dir},
    {.name = "node", .mode = 0755, .children = numa_nodes},
    PSEUDO_END,
};

static const struct pseudo_node virtual_nodes[] = {
    {.name = "net", .mode = 0755, .dir = &sys_virtual_net_dir},
    PSEUDO_END,
};

static const struct pseudo_node devices_nodes[] = {
    {.name = "system", .mode = 0755, .children = system_nodes},
    {.name = "virtual", .mode = 0755, .children = virtual_nodes},
    PSEUDO_END,
};

static const struct pseudo_node thp_nodes[] = {
    TEXT("defrag"), TEXT("enabled"), TEXT("hpage_pmd_size"), TEXT("shmem_enabled"), TEXT("use_zero_page"), PSEUDO_END,
};

static const struct pseudo_node mm_nodes[] = {
    EMPTY("hugepages"),
    {.name = "transparent_hugepage", .mode = 0755, .children = thp_nodes},
    PSEUDO_END,
};

static const struct pseudo_node kernel_nodes[] = {
    {.name = "mm", .mode = 0755, .children = mm_nodes},
    PSEUDO_END,
};

static const struct pseudo_node fs_nodes[] = {EMPTY("cgroup"), PSEUDO_END};
static const struct pseudo_node class_nodes[] = {
    EMPTY("block"), {.name = "net", .mode = 0755, .dir = &sys_class_net_dir}, EMPTY("tty"), PSEUDO_END};
static const struct pseudo_node dev_nodes[] = {EMPTY("block"), EMPTY("char"), PSEUDO_END};

static const struct pseudo_node root_nodes[] = {
    EMPTY("block"),
    EMPTY("bus"),
    {.name = "class", .mode = 0755, .children = class_nodes},
    {.name = "dev", .mode = 0755, .children = dev_nodes},
    {.name = "devices", .mode = 0755, .children = devices_nodes},
    EMPTY("firmware"),
    {.name = "fs", .mode = 0755, .children = fs_nodes},
    {.name = "kernel", .mode = 0755, .children = kernel_nodes},
    EMPTY("module"),
    EMPTY("power"),
    PSEUDO_END,
};

static const struct pseudo_node sys_root = {.name = "sys", .mode = 0555, .children = root_nodes};

struct super *sysfs_create(void)
{
	return pseudo_super_create("sysfs", SYSFS_MAGIC, &sys_root);
}

static int mount_sysfs(struct ctx *c __unused, const char *source __unused, const char *data __unused,
		       uint64_t flags __unused, struct super **ret)
{
	*ret = sysfs_create();
	return *ret ? 0 : -ENOMEM;
}

void sysfs_init(void)
{
	static struct fs_type type = {.name = "sysfs", .nodev = true, .create = mount_sysfs};

	fs_type_register(&type);
}
