/*
 * SQLite as a remote: the one machine that may write a directory, for callers that have no permission at all.
 *
 *     sqlite_remote DIRECTORY
 *
 * A call may be given up between any two instructions, because its caller ran out of time or its client went away, and SQLite would
 * not bear that. So a thread of this program's own does the work: a call copies what it was given, wakes the thread, waits, and
 * copies the answer out. If it is given up meanwhile, the thread goes on when the next call comes, which waits for it first.
 *
 * Callers bring statements, not trust: they can open no other file, hold no transaction, and run no statement for long.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "../../guest/pristine.h"
#include "sql.h"
#include "sqlite.h"

#define DATABASES_MAX 16
#define NAME_MAX_BYTES 32UL
#define STATEMENT_SECONDS 1
#define INSTRUCTIONS_BETWEEN_LOOKS 10000

enum kind { OPEN, EXEC, QUERY };

static struct database { char name[NAME_MAX_BYTES + 1]; sqlite3 *handle; } databases[DATABASES_MAX];
static const char *directory;

/* The work: the caller's when it is `idle`, the thread's when it is `asked`. */
enum { idle, asked };
static _Atomic unsigned int state;
static struct {
	enum kind kind;
	long database;
	char sql[SQL_STATEMENTS_MAX + 1];
	struct sql_value values[SQL_VALUES_MAX];
	unsigned long value_count;
	char bytes[SQL_VALUE_BYTES_MAX];
	long result;
	char answer[SQL_ANSWER_MAX];
	unsigned long answer_length;
	int answer_overflowed;
} work;

/* The thread's own statements may do what callers' may not. */
static int is_own;
static struct timespec deadline;

