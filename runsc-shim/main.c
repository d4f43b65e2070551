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

static int usage_error(const char *prog, const char *what, const char *which)
{
	struct error e;

	error_set(&e, EXIT_SANDBOX, 0, "see --help", "%s '%s'", what, which);
	error_print(prog, &e);
	return e.status;
}

/* What was printed must have arrived. */
static int finish_output(const char *prog, int status)
{
	struct error e;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	error_set(&e, EXIT_SANDBOX, errno, NULL, "cannot write to the standard output");
	error_print(prog, &e);
	return e.status;
}

static bool wants_help(const char *arg)
{
	return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0 || strcmp(arg, "help") == 0;
}

/* The commands without arguments. */
static int simple_command(const char *prog, bool runsc, const char *command, char **args)
{
	bool doctor = strcmp(command, "doctor") == 0;

	if (wants_help(command) || (*args && wants_help(*args))) {
		fputs(runsc ? runsc_help : sandbox_help, stdout);
		return 0;
	}
	if (!doctor && strcmp(command, "syscalls") != 0 && strcmp(command, "--version") != 0)
		return usage_error(prog, "unknown command", command);
	if (*args)
		return usage_error(prog, "too many arguments:", *args);
	if (strcmp(command, "--version") == 0)
		return printf("%s %s\n", prog, VERSION) < 0;
	return doctor ? doctor_main() : syscalls_main();
}

int main(int argc, char **argv, char **envp)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *prog = slash ? slash + 1 : argc ? argv[0] : "sandbox";
	bool runsc = strcmp(prog, "runsc") == 0;
	int status;

	if (argc < 2) {
		fputs(runsc ? runsc_help : sandbox_help, stderr);
		return EXIT_SANDBOX;
	}
	if (!runsc && strcmp(argv[1], "exec") == 0)
		status = exec_main(argc - 1, argv + 1, envp);
	else
		status = simple_command(prog, runsc, argv[1], argv + 2);
	return finish_output(prog, status);
}
