/*
 * Polling as a program sees it: epoll, poll and select on pipes and on descriptors for events. Prints what it saw, in which
 * nothing depends on when and where it runs: on Linux itself it prints the same. Other parts are in event_objects.c.
 *
 * `events bomb` tries to make looking at sets expensive; `events stream` polls its standard input;
 * `events signal` waits for a signal; `events ready` stops for calls of its functions.
 */
#define _GNU_SOURCE
#include "events.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pristine.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((used, noinline, visibility("default")))

void saw(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, strerror(errno));
	else
		printf("%s: %ld\n", what, result);
}

long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void tell(const char *what, int set, int timeout_ms)
{
	struct epoll_event events[16];
	int count = epoll_wait(set, events, 16, timeout_ms);
	if (count < 0) {
		saw(what, count);
		return;
	}
	printf("%s: %d", what, count);
	for (int i = 0; i < count; i++)
		printf(" %x/%llu", events[i].events, (unsigned long long)events[i].data.u64);
	printf("\n");
}

static int control(int set, int operation, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };
	return epoll_ctl(set, operation, fd, &event);
}

static char bytes[70000];

static void put(int fd, int count) { if (write(fd, bytes, (size_t)count) != count) printf("a write of %d failed\n", count); }
static void get(int fd, int count) { if (read(fd, bytes, (size_t)count) != count) printf("a read of %d failed\n", count); }

static void level(void)
{
	int ends[2], set = epoll_create1(EPOLL_CLOEXEC);
	saw("pipe", pipe(ends));
	saw("add", control(set, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLRDNORM, 1));
	saw("add the other end", control(set, EPOLL_CTL_ADD, ends[1], 0, 2));
	tell("nothing there", set, 0);
	put(ends[1], 3);
	tell("three bytes", set, -1);
	tell("still there", set, 1000);
	get(ends[0], 2);
	tell("one left", set, 0);
	get(ends[0], 1);
	tell("none left", set, 0);
	saw("modify", control(set, EPOLL_CTL_MOD, ends[1], EPOLLOUT, 3));
	tell("room", set, 0);
	close(ends[0]);
	tell("no reader", set, 0);
	close(ends[1]);
	tell("all closed", set, 0);
	close(set);
}

static void edge(void)
{
	int ends[2], set = epoll_create1(0);
	if (pipe2(ends, O_NONBLOCK))
		return;
	control(set, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLET, 1);
	tell("edge: nothing", set, 0);
	put(ends[1], 5);
	tell("edge: bytes", set, 0);
	tell("edge: told", set, 0);
	put(ends[1], 5);
	tell("edge: more bytes", set, 0);
	get(ends[0], 1);
	tell("edge: read in part", set, 0);
	get(ends[0], 9);
	tell("edge: read", set, 0);
	put(ends[1], 1);
	tell("edge: again", set, 0);
	saw("edge: modify", control(set, EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLET, 2));
	tell("edge: modified", set, 0);
	tell("edge: told", set, 0);
	control(set, EPOLL_CTL_ADD, ends[1], EPOLLOUT | EPOLLET, 3);
	tell("edge: room", set, 0);
	tell("edge: told", set, 0);
	put(ends[1], 65535);
	tell("edge: full", set, 0);
	get(ends[0], 65535);
	tell("edge: room again", set, 0);
	get(ends[0], 1);
	tell("edge: empty", set, 0);
	close(ends[1]);
	tell("edge: no writer", set, 0);
	tell("edge: told", set, 0);
	close(ends[0]);
	close(set);
}

static void once(void)
{
	int fd = eventfd(1, 0), set = epoll_create1(0);
	control(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT, 1);
	tell("once: first", set, 0);
	eventfd_write(fd, 1);
	tell("once: second", set, 0);
	control(set, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT, 2);
	tell("once: rearmed", set, 0);
	tell("once: told", set, 0);
	control(set, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET | EPOLLONESHOT, 3);
	tell("once: with edge", set, 0);
	eventfd_write(fd, 1);
	tell("once: told", set, 0);
	close(fd);
	close(set);
}

