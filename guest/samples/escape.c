/*
 * Tries to reach what it was not granted, by every way a file system offers, and prints what came of each: `name: result`.
 * Arguments: the granted folder, the folder beside it that is not granted. A read that succeeds prints the first bytes.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char open_folder[PATH_MAX];
static char closed_folder[PATH_MAX];

static const char *error_name(int code)
{
	switch (code) {
	case EACCES: return "EACCES";
	case EPERM: return "EPERM";
	case ENOENT: return "ENOENT";
	case ELOOP: return "ELOOP";
	case ENOTDIR: return "ENOTDIR";
	case EBADF: return "EBADF";
	case EINVAL: return "EINVAL";
	case EXDEV: return "EXDEV";
	case ENAMETOOLONG: return "ENAMETOOLONG";
	case EEXIST: return "EEXIST";
	case ENOSYS: return "ENOSYS";
	case EAFNOSUPPORT: return "EAFNOSUPPORT";
	case EBUSY: return "EBUSY";
	case EISDIR: return "EISDIR";
	case ENXIO: return "ENXIO";
	default: return strerror(code);
	}
}

static void say(const char *name, long result)
{
	printf("%s: %s\n", name, result < 0 ? error_name(errno) : "ok");
}

static const char *in(const char *folder, const char *rest)
{
	static char buffers[4][2 * PATH_MAX];
	static int next;
	char *buffer = buffers[next++ % 4];
	snprintf(buffer, sizeof buffers[0], "%s/%s", folder, rest);
	return buffer;
}

/* Reads from a descriptor and closes it. */
static void say_read(const char *name, int fd)
{
	char text[32] = { 0 };
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (got < 0)
		printf("%s: %s\n", name, error_name(errno));
	else
		printf("%s: read %s\n", name, text);
	if (fd >= 0)
		close(fd);
}

static void try_read(const char *name, const char *path)
{
	say_read(name, open(path, O_RDONLY));
}

static void paths(void)
{
	char text[3 * PATH_MAX];
	try_read("granted", in(open_folder, "file"));
	try_read("direct", in(closed_folder, "secret"));
	try_read("line feed", in(closed_folder, "line\nfeed\033[2J"));
	try_read("dot dot", in(open_folder, "../closed/secret"));
	try_read("deep dot dot", in(open_folder, "sub/../../closed/secret"));
	try_read("many dot dots", in(open_folder, "../../../../../../../../../../etc/shadow"));
	try_read("relative link", in(open_folder, "relative"));
	try_read("absolute link", in(open_folder, "absolute"));
	try_read("link to a folder", in(open_folder, "folder/secret"));
	try_read("link to inside", in(open_folder, "inside"));
	try_read("chain", in(open_folder, "chain"));
	try_read("loop", in(open_folder, "loop"));
	say("symlink made here", symlink(closed_folder, in(open_folder, "made")));
	try_read("through it", in(open_folder, "made/secret"));
	say("relative symlink made here", symlink("../closed", in(open_folder, "made2")));
	try_read("through that", in(open_folder, "made2/secret"));
	say("chdir out", chdir(closed_folder));
	say("chdir in", chdir(open_folder));
	try_read("from there", "../closed/secret");
	say("chdir through a link", chdir("folder"));
	strcpy(text, open_folder);
	for (int i = 0; i < 700; i++)
		strcat(text, "/./.");
	try_read("long", strcat(text, "/../closed/secret"));
	memset(text, 'a', PATH_MAX + 10);
	text[PATH_MAX + 10] = 0;
	try_read("too long", text);
	text[300] = 0;
	try_read("long name", in(open_folder, text));
	char target[PATH_MAX];
	memset(target, '/', sizeof target);
	memcpy(target + 3000, closed_folder, strlen(closed_folder) + 1);
	say("long symlink", symlink(target, in(open_folder, "slashes")));
	try_read("through the slashes", in(open_folder, "slashes/secret"));
}

