/*
 * Programs that are broken in every way that the loader looks at: a good one is copied, one field of a header is changed, and the
 * result is executed. What comes of it - an error of execve, a signal, or a program that runs all the same - must be Linux's.
 */
#include "guest.h"

#include <elf.h>
#include <stddef.h>
#include <sys/personality.h>

static char *image;
static size_t image_size;

static void load_self(void)
{
	struct stat st;
	int fd = (int)MUST(open("/proc/self/exe", O_RDONLY));

	MUST(fstat(fd, &st));
	image_size = (size_t)st.st_size;
	image = malloc(image_size);
	must(image && read(fd, image, image_size) == st.st_size, "read the program");
	close(fd);
}

static void write_program(const char *name, const char *data, size_t size)
{
	int fd;

	unlink(name);
	fd = (int)MUST(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0755));
	must(write(fd, data, size) == (ssize_t)size, "write");
	close(fd);
}

/* Executes it and prints the end; the addresses are the same each time. */
static void run(const char *what, const char *name)
{
	int status, p[2], err = 0;
	pid_t pid;

	MUST(pipe2(p, O_CLOEXEC));
	pid = (pid_t)MUST(fork());
	if (pid == 0) {
		char *argv[] = {(char *)name, "good", NULL};

		personality(ADDR_NO_RANDOMIZE);
		execve(name, argv, (char *[]){NULL});
		err = errno;
		if (write(p[1], &err, sizeof(err)) != sizeof(err))
			_exit(98);
		_exit(99);
	}
	close(p[1]);
	if (read(p[0], &err, sizeof(err)) != sizeof(err))
		err = 0;
	close(p[0]);
	waitpid(pid, &status, 0);
	if (err)
		SAY("%s: %s", what, strerrorname_np(err));
	else
		say_status(what, status);
}

static void change(const char *what, size_t offset, size_t size, uint64_t value)
{
	char saved[8];
	char text[100];

	memcpy(saved, image + offset, size);
	memcpy(image + offset, &value, size);
	write_program("prog", image, image_size);
	memcpy(image + offset, saved, size);
	snprintf(text, sizeof(text), "%s = %#lx", what, value);
	run(text, "./prog");
}

#define HEADER(field, value) change(#field, offsetof(Elf64_Ehdr, field), sizeof(((Elf64_Ehdr *)0)->field), value)

static void headers(void)
{
	change("e_ident[0]", 0, 1, 0);
	change("class", EI_CLASS, 1, ELFCLASS32);
	change("data", EI_DATA, 1, ELFDATA2MSB);
	change("version", EI_VERSION, 1, 9);
	HEADER(e_type, ET_REL);
	HEADER(e_type, ET_CORE);
	HEADER(e_machine, EM_AARCH64);
	HEADER(e_machine, EM_386);
	HEADER(e_version, 77);
	HEADER(e_phentsize, 55);
	HEADER(e_phentsize, 0);
	HEADER(e_phnum, 0);
	HEADER(e_phnum, 0xffff);
	HEADER(e_phnum, 1171);
	HEADER(e_phoff, 0);
	HEADER(e_phoff, 1ull << 40);
	HEADER(e_phoff, 1ull << 63);
	HEADER(e_phoff, image_size - 8);
	HEADER(e_entry, 0);
	HEADER(e_entry, 1ull << 47);
	HEADER(e_entry, UINT64_MAX);
	HEADER(e_shoff, UINT64_MAX);
}

static void segment(int n, const char *name, size_t offset, const uint64_t *values, size_t count)
{
	const Elf64_Ehdr *h = (const Elf64_Ehdr *)image;
	char what[64];

	snprintf(what, sizeof(what), "load %d %s", n, name);
	for (size_t i = 0; i < count; i++)
		change(what, h->e_phoff + (size_t)n * sizeof(Elf64_Phdr) + offset, 8, values[i]);
}

