/* The parts of `changes` that have files of their own: what a request may do, and what is there before. */
#include <stdint.h>

long change_threads(uint64_t what, uint64_t value);
void prepare_threads(void);
long change_sockets(uint64_t what, uint64_t value);
void prepare_sockets(void);
long change_layer(uint64_t what, uint64_t value);
void prepare_layer(void);
