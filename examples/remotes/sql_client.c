/* A caller of the SQLite remote, which has no permission of its own. */
#include <string.h>
#include <unistd.h>
#include "../../guest/pristine.h"
#include "sql.h"

static sql_open_function *open_database;
static sql_run_function *exec, *query;

long client_open(const char *name)
{
	return open_database(name, strlen(name));
}

static struct sql_value text_of(const char *text)
{
	return (struct sql_value){ .type = SQL_TEXT, .bytes = text, .length = strlen(text) };
}

/* What the answer is, as far as there is room; with the result in front of it. */
static long told(long result, const struct sql_answer *answer, long *out, unsigned long room)
{
	unsigned long length = answer->length < room - sizeof result ? answer->length : room - sizeof result;
	*out = result;
	memcpy(out + 1, answer->text, length);
	return (long)(length + sizeof result);
}

/* Statements with one text, if it is given, and one number. */
long client_exec(long database, const char *sql, const char *text, long number, void *out, unsigned long room)
{
	struct sql_answer answer = { 0, 0 };
	struct sql_value values[2] = { text_of(text), { .type = SQL_INTEGER, .integer = number } };
	return told(exec(database, sql, strlen(sql), values, 2, &answer), &answer, out, room);
}

long client_query(long database, const char *sql, const char *text, void *out, unsigned long room)
{
	struct sql_answer answer = { 0, 0 };
	struct sql_value values[1] = { text_of(text) };
	return told(query(database, sql, strlen(sql), values, 1, &answer), &answer, out, room);
}

/* Commits one row after another; how many there are then. */
long client_fill(long database, long from, long count)
{
	static const char sql[] = "INSERT INTO numbers VALUES (?, ?)";
	struct sql_answer answer = { 0, 0 };
	for (long number = from; number < from + count; number++) {
		struct sql_value values[2] = { { .type = SQL_INTEGER, .integer = number }, text_of("some text that takes its room in the table") };
		long result = exec(database, sql, sizeof sql - 1, values, 2, &answer);
		if (result != 1) return result < 0 ? result : -1;
	}
	return from + count;
}

/* A value that points to an address of the embedder's choice. */
long client_point(long database, unsigned long address, unsigned long length)
{
	static const char sql[] = "SELECT ? AS stolen";
	struct sql_answer answer = { 0, 0 };
	struct sql_value value = { .type = SQL_TEXT, .bytes = (const void *)address, .length = length };
	return query(database, sql, sizeof sql - 1, &value, 1, &answer);
}

int main(void)
{
	open_database = (sql_open_function *)pristine_import("sql:open");
	exec = (sql_run_function *)pristine_import("sql:exec");
	query = (sql_run_function *)pristine_import("sql:query");
	if (!open_database || !exec || !query) return 1;
	pristine_ready();
	for (;;) pause();
}
