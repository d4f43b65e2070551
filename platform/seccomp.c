/*
 * The sentry's own filter, out of hostcalls.def.
 *
 * The table is expanded twice: to rules for libseccomp, and to the rows of docs/security.md (`runsc hostcalls`). A line
 * for one platform is left out on the others. Rules of one call are alternatives; libseccomp sorts them into a tree, so
 * that the order of the table costs nothing.
 *
 * The filter goes to every thread at once (TSYNC), although it is installed while there is one: the standard library of a
 * future caller may have made some.
 */
#include "platform/seccomp.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>

#include "platform/hostopts.h"
#include "platform/platform.h"

/* Younger than the headers. */
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif
#ifndef __SNR_fchmodat2
#define __SNR_fchmodat2 __NR_fchmodat2
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, uint64_t)
#endif

/* What glibc's pthread_create() and musl's ask for. */
#define HOSTCALL_THREAD_FLAGS                                                                                          \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |             \
	 CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)
/* <asm/termbits.h> and <termios.h> exclude each other. */
#define HOSTCALL_TCGETS2 0x802c542aul
#define HOSTCALL_TCSETS2 0x402c542bul

enum line_platform { ALL, TRAP, PTRACE, NAT, HOST };
#define HOSTCALL_STREAM (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
#define HOSTCALL_DGRAM (SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)

#define CONDITIONS_MAX 3

struct line {
	enum line_platform platform;
	int nr;
	const char *name, *rule, *reason;
	int err; /* refused with this; 0: allowed */
	unsigned count;
	struct scmp_arg_cmp conditions[CONDITIONS_MAX];
};

#define ARG(n, op, value)                                                                                              \
	{                                                                                                              \
		n, SCMP_CMP_##op, (uint64_t)(value), 0                                                                 \
	}
#define ARG32(n, value)                                                                                                \
	{                                                                                                              \
		n, SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)(value)                                                   \
	}
#define MASK(n, bits, value)                                                                                           \
	{                                                                                                              \
		n, SCMP_CMP_MASKED_EQ, (uint64_t)(bits), (uint64_t)(value)                                             \
	}
#define HOSTCALL(where, call, text, why, ...)                                                                          \
	{where,                                                                                                        \
	 SCMP_SYS(call),                                                                                               \
	 #call,                                                                                                        \
	 text,                                                                                                         \
	 why,                                                                                                          \
	 0,                                                                                                            \
	 sizeof((struct scmp_arg_cmp[]){__VA_ARGS__}) / sizeof(struct scmp_arg_cmp),                                   \
	 {__VA_ARGS__}},
#define HOSTCALL_ERRNO(where, call, error, why)                                                                        \
	{where, SCMP_SYS(call), #call, "refused with " #error, why, error, 0, {{0}}},

static const struct line lines[] = {
#include "platform/hostcalls.def"
};

static enum seccomp_strictness strictness;
static bool network, host_sockets;

void seccomp_allow_host_sockets(void)
{
	host_sockets = true;
}

void seccomp_set_strictness(enum seccomp_strictness how)
{
	strictness = how;
}

void seccomp_allow_network(void)
{
	network = true;
}

static bool line_applies(const struct line *l)
{
	if (l->platform == ALL)
		return true;
	if (l->platform == NAT)
		return network;
	if (l->platform == HOST)
		return host_sockets;
	return strcmp(platform->name, l->platform == TRAP ? "trap" : "ptrace") == 0;
}

static uint32_t default_action(void)
{
	switch (strictness) {
	case SECCOMP_LOG:
		return SCMP_ACT_LOG;
	case SECCOMP_TRAP:
		return SCMP_ACT_TRAP;
	default:
		return SCMP_ACT_KILL_PROCESS;
	}
}

static int add_lines(scmp_filter_ctx f)
{
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(lines); i++) {
		const struct line *l = &lines[i];
		uint32_t action = l->err ? SCMP_ACT_ERRNO((uint32_t)l->err) : SCMP_ACT_ALLOW;

		if (line_applies(l))
			err = seccomp_rule_add_exact_array(f, action, l->nr, l->count, l->conditions);
	}
	return err;
}

int seccomp_install_sentry(void)
{
	scmp_filter_ctx f = seccomp_init(default_action());
	int err;

	if (!f)
		return -ENOMEM;
	err = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!err)
		err = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!err)
		err = add_lines(f);
	if (!err)
		err = seccomp_load(f);
	seccomp_release(f);
	return err;
}

void seccomp_print_table(void)
{
	static const char *const where[] = {"all", "trap", "ptrace", "--net nat", "--net host"};

	printf("| call | where | arguments | why |\n| --- | --- | --- | --- |\n");
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		printf("| `%s` | %s | %s | %s |\n", lines[i].name, where[lines[i].platform],
		       lines[i].rule[0] ? lines[i].rule : "any", lines[i].reason);
}
