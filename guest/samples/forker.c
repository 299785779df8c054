/*
 * What fork() costs a native process: touches the given number of MiB, then forks and waits, and prints the least
 * nanoseconds of one round. With a second argument the child writes so many pages before it ends. For benchmarks.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int main(int count, char **words)
{
	size_t bytes = (size_t)(count > 1 ? atoi(words[1]) : 16) << 20;
	size_t pages = (size_t)(count > 2 ? atoi(words[2]) : 0);
	char *memory = malloc(bytes);
	if (!memory)
		return 1;
	memset(memory, 1, bytes);
	uint64_t least = UINT64_MAX;
	for (int round = 0; round < 50; round++) {
		uint64_t before = now();
		pid_t child = fork();
		if (child == 0) {
			for (size_t page = 0; page < pages && page * 4096 < bytes; page++)
				*(volatile char *)(memory + page * 4096) = 2;
			_exit(0);
		}
		if (child < 0 || waitpid(child, 0, 0) < 0)
			return 1;
		uint64_t took = now() - before;
		if (took < least)
			least = took;
	}
	printf("%llu\n", (unsigned long long)least);
	return 0;
}
