/* The few declarations of SQLite's interface that are needed here; its headers are not. */
#ifndef SQLITE_H
#define SQLITE_H

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef void sqlite3_destructor(void *);

#define SQLITE_OK 0
#define SQLITE_DENY 1
#define SQLITE_ROW 100
#define SQLITE_DONE 101
#define SQLITE_INTEGER 1
#define SQLITE_FLOAT 2
#define SQLITE_TEXT 3
#define SQLITE_BLOB 4
#define SQLITE_OPEN_READWRITE 2
#define SQLITE_OPEN_CREATE 4
#define SQLITE_OPEN_NOMUTEX 0x8000
#define SQLITE_PRAGMA 19
#define SQLITE_TRANSACTION 22
#define SQLITE_ATTACH 24
#define SQLITE_DETACH 25
#define SQLITE_SAVEPOINT 32
#define SQLITE_LIMIT_LENGTH 0
#define SQLITE_DBCONFIG_DEFENSIVE 1010

int sqlite3_open_v2(const char *, sqlite3 **, int, const char *);
int sqlite3_close(sqlite3 *);
int sqlite3_exec(sqlite3 *, const char *, int (*)(void *, int, char **, char **), void *, char **);
int sqlite3_prepare_v2(sqlite3 *, const char *, int, sqlite3_stmt **, const char **);
int sqlite3_bind_parameter_count(sqlite3_stmt *);
int sqlite3_bind_null(sqlite3_stmt *, int);
int sqlite3_bind_int64(sqlite3_stmt *, int, long long);
int sqlite3_bind_double(sqlite3_stmt *, int, double);
int sqlite3_bind_text(sqlite3_stmt *, int, const char *, int, sqlite3_destructor *);
int sqlite3_bind_blob(sqlite3_stmt *, int, const void *, int, sqlite3_destructor *);
int sqlite3_step(sqlite3_stmt *);
int sqlite3_finalize(sqlite3_stmt *);
int sqlite3_stmt_readonly(sqlite3_stmt *);
int sqlite3_column_count(sqlite3_stmt *);
const char *sqlite3_column_name(sqlite3_stmt *, int);
int sqlite3_column_type(sqlite3_stmt *, int);
long long sqlite3_column_int64(sqlite3_stmt *, int);
double sqlite3_column_double(sqlite3_stmt *, int);
const unsigned char *sqlite3_column_text(sqlite3_stmt *, int);
const void *sqlite3_column_blob(sqlite3_stmt *, int);
int sqlite3_column_bytes(sqlite3_stmt *, int);
const char *sqlite3_errmsg(sqlite3 *);
int sqlite3_total_changes(sqlite3 *);
int sqlite3_db_config(sqlite3 *, int, ...);
int sqlite3_limit(sqlite3 *, int, int);
int sqlite3_set_authorizer(sqlite3 *, int (*)(void *, int, const char *, const char *, const char *, const char *), void *);
void sqlite3_progress_handler(sqlite3 *, int, int (*)(void *), void *);

#endif
