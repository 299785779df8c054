/* What callers and the SQLite remote say to each other. */
#ifndef SQL_H
#define SQL_H

#define SQL_STATEMENTS_MAX 65536UL
#define SQL_VALUES_MAX 64UL
#define SQL_VALUE_BYTES_MAX (1UL << 20)
#define SQL_ANSWER_MAX (4UL << 20)

enum sql_type { SQL_NULL, SQL_INTEGER, SQL_REAL, SQL_TEXT, SQL_BLOB };

/* A value for a `?` of the statements. */
struct sql_value {
	long type;
	union {
		long integer;
		double real;
		/* Text or a blob, in the caller's memory. */
		const void *bytes;
	};
	unsigned long length;
};

/* Rows as JSON, or what went wrong; memory that the remote gets of the caller's. */
struct sql_answer {
	char *text;
	unsigned long length;
};

enum {
	/* A name, a length or a number that is not allowed. */
	SQL_BAD = -1000,
	/* No such database is open. */
	SQL_CLOSED = -1001,
	/* Pointers into a remote. */
	SQL_DENIED = -1002,
	/* "query" reads only; what writes is for "exec". */
	SQL_WRITES = -1003,
	/* The answer is too long, or there is no memory for it. */
	SQL_TOO_LARGE = -1004,
};

/* "open": the number of a database, by its name of letters, digits, "-" and "_". The same name is the same number. */
typedef long sql_open_function(const char *name, unsigned long length);
/*
 * "exec": statements, all of them or none; how many rows have changed. When it returns they are on the disk.
 * "query": one statement that reads; how many rows it has found.
 * Each takes as many values as it has question marks. Negative: an error above, or SQLite's with a minus.
 */
typedef long sql_run_function(long database, const char *sql, unsigned long length, const struct sql_value *values, unsigned long count,
                              struct sql_answer *answer);

#endif
