/* The names of flags and of values that come from a list: what --strace prints for them. */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/memfd.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <asm/prctl.h>

#include "sentry/ipc.h"
#include "syscalls/trace_impl.h"

#define N(name)                                                                                                        \
	{                                                                                                              \
		(uint64_t)(name), #name                                                                                \
	}
#define END                                                                                                            \
	{                                                                                                              \
		0, NULL                                                                                                \
	}
typedef struct trace_name names[];

static const names open_bits = {
    N(O_CREAT),   N(O_EXCL),  N(O_NOCTTY), N(O_TRUNC),  N(O_APPEND),    N(O_NONBLOCK), {020200000, "O_TMPFILE"},
    N(O_SYNC),    N(O_DSYNC), N(O_ASYNC),  N(O_DIRECT), N(O_DIRECTORY), N(O_NOFOLLOW), N(O_NOATIME),
    N(O_CLOEXEC), N(O_PATH),  END};
static const names fd_bits = {N(O_CLOEXEC), N(O_NONBLOCK), END};
static const names at_bits = {
    N(AT_SYMLINK_NOFOLLOW), {AT_REMOVEDIR, "AT_REMOVEDIR"}, N(AT_SYMLINK_FOLLOW),  N(AT_NO_AUTOMOUNT),
    N(AT_EMPTY_PATH),       N(AT_STATX_FORCE_SYNC),         N(AT_STATX_DONT_SYNC), END};
static const names access_bits = {N(R_OK), N(W_OK), N(X_OK), END};
static const names prot_bits = {N(PROT_READ), N(PROT_WRITE), N(PROT_EXEC), N(PROT_GROWSDOWN), END};
static const names map_bits = {N(MAP_PRIVATE),
			       N(MAP_FIXED),
			       N(MAP_ANONYMOUS),
			       N(MAP_GROWSDOWN),
			       N(MAP_DENYWRITE),
			       N(MAP_LOCKED),
			       N(MAP_NORESERVE),
			       N(MAP_POPULATE),
			       N(MAP_NONBLOCK),
			       N(MAP_STACK),
			       N(MAP_HUGETLB),
			       N(MAP_SYNC),
			       N(MAP_FIXED_NOREPLACE),
			       {MAP_SHARED, "MAP_SHARED"},
			       END};
static const names mremap_bits = {N(MREMAP_MAYMOVE), N(MREMAP_FIXED), N(MREMAP_DONTUNMAP), END};
static const names msync_bits = {N(MS_ASYNC), N(MS_INVALIDATE), N(MS_SYNC), END};
static const names clone_bits = {N(CLONE_VM),
				 N(CLONE_FS),
				 N(CLONE_FILES),
				 N(CLONE_SIGHAND),
				 N(CLONE_PIDFD),
				 N(CLONE_PTRACE),
				 N(CLONE_VFORK),
				 N(CLONE_PARENT),
				 N(CLONE_THREAD),
				 N(CLONE_NEWNS),
				 N(CLONE_SYSVSEM),
				 N(CLONE_SETTLS),
				 N(CLONE_PARENT_SETTID),
				 N(CLONE_CHILD_CLEARTID),
				 N(CLONE_DETACHED),
				 N(CLONE_UNTRACED),
				 N(CLONE_CHILD_SETTID),
				 N(CLONE_NEWCGROUP),
				 N(CLONE_NEWUTS),
				 N(CLONE_NEWIPC),
				 N(CLONE_NEWUSER),
				 N(CLONE_NEWPID),
				 N(CLONE_NEWNET),
				 N(CLONE_IO),
				 N(CLONE_CLEAR_SIGHAND),
				 END};
static const names wait_bits = {N(WNOHANG), N(WUNTRACED),   N(WEXITED), N(WCONTINUED),
				N(WNOWAIT), N(__WNOTHREAD), N(__WALL),  {__WCLONE, "__WCLONE"},
				END};
