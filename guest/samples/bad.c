/*
 * Misbehaves, one way a function: takes what there is without end, or has what it uses taken away. Each may be called in a
 * fork; `bad NAME [PATH]` runs one and prints its answer. Answers are a count times 256 plus the errno that ended it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static long answer(long count, int failed)
{
	return count * 256 + (failed ? errno : 0);
}

/* Opens files until one is refused. */
long bad_descriptors(const char *path)
{
	long count = 0;
	while (count < 1000000 && open(path, O_RDONLY) >= 0)
		count++;
	return answer(count, 1);
}

long bad_pipes(const char *path)
{
	int ends[2];
	long count = 0;
	(void)path;
	while (count < 1000000 && pipe(ends) == 0) {
		count++;
		/* One end of each is enough to keep it. */
		close(ends[1]);
	}
	return answer(count, 1);
}

long bad_forks(const char *path)
{
	(void)path;
	for (long count = 0; count < 100000; count++) {
		pid_t child = fork();
		if (child < 0)
			return answer(count, 1);
		if (child == 0)
			pause();
	}
	return -1;
}

/* 50,000 timers of each kind, those that exist running every millisecond: counts those made. */
long bad_timers(const char *path)
{
	struct itimerspec often = { .it_interval = { 0, 1000000 }, .it_value = { 0, 1000000 } };
	struct sigevent silent = { .sigev_notify = SIGEV_NONE };
	long made = 0;
	(void)path;
	for (long i = 0; i < 50000; i++) {
		timer_t timer;
		int descriptor = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
		if (descriptor >= 0) {
			if (timerfd_settime(descriptor, 0, &often, 0) != 0)
				return answer(made, 1);
			made++;
		} else if (errno != EMFILE) {
			return answer(made, 1);
		}
		if (timer_create(CLOCK_MONOTONIC, &silent, &timer) == 0) {
			if (timer_settime(timer, 0, &often, 0) != 0)
				return answer(made, 1);
			made++;
		} else if (errno != EAGAIN) {
			return answer(made, 1);
		}
	}
	return answer(made, 0);
}

