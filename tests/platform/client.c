/*
 * The smallest client of a platform: enough of a kernel for the static program in guest.c, so that a platform can be
 * tested before and without the sentry. Usage: client PLATFORM GUEST [ARG]. The exit status is the guest's.
 *
 * One struct proc per process, one struct thr per cpu. All of it is under one mutex, which is never held over an upcall's
 * wait. Memory comes from a bump allocator of addresses; nothing is checked that the guest program does not get wrong.
 */
#include <asm/prctl.h>
#include <elf.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "platform/platform.h"
#include "sentry/base/slab.h"

#define STACK_TOP 0x7ffe00000000ul
#define STACK_SIZE (1ul << 20)
#define MMAP_BASE 0x7f0000000000ul
#define PIE_BASE 0x555500000000ul
#define TEST_CALL 5000 /* number of the calls that only this client has: see client_call() */

struct k_sigaction {
	uint64_t handler, flags, restorer, mask;
};

struct proc {
	int pid, status;
	unsigned threads;
	bool zombie, reaped, vfork_done, dying;
	struct proc *parent, *next;
	uint64_t brk_start, brk, mmap_next;
	uint64_t text, text_end, reserved;
	struct k_sigaction action[65];
	int exe;
};

struct thr {
	struct cpu *cpu;
	struct proc *p;
	int tid;
	uint64_t clear_tid;
	_Atomic unsigned pending; /* bit n: signal n */
	bool woken;
	uint64_t futex; /* the word it sleeps on */
	struct thr *next;
};

static pthread_mutex_t big = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct proc *procs;
static struct thr *thrs;
static int next_id = 1;
static char *guest_path;

static void die(const char *what, long err)
{
	fprintf(stderr, "client: %s: %s\n", what, strerror((int)-err));
	_exit(125);
}

static struct proc *proc_new(struct proc *parent)
{
	struct proc *p = calloc(1, sizeof(*p));

	if (parent)
		*p = *parent;
	p->pid = next_id++;
	p->parent = parent;
	p->threads = 1;
	p->zombie = p->reaped = p->vfork_done = p->dying = false;
	p->next = procs;
	procs = p;
	return p;
}

/* What the platform may answer: with odd numbers, so that the guest can tell. */
static void set_fast(struct thr *t)
{
	struct cpu_fast f = {
	    .enabled = true, .pid = t->p->pid, .tid = t->tid, .ppid = t->p->parent ? t->p->parent->pid : 0};

	f.uid = 0xfffffff0;
	f.gid = 0x7ffffff1;
	platform->cpu_set_fast(t->cpu, &f);
}

static struct thr *thr_new(struct proc *p, struct cpu *cpu, int tid)
{
	struct thr *t = calloc(1, sizeof(*t));

	t->p = p;
	t->cpu = cpu;
	t->tid = tid;
	t->next = thrs;
	thrs = t;
	cpu_set_client(cpu, t);
	set_fast(t);
	return t;
}

static void thr_free(struct thr *t)
{
	struct thr **q = &thrs;

	while (*q != t)
		q = &(*q)->next;
	*q = t->next;
	free(t);
}

/* Loading */

static void load_segment(struct cpu *c, int fd, const Elf64_Phdr *ph, uint64_t bias)
{
	uint64_t start = PAGE_DOWN(ph->p_vaddr), end = PAGE_UP(ph->p_vaddr + ph->p_memsz);
	uint64_t file_end = ph->p_vaddr + ph->p_filesz;
	int prot = (ph->p_flags & PF_R ? PROT_READ : 0) | (ph->p_flags & PF_W ? PROT_WRITE : 0) |
		   (ph->p_flags & PF_X ? PROT_EXEC : 0);
	static const char zeros[PAGE_SIZE];
	long err = platform->aspace_map(c, bias + start, PAGE_UP(file_end) - start, prot, MAP_PRIVATE, fd,
					PAGE_DOWN(ph->p_offset));

	if (!err && end > PAGE_UP(file_end))
		err = platform->aspace_map(c, bias + PAGE_UP(file_end), end - PAGE_UP(file_end), prot, MAP_PRIVATE, -1,
					   0);
	if (!err && ph->p_memsz > ph->p_filesz && file_end % PAGE_SIZE)
		platform->cpu_write(c, bias + file_end, zeros, PAGE_UP(file_end) - file_end);
	if (err)
		die("map segment", err);
	if ((ph->p_flags & (PF_X | PF_W)) == PF_X) {
		((struct thr *)cpu_client(c))->p->text = bias + start;
		((struct thr *)cpu_client(c))->p->text_end = bias + end;
	}
}