static void nested(void)
{
	int fd = eventfd(0, 0), inner = epoll_create1(0), outer = epoll_create1(0), edge = epoll_create1(0);
	struct pollfd entry = { .fd = outer, .events = POLLIN | POLLOUT | POLLRDNORM };
	control(inner, EPOLL_CTL_ADD, fd, EPOLLIN, 1);
	saw("nested: add", control(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 2));
	saw("nested: add with edge", control(edge, EPOLL_CTL_ADD, inner, EPOLLIN | EPOLLET, 3));
	tell("nested: nothing", outer, 0);
	saw("nested: poll", poll(&entry, 1, 0));
	eventfd_write(fd, 1);
	tell("nested: outer", outer, 0);
	tell("nested: edge", edge, 0);
	tell("nested: edge told", edge, 0);
	eventfd_write(fd, 1);
	tell("nested: edge again", edge, 0);
	saw("nested: poll", poll(&entry, 1, 0));
	printf("nested: poll says %x\n", entry.revents);
	tell("nested: inner", inner, 0);
	saw("nested: remove", control(inner, EPOLL_CTL_DEL, fd, 0, 0));
	tell("nested: outer without", outer, 0);
	close(inner);
	tell("nested: inner closed", outer, 0);
	close(fd), close(outer), close(edge);
}

static void closing(void)
{
	int fd = eventfd(1, 0), set = epoll_create1(0), copy = dup(fd), other;
	control(set, EPOLL_CTL_ADD, fd, EPOLLIN, 1);
	close(fd);
	tell("closed, but a copy is open", set, 0);
	saw("remove by the closed number", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	saw("remove by the copy", control(set, EPOLL_CTL_DEL, copy, 0, 0));
	other = eventfd(3, 0);
	saw("the number is used again", other == fd);
	saw("add under it", control(set, EPOLL_CTL_ADD, other, EPOLLIN, 2));
	tell("both", set, 0);
	saw("add the copy", control(set, EPOLL_CTL_ADD, copy, EPOLLIN, 3));
	tell("three", set, 0);
	close(copy);
	tell("the last copy is closed", set, 0);
	saw("put back under the number", dup2(other, copy) == copy);
	close(other);
	tell("again only a copy", set, 0);
	close(copy);
	tell("nothing", set, 0);
	close(set);
}

/* With room for few events at once everything has its turn. */
static void rotation(void)
{
	int set = epoll_create1(0), fds[8], seen[8] = { 0 };
	for (int i = 0; i < 8; i++)
		control(set, EPOLL_CTL_ADD, fds[i] = eventfd(1, 0), EPOLLIN, (uint64_t)i);
	for (int round = 0; round < 8; round++) {
		struct epoll_event events[3];
		int count = epoll_wait(set, events, 3, 0);
		for (int i = 0; i < count; i++)
			seen[events[i].data.u64]++;
	}
	printf("rotation:");
	for (int i = 0; i < 8; i++)
		printf(" %d", seen[i]), close(fds[i]);
	printf("\n");
	close(set);
}

static void ends_of_sockets(void)
{
	int ends[2], set = epoll_create1(0);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends))
		return;
	control(set, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1);
	control(set, EPOLL_CTL_ADD, ends[1], EPOLLIN | EPOLLRDHUP, 2);
	tell("socket: room", set, 0);
	tell("socket: told", set, 0);
	put(ends[1], 10);
	tell("socket: bytes", set, 0);
	put(ends[0], 10);
	tell("socket: bytes to the other", set, 0);
	get(ends[1], 10);
	shutdown(ends[1], SHUT_WR);
	tell("socket: no more to come", set, 0);
	tell("socket: told", set, 0);
	get(ends[0], 10);
	saw("socket: end", read(ends[0], bytes, 1));
	close(ends[1]);
	tell("socket: closed", set, 0);
	tell("socket: told", set, 0);
	control(set, EPOLL_CTL_MOD, ends[0], EPOLLONESHOT, 3);
	tell("socket: asked for nothing", set, 0);
	tell("socket: once", set, 0);
	close(ends[0]);
	close(set);
}

