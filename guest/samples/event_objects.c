/* Descriptors for events, timers and signals, and pipes: the rules of reading and writing them. */
#define _GNU_SOURCE
#include "events.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char bytes[70000];

/* Reads a counter and shows it. */
static void count(const char *what, int fd)
{
	uint64_t value = 0;
	long result = read(fd, &value, sizeof value);
	if (result < 0)
		saw(what, result);
	else
		printf("%s: %ld bytes, %llu\n", what, result, (unsigned long long)value);
}

static void show_file(const char *what, int fd)
{
	char path[64], target[64] = "";
	struct stat facts;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof target - 1) < 0 || fstat(fd, &facts))
		return;
	printf("%s: %s, mode %o, size %ld, flags %o, %d\n", what, target, facts.st_mode, (long)facts.st_size, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	saw("seek", lseek(fd, 0, SEEK_SET));
	saw("read at a place", pread(fd, bytes, 8, 0));
	saw("folder", fchdir(fd));
	saw("truncate", ftruncate(fd, 0));
	saw("sync", fsync(fd));
	saw("terminal", isatty(fd) ? 1 : -1);
}

static void alarmed(int signal) { (void)signal; }

static void events(void)
{
	int fd = eventfd(7, EFD_NONBLOCK | EFD_CLOEXEC), semaphore = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
	uint64_t value = 5;
	show_file("eventfd", fd);
	count("eventfd", fd);
	count("eventfd, empty", fd);
	for (int i = 0; i < 3; i++)
		count("semaphore", semaphore);
	saw("read 7 bytes", read(fd, bytes, 7));
	saw("write 7 bytes", write(fd, &value, 7));
	saw("write", write(fd, &value, 8));
	value = UINT64_MAX;
	saw("write too much", write(fd, &value, 8));
	value = UINT64_MAX - 1;
	saw("write over the top", write(fd, &value, 8));
	value -= 5;
	saw("write to the top", write(fd, &value, 8));
	struct pollfd entry = { .fd = fd, .events = POLLIN | POLLOUT };
	saw("poll at the top", poll(&entry, 1, 0));
	saw("it says", entry.revents);
	struct iovec parts[3] = { { bytes, 3 }, { bytes + 100, 4 }, { bytes + 200, 9 } };
	saw("read in parts", readv(fd, parts, 3));
	printf("parts: %x %x %x\n", bytes[0] & 255, bytes[103] & 255, bytes[200] & 255);
	memset(bytes, 0, 300);
	bytes[0] = 9;
	parts[2].iov_len = 1;
	saw("write in parts", writev(fd, parts, 3));
	count("eventfd", fd);
	parts[2].iov_len = 0;
	saw("write few in parts", writev(fd, parts, 3));
	value = 3;
	saw("write, then read into nothing", write(fd, &value, 8));
	saw("read into nothing", read(fd, (void *)8, 8));
	count("and it is gone", fd);
	saw("flags", eventfd(0, 2));
	saw("old call", syscall(SYS_eventfd, 4) > 0);
	struct itimerval soon = { { 0, 0 }, { 0, 20000 } };
	signal(SIGALRM, alarmed);
	siginterrupt(SIGALRM, 1);
	fcntl(fd, F_SETFL, 0);
	setitimer(ITIMER_REAL, &soon, 0);
	saw("wait for an event", read(fd, &value, 8));
	close(fd), close(semaphore);
}

static struct itimerspec spec(long value_ms, long interval_ms)
{
	return (struct itimerspec){ { interval_ms / 1000, interval_ms % 1000 * 1000000 }, { value_ms / 1000, value_ms % 1000 * 1000000 } };
}

