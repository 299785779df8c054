/*
 * How threads and their process end. Without an argument: cancellation, and locks whose owner is gone. With one: an end of the
 * whole process, one way each (see `ends`), whose status tells.
 */
#define _GNU_SOURCE
#include "threading.h"
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static volatile int cleaned, reached, ready;
static int ends[2];
static sem_t never;

static void clean(void *argument)
{
	cleaned += (int)(uintptr_t)argument;
}

static void *in_sleep(void *argument)
{
	ready = 1;
	sleep(20);
	return argument;
}

static void *in_read(void *argument)
{
	char byte;
	ready = 1;
	read(ends[0], &byte, 1);
	return argument;
}

static void *in_semaphore(void *argument)
{
	ready = 1;
	sem_wait(&never);
	return argument;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

static void release(void *argument)
{
	pthread_mutex_unlock(argument);
}

static void *in_condition(void *argument)
{
	pthread_mutex_lock(&mutex);
	pthread_cleanup_push(release, &mutex);
	ready = 1;
	for (;;)
		pthread_cond_wait(&cond, &mutex);
	pthread_cleanup_pop(0);
	return argument;
}

static void *computing(void *argument)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, 0);
	ready = 1;
	for (;;)
		__asm__ volatile("pause");
	return argument;
}

static void *tests_for_it(void *argument)
{
	pthread_cleanup_push(clean, (void *)1);
	pthread_cleanup_push(clean, (void *)10);
	ready = 1;
	for (;;)
		pthread_testcancel();
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return argument;
}

static void *puts_it_off(void *argument)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, 0);
	ready = 1;
	rest(20);
	reached = 1;
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, 0);
	pthread_testcancel();
	reached = 2;
	return argument;
}

static int cancelled(void *(*body)(void *), int settle)
{
	ready = 0;
	pthread_t thread = begin(body, 0);
	UNTIL(ready);
	if (settle)
		rest(10);
	return pthread_cancel(thread) == 0 && joined(thread) == PTHREAD_CANCELED;
}

static void *joins_main_never(void *argument)
{
	pthread_t other = begin(in_semaphore, 0);
	ready = 1;
	*(pthread_t *)argument = other;
	pthread_join(other, 0);
	return 0;
}

static void cancellation(void)
{
	pipe(ends);
	sem_init(&never, 0, 0);
	say("cancelled in a sleep", cancelled(in_sleep, 1));
	say("cancelled in a read", cancelled(in_read, 1));
	say("cancelled in a wait for a semaphore", cancelled(in_semaphore, 1));
	say("cancelled in a wait for a condition", cancelled(in_condition, 1) && pthread_mutex_trylock(&mutex) == 0 && pthread_mutex_unlock(&mutex) == 0);
	say("cancelled while computing", cancelled(computing, 1));
	say("cancelled where it tests for it, and cleaned up", cancelled(tests_for_it, 0) && cleaned == 11);
	say("cancelled only when it lets it", cancelled(puts_it_off, 0) && reached == 1);
	static pthread_t other;
	ready = 0;
	pthread_t thread = begin(joins_main_never, &other);
	UNTIL(ready && other);
	rest(10);
	say("cancelled in a join", pthread_cancel(thread) == 0 && joined(thread) == PTHREAD_CANCELED && pthread_cancel(other) == 0 && joined(other) == PTHREAD_CANCELED);
	int good = 1;
	for (int i = 0; i < 30; i++)
		good &= cancelled(i % 3 == 0 ? in_read : i % 3 == 1 ? in_semaphore : in_sleep, 0);
	say("cancelled at any instant", good);
}

static pthread_mutex_t robust;

/* Gone without a word to the C library: only the kernel can tell what it held. */
static void *leave_with_lock(void *argument)
{
	pthread_mutex_lock(&robust);
	(void)argument;
	syscall(SYS_exit, 0);
	return 0;
}

static void *return_with_lock(void *argument)
{
	pthread_mutex_lock(&robust);
	return argument;
}

static void *lock_and_tell(void *argument)
{
	int answer = pthread_mutex_lock(&robust);
	if (answer == EOWNERDEAD)
		pthread_mutex_consistent(&robust);
	if (answer == 0 || answer == EOWNERDEAD)
		pthread_mutex_unlock(&robust);
	*(volatile int *)argument = 1;
	return (void *)(uintptr_t)answer;
}

