/*
 * Exercises a directory that may be written to and prints what came of it: the same in a machine's private /tmp as on
 * Linux's own tmpfs. The first argument says what, the second where:
 * `all DIR` (everything that is the same on both), `modes DIR` (what permission bits forbid), `fill DIR` (until there is
 * no room), `mapped DIR` (through mappings, and for requests later), `many DIR` (until no more files can be made), `overlay DIR SHOWN HIDDEN` (beside what the host has there), `list DIR`.
 */
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

#define TMPFS_MAGIC 0x01021994

static const char *base;

static const char *name_of(int error)
{
#define NAMED(error) case error: return #error;
	switch (error) {
	NAMED(EPERM) NAMED(ENOENT) NAMED(EBADF) NAMED(EACCES) NAMED(EFAULT) NAMED(EBUSY) NAMED(EEXIST)
	NAMED(EXDEV) NAMED(ENOTDIR) NAMED(EISDIR) NAMED(EINVAL) NAMED(EMFILE) NAMED(ENOTTY) NAMED(EFBIG)
	NAMED(ENOSPC) NAMED(ESPIPE) NAMED(EROFS) NAMED(EMLINK) NAMED(ENAMETOOLONG) NAMED(ENOSYS) NAMED(ENOTEMPTY)
	NAMED(ELOOP) NAMED(EOPNOTSUPP) NAMED(ENXIO) NAMED(ENOMEM) NAMED(ENFILE) NAMED(ENODEV)
	default: return strerror(error);
	}
}

/* Prints a call's result, or the error's name. */
static long show(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, name_of(errno));
	else
		printf("%s: %ld\n", what, result);
	return result;
}
#define SHOW(call) show(#call, (long)(call))
/* For descriptors, whose numbers are the caller's own affair. */
static int opened(const char *what, int fd)
{
	if (fd < 0)
		printf("%s: %s\n", what, name_of(errno));
	else
		printf("%s: open\n", what);
	return fd;
}
#define OPENED(call) opened(#call, call)

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		printf("put %s: %s\n", path, name_of(errno));
	close(fd);
}

static void get(const char *path)
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

static void examine(const char *path)
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

static int by_name(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

static void list(const char *path)
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

static void files(void)
{
	char bytes[64] = { 0 };
	int fd = OPENED(open("a", O_RDWR | O_CREAT | O_EXCL, 0644));
	OPENED(open("a", O_RDWR | O_CREAT | O_EXCL, 0644));
	OPENED(open("none", O_RDWR));
	OPENED(open("a", O_RDONLY | O_DIRECTORY));
	OPENED(open("a/b", O_RDWR | O_CREAT, 0644));
	SHOW(read(fd, bytes, 10));
	SHOW(write(fd, "hello, world", 12));
	SHOW(lseek(fd, 7, SEEK_SET));
	SHOW(read(fd, bytes, 64));
	puts(bytes);
	SHOW(pwrite(fd, "H", 1, 0));
	SHOW(pread(fd, bytes, 64, 0));
	puts(bytes);
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(lseek(fd, -2, SEEK_END));
	SHOW(lseek(fd, -20, SEEK_END));
	SHOW(write(fd, 0, 0));
	struct iovec parts[2] = { { "one", 3 }, { "two", 3 } };
	SHOW(writev(fd, parts, 2));
	get("a");
	examine("a");
	int other = OPENED(open("a", O_WRONLY | O_APPEND));
	SHOW(write(other, "!", 1));
	SHOW(pwrite(other, "?", 1, 0));
	SHOW(read(other, bytes, 1));
	get("a");
	SHOW(ftruncate(fd, 5));
	get("a");
	SHOW(ftruncate(fd, -1));
	SHOW(truncate("a", 8));
	SHOW(truncate("none", 8));
	SHOW(truncate(".", 8));
	SHOW(read(fd, bytes, 1));
	examine("a");
	int waiting = -1;
	SHOW(lseek(fd, 3, SEEK_SET));
	SHOW(ioctl(fd, FIONREAD, &waiting));
	printf("waiting %d\n", waiting);
	SHOW(fsync(fd));
	close(other);
	other = OPENED(open("a", O_RDONLY | O_TRUNC));
	examine("a");
	SHOW(write(other, "x", 1));
	close(other);
	close(fd);
	SHOW(close(fd));
}

static void holes(void)
{
	int fd = OPENED(open("sparse", O_RDWR | O_CREAT, 0600));
	SHOW(lseek(fd, 0, SEEK_DATA));
	SHOW(ftruncate(fd, 1 << 20));
	examine("sparse");
	SHOW(lseek(fd, 0, SEEK_DATA));
	SHOW(lseek(fd, 0, SEEK_HOLE));
	SHOW(pwrite(fd, "x", 1, 300000));
	SHOW(lseek(fd, 0, SEEK_DATA));
	SHOW(lseek(fd, 299008, SEEK_HOLE));
	SHOW(lseek(fd, 1 << 20, SEEK_HOLE));
	SHOW(lseek(fd, 0, 9));
	examine("sparse");
	SHOW(fallocate(fd, 0, 0, 8192));
	SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 299008, 4096));
	SHOW(fallocate(fd, 0, (1 << 20) - 10, 20));
	SHOW(fallocate(fd, 0, 0, 0));
	SHOW(fallocate(fd, 0, -1, 10));
	examine("sparse");
	char byte = 9;
	SHOW(pread(fd, &byte, 1, 300000));
	printf("punched %d\n", byte);
	close(fd);
	fd = OPENED(open("sparse", O_RDONLY));
	SHOW(ftruncate(fd, 0));
	SHOW(fallocate(fd, 0, 0, 1));
	close(fd);
	SHOW(unlink("sparse"));
}

