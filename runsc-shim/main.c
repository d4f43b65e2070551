/*
 * One program with three names: sandbox, runsc and containerd-shim-runsc-v1 (argv[0]). This file finds the front end and the
 * command; each command is a file of its own.
 */
#include <stdio.h>
#include <string.h>

#include "runsc-shim/doctor.h"
#include "runsc-shim/error.h"
#include "runsc-shim/exec.h"
#include "syscalls/dispatch.h"

#ifndef VERSION
#define VERSION "0.1.0"
#endif

static const char sandbox_help[] =
    "Usage: sandbox COMMAND ...\n"
    "\n"
    "  exec [options] [--] PROGRAM [ARGUMENT...]   run a program in a sandbox\n"
    "  doctor                                      what this machine offers, and which defences are active\n"
    "  syscalls                                    the system calls that programs may use inside\n"
    "  --help, --version\n"
    "\n"
    "Start with:  sandbox exec -- sh -c 'id; uname -a; touch /gone; ls -l /gone'\n"
    "More:        sandbox exec --help\n";

static const char runsc_help[] = "Usage: runsc COMMAND ...\n"
				 "\n"
				 "  syscalls      the system calls that programs may use inside a sandbox\n"
				 "  doctor        what this machine offers, and which defences are active\n"
				 "  --help, --version\n";

static void print_syscall(uint32_t nr, const struct syscall_info *info, void *arg __unused)
{
	static const char *const levels[] = {"unknown", "no", "partial", "yes"};

	printf("%4u  %-24s %-8s %s\n", nr, info->name, levels[info->level], info->note);
}

static int syscalls_main(void)
{
	struct syscall_report r;

	printf("%4s  %-24s %-8s %s\n", "nr", "name", "support", "note");
	syscall_list(print_syscall, NULL, &r);
	printf("\n%u complete, %u in part, %u not: those give ENOSYS.\n", r.full, r.partial, r.none);
	return 0;
}

static int usage_error(const char *prog, const char *what)
{
	struct error e;

	error_set(&e, EXIT_SANDBOX, 0, "see --help", "unknown command %s", what);
	error_print(prog, &e);
	return e.status;
}

int main(int argc, char **argv, char **envp)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *prog = slash ? slash + 1 : argc ? argv[0] : "sandbox";
	bool runsc = strcmp(prog, "runsc") == 0;
	const char *command = argc > 1 ? argv[1] : "--help";

	if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0 || strcmp(command, "help") == 0) {
		fputs(runsc ? runsc_help : sandbox_help, argc > 1 ? stdout : stderr);
		return argc > 1 ? 0 : EXIT_SANDBOX;
	}
	if (strcmp(command, "--version") == 0) {
		printf("%s %s\n", prog, VERSION);
		return 0;
	}
	if (!runsc && strcmp(command, "exec") == 0)
		return exec_main(argc - 1, argv + 1, envp);
	if (strcmp(command, "doctor") == 0)
		return doctor_main();
	if (strcmp(command, "syscalls") == 0)
		return syscalls_main();
	return usage_error(prog, command);
}
