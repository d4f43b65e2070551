/*
 * deny CALL=ERRNO... PROGRAM [ARGUMENT...]: runs PROGRAM where these system calls are refused, as the filters of containers do it.
 * ERRNO is EPERM or ENOSYS.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	int i;

	for (i = 1; i < argc && strchr(argv[i], '='); i++) {
		char *name = strtok(argv[i], "=");
		int err = strcmp(strtok(NULL, "="), "ENOSYS") == 0 ? ENOSYS : EPERM;

		if (seccomp_rule_add(f, SCMP_ACT_ERRNO(err), seccomp_syscall_resolve_name(name), 0)) {
			fprintf(stderr, "deny: %s cannot be refused\n", name);
			return 1;
		}
	}
	if (i == argc || seccomp_load(f)) {
		perror("deny");
		return 1;
	}
	execvp(argv[i], argv + i);
	perror(argv[i]);
	return 1;
}
