/*
 * See kernel.h. Everything runs on the calling thread. A call that would sleep is interrupted at once, through park_hook, as if a
 * signal had come: it returns to "guest code" that never repeats it. If that does not end it (a wait that only a fatal signal ends,
 * such as vfork's), the process is killed.
 */
#include "tests/kernel/kernel.h"

#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fs/dev/devfs.h"
#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "fs/path.h"
#include "fs/vfs.h"
#include "fs/proc/proc.h"
#include "fs/sys/sysfs.h"
#include "net/tun.h"
#include "fs/tmp/tmpfs.h"
#include "sentry/base/cred.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"
#include "sentry/ipc.h"
#include "sentry/system.h"
#include "sentry/task.h"

#define PARKS_MAX 8

struct cpu *kernel_cpus[KERNEL_CPUS_MAX];
size_t kernel_cpu_count;

static __thread struct task *current;
static __thread unsigned parks;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "kernel for tests: %s failed\n", what);
	abort();
}

/* Called before a thread sleeps: makes that sleep end. */
static void on_park(void)
{
	if (!current)
		return;
	ctx_interrupt(&current->ctx, CTX_SIGNAL);
	if (++parks > PARKS_MAX)
		tg_kill(current->tg, SIGKILL);
}

static void on_start(struct cpu *cpu)
{
	for (size_t i = 0; i < kernel_cpu_count; i++)
		if (kernel_cpus[i] == cpu)
			return;
	must(kernel_cpu_count < KERNEL_CPUS_MAX, "room for a cpu");
	kernel_cpus[kernel_cpu_count++] = cpu;
}

static void cpu_gone(struct cpu *cpu)
{
	for (size_t i = 0; i < kernel_cpu_count; i++) {
		if (kernel_cpus[i] != cpu)
			continue;
		memmove(kernel_cpus + i, kernel_cpus + i + 1, (kernel_cpu_count - i - 1) * sizeof(*kernel_cpus));
		kernel_cpu_count--;
		return;
	}
}

int64_t kernel_call(struct cpu *cpu, uint64_t nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
		    uint64_t a5)
{
	struct fake_result r;

	current = cpu_client(cpu);
	parks = 0;
	r = fake_syscall(cpu, nr, a0, a1, a2, a3, a4, a5);
	current = NULL;
	if (r.gone)
		cpu_gone(cpu);
	return r.gone ? -ESRCH : r.ret;
}

/* Lets a cpu see what others did to it: kicks, signals, the end. */
static void cpu_poll(struct cpu *cpu)
{
	struct cpu_event ev = {.kind = fake_killed(cpu) ? CPU_LOST : CPU_KICK};

	if (!fake_take_kick(cpu) && ev.kind == CPU_KICK)
		return;
	current = cpu_client(cpu);
	parks = 0;
	if (fake_event(cpu, &ev).gone)
		cpu_gone(cpu);
	current = NULL;
}

void kernel_reset(void)
{
	struct cpu *init = kernel_cpus[0];
	int64_t r;

	KCALL(init, SYS_kill, -1, SIGKILL);
	for (int round = 0; round < 100 && kernel_cpu_count > 1; round++)
		for (size_t i = kernel_cpu_count; i-- > 1;)
			if (i < kernel_cpu_count)
				cpu_poll(kernel_cpus[i]);
	must(kernel_cpu_count == 1 && kernel_cpus[0] == init, "killing every process");
	do
		r = KCALL(init, SYS_wait4, -1, 0, WNOHANG | __WALL, 0);
	while (r > 0);
	must(r == -ECHILD, "collecting every process");
	ipc_ns_clear(((struct task *)cpu_client(init))->ipc_ns);
}

void kernel_poke(struct cpu *cpu, uint64_t addr, const void *src, size_t size)
{
	must(platform->cpu_write(cpu, addr, src, size) == (ssize_t)size, "writing memory");
}

void kernel_peek(struct cpu *cpu, uint64_t addr, void *dst, size_t size)
{
	must(platform->cpu_read(cpu, dst, addr, size) == (ssize_t)size, "reading memory");
}

static void mount_at(struct ctx *c, struct super *s, const char *name)
{
	PATH_REF at = {NULL, NULL};

	must(s && vfs_mkdir(c, AT_FDCWD, name, 0755) == 0, name);
	must(path_lookup(c, AT_FDCWD, name, LOOKUP_FOLLOW, &at) == 0, name);
	must(mount_add(c->mnt_ns, s, &at, 0, "none") == 0, name);
	super_put(s);
}

