/*
 * Sockets and the network of the host:
 * `serve HOST PORT COUNT` (echoes COUNT connections), `client HOST PORT TEXT`, `udp-serve HOST PORT COUNT`,
 * `udp HOST PORT TEXT`, `try WHAT HOST PORT …` (only what the call comes to; WHAT is listen, connect, send, udp-listen or
 * unix), `flood HOST PORT` (to who never reads), `frozen HOST PORT` and `frozen-listener HOST PORT COUNT` (made ready
 * between), `inside` (the same without the host), `hosts`, `many` (as many sockets as there may be, all of them full).
 */
#include "sockets.h"
#include <pristine.h>
#include <sys/resource.h>

static struct sockaddr_storage place;

static socklen_t place_of(const char *host, int port)
{
	memset(&place, 0, sizeof place);
	if (strchr(host, ':')) {
		struct sockaddr_in6 *six = (void *)&place;
		*six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
		inet_pton(AF_INET6, host, &six->sin6_addr);
		return sizeof *six;
	}
	struct sockaddr_in four = at_port(host, port);
	memcpy(&place, &four, sizeof four);
	return sizeof four;
}

static int port_of(int fd)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof name;
	if (getsockname(fd, (void *)&name, &length))
		return -1;
	/* At the same place in both families. */
	return ntohs(((struct sockaddr_in *)&name)->sin_port);
}

static int listen_at(const char *host, int port)
{
	const socklen_t length = place_of(host, port);
	int fd = socket(place.ss_family, SOCK_STREAM, 0), on = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (void *)&place, length) || listen(fd, 16)) {
		printf("listen: %s\n", name_of(errno));
		return -1;
	}
	printf("port %d\n", port_of(fd));
	fflush(stdout);
	return fd;
}

static void echo(int fd)
{
	char bytes[4096];
	long total = 0;
	for (ssize_t count; (count = read(fd, bytes, sizeof bytes)) > 0; total += count)
		if (write(fd, bytes, count) != count)
			break;
	printf("echoed %ld\n", total);
	fflush(stdout);
	close(fd);
}

static void serve(int fd, int count)
{
	for (int i = 0; fd >= 0 && i < count; i++) {
		struct sockaddr_storage from;
		socklen_t length = sizeof from;
		int one = accept(fd, (void *)&from, &length);
		if (one < 0) {
			printf("accept: %s\n", name_of(errno));
			return;
		}
		print_address("from", &from, length);
		OPTION(one, SOL_SOCKET, SO_ERROR);
		echo(one);
	}
}

static int connect_to(const char *host, int port)
{
	const socklen_t length = place_of(host, port);
	int fd = socket(place.ss_family, SOCK_STREAM, 0);
	if (connect(fd, (void *)&place, length)) {
		printf("connect: %s\n", name_of(errno));
		return -1;
	}
	return fd;
}