static void processes(void)
{
	char name[64], text[PATH_MAX] = { 0 };
	try_read("/proc/1/root", in("/proc/1/root", in(closed_folder, "secret") + 1));
	snprintf(name, sizeof name, "/proc/%d/root%s/secret", getppid(), closed_folder);
	try_read("/proc/N/root", name);
	try_read("/proc/self/root", in("/proc/self/root", in(closed_folder, "secret") + 1));
	try_read("/proc/self/root granted", in("/proc/self/root", in(open_folder, "file") + 1));
	say("chdir", chdir(open_folder));
	try_read("/proc/self/cwd", "/proc/self/cwd/file");
	try_read("/proc/self/cwd out", "/proc/self/cwd/../closed/secret");
	try_read("/proc/self/environ", "/proc/self/environ");
	try_read("/proc/self/mem", "/proc/self/mem");
	try_read("/proc/1/environ", "/proc/1/environ");
	int fd = open(in(open_folder, "file"), O_RDONLY);
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	printf("link of a descriptor: %s\n", readlink(name, text, sizeof text - 1) > 0 && strcmp(text, in(open_folder, "file")) == 0 ? "ok" : text);
	try_read("/proc/self/fd", name);
	snprintf(name, sizeof name, "/dev/fd/%d", fd);
	try_read("/dev/fd", name);
	say("/dev/fd for writing", open(name, O_WRONLY));
	/* The host's descriptors are others than the guest's: every number above its own must not be there. */
	int found = 0;
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof name, "/proc/self/fd/%d", i);
		struct stat facts;
		if (stat(name, &facts) == 0 && fcntl(i, F_GETFD) < 0)
			found++;
	}
	printf("descriptors of the host: %d\n", found);
	unlink(in(open_folder, "gone"));
	int gone = open(in(open_folder, "gone"), O_RDWR | O_CREAT, 0600);
	write(gone, "still", 5);
	unlink(in(open_folder, "gone"));
	snprintf(name, sizeof name, "/proc/self/fd/%d", gone);
	try_read("a deleted file", name);
	int ends[2];
	pipe(ends);
	write(ends[1], "piped", 5);
	snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
	try_read("a pipe", name);
	struct stat piped;
	printf("inode of a pipe: %s\n", fstat(ends[1], &piped) == 0 && piped.st_ino < 4096 ? "small" : "large");
	int folder = open(open_folder, O_RDONLY | O_DIRECTORY);
	snprintf(name, sizeof name, "/proc/self/fd/%d/file", folder);
	try_read("a folder", name);
	snprintf(name, sizeof name, "/proc/self/fd/%d/../closed/secret", folder);
	try_read("a folder and out", name);
}

static void path_descriptors(void)
{
	char text[PATH_MAX] = { 0 };
	struct stat facts;
	int file = open(in(open_folder, "file"), O_PATH);
	say("O_PATH file", file);
	say("read", read(file, text, 1));
	say("write", write(file, text, 1));
	say("fstat", fstat(file, &facts));
	say("fchmod", syscall(SYS_fchmod, file, 0777));
	say("ftruncate", ftruncate(file, 0));
	say("lseek", lseek(file, 0, SEEK_SET));
	int copy = dup(file);
	say("dup", copy);
	say("read the copy", read(copy, text, 1));
	printf("flags: %s\n", (fcntl(file, F_GETFL) & O_PATH) != 0 ? "O_PATH" : "other");
	int folder = open(open_folder, O_PATH | O_DIRECTORY);
	say("O_PATH folder", folder);
	say_read("openat", openat(folder, "file", O_RDONLY));
	say_read("openat out", openat(folder, "../closed/secret", O_RDONLY));
	say_read("openat a link out", openat(folder, "relative", O_RDONLY));
	say("getdents", syscall(SYS_getdents64, folder, text, sizeof text));
	say("fchdir", fchdir(folder));
	try_read("from there", "file");
	say("fstatat empty", fstatat(folder, "", &facts, AT_EMPTY_PATH));
	say("faccessat empty", syscall(SYS_faccessat2, folder, "", R_OK, AT_EMPTY_PATH));
	int link_fd = open(in(open_folder, "relative"), O_PATH | O_NOFOLLOW);
	say("O_PATH link", link_fd);
	printf("its text: %s\n", readlinkat(link_fd, "", text, sizeof text - 1) > 0 ? text : error_name(errno));
	say_read("openat of it", openat(link_fd, "", O_RDONLY));
	say("O_PATH out", open(closed_folder, O_PATH));
	say("O_PATH through a link", open(in(open_folder, "folder"), O_PATH));
	say("O_PATH fifo", open(in(open_folder, "fifo"), O_PATH));
	snprintf(text, sizeof text, "/proc/self/fd/%d", file);
	try_read("reopened", text);
	char *words[] = { "x", 0 };
	say("execveat of what may not be run", syscall(SYS_execveat, file, "", words, words, AT_EMPTY_PATH));
	say("execve by /proc", execve(text, words, words));
	say("linkat empty", linkat(file, "", AT_FDCWD, in(open_folder, "linked"), AT_EMPTY_PATH));
}

