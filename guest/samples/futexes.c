/* futex(2) itself: each operation, who is woken by what, and how each kind of wait ends. Prints the same natively. */
#define _GNU_SOURCE
#include "threading.h"
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static long futex(volatile int *word, int operation, int value, const void *fourth, volatile int *second, int third)
{
	long answer = syscall(SYS_futex, word, operation, value, fourth, second, third);
	return answer == -1 ? -errno : answer;
}

/* A count where an operation has a time. */
static const void *count_of(long count)
{
	return (const void *)count;
}

static long wake(volatile int *word, int count)
{
	return futex(word, FUTEX_WAKE, count, 0, 0, 0);
}

struct waiter {
	volatile int *word;
	int operation, value, bits;
	const struct timespec *until;
	volatile int ready;
	long answer;
	pthread_t thread;
};

static void *wait_here(void *argument)
{
	struct waiter *self = argument;
	self->ready = 1;
	self->answer = futex(self->word, self->operation, self->value, self->until, 0, self->bits);
	self->ready = 2;
	return 0;
}

/* Threads that wait; when this answers all have had time to fall asleep. */
static void let_wait(struct waiter *waiters, int count)
{
	for (int i = 0; i < count; i++) {
		waiters[i].ready = 0;
		waiters[i].thread = begin(wait_here, &waiters[i]);
	}
	for (int i = 0; i < count; i++)
		UNTIL(waiters[i].ready);
	rest(20);
}

static int all_joined(struct waiter *waiters, int count, long answer)
{
	int good = 1;
	for (int i = 0; i < count; i++) {
		joined(waiters[i].thread);
		good &= waiters[i].answer == answer;
	}
	return good;
}

static int awake(struct waiter *waiters, int count)
{
	int woken = 0;
	rest(20);
	for (int i = 0; i < count; i++)
		woken += waiters[i].ready == 2;
	return woken;
}

static int word, other;

static void refusals(void)
{
	struct timespec short_span = { 0, 5000000 }, wrong = { 0, 1000000000 }, negative = { -1, 0 };
	word = 1;
	say("another value", futex(&word, FUTEX_WAIT, 2, 0, 0, 0) == -EAGAIN);
	say("another value comes before the time", futex(&word, FUTEX_WAIT, 2, &short_span, 0, 0) == -EAGAIN);
	say("nobody to wake", wake(&word, 1) == 0 && wake(&word, 0) == 0);
	say("a word that is not aligned", futex((int *)((char *)&word + 1), FUTEX_WAIT, 1, 0, 0, 0) == -EINVAL && futex((int *)((char *)&word + 2), FUTEX_WAKE, 1, 0, 0, 0) == -EINVAL);
	say("a word that is not there", futex((int *)4096, FUTEX_WAIT, 1, 0, 0, 0) == -EFAULT && futex((int *)4096, FUTEX_WAKE, 1, 0, 0, 0) == -EFAULT);
	say("a word of nobody's own that is not there", futex((int *)4096, FUTEX_WAIT_PRIVATE, 1, 0, 0, 0) == -EFAULT && futex((int *)4096, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0) == 0);
	say("a time that is none", futex(&word, FUTEX_WAIT, 1, &wrong, 0, 0) == -EINVAL && futex(&word, FUTEX_WAIT, 1, &negative, 0, 0) == -EINVAL);
	say("a time that is not there", futex(&word, FUTEX_WAIT, 1, (void *)8, 0, 0) == -EFAULT);
	say("no bits", futex(&word, FUTEX_WAIT_BITSET, 1, 0, 0, 0) == -EINVAL && futex(&word, FUTEX_WAKE_BITSET, 1, 0, 0, 0) == -EINVAL);
	say("an operation that is none", futex(&word, 99, 1, 0, 0, 0) == -ENOSYS);
	say("a clock for what has none", futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, 0, 0, 0) == -ENOSYS);
}

static int ends_after(int operation, clockid_t clock, int absolute)
{
	struct timespec until = absolute ? after(clock, 20) : (struct timespec){ 0, 20000000 };
	long long start = now_ns();
	long answer = futex(&word, operation, word, &until, 0, FUTEX_BITSET_MATCH_ANY);
	long long took = now_ns() - start;
	return answer == -ETIMEDOUT && took >= 19000000;
}

static void times(void)
{
	say("a span", ends_after(FUTEX_WAIT, CLOCK_MONOTONIC, 0));
	say("a span, of a word of the process's own", ends_after(FUTEX_WAIT_PRIVATE, CLOCK_MONOTONIC, 0));
	say("a date of the monotonic clock", ends_after(FUTEX_WAIT_BITSET_PRIVATE, CLOCK_MONOTONIC, 1));
	say("a date of the clock of dates", ends_after(FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, CLOCK_REALTIME, 1));
	struct timespec past = after(CLOCK_MONOTONIC, -1000), none = { 0, 0 };
	say("a date that is past", futex(&word, FUTEX_WAIT_BITSET, word, &past, 0, -1) == -ETIMEDOUT);
	say("a span of nothing", futex(&word, FUTEX_WAIT, word, &none, 0, 0) == -ETIMEDOUT);
	struct timespec span = { 0, 1000000 };
	say("a span has no clock", futex(&word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, word, &span, 0, 0) == -ENOSYS);
	struct timespec forever = { 0x7fffffffffffffff, 0 };
	struct waiter late = { .word = &word, .operation = FUTEX_WAIT, .value = word, .until = &forever };
	let_wait(&late, 1);
	say("the longest span there is", late.ready == 1 && wake(&word, 1) == 1 && all_joined(&late, 1, 0));
}