static void wait_while(unsigned int value)
{
	while (atomic_load(&state) == value) syscall(SYS_futex, &state, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void become(unsigned int value)
{
	atomic_store(&state, value);
	syscall(SYS_futex, &state, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0);
}

/* The thread. */

static void put(const char *text, unsigned long length)
{
	if (work.answer_overflowed || length > SQL_ANSWER_MAX - work.answer_length) {
		work.answer_overflowed = 1;
		return;
	}
	memcpy(work.answer + work.answer_length, text, length);
	work.answer_length += length;
}

static void put_text(const char *text)
{
	put(text, strlen(text));
}

static void put_quoted(const char *text, unsigned long length)
{
	put("\"", 1);
	for (unsigned long at = 0; at < length; at++) {
		unsigned char letter = (unsigned char)text[at];
		char escape[8];
		if (letter == '"' || letter == '\\') put((char[2]){ '\\', (char)letter }, 2);
		else if (letter >= 0x20) put(text + at, 1);
		else put(escape, (unsigned long)snprintf(escape, sizeof escape, "\\u%04x", letter));
	}
	put("\"", 1);
}

static void put_blob(const unsigned char *bytes, unsigned long length)
{
	static const char digits[] = "0123456789abcdef";
	put("\"", 1);
	for (unsigned long at = 0; at < length; at++) put((char[2]){ digits[bytes[at] >> 4], digits[bytes[at] & 15] }, 2);
	put("\"", 1);
}

static void put_column(sqlite3_stmt *statement, int column)
{
	char number[32];
	double real;
	switch (sqlite3_column_type(statement, column)) {
	case SQLITE_INTEGER:
		snprintf(number, sizeof number, "%lld", sqlite3_column_int64(statement, column));
		put_text(number);
		return;
	case SQLITE_FLOAT:
		real = sqlite3_column_double(statement, column);
		/* JSON knows no infinity. */
		if (real - real != 0) break;
		snprintf(number, sizeof number, "%.17g", real);
		put_text(number);
		return;
	case SQLITE_TEXT:
		put_quoted((const char *)sqlite3_column_text(statement, column), (unsigned long)sqlite3_column_bytes(statement, column));
		return;
	case SQLITE_BLOB:
		put_blob(sqlite3_column_blob(statement, column), (unsigned long)sqlite3_column_bytes(statement, column));
		return;
	}
	put_text("null");
}

static void put_row(sqlite3_stmt *statement, int is_first)
{
	put_text(is_first ? "{" : ",{");
	for (int column = 0; column < sqlite3_column_count(statement); column++) {
		const char *name = sqlite3_column_name(statement, column);
		if (column > 0) put_text(",");
		put_quoted(name ? name : "", name ? strlen(name) : 0);
		put_text(":");
		put_column(statement, column);
	}
	put_text("}");
}

/* In the place of rows. */
static long failed(long result, const char *message)
{
	work.answer_length = 0;
	work.answer_overflowed = 0;
	put_text(message);
	return result;
}

static long failed_sqlite(sqlite3 *handle, int code)
{
	return failed(-(long)(code & 0xff), sqlite3_errmsg(handle));
}

static int authorize(void *unused, int action, const char *name, const char *argument, const char *database, const char *trigger)
{
	(void)unused, (void)database, (void)trigger;
	if (is_own) return SQLITE_OK;
	switch (action) {
	case SQLITE_ATTACH: case SQLITE_DETACH: case SQLITE_TRANSACTION: case SQLITE_SAVEPOINT:
		return SQLITE_DENY;
	case SQLITE_PRAGMA:
		if (strcmp(name, "integrity_check") == 0 || strcmp(name, "table_info") == 0) return SQLITE_OK;
		return strcmp(name, "user_version") == 0 && !argument ? SQLITE_OK : SQLITE_DENY;
	}
	return SQLITE_OK;
}

static int is_late(void *unused)
{
	struct timespec now;
	(void)unused;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return !is_own && (now.tv_sec > deadline.tv_sec || (now.tv_sec == deadline.tv_sec && now.tv_nsec > deadline.tv_nsec));
}

static int run_own(sqlite3 *handle, const char *sql)
{
	is_own = 1;
	int code = sqlite3_exec(handle, sql, NULL, NULL, NULL);
	is_own = 0;
	return code;
}

static long open_database(void)
{
	char path[4096];
	int index = 0;
	for (; index < DATABASES_MAX && databases[index].handle; index++)
		if (strcmp(databases[index].name, work.sql) == 0) return index + 1;
	if (index == DATABASES_MAX) return SQL_BAD;
	if ((unsigned long)snprintf(path, sizeof path, "%s/%s.db", directory, work.sql) >= sizeof path) return SQL_BAD;
	sqlite3 *handle = NULL;
	int code = sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	/* Nobody else has the file; a commit is one write and one sync of the log. */
	if (code == SQLITE_OK)
		code = run_own(handle, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
		                       "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF");
	if (code != SQLITE_OK) {
		sqlite3_close(handle);
		return -(long)(code & 0xff);
	}
	sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, SQL_ANSWER_MAX);
	sqlite3_set_authorizer(handle, authorize, NULL);
	sqlite3_progress_handler(handle, INSTRUCTIONS_BETWEEN_LOOKS, is_late, NULL);
	strcpy(databases[index].name, work.sql);
	databases[index].handle = handle;
	return index + 1;
}

/* Gives the statement its values, from the next one on. */
static int bind(sqlite3_stmt *statement, unsigned long *next)
{
	int code = SQLITE_OK;
	for (int place = 1; place <= sqlite3_bind_parameter_count(statement) && code == SQLITE_OK; place++) {
		if (*next >= work.value_count) return SQLITE_DONE;
		const struct sql_value *value = &work.values[(*next)++];
		switch (value->type) {
		case SQL_INTEGER: code = sqlite3_bind_int64(statement, place, value->integer); break;
		case SQL_REAL: code = sqlite3_bind_double(statement, place, value->real); break;
		case SQL_TEXT: code = sqlite3_bind_text(statement, place, value->bytes, (int)value->length, NULL); break;
		case SQL_BLOB: code = sqlite3_bind_blob(statement, place, value->bytes, (int)value->length, NULL); break;
		default: code = sqlite3_bind_null(statement, place);
		}
	}
	return code;
}

/* One statement; what its rows are is told by a query only. */
static long step(sqlite3 *handle, sqlite3_stmt *statement, unsigned long *next)
{
	long rows = 0;
	int code = bind(statement, next);
	if (code == SQLITE_DONE) return failed(SQL_BAD, "there are fewer values than question marks");
	while (code == SQLITE_OK || code == SQLITE_ROW) {
		code = sqlite3_step(statement);
		if (code == SQLITE_ROW && work.kind == QUERY) put_row(statement, rows++ == 0);
	}
	return code == SQLITE_DONE ? rows : failed_sqlite(handle, code);
}

static long run_statements(sqlite3 *handle)
{
	unsigned long next = 0;
	long result = 0;
	int ran = 0;
	const char *rest = work.sql;
	while (result >= 0) {
		sqlite3_stmt *statement = NULL;
		int code = sqlite3_prepare_v2(handle, rest, -1, &statement, &rest);
		if (code != SQLITE_OK) return failed_sqlite(handle, code);
		if (!statement && *rest == 0) break;
		if (statement && work.kind == QUERY && (ran++ > 0 || !sqlite3_stmt_readonly(statement)))
			result = failed(SQL_WRITES, "a query is one statement, which reads");
		else if (statement) result = step(handle, statement, &next);
		sqlite3_finalize(statement);
	}
	return result;
}

static long query(sqlite3 *handle)
{
	put_text("[");
	long rows = run_statements(handle);
	if (rows >= 0) put_text("]");
	return work.answer_overflowed ? failed(SQL_TOO_LARGE, "the rows are too long") : rows;
}

static long exec(sqlite3 *handle)
{
	int code = run_own(handle, "BEGIN IMMEDIATE");
	if (code != SQLITE_OK) return failed_sqlite(handle, code);
	int before = sqlite3_total_changes(handle);
	long result = run_statements(handle);
	long changes = sqlite3_total_changes(handle) - before;
	if (result >= 0 && (code = run_own(handle, "COMMIT")) != SQLITE_OK) result = failed_sqlite(handle, code);
	if (result < 0) run_own(handle, "ROLLBACK");
	return result < 0 ? result : changes;
}

static long do_work(void)
{
	work.answer_length = 0;
	work.answer_overflowed = 0;
	if (work.kind == OPEN) return open_database();
	if (work.database < 1 || work.database > DATABASES_MAX || !databases[work.database - 1].handle)
		return failed(SQL_CLOSED, "no such database is open");
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += STATEMENT_SECONDS;
	sqlite3 *handle = databases[work.database - 1].handle;
	return work.kind == QUERY ? query(handle) : exec(handle);
}

static void *work_on(void *unused)
{
	(void)unused;
	for (;;) {
		wait_while(idle);
		work.result = do_work();
		become(idle);
	}
}

/* Calls. */

static long ask(void)
{
	become(asked);
	wait_while(asked);
	return work.result;
}

/* Copies the values and what they point to, for the thread may use them when this caller's memory is not there any more. */
static long copy_values(const struct sql_value *values, unsigned long count)
{
	unsigned long used = 0;
	if (count > SQL_VALUES_MAX) return SQL_BAD;
	if (pristine_is_remote(values, count * sizeof *values)) return SQL_DENIED;
	memcpy(work.values, values, count * sizeof *values);
	for (unsigned long index = 0; index < count; index++) {
		struct sql_value *value = &work.values[index];
		if (value->type != SQL_TEXT && value->type != SQL_BLOB) continue;
		if (value->length > SQL_VALUE_BYTES_MAX - used) return SQL_BAD;
		if (pristine_is_remote(value->bytes, value->length)) return SQL_DENIED;
		memcpy(work.bytes + used, value->bytes, value->length);
		value->bytes = work.bytes + used;
		used += value->length;
	}
	work.value_count = count;
	return 0;
}

static long run(enum kind kind, long database, const char *sql, unsigned long length, const struct sql_value *values, unsigned long count,
                struct sql_answer *answer)
{
	/* A call before may have been given up while the thread was at work for it. */
	wait_while(asked);
	if (length == 0 || length > SQL_STATEMENTS_MAX) return SQL_BAD;
	if (pristine_is_remote(sql, length) || pristine_is_remote(answer, sizeof *answer)) return SQL_DENIED;
	memcpy(work.sql, sql, length);
	work.sql[length] = 0;
	long copied = copy_values(values, count);
	if (copied < 0) return copied;
	work.kind = kind;
	work.database = database;
	long result = ask();
	char *text = pristine_caller_alloc(work.answer_length + 1);
	/* What is done is done; the caller just does not see the rows. */
	if (!text) return result < 0 || kind == EXEC ? result : SQL_TOO_LARGE;
	memcpy(text, work.answer, work.answer_length);
	text[work.answer_length] = 0;
	answer->text = text;
	answer->length = work.answer_length;
	return result;
}

static long call_open(const char *name, unsigned long length)
{
	wait_while(asked);
	if (length == 0 || length > NAME_MAX_BYTES) return SQL_BAD;
	if (pristine_is_remote(name, length)) return SQL_DENIED;
	memcpy(work.sql, name, length);
	work.sql[length] = 0;
	if (strspn(work.sql, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != length) return SQL_BAD;
	work.kind = OPEN;
	return ask();
}

static long call_exec(long database, const char *sql, unsigned long length, const struct sql_value *values, unsigned long count,
                      struct sql_answer *answer)
{
	return run(EXEC, database, sql, length, values, count, answer);
}

static long call_query(long database, const char *sql, unsigned long length, const struct sql_value *values, unsigned long count,
                       struct sql_answer *answer)
{
	return run(QUERY, database, sql, length, values, count, answer);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	/* The command line's --remote gives a program no arguments, but variables. */
	directory = argc > 1 ? argv[1] : getenv("SQL_DIRECTORY");
	if (!directory) {
		fprintf(stderr, "sqlite_remote: give a directory for the databases, or SQL_DIRECTORY\n");
		return 1;
	}
	if (pthread_create(&thread, NULL, work_on, NULL) != 0) return 1;
	pristine_export("open", (void *)call_open);
	pristine_export("exec", (void *)call_exec);
	pristine_export("query", (void *)call_query);
	pristine_ready();
	for (;;) pause();
}
