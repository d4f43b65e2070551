/*
 * execve(2): from a path and arguments to a task that is about to run the first instruction of another program.
 *
 * Everything that can fail is done first, on the side: the file is found (through up to five scripts), the arguments
 * are copied, the new address space is made and filled through its own stopped cpu. Only then the task gives up what
 * it was: its other threads die, it takes their leader's place, and memory, cpu, handlers and credentials are
 * replaced. Where Linux finds a fault in the file only after its point of no return, the process dies of SIGSEGV; so
 * it does here, although we could still return.
 *
 * The registers of the new cpu are final: the run loop starts it and forgets the old one.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/auxvec.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/random.h>

#include "fs/fdtable.h"
#include "fs/path.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/exec.h"
#include "sentry/exec_impl.h"
#include "sentry/robust.h"

#define SCRIPT_DEPTH 5
#define SCRIPT_HEAD 256
#define PIE_BASE 0x555555554000ull
#define PIE_RANDOM_MASK 0xfffffffull /* pages: 28 bits, as Linux's mmap_rnd_bits */
#define STACK_SPARE (128ul << 10)
#define PLATFORM_NAME "x86_64"
#define USER_EFLAGS 0x202
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* The mount may be one of the host's that forbids execution, which only a mapping tells. */
static bool can_map_exec(struct ctx *c, struct file *f)
{
	struct file_backing back;

	return !f->ops->mmap || f->ops->mmap(c, f, 0, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, &back) != -EPERM;
}

int exec_open(struct ctx *c, int dirfd, const char *name, unsigned lookup, struct file **ret)
{
	PATH_REF p = {0};
	FILE_REF f = NULL;
	const struct inode *i;
	int err = path_lookup(c, dirfd, name, lookup, &p);

	if (err)
		return err;
	i = p.dentry->inode;
	if (!S_ISREG(i->mode) || (p.mnt->flags & MS_NOEXEC))
		return -EACCES;
	err = inode_permission(c, p.dentry->inode, MAY_EXEC);
	if (err)
		return err;
	if (__atomic_load_n((int32_t *)&i->write_count, __ATOMIC_RELAXED) > 0)
		return -ETXTBSY;
	err = file_open_exec(c, &p, &f);
	if (err || !can_map_exec(c, f))
		return err ? err : -EACCES;
	*ret = take(f);
	return 0;
}

static ssize_t read_head(struct ctx *c, struct file *f, char *head)
{
	struct iobuf b;
	off_t pos = 0;

	memset(head, 0, SCRIPT_HEAD);
	iobuf_init_kernel(&b, head, SCRIPT_HEAD);
	return file_read(c, f, &b, &pos);
}

static bool is_blank(char ch)
{
	return ch == ' ' || ch == '\t';
}

/* "#! interp [arg]" in head, which is cut up. Linux's rules of what a line that does not end within it means. */
static int parse_script(char *head, char **ret_interp, char **ret_arg)
{
	char *end = head + SCRIPT_HEAD - 1;
	char *line = head + 2;
	char *nl = memchr(line, '\n', (size_t)(end - line));
	char *p;

	while (line < (nl ? nl : end) && is_blank(*line))
		line++;
	if (!nl) {
		/* The name of the interpreter must be complete. */
		for (p = line; p < end && *p && !is_blank(*p); p++)
			;
		if (p == end)
			return -ENOEXEC;
		if (p == line)
			return -EACCES; /* no name at all leads to the directory that we are in */
		nl = end;
	}
	while (nl > line && is_blank(nl[-1]))
		nl--;
	*nl = 0;
	if (*line == 0)
		return -ENOEXEC;
	*ret_interp = line;
	while (*line && !is_blank(*line))
		line++;
	while (is_blank(*line))
		*line++ = 0;
	*ret_arg = *line ? line : NULL;
	return 0;
}

/* For who has to be told. */
static int interp_failed(const struct exec_image *im, const char *name, int err)
{
	if (err && im->ret_interp)
		strncpy(im->ret_interp, name, PATH_MAX - 1);
	return err;
}

/* Replaces a script by its interpreter. script: its name; *ret_name: the interpreter's, in head. */
static int enter_script(struct exec_image *im, char *head, const char *script, char **ret_name)
{
	struct file *f;
	char *arg;
	int err;

	if (im->inaccessible)
		return -ENOENT;
	err = parse_script(head, ret_name, &arg);
	if (!err)
		err = exec_args_script(&im->args, *ret_name, arg, script);
	if (!err)
		err = interp_failed(im, *ret_name, exec_open(&im->task->ctx, AT_FDCWD, *ret_name, LOOKUP_FOLLOW, &f));
	if (err)
		return err;
	file_put(im->file);
	im->file = f;
	return 0;
}

