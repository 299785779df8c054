/*
 * Commits the fault that its argument names. `faults --list` prints all names, each with the signal that Linux sends.
 * `faults read|write|jump ADDRESS` tries a place that the caller chooses.
 *
 * Everything that ring 3 must not do is here, together with what goes wrong by mistake. A fault that lets the program go
 * on ends it with status 90, so that no fault passes unnoticed.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const int constant = 7;
static char data[64] = "\xc3";
static volatile int zero;

static void read_null(void) { (void)*(volatile int *)0; }
static void write_null(void) { *(volatile int *)0 = 1; }
static void call_null(void) { __asm__ volatile("xorl %%eax, %%eax; call *%%rax" ::: "rax", "memory"); }
static void read_low(void) { (void)*(volatile int *)0xfff8; }
static void read_unmapped(void) { (void)*(volatile int *)0x123456789000; }
static void write_constant(void) { *(volatile int *)&constant = 8; }
static void write_code(void) { *(volatile char *)(uintptr_t)read_null = 0; }
static void execute_data(void) { ((void (*)(void))(uintptr_t)data)(); }
static void execute_stack(void) { volatile char code[1] = { (char)0xc3 }; ((void (*)(void))(uintptr_t)code)(); }
static void jump_nowhere(void) { ((void (*)(void))0x123456789000)(); }
static void jump_noncanonical(void) { __asm__ volatile("movabsq $0x8000123456789000, %%rax; jmp *%%rax" ::: "rax"); }
static void return_noncanonical(void) { __asm__ volatile("movabsq $0x8000123456789000, %%rax; pushq %%rax; ret" ::: "rax"); }
static void read_noncanonical(void) { (void)*(volatile int *)0x8000123456789000; }
static void read_upper_half(void) { (void)*(volatile int *)0xffff800000000000; }
static void read_last_byte(void) { (void)*(volatile char *)0xffffffffffffffff; }
static void write_upper_half(void) { *(volatile int *)0xffffffff80000000 = 0; }
static void stack_noncanonical(void) { __asm__ volatile("movabsq $0x8000123456789000, %%rsp; pushq %%rax" ::: "memory"); }
static void stack_lost(void) { __asm__ volatile("xorl %%esp, %%esp; pushq %%rax" ::: "memory"); }
static void divide_by_zero(void) { __asm__ volatile("movl $1, %%eax; cltd; idivl %0" :: "r"(zero) : "rax", "rdx", "cc"); }
static void divide_overflow(void) { __asm__ volatile("movl $0x80000000, %%eax; cltd; movl $-1, %%ecx; idivl %%ecx" ::: "rax", "rcx", "rdx", "cc"); }
static void undefined(void) { __asm__ volatile("ud2"); }
static void bad_lock(void) { __asm__ volatile(".byte 0xf0, 0x90"); }
static void breakpoint(void) { __asm__ volatile("int3"); }
static void interrupt_1(void) { __asm__ volatile(".byte 0xf1"); }
static void interrupt_13(void) { __asm__ volatile("int $13"); }
static void interrupt_14(void) { __asm__ volatile("int $14"); }
static void interrupt_8(void) { __asm__ volatile("int $8"); }
static void interrupt_255(void) { __asm__ volatile("int $255"); }
static void halt(void) { __asm__ volatile("hlt"); }
static void port_out(void) { __asm__ volatile("outb %%al, $0x80" :: "a"(0)); }
static void port_out_system_call(void) { __asm__ volatile("outb %%al, $0x40" :: "a"(0)); }
static void port_out_string(void) { __asm__ volatile("outsb" :: "S"(data), "d"(0x80) : "memory"); }
static void port_in(void) { __asm__ volatile("inb $0x80, %%al" ::: "rax"); }
static void disable_interrupts(void) { __asm__ volatile("cli"); }
static void enable_interrupts(void) { __asm__ volatile("sti"); }
static void read_msr(void) { __asm__ volatile("rdmsr" :: "c"(0xc0000080) : "rax", "rdx"); }
static void write_msr(void) { __asm__ volatile("wrmsr" :: "c"(0xc0000082), "a"(0), "d"(0)); }
static void read_control(void) { __asm__ volatile("movq %%cr0, %%rax" ::: "rax"); }
static void write_control(void) { __asm__ volatile("movq %%rax, %%cr3" :: "a"(0)); }
static void write_debug(void) { __asm__ volatile("movq %%rax, %%db7" :: "a"(0x401)); }
static void load_gdt(void) { __asm__ volatile("lgdt %0" :: "m"(data)); }
static void load_idt(void) { __asm__ volatile("lidt %0" :: "m"(data)); }
static void load_task(void) { __asm__ volatile("ltr %%ax" :: "a"(0x40)); }
static void clear_task(void) { __asm__ volatile("clts"); }
static void invalidate(void) { __asm__ volatile("invlpg (%%rax)" :: "a"(data)); }
static void write_back(void) { __asm__ volatile("wbinvd"); }
static void system_return(void) { __asm__ volatile("sysretq" :: "c"(0)); }
static void swap_gs(void) { __asm__ volatile("swapgs"); }
static void extended_control(void) { __asm__ volatile("xsetbv" :: "c"(0), "a"(7), "d"(0)); }
static void load_selector(void) { __asm__ volatile("movw %%ax, %%ds" :: "a"(0x1234)); }
static void load_kernel_selector(void) { __asm__ volatile("movw %%ax, %%ss" :: "a"(0x10)); }
static void far_return(void) { __asm__ volatile("pushq $0x8; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:" ::: "rax", "memory"); }
static void interrupt_return(void)
{
	__asm__ volatile("movq %%rsp, %%rcx; pushq $0x10; pushq %%rcx; pushfq; pushq $0x08; leaq 1f(%%rip), %%rax; pushq %%rax; iretq; 1:" ::: "rax", "rcx", "memory");
}

/* With the alignment-check flag an unaligned read is a fault. */
static void unaligned(void)
{
	__asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq; movl 1(%%rax), %%eax; pushfq; andl $~0x40000, (%%rsp); popfq" :: "a"(data) : "memory", "cc");
}

