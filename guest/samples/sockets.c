/*
 * Sockets inside one machine, and what each call on them comes to: the same as natively. The first argument says what:
 * `pairs`, `tcp`, `udp`, `names DIR`, `errors`, `options`, `full`, `messages`, `rights`, `all DIR`; with the network of
 * the host as `sockets_host.c` has it.
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

static void names(const char *folder)
{
	printf("-- names\n");
	char path[80];
	SHOW(chdir(folder));
	snprintf(path, sizeof path, "name");
	struct sockaddr_un there = at_path(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	SHOW(connect(client, (struct sockaddr *)&there, sizeof there));
	SHOW(bind(fd, (struct sockaddr *)&there, sizeof there));
	SHOW(bind(fd, (struct sockaddr *)&there, sizeof there));
	OWN_NAME(fd);
	struct stat facts;
	SHOW(stat(path, &facts));
	printf("mode %o size %ld\n", facts.st_mode, (long)facts.st_size);
	OPENED(open(path, O_RDWR));
	SHOW(truncate(path, 0));
	SHOW(connect(client, (struct sockaddr *)&there, sizeof there));
	int second = socket(AF_UNIX, SOCK_STREAM, 0);
	SHOW(bind(second, (struct sockaddr *)&there, sizeof there));
	SHOW(listen(fd, 1));
	OPTION(fd, SOL_SOCKET, SO_ACCEPTCONN);
	SHOW(connect(client, (struct sockaddr *)&there, sizeof there));
	SHOW(connect(client, (struct sockaddr *)&there, sizeof there));
	READY(fd);
	READY(client);
	SHOW(send(client, "early", 5, 0));
	struct sockaddr_storage from = {0};
	socklen_t length = sizeof from;
	int server = OPENED(accept(fd, (struct sockaddr *)&from, &length));
	print_address("from", &from, length);
	OWN_NAME(server);
	PEER_NAME(client);
	GOT(server, 100, 0);
	int packets = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	SHOW(connect(packets, (struct sockaddr *)&there, sizeof there));
	/* The queue takes one more than asked for. */
	int waiting[4];
	for (int i = 0; i < 4; i++) {
		waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		SHOW(connect(waiting[i], (struct sockaddr *)&there, sizeof there));
	}
	SHOW(send(waiting[0], "x", 1, 0));
	SHOW(unlink(path));
	SHOW(connect(second, (struct sockaddr *)&there, sizeof there));
	SHOW(close(fd));
	READY(waiting[0]);
	GOT(waiting[0], 1, 0);
	SHOW(send(waiting[1], "x", 1, MSG_NOSIGNAL));
	int file = open(path, O_CREAT | O_RDWR, 0600);
	SHOW(connect(second, (struct sockaddr *)&there, sizeof there));
	SHOW(bind(second, (struct sockaddr *)&there, sizeof there));
	there = at_path("name/below");
	SHOW(bind(second, (struct sockaddr *)&there, sizeof there));
	there = at_path("none/below");
	SHOW(bind(second, (struct sockaddr *)&there, sizeof there));
	there = at_path("");
	SHOW(connect(second, (struct sockaddr *)&there, 1));
	SHOW(bind(second, (struct sockaddr *)&there, 111));
	close(file);
	SHOW(unlink(path));
	close(second);
	close(client);
	close(server);
	close(packets);
	for (int i = 0; i < 4; i++)
		close(waiting[i]);
}

static void datagram_names(void)
{
	printf("-- datagram names\n");
	struct sockaddr_un there = at_path("inbox"), mine = at_path("mine");
	int inbox = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	SHOW(bind(inbox, (struct sockaddr *)&there, sizeof there));
	SHOW(sendto(sender, "nameless", 8, 0, (struct sockaddr *)&there, sizeof there));
	char bytes[100];
	struct sockaddr_storage from = {0};
	socklen_t length = sizeof from;
	SHOW(recvfrom(inbox, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length));
	print_address("from", &from, length);
	SHOW(bind(sender, (struct sockaddr *)&mine, sizeof mine));
	SHOW(sendto(sender, "named", 5, 0, (struct sockaddr *)&there, sizeof there));
	length = sizeof from;
	SHOW(recvfrom(inbox, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length));
	print_address("from", &from, length);
	SHOW(sendto(inbox, "back", 4, 0, (struct sockaddr *)&from, length));
	GOT(sender, 100, 0);
	SHOW(connect(sender, (struct sockaddr *)&there, sizeof there));
	SHOW(send(sender, "connected", 9, 0));
	PEER_NAME(sender);
	GOT(inbox, 100, 0);
	int third = socket(AF_UNIX, SOCK_DGRAM, 0);
	SHOW(connect(third, (struct sockaddr *)&mine, sizeof mine));
	SHOW(sendto(third, "x", 1, 0, (struct sockaddr *)&mine, sizeof mine));
	SHOW(close(inbox));
	SHOW(send(sender, "x", 1, 0));
	SHOW(send(sender, "x", 1, 0));
	SHOW(sendto(sender, "x", 1, 0, (struct sockaddr *)&there, sizeof there));
	unlink("inbox");
	unlink("mine");
	close(sender);
	close(third);
}

