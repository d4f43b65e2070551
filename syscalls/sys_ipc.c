/*
 * System V IPC: decoding and copying. The calls are made in sentry/sysvshm.c, sysvsem.c and sysvmsg.c.
 *
 * The commands come without IPC_64, as 64-bit programs give them.
 */
#include "sentry/ipc.h"

#include "sentry/base/clock.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#define OPS_FAST 64

/* A result of r, or of copying out. */
static sysret_t give(struct task *t, sysret_t r, uaddr_t to, const void *what, size_t size)
{
	return r >= 0 && copy_out(&t->ctx, to, what, size) ? -EFAULT : r;
}

/* ---- shared memory ---- */

sysret_t sys_shmget(struct task *t, int key, size_t size, int flags)
{
	return shm_get(t, key, size, flags);
}

sysret_t sys_shmat(struct task *t, int id, uint64_t addr, int flags)
{
	return shm_attach(t, id, addr, flags);
}

sysret_t sys_shmdt(struct task *t, uint64_t addr)
{
	return shm_detach(t, addr);
}

static sysret_t shmctl_stat(struct task *t, int id, int cmd, uaddr_t buf)
{
	struct shmid_ds ds;
	sysret_t r = shm_stat(t->ipc_ns, t->ctx.cred, id, cmd != IPC_STAT, cmd == SHM_STAT_ANY, &ds, NULL);

	if (r >= 0 && cmd == IPC_STAT)
		r = 0;
	return give(t, r, buf, &ds, sizeof(ds));
}

static sysret_t shmctl_set(struct task *t, int id, uaddr_t buf)
{
	struct shmid_ds ds;

	return copy_in(&t->ctx, &ds, buf, sizeof(ds)) ? -EFAULT : shm_set(t, id, &ds.shm_perm);
}

sysret_t sys_shmctl(struct task *t, int id, int cmd, uaddr_t buf)
{
	struct shm_info usage;
	struct shminfo info;
	int r;

	if (cmd < 0 || id < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
		r = shm_info(t->ipc_ns, &info);
		return give(t, r, buf, &info, sizeof(info));
	case SHM_INFO:
		r = shm_usage(t->ipc_ns, &usage);
		return give(t, r, buf, &usage, sizeof(usage));
	case IPC_STAT:
	case SHM_STAT:
	case SHM_STAT_ANY:
		return shmctl_stat(t, id, cmd, buf);
	case IPC_SET:
		return shmctl_set(t, id, buf);
	case IPC_RMID:
		return shm_remove(t, id);
	case SHM_LOCK:
	case SHM_UNLOCK:
		return shm_set_locked(t, id, cmd == SHM_LOCK);
	}
	return -EINVAL;
}

/* ---- semaphores ---- */

sysret_t sys_semget(struct task *t, int key, int count, int flags)
{
	return sem_get(t, key, count, flags);
}

static sysret_t copy_and_do(struct task *t, int id, uaddr_t ops, unsigned count, int64_t deadline)
{
	struct sembuf fast[OPS_FAST];
	struct sembuf *buf = fast;
	sysret_t r;

	if (count > OPS_FAST)
		buf = kalloc(count * sizeof(*buf));
	if (!buf)
		return -ENOMEM;
	if (copy_in(&t->ctx, buf, ops, count * sizeof(*buf)))
		r = -EFAULT;
	else if (id < 0 || deadline < 0)
		r = -EINVAL;
	else
		r = sem_op(t, id, buf, count, deadline);
	if (buf != fast)
		kfree(buf, count * sizeof(*buf));
	return r;
}

/* deadline -1: an invalid time, which is looked at last. */
static sysret_t semop_until(struct task *t, int id, uaddr_t ops, unsigned count, int64_t deadline)
{
	if (count > (unsigned)ipc_limit(&t->ipc_ns->limits.sem[SEM_OPM]))
		return -E2BIG;
	if (count < 1)
		return -EINVAL;
	return count > SEM_OPS_MAX ? -ENOMEM : copy_and_do(t, id, ops, count, deadline);
}

sysret_t sys_semop(struct task *t, int id, uaddr_t ops, unsigned count)
{
	return semop_until(t, id, ops, count, TIME_NEVER);
}

sysret_t sys_semtimedop(struct task *t, int id, uaddr_t ops, unsigned count, uaddr_t timeout)
{
	int64_t deadline = TIME_NEVER;
	struct timespec ts;

	if (timeout.v) {
		if (copy_in(&t->ctx, &ts, timeout, sizeof(ts)))
			return -EFAULT;
		deadline = timespec_valid(&ts) ? deadline_after(clock_now(CLOCK_MONOTONIC), timespec_to_ns(&ts)) : -1;
	}
	return semop_until(t, id, ops, count, deadline);
}

static sysret_t semctl_all(struct task *t, int id, bool set, uaddr_t buf)
{
	sysret_t count = sem_count(t, id, set ? IPC_WRITE : IPC_READ);
	size_t size = count > 0 ? (size_t)count * sizeof(uint16_t) : 0;
	uint16_t *values;
	sysret_t r;

	if (count < 0)
		return count;
	values = kalloc(size);
	if (!values)
		return -ENOMEM;
	if (set)
		r = copy_in(&t->ctx, values, buf, size) ? -EFAULT : sem_set_all(t, id, values, (int)count);
	else
		r = give(t, sem_get_all(t, id, values, (int)count), buf, values, size);
	kfree(values, size);
	return r;
}

