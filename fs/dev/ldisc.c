/*
 * The line discipline: see ldisc.h. Behaves as Linux's drivers/tty/n_tty.c, down to what is erased when a tab or a control character is.
 *
 * Input: one ring of 4,096 bytes. In canonical mode [tail, canon) are finished lines; the byte that ends one is marked in `delim`, and an end of file is
 * a marked NUL that readers do not see. [canon, head) is the line being edited. A line that is too long loses what does not fit but for its end. In raw mode all of [tail, head) can be
 * read.
 *
 * Output: bytes go through the OPOST rules into `out`, which the other side drains. Echoes go through the same rules when they are made, so that the column is right, and
 * wait in a ring of their own while output is stopped or full; what does not fit there is lost.
 *
 * Not done: parity marks (no line can have parity errors), IMAXBEL's bell, EXTPROC's local editing.
 */
#include "fs/dev/ldisc.h"

#include <ctype.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include "sentry/base/slab.h"

#define DISABLED 0 /* _POSIX_VDISABLE */
#define TAB_WIDTH 8u
/* So much output counts as on the other side already, in the buffer of the master's own line discipline: flushing leaves it alone. */
#define OUT_DELIVERED 4096u

const struct k_termios termios_default = {
    .iflag = ICRNL | IXON,
    .oflag = OPOST | ONLCR,
    .cflag = B38400 | CS8 | CREAD,
    .lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
    .cc = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0},
    .ispeed = 38400,
    .ospeed = 38400,
};

/* ---- rings ---- */

size_t ring_read(struct byte_ring *r, void *dst, size_t size)
{
	size_t n = MIN(size, (size_t)ring_used(r));
	size_t at = r->tail & (r->size - 1);
	size_t first = MIN(n, r->size - at);

	memcpy(dst, r->data + at, first);
	memcpy((uint8_t *)dst + first, r->data, n - first);
	r->tail += (uint32_t)n;
	return n;
}

size_t ring_write(struct byte_ring *r, const void *src, size_t size)
{
	size_t n = MIN(size, (size_t)ring_room(r));
	size_t at = r->head & (r->size - 1);
	size_t first = MIN(n, r->size - at);

	memcpy(r->data + at, src, first);
	memcpy(r->data, (const uint8_t *)src + first, n - first);
	r->head += (uint32_t)n;
	return n;
}

int ldisc_init(struct ldisc *l)
{
	l->tio = termios_default;
	l->out = (struct byte_ring){.data = kalloc(LDISC_OUTPUT), .size = LDISC_OUTPUT};
	l->echo = (struct byte_ring){.data = kalloc(LDISC_ECHO), .size = LDISC_ECHO};
	if (l->out.data && l->echo.data)
		return 0;
	ldisc_finish(l);
	return -ENOMEM;
}

void ldisc_finish(struct ldisc *l)
{
	kfree(l->out.data, LDISC_OUTPUT);
	kfree(l->echo.data, LDISC_ECHO);
	l->out.data = l->echo.data = NULL;
}

/* ---- termios ---- */

static bool lflag(const struct ldisc *l, uint32_t f)
{
	return l->tio.lflag & f;
}

static bool iflag(const struct ldisc *l, uint32_t f)
{
	return l->tio.iflag & f;
}

/* Is c the control character of slot? */
static bool is_cc(const struct ldisc *l, uint8_t c, int slot)
{
	return c != DISABLED && l->tio.cc[slot] == c;
}

static bool canonical(const struct ldisc *l)
{
	return lflag(l, ICANON);
}

/* ---- output ---- */

