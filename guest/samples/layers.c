/*
 * Changes a folder that has files in it and prints what came of each step: the same in a layer of a machine as on Linux's
 * overlayfs. The first argument says what, the second where:
 * `all DIR` (what is the same on any file system), `overlay DIR` (what overlayfs alone does so), `modes DIR` (what permission
 * bits forbid), `fill DIR` (until there is no room), `denied DIR` (where writing is denied), `make DIR…` (a file in each),
 * `cat PATH…`.
 * The folder has what test/layers.test.ts puts there.
 */
#include "private.h"
#include <sys/statvfs.h>

const char *base;

static void reading(void)
{
	list(".");
	list("sub");
	get("a");
	get("sub/inner");
	get("link");
	get("dangling");
	get("a/under");
	get("sub");
	examine("a");
	examine("link");
	examine("sub/deep/leaf");
	char text[64];
	SHOW(readlink("link", text, sizeof text));
	SHOW(access("a", R_OK | W_OK));
	SHOW(access("script", X_OK));
	SHOW(access(".", W_OK));
	SHOW(access("none", F_OK));
	OPENED(open("a/", O_RDONLY));
	OPENED(open("none", O_RDWR));
	OPENED(open("sub", O_WRONLY));
	OPENED(open("link", O_RDONLY | O_NOFOLLOW));
	OPENED(open("a", O_RDONLY | O_DIRECTORY));
}

static void opening(void)
{
	int fd = OPENED(open("a", O_RDONLY | O_CREAT, 0600));
	close(fd);
	OPENED(open("a", O_RDWR | O_CREAT | O_EXCL, 0600));
	OPENED(open("link", O_RDWR | O_CREAT | O_EXCL, 0600));
	OPENED(open("sub", O_RDONLY | O_CREAT, 0600));
	struct stat before, after;
	stat("a", &before);
	fd = OPENED(open("a", O_RDWR));
	stat("a", &after);
	SHOW(before.st_ino == after.st_ino && before.st_dev == after.st_dev);
	SHOW(before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
	SHOW(pwrite(fd, "FI", 2, 0));
	get("a");
	SHOW(lseek(fd, 0, SEEK_END));
	SHOW(write(fd, "!", 1));
	close(fd);
	get("a");
	fd = OPENED(open("link", O_WRONLY | O_APPEND));
	SHOW(write(fd, " and more", 9));
	SHOW(lseek(fd, 0, SEEK_CUR));
	close(fd);
	get("sub/inner");
	fd = OPENED(open("big", O_WRONLY | O_TRUNC));
	close(fd);
	examine("big");
	fd = OPENED(open("sub/deep/leaf", O_RDONLY | O_TRUNC));
	close(fd);
	get("sub/deep/leaf");
	fd = OPENED(open("dangling", O_WRONLY | O_CREAT, 0640));
	SHOW(write(fd, "made", 4));
	close(fd);
	examine("nowhere");
	fd = OPENED(open("sub/new", O_RDWR | O_CREAT | O_EXCL, 0604));
	close(fd);
	examine("sub/new");
	OPENED(open("sub/missing/new", O_RDWR | O_CREAT, 0600));
	list(".");
	list("sub");
}

static void removing(void)
{
	SHOW(unlink("none"));
	SHOW(unlink("sub"));
	SHOW(unlink("a/"));
	SHOW(rmdir("a"));
	SHOW(rmdir("tree"));
	SHOW(unlink("gone"));
	SHOW(unlink("gone"));
	get("gone");
	SHOW(access("gone", F_OK));
	list(".");
	put("gone", "back");
	get("gone");
	SHOW(unlink("gone"));
	examine("gone");
	/* A folder made where one was removed is empty. */
	SHOW(unlink("tree/one"));
	SHOW(unlink("tree/branch/two"));
	list("tree");
	SHOW(rmdir("tree"));
	SHOW(rmdir("tree/branch"));
	list("tree");
	SHOW(rmdir("tree"));
	list("tree");
	get("tree/one");
	SHOW(mkdir("tree", 0750));
	list("tree");
	get("tree/one");
	get("tree/branch/two");
	put("tree/one", "mine");
	get("tree/one");
	SHOW(mkdir("tree/branch", 0700));
	list("tree/branch");
	SHOW(rmdir("empty"));
	SHOW(symlink("tree", "empty"));
	list("empty");
	SHOW(mkdir("a", 0700));
	SHOW(mkdir("sub", 0700));
	SHOW(mkdir("a/under", 0700));
	SHOW(symlink("x", "link"));
	SHOW(mknod("a", S_IFREG | 0600, 0));
	list(".");
}

static void renaming(void)
{
	SHOW(rename("moved", "elsewhere"));
	get("moved");
	get("elsewhere");
	SHOW(rename("elsewhere", "sub/elsewhere"));
	get("sub/elsewhere");
	SHOW(rename("sub/elsewhere", "over"));
	get("over");
	SHOW(rename("over", "moved"));
	get("moved");
	get("over");
	SHOW(rename("moved", "moved"));
	SHOW(rename("under", "under"));
	SHOW(rename("sub", "a"));
	SHOW(rename("a", "sub"));
	SHOW(rename("a", "none/x"));
	SHOW(rename("none", "a"));
	SHOW(rename("sub", "sub/deep/below"));
	SHOW(rename("a", "a/"));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "under", 1));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "under", AT_FDCWD, "fresh", 1));
	get("fresh");
	get("under");
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "fresh", AT_FDCWD, "second", 2));
	get("fresh");
	get("second");
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "fresh", AT_FDCWD, "none", 2));
	SHOW(rename("dangling", "renamed-link"));
	examine("renamed-link");
	SHOW(mkdir("own", 0700));
	put("own/file", "inside");
	SHOW(rename("own", "sub/own"));
	get("sub/own/file");
	SHOW(rename("sub/own", "sub/deep"));
	SHOW(unlink("sub/deep/leaf"));
	SHOW(rename("sub/own", "sub/deep"));
	list("sub/deep");
	get("sub/deep/leaf");
	SHOW(rename("sub/inner", "sub/deep/inner"));
	get("link");
	get("sub/deep/inner");
	list("sub");
	list(".");
}

