/* Benchmark: products of 256 x 256 matrices of doubles, so many (150 if nothing is said). Prints a sum that depends on each. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZE 256

static double left[SIZE][SIZE], right[SIZE][SIZE], product[SIZE][SIZE];

__attribute__((used, noinline)) double run_matrix(uint32_t rounds)
{
	double total = 0;
	for (int i = 0; i < SIZE; i++)
		for (int j = 0; j < SIZE; j++) {
			left[i][j] = (i * 31 + j * 17) % 101 * 0.125;
			right[i][j] = (i * 13 + j * 7) % 97 * 0.25;
		}
	for (uint32_t round = 0; round < rounds; round++) {
		for (int i = 0; i < SIZE; i++) {
			double row[SIZE] = { 0 };
			for (int k = 0; k < SIZE; k++) {
				double factor = left[i][k];
				for (int j = 0; j < SIZE; j++)
					row[j] += factor * right[k][j];
			}
			for (int j = 0; j < SIZE; j++)
				product[i][j] = row[j];
		}
		for (int i = 0; i < SIZE; i++)
			total += product[i][(i * 7 + round) % SIZE];
		left[round % SIZE][(round * 3) % SIZE] += 1;
	}
	return total;
}

int main(int argc, char **argv)
{
	printf("%.6f\n", run_matrix(argc > 1 ? strtoul(argv[1], 0, 0) : 150));
	return 0;
}