/* A set that is on its way in a message when what it watches is closed. */
static void sent(void)
{
	int ends[2], fd = eventfd(1, 0), set = epoll_create1(0), got = -1;
	char room[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	*header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	control(set, EPOLL_CTL_ADD, fd, EPOLLIN, 1);
	memcpy(CMSG_DATA(header), &set, sizeof set);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return;
	saw("send a set", sendmsg(ends[0], &message, 0));
	close(set);
	close(fd);
	saw("receive it", recvmsg(ends[1], &message, 0));
	memcpy(&got, CMSG_DATA(header), sizeof got);
	tell("what it watched is closed", got, 0);
	close(got), close(ends[0]), close(ends[1]);
}

static volatile int handled;
static void handler(int signal) { handled = signal; }

static void times(void)
{
	int set = epoll_create1(0);
	struct timespec span = { 0, 20000000 }, none = { 0, 0 };
	long start = now_ms();
	struct epoll_event event;
	saw("wait 20 ms", epoll_wait(set, &event, 1, 20));
	saw("long enough", now_ms() - start >= 20);
	start = now_ms();
	saw("wait 20 ms in ns", syscall(SYS_epoll_pwait2, set, &event, 1, &span, 0, 0));
	saw("long enough", now_ms() - start >= 20);
	saw("wait for nothing", syscall(SYS_epoll_pwait2, set, &event, 1, &none, 0, 0));
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	sigaction(SIGUSR1, &action, 0);
	sigset_t mask, empty;
	sigemptyset(&empty);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, 0);
	raise(SIGUSR1);
	saw("blocked", epoll_wait(set, &event, 1, 1));
	saw("handled", handled);
	saw("let in", epoll_pwait(set, &event, 1, -1, &empty));
	saw("handled", handled);
	sigset_t now;
	sigprocmask(SIG_SETMASK, 0, &now);
	saw("blocked again", sigismember(&now, SIGUSR1));
	sigprocmask(SIG_SETMASK, &empty, 0);
	close(set);
}

void epoll_tests(void)
{
	level();
	edge();
	once();
	nested();
	closing();
	rotation();
	ends_of_sockets();
	sent();
	times();
}

