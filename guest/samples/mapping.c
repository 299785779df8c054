/* Mappings of files: what a program sees of them, natively and in a machine. Prints a line for each thing tried; its
 * functions do the same as requests to a fork. argv[1] is a folder it may write. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 40 };

static char path[512];
static sigjmp_buf back;
static volatile int last_signal, last_code;
static volatile unsigned long last_address;

static void caught(int signal, siginfo_t *info, void *context) {
    (void)context;
    last_signal = signal;
    last_code = info->si_code;
    last_address = (unsigned long)info->si_addr;
    siglongjmp(back, 1);
}

static void catch_faults(void) {
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
}

/* What an access comes to: "ok", or the signal with its code and the page of its address from `base`. */
static void touch(const char *what, volatile char *at, int writing, char *base) {
    if (sigsetjmp(back, 1) == 0) {
        if (writing) *at = 'w';
        printf("%s: ok %d\n", what, *at);
    } else {
        printf("%s: signal %d code %d page %ld\n", what, last_signal, last_code, ((long)last_address - (long)base) / PAGE);
    }
}

static unsigned long sum(const char *bytes, long length) {
    unsigned long total = 5381;
    for (long i = 0; i < length; i++) total = total * 33 + (unsigned char)bytes[i];
    return total;
}

/* A file of PAGES pages and 100 bytes, each page of another letter. */
static void fill(void) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    char page[PAGE];
    for (int i = 0; i < PAGES; i++) {
        memset(page, 'a' + i % 26, PAGE);
        if (write(fd, page, PAGE) != PAGE) perror("write");
    }
    if (write(fd, "tail", 4) != 4 || ftruncate(fd, PAGES * PAGE + 100) != 0) perror("tail");
    close(fd);
}

static unsigned long file_sum(void) {
    static char bytes[(PAGES + 2) * PAGE];
    int fd = open(path, O_RDONLY);
    long length = read(fd, bytes, sizeof bytes);
    close(fd);
    return sum(bytes, length);
}

static void private_mappings(void) {
    int fd = open(path, O_RDONLY);
    char *map = mmap(NULL, (PAGES + 2) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    close(fd);
    printf("private: %lu\n", sum(map, PAGES * PAGE + 100));
    printf("behind the end of the file in its last page: %d\n", map[PAGES * PAGE + 200]);
    touch("behind its last page", map + (PAGES + 1) * PAGE, 0, map);
    memset(map + 3 * PAGE, 'X', 2 * PAGE);
    printf("written: %lu, the file: %lu\n", sum(map, PAGES * PAGE), file_sum());
    mprotect(map + 3 * PAGE, PAGE, PROT_READ);
    printf("kept over mprotect: %c\n", map[3 * PAGE]);
    touch("read-only", map + 3 * PAGE, 1, map);
    mprotect(map + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE);
    printf("discarded: %d\n", madvise(map + 3 * PAGE, PAGE, MADV_DONTNEED));
    printf("the file again: %c, still written: %c\n", map[3 * PAGE], map[4 * PAGE]);
    char *moved = mremap(map, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
    printf("moved and grown: %c %c %c\n", moved[3 * PAGE], moved[4 * PAGE], moved[12 * PAGE]);
    munmap(moved + PAGE, PAGE);
    touch("a hole", moved + PAGE, 0, moved);
    munmap(moved, 16 * PAGE);
    munmap(map + 8 * PAGE, (PAGES - 6) * PAGE);
}

static void system_calls_on_mappings(void) {
    int fd = open(path, O_RDWR);
    char *map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
    int ends[2];
    if (pipe(ends) != 0) perror("pipe");
    printf("written from a mapping: %zd\n", write(ends[1], map + PAGE - 3, 6));
    printf("read into a mapping: %zd, %.8s\n", read(ends[0], map + 2 * PAGE - 3, 6), map + 2 * PAGE - 4);
    printf("a file into a mapping: %zd %c\n", pread(fd, map, 2 * PAGE, 10 * PAGE), map[PAGE]);
    printf("a mapping into a file: %zd\n", pwrite(fd, map + PAGE - 2, 4, 30 * PAGE));
    struct stat facts;
    printf("a structure into a mapping: %d %d\n", fstat(fd, (struct stat *)(map + 3 * PAGE)), fstat(fd, &facts));
    printf("the same: %d\n", memcmp(map + 3 * PAGE, &facts, 56));
    strcpy(map + PAGE - 3, "/dev/null");
    printf("a path in a mapping: %d\n", open(map + PAGE - 3, O_RDONLY) >= 0);
    close(ends[0]);
    close(ends[1]);
    munmap(map, 4 * PAGE);
    close(fd);
}

static void shared_mappings(void) {
    int fd = open(path, O_RDWR);
    char *one = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *two = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    memcpy(one + 5 * PAGE, "shared", 6);
    char bytes[8] = {0};
    if (pread(fd, bytes, 6, 5 * PAGE) != 6) perror("pread");
    printf("shared: the file has %s, the other mapping %.6s\n", bytes, two + 5 * PAGE);
    if (pwrite(fd, "SHARED", 6, 6 * PAGE) != 6) perror("pwrite");
    printf("written to the file: %.6s\n", one + 6 * PAGE);
    touch("a shared read-only mapping", two + PAGE, 1, two);
    printf("synced: %d\n", msync(one, PAGES * PAGE, MS_SYNC));
    printf("synced both ways: %d %s\n", msync(one, PAGE, MS_SYNC | MS_ASYNC), strerror(errno));
    printf("synced in no known way: %d %s\n", msync(one, PAGE, 8), strerror(errno));
    int reading = open(path, O_RDONLY);
    char *refused = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, reading, 0);
    printf("shared writable from a file open for reading: %d %s\n", refused == MAP_FAILED, strerror(errno));
    char *readable = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reading, 0);
    printf("made writable later: %d %s\n", mprotect(readable, PAGE, PROT_READ | PROT_WRITE), strerror(errno));
    close(reading);
    char *kept = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 36 * PAGE);
    printf("before it is cut: %c\n", kept[2 * PAGE]);
    if (ftruncate(fd, 20 * PAGE + 10) != 0) perror("ftruncate");
    touch("cut short, before the end", one + 20 * PAGE, 0, one);
    touch("cut short, a page behind", one + 30 * PAGE, 0, one);
    touch("cut short, written", one + 31 * PAGE, 1, one);
    touch("cut short, private", kept + PAGE, 0, kept);
    printf("a system call there: %zd", write(1, one + 32 * PAGE, 1));
    printf(" %s\n", strerror(errno));
    if (ftruncate(fd, PAGES * PAGE) != 0) perror("ftruncate");
    touch("grown again", one + 30 * PAGE, 0, one);
    munmap(one, PAGES * PAGE);
    munmap(two, PAGES * PAGE);
    munmap(kept, 4 * PAGE);
    close(fd);
}

