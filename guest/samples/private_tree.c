/* Files, names, links, times and listings: the part of the sample `private` that is the same on any file system in memory. */
#include "private.h"

void files(void)
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

void holes(void)
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

void names(void)
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

void links(void)
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

void open_files(void)
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

void facts(void)
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
void listing(void)
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

void transfers(void)
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
