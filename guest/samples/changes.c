/*
 * Does to itself whatever a request may do to its machine: writes, mappings, protections, signals, files, registers,
 * faults. For tests of resets: each kind of change is one function number, so that random sequences can be made of them;
 * other functions look at what is left.
 *
 * The playground is a range of address space with a fixed layout at the start: windows with written pages, read-only
 * pages, pages without access, holes, and pages that were never touched.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pristine.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include "change.h"

#define EXPORT __attribute__((used, noinline, visibility("default")))
#define PAGE 4096ul
#define PLAYGROUND 0x100000000000ul
/* Far apart, so that each needs page tables of its own. */
#define FAR 0x200000000000ul
#define FAR_STEP 0x40000000ul


static sigjmp_buf guard;
static volatile int guarded;
static int pipe_ends[2];
uint64_t data_value __attribute__((used)) = 0x1234;
uint64_t zero_value __attribute__((used));

static void caught(int signal)
{
	if (guarded)
		siglongjmp(guard, 1);
	/* Not ours: the next one is fatal. */
	struct sigaction fatal = { .sa_handler = SIG_DFL };
	sigaction(signal, &fatal, 0);
}

static void ignored(int signal) { (void)signal; }

static void catch_faults(void)
{
	struct sigaction action = { .sa_handler = caught, .sa_flags = SA_NODEFER };
	sigaction(SIGSEGV, &action, 0);
	sigaction(SIGBUS, &action, 0);
	sigaction(SIGILL, &action, 0);
}

/* 1 if the store went through. */
static int store(uint64_t address, uint64_t value)
{
	if (sigsetjmp(guard, 0))
		return guarded = 0;
	guarded = 1;
	*(volatile uint64_t *)address = value;
	guarded = 0;
	return 1;
}

static long map(uint64_t address, uint64_t pages, uint64_t protection)
{
	int fixed = address ? MAP_FIXED : 0;
	return (long)mmap((void *)address, pages * PAGE, protection & 7, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
}

/* Everything a processor holds that calls do not have to keep. */
static void fill_vectors(uint64_t seed, int wide)
{
	uint32_t mxcsr = 0x1f80 ^ (uint32_t)(seed & 0xe000);
	uint16_t control = 0x37f ^ (uint16_t)(seed & 0xc00);
	uint64_t lanes[8];
	for (int i = 0; i < 8; i++)
		lanes[i] = seed * (uint64_t)(2 * i + 3);
	__asm__ volatile("ldmxcsr %0; fldcw %1; fldpi" :: "m"(mxcsr), "m"(control));
	if (wide >= 2)
		__asm__ volatile("vmovdqu64 (%0), %%zmm3; vmovdqu64 (%0), %%zmm29; kmovq (%0), %%k3" :: "r"(lanes) : "memory", "xmm3");
	else if (wide >= 1)
		__asm__ volatile("vmovdqu (%0), %%ymm3; vmovdqu (%0), %%ymm12" :: "r"(lanes) : "memory", "xmm3", "xmm12");
	__asm__ volatile("movdqu (%0), %%xmm5; movdqu (%0), %%xmm15" :: "r"(lanes) : "memory", "xmm5", "xmm15");
}

static long files(uint64_t what, uint64_t value)
{
	char bytes[64];
	int fd = (int)(value % 24);
	switch (what % 12) {
	case 0: return open("/dev/zero", O_RDONLY | (value & 1 ? O_CLOEXEC : 0));
	case 1: return open("/proc/self/status", O_RDONLY);
	case 2: return close(fd);
	case 3: return dup2(fd, (int)(value / 24 % 24));
	case 4: return fcntl(fd % 3 ? fd % 3 : 10, F_SETFD, (int)(value >> 5 & 1));
	case 5: return fcntl(fd, F_SETFL, value & 256 ? O_NONBLOCK : 0);
	case 6: return read(10, bytes, 1 + value % sizeof bytes);
	case 7: return lseek(10, (long)(value % 100), SEEK_SET);
	case 8: return write(pipe_ends[1], bytes, 1 + value % sizeof bytes);
	case 9: return fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK) ?: read(pipe_ends[0], bytes, 1 + value % sizeof bytes);
	case 10: return open("/", O_RDONLY | O_DIRECTORY);
	default: return pipe(pipe_ends);
	}
}