static uint64_t push(struct cpu *c, uint64_t *sp, const void *data, size_t size)
{
	*sp = (*sp - size) & ~15ul;
	if (platform->cpu_write(c, *sp, data, size) != (ssize_t)size)
		die("write stack", -EFAULT);
	return *sp;
}

static void make_stack(struct cpu *c, const Elf64_Ehdr *eh, uint64_t bias, uint64_t phdr, const char *arg)
{
	uint64_t sp = STACK_TOP, random[2] = {1, 2}, words[40], rnd, a0, a1 = 0;
	unsigned n = 0;
	long err =
	    platform->aspace_map(c, STACK_TOP - STACK_SIZE, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1, 0);

	if (err)
		die("map stack", err);
	rnd = push(c, &sp, random, sizeof(random));
	a0 = push(c, &sp, "guest", 6);
	if (arg)
		a1 = push(c, &sp, arg, strlen(arg) + 1);
	words[n++] = arg ? 2 : 1;
	words[n++] = a0;
	if (arg)
		words[n++] = a1;
	words[n++] = 0;
	words[n++] = 0;
	const uint64_t aux[] = {AT_PHDR,         phdr,
				AT_PHENT,        sizeof(Elf64_Phdr),
				AT_PHNUM,        eh->e_phnum,
				AT_PAGESZ,       PAGE_SIZE,
				AT_RANDOM,       rnd,
				AT_ENTRY,        bias + eh->e_entry,
				AT_SYSINFO_EHDR, platform->vdso()->ehdr,
				AT_NULL,         0};
	memcpy(words + n, aux, sizeof(aux));
	n += ARRAY_SIZE(aux);
	push(c, &sp, words, (n + (n & 1)) * 8);
	platform->cpu_regs(c)->rsp = sp;
}

static void load(struct thr *t, const char *arg)
{
	struct cpu *c = t->cpu;
	uint64_t bias, end = 0, phdr = 0;
	Elf64_Phdr ph[16];
	Elf64_Ehdr eh;

	if (pread(t->p->exe, &eh, sizeof(eh), 0) != sizeof(eh) || eh.e_phnum > 16)
		die("read ELF header", -ENOEXEC);
	if (pread(t->p->exe, ph, eh.e_phnum * sizeof(*ph), (off_t)eh.e_phoff) < 0)
		die("read program headers", -errno);
	bias = eh.e_type == ET_DYN ? PIE_BASE : 0;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD)
			continue;
		load_segment(c, t->p->exe, &ph[i], bias);
		if (ph[i].p_offset == 0)
			phdr = bias + ph[i].p_vaddr + eh.e_phoff;
		end = MAX(end, bias + PAGE_UP(ph[i].p_vaddr + ph[i].p_memsz));
	}
	t->p->brk_start = t->p->brk = end + (1ul << 20);
	t->p->mmap_next = MMAP_BASE;
	make_stack(c, &eh, bias, phdr, arg);
	platform->cpu_regs(c)->rip = bias + eh.e_entry;
	platform->cpu_regs(c)->eflags = 0x202;
}

/* Waiting. All with `big` held. */

static void proc_end(struct proc *p, int status)
{
	p->zombie = true;
	p->vfork_done = true;
	p->status = status;
	pthread_cond_broadcast(&changed);
}

static void thr_end(struct thr *t, int status)
{
	struct proc *p = t->p;
	uint32_t zero = 0;

	if (t->clear_tid && p->threads > 1) {
		platform->cpu_write(t->cpu, t->clear_tid, &zero, 4);
		for (struct thr *o = thrs; o; o = o->next)
			if (o->p == p && o->futex == t->clear_tid)
				o->woken = true;
	}
	platform->cpu_put(t->cpu);
	thr_free(t);
	if (--p->threads == 0)
		proc_end(p, p->dying ? p->status : status);
	pthread_cond_broadcast(&changed);
}

