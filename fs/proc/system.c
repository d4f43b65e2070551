/*
 * The longer system-wide texts: cpuinfo, meminfo, stat, vmstat. They describe this sandbox: processors that it may use, memory up to its limit,
 * time since its start. The processor's own identity is read by CPUID, as any guest could do itself.
 */
#include <cpuid.h>
#include <inttypes.h>
#include <string.h>

#include "fs/proc/proc.h"
#include "platform/platform.h"
#include "sentry/base/clock.h"
#include "sentry/system.h"
#include "sentry/task.h"

struct cpu_flag {
	uint32_t leaf, subleaf;
	uint8_t reg, bit; /* reg: 0 eax .. 3 edx */
	const char *name;
};

/* What programs look for, by the names of Linux's cpufeatures.h. */
static const struct cpu_flag cpu_flags[] = {
    {1, 0, 3, 0, "fpu"},
    {1, 0, 3, 4, "tsc"},
    {1, 0, 3, 8, "cx8"},
    {1, 0, 3, 15, "cmov"},
    {1, 0, 3, 19, "clflush"},
    {1, 0, 3, 23, "mmx"},
    {1, 0, 3, 24, "fxsr"},
    {1, 0, 3, 25, "sse"},
    {1, 0, 3, 26, "sse2"},
    {1, 0, 3, 28, "ht"},
    {0x80000001, 0, 3, 11, "syscall"},
    {0x80000001, 0, 3, 20, "nx"},
    {0x80000001, 0, 3, 27, "rdtscp"},
    {0x80000001, 0, 3, 29, "lm"},
    {1, 0, 2, 0, "pni"},
    {1, 0, 2, 1, "pclmulqdq"},
    {1, 0, 2, 9, "ssse3"},
    {1, 0, 2, 12, "fma"},
    {1, 0, 2, 13, "cx16"},
    {1, 0, 2, 19, "sse4_1"},
    {1, 0, 2, 20, "sse4_2"},
    {1, 0, 2, 22, "movbe"},
    {1, 0, 2, 23, "popcnt"},
    {1, 0, 2, 25, "aes"},
    {1, 0, 2, 26, "xsave"},
    {1, 0, 2, 28, "avx"},
    {1, 0, 2, 29, "f16c"},
    {1, 0, 2, 30, "rdrand"},
    {1, 0, 2, 31, "hypervisor"},
    {0x80000001, 0, 2, 0, "lahf_lm"},
    {0x80000001, 0, 2, 5, "abm"},
    {0x80000001, 0, 2, 6, "sse4a"},
    {7, 0, 1, 0, "fsgsbase"},
    {7, 0, 1, 3, "bmi1"},
    {7, 0, 1, 5, "avx2"},
    {7, 0, 1, 8, "bmi2"},
    {7, 0, 1, 9, "erms"},
    {7, 0, 1, 16, "avx512f"},
    {7, 0, 1, 17, "avx512dq"},
    {7, 0, 1, 18, "rdseed"},
    {7, 0, 1, 19, "adx"},
    {7, 0, 1, 21, "avx512ifma"},
    {7, 0, 1, 23, "clflushopt"},
    {7, 0, 1, 24, "clwb"},
    {7, 0, 1, 28, "avx512cd"},
    {7, 0, 1, 29, "sha_ni"},
    {7, 0, 1, 30, "avx512bw"},
    {7, 0, 1, 31, "avx512vl"},
    {7, 0, 2, 1, "avx512vbmi"},
    {7, 0, 2, 8, "gfni"},
    {7, 0, 2, 9, "vaes"},
    {7, 0, 2, 10, "vpclmulqdq"},
    {7, 0, 2, 11, "avx512_vnni"},
    {7, 0, 2, 14, "avx512_vpopcntdq"},
    {7, 0, 2, 22, "rdpid"},
    {7, 0, 3, 4, "fsrm"},
};

static void show_flags(struct seq *s)
{
	seq_puts(s, "flags\t\t:");
	for (size_t i = 0; i < ARRAY_SIZE(cpu_flags); i++) {
		const struct cpu_flag *f = &cpu_flags[i];
		uint32_t r[4];

		if (__get_cpuid_count(f->leaf, f->subleaf, &r[0], &r[1], &r[2], &r[3]) && r[f->reg] >> f->bit & 1)
			seq_printf(s, " %s", f->name);
	}
	seq_puts(s, "\n");
}

struct cpu_identity {
	char vendor[13], model_name[49];
	unsigned family, model, stepping;
};

static void identify_cpu(struct cpu_identity *id)
{
	uint32_t r[4] = {0};
	unsigned base;

	memset(id, 0, sizeof(*id));
	__get_cpuid(0, &r[0], &r[1], &r[2], &r[3]);
	memcpy(id->vendor, &r[1], 4);
	memcpy(id->vendor + 4, &r[3], 4);
	memcpy(id->vendor + 8, &r[2], 4);
	__get_cpuid(1, &r[0], &r[1], &r[2], &r[3]);
	base = r[0] >> 8 & 15;
	id->family = base == 15 ? base + (r[0] >> 20 & 255) : base;
	id->model = (r[0] >> 4 & 15) | (base == 6 || base == 15 ? r[0] >> 12 & 0xf0 : 0);
	id->stepping = r[0] & 15;
	for (uint32_t i = 0; i < 3; i++)
		if (__get_cpuid(0x80000002 + i, &r[0], &r[1], &r[2], &r[3]))
			memcpy(id->model_name + 16 * i, r, 16);
}