#define ROOM "/dev/shm/room/"
/* An open file, and one without a name. */
enum { PRIVATE_FD = 11, NAMELESS_FD = 12 };

static const char *private_name(uint64_t value)
{
	static char names[2][64];
	static int turn;
	char *name = names[turn ^= 1];
	snprintf(name, sizeof names[0], value % 3 == 2 ? ROOM "inner/%d" : ROOM "%d", (int)(value / 3 % 5));
	return name;
}

static long private_files(uint64_t what, uint64_t value)
{
	char bytes[64];
	memset(bytes, (int)value | 1, sizeof bytes);
	switch (what % 15) {
	case 12: return close(NAMELESS_FD);
	case 13: return pwrite(NAMELESS_FD, bytes, sizeof bytes, (long)(value & 0xfff));
	case 0: return pwrite(PRIVATE_FD, bytes, 1 + value % sizeof bytes, (long)(value >> 8 & 0x3fff));
	case 1: return ftruncate(PRIVATE_FD, (long)(value % 9000));
	case 2: {
		int fd = open(private_name(value), O_RDWR | O_CREAT | (value & 64 ? O_TRUNC : O_APPEND), 0600);
		long result = write(fd, bytes, 1 + value % sizeof bytes);
		return close(fd) ?: result;
	}
	case 3: return unlink(private_name(value));
	case 4: return rename(private_name(value), private_name(value >> 8));
	case 5: return value & 1 ? mkdir(ROOM "folder", 0700) : rmdir(ROOM "folder");
	case 6: return chmod(private_name(value), (mode_t)(value >> 8 & 0777));
	case 7: {
		struct timespec times[2] = { { .tv_sec = (long)(value % 1000) }, { .tv_sec = (long)(value % 2000) } };
		return utimensat(AT_FDCWD, private_name(value), times, 0);
	}
	case 8: return read(PRIVATE_FD, bytes, 1 + value % sizeof bytes);
	case 9: return open(private_name(value), O_RDWR);
	case 10: return symlink("elsewhere", private_name(value));
	case 11: return link(private_name(value), private_name(value >> 8));
	default: return close(PRIVATE_FD);
	}
}

uint64_t mix(uint64_t hash, const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ ((const unsigned char *)bytes)[i]) * 1099511628211ul;
	return hash;
}

uint64_t mix_folder(uint64_t hash, const char *path, bool on_host)
{
	char inner[600], bytes[512];
	DIR *directory = opendir(path);
	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		struct stat facts;
		snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
		hash = mix(hash, entry->d_name, strlen(entry->d_name));
		if (entry->d_name[0] == '.' || lstat(inner, &facts))
			continue;
		if (on_host)
			memset(&facts.st_atim, 0, sizeof facts.st_atim);
		hash = mix(hash, &facts, sizeof facts);
		int fd = open(inner, O_RDONLY | O_NOFOLLOW);
		for (ssize_t count; (count = read(fd, bytes, sizeof bytes)) > 0;)
			hash = mix(hash, bytes, (size_t)count);
		close(fd);
	}
	if (directory)
		closedir(directory);
	return hash;
}

/* All that can be seen of the private files, and the open one's bytes. */
EXPORT long private_sum(void)
{
	char bytes[512];
	uint64_t hash = mix_folder(mix_folder(HASH_START, ROOM, false), ROOM "inner", false);
	for (int fd = PRIVATE_FD; fd <= NAMELESS_FD; fd++) {
		/* Something else, without an end, may have its number. */
		for (long at = 0, count; at < 65536 && (count = pread(fd, bytes, sizeof bytes, at)) > 0; at += count)
			hash = mix(hash, bytes, (size_t)count);
	}
	return (long)hash;
}

