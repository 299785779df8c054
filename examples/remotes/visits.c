/*
 * An HTTP server that counts its visits twice: in its own memory, of which every request has a fresh copy, and in the store.
 *
 *     pristine serve --remote kv=./kv ./visits
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../../guest/pristine.h"
#include "kv.h"

static long own;
static char request[4096], page[256];

/* Until the empty line: visits have no body. */
static int read_request(int client)
{
	size_t have = 0;
	while (have < sizeof request - 1) {
		ssize_t got = read(client, request + have, sizeof request - 1 - have);
		if (got <= 0) return 0;
		have += (size_t)got;
		request[have] = 0;
		if (strstr(request, "\r\n\r\n")) return 1;
	}
	return 0;
}

int main(void)
{
	kv_add_function *add = (kv_add_function *)pristine_import("kv:add");
	if (!add) {
		fprintf(stderr, "visits: no store is connected as \"kv\"\n");
		return 1;
	}
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0) return 1;
	for (;;) {
		int client = accept(listener, NULL, NULL);
		if (client < 0) continue;
		if (read_request(client)) {
			char text[64];
			int length = snprintf(text, sizeof text, "%ld here, %ld in the store\n", ++own, add("visits", 6, 1));
			int bytes = snprintf(page, sizeof page, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s", length, text);
			if (write(client, page, (size_t)bytes) != bytes) fprintf(stderr, "visits: an answer was not written\n");
		}
		close(client);
	}
}
