/* sentry/base/iobuf.c and the copies of sentry/base/ctx.c */
#include "sentry/base/iobuf.h"

#include <limits.h>
#include <string.h>
#include <sys/uio.h>

#include "tests/unit/unit.h"

START_TEST(kernel_put_get)
{
	char mem[8] = "";
	struct iobuf b;
	char out[8] = "";

	iobuf_init_kernel(&b, mem, sizeof(mem));
	ck_assert_int_eq(iobuf_put(&b, "abc", 3), 3);
	ck_assert_int_eq(iobuf_put(&b, "defghijk", 8), 5);
	ck_assert_int_eq(iobuf_put(&b, "x", 1), 0);
	ck_assert_mem_eq(mem, "abcdefgh", 8);
	iobuf_init_kernel(&b, mem, sizeof(mem));
	ck_assert_int_eq(iobuf_get(&b, out, 3), 3);
	ck_assert_str_eq(out, "abc");
	ck_assert_uint_eq(iobuf_left(&b), 5);
}
END_TEST

START_TEST(segments)
{
	char a[3], b[1], d[5];
	struct iobuf_seg segs[] = {
	    {(uint64_t)a, sizeof(a)}, {(uint64_t)b, 0}, {(uint64_t)b, sizeof(b)}, {(uint64_t)d, sizeof(d)}};
	struct ctx c;
	struct iobuf buf;
	char out[9];

	unit_ctx_init(&c);
	iobuf_init_segs(&buf, &c, segs, ARRAY_SIZE(segs));
	ck_assert_uint_eq(iobuf_left(&buf), 9);
	ck_assert_int_eq(iobuf_put(&buf, "01", 2), 2);
	ck_assert_int_eq(iobuf_put(&buf, "2345678", 7), 7);
	ck_assert_mem_eq(a, "012", 3);
	ck_assert_mem_eq(b, "3", 1);
	ck_assert_mem_eq(d, "45678", 5);
	iobuf_init_segs(&buf, &c, segs, ARRAY_SIZE(segs));
	ck_assert_int_eq(iobuf_get(&buf, out, sizeof(out)), 9);
	ck_assert_mem_eq(out, "012345678", 9);
}
END_TEST

START_TEST(fault_in_the_middle)
{
	char *bad = unit_guard_page();
	struct iobuf b;
	struct ctx c;

	unit_ctx_init(&c);
	iobuf_init_user(&b, &c, UADDR(bad - 4), 10);
	ck_assert_int_eq(iobuf_put(&b, "0123456789", 10), 4);
	ck_assert_mem_eq(bad - 4, "0123", 4);
	ck_assert_int_eq(iobuf_put(&b, "456", 3), -EFAULT);
	iobuf_init_user(&b, &c, UADDR(bad), 1);
	ck_assert_int_eq(iobuf_put(&b, "x", 1), -EFAULT);
	ck_assert_int_eq(iobuf_left(&b), 1);
}
END_TEST

START_TEST(revert_and_truncate)
{
	char mem[10] = "0123456789";
	struct iobuf b, before;
	char out[10];

	iobuf_init_kernel(&b, mem, sizeof(mem));
	iobuf_truncate(&b, 6);
	iobuf_truncate(&b, 9);
	ck_assert_uint_eq(iobuf_left(&b), 6);
	before = b;
	ck_assert_int_eq(iobuf_get(&b, out, 4), 4);
	iobuf_revert(&b, &before);
	ck_assert_int_eq(iobuf_get(&b, out, 10), 6);
	ck_assert_mem_eq(out, "012345", 6);
}
END_TEST

START_TEST(put_zero)
{
	static char mem[3 * PAGE_SIZE];
	struct iobuf b;

	memset(mem, 1, sizeof(mem));
	iobuf_init_kernel(&b, mem, sizeof(mem) - 1);
	ck_assert_int_eq(iobuf_put_zero(&b, sizeof(mem)), sizeof(mem) - 1);
	ck_assert_int_eq(mem[0] | mem[sizeof(mem) / 2] | mem[sizeof(mem) - 2], 0);
	ck_assert_int_eq(mem[sizeof(mem) - 1], 1);
}
END_TEST