static void robust_locks(int shared)
{
	pthread_mutexattr_t kind;
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&kind, shared ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE);
	pthread_mutex_init(&robust, &kind);
	joined(begin(return_with_lock, 0));
	volatile int told = 0;
	say("a lock whose owner has returned", joined(begin(lock_and_tell, (void *)&told)) == (void *)EOWNERDEAD);
	say("it is as good as new", joined(begin(lock_and_tell, (void *)&told)) == (void *)0);
	if (shared) {
		/* Of others musl does not tell the kernel. */
		begin(leave_with_lock, 0);
		rest(20);
		say("a lock whose owner is gone", joined(begin(lock_and_tell, (void *)&told)) == (void *)EOWNERDEAD);
	}
	/* One that waits for it already. */
	pthread_mutex_lock(&robust);
	told = 0;
	pthread_t waiting = begin(lock_and_tell, (void *)&told);
	rest(10);
	say("a lock that is waited for", told == 0 && pthread_mutex_unlock(&robust) == 0 && joined(waiting) == (void *)0);
}

static void *lock_slowly(void *argument)
{
	pthread_mutex_lock(&robust);
	ready = 1;
	rest(30);
	(void)argument;
	syscall(SYS_exit, 0);
	return 0;
}

static void robust_waiter(void)
{
	volatile int told = 0;
	ready = 0;
	begin(lock_slowly, 0);
	UNTIL(ready);
	say("the end of the owner wakes who waits", joined(begin(lock_and_tell, (void *)&told)) == (void *)EOWNERDEAD);
}

static void *go_on_for_a_while(void *argument)
{
	rest(50);
	puts("a thread goes on without main");
	fflush(stdout);
	return argument;
}

static void *leave_all(void *argument)
{
	rest((long)argument);
	exit(7);
}

static void *spin(void *argument)
{
	(void)argument;
	for (;;)
		__asm__ volatile("pause");
}

static void *fault(void *argument)
{
	rest(10);
	*(volatile int *)argument = 1;
	return 0;
}

static void *abort_all(void *argument)
{
	(void)argument;
	abort();
}

static void *kill_all(void *argument)
{
	rest(10);
	kill(getpid(), (int)(long)argument);
	return 0;
}

static void *replace(void *argument)
{
	rest(10);
	(void)argument;
	execl("/proc/self/exe", "thread_ends", "replaced", (char *)0);
	puts("execve failed");
	exit(1);
}

static void *last_word(void *argument)
{
	rest(20);
	(void)argument;
	syscall(SYS_exit, 9);
	return 0;
}

static void end_by(const char *name)
{
	if (!strcmp(name, "main-leaves")) {
		begin(go_on_for_a_while, 0);
		pthread_exit(0);
	} else if (!strcmp(name, "main-status")) {
		begin(last_word, 0);
		/* The status is that of the last to go, whoever was first. */
		syscall(SYS_exit, 3);
	} else if (!strcmp(name, "group")) {
		begin(spin, 0);
		begin(leave_all, (void *)20);
		in_read(0);
	} else if (!strcmp(name, "group-from-spinning")) {
		begin(leave_all, (void *)20);
		spin(0);
	} else if (!strcmp(name, "return")) {
		begin(spin, 0);
		begin(in_read, 0);
		rest(10);
		exit(5);
	} else if (!strcmp(name, "fault")) {
		begin(fault, (void *)16);
		in_read(0);
	} else if (!strcmp(name, "abort")) {
		begin(abort_all, 0);
		in_read(0);
	} else if (!strcmp(name, "signal")) {
		begin(kill_all, (void *)SIGTERM);
		spin(0);
	} else if (!strcmp(name, "kill")) {
		begin(kill_all, (void *)SIGKILL);
		in_read(0);
	} else if (!strcmp(name, "exec")) {
		begin(spin, 0);
		begin(replace, 0);
		in_read(0);
	} else if (!strcmp(name, "replaced")) {
		printf("another program, its first thread: %s\n", own_tid() == getpid() ? "ok" : "WRONG");
		say("it can have threads", joined(begin(go_on_for_a_while, (void *)5)) == (void *)5);
	}
}

int main(int argc, char **argv)
{
	pipe(ends);
	if (argc > 1) {
		end_by(argv[1]);
		return 0;
	}
	cancellation();
	robust_locks(0);
	robust_locks(1);
	robust_waiter();
	return 0;
}
