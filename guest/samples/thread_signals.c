/* Signals among threads: whose they are, whose handler runs where, what they interrupt. Prints the same natively. */
#define _GNU_SOURCE
#include "threading.h"
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

static volatile int count, handled_by, over;
static volatile siginfo_t last;
static volatile uintptr_t handler_stack;

static void remember(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	last = *info;
	handled_by = own_tid();
	handler_stack = (uintptr_t)__builtin_frame_address(0);
	__atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };
	sigemptyset(&action.sa_mask);
	sigaction(number, &action, 0);
}

static void mask(int how, int number)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, number);
	pthread_sigmask(how, &set, 0);
}

static int is_pending(int number)
{
	sigset_t set;
	sigpending(&set);
	return sigismember(&set, number);
}

struct sleeper {
	pthread_t thread;
	volatile pid_t tid;
	volatile int lets_in, go_on, interrupted;
};

static void *doze(void *argument)
{
	struct sleeper *self = argument;
	mask(self->lets_in ? SIG_UNBLOCK : SIG_BLOCK, SIGUSR1);
	self->tid = own_tid();
	while (!self->go_on) {
		struct timespec span = { 5, 0 };
		if (nanosleep(&span, 0) == -1 && errno == EINTR)
			self->interrupted++;
	}
	return 0;
}

static void start_sleeper(struct sleeper *sleeper, int lets_in)
{
	*sleeper = (struct sleeper){ .lets_in = lets_in };
	sleeper->thread = begin(doze, sleeper);
	UNTIL(sleeper->tid);
	rest(10);
}

static void end_sleeper(struct sleeper *sleeper)
{
	sleeper->go_on = 1;
	pthread_kill(sleeper->thread, SIGUSR2);
	joined(sleeper->thread);
}

static void whose(void)
{
	struct sleeper closed, open;
	handle(SIGUSR1, remember, 0);
	handle(SIGUSR2, remember, 0);
	mask(SIG_BLOCK, SIGUSR1);
	start_sleeper(&closed, 0);
	start_sleeper(&open, 1);
	kill(getpid(), SIGUSR1);
	say("a signal of the process's goes to a thread that lets it in", UNTIL(count == 1) && handled_by == open.tid && last.si_code == SI_USER);
	say("and interrupts that one's sleep", UNTIL(open.interrupted == 1) && closed.interrupted == 0);
	pthread_kill(open.thread, SIGUSR1);
	say("pthread_kill", UNTIL(count == 2) && handled_by == open.tid && last.si_code == SI_TKILL && last.si_pid == getpid());
	pthread_kill(closed.thread, SIGUSR1);
	rest(20);
	say("a thread's own signal waits for that thread", count == 2 && closed.interrupted == 0 && !is_pending(SIGUSR1));
	end_sleeper(&open);
	count = 0;
	kill(getpid(), SIGUSR1);
	rest(20);
	say("the process's waits for any", count == 0 && is_pending(SIGUSR1));
	start_sleeper(&open, 1);
	say("and a new thread that lets it in has it", UNTIL(count == 1) && handled_by == open.tid && !is_pending(SIGUSR1));
	end_sleeper(&open);
	end_sleeper(&closed);
	count = 0;
	mask(SIG_UNBLOCK, SIGUSR1);
	kill(getpid(), SIGUSR1);
	say("the main thread takes it when it can", count == 1 && handled_by == getpid());
}

static void *inherited(void *argument)
{
	sigset_t set;
	pthread_sigmask(SIG_SETMASK, 0, &set);
	stack_t stack;
	sigaltstack(0, &stack);
	(void)argument;
	return (void *)(uintptr_t)(sigismember(&set, SIGHUP) && !sigismember(&set, SIGUSR1) && !is_pending(SIGHUP) && stack.ss_flags == SS_DISABLE);
}

static void inheriting(void)
{
	static char alternate[65536];
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
	sigaltstack(&stack, 0);
	mask(SIG_BLOCK, SIGHUP);
	pthread_kill(pthread_self(), SIGHUP);
	say("a thread has its maker's mask, and neither its signals nor its other stack", joined(begin(inherited, 0)) == (void *)1 && is_pending(SIGHUP));
	signal(SIGHUP, SIG_IGN);
	mask(SIG_UNBLOCK, SIGHUP);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, 0);
}