void epoll_error_tests(void)
{
	int set = epoll_create1(0), other = epoll_create1(0), fd = eventfd(0, 0), file = open("/proc/self/exe", O_RDONLY);
	int folder = open("/", O_RDONLY), place = open("/", O_PATH), null = open("/dev/null", O_RDWR);
	struct epoll_event event = { .events = EPOLLIN };
	saw("create 0", epoll_create(0));
	saw("create with flags", epoll_create1(1));
	saw("a file", control(set, EPOLL_CTL_ADD, file, EPOLLIN, 0));
	saw("a folder", control(set, EPOLL_CTL_ADD, folder, EPOLLIN, 0));
	saw("a place", control(set, EPOLL_CTL_ADD, place, EPOLLIN, 0));
	saw("null", control(set, EPOLL_CTL_ADD, null, EPOLLIN, 0));
	saw("itself", control(set, EPOLL_CTL_ADD, set, EPOLLIN, 0));
	saw("not a set", control(fd, EPOLL_CTL_ADD, set, EPOLLIN, 0));
	saw("not open", control(set, EPOLL_CTL_ADD, 999, EPOLLIN, 0));
	saw("set not open", control(999, EPOLL_CTL_ADD, fd, EPOLLIN, 0));
	saw("no event", epoll_ctl(set, EPOLL_CTL_ADD, fd, 0));
	saw("remove what is not there", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	saw("modify what is not there", control(set, EPOLL_CTL_MOD, fd, EPOLLIN, 0));
	saw("no operation", control(set, 9, fd, EPOLLIN, 0));
	saw("add", control(set, EPOLL_CTL_ADD, fd, EPOLLIN, 0));
	saw("add twice", control(set, EPOLL_CTL_ADD, fd, EPOLLIN, 0));
	saw("modify to exclusive", control(set, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLEXCLUSIVE, 0));
	saw("remove without event", epoll_ctl(set, EPOLL_CTL_DEL, fd, 0));
	saw("exclusive once", control(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT | EPOLLEXCLUSIVE, 0));
	saw("exclusive set", control(set, EPOLL_CTL_ADD, other, EPOLLIN | EPOLLEXCLUSIVE, 0));
	saw("exclusive", control(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, 0));
	saw("modify exclusive", control(set, EPOLL_CTL_MOD, fd, EPOLLIN, 0));
	saw("into another", control(other, EPOLL_CTL_ADD, set, EPOLLIN, 0));
	saw("and back", control(set, EPOLL_CTL_ADD, other, EPOLLIN, 0));
	saw("no room", epoll_wait(set, &event, 0, 0));
	saw("too much room", epoll_wait(set, &event, 1 << 30, 0));
	saw("wait on none", epoll_wait(fd, &event, 1, 0));
	saw("wait on closed", epoll_wait(999, &event, 1, 0));
	saw("nowhere, but nothing", epoll_wait(set, (void *)8, 1, 0));
	eventfd_write(fd, 1);
	saw("nowhere", epoll_wait(set, (void *)8, 1, 0));
	tell("it is still there", set, 0);
	saw("mask of another size", syscall(SYS_epoll_pwait, set, &event, 1, 0, &event, 4));
	struct timespec bad = { 0, 1000000000 };
	saw("time that is none", syscall(SYS_epoll_pwait2, set, &event, 1, &bad, 0, 0));
	saw("read a set", read(set, bytes, 8));
	saw("write a set", write(set, bytes, 8));
	int chain = eventfd(0, 0), depth = 0;
	for (; depth < 50; depth++) {
		int next = epoll_create1(0);
		if (control(next, EPOLL_CTL_ADD, chain, EPOLLIN, 0) != 0)
			break;
		chain = next;
	}
	saw("chain", depth < 50 ? -1 : depth);
	for (int i = 3; i < 100; i++)
		close(i);
}

static void show_poll(const char *what, struct pollfd *entries, nfds_t count, int timeout)
{
	int result = poll(entries, count, timeout);
	printf("%s: %d", what, result);
	for (nfds_t i = 0; i < count; i++)
		printf(" %x", entries[i].revents);
	printf("\n");
}

static void many(void)
{
	static struct pollfd entries[2000];
	struct rlimit limit = { 2010, 4096 };
	setrlimit(RLIMIT_NOFILE, &limit);
	int count = 0;
	for (; count < 2000 && (entries[count].fd = eventfd(0, 0)) >= 0; count++)
		entries[count].events = POLLIN;
	saw("many", count);
	eventfd_write(entries[1999].fd, 1);
	eventfd_write(entries[7].fd, 1);
	saw("many: poll", poll(entries, 2000, -1));
	printf("many: %x %x %x\n", entries[1999].revents, entries[7].revents, entries[8].revents);
	struct epoll_event events[16];
	int set = epoll_create1(0);
	for (int i = 0; i < count; i++)
		control(set, EPOLL_CTL_ADD, entries[i].fd, EPOLLIN, (uint64_t)i);
	saw("many: epoll", epoll_wait(set, events, 16, -1));
	limit.rlim_cur = 1999;
	setrlimit(RLIMIT_NOFILE, &limit);
	saw("many: more than the limit", poll(entries, 2000, 0));
	close(set);
	for (int i = 0; i < count; i++)
		close(entries[i].fd);
	limit.rlim_cur = 1024;
	setrlimit(RLIMIT_NOFILE, &limit);
}

void poll_tests(void)
{
	int ends[2], fd = eventfd(0, 0), folder = open("/", O_RDONLY);
	if (pipe(ends))
		return;
	short all = POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM | POLLRDHUP;
	struct pollfd entries[6] = { { ends[0], all, 9 }, { ends[1], all, 9 }, { fd, all, 9 }, { -1, all, 9 }, { 999, all, 9 }, { folder, all, 9 } };
	show_poll("poll", entries, 6, -1);
	show_poll("poll a pipe's end", entries, 1, 0);
	put(ends[1], 1);
	show_poll("poll with a byte", entries, 2, -1);
	fd_set in, out, except;
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&except);
	for (int i = 0; i < 2; i++)
		FD_SET(ends[i], &in), FD_SET(ends[i], &out), FD_SET(ends[i], &except);
	FD_SET(fd, &out);
	struct timeval time = { 5, 0 };
	saw("select", select(64, &in, &out, &except, &time));
	printf("select: %d%d %d%d%d %d\n", FD_ISSET(ends[0], &in), FD_ISSET(ends[1], &in), FD_ISSET(ends[0], &out), FD_ISSET(ends[1], &out), FD_ISSET(fd, &out), FD_ISSET(ends[0], &except));
	saw("select: time is left", time.tv_sec >= 4);
	FD_ZERO(&in);
	FD_SET(50, &in);
	saw("select on closed", select(51, &in, 0, 0, &time));
	saw("select with less than none", select(-1, 0, 0, 0, &time));
	FD_ZERO(&in);
	FD_SET(fd, &in);
	struct timespec span = { 0, 20000000 };
	long start = now_ms();
	saw("pselect", syscall(SYS_pselect6, fd + 1, &in, 0, 0, &span, 0));
	saw("pselect: long enough", now_ms() - start >= 20);
	saw("pselect: no time is left", span.tv_nsec);
	close(ends[1]);
	show_poll("poll without writer", entries, 1, -1);
	get(ends[0], 1);
	show_poll("poll without writer or byte", entries, 1, -1);
	close(ends[0]);
	if (pipe(ends))
		return;
	close(ends[0]);
	entries[1].fd = ends[1];
	show_poll("poll without reader", &entries[1], 1, -1);
	put(fd, 0);
	close(ends[1]), close(fd), close(folder);
	many();
}

