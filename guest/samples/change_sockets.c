/* What a request may do to sockets inside its machine, for the sample `changes`. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "change.h"

#define EXPORT __attribute__((used, noinline, visibility("default")))

/* Both ends of a pair, both ends of a connection, a listener with somebody waiting, and who waits. */
enum { FIRST_FD = 17, PAIR_FD = FIRST_FD, CLIENT_FD = 19, SERVER_FD, LISTENER_FD, WAITING_FD, END_FD };

static struct sockaddr_in there = { .sin_family = AF_INET };

static int place(int fd, int number)
{
	if (fd < 0 || dup2(fd, number) < 0)
		_exit(1);
	return close(fd);
}

static void pass(int socket, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = {0};
	struct iovec vector = { "file", 4 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

long change_sockets(uint64_t what, uint64_t value)
{
	char bytes[64];
	const int fd = FIRST_FD + (int)(value % (END_FD - FIRST_FD)), flag = (int)(value >> 8 & 1);
	memset(bytes, (int)value, sizeof bytes);
	switch (what % 10) {
	case 0: case 1: return send(fd, bytes, value >> 8 & 63, MSG_DONTWAIT | MSG_NOSIGNAL);
	case 2: return recv(fd, bytes, 1 + (value >> 8 & 31), MSG_DONTWAIT);
	case 3: return shutdown(fd, (int)(value >> 8 & 3) % 3);
	case 4: return close(fd);
	case 5: {
		int made = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(made, (struct sockaddr *)&there, sizeof there);
		return flag ? made : close(made);
	}
	case 6: return accept4(LISTENER_FD, 0, 0, SOCK_NONBLOCK);
	case 7: return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &flag, sizeof flag);
	case 8: return pass(PAIR_FD + flag, fd), 0;
	default: return dup2(PAIR_FD + flag, fd);
	}
}

/* What can be seen of them; it changes them. */
EXPORT long socket_sum(void)
{
	uint64_t hash = HASH_START;
	for (int fd = FIRST_FD; fd < END_FD; fd++) {
		struct { int waiting, on; long got; struct sockaddr_in peer; char bytes[64]; } seen = {0};
		socklen_t length = sizeof seen.peer;
		ioctl(fd, FIONREAD, &seen.waiting);
		getpeername(fd, (struct sockaddr *)&seen.peer, &length);
		length = sizeof seen.on;
		getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &seen.on, &length);
		seen.got = recv(fd, seen.bytes, sizeof seen.bytes, MSG_DONTWAIT);
		hash = mix(hash, &seen, sizeof seen);
	}
	return (long)hash;
}

void prepare_sockets(void)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
		_exit(1);
	place(pair[0], PAIR_FD);
	place(pair[1], PAIR_FD + 1);
	place(socket(AF_INET, SOCK_STREAM, 0), LISTENER_FD);
	there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t length = sizeof there;
	if (bind(LISTENER_FD, (struct sockaddr *)&there, sizeof there) || listen(LISTENER_FD, 3) || getsockname(LISTENER_FD, (struct sockaddr *)&there, &length))
		_exit(1);
	for (int fd = CLIENT_FD; fd <= WAITING_FD; fd += WAITING_FD - CLIENT_FD) {
		place(socket(AF_INET, SOCK_STREAM, 0), fd);
		if (connect(fd, (struct sockaddr *)&there, sizeof there) || send(fd, "on its way", 10, 0) != 10)
			_exit(1);
		if (fd == CLIENT_FD)
			place(accept(LISTENER_FD, 0, 0), SERVER_FD);
	}
	fcntl(LISTENER_FD, F_SETFL, O_NONBLOCK);
	pass(PAIR_FD, SERVER_FD);
}
