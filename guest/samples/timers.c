/*
 * Timers of every kind that a program without threads uses, and what they interrupt: loops, waits, sleeps. Counts are
 * compared, never durations. `timers cpu` adds the limit of CPU time, which takes a second.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t count;
static siginfo_t last;
static int ends[2];

static void say(const char *name, int good)
{
	printf("%s: %s\n", name, good ? "ok" : "WRONG");
}

static void remember(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	last = *info;
	count++;
}

static void feed(int number)
{
	(void)number;
	count++;
	if (write(ends[1], "x", 1) != 1)
		_exit(99);
}

static void handle(int number, int flags)
{
	struct sigaction action = { .sa_sigaction = remember, .sa_flags = SA_SIGINFO | flags };
	sigaction(number, &action, 0);
	count = 0;
}

static void spin_until(int wanted)
{
	while (count < wanted)
		__asm__ volatile("");
}

static void set(int which, long first_us, long interval_us)
{
	struct itimerval value = { { interval_us / 1000000, interval_us % 1000000 }, { first_us / 1000000, first_us % 1000000 } };
	setitimer(which, &value, 0);
}

static void sleep_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
	while (nanosleep(&time, &time) == -1 && errno == EINTR)
		;
}

static void alarms(void)
{
	handle(SIGALRM, 0);
	say("no alarm to begin with", alarm(100) == 0);
	say("alarm tells what was left", alarm(0) == 100);
	say("and no alarm at the end", alarm(0) == 0);
	alarm(1);
	pause();
	say("alarm", count == 1 && last.si_signo == SIGALRM && last.si_code == SI_KERNEL);
}

static void interval_timers(void)
{
	struct itimerval now, old;
	handle(SIGALRM, 0);
	set(ITIMER_REAL, 5000000, 3000000);
	getitimer(ITIMER_REAL, &now);
	say("getitimer", now.it_interval.tv_sec == 3 && now.it_value.tv_sec <= 5 && now.it_value.tv_sec >= 4);
	struct itimerval none = { 0 };
	setitimer(ITIMER_REAL, &none, &old);
	getitimer(ITIMER_REAL, &now);
	say("setitimer tells the old one", old.it_interval.tv_sec == 3 && now.it_value.tv_sec == 0 && now.it_value.tv_usec == 0);
	struct itimerval bad = { { 0, 0 }, { 0, 1000000 } };
	say("a million microseconds are refused", setitimer(ITIMER_REAL, &bad, 0) == -1 && errno == EINVAL);
	set(ITIMER_REAL, 2000, 2000);
	spin_until(5);
	set(ITIMER_REAL, 0, 0);
	say("a periodic timer interrupts a loop again and again", count >= 5);
	count = 0;
	set(ITIMER_REAL, 3000, 3000);
	struct timespec time;
	while (count < 5)
		clock_gettime(CLOCK_MONOTONIC, &time);
	set(ITIMER_REAL, 0, 0);
	say("and a loop that only asks for the time", count >= 5);
	count = 0;
	set(ITIMER_REAL, 3000, 3000);
	while (count < 5)
		getpid();
	set(ITIMER_REAL, 0, 0);
	say("and a loop of system calls", count >= 5);
	handle(SIGVTALRM, 0);
	set(ITIMER_VIRTUAL, 2000, 2000);
	spin_until(3);
	set(ITIMER_VIRTUAL, 0, 0);
	say("a timer of the program's own time", count >= 3 && last.si_signo == SIGVTALRM);
	handle(SIGPROF, 0);
	set(ITIMER_PROF, 40000, 0);
	sleep_ms(60);
	say("sleeping takes no CPU time", count == 0);
	spin_until(1);
	say("computing does", last.si_signo == SIGPROF);
}

static timer_t make(clockid_t clock, int signal, int notify, int value)
{
	struct sigevent event = { .sigev_notify = notify, .sigev_signo = signal, .sigev_value.sival_int = value };
	timer_t timer = 0;
	if (timer_create(clock, &event, &timer) != 0)
		printf("timer_create failed: %d\n", errno);
	return timer;
}

static void start(timer_t timer, int flags, long first_us, long interval_us)
{
	struct itimerspec value = { { interval_us / 1000000, interval_us % 1000000 * 1000 }, { first_us / 1000000, first_us % 1000000 * 1000 } };
	if (timer_settime(timer, flags, &value, 0) != 0)
		printf("timer_settime failed: %d\n", errno);
}

static void posix_timers(void)
{
	static const struct { const char *name; clockid_t clock; } clocks[] = {
		{ "CLOCK_REALTIME", CLOCK_REALTIME }, { "CLOCK_MONOTONIC", CLOCK_MONOTONIC }, { "CLOCK_BOOTTIME", CLOCK_BOOTTIME },
		{ "CLOCK_PROCESS_CPUTIME_ID", CLOCK_PROCESS_CPUTIME_ID }, { "CLOCK_THREAD_CPUTIME_ID", CLOCK_THREAD_CPUTIME_ID },
	};
	for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
		handle(SIGRTMIN + 1, 0);
		timer_t timer = make(clocks[i].clock, SIGRTMIN + 1, SIGEV_SIGNAL, 70 + (int)i);
		start(timer, 0, 2000, 2000);
		spin_until(3);
		say(clocks[i].name, last.si_code == SI_TIMER && last.si_value.sival_int == 70 + (int)i && last.si_signo == SIGRTMIN + 1);
		timer_delete(timer);
		struct timespec now;
		clock_gettime(clocks[i].clock, &now);
		timer = make(clocks[i].clock, SIGRTMIN + 1, SIGEV_SIGNAL, 0);
		count = 0;
		struct itimerspec date = { .it_value = { now.tv_sec, now.tv_nsec / 2 + 1 } };
		timer_settime(timer, TIMER_ABSTIME, &date, 0);
		spin_until(1);
		say("a date that is over", count == 1);
		timer_delete(timer);
	}
	handle(SIGALRM, 0);
	timer_t plain;
	timer_create(CLOCK_MONOTONIC, 0, &plain);
	start(plain, 0, 2000, 0);
	pause();
	say("a timer without an event sends SIGALRM", count == 1 && last.si_code == SI_TIMER);
	struct itimerspec left;
	timer_gettime(plain, &left);
	say("one that is over has nothing left", left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0);
	start(plain, 0, 50000000, 7000000);
	timer_gettime(plain, &left);
	say("timer_gettime", left.it_value.tv_sec >= 48 && left.it_value.tv_sec <= 50 && left.it_interval.tv_sec == 7);
	timer_delete(plain);
	say("a deleted timer is unknown", timer_gettime(plain, &left) == -1 && errno == EINVAL);
	timer_t silent = make(CLOCK_MONOTONIC, 0, SIGEV_NONE, 0);
	start(silent, 0, 1000, 0);
	sleep_ms(5);
	timer_gettime(silent, &left);
	say("a silent timer only tells its time", left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0);
	timer_delete(silent);
}

static void overruns(void)
{
	sigset_t set_of_one;
	sigemptyset(&set_of_one);
	sigaddset(&set_of_one, SIGUSR1);
	handle(SIGUSR1, 0);
	timer_t timer = make(CLOCK_MONOTONIC, SIGUSR1, SIGEV_SIGNAL, 5);
	sigprocmask(SIG_BLOCK, &set_of_one, 0);
	start(timer, 0, 1000, 1000);
	sleep_ms(30);
	sigset_t waiting;
	sigpending(&waiting);
	struct itimerspec none = { 0 };
	say("a blocked timer waits, once", count == 0 && sigismember(&waiting, SIGUSR1));
	/* The period is long now, so that nothing comes between the handler and the question. */
	siginfo_t info;
	int got = sigwaitinfo(&set_of_one, &info);
	say("its overruns are told", got == SIGUSR1 && info.si_code == SI_TIMER && info.si_overrun >= 20 && info.si_value.sival_int == 5);
	say("timer_getoverrun tells the same", timer_getoverrun(timer) >= info.si_overrun);
	timer_settime(timer, 0, &none, 0);
	timer_delete(timer);
	sigpending(&waiting);
	say("nothing arrives from a deleted timer", !sigismember(&waiting, SIGUSR1));
	sigprocmask(SIG_UNBLOCK, &set_of_one, 0);
	say("not later either", count == 0);
}

