/*
 * Threads that never call take turns all the same, and what one has in its registers another does not find changed: general
 * registers, flags, segment bases, x87, MXCSR and vectors. Prints the same natively.
 */
#define _GNU_SOURCE
#include "threading.h"
#include <cpuid.h>
#include <fenv.h>
#include <immintrin.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

static volatile int over;

static void *spin(void *argument)
{
	while (!over)
		;
	return argument;
}

static void *sleep_and_end_it(void *argument)
{
	rest(20);
	over = 1;
	return argument;
}

static void beside_sleeping(void)
{
	over = 0;
	pthread_t sleeping = begin(sleep_and_end_it, 0);
	spin(0);
	joined(sleeping);
	say("main spins until a sleeping thread ends it", over);
	over = 0;
	pthread_t spinning = begin(spin, 0);
	rest(20);
	over = 1;
	joined(spinning);
	say("a thread spins until main ends it", 1);
	over = 0;
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		threads[i] = begin(spin, 0);
	long long start = now_ns();
	for (int i = 0; i < 10; i++)
		rest(1);
	/* Each sleep may wait for a turn of each of four. */
	int soon = now_ns() - start < 5000000000ll;
	over = 1;
	for (int i = 0; i < 4; i++)
		joined(threads[i]);
	say("four spin and one sleeps ten times", soon);
}

static volatile int turn;

static void *take_turns(void *argument)
{
	int own = (int)(uintptr_t)argument;
	for (int i = 0; i < 40; i++) {
		while (turn % 2 != own)
			;
		turn++;
	}
	return 0;
}

static void handing_over(void)
{
	pthread_t first = begin(take_turns, (void *)0);
	take_turns((void *)1);
	joined(first);
	say("two spinning threads take turns eighty times", turn == 80);
}

static void *compute(void *argument)
{
	uint64_t state = (uintptr_t)argument, sum = 0;
	for (long i = 0; i < 20000000; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		sum ^= state >> 33;
	}
	return (void *)(uintptr_t)sum;
}

static void computing(void)
{
	pthread_t threads[8];
	int good = 1;
	for (uintptr_t i = 0; i < 8; i++)
		threads[i] = begin(compute, (void *)(i % 2));
	void *even = joined(threads[0]), *odd = joined(threads[1]);
	for (int i = 2; i < 8; i++)
		good &= joined(threads[i]) == (i % 2 ? odd : even);
	say("eight compute, and pairs agree", good && even != odd);
}

/*
 * Fourteen registers and a word of the red zone with values of the thread's own, in a loop that another thread ends.
 * rdi: the seed; rsi: the word that ends it. Answers 1 if a register has changed.
 */
long registers_change(uint64_t seed, volatile int *end);
__asm__(".text\n.globl registers_change\n.type registers_change, @function\nregisters_change:\n"
	"pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
	"leaq 1(%rdi), %rbx; leaq 2(%rdi), %rcx; leaq 3(%rdi), %rdx; leaq 4(%rdi), %r8; leaq 5(%rdi), %r9; leaq 6(%rdi), %r10\n"
	"leaq 7(%rdi), %r11; leaq 8(%rdi), %r12; leaq 9(%rdi), %r13; leaq 10(%rdi), %r14; leaq 11(%rdi), %rbp; movq %rdi, -16(%rsp)\n"
	"1: xorl %eax, %eax; cmpl $0, (%rsi); jne 3f; cmpq %rdi, -16(%rsp); jne 2f\n"
	"leaq 1(%rdi), %r15; cmpq %r15, %rbx; jne 2f; leaq 2(%rdi), %r15; cmpq %r15, %rcx; jne 2f\n"
	"leaq 3(%rdi), %r15; cmpq %r15, %rdx; jne 2f; leaq 4(%rdi), %r15; cmpq %r15, %r8; jne 2f\n"
	"leaq 5(%rdi), %r15; cmpq %r15, %r9; jne 2f; leaq 6(%rdi), %r15; cmpq %r15, %r10; jne 2f\n"
	"leaq 7(%rdi), %r15; cmpq %r15, %r11; jne 2f; leaq 8(%rdi), %r15; cmpq %r15, %r12; jne 2f\n"
	"leaq 9(%rdi), %r15; cmpq %r15, %r13; jne 2f; leaq 10(%rdi), %r15; cmpq %r15, %r14; jne 2f\n"
	"leaq 11(%rdi), %r15; cmpq %r15, %rbp; je 1b\n"
	"2: movl $1, %eax\n"
	"3: popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx; ret\n");

