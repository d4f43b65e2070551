/* platform/fake: guest memory with exact protections, forks, and events that a test reports */
#include "platform/fake/fake.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#define AT 0x100000ul
#define RW (PROT_READ | PROT_WRITE)

static unsigned events, starts;
static struct cpu *started;

static enum cpu_action event(struct cpu *cpu, const struct cpu_event *ev)
{
	struct k_user_regs *r = platform->cpu_regs(cpu);

	events++;
	if (ev->kind != CPU_SYSCALL)
		return CPU_RESUME;
	if (r->orig_rax == 60) {
		platform->cpu_put(cpu);
		return CPU_STOP;
	}
	r->rax = r->rdi + r->r9;
	return CPU_RESUME;
}

static void on_start(struct cpu *cpu)
{
	started = cpu;
	starts++;
}

static struct cpu *fresh(void)
{
	static const struct platform_client client = {event};
	struct platform_config config = {.client = &client};
	struct cpu *c;

	platform = &platform_fake;
	ck_assert_int_eq(platform->init(&config), 0);
	ck_assert_int_eq(platform->aspace_create(&c), 0);
	return c;
}

static void done(struct cpu *c)
{
	platform->cpu_put(c);
	ck_assert_uint_eq(fake_cpu_count(), 0);
	ck_assert_uint_eq(fake_aspace_count(), 0);
}

START_TEST(faults_are_exact)
{
	struct cpu *c = fresh();
	char buf[3 * PAGE_SIZE];

	memset(buf, 7, sizeof(buf));
	ck_assert_int_eq(platform->aspace_map(c, AT, 3 * PAGE_SIZE, RW, MAP_PRIVATE, -1, 0), 0);
	ck_assert_int_eq(platform->cpu_write(c, AT, buf, sizeof(buf)), sizeof(buf));
	ck_assert_int_eq(platform->aspace_protect(c, AT + PAGE_SIZE, PAGE_SIZE, PROT_READ), 0);
	ck_assert_int_eq(platform->cpu_write(c, AT + 10, buf, sizeof(buf) - 10), PAGE_SIZE - 10);
	ck_assert_int_eq(platform->cpu_write(c, AT + PAGE_SIZE, buf, 1), -EFAULT);
	ck_assert_int_eq(platform->cpu_read(c, buf, AT + 10, sizeof(buf)), 3 * PAGE_SIZE - 10);
	ck_assert_int_eq(platform->aspace_unmap(c, AT + PAGE_SIZE, PAGE_SIZE), 0);
	ck_assert_int_eq(platform->cpu_read(c, buf, AT, sizeof(buf)), PAGE_SIZE);
	ck_assert_int_eq(platform->cpu_read(c, buf, AT + PAGE_SIZE, 1), -EFAULT);
	ck_assert_int_eq(platform->cpu_read(c, buf, GUEST_END, 1), -EFAULT);
	ck_assert_int_eq(platform->cpu_read(c, buf, UINT64_MAX - 3, 8), -EFAULT);
	ck_assert_int_eq(platform->aspace_protect(c, AT, 3 * PAGE_SIZE, RW), -ENOMEM);
	ck_assert_int_eq(platform->aspace_map(c, GUEST_END - PAGE_SIZE, 2 * PAGE_SIZE, RW, MAP_PRIVATE, -1, 0),
			 -EINVAL);
	done(c);
}
END_TEST

START_TEST(forks_copy_private_and_share_shared)
{
	struct cpu *c = fresh(), *child;
	char x = 1, y = 0;

	ck_assert_int_eq(platform->aspace_map(c, AT, PAGE_SIZE, RW, MAP_PRIVATE, -1, 0), 0);
	ck_assert_int_eq(platform->aspace_map(c, AT + PAGE_SIZE, PAGE_SIZE, RW, MAP_SHARED, -1, 0), 0);
	ck_assert_int_eq(platform->cpu_write(c, AT, &x, 1), 1);
	platform->cpu_regs(c)->r12 = 99;
	ck_assert_int_eq(platform->aspace_fork(c, &child), 0);
	ck_assert(!cpu_same_aspace(c, child));
	ck_assert_uint_eq(platform->cpu_regs(child)->r12, 99);
	x = 2;
	ck_assert_int_eq(platform->cpu_write(c, AT, &x, 1), 1);
	ck_assert_int_eq(platform->cpu_write(c, AT + PAGE_SIZE, &x, 1), 1);
	ck_assert_int_eq(platform->cpu_read(child, &y, AT, 1), 1);
	ck_assert_int_eq(y, 1);
	ck_assert_int_eq(platform->cpu_read(child, &y, AT + PAGE_SIZE, 1), 1);
	ck_assert_int_eq(y, 2);
	platform->cpu_put(c);
	done(child);
}
END_TEST