/* Into r by the OPOST rules; false: no room, nothing was done. */
static bool put_processed(struct ldisc *l, struct byte_ring *r, uint8_t c)
{
	uint32_t o = l->tio.oflag;
	uint32_t spaces = TAB_WIDTH - (l->column & (TAB_WIDTH - 1));

	if (ring_room(r) < TAB_WIDTH)
		return false;
	switch (c) {
	case '\n':
		if (o & ONLRET)
			l->column = 0;
		if (o & ONLCR) {
			ring_put(r, '\r');
			l->column = 0;
		}
		l->canon_column = l->column;
		break;
	case '\r':
		if ((o & ONOCR) && l->column == 0)
			return true;
		l->column = l->canon_column = 0;
		if (o & OCRNL) {
			c = '\n';
			if (!(o & ONLRET))
				break;
		}
		break;
	case '\t':
		l->column += spaces;
		if ((o & TABDLY) != XTABS)
			break;
		while (spaces--)
			ring_put(r, ' ');
		return true;
	case '\b':
		l->column -= l->column > 0;
		break;
	default:
		if (iscntrl(c))
			break;
		if (o & OLCUC)
			c = (uint8_t)toupper(c);
		if (!(iflag(l, IUTF8) && (c & 0xc0) == 0x80))
			l->column++;
	}
	ring_put(r, c);
	return true;
}

static bool put_output(struct ldisc *l, struct byte_ring *r, uint8_t c)
{
	if (l->tio.oflag & OPOST)
		return put_processed(l, r, c);
	if (!ring_room(r))
		return false;
	ring_put(r, c);
	return true;
}

size_t ldisc_write(struct ldisc *l, const uint8_t *buf, size_t size)
{
	size_t done = 0;

	ldisc_flush_echo(l);
	if (l->stopped || ring_used(&l->echo))
		return 0;
	if (!(l->tio.oflag & OPOST))
		return ring_write(&l->out, buf, size);
	while (done < size && put_processed(l, &l->out, buf[done]))
		done++;
	return done;
}

void ldisc_flush_echo(struct ldisc *l)
{
	while (!l->stopped && ring_used(&l->echo) && ring_room(&l->out))
		ring_put(&l->out, l->echo.data[l->echo.tail++ & (l->echo.size - 1)]);
}

static void echo_raw(struct ldisc *l, uint8_t c)
{
	put_output(l, &l->echo, c);
}

/* Control characters as ^X. */
static void echo(struct ldisc *l, uint8_t c)
{
	if (lflag(l, ECHOCTL) && iscntrl(c) && c != '\t') {
		echo_raw(l, '^');
		c ^= 0100;
	}
	echo_raw(l, c);
}

static void echo_erase(struct ldisc *l)
{
	echo_raw(l, '\b');
	echo_raw(l, ' ');
	echo_raw(l, '\b');
}

static void finish_erasing(struct ldisc *l)
{
	if (l->erasing)
		echo_raw(l, '/');
	l->erasing = false;
}

/* ---- the input buffer ---- */

static uint8_t *in_at(struct ldisc *l, uint32_t i)
{
	return &l->in[i & (LDISC_INPUT - 1)];
}

static bool delim_at(const struct ldisc *l, uint32_t i)
{
	i &= LDISC_INPUT - 1;
	return l->delim[i / 8] >> (i % 8) & 1;
}

static void delim_set(struct ldisc *l, uint32_t i, bool on)
{
	i &= LDISC_INPUT - 1;
	if (on)
		l->delim[i / 8] |= (uint8_t)(1u << (i % 8));
	else
		l->delim[i / 8] &= (uint8_t) ~(1u << (i % 8));
}

static bool in_full(const struct ldisc *l)
{
	return l->head - l->tail >= LDISC_INPUT - 1;
}

/* The line being edited fills everything: its last byte gives way. */
static void store(struct ldisc *l, uint8_t c, bool delim)
{
	if (in_full(l)) {
		if (l->head == l->canon)
			return;
		l->head--;
	}
	*in_at(l, l->head) = c;
	delim_set(l, l->head, delim);
	l->head++;
}

static void store_data(struct ldisc *l, uint8_t c)
{
	if (iflag(l, PARMRK) && c == 0xff)
		store(l, c, false);
	store(l, c, false);
}

static void end_line(struct ldisc *l, uint8_t c)
{
	store(l, c, true);
	l->canon = l->head;
}

/* ---- erasing ---- */

