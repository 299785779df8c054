/* Prints what calls came to, by the names of their errors: the same lines natively and in a machine. */
#pragma once
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HELPER static __attribute__((unused))

HELPER const char *name_of(int error)
{
#define NAMED(error) case error: return #error;
	switch (error) {
	NAMED(EPERM) NAMED(ENOENT) NAMED(EBADF) NAMED(EACCES) NAMED(EFAULT) NAMED(EBUSY) NAMED(EEXIST) NAMED(EXDEV)
	NAMED(ENOTDIR) NAMED(EISDIR) NAMED(EINVAL) NAMED(EMFILE) NAMED(ENOTTY) NAMED(EFBIG) NAMED(ENOSPC) NAMED(ESPIPE)
	NAMED(EROFS) NAMED(EMLINK) NAMED(ENAMETOOLONG) NAMED(ENOSYS) NAMED(ENOTEMPTY) NAMED(ELOOP) NAMED(EOPNOTSUPP)
	NAMED(ENXIO) NAMED(ENOMEM) NAMED(ENFILE) NAMED(ENODEV) NAMED(EINTR) NAMED(EAGAIN) NAMED(EPIPE) NAMED(EDOM)
	NAMED(ETOOMANYREFS) NAMED(ENOTSOCK) NAMED(EDESTADDRREQ) NAMED(EMSGSIZE) NAMED(EPROTOTYPE) NAMED(ENOPROTOOPT)
	NAMED(EPROTONOSUPPORT) NAMED(ESOCKTNOSUPPORT) NAMED(EAFNOSUPPORT) NAMED(EADDRINUSE) NAMED(EADDRNOTAVAIL)
	NAMED(ENETUNREACH) NAMED(ECONNABORTED) NAMED(ECONNRESET) NAMED(ENOBUFS) NAMED(EISCONN) NAMED(ENOTCONN)
	NAMED(ETIMEDOUT) NAMED(ECONNREFUSED) NAMED(EALREADY) NAMED(EINPROGRESS)
	default: return strerror(error);
	}
}

/* Prints a call's result, or the error's name. */
HELPER long show(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, name_of(errno));
	else
		printf("%s: %ld\n", what, result);
	return result;
}
#define SHOW(call) show(#call, (long)(call))

/* For descriptors, whose numbers are the caller's own affair. */
HELPER int opened(const char *what, int fd)
{
	if (fd < 0)
		printf("%s: %s\n", what, name_of(errno));
	else
		printf("%s: open\n", what);
	return fd;
}
#define OPENED(call) opened(#call, call)
