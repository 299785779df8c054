/*
 * Reads every clock many times (a million, or as the argument says) and checks that none runs back, that they agree, and
 * that they are in the ranges they should be in. Prints nothing that depends on the time.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

typedef long long ns;

static ns read_clock(clockid_t clock)
{
	struct timespec now;
	if (clock_gettime(clock, &now) != 0 || now.tv_nsec < 0 || now.tv_nsec >= 1000000000)
		return -1;
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static ns read_timeofday(void)
{
	struct timeval now;
	return gettimeofday(&now, 0) != 0 || now.tv_usec < 0 || now.tv_usec >= 1000000 ? -1 : now.tv_sec * 1000000000ll + now.tv_usec * 1000ll;
}

static void say(const char *name, int good)
{
	printf("%s: %s\n", name, good ? "ok" : "WRONG");
}

static void check_monotonic(const char *name, clockid_t clock, long reads)
{
	ns last = read_clock(clock);
	long backwards = last < 0;
	for (long i = 0; i < reads; i++) {
		ns now = read_clock(clock);
		backwards += now < last;
		last = now;
	}
	say(name, backwards == 0);
}

int main(int argc, char **argv)
{
	long reads = argc > 1 ? atol(argv[1]) : 1000000;
	const ns second = 1000000000ll, slack = 200000000ll;
	check_monotonic("CLOCK_MONOTONIC", CLOCK_MONOTONIC, reads);
	/* With a second argument that is all: the cost of one clock read, to be measured. */
	if (argc > 2)
		return 0;
	check_monotonic("CLOCK_MONOTONIC_RAW", CLOCK_MONOTONIC_RAW, reads / 10);
	check_monotonic("CLOCK_MONOTONIC_COARSE", CLOCK_MONOTONIC_COARSE, reads / 10);
	check_monotonic("CLOCK_BOOTTIME", CLOCK_BOOTTIME, reads / 10);
	check_monotonic("CLOCK_PROCESS_CPUTIME_ID", CLOCK_PROCESS_CPUTIME_ID, reads / 1000);
	check_monotonic("CLOCK_THREAD_CPUTIME_ID", CLOCK_THREAD_CPUTIME_ID, reads / 1000);

	ns real = read_clock(CLOCK_REALTIME), of_day = read_timeofday();
	ns coarse = read_clock(CLOCK_REALTIME_COARSE), seconds = (ns)time(0) * second;
	/* Of a clock that is right: after 2020, before 2100. */
	say("CLOCK_REALTIME is of this century", real > 1577836800ll * second && real < 4102444800ll * second);
	say("gettimeofday agrees", llabs(of_day - real) < slack);
	say("CLOCK_REALTIME_COARSE agrees", llabs(coarse - real) < slack);
	say("time agrees", llabs(seconds - real) < second + slack);
	/* TAI is ahead of UTC by whole seconds, 37 today where the machine knows, else 0. */
	say("CLOCK_TAI agrees", read_clock(CLOCK_TAI) - real < 100 * second && read_clock(CLOCK_TAI) - real >= 0);
	say("CLOCK_BOOTTIME is not behind CLOCK_MONOTONIC", read_clock(CLOCK_BOOTTIME) >= read_clock(CLOCK_MONOTONIC) - slack);

	ns start = read_clock(CLOCK_MONOTONIC), start_real = read_clock(CLOCK_REALTIME);
	struct timespec pause = { 0, 50000000 };
	nanosleep(&pause, 0);
	ns monotonic = read_clock(CLOCK_MONOTONIC) - start, realtime = read_clock(CLOCK_REALTIME) - start_real;
	say("a pause shows on both clocks", monotonic >= 50000000 && llabs(monotonic - realtime) < slack);

	struct timespec resolution;
	say("clock_getres", clock_getres(CLOCK_MONOTONIC, &resolution) == 0 && resolution.tv_sec == 0 && resolution.tv_nsec == 1);
	say("an unknown clock is refused", clock_gettime(4711, &resolution) == -1);
	int cpu = sched_getcpu();
	say("sched_getcpu", cpu >= 0 && cpu < 4096);
	return 0;
}