static const names flock_bits = {N(LOCK_SH), N(LOCK_EX), N(LOCK_UN), N(LOCK_NB), END};
static const names msg_bits = {N(MSG_OOB),      N(MSG_PEEK),     N(MSG_DONTROUTE),    N(MSG_CTRUNC),
			       N(MSG_TRUNC),    N(MSG_DONTWAIT), N(MSG_EOR),          N(MSG_WAITALL),
			       N(MSG_NOSIGNAL), N(MSG_MORE),     N(MSG_CMSG_CLOEXEC), END};
static const names umount_bits = {{1, "MNT_FORCE"}, {2, "MNT_DETACH"}, {4, "MNT_EXPIRE"}, {8, "UMOUNT_NOFOLLOW"}, END};
static const names mount_bits = {{1, "MS_RDONLY"},         {2, "MS_NOSUID"},
				 {4, "MS_NODEV"},          {8, "MS_NOEXEC"},
				 {32, "MS_REMOUNT"},       {1024, "MS_NOATIME"},
				 {4096, "MS_BIND"},        {8192, "MS_MOVE"},
				 {16384, "MS_REC"},        {1 << 18, "MS_PRIVATE"},
				 {1 << 19, "MS_SLAVE"},    {1 << 20, "MS_SHARED"},
				 {1 << 21, "MS_RELATIME"}, END};
static const names splice_bits = {N(SPLICE_F_MOVE), N(SPLICE_F_NONBLOCK), N(SPLICE_F_MORE), N(SPLICE_F_GIFT), END};
static const names ipc_bits = {N(IPC_CREAT), N(IPC_EXCL), N(SHM_HUGETLB), N(SHM_NORESERVE), END};
static const names msgop_bits = {N(IPC_NOWAIT), N(MSG_NOERROR), N(MSG_EXCEPT), {040000, "MSG_COPY"}, END};
static const names shmat_bits = {N(SHM_RDONLY), N(SHM_RND), N(SHM_REMAP), N(SHM_EXEC), END};
static const names shm_cmds = {N(IPC_RMID),   N(IPC_SET),  N(IPC_STAT), N(IPC_INFO),     N(SHM_LOCK),
			       N(SHM_UNLOCK), N(SHM_STAT), N(SHM_INFO), N(SHM_STAT_ANY), END};
static const names sem_cmds = {N(IPC_RMID), N(IPC_SET),  N(IPC_STAT), N(IPC_INFO),     N(GETPID),
			       N(GETVAL),   N(GETALL),   N(GETNCNT),  N(GETZCNT),      N(SETVAL),
			       N(SETALL),   N(SEM_STAT), N(SEM_INFO), N(SEM_STAT_ANY), END};
static const names msg_cmds = {N(IPC_RMID), N(IPC_SET),  N(IPC_STAT),     N(IPC_INFO),
			       N(MSG_STAT), N(MSG_INFO), N(MSG_STAT_ANY), END};
static const names rename_bits = {N(RENAME_NOREPLACE), N(RENAME_EXCHANGE), N(RENAME_WHITEOUT), END};
static const names random_bits = {N(GRND_NONBLOCK), N(GRND_RANDOM), END};
static const names memfd_bits = {N(MFD_CLOEXEC), N(MFD_ALLOW_SEALING), N(MFD_HUGETLB), END};
static const names close_range_bits = {{2, "CLOSE_RANGE_UNSHARE"}, {4, "CLOSE_RANGE_CLOEXEC"}, END};
static const names rw_bits = {{1, "RWF_HIPRI"},  {2, "RWF_DSYNC"},   {4, "RWF_SYNC"},
			      {8, "RWF_NOWAIT"}, {16, "RWF_APPEND"}, END};
static const names xattr_bits = {{1, "XATTR_CREATE"}, {2, "XATTR_REPLACE"}, END};