static void aligned_move(void)
{
	__asm__ volatile("movaps 1(%%rax), %%xmm0" :: "a"((uintptr_t)data & ~15ul) : "xmm0");
}

static void single_step(void)
{
	__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop" ::: "memory", "cc");
}

static void float_x87(void)
{
	unsigned short control = 0x037f & ~4;
	__asm__ volatile("fldcw %0; fldz; fld1; fdivp; fwait" :: "m"(control) : "memory");
}

static void float_sse(void)
{
	unsigned control = 0x1f80 & ~0x200;
	__asm__ volatile("ldmxcsr %0; xorps %%xmm1, %%xmm1; movsd %1, %%xmm0; divsd %%xmm1, %%xmm0" :: "m"(control), "m"(*(const double[]){ 1.0 }) : "xmm0", "xmm1");
}

#pragma clang diagnostic ignored "-Winfinite-recursion"
static uint64_t recurse(volatile char *above)
{
	volatile char frame[1000];
	frame[0] = above ? above[0] + 1 : 0;
	return recurse(frame) + frame[0];
}

static void stack_overflow(void) { zero = (int)recurse(0); }

/* Sixteen MiB below the stack pointer, twice the usual limit. */
static void past_stack_limit(void) { __asm__ volatile("movb $1, -0x1000000(%%rsp)" ::: "memory"); }

static void guard_page(void)
{
	volatile char *memory = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect((void *)(memory + 4096), 4096, PROT_NONE);
	memory[4095] = 1;
	memory[4096] = 1;
}

static void unmapped_again(void)
{
	volatile char *memory = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory[0] = 1;
	munmap((void *)memory, 4096);
	memory[0] = 2;
}

static void abort_(void) { abort(); }

