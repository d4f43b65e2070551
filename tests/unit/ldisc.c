/* fs/dev/ldisc.c: what is typed against what is read and what is echoed. The expected bytes are those of Linux's n_tty. */
#include "fs/dev/ldisc.h"

#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include "tests/unit/unit.h"

struct typing {
	uint32_t lflag_on, lflag_off, iflag_on, iflag_off;
	const char *typed;
	const char *read; /* everything that can be read; "|" stands for the end of one read, "$" for an end of file */
	const char *echo; /* NULL: not looked at */
	uint32_t signals;
};

static const struct typing cases[] = {
    {.typed = "ab\n", .read = "ab\n|", .echo = "ab\r\n"},
    {.typed = "ab\r", .read = "ab\n|", .echo = "ab\r\n"},
    {.typed = "ab", .read = "", .echo = "ab"},
    {.typed = "one\ntwo\n", .read = "one\n|two\n|"},
    {.typed = "abc\x7f\x7fX\n", .read = "aX\n|", .echo = "abc\b \b\b \bX\r\n"},
    {.typed = "\x7f"
	      "a\n",
     .read = "a\n|",
     .echo = "a\r\n"},
    {.typed = "foo bar-baz\x17\x17\n", .read = "foo \n|"},
    {.typed = "foo\x15X\n", .read = "X\n|", .echo = "foo\b \b\b \b\b \bX\r\n"},
    {.typed = "foo\x15X\n", .read = "X\n|", .echo = "foo^U\r\nX\r\n", .lflag_off = ECHOKE},
    {.typed = "foo\x15X\n", .read = "X\n|", .echo = "foo^UX\r\n", .lflag_off = ECHOKE | ECHOK},
    {.typed = "ab\x04"
	      "cd\x04\x04",
     .read = "ab|cd|$",
     .echo = "abcd"},
    {.typed = "\x04", .read = "$", .echo = ""},
    {.typed = "a\x16\x03"
	      "b\n",
     .read = "a\x03"
	     "b\n|",
     .echo = "a^\b^Cb\r\n"},
    {.typed = "a\x16\x16\n", .read = "a\x16\n|", .echo = "a^\b^V\r\n"},
    {.typed = "a\tb\x7f\x7f"
	      "c\n",
     .read = "ac\n|",
     .echo = "a\tb\b \b\b\b\b\b\b\b\bc\r\n"},
    {.typed = "a\x01\x7f"
	      "b\n",
     .read = "ab\n|",
     .echo = "a^A\b \b\b \bb\r\n"},
    {.typed = "ab\x12"
	      "c\n",
     .read = "abc\n|",
     .echo = "ab^R\r\nabc\r\n"},
    {.typed = "h\xc3\xa9\x7f\n", .read = "h\n|", .iflag_on = IUTF8, .echo = "h\xc3\xa9\b \b\r\n"},
    {.typed = "h\xc3\xa9\x7f\n", .read = "h\xc3\n|", .echo = NULL},
    {.typed = "abc\x7f\x7f"
	      "d\n",
     .read = "ad\n|",
     .lflag_on = ECHOPRT,
     .echo = "abc\\cb/d\r\n"},
    {.typed = "ab\x7f\n", .read = "a\n|", .lflag_off = ECHOE, .echo = "ab^?\r\n"},
    {.typed = "ab\n", .read = "ab\n|", .lflag_off = ECHO, .echo = ""},
    {.typed = "ab\n", .read = "ab\n|", .lflag_off = ECHO, .lflag_on = ECHONL, .echo = "\r\n"},
    {.typed = "ab\x03"
	      "c\n",
     .read = "c\n|",
     .signals = 1u << (SIGINT - 1),
     .echo = "^Cc\r\n"},
    {.typed = "ab\x03"
	      "c\n",
     .read = "abc\n|",
     .signals = 1u << (SIGINT - 1),
     .lflag_on = NOFLSH},
    {.typed = "\x1a", .read = "", .signals = 1u << (SIGTSTP - 1)},
    {.typed = "\x1c", .read = "", .signals = 1u << (SIGQUIT - 1), .echo = "^\\"},
    {.typed = "a\x03\n", .read = "a\x03\n|", .lflag_off = ISIG},
    {.typed = "ab\r\n", .read = "ab\r\n|", .iflag_off = ICRNL},
    {.typed = "ab\r\n", .read = "ab\n|", .iflag_off = ICRNL, .iflag_on = IGNCR},
    {.typed = "a\nb\r", .read = "a\rb\n|", .iflag_on = INLCR},
    {.typed = "\xe1\n", .read = "a\n|", .iflag_on = ISTRIP},
    {.typed = "AbC\n", .read = "abc\n|", .iflag_on = IUCLC},
    {.typed = "a\x16"
	      "b\x17\n",
     .read = "a\x16"
	     "b\x17\n|",
     .lflag_off = IEXTEN},
    /* Raw: everything at once. */
    {.typed = "ab\x7f\x04\n", .read = "ab\x7f\x04\n|", .lflag_off = ICANON | ECHO, .echo = ""},
    {.typed = "a\r", .read = "a\n|", .lflag_off = ICANON, .echo = "a\r\n"},
    {.typed = "\x03x", .read = "x|", .lflag_off = ICANON, .signals = 1u << (SIGINT - 1)},
    {.typed = "\xffz", .read = "\xff\xffz|", .lflag_off = ICANON, .iflag_on = PARMRK},
    {.typed = "\x11\x13", .read = "\x11\x13|", .lflag_off = ICANON, .iflag_off = IXON},
};

