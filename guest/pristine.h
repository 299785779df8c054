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
 *     0x50520005  pristine_wait(&buffer, &length)
 *     0x50520006  pristine_reply(result)
 *     0x50520007  pristine_resume(name, buffer, length)
 *     0x50520008  pristine_caller_alloc(size)
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

/* Remote: makes a function callable under a name. 0 or -errno. */
static inline int pristine_export(const char *name, void *function)
{
	return (int)pristine_system_call(PRISTINE_SYS_EXPORT, (long)name, (long)function, 0);
}

/* Caller: a function of a remote, to be called like any C function (up to 6 integer or pointer arguments, long result); NULL if it is not there. */
static inline void *pristine_import(const char *name)
{
	return pristine_address_or_null(pristine_system_call(PRISTINE_SYS_IMPORT, (long)name, 0, 0));
}

/* Remote, in a loop: waits for a resume call; gives the caller's buffer. The length, or -errno. */
static inline long pristine_wait(void **buffer, unsigned long *length)
{
	return pristine_system_call(PRISTINE_SYS_WAIT, (long)buffer, (long)length, 0);
}

/* Remote: ends the resume call that pristine_wait() returned. */
static inline void pristine_reply(long result)
{
	(void)pristine_system_call(PRISTINE_SYS_REPLY, result, 0, 0);
}

/* Caller of a remote that waits: the remote's reply, or -errno. */
static inline long pristine_resume(const char *name, void *buffer, unsigned long length)
{
	return pristine_system_call(PRISTINE_SYS_RESUME, (long)name, (long)buffer, (long)length);
}

/* Remote, during a call: memory of the caller's, for answers; NULL if there is none. */
static inline void *pristine_caller_alloc(unsigned long size)
{
	return pristine_address_or_null(pristine_system_call(PRISTINE_SYS_CALLER_ALLOC, (long)size, 0, 0));
}

#ifdef __cplusplus
}
#endif

#endif
