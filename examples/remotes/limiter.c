/*
 * A rate limiter as a remote: callers are forks that forget everything, and ask it before they do any work.
 *
 *     limiter BURST PER_SECOND [KEYS]
 *
 * Each key may be taken BURST times at once and then PER_SECOND times a second: a token bucket, kept as the one time at which it
 * will be full again (GCRA). One store changes it, so that a call which is given up in the middle leaves nothing half done. What
 * the limits are is the remote's own: a caller can ask, and not change them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include "../../guest/pristine.h"

#define SECOND 1000000000UL
#define KEY_MAX 256UL
/* A key is looked for in so many places. */
#define PLACES 8UL
#define KEYS_DEFAULT 65536UL
#define KEYS_MAX (1UL << 24)

/* A key's hash, and when its bucket will be full again: from then on the place is free. */
struct bucket { unsigned long key, full_at; };

static struct bucket *buckets;
static unsigned long sets;
static unsigned long token_ns, burst_ns;
static unsigned long seed[2];

static unsigned long now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long)now.tv_sec * SECOND + (unsigned long)now.tv_nsec;
}

static unsigned long rotate(unsigned long value, int bits)
{
	return value << bits | value >> (64 - bits);
}

static void mix(unsigned long *v)
{
	v[0] += v[1]; v[1] = rotate(v[1], 13) ^ v[0]; v[0] = rotate(v[0], 32);
	v[2] += v[3]; v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3]; v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1]; v[1] = rotate(v[1], 17) ^ v[2]; v[2] = rotate(v[2], 32);
}

/* SipHash-2-4 with a secret of this remote's: nobody can make two keys that are taken for one. */
static unsigned long hash(const unsigned char *key, unsigned long length)
{
	unsigned long v[4] = { seed[0] ^ 0x736f6d6570736575UL, seed[1] ^ 0x646f72616e646f6dUL, seed[0] ^ 0x6c7967656e657261UL, seed[1] ^ 0x7465646279746573UL };
	for (unsigned long at = 0; at <= length; at += 8) {
		unsigned long left = length - at, word = 0;
		memcpy(&word, key + at, left < 8 ? left : 8);
		if (left < 8) word |= length << 56;
		v[3] ^= word;
		mix(v), mix(v);
		v[0] ^= word;
	}
	v[2] ^= 0xff;
	for (int round = 0; round < 4; round++) mix(v);
	unsigned long result = v[0] ^ v[1] ^ v[2] ^ v[3];
	return result ? result : 1;
}

/* The bucket of a key, or a full one, which is nobody's any more; else null, and when the first will be full. */
static struct bucket *find(unsigned long key, unsigned long now, unsigned long *free_at)
{
	struct bucket *set = &buckets[key % sets * PLACES], *best = set;
	for (unsigned long index = 0; index < PLACES; index++) {
		if (set[index].key == key) return &set[index];
		if (set[index].full_at < best->full_at) best = &set[index];
	}
	if (best->full_at > now) {
		*free_at = best->full_at;
		return NULL;
	}
	best->full_at = 0;
	__asm__ volatile("" ::: "memory");
	best->key = key;
	return best;
}

/*
 * Takes a token: 0, or after how many nanoseconds to ask again, or -1 for a key of no or too many bytes. When more keys are in use
 * than there is room for, those that come last are told to wait: a flood of keys opens no gate.
 */
static long take(const char *from, unsigned long length)
{
	unsigned char key[KEY_MAX];
	/* The length is the caller's word: a range may begin in its memory and end in a remote's. */
	if (length == 0 || length > KEY_MAX || pristine_is_remote(from, length)) return -1;
	memcpy(key, from, length);
	unsigned long now = now_ns(), free_at = 0;
	struct bucket *bucket = find(hash(key, length), now, &free_at);
	if (!bucket) return (long)(free_at - now);
	unsigned long full_at = bucket->full_at > now ? bucket->full_at : now;
	if (full_at + token_ns > now + burst_ns) return (long)(full_at + token_ns - now - burst_ns);
	bucket->full_at = full_at + token_ns;
	return 0;
}

int main(int argc, char **argv)
{
	/* The command line's --remote gives a program no arguments. */
	double burst = argc > 1 ? atof(argv[1]) : 10, rate = argc > 2 ? atof(argv[2]) : 10;
	unsigned long keys = argc > 3 ? strtoul(argv[3], NULL, 10) : KEYS_DEFAULT;
	if (!(burst >= 1) || !(rate > 0) || !(burst / rate < 1e6) || keys < PLACES || keys > KEYS_MAX) {
		fprintf(stderr, "limiter: give a burst of at least 1, a rate above 0, and from %lu keys to %lu\n", PLACES, KEYS_MAX);
		return 1;
	}
	token_ns = (unsigned long)((double)SECOND / rate);
	burst_ns = (unsigned long)((double)token_ns * burst);
	sets = keys / PLACES;
	buckets = calloc(sets * PLACES, sizeof *buckets);
	if (!buckets || getrandom(seed, sizeof seed, 0) != sizeof seed) return 1;
	pristine_export("take", (void *)take);
	pristine_ready();
	for (;;) pause();
}