static void group_exit(struct thr *t, int status)
{
	struct proc *p = t->p;

	if (!p->dying) {
		p->dying = true;
		p->status = status;
		platform->aspace_kill(t->cpu);
	}
	pthread_cond_broadcast(&changed);
	thr_end(t, status);
}

static long do_futex(struct thr *t, uint64_t addr, int op, uint32_t val)
{
	uint32_t now;
	long n = 0;

	if ((op & 127) == FUTEX_WAKE || (op & 127) == FUTEX_WAKE_BITSET) {
		for (struct thr *o = thrs; o && n < (long)val; o = o->next)
			if (o->p == t->p && o->futex == addr && !o->woken) {
				o->woken = true;
				n++;
			}
		pthread_cond_broadcast(&changed);
		return n;
	}
	if (platform->cpu_read(t->cpu, &now, addr, 4) != 4)
		return -EFAULT;
	if (now != val)
		return -EAGAIN;
	t->woken = false;
	t->futex = addr;
	while (!t->woken && !t->p->dying && !t->pending)
		pthread_cond_wait(&changed, &big);
	t->futex = 0;
	return t->woken ? 0 : -EINTR;
}

static long do_wait(struct thr *t, int pid, uint64_t status, int options)
{
	for (;;) {
		bool any = false;

		for (struct proc *c = procs; c; c = c->next) {
			if (c->parent != t->p || c->reaped || (pid > 0 && c->pid != pid))
				continue;
			any = true;
			if (!c->zombie)
				continue;
			c->reaped = true;
			if (status && platform->cpu_write(t->cpu, status, &c->status, 4) != 4)
				return -EFAULT;
			return c->pid;
		}
		if (!any)
			return -ECHILD;
		if (options & 1)
			return 0;
		pthread_cond_wait(&changed, &big);
	}
}

static long do_clone(struct thr *t, uint64_t flags, uint64_t sp, uint64_t ptid, uint64_t ctid, uint64_t tls)
{
	bool thread = flags & CLONE_THREAD;
	struct k_user_regs *r;
	struct cpu *cpu;
	struct thr *n;
	struct proc *p;
	long err = thread ? platform->cpu_create(t->cpu, &cpu) : platform->aspace_fork(t->cpu, &cpu);
	int tid;

	if (err)
		return err;
	p = thread ? t->p : proc_new(t->p);
	if (thread)
		p->threads++;
	tid = thread ? next_id++ : p->pid;
	n = thr_new(p, cpu, tid);
	r = platform->cpu_regs(cpu);
	r->rax = 0;
	if (sp)
		r->rsp = sp;
	if (flags & CLONE_SETTLS)
		r->fs_base = tls;
	if (flags & CLONE_CHILD_CLEARTID)
		n->clear_tid = ctid;
	if (flags & CLONE_CHILD_SETTID)
		platform->cpu_write(cpu, ctid, &tid, 4);
	if (flags & CLONE_PARENT_SETTID)
		platform->cpu_write(t->cpu, ptid, &tid, 4);
	platform->cpu_start(cpu);
	while ((flags & CLONE_VFORK) && !p->vfork_done)
		pthread_cond_wait(&changed, &big);
	return tid;
}

/* A fresh aspace for the process; the old cpu is given back. Returns the new thread state's cpu, started. */
static void do_exec(struct thr *t, uint64_t argv)
{
	struct cpu *old = t->cpu, *cpu;
	uint64_t arg = 0;
	char buf[64] = "";
	long err;

	if (platform->cpu_read(old, &arg, argv + 8, 8) != 8 || !arg ||
	    platform->cpu_read(old, buf, arg, sizeof(buf) - 1) <= 0)
		die("execve argument", -EFAULT);
	err = platform->aspace_create(&cpu);
	if (err)
		die("aspace_create", err);
	t->cpu = cpu;
	cpu_set_client(cpu, t);
	set_fast(t);
	load(t, buf);
	t->p->vfork_done = true;
	pthread_cond_broadcast(&changed);
	platform->cpu_put(old);
	platform->cpu_start(cpu);
}

static long do_kill(struct thr *t, int tid, int sig)
{
	for (struct thr *o = thrs; o; o = o->next) {
		if (o->tid != tid && tid)
			continue;
		if (!tid && o->p != t->p)
			continue;
		if (sig == SIGKILL) {
			o->p->dying = true;
			o->p->status = SIGKILL;
			platform->aspace_kill(o->cpu);
		} else {
			o->pending |= 1u << sig;
			platform->cpu_kick(o->cpu);
		}
		pthread_cond_broadcast(&changed);
		return 0;
	}
	return -ESRCH;
}