static const names whences = {N(SEEK_SET), N(SEEK_CUR), N(SEEK_END), N(SEEK_DATA), N(SEEK_HOLE), END};
static const names advices = {N(MADV_NORMAL),         N(MADV_RANDOM),
			      N(MADV_SEQUENTIAL),     N(MADV_WILLNEED),
			      N(MADV_DONTNEED),       N(MADV_FREE),
			      N(MADV_REMOVE),         N(MADV_DONTFORK),
			      N(MADV_DOFORK),         N(MADV_MERGEABLE),
			      N(MADV_UNMERGEABLE),    N(MADV_HUGEPAGE),
			      N(MADV_NOHUGEPAGE),     N(MADV_DONTDUMP),
			      N(MADV_DODUMP),         N(MADV_WIPEONFORK),
			      N(MADV_KEEPONFORK),     N(MADV_COLD),
			      N(MADV_PAGEOUT),        N(MADV_POPULATE_READ),
			      N(MADV_POPULATE_WRITE), END};
static const names fadvices = {N(POSIX_FADV_NORMAL),
			       N(POSIX_FADV_RANDOM),
			       N(POSIX_FADV_SEQUENTIAL),
			       N(POSIX_FADV_WILLNEED),
			       N(POSIX_FADV_DONTNEED),
			       N(POSIX_FADV_NOREUSE),
			       END};
static const names idtypes = {N(P_ALL), N(P_PID), N(P_PGID), {3, "P_PIDFD"}, END};
static const names hows = {N(SIG_BLOCK), N(SIG_UNBLOCK), N(SIG_SETMASK), END};
static const names ioctls = {N(TCGETS),
			     N(TCSETS),
			     N(TCSETSW),
			     N(TCSETSF),
			     N(TIOCGWINSZ),
			     N(TIOCSWINSZ),
			     N(TIOCGPGRP),
			     N(TIOCSPGRP),
			     N(TIOCSCTTY),
			     N(TIOCNOTTY),
			     N(TIOCGPTN),
			     N(TIOCSPTLCK),
			     N(TIOCGSID),
			     N(FIONREAD),
			     N(FIONBIO),
			     N(FIOCLEX),
			     N(FIONCLEX),
			     N(FIOASYNC),
			     {0x40049409, "FICLONE"},
			     {0x80086601, "FS_IOC_GETFLAGS"},
			     END};
static const names fcntls = {N(F_DUPFD),
			     N(F_GETFD),
			     N(F_SETFD),
			     N(F_GETFL),
			     N(F_SETFL),
			     N(F_GETLK),
			     N(F_SETLK),
			     N(F_SETLKW),
			     N(F_SETOWN),
			     N(F_GETOWN),
			     N(F_SETSIG),
			     N(F_GETSIG),
			     N(F_OFD_GETLK),
			     N(F_OFD_SETLK),
			     N(F_OFD_SETLKW),
			     N(F_DUPFD_CLOEXEC),
			     N(F_SETPIPE_SZ),
			     N(F_GETPIPE_SZ),
			     N(F_ADD_SEALS),
			     N(F_GET_SEALS),
			     N(F_SETLEASE),
			     N(F_NOTIFY),
			     END};
static const names families = {N(AF_UNSPEC), N(AF_UNIX), N(AF_INET), N(AF_INET6), N(AF_NETLINK), N(AF_PACKET), END};
static const names sock_types = {N(SOCK_STREAM), N(SOCK_DGRAM), N(SOCK_RAW), N(SOCK_SEQPACKET), END};
static const names sock_levels = {N(SOL_SOCKET), {0, "SOL_IP"}, {6, "SOL_TCP"}, {17, "SOL_UDP"}, {41, "SOL_IPV6"}, END};
static const names sock_opts = {
    N(SO_DEBUG),    N(SO_REUSEADDR), N(SO_TYPE),       N(SO_ERROR),     N(SO_BROADCAST), N(SO_SNDBUF),
    N(SO_RCVBUF),   N(SO_KEEPALIVE), N(SO_LINGER),     N(SO_REUSEPORT), N(SO_PASSCRED),  N(SO_PEERCRED),
    N(SO_RCVTIMEO), N(SO_SNDTIMEO),  N(SO_ACCEPTCONN), N(SO_DOMAIN),    N(SO_PROTOCOL),  END};