/* Goes through scripts until im->file is a binary. */
static int resolve_scripts(struct exec_image *im)
{
	char heads[2][SCRIPT_HEAD];
	char *name = im->filename;

	for (int depth = 0;; depth++) {
		char *head = heads[depth & 1];
		ssize_t n = read_head(&im->task->ctx, im->file, head);
		int err;

		if (n < 0)
			return (int)n;
		if (head[0] != '#' || head[1] != '!')
			return 0;
		if (depth == SCRIPT_DEPTH)
			return -ELOOP;
		err = enter_script(im, head, name, &name);
		if (err)
			return err;
	}
}

static int open_interp(struct exec_image *im)
{
	struct ctx *c = &im->task->ctx;
	int err = exec_open(c, AT_FDCWD, im->program.interp, LOOKUP_FOLLOW, &im->interp_file);

	if (!err)
		err = elf_open(c, im->interp_file, true, &im->interp);
	return interp_failed(im, im->program.interp, err == -ENOEXEC ? -ELIBBAD : err);
}

static bool is_randomized(const struct exec_image *im)
{
	return !(im->task->tg->personality & ADDR_NO_RANDOMIZE);
}

static uint64_t random_word(void)
{
	uint64_t v = 0;

	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		return 0;
	return v;
}

static uint64_t pie_base(const struct exec_image *im)
{
	if (im->program.header.e_type != ET_DYN || !im->program.interp)
		return 0;
	return PIE_BASE + (is_randomized(im) ? (random_word() & PIE_RANDOM_MASK) << PAGE_SHIFT : 0);
}

static int map_programs(struct exec_image *im)
{
	struct ctx *c = &im->task->ctx;
	int err = elf_map(c, im->mm, im->cpu, &im->program, pie_base(im), &im->at);

	if (!err && im->program.interp)
		err =
		    interp_failed(im, im->program.interp, elf_map(c, im->mm, im->cpu, &im->interp, 0, &im->interp_at));
	if (err)
		return err;
	im->mm->start_code = im->at.start_code;
	im->mm->end_code = im->at.end_code;
	im->mm->start_data = im->at.start_data;
	im->mm->end_data = im->at.end_data;
	/* A program that is its own loader lies where mappings go: its heap would soon be in the way. */
	mm_set_brk(im->mm, im->program.header.e_type == ET_DYN && !im->program.interp ? PIE_BASE : im->at.end_bss);
	return 0;
}

/* The stack being built, from the top down, in our own memory. */
struct stack {
	char *data;
	size_t size;
	uint64_t top; /* guest address of data + size */
	uint64_t sp;  /* guest address of what was pushed last */
};

static char *stack_at(struct stack *s, uint64_t addr)
{
	return s->data + (s->size - (s->top - addr));
}

static uint64_t stack_push(struct stack *s, const void *data, size_t size)
{
	s->sp -= size;
	memcpy(stack_at(s, s->sp), data, size);
	return s->sp;
}

static void auxv_add(struct mm *mm, size_t *count, uint64_t type, uint64_t value)
{
	mm->auxv[(*count)++] = type;
	mm->auxv[(*count)++] = value;
}

static size_t make_auxv(struct exec_image *im, uint64_t random_addr, uint64_t name_addr, uint64_t platform_addr)
{
	const struct platform_vdso *vdso = platform->vdso();
	const struct cred *cred = im->cred;
	struct mm *mm = im->mm;
	size_t n = 0;

	if (vdso && vdso->vdso_size)
		auxv_add(mm, &n, AT_SYSINFO_EHDR, vdso->ehdr);
	auxv_add(mm, &n, AT_MINSIGSTKSZ, sigframe_max_size());
	auxv_add(mm, &n, AT_HWCAP, getauxval(AT_HWCAP));
	auxv_add(mm, &n, AT_PAGESZ, PAGE_SIZE);
	auxv_add(mm, &n, AT_CLKTCK, 100);
	auxv_add(mm, &n, AT_PHDR, im->at.phdr);
	auxv_add(mm, &n, AT_PHENT, sizeof(Elf64_Phdr));
	auxv_add(mm, &n, AT_PHNUM, im->program.header.e_phnum);
	auxv_add(mm, &n, AT_BASE, im->program.interp ? im->interp_at.bias : 0);
	auxv_add(mm, &n, AT_FLAGS, 0);
	auxv_add(mm, &n, AT_ENTRY, im->at.entry);
	auxv_add(mm, &n, AT_UID, cred->uid);
	auxv_add(mm, &n, AT_EUID, cred->euid);
	auxv_add(mm, &n, AT_GID, cred->gid);
	auxv_add(mm, &n, AT_EGID, cred->egid);
	auxv_add(mm, &n, AT_SECURE, im->secure);
	auxv_add(mm, &n, AT_RANDOM, random_addr);
	auxv_add(mm, &n, AT_HWCAP2, getauxval(AT_HWCAP2));
	auxv_add(mm, &n, AT_EXECFN, name_addr);
	auxv_add(mm, &n, AT_PLATFORM, platform_addr);
	auxv_add(mm, &n, AT_NULL, 0);
	return n;
}

