/*
 * The stack of a guest that dies of a signal that would dump core: for --strace, and in the log with --debug.
 *
 * Everything read here is the guest's, and hostile. The stack is looked at, never interpreted: unwind tables (.eh_frame) are programs
 * that the guest would have the sentry run, see docs/security.md. It is done as Linux does it for its own stack without tables:
 * of all words from the stack pointer upwards those count that point right behind a call instruction. What the
 * chain of frame pointers leads to is certain; others are marked with '?' and may be left from calls that have returned.
 * So a program whose compiler kept frame pointers (-fno-omit-frame-pointer) has an exact trace, others a superset of theirs. Where
 * code without frame pointers (the C library) was called from code that has them, the chain is taken up behind it, but is not
 * certain any more.
 *
 * Work is bounded: STACK_SCAN bytes, FRAMES_MAX lines, a chain that only goes up. Memory is read through the stopped cpu, and not
 * through the ctx: a stack must not grow by being looked at.
 */
#include "sentry/backtrace.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fs/fs_struct.h"
#include "fs/path.h"
#include "sentry/base/log.h"
#include "sentry/mm_impl.h"

#define FRAMES_MAX 64
#define STACK_SCAN (4 * PAGE_SIZE)
#define LINK_MAX (1ul << 20) /* a frame larger than that is taken for chance */
#define NAME_SHOWN 200
#define CALL_SIZE_MAX 7

struct walk {
	struct task *t;
	unsigned count;
	uint64_t link; /* where the chain goes on: a saved frame pointer with a return address above it; 0: nowhere */
	bool sure;     /* the chain comes from the frame pointer */
	uint64_t previous; /* the word below */
	uint64_t words[PAGE_SIZE / sizeof(uint64_t)];
	char path[PATH_MAX];
	char text[NAME_SHOWN + 64];
};

/* The mapping's name and where in its file addr lies: for those who have the file and addr2line. */
static const char *place(struct walk *w, uint64_t addr, uint64_t *ret_off)
{
	const struct platform_vdso *vdso = platform->vdso ? platform->vdso() : NULL;
	PATH_REF root = {NULL, NULL};
	FILE_REF file = NULL;
	const char *name = "[no mapping]";
	const struct vma *v;
	int err;

	*ret_off = addr;
	if (vdso && addr - vdso->ehdr < vdso->vdso_size) {
		*ret_off = addr - vdso->ehdr;
		return "[vdso]";
	}
	mm_lock(w->t->mm);
	v = vma_at(&w->t->mm->vmas, addr);
	if (v) {
		name = v->name ? v->name : "[anonymous]";
		*ret_off = v->off + (addr - v->start);
		file = v->file && !v->name ? file_get(v->file) : NULL;
	}
	mm_unlock(w->t->mm);
	if (!file)
		return name;
	fs_get_root(&w->t->ctx, &root);
	name = path_to_string(&file->path, &root, w->path, sizeof(w->path), &err);
	return name ? name : "[?]";
}