START_TEST(lengths_are_cut)
{
	struct iobuf_seg segs[3] = {{0x1000, 1}, {0x1000, INT64_MAX}, {0x1000, INT64_MAX}};
	struct iobuf b;
	struct ctx c;

	unit_ctx_init(&c);
	iobuf_init_user(&b, &c, UADDR(0x1000), SIZE_MAX);
	ck_assert_uint_eq(iobuf_left(&b), INT_MAX & PAGE_MASK);
	iobuf_init_segs(&b, &c, segs, 3);
	ck_assert_uint_eq(iobuf_left(&b), INT_MAX & PAGE_MASK);
}
END_TEST

START_TEST(import)
{
	struct iovec iov[2] = {{(void *)0x1000, 5}, {NULL, 0}};
	struct iobuf_seg segs[IOV_MAX + 1];
	struct ctx c;

	unit_ctx_init(&c);
	ck_assert_int_eq(iobuf_import(&c, UADDR(iov), 2, segs), 0);
	ck_assert_uint_eq(segs[0].size, 5);
	ck_assert_int_eq(iobuf_import(&c, UADDR_NULL, 0, segs), 0);
	ck_assert_int_eq(iobuf_import(&c, UADDR_NULL, 1, segs), -EFAULT);
	ck_assert_int_eq(iobuf_import(&c, UADDR(iov), IOV_MAX + 1, segs), -EINVAL);
	iov[1].iov_len = (size_t)1 << 63;
	ck_assert_int_eq(iobuf_import(&c, UADDR(iov), 2, segs), -EINVAL);
}
END_TEST

START_TEST(strings)
{
	char *bad = unit_guard_page();
	struct ctx c;
	char out[16];

	unit_ctx_init(&c);
	memcpy(bad - 4, "abc", 4);
	ck_assert_int_eq(copy_in_string(&c, out, UADDR(bad - 4), sizeof(out)), 3);
	ck_assert_str_eq(out, "abc");
	ck_assert_int_eq(copy_in_string(&c, out, UADDR(bad - 4), 4), 3);
	ck_assert_int_eq(copy_in_string(&c, out, UADDR(bad - 4), 3), -ENAMETOOLONG);
	bad[-1] = 'd';
	ck_assert_int_eq(copy_in_string(&c, out, UADDR(bad - 4), sizeof(out)), -EFAULT);
	ck_assert_int_eq(copy_in_string(&c, out, UADDR_NULL, sizeof(out)), -EFAULT);
}
END_TEST

START_TEST(structs_of_other_sizes)
{
	char src[200] = "0123456789";
	struct ctx c;
	char dst[8];

	unit_ctx_init(&c);
	ck_assert_int_eq(copy_in_struct(&c, dst, 8, UADDR(src), 4), 0);
	ck_assert_mem_eq(dst, "0123\0\0\0\0", 8);
	ck_assert_int_eq(copy_in_struct(&c, dst, 8, UADDR(src), 10), -E2BIG);
	src[8] = src[9] = 0;
	ck_assert_int_eq(copy_in_struct(&c, dst, 8, UADDR(src), sizeof(src)), 0);
	src[199] = 1;
	ck_assert_int_eq(copy_in_struct(&c, dst, 8, UADDR(src), sizeof(src)), -E2BIG);
	ck_assert_int_eq(copy_in_struct(&c, dst, 8, UADDR(unit_guard_page() - 8), 9), -EFAULT);
}
END_TEST

UNIT_MAIN(kernel_put_get, segments, fault_in_the_middle, revert_and_truncate, put_zero, lengths_are_cut, import,
	  strings, structs_of_other_sizes)
