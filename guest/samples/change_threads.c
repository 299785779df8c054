/*
 * What a request may do with threads, for tests of resets: the image has a worker that waits, and requests wake it, send it
 * signals, let it wait elsewhere, and make threads of their own that wait, spin, sleep or end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "change.h"

#define EXPORT __attribute__((used, noinline, visibility("default")))
enum { COMMANDS = 3, WORK_SIGNAL = 50 };

static int commands[2];
static volatile uint32_t word;
static volatile uint64_t sent, done, seen, signalled;
static volatile pid_t worker_id;
static volatile uint32_t mxcsr_seen;

static void on_signal(int signal)
{
	(void)signal;
	signalled++;
}

static void pause_ms(long ms)
{
	struct timespec span = { 0, ms * 1000000 };
	nanosleep(&span, 0);
}

static void set_state(unsigned value)
{
	char name[16] = "worker 0";
	unsigned mxcsr = 0x1f80 ^ (value & 0x6000);
	sigset_t set;

	name[7] = (char)('0' + value % 10);
	prctl(PR_SET_NAME, name);
	sigemptyset(&set);
	sigaddset(&set, (int)(1 + value % 30));
	pthread_sigmask(SIG_SETMASK, &set, 0);
	__asm__ volatile("ldmxcsr %0" :: "m"(mxcsr));
}

/* Waits for a command, in one of several ways; each command says how the next one is waited for. */
static void *work(void *unused)
{
	unsigned char command = 0;
	(void)unused;
	worker_id = (pid_t)syscall(SYS_gettid);
	for (;;) {
		struct pollfd entry = { commands[0], POLLIN, 0 };
		if (command % 4 == 1)
			poll(&entry, 1, 3600 * 1000);
		else if (command % 4 == 2)
			syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, word, 0, 0, 0);
		if (read(commands[0], &command, 1) != 1)
			continue;
		seen = seen * 31 + command;
		if (command < 128)
			set_state(command);
		__asm__ volatile("stmxcsr %0" : "=m"(mxcsr_seen));
		done++;
	}
	return 0;
}

static void *wait_for_ever(void *at)
{
	for (;;)
		syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, *(volatile uint32_t *)at, 0, 0, 0);
}

static void *spin(void *unused)
{
	(void)unused;
	for (;;)
		__asm__ volatile("");
}

static void *end(void *unused) { return unused; }

static long make(void *(*run)(void *), void *argument)
{
	pthread_t thread;
	pthread_attr_t attributes;
	int rc;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 32768);
	rc = pthread_create(&thread, &attributes, run, argument);
	pthread_attr_destroy(&attributes);
	return -rc;
}

static long command(unsigned char value)
{
	/* It may wait on the word before it reads. */
	word++;
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 8, 0, 0, 0);
	sent++;
	return write(commands[1], &value, 1);
}

long change_threads(uint64_t what, uint64_t value)
{
	switch (what % 8) {
	case 0: return make(wait_for_ever, (void *)&word);
	case 1: return make(end, 0) + (pause_ms(1), 0);
	case 2: return value % 4 ? make(wait_for_ever, (void *)&seen) : make(spin, 0);
	case 3: case 4: {
		long rc = command((unsigned char)(value & 127));
		pause_ms(1);
		return rc;
	}
	case 5: return command((unsigned char)(value & 127));
	case 6: {
		long rc = syscall(SYS_tgkill, getpid(), worker_id, WORK_SIGNAL);
		if (value & 1)
			pause_ms(1);
		return rc;
	}
	default: return syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
	}
}

/* What the worker has seen and what it is like; it is given something to do, and may have something left to do before that. */
EXPORT long thread_sum(void)
{
	uint64_t before = done, sum;

	command(129);
	for (int round = 0; round < 2000 && done != sent; round++)
		pause_ms(1);
	sum = (seen * 1000003 + signalled) * 1000003 + mxcsr_seen;
	return (long)(sum * 31 + (done - before) * 7 + (uint64_t)done);
}

void prepare_threads(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	sigaction(WORK_SIGNAL, &action, 0);
	if (pipe(commands) != 0 || make(work, 0) != 0)
		_exit(COMMANDS);
	while (worker_id == 0)
		pause_ms(1);
	command(2);
	pause_ms(5);
}