static void *keep_registers(void *argument)
{
	return (void *)(uintptr_t)registers_change((uintptr_t)argument << 40, &over);
}

/* Flags that a program may set: carry, parity, sign, overflow in turn, and the direction. */
static void *keep_flags(void *argument)
{
	uint64_t wanted = (uintptr_t)argument ? 0xcd5 : 0x202, mask = 0xcd5, now = wanted, different = 0;
	while (!over && !different) {
		__asm__ volatile("pushq %[wanted]; popfq; movl $20000, %%ecx; 1: leal -1(%%ecx), %%ecx; jrcxz 2f; jmp 1b; 2: pushfq; cld; popq %[now]; cld"
			: [now] "=r"(now) : [wanted] "r"(wanted | 0x202) : "rcx", "cc", "memory");
		different = (now ^ wanted) & mask;
	}
	return (void *)different;
}

static int run_together(void *(*body)(void *), int count)
{
	pthread_t threads[8];
	int good = 1;
	over = 0;
	for (uintptr_t i = 0; i < (uintptr_t)count; i++)
		threads[i] = begin(body, (void *)i);
	/* Signals may interrupt a rest, and what is left of it. */
	for (long long last = now_ns() + 200000000; now_ns() < last;)
		rest(5);
	over = 1;
	for (int i = 0; i < count; i++)
		good &= joined(threads[i]) == 0;
	return good;
}

static void *keep_control(void *argument)
{
	static const int roundings[4] = { FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO };
	int rounding = roundings[(uintptr_t)argument % 4];
	fesetround(rounding);
	uint32_t control = _mm_getcsr();
	uint16_t word;
	volatile double one = 1, three = 3, minus = -1;
	double up = one / three, down = minus / three;
	long double stacked = (long double)(uintptr_t)argument + 0.5L, difference = 0;
	/* A value in an x87 register while others run. */
	__asm__ volatile("fldt %[value]; 1: cmpl $0, (%[over]); je 1b; fldt %[value]; fsubrp %%st, %%st(1); fstpt %[difference]"
		: [difference] "=m"(difference) : [value] "m"(stacked), [over] "r"(&over) : "cc", "memory");
	__asm__ volatile("fnstcw %0" : "=m"(word));
	/* Without the bits that tell of inexact results. */
	int good = ((_mm_getcsr() ^ control) & 0xffc0) == 0 && fegetround() == rounding && (word & 0xc00) == rounding;
	good &= up == one / three && down == minus / three && difference == 0;
	return (void *)(uintptr_t)!good;
}

__attribute__((target("avx"))) static int wide_change(__m256i *values, volatile int *end)
{
	uint64_t different = 0;
	__asm__ volatile(
		"vmovdqu (%[values]), %%ymm0; vmovdqu 32(%[values]), %%ymm1; vmovdqu 64(%[values]), %%ymm7; vmovdqu 96(%[values]), %%ymm8; vmovdqu 128(%[values]), %%ymm15;"
		"1: cmpl $0, (%[end]); jne 2f;"
		"vpxor %%xmm2, %%xmm2, %%xmm2; vxorps (%[values]), %%ymm0, %%ymm2; vptest %%ymm2, %%ymm2; jnz 3f;"
		"vxorps 32(%[values]), %%ymm1, %%ymm2; vptest %%ymm2, %%ymm2; jnz 3f; vxorps 64(%[values]), %%ymm7, %%ymm2; vptest %%ymm2, %%ymm2; jnz 3f;"
		"vxorps 96(%[values]), %%ymm8, %%ymm2; vptest %%ymm2, %%ymm2; jnz 3f; vxorps 128(%[values]), %%ymm15, %%ymm2; vptest %%ymm2, %%ymm2; jnz 3f;"
		"jmp 1b; 3: movq $1, %[different]; 2: vzeroupper"
		: [different] "+D"(different) : [values] "S"(values), [end] "r"(end)
		: "xmm0", "xmm1", "xmm2", "xmm7", "xmm8", "xmm15", "memory", "cc");
	return (int)different;
}

__attribute__((target("avx"))) static void *keep_wide(void *argument)
{
	__m256i values[5];
	for (int i = 0; i < 5; i++)
		memset(&values[i], (int)(0x10 * ((uintptr_t)argument + 1) + i), sizeof values[i]);
	return (void *)(uintptr_t)wide_change(values, &over);
}

