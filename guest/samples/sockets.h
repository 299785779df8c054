/* What the parts of the sample `sockets` share: printing what a call came to, and addresses. */
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>
#include "shown.h"

/* With the network of the host (sockets_host.c). */
int on_host(int count, char **args);
/* AF_UNIX (sockets_names.c). */
void names(const char *folder);
void messages(void);
void rights(void);

/* What a poll without a wait says. */
HELPER void ready(const char *what, int fd)
{
	struct pollfd one = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
	poll(&one, 1, 0);
	printf("%s:%s%s%s%s%s%s\n", what, one.revents & POLLIN ? " in" : "", one.revents & POLLOUT ? " out" : "",
	       one.revents & POLLRDHUP ? " rdhup" : "", one.revents & POLLHUP ? " hup" : "", one.revents & POLLERR ? " err" : "",
	       one.revents & POLLNVAL ? " nval" : "");
}
#define READY(fd) ready("ready " #fd, fd)

/* Receives and prints. */
HELPER void got(const char *what, int fd, size_t room, int flags)
{
	char bytes[4096];
	ssize_t count = recv(fd, bytes, room, flags);
	if (count < 0)
		printf("%s: %s\n", what, name_of(errno));
	else
		printf("%s: %zd \"%.*s\"\n", what, count, (int)((size_t)count < room ? (size_t)count : room), bytes);
}
#define GOT(fd, room, flags) got("recv(" #fd ", " #room ", " #flags ")", fd, room, flags)

HELPER int number_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof value;
	if (getsockopt(fd, level, name, &value, &length))
		return -errno;
	return value;
}
#define OPTION(fd, level, name) printf(#name ": %d\n", number_of(fd, level, name))

HELPER struct sockaddr_in at_port(const char *host, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	inet_pton(AF_INET, host, &address.sin_addr);
	return address;
}

HELPER struct sockaddr_in name_of_socket(int fd)
{
	struct sockaddr_in address = {0};
	socklen_t length = sizeof address;
	getsockname(fd, (struct sockaddr *)&address, &length);
	return address;
}

HELPER void print_address(const char *what, const struct sockaddr_storage *address, socklen_t length)
{
	char text[64] = "";
	if (length == 0) {
		printf("%s: none\n", what);
	} else if (address->ss_family == AF_INET) {
		const struct sockaddr_in *ip = (const void *)address;
		printf("%s: %s %s (%d)\n", what, inet_ntop(AF_INET, &ip->sin_addr, text, sizeof text), ip->sin_port ? "port" : "no port", (int)length);
	} else if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *ip = (const void *)address;
		printf("%s: %s %s (%d)\n", what, inet_ntop(AF_INET6, &ip->sin6_addr, text, sizeof text), ip->sin6_port ? "port" : "no port", (int)length);
	} else if (address->ss_family == AF_UNIX) {
		const struct sockaddr_un *name = (const void *)address;
		const int room = (int)length - (int)offsetof(struct sockaddr_un, sun_path);
		if (room > 0 && name->sun_path[0] == 0)
			printf("%s: abstract %.*s (%d)\n", what, room - 1, name->sun_path + 1, (int)length);
		else
			printf("%s: \"%.*s\" (%d)\n", what, room > 0 ? room : 0, name->sun_path, (int)length);
	}
}

HELPER void own_name(const char *what, int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof address;
	if (getsockname(fd, (struct sockaddr *)&address, &length))
		printf("%s: %s\n", what, name_of(errno));
	else
		print_address(what, &address, length);
}
#define OWN_NAME(fd) own_name("name of " #fd, fd)

HELPER void peer_name(const char *what, int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof address;
	if (getpeername(fd, (struct sockaddr *)&address, &length))
		printf("%s: %s\n", what, name_of(errno));
	else
		print_address(what, &address, length);
}
#define PEER_NAME(fd) peer_name("peer of " #fd, fd)

HELPER struct sockaddr_un at_path(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	return address;
}

/* A listener on the loopback network at a port of the kernel's choice. */
HELPER int listener(int backlog)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = at_port("127.0.0.1", 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, backlog))
		printf("listener: %s\n", name_of(errno));
	return fd;
}
