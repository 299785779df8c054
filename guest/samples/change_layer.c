/*
 * What a request may do in a layer, for tests of resets: change, take away and uncover what the host has in the folder that
 * XDG_CACHE_HOME names (host-0 … host-4, folder/host-0 … folder/host-2, link), which stays as it is. The image has changes of
 * its own, and an open file and an open folder of the host's.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "change.h"

#define EXPORT __attribute__((used, noinline, visibility("default")))
enum { FILE_FD = 24, FOLDER_FD };

static const char *name_of(uint64_t value)
{
	static const char *const forms[] = { "%s/host-%d", "%s/folder/host-%d", "%s/made-%d", "%s/folder/made-%d" };
	static char names[2][512];
	static int turn;
	char *name = names[turn ^= 1];
	snprintf(name, sizeof names[0], forms[value % 4], getenv("XDG_CACHE_HOME"), (int)(value / 4 % 5));
	return name;
}

static const char *folder_name(void)
{
	static char name[512];
	snprintf(name, sizeof name, "%s/folder", getenv("XDG_CACHE_HOME"));
	return name;
}

static long write_to(const char *name, int flags, uint64_t value)
{
	char bytes[64];
	memset(bytes, (int)value | 1, sizeof bytes);
	int fd = open(name, flags, 0600);
	long result = write(fd, bytes, 1 + value % sizeof bytes);
	return close(fd) ?: result;
}

/* Takes a folder away with all that is in it, and makes an empty one in its place. */
static long renew_folder(void)
{
	char inner[600];
	DIR *directory = opendir(folder_name());
	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		snprintf(inner, sizeof inner, "%s/%s", folder_name(), entry->d_name);
		unlink(inner);
	}
	if (directory)
		closedir(directory);
	return rmdir(folder_name()) ?: mkdir(folder_name(), 0700);
}

long change_layer(uint64_t what, uint64_t value)
{
	char bytes[512];
	if (!getenv("XDG_CACHE_HOME"))
		return 0;
	switch (what % 12) {
	case 0: return write_to(name_of(value), O_RDWR, value);
	case 1: return write_to(name_of(value), O_RDWR | O_CREAT | (value & 64 ? O_TRUNC : O_APPEND), value);
	case 2: case 3: return unlink(name_of(value));
	case 4: return rename(name_of(value), name_of(value >> 8));
	case 5: return link(name_of(value), name_of(value >> 8));
	case 6: return chmod(name_of(value), (mode_t)(value >> 8 & 0777));
	case 7: return read(FILE_FD, bytes, 1 + value % 8);
	case 8: return syscall(SYS_getdents64, FOLDER_FD, bytes, 100 + value % 200);
	case 9: return value & 1 ? renew_folder() : rmdir(folder_name());
	case 10: return symlink("elsewhere", name_of(value));
	default: return close(FILE_FD + (int)(value & 1));
	}
}

/* All that can be seen of the layer and of what is open in it; it changes where that stands. */
EXPORT long layer_sum(void)
{
	char bytes[512];
	uint64_t hash = HASH_START;
	if (!getenv("XDG_CACHE_HOME"))
		return 0;
	hash = mix_folder(mix_folder(hash, getenv("XDG_CACHE_HOME"), true), folder_name(), true);
	long count = read(FILE_FD, bytes, 2);
	hash = mix(mix(hash, &count, sizeof count), bytes, count > 0 ? (size_t)count : 0);
	count = syscall(SYS_getdents64, FOLDER_FD, bytes, sizeof bytes);
	return (long)mix(mix(hash, &count, sizeof count), bytes, count > 0 ? (size_t)count : 0);
}

void prepare_layer(void)
{
	if (!getenv("XDG_CACHE_HOME"))
		return;
	write_to(name_of(4), O_RDWR, 40);
	unlink(name_of(8));
	write_to(name_of(2), O_RDWR | O_CREAT, 30);
	unlink(name_of(5));
	int file = open(name_of(0), O_RDONLY);
	int folder = open(folder_name(), O_RDONLY | O_DIRECTORY);
	char bytes[4];
	if (read(file, bytes, 3) != 3 || dup2(file, FILE_FD) < 0 || dup2(folder, FOLDER_FD) < 0)
		_exit(1);
	close(file);
	close(folder);
}