static void linking(void)
{
	SHOW(link("linked", "again"));
	int fd = open("again", O_WRONLY | O_APPEND);
	SHOW(write(fd, "+", 1));
	close(fd);
	get("linked");
	examine("again");
	SHOW(link("linked", "again"));
	SHOW(link("sub", "folder"));
	SHOW(link("none", "nothing"));
	SHOW(unlink("linked"));
	get("again");
	examine("again");
	SHOW(link("link", "other-link"));
	examine("other-link");
	fd = OPENED(open("sub", O_RDWR | O_TMPFILE, 0600));
	SHOW(write(fd, "nameless", 8));
	char name[64];
	sprintf(name, "/proc/self/fd/%d", fd);
	SHOW(linkat(AT_FDCWD, name, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	close(fd);
	get("named");
}

static void attributes(void)
{
	struct stat found;
	SHOW(chmod("script", 0640));
	examine("script");
	SHOW(chmod("none", 0600));
	SHOW(chmod("folder", 0711));
	examine("folder");
	list("folder");
	struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };
	SHOW(utimensat(AT_FDCWD, "timed", times, 0));
	stat("timed", &found);
	printf("%ld.%ld %ld.%ld\n", found.st_atim.tv_sec, found.st_atim.tv_nsec, found.st_mtim.tv_sec, found.st_mtim.tv_nsec);
	SHOW(utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW));
	lstat("link", &found);
	printf("%ld\n", found.st_mtim.tv_sec);
	SHOW(truncate("cut", 5));
	get("cut");
	SHOW(truncate("cut", 8));
	examine("cut");
	SHOW(truncate("sub", 5));
	SHOW(truncate("none", 5));
	int fd = OPENED(open("second-script", O_RDONLY));
	SHOW(fchmod(fd, 0604));
	SHOW(futimens(fd, times));
	SHOW(ftruncate(fd, 0));
	close(fd);
	examine("second-script");
	stat("second-script", &found);
	printf("%ld\n", found.st_mtim.tv_sec);
	fd = OPENED(open("folder", O_RDONLY | O_DIRECTORY));
	SHOW(fchmod(fd, 0705));
	SHOW(fstat(fd, &found));
	printf("%o\n", found.st_mode);
	close(fd);
}