static void *on_own_stack(void *argument)
{
	char *memory = malloc(65536);
	stack_t stack = { .ss_sp = memory, .ss_size = 65536 }, now;
	sigaltstack(&stack, 0);
	int good = 1;
	for (int i = 0; i < 200; i++) {
		/* Only this thread uses SIGUSR1 at a time, but others run meanwhile. */
		pthread_mutex_lock(argument);
		raise(SIGUSR1);
		good &= handler_stack - (uintptr_t)memory < 65536 && handled_by == own_tid();
		pthread_mutex_unlock(argument);
	}
	sigaltstack(0, &now);
	good &= now.ss_sp == memory && now.ss_flags == 0;
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, 0);
	free(memory);
	return (void *)(uintptr_t)good;
}

static _Thread_local sigjmp_buf way_out;
static _Thread_local volatile uintptr_t fault_address;

static void escape(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	fault_address = (uintptr_t)info->si_addr;
	siglongjmp(way_out, 1);
}

static void *fault_often(void *argument)
{
	volatile int mended = 0;
	for (volatile uintptr_t i = 0; i < 100; i++) {
		uintptr_t address = (uintptr_t)argument * 4096 + i;
		if (sigsetjmp(way_out, 1) == 0)
			*(volatile char *)address = 1;
		else
			mended += fault_address == address;
	}
	return (void *)(uintptr_t)(mended == 100);
}

static void stacks_and_faults(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_t threads[4];
	int good = 1;
	handle(SIGUSR1, remember, SA_ONSTACK);
	for (int i = 0; i < 4; i++)
		threads[i] = begin(on_own_stack, &mutex);
	for (int i = 0; i < 4; i++)
		good &= joined(threads[i]) == (void *)1;
	say("each thread has its alternate stack", good);
	handle(SIGSEGV, escape, 0);
	for (uintptr_t i = 0; i < 4; i++)
		threads[i] = begin(fault_often, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		good &= joined(threads[i]) == (void *)1;
	say("each thread mends its faults", good);
}

static void *await_signal(void *argument)
{
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	long sum = 0;
	for (int i = 0; i < 3; i++)
		if (sigwaitinfo(&set, &info) == SIGRTMIN + 1)
			sum = sum * 10 + info.si_value.sival_int;
	(void)argument;
	return (void *)sum;
}

static void *await_none(void *argument)
{
	sigset_t set;
	struct timespec span = { 0, 20000000 };
	long long start = now_ns();
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	int good = sigtimedwait(&set, 0, &span) == -1 && errno == EAGAIN && now_ns() - start >= 19000000;
	(void)argument;
	return (void *)(uintptr_t)good;
}

static void *any_of_two(void *argument)
{
	sigset_t set;
	int number = 0;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigwait(&set, &number);
	__atomic_add_fetch((int *)argument, 1, __ATOMIC_SEQ_CST);
	return (void *)(uintptr_t)number;
}

static void waiting(void)
{
	mask(SIG_BLOCK, SIGRTMIN + 1);
	mask(SIG_BLOCK, SIGUSR2);
	pthread_t thread = begin(await_signal, 0);
	for (int i = 1; i <= 3; i++)
		sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = i });
	say("a thread waits for the process's signals", joined(thread) == (void *)123);
	say("and no longer than it wants", joined(begin(await_none, 0)) == (void *)1);
	int taken = 0;
	pthread_t first = begin(any_of_two, &taken), second = begin(any_of_two, &taken);
	rest(10);
	kill(getpid(), SIGUSR2);
	say("of two that wait one has the signal", UNTIL(taken == 1) && (rest(10), taken == 1));
	kill(getpid(), SIGUSR2);
	say("the other has the next", joined(first) == (void *)SIGUSR2 && joined(second) == (void *)SIGUSR2 && taken == 2);
	thread = begin(any_of_two, &taken);
	rest(10);
	pthread_kill(thread, SIGUSR2);
	say("a thread's own ends its wait", joined(thread) == (void *)SIGUSR2);
	mask(SIG_UNBLOCK, SIGUSR2);
}

