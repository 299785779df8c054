/* The parts of `changes` that have files of their own: what a request may do, and what is there before. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sums of what can be seen are FNV-1a hashes, of 64 bits (changes.c). */
#define HASH_START 14695981039346656037ul
uint64_t mix(uint64_t hash, const void *bytes, size_t length);
/* A folder's names, and the facts and bytes of its files. On the host, reading a file changes its access time: those are left out. */
uint64_t mix_folder(uint64_t hash, const char *path, bool on_host);

long change_threads(uint64_t what, uint64_t value);
void prepare_threads(void);
long change_sockets(uint64_t what, uint64_t value);
void prepare_sockets(void);
long change_layer(uint64_t what, uint64_t value);
void prepare_layer(void);