/* More mappings than Linux allows that do not join. */
long bad_maps(const char *path)
{
	long count = 0;
	int failed = 0;
	(void)path;
	for (long i = 0; i < 150000; i++) {
		if (mmap(0, 4096, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
			count++;
		else
			failed = errno;
	}
	errno = failed;
	return answer(count, 1);
}

/* Changes the rights of pages here and there in many mappings, and back. */
long bad_protections(const char *path)
{
	const long pages = 2000;
	uint32_t state = 1;
	(void)path;
	char *memory = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return answer(0, 1);
	for (long page = 0; page < pages; page++)
		memory[page * 4096] = (char)page;
	for (long round = 0; round < 20000; round++) {
		state = state * 1664525u + 1013904223u;
		long first = state >> 8 & 1023;
		if (mprotect(memory + first * 4096, (1 + (state >> 20 & 15)) * 4096, state >> 28 & 1 ? PROT_READ : PROT_READ | PROT_WRITE) != 0)
			return answer(round, 1);
	}
	long right = 0;
	for (long page = 0; page < pages; page++)
		right += memory[page * 4096] == (char)page;
	return answer(right, 0);
}

static int place_folder, place_file;

/* Leaves places open that give no access. */
long bad_places(const char *path)
{
	place_folder = open(path, O_PATH | O_DIRECTORY);
	place_file = openat(place_folder, "file", O_PATH);
	return answer(place_folder >= 0 && place_file >= 0, place_file < 0);
}

/* Whether they still are what they were. */
long bad_places_kept(const char *path)
{
	char byte;
	struct stat facts;
	long right = 0;
	(void)path;
	right += fstat(place_file, &facts) == 0 && S_ISREG(facts.st_mode);
	right += read(place_file, &byte, 1) == -1 && errno == EBADF;
	right += syscall(SYS_getdents64, place_folder, &byte, 1) == -1 && errno == EBADF;
	int fd = openat(place_folder, "file", O_RDONLY);
	right += read(fd, &byte, 1) == 1;
	close(fd);
	right += fchdir(place_folder) == 0 && access("file", R_OK) == 0;
	return answer(right, 0);
}

/* Private memory that is discarded is zero; shared memory stays. */
long bad_discards(const char *path)
{
	(void)path;
	char *own = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	own[0] = shared[0] = 7;
	if (madvise(own, 8192, MADV_DONTNEED) != 0 || madvise(shared, 8192, MADV_DONTNEED) != 0)
		return answer(0, 1);
	return answer(*(volatile char *)own * 10 + *(volatile char *)shared, 0);
}

/* Vectored transfers at and beyond their limits. */
long bad_vectors(const char *path)
{
	static struct iovec pieces[1025];
	const size_t bytes = 1 << 20;
	long right = 0;
	(void)path;
	char *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
	for (int i = 0; i < 1025; i++)
		pieces[i] = (struct iovec){ memory, bytes };
	right += writev(null, pieces, 65) == 65 * (ssize_t)bytes;
	right += readv(zero, pieces, 80) == 80 * (ssize_t)bytes;
	right += readv(zero, pieces, 1024) == 1024 * (ssize_t)bytes;
	right += readv(zero, pieces, 1025) == -1 && errno == EINVAL;
	right += readv(zero, pieces, -1) == -1 && errno == EINVAL;
	pieces[3].iov_len = SIZE_MAX;
	right += writev(null, pieces, 4) == -1 && errno == EINVAL;
	pieces[3].iov_len = SSIZE_MAX;
	right += writev(null, pieces, 4) == -1 && errno == EINVAL;
	pieces[3] = (struct iovec){ (void *)16, 8192 };
	right += readv(zero, pieces, 4) == 3 * (ssize_t)bytes;
	right += readv(zero, pieces + 3, 1) == -1 && errno == EFAULT;
	right += readv(zero, (struct iovec *)-16, 1) == -1 && errno == EFAULT;
	munmap(memory, bytes);
	close(zero);
	close(null);
	return answer(right, 0);
}

/* Reads a file over and over while somebody changes it; only what read may answer then is right. */
long bad_changing(const char *path)
{
	char buffer[65536];
	long reads = 0;
	int fd = open(path, O_RDONLY);
	for (; reads < 5000; reads++) {
		ssize_t got = fd < 0 ? 0 : read(fd, buffer, sizeof buffer);
		if (got < 0)
			return answer(reads, 1);
		if (got > 0)
			continue;
		if (fd >= 0)
			close(fd);
		fd = open(path, O_RDONLY);
		if (fd < 0 && errno != ENOENT)
			return answer(reads, 1);
	}
	if (fd >= 0)
		close(fd);
	return answer(reads, 0);
}

/* Writes until the disk or a limit refuses. */
long bad_disk(const char *path)
{
	static char buffer[65536];
	long done = 0;
	/* The signal that comes with the errno would end the program. */
	signal(SIGXFSZ, SIG_IGN);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return answer(0, 1);
	while (done < 1L << 30) {
		ssize_t put = write(fd, buffer, sizeof buffer);
		if (put < 0)
			return answer(done, 1);
		done += put;
	}
	return answer(done, 0);
}

long bad_fifo(const char *path)
{
	int fd = open(path, O_RDONLY);
	return fd < 0 ? answer(0, 1) : answer(1, 0);
}

long bad_listing(const char *path)
{
	long count = 0;
	DIR *folder = opendir(path);
	if (!folder)
		return answer(0, 1);
	errno = 0;
	while (readdir(folder))
		count++;
	int failed = errno;
	closedir(folder);
	errno = failed;
	return answer(count, 1);
}

static __attribute__((noinline)) long deeper(long depth)
{
	volatile char room[512];
	room[depth % 512] = 1;
	return deeper(depth + 1) + room[depth % 512];
}

long bad_recursion(const char *path)
{
	(void)path;
	return deeper(0);
}

static void damage(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	/* The vector state is said to be where adding to its address wraps around. */
	((ucontext_t *)context)->uc_mcontext.fpregs = (void *)(uintptr_t)-64;
}

long bad_frame(const char *path)
{
	struct sigaction action = { .sa_sigaction = damage, .sa_flags = SA_SIGINFO };
	(void)path;
	sigaction(SIGUSR1, &action, 0);
	raise(SIGUSR1);
	return -1;
}

static const struct {
	const char *name;
	long (*function)(const char *);
} all[] = {
	{ "descriptors", bad_descriptors }, { "pipes", bad_pipes },   { "forks", bad_forks },     { "maps", bad_maps },     { "timers", bad_timers },
	{ "protections", bad_protections }, { "discards", bad_discards }, { "vectors", bad_vectors }, { "changing", bad_changing }, { "disk", bad_disk },
	{ "fifo", bad_fifo },               { "listing", bad_listing }, { "recursion", bad_recursion }, { "frame", bad_frame },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof all / sizeof *all; i++) {
		if (strcmp(all[i].name, argv[1]) != 0)
			continue;
		long result = all[i].function(argc > 2 ? argv[2] : "/");
		printf("%ld %s\n", result / 256, result % 256 ? strerror((int)(result % 256)) : "fine");
		return 0;
	}
	return argc > 1 ? 2 : 0;
}
