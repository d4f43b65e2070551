/*
 * The ELF loader. Everything in the file is hostile: each number is checked before it is used, sums are checked for
 * overflow, and addresses go through mm_map(), which refuses what is not the guest's. What Linux refuses is refused
 * with its errno; what it lets through (unsorted or overlapping segments) is let through.
 *
 * Segments are mapped from the file's page cache. Behind the file part of the last page of a writable segment the
 * page is cleared, and the rest of its memory is anonymous, as binfmt_elf does it.
 */
#include "sentry/elf.h"

#include <string.h>
#include <sys/mman.h>

#include "sentry/base/slab.h"

#define INTERP_MAX 4096
#define ALIGN_MAX (1ull << 30) /* nobody means more than that */

/* Exactly size bytes at off, or -EIO, -errno. */
static int elf_read(struct ctx *c, struct file *f, void *dst, size_t size, uint64_t off)
{
	struct iobuf b;
	off_t pos = (off_t)off;
	ssize_t n;

	if (off > INT64_MAX - size)
		return -EIO;
	iobuf_init_kernel(&b, dst, size);
	while (iobuf_left(&b)) {
		n = file_read(c, f, &b, &pos);
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
	}
	return 0;
}

static bool header_valid(const Elf64_Ehdr *h)
{
	return memcmp(h->e_ident, ELFMAG, SELFMAG) == 0 && h->e_machine == EM_X86_64 &&
	       (h->e_type == ET_EXEC || h->e_type == ET_DYN) && h->e_phentsize == sizeof(Elf64_Phdr) &&
	       h->e_phnum >= 1 && h->e_phnum <= 65536 / sizeof(Elf64_Phdr);
}

static int read_interp(struct ctx *c, struct elf_program *p, const Elf64_Phdr *ph)
{
	if (p->interp)
		return 0;
	if (ph->p_filesz > INTERP_MAX || ph->p_filesz < 2)
		return -ENOEXEC;
	p->interp = kalloc(INTERP_MAX);
	if (!p->interp)
		return -ENOMEM;
	if (elf_read(c, p->file, p->interp, ph->p_filesz, ph->p_offset))
		return -EIO;
	return p->interp[ph->p_filesz - 1] ? -ENOEXEC : 0;
}

int elf_open(struct ctx *c, struct file *f, bool is_interp, struct elf_program *p)
{
	size_t size;
	int err;

	memset(p, 0, sizeof(*p));
	p->file = f;
	err = elf_read(c, f, &p->header, sizeof(p->header), 0);
	if (err)
		return err == -EIO && !is_interp ? -ENOEXEC : err;
	if (!header_valid(&p->header))
		return -ENOEXEC;
	size = p->header.e_phnum * sizeof(*p->segments);
	p->segments = kalloc(size);
	if (!p->segments)
		return -ENOMEM;
	err = elf_read(c, f, p->segments, size, p->header.e_phoff);
	if (err)
		return err == -EIO ? -ENOEXEC : err;
	for (size_t i = 0; i < p->header.e_phnum && !err; i++) {
		if (p->segments[i].p_type == PT_INTERP)
			err = read_interp(c, p, &p->segments[i]);
		else if (p->segments[i].p_type == PT_GNU_STACK)
			p->exec_stack = p->segments[i].p_flags & PF_X;
	}
	return err;
}

void elf_close(struct elf_program *p)
{
	kfree(p->segments, p->header.e_phnum * sizeof(*p->segments));
	kfree(p->interp, INTERP_MAX);
	p->segments = NULL;
	p->interp = NULL;
}

struct extent {
	uint64_t start, end; /* page aligned */
	uint64_t align;
};

static bool segment_valid(const Elf64_Phdr *ph)
{
	return ph->p_filesz <= ph->p_memsz && ph->p_memsz <= GUEST_END && ph->p_vaddr <= GUEST_END - ph->p_memsz &&
	       ph->p_offset <= INT64_MAX - GUEST_END &&
	       (ph->p_filesz == 0 || ((ph->p_vaddr ^ ph->p_offset) & ~PAGE_MASK) == 0);
}

/* The range that all segments span together. */
static int find_extent(const struct elf_program *p, struct extent *ret)
{
	struct extent e = {.start = UINT64_MAX, .align = PAGE_SIZE};

	for (size_t i = 0; i < p->header.e_phnum; i++) {
		const Elf64_Phdr *ph = &p->segments[i];

		if (ph->p_type != PT_LOAD)
			continue;
		if (!segment_valid(ph))
			return -EINVAL;
		e.start = MIN(e.start, PAGE_DOWN(ph->p_vaddr));
		e.end = MAX(e.end, PAGE_UP(ph->p_vaddr + ph->p_memsz));
		if (ph->p_align > e.align && ph->p_align <= ALIGN_MAX && (ph->p_align & (ph->p_align - 1)) == 0)
			e.align = ph->p_align;
	}
	*ret = e;
	return e.end <= e.start ? -EINVAL : 0;
}