static void names(void)
{
	put("one", "first");
	SHOW(link("one", "two"));
	SHOW(link("one", "two"));
	SHOW(link("none", "three"));
	SHOW(link(".", "three"));
	examine("one");
	put("two", "changed");
	get("one");
	SHOW(unlink("one"));
	SHOW(unlink("one"));
	examine("two");
	SHOW(mkdir("folder", 0755));
	SHOW(mkdir("folder", 0755));
	SHOW(mkdir("none/folder", 0755));
	SHOW(mkdir("two/folder", 0755));
	SHOW(mkdir("folder/inner", 0777));
	SHOW(mkdir("slashes//", 0700));
	examine("folder");
	examine("folder/inner");
	SHOW(rmdir("folder"));
	SHOW(rmdir("two"));
	SHOW(unlink("folder"));
	SHOW(rename("two", "folder"));
	SHOW(rename("folder", "two"));
	SHOW(rename("folder", "folder/inner/below"));
	SHOW(rename("folder/inner", "folder"));
	SHOW(rename("two", "folder/inner/two"));
	get("folder/inner/two");
	SHOW(rename("folder/inner", "moved"));
	get("moved/../moved/two");
	examine("folder");
	put("x", "x");
	put("y", "y");
	SHOW(rename("x", "y"));
	get("y");
	SHOW(rename("x", "z"));
	SHOW(rename("y", "y"));
	SHOW(rename("folder", "slashes"));
	SHOW(rename("moved", "slashes"));
	SHOW(rename("slashes", "moved"));
	put("slashes/full", "");
	SHOW(rename("slashes", "moved"));
	SHOW(rename("y", "other/"));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "y", AT_FDCWD, "moved", 1));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "y", AT_FDCWD, "moved", 2));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "y", AT_FDCWD, "none", 2));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "y", AT_FDCWD, "none", 3));
	examine("y");
	get("moved");
	examine(".");
	char cwd[4096];
	SHOW(chdir("y"));
	printf("in %s\n", getcwd(cwd, sizeof cwd) + strlen(base));
	get("two");
	SHOW(chdir(".."));
	SHOW(chdir("moved"));
	SHOW(chdir("none"));
	list(".");
	char name[300];
	memset(name, 'n', 256), name[256] = 0;
	SHOW(mkdir(name, 0700));
	name[255] = 0;
	SHOW(mkdir(name, 0700));
	SHOW(rmdir(name));
}

