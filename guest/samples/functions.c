/*
 * Functions to be called from outside, one for each kind of argument, result and misbehaviour.
 *
 * Run as a program it calls those that return and prints what they gave, which is what a caller should get too.
 */
#include <pristine.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((used, noinline, visibility("default")))

EXPORT int64_t add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
EXPORT double addf(double a, double b) { return a + b; }
EXPORT float addf32(float a, float b) { return a + b; }
EXPORT void nothing(void) { __asm__ volatile(""); }
EXPORT int32_t negate(int32_t a) { return (int32_t)(0u - (uint32_t)a); }
EXPORT uint64_t largest(void) { return UINT64_MAX; }
EXPORT int is_odd(int a) { return a & 1; }

EXPORT int32_t sum(const uint8_t *bytes, uint32_t length)
{
	uint32_t total = 0;
	for (uint32_t i = 0; i < length; i++)
		total += bytes[i];
	return (int32_t)total;
}

EXPORT void fill(uint8_t *buffer, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		buffer[i] = (uint8_t)(i * 7 + 3);
}

EXPORT uint64_t strlen_(const char *text) { return strlen(text); }

EXPORT void reverse(char *text)
{
	size_t length = strlen(text);
	for (size_t i = 0; i < length / 2; i++) {
		char kept = text[i];
		text[i] = text[length - 1 - i];
		text[length - 1 - i] = kept;
	}
}

/* 8 integers, 2 of them on the stack, and 10 doubles, 2 of them on the stack: each weighs differently. */
EXPORT double many_args(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g, int64_t h,
	double i, double j, double k, double l, double m, double n, double o, double p, double q, double r)
{
	double integers = a + 2.0 * b + 3.0 * c + 4.0 * d + 5.0 * e + 6.0 * f + 7.0 * g + 8.0 * h;
	double doubles = i + 2 * j + 3 * k + 4 * l + 5 * m + 6 * n + 7 * o + 8 * p + 9 * q + 10 * r;
	return integers + 1000 * doubles;
}

EXPORT int64_t eight_integers(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g, int64_t h)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
}

uint64_t counter_value __attribute__((used));
static __thread uint64_t thread_value = 100;

EXPORT uint64_t counter(void) { return ++counter_value; }
EXPORT uint64_t thread_counter(void) { return ++thread_value; }
EXPORT uint64_t *counter_address(void) { return &counter_value; }
EXPORT const char *greeting(void) { return "grüße from the guest"; }
EXPORT long process_id(void) { return getpid(); }

EXPORT void *allocate(uint64_t size) { return malloc(size); }
EXPORT void release(void *memory) { free(memory); }

EXPORT long print(const char *text) { return write(1, text, strlen(text)); }

/* How far the stack is from a multiple of 16 when a function is entered by the rules: 8. */
EXPORT __attribute__((naked)) uint64_t stack_alignment(void)
{
	__asm__("movl %esp, %eax; andl $15, %eax; ret");
}

/* Bytes of stack that a call may use before it dies, at least. */
EXPORT uint64_t use_stack(uint64_t bytes)
{
	volatile uint8_t *memory = __builtin_alloca(bytes);
	uint64_t total = 0;
	for (uint64_t i = 0; i < bytes; i += 256)
		memory[i] = (uint8_t)i, total += 256;
	return total;
}

/* Work whose length the caller chooses; the result depends on all of it. */
EXPORT uint64_t spin(uint64_t rounds)
{
	uint64_t x = 88172645463325252u;
	for (uint64_t i = 0; i < rounds; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

EXPORT void loop_forever(void)
{
	for (;;)
		__asm__ volatile("");
}

#pragma clang diagnostic ignored "-Winfinite-recursion"
static uint64_t recurse(volatile uint8_t *above)
{
	volatile uint8_t frame[512];
	frame[0] = above ? above[0] : 0;
	return recurse(frame) + frame[0];
}

EXPORT uint64_t recurse_forever(void) { return recurse(0); }
EXPORT int read_null(void) { return *(volatile int *)0; }
EXPORT int divide(int a, int b) { return a / b; }
EXPORT void undefined_instruction(void) { __asm__ volatile("ud2"); }
EXPORT void leave(int code) { exit(code); }
EXPORT void give_up(void) { abort(); }
EXPORT void ready(void) { pristine_ready(); }

int main(void)
{
	uint8_t bytes[16];
	char text[] = "machine";
	fill(bytes, sizeof bytes);
	reverse(text);
	printf("add %lld\n", (long long)add(40, 2));
	printf("addf %g\n", addf(1.5, 2));
	printf("addf32 %g\n", addf32(0.25f, 2));
	printf("sum %d\n", sum(bytes, sizeof bytes));
	printf("strlen_ %llu\n", (unsigned long long)strlen_("twelve bytes"));
	printf("reverse %s\n", text);
	printf("many_args %g\n", many_args(1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
	printf("eight_integers %lld\n", (long long)eight_integers(1, 2, 3, 4, 5, 6, 7, 8));
	printf("counter %llu\n", (unsigned long long)counter());
	printf("thread_counter %llu\n", (unsigned long long)thread_counter());
	printf("greeting %s\n", greeting());
	printf("stack_alignment %llu\n", (unsigned long long)stack_alignment());
	printf("use_stack %llu\n", (unsigned long long)use_stack(65536));
	printf("spin %llx\n", (unsigned long long)spin(1000));
	fflush(stdout);
	return 0;
}