static sysret_t semctl_stat(struct task *t, int id, int cmd, uaddr_t buf)
{
	struct semid_ds ds;
	sysret_t r = sem_stat(t->ipc_ns, t->ctx.cred, id, cmd != IPC_STAT, cmd == SEM_STAT_ANY, &ds);

	if (r >= 0 && cmd == IPC_STAT)
		r = 0;
	return give(t, r, buf, &ds, sizeof(ds));
}

static sysret_t semctl_set(struct task *t, int id, uaddr_t buf)
{
	struct semid_ds ds;

	return copy_in(&t->ctx, &ds, buf, sizeof(ds)) ? -EFAULT : sem_set(t, id, &ds.sem_perm);
}

static sysret_t semctl_info(struct task *t, bool usage, uaddr_t buf)
{
	struct seminfo info;
	int r = sem_info(t->ipc_ns, usage, &info);

	return give(t, r, buf, &info, sizeof(info));
}

sysret_t sys_semctl(struct task *t, int id, int number, int cmd, uint64_t arg)
{
	if (id < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
	case SEM_INFO:
		return semctl_info(t, cmd == SEM_INFO, UADDR(arg));
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		return semctl_stat(t, id, cmd, UADDR(arg));
	case GETALL:
	case SETALL:
		return semctl_all(t, id, cmd == SETALL, UADDR(arg));
	case GETVAL:
	case GETPID:
	case GETNCNT:
	case GETZCNT:
		return sem_get_one(t, id, number, cmd);
	case SETVAL:
		return sem_set_value(t, id, number, (int)arg);
	case IPC_SET:
		return semctl_set(t, id, UADDR(arg));
	case IPC_RMID:
		return sem_remove(t, id);
	}
	return -EINVAL;
}

/* ---- message queues ---- */

sysret_t sys_msgget(struct task *t, int key, int flags)
{
	return msg_get(t, key, flags);
}

sysret_t sys_msgsnd(struct task *t, int id, uaddr_t buf, size_t size, int flags)
{
	struct sysv_msg *m;
	int64_t type;
	sysret_t r;

	if (copy_in(&t->ctx, &type, buf, sizeof(type)))
		return -EFAULT;
	if (size > (size_t)ipc_limit(&t->ipc_ns->limits.msgmax) || id < 0 || type < 1)
		return -EINVAL;
	m = msg_alloc(size);
	if (!m)
		return -ENOMEM;
	if (copy_in(&t->ctx, msg_text(m), uaddr_add(buf, sizeof(type)), size))
		r = -EFAULT;
	else
		r = msg_send(t, id, type, &m, flags);
	msg_free(m);
	return r;
}

/* What the caller gets of m: the type, and as much of the text as there is room for. */
static sysret_t give_message(struct task *t, struct sysv_msg *m, uaddr_t buf, size_t max)
{
	int64_t type = msg_type(m);
	size_t size = MIN(msg_size(m), max);

	if (copy_out(&t->ctx, buf, &type, sizeof(type)) ||
	    copy_out(&t->ctx, uaddr_add(buf, sizeof(type)), msg_text(m), size))
		return -EFAULT;
	return (sysret_t)size;
}

sysret_t sys_msgrcv(struct task *t, int id, uaddr_t buf, size_t max, int64_t type, int flags)
{
	struct sysv_msg *m = NULL;
	sysret_t r;

	if (id < 0 || max > INT64_MAX)
		return -EINVAL;
	if (flags & MSG_COPY && (flags & MSG_EXCEPT || !(flags & IPC_NOWAIT)))
		return -EINVAL;
	r = msg_receive(t, id, max, type, flags, &m);
	if (!r)
		r = give_message(t, m, buf, max);
	msg_free(m);
	return r;
}

static sysret_t msgctl_stat(struct task *t, int id, int cmd, uaddr_t buf)
{
	struct msqid_ds ds;
	sysret_t r = msg_stat(t->ipc_ns, t->ctx.cred, id, cmd != IPC_STAT, cmd == MSG_STAT_ANY, &ds);

	if (r >= 0 && cmd == IPC_STAT)
		r = 0;
	return give(t, r, buf, &ds, sizeof(ds));
}

sysret_t sys_msgctl(struct task *t, int id, int cmd, uaddr_t buf)
{
	struct msginfo info;
	struct msqid_ds ds;
	int r;

	if (id < 0 || cmd < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
	case MSG_INFO:
		r = msg_info(t->ipc_ns, cmd == MSG_INFO, &info);
		return give(t, r, buf, &info, sizeof(info));
	case IPC_STAT:
	case MSG_STAT:
	case MSG_STAT_ANY:
		return msgctl_stat(t, id, cmd, buf);
	case IPC_SET:
		return copy_in(&t->ctx, &ds, buf, sizeof(ds)) ? -EFAULT : msg_set(t, id, &ds);
	case IPC_RMID:
		return msg_remove(t, id);
	}
	return -EINVAL;
}
