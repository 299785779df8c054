/*
 * Functions that arm timers and wait for them, for tests of forks and resets. `alarms PATH` writes a file up to the limit
 * of its size instead.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pristine.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((used, noinline, visibility("default")))

static volatile uint32_t count, last_overruns;
static timer_t timer;
static int made;
static sigjmp_buf way_out;

static void on_timer(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	last_overruns = (uint32_t)info->si_overrun;
	count++;
}

static void counted(int number)
{
	(void)number;
	count++;
}

static void leave(int number)
{
	(void)number;
	siglongjmp(way_out, 1);
}

/* With `dated` the span is added to the clock's time now, and the sum set as a date. */
EXPORT int arm(uint32_t clock, uint64_t first_ns, uint64_t period_ns, uint32_t dated)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 4 };
	if (!made && timer_create((clockid_t)clock, &event, &timer) != 0)
		return -errno;
	made = 1;
	struct timespec now = { 0, 0 };
	if (dated)
		clock_gettime((clockid_t)clock, &now);
	first_ns += (uint64_t)now.tv_nsec;
	struct itimerspec value = {
		{ (long)(period_ns / 1000000000), (long)(period_ns % 1000000000) },
		{ now.tv_sec + (long)(first_ns / 1000000000), (long)(first_ns % 1000000000) },
	};
	return timer_settime(timer, dated ? TIMER_ABSTIME : 0, &value, 0);
}

EXPORT int disarm(void) { return made ? timer_delete(timer) : -1; }
EXPORT uint32_t fired(void) { return count; }
EXPORT uint32_t overruns(void) { return last_overruns; }

EXPORT uint32_t spin_until(uint32_t wanted)
{
	while (count < wanted)
		__asm__ volatile("");
	return count;
}

EXPORT void look_at_clock_until_fired(void)
{
	uint32_t before = count;
	struct timespec time;
	while (count == before)
		clock_gettime(CLOCK_MONOTONIC, &time);
}

/* Work in registers of every kind, which no interruption may change. */
EXPORT uint64_t busy(uint32_t rounds)
{
	double a = 1, b = 0.5;
	uint64_t x = 88172645463325252ull;
	for (uint32_t i = 0; i < rounds; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		a = a * 1.0000001 + b;
		b = b * 0.9999999;
	}
	return x ^ (uint64_t)(a * 1000) ^ (uint64_t)(b * 1000000);
}

EXPORT int queue(int value)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 5);
	sigprocmask(SIG_BLOCK, &set, 0);
	return sigqueue(getpid(), SIGRTMIN + 5, (union sigval){ .sival_int = value });
}

/* How many timers can be made. */
EXPORT int make_all(void)
{
	timer_t another;
	int number = 0;
	while (number < 1000 && timer_create(CLOCK_MONOTONIC, 0, &another) == 0)
		number++;
	return errno == EAGAIN ? number : -errno;
}

EXPORT int waiting(void)
{
	sigset_t set;
	sigpending(&set);
	return sigismember(&set, SIGRTMIN + 5);
}

/* The rights of protection keys; -1 where there are none. */
EXPORT int key_rights(void)
{
	uint32_t low, high;
	signal(SIGILL, leave);
	if (sigsetjmp(way_out, 1))
		return -1;
	__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(low), "=d"(high) : "c"(0));
	return (int)low;
}

/* Bit 0 takes away everything that has key 0, which is everything. */
EXPORT __attribute__((naked)) int take_key_rights(uint32_t rights)
{
	__asm__("movl %edi, %eax; xorl %ecx, %ecx; xorl %edx, %edx; .byte 0x0f, 0x01, 0xef; ret");
}

static void say(const char *name, int good)
{
	printf("%s: %s\n", name, good ? "ok" : "WRONG");
}

static int write_to_limit(const char *path)
{
	static char bytes[600];
	struct rlimit limit = { 1000, RLIM_INFINITY };
	setrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGXFSZ, counted);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	say("a write up to the limit", write(fd, bytes, 600) == 600 && write(fd, bytes, 600) == 400 && count == 0);
	say("SIGXFSZ", write(fd, bytes, 600) == -1 && errno == EFBIG && count == 1);
	say("a longer file", ftruncate(fd, 1001) == -1 && errno == EFBIG && count == 2);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return write_to_limit(argv[1]);
	struct sigaction action = { .sa_sigaction = on_timer, .sa_flags = SA_SIGINFO };
	sigaction(SIGRTMIN + 4, &action, 0);
	pristine_ready();
	return 0;
}
