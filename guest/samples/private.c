/*
 * Exercises a directory that may be written to and prints what came of it: the same in a machine's private /tmp as on
 * Linux's own tmpfs. The first argument says what, the second where:
 * `all DIR` (everything that is the same on both), `modes DIR` (what permission bits forbid), `fill DIR` (until there is
 * no room), `mapped DIR` (through mappings, and for requests later), `many DIR` (until no more files can be made), `overlay DIR SHOWN HIDDEN` (beside what the host has there), `list DIR`.
 */
#include "private.h"

const char *base;

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