static void links(void)
{
	char bytes[64] = { 0 };
	put("target", "behind a link");
	SHOW(symlink("target", "link"));
	SHOW(symlink("target", "link"));
	SHOW(symlink("", "empty"));
	get("link");
	examine("link");
	SHOW(readlink("link", bytes, 3));
	puts(bytes);
	SHOW(readlink("target", bytes, 3));
	OPENED(open("link", O_RDONLY | O_NOFOLLOW));
	OPENED(open("link", O_RDONLY | O_CREAT | O_EXCL, 0600));
	SHOW(symlink("made by a link", "dangling"));
	get("dangling");
	put("dangling", "made");
	get("made by a link");
	SHOW(symlink("loop", "loop"));
	get("loop");
	SHOW(symlink("/dev/null", "away"));
	get("away");
	SHOW(mkdir("room", 0755));
	SHOW(symlink("../target", "room/up"));
	get("room/up");
	SHOW(symlink("room", "door"));
	get("door/up");
	get("door/../target");
	examine("door/");
	examine("target/");
	SHOW(unlink("door/"));
	SHOW(rmdir("door/"));
	SHOW(rename("door/", "window"));
	SHOW(mkdir("door/", 0700));
	examine("door");
	SHOW(linkat(AT_FDCWD, "link", AT_FDCWD, "of the link", 0));
	SHOW(linkat(AT_FDCWD, "link", AT_FDCWD, "of the target", AT_SYMLINK_FOLLOW));
	examine("of the link");
	examine("of the target");
	SHOW(rename("link", "renamed link"));
	get("renamed link");
	SHOW(chmod("renamed link", 0600));
	examine("target");
}

static void open_files(void)
{
	char bytes[64] = { 0 };
	int fd = OPENED(open("gone", O_RDWR | O_CREAT, 0600));
	SHOW(write(fd, "still here", 10));
	SHOW(unlink("gone"));
	get("gone");
	SHOW(pread(fd, bytes, 64, 0));
	puts(bytes);
	struct stat facts;
	SHOW(fstat(fd, &facts));
	printf("links %ld size %ld\n", (long)facts.st_nlink, (long)facts.st_size);
	put("gone", "another");
	SHOW(pread(fd, bytes, 64, 0));
	int copy = dup(fd);
	close(fd);
	SHOW(pread(copy, bytes, 64, 0));
	close(copy);
	fd = OPENED(open(".", O_RDWR | O_TMPFILE, 0600));
	SHOW(write(fd, "nameless", 8));
	SHOW(fstat(fd, &facts));
	printf("mode %o links %ld\n", facts.st_mode, (long)facts.st_nlink);
	close(fd);
	OPENED(open(".", O_RDONLY | O_TMPFILE, 0600));
	OPENED(open("gone", O_RDWR | O_TMPFILE, 0600));
	OPENED(open(".", O_RDWR));
	OPENED(open("new/", O_RDWR | O_CREAT, 0600));
	fd = OPENED(open(".", O_RDONLY | O_DIRECTORY));
	SHOW(read(fd, bytes, 1));
	int inside = OPENED(openat(fd, "gone", O_RDONLY));
	close(inside);
	SHOW(mkdirat(fd, "short-lived", 0700));
	inside = OPENED(openat(fd, "short-lived", O_RDONLY | O_DIRECTORY));
	SHOW(unlinkat(fd, "short-lived", 0));
	SHOW(unlinkat(fd, "short-lived", AT_REMOVEDIR));
	OPENED(openat(inside, "x", O_WRONLY | O_CREAT, 0600));
	close(inside);
	close(fd);
	int made = 0;
	for (int i = 0; i < 20; i++) {
		char name[] = "temporary-XXXXXX";
		int one = mkstemp(name);
		if (one < 0)
			continue;
		made += write(one, name, strlen(name)) == (ssize_t)strlen(name) && fstat(one, &facts) == 0 && (facts.st_mode & 0777) == 0600 && unlink(name) == 0;
		close(one);
	}
	printf("%d temporary files\n", made);
}