static void prepare_private(void)
{
	static char bytes[6000];
	mkdir(ROOM, 0700);
	mkdir(ROOM "inner", 0700);
	for (uint64_t i = 0; i < 9; i += 2) {
		memset(bytes, (int)('a' + i), sizeof bytes);
		int fd = open(private_name(i), O_RDWR | O_CREAT, 0600);
		if (write(fd, bytes, 100 + i * 700) < 0)
			_exit(1);
		if (i == 0)
			dup2(fd, PRIVATE_FD);
		close(fd);
	}
	lseek(PRIVATE_FD, 10, SEEK_SET);
	int fd = open(ROOM, O_RDWR | O_TMPFILE, 0600);
	if (write(fd, bytes, 900) != 900 || dup2(fd, NAMELESS_FD) < 0)
		_exit(1);
	close(fd);
}

/* A set, what it watches with an edge and once, and others. */
enum { SET_FD = 13, EVENT_FD, TIMER_FD, SIGNAL_FD };

static long control(int operation, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };
	return epoll_ctl(SET_FD, operation, fd, &event);
}

static long events(uint64_t what, uint64_t value)
{
	static const uint32_t kinds[] = { EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLET, EPOLLIN | EPOLLOUT | EPOLLONESHOT };
	struct epoll_event told[3];
	uint64_t count = value % 100;
	int fd = (int)(value >> 8 & 1 ? EVENT_FD + value % 3 : value % 24);
	switch (what % 11) {
	case 0: return control(EPOLL_CTL_ADD, fd, kinds[value >> 16 & 3], value);
	case 1: return control(EPOLL_CTL_MOD, fd, kinds[value >> 16 & 3], value);
	case 2: return control(EPOLL_CTL_DEL, fd, 0, 0);
	case 3: return write(EVENT_FD, &count, sizeof count);
	case 4: return read(EVENT_FD, &count, sizeof count);
	case 5: {
		struct itimerspec spec = { { (long)(value & 7), 0 }, { 3600 + (long)count, 0 } };
		return timerfd_settime(TIMER_FD, 0, &spec, 0);
	}
	case 6: return epoll_wait(SET_FD, told, 1 + (int)(value % 3), 0);
	case 7: {
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, 1 + (int)(value % 31));
		return signalfd(SIGNAL_FD, &set, 0);
	}
	case 8: return value & 1 ? eventfd((unsigned)value, EFD_NONBLOCK) : epoll_create1(0);
	case 9: return dup2(EVENT_FD, fd);
	default: return close(fd);
	}
}

/* What can be seen of the set and of what it watches; it changes them. */
EXPORT long event_sum(void)
{
	uint64_t hash = HASH_START, count = 0;
	struct itimerspec spec = { { 0, 0 }, { 0, 0 } };
	for (int round = 0; round < 3; round++) {
		struct epoll_event told[8];
		memset(told, 0, sizeof told);
		int number = epoll_wait(SET_FD, told, 2, 0);
		hash = mix(mix(hash, &number, sizeof number), told, sizeof told);
		if (write(EVENT_FD, &(uint64_t){ 1 }, 8) != 8)
			break;
	}
	if (read(EVENT_FD, &count, sizeof count) == sizeof count)
		hash = mix(hash, &count, sizeof count);
	timerfd_gettime(TIMER_FD, &spec);
	hash = mix(hash, &spec.it_interval, sizeof spec.it_interval);
	return (long)hash;
}

static void prepare_events(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	int made[] = { epoll_create1(0), eventfd(5, EFD_NONBLOCK), timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK), signalfd(-1, &set, SFD_NONBLOCK) };
	for (int i = 0; i < 4; i++)
		if (dup2(made[i], SET_FD + i) < 0)
			_exit(1);
	for (int i = 0; i < 4; i++)
		if (made[i] < SET_FD)
			close(made[i]);
	/* A date: a span would stand at another point in every fork that has run. */
	struct itimerspec date = { { 60, 0 }, { 4000000000, 0 } };
	timerfd_settime(TIMER_FD, TFD_TIMER_ABSTIME, &date, 0);
	control(EPOLL_CTL_ADD, EVENT_FD, EPOLLIN | EPOLLET, 1);
	control(EPOLL_CTL_ADD, TIMER_FD, EPOLLIN | EPOLLONESHOT, 2);
	control(EPOLL_CTL_ADD, pipe_ends[0], EPOLLIN, 3);
	struct epoll_event told;
	epoll_wait(SET_FD, &told, 1, 0);
}