static const names epoll_ops = {N(EPOLL_CTL_ADD), N(EPOLL_CTL_DEL), N(EPOLL_CTL_MOD), END};
static const names futex_ops = {N(FUTEX_WAIT),
				N(FUTEX_WAKE),
				N(FUTEX_REQUEUE),
				N(FUTEX_CMP_REQUEUE),
				N(FUTEX_WAKE_OP),
				N(FUTEX_LOCK_PI),
				N(FUTEX_UNLOCK_PI),
				N(FUTEX_TRYLOCK_PI),
				N(FUTEX_WAIT_BITSET),
				N(FUTEX_WAKE_BITSET),
				N(FUTEX_WAIT_REQUEUE_PI),
				N(FUTEX_CMP_REQUEUE_PI),
				N(FUTEX_LOCK_PI2),
				END};
static const names clocks = {N(CLOCK_REALTIME),
			     N(CLOCK_MONOTONIC),
			     N(CLOCK_PROCESS_CPUTIME_ID),
			     N(CLOCK_THREAD_CPUTIME_ID),
			     N(CLOCK_MONOTONIC_RAW),
			     N(CLOCK_REALTIME_COARSE),
			     N(CLOCK_MONOTONIC_COARSE),
			     N(CLOCK_BOOTTIME),
			     N(CLOCK_TAI),
			     END};
static const names itimers = {N(ITIMER_REAL), N(ITIMER_VIRTUAL), N(ITIMER_PROF), END};
static const names resources = {N(RLIMIT_CPU),
				N(RLIMIT_FSIZE),
				N(RLIMIT_DATA),
				N(RLIMIT_STACK),
				N(RLIMIT_CORE),
				N(RLIMIT_RSS),
				N(RLIMIT_NPROC),
				N(RLIMIT_NOFILE),
				N(RLIMIT_MEMLOCK),
				N(RLIMIT_AS),
				N(RLIMIT_LOCKS),
				N(RLIMIT_SIGPENDING),
				N(RLIMIT_MSGQUEUE),
				N(RLIMIT_NICE),
				N(RLIMIT_RTPRIO),
				N(RLIMIT_RTTIME),
				END};
static const names policies = {{0, "SCHED_OTHER"},
			       {1, "SCHED_FIFO"},
			       {2, "SCHED_RR"},
			       {3, "SCHED_BATCH"},
			       {5, "SCHED_IDLE"},
			       {6, "SCHED_DEADLINE"},
			       END};
static const names prctls = {N(PR_SET_PDEATHSIG),
			     N(PR_GET_PDEATHSIG),
			     N(PR_GET_DUMPABLE),
			     N(PR_SET_DUMPABLE),
			     N(PR_GET_KEEPCAPS),
			     N(PR_SET_KEEPCAPS),
			     N(PR_SET_NAME),
			     N(PR_GET_NAME),
			     N(PR_GET_SECCOMP),
			     N(PR_SET_SECCOMP),
			     N(PR_CAPBSET_READ),
			     N(PR_CAPBSET_DROP),
			     N(PR_GET_SECUREBITS),
			     N(PR_SET_SECUREBITS),
			     N(PR_SET_TIMERSLACK),
			     N(PR_GET_TIMERSLACK),
			     N(PR_SET_MM),
			     N(PR_SET_CHILD_SUBREAPER),
			     N(PR_GET_CHILD_SUBREAPER),
			     N(PR_SET_NO_NEW_PRIVS),
			     N(PR_GET_NO_NEW_PRIVS),
			     N(PR_SET_THP_DISABLE),
			     N(PR_GET_THP_DISABLE),
			     N(PR_CAP_AMBIENT),
			     N(PR_SET_VMA),
			     N(PR_SET_PTRACER),
			     END};
static const names arch_codes = {
    N(ARCH_SET_GS), N(ARCH_SET_FS), N(ARCH_GET_FS), N(ARCH_GET_GS), N(ARCH_GET_CPUID), N(ARCH_SET_CPUID), END};

/* How the names of a kind are used. */
struct flag_kind {
	const struct trace_name *names;
	bool bits;           /* any number of them; else exactly one */
	uint64_t other_bits; /* of an enumeration: further bits, which `extra` names */
	const struct trace_name *extra;
	const char *zero;
};