static void timers(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	struct itimerspec new = spec(20, 0), old = spec(1, 1);
	struct pollfd entry = { .fd = fd, .events = POLLIN };
	show_file("timerfd", fd);
	saw("write", write(fd, bytes, 8));
	count("not armed", fd);
	saw("arm", timerfd_settime(fd, 0, &new, &old));
	saw("old", old.it_value.tv_nsec + old.it_interval.tv_nsec);
	saw("nothing yet", poll(&entry, 1, 0));
	long start = now_ms();
	saw("poll", poll(&entry, 1, 10000));
	saw("in time", now_ms() - start >= 18 && now_ms() - start < 5000);
	timerfd_gettime(fd, &old);
	saw("left", old.it_value.tv_nsec);
	count("expired", fd);
	count("read", fd);
	/* A periodic one that nobody reads counts on. */
	new = spec(10, 10);
	timerfd_settime(fd, 0, &new, 0);
	usleep(55000);
	uint64_t value = 0;
	saw("read periodic", read(fd, &value, 8));
	saw("several", value >= 5 && value < 1000);
	fcntl(fd, F_SETFL, 0);
	saw("blocking read", read(fd, &value, 8));
	saw("one", value >= 1);
	new = spec(0, 0);
	saw("disarm", timerfd_settime(fd, 0, &new, &old));
	saw("interval", old.it_interval.tv_nsec);
	saw("was running", old.it_value.tv_nsec > 0 && old.it_value.tv_nsec <= 10000000);
	/* What is refused. */
	saw("bad clock", timerfd_create(77, 0));
	saw("cpu clock", timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
	saw("bad flags", timerfd_create(CLOCK_MONOTONIC, 1));
	saw("bad set flags", timerfd_settime(fd, 8, &new, 0));
	new.it_value.tv_nsec = -1;
	saw("bad time", timerfd_settime(fd, 0, &new, 0));
	saw("no time", syscall(SYS_timerfd_settime, fd, 0, 0, 0));
	saw("closed", timerfd_gettime(999, &new));
	saw("not a timer", timerfd_gettime(0, &new));
	saw("7 bytes", read(fd, bytes, 7));
	close(fd);
}

static void dates(void)
{
	uint64_t value;
	struct itimerspec new;
	/* A date of the wall clock, and one that is over. */
	int real = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC), boot = timerfd_create(CLOCK_BOOTTIME, 0);
	struct timespec date;
	clock_gettime(CLOCK_REALTIME, &date);
	new = spec(0, 0);
	new.it_value = date;
	new.it_value.tv_nsec += 20000000;
	if (new.it_value.tv_nsec >= 1000000000)
		new.it_value.tv_sec++, new.it_value.tv_nsec -= 1000000000;
	saw("date", timerfd_settime(real, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &new, 0));
	count("date", real);
	new.it_value.tv_sec = 1, new.it_value.tv_nsec = 0;
	saw("date that is over", timerfd_settime(boot, TFD_TIMER_ABSTIME, &new, 0));
	count("date that is over", boot);
	/* Set anew, what had expired is forgotten. */
	timerfd_settime(boot, TFD_TIMER_ABSTIME, &new, 0);
	new = spec(5000, 0);
	timerfd_settime(boot, 0, &new, 0);
	saw("forgotten", poll(&(struct pollfd){ boot, POLLIN, 0 }, 1, 0));
	int set = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = 4 };
	epoll_ctl(set, EPOLL_CTL_ADD, boot, &event);
	new = spec(10, 10);
	timerfd_settime(boot, 0, &new, 0);
	tell("edge of a timer", set, 5000);
	tell("no other without a read", set, 30);
	saw("read", read(boot, &value, 8));
	tell("edge of a timer", set, 5000);
	new = spec(5, 0);
	timerfd_settime(boot, 0, &new, 0);
	/* Without a call in which its expiration could be noticed. */
	for (long start = now_ms(); now_ms() - start < 20;)
		;
	tell("edge that was not waited for", set, 0);
	tell("told", set, 0);
	close(real), close(boot), close(set);
	int made = 0;
	while (made < 100000 && timerfd_create(CLOCK_MONOTONIC, 0) >= 0)
		made++;
	saw("timers without end", made < 100000 ? -1 : made);
	for (int i = 3; i < 1100; i++)
		close(i);
}