static struct ldisc *fresh(void)
{
	struct ldisc *l = calloc(1, sizeof(*l));

	ck_assert_int_eq(ldisc_init(l), 0);
	return l;
}

static void done(struct ldisc *l)
{
	ldisc_finish(l);
	free(l);
}

static void drain(struct ldisc *l, char *text)
{
	uint8_t buf[256];
	bool eof;

	while (ldisc_readable(l, false)) {
		size_t n = ldisc_read(l, buf, sizeof(buf), &eof);

		memcpy(text, buf, n);
		text += n;
		*text++ = eof ? '$' : '|';
	}
	*text = 0;
}

static void check_typing(const struct typing *t)
{
	struct ldisc *l = fresh();
	struct k_termios tio = termios_default;
	char text[512], echo[512];

	tio.lflag = (tio.lflag | t->lflag_on) & ~t->lflag_off;
	tio.iflag = (tio.iflag | t->iflag_on) & ~t->iflag_off;
	ldisc_set_termios(l, &tio);
	ck_assert_uint_eq(ldisc_receive(l, (const uint8_t *)t->typed, strlen(t->typed)), strlen(t->typed));
	echo[ring_read(&l->out, echo, sizeof(echo) - 1)] = 0;
	drain(l, text);
	ck_assert_msg(strcmp(text, t->read) == 0, "case %zu: read %s", (size_t)(t - cases), text);
	ck_assert_msg(!t->echo || strcmp(echo, t->echo) == 0, "case %zu: echo %s", (size_t)(t - cases), echo);
	ck_assert_uint_eq(l->signals, t->signals);
	done(l);
}

START_TEST(typing)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check_typing(&cases[i]);
}
END_TEST

START_TEST(output_rules)
{
	static const struct {
		uint32_t oflag;
		const char *written, *out;
	} rules[] = {
	    {OPOST | ONLCR, "a\nb", "a\r\nb"},
	    {ONLCR, "a\nb", "a\nb"},
	    {OPOST, "a\n", "a\n"},
	    {OPOST | OCRNL, "a\rb", "a\nb"},
	    {OPOST | ONOCR, "\ra\r", "a\r"},
	    {OPOST | OLCUC, "aB\n", "AB\n"},
	    {OPOST | XTABS, "a\tb\t", "a       b       "},
	    {OPOST | XTABS, "ab\b\tc", "ab\b       c"},
	    {OPOST | XTABS | ONLRET, "ab\n\tc", "ab\n        c"},
	};
	struct ldisc *l = fresh();
	char out[64];

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		l->tio.oflag = rules[i].oflag;
		l->column = 0;
		ck_assert_uint_eq(ldisc_write(l, (const uint8_t *)rules[i].written, strlen(rules[i].written)),
				  strlen(rules[i].written));
		out[ring_read(&l->out, out, sizeof(out) - 1)] = 0;
		ck_assert_str_eq(out, rules[i].out);
	}
	done(l);
}
END_TEST

static size_t type(struct ldisc *l, const char *text)
{
	return ldisc_receive(l, (const uint8_t *)text, strlen(text));
}

