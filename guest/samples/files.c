/*
 * Uses files as its arguments say, and prints what came of it, errors by name:
 * `read PATH…` (size and checksum), `write PATH TEXT`, `append PATH TEXT`, `list PATH`, `stat PATH…`, `remove PATH`, `map PATH`.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int complain(const char *path)
{
	printf("%s: %s\n", path, strerror(errno));
	return 1;
}

static uint32_t checksum(uint32_t hash, const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

static int read_file(const char *path)
{
	unsigned char buffer[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain(path);
	unsigned long total = 0;
	uint32_t hash = 2166136261u;
	ssize_t got;
	while ((got = read(fd, buffer, sizeof buffer)) > 0) {
		hash = checksum(hash, buffer, got);
		total += got;
	}
	if (got < 0)
		return complain(path);
	/* Once more from the middle, by another way. */
	ssize_t middle = pread(fd, buffer, 1, total / 2);
	printf("%s: %lu bytes, checksum %08x, middle %d\n", path, total, hash, middle == 1 ? buffer[0] : -1);
	close(fd);
	return 0;
}

static int write_file(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
	if (fd < 0)
		return complain(path);
	ssize_t put = write(fd, text, strlen(text));
	if (put < 0 || close(fd) != 0)
		return complain(path);
	printf("%s: wrote %zd bytes\n", path, put);
	return 0;
}

static int by_name(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

static int list(const char *path)
{
	DIR *directory = opendir(path);
	if (!directory)
		return complain(path);
	char *names[1024];
	size_t count = 0;
	for (struct dirent *entry; count < 1024 && (entry = readdir(directory));)
		names[count++] = strdup(entry->d_name);
	closedir(directory);
	qsort(names, count, sizeof *names, by_name);
	for (size_t i = 0; i < count; i++)
		puts(names[i]);
	return 0;
}

static int stat_file(const char *path)
{
	struct stat facts;
	if (lstat(path, &facts) != 0)
		return complain(path);
	const char *kind = S_ISREG(facts.st_mode) ? "file" : S_ISDIR(facts.st_mode) ? "directory" : S_ISLNK(facts.st_mode) ? "link" : "other";
	printf("%s: %s, mode %o, %lld bytes\n", path, kind, facts.st_mode & 07777, S_ISREG(facts.st_mode) ? (long long)facts.st_size : 0);
	return 0;
}

static int map_file(const char *path)
{
	struct stat facts;
	int fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &facts) != 0)
		return complain(path);
	unsigned char *memory = mmap(0, facts.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (memory == MAP_FAILED)
		return complain(path);
	close(fd);
	printf("%s: mapped %lld bytes, checksum %08x\n", path, (long long)facts.st_size, checksum(2166136261u, memory, facts.st_size));
	munmap(memory, facts.st_size);
	return 0;
}

int main(int argc, char **argv)
{
	const char *how = argc > 2 ? argv[1] : "";
	int failed = 0;
	if (strcmp(how, "write") == 0 && argc == 4)
		return write_file(argv[2], argv[3], O_TRUNC);
	if (strcmp(how, "append") == 0 && argc == 4)
		return write_file(argv[2], argv[3], O_APPEND);
	if (strcmp(how, "remove") == 0)
		return unlink(argv[2]) != 0 ? complain(argv[2]) : 0;
	for (int i = 2; i < argc; i++) {
		if (strcmp(how, "read") == 0)
			failed |= read_file(argv[i]);
		else if (strcmp(how, "list") == 0)
			failed |= list(argv[i]);
		else if (strcmp(how, "stat") == 0)
			failed |= stat_file(argv[i]);
		else if (strcmp(how, "map") == 0)
			failed |= map_file(argv[i]);
		else
			return 64;
	}
	return argc > 2 ? failed : 64;
}