static long signals(uint64_t what, uint64_t value)
{
	int number = 1 + (int)(value % 31);
	sigset_t set;
	switch (what % 8) {
	case 0: {
		struct sigaction action = { .sa_handler = value & 64 ? ignored : SIG_IGN, .sa_flags = (int)(value & 128 ? SA_RESTART : 0) };
		return sigaction(number == SIGSEGV ? SIGUSR1 : number, &action, 0);
	}
	case 1:
		sigemptyset(&set);
		sigaddset(&set, number);
		return sigprocmask(value & 64 ? SIG_BLOCK : SIG_UNBLOCK, &set, 0);
	case 2:
		sigemptyset(&set);
		sigaddset(&set, SIGUSR2);
		sigprocmask(SIG_BLOCK, &set, 0);
		return kill(getpid(), SIGUSR2);
	case 3: {
		static char stack[4 * 4096];
		stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack - (value & 0xff0), .ss_flags = 0 };
		return sigaltstack(&alternate, 0);
	}
	case 4: {
		/* Long spans: a request that is ended by its timer would show little. */
		struct itimerval timer = { { (long)(value >> 3 & 7), 0 }, { (long)(3600 + (value >> 6 & 0xff)), 0 } };
		return setitimer((int)(value % 3), &timer, 0);
	}
	case 5: {
		struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value.sival_int = (int)value };
		struct itimerspec date = { { 0, 0 }, { (long)(7200 + value % 512), 0 } };
		timer_t timer;
		if (timer_create(value & 1 ? CLOCK_MONOTONIC : CLOCK_REALTIME, &event, &timer) != 0)
			return -errno;
		return timer_settime(timer, 0, &date, 0);
	}
	case 6:
		sigemptyset(&set);
		sigaddset(&set, SIGRTMIN + 1);
		sigprocmask(SIG_BLOCK, &set, 0);
		return sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = (int)value });
	default: {
		struct sigaction action = { .sa_handler = ignored };
		sigaction(SIGUSR1, &action, 0);
		return kill(getpid(), SIGUSR1);
	}
	}
}

static long process(uint64_t what, uint64_t value)
{
	switch (what % 7) {
	case 0: return umask((mode_t)(value & 0777));
	case 1: return chdir(value & 1 ? "/proc" : "/dev");
	case 2: {
		struct rlimit limit = { .rlim_cur = value % 512 + 32, .rlim_max = 4096 };
		return setrlimit(RLIMIT_NOFILE, &limit);
	}
	case 3: return prctl(PR_SET_NAME, (unsigned long)(value & 1 ? "changed" : "another"), 0, 0, 0);
	case 5: return setpriority(PRIO_PROCESS, 0, (int)(value % 20));
	case 4: return syscall(SYS_set_tid_address, value & ~7ul);
	default: return syscall(SYS_arch_prctl, ARCH_SET_GS, value & 0x7fffffffffff);
	}
}

/* One change; the numbers are those of the test. `a` is a page of the playground where it is about memory. */
/* A file in the place of what is there: the program's own or a private one, shared or with pages of its own. */
static long map_file(uint64_t address, uint64_t b, uint64_t c)
{
	int private = c & 1;
	int shared = c >> 1 & 1;
	int fd = private ? PRIVATE_FD : open("/proc/self/exe", O_RDONLY);
	int protection = shared && !private ? PROT_READ : PROT_READ | PROT_WRITE;
	void *at = mmap((void *)address, (1 + b % 40) * PAGE, protection, MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE), fd, (b >> 8 & 3) * PAGE);
	if (!private)
		close(fd);
	if (at == MAP_FAILED)
		return -errno;
	volatile char seen = 0;
	guarded = 1;
	/* Behind the end of the file there is nothing. */
	if (!sigsetjmp(guard, 1)) {
		seen = *(volatile char *)at;
		if (protection & PROT_WRITE)
			*(volatile char *)(address + b % 40 * PAGE) = (char)(seen + 1);
	}
	guarded = 0;
	return seen;
}