static void facts(void)
{
	mode_t old = umask(027);
	int fd = OPENED(open("masked", O_RDWR | O_CREAT, 0666));
	SHOW(mkdir("masked folder", 0777));
	umask(old);
	examine("masked");
	examine("masked folder");
	SHOW(fchmod(fd, 0640));
	SHOW(chmod("masked", 04711));
	SHOW(chmod("none", 0700));
	examine("masked");
	struct timespec times[2] = { { .tv_sec = 1000000, .tv_nsec = 5 }, { .tv_sec = 2000000, .tv_nsec = UTIME_OMIT } };
	struct stat before, now;
	stat("masked", &before);
	SHOW(futimens(fd, times));
	stat("masked", &now);
	printf("accessed %ld.%ld, modified stays %d\n", (long)now.st_atim.tv_sec, now.st_atim.tv_nsec, now.st_mtim.tv_sec == before.st_mtim.tv_sec);
	times[1].tv_nsec = 7;
	SHOW(utimensat(AT_FDCWD, "masked", times, 0));
	stat("masked", &now);
	printf("modified %ld.%ld\n", (long)now.st_mtim.tv_sec, now.st_mtim.tv_nsec);
	times[1].tv_nsec = 1000000000;
	SHOW(utimensat(AT_FDCWD, "masked", times, 0));
	SHOW(write(fd, "x", 1));
	stat("masked", &now);
	printf("modified by writing %d\n", now.st_mtim.tv_sec > 1500000000);
	SHOW(access("masked", F_OK));
	SHOW(access("masked", R_OK | W_OK));
	SHOW(access("none", F_OK));
	struct statfs system;
	SHOW(statfs(".", &system));
	printf("tmpfs %d\n", system.f_type == TMPFS_MAGIC);
	SHOW(fstatfs(fd, &system));
	struct statx extended;
	SHOW(syscall(SYS_statx, AT_FDCWD, "masked", 0, 0x7ff, &extended));
	printf("statx mode %o size %llu\n", extended.stx_mode, (unsigned long long)extended.stx_size);
	SHOW(flock(fd, 2));
	close(fd);
}

/* Entries may come and go while a folder is read: what stays is seen exactly once. */
static void listing(void)
{
	char name[64];
	SHOW(mkdir("listing", 0700));
	for (int i = 0; i < 300; i++)
		sprintf(name, "listing/%03d", i), put(name, "");
	int fd = open("listing", O_RDONLY | O_DIRECTORY);
	char buffer[1024];
	int seen[300] = { 0 };
	int rounds = 0;
	long count;
	while ((count = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
		for (long at = 0; at < count;) {
			struct dirent *entry = (struct dirent *)(buffer + at);
			if (entry->d_name[0] != '.')
				seen[atoi(entry->d_name)]++;
			at += entry->d_reclen;
		}
		sprintf(name, "listing/%03d", rounds++);
		unlink(name);
	}
	int wrong = 0;
	for (int i = rounds; i < 300; i++)
		wrong += seen[i] != 1;
	printf("wrong in a listing: %d\n", wrong);
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(syscall(SYS_getdents64, fd, buffer, 10));
	for (int i = 0; i < 300; i++)
		sprintf(name, "listing/%03d", i), unlink(name);
	count = 0;
	lseek(fd, 0, SEEK_SET);
	for (long got; (got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0;)
		for (long at = 0; at < got; at += ((struct dirent *)(buffer + at))->d_reclen)
			count++;
	printf("left in the folder: %ld\n", count);
	close(fd);
	SHOW(rmdir("listing"));
}

static void transfers(void)
{
	char bytes[64] = { 0 };
	put("source", "to be sent");
	int from = open("source", O_RDONLY), to = open("sink", O_RDWR | O_CREAT | O_TRUNC, 0600);
	SHOW(sendfile(to, from, 0, 100));
	off_t offset = 6;
	SHOW(sendfile(to, from, &offset, 4));
	printf("offset %ld\n", (long)offset);
	get("sink");
	int ends[2];
	SHOW(pipe(ends));
	offset = 0;
	SHOW(sendfile(ends[1], from, &offset, 5));
	SHOW(read(ends[0], bytes, 64));
	puts(bytes);
	close(ends[0]);
	close(ends[1]);
	char *memory = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, to, 0);
	printf("mapped \"%.10s\" and %d behind\n", memory, memory[100]);
	memory[0] = 'T';
	munmap(memory, 4096);
	get("sink");
	close(from);
	close(to);
	/* More than a buffer's worth, in and out. */
	static unsigned char big[300000], back[300000];
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (unsigned char)(i * 7 + i / 251);
	to = open("big", O_RDWR | O_CREAT, 0600);
	SHOW(write(to, big, sizeof big));
	SHOW(pread(to, back, sizeof back, 0));
	printf("the same %d\n", !memcmp(big, back, sizeof big));
	close(to);
	examine("big");
}

static void clear(const char *path)
{
	DIR *directory = opendir(path);
	if (!directory)
		return;
	char inner[4096];
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
		if (entry->d_type == DT_DIR)
			clear(inner), rmdir(inner);
		else
			unlink(inner);
	}
	closedir(directory);
}

