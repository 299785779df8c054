/* The FS and GS bases: by arch_prctl, by their own instructions where the kernel allows them, and across system calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004
#define HWCAP2_FSGSBASE 2

static void say(const char *name, int good)
{
	printf("%s: %s\n", name, good ? "ok" : "WRONG");
}

/* No library call while FS points elsewhere: they use it. */
static inline long plain_call(long number, long first, long second)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second) : "rcx", "r11", "memory");
	return result;
}

static inline uint64_t read_gs(uint64_t offset)
{
	uint64_t value;
	__asm__ volatile("movq %%gs:(%1), %0" : "=r"(value) : "r"(offset) : "memory");
	return value;
}

static uint64_t area[8] = { 11, 22, 33, 44, 55, 66, 77, 88 };

static void by_system_call(void)
{
	uint64_t before = 0, now = 0;
	say("ARCH_GET_FS", syscall(SYS_arch_prctl, ARCH_GET_FS, &before) == 0 && before != 0);
	uint64_t self;
	__asm__("movq %%fs:0, %0" : "=r"(self));
	say("FS holds the thread", self == before);
	say("ARCH_SET_GS", syscall(SYS_arch_prctl, ARCH_SET_GS, area) == 0 && read_gs(8) == 22);
	say("ARCH_GET_GS", syscall(SYS_arch_prctl, ARCH_GET_GS, &now) == 0 && now == (uint64_t)area);
	getpid();
	usleep(1000);
	say("GS is kept by system calls", read_gs(16) == 33);
	errno = 0;
	say("an address outside user space is refused", syscall(SYS_arch_prctl, ARCH_SET_GS, 0xffff800000000000) == -1 && errno == EPERM);
	errno = 0;
	say("an unknown operation is refused", syscall(SYS_arch_prctl, 0x9999, 0) == -1 && errno == EINVAL);
	errno = 0;
	say("a bad pointer is refused", syscall(SYS_arch_prctl, ARCH_GET_GS, 8) == -1 && errno == EFAULT);

	long set = plain_call(SYS_arch_prctl, ARCH_SET_FS, (long)(area + 3));
	uint64_t value;
	__asm__ volatile("movq %%fs:8, %0" : "=r"(value) :: "memory");
	plain_call(SYS_arch_prctl, ARCH_SET_FS, (long)before);
	say("ARCH_SET_FS", set == 0 && value == 55);
}

__attribute__((target("fsgsbase"))) static void by_instruction(void)
{
	uint64_t fs, gs;
	__asm__ volatile("rdfsbase %0; rdgsbase %1" : "=r"(fs), "=r"(gs));
	uint64_t self;
	__asm__("movq %%fs:0, %0" : "=r"(self));
	say("rdfsbase", fs == self && gs == (uint64_t)area);
	__asm__ volatile("wrgsbase %0" :: "r"(area + 5) : "memory");
	say("wrgsbase", read_gs(0) == 66);
	uint64_t now = 0;
	say("the kernel sees it", syscall(SYS_arch_prctl, ARCH_GET_GS, &now) == 0 && now == (uint64_t)(area + 5));
	uint64_t value;
	__asm__ volatile("wrfsbase %2; movq %%fs:0, %0; wrfsbase %1" : "=&r"(value) : "r"(fs), "r"(area + 7) : "memory");
	say("wrfsbase", value == 88 && getpid() > 0);
	usleep(1000);
	say("both are kept by system calls", read_gs(8) == 77 && errno != -1);
}

int main(void)
{
	by_system_call();
	if (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)
		by_instruction();
	else
		puts("fsgsbase: not here");
	return 0;
}