static int segment_prot(const Elf64_Phdr *ph)
{
	return (ph->p_flags & PF_R ? PROT_READ : 0) | (ph->p_flags & PF_W ? PROT_WRITE : 0) |
	       (ph->p_flags & PF_X ? PROT_EXEC : 0);
}

static int map_fixed(struct ctx *c, struct mm *mm, struct cpu *cpu, uint64_t addr, uint64_t size, int prot,
		     struct file *f, uint64_t off)
{
	int flags = MAP_PRIVATE | MAP_FIXED | (f ? 0 : MAP_ANONYMOUS);
	sysret_t r = mm_map(mm, c, cpu, addr, size, prot, flags, f, off);

	return r < 0 ? (int)r : 0;
}

/* What follows the file part in its last page: dynamic linkers count on zeros up to the page's end. */
static int clear_tail(struct cpu *cpu, uint64_t start, uint64_t end)
{
	static const char zeros[PAGE_SIZE];
	ssize_t n = platform->cpu_write(cpu, start, zeros, end - start);

	return n == (ssize_t)(end - start) ? 0 : -EFAULT;
}

static int map_segment(struct ctx *c, struct mm *mm, struct cpu *cpu, const struct elf_program *p, const Elf64_Phdr *ph,
		       uint64_t bias)
{
	uint64_t addr = bias + ph->p_vaddr;
	uint64_t file_end = addr + ph->p_filesz;
	uint64_t mem_end = addr + ph->p_memsz;
	uint64_t anon = ph->p_filesz ? PAGE_UP(file_end) : PAGE_DOWN(addr);
	int prot = segment_prot(ph);
	int err = 0;

	if (ph->p_filesz)
		err = map_fixed(c, mm, cpu, PAGE_DOWN(addr), PAGE_UP(file_end) - PAGE_DOWN(addr), prot, p->file,
				PAGE_DOWN(ph->p_offset));
	if (!err && ph->p_filesz && ph->p_memsz > ph->p_filesz && (prot & PROT_WRITE) && anon != file_end)
		err = clear_tail(cpu, file_end, anon);
	if (!err && PAGE_UP(mem_end) > anon)
		err = map_fixed(c, mm, cpu, anon, PAGE_UP(mem_end) - anon, prot, NULL, 0);
	return err;
}

/* A free range for a program that may lie anywhere; nothing is left mapped there. */
static int find_room(struct ctx *c, struct mm *mm, struct cpu *cpu, const struct extent *e, uint64_t *ret)
{
	uint64_t size = e->end - e->start + e->align - PAGE_SIZE;
	sysret_t r = mm_map(mm, c, cpu, 0, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, NULL, 0);

	if (r < 0)
		return (int)r;
	*ret = ((uint64_t)r + e->align - 1) & ~(e->align - 1);
	return mm_unmap(mm, cpu, (uint64_t)r, size);
}

static void note_segment(struct elf_place *at, const Elf64_Phdr *ph, const Elf64_Ehdr *h)
{
	uint64_t addr = at->bias + ph->p_vaddr;

	if (h->e_phoff >= ph->p_offset && h->e_phoff - ph->p_offset < ph->p_filesz)
		at->phdr = addr + (h->e_phoff - ph->p_offset);
	if (ph->p_flags & PF_X) {
		at->start_code = MIN(at->start_code, addr);
		at->end_code = MAX(at->end_code, addr + ph->p_filesz);
	}
	at->start_data = MAX(at->start_data, addr);
	at->end_data = MAX(at->end_data, addr + ph->p_filesz);
	at->end_bss = MAX(at->end_bss, addr + ph->p_memsz);
}

int elf_map(struct ctx *c, struct mm *mm, struct cpu *cpu, const struct elf_program *p, uint64_t base,
	    struct elf_place *ret)
{
	struct elf_place at = {.start_code = UINT64_MAX};
	struct extent e;
	int err = find_extent(p, &e);

	if (err)
		return err;
	if (p->header.e_type == ET_DYN) {
		base &= ~(e.align - 1);
		if (base == 0 && (err = find_room(c, mm, cpu, &e, &base)))
			return err;
		if (base > GUEST_END - e.end)
			return -ENOMEM;
		at.bias = base - e.start;
	}
	at.phdr = at.bias;
	for (size_t i = 0; i < p->header.e_phnum; i++) {
		const Elf64_Phdr *ph = &p->segments[i];

		if (ph->p_type != PT_LOAD)
			continue;
		err = map_segment(c, mm, cpu, p, ph, at.bias);
		if (err)
			return err;
		note_segment(&at, ph, &p->header);
	}
	at.entry = at.bias + p->header.e_entry;
	*ret = at;
	return at.entry >= GUEST_END ? -EINVAL : 0;
}