START_TEST(flow_control)
{
	struct ldisc *l = fresh();
	char out[64];

	ck_assert_uint_eq(type(l, "\x13"), 1);
	ck_assert(l->stopped);
	ck_assert_uint_eq(ldisc_write(l, (const uint8_t *)"x", 1), 0);
	type(l, "ab");
	ck_assert_uint_eq(ring_used(&l->out), 0);
	type(l, "\x11");
	out[ring_read(&l->out, out, sizeof(out) - 1)] = 0;
	ck_assert_str_eq(out, "ab");
	ck_assert_uint_eq(l->events & (TIOCPKT_START | TIOCPKT_STOP), TIOCPKT_START);
	/* Any key goes on with IXANY, and is itself typed. */
	l->tio.iflag |= IXANY;
	type(l, "\x13"
		"c");
	ck_assert(!l->stopped);
	/* TCOOFF is not ended by typing. */
	ldisc_stop(l);
	type(l, "\x11"
		"d");
	ck_assert(l->stopped);
	ldisc_start(l);
	ck_assert(!l->stopped);
	done(l);
}
END_TEST

START_TEST(a_long_line_keeps_its_end)
{
	struct ldisc *l = fresh();
	uint8_t buf[LDISC_INPUT + 10];
	bool eof;

	l->tio.lflag &= ~(uint32_t)ECHO;
	memset(buf, 'x', sizeof(buf));
	ck_assert_uint_eq(ldisc_receive(l, buf, sizeof(buf)), sizeof(buf));
	ck_assert(!ldisc_readable(l, false));
	type(l, "\n");
	ck_assert_uint_eq(ldisc_read(l, buf, sizeof(buf), &eof), LDISC_INPUT - 1);
	ck_assert_int_eq(buf[LDISC_INPUT - 2], '\n');
	ck_assert(!ldisc_readable(l, false));
	done(l);
}
END_TEST

START_TEST(a_full_buffer_is_not_overwritten)
{
	struct ldisc *l = fresh();
	uint8_t buf[LDISC_INPUT];
	bool eof;

	l->tio.lflag &= ~(uint32_t)(ECHO | ICANON);
	memset(buf, 'x', sizeof(buf));
	ck_assert_uint_eq(ldisc_receive(l, buf, sizeof(buf)), LDISC_INPUT - 1);
	ck_assert_uint_eq(type(l, "y"), 0);
	ck_assert_uint_eq(ldisc_read(l, buf, 100, &eof), 100);
	ck_assert_uint_eq(type(l, "y"), 1);
	ck_assert_uint_eq(ldisc_count(l), LDISC_INPUT - 100);
	done(l);
}
END_TEST

START_TEST(changing_the_mode_keeps_what_was_typed)
{
	struct ldisc *l = fresh();
	struct k_termios raw = termios_default;
	char text[64];

	type(l, "ab");
	ck_assert(!ldisc_readable(l, false));
	raw.lflag &= ~(uint32_t)ICANON;
	ldisc_set_termios(l, &raw);
	ck_assert(ldisc_readable(l, false));
	type(l, "c");
	ldisc_set_termios(l, &termios_default);
	drain(l, text);
	ck_assert_str_eq(text, "abc|");
	done(l);
}
END_TEST

START_TEST(short_reads_of_a_line)
{
	struct ldisc *l = fresh();
	uint8_t buf[8];
	bool eof;

	type(l, "abcd\x04");
	ck_assert_uint_eq(ldisc_count(l), 4);
	ck_assert_uint_eq(ldisc_read(l, buf, 2, &eof), 2);
	ck_assert_uint_eq(ldisc_read(l, buf, 2, &eof), 2);
	/* The end of file that ended the line went with its last byte. */
	ck_assert(!ldisc_readable(l, false));
	done(l);
}
END_TEST

START_TEST(poll_waits_for_vmin)
{
	struct ldisc *l = fresh();

	l->tio.lflag &= ~(uint32_t)ICANON;
	l->tio.cc[VMIN] = 3;
	type(l, "ab");
	ck_assert(ldisc_readable(l, false));
	ck_assert(!ldisc_readable(l, true));
	type(l, "c");
	ck_assert(ldisc_readable(l, true));
	done(l);
}
END_TEST

static int init_once(void *arg)
{
	struct ldisc *l = arg;
	int err = ldisc_init(l);

	if (!err)
		ldisc_finish(l);
	return err;
}

START_TEST(no_memory)
{
	static struct ldisc l;

	unit_each_allocation_fails(init_once, &l);
}
END_TEST

UNIT_MAIN(typing, output_rules, flow_control, a_long_line_keeps_its_end, a_full_buffer_is_not_overwritten,
	  changing_the_mode_keeps_what_was_typed, short_reads_of_a_line, poll_waits_for_vmin, no_memory)
