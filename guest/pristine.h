/*
 * What a program inside a Pristine machine can say to it. Self-contained: `cc -I guest program.c` is all it takes.
 *
 * Each of these is a Linux system call with a number that Linux does not have: natively, and in a machine that does not
 * offer the call, the kernel answers ENOSYS, and the program goes on. So a program built with this header runs
 * everywhere; outside a machine pristine_ready() does nothing.
 *
 *     0x50520001  pristine_ready()
 *     0x50520002  pristine_generation()
 *     0x50520003  pristine_export(name, function)
 *     0x50520004  pristine_import(name)
 *     0x50520005  pristine_wait, with the reply before
 *     0x50520006  pristine_reply(result)
 *     0x50520007  pristine_resume(name, buffer, length)
 *     0x50520008  pristine_caller_alloc(size)
 *     0x50520009  the address of code that does what `syscall` does and goes on at rcx, where that is quicker
 *
 * The first two are answered by every machine; the others belong to remote machines, and say ENOSYS where there are none.
 */
#ifndef PRISTINE_H
#define PRISTINE_H

#if !defined(__x86_64__) || !defined(__linux__)
#error "pristine.h is for x86-64 Linux programs"
#endif

#define PRISTINE_SYS_READY 0x50520001L
#define PRISTINE_SYS_GENERATION 0x50520002L
#define PRISTINE_SYS_EXPORT 0x50520003L
#define PRISTINE_SYS_IMPORT 0x50520004L
#define PRISTINE_SYS_WAIT 0x50520005L
#define PRISTINE_SYS_REPLY 0x50520006L
#define PRISTINE_SYS_RESUME 0x50520007L
#define PRISTINE_SYS_CALLER_ALLOC 0x50520008L
#define PRISTINE_SYS_ENTRY 0x50520009L

/* What a change from one machine to another does not keep. */
#define PRISTINE_VECTORS_OF_ALL "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#ifdef __AVX512F__
#define PRISTINE_VECTORS PRISTINE_VECTORS_OF_ALL, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define PRISTINE_VECTORS PRISTINE_VECTORS_OF_ALL
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A system call: the result, or -errno. Only rax, rcx and r11 change. */
static inline long pristine_system_call(long number, long first, long second, long third)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
	return result;
}

/* Whether a result is an address, and not -errno (the last page of the address space holds no memory). */
static inline void *pristine_address_or_null(long result)
{
	return (unsigned long)result >= (unsigned long)-4095L ? (void *)0 : (void *)result;
}

/* "This is the point to freeze": run({ until: "ready" }) ends here, and the program goes on from here. */
static inline void pristine_ready(void)
{
	(void)pristine_system_call(PRISTINE_SYS_READY, 0, 0, 0);
}

/* A number that changes at every fork, reset and resume, so that a program can renew what must not be the same twice. 0 outside a machine. */
static inline unsigned long pristine_generation(void)
{
	long result = pristine_system_call(PRISTINE_SYS_GENERATION, 0, 0, 0);
	return result < 0 ? 0 : (unsigned long)result;
}

/* Remote: makes a function callable under a name. 0 or -errno. NULL is for a name that only resume calls mean. */
static inline int pristine_export(const char *name, void *function)
{
	return (int)pristine_system_call(PRISTINE_SYS_EXPORT, (long)name, (long)function, 0);
}

/* Caller: a function of a remote, to be called like any C function (up to 6 integer or pointer arguments, long result); NULL if it is not there. */
static inline void *pristine_import(const char *name)
{
	return pristine_address_or_null(pristine_system_call(PRISTINE_SYS_IMPORT, (long)name, 0, 0));
}

/* The code that is quicker than `syscall`: NULL before it was asked for, 1 where there is none. One for all files of a program. */
__attribute__((weak)) void *pristine_entry_found;

static inline void *pristine_entry(void)
{
	if (!pristine_entry_found) {
		void *entry = pristine_address_or_null(pristine_system_call(PRISTINE_SYS_ENTRY, 0, 0, 0));
		pristine_entry_found = entry ? entry : (void *)1;
	}
	return pristine_entry_found;
}

/*
 * A system call by that, past what lies below the stack pointer. It goes on where rcx says, behind the instruction. No return address
 * lies on the stack: a call that is given up overwrites what is there.
 */
#define PRISTINE_ENTER "lea -128(%%rsp), %%rsp; cmp $1, %[entry]; je 1f; lea 2f(%%rip), %%rcx; jmp *%[entry]; 1: syscall; 2: lea 128(%%rsp), %%rsp"

