/* clone, futexes, thread-local storage, robust lists, exits of threads and processes, many threads. */
#include "guest.h"

#include <linux/futex.h>
#include <semaphore.h>
#include <sys/time.h>

static long futex(void *addr, int op, long val, void *timeout, void *addr2, long val3)
{
	return syscall(SYS_futex, addr, op, val, timeout, addr2, val3);
}

static void futex_errors(void)
{
	static uint32_t word = 5, other;
	struct timespec ts = {0, 1000000}, bad = {0, -1}, past = {1, 0};

	T(futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0));
	T(futex(&word, FUTEX_WAIT, 5, &ts, NULL, 0));
	T(futex(&word, FUTEX_WAIT_PRIVATE, 5, &bad, NULL, 0));
	T(futex(&word, FUTEX_WAIT_BITSET, 5, &past, NULL, 1));
	T(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 5, &past, NULL, 1));
	T(futex(&word, FUTEX_WAIT_BITSET, 5, &past, NULL, 0));
	T(futex((char *)&word + 1, FUTEX_WAIT, 5, &ts, NULL, 0));
	T(futex(BAD, FUTEX_WAIT, 5, &ts, NULL, 0));
	T(futex(BAD, FUTEX_WAIT_PRIVATE, 5, &ts, NULL, 0));
	T(futex(&word, FUTEX_WAIT, 5, BAD, NULL, 0));
	T(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
	T(futex(&word, 99, 1, NULL, NULL, 0));
	T(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1, &other, 4));
	T(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1, &other, 5));
	T(futex(&word, FUTEX_WAKE_OP, 1, (void *)1, &other, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0)));
	SAY("other %u", other);
	T(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
	T(syscall(SYS_set_robust_list, BAD, 5));
	T(syscall(SYS_get_robust_list, 4100000, &(void *){0}, &(size_t){0}));
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long counter, turns;
static __thread int mine = 7;

static void *add(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	mine += (int)(long)arg;
	return (void *)(long)mine;
}

static void *take_turns(void *arg)
{
	long me = (long)arg;

	pthread_mutex_lock(&mutex);
	for (int i = 0; i < 300; i++) {
		while (turns % 3 != me)
			pthread_cond_wait(&cond, &mutex);
		turns++;
		pthread_cond_broadcast(&cond);
	}
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void *nothing(void *arg)
{
	return arg;
}

static void many(void)
{
	pthread_t t[8];
	void *r;
	long sum = 0;

	for (long i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, add, (void *)i);
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &r);
		sum += (long)r;
	}
	SAY("counter %ld, sum %ld, mine %d", counter, sum, mine);
	for (long i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, take_turns, (void *)i);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	SAY("turns %ld", turns);
	for (int i = 0; i < 200; i++) {
		must(pthread_create(&t[0], NULL, nothing, NULL) == 0, "create a thread");
		pthread_join(t[0], NULL);
	}
	SAY("200 threads one after another");
}

static void *exit_thread(void *arg)
{
	if (arg)
		_exit(44);
	syscall(SYS_exit, 3);
	return NULL;
}

static void *sleeper(void *arg)
{
	sleep_ms(100000);
	return arg;
}

static void *fork_here(void *arg)
{
	CHILD
	{
		HOLDS(getpid() == gettid());
		SAY("in a child of a thread");
	}
	return arg;
}

static char *self;

static void *exec_here(void *arg)
{
	execl(self, "x", "other", NULL);
	return arg;
}

