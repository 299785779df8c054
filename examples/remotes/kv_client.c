/*
 * A caller of the store: a program that the command line runs, and functions that an embedder calls in forks of it.
 *
 *     kv_client set NAME VALUE | get NAME | add NAME AMOUNT | delete NAME | count
 *
 * Forks begin where it says that it is ready, with what it has asked for by then; whatever a request leaves in its memory is gone
 * behind it, but for what it has put into the store.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../guest/pristine.h"
#include "kv.h"

static kv_get_function *get;
static kv_set_function *set;
static kv_add_function *add;
static kv_delete_function *delete;
static kv_count_function *count;
static char answer[KV_VALUE_MAX];
/* How often this machine has been called: 1 in every fork that is reset in between. */
static long calls;

long client_get(const char *name, char *out, unsigned long room)
{
	calls++;
	return get(name, strlen(name), out, room);
}

long client_set(const char *name, const char *value)
{
	calls++;
	return set(name, strlen(name), value, strlen(value));
}

long client_add(const char *name, long amount)
{
	calls++;
	return add(name, strlen(name), amount);
}

long client_delete(const char *name)
{
	calls++;
	return delete(name, strlen(name));
}

long client_count(void)
{
	return count();
}

long client_calls(void)
{
	return calls;
}

/* With lengths and addresses that are the embedder's word, to see what the store makes of them. */
long client_raw_set(unsigned long name, unsigned long name_length, unsigned long value, unsigned long length)
{
	return set((const char *)name, name_length, (const void *)value, length);
}

long client_raw_get(const char *name, unsigned long name_length, unsigned long out, unsigned long room)
{
	return get(name, name_length, (void *)out, room);
}

#define STORM_MAX 60000

/* Sets a value of one letter by text. */
static void set_by_text(const char *name, char letter, unsigned long length)
{
	static char text[STORM_MAX + 8];
	int head = snprintf(text, sizeof text, "SET %.2s ", name);
	memset(text + head, letter, length);
	pristine_resume("kv", text, (unsigned long)head + length);
}

/* Sets and deletes without end: each of 64 keys has values of one letter, of many lengths. */
long client_storm(unsigned int seed)
{
	for (unsigned int round = seed * 7919u;; round += 0x9e3779b9u) {
		char name[2] = { 's', (char)(1 + (round >> 26)) };
		memset(answer, name[1], STORM_MAX);
		if (round % 5 == 0) delete(name, sizeof name);
		/* What ends a word is no name in a text. */
		else if (round % 2 == 0 && name[1] != '\n' && name[1] != ' ') set_by_text(name, name[1], round % STORM_MAX);
		else set(name, sizeof name, answer, round % STORM_MAX);
	}
}

/* How many of those keys there are; -1 if a value is not as it was set. */
long client_check(void)
{
	long total = 0;
	for (char letter = 1; letter <= 64; letter++) {
		char name[2] = { 's', letter };
		long length = get(name, sizeof name, answer, sizeof answer);
		if (length >= 0) total++;
		if (length >= STORM_MAX) return -1;
		for (long at = 0; at < length; at++) if (answer[at] != letter) return -1;
	}
	return total;
}

/* The text that scripts send. */
long client_text(void *buffer, unsigned long length)
{
	return pristine_resume("kv", buffer, length);
}

static long command(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "set") == 0) return client_set(argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[1], "add") == 0) return client_add(argv[2], atol(argv[3]));
	if (argc == 3 && strcmp(argv[1], "delete") == 0) return client_delete(argv[2]);
	if (argc == 2 && strcmp(argv[1], "count") == 0) return client_count();
	if (argc != 3 || strcmp(argv[1], "get") != 0) return KV_BAD_LENGTH;
	long length = client_get(argv[2], answer, sizeof answer);
	if (length >= 0) fwrite(answer, 1, (size_t)length, stdout);
	return length;
}

int main(int argc, char **argv)
{
	get = (kv_get_function *)pristine_import("kv:get");
	set = (kv_set_function *)pristine_import("kv:set");
	add = (kv_add_function *)pristine_import("kv:add");
	delete = (kv_delete_function *)pristine_import("kv:delete");
	count = (kv_count_function *)pristine_import("kv:count");
	if (!get || !set || !add || !delete || !count) {
		fprintf(stderr, "kv_client: no store is connected as \"kv\"\n");
		return 1;
	}
	if (argc > 1) {
		long result = command(argc, argv);
		if (strcmp(argv[1], "get") != 0) printf("%ld", result);
		printf("\n");
		return result < 0 ? 2 : 0;
	}
	pristine_ready();
	for (;;) pause();
}
