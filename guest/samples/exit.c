/*
 * Ends in the way that its argument names: `exit 42`, `exit return 42`, `exit quick 42`, `exit abort`, `exit signal 15`,
 * `exit thread 42` (the exit call of one thread instead of the whole program), `exit output 42` (with unflushed output).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void said_at_exit(void)
{
	puts("exit handlers ran");
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "0";
	int number = argc > 2 ? atoi(argv[2]) : 0;
	if (strcmp(how, "return") == 0)
		return number;
	if (strcmp(how, "quick") == 0)
		_exit(number);
	if (strcmp(how, "abort") == 0)
		abort();
	if (strcmp(how, "signal") == 0) {
		raise(number);
		return 99;
	}
	if (strcmp(how, "thread") == 0)
		syscall(SYS_exit, number);
	if (strcmp(how, "output") == 0) {
		atexit(said_at_exit);
		printf("no newline at the end");
		putchar('\n');
		exit(number);
	}
	exit(atoi(how));
}