static long do_mmap(struct thr *t, uint64_t addr, uint64_t size, int prot, int flags)
{
	struct proc *p = t->p;
	long err;

	size = PAGE_UP(size);
	if (!(flags & MAP_ANONYMOUS))
		return -ENODEV;
	if (!(flags & MAP_FIXED)) {
		addr = p->mmap_next;
		p->mmap_next += size + PAGE_SIZE;
	}
	err = platform->aspace_map(t->cpu, addr, size, prot, flags & (MAP_SHARED | MAP_PRIVATE | MAP_NORESERVE), -1, 0);
	return err ? err : (long)addr;
}

static long do_brk(struct thr *t, uint64_t to)
{
	struct proc *p = t->p;
	uint64_t old = PAGE_UP(p->brk);

	if (to < p->brk_start || to > p->brk_start + (1ul << 28))
		return (long)p->brk;
	if (PAGE_UP(to) > old)
		platform->aspace_map(t->cpu, old, PAGE_UP(to) - old, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1, 0);
	else if (PAGE_UP(to) < old)
		platform->aspace_unmap(t->cpu, PAGE_UP(to), old - PAGE_UP(to));
	p->brk = to;
	return (long)to;
}

static long do_write(struct thr *t, int fd, uint64_t addr, size_t size)
{
	char buf[4096];
	ssize_t n = platform->cpu_read(t->cpu, buf, addr, MIN(size, sizeof(buf)));

	return n < 0 ? n : write(fd, buf, (size_t)n);
}

static long do_sigaction(struct thr *t, int sig, uint64_t act, uint64_t old)
{
	struct k_sigaction *a = &t->p->action[sig & 63];

	if (old && platform->cpu_write(t->cpu, old, a, sizeof(*a)) != sizeof(*a))
		return -EFAULT;
	if (act && platform->cpu_read(t->cpu, a, act, sizeof(*a)) != sizeof(*a))
		return -EFAULT;
	return 0;
}

static long do_sleep(struct thr *t, uint64_t addr)
{
	struct timespec now, ts;

	if (platform->cpu_read(t->cpu, &ts, addr, sizeof(ts)) != sizeof(ts))
		return -EFAULT;
	clock_gettime(CLOCK_REALTIME, &now);
	ts.tv_sec += now.tv_sec + (ts.tv_nsec + now.tv_nsec) / 1000000000;
	ts.tv_nsec = (ts.tv_nsec + now.tv_nsec) % 1000000000;
	while (!t->pending && !t->p->dying)
		if (pthread_cond_timedwait(&changed, &big, &ts) == ETIMEDOUT)
			return 0;
	return -EINTR;
}

/* Calls for tests only: 0 the platform's cas32(addr, expected, desired), 1 how many mincore finds, 2 CPU time in us. */
static long client_call(struct thr *t, uint64_t what, uint64_t a, uint64_t b, uint64_t d)
{
	uint32_t expected = (uint32_t)b;
	unsigned char vec[16];
	uint64_t user, sys;
	long r;

	switch (what) {
	case 0:
		r = platform->cpu_cas32(t->cpu, a, &expected, (uint32_t)d);
		return r ? r : (long)expected;
	case 1:
		r = platform->aspace_mincore(t->cpu, a, 16 * PAGE_SIZE, vec);
		for (unsigned i = 0; i < 16 && r >= 0; i++)
			r += vec[i] & 1;
		return r;
	case 2:
		r = platform->aspace_time(t->cpu, &user, &sys);
		return r ? r : (long)((user + sys) / 1000);
	case 3:
		return platform->aspace_move(t->cpu, a, b, d, b);
	default:
		return -EINVAL;
	}
}

/* A signal frame of our own: registers, then the FP image, pushed below the red zone. */
struct frame {
	uint64_t restorer;
	uint64_t fp_size;
	struct k_user_regs regs;
};

