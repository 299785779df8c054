/* The part of `changes` that is about threads. */
#include <stdint.h>

long change_threads(uint64_t what, uint64_t value);
void prepare_threads(void);
