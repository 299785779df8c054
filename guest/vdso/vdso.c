/*
 * The vDSO of a machine: the clock reads and getcpu, answered in the guest without an exit.
 *
 * What cannot be answered from the parameter page (CPU-time clocks, unknown clocks, clocks that the monitor has not set)
 * goes on to the system call of the same name, so that a caller never sees a difference but in time.
 * General-purpose registers only: a caller's vector registers stay as they are.
 */
#include "parameters.h"

#define NS_PER_S 1000000000ul

#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define CLOCK_MONOTONIC_RAW 4
#define CLOCK_REALTIME_COARSE 5
#define CLOCK_MONOTONIC_COARSE 6
#define CLOCK_BOOTTIME 7
#define CLOCK_TAI 11

#define SYS_gettimeofday 96
#define SYS_time 201
#define SYS_clock_gettime 228
#define SYS_clock_getres 229
#define SYS_getcpu 309

struct timespec { long tv_sec; long tv_nsec; };
struct timeval { long tv_sec; long tv_usec; };
struct timezone { int tz_minuteswest; int tz_dsttime; };

/* The linker script puts this one page before the image. */
extern const volatile struct pristine_vdso_parameters pristine_vdso_parameters __attribute__((visibility("hidden")));

#define PAGE (&pristine_vdso_parameters)
#define EXPORT __attribute__((visibility("default"), used))

static inline long system_call(long number, long first, long second, long third)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
	return result;
}

/* The fence keeps the read from moving before earlier loads, so that two reads in program order are in order of time. */
static inline unsigned long counter(void)
{
	unsigned int low, high;
	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (unsigned long)high << 32 | low;
}

static inline void barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

/*
 * Reads one clock. 0 if the page does not hold it: a sequence that stays odd must not hang a guest, so an odd one is
 * a reason for the system call, not for waiting. A machine has one processor, so compiler barriers order the reads.
 */
static inline int read_clock(const volatile long *base, unsigned long *nanoseconds)
{
	unsigned int sequence;
	do {
		sequence = PAGE->sequence;
		if (sequence & 1 || !(PAGE->flags & PRISTINE_VDSO_CLOCKS))
			return 0;
		barrier();
		unsigned long elapsed = counter() - PAGE->tsc_base;
		/* A counter slightly behind the base (another core, a resumed machine) must not become a jump of centuries. */
		if ((long)elapsed < 0)
			elapsed = 0;
		*nanoseconds = *base + (unsigned long)((unsigned __int128)elapsed * PAGE->multiplier >> (PAGE->shift & 63));
		barrier();
	} while (PAGE->sequence != sequence);
	return 1;
}

/* The field of the page that holds a clock's base, or null for a clock that the page does not have. */
static inline const volatile long *clock_base(unsigned int clock)
{
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
		return &PAGE->realtime_ns;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_COARSE:
		return &PAGE->monotonic_ns;
	case CLOCK_MONOTONIC_RAW:
		return &PAGE->monotonic_raw_ns;
	case CLOCK_BOOTTIME:
		return &PAGE->boottime_ns;
	case CLOCK_TAI:
		return &PAGE->tai_ns;
	default:
		return 0;
	}
}

EXPORT int __vdso_clock_gettime(int clock, struct timespec *time)
{
	unsigned long now;
	const volatile long *base = clock_base(clock);
	if (!base || !read_clock(base, &now))
		return system_call(SYS_clock_gettime, clock, (long)time, 0);
	time->tv_sec = now / NS_PER_S;
	time->tv_nsec = now % NS_PER_S;
	return 0;
}

EXPORT int __vdso_clock_getres(int clock, struct timespec *resolution)
{
	if (!clock_base(clock) || !(PAGE->flags & PRISTINE_VDSO_CLOCKS))
		return system_call(SYS_clock_getres, clock, (long)resolution, 0);
	if (resolution) {
		int coarse = clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE;
		resolution->tv_sec = 0;
		resolution->tv_nsec = coarse ? PAGE->coarse_resolution_ns : 1;
	}
	return 0;
}

EXPORT int __vdso_gettimeofday(struct timeval *time, struct timezone *zone)
{
	unsigned long now;
	if (!read_clock(&PAGE->realtime_ns, &now))
		return system_call(SYS_gettimeofday, (long)time, (long)zone, 0);
	if (time) {
		time->tv_sec = now / NS_PER_S;
		time->tv_usec = now % NS_PER_S / 1000;
	}
	if (zone) {
		zone->tz_minuteswest = 0;
		zone->tz_dsttime = 0;
	}
	return 0;
}

EXPORT long __vdso_time(long *seconds)
{
	unsigned long now;
	if (!read_clock(&PAGE->realtime_ns, &now))
		return system_call(SYS_time, (long)seconds, 0, 0);
	now /= NS_PER_S;
	if (seconds)
		*seconds = now;
	return now;
}

EXPORT long __vdso_getcpu(unsigned int *cpu, unsigned int *node, void *unused)
{
	if (!(PAGE->flags & PRISTINE_VDSO_CPU))
		return system_call(SYS_getcpu, (long)cpu, (long)node, (long)unused);
	if (cpu)
		*cpu = PAGE->cpu;
	if (node)
		*node = PAGE->node;
	return 0;
}

/* Linux has the plain names too, as weak aliases. */
#define ALIAS(name) __attribute__((weak, alias("__vdso_" #name), visibility("default")))
int clock_gettime(int, struct timespec *) ALIAS(clock_gettime);
int clock_getres(int, struct timespec *) ALIAS(clock_getres);
int gettimeofday(struct timeval *, struct timezone *) ALIAS(gettimeofday);
long time(long *) ALIAS(time);
long getcpu(unsigned int *, unsigned int *, void *) ALIAS(getcpu);
