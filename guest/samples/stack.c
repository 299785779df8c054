/* Uses much of the main thread's stack and comes back: `stack [KiB]`, 7000 of the usual 8192 if nothing is said. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t descend(uint64_t depth, volatile uint64_t *above)
{
	volatile uint64_t frame[120];
	for (int i = 0; i < 120; i += 15)
		frame[i] = depth + i;
	uint64_t below = depth == 0 ? 0 : descend(depth - 1, frame);
	/* What was written here must have survived all that happened below. */
	uint64_t total = below + (above ? above[0] & 1 : 0);
	for (int i = 0; i < 120; i += 15)
		total += frame[i] == depth + i;
	return total;
}

int main(int argc, char **argv)
{
	uint64_t kib = argc > 1 ? strtoul(argv[1], 0, 0) : 7000;
	/* Each level takes about 1 KiB. */
	printf("%llu\n", (unsigned long long)descend(kib * 1024 / 1100, 0));
	return 0;
}
