/* Copies standard input to standard output in upper case, and says on standard error how much that was. */
#include <ctype.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	static char buffer[65536];
	unsigned long total = 0;
	ssize_t got;
	while ((got = read(0, buffer, sizeof buffer)) > 0) {
		for (ssize_t i = 0; i < got; i++)
			buffer[i] = toupper((unsigned char)buffer[i]);
		for (ssize_t done = 0; done < got;) {
			ssize_t put = write(1, buffer + done, got - done);
			if (put < 0) {
				perror("write");
				return 1;
			}
			done += put;
		}
		total += got;
	}
	if (got < 0) {
		perror("read");
		return 1;
	}
	fprintf(stderr, "%lu bytes\n", total);
	return 0;
}
