/* A caller of the limiter: what a request asks before it does any work. */
#include <string.h>
#include <unistd.h>
#include "../../guest/pristine.h"

static long (*take)(const char *, unsigned long);
/* What this machine remembers of it: nothing, for it is reset behind each request. */
static long asked;

/* 0, or after how many nanoseconds to ask again. */
long client_take(const char *who)
{
	asked++;
	return take(who, strlen(who));
}

long client_asked(void)
{
	return asked;
}

long client_take_bytes(unsigned long address, unsigned long length)
{
	return take((const char *)address, length);
}

int main(void)
{
	take = (long (*)(const char *, unsigned long))pristine_import("limiter:take");
	if (!take) return 1;
	pristine_ready();
	for (;;) pause();
}
