/*
 * Keeps values in all vector registers (SSE, AVX2, AVX-512 as far as the processor has them) and in the x87 stack and the
 * control words, while the kernel is entered in every way, and checks that each bit is still there.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct registers {
	uint8_t zmm[32][64];
	uint64_t masks[8];
} __attribute__((aligned(64)));

/* The ways into the kernel: each is one system call, or the first touch of a page. */
struct entry {
	const char *name;
	long number, first, second, third;
};

#define EACH16(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)
#define EACH32(F) EACH16(F) F(16) F(17) F(18) F(19) F(20) F(21) F(22) F(23) F(24) F(25) F(26) F(27) F(28) F(29) F(30) F(31)
#define EACH8(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#define LOAD_XMM(n) "movaps " #n "*64(%rbx), %xmm" #n "\n"
#define STORE_XMM(n) "movaps %xmm" #n ", " #n "*64(%rbx)\n"
#define LOAD_YMM(n) "vmovaps " #n "*64(%rbx), %ymm" #n "\n"
#define STORE_YMM(n) "vmovaps %ymm" #n ", " #n "*64(%rbx)\n"
#define LOAD_ZMM(n) "vmovaps " #n "*64(%rbx), %zmm" #n "\n"
#define STORE_ZMM(n) "vmovaps %zmm" #n ", " #n "*64(%rbx)\n"
#define LOAD_MASK(n) "kmovq 2048+" #n "*8(%rbx), %k" #n "\n"
#define STORE_MASK(n) "kmovq %k" #n ", 2048+" #n "*8(%rbx)\n"

typedef void keeper(struct registers *, const struct entry *, volatile long *);

/* Loads all registers of a kind, makes the system call, touches the page, stores all registers. Outside of C, where no
 * compiler has a say in what the registers hold. */
#define KEEPER(name, load, store, end) \
	keeper name; \
	__asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" \
		"pushq %rbx\npushq %r12\nmovq %rdi, %rbx\nmovq %rdx, %r12\n" load \
		"movq 8(%rsi), %rax\nmovq 16(%rsi), %rdi\nmovq 32(%rsi), %rdx\nmovq 24(%rsi), %rsi\nsyscall\n" \
		"movq (%r12), %rax\nmovq %rax, (%r12)\n" store end "popq %r12\npopq %rbx\nret\n.size " #name ", . - " #name "\n")

KEEPER(keep_sse, EACH16(LOAD_XMM), EACH16(STORE_XMM), "");
KEEPER(keep_avx, EACH16(LOAD_YMM), EACH16(STORE_YMM), "vzeroupper\n");
KEEPER(keep_avx512, EACH32(LOAD_ZMM) EACH8(LOAD_MASK), EACH32(STORE_ZMM) EACH8(STORE_MASK), "vzeroupper\n");

static uint64_t features(void)
{
	uint32_t low, high;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static int has_avx2(void)
{
	unsigned a, b, c, d;
	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE) || (features() & 6) != 6)
		return 0;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_AVX2;
}

static int has_avx512(void)
{
	unsigned a, b, c, d;
	return has_avx2() && (features() & 0xe0) == 0xe0 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_AVX512F && b & bit_AVX512BW;
}

static void pattern(struct registers *r, unsigned seed)
{
	uint8_t *bytes = (uint8_t *)r;
	uint32_t x = seed * 2654435761u + 1;
	for (size_t i = 0; i < sizeof *r; i++) {
		x = x * 1664525u + 1013904223u;
		bytes[i] = x >> 24;
	}
}

static int same(const struct registers *left, const struct registers *right, int count, int width, int masks)
{
	for (int i = 0; i < count; i++)
		if (memcmp(left->zmm[i], right->zmm[i], width) != 0)
			return 0;
	return !masks || memcmp(left->masks, right->masks, sizeof left->masks) == 0;
}