static void abstract_names(void)
{
	printf("-- abstract names\n");
	char text[32];
	struct sockaddr_un there = {.sun_family = AF_UNIX};
	int length = snprintf(text, sizeof text, "%cpristine-%d", 0, (int)getpid());
	memcpy(there.sun_path, text, length);
	socklen_t bytes = offsetof(struct sockaddr_un, sun_path) + length;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0), other = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	SHOW(bind(fd, (struct sockaddr *)&there, bytes));
	SHOW(bind(other, (struct sockaddr *)&there, bytes));
	SHOW(listen(fd, 3));
	SHOW(connect(other, (struct sockaddr *)&there, bytes + 1));
	SHOW(connect(other, (struct sockaddr *)&there, bytes));
	int server = OPENED(accept(fd, 0, 0));
	SHOW(send(other, "one", 3, 0));
	SHOW(send(other, "two", 3, 0));
	GOT(server, 2, 0);
	GOT(server, 100, 0);
	SHOW(close(other));
	GOT(server, 100, 0);
	close(server);
	close(fd);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	SHOW(bind(fd, (struct sockaddr *)&there, sizeof(sa_family_t)));
	struct sockaddr_un made;
	bytes = sizeof made;
	SHOW(getsockname(fd, (struct sockaddr *)&made, &bytes));
	SHOW(bytes);
	SHOW(made.sun_path[0]);
	close(fd);
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
	while ((count = recv(receiver, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
		received += count;
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

static void messages(void)
{
	printf("-- messages\n");
	int s[2];
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s);
	char bytes[4][8] = {"one", "twotwo", "3", ""};
	struct iovec vectors[4];
	struct mmsghdr many[4];
	memset(many, 0, sizeof many);
	for (int i = 0; i < 4; i++) {
		vectors[i] = (struct iovec){bytes[i], strlen(bytes[i])};
		many[i].msg_hdr.msg_iov = &vectors[i];
		many[i].msg_hdr.msg_iovlen = 1;
	}
	SHOW(sendmmsg(s[0], many, 4, 0));
	printf("%u %u %u %u\n", many[0].msg_len, many[1].msg_len, many[2].msg_len, many[3].msg_len);
	for (int i = 0; i < 4; i++)
		vectors[i].iov_len = 4;
	SHOW(recvmmsg(s[1], many, 4, 0, 0));
	for (int i = 0; i < 4; i++)
		printf("%u %x \"%.*s\"\n", many[i].msg_len, many[i].msg_hdr.msg_flags, (int)many[i].msg_len, bytes[i]);
	SHOW(recvmmsg(s[1], many, 4, 0, 0));
	SHOW(sendmmsg(s[0], many, 2, 0));
	SHOW(recvmmsg(s[1], many, 4, MSG_WAITFORONE, 0));
	struct msghdr message = {.msg_iov = vectors, .msg_iovlen = 2};
	SHOW(sendmsg(s[0], &message, 0));
	vectors[0].iov_len = 1;
	SHOW(recvmsg(s[1], &message, MSG_TRUNC));
	SHOW(message.msg_flags);
	SHOW(message.msg_controllen);
	char zone[16] = "zone";
	message = (struct msghdr){.msg_iov = &(struct iovec){(void *)8, 4}, .msg_iovlen = 1};
	SHOW(sendmsg(s[0], &message, 0));
	SHOW(send(s[0], zone, 4, 0));
	SHOW(recvmsg(s[1], &message, 0));
	GOT(s[1], 100, 0);
	close(s[0]);
	close(s[1]);
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
	int file = open("/proc/self/exe", O_RDONLY);
	SHOW(sendfile(s[0], file, 0, 4));
	GOT(s[1], 100, 0);
	SHOW(sendfile(s[0], s[1], 0, 4));
	close(file);
	close(s[0]);
	close(s[1]);
}

static int send_file(int socket, int file, const char *text, int count)
{
	union {
		char bytes[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr header;
	} control = {0};
	struct iovec vector = {(char *)text, strlen(text)};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(count * sizeof(int))};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	*header = (struct cmsghdr){.cmsg_len = CMSG_LEN(count * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	for (int i = 0; i < count; i++)
		((int *)CMSG_DATA(header))[i] = file;
	return (int)sendmsg(socket, &message, 0);
}

/* Receives with room for so many files; the first of them, or -1. */
static int receive_file(int socket, int room, int flags)
{
	union {
		char bytes[CMSG_SPACE(8 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr header;
	} control = {0};
	char bytes[100];
	struct iovec vector = {bytes, sizeof bytes};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = room};
	int first = -1;
	ssize_t count = recvmsg(socket, &message, flags);
	if (count < 0) {
		printf("received: %s\n", name_of(errno));
		return -1;
	}
	printf("received \"%.*s\" flags %x control %d:", (int)count, bytes, message.msg_flags, (int)message.msg_controllen);
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		printf(" type %d length %d", header->cmsg_type, (int)header->cmsg_len);
		if (header->cmsg_type == SCM_RIGHTS && header->cmsg_len >= CMSG_LEN(sizeof(int))) {
			if (first < 0)
				first = ((int *)CMSG_DATA(header))[0];
			const int more = ((int)header->cmsg_len - (int)CMSG_LEN(0)) / (int)sizeof(int);
			for (int i = 1; i < more; i++)
				close(((int *)CMSG_DATA(header))[i]);
		} else if (header->cmsg_type == SCM_CREDENTIALS) {
			struct ucred *who = (void *)CMSG_DATA(header);
			printf(" own %d", who->pid == getpid() && who->uid == getuid());
		}
	}
	putchar('\n');
	return first;
}

static void rights_of(int type)
{
	int s[2], p[2];
	printf("-- rights %d\n", type);
	SHOW(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s));
	SHOW(pipe(p));
	SHOW(send_file(s[0], p[1], "take", 1));
	SHOW(send(s[0], "more", 4, 0));
	SHOW(close(p[1]));
	int end = receive_file(s[1], CMSG_SPACE(sizeof(int)), 0);
	SHOW(write(end, "through", 7));
	SHOW(fcntl(end, F_GETFD));
	char bytes[16];
	SHOW(read(p[0], bytes, sizeof bytes));
	GOT(s[1], 100, 0);
	SHOW(close(end));
	SHOW(read(p[0], bytes, sizeof bytes));
	SHOW(send_file(s[0], p[0], "three", 3));
	end = receive_file(s[1], CMSG_SPACE(sizeof(int)), MSG_CMSG_CLOEXEC);
	SHOW(fcntl(end, F_GETFD));
	close(end);
	SHOW(send_file(s[0], p[0], "none", 1));
	receive_file(s[1], 0, 0);
	SHOW(send_file(s[0], p[0], "peek", 1));
	end = receive_file(s[1], CMSG_SPACE(sizeof(int)), MSG_PEEK);
	close(end);
	end = receive_file(s[1], CMSG_SPACE(sizeof(int)), 0);
	close(end);
	SHOW(send_file(s[0], 99, "bad", 1));
	int on = 1;
	SHOW(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	SHOW(send(s[0], "who", 3, 0));
	receive_file(s[1], CMSG_SPACE(sizeof(struct ucred)), 0);
	/* A socket on its way through itself is found again by nobody. */
	SHOW(send_file(s[0], s[1], "itself", 1));
	SHOW(send_file(s[0], s[0], "other", 1));
	SHOW(close(s[0]));
	SHOW(close(s[1]));
	close(p[0]);
}

static void rights(void)
{
	rights_of(SOCK_STREAM);
	rights_of(SOCK_DGRAM);
	rights_of(SOCK_SEQPACKET);
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
	if (all || !strcmp(what, "names")) names(folder), datagram_names(), abstract_names();
	if (all || !strcmp(what, "full")) full();
	if (all || !strcmp(what, "messages")) messages();
	if (all || !strcmp(what, "rights")) rights();
	return on_host(count, args);
}