static void refusals(void)
{
	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = 0 };
	say("signal 0 is refused", timer_create(CLOCK_MONOTONIC, &event, &timer) == -1 && errno == EINVAL);
	event.sigev_signo = SIGUSR1;
	say("an unknown clock is refused", timer_create(99, &event, &timer) == -1 && errno == EINVAL);
	struct { union sigval value; int signo, notify, thread; int rest[11]; } own = { .signo = SIGUSR1, .notify = 4, .thread = (int)syscall(SYS_gettid) };
	int id = -1;
	say("SIGEV_THREAD_ID to itself", syscall(SYS_timer_create, CLOCK_MONOTONIC, &own, &id) == 0 && syscall(SYS_timer_delete, id) == 0);
	own.thread = 1 << 29;
	say("to nobody is refused", syscall(SYS_timer_create, CLOCK_MONOTONIC, &own, &id) == -1 && errno == EINVAL);
	say("an unknown timer is refused", syscall(SYS_timer_delete, 12345) == -1 && errno == EINVAL);
	struct rlimit limit, few;
	getrlimit(RLIMIT_SIGPENDING, &limit);
	few = limit;
	few.rlim_cur = 20;
	setrlimit(RLIMIT_SIGPENDING, &few);
	int made = 0, ids[32];
	while (made < 32 && syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, &ids[made]) == 0)
		made++;
	/* Linux counts those of all processes of the user. */
	say("there are no more timers than signals may wait", made <= 20 && errno == EAGAIN);
	for (int i = 0; i < made; i++)
		syscall(SYS_timer_delete, ids[i]);
	setrlimit(RLIMIT_SIGPENDING, &limit);
}