struct reader {
	int fd, again;
	long answer;
	volatile int ready;
};

static void *read_byte(void *argument)
{
	struct reader *self = argument;
	char byte;
	self->ready = 1;
	self->answer = read(self->fd, &byte, 1);
	if (self->answer == -1)
		self->answer = -errno;
	return 0;
}

static void *poll_forever(void *argument)
{
	struct reader *self = argument;
	struct pollfd one = { .fd = self->fd, .events = POLLIN };
	self->ready = 1;
	self->answer = poll(&one, 1, -1);
	if (self->answer == -1)
		self->answer = -errno;
	return 0;
}

/* What a call answers that a signal interrupts; if it goes on, a byte ends it. */
static long interrupted(void *(*body)(void *), int flags)
{
	int ends[2];
	pipe(ends);
	handle(SIGUSR1, remember, flags);
	count = 0;
	struct reader reader = { .fd = ends[0] };
	pthread_t thread = begin(body, &reader);
	UNTIL(reader.ready);
	rest(10);
	pthread_kill(thread, SIGUSR1);
	UNTIL(count == 1);
	rest(10);
	write(ends[1], "x", 1);
	joined(thread);
	close(ends[0]);
	close(ends[1]);
	return reader.answer;
}

static void interrupting(void)
{
	say("a signal ends a read", interrupted(read_byte, 0) == -EINTR && handled_by != getpid());
	say("or lets it go on", interrupted(read_byte, SA_RESTART) == 1);
	say("a poll it always ends", interrupted(poll_forever, SA_RESTART) == -EINTR);
}

static void *suspend(void *argument)
{
	sigset_t none;
	sigfillset(&none);
	sigdelset(&none, SIGUSR1);
	*(volatile pid_t *)argument = own_tid();
	int answer = sigsuspend(&none);
	return (void *)(uintptr_t)(answer == -1 && errno == EINTR);
}

static void suspending(void)
{
	volatile pid_t tid = 0;
	mask(SIG_BLOCK, SIGUSR1);
	handle(SIGUSR1, remember, 0);
	pthread_t thread = begin(suspend, (void *)&tid);
	UNTIL(tid);
	rest(5);
	kill(getpid(), SIGUSR1);
	say("sigsuspend has the process's signal", joined(thread) == (void *)1 && handled_by == tid);
	mask(SIG_UNBLOCK, SIGUSR1);
}

static void no_such_thread(void)
{
	errno = 0;
	say("no such thread", syscall(SYS_tgkill, getpid(), 0x3fffffff, SIGUSR1) == -1 && errno == ESRCH);
	say("a thread of another process", syscall(SYS_tgkill, 0x3fffffff, own_tid(), SIGUSR1) == -1 && errno == ESRCH);
	say("numbers that are none", syscall(SYS_tgkill, 0, own_tid(), SIGUSR1) == -1 && errno == EINVAL && syscall(SYS_tgkill, getpid(), -1, 0) == -1 && errno == EINVAL);
	say("a signal that is none", syscall(SYS_tgkill, getpid(), own_tid(), 65) == -1 && errno == EINVAL);
	say("tkill", syscall(SYS_tkill, own_tid(), 0) == 0 && syscall(SYS_tkill, 0x3fffffff, 0) == -1 && errno == ESRCH);
}

static volatile pid_t wanted;

static void *spin(void *argument)
{
	*(volatile pid_t *)argument = own_tid();
	while (!over)
		;
	return 0;
}

