/*
 * A machine that calls remotes, by functions that the tests call: what a remote answers, and what becomes of those who try to
 * reach more than that.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "../pristine.h"

typedef long function(long, long, long, long, long, long);

static sigjmp_buf before;
static unsigned char buffer[1 << 20];
static function *bound;

static void faulted(int signal)
{
	(void)signal;
	siglongjmp(before, 1);
}

/* Calls a function of a remote; -1000 if it is not there. */
long invoke(const char *name, long a, long b, long c, long d, long e)
{
	function *found = (function *)pristine_import(name);
	return found ? found(a, b, c, d, e, 60) : -1000;
}

long import(const char *name)
{
	return (long)pristine_import(name);
}

/* The same function often, without asking for it again. */
long bind(const char *name)
{
	bound = (function *)pristine_import(name);
	return bound != 0;
}

long call_bound(long a, long b)
{
	return bound(a, b, 0, 0, 0, 0);
}

long times(long count)
{
	long total = 0;
	for (long index = 0; index < count; index++) total += bound(index, 0, 0, 0, 0, 0);
	return total;
}

long resume(const char *name, void *bytes, unsigned long length)
{
	return pristine_resume(name, bytes, length);
}

/* What is asked for by a letter, with a buffer of this machine's own. */
long ask(const char *name, int letter, unsigned long length)
{
	memset(buffer, letter, length);
	return pristine_resume(name, buffer, length);
}

long sum_own(const char *name, unsigned long length)
{
	memset(buffer, 3, length);
	return invoke(name, (long)buffer, (long)length, 0, 0, 0);
}

long own_buffer(void)
{
	return (long)buffer;
}

long byte_at(long offset)
{
	return buffer[offset];
}

long describe(const char *name, unsigned long length)
{
	struct { char *text; unsigned long length; } answer = { 0, 0 };
	if (invoke(name, (long)&answer, (long)length, 0, 0, 0) != 0) return -1;
	for (unsigned long at = 0; at < answer.length; at++) if (answer.text[at] != 'x') return -2;
	return (long)answer.length;
}

enum { reads = 1, writes = 2, jumps = 4 };

/* In which of three ways an address can be reached. */
long probe(unsigned long address)
{
	volatile long reached = 0;
	signal(SIGSEGV, faulted);
	signal(SIGBUS, faulted);
	signal(SIGILL, faulted);
	if (sigsetjmp(before, 1) == 0) {
		(void)*(volatile char *)address;
		reached |= reads;
	}
	if (sigsetjmp(before, 1) == 0) {
		*(volatile char *)address = *(volatile char *)address;
		reached |= writes;
	}
	/* A jump that arrives may fault as well, but not for want of the address: that is seen by reading. */
	signal(SIGSEGV, SIG_DFL);
	return reached;
}

/* How many pages of a range can be read. */
long probe_range(unsigned long start, unsigned long end, unsigned long step)
{
	volatile unsigned long at;
	volatile long reached = 0;
	signal(SIGSEGV, faulted);
	for (at = start; at < end; at += step) {
		if (sigsetjmp(before, 1) == 0) {
			(void)*(volatile char *)at;
			reached++;
		}
	}
	signal(SIGSEGV, SIG_DFL);
	return reached;
}

/* 1 if a jump to the address faults there, and not behind it. */
long jump_faults(unsigned long address)
{
	signal(SIGSEGV, faulted);
	if (sigsetjmp(before, 1) == 0) {
		((void (*)(void))address)();
		return 0;
	}
	signal(SIGSEGV, SIG_DFL);
	return 1;
}

/* What a call leaves in the registers, as bits: a general one 1, a vector one 2. */
long left_behind(const char *name)
{
	unsigned long call = (unsigned long)pristine_import(name), number;
	unsigned long general[8];
	unsigned char vectors[4][16];
	long found = 0;
	/* The system call itself, without what the function around it does. */
	number = *(unsigned int *)(call + 1);
	__asm__ volatile("syscall; mov %%rdi, (%1); mov %%rsi, 8(%1); mov %%rdx, 16(%1); mov %%r8, 24(%1); mov %%r9, 32(%1); mov %%r10, 40(%1);"
	                 "mov %%r11, 48(%1); movdqu %%xmm0, (%2); movdqu %%xmm1, 16(%2); movdqu %%xmm6, 32(%2); movdqu %%xmm15, 48(%2)"
	                 : "+a"(number) : "b"(general), "r"(vectors)
	                 : "rcx", "rdi", "rsi", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm6", "xmm15", "memory");
	for (int index = 0; index < 7; index++) if (memcmp(&general[index], "the remo", 8) == 0) found |= 1;
	for (int index = 0; index < 4; index++) if (memcmp(vectors[index], "the remote's own", 16) == 0) found |= 2;
	return number == 7 ? found : -1;
}

/* Whether what a call has to keep is kept. */
long keeps_state(const char *name)
{
	function *found = (function *)pristine_import(name);
	unsigned int control = 0x1fa0 | 0x6000, now;
	unsigned short x87 = 0x27f, x87_now;
	double before_call = 1.5;
	__asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(control), "m"(x87));
	long result = found(1, 0, 0, 0, 0, 0);
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(now), "=m"(x87_now));
	unsigned int standard = 0x1f80;
	unsigned short standard_x87 = 0x37f;
	__asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(standard), "m"(standard_x87));
	return now == control && x87_now == x87 && before_call == 1.5 && result == 1 + 6 * 0;
}