static const names futex_extra = {N(FUTEX_PRIVATE_FLAG), N(FUTEX_CLOCK_REALTIME), END};
static const names sock_extra = {N(SOCK_CLOEXEC), N(SOCK_NONBLOCK), END};

static const struct flag_kind kinds[ARGKIND_COUNT] = {
    [ARG_FDFLAGS] = {fd_bits, true, 0, NULL, NULL},
    [ARG_ATFLAGS] = {at_bits, true, 0, NULL, NULL},
    [ARG_ACCESS] = {access_bits, true, 0, NULL, "F_OK"},
    [ARG_PROT] = {prot_bits, true, 0, NULL, "PROT_NONE"},
    [ARG_MMAPFLAGS] = {map_bits, true, 0, NULL, NULL},
    [ARG_MREMAPFLAGS] = {mremap_bits, true, 0, NULL, NULL},
    [ARG_MSYNCFLAGS] = {msync_bits, true, 0, NULL, NULL},
    [ARG_WAITOPTS] = {wait_bits, true, 0, NULL, NULL},
    [ARG_FLOCKOP] = {flock_bits, true, 0, NULL, NULL},
    [ARG_MSGFLAGS] = {msg_bits, true, 0, NULL, NULL},
    [ARG_UMOUNTFLAGS] = {umount_bits, true, 0, NULL, NULL},
    [ARG_MOUNTFLAGS] = {mount_bits, true, 0, NULL, NULL},
    [ARG_SPLICEFLAGS] = {splice_bits, true, 0, NULL, NULL},
    [ARG_MSGOPFLAGS] = {msgop_bits, true, 0, NULL, NULL},
    [ARG_SHMATFLAGS] = {shmat_bits, true, 0, NULL, NULL},
    [ARG_SHMCMD] = {shm_cmds, false, 0, NULL, NULL},
    [ARG_SEMCMD] = {sem_cmds, false, 0, NULL, NULL},
    [ARG_MSGCMD] = {msg_cmds, false, 0, NULL, NULL},
    [ARG_RENAMEFLAGS] = {rename_bits, true, 0, NULL, NULL},
    [ARG_GRNDFLAGS] = {random_bits, true, 0, NULL, NULL},
    [ARG_MEMFDFLAGS] = {memfd_bits, true, 0, NULL, NULL},
    [ARG_CLOSERANGEFLAGS] = {close_range_bits, true, 0, NULL, NULL},
    [ARG_RWFLAGS] = {rw_bits, true, 0, NULL, NULL},
    [ARG_XATTRFLAGS] = {xattr_bits, true, 0, NULL, NULL},
    [ARG_WHENCE] = {whences, false, 0, NULL, NULL},
    [ARG_MADVICE] = {advices, false, 0, NULL, NULL},
    [ARG_FADVICE] = {fadvices, false, 0, NULL, NULL},
    [ARG_IDTYPE] = {idtypes, false, 0, NULL, NULL},
    [ARG_SIGHOW] = {hows, false, 0, NULL, NULL},
    [ARG_IOCTLCMD] = {ioctls, false, 0, NULL, NULL},
    [ARG_FCNTLCMD] = {fcntls, false, 0, NULL, NULL},
    [ARG_AF] = {families, false, 0, NULL, NULL},
    [ARG_SOCKTYPE] = {sock_types, false, SOCK_CLOEXEC | SOCK_NONBLOCK, sock_extra, NULL},
    [ARG_SOCKLEVEL] = {sock_levels, false, 0, NULL, NULL},
    [ARG_SOCKOPT] = {sock_opts, false, 0, NULL, NULL},
    [ARG_EPOLLOP] = {epoll_ops, false, 0, NULL, NULL},
    [ARG_FUTEXOP] = {futex_ops, false, FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME, futex_extra, NULL},
    [ARG_CLOCKID] = {clocks, false, 0, NULL, NULL},
    [ARG_ITIMER] = {itimers, false, 0, NULL, NULL},
    [ARG_RESOURCE] = {resources, false, 0, NULL, NULL},
    [ARG_SCHEDPOLICY] = {policies, false, 0, NULL, NULL},
    [ARG_PRCTL] = {prctls, false, 0, NULL, NULL},
    [ARG_ARCHCODE] = {arch_codes, false, 0, NULL, NULL},
};

