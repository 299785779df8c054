/* Names of AF_UNIX, and messages with what goes along with them. */
#include "sockets.h"

static void stream_names(const char *folder)
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

void names(const char *folder)
{
	stream_names(folder);
	datagram_names();
	abstract_names();
}

void messages(void)
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

void rights(void)
{
	rights_of(SOCK_STREAM);
	rights_of(SOCK_DGRAM);
	rights_of(SOCK_SEQPACKET);
}