static void modes(void)
{
	put("secret", "secret");
	SHOW(chmod("secret", 0));
	OPENED(open("secret", O_RDONLY));
	SHOW(access("secret", R_OK));
	SHOW(truncate("secret", 0));
	SHOW(chmod("secret", 0400));
	get("secret");
	OPENED(open("secret", O_WRONLY));
	OPENED(open("secret", O_RDONLY | O_TRUNC));
	SHOW(mkdir("closed", 0500));
	SHOW(mkdir("closed/inner", 0700));
	OPENED(open("closed/file", O_WRONLY | O_CREAT, 0600));
	SHOW(rename("secret", "closed/secret"));
	SHOW(chmod("closed", 0200));
	get("closed/none");
	list("closed");
	SHOW(chdir("closed"));
	SHOW(rename(".", "elsewhere") && errno == EBUSY);
	SHOW(rmdir(base) && errno == EBUSY);
	SHOW(unlink(base) && (errno == EBUSY || errno == EISDIR));
	SHOW(chmod("closed", 0700));
	SHOW(unlink("secret"));
	SHOW(rmdir("closed"));
}

static void fill(void)
{
	static char block[65536];
	memset(block, 'f', sizeof block);
	int fd = open("full", O_RDWR | O_CREAT, 0600);
	long total = 0;
	ssize_t put;
	while ((put = write(fd, block, sizeof block)) > 0)
		total += put;
	printf("%ld bytes, then %s\n", total, name_of(errno));
	SHOW(ftruncate(fd, total + 1));
	SHOW(fallocate(fd, 0, total, 1));
	SHOW(pwrite(fd, "x", 1, total - 1));
	struct statfs system;
	statfs(".", &system);
	printf("free %ld\n", (long)system.f_bfree);
	SHOW(ftruncate(fd, total - 8192));
	SHOW(pwrite(fd, block, sizeof block, total - 8192));
	SHOW(unlink("full"));
	statfs(".", &system);
	printf("free while open %ld\n", (long)system.f_bfree);
	close(fd);
	statfs(".", &system);
	printf("free %ld\n", (long)system.f_bfree * system.f_bsize);
}

static void many(void)
{
	char name[64];
	int made = 0, written = 0;
	for (;; made++) {
		sprintf(name, "many-%d", made);
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
		if (fd < 0)
			break;
		if (write(fd, "x", 1) == 1)
			written++;
		close(fd);
	}
	printf("%d files, %d with content, then %s\n", made, written, name_of(errno));
	SHOW(mkdir("folder", 0700));
	SHOW(symlink("x", "link"));
	for (int i = 0; i < made; i++)
		sprintf(name, "many-%d", i), unlink(name);
	SHOW(mkdir("folder", 0700));
	SHOW(rmdir("folder"));
}

