/* inotify: which events come, in which order, once; what ends a watch. */
#include "tests/unit/ipc.h"

#include <stdio.h>
#include <sys/inotify.h>

static int64_t in;

static void setup(void)
{
	init = kernel_boot();
	in = CALL(inotify_init1, IN_NONBLOCK);
	ck_assert_int_ge(in, 0);
	IS(CALL(mkdir, name_at("/tmp/d"), 0755), 0);
}

/* All events so far as text: "mask:name " each, with the cookie's presence. */
static const char *events(void)
{
	static char text[1024];
	char raw[4096];
	int64_t n = CALL(read, in, OUT, sizeof(raw));
	size_t at = 0;

	text[0] = 0;
	if (n == -EAGAIN)
		return text;
	ck_assert_int_gt(n, 0);
	kernel_peek(init, OUT, raw, (size_t)n);
	for (int64_t i = 0; i < n;) {
		struct inotify_event *e = (struct inotify_event *)(raw + i);

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%x:%s%s ", e->mask, e->len ? e->name : "",
				       e->cookie ? "+" : "");
		i += (int64_t)sizeof(*e) + e->len;
	}
	return text;
}

static int64_t watch(const char *name, uint32_t mask)
{
	return CALL(inotify_add_watch, in, name_at(name), mask);
}

static int64_t rename_to(const char *from, const char *to)
{
	kernel_poke(init, BUF, to, strlen(to) + 1);
	return CALL(rename, name_at(from), BUF);
}

START_TEST(directory)
{
	int64_t f;

	setup();
	IS(watch("/tmp/d", IN_ALL_EVENTS), 1);
	IS(watch("/tmp/d", IN_ALL_EVENTS), 1);
	f = CALL(open, name_at("/tmp/d/f"), O_RDWR | O_CREAT, 0600);
	ck_assert_str_eq(events(), "100:f 20:f ");
	IS(put(f, "abc"), 3);
	IS(put(f, "abc"), 3); /* the same again: one event */
	IS(CALL(close, f), 0);
	ck_assert_str_eq(events(), "2:f 8:f ");
	IS(CALL(chmod, name_at("/tmp/d/f"), 0644), 0);
	ck_assert_str_eq(events(), "4:f ");
	IS(rename_to("/tmp/d/f", "/tmp/d/g"), 0);
	ck_assert_str_eq(events(), "40:f+ 80:g+ ");
	IS(rename_to("/tmp/d/g", "/tmp/g"), 0);
	ck_assert_str_eq(events(), "40:g+ ");
	IS(rename_to("/tmp/g", "/tmp/d/g"), 0);
	ck_assert_str_eq(events(), "80:g+ ");
	IS(CALL(unlink, name_at("/tmp/d/g")), 0);
	ck_assert_str_eq(events(), "200:g ");
	IS(CALL(mkdir, name_at("/tmp/d/sub"), 0755), 0);
	IS(CALL(rmdir, NAME), 0);
	ck_assert_str_eq(events(), "40000100:sub 40000200:sub ");
	IS(CALL(rmdir, name_at("/tmp/d")), 0);
	ck_assert_str_eq(events(), "400: 8000: ");
	IS(CALL(inotify_rm_watch, in, 1), -EINVAL);
}
END_TEST

START_TEST(file)
{
	int64_t f;

	setup();
	f = CALL(open, name_at("/tmp/d/f"), O_RDWR | O_CREAT, 0600);
	IS(watch("/tmp/d/f", IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB), 1);
	IS(put(f, "abc"), 3);
	IS(CALL(ftruncate, f, 1), 0);
	ck_assert_str_eq(events(), "2: ");
	IS(rename_to("/tmp/d/f", "/tmp/d/g"), 0);
	IS(CALL(unlink, name_at("/tmp/d/g")), 0);
	ck_assert_str_eq(events(), "800: 4: "); /* still open: not deleted yet */
	IS(CALL(close, f), 0);
	ck_assert_str_eq(events(), "400: 8000: ");
}
END_TEST

START_TEST(options)
{
	setup();
	IS(watch("/tmp/d", IN_CREATE | IN_ONESHOT), 1);
	IS(CALL(mkdir, name_at("/tmp/d/1"), 0755), 0);
	IS(CALL(mkdir, name_at("/tmp/d/2"), 0755), 0);
	ck_assert_str_eq(events(), "40000100:1 8000: ");
	IS(watch("/tmp/d", IN_CREATE), 2);
	IS(watch("/tmp/d", IN_DELETE | IN_MASK_ADD), 2);
	IS(CALL(mkdir, name_at("/tmp/d/3"), 0755), 0);
	IS(CALL(rmdir, NAME), 0);
	ck_assert_str_eq(events(), "40000100:3 40000200:3 ");
	IS(watch("/tmp/d", IN_DELETE | IN_MASK_CREATE), -EEXIST);
	IS(watch("/tmp/d", IN_DELETE | IN_MASK_CREATE | IN_MASK_ADD), -EINVAL);
	IS(watch("/tmp/d", 0), -EINVAL);
	IS(watch("/tmp/none", IN_CREATE), -ENOENT);
	IS(CALL(inotify_add_watch, CALL(eventfd, 0), NAME, IN_CREATE), -EINVAL);
	IS(CALL(inotify_init1, 1), -EINVAL);
	IS(CALL(inotify_rm_watch, in, 2), 0);
	ck_assert_str_eq(events(), "8000: ");
	IS(watch("/tmp/d", IN_CREATE), 3);
	IS(CALL(mkdir, name_at("/tmp/d/4"), 0755), 0);
	IS(CALL(read, in, OUT, 16), -EINVAL);
	ck_assert_int_eq(bits((int)in, POLLIN), POLLIN);
	IS(CALL(close, in), 0);
	ck_assert_uint_eq(live_in("struct inode_watch"), 0);
	IS(CALL(rmdir, name_at("/tmp/d/4")), 0);
}
END_TEST

START_TEST(overflow)
{
	struct inotify_event e;
	unsigned count = 0;
	int64_t n;

	setup();
	IS(watch("/tmp/d", IN_ATTRIB | IN_OPEN), 1);
	for (int i = 0; i < 10000; i++) {
		int64_t f = CALL(open, name_at("/tmp/d"), O_RDONLY);

		IS(CALL(close, f), 0);
		IS(CALL(chmod, NAME, 0755), 0);
	}
	while ((n = CALL(read, in, OUT, 32)) > 0) {
		kernel_peek(init, OUT, &e, sizeof(e));
		count++;
	}
	IS(n, -EAGAIN);
	ck_assert_uint_ge(count, 8000);
	ck_assert_uint_eq(e.mask, IN_Q_OVERFLOW);
	ck_assert_int_eq(e.wd, -1);
}
END_TEST

UNIT_MAIN(directory, file, options, overflow)
