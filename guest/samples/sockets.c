/*
 * Sockets inside one machine, and what each call on them comes to: the same as natively. The first argument says what:
 * `pairs`, `tcp`, `udp`, `names DIR`, `errors`, `options`, `full`, `messages`, `rights`, `all DIR`; with the network of
 * the host as `sockets_host.c` has it. Names and messages are in `sockets_names.c`.
 */
#include "sockets.h"

static int broken_pipes;

static void count_broken_pipe(int signal)
{
	(void)signal;
	broken_pipes++;
}

static void pair_of(int type, const char *name)
{
	int s[2];
	printf("-- pair %s\n", name);
	SHOW(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s));
	READY(s[0]);
	SHOW(send(s[0], "hello", 5, 0));
	SHOW(write(s[0], "world", 5));
	READY(s[1]);
	int waiting = 0;
	SHOW(ioctl(s[1], FIONREAD, &waiting));
	SHOW(waiting);
	GOT(s[1], 3, MSG_PEEK);
	GOT(s[1], 3, 0);
	GOT(s[1], 100, MSG_TRUNC);
	GOT(s[1], 100, 0);
	SHOW(send(s[0], "", 0, 0));
	GOT(s[1], 100, 0);
	OWN_NAME(s[0]);
	PEER_NAME(s[0]);
	OPTION(s[0], SOL_SOCKET, SO_TYPE);
	OPTION(s[0], SOL_SOCKET, SO_DOMAIN);
	OPTION(s[0], SOL_SOCKET, SO_PROTOCOL);
	OPTION(s[0], SOL_SOCKET, SO_ACCEPTCONN);
	SHOW(lseek(s[0], 0, SEEK_CUR));
	char byte;
	SHOW(pread(s[0], &byte, 1, 0));
	SHOW(pwrite(s[0], &byte, 1, 0));
	SHOW(fsync(s[0]));
	SHOW(ftruncate(s[0], 0));
	SHOW(listen(s[0], 1));
	SHOW(accept(s[0], 0, 0));
	SHOW(shutdown(s[0], 3));
	SHOW(shutdown(s[0], SHUT_WR));
	READY(s[0]);
	READY(s[1]);
	GOT(s[1], 100, 0);
	broken_pipes = 0;
	SHOW(send(s[0], "x", 1, 0));
	SHOW(send(s[0], "x", 1, MSG_NOSIGNAL));
	SHOW(broken_pipes);
	SHOW(send(s[1], "back", 4, 0));
	GOT(s[0], 100, 0);
	SHOW(send(s[1], "lost", 4, 0));
	SHOW(close(s[0]));
	READY(s[1]);
	GOT(s[1], 100, 0);
	GOT(s[1], 100, 0);
	SHOW(send(s[1], "x", 1, MSG_NOSIGNAL));
	SHOW(send(s[1], "x", 1, MSG_NOSIGNAL));
	PEER_NAME(s[1]);
	SHOW(close(s[1]));
	SHOW(close(s[1]));
}

/* An end with unread bytes is closed, and one without. */
static void ends(int type, const char *name)
{
	int s[2];
	printf("-- ends %s\n", name);
	SHOW(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s));
	SHOW(send(s[0], "unread", 6, 0));
	SHOW(send(s[1], "kept", 4, 0));
	SHOW(close(s[1]));
	READY(s[0]);
	GOT(s[0], 100, 0);
	GOT(s[0], 100, 0);
	GOT(s[0], 100, 0);
	OPTION(s[0], SOL_SOCKET, SO_ERROR);
	close(s[0]);
	SHOW(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s));
	SHOW(shutdown(s[0], SHUT_RD));
	READY(s[0]);
	READY(s[1]);
	GOT(s[0], 100, 0);
	SHOW(send(s[1], "x", 1, MSG_NOSIGNAL));
	SHOW(shutdown(s[0], SHUT_RDWR));
	READY(s[0]);
	READY(s[1]);
	close(s[0]);
	close(s[1]);
}

static void pairs(void)
{
	pair_of(SOCK_STREAM, "stream");
	pair_of(SOCK_DGRAM, "dgram");
	pair_of(SOCK_SEQPACKET, "seqpacket");
	ends(SOCK_STREAM, "stream");
	ends(SOCK_DGRAM, "dgram");
	ends(SOCK_SEQPACKET, "seqpacket");
}