/* The host shows a folder with a file by the first name, and hides one by the second. */
static void overlay(const char *shown, const char *hidden)
{
	char file[256], other[256];
	snprintf(file, sizeof file, "%s/file", shown);
	snprintf(other, sizeof other, "%s/new", shown);
	list(".");
	get(file);
	OPENED(open(file, O_WRONLY));
	OPENED(open(other, O_WRONLY | O_CREAT, 0600));
	SHOW(mkdir(shown, 0700));
	SHOW(unlink(file));
	SHOW(chmod(file, 0600));
	SHOW(mkdir(other, 0700));
	put("own", "private");
	get("own");
	SHOW(rename("own", other));
	SHOW(rename(file, "own"));
	SHOW(link(file, "linked"));
	SHOW(symlink(file, "to the host"));
	get("to the host");
	snprintf(file, sizeof file, "%s/file", hidden);
	get(file);
	get(hidden);
	SHOW(mkdir(hidden, 0700));
	put(file, "mine");
	get(file);
	list(".");
}

#define EXPORT __attribute__((used, noinline, visibility("default")))
#define PAGE 4096
/* So far away that a fault on the first page does not bring it in. */
#define FAR (4 << 20)

/* One page of the shared mapping is touched before anybody freezes, the other one not. */
static char *shared, *alone, *nameless;
static int mapped_file;

static void mapped(void)
{
	mapped_file = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	shared = mmap(0, FAR + PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, mapped_file, 0);
	/* The mapping of a file that was empty shows what the file becomes. */
	SHOW(ftruncate(mapped_file, FAR + PAGE));
	put("other", "other");
	int other = open("other", O_RDWR);
	alone = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, other, 0);
	shared[0] = 's';
	char byte = 0;
	SHOW(pread(mapped_file, &byte, 1, 0));
	SHOW(byte == 's');
	SHOW(pwrite(mapped_file, "w", 1, 1));
	SHOW(shared[1] == 'w');
	SHOW(pwrite(mapped_file, "t", 1, FAR + 7));
	alone[0] = 'A';
	get("other");
	close(other);
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);
	SHOW(ftruncate(fd, PAGE));
	nameless = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	nameless[0] = 'n';
	close(fd);
	SHOW(nameless[0] == 'n');
}

/* Puts a value into both pages of the shared mapping and elsewhere if it is not negative; answers what is there. */
EXPORT long mapped_request(long value)
{
	volatile char *first = shared + 64, *second = shared + FAR + 64, *third = nameless + 64;
	if (value >= 0)
		*first = (char)value, *second = (char)(value + 1), *third = (char)(value + 2);
	return (long)*(unsigned char *)first | (long)*(unsigned char *)second << 8 | (long)*(unsigned char *)third << 16 |
	       (long)shared[0] << 24 | (long)shared[FAR + 7] << 32;
}

/* What the file has where the mapping was written to; `put` writes there first if it is not negative. */
EXPORT long mapped_bytes(long value)
{
	unsigned char bytes[2] = { 0 };
	char byte = (char)value;
	if (value >= 0 && (pwrite(mapped_file, &byte, 1, 64) != 1 || pwrite(mapped_file, &byte, 1, FAR + 64) != 1))
		return -1;
	if (pread(mapped_file, bytes, 1, 64) != 1 || pread(mapped_file, bytes + 1, 1, FAR + 64) != 1)
		return -1;
	return bytes[0] | bytes[1] << 8;
}