/* Calls of the host that a test counts. */
static int ready_set, ready_event, ready_ends[2], ready_timers[2];

static void prepare_ready(void)
{
	ready_set = epoll_create1(0);
	ready_event = eventfd(0, EFD_NONBLOCK);
	for (int i = 0; i < 2; i++)
		ready_timers[i] = timerfd_create(i ? CLOCK_REALTIME : CLOCK_MONOTONIC, TFD_NONBLOCK);
	if (pipe(ready_ends))
		_exit(1);
	control(ready_set, EPOLL_CTL_ADD, ready_event, EPOLLIN | EPOLLET, 1);
	control(ready_set, EPOLL_CTL_ADD, ready_ends[0], EPOLLIN, 2);
}

/* Looks and is woken `times` times, all inside the machine; how many events it was told. */
EXPORT long poll_inside(uint32_t times)
{
	long told = 0;
	struct epoll_event events[4];
	for (uint32_t i = 0; i < times; i++) {
		struct pollfd entry = { .fd = ready_ends[0], .events = POLLIN };
		told += epoll_wait(ready_set, events, 4, 0) + poll(&entry, 1, 0);
		eventfd_write(ready_event, 1);
		put(ready_ends[1], 1);
		told += epoll_wait(ready_set, events, 4, -1) + poll(&entry, 1, -1);
		get(ready_ends[0], 1);
	}
	return told;
}

/* The first timer is set to a span, the second to a date. */
EXPORT int arm_timer(uint32_t which, uint32_t ms)
{
	struct itimerspec spec = { 0 };
	if (which)
		clock_gettime(CLOCK_REALTIME, &spec.it_value);
	spec.it_value.tv_nsec += ms * 1000000l;
	spec.it_value.tv_sec += spec.it_value.tv_nsec / 1000000000;
	spec.it_value.tv_nsec %= 1000000000;
	return timerfd_settime(ready_timers[which], which ? TFD_TIMER_ABSTIME : 0, &spec, 0);
}

