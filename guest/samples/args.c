/*
 * Prints what the program was started with: arguments and environment as they are, of the auxiliary vector the facts that
 * are the same everywhere. `args --auxv` prints only the latter, one line a fact, "no" where one does not hold.
 */
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

extern char **environ;
extern const char _start[];

static void fact(const char *name, int holds)
{
	printf("%s: %s\n", name, holds ? "yes" : "no");
}

static int has_entry(const Elf64_auxv_t *auxv, unsigned long type)
{
	for (; auxv->a_type != AT_NULL; auxv++)
		if (auxv->a_type == type)
			return 1;
	return 0;
}

static void print_auxv(char **argv)
{
	char **end = environ;
	while (*end)
		end++;
	const Elf64_auxv_t *auxv = (const void *)(end + 1);
	const Elf64_Phdr *headers = (const void *)getauxval(AT_PHDR);
	const unsigned char *random = (const void *)getauxval(AT_RANDOM);
	const char *name = (const char *)getauxval(AT_EXECFN);
	const char *platform = (const char *)getauxval(AT_PLATFORM);
	const unsigned char *vdso = (const void *)getauxval(AT_SYSINFO_EHDR);
	unsigned loads = 0;
	for (unsigned long i = 0; headers && i < getauxval(AT_PHNUM); i++)
		loads += headers[i].p_type == PT_LOAD;
	unsigned total = 0;
	for (int i = 0; random && i < 16; i++)
		total += random[i];

	fact("argc is right before argv", ((long *)argv)[-1] > 0 && argv[((long *)argv)[-1]] == 0);
	fact("the stack was aligned", ((uintptr_t)(argv - 1) & 15) == 0);
	fact("program headers are there", headers && loads >= 2 && getauxval(AT_PHENT) == sizeof *headers);
	fact("the entry is _start", getauxval(AT_ENTRY) == (uintptr_t)_start);
	fact("there is no interpreter", getauxval(AT_BASE) == 0);
	fact("a page is 4096 bytes", getauxval(AT_PAGESZ) == 4096);
	fact("a second has 100 ticks", getauxval(AT_CLKTCK) == 100);
	fact("16 random bytes", random && total != 0);
	fact("user and group are given", has_entry(auxv, AT_UID) && has_entry(auxv, AT_EUID) && has_entry(auxv, AT_GID) && has_entry(auxv, AT_EGID));
	fact("user and group are right", getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid());
	fact("not secure", has_entry(auxv, AT_SECURE) && getauxval(AT_SECURE) == 0);
	fact("the file's name ends like argv[0]", name && strcmp(strrchr(name, '/') ? strrchr(name, '/') + 1 : name, strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0]) == 0);
	fact("the platform is x86_64", platform && strcmp(platform, "x86_64") == 0);
	fact("there is a vDSO", vdso && memcmp(vdso, ELFMAG, SELFMAG) == 0 && ((uintptr_t)vdso & 4095) == 0);
	fact("processor features are given", has_entry(auxv, AT_HWCAP) && has_entry(auxv, AT_HWCAP2));
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--auxv") == 0) {
		print_auxv(argv);
		return 0;
	}
	printf("argc %d\n", argc);
	for (int i = 0; i < argc; i++)
		printf("argv[%d] %s\n", i, argv[i]);
	for (char **entry = environ; *entry; entry++)
		printf("env %s\n", *entry);
	return 0;
}
