/* A program without a C library: its own entry point, system calls by hand, nothing else. Prints its arguments. */
#include <pristine.h>

#define SYS_write 1
#define SYS_exit_group 231

static unsigned long length_of(const char *text)
{
	unsigned long length = 0;
	while (text[length])
		length++;
	return length;
}

static void print(const char *text)
{
	pristine_system_call(SYS_write, 1, (long)text, (long)length_of(text));
}

/* To be called from outside; without thread-local storage or a library there is nothing to set up. */
__attribute__((used)) long twice(long number) { return number * 2; }

__attribute__((used, noreturn)) static void start(long *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1);
	print("bare\n");
	for (long i = 1; i < argc; i++) {
		print(argv[i]);
		print("\n");
	}
	for (;;)
		pristine_system_call(SYS_exit_group, argc, 0, 0);
}

__asm__(".globl _start\n.type _start, @function\n_start: xorl %ebp, %ebp\nmovq %rsp, %rdi\nandq $-16, %rsp\ncall start\nhlt\n");
