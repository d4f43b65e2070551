/*
 * The command list of a cpu: host calls that its stub thread makes before it continues. It lies in the thread's control
 * page, which the guest can read but not write, and is filled only while the thread waits in a report.
 *
 * A final list goes out with the resume and costs nothing but its calls; if a call fails, the thread reports instead
 * of resuming, and that becomes a fatal event: the caller has been told that it worked. A list that is not final is run
 * by list_run(), which waits for its result.
 *
 * Files to be mapped are handed over by ADDFD together with the answer, one per list; a second one runs the list first.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/trap/trap.h"
#include "sentry/base/log.h"

#define LIST_NS 60000000000 /* much more than any list takes but those that read or write files */
#define LIST_ERRNO_MAX 133  /* of the host; above it are codes of our own */

struct command {
	int64_t nr;
	uint64_t args[6];
	uint64_t flags;
};
_Static_assert(sizeof(struct command) == CMD_SIZE, "stub.S");
_Static_assert(C_LIST + CMD_MAX * CMD_SIZE <= CTL_PAGE, "the list fits");

void list_reset(struct trap_cpu *c)
{
	c->queued = 0;
	c->queued_lo = ~0ull;
	c->queued_hi = 0;
	c->list_limit = LIST_NS;
	if (c->map_fd >= 0)
		close(c->map_fd);
	c->map_fd = -1;
}

void list_touch(struct trap_cpu *c, uint64_t addr, uint64_t size)
{
	stage_drop(c, addr, size);
	c->queued_lo = MIN(c->queued_lo, addr);
	c->queued_hi = MAX(c->queued_hi, addr + size);
}

void list_add(struct trap_cpu *c, int64_t nr, const uint64_t args[6], uint64_t flags)
{
	struct command *cmd = (struct command *)(cpu_ctl(c) + C_LIST) + c->queued;

	BUG_ON(c->queued >= CMD_MAX);
	c->queued++;
	cmd->nr = nr;
	for (unsigned i = 0; i < 6; i++)
		cmd->args[i] = args[i];
	cmd->flags = flags;
}

/* The descriptor is closed at the end of the list that uses it. */
static int hand_over(const struct trap_cpu *c, int fd, bool send)
{
	struct seccomp_notif_addfd a = {
	    .id = c->notification,
	    .flags = SECCOMP_ADDFD_FLAG_SETFD | (send ? SECCOMP_ADDFD_FLAG_SEND : 0),
	    .srcfd = (uint32_t)fd,
	    .newfd = FD_MAP + c->slot,
	};
	int r;

	do
		r = ioctl(c->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* Hands fd over together with the answer, where the host can: SEND is from Linux 5.14 on, with SETFD too. True: answered. */
static bool send_with(const struct trap_cpu *c, int fd)
{
	int err = hand_over(c, fd, true);
	bool sent = err == 0;

	if (err == -EINVAL)
		err = hand_over(c, fd, false);
	if (err) /* without the descriptor the map fails in the stub, and says so */
		log_debug("no descriptor for a map: %d", err);
	close(fd);
	return sent;
}

bool list_send(struct trap_cpu *c, uint64_t final)
{
	char *ctl = cpu_ctl(c);
	int fd;

	if (c->door && (c->map_fd >= 0 || final == ANSWER_RESUME))
		door_own(c);
	fd = c->map_fd;
	if (fd >= 0)
		list_add(c, SYS_close, (uint64_t[6]){FD_MAP + c->slot}, CMD_MAY_FAIL);
	*(volatile uint64_t *)(ctl + C_COUNT) = c->queued;
	*(volatile uint64_t *)(ctl + C_FINAL) = final;
	/* The queue is empty before the answer: what the stub does next is queued anew, perhaps by the spinner. */
	c->map_fd = -1;
	list_reset(c);
	return (fd >= 0 && send_with(c, fd)) || answer(c, ANSWER_LIST);
}

/* What a list says at its end, which may be what a guest makes of it. */
static int list_error(int64_t result)
{
	if (result >= 0 || result < -4095)
		return 0;
	return result < -LIST_ERRNO_MAX ? -EIO : (int)result;
}

int list_run(struct trap_cpu *c)
{
	struct cpu_event ev;
	enum report r;

	if (c->queued == 0)
		return 0;
	/* First: own_list would have the worker take the report that is to make us the owner for an event. */
	if (c->door)
		door_own(c);
	c->own_list = true;
	c->list_until = now_ns() + c->list_limit;
	r = list_send(c, ANSWER_RESUME) ? wait_report(c, &ev) : REPORTED_LOST;
	c->own_list = false;
	if (r == REPORTED_LIST)
		return list_error(c->list_result);
	aspace_log_lost(c->cpu.aspace, "in its memory work", 0);
	return -ESRCH;
}

/* Makes fd the list's file: 0, or -errno. */
int list_queue_fd(struct trap_cpu *c, int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL), err;

	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (c->map_fd >= 0) {
		if (c->map_dev == st.st_dev && c->map_ino == st.st_ino && c->map_flags == flags)
			return 0;
		err = list_run(c);
		if (err)
			return err;
	}
	c->map_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (c->map_fd < 0)
		return -errno;
	c->map_dev = st.st_dev;
	c->map_ino = st.st_ino;
	c->map_flags = flags;
	return 0;
}