static long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

/*
 * How long each of so many calls takes, in nanoseconds, with an argument of so many bytes by pointer. `name` is a function of a
 * remote, or a remote that waits. With a letter to fill the argument with, all of it is written here and read there.
 */
long measure(const char *name, unsigned long length, int letter, long count, long *nanoseconds)
{
	function *found = strchr(name, ':') ? (function *)pristine_import(name) : 0;
	long wrong = 0;
	buffer[0] = buffer[length - 1] = 'e';
	for (long index = 0; index < count; index++) {
		long before = now();
		if (letter) memset(buffer, letter, length);
		long result = found ? found((long)buffer, (long)length, 0, 0, 0, 0) : pristine_resume(name, buffer, length);
		nanoseconds[index] = now() - before;
		if (result != (letter ? letter * (long)length : 2 * 'e')) wrong++;
	}
	return wrong;
}

static volatile long ticking;

static void *tick(void *unused)
{
	(void)unused;
	for (;;) ticking++;
}

/* How much another thread of this machine has done while a remote watched it; -1 if it never did anything. */
long threads_during(const char *name, long milliseconds)
{
	static pthread_t thread;
	if (!thread) pthread_create(&thread, NULL, tick, NULL);
	while (ticking == 0) usleep(1000);
	long before = ticking;
	long during = invoke(name, (long)&ticking, milliseconds, 0, 0, 0);
	while (ticking == before) usleep(1000);
	return during;
}

/* Whether a call by a file leaves all vector registers and control words alone, as each read(2) does. */
long keeps_vectors(const char *path)
{
	unsigned char bytes[4] = { 'f', 'f', 'f', 'x' };
	static unsigned char before[16][16], after[16][16];
	unsigned int control = 0x1fa0 | 0x6000, now;
	long fd = open(path, O_RDWR), result = 0;
	if (fd < 0) return -errno;
	for (unsigned int at = 0; at < sizeof before; at++) before[at / 16][at % 16] = (unsigned char)(at * 7 + 1);
#define LOAD(n) "movdqu " #n "*16(%[before]), %%xmm" #n ";"
#define STORE(n) "movdqu %%xmm" #n ", " #n "*16(%[after]);"
#define ALL(each) each(0) each(1) each(2) each(3) each(4) each(5) each(6) each(7) each(8) each(9) each(10) each(11) each(12) each(13) each(14) each(15)
	__asm__ volatile("ldmxcsr %[control];" ALL(LOAD) "syscall;" ALL(STORE) "stmxcsr %[now]"
	                 : "+a"(result), [now] "=m"(now)
	                 : "D"(fd), "S"(bytes), "d"(sizeof bytes), [control] "m"(control), [before] "b"(before), [after] "r"(after)
	                 : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	unsigned int standard = 0x1f80;
	__asm__ volatile("ldmxcsr %0" : : "m"(standard));
	close((int)fd);
	if (result != sizeof bytes || bytes[3] != 'F') return -1;
	return memcmp(before, after, sizeof before) == 0 && now == control;
}

long map_read_only(void)
{
	return (long)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

long map_at(unsigned long address)
{
	void *there = mmap((void *)address, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return there == MAP_FAILED ? -errno : (long)there;
}

long raw(long number, long a, long b, long c)
{
	return pristine_system_call(number, a, b, c);
}

/* Whether a value that the x87 unit had before is there afterwards. */
long resume_beside_x87(const char *name, void *bytes, unsigned long length)
{
	volatile long double one = 1.5L, other = 2.25L;
	long double product = one * other;
	if (pristine_resume(name, bytes, length) < 0) return -1;
	return (long)((product + one) * 1000);
}

/* Resumes a remote while the base of thread-local memory is 0, as it is in a program that has just begun. */
long resume_without_base(const char *name, void *bytes, unsigned long length)
{
	const long arch_prctl = 158, set_fs = 0x1002;
	long base;
	__asm__ volatile("mov %%fs:0, %0" : "=r"(base));
	pristine_system_call(arch_prctl, set_fs, 0, 0);
	long result = pristine_resume(name, bytes, length);
	pristine_system_call(arch_prctl, set_fs, base, 0);
	return result;
}

/* Goes to the stub of system calls with a return address of its own making. */
long crafted(unsigned long call, unsigned long stub, unsigned long back)
{
	unsigned int number = *(unsigned int *)(call + 1);
	__asm__ volatile("mov %0, %%eax; mov %2, %%rcx; xor %%edi, %%edi; xor %%r11d, %%r11d; jmp *%1" : : "r"(number), "r"(stub), "r"(back) : "rax", "rcx", "rdi", "r11");
	return 0;
}

int main(int argc, char **argv)
{
	pristine_ready();
	/* With a name: calls it, and does nothing more. */
	if (argc > 1) {
		invoke(argv[1], 100, 0, 0, 0, 0);
		for (;;) ticking++;
	}
	for (;;) pause();
}