static void mapping(void)
{
	int fd = OPENED(open("mapped", O_RDWR));
	char *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int reads = OPENED(open("mapped", O_RDONLY));
	char *kept = mmap(0, 4096, PROT_READ, MAP_PRIVATE, reads, 0);
	SHOW(shared != MAP_FAILED && kept != MAP_FAILED);
	SHOW(shared[0] == 'm' && kept[0] == 'm');
	shared[0] = 'M';
	get("mapped");
	SHOW(msync(shared, 4096, MS_SYNC));
	SHOW(unlink("mapped"));
	SHOW(shared[1] == 'a');
	munmap(shared, 4096);
	munmap(kept, 4096);
	close(fd);
	close(reads);
	get("mapped");
}

/* Names that a listing gives, with the numbers that stat gives. */
static int all_numbers_agree(const char *path)
{
	char inner[512];
	DIR *directory = opendir(path);
	int agree = directory != 0;
	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		struct stat found;
		snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
		if (strcmp(entry->d_name, "..") && (lstat(inner, &found) || found.st_ino != entry->d_ino))
			agree = 0, printf("%s has another number\n", inner);
	}
	if (directory)
		closedir(directory);
	return agree;
}

static void listings(void)
{
	DIR *directory = opendir("many");
	int count = 0, seen = 0;
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (entry->d_name[0] == '.')
			continue;
		count++;
		if (unlinkat(dirfd(directory), entry->d_name, 0))
			printf("%s: %s\n", entry->d_name, name_of(errno));
	}
	printf("%d removed while listing\n", count);
	rewinddir(directory);
	while (readdir(directory))
		seen++;
	printf("%d left\n", seen);
	put("many/new", "new");
	rewinddir(directory);
	for (struct dirent *entry; (entry = readdir(directory));)
		if (entry->d_name[0] != '.')
			printf("%s\n", entry->d_name);
	SHOW(all_numbers_agree("many"));
	SHOW(all_numbers_agree("sub"));
	SHOW(all_numbers_agree("."));
	struct stat opened, named;
	SHOW(fstat(dirfd(directory), &opened) || stat("many", &named));
	SHOW(opened.st_ino == named.st_ino && opened.st_mtim.tv_sec == named.st_mtim.tv_sec && opened.st_dev == named.st_dev);
	SHOW(unlink("many/new"));
	SHOW(rmdir("many"));
	rewinddir(directory);
	errno = 0;
	SHOW(readdir(directory) != 0);
	SHOW(openat(dirfd(directory), "new", O_RDWR | O_CREAT, 0600));
	SHOW(mkdir("many", 0700));
	SHOW(openat(dirfd(directory), "none", O_RDONLY));
	closedir(directory);
	SHOW(chdir("folder"));
	put("here", "here");
	get("../folder/here");
	get("file");
	SHOW(chdir(".."));
}

/* As overlayfs alone does it: a folder that shows the host's is not renamed, and one name of a file is copied. */
static void overlay(void)
{
	SHOW(link("twin-one", "third") || unlink("third"));
	SHOW(rename("folder", "renamed"));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "folder", AT_FDCWD, "a", 2));
	SHOW(chmod("folder", 0700));
	SHOW(rename("folder", "renamed"));
	char bytes[16] = { 0 };
	int reads = open("a", O_RDONLY);
	put("a", "new");
	SHOW(pread(reads, bytes, sizeof bytes - 1, 0));
	printf("%s\n", bytes);
	get("a");
	/* One of two names of a file is copied without the other. */
	put("twin-one", "changed");
	get("twin-one");
	get("twin-two");
	struct stat found;
	stat("folder", &found);
	printf("links %ld\n", (long)found.st_nlink);
}

static void modes(void)
{
	OPENED(open("sealed", O_WRONLY));
	OPENED(open("sealed", O_RDONLY | O_TRUNC));
	SHOW(access("sealed", W_OK));
	SHOW(truncate("sealed", 0));
	get("sealed");
	OPENED(open("closed/file", O_WRONLY));
	OPENED(open("closed/new", O_WRONLY | O_CREAT, 0600));
	SHOW(unlink("closed/file"));
	SHOW(rename("closed/file", "taken"));
	SHOW(rename("a", "closed/file"));
	SHOW(mkdir("closed/inner", 0700));
	SHOW(unlink("closed/none"));
	SHOW(chmod("sealed", 0600));
	put("sealed", "opened");
	get("sealed");
	SHOW(chmod("closed", 0700));
	SHOW(unlink("closed/file"));
	SHOW(rmdir("closed"));
	SHOW(rename(base, "x") && errno == EBUSY);
	SHOW(rmdir(base) && errno == EBUSY);
}

