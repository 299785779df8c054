/* Sleeps for so many milliseconds (100 if nothing is said), in three ways, and checks that each lasted long enough. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long long now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static void judge(const char *name, long long start, long long wanted_ns)
{
	printf("%s: %s\n", name, now_ns() - start >= wanted_ns ? "long enough" : "too short");
}

int main(int argc, char **argv)
{
	long milliseconds = argc > 1 ? atol(argv[1]) : 100;
	long long wanted = milliseconds * 1000000ll;
	struct timespec part = { wanted / 1000000000, wanted % 1000000000 };
	long long start = now_ns();
	nanosleep(&part, 0);
	judge("nanosleep", start, wanted);

	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	start = until.tv_sec * 1000000000ll + until.tv_nsec;
	until.tv_sec += part.tv_sec + (until.tv_nsec + part.tv_nsec) / 1000000000;
	until.tv_nsec = (until.tv_nsec + part.tv_nsec) % 1000000000;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0) == EINTR)
		;
	judge("clock_nanosleep", start, wanted);

	start = now_ns();
	poll(0, 0, (int)milliseconds);
	judge("poll", start, wanted);
	return 0;
}