static const struct fault {
	const char *name;
	int signal;
	void (*commit)(void);
} faults[] = {
	{ "read-null", SIGSEGV, read_null },
	{ "write-null", SIGSEGV, write_null },
	{ "call-null", SIGSEGV, call_null },
	{ "read-low", SIGSEGV, read_low },
	{ "read-unmapped", SIGSEGV, read_unmapped },
	{ "write-constant", SIGSEGV, write_constant },
	{ "write-code", SIGSEGV, write_code },
	{ "execute-data", SIGSEGV, execute_data },
	{ "execute-stack", SIGSEGV, execute_stack },
	{ "jump-nowhere", SIGSEGV, jump_nowhere },
	{ "jump-noncanonical", SIGSEGV, jump_noncanonical },
	{ "return-noncanonical", SIGSEGV, return_noncanonical },
	{ "read-noncanonical", SIGSEGV, read_noncanonical },
	{ "read-upper-half", SIGSEGV, read_upper_half },
	{ "read-last-byte", SIGSEGV, read_last_byte },
	{ "write-upper-half", SIGSEGV, write_upper_half },
	{ "stack-noncanonical", SIGBUS, stack_noncanonical },
	{ "stack-lost", SIGSEGV, stack_lost },
	{ "stack-overflow", SIGSEGV, stack_overflow },
	{ "past-stack-limit", SIGSEGV, past_stack_limit },
	{ "guard-page", SIGSEGV, guard_page },
	{ "unmapped-again", SIGSEGV, unmapped_again },
	{ "divide-by-zero", SIGFPE, divide_by_zero },
	{ "divide-overflow", SIGFPE, divide_overflow },
	{ "float-x87", SIGFPE, float_x87 },
	{ "float-sse", SIGFPE, float_sse },
	{ "undefined", SIGILL, undefined },
	{ "bad-lock", SIGILL, bad_lock },
	{ "breakpoint", SIGTRAP, breakpoint },
	{ "interrupt-1", SIGTRAP, interrupt_1 },
	{ "single-step", SIGTRAP, single_step },
	{ "interrupt-8", SIGSEGV, interrupt_8 },
	{ "interrupt-13", SIGSEGV, interrupt_13 },
	{ "interrupt-14", SIGSEGV, interrupt_14 },
	{ "interrupt-255", SIGSEGV, interrupt_255 },
	{ "unaligned", SIGBUS, unaligned },
	{ "aligned-move", SIGSEGV, aligned_move },
	{ "halt", SIGSEGV, halt },
	{ "port-out", SIGSEGV, port_out },
	{ "port-out-system-call", SIGSEGV, port_out_system_call },
	{ "port-out-string", SIGSEGV, port_out_string },
	{ "port-in", SIGSEGV, port_in },
	{ "disable-interrupts", SIGSEGV, disable_interrupts },
	{ "enable-interrupts", SIGSEGV, enable_interrupts },
	{ "read-msr", SIGSEGV, read_msr },
	{ "write-msr", SIGSEGV, write_msr },
	{ "read-control", SIGSEGV, read_control },
	{ "write-control", SIGSEGV, write_control },
	{ "write-debug", SIGSEGV, write_debug },
	{ "load-gdt", SIGSEGV, load_gdt },
	{ "load-idt", SIGSEGV, load_idt },
	{ "load-task", SIGSEGV, load_task },
	{ "clear-task", SIGSEGV, clear_task },
	{ "invalidate", SIGSEGV, invalidate },
	{ "write-back", SIGSEGV, write_back },
	{ "system-return", SIGSEGV, system_return },
	{ "swap-gs", SIGSEGV, swap_gs },
	{ "extended-control", SIGSEGV, extended_control },
	{ "load-selector", SIGSEGV, load_selector },
	{ "load-kernel-selector", SIGSEGV, load_kernel_selector },
	{ "far-return", SIGSEGV, far_return },
	{ "interrupt-return", SIGSEGV, interrupt_return },
	{ "abort", SIGABRT, abort_ },
};

static int try_place(const char *how, uintptr_t address)
{
	printf("trying to %s %#lx\n", how, (unsigned long)address);
	fflush(stdout);
	if (strcmp(how, "read") == 0)
		(void)*(volatile char *)address;
	else if (strcmp(how, "write") == 0)
		*(volatile char *)address = 0;
	else if (strcmp(how, "jump") == 0)
		((void (*)(void))address)();
	else
		return 64;
	printf("went on\n");
	return 90;
}

int main(int argc, char **argv)
{
	size_t count = sizeof faults / sizeof *faults;
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < count; i++)
			printf("%s %d\n", faults[i].name, faults[i].signal);
		return 0;
	}
	if (argc == 3)
		return try_place(argv[1], strtoul(argv[2], 0, 0));
	for (size_t i = 0; argc == 2 && i < count; i++) {
		if (strcmp(argv[1], faults[i].name) != 0)
			continue;
		printf("committing %s\n", argv[1]);
		fflush(stdout);
		faults[i].commit();
		printf("went on after %s\n", argv[1]);
		return 90;
	}
	fprintf(stderr, "usage: faults --list | NAME | read|write|jump ADDRESS\n");
	return 64;
}
