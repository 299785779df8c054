/*
 * What the store answers, and how large keys and values may be. The functions, as "get", "set", "add", "delete" and "count":
 *
 *     long get(const char *key, unsigned long key_length, void *value, unsigned long room);
 *     long set(const char *key, unsigned long key_length, const void *value, unsigned long length);
 *     long add(const char *key, unsigned long key_length, long amount);
 *     long delete(const char *key, unsigned long key_length);
 *     long count(void);
 *
 * Or text in a buffer that a caller lends to the store itself. A word ends at a space, a newline, a byte of 0 or the buffer's end,
 * so what is behind a newline is room for the answer, which is put into the buffer from its beginning. The reply is its length:
 *
 *     GET KEY          the value
 *     SET KEY VALUE    0; all of the buffer behind the space is the value
 *     ADD KEY AMOUNT   the sum, in a buffer of at least 18 bytes
 *     DELETE KEY       0
 *
 * or what is wrong: -ENOENT, -EINVAL, -ENOSPC and -EDOM for the errors below, in their order, -EINVAL for what is no such text, and
 * -EMSGSIZE for an answer that the buffer has no room for.
 */
#ifndef KV_H
#define KV_H

#define KV_KEY_MAX 256UL
#define KV_VALUE_MAX 65536UL

enum {
	/* There is no such key. */
	KV_MISSING = -1,
	/* A key of no bytes, or a key or value that is too long. */
	KV_BAD_LENGTH = -2,
	/* The store has no memory left. */
	KV_FULL = -3,
	/* kv_add: the value is not a number. */
	KV_NO_NUMBER = -4,
};

typedef long kv_get_function(const char *, unsigned long, void *, unsigned long);
typedef long kv_set_function(const char *, unsigned long, const void *, unsigned long);
typedef long kv_add_function(const char *, unsigned long, long);
typedef long kv_delete_function(const char *, unsigned long);
typedef long kv_count_function(void);

#endif