/* Pointers to the strings that lie one after the other at addr; behind them a NULL. */
static uint64_t *fill_pointers(uint64_t *p, const struct exec_strings *s, uint64_t addr)
{
	size_t at = 0;

	for (size_t i = 0; i < s->count; i++) {
		*p++ = addr + at;
		at += strlen(s->data + at) + 1;
	}
	*p++ = 0;
	return p;
}

static void fill_stack(struct exec_image *im, struct stack *s)
{
	const struct exec_args *a = &im->args;
	struct mm *mm = im->mm;
	uint64_t random[2] = {random_word(), random_word()};
	uint64_t name_addr, random_addr, platform_addr, *p;
	size_t words;

	s->sp -= sizeof(uint64_t);
	name_addr = stack_push(s, im->filename, strlen(im->filename) + 1);
	mm->env_end = s->sp;
	mm->env_start = mm->arg_end = stack_push(s, a->envp.data, a->envp.size);
	mm->arg_start = stack_push(s, a->argv.data, a->argv.size);
	if (is_randomized(im))
		s->sp -= random_word() % 8192;
	s->sp &= ~15ull;
	platform_addr = stack_push(s, PLATFORM_NAME, sizeof(PLATFORM_NAME));
	random_addr = stack_push(s, random, sizeof(random));
	words = make_auxv(im, random_addr, name_addr, platform_addr);
	s->sp -= (words + a->argv.count + a->envp.count + 3) * sizeof(uint64_t);
	s->sp &= ~15ull;
	p = (uint64_t *)stack_at(s, s->sp);
	*p++ = a->argv.count;
	p = fill_pointers(p, &a->argv, mm->arg_start);
	p = fill_pointers(p, &a->envp, mm->env_start);
	memcpy(p, mm->auxv, words * sizeof(*p));
}

/* An upper bound of what fill_stack() needs. */
static size_t stack_size(const struct exec_image *im)
{
	const struct exec_args *a = &im->args;
	size_t words = a->argv.count + a->envp.count + 3 + ARRAY_SIZE(im->mm->auxv);

	return PAGE_UP(a->argv.size + a->envp.size + strlen(im->filename) + 256 + 8192 + words * sizeof(uint64_t));
}

static int write_stack(struct exec_image *im, struct stack *s)
{
	size_t used = s->top - s->sp;
	ssize_t n = platform->cpu_write(im->cpu, s->sp, stack_at(s, s->sp), used);

	return n == (ssize_t)used ? 0 : -EFAULT;
}

static int make_stack(struct exec_image *im)
{
	struct stack s = {.size = stack_size(im), .top = im->mm->start_stack, .sp = im->mm->start_stack};
	int prot = PROT_READ | PROT_WRITE | (im->program.exec_stack ? PROT_EXEC : 0);
	size_t mapped = s.size + STACK_SPARE;
	sysret_t r;
	int err;

	s.data = kalloc(s.size);
	if (!s.data)
		return -ENOMEM;
	r = mm_map(im->mm, &im->task->ctx, im->cpu, s.top - mapped, mapped, prot,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN | MAP_STACK, NULL, 0);
	err = r < 0 ? (int)r : 0;
	if (!err) {
		fill_stack(im, &s);
		err = write_stack(im, &s);
	}
	kfree(s.data, s.size);
	if (err)
		return err;
	mm_set_name(im->mm, s.top - PAGE_SIZE, "[stack]");
	im->mm->start_stack = im->sp = s.sp;
	return 0;
}

/* An empty address space. Without one the caller lives on. */
static int get_memory(struct exec_image *im)
{
	int err;

	im->mm = mm_create();
	if (!im->mm)
		return -ENOMEM;
	err = platform->aspace_create(&im->cpu);
	return err ? task_host_error(err) : 0;
}

/* Fills it. */
static int build_memory(struct exec_image *im)
{
	int err;

	mm_layout(im->mm, task_rlimit(im->task, RLIMIT_STACK));
	err = map_programs(im);
	if (!err)
		err = make_stack(im);
	if (!err)
		err = mm_set_exe(im->mm, im->file);
	return err;
}

static void set_comm(struct task *t, const char *filename)
{
	const char *slash = strrchr(filename, '/');

	mutex_lock(&t->tg->lock, L_TASK);
	strncpy(t->comm, slash ? slash + 1 : filename, sizeof(t->comm) - 1);
	t->comm[sizeof(t->comm) - 1] = 0;
	mutex_unlock(&t->tg->lock, L_TASK);
}

