/* What the samples of threads share: lines of the kind `name: ok`, clocks, and threads that the C library knows nothing of. */
#pragma once
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline void say(const char *name, int good)
{
	printf("%s: %s\n", name, good ? "ok" : "WRONG");
	fflush(stdout);
}

static inline long long clock_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static inline long long now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* So many milliseconds from now. */
static inline struct timespec after(clockid_t clock, long milliseconds)
{
	long long at = clock_ns(clock) + milliseconds * 1000000ll;
	return (struct timespec){ at / 1000000000, at % 1000000000 };
}

/* Until a date: what is left of a span would never become less while signals come faster than they are handled. */
static inline void rest(long milliseconds)
{
	struct timespec end = after(CLOCK_MONOTONIC, milliseconds);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, 0) == EINTR)
		;
}

static inline pid_t own_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

static inline pthread_t begin(void *(*body)(void *), void *argument)
{
	pthread_t thread;
	int failed = pthread_create(&thread, 0, body, argument);
	if (failed) {
		printf("pthread_create: error %d\n", failed);
		_exit(99);
	}
	return thread;
}

static inline void *joined(pthread_t thread)
{
	void *result = 0;
	pthread_join(thread, &result);
	return result;
}

/* Waits, for ten seconds at most, until it is so. */
#define UNTIL(condition) ({ long long last = now_ns() + 10000000000ll; while (!(condition) && now_ns() < last) rest(1); (condition); })

/*
 * A thread by clone alone: `body(argument)` runs on `stack` (its top) without thread-local storage, so it may not use the C
 * library, and what it answers is its exit status. Answers the thread's number or a negative errno.
 */
long bare_thread(unsigned long flags, void *stack, int *parent_tid, int *child_tid, long (*body)(void *), void *argument);

#define BARE_THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

#define BARE_THREAD_CODE \
	__asm__(".text\n.globl bare_thread\n.type bare_thread, @function\nbare_thread:\n" \
		"movq %rcx, %r10\n\t"          /* clone's fourth: child_tid; edi, rsi and rdx are as they are to be */ \
		"andq $-16, %rsi\n\t" \
		"subq $16, %rsi\n\t" \
		"movq %r8, (%rsi)\n\t" \
		"movq %r9, 8(%rsi)\n\t" \
		"xorl %r8d, %r8d\n\t" \
		"movl $56, %eax\n\t" \
		"syscall\n\t" \
		"testq %rax, %rax\n\t" \
		"jz 1f\n\t" \
		"ret\n" \
		"1: popq %rax\n\t" \
		"popq %rdi\n\t" \
		"xorl %ebp, %ebp\n\t" \
		"call *%rax\n\t" \
		"movl %eax, %edi\n\t" \
		"movl $60, %eax\n\t" \
		"syscall\n\t" \
		"hlt\n")

/* System calls that touch neither errno nor thread-local storage. */
static inline long bare_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}