static void segments(void)
{
	static const uint64_t addresses[] = {1,          1ull << 47,        (1ull << 47) - 4096,
					     UINT64_MAX, UINT64_MAX - 4095, 1ull << 63};
	static const uint64_t offsets[] = {1, 1ull << 40, UINT64_MAX, UINT64_MAX - 4095, 1ull << 63};
	static const uint64_t sizes[] = {1ull << 47, UINT64_MAX, 1ull << 63};
	static const uint64_t aligns[] = {0, 1, 3, 4096, 1ull << 21}; /* more leads to where only root may map */
	const Elf64_Ehdr *h = (const Elf64_Ehdr *)image;
	const Elf64_Phdr *ph = (const Elf64_Phdr *)(image + h->e_phoff);

	for (int i = 0; i < h->e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD)
			continue;
		segment(i, "vaddr", offsetof(Elf64_Phdr, p_vaddr), addresses, COUNT(addresses));
		segment(i, "offset", offsetof(Elf64_Phdr, p_offset), offsets, COUNT(offsets));
		segment(i, "memsz", offsetof(Elf64_Phdr, p_memsz), sizes, COUNT(sizes));
		segment(i, "filesz", offsetof(Elf64_Phdr, p_filesz), sizes, COUNT(sizes));
		segment(i, "align", offsetof(Elf64_Phdr, p_align), aligns, COUNT(aligns));
		change("load flags", h->e_phoff + (size_t)i * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, p_flags), 4, 0);
	}
}

/* A file that ends somewhere. */
static void cuts(void)
{
	static const size_t sizes[] = {0, 1, 4, 16, 63, 64, 100, 600};
	char what[32];

	for (size_t i = 0; i < COUNT(sizes); i++) {
		write_program("prog", image, sizes[i]);
		snprintf(what, sizeof(what), "%zu bytes", sizes[i]);
		run(what, "./prog");
	}
}

/* A minimal program of our own making with an interpreter. */
struct tiny {
	Elf64_Ehdr h;
	Elf64_Phdr ph[2];
	char interp[64];
};

static void interpreter(const char *what, const char *name, size_t size)
{
	struct tiny t = {
	    .h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		  .e_type = ET_EXEC,
		  .e_machine = EM_X86_64,
		  .e_version = 1,
		  .e_entry = 0x400000,
		  .e_phoff = sizeof(Elf64_Ehdr),
		  .e_ehsize = sizeof(Elf64_Ehdr),
		  .e_phentsize = sizeof(Elf64_Phdr),
		  .e_phnum = 2},
	    .ph = {{.p_type = PT_INTERP, .p_offset = offsetof(struct tiny, interp), .p_filesz = size},
		   {.p_type = PT_LOAD,
		    .p_flags = PF_R | PF_X,
		    .p_vaddr = 0x400000,
		    .p_filesz = sizeof(t),
		    .p_memsz = sizeof(t),
		    .p_align = 4096}},
	};

	memcpy(t.interp, name, strnlen(name, sizeof(t.interp)));
	write_program("prog", (char *)&t, sizeof(t));
	run(what, "./prog");
}

static void interpreters(void)
{
	write_program("text", "text\n", 5);
	MUST(chmod("text", 0755));
	write_program("locked", "text\n", 5);
	MUST(chmod("locked", 0644));
	interpreter("interpreter missing", "/nothing/at/all", 16);
	interpreter("interpreter a directory", "/", 2);
	interpreter("interpreter no program", "./text", 7);
	interpreter("interpreter not executable", "./locked", 9);
	interpreter("interpreter without an end", "./text", 6);
	interpreter("interpreter of no length", "./text", 0);
	interpreter("interpreter of one byte", "", 1);
	interpreter("interpreter too long", "./text", 5000);
	interpreter("interpreter beyond the file", "./text", 4000);
}

static void scripts(void)
{
	char line[600] = "#!";

	write_program("prog", "#!", 2);
	run("script of two bytes", "./prog");
	write_program("prog", "#!\n", 3);
	run("script without a name", "./prog");
	write_program("prog", "#! \t \n", 6);
	run("script of blanks", "./prog");
	write_program("prog", "#!/bin/true", 11);
	run("script without a newline", "./prog");
	write_program("prog", "#!  /bin/false   \n", 18);
	run("script with blanks around", "./prog");
	memset(line + 2, 'a', sizeof(line) - 2);
	write_program("prog", line, sizeof(line));
	run("script with a name too long", "./prog");
	memcpy(line + 2, "/bin/true ", 10);
	write_program("prog", line, sizeof(line));
	run("script with an argument too long", "./prog");
	write_program("prog", "#!./prog\n", 9);
	run("script of itself", "./prog");
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return 7;
	load_self();
	write_program("prog", image, image_size);
	run("unchanged", "./prog");
	headers();
	segments();
	cuts();
	interpreters();
	scripts();
	return 0;
}
