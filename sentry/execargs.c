/*
 * The arguments and the environment of a new program, on their way from the old address space to the new stack.
 * execve(2), "Limits on size of arguments and environment".
 *
 * Each string is copied once; a page of the guest is read once for all strings that lie in it in a row, because the
 * environment of a typical program is one block and each read of guest memory costs a host call.
 */
#include <limits.h>
#include <string.h>

#include "sentry/base/slab.h"
#include "sentry/exec_impl.h"

#define STRING_MAX (32 * PAGE_SIZE)
#define STRINGS_MIN (128ul << 10)
#define STRINGS_MAX (6ul << 20) /* three quarters of the default stack */

/* A window on guest memory: the page read last. */
struct window {
	uint64_t page; /* 1: none */
	char data[PAGE_SIZE];
};

void exec_args_init(struct exec_args *a, uint64_t stack_rlimit)
{
	memset(a, 0, sizeof(*a));
	a->limit = MAX(MIN(stack_rlimit / 4, STRINGS_MAX), STRINGS_MIN);
}

void exec_args_release(struct exec_args *a)
{
	kfree(a->argv.data, a->argv.capacity);
	kfree(a->envp.data, a->envp.capacity);
	memset(a, 0, sizeof(*a));
}

static int strings_reserve(struct exec_strings *s, size_t more)
{
	size_t capacity = s->capacity ? s->capacity : 1024;
	char *data;

	while (capacity - s->size < more)
		capacity *= 2;
	if (capacity == s->capacity)
		return 0;
	data = krealloc(s->data, s->capacity, capacity);
	if (!data)
		return -ENOMEM;
	s->data = data;
	s->capacity = capacity;
	return 0;
}

static int strings_append(struct exec_strings *s, const char *data, size_t size)
{
	if (strings_reserve(s, size))
		return -ENOMEM;
	memcpy(s->data + s->size, data, size);
	s->size += size;
	return 0;
}

static size_t args_size(const struct exec_args *a)
{
	return a->argv.size + a->envp.size + (a->argv.count + a->envp.count) * sizeof(uint64_t);
}

static int window_move(struct ctx *c, struct window *w, uint64_t addr)
{
	if (w->page == PAGE_DOWN(addr))
		return 0;
	w->page = 1;
	if (copy_in(c, w->data, UADDR(PAGE_DOWN(addr)), PAGE_SIZE))
		return -EFAULT;
	w->page = PAGE_DOWN(addr);
	return 0;
}

static int copy_one(struct ctx *c, struct exec_args *a, struct exec_strings *s, struct window *w, uint64_t addr)
{
	size_t length = 0;

	for (;;) {
		size_t at = addr & ~PAGE_MASK;
		char *nul;
		size_t n;

		if (window_move(c, w, addr))
			return -EFAULT;
		nul = memchr(w->data + at, 0, PAGE_SIZE - at);
		n = nul ? (size_t)(nul - (w->data + at)) + 1 : PAGE_SIZE - at;
		length += n;
		if (length > STRING_MAX || args_size(a) + n > a->limit)
			return -E2BIG;
		if (strings_append(s, w->data + at, n))
			return -ENOMEM;
		if (nul)
			return 0;
		addr += n;
	}
}

static int copy_array(struct ctx *c, struct exec_args *a, struct exec_strings *s, uint64_t array,
		      struct window *pointers, struct window *strings)
{
	if (array == 0)
		return 0;
	for (;; array += sizeof(uint64_t)) {
		uint64_t p;
		int err;

		if (array & 7) {
			if (copy_in(c, &p, UADDR(array), sizeof(p)))
				return -EFAULT;
		} else {
			if (window_move(c, pointers, array))
				return -EFAULT;
			memcpy(&p, pointers->data + (array & ~PAGE_MASK), sizeof(p));
		}
		if (p == 0)
			return 0;
		s->count++;
		err = copy_one(c, a, s, strings, p);
		if (err)
			return err;
	}
}

int exec_args_copy(struct ctx *c, struct exec_args *a, uaddr_t argv, uaddr_t envp)
{
	struct window *w = kalloc(2 * sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w[0].page = w[1].page = 1;
	err = copy_array(c, a, &a->argv, argv.v, &w[0], &w[1]);
	if (!err)
		err = copy_array(c, a, &a->envp, envp.v, &w[0], &w[1]);
	kfree(w, 2 * sizeof(*w));
	if (!err && a->argv.count == 0) {
		/* A program without even its own name has been the cause of holes: it gets an empty one. */
		a->argv.count = 1;
		err = strings_append(&a->argv, "", 1);
	}
	return err;
}

static int set_array(struct exec_strings *s, char *const *array)
{
	for (; *array; array++) {
		if (strings_append(s, *array, strlen(*array) + 1))
			return -ENOMEM;
		s->count++;
	}
	return 0;
}

int exec_args_set(struct exec_args *a, char *const *argv, char *const *envp)
{
	if (set_array(&a->argv, argv) || set_array(&a->envp, envp))
		return -ENOMEM;
	return args_size(a) > a->limit ? -E2BIG : 0;
}

int exec_args_script(struct exec_args *a, const char *interp, const char *arg, const char *script)
{
	struct exec_strings old = a->argv;
	size_t skip = strnlen(old.data, old.size) + 1;
	int err;

	a->argv = (struct exec_strings){.count = old.count + 1 + (arg != NULL)};
	err = strings_append(&a->argv, interp, strlen(interp) + 1);
	if (!err && arg)
		err = strings_append(&a->argv, arg, strlen(arg) + 1);
	if (!err)
		err = strings_append(&a->argv, script, strlen(script) + 1);
	if (!err)
		err = strings_append(&a->argv, old.data + skip, old.size - skip);
	kfree(old.data, old.capacity);
	if (err)
		return err;
	return args_size(a) > a->limit ? -E2BIG : 0;
}
