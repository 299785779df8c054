/* Thread-local variables: initial values, zeroed ones, alignment, and a large one. */
#include <stdint.h>
#include <stdio.h>

#define PATTERN 0x1122334455667788

static __thread uint64_t first = PATTERN;
static __thread char text[] = "thread-local";
static __thread uint64_t zeroed[100];
static __thread _Alignas(64) uint8_t aligned[64] = { 1, 2, 3 };
static __thread uint8_t large[100000];
__thread int exported = 5;

static void say(const char *name, int good)
{
	printf("%s: %s\n", name, good ? "ok" : "WRONG");
}

int main(void)
{
	uint64_t total = 0;
	for (int i = 0; i < 100; i++)
		total += zeroed[i];
	for (int i = 0; i < 100000; i++)
		total += large[i];
	volatile uintptr_t place = (uintptr_t)aligned;
	say("initial values", first == PATTERN && aligned[0] == 1 && aligned[2] == 3 && aligned[3] == 0);
	say("zeroed values", total == 0);
	say("alignment", place % 64 == 0);
	printf("text: %s\n", text);
	for (int i = 0; i < 100000; i++)
		large[i] = (uint8_t)i;
	exported++;
	say("written values", large[99999] == (uint8_t)99999 && exported == 6 && first == PATTERN);
	return 0;
}