__attribute__((target("avx512f,avx512bw,evex512"))) static int widest_change(const char *values, volatile int *end, uint64_t mask)
{
	uint64_t different = 0;
	__asm__ volatile(
		"vmovdqu64 (%[values]), %%zmm3; vmovdqu64 64(%[values]), %%zmm31; kmovq %[mask], %%k5;"
		"1: cmpl $0, (%[end]); jne 2f; kmovq %%k5, %%rax; cmpq %%rax, %[mask]; jne 3f;"
		"vpcmpeqd (%[values]), %%zmm3, %%k1; kmovw %%k1, %%eax; cmpl $0xffff, %%eax; jne 3f;"
		"vpcmpeqd 64(%[values]), %%zmm31, %%k1; kmovw %%k1, %%eax; cmpl $0xffff, %%eax; jne 3f;"
		"jmp 1b; 3: movq $1, %[different]; 2: vzeroupper"
		: [different] "+D"(different) : [values] "S"(values), [end] "r"(end), [mask] "r"(mask)
		: "rax", "xmm3", "xmm31", "k1", "k5", "memory", "cc");
	return (int)different;
}

__attribute__((target("avx512f,avx512bw,evex512"))) static void *keep_widest(void *argument)
{
	char values[128];
	memset(values, (int)(0x10 * ((uintptr_t)argument + 1)), 64);
	memset(values + 64, (int)(0x11 * ((uintptr_t)argument + 1)), 64);
	return (void *)(uintptr_t)widest_change(values, &over, 0x123456789abcdef * ((uintptr_t)argument + 1));
}

static _Thread_local uint64_t own_value;

/* FS bases (thread-local storage) and GS bases. */
static void *keep_segments(void *argument)
{
	uint64_t base = 0x1000 * ((uintptr_t)argument + 3), now = base;
	own_value = base;
	syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, base);
	int good = 1;
	while (!over && good) {
		for (volatile int i = 0; i < 10000; i++)
			;
		good &= *(volatile uint64_t *)&own_value == base;
	}
	syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &now);
	return (void *)(uintptr_t)!(good && now == base);
}

static void *move_bytes(void *argument)
{
	size_t size = 300000;
	unsigned char *from = malloc(size), *to = malloc(size);
	int good = 1;
	for (size_t i = 0; i < size; i++)
		from[i] = (unsigned char)(i * 31 + (uintptr_t)argument);
	while (!over && good) {
		memset(to, 0, size);
		void *source = from, *target = to;
		size_t count = size;
		__asm__ volatile("rep movsb" : "+S"(source), "+D"(target), "+c"(count) : : "memory");
		good = memcmp(from, to, size) == 0;
	}
	free(from);
	free(to);
	return (void *)(uintptr_t)!good;
}

static void *look_at_clock(void *argument)
{
	long long before = now_ns();
	while (!over) {
		long long now = now_ns();
		if (now < before)
			return (void *)1;
		before = now;
	}
	(void)argument;
	return 0;
}

static void registers(void)
{
	unsigned a, b = 0, c = 0, d;
	say("general registers and the red zone", run_together(keep_registers, 4));
	say("flags", run_together(keep_flags, 3));
	say("rounding and x87", run_together(keep_control, 5));
	__cpuid_count(1, 0, a, b, c, d);
	/* What a processor does not have is not tried, and prints the same. */
	say("vectors of 256 bits", !(c & bit_AVX) || run_together(keep_wide, 4));
	__cpuid_count(7, 0, a, b, c, d);
	say("vectors of 512 bits and masks", !(b & bit_AVX512F && b & bit_AVX512BW) || run_together(keep_widest, 4));
	say("segment bases", run_together(keep_segments, 4));
	say("instructions that take long", run_together(move_bytes, 3));
	say("clocks never run back", run_together(look_at_clock, 3));
}

static volatile int ticks;

static void tick(int number)
{
	/* Everything that the interrupted thread keeps is changed here. */
	__asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm8, %%xmm8; fninit" ::: "xmm0", "xmm8");
	_mm_setcsr(0x1f80);
	(void)number;
	ticks++;
}

static void with_signals(void)
{
	struct sigaction action = { .sa_handler = tick, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, none = { { 0, 0 }, { 0, 0 } };
	sigaction(SIGALRM, &action, 0);
	setitimer(ITIMER_REAL, &often, 0);
	int good = run_together(keep_control, 4) && run_together(keep_registers, 3) && run_together(keep_flags, 2);
	setitimer(ITIMER_REAL, &none, 0);
	say("and all that with signals between", good && ticks > 10);
}

int main(void)
{
	beside_sleeping();
	handing_over();
	computing();
	registers();
	with_signals();
	return 0;
}
