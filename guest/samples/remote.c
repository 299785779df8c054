/*
 * A remote: functions that other machines call, each a case of the tests. With the argument `wait` it waits for resume calls
 * instead, and does with the caller's buffer what its first byte says; with `file` it waits by a file, as scripts do.
 */
#include <emmintrin.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "../pristine.h"

static long counter;
static const char read_only[] = "a string that may not be written";
static unsigned char secret[64] = "the remote's own secret, which stays there for good";
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile long ticks;

static long add(long a, long b, long c, long d, long e, long f)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f;
}

/* Sixteen bytes at a time, so that what is measured is not the adding. */
static long sum(const unsigned char *bytes, unsigned long length)
{
	unsigned long total = 0, at = 0;
	__m128i totals = _mm_setzero_si128();
	for (; at + 16 <= length; at += 16) totals = _mm_add_epi64(totals, _mm_sad_epu8(_mm_loadu_si128((const __m128i *)(bytes + at)), _mm_setzero_si128()));
	total = (unsigned long)_mm_cvtsi128_si64(totals) + (unsigned long)_mm_cvtsi128_si64(_mm_unpackhi_epi64(totals, totals));
	for (; at < length; at++) total += bytes[at];
	return (long)total;
}

/* What an argument costs that is passed and not read. */
static long ends(const unsigned char *bytes, unsigned long length)
{
	return bytes[0] + bytes[length - 1];
}

static long fill(unsigned char *bytes, unsigned long length, int value)
{
	memset(bytes, value, length);
	return (long)length;
}

static long count(void)
{
	return ++counter;
}

struct answer { char *text; unsigned long length; };

/* The answer lies in the caller's own memory. */
static long describe(struct answer *out, unsigned long length)
{
	char *text = pristine_caller_alloc(length);
	if (!text) return -1;
	memset(text, 'x', length);
	out->text = text;
	out->length = length;
	return 0;
}

static long crash(void)
{
	*(volatile char *)read_only = 1;
	return 0;
}

static long rest(long milliseconds);

/* Sleeps before that, so that others can see that it has come so far. */
static long spin(void)
{
	rest(0);
	for (;;) ticks++;
}

/* Writes over what the stack held below its caller's frame, and never ends. */
static __attribute__((noinline)) void overwrite(int depth)
{
	volatile unsigned char room[256];
	for (unsigned int at = 0; at < sizeof room; at++) room[at] = 0x5a;
	if (depth > 0) overwrite(depth - 1);
	else spin();
	room[0] = 1;
}

static long leave(int status)
{
	exit(status);
}

static long rest(long milliseconds);

static long leave_later(long milliseconds)
{
	rest(milliseconds);
	exit(3);
}

static long eat(void)
{
	for (;;) {
		char *volatile block = malloc(1 << 20);
		if (!block) return -1;
		memset(block, 1, 1 << 20);
	}
}

static long rest(long milliseconds)
{
	struct timespec span = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
	return nanosleep(&span, NULL);
}

