/* Sockets and the network of the host. */
#include "sockets.h"

int on_host(int count, char **args)
{
	(void)count;
	(void)args;
	return 0;
}