static bool is_continuation(const struct ldisc *l, uint8_t c)
{
	return iflag(l, IUTF8) && (c & 0xc0) == 0x80;
}

/* How far a tab that has just been removed at the end of the line had moved the cursor. */
static void echo_erase_tab(struct ldisc *l)
{
	uint32_t width = 0;
	bool after_tab = false;

	for (uint32_t i = l->head; i != l->canon && !after_tab; i--) {
		uint8_t c = *in_at(l, i - 1);

		if (c == '\t')
			after_tab = true;
		else if (iscntrl(c))
			width += lflag(l, ECHOCTL) ? 2 : 0;
		else if (!is_continuation(l, c))
			width++;
	}
	if (!after_tab)
		width += l->canon_column;
	for (uint32_t n = TAB_WIDTH - (width & (TAB_WIDTH - 1)); n; n--)
		echo_raw(l, '\b');
}

enum erase_kind { ERASE_CHAR, ERASE_WORD, ERASE_LINE };

/* c: the first byte of what was removed, `count` bytes, which still stand behind head. */
static void echo_removed(struct ldisc *l, enum erase_kind kind, uint8_t c, uint32_t count)
{
	if (lflag(l, ECHOPRT)) {
		if (!l->erasing)
			echo_raw(l, '\\');
		l->erasing = true;
		echo(l, c);
		for (uint32_t i = 1; i < count; i++)
			echo_raw(l, *in_at(l, l->head + i));
	} else if (kind == ERASE_CHAR && !lflag(l, ECHOE)) {
		echo(l, l->tio.cc[VERASE]);
	} else if (c == '\t') {
		echo_erase_tab(l);
	} else {
		if (iscntrl(c) && lflag(l, ECHOCTL))
			echo_erase(l);
		if (!iscntrl(c) || lflag(l, ECHOCTL))
			echo_erase(l);
	}
}

/* The start of the last character of the line, or head: it is only half there. */
static uint32_t last_char(struct ldisc *l)
{
	uint32_t i = l->head;
	uint8_t c;

	do
		c = *in_at(l, --i);
	while (is_continuation(l, c) && i != l->canon);
	return is_continuation(l, c) ? l->head : i;
}

/* True: a line that is killed at once, without erasing it character by character. */
static bool kill_at_once(struct ldisc *l)
{
	if (lflag(l, ECHO) && lflag(l, ECHOK) && lflag(l, ECHOKE) && lflag(l, ECHOE))
		return false;
	l->head = l->canon;
	if (!lflag(l, ECHO))
		return true;
	finish_erasing(l);
	echo(l, l->tio.cc[VKILL]);
	if (lflag(l, ECHOK))
		echo_raw(l, '\n');
	return true;
}

static void erase(struct ldisc *l, enum erase_kind kind)
{
	bool in_word = false;

	if (l->head == l->canon || (kind == ERASE_LINE && kill_at_once(l)))
		return;
	while (l->head != l->canon) {
		uint32_t at = last_char(l), count = l->head - at;
		uint8_t c = *in_at(l, at);

		if (count == 0)
			break;
		if (kind == ERASE_WORD) {
			bool word = isalnum(c) || c == '_';

			if (in_word && !word)
				break;
			in_word |= word;
		}
		l->head = at;
		if (lflag(l, ECHO))
			echo_removed(l, kind, c, count);
		if (kind == ERASE_CHAR)
			break;
	}
	if (l->head == l->canon && lflag(l, ECHO))
		finish_erasing(l);
}

/* ---- what a typed byte does ---- */

void ldisc_flush_input(struct ldisc *l)
{
	l->head = l->tail = l->canon = 0;
	l->lnext = l->erasing = false;
	memset(l->delim, 0, sizeof(l->delim));
	l->events |= TIOCPKT_FLUSHREAD;
}

void ldisc_flush_output(struct ldisc *l)
{
	l->out.head = l->out.tail + MIN(ring_used(&l->out), OUT_DELIVERED);
	l->echo.tail = l->echo.head;
	l->events |= TIOCPKT_FLUSHWRITE;
}