START_TEST(files)
{
	struct cpu *c = fresh();
	int fd = memfd_create("t", 0);
	char buf[2 * PAGE_SIZE] = "";

	ck_assert_int_eq(ftruncate(fd, PAGE_SIZE), 0);
	ck_assert_int_eq(pwrite(fd, "abc", 3, 0), 3);
	ck_assert_int_eq(platform->aspace_map(c, AT, 2 * PAGE_SIZE, RW, MAP_SHARED, fd, 0), 0);
	ck_assert_int_eq(platform->cpu_write(c, AT, "x", 1), 1);
	ck_assert_int_eq(pread(fd, buf, 3, 0), 3);
	ck_assert_str_eq(buf, "xbc");
	/* Behind the file's end. */
	ck_assert_int_eq(platform->cpu_read(c, buf, AT, sizeof(buf)), PAGE_SIZE);
	ck_assert_int_eq(platform->cpu_read(c, buf, AT + PAGE_SIZE, 1), -EFAULT);
	close(fd);
	done(c);
}
END_TEST

START_TEST(moves)
{
	struct cpu *c = fresh();
	uint64_t to = AT + (1ul << 20);
	unsigned char vec[4] = {0};
	char y = 0;

	ck_assert_int_eq(platform->aspace_map(c, AT, 4 * PAGE_SIZE, RW, MAP_PRIVATE, -1, 0), 0);
	ck_assert_int_eq(platform->cpu_write(c, AT + PAGE_SIZE, "q", 1), 1);
	ck_assert_int_eq(platform->aspace_move(c, AT + PAGE_SIZE, PAGE_SIZE, to, 2 * PAGE_SIZE), 0);
	ck_assert_int_eq(platform->cpu_read(c, &y, to, 1), 1);
	ck_assert_int_eq(y, 'q');
	ck_assert_int_eq(platform->cpu_write(c, to + PAGE_SIZE, "q", 1), 1);
	ck_assert_int_eq(platform->cpu_read(c, &y, AT + PAGE_SIZE, 1), -EFAULT);
	ck_assert_int_eq(platform->aspace_move(c, AT + PAGE_SIZE, PAGE_SIZE, to, PAGE_SIZE), -EFAULT);
	ck_assert_int_eq(platform->aspace_mincore(c, AT + 2 * PAGE_SIZE, 2 * PAGE_SIZE, vec), 0);
	ck_assert_int_eq(vec[0] & 1, 0);
	ck_assert_int_eq(platform->aspace_advise(c, AT, PAGE_SIZE, MADV_DONTNEED), 0);
	done(c);
}
END_TEST

START_TEST(compare_and_swap)
{
	struct cpu *c = fresh();
	uint32_t e = 0;

	ck_assert_int_eq(platform->aspace_map(c, AT, PAGE_SIZE, RW, MAP_PRIVATE, -1, 0), 0);
	ck_assert_int_eq(platform->cpu_cas32(c, AT, &e, 5), 0);
	ck_assert_uint_eq(e, 0);
	ck_assert_int_eq(platform->cpu_cas32(c, AT, &e, 6), 0);
	ck_assert_uint_eq(e, 5);
	ck_assert_int_eq(platform->cpu_cas32(c, AT + PAGE_SIZE, &e, 6), -EFAULT);
	done(c);
}
END_TEST

START_TEST(events_and_ends)
{
	struct cpu *c = fresh(), *other;
	struct fake_result r = fake_syscall(c, 1000, 3, 0, 0, 0, 0, 4);

	ck_assert_int_eq(r.ret, 7);
	ck_assert_int_eq(r.action, CPU_RESUME);
	ck_assert_int_eq(platform->cpu_create(c, &other), 0);
	ck_assert(cpu_same_aspace(c, other));
	fake_on_start(on_start);
	platform->cpu_start(other);
	ck_assert_ptr_eq(started, other);
	ck_assert(!fake_take_kick(other));
	platform->cpu_kick(other);
	ck_assert(fake_take_kick(other));
	ck_assert(!fake_take_kick(other));
	platform->aspace_kill(c);
	ck_assert(fake_killed(other));
	r = fake_syscall(other, 60, 0, 0, 0, 0, 0, 0);
	ck_assert(r.gone && r.action == CPU_STOP);
	ck_assert_uint_eq(fake_cpu_count(), 1);
	ck_assert_uint_eq(events, 2);
	done(c);
}
END_TEST

START_TEST(fp_images_are_checked)
{
	struct cpu *c = fresh();
	size_t size;
	unsigned char image[832];

	memcpy(image, platform->cpu_fpstate(c, &size), sizeof(image));
	ck_assert_uint_eq(size, sizeof(image));
	ck_assert_int_eq(platform->cpu_set_fpstate(c, image, size), 0);
	image[27] = 0xff; /* reserved bits of MXCSR */
	ck_assert_int_eq(platform->cpu_set_fpstate(c, image, size), -EINVAL);
	ck_assert_int_eq(platform->cpu_set_fpstate(c, image, 100), -EINVAL);
	ck_assert_int_eq(platform->cpu_set_fpstate(c, NULL, 0), 0);
	done(c);
}
END_TEST

UNIT_MAIN(faults_are_exact, forks_copy_private_and_share_shared, files, moves, compare_and_swap, events_and_ends,
	  fp_images_are_checked)