static long monotonic(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* A system call on the caller's memory. */
static long print(const void *bytes, unsigned long length)
{
	return write(1, bytes, length);
}

/* Leaves its secret in every register that a function may leave something in. */
static long whisper(void)
{
	__asm__ volatile("movdqu (%0), %%xmm0; movdqu (%0), %%xmm1; movdqu (%0), %%xmm6; movdqu (%0), %%xmm15; mov (%0), %%rdi; mov %%rdi, %%rsi;"
	                 "mov %%rdi, %%rdx; mov %%rdi, %%rcx; mov %%rdi, %%r8; mov %%rdi, %%r9; mov %%rdi, %%r10; mov %%rdi, %%r11"
	                 : : "a"(secret) : "rdi", "rsi", "rdx", "rcx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm6", "xmm15");
	return 7;
}

/* Its own mappings, for those who try to reach them. */
static long maps(char *out, unsigned long length)
{
	int fd = open("/proc/self/maps", O_RDONLY);
	unsigned long have = 0;
	long got;
	while (have < length && (got = read(fd, out + have, length - have)) > 0) have += (unsigned long)got;
	close(fd);
	return (long)have;
}

static void *work(void *unused)
{
	(void)unused;
	for (;;) {
		pthread_mutex_lock(&lock);
		ticks++;
		pthread_mutex_unlock(&lock);
		rest(1);
	}
}

/* A thread of its own goes on while calls wait. */
static long ticked(void)
{
	pthread_mutex_lock(&lock);
	long now = ticks;
	pthread_mutex_unlock(&lock);
	return now;
}

/* How much a counter of the caller's goes on meanwhile: not at all, if its threads stand still. */
static long watch(volatile long *counter_of_caller, long milliseconds)
{
	long end = monotonic() + milliseconds * 1000000, before = *counter_of_caller;
	while (monotonic() < end) {
	}
	return *counter_of_caller - before;
}

/* Calls another remote, or itself. */
static long forward(const char *name, long argument)
{
	long (*function)(long) = (long (*)(long))pristine_import(name);
	return function ? function(argument) : -1;
}

/* Calls another remote's function without arguments, and says then what is at an address, or that nothing is. It is given without the part that all remotes have. */
static sigjmp_buf before;

static void faulted(int signal)
{
	(void)signal;
	siglongjmp(before, 1);
}

/* Lets another remote add up what lies in this one's memory. */
static long forward_own(const char *name)
{
	long (*function)(const unsigned char *, unsigned long) = (long (*)(const unsigned char *, unsigned long))pristine_import(name);
	return function ? function(secret, 10) : -1;
}

static long forward_then_peek(const char *name, unsigned long address)
{
	signal(SIGSEGV, faulted);
	forward(name, 0);
	return sigsetjmp(before, 1) == 0 ? *(volatile unsigned char *)(0x600000000000UL + address) : -1;
}

static volatile long asked;

static void *ask(void *unused)
{
	asked = syscall(SYS_gettid);
	return unused;
}

/* A jump into a function that looks for more arguments than it is given. */
static long process_id(void)
{
	return syscall(SYS_getpid);
}

/* Maps a page in each of many tables, from below or from above; how many have not what was written to them. */
static long tables(long pages, long from_above)
{
	char *start = (char *)(((unsigned long)secret & ~((1UL << 39) - 1)) + (1UL << 36));
	long wrong = 0;
	for (long index = 0; index < pages; index++) {
		long number = from_above ? pages - 1 - index : index;
		char *wanted = start + number * (2L << 20) + 4096 * (number % 7);
		char *there = mmap(wanted, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (there == MAP_FAILED) return -1;
		*(volatile long *)there = number;
	}
	for (long number = 0; number < pages; number++) wrong += *(volatile long *)(start + number * (2L << 20) + 4096 * (number % 7)) != number;
	return wrong;
}

/* Whether a second thread is told another number than the first. */
static long asks_ids(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, ask, NULL);
	pthread_join(thread, NULL);
	return asked != getpid();
}

/* The same in a while. */
static long forward_later(const char *name, long milliseconds)
{
	rest(milliseconds);
	return forward(name, 0);
}

static long thread_id(void)
{
	return pthread_self() ? *(int *)((char *)pthread_self() + 48) : 0;
}

static volatile long inside, most_inside;

/* How many calls there were inside at once, at most: each stays until others had time to come, or `wanted` are there. */
static long meet(long wanted, long milliseconds)
{
	long end = monotonic() + milliseconds * 1000000;
	long now = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
	long most = most_inside;
	while (now > most && !__atomic_compare_exchange_n(&most_inside, &most, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
	}
	while (most_inside < wanted && monotonic() < end) {
	}
	__atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
	return most_inside;
}

static __thread long of_thread;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static long guarded, served;

/* Counts under a lock that calls on other threads want as well; gives way inside, so that they meet it locked. */
static long count_locked(long rounds)
{
	for (long round = 0; round < rounds; round++) {
		pthread_mutex_lock(&lock);
		long before = guarded;
		if (round % 8 == 0) rest(0);
		guarded = before + 1;
		pthread_mutex_unlock(&lock);
		char *block = malloc(100 + round * 64);
		memset(block, 1, 100 + round * 64);
		free(block);
	}
	of_thread++;
	return guarded;
}

/* Waits until another call has signalled so often. */
static long await_signal(long wanted)
{
	pthread_mutex_lock(&lock);
	while (served < wanted) pthread_cond_wait(&turned, &lock);
	pthread_mutex_unlock(&lock);
	return served;
}

static long signal_waiting(void)
{
	pthread_mutex_lock(&lock);
	served++;
	pthread_cond_broadcast(&turned);
	pthread_mutex_unlock(&lock);
	return served;
}

static long grow(unsigned long megabytes)
{
	long total = 0;
	for (unsigned long index = 0; index < megabytes; index++) {
		char *volatile block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block == MAP_FAILED) return -1;
		for (unsigned long at = 0; at < 1 << 20; at += 4096) block[at] = (char)index;
		total += block[4096];
	}
	return total;
}

static long end_thread(void)
{
	pthread_exit(NULL);
}

/* Says that there were so many calls more than there were, in the word where a gate counts them. */
long claims(long count);
__asm__(".text\nclaims: mov %rdi, 104(%rsp); xor %eax, %eax; ret\n");

static void trapped(int signal)
{
	(void)signal;
	ticks++;
}

/* Stops at a breakpoint of its own, and goes on. */
static long breaks(void)
{
	long before = ticks;
	signal(SIGTRAP, trapped);
	__asm__ volatile("int3" : : : "memory");
	return ticks - before;
}

/* Offers one of two functions late: each under its own name. */
static long offers_late(long other)
{
	return other ? pristine_export("later", (void *)count) : pristine_export("late", (void *)monotonic);
}

/* Goes through its caller's gate to what that has asked for under a number. */
long trespasses(long number);
__asm__(".text\ntrespasses: shl $5, %rdi; mov %rdi, %r11; xor %edi, %edi; movabs $0x7fffc00021c0, %rax; jmp *%rax\n");

/* Lets the page that it runs on show a file that others may cut short; nothing is pushed meanwhile. */
static long stack_on_file(const char *path)
{
	static char copy[4096];
	long fd = open(path, O_RDWR | O_CREAT, 0600), result;
	unsigned long page = (unsigned long)__builtin_frame_address(0) & ~4095UL;
	if (fd < 0) return -1;
	__asm__ volatile("mov %[page], %%rsi; mov %[copy], %%rdi; mov $4096, %%ecx; rep movsb;"
	                 "mov $1, %%eax; mov %[fd], %%rdi; mov %[copy], %%rsi; mov $4096, %%edx; syscall;"
	                 "mov $9, %%eax; mov %[page], %%rdi; mov $4096, %%esi; mov $3, %%edx; mov $0x11, %%r10d; mov %[fd], %%r8; xor %%r9d, %%r9d; syscall"
	                 : "=&a"(result) : [page] "r"(page), [copy] "r"(copy), [fd] "r"(fd)
	                 : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
	return result == (long)page;
}

static const struct { const char *name; void *function; } functions[] = {
	{ "add", (void *)add }, { "sum", (void *)sum }, { "ends", (void *)ends }, { "fill", (void *)fill }, { "count", (void *)count }, { "describe", (void *)describe },
	{ "crash", (void *)crash }, { "spin", (void *)spin }, { "leave", (void *)leave }, { "eat", (void *)eat }, { "rest", (void *)rest },
	{ "monotonic", (void *)monotonic }, { "print", (void *)print }, { "whisper", (void *)whisper }, { "maps", (void *)maps },
	{ "meet", (void *)meet }, { "count_locked", (void *)count_locked }, { "await_signal", (void *)await_signal },
	{ "signal_waiting", (void *)signal_waiting }, { "grow", (void *)grow }, { "end_thread", (void *)end_thread },
	{ "ticked", (void *)ticked }, { "watch", (void *)watch }, { "forward", (void *)forward }, { "thread_id", (void *)thread_id },
	{ "leave_later", (void *)leave_later }, { "forward_later", (void *)forward_later }, { "forward_own", (void *)forward_own }, { "forward_then_peek", (void *)forward_then_peek },
	{ "claims", (void *)claims }, { "breaks", (void *)breaks }, { "offers_late", (void *)offers_late }, { "trespasses", (void *)trespasses }, { "stack_on_file", (void *)stack_on_file },
	{ "tables", (void *)tables }, { "process_id", (void *)process_id }, { "asks_ids", (void *)asks_ids },
};

static void *lend(void *unused)
{
	pristine_lend_thread();
	return unused;
}

static void serve(void);

static void *serve_also(void *unused)
{
	serve();
	return unused;
}

static void serve(void)
{
	void *buffer;
	unsigned long length;
	while (pristine_wait(&buffer, &length) >= 0) {
		unsigned char *bytes = buffer;
		long result = ++counter;
		switch (length > 0 ? bytes[0] : 0) {
		case 'e': result = ends(bytes, length); break;
		case 's': result = sum(bytes, length); break;
		case 'f': result = fill(bytes, length, 'F'); break;
		case 'c': crash(); break;
		case 'l': spin(); break;
		case 'p': bytes[length + (64 << 20)] = 1; break;
		case 'b': result = meet(2, 2000); break;
		case 'x': exit(3);
		case 'm': result = maps(buffer, length); break;
		case 'r': result = rest(300); break;
		case 'o': overwrite(64); break;
		case 'q': pristine_reply(4711); spin(); break;
		case 'n': continue;
		}
		pristine_reply(result);
	}
}

/* Tells its caller whether its vector registers are kept while it waits. */
static void serve_by_file(void)
{
	static struct { unsigned long mark, command; long value; unsigned long length; unsigned char bytes[4096]; } room;
	unsigned char after[16];
	long fd = open("/pristine/guest", O_RDWR), result;
	for (room.command = 1;; room.command = 2) {
		memcpy(&room.mark, "PRISTINE", 8);
		__asm__ volatile("movdqu (%2), %%xmm7; syscall; movdqu %%xmm7, (%3)"
		                 : "=a"(result) : "a"(0L), "b"(secret), "r"(after), "D"(fd), "S"(&room), "d"(sizeof room) : "rcx", "r11", "memory", "xmm7");
		if (result < 0) exit(1);
		room.bytes[0] = memcmp(after, secret, sizeof after) == 0 ? 'k' : 'l';
		room.value = room.length = 1;
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;
	for (unsigned int index = 0; index < sizeof functions / sizeof functions[0]; index++) {
		if (pristine_export(functions[index].name, functions[index].function) != 0) fprintf(stderr, "no export of %s\n", functions[index].name);
	}
	if (argc > 1 && strcmp(argv[1], "threads") == 0) pthread_create(&thread, NULL, work, NULL);
	/* So many threads wait: the machine is ready when all of them do. */
	if (argc > 2 && strcmp(argv[1], "wait") == 0) {
		for (int index = 1; index < atoi(argv[2]); index++) pthread_create(&thread, NULL, serve_also, NULL);
	}
	if (argc > 1 && strcmp(argv[1], "wait") == 0) serve();
	if (argc > 1 && strcmp(argv[1], "file") == 0) serve_by_file();
	if (argc > 2 && strcmp(argv[1], "lend") == 0) {
		for (int index = 0; index < atoi(argv[2]); index++) pthread_create(&thread, NULL, lend, NULL);
		/* They are lent when they have come to wait. */
		rest(50);
	}
	pristine_ready();
	for (;;) pause();
}
