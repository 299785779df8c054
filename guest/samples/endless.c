/*
 * Never ends by itself: `endless spin|write|heap|map|break|recurse|sleep|pause|read|calls`.
 *
 * With a number as second argument, `heap`, `map` and `break` stop with status 3 after that many MiB, to be safe natively.
 * When memory is refused they print how that showed and end with status 2.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB (1ul << 20)

#pragma clang diagnostic ignored "-Winfinite-recursion"
static uint64_t recurse(volatile char *above)
{
	volatile char frame[4000];
	frame[0] = above ? above[0] + 1 : 0;
	return recurse(frame) + frame[0];
}

static void *more(const char *how)
{
	if (strcmp(how, "heap") == 0)
		return malloc(MIB);
	if (strcmp(how, "break") == 0) {
		void *memory = sbrk(MIB);
		return memory == (void *)-1 ? 0 : memory;
	}
	void *memory = mmap(0, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return memory == MAP_FAILED ? 0 : memory;
}

static int allocate(const char *how, unsigned long limit_mib)
{
	for (unsigned long count = 0; count < limit_mib; count++) {
		char *memory = more(how);
		if (!memory) {
			printf("%s: refused\n", how);
			return 2;
		}
		memset(memory, 1, MIB);
	}
	return 3;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "spin";
	if (strcmp(how, "write") == 0) {
		static char line[4096];
		memset(line, 'x', sizeof line - 1);
		line[sizeof line - 1] = '\n';
		while (write(1, line, sizeof line) > 0)
			;
		perror("write");
		return 1;
	}
	if (strcmp(how, "heap") == 0 || strcmp(how, "map") == 0 || strcmp(how, "break") == 0)
		return allocate(how, argc > 2 ? strtoul(argv[2], 0, 0) : ~0ul);
	if (strcmp(how, "recurse") == 0)
		return recurse(0);
	if (strcmp(how, "sleep") == 0)
		for (;;)
			sleep(1000);
	if (strcmp(how, "pause") == 0)
		for (;;)
			pause();
	if (strcmp(how, "read") == 0) {
		char byte;
		while (read(0, &byte, 1) >= 0)
			;
		return 1;
	}
	if (strcmp(how, "calls") == 0)
		for (;;)
			syscall(SYS_getpid);
	if (strcmp(how, "spin") == 0)
		for (;;)
			__asm__ volatile("");
	fprintf(stderr, "endless: unknown way: %s\n", how);
	return 64;
}
