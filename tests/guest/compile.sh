# gcc and make -j2 on a 40-file project; its result runs.
exec 2>&1
command -v gcc >/dev/null && command -v make >/dev/null || { echo "no gcc or make"; exit 77; }
for i in $(seq 40); do
	cat > f$i.c <<END
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int f$i(int n) { char b[64]; snprintf(b, sizeof(b), "%d", n * $i); return atoi(b) + (int)strlen(b); }
END
done
{ for i in $(seq 40); do echo "int f$i(int);"; done; echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'
  for i in $(seq 40); do echo "s += f$i(7);"; done; echo 'printf("sum %d\n", s); return s % 100; }'; } > main.c
cat > Makefile <<'END'
OBJS = $(patsubst %.c,%.o,$(wildcard *.c))
prog: $(OBJS)
	@gcc -o $@ $(sort $(OBJS)) && echo linked
%.o: %.c
	@gcc -O1 -Wall -c -o $@ $<
clean:
	rm -f *.o prog
END
make -j2 2>&1 | tail -1
./prog; echo "status $?"
make | sed "s/'//g;s/[\`‘’]//g"
touch f7.c; make -j2 | tail -1
echo 'int main(void) { return undefined; }' > bad.c; gcc -c bad.c 2>&1 | grep -c error
gcc -static -o st main.c f*.c && ./st; echo "static $?"
gcc -shared -fPIC -o libf.so f1.c f2.c && gcc -o dyn -x c - -L. -lf -Wl,-rpath,. <<< 'int f1(int); int f2(int); int main(void) { return f1(1) + f2(2); }'; ./dyn; echo "shared $?"
echo 'int x = 1;' | gcc -S -o - -x c - | grep -c globl
make -s clean; ls | wc -l