static void other_mappings(void) {
    int zero = open("/dev/zero", O_RDWR);
    char *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    map[PAGE] = 1;
    printf("/dev/zero: %d %d\n", map[0], map[PAGE]);
    int fd = open(path, O_RDONLY);
    printf("an offset in a page: %d %s\n", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 100) == MAP_FAILED, strerror(errno));
    int writing = open(path, O_WRONLY);
    printf("a file open for writing only: %d %s\n", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, writing, 0) == MAP_FAILED, strerror(errno));
    int ends[2];
    if (pipe(ends) != 0) perror("pipe");
    printf("a pipe: %d %s\n", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, ends[0], 0) == MAP_FAILED, strerror(errno));
    char *low = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_32BIT, fd, 0);
    printf("below 2 GiB: %d %c\n", (unsigned long)low < 1ul << 31, *low);
    char *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, 0);
    memcpy(code, "\xb8\x2a\x00\x00\x00\xc3", 6);
    printf("code in a mapping: %d\n", ((int (*)(void))(void *)code)());
    void *reserved = mmap(NULL, 48ul << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *more = mmap(NULL, 1ul << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *lazy = mmap(NULL, 8ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    lazy[5ul << 30] = 1;
    printf("48 GiB, 1 TiB, 8 GiB: %d %d %d\n", reserved != MAP_FAILED, more != MAP_FAILED, lazy[5ul << 30]);
    map[PAGE] = 1;
    printf("discarded though locked: %d %d\n", madvise(map, 2 * PAGE, 24), map[PAGE]);
    printf("a hole in a private mapping: %d %s\n", madvise(code, PAGE, MADV_REMOVE), strerror(errno));
    munmap(map + PAGE, PAGE);
    printf("locked over its end: %d %s\n", mlock(map + 1, PAGE), strerror(errno));
    munmap(reserved, 48ul << 30);
    munmap(more, 1ul << 40);
    munmap(lazy, 8ul << 30);
}

/* Files that are empty, gone, written through another descriptor; mappings over parts of others and behind the end. */
static void odd_mappings(void) {
    char other[600];
    snprintf(other, sizeof other, "%s.other", path);
    int fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
    int reading = open(other, O_RDONLY);
    char *empty = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reading, 0);
    touch("an empty file", empty, 0, empty);
    if (ftruncate(fd, 2 * PAGE) != 0) perror("ftruncate");
    touch("it has grown", empty + PAGE, 0, empty);
    if (pwrite(fd, "new", 3, PAGE) != 3) perror("pwrite");
    printf("written through another descriptor: %.3s\n", empty + PAGE);
    empty[PAGE] = 'N';
    if (pwrite(fd, "old", 3, PAGE) != 3) perror("pwrite");
    printf("and written here before: %.3s\n", empty + PAGE);
    char *behind = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, reading, 100l * PAGE);
    touch("behind the end", behind, 0, behind);
    char *large = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(large, 'L', 8 * PAGE);
    char *part = mmap(large + 3 * PAGE, 2 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    printf("over a part: %d %c %.3s %c\n", part == large + 3 * PAGE, large[2 * PAGE], part + PAGE, large[5 * PAGE]);
    touch("over a part, written", part, 1, large);
    printf("both: %d\n", mprotect(large, 8 * PAGE, PROT_NONE));
    touch("none", part, 0, large);
    printf("readable again: %d %.3s\n", mprotect(large, 8 * PAGE, PROT_READ), part + PAGE);
    mmap(part, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("anonymous over the file: %d, the file behind it: %.3s\n", part[0], part + PAGE);
    printf("taken: %d %s\n", mmap(part, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED, strerror(errno));
    unlink(other);
    close(fd);
    close(reading);
    printf("gone and closed: %.3s %.3s\n", part + PAGE, empty + PAGE);
    munmap(large, 8 * PAGE);
    touch("a mapping that is gone", large, 0, large);
}

/* For requests: maps the file privately and shared, writes to the private one, and answers what it saw. */
unsigned long map_request(long which) {
    int fd = open(path, O_RDWR);
    if (fd < 0) return 0;
    char *private = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    unsigned long result = sum(private, PAGES * PAGE);
    memset(private + (which % PAGES) * PAGE, (int)which, PAGE);
    if (which % 3 == 0) {
        char *shared = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        result ^= sum(shared, PAGES * PAGE) << 1;
        shared[0] = shared[0];
        if (which % 2 == 0) munmap(shared, PAGES * PAGE);
    }
    if (which % 5 == 0) munmap(private + PAGE, 7 * PAGE);
    return result;
}

/* The sum of the first bytes of a file's pages, by a mapping of all of it, gone through twice. */
unsigned long sum_pages(const char *file) {
    struct stat facts;
    int fd = open(file, O_RDONLY);
    if (fd < 0 || fstat(fd, &facts) != 0) return 0;
    unsigned char *map = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED) return 0;
    unsigned long total = 0;
    for (int round = 0; round < 2; round++)
        for (long at = 0; at < facts.st_size; at += PAGE) total = total * 31 + map[at];
    munmap(map, (size_t)facts.st_size);
    return total;
}

/* For requests: what a guest tries that wants the host's descriptors and mappings. Each answers how often it could, and
 * the error that ended it in the upper half. */
static unsigned long ended(unsigned long count) { return count | (unsigned long)errno << 32; }

unsigned long map_many_files(long most) {
    for (long i = 0; i < most; i++) {
        int fd = open(path, O_RDONLY);
        if (fd < 0 || mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED) return ended(i);
        close(fd);
    }
    return most;
}

unsigned long share_many_pages(long most) {
    int fd = open(path, O_RDONLY);
    for (long i = 0; i < most; i++) {
        char *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) return ended(i);
        *(volatile char *)map;
    }
    return most;
}

/* Takes a shared mapping apart page by page. */
unsigned long split_shared(long megabytes) {
    int fd = open(path, O_RDWR);
    if (ftruncate(fd, megabytes << 20) != 0) return 0;
    long length = megabytes << 20;
    char *map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
    for (long at = 0; at < length; at += PAGE) *(volatile char *)(map + at);
    for (long at = 0; at < length; at += 2 * PAGE) munmap(map + at, PAGE);
    return 1;
}

unsigned long far_offset(void) {
    int fd = open(path, O_RDONLY);
    char *map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, (off_t)((1ul << 63) - (1ul << 30)));
    if (map == MAP_FAILED) return ended(1);
    for (int i = 0; i < 3; i++) {
        char *grown = mremap(map, PAGE, 1ul << 31, MREMAP_MAYMOVE);
        if (grown == MAP_FAILED) return ended(2);
        map = grown + (1ul << 31) - PAGE;
    }
    return 0;
}

