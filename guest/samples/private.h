/* What the parts of the sample `private` share: printing what a call came to, and small files. */
#pragma once
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pristine.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "shown.h"

#define TMPFS_MAGIC 0x01021994

/* The folder that the program was given. */
extern const char *base;

/* What is the same on any file system in memory (private_tree.c). */
void files(void);
void holes(void);
void names(void);
void links(void);
void open_files(void);
void facts(void);
void listing(void);
void transfers(void);

HELPER void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		printf("put %s: %s\n", path, name_of(errno));
	close(fd);
}

HELPER void get(const char *path)
{
	char bytes[256];
	int fd = open(path, O_RDONLY);
	ssize_t count = fd < 0 ? -1 : read(fd, bytes, sizeof bytes - 1);
	if (count < 0)
		printf("%s: %s\n", path, name_of(errno));
	else
		bytes[count] = 0, printf("%s: \"%s\"\n", path, bytes);
	if (fd >= 0)
		close(fd);
}

HELPER void examine(const char *path)
{
	struct stat facts;
	if (lstat(path, &facts)) {
		printf("lstat %s: %s\n", path, name_of(errno));
		return;
	}
	long size = S_ISDIR(facts.st_mode) ? 0 : (long)facts.st_size;
	printf("lstat %s: mode %o links %ld size %ld own %d blocks %ld\n", path, facts.st_mode, (long)facts.st_nlink, size,
	       facts.st_uid == getuid(), S_ISREG(facts.st_mode) ? (long)facts.st_blocks : 0);
}

HELPER int by_name(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

HELPER void list(const char *path)
{
	DIR *directory = opendir(path);
	if (!directory) {
		printf("list %s: %s\n", path, name_of(errno));
		return;
	}
	char *names[512];
	size_t count = 0;
	for (struct dirent *entry; count < 512 && (entry = readdir(directory));) {
		names[count] = malloc(strlen(entry->d_name) + 8);
		sprintf(names[count++], "%s %d", entry->d_name, entry->d_type);
	}
	closedir(directory);
	qsort(names, count, sizeof *names, by_name);
	printf("list %s:", path);
	for (size_t i = 0; i < count; i++)
		printf(" [%s]", names[i]), free(names[i]);
	putchar('\n');
}