static void fill(void)
{
	static char block[65536];
	struct statvfs system;
	statvfs(".", &system);
	printf("free %ld\n", (long)(system.f_bfree * system.f_bsize >> 20));
	OPENED(open("huge", O_RDWR));
	SHOW(chmod("huge", 0600));
	SHOW(link("huge", "huge-link"));
	SHOW(rename("huge", "other"));
	int fd = OPENED(open("huge", O_RDONLY));
	SHOW(read(fd, block, sizeof block));
	close(fd);
	statvfs(".", &system);
	printf("free %ld\n", (long)(system.f_bfree * system.f_bsize >> 20));
	fd = OPENED(open("half", O_RDWR));
	close(fd);
	statvfs(".", &system);
	printf("free %ld\n", (long)(system.f_bfree * system.f_bsize >> 20));
	OPENED(open("other-half", O_RDWR));
	fd = OPENED(open("other-half", O_RDWR | O_TRUNC));
	close(fd);
	SHOW(unlink("huge"));
	SHOW(unlink("half"));
	statvfs(".", &system);
	printf("free %ld\n", (long)(system.f_bfree * system.f_bsize >> 20));
	/* Names that come and go leave nothing behind, names of one file are bounded. */
	put("file", "file");
	long links = 0;
	char name[32];
	for (;; links++) {
		sprintf(name, "link-%ld", links);
		if (link("file", name))
			break;
	}
	printf("more than 1000 links: %d, then %s\n", links > 1000, name_of(errno));
	SHOW(unlink("a"));
	while (links-- > 0) {
		sprintf(name, "link-%ld", links);
		unlink(name);
	}
	for (int i = 0; i < 40000; i++) {
		sprintf(name, "passing-%d", i);
		if (close(open(name, O_CREAT | O_WRONLY, 0600)) || unlink(name)) {
			printf("%s: %s\n", name, name_of(errno));
			break;
		}
	}
	SHOW(unlink("a"));
}

static void denied(void)
{
	get("a");
	OPENED(open("a", O_RDWR));
	OPENED(open("new", O_RDWR | O_CREAT, 0600));
	SHOW(mkdir("folder", 0700));
	SHOW(unlink("a"));
	SHOW(rename("a", "b"));
	SHOW(chmod("a", 0600));
	SHOW(access("a", W_OK));
}

int main(int count, char **words)
{
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	if (count < 3)
		return 2;
	if (!strcmp(words[1], "cat")) {
		for (int i = 2; i < count; i++)
			get(words[i]), list(words[i]);
		return fflush(stdout);
	}
	if (!strcmp(words[1], "make")) {
		for (int i = 2; i < count; i++) {
			char path[512];
			struct stat found;
			printf("%s: ", words[i]);
			snprintf(path, sizeof path, "%s/made", words[i]);
			SHOW(stat(words[i], &found));
			/* As `mkdir -p` does: each folder on the way is there. */
			for (char *slash = strchr(words[i] + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
				*slash = 0;
				if (mkdir(words[i], 0755) == 0 || errno != EEXIST || stat(words[i], &found) || !S_ISDIR(found.st_mode) || access(words[i], X_OK) || chdir(words[i]))
					printf("%s is no folder: %s\n", words[i], name_of(errno));
				*slash = '/';
			}
			put(path, "made");
			get(path);
		}
		return fflush(stdout);
	}
	base = words[2];
	umask(022);
	if (chdir(base)) {
		printf("chdir: %s\n", name_of(errno));
		return fflush(stdout), 1;
	}
	static const struct { const char *name; void (*run)(void); } parts[] = {
		{ "reading", reading }, { "opening", opening }, { "removing", removing }, { "renaming", renaming },
		{ "linking", linking }, { "attributes", attributes }, { "mapping", mapping }, { "listings", listings },
	};
	static const struct { const char *name; void (*run)(void); } others[] = {
		{ "overlay", overlay }, { "modes", modes }, { "fill", fill }, { "denied", denied },
	};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (!strcmp(words[1], others[i].name))
			others[i].run();
	if (!strcmp(words[1], "all"))
		for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
			printf("- %s\n", parts[i].name), parts[i].run();
	return fflush(stdout);
}
