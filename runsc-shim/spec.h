/*
 * What a sandbox is to be made of: filled by a front end from its command line or from an OCI configuration, used by boot.c inside the
 * sentry. Strings are borrowed from the front end (argv), which outlives the sandbox. Fds are opened by the launcher, while it still
 * has the caller's rights and the host's tree; the sentry sees nothing of the host but them.
 */
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <termios.h>

#include "net/nat/dns_exchange.h"
#include "net/nat/rule.h"
#include "runsc-shim/hostnet.h"
#include "sentry/base/types.h"

enum overlay_kind {
	OVERLAY_MEMORY, /* writes go to memory and are dropped at the end */
	OVERLAY_DIR,    /* writes go to a directory and stay there */
	OVERLAY_NONE,   /* the root is read-only */
};

enum mount_kind { MOUNT_BIND, MOUNT_TMPFS };

struct mount_spec {
	enum mount_kind kind;
	const char *dst; /* absolute, in the guest */
	const char *src; /* bind: as the user wrote it, for messages and /proc/mounts */
	int fd;          /* bind: O_PATH fd of the source; -1 for tmpfs */
	bool read_only;
	bool is_dir; /* bind: source is a directory */
};

/* Variables that say who the user is: with --user they are his, unless --env gave them. */
#define USER_ENV_COUNT 3
extern const char *const user_env[USER_ENV_COUNT];

#define MOUNTS_MAX 64

enum net_kind {
	NET_NONE,   /* loopback only */
	NET_NAT,    /* a gateway of our own, whose flows go on by ordinary sockets of the host */
	NET_HOST,   /* the host's sockets */
	NET_TAP,    /* a TAP device of the host */
	NET_DEVICE, /* an interface of the caller's network namespace, which moves inside */
};

/* -p: a port of the host that leads to one of the guest's. */
struct publish_spec {
	const char *text;     /* as the user wrote it */
	struct in6_addr addr; /* IPv4 mapped; ::, unless given: all of both families */
	bool addr_given, udp;
	uint16_t host_port, guest_port;
	int fd; /* bound, and listening if it is TCP; -1: not yet */
};

#define PUBLISH_MAX 64

/* The resolvers of --net nat: --dns's, or those of the host's resolv.conf(5), of which the guest sees the rest. */
struct resolv_spec {
	struct dns_config dns;
	bool given;        /* by --dns */
	char search[1024]; /* "" or names with spaces between */
	char options[256];
	int fd; /* resolv.conf as the guest sees it: a file in memory; -1: not yet */
};

struct net_spec {
	enum net_kind kind;
	struct publish_spec publish[PUBLISH_MAX];
	size_t publish_count;
	char link_name[IFNAMSIZ]; /* NET_TAP, NET_DEVICE: on the host */
	int link_fd;              /* see net/link/hostlink.h; -1: none */
	int keeper_fd;            /* who puts the device's addresses back waits for its end; -1: nobody */
	pid_t keeper;
	struct hostnet *host; /* of the link, or of all interfaces (NET_HOST); NULL */
	struct resolv_spec resolv;
	struct rule *rules; /* --allow-net's; NULL: there is none, and everything is allowed */
	size_t rule_count;
	const char *pcap_path; /* NULL: none */
	int pcap_fd;
};

struct spec {
	const char *program;     /* argv[0] */
	char **argv;             /* NULL-terminated */
	char **envp;             /* NULL-terminated; owned array of borrowed strings */
	unsigned user_env_given; /* those of user_env that are --env's, as bits */
	const char *root;        /* directory on the host, "/" by default */
	int root_fd;             /* O_PATH | O_DIRECTORY */
	enum overlay_kind overlay;
	const char *overlay_path;
	int overlay_fd; /* OVERLAY_DIR: upper directory */
	struct mount_spec mounts[MOUNTS_MAX];
	size_t mount_count;
	struct net_spec net;
	const char *workdir; /* absolute; NULL: / */
	bool workdir_given;  /* by the user: must exist then */
	int cwd_fd;       /* the caller's directory if it lies under /tmp, which the sandbox has its own of; else -1 */
	const char *user; /* "name", "uid", "uid:gid" or NULL: the caller's */
	const char *hostname;
	const char *platform;
	bool strace;
	const char *strace_path, *log_path; /* NULL: stderr */
	int strace_fd, log_fd;              /* -1: stderr */
	bool debug;
	uint64_t timeout_ns;   /* 0: none */
	uint64_t memory_bytes; /* 0: no limit */
	unsigned pids_max;     /* 0: the default */
	enum {
		TTY_AUTO, /* a terminal on a standard stream is the program's */
		TTY_YES,  /* one of the sandbox's own is, copied to and from the standard streams */
		TTY_NO,   /* none */
	} tty;
	const struct termios *modes; /* of the caller's terminal; NULL: there is none */
	int stream_fd[3];            /* standard streams to hand over, the launcher's own duplicates; -1: closed */
	uint64_t sig_ignored, sig_blocked;     /* of the caller, for the program to inherit; bit n-1: signal n */
	struct rlimit64 rlimits[RLIM_NLIMITS]; /* the caller's */
	int nice;
	uint32_t uid, gid, umask;
	uint32_t *groups;
	size_t group_count;
};
