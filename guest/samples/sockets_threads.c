/*
 * Threads that wait for sockets of their own machine: for bytes, room, connections, times and epoll, and calls that end
 * because of another thread. What it prints is the same natively.
 */
#include "sockets.h"
#include <pthread.h>
#include <sys/epoll.h>

static int ends[2];

static void *send_slowly(void *unused)
{
	(void)unused;
	for (int i = 0; i < 5; i++) {
		usleep(2000);
		if (write(ends[0], &"abcde"[i], 1) != 1)
			printf("write: %s\n", name_of(errno));
	}
	usleep(2000);
	shutdown(ends[0], SHUT_WR);
	return 0;
}

static void waits_for_all(int type)
{
	pthread_t thread;
	socketpair(AF_UNIX, type, 0, ends);
	pthread_create(&thread, 0, send_slowly, 0);
	GOT(ends[1], 5, MSG_WAITALL);
	GOT(ends[1], 5, 0);
	pthread_join(thread, 0);
	close(ends[0]);
	close(ends[1]);
}

static void *drain(void *into)
{
	static char bytes[5000];
	unsigned sum = 0;
	long total = 0;
	for (ssize_t count; (count = read(ends[1], bytes, sizeof bytes)) > 0; total += count)
		for (ssize_t i = 0; i < count; i++)
			sum = sum * 31 + (unsigned char)bytes[i];
	*(unsigned *)into = sum;
	printf("drained %ld\n", total);
	return 0;
}

/* More than finds room at once: the writer waits, and the call counts all of it. */
static void fills(void)
{
	static unsigned char large[3000000];
	unsigned sum = 0, seen = 0;
	pthread_t thread;
	for (size_t i = 0; i < sizeof large; i++) {
		large[i] = (unsigned char)(i * 7 + i / 251);
		sum = sum * 31 + large[i];
	}
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	pthread_create(&thread, 0, drain, &seen);
	struct iovec vectors[3] = {{large, 1000}, {large + 1000, 0}, {large + 1000, sizeof large - 1000}};
	SHOW(writev(ends[0], vectors, 3));
	close(ends[0]);
	pthread_join(thread, 0);
	SHOW(sum == seen);
	close(ends[1]);
}

/* A file is sent whole, from a place in it and from where it stands. */
static void sends_file(void)
{
	static unsigned char text[1000000];
	unsigned sum = 0, seen = 0;
	pthread_t thread;
	char path[] = "/tmp/pristine-sent-XXXXXX";
	int file = mkstemp(path);
	unlink(path);
	for (size_t i = 0; i < sizeof text; i++) {
		text[i] = (unsigned char)(i * 11 + i / 253);
		if (i >= 7)
			sum = sum * 31 + text[i];
	}
	for (size_t i = 0; i < 1000; i++)
		sum = sum * 31 + text[i];
	SHOW(write(file, text, sizeof text));
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	pthread_create(&thread, 0, drain, &seen);
	off_t offset = 7;
	SHOW(sendfile(ends[0], file, &offset, 5000000));
	SHOW(offset);
	SHOW(lseek(file, 0, SEEK_SET));
	SHOW(sendfile(ends[0], file, 0, 1000));
	SHOW(lseek(file, 0, SEEK_CUR));
	close(ends[0]);
	pthread_join(thread, 0);
	SHOW(sum == seen);
	close(ends[1]);
	close(file);
}

static void *connect_and_talk(void *address)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, address, sizeof(struct sockaddr_in)))
		printf("connect: %s\n", name_of(errno));
	char bytes[10] = "";
	write(fd, "request", 7);
	read(fd, bytes, sizeof bytes);
	close(fd);
	return strcmp(bytes, "answer") ? (void *)1 : 0;
}

static void serves(void)
{
	enum { CLIENTS = 6 };
	int fd = listener(1), wrong = 0;
	struct sockaddr_in there = name_of_socket(fd);
	pthread_t threads[CLIENTS];
	for (int i = 0; i < CLIENTS; i++)
		pthread_create(&threads[i], 0, connect_and_talk, &there);
	usleep(5000);
	for (int i = 0; i < CLIENTS; i++) {
		char bytes[10];
		int one = accept(fd, 0, 0);
		wrong += read(one, bytes, sizeof bytes) != 7;
		wrong += write(one, "answer", 6) != 6;
		close(one);
	}
	for (int i = 0; i < CLIENTS; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		wrong += failed != 0;
	}
	SHOW(wrong);
	struct timeval time = {0, 20000};
	SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
	OPENED(accept(fd, 0, 0));
	close(fd);
}

static void *wait_for_events(void *set)
{
	struct epoll_event told[4];
	for (int i = 0; i < 3; i++) {
		int count = epoll_wait((int)(long)set, told, 4, 2000);
		printf("epoll: %d", count);
		for (int j = 0; j < count; j++)
			printf(" %x", told[j].events);
		putchar('\n');
	}
	return 0;
}

/* An edge is told once, and again when more comes, also if the first bytes are still there. */
static void edges(void)
{
	int set = epoll_create1(0);
	pthread_t thread;
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends);
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, ends[1], &event));
	pthread_create(&thread, 0, wait_for_events, (void *)(long)set);
	/* Who waits is the one that prints. */
	usleep(20000);
	write(ends[0], "x", 1);
	usleep(20000);
	write(ends[0], "y", 1);
	usleep(20000);
	close(ends[0]);
	pthread_join(thread, 0);
	GOT(ends[1], 10, 0);
	SHOW(epoll_wait(set, &event, 1, 0));
	close(ends[1]);
	close(set);
}

static void *wait_to_receive(void *fd)
{
	char byte;
	ssize_t count = recv(*(int *)fd, &byte, 1, 0);
	printf("woken: %s\n", count < 0 ? name_of(errno) : count ? "a byte" : "the end");
	return 0;
}

static void nothing(int signal)
{
	(void)signal;
}

static void interrupted(void)
{
	pthread_t thread;
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	struct sigaction action = {.sa_handler = nothing};
	sigaction(SIGUSR1, &action, 0);
	pthread_create(&thread, 0, wait_to_receive, &ends[1]);
	usleep(10000);
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, 0);
	pthread_create(&thread, 0, wait_to_receive, &ends[1]);
	usleep(10000);
	shutdown(ends[1], SHUT_RD);
	pthread_join(thread, 0);
	close(ends[0]);
	close(ends[1]);
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	pthread_create(&thread, 0, wait_to_receive, &ends[1]);
	usleep(10000);
	close(ends[0]);
	pthread_join(thread, 0);
	close(ends[1]);
	int udp = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in here = at_port("127.0.0.1", 0);
	bind(udp, (struct sockaddr *)&here, sizeof here);
	here = name_of_socket(udp);
	pthread_create(&thread, 0, wait_to_receive, &udp);
	usleep(10000);
	sendto(other, "x", 1, 0, (struct sockaddr *)&here, sizeof here);
	pthread_join(thread, 0);
	close(udp);
	close(other);
}

int main(void)
{
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	signal(SIGPIPE, SIG_IGN);
	printf("-- waits for all\n");
	waits_for_all(SOCK_STREAM);
	waits_for_all(SOCK_SEQPACKET);
	printf("-- fills\n");
	fills();
	printf("-- sends a file\n");
	sends_file();
	printf("-- serves\n");
	serves();
	printf("-- edges\n");
	edges();
	printf("-- interrupted\n");
	interrupted();
	return 0;
}
