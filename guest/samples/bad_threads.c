/*
 * Threads that misbehave: they take all there is, send signals without end, or change what a system call of another is reading.
 * `bad-threads NAME` does so and prints what became of it; `leave_threads` can be called in a fork.
 */
#define _GNU_SOURCE
#include "threading.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static volatile int over;
static volatile long handled;

static long futex(volatile int *word, int operation, int value, long fourth, volatile int *second, int third)
{
	return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, fourth, second, third);
}

static void *wait_for_end(void *argument)
{
	while (!over)
		futex(&over, FUTEX_WAIT, 0, 0, 0, 0);
	return argument;
}

/* Threads until none can be made, twice; then all end. */
static void bomb(void)
{
	enum { most = 40000 };
	static pthread_t threads[most];
	long counts[2];
	int error = 0;
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 16384);
	for (int round = 0; round < 2; round++) {
		long count = 0;
		over = 0;
		while (count < most && (error = pthread_create(&threads[count], &small, wait_for_end, 0)) == 0)
			count++;
		over = 1;
		futex(&over, FUTEX_WAKE, 0x7fffffff, 0, 0, 0);
		for (long i = 0; i < count; i++)
			joined(threads[i]);
		counts[round] = count;
	}
	printf("threads end at a limit: %s\n", error == EAGAIN && counts[0] > 100 ? "ok" : "WRONG");
	printf("all of them come back: %s\n", counts[0] == counts[1] ? "ok" : "WRONG");
}

static void count_signal(int number)
{
	(void)number;
	__atomic_add_fetch(&handled, 1, __ATOMIC_SEQ_CST);
}

enum { senders = 8 };
static pthread_t storming[senders];
static pthread_barrier_t all_sent;

static void *send_signals(void *argument)
{
	unsigned state = (unsigned)(uintptr_t)argument * 7919 + 1;
	pthread_barrier_wait(&all_sent);
	for (int i = 0; i < 3000; i++) {
		state = state * 1664525 + 1013904223;
		int number = state >> 30 == 0 ? SIGRTMIN + 3 : state >> 30 == 1 ? SIGUSR1 : SIGUSR2;
		pthread_kill(storming[(state >> 8) % senders], number);
		if (i % 16 == 0)
			kill(getpid(), SIGUSR1);
		if (i % 64 == 0)
			sched_yield();
	}
	/* Nobody ends while others may still send to it. */
	pthread_barrier_wait(&all_sent);
	return 0;
}

/* Eight threads send signals to each other and to all, with handlers that let calls go on and ones that do not. */
static void storm(void)
{
	struct sigaction action = { .sa_handler = count_signal };
	sigaction(SIGUSR1, &action, 0);
	action.sa_flags = SA_RESTART | SA_NODEFER;
	sigaction(SIGUSR2, &action, 0);
	/* These queue up: handlers within handlers would need more stack than a thread has. */
	action.sa_flags = SA_RESTART;
	sigaction(SIGRTMIN + 3, &action, 0);
	pthread_barrier_init(&all_sent, 0, senders);
	for (int i = 0; i < senders; i++)
		storming[i] = begin(send_signals, (void *)(uintptr_t)i);
	int ended = 0;
	for (int i = 0; i < senders; i++)
		ended += joined(storming[i]) == 0;
	printf("a storm of signals passes: %s\n", ended == senders && handled > 100 ? "ok" : "WRONG");
}

static volatile struct iovec changing[64];
static volatile char path[64];
static struct sockaddr_un name = { .sun_family = AF_UNIX };
static volatile struct pollfd polled[16];
static volatile struct timespec span;

/* Changes without end, and never calls, what the system calls of `call_with_changing` are given. */
static void *change(void *argument)
{
	static char memory[4096];
	for (unsigned state = 1; !over; state = state * 1664525 + 1013904223) {
		unsigned which = state >> 26;
		changing[which].iov_base = state & 1 ? memory : (void *)(uintptr_t)(state << 12);
		changing[which].iov_len = state & 6 ? state >> 20 : (size_t)-1;
		path[which % 40] = (char)(state & 8 ? '/' : state & 16 ? 'a' : 0);
		path[0] = '/';
		name.sun_path[which] = (char)(state >> 8);
		name.sun_family = state & 32 ? AF_UNIX : (sa_family_t)state;
		polled[which % 16].fd = (int)(state & 64 ? 0 : state);
		span.tv_nsec = state & 128 ? 1 : -1;
	}
	return argument;
}

