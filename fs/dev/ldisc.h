/*
 * The line discipline of terminals, Linux's n_tty: what typed bytes become before a program reads them, and written bytes before they leave. termios(3).
 *
 * A pure state machine without locks, waits or guest memory: the terminal that owns it holds its lock (L_TTY) around every call and looks at what a call left
 * behind: bytes in `out`, signals in `signals`, packet mode events in `events`.
 */
#pragma once

#include <termios.h>

#include "sentry/base/types.h"

/* The kernel's struct termios2; struct termios is its head without the speeds. */
#define K_NCCS 19
struct k_termios {
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t line;
	uint8_t cc[K_NCCS];
	uint32_t ispeed, ospeed;
};
_Static_assert(sizeof(struct k_termios) == 44, "ABI");
#define K_TERMIOS_SIZE 36

extern const struct k_termios termios_default;

/* A queue of bytes; size is a power of two. */
struct byte_ring {
	uint8_t *data;
	uint32_t size, head, tail; /* head: next to write; free-running */
};

static inline uint32_t ring_used(const struct byte_ring *r)
{
	return r->head - r->tail;
}

static inline uint32_t ring_room(const struct byte_ring *r)
{
	return r->size - ring_used(r);
}

static inline void ring_put(struct byte_ring *r, uint8_t c)
{
	if (ring_room(r))
		r->data[r->head++ & (r->size - 1)] = c;
}

/* Bytes taken. */
size_t ring_read(struct byte_ring *r, void *dst, size_t size);
size_t ring_write(struct byte_ring *r, const void *src, size_t size);

#define LDISC_INPUT 4096u
#define LDISC_OUTPUT 16384u
#define LDISC_ECHO 4096u

struct ldisc {
	struct k_termios tio;
	uint8_t in[LDISC_INPUT];
	uint8_t delim[LDISC_INPUT / 8]; /* a line ends at this byte */
	uint32_t head, tail; /* free-running; [tail, canon) can be read in canonical mode, [tail, head) in raw mode */
	uint32_t canon;
	struct byte_ring out;  /* processed output; made by ldisc_init */
	struct byte_ring echo; /* echoes that wait for room in `out`, or for the end of a stop */
	uint32_t column, canon_column;
	bool lnext, erasing;
	bool stopped;      /* output, by STOP or TCOOFF */
	bool flow_stopped; /* by TCOOFF: typing does not end it */
	uint32_t signals;  /* bit n-1: signal n for the foreground group */
	uint32_t events;   /* TIOCPKT_* */
};

/* -ENOMEM. Buffers are empty, termios is the default. */
int __must_check ldisc_init(struct ldisc *l);
void ldisc_finish(struct ldisc *l);

/* Typed bytes: how many were taken. It stops when the input buffer is full of what nobody reads. */
size_t ldisc_receive(struct ldisc *l, const uint8_t *buf, size_t size);
/* Is there something for a reader? for_poll: VMIN bytes where VTIME is 0. */
bool ldisc_readable(const struct ldisc *l, bool for_poll);
/* Bytes of at most one line (canonical) or all there is (raw). *ret_eof: an end of file was taken, with no byte before it. */
size_t ldisc_read(struct ldisc *l, uint8_t *buf, size_t size, bool *ret_eof);
/* Bytes that FIONREAD tells. */
uint32_t ldisc_count(const struct ldisc *l);
/* A program's output: how many bytes were taken; 0 when it is stopped or there is no room. */
size_t ldisc_write(struct ldisc *l, const uint8_t *buf, size_t size);
/* Moves waiting echoes to `out`. */
void ldisc_flush_echo(struct ldisc *l);
void ldisc_set_termios(struct ldisc *l, const struct k_termios *new);
void ldisc_flush_input(struct ldisc *l);
void ldisc_flush_output(struct ldisc *l);
/* TCOOFF and TCOON. */
void ldisc_stop(struct ldisc *l);
void ldisc_start(struct ldisc *l);