char viewed[4 << 20];

/* Puts a file where somebody has a view, and cuts it short. */
unsigned long file_under_view(long shared) {
    char *at = (char *)(((unsigned long)viewed + (2 << 20) - 1) & -(2ul << 20));
    int fd = open(path, O_RDWR);
    if (ftruncate(fd, 2 << 20) != 0) return 0;
    if (mmap(at, 2 << 20, PROT_READ, MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE), fd, 0) != at) return 0;
    for (long page = 0; page < 512; page++) *(volatile char *)(at + page * PAGE);
    unsigned long result = sum(at, 2 << 20);
    if (ftruncate(fd, 0) != 0) return 0;
    return result;
}

enum { AREA = 640 };
static char *area;

/* Pages of every kind, in order: own, private of a file, shared with one, without rights, not mapped, read-only. */
static void make_area(void) {
    int fd = open(path, O_RDONLY);
    area = mmap(NULL, AREA * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < AREA; i++) memset(area + i * PAGE, i % 251 + 1, PAGE);
    mmap(area + 200 * PAGE, 40 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
    area[203 * PAGE] = '!';
    mmap(area + 300 * PAGE, 30 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    mprotect(area + 400 * PAGE, 20 * PAGE, PROT_NONE);
    munmap(area + 450 * PAGE, 20 * PAGE);
    mprotect(area + 500 * PAGE, 40 * PAGE, PROT_READ);
    close(fd);
}

/* For requests: what can be read and written in the area, and what is there. */
unsigned long area_state(void) {
    volatile unsigned long total = 5381;
    for (volatile int i = 0; i < AREA * 2; i++) {
        volatile char *at = area + i / 2 * PAGE;
        if (sigsetjmp(back, 1) == 0) {
            total = total * 33 + (unsigned char)*at;
            if (i % 2) *at = *at;
        } else {
            total = total * 33 + 1000 + last_signal * 8 + last_code;
        }
    }
    return total;
}

/* For requests: does to the area whatever can be done to mappings. */
unsigned long area_request(unsigned long seed) {
    int fd = open(path, O_RDONLY);
    for (int i = 0; i < 40; i++) {
        seed = seed * 6364136223846793005ul + 1442695040888963407ul;
        unsigned long bits = seed >> 24;
        long count = bits % 31 + 1, other = (bits >> 10) % (AREA - 32);
        char *at = area + (bits >> 20) % (AREA - 32) * PAGE;
        int rights = (bits >> 5) % 3 ? PROT_READ | PROT_WRITE : PROT_READ;
        switch (bits >> 37 & 7) {
        case 0: mmap(at, count * PAGE, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); break;
        case 1: mmap(at, count * PAGE, rights, MAP_PRIVATE | MAP_FIXED, fd, 2 * PAGE); break;
        case 2: mmap(at, count * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, PAGE); break;
        case 3: munmap(at, count * PAGE); break;
        case 4: mprotect(at, count * PAGE, bits % 5 ? rights : PROT_NONE); break;
        case 5: madvise(at, count * PAGE, MADV_DONTNEED); break;
        // One page: since Linux 6.17 a range over several mappings may move, too.
        case 6: mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + other * PAGE); break;
        default: mmap(at, count * PAGE, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        }
        for (volatile long page = 0; page < count; page++) {
            if (sigsetjmp(back, 1) == 0) at[page * PAGE] = (char)seed;
        }
    }
    close(fd);
    return area_state();
}

static char *kept_private, *kept_shared;

/* For requests: what the mappings made before freezing show. */
unsigned long kept_request(long which) {
    unsigned long result = sum(kept_private, PAGES * PAGE);
    kept_private[(which % PAGES) * PAGE] = '!';
    if (which % 4 == 0) madvise(kept_private, PAGES * PAGE, MADV_DONTNEED);
    if (which % 4 == 1) munmap(kept_private + 2 * PAGE, PAGE);
    if (which % 4 == 2) mprotect(kept_private, 9 * PAGE, PROT_READ);
    return result;
}

unsigned long shared_request(long which) {
    if (which >= 0) kept_shared[39 * PAGE] = (char)which;
    return (unsigned char)kept_shared[39 * PAGE];
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    snprintf(path, sizeof path, "%s/mapped", argv[1]);
    catch_faults();
    fill();
    private_mappings();
    system_calls_on_mappings();
    shared_mappings();
    other_mappings();
    odd_mappings();
    fill();
    int fd = open(path, O_RDWR);
    kept_private = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    kept_shared = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    kept_private[0] = '#';
    make_area();
    printf("the area: %lu\n", area_state());
    for (int seed = 1; seed <= 3; seed++) printf("changed at random: %lu\n", area_request(seed));
    munmap(area, AREA * PAGE);
    make_area();
    printf("kept: %lu %c\n", sum(kept_private, PAGES * PAGE), kept_shared[39 * PAGE]);
    fflush(stdout);
    return 0;
}
