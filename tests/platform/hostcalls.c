/* Prints the table of platform/hostcalls.def as docs/security.md shows it. */
#include "platform/seccomp.h"

int main(void)
{
	seccomp_print_table();
	return 0;
}