static void deliver(struct thr *t, int sig, uint64_t addr)
{
	struct k_user_regs *r = platform->cpu_regs(t->cpu);
	struct k_sigaction *a = &t->p->action[sig];
	struct frame f = {.restorer = a->restorer, .regs = *r};
	const void *fp = platform->cpu_fpstate(t->cpu, &f.fp_size);
	uint64_t sp = (r->rsp - 128 - f.fp_size) & ~63ul;

	platform->cpu_write(t->cpu, sp, fp, f.fp_size);
	sp -= (sizeof(f) + 15) & ~15ul;
	sp -= 8;
	platform->cpu_write(t->cpu, sp, &f, sizeof(f));
	r->rsp = sp;
	r->rdi = (uint64_t)sig;
	r->rsi = addr;
	r->rip = a->handler;
	platform->cpu_set_fpstate(t->cpu, NULL, 0);
}

static long do_sigreturn(struct thr *t)
{
	struct k_user_regs *r = platform->cpu_regs(t->cpu);
	uint64_t at = r->rsp - 8;
	struct frame f;
	static char fp[16384];

	if (platform->cpu_read(t->cpu, &f, at, sizeof(f)) != sizeof(f) || f.fp_size > sizeof(fp))
		return -EFAULT;
	at += 8 + ((sizeof(f) + 15) & ~15ul);
	if (platform->cpu_read(t->cpu, fp, at, f.fp_size) != (ssize_t)f.fp_size)
		return -EFAULT;
	*r = f.regs;
	return platform->cpu_set_fpstate(t->cpu, fp, f.fp_size);
}

static long do_call(struct thr *t, struct k_user_regs *r)
{
	switch (r->orig_rax) {
	case SYS_write:
		return do_write(t, (int)r->rdi, r->rsi, r->rdx);
	case SYS_writev: {
		uint64_t iov[2];

		platform->cpu_read(t->cpu, iov, r->rsi, sizeof(iov));
		return do_write(t, (int)r->rdi, iov[0], iov[1]);
	}
	case SYS_mmap:
		return do_mmap(t, r->rdi, r->rsi, (int)r->rdx, (int)r->r10);
	case SYS_munmap:
		return platform->aspace_unmap(t->cpu, r->rdi, PAGE_UP(r->rsi));
	case SYS_mprotect:
		return platform->aspace_protect(t->cpu, r->rdi, PAGE_UP(r->rsi), (int)r->rdx);
	case SYS_madvise:
		return platform->aspace_advise(t->cpu, r->rdi, PAGE_UP(r->rsi), (int)r->rdx);
	case SYS_brk:
		return do_brk(t, r->rdi);
	case SYS_arch_prctl:
		if (r->rdi != ARCH_SET_FS)
			return -EINVAL;
		r->fs_base = r->rsi;
		return 0;
	case SYS_set_tid_address:
		t->clear_tid = r->rdi;
		return t->tid;
	case SYS_getpid:
		return t->p->pid;
	case SYS_getuid:
		return 0xfffffff0;
	case SYS_getgid:
		return 0x7ffffff1;
	case SYS_gettid:
		return t->tid;
	case SYS_getppid:
		return t->p->parent ? t->p->parent->pid : 0;
	case SYS_clone:
		return do_clone(t, r->rdi, r->rsi, r->rdx, r->r10, r->r8);
	case SYS_vfork:
		return do_clone(t, CLONE_VFORK | CLONE_VM | SIGCHLD, 0, 0, 0, 0);
	case SYS_fork:
		return do_clone(t, SIGCHLD, 0, 0, 0, 0);
	case SYS_wait4:
		return do_wait(t, (int)r->rdi, r->rsi, (int)r->rdx);
	case SYS_futex:
		return do_futex(t, r->rdi, (int)r->rsi, (uint32_t)r->rdx);
	case SYS_tgkill:
		return do_kill(t, (int)r->rsi, (int)r->rdx);
	case SYS_kill:
		return do_kill(t, (int)r->rdi, (int)r->rsi);
	case SYS_rt_sigaction:
		return do_sigaction(t, (int)r->rdi, r->rsi, r->rdx);
	case SYS_rt_sigprocmask:
	case SYS_set_robust_list:
	case SYS_sched_yield:
		return 0;
	case SYS_nanosleep:
		return do_sleep(t, r->rdi);
	case SYS_clock_nanosleep:
		return do_sleep(t, r->rdx);
	case TEST_CALL:
		return client_call(t, r->rdi, r->rsi, r->rdx, r->r10);
	default:
		return -ENOSYS;
	}
}