/*
 * What a thread of a remote has replied and its caller has not got yet: it travels with the next pristine_wait(), which saves a
 * system call. One for all files of a program.
 */
struct pristine_reply_kept { long result; long given; };
__attribute__((weak)) __thread struct pristine_reply_kept pristine_replied;

/*
 * Remote, in a loop: waits for a resume call; gives the caller's buffer, which lasts until the next pristine_wait(). The length,
 * or -errno.
 *
 * Vector registers do not outlast it. A call that is given up (its caller ran out of time, or gave a bad pointer) puts the thread
 * back to where it waited, as longjmp() does: so the function that waits must not return before it waits again, and this one is part
 * of it in any case.
 */
__attribute__((always_inline)) static inline long pristine_wait(void **buffer, unsigned long *length)
{
	long result;
	void *entry = pristine_entry();
	/* The reply, and then the caller's buffer. */
	unsigned long bytes = (unsigned long)pristine_replied.result;
	/* 1: there is a reply. 2: the thread may be put back. 16: what comes is in registers. */
	register long flags __asm__("r10") = pristine_replied.given | 2 | 16;
	/* Nobody asks here for which of the exported functions it is. */
	register long function __asm__("r8") = 0;
	__asm__ volatile(PRISTINE_ENTER : "=a"(result), "+d"(bytes) : "a"(PRISTINE_SYS_WAIT), "D"(0), "S"(0), "r"(flags), "r"(function), [entry] "r"(entry)
	                 : PRISTINE_VECTORS, "rcx", "r11", "memory", "cc");
	/* Here, where a call that is given up comes by: what it has replied is nobody else's. */
	pristine_replied.given = 0;
	if (result < 0) return result;
	*buffer = (void *)bytes;
	*length = (unsigned long)result;
	return result;
}

/*
 * Remote: lends the calling thread to callers, for good. Calls of exported functions run on it, on its stack and with what it has of
 * its own (__thread); so many run at once, on different processors, as threads are lent. Without any they come one after another,
 * in the name of the first thread.
 */
static inline void pristine_lend_thread(void)
{
	/* A signal handler may have run: it is lent again. */
	for (;;) {
		long result;
		register long flags __asm__("r10") = 4;
		register long function __asm__("r8") = 0;
		__asm__ volatile("syscall" : "=a"(result) : "a"(PRISTINE_SYS_WAIT), "D"(0), "S"(0), "d"(0), "r"(flags), "r"(function)
		                 : PRISTINE_VECTORS, "rcx", "r11", "memory", "cc");
		if (result != -4) return;
	}
}

/* Remote: what the caller of the resume call that pristine_wait() returned is to get. It gets it when this thread waits again. */
static inline void pristine_reply(long result)
{
	pristine_replied.result = result;
	pristine_replied.given = 1;
}

/*
 * Caller of a remote that waits: the remote's reply, or -errno (-ENOENT: no such remote, -EFAULT: the buffer is not the caller's
 * to write, -EDEADLK: it is being called already in this chain of calls). Vector registers do not outlast it.
 */
static inline long pristine_resume(const char *name, void *buffer, unsigned long length)
{
	long result;
	void *entry = pristine_entry();
	__asm__ volatile(PRISTINE_ENTER : "=a"(result) : "a"(PRISTINE_SYS_RESUME), "D"(name), "S"(buffer), "d"(length), [entry] "r"(entry)
	                 : PRISTINE_VECTORS, "rcx", "r11", "memory", "cc");
	return result;
}

/*
 * Remote, during a call: memory of the caller's, for answers; NULL if there is none. The caller has it until it is reset; what is
 * as large as a page or larger has pages of its own, which it may give back with munmap().
 */
static inline void *pristine_caller_alloc(unsigned long size)
{
	return pristine_address_or_null(pristine_system_call(PRISTINE_SYS_CALLER_ALLOC, (long)size, 0, 0));
}

/*
 * Remote: whether any of these bytes are a remote's own. The addresses that a caller passes in registers are not; whoever follows
 * pointers that lie in a caller's memory asks first.
 */
static inline int pristine_is_remote(const void *address, unsigned long length)
{
	unsigned long start = (unsigned long)address;
	return start + length < start || (start + length > 0x600000000000UL && start < 0x680000000000UL);
}

#ifdef __cplusplus
}
#endif

#endif
