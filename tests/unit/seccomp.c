/* platform/seccomp.h: the page for people is that of the table. What the filter does is in isolate.c. */
#include "platform/seccomp.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static char *slurp(FILE *f)
{
	static char text[2][1 << 16];
	static int which;
	char *t = text[which++ & 1];

	t[fread(t, 1, sizeof(text[0]) - 1, f)] = '\0';
	return t;
}

START_TEST(the_page_is_current)
{
	FILE *page = fopen("docs/security.md", "re"), *table = tmpfile();
	int out = dup(1);
	char *shown, *made;

	ck_assert_ptr_nonnull(page);
	fflush(stdout);
	dup2(fileno(table), 1);
	seccomp_print_table();
	fflush(stdout);
	dup2(out, 1);
	rewind(table);
	made = slurp(table);
	shown = strstr(slurp(page), "| call |");
	ck_assert_ptr_nonnull(shown);
	ck_assert_msg(strcmp(shown, made) == 0,
		      "docs/security.md is older than platform/hostcalls.def: make docs/security.md");
	fclose(page);
	fclose(table);
	close(out);
}
END_TEST

UNIT_MAIN(the_page_is_current)