static void signals(void)
{
	sigset_t mask, one;
	struct signalfd_siginfo infos[4];
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1), sigaddset(&mask, SIGRTMIN + 2), sigaddset(&mask, SIGKILL);
	sigprocmask(SIG_BLOCK, &mask, 0);
	int fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC), set = epoll_create1(0);
	show_file("signalfd", fd);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = 1 };
	epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
	saw("no signal", read(fd, infos, sizeof infos));
	tell("no signal", set, 0);
	kill(getpid(), SIGUSR1);
	tell("a signal", set, -1);
	tell("told", set, 0);
	for (int i = 1; i < 3; i++)
		sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = i });
	tell("more", set, 0);
	long got = read(fd, infos, sizeof infos);
	saw("read", got);
	for (long i = 0; i < got / (long)sizeof infos[0]; i++)
		printf("signal %d, code %d, own %d %d, value %d %llx\n", infos[i].ssi_signo, infos[i].ssi_code, infos[i].ssi_pid == (uint32_t)getpid(), infos[i].ssi_uid == getuid(), infos[i].ssi_int, (unsigned long long)infos[i].ssi_ptr & 0xffffffff);
	sigpending(&one);
	saw("pending", sigismember(&one, SIGUSR1));
	kill(getpid(), SIGUSR1);
	sigemptyset(&one);
	sigaddset(&one, SIGUSR2);
	saw("change", signalfd(fd, &one, 0) == fd);
	saw("not for this one", read(fd, infos, sizeof infos));
	saw("change back", signalfd(fd, &mask, 0) == fd);
	saw("little room", read(fd, infos, 127));
	saw("read one", read(fd, infos, 200));
	struct sigevent notify = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 11 };
	timer_t timer;
	struct itimerspec soon = spec(10, 0);
	timer_create(CLOCK_MONOTONIC, &notify, &timer);
	timer_settime(timer, 0, &soon, 0);
	fcntl(fd, F_SETFL, 0);
	saw("wait for a timer", read(fd, infos, sizeof infos));
	printf("code %d, value %d, overrun %d\n", infos[0].ssi_code, infos[0].ssi_int, infos[0].ssi_overrun);
	saw("not one", signalfd(set, &mask, 0));
	saw("not open", signalfd(999, &mask, 0));
	saw("bad flags", signalfd(-1, &mask, 1));
	saw("bad size", syscall(SYS_signalfd4, -1, &mask, 4, 0));
	saw("no mask", syscall(SYS_signalfd4, -1, 0, 8, 0));
	close(fd), close(set);
	sigprocmask(SIG_UNBLOCK, &mask, 0);
}

/* Waits for a signal from outside, which has no other effect. */
void wait_for_signal(void)
{
	sigset_t mask;
	struct signalfd_siginfo info;
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, 0);
	int fd = signalfd(-1, &mask, 0), set = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 7 };
	epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
	printf("waiting\n");
	fflush(stdout);
	tell("signal", set, -1);
	saw("read", read(fd, &info, sizeof info));
	printf("signal %d, code %d\n", info.ssi_signo, info.ssi_code);
	tell("nothing more", set, 0);
}

void object_tests(void)
{
	events();
	timers();
	dates();
	signals();
}

void pipe_tests(void)
{
	int ends[2];
	if (pipe2(ends, O_NONBLOCK))
		return;
	saw("size", fcntl(ends[0], F_GETPIPE_SZ));
	saw("too much", write(ends[1], bytes, 70000));
	saw("full", write(ends[1], bytes, 1));
	saw("read", read(ends[0], bytes, 4096));
	saw("whole", write(ends[1], bytes, 4096));
	saw("read", read(ends[0], bytes, 4000));
	saw("not in part", write(ends[1], bytes, 4096));
	struct iovec parts[2] = { { bytes, 2048 }, { bytes + 5000, 2048 } };
	saw("nor from two", writev(ends[1], parts, 2));
	saw("read", read(ends[0], bytes, 96));
	saw("from two", writev(ends[1], parts, 2));
	saw("nothing", write(ends[1], bytes, 0));
	saw("read the other end", read(ends[1], bytes, 1));
	saw("write the other end", write(ends[0], bytes, 1));
	saw("seek", lseek(ends[0], 0, SEEK_SET));
	signal(SIGPIPE, SIG_IGN);
	close(ends[0]);
	saw("no reader", write(ends[1], bytes, 1));
	saw("no reader, nothing", write(ends[1], bytes, 0));
	close(ends[1]);
	saw("bad flags", pipe2(ends, 1));
	saw("nowhere", syscall(SYS_pipe2, (void *)8, 0));
	if (pipe(ends))
		return;
	if (write(ends[1], bytes, 10) != 10)
		return;
	close(ends[1]);
	saw("read the rest", read(ends[0], bytes, 100));
	saw("end", read(ends[0], bytes, 100));
	close(ends[0]);
}
