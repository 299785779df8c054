/*
 * Maps, unmaps and protects pages at random for a while (`maps [operations [seed]]`), and after each change looks whether
 * reads and writes succeed or fault exactly as they should, and whether every page holds what was written to it last.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES 600
#define PAGE 4096

static struct { uint8_t mapped, protection; uint32_t stamp; } model[PAGES];
static volatile uint8_t *area;
static sigjmp_buf way_out;
static volatile uintptr_t fault_address;
static volatile int fault_code;
static uint64_t random_state;
static unsigned long faults_seen, mistakes, checksum;

static uint32_t draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 20) % below;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	fault_address = (uintptr_t)info->si_addr;
	fault_code = info->si_code;
	siglongjmp(way_out, 1);
}

static void mistake(const char *what, uint32_t page)
{
	if (mistakes++ < 10)
		printf("MISTAKE: %s, page %u: mapped %d, protection %d, fault code %d\n", what, page, model[page].mapped, model[page].protection, fault_code);
}

/* Reads or writes one byte; 0 if it faulted. */
static int touch(uint32_t page, uint32_t offset, int writes)
{
	volatile uint8_t *byte = area + (size_t)page * PAGE + offset;
	if (sigsetjmp(way_out, 0) == 0) {
		if (writes)
			*byte = *byte;
		else
			checksum += *byte;
		return 1;
	}
	faults_seen++;
	if (fault_address != (uintptr_t)byte)
		mistake("the fault has another address", page);
	if (fault_code != (model[page].mapped ? SEGV_ACCERR : SEGV_MAPERR))
		mistake("the fault has another code", page);
	return 0;
}

static void probe(uint32_t page)
{
	int readable = model[page].mapped && model[page].protection & PROT_READ;
	int writable = readable && model[page].protection & PROT_WRITE;
	uint32_t offset = draw(PAGE / 4) * 4;
	if (touch(page, offset, 0) != readable)
		mistake("read", page);
	if (touch(page, offset, 1) != writable)
		mistake("write", page);
	if (readable && *(volatile uint32_t *)(area + (size_t)page * PAGE + 8) != model[page].stamp)
		mistake("content", page);
}

static void change(uint32_t operation)
{
	uint32_t first = draw(PAGES), count = 1 + draw(draw(8) == 0 ? 300 : 12);
	if (count > PAGES - first)
		count = PAGES - first;
	void *start = (void *)(area + (size_t)first * PAGE);
	size_t length = (size_t)count * PAGE;
	static const int protections[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE };
	int protection = protections[draw(4)];
	int all_mapped = 1;
	for (uint32_t i = first; i < first + count; i++)
		all_mapped &= model[i].mapped;
	uint32_t kind = draw(5);
	if (kind <= 1) {
		if (mmap(start, length, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != start)
			mistake("mmap", first);
	} else if (kind == 2) {
		if (munmap(start, length) != 0)
			mistake("munmap", first);
	} else if (kind == 3) {
		if ((mprotect(start, length, protection) == 0) != all_mapped)
			mistake("mprotect", first);
		if (!all_mapped) {
			/* It has changed the pages up to the first hole. */
			uint32_t hole = first;
			while (model[hole].mapped)
				model[hole++].protection = protection;
			return;
		}
	} else {
		if (!all_mapped || madvise(start, length, MADV_DONTNEED) != 0)
			return;
	}
	for (uint32_t i = first; i < first + count; i++) {
		if (kind == 3) {
			model[i].protection = protection;
			continue;
		}
		if (kind <= 1) {
			model[i].mapped = 1;
			model[i].protection = protection;
		} else if (kind == 2) {
			model[i].mapped = 0;
		}
		model[i].stamp = 0;
	}
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t page = first + draw(count);
		if (!model[page].mapped || !(model[page].protection & PROT_WRITE))
			continue;
		model[page].stamp = operation * 2654435761u + page;
		*(volatile uint32_t *)(area + (size_t)page * PAGE + 8) = model[page].stamp;
	}
}

int main(int argc, char **argv)
{
	uint32_t operations = argc > 1 ? strtoul(argv[1], 0, 0) : 1000;
	random_state = (argc > 2 ? strtoul(argv[2], 0, 0) : 1) * 0x9e3779b97f4a7c15u + 1;
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	sigaction(SIGSEGV, &action, 0);
	area = mmap(0, (size_t)PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (uint32_t i = 0; i < PAGES; i++)
		model[i].mapped = 1;
	for (uint32_t operation = 1; operation <= operations; operation++) {
		change(operation);
		for (int i = 0; i < 3; i++)
			probe(draw(PAGES));
	}
	for (uint32_t page = 0; page < PAGES; page++)
		probe(page);
	printf("%u operations, %lu faults, checksum %lu, %lu mistakes\n", operations, faults_seen, checksum, mistakes);
	return mistakes != 0;
}