EXPORT long change(uint32_t kind, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t address = PLAYGROUND + a % 2048 * PAGE;
	switch (kind) {
	case 0: return store(address + (c & 0xff8), b);
	case 1: return map(address, 1 + b % 600, c);
	case 2: return munmap((void *)address, (1 + b % 600) * PAGE);
	case 3: return mprotect((void *)address, (1 + b % 600) * PAGE, (int)(c & 7));
	case 4: return (long)mremap((void *)address, (1 + b % 64) * PAGE, (1 + c % 128) * PAGE, MREMAP_MAYMOVE);
	case 5: return syscall(SYS_brk, syscall(SYS_brk, 0) + (long)(b % 64 * PAGE) - (long)(c % 8 * PAGE));
	case 6: return madvise((void *)address, (1 + b % 600) * PAGE, MADV_DONTNEED);
	case 7: {
		long stored = 0;
		for (int page = 0; page < 64; page++)
			if (b >> page & 1)
				stored += store(address + (uint64_t)page * PAGE + (c & 0xff8), c ^ (uint64_t)page);
		return stored;
	}
	case 8: fill_vectors(b, (int)(c % 3)); return 0;
	case 9: return signals(a, b);
	case 10: return files(a, b);
	case 11: return process(a, b);
	case 12: {
		/* A window with page tables of its own, and a secret in it. */
		uint64_t far = FAR + a % 48 * FAR_STEP + b % 16 * PAGE;
		long mapped = map(far, 1, PROT_READ | PROT_WRITE);
		return mapped > 0 ? store(far, c | 1) : mapped;
	}
	case 22: {
		/* What another request may have left there. */
		volatile uint64_t found = 0xdead;
		if (!sigsetjmp(guard, 0)) {
			guarded = 1;
			found = *(volatile uint64_t *)(FAR + a % 48 * FAR_STEP + b % 16 * PAGE);
		}
		guarded = 0;
		return (long)found;
	}
	case 13: data_value = b, zero_value = c; return 0;
	case 14: {
		char *memory = malloc(1 + b % 100000);
		if (memory)
			memset(memory, (int)c, 1 + b % 100000);
		return memory != 0;
	}
	case 15: return syscall(SYS_getrandom, address, 1 + b % 9000, 0);
	case 16: return *(volatile long *)(b & 0xfff);
	case 17: _exit((int)(b & 0x7f));
	case 18: for (;;) __asm__ volatile("");
	case 19: {
		/* The same memory under another name: what was there moves, what is seen here is its old place. */
		void *moved = mremap((void *)address, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(PLAYGROUND + b % 2048 * PAGE));
		return (long)moved;
	}
	case 20: return madvise((void *)address, (1 + b % 8) * PAGE, c & 1 ? MADV_WIPEONFORK : MADV_KEEPONFORK);
	case 23: return private_files(a, b);
	case 26: return events(a, b);
	case 27: return change_threads(a, b);
	case 28: return change_sockets(a, b);
	case 29: return change_layer(a, b);
	case 24: return map_file(address, b, c);
	case 25: {
		/* The program begins anew in its own place. */
		char *arguments[] = { "again", "argument", 0 };
		return execve("/proc/self/exe", arguments, arguments);
	}
	case 21: return syscall(SYS_arch_prctl, ARCH_SET_FS, b & 0x7ffffffff000);
	default: return -ENOSYS;
	}
}

enum { NO_ACCESS = 0xdead };