static void show(struct walk *w, uint64_t addr, bool certain)
{
	uint64_t off;
	const char *name = place(w, addr, &off);
	size_t len = strlen(name);

	snprintf(w->text, sizeof(w->text), "%s%s%s(+%#lx) [%#lx]", certain ? "" : "? ", len > NAME_SHOWN ? "..." : "",
		 name + (len > NAME_SHOWN ? len - NAME_SHOWN : 0), off, addr);
	for (char *p = w->text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	if (w->t->strace)
		trace_frame(w->t, w->text);
	log_debug("  #%-2u %s", w->count, w->text);
	w->count++;
}

static bool is_code(struct walk *w, uint64_t addr)
{
	const struct vma *v;
	bool code;

	if (addr < GUEST_MIN || addr >= GUEST_END)
		return false;
	mm_lock(w->t->mm);
	v = vma_at(&w->t->mm->vmas, addr);
	code = v && (v->prot & PROT_EXEC);
	mm_unlock(w->t->mm);
	return code;
}

/* The size of `call r/m64`, which begins with 0xff, or 0: some other instruction. */
static unsigned indirect_call_size(const uint8_t *insn)
{
	unsigned mod = insn[1] >> 6, op = insn[1] >> 3 & 7, rm = insn[1] & 7;
	bool sib = mod != 3 && rm == 4;
	unsigned base = sib ? insn[2] & 7 : rm;

	if (op != 2)
		return 0;
	if (mod == 2 || (mod == 0 && base == 5))
		return 6 + sib;
	return 2 + sib + (mod == 1);
}

static bool follows_call(struct walk *w, uint64_t addr)
{
	uint8_t code[CALL_SIZE_MAX + 1] = {0};

	if (platform->cpu_read(w->t->cpu, code, addr - CALL_SIZE_MAX, CALL_SIZE_MAX) != CALL_SIZE_MAX)
		return false;
	if (code[CALL_SIZE_MAX - 5] == 0xe8)
		return true;
	for (unsigned size = 2; size <= CALL_SIZE_MAX; size++)
		if (code[CALL_SIZE_MAX - size] == 0xff && indirect_call_size(code + CALL_SIZE_MAX - size) == size)
			return true;
	return false;
}

/* One link of the chain: the caller's frame pointer, and where it goes on. */
static void follow(struct walk *w, uint64_t next, uint64_t addr)
{
	uint64_t here = w->link;

	w->link = 0;
	if (!is_code(w, addr) || (!w->sure && !follows_call(w, addr)))
		return;
	show(w, addr, w->sure);
	if (next > here && next < GUEST_END && next % sizeof(uint64_t) == 0)
		w->link = next;
}

/* The word at `at` looks like a return address: below it may lie a frame pointer. */
static void guess(struct walk *w, uint64_t at, uint64_t addr)
{
	uint64_t next = w->previous;

	show(w, addr, false);
	if (w->link || next <= at || next - at > LINK_MAX || next % sizeof(uint64_t))
		return;
	w->link = next;
	w->sure = false;
}

static void scan_words(struct walk *w, uint64_t at, size_t count)
{
	for (size_t i = 0; i < count && w->count < FRAMES_MAX; i++, at += sizeof(uint64_t)) {
		uint64_t word = w->words[i];

		if (w->link && at == w->link + sizeof(uint64_t))
			follow(w, w->previous, word);
		else if (is_code(w, word) && follows_call(w, word))
			guess(w, at, word);
		w->previous = word;
	}
}

/* A page at a time. After an overflow of the stack the lowest ones are not there. */
static void scan(struct walk *w, uint64_t at, uint64_t end)
{
	while (at < end) {
		size_t size = MIN(PAGE_DOWN(at) + PAGE_SIZE, end) - at;

		if (platform->cpu_read(w->t->cpu, w->words, at, size) == (ssize_t)size)
			scan_words(w, at, size / sizeof(uint64_t));
		else
			w->previous = 0;
		at += size;
	}
}

/* The rest of the chain: frames of that size are rare. */
static void climb(struct walk *w)
{
	uint64_t pair[2];

	while (w->link && w->count < FRAMES_MAX) {
		if (platform->cpu_read(w->t->cpu, pair, w->link, sizeof(pair)) != sizeof(pair))
			return;
		follow(w, pair[0], pair[1]);
	}
}

void task_backtrace(struct task *t, int signo)
{
	const struct k_user_regs *regs = platform->cpu_regs(t->cpu);
	uint64_t sp = (regs->rsp + 7) & ~7ull;
	struct walk *w;

	if (likely(!t->strace && !log_enabled(LOG_DEBUG)))
		return;
	w = kalloc(sizeof(*w));
	if (!w)
		return;
	w->t = t;
	log_debug("pid %d (%.16s), thread %d: %s", t->ctx.tgid, t->comm, t->ctx.tid, signal_name(signo));
	show(w, regs->rip, true);
	if (sp >= GUEST_MIN && sp < GUEST_END) {
		if (regs->rbp >= sp && regs->rbp < GUEST_END && regs->rbp % sizeof(uint64_t) == 0)
			w->link = regs->rbp;
		w->sure = w->link;
		scan(w, sp, sp + STACK_SCAN);
		climb(w);
	}
	kfree(w, sizeof(*w));
}
