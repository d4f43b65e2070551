/* ELF programs: reading and checking their headers, mapping their segments. elf(5). */
#pragma once

#include <elf.h>

#include "sentry/mm.h"

struct elf_program {
	struct file *file; /* borrowed */
	Elf64_Ehdr header;
	Elf64_Phdr *segments; /* owned, header.e_phnum of them */
	char *interp;         /* owned; PT_INTERP or NULL */
	bool exec_stack;      /* PT_GNU_STACK asks for it */
};

/* Where a mapped program is. */
struct elf_place {
	uint64_t bias;        /* what was added to its addresses */
	uint64_t entry, phdr; /* phdr: the bias if no segment contains it */
	uint64_t start_code, end_code, start_data, end_data, end_bss;
};

/*
 * Reads and checks f's headers: -ENOEXEC for what is no program of this machine, -EIO (too short for an
 * interpreter), -ENOMEM. Then elf_close(), in
 * every case.
 */
int __must_check elf_open(struct ctx *c, struct file *f, bool is_interp, struct elf_program *ret);
void elf_close(struct elf_program *p);
/*
 * Maps the segments into mm through its stopped cpu: fixed programs at their addresses, others at `base` (page
 * aligned), or, if that is 0, wherever there is room. -errno; mm is then half filled.
 */
int __must_check elf_map(struct ctx *c, struct mm *mm, struct cpu *cpu, const struct elf_program *p, uint64_t base,
			 struct elf_place *ret);
