/*
 * The kinds of system call arguments: what table.def speaks in. Each kind has the C type that a handler gets and, in
 * trace.c, a way to be printed. A kind that begins with O is written by the call, so it is printed after it.
 */
#pragma once

#include "sentry/base/types.h"

/* X(kind, C type, conversion from the register) */
#define ARGKINDS(X)                                                                                                    \
	/* Numbers. */                                                                                                 \
	X(INT, int, NUM)                                                                                               \
	X(UINT, unsigned, NUM)                                                                                         \
	X(HEX, unsigned, NUM)                                                                                          \
	X(LONG, int64_t, NUM)                                                                                          \
	X(ULONG, uint64_t, NUM)                                                                                        \
	X(SIZE, size_t, NUM)                                                                                           \
	X(OFF, int64_t, NUM)                                                                                           \
	X(ADDR, uint64_t, NUM) /* of a mapping; never dereferenced by a handler */                                     \
	X(FD, int, NUM)                                                                                                \
	X(DIRFD, int, NUM)                                                                                             \
	X(PID, int32_t, NUM)                                                                                           \
	X(UID, uint32_t, NUM)                                                                                          \
	X(GID, uint32_t, NUM)                                                                                          \
	X(MODE, uint32_t, NUM)                                                                                         \
	X(DEV, uint32_t, NUM)                                                                                          \
	X(SIG, int, NUM)                                                                                               \
	/* Flags and enumerations. */                                                                                  \
	X(OPENFLAGS, int, NUM)                                                                                         \
	X(FDFLAGS, int, NUM) /* O_CLOEXEC | O_NONBLOCK by their names in timerfd, eventfd... */                        \
	X(ATFLAGS, int, NUM)                                                                                           \
	X(ACCESS, int, NUM)                                                                                            \
	X(WHENCE, int, NUM)                                                                                            \
	X(PROT, int, NUM)                                                                                              \
	X(MMAPFLAGS, int, NUM)                                                                                         \
	X(MREMAPFLAGS, int, NUM)                                                                                       \
	X(MSYNCFLAGS, int, NUM)                                                                                        \
	X(MADVICE, int, NUM)                                                                                           \
	X(FADVICE, int, NUM)                                                                                           \
	X(CLONEFLAGS, uint64_t, NUM)                                                                                   \
	X(WAITOPTS, int, NUM)                                                                                          \
	X(IDTYPE, int, NUM)                                                                                            \
	X(SIGHOW, int, NUM)                                                                                            \
	X(IOCTLCMD, uint32_t, NUM)                                                                                     \
	X(FCNTLCMD, int, NUM)                                                                                          \
	X(FLOCKOP, int, NUM)                                                                                           \
	X(AF, int, NUM)                                                                                                \
	X(SOCKTYPE, int, NUM)                                                                                          \
	X(SOCKLEVEL, int, NUM)                                                                                         \
	X(SOCKOPT, int, NUM)                                                                                           \
	X(MSGFLAGS, int, NUM)                                                                                          \
	X(IPCKEY, int, NUM)                                                                                            \
	X(IPCID, int, NUM)                                                                                             \
	X(IPCFLAGS, int, NUM)                                                                                          \
	X(MSGOPFLAGS, int, NUM)                                                                                        \
	X(SHMATFLAGS, int, NUM)                                                                                        \
	X(SHMCMD, int, NUM)                                                                                            \
	X(SEMCMD, int, NUM)                                                                                            \
	X(MSGCMD, int, NUM)                                                                                            \
	X(EPOLLOP, int, NUM)                                                                                           \
	X(FUTEXOP, int, NUM)                                                                                           \
	X(CLOCKID, int, NUM)                                                                                           \
	X(ITIMER, int, NUM)                                                                                            \
	X(RESOURCE, int, NUM)                                                                                          \
	X(PERSONALITY, unsigned, NUM)                                                                                  \
	X(SCHEDPOLICY, int, NUM)                                                                                       \
	X(PRCTL, int, NUM)                                                                                             \
	X(ARCHCODE, int, NUM)                                                                                          \
	X(MOUNTFLAGS, uint64_t, NUM)                                                                                   \
	X(UMOUNTFLAGS, int, NUM)                                                                                       \
	X(XATTRFLAGS, int, NUM)                                                                                        \
	X(SPLICEFLAGS, unsigned, NUM)                                                                                  \
	X(RENAMEFLAGS, unsigned, NUM)                                                                                  \
	X(GRNDFLAGS, unsigned, NUM)                                                                                    \
	X(MEMFDFLAGS, unsigned, NUM)                                                                                   \
	X(CLOSERANGEFLAGS, unsigned, NUM)                                                                              \
	X(RWFLAGS, int, NUM)                                                                                           \
	/* Guest pointers. */                                                                                          \
	X(PTR, uaddr_t, UADDR)                                                                                         \
	X(PATH, uaddr_t, UADDR)                                                                                        \
	X(STR, uaddr_t, UADDR)                                                                                         \
	X(OSTR, uaddr_t, UADDR) /* the result is the length */                                                         \
	X(IBUF, uaddr_t, UADDR) /* the next argument is the size */                                                    \
	X(OBUF, uaddr_t, UADDR) /* the result is the size */                                                           \
	X(IOVEC, uaddr_t, UADDR)                                                                                       \
	X(OIOVEC, uaddr_t, UADDR)                                                                                      \
	X(STRV, uaddr_t, UADDR)                                                                                        \
	X(ENVV, uaddr_t, UADDR)                                                                                        \
	X(STAT, uaddr_t, UADDR)                                                                                        \
	X(STATX, uaddr_t, UADDR)                                                                                       \
	X(TIMESPEC, uaddr_t, UADDR)                                                                                    \
	X(OTIMESPEC, uaddr_t, UADDR)                                                                                   \
	X(TIMESPEC2, uaddr_t, UADDR)                                                                                   \
	X(TIMEVAL, uaddr_t, UADDR)                                                                                     \
	X(OTIMEVAL, uaddr_t, UADDR)                                                                                    \
	X(ITIMERVAL, uaddr_t, UADDR)                                                                                   \
	X(OITIMERVAL, uaddr_t, UADDR)                                                                                  \
	X(ITIMERSPEC, uaddr_t, UADDR)                                                                                  \
	X(OITIMERSPEC, uaddr_t, UADDR)                                                                                 \
	X(SIGSET, uaddr_t, UADDR)                                                                                      \
	X(OSIGSET, uaddr_t, UADDR)                                                                                     \
	X(SIGACTION, uaddr_t, UADDR)                                                                                   \
	X(OSIGACTION, uaddr_t, UADDR)                                                                                  \
	X(SIGINFO, uaddr_t, UADDR)                                                                                     \
	X(OSIGINFO, uaddr_t, UADDR)                                                                                    \
	X(WSTATUS, uaddr_t, UADDR)                                                                                     \
	X(RUSAGE, uaddr_t, UADDR)                                                                                      \
	X(RLIMIT, uaddr_t, UADDR)                                                                                      \
	X(ORLIMIT, uaddr_t, UADDR)                                                                                     \
	X(UTSNAME, uaddr_t, UADDR)                                                                                     \
	X(FDPAIR, uaddr_t, UADDR)                                                                                      \
	X(POLLFDS, uaddr_t, UADDR)                                                                                     \
	X(EPEVENT, uaddr_t, UADDR)                                                                                     \
	X(OEPEVENTS, uaddr_t, UADDR)                                                                                   \
	X(SOCKADDR, uaddr_t, UADDR)                                                                                    \
	X(OSOCKADDR, uaddr_t, UADDR)                                                                                   \
	X(MSGHDR, uaddr_t, UADDR)                                                                                      \
	X(OMSGHDR, uaddr_t, UADDR)                                                                                     \
	X(SEMOPS, uaddr_t, UADDR) /* the next argument is their number */                                              \
	X(CLONEARGS, uaddr_t, UADDR)                                                                                   \
	X(OPENHOW, uaddr_t, UADDR)

#define ARG_CONVERT_NUM(type, v) ((type)(v))
#define ARG_CONVERT_UADDR(type, v) UADDR(v)

#define ARGKIND_DEFINE(kind, type, conversion)                                                                         \
	typedef type arg_##kind##_t;                                                                                   \
	static inline type arg_##kind(uint64_t v)                                                                      \
	{                                                                                                              \
		return ARG_CONVERT_##conversion(type, v);                                                              \
	}
ARGKINDS(ARGKIND_DEFINE)
#undef ARGKIND_DEFINE

#define ARGKIND_ENUM(kind, type, conversion) ARG_##kind,
enum argkind { ARGKINDS(ARGKIND_ENUM) ARGKIND_COUNT };
#undef ARGKIND_ENUM