/* Both ends of a connection inside this machine. */
static void connection(int *client, int *server)
{
	int fd = listener(5);
	struct sockaddr_in there = name_of_socket(fd);
	*client = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(*client, (struct sockaddr *)&there, sizeof there))
		printf("connect: %s\n", name_of(errno));
	*server = accept4(fd, 0, 0, SOCK_NONBLOCK);
	fcntl(*client, F_SETFL, O_NONBLOCK);
	close(fd);
}

static void tcp_ends(void)
{
	int client, server;
	printf("-- tcp half closed\n");
	connection(&client, &server);
	READY(client);
	SHOW(send(client, "ping", 4, 0));
	GOT(server, 100, 0);
	GOT(server, 100, 0);
	SHOW(shutdown(client, SHUT_WR));
	READY(client);
	READY(server);
	GOT(server, 100, 0);
	SHOW(send(server, "pong", 4, 0));
	GOT(client, 2, MSG_PEEK);
	GOT(client, 100, 0);
	broken_pipes = 0;
	SHOW(send(client, "x", 1, 0));
	SHOW(broken_pipes);
	close(server);
	READY(client);
	GOT(client, 100, 0);
	close(client);
	printf("-- tcp closed\n");
	connection(&client, &server);
	SHOW(close(server));
	READY(client);
	GOT(client, 100, 0);
	SHOW(send(client, "x", 1, MSG_NOSIGNAL));
	SHOW(send(client, "x", 1, MSG_NOSIGNAL));
	close(client);
	printf("-- tcp closed with unread bytes\n");
	connection(&client, &server);
	SHOW(send(client, "unread", 6, 0));
	SHOW(close(server));
	READY(client);
	GOT(client, 100, 0);
	GOT(client, 100, 0);
	SHOW(send(client, "x", 1, MSG_NOSIGNAL));
	PEER_NAME(client);
	close(client);
	printf("-- tcp reset\n");
	connection(&client, &server);
	struct linger linger = {1, 0};
	SHOW(setsockopt(server, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
	SHOW(close(server));
	READY(client);
	OPTION(client, SOL_SOCKET, SO_ERROR);
	OPTION(client, SOL_SOCKET, SO_ERROR);
	GOT(client, 100, 0);
	close(client);
}

static void tcp(void)
{
	printf("-- tcp\n");
	int unconnected = socket(AF_INET, SOCK_STREAM, 0);
	READY(unconnected);
	GOT(unconnected, 10, 0);
	SHOW(send(unconnected, "x", 1, MSG_NOSIGNAL));
	SHOW(shutdown(unconnected, SHUT_WR));
	PEER_NAME(unconnected);
	OWN_NAME(unconnected);
	SHOW(accept(unconnected, 0, 0));
	close(unconnected);

	int fd = listener(5);
	struct sockaddr_in there = name_of_socket(fd);
	OPTION(fd, SOL_SOCKET, SO_ACCEPTCONN);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	READY(fd);
	OPENED(accept(fd, 0, 0));
	GOT(fd, 10, 0);
	SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
	SHOW(bind(fd, (struct sockaddr *)&there, sizeof there));
	SHOW(connect(fd, (struct sockaddr *)&there, sizeof there));
	SHOW(listen(fd, 7));
	int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	SHOW(connect(client, (struct sockaddr *)&there, sizeof there));
	struct pollfd one = {.fd = client, .events = POLLOUT};
	SHOW(poll(&one, 1, 1000));
	OPTION(client, SOL_SOCKET, SO_ERROR);
	SHOW(connect(client, (struct sockaddr *)&there, sizeof there));
	SHOW(connect(client, (struct sockaddr *)&there, sizeof there));
	READY(fd);
	struct sockaddr_storage from = {0};
	socklen_t length = sizeof from;
	int server = OPENED(accept4(fd, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
	print_address("from", &from, length);
	SHOW(fcntl(server, F_GETFD));
	SHOW(fcntl(server, F_GETFL) == (O_RDWR | O_NONBLOCK));
	OWN_NAME(server);
	PEER_NAME(server);
	PEER_NAME(client);
	struct sockaddr_in a = name_of_socket(client), b;
	length = sizeof b;
	SHOW(getpeername(server, (struct sockaddr *)&b, &length));
	SHOW(a.sin_port == b.sin_port);
	char parts[2][4] = {"abc", "def"};
	struct iovec vectors[2] = {{parts[0], 3}, {parts[1], 3}};
	SHOW(writev(client, vectors, 2));
	GOT(server, 4, 0);
	GOT(server, 100, 0);
	SHOW(send(client, "through", 7, 0));
	vectors[1].iov_len = 2;
	SHOW(readv(server, vectors, 2));
	printf("\"%.3s\" \"%.2s\"\n", parts[0], parts[1]);
	GOT(server, 100, MSG_OOB);
	int copy = dup(server);
	SHOW(close(server));
	GOT(copy, 100, 0);
	GOT(copy, 100, 0);
	close(copy);
	close(client);
	SHOW(shutdown(fd, SHUT_RDWR));
	OPENED(accept(fd, 0, 0));
	close(fd);
	tcp_ends();
}

static void udp(void)
{
	printf("-- udp\n");
	struct sockaddr_in here = at_port("127.0.0.1", 0);
	int one = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int other = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	READY(one);
	SHOW(bind(one, (struct sockaddr *)&here, sizeof here));
	SHOW(bind(one, (struct sockaddr *)&here, sizeof here));
	OWN_NAME(one);
	here = name_of_socket(one);
	GOT(one, 10, 0);
	SHOW(send(other, "x", 1, 0));
	int third = socket(AF_INET, SOCK_DGRAM, 0);
	SHOW(shutdown(third, SHUT_WR));
	SHOW(sendto(third, "x", 1, 0, (struct sockaddr *)&here, sizeof here));
	close(third);
	SHOW(listen(one, 1));
	SHOW(accept(one, 0, 0));
	SHOW(sendto(other, "first", 5, 0, (struct sockaddr *)&here, sizeof here));
	SHOW(sendto(other, "", 0, 0, (struct sockaddr *)&here, sizeof here));
	SHOW(sendto(other, "third message", 13, 0, (struct sockaddr *)&here, sizeof here));
	READY(one);
	int waiting = 0;
	SHOW(ioctl(one, FIONREAD, &waiting));
	SHOW(waiting);
	char bytes[100];
	struct sockaddr_storage from = {0};
	socklen_t length = sizeof from;
	SHOW(recvfrom(one, bytes, sizeof bytes, MSG_PEEK, (struct sockaddr *)&from, &length));
	print_address("from", &from, length);
	GOT(one, 100, 0);
	GOT(one, 100, 0);
	GOT(one, 5, MSG_TRUNC);
	GOT(one, 100, 0);
	SHOW(sendto(one, "reply", 5, 0, (struct sockaddr *)&from, length));
	GOT(other, 100, 0);
	SHOW(connect(other, (struct sockaddr *)&here, sizeof here));
	OWN_NAME(other);
	PEER_NAME(other);
	SHOW(send(other, "connected", 9, 0));
	GOT(one, 100, 0);
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	SHOW(connect(other, &nowhere, sizeof nowhere));
	PEER_NAME(other);
	SHOW(send(other, "x", 1, 0));
	static char large[70000];
	SHOW(sendto(other, large, 65508, 0, (struct sockaddr *)&here, sizeof here));
	SHOW(sendto(other, large, 65507, 0, (struct sockaddr *)&here, sizeof here));
	SHOW(recv(one, large, sizeof large, 0));
	struct sockaddr_in no_port = at_port("127.0.0.1", 0);
	SHOW(sendto(other, "x", 1, 0, (struct sockaddr *)&no_port, sizeof no_port));
	SHOW(sendto(other, "x", 1, 0, (struct sockaddr *)&here, 8));
	close(one);
	close(other);
}

static void six(void)
{
	printf("-- six\n");
	struct sockaddr_in6 here = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	SHOW(bind(fd, (struct sockaddr *)&here, 20));
	SHOW(bind(fd, (struct sockaddr *)&here, sizeof here));
	SHOW(listen(fd, 1));
	OWN_NAME(fd);
	socklen_t length = sizeof here;
	getsockname(fd, (struct sockaddr *)&here, &length);
	int client = socket(AF_INET6, SOCK_STREAM, 0);
	struct sockaddr_in four = at_port("127.0.0.1", 1);
	SHOW(connect(client, (struct sockaddr *)&four, sizeof four));
	SHOW(connect(client, (struct sockaddr *)&here, sizeof here));
	int server = OPENED(accept(fd, 0, 0));
	PEER_NAME(server);
	SHOW(write(client, "six", 3));
	GOT(server, 10, 0);
	OPTION(fd, IPPROTO_IPV6, IPV6_V6ONLY);
	close(client);
	close(server);
	close(fd);
}

static void errors(void)
{
	printf("-- errors\n");
	SHOW(socket(AF_INET, 0, 0));
	SHOW(socket(AF_INET, 11, 0));
	SHOW(socket(AF_INET, SOCK_STREAM | 0x100, 0));
	SHOW(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	SHOW(socket(AF_INET, SOCK_SEQPACKET, 0));
	SHOW(socket(AF_UNIX, SOCK_STREAM, 7));
	SHOW(socket(AF_UNIX, 4, 0));
	SHOW(socket(45, SOCK_STREAM, 0));
	SHOW(socket(-1, SOCK_STREAM, 0));
	int s[2];
	SHOW(socketpair(AF_INET, SOCK_STREAM, 0, s));
	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)8));
	int file = open("/dev/null", O_RDWR);
	struct sockaddr_in here = at_port("127.0.0.1", 1);
	SHOW(bind(file, (struct sockaddr *)&here, sizeof here));
	SHOW(connect(-1, (struct sockaddr *)&here, sizeof here));
	SHOW(listen(file, 1));
	SHOW(accept(99, 0, 0));
	SHOW(send(file, "x", 1, 0));
	SHOW(getsockname(file, 0, 0));
	SHOW(setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &file, 4));
	close(file);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	SHOW(bind(fd, (struct sockaddr *)&here, 8));
	SHOW(bind(fd, (struct sockaddr *)&here, 200));
	SHOW(bind(fd, (struct sockaddr *)8, sizeof here));
	here.sin_family = AF_UNIX;
	SHOW(bind(fd, (struct sockaddr *)&here, sizeof here));
	SHOW(connect(fd, (struct sockaddr *)&here, sizeof here));
	here.sin_family = AF_INET;
	SHOW(accept4(fd, 0, 0, 1));
	socklen_t length = -1;
	SHOW(getsockname(fd, (struct sockaddr *)&here, &length));
	length = 4;
	SHOW(getsockname(fd, (struct sockaddr *)&here, &length));
	SHOW(length);
	SHOW(getsockname(fd, (struct sockaddr *)&here, 0));
	SHOW(sendmsg(fd, 0, 0));
	struct msghdr message = {.msg_iovlen = 1025};
	SHOW(sendmsg(fd, &message, 0));
	SHOW(recvmsg(fd, &message, 0));
	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	GOT(fd, 1, 0);
	SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
	SHOW(listen(fd, 1));
	READY(fd);
	close(fd);
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	GOT(fd, 1, 0);
	SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
	close(fd);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	GOT(fd, 1, 0);
	SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
	SHOW(listen(fd, 1));
	close(fd);
}

static void options(void)
{
	printf("-- options\n");
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, value = 5000;
	int pair = socket(AF_UNIX, SOCK_STREAM, 0);
	SHOW(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	OPTION(fd, SOL_SOCKET, SO_REUSEADDR);
	SHOW(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof value));
	OPTION(fd, IPPROTO_TCP, TCP_NODELAY);
	SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, sizeof value));
	OPTION(fd, SOL_SOCKET, SO_RCVBUF);
	SHOW(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &on, sizeof on));
	OPTION(fd, SOL_SOCKET, SO_SNDBUF);
	SHOW(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on));
	value = 30;
	SHOW(setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &value, sizeof value));
	SHOW(setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &value, sizeof value));
	SHOW(setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &value, sizeof value));
	OPTION(fd, IPPROTO_TCP, TCP_KEEPIDLE);
	OPTION(fd, SOL_SOCKET, SO_TYPE);
	OPTION(fd, SOL_SOCKET, SO_PROTOCOL);
	OPTION(fd, SOL_SOCKET, SO_DOMAIN);
	OPTION(fd, SOL_SOCKET, SO_ERROR);
	SHOW(setsockopt(fd, SOL_SOCKET, SO_TYPE, &on, sizeof on));
	SHOW(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, 2));
	SHOW(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, (void *)8, 4));
	SHOW(setsockopt(fd, SOL_SOCKET, 999, &on, sizeof on));
	SHOW(setsockopt(fd, 999, 1, &on, sizeof on));
	SHOW(setsockopt(pair, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
	SHOW(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
	struct linger linger = {7, 3};
	SHOW(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
	socklen_t length = sizeof linger;
	SHOW(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
	printf("linger %d %d (%d)\n", linger.l_onoff, linger.l_linger, (int)length);
	struct timeval time = {0, 50000};
	SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
	time.tv_usec = 2000000;
	SHOW(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time));
	length = sizeof time;
	SHOW(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, &length));
	printf("time %ld %ld (%d)\n", (long)time.tv_sec, (long)time.tv_usec / 10000, (int)length);
	length = 2;
	value = 0;
	SHOW(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
	printf("%d (%d)\n", value, (int)length);
	length = -1;
	SHOW(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
	SHOW(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, 0));
	SHOW(ioctl(fd, FIONBIO, &on));
	SHOW(fcntl(fd, F_GETFL) == (O_RDWR | O_NONBLOCK));
	struct stat facts;
	SHOW(fstat(fd, &facts));
	SHOW(S_ISSOCK(facts.st_mode));
	SHOW(isatty(fd));
	close(fd);
	close(pair);
	int s[2];
	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	time = (struct timeval){0, 30000};
	SHOW(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
	GOT(s[0], 1, 0);
	SHOW(send(s[1], "ab", 2, 0));
	GOT(s[0], 3, MSG_WAITALL);
	struct ucred who = {0};
	length = sizeof who;
	SHOW(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &who, &length));
	SHOW(who.pid == getpid() && who.uid == getuid() && who.gid == getgid());
	close(s[0]);
	close(s[1]);
}

/* A peer that never reads: the sender learns it, and nothing is lost. */
static void full_one(const char *name, int sender, int receiver, size_t chunk)
{
	static char bytes[65536];
	memset(bytes, 'f', sizeof bytes);
	long sent = 0, received = 0;
	ssize_t count;
	while ((count = send(sender, bytes, chunk, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		sent += count;
	printf("%s: %s, bounded: %d\n", name, name_of(errno), sent > 50000 && sent < 16000000);
	READY(sender);
	/* What TCP still holds back follows in its own time, once there is room. */
	struct pollfd more = {receiver, POLLIN, 0};
	while (received < sent && poll(&more, 1, 5000) == 1 && (count = recv(receiver, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
		received += count;
	count = recv(receiver, bytes, sizeof bytes, MSG_DONTWAIT);
	printf("%s: %s, all: %d\n", name, name_of(errno), sent == received);
	READY(sender);
}

static void full(void)
{
	printf("-- full\n");
	int s[2], client, server;
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	full_one("stream", s[0], s[1], 10000);
	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s);
	full_one("seqpacket", s[0], s[1], 10000);
	static char large[400000];
	SHOW(send(s[0], large, sizeof large, MSG_DONTWAIT));
	connection(&client, &server);
	full_one("tcp", client, server, 10000);
	close(client);
	close(server);
}

int main(int count, char **args)
{
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	const char *what = count > 1 ? args[1] : "", *folder = count > 2 ? args[2] : "/tmp";
	const int all = !strcmp(what, "all");
	signal(SIGPIPE, count_broken_pipe);
	if (all || !strcmp(what, "pairs")) pairs();
	if (all || !strcmp(what, "tcp")) tcp();
	if (all || (!strcmp(what, "udp") && count < 4)) udp();
	if (all || !strcmp(what, "six")) six();
	if (all || !strcmp(what, "errors")) errors();
	if (all || !strcmp(what, "options")) options();
	if (all || !strcmp(what, "names")) names(folder);
	if (all || !strcmp(what, "full")) full();
	if (all || !strcmp(what, "messages")) messages();
	if (all || !strcmp(what, "rights")) rights();
	return on_host(count, args);
}
