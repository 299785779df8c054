/* The program break: grows, shrinks, comes back zeroed, and refuses what is impossible by staying where it is. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static uintptr_t set_break(uintptr_t address)
{
	return (uintptr_t)syscall(SYS_brk, address);
}

static void say(const char *name, int good)
{
	printf("%s: %s\n", name, good ? "ok" : "WRONG");
}

static int all(const unsigned char *memory, size_t length, int value)
{
	for (size_t i = 0; i < length; i++)
		if (memory[i] != value)
			return 0;
	return 1;
}

int main(void)
{
	uintptr_t start = set_break(0);
	unsigned char *memory = (unsigned char *)start;
	const size_t size = 3 << 20;
	say("a question changes nothing", start != 0 && set_break(0) == start && set_break(1) == start);
	say("grows", set_break(start + size) == start + size);
	say("new memory is zero", all(memory, size, 0));
	memset(memory, 0xa5, size);
	say("grows by an odd number", set_break(start + size + 12345) == start + size + 12345);
	say("keeps what was written", all(memory, size, 0xa5) && all(memory + size, 12345, 0));
	say("shrinks", set_break(start + 4096) == start + 4096);
	say("grows again", set_break(start + size) == start + size);
	/* The break may start inside a page, so the first page that was surely given back is the one after the next. */
	size_t kept = ((start + 4096 + 4095) & ~4095ul) - start;
	say("what was given back is zero", all(memory, 4096, 0xa5) && all(memory + kept, size - kept, 0));
	say("the impossible is refused", set_break(~0ul) == start + size && set_break(1ul << 47) == start + size);
	say("back to the start", set_break(start) == start);
	return 0;
}