static void call_with_changing(void)
{
	int ends[2], null = open("/dev/null", O_RDWR);
	pipe2(ends, O_NONBLOCK);
	pthread_t changer = begin(change, 0);
	long good = 0, calls = 0;
	char buffer[4096];
	struct timespec none = { 0, 0 };
	for (long long last = now_ns() + 1000000000; now_ns() < last;) {
		long answers[8];
		answers[0] = writev(null, (struct iovec *)changing, 64);
		answers[1] = writev(ends[1], (struct iovec *)changing, 64);
		answers[2] = read(ends[0], buffer, sizeof buffer);
		answers[3] = open((char *)path, O_RDONLY | O_NONBLOCK);
		if (answers[3] >= 0)
			close((int)answers[3]);
		int socket_fd = socket(AF_UNIX, SOCK_STREAM, 0);
		answers[4] = socket_fd < 0 ? -1 : connect(socket_fd, (struct sockaddr *)&name, sizeof name);
		close(socket_fd);
		answers[5] = ppoll((struct pollfd *)polled, 16, &none, 0);
		answers[6] = nanosleep((struct timespec *)&span, 0);
		answers[7] = readv(ends[0], (struct iovec *)changing, 64);
		for (int i = 0; i < 8; i++) {
			calls++;
			good += answers[i] >= -1;
		}
	}
	over = 1;
	joined(changer);
	printf("calls whose arguments change meanwhile: %s\n", good == calls && calls > 100 ? "ok" : "WRONG");
}

static char *page;
static volatile long answered;
static int silent[2];

static void *read_into_page(void *argument)
{
	(void)argument;
	answered = read(silent[0], page, 100);
	if (answered == -1)
		answered = -errno;
	return 0;
}

static void *wait_on_page(void *argument)
{
	struct timespec until = { 0, 600000000 };
	(void)argument;
	answered = futex((int *)page, FUTEX_WAIT, 0, (long)&until, 0, 0);
	if (answered == -1)
		answered = -errno;
	return 0;
}

/* Takes away memory that a call which waits is going to use. */
static void unmap_meanwhile(void)
{
	pipe(silent);
	page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t thread = begin(read_into_page, 0);
	rest(200);
	munmap(page, 4096);
	write(silent[1], "bytes", 5);
	joined(thread);
	printf("a read whose memory is gone: %s\n", answered == -EFAULT ? "ok" : "WRONG");
	page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	thread = begin(wait_on_page, 0);
	rest(200);
	munmap(page, 4096);
	joined(thread);
	printf("a wait on a word that is gone: %s\n", answered == -ETIMEDOUT ? "ok" : "WRONG");
	page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pipe(silent);
	thread = begin(read_into_page, 0);
	rest(200);
	close(silent[0]);
	write(silent[1], "bytes", 5);
	joined(thread);
	/* A read that waits holds its file: closing the descriptor does not end it. */
	printf("a read whose descriptor is closed: %s\n", answered == 5 ? "ok" : "WRONG");
}

enum { waiters = 100, rounds = 100 };
static volatile int generation, arrived;

static void *wait_for_rounds(void *argument)
{
	for (int i = 0; i < rounds; i++) {
		__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
		while (generation == i)
			futex(&generation, FUTEX_WAIT, i, 0, 0, 0);
	}
	return argument;
}

/* A hundred threads, woken all at once a hundred times. */
static void wake_many(void)
{
	pthread_t threads[waiters];
	long woken = 0;
	for (int i = 0; i < waiters; i++)
		threads[i] = begin(wait_for_rounds, 0);
	for (int i = 0; i < rounds; i++) {
		while (arrived < waiters * (i + 1))
			sched_yield();
		generation = i + 1;
		woken += futex(&generation, FUTEX_WAKE, 0x7fffffff, 0, 0, 0);
	}
	for (int i = 0; i < waiters; i++)
		joined(threads[i]);
	printf("ten thousand wake-ups: %s\n", woken > 0 && woken <= waiters * rounds ? "ok" : "WRONG");
}

static void *spin_for_ever(void *argument)
{
	(void)argument;
	for (;;)
		__asm__ volatile("pause");
}

/* All wait for what never comes: only a time-out ends it. */
static void deadlock(void)
{
	begin(wait_for_end, 0);
	wait_for_end(0);
}

/* The thread's stack is gone when it runs on. */
static void unmap_stack(void)
{
	char *stack = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_t own;
	pthread_attr_init(&own);
	pthread_attr_setstack(&own, stack, 65536);
	pthread_t thread;
	pthread_create(&thread, &own, wait_for_end, 0);
	rest(10);
	munmap(stack, 65536);
	over = 1;
	futex(&over, FUTEX_WAKE, 1, 0, 0, 0);
	rest(1000);
	puts("no fault");
}

static void misbehave(const char *how)
{
	if (!strcmp(how, "bomb"))
		bomb();
	else if (!strcmp(how, "storm"))
		storm();
	else if (!strcmp(how, "changing"))
		call_with_changing();
	else if (!strcmp(how, "unmap"))
		unmap_meanwhile();
	else if (!strcmp(how, "wakes"))
		wake_many();
	else if (!strcmp(how, "spin")) {
		begin(spin_for_ever, 0);
		spin_for_ever(0);
	} else if (!strcmp(how, "deadlock"))
		deadlock();
	else if (!strcmp(how, "stack"))
		unmap_stack();
	fflush(stdout);
}

/* For a fork: threads that spin, wait and make more stay behind. */
__attribute__((visibility("default"))) long leave_threads(long count)
{
	pthread_t thread;
	long made = 0;
	for (long i = 0; i < count; i++)
		made += pthread_create(&thread, 0, i % 2 ? spin_for_ever : wait_for_end, 0) == 0;
	rest(5);
	return made;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		misbehave(argv[i]);
	return 0;
}
