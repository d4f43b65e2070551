/*
 * The sentry's log: one line a message, to the fd given at start (stderr by default). Messages that a guest can cause are
 * rate-limited by the caller's choice of level: WARN and above are for the person who runs the sandbox.
 */
#pragma once

#include <signal.h>

#include "sentry/base/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* fd stays the caller's. json: one object a line (runsc's --log-format json). */
void log_init(int fd, enum log_level level, bool json);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) __printf(2, 3);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                                                 \
	do {                                                                                                           \
		if (log_enabled(LOG_DEBUG))                                                                            \
			log_write(LOG_DEBUG, __VA_ARGS__);                                                             \
	} while (0)

/*
 * Writes whole lines to fd. What cannot be written is lost; the first time (*said), stderr is told, with what the fd is for. errno stays.
 */
void log_lines(int fd, const char *what, const char *text, size_t size, bool *said);

/* Prints the calling thread's stack to the log, as addresses for addr2line. */
void log_backtrace(void);
/*
 * From here on a fault of our own code is logged with its stack before it ends the process: on this thread, on those that it starts,
 * and in children of fork(). The launcher blocks every signal; a fault that is blocked would end us without a word.
 */
void log_crashes(void);
/* What a thread that wants no signals blocks: all but those. */
void log_thread_mask(sigset_t *ret);