static void client(const char *host, int port, const char *text)
{
	int fd = connect_to(host, port);
	if (fd < 0)
		return;
	PEER_NAME(fd);
	int on = 1;
	SHOW(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
	SHOW(number_of(fd, IPPROTO_TCP, TCP_NODELAY) != 0);
	SHOW(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	SHOW(shutdown(fd, SHUT_WR));
	SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
	char bytes[4096];
	long total = 0;
	for (ssize_t count; (count = recv(fd, bytes + total, sizeof bytes - total, 0)) > 0;)
		total += count;
	printf("got %ld \"%.*s\"\n", total, (int)total, bytes);
	GOT(fd, 10, 0);
	close(fd);
}

static void udp(const char *host, int port, const char *text)
{
	const socklen_t length = place_of(host, port);
	int fd = socket(place.ss_family, SOCK_DGRAM, 0);
	SHOW(sendto(fd, text, strlen(text), 0, (void *)&place, length) == (ssize_t)strlen(text));
	char bytes[100];
	struct sockaddr_storage from;
	socklen_t from_length = sizeof from;
	ssize_t count = recvfrom(fd, bytes, sizeof bytes, 0, (void *)&from, &from_length);
	printf("got %zd \"%.*s\"\n", count, (int)(count > 0 ? count : 0), bytes);
	print_address("from", &from, from_length);
	SHOW(connect(fd, (void *)&place, length));
	SHOW(send(fd, text, 2, 0));
	GOT(fd, 100, 0);
	close(fd);
}

static void udp_serve(const char *host, int port, int count)
{
	const socklen_t length = place_of(host, port);
	int fd = socket(place.ss_family, SOCK_DGRAM, 0);
	SHOW(bind(fd, (void *)&place, length));
	printf("port %d\n", port_of(fd));
	fflush(stdout);
	for (int i = 0; i < count; i++) {
		char bytes[2000];
		struct sockaddr_storage from;
		socklen_t from_length = sizeof from;
		ssize_t got = recvfrom(fd, bytes, sizeof bytes, 0, (void *)&from, &from_length);
		printf("got %zd\n", got);
		fflush(stdout);
		sendto(fd, bytes, got, 0, (void *)&from, from_length);
	}
}

/* What a machine without the permission is told; otherwise only that it was tried. */
static void try_one(const char *what, const char *host, int port)
{
	long result;
	int fd = -1;
	if (!strcmp(what, "unix")) {
		struct sockaddr_un name = at_path(host);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		result = connect(fd, (void *)&name, sizeof name);
		printf("unix: %s\n", result < 0 ? name_of(errno) : "connected");
		close(fd);
		return;
	}
	const socklen_t length = place_of(host, port);
	if (!strcmp(what, "listen")) {
		fd = socket(place.ss_family, SOCK_STREAM, 0);
		result = bind(fd, (void *)&place, length);
		if (result == 0)
			result = listen(fd, 1);
	} else if (!strcmp(what, "connect")) {
		fd = socket(place.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
		result = connect(fd, (void *)&place, length);
	} else if (!strcmp(what, "send")) {
		fd = socket(place.ss_family, SOCK_DGRAM, 0);
		result = sendto(fd, "x", 1, 0, (void *)&place, length);
	} else {
		fd = socket(place.ss_family, SOCK_DGRAM, 0);
		result = bind(fd, (void *)&place, length);
	}
	printf("%s %s %d: %s\n", what, host, port, result < 0 && errno == EACCES ? "EACCES" : "tried");
	close(fd);
}

static void flood(const char *host, int port)
{
	static char bytes[65536];
	int fd = connect_to(host, port);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	long total = 0;
	for (ssize_t count; total < 1L << 30 && (count = send(fd, bytes, sizeof bytes, 0)) > 0;)
		total += count;
	printf("flood: %s, bounded: %d\n", name_of(errno), total < 1L << 28);
	struct pollfd one = {.fd = fd, .events = POLLOUT};
	SHOW(poll(&one, 1, 0));
	close(fd);
}

static void frozen(const char *host, int port)
{
	int fd = connect_to(host, port), udp = socket(AF_INET, SOCK_DGRAM, 0);
	SHOW(write(fd, "before", 6));
	GOT(fd, 6, MSG_WAITALL);
	fflush(stdout);
	pristine_ready();
	READY(fd);
	GOT(fd, 100, MSG_DONTWAIT);
	GOT(fd, 100, MSG_DONTWAIT);
	SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
	PEER_NAME(fd);
	close(fd);
	/* What was not connected is as good as before. */
	const socklen_t length = place_of(host, port);
	SHOW(sendto(udp, "again", 5, 0, (void *)&place, length));
	fd = connect_to(host, port);
	SHOW(write(fd, "after", 5));
	GOT(fd, 5, MSG_WAITALL);
	close(fd);
	fflush(stdout);
}

static void inside(void)
{
	int s[2], listening = listener(4), client = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in there = name_of_socket(listening);
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s);
	SHOW(send(s[0], "one", 3, 0));
	SHOW(send(s[0], "two", 3, 0));
	SHOW(connect(client, (void *)&there, sizeof there));
	SHOW(send(client, "early", 5, 0));
	int waiting = socket(AF_INET, SOCK_STREAM, 0);
	int server = accept(listening, 0, 0);
	SHOW(connect(waiting, (void *)&there, sizeof there));
	SHOW(send(waiting, "waits", 5, 0));
	fflush(stdout);
	pristine_ready();
	GOT(s[1], 100, 0);
	GOT(s[1], 100, 0);
	GOT(s[1], 100, 0);
	GOT(server, 100, 0);
	SHOW(send(server, "late", 4, 0));
	GOT(client, 100, 0);
	int second = accept(listening, 0, 0);
	GOT(second, 100, 0);
	int third = socket(AF_INET, SOCK_STREAM, 0);
	SHOW(connect(third, (void *)&there, sizeof there));
	close(second);
	GOT(waiting, 100, 0);
	fflush(stdout);
}

static void many(void)
{
	static char bytes[65536];
	struct rlimit limit = {4096, 4096};
	SHOW(setrlimit(RLIMIT_NOFILE, &limit));
	int sockets = 0, s[2], last = 0;
	long total = 0;
	while (!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s)) {
		sockets += 2;
		last = s[0];
		for (ssize_t count; (count = write(s[0], bytes, sizeof bytes)) > 0;)
			total += count;
	}
	printf("%d sockets, then %s\n", sockets, name_of(errno));
	printf("bounded: %d\n", total > 32L << 20 && total < 128L << 20);
	SHOW(socket(AF_INET, SOCK_STREAM, 0));
	SHOW(close(last));
	OPENED(socket(AF_INET, SOCK_STREAM, 0));
}

int on_host(int count, char **args)
{
	const char *what = count > 1 ? args[1] : "", *host = count > 2 ? args[2] : "";
	const int port = count > 3 ? atoi(args[3]) : 0;
	if (!strcmp(what, "serve"))
		serve(listen_at(host, port), count > 4 ? atoi(args[4]) : 1);
	else if (!strcmp(what, "client"))
		client(host, port, args[4]);
	else if (!strcmp(what, "udp-serve"))
		udp_serve(host, port, atoi(args[4]));
	else if (!strcmp(what, "udp"))
		if (count > 4) udp(host, port, args[4]);
	if (!strcmp(what, "try"))
		for (int i = 2; i + 2 < count; i += 3)
			try_one(args[i], args[i + 1], atoi(args[i + 2]));
	if (!strcmp(what, "flood"))
		flood(host, port);
	if (!strcmp(what, "frozen"))
		frozen(host, port);
	if (!strcmp(what, "frozen-listener")) {
		int fd = listen_at(host, port);
		pristine_ready();
		serve(fd, atoi(args[4]));
	}
	if (!strcmp(what, "inside"))
		inside();
	if (!strcmp(what, "many"))
		many();
	if (!strcmp(what, "hosts")) {
		char bytes[2000];
		int fd = open("/etc/hosts", O_RDONLY);
		printf("%.*s", (int)read(fd, bytes, sizeof bytes), bytes);
	}
	return 0;
}