/* A program of one page that could only loop. */
static void make_program(struct ctx *c, const char *name)
{
	struct {
		Elf64_Ehdr h;
		Elf64_Phdr p;
		char code[16];
	} elf = {
	    .h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		  .e_type = ET_EXEC,
		  .e_machine = EM_X86_64,
		  .e_version = EV_CURRENT,
		  .e_entry = 0x400000 + offsetof(__typeof__(elf), code),
		  .e_phoff = offsetof(__typeof__(elf), p),
		  .e_ehsize = sizeof(Elf64_Ehdr),
		  .e_phentsize = sizeof(Elf64_Phdr),
		  .e_phnum = 1},
	    .p = {.p_type = PT_LOAD,
		  .p_flags = PF_R | PF_X,
		  .p_vaddr = 0x400000,
		  .p_filesz = sizeof(elf),
		  .p_memsz = sizeof(elf),
		  .p_align = PAGE_SIZE},
	    .code = "\xeb\xfe",
	};
	struct iobuf b;
	struct file *f;
	off_t pos = 0;

	must(vfs_open(c, AT_FDCWD, name, O_WRONLY | O_CREAT, 0755, LOOKUP_FOLLOW, &f) == 0, "making a program");
	iobuf_init_kernel(&b, &elf, sizeof(elf));
	must(file_write(c, f, &b, &pos) == sizeof(elf), "writing a program");
	file_put(f);
}

static void no_raise(struct ctx *c __unused, int signo __unused)
{
}

static void make_files(struct ctx *c)
{
	struct super *root =
	    tmpfs_create(&(struct tmpfs_options){.max_bytes = 64 << 20, .max_inodes = 20000, .mode = 0755});
	struct path top;

	must(root != NULL, "making a tmpfs");
	c->mnt_ns = mnt_ns_create(root, 0, "none");
	super_put(root);
	must(c->mnt_ns != NULL, "making a namespace");
	top = (struct path){c->mnt_ns->root, c->mnt_ns->root->root};
	c->fs = fs_struct_create(&top, &top, 022);
	must(c->fs != NULL, "making a root");
	mount_at(c, procfs_create(), "/proc");
	mount_at(c, sysfs_create(), "/sys");
	mount_at(c, devfs_create(), "/dev");
	must(devfs_populate(c) == 0, "making devices");
	must(vfs_mkdir(c, AT_FDCWD, "/tmp", 01777) == 0, "mkdir");
	make_program(c, "/init");
}

struct cpu *kernel_boot(void)
{
	static const struct platform_client client = {.event = task_event};
	static char *const argv[] = {"/init", NULL};
	static char *const envp[] = {"PATH=/", NULL};
	static struct ctx c;
	struct platform_config config = {.client = &client};
	struct init_spec spec = {.path = "/init", .argv = argv, .envp = envp};
	struct task *init;

	log_init(2, LOG_ERROR, false);
	must(arena_init(1ul << 30) == 0, "reserving memory");
	system_init("fuzz", 256 << 20, 60);
	platform = &platform_fake;
	must(platform->init(&config) == 0, "starting the platform");
	fake_on_start(on_start);
	devfs_init();
	sysfs_init();
	tun_init();
	tmpfs_register();
	park_hook = on_park;
	parker_init(&c.parker);
	c.raise = no_raise;
	c.rlimit_nofile = 1024;
	c.rlimit_fsize = UINT64_MAX;
	c.tid = c.tgid = 1;
	c.cred = cred_create(0, 0, NULL, 0);
	c.fdt = fdtable_create();
	must(c.cred && c.fdt, "making a context");
	make_files(&c);
	spec.cred = c.cred;
	spec.fs = c.fs;
	spec.fdt = c.fdt;
	spec.mnt_ns = c.mnt_ns;
	must(task_create_init(&spec, &init) == 0, "making the first process");
	/* No other process's doing ends it. */
	init->tg->unkillable = true;
	task_start(init);
	must(kernel_cpu_count == 1, "starting the first process");
	must(KCALL(kernel_cpus[0], SYS_mmap, KERNEL_SCRATCH, KERNEL_SCRATCH_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == KERNEL_SCRATCH,
	     "mapping memory");
	return kernel_cpus[0];
}
