/*
 * A key-value store as a remote: the memory that machines share which otherwise share nothing.
 *
 *     kv [MEBIBYTES]
 *
 * C programs call its functions, scripts send it text (kv.h has both).
 *
 * One thread serves all calls, so they come one at a time, and there is no lock. But one may be given up between any two instructions, because its caller ran out
 * of time or gave a pointer that leads nowhere; the function then does not go on. So whatever a caller gives is copied first, and
 * the table changes by single stores of pointers, each of which leaves it whole. The worst that remains is a block that is lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include "../../guest/pristine.h"
#include "kv.h"

#define BUCKETS (1UL << 16)
/* Blocks have sizes of powers of two; the largest holds an entry with the longest key and value. */
#define BLOCK_SHIFT_MIN 6
#define BLOCK_SHIFT_MAX 17
#define CHUNK_BYTES (1UL << 20)
#define CHUNKS_DEFAULT 64
/* Compilers keep the order of stores on both sides. */
#define STEP() __asm__ volatile("" ::: "memory")

struct entry {
	struct entry *next;
	unsigned int key_length;
	unsigned int value_length;
	/* The key, and behind it the value. */
	unsigned char bytes[];
};

struct block { struct block *next; };

static struct entry *buckets[BUCKETS];
static struct block *free_blocks[BLOCK_SHIFT_MAX + 1];
static unsigned char *chunk, *chunk_end;
/* The store says that it is full; beyond its machine's memory it would just end. */
static unsigned long chunks_left = CHUNKS_DEFAULT;
static unsigned long seed[2];
/* What callers give, copied. */
static unsigned char key[KV_KEY_MAX];
static unsigned char value[KV_VALUE_MAX];

static unsigned int shift_of(unsigned long bytes)
{
	unsigned int shift = BLOCK_SHIFT_MIN;
	while ((1UL << shift) < bytes) shift++;
	return shift;
}

static void *take(unsigned long bytes)
{
	unsigned int shift = shift_of(bytes);
	unsigned long size = 1UL << shift;
	struct block *block = free_blocks[shift];
	if (block) {
		free_blocks[shift] = block->next;
		return block;
	}
	if (!chunk || (unsigned long)(chunk_end - chunk) < size) {
		if (chunks_left == 0) return NULL;
		chunks_left--;
		unsigned char *more = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (more == MAP_FAILED) return NULL;
		chunk = NULL;
		STEP();
		chunk_end = more + CHUNK_BYTES;
		STEP();
		chunk = more;
	}
	unsigned char *taken = chunk;
	chunk = taken + size;
	STEP();
	return taken;
}

static void give_back(struct entry *entry)
{
	unsigned int shift = shift_of(sizeof *entry + entry->key_length + entry->value_length);
	struct block *block = (struct block *)entry;
	block->next = free_blocks[shift];
	STEP();
	free_blocks[shift] = block;
}

/* FNV-1a with a start that callers do not know: they cannot choose keys that all fall into one bucket. */
static unsigned long hash(unsigned long length)
{
	unsigned long sum = seed[0];
	for (unsigned long at = 0; at < length; at++) sum = (sum ^ key[at]) * 0x100000001b3UL;
	sum = (sum ^ sum >> 32) * (seed[1] | 1);
	return sum >> 48;
}

/*
 * Copies the caller's key. Lengths are the caller's word: each is compared before anything is read or written by it, for a range may
 * also begin in the caller's memory and end in a remote's.
 */
static int copy_key(const char *from, unsigned long length)
{
	if (length == 0 || length > KV_KEY_MAX || pristine_is_remote(from, length)) return 0;
	memcpy(key, from, length);
	return 1;
}

/* Where the pointer to the entry of the copied key is, or would be. */
static struct entry **place_of(unsigned long length)
{
	struct entry **place = &buckets[hash(length)];
	while (*place && ((*place)->key_length != length || memcmp((*place)->bytes, key, length) != 0)) place = &(*place)->next;
	return place;
}

/* Puts an entry with the copied key and value in the place of the one that is there. */
static long put(struct entry **place, unsigned long key_length, unsigned long length)
{
	struct entry *old = *place;
	struct entry *entry = take(sizeof *entry + key_length + length);
	if (!entry) return KV_FULL;
	entry->next = old ? old->next : NULL;
	entry->key_length = (unsigned int)key_length;
	entry->value_length = (unsigned int)length;
	memcpy(entry->bytes, key, key_length);
	memcpy(entry->bytes + key_length, value, length);
	STEP();
	*place = entry;
	STEP();
	if (old) give_back(old);
	return 0;
}

/* The length of the value, which is copied as far as there is room. */
static long get(const char *from, unsigned long key_length, void *out, unsigned long room)
{
	if (!copy_key(from, key_length)) return KV_BAD_LENGTH;
	struct entry *entry = *place_of(key_length);
	if (!entry) return KV_MISSING;
	unsigned long copied = entry->value_length < room ? entry->value_length : room;
	if (pristine_is_remote(out, copied)) return KV_BAD_LENGTH;
	memcpy(out, entry->bytes + key_length, copied);
	return entry->value_length;
}

static long set(const char *from, unsigned long key_length, const void *bytes, unsigned long length)
{
	if (length > KV_VALUE_MAX || pristine_is_remote(bytes, length) || !copy_key(from, key_length)) return KV_BAD_LENGTH;
	memcpy(value, bytes, length);
	return put(place_of(key_length), key_length, length);
}

