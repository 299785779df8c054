/*
 * Threads in the middle of everything that a thread can be in the middle of, when the program says that it is ready: spinning
 * with live registers, asleep, in each kind of wait with and without a time. Behind that it wakes them all, and tells what
 * became of each. Every fork of such an instant must print the same.
 */
#define _GNU_SOURCE
#include "threading.h"
#include <fenv.h>
#include <poll.h>
#include <pristine.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static volatile int over, waiting;
static int ends[2], pair[2], counter_fd, epoll_fd;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static _Thread_local long own;

static void begun(void)
{
	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
}

/* Values in registers of all kinds, in a loop that another thread ends. */
static void *spin(void *argument)
{
	uint64_t values[4] = { (uintptr_t)argument, ~(uintptr_t)argument, 3, 4 }, after[4];
	long general = 77 + (long)argument;
	fesetround((long)argument % 2 ? FE_UPWARD : FE_DOWNWARD);
	own = general;
	begun();
	__asm__ volatile("movups (%[values]), %%xmm7; movups 16(%[values]), %%xmm11; 1: addq $1, %[general]; subq $1, %[general]; cmpl $0, (%[over]); je 1b;"
		"movups %%xmm7, (%[after]); movups %%xmm11, 16(%[after])"
		: [general] "+r"(general) : [values] "r"(values), [after] "r"(after), [over] "r"(&over) : "xmm7", "xmm11", "memory", "cc");
	int good = memcmp(values, after, sizeof values) == 0 && general == 77 + (long)argument && own == general;
	return (void *)(uintptr_t)(good && fegetround() == ((long)argument % 2 ? FE_UPWARD : FE_DOWNWARD));
}

static void *in_sleep(void *argument)
{
	begun();
	long long start = now_ns();
	rest(300);
	(void)argument;
	long long took = now_ns() - start;
	if (took < 299000000)
		printf("asleep for %lld ns only\n", took);
	return (void *)(uintptr_t)(took >= 299000000);
}

static void *in_read(void *argument)
{
	char text[16] = "";
	begun();
	(void)argument;
	return (void *)(uintptr_t)(read(ends[0], text, sizeof text) == 5 && !strcmp(text, "piped"));
}

static void *in_receive(void *argument)
{
	char text[16] = "";
	begun();
	(void)argument;
	return (void *)(uintptr_t)(recv(pair[0], text, sizeof text, 0) == 6 && !strcmp(text, "paired"));
}

/* Fills a pipe that nobody reads, until somebody does. */
static void *in_write(void *argument)
{
	static char much[200000];
	begun();
	return (void *)(uintptr_t)(write(((int *)argument)[1], much, sizeof much) == sizeof much);
}

static void *in_condition(void *argument)
{
	pthread_mutex_lock(&mutex);
	begun();
	while (!over)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
	(void)argument;
	return (void *)1;
}

static void *in_timed_semaphore(void *argument)
{
	struct timespec until = after(CLOCK_REALTIME, 60000);
	begun();
	(void)argument;
	return (void *)(uintptr_t)(sem_timedwait(&semaphore, &until) == 0);
}

static void *in_mutex(void *argument)
{
	begun();
	pthread_mutex_lock(argument);
	pthread_mutex_unlock(argument);
	return (void *)1;
}

static void *in_signal_wait(void *argument)
{
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 4);
	begun();
	(void)argument;
	return (void *)(uintptr_t)(sigwaitinfo(&set, &info) == SIGRTMIN + 4 && info.si_value.sival_int == 42);
}

static void *in_poll(void *argument)
{
	struct pollfd one = { .fd = counter_fd, .events = POLLIN };
	begun();
	(void)argument;
	return (void *)(uintptr_t)(poll(&one, 1, 60000) == 1 && one.revents == POLLIN);
}

static void *in_epoll(void *argument)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 1234 };
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, counter_fd, &event);
	begun();
	(void)argument;
	return (void *)(uintptr_t)(epoll_wait(epoll_fd, &event, 1, -1) == 1 && event.data.u64 == 1234);
}

static void *in_join(void *argument)
{
	begun();
	return joined(*(pthread_t *)argument);
}

enum { all = 13 };
static const char *const names[all] = { "spinning", "spinning, rounding up", "asleep", "reading", "receiving", "writing", "waiting for a condition", "waiting for a semaphore", "waiting for a mutex", "waiting for a signal", "polling", "polling a set", "joining" };

int main(void)
{
	static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
	static char drain[300000];
	int narrow[2];
	pthread_t threads[all];
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 4);
	pthread_sigmask(SIG_BLOCK, &set, 0);
	pipe(ends);
	pipe(narrow);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	counter_fd = eventfd(0, 0);
	epoll_fd = epoll_create1(0);
	sem_init(&semaphore, 0, 0);
	pthread_mutex_lock(&held);
	void *(*const bodies[all])(void *) = { spin, spin, in_sleep, in_read, in_receive, in_write, in_condition, in_timed_semaphore, in_mutex, in_signal_wait, in_poll, in_epoll, in_join };
	void *const arguments[all] = { (void *)0, (void *)1, 0, 0, 0, narrow, 0, 0, &held, 0, 0, 0, &threads[0] };
	for (int i = 0; i < all; i++)
		threads[i] = begin(bodies[i], arguments[i]);
	UNTIL(waiting == all);
	rest(30);
	pristine_ready();

	write(ends[1], "piped", 5);
	send(pair[1], "paired", 6, 0);
	uint64_t one = 1;
	write(counter_fd, &one, sizeof one);
	sem_post(&semaphore);
	pthread_mutex_unlock(&held);
	sigqueue(getpid(), SIGRTMIN + 4, (union sigval){ .sival_int = 42 });
	for (size_t left = 200000; left > 0;)
		left -= (size_t)read(narrow[0], drain, sizeof drain);
	pthread_mutex_lock(&mutex);
	over = 1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	/* The last one joins the first. */
	for (int i = 1; i < all; i++)
		say(names[i], joined(threads[i]) == (void *)1);
	return 0;
}