/* Names of open files, and files by the names of descriptors. */
static void descriptors(void)
{
	char path[64], to[256];
	put("named", "by name");
	int fd = open("named", O_PATH);
	struct stat facts;
	SHOW(read(fd, to, 1));
	SHOW(fstat(fd, &facts));
	SHOW(facts.st_size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int again = OPENED(open(path, O_RDWR));
	SHOW(read(again, to, 7));
	SHOW(chmod(path, 0400));
	SHOW(access(path, R_OK));
	ssize_t length = readlink(path, to, sizeof to - 1);
	to[length < 0 ? 0 : length] = 0;
	printf("%s\n", to + (length > 6 ? length - 6 : 0));
	SHOW(unlink("named"));
	length = readlink(path, to, sizeof to - 1);
	to[length < 0 ? 0 : length] = 0;
	printf("%s\n", strstr(to, "/named") ? strstr(to, "/named") : to);
	close(again);
	close(fd);
	SHOW(symlink("nowhere", "link"));
	fd = open("link", O_PATH | O_NOFOLLOW);
	length = readlinkat(fd, "", to, sizeof to - 1);
	to[length < 0 ? 0 : length] = 0;
	printf("%s\n", to);
	OPENED(open("link", O_PATH));
	close(fd);
	fd = open(".", O_TMPFILE | O_RDWR, 0600);
	SHOW(write(fd, "linked", 6));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	SHOW(linkat(AT_FDCWD, path, AT_FDCWD, "given", AT_SYMLINK_FOLLOW));
	get("given");
	close(fd);
	SHOW(mkdir("folder", 0700));
	fd = open("folder", O_PATH | O_DIRECTORY);
	snprintf(path, sizeof path, "/proc/self/fd/%d/inner", fd);
	put(path, "inside");
	get("folder/inner");
	close(fd);
	SHOW(mknod("node", S_IFREG | 0640, 0));
	SHOW(stat("node", &facts));
	SHOW(facts.st_mode);
	SHOW(mknod("node", S_IFREG | 0640, 0));
}

static void size_limit(void)
{
	struct rlimit limit = { 100, RLIM_INFINITY };
	signal(SIGXFSZ, SIG_IGN);
	int fd = open("limited", O_RDWR | O_CREAT, 0600);
	setrlimit(RLIMIT_FSIZE, &limit);
	char bytes[200] = { 0 };
	SHOW(write(fd, bytes, sizeof bytes));
	SHOW(write(fd, bytes, 1));
	SHOW(ftruncate(fd, 101));
	SHOW(truncate("limited", 101));
	SHOW(fallocate(fd, 0, 0, 101));
	SHOW(ftruncate(fd, 100));
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
	close(fd);
}

/* A program that is only here: copies itself and starts the copy. */
static void run_copy(char **argv)
{
	static char copied[1 << 20];
	int from = open("/proc/self/exe", O_RDONLY), to = open("copy", O_WRONLY | O_CREAT, 0600);
	ssize_t length = read(from, copied, sizeof copied);
	SHOW(length > 0 && write(to, copied, (size_t)length) == length);
	close(from);
	close(to);
	char *const list[] = { argv[0], "size", argv[2], 0 };
	SHOW(execv("copy", list));
	SHOW(chmod("copy", 0700));
	fflush(stdout);
	execv("copy", list);
	SHOW(-1);
}

int main(int argc, char **argv)
{
	if (argc < 3 || chdir(base = argv[2])) {
		printf("cannot be in %s\n", argc < 3 ? "nothing" : argv[2]);
		return 64;
	}
	const char *how = argv[1];
	if (!strcmp(how, "all")) {
		static char work[4096];
		snprintf(work, sizeof work, "%s/work", base);
		base = work;
		if (mkdir(base, 0755) || chdir(base))
			return 1;
		files(), holes(), clear("."), names(), clear("."), links(), clear("."), open_files(), facts(), listing(), transfers(), clear("."), descriptors(), size_limit(), clear("."), list(".");
		SHOW(rmdir(base));
	} else if (!strcmp(how, "modes"))
		modes();
	else if (!strcmp(how, "fill"))
		fill();
	else if (!strcmp(how, "many"))
		many();
	else if (!strcmp(how, "overlay") && argc > 4)
		overlay(argv[3], argv[4]);
	else if (!strcmp(how, "mapped"))
		mapped();
	else if (!strcmp(how, "exec"))
		run_copy(argv);
	else if (!strcmp(how, "size"))
		size_limit();
	else if (!strcmp(how, "list"))
		list(".");
	return 0;
}