static void changes(void)
{
	say("create", open(in(open_folder, "new"), O_WRONLY | O_CREAT, 0666));
	say("create outside", open(in(closed_folder, "new"), O_WRONLY | O_CREAT, 0666));
	say("create through a dangling link", open(in(open_folder, "dangling"), O_WRONLY | O_CREAT, 0666));
	say("create through an absolute one", open(in(open_folder, "dangling-absolute"), O_WRONLY | O_CREAT, 0666));
	say("exclusive on a link", open(in(open_folder, "dangling"), O_WRONLY | O_CREAT | O_EXCL, 0666));
	say("truncate through a link", truncate(in(open_folder, "relative"), 0));
	say("truncate by opening", open(in(open_folder, "absolute"), O_WRONLY | O_TRUNC));
	say("chmod through a link", chmod(in(open_folder, "relative"), 0777));
	say("mkdir outside", mkdir(in(open_folder, "../closed/made"), 0777));
	say("rename out", rename(in(open_folder, "file"), in(closed_folder, "file")));
	say("rename in", rename(in(closed_folder, "secret"), in(open_folder, "stolen")));
	say("rename from what may be read only", rename(in(open_folder, "../look/file"), in(open_folder, "taken")));
	say("hard link in", link(in(closed_folder, "secret"), in(open_folder, "hard")));
	say("hard link of what may be read only", link(in(open_folder, "../look/file"), in(open_folder, "hard")));
	say("hard link by a symlink", linkat(AT_FDCWD, in(open_folder, "relative"), AT_FDCWD, in(open_folder, "hard2"), AT_SYMLINK_FOLLOW));
	say("rename what may be written only", rename(in(open_folder, "../drop/hidden"), in(open_folder, "hidden")));
	say("link what may be written only", link(in(open_folder, "../drop/hidden"), in(open_folder, "hidden")));
	say("rename around a denial", rename(in(open_folder, "deep"), in(open_folder, "shallow")));
	try_read("what is denied", in(open_folder, "shallow/denied/secret"));
	try_read("what is denied in its place", in(open_folder, "deep/denied/secret"));
	say("exchange", syscall(SYS_renameat2, AT_FDCWD, in(open_folder, "deep"), AT_FDCWD, in(open_folder, "sub"), 2));
	say("unlink with a slash", unlink(in(open_folder, "inside/")));
	say("unlink outside", unlink(in(open_folder, "folder/secret")));
	say("rmdir by a link", rmdir(in(open_folder, "empty-link/")));
	say("write what may be read only", open(in(open_folder, "../look/file"), O_RDWR));
	struct stat facts;
	int own = open(in(open_folder, "own"), O_WRONLY | O_CREAT, 04755);
	fchmod(own, 06755);
	printf("set-id bits: %o\n", fstat(own, &facts) == 0 ? facts.st_mode & 06000 : 1);
	chmod(in(open_folder, "own"), 06755);
	printf("set-id bits by name: %o\n", fstat(own, &facts) == 0 ? facts.st_mode & 06000 : 1);
	mkdir(in(open_folder, "own-folder"), 02777);
	printf("set-id bits of a folder: %o\n", stat(in(open_folder, "own-folder"), &facts) == 0 ? facts.st_mode & 06000 : 1);
}

static void specials(void)
{
	try_read("fifo", in(open_folder, "fifo"));
	say("fifo for writing", open(in(open_folder, "fifo"), O_WRONLY));
	say("fifo for both", open(in(open_folder, "fifo"), O_RDWR));
	say("socket file", open(in(open_folder, "socket"), O_RDWR));
	say("link to /dev/zero", open(in(open_folder, "device"), O_RDONLY));
	say("mknod", mknod(in(open_folder, "node"), S_IFCHR | 0666, (1 << 8) | 3));
	say("mkfifo", mkfifo(in(open_folder, "fifo2"), 0666));
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof address.sun_path, "%.100s/socket", open_folder);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	say("connect", fd < 0 ? fd : connect(fd, (struct sockaddr *)&address, sizeof address));
	say("/dev/mem", open("/dev/mem", O_RDWR));
	say("/dev/kvm", open("/dev/kvm", O_RDWR));
	say("/dev/sda", open("/dev/sda", O_RDONLY));
}

/* While the host swaps links and folders under `swap`, reads on; what it reads is said once each. */
static void race(void)
{
	int inside = 0, refused = 0, outside = 0;
	struct timespec pause = { .tv_nsec = 1000 };
	for (int i = 0; i < 4000; i++) {
		char text[16] = { 0 };
		int fd = open(in(open_folder, i % 2 ? "swap/file" : "swap/deeper/file"), O_RDONLY);
		if (fd < 0) {
			refused++;
		} else {
			read(fd, text, sizeof text - 1);
			close(fd);
			if (strncmp(text, "inside", 6) == 0)
				inside++;
			else
				outside++;
		}
		if (i % 64 == 0)
			nanosleep(&pause, 0);
	}
	printf("outside: %d\n", outside);
	printf("both: %d\n", inside > 0 && refused > 0);
}

static void ordinary(int count, char **words)
{
	char text[PATH_MAX];
	for (int i = 0; i < count; i++) {
		int fd = open(words[i], O_RDONLY);
		char *real = realpath(words[i], text);
		char magic[4] = { 0 };
		if (fd >= 0)
			read(fd, magic, 4);
		printf("%s: %s %s\n", words[i], fd < 0 ? error_name(errno) : memcmp(magic, "\177ELF", 4) == 0 ? "program" : "file", real ? real : error_name(errno));
		if (fd >= 0)
			close(fd);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "ordinary") == 0) {
		ordinary(argc - 2, argv + 2);
		return 0;
	}
	if (argc < 4)
		return 2;
	strncpy(open_folder, argv[2], sizeof open_folder - 1);
	strncpy(closed_folder, argv[3], sizeof closed_folder - 1);
	if (strcmp(argv[1], "paths") == 0)
		paths();
	else if (strcmp(argv[1], "processes") == 0)
		processes();
	else if (strcmp(argv[1], "descriptors") == 0)
		path_descriptors();
	else if (strcmp(argv[1], "changes") == 0)
		changes();
	else if (strcmp(argv[1], "specials") == 0)
		specials();
	else if (strcmp(argv[1], "race") == 0)
		race();
	else
		return 2;
	return 0;
}
