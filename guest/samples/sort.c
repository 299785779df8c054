/* Benchmark: sorting numbers by quicksort and by merging, so many thousand (1500 if nothing is said). Prints a checksum. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return (a > b) - (a < b);
}

static void quick(uint64_t *numbers, long count)
{
	while (count > 16) {
		uint64_t pivot = numbers[count / 2];
		long i = 0, j = count - 1;
		while (i <= j) {
			while (numbers[i] < pivot)
				i++;
			while (numbers[j] > pivot)
				j--;
			if (i <= j) {
				uint64_t kept = numbers[i];
				numbers[i++] = numbers[j];
				numbers[j--] = kept;
			}
		}
		quick(numbers, j + 1);
		numbers += i;
		count -= i;
	}
	for (long i = 1; i < count; i++) {
		uint64_t number = numbers[i];
		long j = i;
		for (; j > 0 && numbers[j - 1] > number; j--)
			numbers[j] = numbers[j - 1];
		numbers[j] = number;
	}
}

__attribute__((used, noinline)) uint64_t run_sort(uint32_t thousands)
{
	size_t count = (size_t)thousands * 1000;
	uint64_t *first = malloc(count * sizeof *first), *second = malloc(count * sizeof *second);
	if (!first || !second)
		return 0;
	uint64_t x = 88172645463325252u;
	for (size_t i = 0; i < count; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		first[i] = second[i] = x;
	}
	quick(first, count);
	qsort(second, count, sizeof *second, by_value);
	uint64_t hash = memcmp(first, second, count * sizeof *first) == 0 ? 14695981039346656037u : 0;
	for (size_t i = 0; i < count; i++)
		hash = (hash ^ first[i]) * 1099511628211u;
	free(first);
	free(second);
	return hash;
}

int main(int argc, char **argv)
{
	printf("%016llx\n", (unsigned long long)run_sort(argc > 1 ? strtoul(argv[1], 0, 0) : 1500));
	return 0;
}
