/*
 * Several threads that poll: what one is told of, who is told when several wait on one set, and what wakes them. Prints what
 * it saw; on Linux itself it prints the same.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 200 };

static int set, event, answer;
static atomic_int told, waiting;

static int control(int operation, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event one = { .events = events, .data.u64 = data };
	return epoll_ctl(set, operation, fd, &one);
}

/* Until all but the main thread sleep, as far as that can be known. */
static void let_wait(int count)
{
	while (waiting < count)
		sched_yield();
	usleep(20000);
}

/* Each event goes to one of those that wait; 99 ends a thread. */
static void *worker(void *unused)
{
	(void)unused;
	for (;;) {
		struct epoll_event one;
		waiting++;
		int count = epoll_wait(set, &one, 1, -1);
		waiting--;
		if (count != 1)
			return (void *)1;
		if (one.data.u64 == 99)
			return 0;
		told++;
		eventfd_write(answer, 1);
	}
}

static void share(const char *what, uint32_t flags)
{
	pthread_t threads[THREADS];
	uint64_t value;
	set = epoll_create1(0), event = eventfd(0, EFD_NONBLOCK), answer = eventfd(0, 0);
	told = 0, waiting = 0;
	control(EPOLL_CTL_ADD, event, EPOLLIN | flags, 1);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], 0, worker, 0);
	let_wait(THREADS);
	for (int round = 0; round < ROUNDS; round++) {
		eventfd_write(event, 1);
		/* Exactly one answers. */
		eventfd_read(answer, &value);
		if (flags & EPOLLONESHOT) {
			eventfd_read(event, &value);
			control(EPOLL_CTL_MOD, event, EPOLLIN | flags, 1);
		}
	}
	usleep(20000);
	printf("%s: %d told, %lu more\n", what, told, (unsigned long)(read(answer, &value, 0) == -1 ? 0 : 1));
	int end = eventfd(1, 0);
	control(EPOLL_CTL_ADD, end, EPOLLIN, 99);
	for (int i = 0; i < THREADS; i++) {
		void *result;
		pthread_join(threads[i], &result);
		if (result)
			printf("a thread failed\n");
	}
	close(end), close(set), close(event), close(answer);
}

/* What another thread sleeps in, and what wakes it. */
struct sleeper { const char *what; int (*sleep)(void); };

static int ends[2], timer, signals;

static int sleep_in_poll(void) { return poll(&(struct pollfd){ ends[0], POLLIN, 0 }, 1, -1); }
static int sleep_in_select(void)
{
	fd_set in;
	FD_ZERO(&in);
	FD_SET(ends[0], &in);
	return select(ends[0] + 1, &in, 0, 0, 0);
}
static int sleep_in_epoll(void)
{
	struct epoll_event one;
	return epoll_wait(set, &one, 1, -1);
}
static int sleep_in_read(void)
{
	uint64_t value = 0;
	return read(event, &value, sizeof value) == sizeof value ? (int)value : -1;
}
static int sleep_in_timer(void)
{
	uint64_t value = 0;
	return read(timer, &value, sizeof value) == sizeof value ? 1 : -1;
}
static int sleep_in_signals(void)
{
	struct signalfd_siginfo info;
	return read(signals, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : -1;
}
static int sleep_in_write(void)
{
	uint64_t value = UINT64_MAX - 1;
	return (int)write(event, &value, sizeof value);
}

static void *sleeping(void *one)
{
	const struct sleeper *sleeper = one;
	waiting++;
	printf("%s: %d\n", sleeper->what, sleeper->sleep());
	return 0;
}

static pthread_t begin(struct sleeper *sleeper)
{
	pthread_t thread;
	waiting = 0;
	pthread_create(&thread, 0, sleeping, sleeper);
	let_wait(1);
	return thread;
}

static void wake(void)
{
	static struct sleeper sleepers[] = {
		{ "poll", sleep_in_poll }, { "select", sleep_in_select }, { "epoll", sleep_in_epoll }, { "epoll, added meanwhile", sleep_in_epoll },
		{ "epoll, the last writer gone", sleep_in_epoll }, { "eventfd", sleep_in_read }, { "eventfd, full", sleep_in_write },
		{ "timerfd set meanwhile", sleep_in_timer }, { "signalfd", sleep_in_signals },
	};
	char byte = 0;
	uint64_t value;
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &mask, 0);
	signals = signalfd(-1, &mask, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
	set = epoll_create1(0), event = eventfd(0, 0);
	if (pipe(ends))
		return;
	control(EPOLL_CTL_ADD, ends[0], EPOLLIN, 1);
	for (int i = 0; i < 9; i++) {
		pthread_t thread = i == 6 ? 0 : begin(&sleepers[i]);
		if (i < 3 && (write(ends[1], "x", 1) != 1 || usleep(1000) || pthread_join(thread, 0) || read(ends[0], &byte, 1) != 1))
			printf("the pipe failed\n");
		if (i == 3)
			eventfd_write(event, 1), control(EPOLL_CTL_ADD, event, EPOLLIN | EPOLLONESHOT, 2);
		if (i == 4)
			close(ends[1]);
		if (i == 5)
			eventfd_write(event, 41);
		if (i == 6) {
			eventfd_write(event, 5);
			thread = begin(&sleepers[i]);
			eventfd_read(event, &value);
		}
		if (i == 7)
			timerfd_settime(timer, 0, &(struct itimerspec){ { 0, 0 }, { 0, 10000000 } }, 0);
		if (i == 8)
			kill(getpid(), SIGUSR1);
		if (i > 2)
			pthread_join(thread, 0);
		if (i == 3)
			eventfd_read(event, &value);
	}
}

/* A timer wakes one thread while another has the processor and never waits. */
static void *until_timer(void *unused)
{
	(void)unused;
	struct epoll_event one;
	told = epoll_wait(set, &one, 1, 60000);
	return 0;
}

static void busy(void)
{
	pthread_t thread;
	set = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0), told = 0;
	control(EPOLL_CTL_ADD, timer, EPOLLIN, 1);
	timerfd_settime(timer, 0, &(struct itimerspec){ { 0, 0 }, { 0, 30000000 } }, 0);
	pthread_create(&thread, 0, until_timer, 0);
	time_t start = time(0);
	while (!told && time(0) - start < 20)
		;
	printf("woken beside a busy thread: %d\n", told);
	pthread_join(thread, 0);
}

int main(void)
{
	setvbuf(stdout, 0, _IOLBF, 0);
	share("edge", EPOLLET);
	share("once", EPOLLONESHOT);
	wake();
	busy();
	return 0;
}