static void ends(void)
{
	pthread_t t;

	CHILD
	{
		pthread_create(&t, NULL, exit_thread, NULL);
		pthread_join(t, NULL);
		SAY("the process goes on");
	}
	CHILD
	{
		pthread_create(&t, NULL, exit_thread, "all");
		pause();
	}
	CHILD
	{
		pthread_create(&t, NULL, sleeper, NULL);
		sleep_ms(10);
		_exit(5);
	}
	CHILD
	{
		/* The first thread goes, the process stays until the last is gone. */
		pthread_create(&t, NULL, nothing, NULL);
		pthread_exit(NULL);
	}
	CHILD
	{
		pthread_create(&t, NULL, fork_here, NULL);
		pthread_join(t, NULL);
	}
	CHILD
	{
		pthread_create(&t, NULL, sleeper, NULL);
		pthread_create(&t, NULL, exec_here, NULL);
		pause();
	}
	CHILD
	{
		pthread_create(&t, NULL, sleeper, NULL);
		execl(self, "x", "other", NULL);
	}
	CHILD
	{
		pthread_create(&t, NULL, sleeper, NULL);
		sleep_ms(5);
		abort();
	}
}

static volatile pid_t signal_tid;

static void on_signal(int sig)
{
	(void)sig;
	signal_tid = gettid();
}

static void *signaled(void *arg)
{
	*(volatile pid_t *)arg = gettid();
	while (!signal_tid)
		sleep_ms(1);
	return NULL;
}

static void thread_signals(void)
{
	volatile pid_t tid = 0;
	sigset_t set;
	pthread_t t;

	signal(SIGUSR1, on_signal);
	pthread_create(&t, NULL, signaled, (void *)&tid);
	while (!tid)
		sleep_ms(1);
	T(syscall(SYS_tgkill, getpid(), tid, SIGUSR1));
	pthread_join(t, NULL);
	HOLDS(signal_tid == tid);
	signal_tid = 0;
	pthread_create(&t, NULL, signaled, (void *)&tid);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR1);
	pthread_join(t, NULL);
	HOLDS(signal_tid != getpid());
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	T(pthread_kill(pthread_self(), 0));
}

static void *lock_and_die(void *arg)
{
	pthread_mutex_lock(arg);
	return NULL;
}

static void robust(void)
{
	pthread_mutexattr_t a;
	pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_t t;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(m, &a);
	pthread_create(&t, NULL, lock_and_die, m);
	pthread_join(t, NULL);
	HOLDS(pthread_mutex_lock(m) == EOWNERDEAD);
	pthread_mutex_consistent(m);
	pthread_mutex_unlock(m);
	CHILD
	{
		pthread_mutex_lock(m);
	}
	HOLDS(pthread_mutex_lock(m) == EOWNERDEAD);
	pthread_mutex_consistent(m);
	pthread_mutex_unlock(m);
}

static void between_processes(void)
{
	struct {
		sem_t a, b;
		int value;
	} *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	sem_init(&s->a, 1, 0);
	sem_init(&s->b, 1, 0);
	fflush(stdout);
	if (fork() == 0) {
		for (int i = 0; i < 200; i++) {
			sem_wait(&s->a);
			s->value++;
			sem_post(&s->b);
		}
		_exit(0);
	}
	for (int i = 0; i < 200; i++) {
		sem_post(&s->a);
		sem_wait(&s->b);
	}
	MUST(wait(NULL));
	SAY("value %d", s->value);
}

static void clone_errors(void)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
		    set_tid_size, cgroup;
	} args = {.exit_signal = SIGCHLD};
	long pid;

	T(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0));
	T(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0));
	T(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS, 0, 0, 0, 0));
	T(syscall(SYS_clone3, &args, 8));
	T(syscall(SYS_clone3, BAD, sizeof(args)));
	args.flags = 1;
	T(syscall(SYS_clone3, &args, sizeof(args)));
	args.flags = 0;
	args.stack = 4096;
	T(syscall(SYS_clone3, &args, sizeof(args)));
	args.stack = 0;
	args.exit_signal = 100;
	T(syscall(SYS_clone3, &args, sizeof(args)));
	args.exit_signal = SIGCHLD;
	fflush(stdout);
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		_exit(12);
	int status;
	MUST(waitpid((pid_t)pid, &status, 0));
	say_status("clone3", status);
	args.exit_signal = 0;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		_exit(0);
	T(waitpid((pid_t)pid, &status, 0));
	HOLDS(waitpid((pid_t)pid, &status, __WCLONE) == pid);
}