static void set_stopped(struct ldisc *l, bool stopped)
{
	if (l->stopped == stopped)
		return;
	l->stopped = stopped;
	l->events &= ~(uint32_t)(stopped ? TIOCPKT_START : TIOCPKT_STOP);
	l->events |= stopped ? TIOCPKT_STOP : TIOCPKT_START;
	ldisc_flush_echo(l);
}

void ldisc_stop(struct ldisc *l)
{
	l->flow_stopped = true;
	set_stopped(l, true);
}

void ldisc_start(struct ldisc *l)
{
	l->flow_stopped = false;
	set_stopped(l, false);
}

static bool receive_flow(struct ldisc *l, uint8_t c)
{
	if (!iflag(l, IXON) || l->flow_stopped)
		return false;
	if (is_cc(l, c, VSTART) || is_cc(l, c, VSTOP)) {
		set_stopped(l, is_cc(l, c, VSTOP));
		return true;
	}
	if (l->stopped && iflag(l, IXANY))
		set_stopped(l, false);
	return false;
}

static bool receive_signal(struct ldisc *l, uint8_t c)
{
	static const struct {
		int slot, signo;
	} keys[] = {{VINTR, SIGINT}, {VQUIT, SIGQUIT}, {VSUSP, SIGTSTP}};

	for (size_t i = 0; lflag(l, ISIG) && i < ARRAY_SIZE(keys); i++) {
		if (!is_cc(l, c, keys[i].slot))
			continue;
		l->signals |= 1u << (keys[i].signo - 1);
		if (!lflag(l, NOFLSH)) {
			ldisc_flush_output(l);
			ldisc_flush_input(l);
		}
		if (iflag(l, IXON) && !l->flow_stopped)
			set_stopped(l, false);
		if (lflag(l, ECHO))
			echo(l, c);
		return true;
	}
	return false;
}

static void reprint(struct ldisc *l, uint8_t c)
{
	finish_erasing(l);
	echo(l, c);
	echo_raw(l, '\n');
	for (uint32_t i = l->canon; i != l->head; i++)
		echo(l, *in_at(l, i));
}

static bool receive_editing(struct ldisc *l, uint8_t c)
{
	bool ext = lflag(l, IEXTEN);

	if (is_cc(l, c, VERASE) || is_cc(l, c, VKILL) || (is_cc(l, c, VWERASE) && ext)) {
		erase(l, is_cc(l, c, VERASE) ? ERASE_CHAR : is_cc(l, c, VKILL) ? ERASE_LINE : ERASE_WORD);
		return true;
	}
	if (is_cc(l, c, VLNEXT) && ext) {
		l->lnext = true;
		if (lflag(l, ECHO)) {
			finish_erasing(l);
			if (lflag(l, ECHOCTL)) {
				echo_raw(l, '^');
				echo_raw(l, '\b');
			}
		}
		return true;
	}
	if (is_cc(l, c, VREPRINT) && lflag(l, ECHO) && ext) {
		reprint(l, c);
		return true;
	}
	return false;
}

static bool receive_line_end(struct ldisc *l, uint8_t c)
{
	if (c == '\n') {
		if (lflag(l, ECHO) || lflag(l, ECHONL))
			echo_raw(l, '\n');
		end_line(l, c);
		return true;
	}
	if (is_cc(l, c, VEOF)) {
		end_line(l, DISABLED);
		return true;
	}
	if (is_cc(l, c, VEOL) || (is_cc(l, c, VEOL2) && lflag(l, IEXTEN))) {
		if (lflag(l, ECHO)) {
			if (l->head == l->canon)
				l->canon_column = l->column;
			echo(l, c);
		}
		if (iflag(l, PARMRK) && c == 0xff)
			store(l, c, false);
		end_line(l, c);
		return true;
	}
	return false;
}

static void receive_data(struct ldisc *l, uint8_t c)
{
	if (lflag(l, ECHO)) {
		finish_erasing(l);
		if (c == '\n') {
			echo_raw(l, c);
		} else {
			if (l->head == l->canon)
				l->canon_column = l->column;
			echo(l, c);
		}
	}
	store_data(l, c);
}