static void timers(void)
{
	volatile pid_t tid = 0;
	over = count = 0;
	pthread_t thread = begin(spin, (void *)&tid);
	UNTIL(tid);
	mask(SIG_BLOCK, SIGALRM);
	handle(SIGALRM, remember, SA_RESTART);
	count = 0;
	/* The spinning thread has the mask of before, so it alone takes them. */
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, none = { { 0, 0 }, { 0, 0 } };
	setitimer(ITIMER_REAL, &often, 0);
	say("a timer's signals reach a thread that never calls", UNTIL(count >= 5) && handled_by == tid);
	setitimer(ITIMER_REAL, &none, 0);
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = 42 };
	*(pid_t *)((char *)&event + 16) = tid;
	handle(SIGRTMIN + 2, remember, 0);
	timer_t timer;
	struct itimerspec period = { { 0, 2000000 }, { 0, 2000000 } };
	count = 0;
	syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &period, 0);
	say("a timer of one thread's", UNTIL(count >= 5) && handled_by == tid && last.si_code == SI_TIMER && last.si_value.sival_int == 42);
	timer_delete(timer);
	over = 1;
	joined(thread);
	rest(1);
	errno = 0;
	say("a thread that is gone gets none", syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) == -1 && errno == EINVAL);
	mask(SIG_UNBLOCK, SIGALRM);
}

static volatile pid_t faulty;
static volatile long faults, strays;

/* Goes on behind the faulting instruction, whose end is in rbx. Faults of others, and elsewhere, are strays. */
static void mend(int number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;
	(void)number;
	faults++;
	if (own_tid() != faulty || (uintptr_t)info->si_addr != 0x1230)
		strays++;
	else
		user->uc_mcontext.gregs[REG_RIP] = user->uc_mcontext.gregs[REG_RBX];
	if (strays > 1000)
		_exit(1);
}

static void *fault_without_end(void *argument)
{
	faulty = own_tid();
	while (!over)
		__asm__ volatile("leaq 1f(%%rip), %%rbx; movl (%%rax), %%ecx; 1:" : : "a"(0x1230) : "rbx", "rcx", "memory");
	return argument;
}

static void *nap(void *argument)
{
	struct timespec moment = { 0, 200000 };
	while (!over)
		nanosleep(&moment, 0);
	return argument;
}

/* As often as signals can come that leave the program time: where they come sooner than they are handled, it has none. */
static long often_enough_us(void)
{
	const int times = 20, share = 4, least = 300;
	long long start = now_ns();
	for (int i = 0; i < times; i++)
		raise(SIGALRM);
	long spent = (long)((now_ns() - start) / times / 1000) * share;
	return spent > least ? spent : least;
}

static void faults_and_others(void)
{
	pthread_t threads[4];
	volatile pid_t tid;
	handle(SIGSEGV, mend, 0);
	handle(SIGALRM, remember, SA_RESTART);
	long us = often_enough_us();
	struct itimerval often = { { 0, us }, { 0, us } }, none = { { 0, 0 }, { 0, 0 } };
	over = 0;
	threads[0] = begin(fault_without_end, 0);
	threads[1] = begin(spin, (void *)&tid);
	threads[2] = begin(nap, 0);
	threads[3] = begin(nap, 0);
	setitimer(ITIMER_REAL, &often, 0);
	for (long long last = now_ns() + 1500000000; now_ns() < last;)
		rest(5);
	setitimer(ITIMER_REAL, &none, 0);
	over = 1;
	for (int i = 0; i < 4; i++)
		joined(threads[i]);
	say("faults stay with their thread, whoever runs between", faults > 10 && strays == 0);
}

static volatile int told;

static void tell(union sigval value)
{
	wanted = own_tid();
	__atomic_add_fetch(&told, value.sival_int, __ATOMIC_SEQ_CST);
}

static void timer_threads(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = tell, .sigev_value.sival_int = 3 };
	timer_t timer;
	struct itimerspec period = { { 0, 2000000 }, { 0, 2000000 } };
	int made = timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &period, 0);
	say("a timer that calls in a thread", made == 0 && UNTIL(told >= 15) && wanted != getpid());
	timer_delete(timer);
}

int main(void)
{
	whose();
	inheriting();
	stacks_and_faults();
	waiting();
	interrupting();
	suspending();
	no_such_thread();
	timers();
	faults_and_others();
	timer_threads();
	return 0;
}
