/* Tells what it is shown of the processor, says that it is ready, and goes on. */
#include <cpuid.h>
#include <pristine.h>
#include <stdio.h>

int main(void)
{
	unsigned eax, ebx = 0, ecx = 0, edx, features;

	__get_cpuid(1, &eax, &ebx, &features, &edx);
	__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
	printf("sse4.2 %d, avx %d, avx2 %d\n", features >> 20 & 1, features >> 28 & 1, ebx >> 5 & 1);
	fflush(stdout);
	pristine_ready();
	puts("and on");
	return 0;
}
