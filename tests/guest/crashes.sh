# What a shell says of programs that crash.
command -v gcc >/dev/null || { echo "no gcc"; exit 77; }
cat > c.c <<'END'
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static int deep(int n) { volatile char b[4096]; b[0] = n; return deep(n + 1) + b[0]; }
int main(int argc, char **argv)
{
	(void)argc;
	switch (argv[1][0]) {
	case 's': *(volatile int *)0 = 1; break;
	case 'f': { volatile int z = 0; __asm__ volatile("idivl %0" : : "m"(z) : "eax", "edx"); break; }
	case 'i': __builtin_trap();
	case 'b': { int fds[2]; char t[] = "XXXXXX"; fds[0] = mkstemp(t); ftruncate(fds[0], 1); unlink(t);
		char *p = mmap(0, 8192, PROT_READ, MAP_SHARED, fds[0], 0); return p[5000]; }
	case 'o': return deep(0);
	case 'a': abort();
	case 'k': raise(SIGKILL);
	}
	return 0;
}
END
gcc -w -O0 -o c c.c || exit 99
for how in segv fpe ill bus overflow abort kill none; do
	( ulimit -c 0; exec ./c $how ) 2>/dev/null
	echo "$how: $?"
done 2>/dev/null