static void receive_one(struct ldisc *l, uint8_t c)
{
	if (iflag(l, ISTRIP))
		c &= 0x7f;
	if (iflag(l, IUCLC) && lflag(l, IEXTEN))
		c = (uint8_t)tolower(c);
	if (l->lnext) {
		l->lnext = false;
		receive_data(l, c);
		return;
	}
	if (receive_flow(l, c) || receive_signal(l, c))
		return;
	if (c == '\r') {
		if (iflag(l, IGNCR))
			return;
		if (iflag(l, ICRNL))
			c = '\n';
	} else if (c == '\n' && iflag(l, INLCR)) {
		c = '\r';
	}
	if (canonical(l) && (receive_editing(l, c) || receive_line_end(l, c)))
		return;
	receive_data(l, c);
}

size_t ldisc_receive(struct ldisc *l, const uint8_t *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		if (in_full(l) && !(canonical(l) && l->canon == l->tail))
			break;
		receive_one(l, buf[done++]);
	}
	ldisc_flush_echo(l);
	return done;
}

/* ---- reading ---- */

bool ldisc_readable(const struct ldisc *l, bool for_poll)
{
	uint32_t min = l->tio.cc[VMIN];

	if (canonical(l))
		return l->canon != l->tail;
	if (!for_poll || l->tio.cc[VTIME] || !min)
		min = 1;
	return l->head - l->tail >= min;
}

static bool eof_at(struct ldisc *l, uint32_t i)
{
	return delim_at(l, i) && *in_at(l, i) == DISABLED;
}

static size_t read_line(struct ldisc *l, uint8_t *buf, size_t size, bool *ret_eof)
{
	size_t n = 0;

	while (l->tail != l->canon) {
		bool end = delim_at(l, l->tail);

		if (end && *in_at(l, l->tail) == DISABLED) {
			l->tail++;
			*ret_eof = n == 0;
			return n;
		}
		if (n == size)
			return n;
		buf[n++] = *in_at(l, l->tail++);
		if (end)
			return n;
	}
	return n;
}

size_t ldisc_read(struct ldisc *l, uint8_t *buf, size_t size, bool *ret_eof)
{
	size_t n = 0;

	*ret_eof = false;
	if (canonical(l))
		return read_line(l, buf, size, ret_eof);
	while (n < size && l->tail != l->head)
		buf[n++] = *in_at(l, l->tail++);
	if ((int32_t)(l->canon - l->tail) < 0)
		l->canon = l->tail;
	return n;
}

uint32_t ldisc_count(const struct ldisc *l)
{
	uint32_t n;

	if (!canonical(l))
		return l->head - l->tail;
	n = l->canon - l->tail;
	for (uint32_t i = l->tail; i != l->canon; i++)
		n -= eof_at((struct ldisc *)l, i);
	return n;
}

/* What was typed in one mode can be read in the other: a half line becomes a line. */
static void switch_mode(struct ldisc *l)
{
	memset(l->delim, 0, sizeof(l->delim));
	if (l->head != l->tail)
		delim_set(l, l->head - 1, true);
	l->canon = l->head;
	l->erasing = l->lnext = false;
}

static bool xon_keys(const struct k_termios *t)
{
	return (t->iflag & IXON) && t->cc[VSTOP] == 19 && t->cc[VSTART] == 17;
}

void ldisc_set_termios(struct ldisc *l, const struct k_termios *new)
{
	bool mode_changes = (l->tio.lflag ^ new->lflag) & ICANON;
	bool was = xon_keys(&l->tio), is = xon_keys(new);

	l->tio = *new;
	if (mode_changes)
		switch_mode(l);
	if (was != is) {
		l->events &= ~(uint32_t)(TIOCPKT_DOSTOP | TIOCPKT_NOSTOP);
		l->events |= is ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP;
	}
	if (!iflag(l, IXON) && l->stopped && !l->flow_stopped)
		set_stopped(l, false);
}