int proc_cpuinfo_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	struct cpu_identity id;

	identify_cpu(&id);
	for (unsigned cpu = 0; cpu < machine.cpus; cpu++) {
		seq_printf(s, "processor\t: %u\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\n", cpu, id.vendor,
			   id.family, id.model);
		seq_printf(s, "model name\t: %s\nstepping\t: %u\nmicrocode\t: 0x1\n", id.model_name, id.stepping);
		seq_printf(s, "physical id\t: 0\nsiblings\t: %u\ncore id\t\t: %u\ncpu cores\t: %u\n", machine.cpus, cpu,
			   machine.cpus);
		seq_printf(s, "apicid\t\t: %u\ninitial apicid\t: %u\nfpu\t\t: yes\nfpu_exception\t: yes\n", cpu, cpu);
		seq_puts(s, "cpuid level\t: 13\nwp\t\t: yes\n");
		show_flags(s);
		seq_puts(s, "bugs\t\t:\nclflush size\t: 64\ncache_alignment\t: 64\n"
			    "address sizes\t: 46 bits physical, 48 bits virtual\npower management:\n\n");
	}
	return 0;
}

int proc_meminfo_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	uint64_t total = machine.memory_total >> 10;
	uint64_t used = MIN(system_memory_used() >> 10, total);
	const struct {
		const char *name;
		uint64_t kb;
	} lines[] = {
	    {"MemTotal", total},
	    {"MemFree", total - used},
	    {"MemAvailable", total - used},
	    {"Buffers", 0},
	    {"Cached", 0},
	    {"SwapCached", 0},
	    {"Active", used},
	    {"Inactive", 0},
	    {"Active(anon)", used},
	    {"Inactive(anon)", 0},
	    {"Active(file)", 0},
	    {"Inactive(file)", 0},
	    {"Unevictable", 0},
	    {"Mlocked", 0},
	    {"SwapTotal", 0},
	    {"SwapFree", 0},
	    {"Dirty", 0},
	    {"Writeback", 0},
	    {"AnonPages", used},
	    {"Mapped", 0},
	    {"Shmem", 0},
	    {"KReclaimable", 0},
	    {"Slab", 0},
	    {"SReclaimable", 0},
	    {"SUnreclaim", 0},
	    {"KernelStack", 0},
	    {"PageTables", 0},
	    {"CommitLimit", total},
	    {"Committed_AS", used},
	    {"VmallocTotal", 34359738367},
	    {"VmallocUsed", 0},
	    {"VmallocChunk", 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		size_t start = s->len;

		seq_printf(s, "%s:", lines[i].name);
		seq_pad(s, start, 16);
		seq_printf(s, "%8" PRIu64 " kB\n", lines[i].kb);
	}
	seq_puts(
	    s,
	    "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\n"
	    "Hugepagesize:       2048 kB\nHugetlb:               0 kB\n");
	return 0;
}

int proc_vmstat_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	uint64_t used = MIN(system_memory_used(), machine.memory_total);

	seq_printf(s, "nr_free_pages %" PRIu64 "\nnr_anon_pages %" PRIu64 "\n",
		   (machine.memory_total - used) >> PAGE_SHIFT, used >> PAGE_SHIFT);
	seq_puts(s,
		 "nr_mapped 0\nnr_file_pages 0\nnr_dirty 0\nnr_writeback 0\nnr_shmem 0\npgpgin 0\npgpgout 0\npswpin 0\n"
		 "pswpout 0\npgfault 0\npgmajfault 0\noom_kill 0\n");
	return 0;
}

struct cpu_sum {
	uint64_t user, sys;
	unsigned running;
};

static bool add_cpu_time(struct thread_group *tg, void *arg) REQUIRES(L_PIDTREE)
{
	struct cpu_sum *sum = arg;
	struct usage u;

	tg_usage_locked(tg, &u);
	sum->user += u.utime;
	sum->sys += u.stime;
	sum->running += !tg->zombie && tg->leader && tg->leader->state == 'R';
	return true;
}

#define TICKS(ns) ((uint64_t)(ns) / 10000000)

int proc_stat_show(struct ctx *c __unused, const struct pseudo_ref *r __unused, struct seq *s)
{
	uint64_t up = (uint64_t)(clock_now(CLOCK_MONOTONIC) - machine.boot_monotonic);
	struct cpu_sum sum = {0};
	uint64_t idle;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	tg_for_each(add_cpu_time, &sum);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	idle = up * machine.cpus > sum.user + sum.sys ? up * machine.cpus - sum.user - sum.sys : 0;
	seq_printf(s, "cpu  %" PRIu64 " 0 %" PRIu64 " %" PRIu64 " 0 0 0 0 0 0\n", TICKS(sum.user), TICKS(sum.sys),
		   TICKS(idle));
	for (unsigned cpu = 0; cpu < machine.cpus; cpu++)
		seq_printf(s, "cpu%u %" PRIu64 " 0 %" PRIu64 " %" PRIu64 " 0 0 0 0 0 0\n", cpu,
			   TICKS(sum.user / machine.cpus), TICKS(sum.sys / machine.cpus), TICKS(idle / machine.cpus));
	seq_printf(s, "intr 0\nctxt 0\nbtime %" PRId64 "\nprocesses %" PRIu64 "\nprocs_running %u\nprocs_blocked 0\n",
		   (int64_t)(machine.boot_realtime / NSEC_PER_SEC), machine.forks, MAX(sum.running, 1u));
	seq_puts(s, "softirq 0 0 0 0 0 0 0 0 0 0 0\n");
	return 0;
}