/* False: the thread has gone or changed its cpu. */
static bool system_call(struct thr *t)
{
	struct k_user_regs *r = platform->cpu_regs(t->cpu);

	switch (r->orig_rax) {
	case SYS_exit_group:
		group_exit(t, (int)(r->rdi & 255) << 8);
		return false;
	case SYS_exit:
		thr_end(t, (int)(r->rdi & 255) << 8);
		return false;
	case SYS_execve:
		do_exec(t, r->rsi);
		return false;
	case SYS_rt_sigreturn:
		if (do_sigreturn(t) == 0)
			return true;
		group_exit(t, SIGSEGV);
		return false;
	default:
		r->rax = (uint64_t)do_call(t, r);
		return true;
	}
}

static void deliver_pending(struct thr *t)
{
	unsigned mask = atomic_exchange(&t->pending, 0);

	for (int sig = 1; sig < 32; sig++)
		if (mask & 1u << sig && t->p->action[sig].handler > 1)
			deliver(t, sig, 0);
}

static enum cpu_action event(struct cpu *cpu, const struct cpu_event *ev)
{
	struct thr *t = cpu_client(cpu);
	bool goes_on = true;

	pthread_mutex_lock(&big);
	if (ev->kind == CPU_LOST || t->p->dying) {
		group_exit(t, t->p->dying ? t->p->status : SIGKILL);
		goes_on = false;
	} else if (ev->kind == CPU_SYSCALL) {
		goes_on = system_call(t);
	} else if (ev->kind == CPU_FAULT && t->p->action[ev->signo].handler > 1) {
		deliver(t, ev->signo, ev->addr);
	} else if (ev->kind == CPU_FAULT) {
		struct k_user_regs *r = platform->cpu_regs(cpu);

		if (getenv("CLIENT_DEBUG"))
			fprintf(stderr, "[%d] signal %d code %d addr %lx rip %lx trapno %u err %x\n", t->tid, ev->signo,
				ev->code, ev->addr, r->rip, ev->trapno, ev->err);
		group_exit(t, ev->signo);
		goes_on = false;
	}
	if (goes_on && t->p->dying) {
		group_exit(t, t->p->status);
		goes_on = false;
	}
	if (goes_on)
		deliver_pending(t);
	pthread_mutex_unlock(&big);
	return goes_on ? CPU_RESUME : CPU_STOP;
}

static bool code_range(struct cpu *cpu, uint64_t addr, uint64_t *ret_start, uint64_t *ret_end)
{
	struct thr *t = cpu_client(cpu);

	*ret_start = t->p->text;
	*ret_end = t->p->text_end;
	return addr >= *ret_start && addr < *ret_end;
}

/* Behind the heap's limit. */
static uint64_t reserve(struct cpu *cpu, uint64_t near, size_t size)
{
	struct thr *t = cpu_client(cpu);
	uint64_t at = (near & ~0xffffffful) + (1ul << 29) + t->p->reserved;

	t->p->reserved += size;
	return platform->aspace_map(cpu, at, size, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE, -1, 0) ? 0 : at;
}

int main(int argc, char **argv)
{
	static const struct platform_client client = {.event = event, .code_range = code_range, .reserve = reserve};
	struct platform_config config = {.client = &client, .no_patch = getenv("CLIENT_NO_PATCH")};
	const char *why;
	struct proc *p;
	struct cpu *cpu;
	struct thr *t;
	int err;

	if (argc < 3)
		die("usage: client PLATFORM GUEST [ARG]", -EINVAL);
	guest_path = argv[2];
	if ((err = arena_init(1ul << 30)) || (err = platform_select(argv[1], &why)) || (err = platform->init(&config)))
		die("start", err);
	err = platform->aspace_create(&cpu);
	if (err)
		die("aspace_create", err);
	p = proc_new(NULL);
	p->exe = open(guest_path, O_RDONLY | O_CLOEXEC);
	if (p->exe < 0)
		die(guest_path, -errno);
	t = thr_new(p, cpu, p->pid);
	load(t, argc > 3 ? argv[3] : NULL);
	pthread_mutex_lock(&big);
	platform->cpu_start(cpu);
	while (!p->zombie)
		pthread_cond_wait(&changed, &big);
	fflush(stdout);
	_exit(p->status & 127 ? 128 + (p->status & 127) : p->status >> 8);
}