void trace_bits(struct text *x, uint64_t value, const struct trace_name *n, const char *zero)
{
	const char *sep = "";

	if (value == 0) {
		text_add(x, "%s", zero ? zero : "0");
		return;
	}
	for (; n->name; n++) {
		if (!n->value || (value & n->value) != n->value)
			continue;
		text_add(x, "%s%s", sep, n->name);
		value &= ~n->value;
		sep = "|";
	}
	if (value)
		text_add(x, "%s%#lx", sep, (unsigned long)value);
}

static void one_of(struct text *x, uint64_t value, const struct flag_kind *k)
{
	uint64_t rest = value & k->other_bits;
	const struct trace_name *n;

	value &= ~k->other_bits;
	for (n = k->names; n->name && n->value != value; n++)
		;
	if (n->name)
		text_add(x, "%s", n->name);
	else
		text_add(x, "%#lx", (unsigned long)value);
	if (rest) {
		text_add(x, "|");
		trace_bits(x, rest, k->extra, NULL);
	}
}

void trace_open_flags(struct text *x, uint64_t flags)
{
	static const char *const modes[] = {"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"};

	text_add(x, "%s", modes[flags & O_ACCMODE]);
	flags &= ~(uint64_t)(O_ACCMODE | 0100000); /* O_LARGEFILE goes without saying */
	if (flags) {
		text_add(x, "|");
		trace_bits(x, flags, open_bits, NULL);
	}
}

void trace_mode(struct text *x, uint32_t mode)
{
	static const names types = {N(S_IFREG), N(S_IFDIR), N(S_IFLNK),  N(S_IFCHR),
				    N(S_IFBLK), N(S_IFIFO), N(S_IFSOCK), END};

	for (const struct trace_name *n = types; n->name; n++)
		if ((mode & S_IFMT) == n->value)
			text_add(x, "%s|", n->name);
	text_add(x, "0%03o", mode & 07777);
}

void trace_signal_name(struct text *x, int signo)
{
	if (signo >= 32 && signo <= K_NSIG)
		text_add(x, "SIGRT_%d", signo - 32);
	else
		text_add(x, "%s", signo > 0 && signo < 32 ? signal_name(signo) : "0");
}

void trace_sigset(struct text *x, uint64_t set)
{
	const char *sep = "";
	bool inverted = __builtin_popcountll(set) > 32;

	text_add(x, inverted ? "~[" : "[");
	for (int s = 1; s <= K_NSIG; s++) {
		if (!(set >> (s - 1) & 1) != inverted)
			continue;
		if (s < 32)
			text_add(x, "%s%s", sep, signal_name(s) + 3);
		else
			text_add(x, "%sRT_%d", sep, s - 32);
		sep = " ";
	}
	text_add(x, "]");
}

bool trace_flags(struct text *x, enum argkind kind, uint64_t value)
{
	const struct flag_kind *k = &kinds[kind];

	if (kind == ARG_OPENFLAGS) {
		trace_open_flags(x, (uint32_t)value);
		return true;
	}
	if (kind == ARG_CLONEFLAGS) {
		uint64_t flags = value & ~(uint64_t)CSIGNAL;

		trace_bits(x, flags, clone_bits, NULL);
		if (value & CSIGNAL) {
			text_add(x, "|");
			trace_signal_name(x, (int)(value & CSIGNAL));
		}
		return true;
	}
	if (kind == ARG_IPCFLAGS) {
		if (value & ~0777ul) {
			trace_bits(x, (uint32_t)value & ~0777u, ipc_bits, NULL);
			text_add(x, "|");
		}
		text_add(x, "0%03o", (unsigned)value & 0777);
		return true;
	}
	if (!k->names)
		return false;
	if (kind != ARG_MOUNTFLAGS)
		value = (uint32_t)value;
	if (k->bits)
		trace_bits(x, value, k->names, k->zero);
	else
		one_of(x, value, k);
	return true;
}
