/*
 * An HTTP/1.1 server that answers by the path of a request, also wrongly: for tests of those who must not believe it.
 * raw-server PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../pristine.h"

static char buffer[4 << 20];
static size_t filled;
static int counter;

static void put(int to, const char *text, size_t length)
{
	while (length > 0) {
		ssize_t done = send(to, text, length, MSG_NOSIGNAL);
		if (done <= 0)
			return;
		text += done;
		length -= (size_t)done;
	}
}

static void say(int to, const char *text) { put(to, text, strlen(text)); }

static void answer(int to, const char *body, size_t length)
{
	char head[128];
	put(to, head, (size_t)sprintf(head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", length));
	put(to, body, length);
}

/* Reads until there are `wanted` bytes; 0 at the end. */
static int fill(int from, size_t wanted)
{
	while (filled < wanted) {
		ssize_t got = recv(from, buffer + filled, sizeof buffer - 1 - filled, 0);
		if (got <= 0)
			return 0;
		filled += (size_t)got;
	}
	return 1;
}

/* The end of the head, reading as long as it has none. */
static char *head_end(int from)
{
	for (;;) {
		buffer[filled] = 0;
		char *end = strstr(buffer, "\r\n\r\n");
		if (end)
			return end + 4;
		if (!fill(from, filled + 1))
			return 0;
	}
}

/* A chunked body, put together at its own place; its length, or -1. */
static long join_chunks(int from, size_t at)
{
	size_t to = at, next = at;
	for (;;) {
		char *line;
		buffer[filled] = 0;
		while (!(line = strstr(buffer + next, "\r\n"))) {
			if (!fill(from, filled + 1))
				return -1;
			buffer[filled] = 0;
		}
		size_t length = strtoul(buffer + next, 0, 16);
		next = (size_t)(line + 2 - buffer);
		if (!fill(from, next + length + 2))
			return -1;
		memmove(buffer + to, buffer + next, length);
		to += length;
		next += length + 2;
		if (length == 0)
			return (long)(to - at);
	}
}

static void wrong(int to, const char *path)
{
	if (!strcmp(path, "/garbage"))
		say(to, "this is no HTTP at all\r\n\r\n");
	else if (!strcmp(path, "/two-lengths"))
		say(to, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 30\r\n\r\nabc");
	else if (!strcmp(path, "/both"))
		say(to, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
	else if (!strcmp(path, "/two-answers"))
		say(to, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond");
	else if (!strcmp(path, "/bad-chunk"))
		say(to, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n");
	else if (!strcmp(path, "/upgrade"))
		say(to, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
	else if (!strcmp(path, "/header"))
		say(to, "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n");
	else if (!strcmp(path, "/short"))
		say(to, "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc");
	else
		say(to, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

/* Two threads that do not sleep while they wait for each other: each round needs a slice of both. */
static atomic_int turn;

static void *take_turns(void *other)
{
	for (int round = 0; round < 25; round++) {
		while (atomic_load(&turn) != (other != 0))
			;
		atomic_store(&turn, other == 0);
	}
	return 0;
}

static void both_take_turns(void)
{
	pthread_t other;
	atomic_store(&turn, 0);
	if (pthread_create(&other, 0, take_turns, &turn))
		_exit(99);
	take_turns(0);
	pthread_join(other, 0);
}

/* /call/FUNCTION/ARGUMENT and /resume/REQUEST of the remote "storage": what it returns. */
static int answers_from_remote(int to, const char *path)
{
	char name[64], text[64];
	long argument, result;
	if (sscanf(path, "/call/%40[a-z_]/%ld", text, &argument) == 2) {
		sprintf(name, "storage:%s", text);
		long (*function)(long) = (long (*)(long))pristine_import(name);
		if (!function)
			return 0;
		result = function(argument);
	} else if (sscanf(path, "/resume/%60s", text) == 1)
		result = pristine_resume("storage", text, sizeof text);
	else
		return 0;
	answer(to, text, (size_t)sprintf(text, "%ld", result));
	return 1;
}

/* 0 if the connection is to be closed. */
static int serve(int to, const char *method, const char *path, const char *body, size_t length)
{
	char text[64];
	if (!strcmp(path, "/count"))
		answer(to, text, (size_t)sprintf(text, "%d", ++counter));
	else if (!strcmp(path, "/echo"))
		answer(to, body, length);
	else if (!strcmp(path, "/"))
		answer(to, "hello", strcmp(method, "HEAD") ? 5 : 0);
	else if (!strcmp(path, "/head"))
		say(to, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-Twice: a\r\nX-Twice: b\r\n\r\n");
	else if (!strcmp(path, "/empty"))
		say(to, "HTTP/1.1 204 No Content\r\n\r\n");
	else if (!strcmp(path, "/early"))
		say(to, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
	else if (!strcmp(path, "/to-the-end"))
		return say(to, "HTTP/1.1 200 OK\r\n\r\nuntil the end"), 0;
	else if (!strcmp(path, "/slow")) {
		say(to, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
		for (int i = 0; i < 5; i++) {
			put(to, text, (size_t)sprintf(text, "2\r\n%d;\r\n", i));
			usleep(20000);
		}
		say(to, "0\r\n\r\n");
	} else if (!strcmp(path, "/turns")) {
		both_take_turns();
		answer(to, "done", 4);
	} else if (!strcmp(path, "/exit"))
		_exit(3);
	else if (!strcmp(path, "/fault"))
		*(volatile int *)(size_t)getpagesize() = 1;
	else if (!strcmp(path, "/spin"))
		for (;;)
			__asm__ volatile("");
	else if (!strcmp(path, "/sleep"))
		sleep(1000);
	else if (!strcmp(path, "/close"))
		return 0;
	else if (!answers_from_remote(to, path)) {
		wrong(to, path);
		return strcmp(path, "/short") != 0;
	}
	return 1;
}

static void talk(int to)
{
	filled = 0;
	for (;;) {
		char method[16], path[512];
		char *end = head_end(to);
		if (!end || sscanf(buffer, "%15s %511s", method, path) != 2)
			return;
		size_t at = (size_t)(end - buffer);
		char *length_field = strcasestr(buffer, "\r\ncontent-length:");
		long length = length_field && length_field < end ? atol(length_field + 17) : 0;
		char *coding = strcasestr(buffer, "\r\ntransfer-encoding: chunked");
		if (coding && coding < end)
			length = join_chunks(to, at);
		else if (!fill(to, at + (size_t)length))
			return;
		if (length < 0 || !serve(to, method, path, buffer + at, (size_t)length))
			return;
		filled = 0;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	at.sin_port = htons((unsigned short)(argc > 1 ? atoi(argv[1]) : 8000));
	if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 64) != 0)
		return perror("raw-server"), 1;
	for (;;) {
		int to = accept(listener, 0, 0);
		if (to < 0)
			return 1;
		talk(to);
		close(to);
	}
}