/* The same with SA_RESTART: calls that wait for something to do are made again, calls with a time-out are not. */
static void interruptions(int flags)
{
	const char *kind = flags ? "with SA_RESTART" : "without";
	char byte, name[64];
	struct pollfd one = { ends[0], POLLIN, 0 };
	fd_set readable;
	struct timeval long_time = { 10, 0 };
	struct timespec span = { 10, 0 }, rest = { 0, 0 };
	sigset_t all_but;
	struct sigaction feeding = { .sa_handler = feed, .sa_flags = flags };
	handle(SIGALRM, flags);
	sigaction(SIGALRM, &feeding, 0);
	set(ITIMER_REAL, 10000, 0);
	long rc = read(ends[0], &byte, 1);
	snprintf(name, sizeof name, "read, %s", kind);
	say(name, count == 1 && (flags ? rc == 1 && byte == 'x' : rc == -1 && errno == EINTR));
	if (!flags && read(ends[0], &byte, 1) != 1)
		_exit(98);
	handle(SIGALRM, flags);
	set(ITIMER_REAL, 10000, 0);
	rc = poll(&one, 1, 10000);
	snprintf(name, sizeof name, "poll, %s", kind);
	say(name, rc == -1 && errno == EINTR && count == 1);
	FD_ZERO(&readable);
	FD_SET(ends[0], &readable);
	set(ITIMER_REAL, 10000, 0);
	rc = select(ends[0] + 1, &readable, 0, 0, &long_time);
	snprintf(name, sizeof name, "select, %s", kind);
	say(name, rc == -1 && errno == EINTR && count == 2);
	set(ITIMER_REAL, 10000, 0);
	rc = nanosleep(&span, &rest);
	snprintf(name, sizeof name, "nanosleep, %s", kind);
	say(name, rc == -1 && errno == EINTR && count == 3 && rest.tv_sec == 9);
	set(ITIMER_REAL, 10000, 0);
	clock_gettime(CLOCK_MONOTONIC, &span);
	span.tv_sec += 10;
	rc = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &span, 0);
	snprintf(name, sizeof name, "clock_nanosleep, %s", kind);
	say(name, rc == EINTR && count == 4);
	set(ITIMER_REAL, 10000, 0);
	rc = pause();
	snprintf(name, sizeof name, "pause, %s", kind);
	say(name, rc == -1 && errno == EINTR && count == 5);
	sigemptyset(&all_but);
	set(ITIMER_REAL, 10000, 0);
	rc = sigsuspend(&all_but);
	snprintf(name, sizeof name, "sigsuspend, %s", kind);
	say(name, rc == -1 && errno == EINTR && count == 6);
	sigaddset(&all_but, SIGUSR2);
	set(ITIMER_REAL, 10000, 0);
	span = (struct timespec){ 10, 0 };
	/* The C library's own function goes on waiting. */
	rc = syscall(SYS_rt_sigtimedwait, &all_but, 0, &span, 8);
	snprintf(name, sizeof name, "sigtimedwait, %s", kind);
	say(name, rc == -1 && errno == EINTR && count == 7);
}

static void unseen(void)
{
	signal(SIGALRM, SIG_IGN);
	set(ITIMER_REAL, 2000, 2000);
	struct timespec span = { 0, 30000000 };
	say("an ignored timer does not end a sleep", nanosleep(&span, 0) == 0);
	sigset_t alarms;
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarms, 0);
	handle(SIGALRM, 0);
	set(ITIMER_REAL, 2000, 2000);
	say("nor does a blocked one", nanosleep(&span, 0) == 0 && count == 0);
	siginfo_t info;
	say("sigwaitinfo takes it", sigwaitinfo(&alarms, &info) == SIGALRM && info.si_code == SI_KERNEL);
	set(ITIMER_REAL, 0, 0);
	span.tv_nsec = 0;
	sigtimedwait(&alarms, 0, &span);
	span.tv_nsec = 2000000;
	say("sigtimedwait ends without one", sigtimedwait(&alarms, 0, &span) == -1 && errno == EAGAIN && count == 0);
	sigprocmask(SIG_UNBLOCK, &alarms, 0);
}

static void cpu_limit(void)
{
	handle(SIGXCPU, 0);
	struct rlimit limit = { 1, 10 };
	setrlimit(RLIMIT_CPU, &limit);
	spin_until(1);
	say("the limit of CPU time", count == 1 && last.si_signo == SIGXCPU && last.si_code == SI_KERNEL);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, 0, _IOLBF, 0);
	if (pipe(ends) != 0)
		return 1;
	alarms();
	interval_timers();
	posix_timers();
	overruns();
	refusals();
	interruptions(0);
	interruptions(SA_RESTART);
	unseen();
	if (argc > 1 && strcmp(argv[1], "cpu") == 0)
		cpu_limit();
	return 0;
}