/* Digits of the largest number. */
#define DIGITS_MAX 18

/* Writes a number of 0 or more; how many digits it has. */
static unsigned long write_number(unsigned char *to, unsigned long number)
{
	unsigned char digits[20];
	unsigned long length = 0;
	for (unsigned long rest = number; length == 0 || rest > 0; rest /= 10) digits[length++] = (unsigned char)('0' + rest % 10);
	for (unsigned long at = 0; at < length; at++) to[at] = digits[length - 1 - at];
	return length;
}

/* Adds to a number in decimal digits, which begins at 0. Nobody comes between reading and writing it. */
static long add(const char *from, unsigned long key_length, long amount)
{
	if (!copy_key(from, key_length)) return KV_BAD_LENGTH;
	struct entry **place = place_of(key_length);
	unsigned long number = 0;
	for (unsigned long at = 0; *place && at < (*place)->value_length; at++) {
		unsigned int digit = (*place)->bytes[key_length + at] - (unsigned int)'0';
		if (digit > 9 || at >= DIGITS_MAX) return KV_NO_NUMBER;
		number = number * 10 + digit;
	}
	long sum;
	if (__builtin_add_overflow((long)number, amount, &sum) || sum < 0 || sum >= 1000000000000000000) return KV_NO_NUMBER;
	long result = put(place, key_length, write_number(value, (unsigned long)sum));
	return result < 0 ? result : sum;
}

static long delete(const char *from, unsigned long key_length)
{
	if (!copy_key(from, key_length)) return KV_BAD_LENGTH;
	struct entry **place = place_of(key_length);
	struct entry *entry = *place;
	if (!entry) return KV_MISSING;
	*place = entry->next;
	STEP();
	give_back(entry);
	return 0;
}

/* Counted anew: a number beside the table could differ from it after a call that was given up. */
static long count(void)
{
	long total = 0;
	for (unsigned long index = 0; index < BUCKETS; index++)
		for (struct entry *entry = buckets[index]; entry; entry = entry->next) total++;
	return total;
}

static long error_of(long result)
{
	switch (result) {
	case KV_MISSING: return -ENOENT;
	case KV_BAD_LENGTH: return -EINVAL;
	case KV_FULL: return -ENOSPC;
	default: return -EDOM;
	}
}

/* Words of a request: what the caller has lent, as far as it has been read. */
struct words { const char *at, *end; };

/* The next word, and one space or newline behind it; its length, 0 if there is none. */
static unsigned long next_word(struct words *words, const char **word)
{
	const char *at = words->at;
	while (at < words->end && *at != ' ' && *at != '\n' && *at != 0) at++;
	*word = words->at;
	words->at = at < words->end ? at + 1 : at;
	return (unsigned long)(at - *word);
}

static int is(const char *word, unsigned long length, const char *name)
{
	return length == strlen(name) && memcmp(word, name, length) == 0;
}

/* A whole number with at most so many digits that it cannot overflow; 0 if it is none. */
static int number_of(const char *word, unsigned long length, long *number)
{
	int negative = length > 0 && *word == '-';
	unsigned long at = (unsigned long)negative;
	if (length == at || length - at > DIGITS_MAX) return 0;
	long sum = 0;
	for (; at < length; at++) {
		if (word[at] < '0' || word[at] > '9') return 0;
		sum = sum * 10 + (word[at] - '0');
	}
	*number = negative ? -sum : sum;
	return 1;
}

/* Does what the text in a caller's buffer says. The answer takes the place of the text: its length, or -errno. */
static long serve(char *buffer, unsigned long length)
{
	struct words words = { buffer, buffer + length };
	const char *command, *name, *amount_word;
	unsigned long command_length = next_word(&words, &command);
	unsigned long name_length = next_word(&words, &name);
	long result;
	if (is(command, command_length, "GET")) {
		result = get(name, name_length, buffer, length);
		/* More than there is room for. */
		if (result > (long)length) return -EMSGSIZE;
	} else if (is(command, command_length, "SET")) {
		result = set(name, name_length, words.at, (unsigned long)(words.end - words.at));
	} else if (is(command, command_length, "ADD")) {
		long amount;
		unsigned long amount_length = next_word(&words, &amount_word);
		if (!number_of(amount_word, amount_length, &amount)) return -EINVAL;
		/* Nothing is added that could not be told. */
		if (length < DIGITS_MAX) return -EMSGSIZE;
		result = add(name, name_length, amount);
		if (result >= 0) result = (long)write_number((unsigned char *)buffer, (unsigned long)result);
	} else if (is(command, command_length, "DELETE")) {
		result = delete(name, name_length);
	} else {
		return -EINVAL;
	}
	return result < 0 ? error_of(result) : result;
}

int main(int argc, char **argv)
{
	if (argc > 1) chunks_left = strtoul(argv[1], NULL, 10);
	if (getrandom(seed, sizeof seed, 0) != sizeof seed) return 1;
	pristine_export("get", (void *)get);
	pristine_export("set", (void *)set);
	pristine_export("add", (void *)add);
	pristine_export("delete", (void *)delete);
	pristine_export("count", (void *)count);
	/* The point to freeze. The thread that waits here also serves calls of the functions. */
	void *buffer;
	unsigned long length;
	while (pristine_wait(&buffer, &length) >= 0) pristine_reply(serve(buffer, length));
	return 1;
}