static void waking(void)
{
	struct waiter waiters[6];
	for (int i = 0; i < 6; i++)
		waiters[i] = (struct waiter){ .word = &word, .operation = FUTEX_WAIT_PRIVATE, .value = word };
	let_wait(waiters, 6);
	say("another word's waiters stay", futex(&other, FUTEX_WAKE_PRIVATE, 9, 0, 0, 0) == 0 && awake(waiters, 6) == 0);
	say("two of six", futex(&word, FUTEX_WAKE_PRIVATE, 2, 0, 0, 0) == 2 && awake(waiters, 6) == 2);
	say("the others", futex(&word, FUTEX_WAKE_PRIVATE, 0x7fffffff, 0, 0, 0) == 4 && all_joined(waiters, 6, 0));
	/* A word of memory that processes share and the same word by its other address. */
	int *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	waiters[0] = (struct waiter){ .word = shared, .operation = FUTEX_WAIT, .value = 0 };
	let_wait(waiters, 1);
	say("a word of shared memory", wake(shared, 1) == 1 && all_joined(waiters, 1, 0));
	/* The value counts when it is called, not later. */
	waiters[0] = (struct waiter){ .word = &word, .operation = FUTEX_WAIT_PRIVATE, .value = word };
	let_wait(waiters, 1);
	word++;
	say("a change of the word wakes nobody", awake(waiters, 1) == 0 && futex(&word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0) == 1 && all_joined(waiters, 1, 0));
}

static void bitsets(void)
{
	struct waiter waiters[3];
	for (int i = 0; i < 3; i++)
		waiters[i] = (struct waiter){ .word = &word, .operation = FUTEX_WAIT_BITSET_PRIVATE, .value = word, .bits = 1 << i };
	let_wait(waiters, 3);
	say("bits that nobody waits for", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, 0, 0, 0x100) == 0);
	say("one that one waits for", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, 0, 0, 2) == 1 && awake(waiters, 3) == 1 && waiters[1].ready == 2);
	say("a wake without bits wakes any", futex(&word, FUTEX_WAKE_PRIVATE, 9, 0, 0, 0) == 2 && all_joined(waiters, 3, 0));
}

static void requeueing(void)
{
	struct waiter waiters[6];
	for (int i = 0; i < 6; i++)
		waiters[i] = (struct waiter){ .word = &word, .operation = FUTEX_WAIT_PRIVATE, .value = word };
	let_wait(waiters, 6);
	say("CMP_REQUEUE with another value", futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, count_of(9), &other, word + 1) == -EAGAIN);
	/* One is woken and three go over: CMP_REQUEUE counts both. */
	say("CMP_REQUEUE counts all it moved", futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, count_of(3), &other, word) == 4 && awake(waiters, 6) == 1);
	say("those that went over wait there", futex(&word, FUTEX_WAKE_PRIVATE, 9, 0, 0, 0) == 2 && awake(waiters, 6) == 3);
	say("REQUEUE counts them too", futex(&other, FUTEX_REQUEUE_PRIVATE, 1, count_of(1), &word, 0) == 2);
	say("one of them went back", awake(waiters, 6) == 4 && futex(&word, FUTEX_WAKE_PRIVATE, 9, 0, 0, 0) == 1 && futex(&other, FUTEX_WAKE_PRIVATE, 9, 0, 0, 0) == 1);
	say("all wake in the end", all_joined(waiters, 6, 0));
	say("counts that are none", futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, -1, count_of(1), &other, word) == -EINVAL && futex(&word, FUTEX_REQUEUE_PRIVATE, 1, count_of(-1), &other, 0) == -EINVAL);
	say("a second word that is not aligned", futex(&word, FUTEX_REQUEUE_PRIVATE, 1, count_of(1), (int *)((char *)&other + 1), 0) == -EINVAL);
	/* A time goes over with its thread. */
	struct timespec span = { 0, 60000000 };
	waiters[0] = (struct waiter){ .word = &word, .operation = FUTEX_WAIT_PRIVATE, .value = word, .until = &span };
	let_wait(waiters, 1);
	say("a span goes on at the other word", futex(&word, FUTEX_REQUEUE_PRIVATE, 0, count_of(1), &other, 0) == 1 && all_joined(waiters, 1, -ETIMEDOUT));
}

static int changed_by(int operation, int operand, int before, int expected)
{
	int second = before;
	long answer = futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, count_of(1), &second, (int)FUTEX_OP(operation, operand, FUTEX_OP_CMP_EQ, before));
	return answer == 0 && second == expected;
}