/* What a load from each address gives, or NO_ACCESS; whether a store of the same goes through is added as bit 63. */
EXPORT void look(const uint64_t *addresses, uint64_t *answers, uint32_t count)
{
	catch_faults();
	for (uint32_t i = 0; i < count; i++) {
		volatile uint64_t *place = (volatile uint64_t *)addresses[i];
		volatile uint64_t found = NO_ACCESS;
		if (!sigsetjmp(guard, 0)) {
			guarded = 1;
			found = *place & ~(1ul << 63);
			*place = *place;
			found |= 1ul << 63;
		}
		guarded = 0;
		answers[i] = found;
	}
}

/* Whether the first bytes of a page can be run: 1 or 0. They are `ret` where the program put it. */
EXPORT int runs(uint64_t address)
{
	catch_faults();
	if (sigsetjmp(guard, 0))
		return guarded = 0;
	guarded = 1;
	((void (*)(void))address)();
	guarded = 0;
	return 1;
}

/* The processor's vector state at the entry of a call, as XSAVE writes it; the buffer is aligned to 64. */
EXPORT __attribute__((naked)) void vectors(void *buffer)
{
	__asm__("movl $-1, %eax; movl $-1, %edx; xsave64 (%rdi); ret");
}

EXPORT __attribute__((naked)) void legacy_vectors(void *buffer)
{
	__asm__("fxsave64 (%rdi); ret");
}

EXPORT unsigned long generation(void) { return pristine_generation(); }
EXPORT long random_number(void)
{
	long value = 0;
	syscall(SYS_getrandom, &value, sizeof value, 0);
	return value;
}
EXPORT long clock_ns(int clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000l + now.tv_nsec;
}
static char *wiped;
EXPORT long wiped_value(void) { return *(long *)wiped; }

/* Writes one word to each page of a mask of `count` pages, `rounds` times 64 bits of it at `masks`. */
static char big[4200 * PAGE] __attribute__((aligned(4096)));
EXPORT void dirty(uint32_t first, uint32_t count, uint64_t value)
{
	for (uint32_t i = 0; i < count; i++)
		*(volatile uint64_t *)(big + (first + i) % 4200 * PAGE) = value;
}
EXPORT void dirty_every(uint32_t step, uint32_t count, uint64_t value)
{
	for (uint32_t i = 0; i < count; i++)
		*(volatile uint64_t *)(big + (uint64_t)i * step % 4200 * PAGE) = value;
}

int main(void)
{
	catch_faults();
	/* Three windows with everything in them, and holes between. */
	map(PLAYGROUND, 300, PROT_READ | PROT_WRITE);
	map(PLAYGROUND + 320 * PAGE, 100, PROT_READ | PROT_WRITE);
	map(PLAYGROUND + 500 * PAGE, 600, PROT_READ | PROT_WRITE);
	map(PLAYGROUND + 1300 * PAGE, 8, PROT_READ | PROT_WRITE);
	for (uint64_t page = 0; page < 2048; page += 3)
		store(PLAYGROUND + page * PAGE, 0x5500000000000000ul + page);
	mprotect((void *)(PLAYGROUND + 340 * PAGE), 20 * PAGE, PROT_READ);
	mprotect((void *)(PLAYGROUND + 380 * PAGE), 5 * PAGE, PROT_NONE);
	*(volatile uint8_t *)(PLAYGROUND + 600 * PAGE) = 0xc3;
	mprotect((void *)(PLAYGROUND + 600 * PAGE), PAGE, PROT_READ | PROT_EXEC);
	wiped = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(wiped, PAGE, MADV_WIPEONFORK);
	*(long *)wiped = 42;
	int text = open("/proc/self/status", O_RDONLY);
	if (text >= 0)
		dup2(text, 10), close(text);
	if (pipe(pipe_ends) || write(pipe_ends[1], "in the pipe", 11) != 11)
		return 1;
	for (uint32_t i = 0; i < 4200; i += 2)
		*(volatile uint64_t *)(big + i * PAGE) = i;
	prepare_private();
	prepare_events();
	prepare_threads();
	prepare_sockets();
	prepare_layer();
	pristine_ready();
	return 0;
}
