/* System V IPC: ids, and what bounds the kernel memory of objects. */
#include <string.h>
#include <sys/syscall.h>

#include "sentry/ipc.h"
#include "tests/kernel/kernel.h"
#include "tests/unit/unit.h"

#define DATA (KERNEL_SCRATCH + 0x1000)

static struct cpu *init;

static void setup(void)
{
	init = kernel_boot();
}

static int64_t remove_sem(int64_t id)
{
	return KCALL(init, SYS_semctl, id, 0, IPC_RMID, 0);
}

/* Indices go round a circle of 64, and the sequence number grows where it closes. */
START_TEST(ids)
{
	setup();
	for (int i = 0; i < 64; i++) {
		ck_assert_int_eq(KCALL(init, SYS_semget, IPC_PRIVATE, 1, 0600), i);
		ck_assert_int_eq(remove_sem(i), 0);
	}
	ck_assert_int_eq(KCALL(init, SYS_semget, IPC_PRIVATE, 1, 0600), 1 << 15);
	ck_assert_int_eq(KCALL(init, SYS_semctl, 0, 0, GETVAL, 0), -EINVAL);
	ck_assert_int_eq(KCALL(init, SYS_semctl, 1 << 15, 0, GETVAL, 0), 0);
	ck_assert_int_eq(remove_sem(1 << 15), 0);
	kernel_reset();
}
END_TEST

/* A guest gets so much and no more, and gets it again when it has given it back. */
START_TEST(memory_is_bounded)
{
	int64_t id;
	int count[2];

	setup();
	for (int round = 0; round < 2; round++) {
		count[round] = 0;
		while ((id = KCALL(init, SYS_semget, IPC_PRIVATE, 32000, 0600)) >= 0)
			count[round]++;
		ck_assert_int_eq(id, -ENOMEM);
		kernel_reset();
	}
	ck_assert_int_gt(count[0], 100);
	ck_assert_int_le(count[0], (int)(IPC_MEMORY_MAX / (32000 * 8)));
	ck_assert_int_eq(count[0], count[1]);
}
END_TEST

START_TEST(operations_are_bounded)
{
	char ops[600 * 6];
	int64_t id;

	setup();
	memset(ops, 0, sizeof(ops));
	kernel_poke(init, DATA, ops, sizeof(ops));
	id = KCALL(init, SYS_semget, IPC_PRIVATE, 1, 0600);
	ck_assert_int_ge(id, 0);
	ck_assert_int_eq(KCALL(init, SYS_semop, id, DATA, 500), 0);
	ck_assert_int_eq(KCALL(init, SYS_semop, id, DATA, 501), -E2BIG);
	ck_assert_int_eq(KCALL(init, SYS_semop, id, DATA, 0), -EINVAL);
	ck_assert_int_eq(KCALL(init, SYS_semop, id, 0, 1), -EFAULT);
	kernel_reset();
}
END_TEST

/* A message that was not sent, and one whose receiver faults, is freed. */
START_TEST(messages)
{
	struct {
		int64_t type;
		char text[8];
	} m = {1, "text"};
	int64_t id;

	setup();
	kernel_poke(init, DATA, &m, sizeof(m));
	id = KCALL(init, SYS_msgget, IPC_PRIVATE, 0600);
	ck_assert_int_ge(id, 0);
	ck_assert_int_eq(KCALL(init, SYS_msgsnd, id, DATA, 8, 0), 0);
	ck_assert_int_eq(KCALL(init, SYS_msgsnd, id, DATA, 9000, 0), -EINVAL);
	ck_assert_int_eq(KCALL(init, SYS_msgsnd, id + 1, DATA, 8, 0), -EINVAL);
	ck_assert_int_eq(KCALL(init, SYS_msgrcv, id, 0, 8, 0, 0), -EFAULT);
	ck_assert_int_eq(KCALL(init, SYS_msgrcv, id, DATA, 8, 0, IPC_NOWAIT), -ENOMSG);
	kernel_reset();
}
END_TEST

UNIT_MAIN(ids, memory_is_bounded, operations_are_bounded, messages)