static void wake_op(void)
{
	int good = changed_by(FUTEX_OP_SET, 5, 3, 5) && changed_by(FUTEX_OP_ADD, 5, 3, 8) && changed_by(FUTEX_OP_OR, 4, 3, 7) && changed_by(FUTEX_OP_ANDN, 1, 3, 2) && changed_by(FUTEX_OP_XOR, 6, 3, 5);
	say("WAKE_OP's five changes", good && changed_by(FUTEX_OP_ADD, -5 & 0xfff, 3, -2) && changed_by(FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT, 4, 3, 19));
	struct waiter waiters[4];
	for (int i = 0; i < 4; i++)
		waiters[i] = (struct waiter){ .word = i < 2 ? &word : &other, .operation = FUTEX_WAIT_PRIVATE, .value = i < 2 ? word : other };
	let_wait(waiters, 4);
	int before = other;
	say("a comparison that fails wakes the first word's", futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, count_of(9), &other, (int)FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GT, before)) == 1 && other == before + 1);
	say("one that holds wakes both", futex(&word, FUTEX_WAKE_OP_PRIVATE, 9, count_of(1), &other, (int)FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, before)) == 2);
	say("as many as were asked for", futex(&other, FUTEX_WAKE_PRIVATE, 9, 0, 0, 0) == 1 && all_joined(waiters, 4, 0));
	say("a change that is none", futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, count_of(1), &other, (int)FUTEX_OP(7, 1, FUTEX_OP_CMP_EQ, 0)) == -ENOSYS);
}

static volatile int handled;

static void handle(int number)
{
	(void)number;
	handled++;
}

static void interruptions(void)
{
	struct sigaction action = { .sa_handler = handle };
	struct timespec span = { 5, 0 };
	sigaction(SIGUSR1, &action, 0);
	struct waiter waiter = { .word = &word, .operation = FUTEX_WAIT_PRIVATE, .value = word };
	let_wait(&waiter, 1);
	pthread_kill(waiter.thread, SIGUSR1);
	say("a handler ends a wait", all_joined(&waiter, 1, -EINTR) && handled == 1);
	waiter.until = &span;
	let_wait(&waiter, 1);
	pthread_kill(waiter.thread, SIGUSR1);
	say("and one with a span", all_joined(&waiter, 1, -EINTR) && handled == 2);
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &action, 0);
	waiter.until = 0;
	let_wait(&waiter, 1);
	pthread_kill(waiter.thread, SIGUSR1);
	say("SA_RESTART lets it go on", UNTIL(handled == 3) && awake(&waiter, 1) == 0 && futex(&word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0) == 1 && all_joined(&waiter, 1, 0));
	/* A wait with a time is only gone on with when no handler ran (restart_syscall(2)). */
	waiter.until = &span;
	let_wait(&waiter, 1);
	pthread_kill(waiter.thread, SIGUSR1);
	say("but not one with a span", all_joined(&waiter, 1, -EINTR) && handled == 4);
	/* Signals that nobody handles do not end a wait. */
	waiter.until = 0;
	let_wait(&waiter, 1);
	pthread_kill(waiter.thread, SIGCHLD);
	say("an ignored signal does not", awake(&waiter, 1) == 0 && futex(&word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0) == 1 && all_joined(&waiter, 1, 0));
}

BARE_THREAD_CODE;

static char stack[65536];
static int child_tid, parent_tid, go_on;

static long wait_and_end(void *argument)
{
	while (__atomic_load_n(&go_on, __ATOMIC_SEQ_CST) == 0)
		bare_call(SYS_futex, (long)&go_on, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
	return (long)argument;
}

static void clear_tid(void)
{
	long tid = bare_thread(BARE_THREAD_FLAGS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, stack + sizeof stack, &parent_tid, &child_tid, wait_and_end, 0);
	say("a thread of clone's alone", tid > 0 && parent_tid == tid && UNTIL(child_tid == tid));
	struct waiter waiter = { .word = &child_tid, .operation = FUTEX_WAIT, .value = child_tid };
	let_wait(&waiter, 1);
	go_on = 1;
	say("it goes on", futex(&go_on, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0) == 1);
	say("its end clears its number and wakes", all_joined(&waiter, 1, 0) && child_tid == 0);
	say("and it is gone", UNTIL(syscall(SYS_tgkill, getpid(), tid, 0) == -1 && errno == ESRCH));
}

static void refused_clones(void)
{
	char *top = stack + sizeof stack;
	errno = 0;
	say("a thread that shares no signals", bare_thread(CLONE_VM | CLONE_THREAD, top, 0, 0, wait_and_end, 0) == -EINVAL);
	say("signals without memory", bare_thread(CLONE_SIGHAND | SIGCHLD, top, 0, 0, wait_and_end, 0) == -EINVAL);
	say("a wait for many words", syscall(SYS_futex, &word, FUTEX_FD, 0, 0, 0, 0) == -1 && errno == ENOSYS);
}

int main(void)
{
	refusals();
	times();
	waking();
	bitsets();
	requeueing();
	wake_op();
	interruptions();
	clear_tid();
	refused_clones();
	return 0;
}