static void set_registers(struct exec_image *im)
{
	struct k_user_regs *regs = platform->cpu_regs(im->cpu);

	memset(regs, 0, sizeof(*regs));
	regs->rip = im->program.interp ? im->interp_at.entry : im->at.entry;
	regs->rsp = im->sp;
	regs->eflags = USER_EFLAGS;
}

/* The old program's last traces in the task. */
static void reset_task(struct exec_image *im)
{
	struct task *t = im->task;
	struct thread_group *tg = t->tg;

	t->clear_child_tid = t->robust_list = t->rseq = UADDR_NULL;
	t->rseq_len = t->rseq_sig = 0;
	tg->did_exec = true;
	tg->exit_signal = SIGCHLD;
	if (im->id_changed)
		t->pdeath_signal = 0;
	if (im->id_changed)
		tg->personality &= ~(READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT | MMAP_PAGE_ZERO);
	tg->personality &= ~READ_IMPLIES_EXEC;
	set_comm(t, im->filename);
	timers_exec(tg);
	fdtable_exec(&t->ctx);
}

/* The first program has no old cpu to replace. */
static void replace_cpu(struct task *t, struct cpu *cpu)
{
	cpu_set_client(cpu, t);
	if (t->cpu)
		task_put_cpu(t, cpu);
	else
		t->cpu = cpu;
}

/* From here on nothing fails but by killing the task. */
static void commit(struct exec_image *im)
{
	struct task *t = im->task;

	if (t->mm)
		task_release_memory(t);
	im->mm->dumpable = !im->id_changed && !im->unreadable;
	task_set_mm(t, take(im->mm));
	set_registers(im);
	reset_task(im);
	replace_cpu(t, take(im->cpu));
	if (t->has_affinity && task_set_affinity(t, t->affinity))
		t->has_affinity = false;
	task_set_cred(t, take(im->cred));
	t->regs_final = true;
}

/* What a program that turns out to be bad too late does to the caller. */
static int fail_late(struct exec_image *im, int err)
{
	if (im->task->cpu)
		tg_kill(im->task->tg, SIGSEGV);
	return err;
}

static int exec_run(struct exec_image *im)
{
	struct task *t = im->task;
	int err = resolve_scripts(im);

	if (!err)
		err = elf_open(&t->ctx, im->file, false, &im->program);
	if (!err && im->program.interp)
		err = open_interp(im);
	if (!err)
		err = exec_cred_prepare(im);
	if (!err)
		err = get_memory(im);
	if (err)
		return err;
	im->unreadable = inode_permission(&t->ctx, im->file->inode, MAY_READ) != 0;
	err = build_memory(im);
	if (err)
		return fail_late(im, err);
	if (t->cpu && (err = task_become_leader(t)))
		return err;
	if ((err = task_unshare_files(t)) || (err = signal_exec(t)))
		return fail_late(im, err);
	commit(im);
	return 0;
}

static void exec_finish(struct exec_image *im)
{
	elf_close(&im->program);
	elf_close(&im->interp);
	file_put(im->interp_file);
	file_put(im->file);
	cred_put(im->cred);
	if (im->cpu)
		platform->cpu_put(im->cpu);
	mm_put(im->mm);
	exec_args_release(&im->args);
	kfree(im, sizeof(*im));
}

static struct exec_image *exec_begin(struct task *t, struct file *exe, const char *filename)
{
	struct exec_image *im = kalloc(sizeof(*im));

	if (!im)
		return NULL;
	im->task = t;
	im->filename = (char *)filename;
	im->file = file_get(exe);
	exec_args_init(&im->args, task_rlimit(t, RLIMIT_STACK));
	return im;
}

sysret_t task_exec(struct task *t, struct file *exe, const char *filename, bool inaccessible, uaddr_t argv,
		   uaddr_t envp)
{
	struct exec_image *im = exec_begin(t, exe, filename);
	int err;

	if (!im)
		return -ENOMEM;
	im->inaccessible = inaccessible;
	err = exec_args_copy(&t->ctx, &im->args, argv, envp);
	if (!err)
		err = exec_run(im);
	exec_finish(im);
	return err;
}

int task_exec_kernel(struct task *t, const struct init_spec *spec)
{
	FILE_REF exe = NULL;
	struct exec_image *im;
	int err = exec_open(&t->ctx, AT_FDCWD, spec->path, LOOKUP_FOLLOW, &exe);

	if (err)
		return err;
	im = exec_begin(t, exe, spec->path);
	if (!im)
		return -ENOMEM;
	im->ret_interp = spec->ret_interp;
	err = exec_args_set(&im->args, spec->argv, spec->envp);
	if (!err)
		err = exec_run(im);
	exec_finish(im);
	return err;
}