static void check(const char *name, keeper *keep, int count, int width, int masks)
{
	static struct timespec pause = { 0, 1000000 };
	static char path[] = "/no/such/file";
	const struct entry entries[] = {
		{ "getpid", SYS_getpid, 0, 0, 0 },
		{ "write", SYS_write, 1, 0, 0 },
		{ "open", SYS_open, (long)path, 0, 0 },
		{ "nanosleep", SYS_nanosleep, (long)&pause, 0, 0 },
		{ "mprotect", SYS_mprotect, 0x10000, 0, 0 },
		{ "an unknown call", 5000, 1, 2, 3 },
	};
	const int pages = 64;
	volatile char *fresh = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int kept = 1;
	for (int round = 0; round < pages; round++) {
		struct registers before, after;
		pattern(&before, round);
		after = before;
		keep(&after, &entries[round % (sizeof entries / sizeof *entries)], (volatile long *)(fresh + round * 4096));
		kept &= same(&before, &after, count, width, masks);
	}
	munmap((void *)fresh, pages * 4096);
	printf("%s: %s\n", name, kept ? "kept" : "LOST");
}

__attribute__((target("avx2"))) static void compute_avx2(void)
{
	static int32_t numbers[4096];
	for (int i = 0; i < 4096; i++)
		numbers[i] = i * 31 % 997 - 400;
	__m256i total = _mm256_setzero_si256();
	for (int i = 0; i < 4096; i += 8) {
		__m256i eight = _mm256_loadu_si256((const __m256i *)(numbers + i));
		total = _mm256_add_epi32(total, _mm256_mullo_epi32(eight, eight));
		if (i % 512 == 0)
			syscall(SYS_getppid);
	}
	int32_t parts[8], sum = 0, plain = 0;
	_mm256_storeu_si256((__m256i *)parts, total);
	for (int i = 0; i < 8; i++)
		sum += parts[i];
	for (int i = 0; i < 4096; i++)
		plain += numbers[i] * numbers[i];
	printf("AVX2 arithmetic: %s\n", sum == plain ? "right" : "WRONG");
}

static void check_x87(void)
{
	unsigned short control = 0x0a7f, control_after = 0;
	unsigned status = 0x9fc0, status_after = 0;
	double values[8], after[8];
	for (int i = 0; i < 8; i++)
		values[i] = i * 1.25 + 0.5;
	long number = SYS_getppid, result;
	__asm__ volatile("fninit; fldl (%[v]); fldl 8(%[v]); fldl 16(%[v]); fldl 24(%[v]); fldl 32(%[v]); fldl 40(%[v]); fldl 48(%[v]); fldl 56(%[v]);"
		"fldcw %[c]; ldmxcsr %[m]; syscall; fnstcw %[ca]; stmxcsr %[ma];"
		"fstpl 56(%[a]); fstpl 48(%[a]); fstpl 40(%[a]); fstpl 32(%[a]); fstpl 24(%[a]); fstpl 16(%[a]); fstpl 8(%[a]); fstpl (%[a]); fninit"
		: "=a"(result), [ca] "=m"(control_after), [ma] "=m"(status_after) : "0"(number), [v] "r"(values), [a] "r"(after), [c] "m"(control), [m] "m"(status) : "rcx", "r11", "memory");
	unsigned usual = 0x1f80;
	__asm__ volatile("ldmxcsr %0" :: "m"(usual));
	printf("x87 stack: %s\n", memcmp(values, after, sizeof values) == 0 ? "kept" : "LOST");
	printf("control words: %s\n", control == control_after && status == status_after ? "kept" : "LOST");
}

int main(void)
{
	check("SSE", keep_sse, 16, 16, 0);
	check_x87();
	if (has_avx2()) {
		check("AVX2", keep_avx, 16, 32, 0);
		compute_avx2();
	} else {
		puts("AVX2: not here");
	}
	if (has_avx512())
		check("AVX-512", keep_avx512, 32, 64, 1);
	else
		puts("AVX-512: not here");
	return 0;
}