/* A lock with priority inheritance, and a condition that goes with it, in memory that children share. */
static struct pi_shared {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	long count;
} * pi;

static void *pi_worker(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&pi->lock);
		pi->count++;
		pthread_mutex_unlock(&pi->lock);
	}
	return arg;
}

static void *pi_sleeper(void *arg)
{
	pthread_mutex_lock(&pi->lock);
	while (pi->count == 0)
		pthread_cond_wait(&pi->cond, &pi->lock);
	pi->count++;
	pthread_mutex_unlock(&pi->lock);
	return arg;
}

static void run_threads(void *(*fn)(void *), void (*meanwhile)(void))
{
	pthread_t t[8];

	for (size_t i = 0; i < COUNT(t); i++)
		pthread_create(&t[i], NULL, fn, NULL);
	if (meanwhile)
		meanwhile();
	for (size_t i = 0; i < COUNT(t); i++)
		pthread_join(t[i], NULL);
}

static void wake_sleepers(void)
{
	sleep_ms(20);
	pthread_mutex_lock(&pi->lock);
	pi->count = 1;
	pthread_cond_broadcast(&pi->cond);
	pthread_mutex_unlock(&pi->lock);
}

static void pi_mutexes(void)
{
	struct timespec past = {1, 0};
	pthread_mutexattr_t a;
	pthread_condattr_t c;
	uint32_t word = 0;

	T(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	T(futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	HOLDS(word == (uint32_t)gettid());
	T(futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	T(futex(&word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
	T(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	SAY("word %u", word);
	word = 1 << 29;
	T(futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	pi = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&pi->lock, &a);
	pthread_condattr_init(&c);
	pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&pi->cond, &c);
	run_threads(pi_worker, NULL);
	SAY("counted %ld", pi->count);
	pi->count = 0;
	run_threads(pi_sleeper, wake_sleepers);
	SAY("awake %ld", pi->count);
	CHILD
	{
		pthread_mutex_lock(&pi->lock);
		if (fork() == 0) { /* waits for its parent's lock, which dies with that */
			say_result("the owner dies", pthread_mutex_lock(&pi->lock), true);
			pthread_mutex_consistent(&pi->lock);
			pi->count = 0;
			pthread_mutex_unlock(&pi->lock);
			_exit(0);
		}
		sleep_ms(50);
	}
	while (*(volatile long *)&pi->count)
		sleep_ms(1);
	T(pthread_mutex_lock(&pi->lock));
	CHILD
	{
		T(pthread_mutex_trylock(&pi->lock) == EBUSY);
		T(pthread_mutex_timedlock(&pi->lock, &past) == ETIMEDOUT);
	}
	T(pthread_mutex_unlock(&pi->lock));
}

static void affinity(void)
{
	cpu_set_t set;

	T(sched_getaffinity(0, sizeof(set), &set));
	HOLDS(CPU_COUNT(&set) >= 1 && CPU_COUNT(&set) <= sysconf(_SC_NPROCESSORS_CONF));
	T(syscall(SYS_sched_getaffinity, 0, 1, &set));
	T(sched_setaffinity(0, sizeof(set), &set));
	CPU_ZERO(&set);
	T(sched_setaffinity(0, sizeof(set), &set));
	T(sched_getscheduler(0));
	T(sched_getparam(0, &(struct sched_param){0}));
	T(sched_yield());
	T(sched_get_priority_max(SCHED_FIFO));
	T(sched_get_priority_max(77));
	T(sched_getscheduler(4100000));
}

int main(int argc, char **argv)
{
	static char path[PATH_MAX];

	if (argc > 1) {
		SAY("%s: %s", argv[0], argv[1]);
		HOLDS(getpid() == gettid());
		return 0;
	}
	(void)argv;
	MUST(readlink("/proc/self/exe", path, sizeof(path) - 1));
	self = path;
	futex_errors();
	many();
	ends();
	thread_signals();
	robust();
	pi_mutexes();
	between_processes();
	clone_errors();
	affinity();
	return 0;
}
