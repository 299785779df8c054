#define _GNU_SOURCE
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
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
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

long call_with_sixth(const char *name, long sixth)
{
	return ((function *)pristine_import(name))(1, 2, 3, 4, 5, sixth);
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

struct left { unsigned long general[9]; unsigned char vectors[4][16]; unsigned long kept[6]; };

/* Calls a function and notes what it leaves in registers; those that it has to keep are 11 to 16 before. */
long call_and_look(function *found, struct left *left);
__asm__(".text\n"
        "call_and_look:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi\n"
        "mov %rdi, %rax; mov $11, %ebx; mov $12, %ebp; mov $13, %r12d; mov $14, %r13d; mov $15, %r14d; mov $16, %r15d\n"
        "xor %edi, %edi; xor %esi, %esi; xor %edx, %edx; xor %ecx, %ecx; xor %r8d, %r8d; xor %r9d, %r9d\n"
        "call *%rax\n"
        "xchg %r15, (%rsp)\n"
        "mov %rax, (%r15); mov %rcx, 8(%r15); mov %rdx, 16(%r15); mov %rsi, 24(%r15); mov %rdi, 32(%r15)\n"
        "mov %r8, 40(%r15); mov %r9, 48(%r15); mov %r10, 56(%r15); mov %r11, 64(%r15)\n"
        "movdqu %xmm0, 72(%r15); movdqu %xmm1, 88(%r15); movdqu %xmm6, 104(%r15); movdqu %xmm15, 120(%r15)\n"
        "mov %rbx, 136(%r15); mov %rbp, 144(%r15); mov %r12, 152(%r15); mov %r13, 160(%r15); mov %r14, 168(%r15)\n"
        "pop %rcx; mov %rcx, 176(%r15)\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n");

/* The same as left_behind of a call as a compiler makes it; 4: what is to be kept is not. */
long left_behind_call(const char *name)
{
	struct left left;
	long found = 0;
	if (call_and_look((function *)pristine_import(name), &left) != 7) return -1;
	for (int index = 1; index < 9; index++) if (memcmp(&left.general[index], "the remo", 8) == 0) found |= 1;
	for (int index = 0; index < 4; index++) if (memcmp(left.vectors[index], "the remote's own", 16) == 0) found |= 2;
	for (unsigned long index = 0; index < 6; index++) if (left.kept[index] != 11 + index) found |= 4;
	return found;
}

static volatile long alarms;

static void rang(int signal)
{
	(void)signal;
	alarms++;
}

/* Calls the bound function, `add`, for so long while a timer interrupts all the time; the number of alarms, or -1 for a wrong answer. */
long storm(long milliseconds, long microseconds)
{
	struct sigaction action = { .sa_handler = rang, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, microseconds }, { 0, microseconds } }, never = { { 0, 0 }, { 0, 0 } };
	long wrong = 0, end = now() + milliseconds * 1000000;
	alarms = 0;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (long index = 0; now() < end; index++) {
		long result = bound(index, index + 1, 2, 3, 4, 5);
		if (result != index + 2 * (index + 1) + 3 * 2 + 4 * 3 + 5 * 4 + 6 * 5) wrong++;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	return wrong ? -wrong : alarms;
}

/* A thread that takes turns with whoever calls. */
long begin_ticking(void)
{
	static pthread_t thread;
	return thread ? 0 : pthread_create(&thread, NULL, tick, NULL);
}

static unsigned long trapped[3];

static void trap(int signal, siginfo_t *info, void *context)
{
	(void)info;
	trapped[0] = (unsigned long)signal;
	trapped[1] = (unsigned long)((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX];
	trapped[2] = (unsigned long)((ucontext_t *)context)->uc_mcontext.gregs[REG_R11];
}

/* Whether a breakpoint of the program's own is a signal that shows all registers as they were, and leaves them. */
long breakpoint(void)
{
	struct sigaction action = { .sa_sigaction = trap, .sa_flags = SA_SIGINFO };
	unsigned long rax = 0x1122334455667788, r11;
	sigaction(SIGTRAP, &action, NULL);
	__asm__ volatile("mov $0x5544332211, %%r11; int3; mov %%r11, %1" : "+a"(rax), "=r"(r11) : : "r11", "memory");
	return trapped[0] == SIGTRAP && trapped[1] == 0x1122334455667788 && trapped[2] == 0x5544332211 && rax == 0x1122334455667788 && r11 == 0x5544332211;
}

/* Goes to an address as functions of remotes go to their gate, with any number in r11; what comes back. */
long go_to_gate(unsigned long address, unsigned long number, unsigned long rax);
__asm__(".text\n"
        "go_to_gate:\n"
        "sub $8, %rsp; stmxcsr (%rsp); fnstcw 4(%rsp)\n"
        "push %rdi; mov %rsi, %r11; mov %rdx, %rax; xor %ecx, %ecx\n"
        "xor %edi, %edi; xor %esi, %esi; xor %edx, %edx; xor %r8d, %r8d; xor %r9d, %r9d; xor %r10d, %r10d\n"
        "ret\n");

/* Enters a range of code at every address, on whatever comes of that; how often it came back. */
long enter_everywhere(unsigned long start, unsigned long end, unsigned long number)
{
	static volatile unsigned long at, base;
	static volatile long returned;
	unsigned long now_base;
	static char stack[65536];
	struct sigaction action = { .sa_handler = faulted, .sa_flags = SA_NODEFER | SA_ONSTACK };
	/* The stack pointer may be anything. */
	stack_t other = { .ss_sp = stack, .ss_size = sizeof stack };
	sigaltstack(&other, NULL);
	for (int index = 0; index < 5; index++) sigaction((int[]){ SIGSEGV, SIGILL, SIGTRAP, SIGBUS, SIGFPE }[index], &action, NULL);
	__asm__ volatile("rdfsbase %0" : "=r"(now_base));
	base = now_base;
	returned = 0;
	for (at = start; at < end; at++) {
		if (sigsetjmp(before, 1) == 0) {
			go_to_gate(at, number, 0);
			returned++;
		}
		/* What was entered may have changed it. */
		__asm__ volatile("wrfsbase %0" : : "r"(base));
	}
	for (int index = 0; index < 5; index++) signal((int[]){ SIGSEGV, SIGILL, SIGTRAP, SIGBUS, SIGFPE }[index], SIG_DFL);
	return returned;
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