EXPORT int timer_expired(uint32_t which) { return poll(&(struct pollfd){ ready_timers[which], POLLIN, 0 }, 1, 0); }
EXPORT int wait_for_timer(uint32_t which) { return poll(&(struct pollfd){ ready_timers[which], POLLIN, 0 }, 1, 30000); }
EXPORT int poke(uint32_t value) { return eventfd_write(ready_event, value); }
EXPORT int count_events(void)
{
	struct epoll_event events[4];
	return epoll_wait(ready_set, events, 4, 0);
}

/* Every set watches all sets of the level below, by many descriptors. */
static void bomb(void)
{
	struct rlimit limit = { 4096, 4096 };
	setrlimit(RLIMIT_NOFILE, &limit);
	int levels[5][400], fd = eventfd(1, 0), watches = 0;
	for (int level = 0; level < 5; level++)
		for (int i = 0; i < 400; i++)
			levels[level][i] = i == 0 ? epoll_create1(0) : dup(levels[level][0]);
	control(levels[0][0], EPOLL_CTL_ADD, fd, EPOLLIN, 0);
	for (int level = 1; level < 5; level++)
		for (int i = 0; i < 400; i++)
			watches += control(levels[level][0], EPOLL_CTL_ADD, levels[level - 1][i], EPOLLIN, 0) == 0;
	saw("bomb: watches", watches);
	tell("bomb: outermost", levels[4][399], -1);
	/* Sets without end, until something is refused. */
	int more = 0, sets[40], first = 0;
	for (int i = 0; i < 40 && (sets[i] = epoll_create1(0)) >= 0; i++)
		first = sets[i] + 1;
	while (dup(fd) >= 0)
		;
	for (int i = 0; i < 40; i++)
		for (int other = first; other < 4096; other++)
			more += control(sets[i], EPOLL_CTL_ADD, other, EPOLLIN, 0) == 0;
	saw("bomb: refused at the end", control(sets[39], EPOLL_CTL_ADD, levels[0][5], EPOLLIN, 0));
	saw("bomb: many watches", more > 60000);
	long start = now_ms();
	for (int i = 0; i < 20; i++)
		epoll_wait(sets[i], &(struct epoll_event){ 0 }, 1, 0);
	saw("bomb: looked", now_ms() - start < 10000);
	saw("bomb: no descriptor is left", open("/proc/self/status", O_RDONLY));
}

/* A stream that only the host knows: six bytes are there, three more come later, then the end. */
static void stream(void)
{
	int set = epoll_create1(0), outer = epoll_create1(0);
	struct pollfd entry = { .fd = 0, .events = POLLIN };
	saw("stream: add", control(set, EPOLL_CTL_ADD, 0, EPOLLIN | EPOLLET, 1));
	saw("stream: add to another", control(outer, EPOLL_CTL_ADD, set, EPOLLIN, 2));
	fcntl(0, F_SETFL, O_NONBLOCK);
	tell("stream: bytes", outer, -1);
	tell("stream: bytes", set, -1);
	tell("stream: told", set, 0);
	saw("stream: poll", poll(&entry, 1, -1));
	get(0, 6);
	saw("stream: empty", read(0, bytes, 1));
	tell("stream: nothing", set, 0);
	printf("more\n");
	fflush(stdout);
	tell("stream: more", set, -1);
	get(0, 3);
	saw("stream: empty", read(0, bytes, 1));
	printf("end\n");
	fflush(stdout);
	tell("stream: end", set, -1);
	saw("stream: read", read(0, bytes, 1));
	fcntl(0, F_SETFL, 0);
	close(outer), close(set);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "all";
	if (!strcmp(what, "bomb")) {
		bomb();
	} else if (!strcmp(what, "stream")) {
		stream();
	} else if (!strcmp(what, "signal")) {
		wait_for_signal();
	} else if (!strcmp(what, "ready")) {
		prepare_ready();
		pristine_ready();
	} else {
		epoll_tests();
		epoll_error_tests();
		poll_tests();
		object_tests();
		pipe_tests();
	}
	return 0;
}
