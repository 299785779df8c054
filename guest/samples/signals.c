/*
 * Signals of every kind that a program without threads uses: handlers, masks, pending ones, an alternate stack, faults
 * that a handler mends by editing the context, and what happens to the registers meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <immintrin.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t count, order[8], order_count;
static volatile siginfo_t last;
static volatile uintptr_t stack_in_handler;
static sigjmp_buf way_out;

static void say(const char *name, int good)
{
	printf("%s: %s\n", name, good ? "ok" : "WRONG");
}

static void remember(int number, siginfo_t *info, void *context)
{
	(void)context;
	count++;
	last = *info;
	if (order_count < 8)
		order[order_count++] = number;
	stack_in_handler = (uintptr_t)__builtin_frame_address(0);
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };
	sigemptyset(&action.sa_mask);
	sigaction(number, &action, 0);
}

static void raising(void)
{
	handle(SIGUSR1, remember, 0);
	raise(SIGUSR1);
	say("raise", count == 1 && last.si_signo == SIGUSR1 && last.si_code == SI_TKILL && last.si_pid == getpid());
	kill(getpid(), SIGUSR1);
	say("kill", count == 2 && last.si_code == SI_USER);
	struct sigaction old;
	sigaction(SIGUSR1, 0, &old);
	say("sigaction tells the old one", old.sa_sigaction == remember && old.sa_flags & SA_SIGINFO);
	signal(SIGUSR1, SIG_IGN);
	raise(SIGUSR1);
	say("an ignored signal", count == 2);
	handle(SIGUSR1, remember, SA_RESETHAND);
	raise(SIGUSR1);
	sigaction(SIGUSR1, 0, &old);
	say("SA_RESETHAND", count == 3 && old.sa_handler == SIG_DFL);
	errno = 0;
	struct sigaction any = { .sa_handler = SIG_IGN };
	say("SIGKILL cannot be handled", sigaction(SIGKILL, &any, 0) == -1 && errno == EINVAL);
	say("a signal that is ignored by default", raise(SIGCHLD) == 0 && raise(SIGWINCH) == 0);
}

static void masks(void)
{
	sigset_t set, old, waiting;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	handle(SIGUSR1, remember, 0);
	handle(SIGUSR2, remember, 0);
	sigprocmask(SIG_BLOCK, &set, &old);
	count = order_count = 0;
	raise(SIGUSR2);
	raise(SIGUSR1);
	raise(SIGUSR1);
	sigpending(&waiting);
	say("a blocked signal waits", count == 0 && sigismember(&waiting, SIGUSR1) && sigismember(&waiting, SIGUSR2));
	sigprocmask(SIG_SETMASK, &old, 0);
	/* The lower number comes first, so the frame of the higher is below it and runs last; one of a kind is enough. */
	say("it comes when let in, once", count == 2 && order[0] != order[1]);
	sigprocmask(SIG_BLOCK, &set, &old);
	count = 0;
	raise(SIGUSR1);
	sigset_t none = old;
	sigdelset(&none, SIGUSR1);
	errno = 0;
	int result = sigsuspend(&none);
	say("sigsuspend", result == -1 && errno == EINTR && count == 1);
	sigprocmask(SIG_SETMASK, &old, 0);
}

static volatile int depth;

static void nested(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	count++;
	if (depth++ == 0)
		raise(number == SIGUSR1 ? SIGUSR2 : SIGUSR1);
}

static void nesting(void)
{
	count = depth = 0;
	handle(SIGUSR1, nested, 0);
	handle(SIGUSR2, nested, 0);
	raise(SIGUSR1);
	say("a handler inside a handler", count == 2);
	count = depth = 0;
	handle(SIGUSR1, nested, SA_NODEFER);
	raise(SIGUSR1);
	say("SA_NODEFER", count == 2);
}

/* The registers that a handler changes are those of the handler. */
static void trample(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	count++;
	__asm__ volatile("xorps %%xmm0, %%xmm0; xorps %%xmm5, %%xmm5; xorps %%xmm15, %%xmm15; xorl %%ecx, %%ecx; xorl %%r11d, %%r11d; xorl %%r9d, %%r9d; std; cld"
		::: "rcx", "r9", "r11", "xmm0", "xmm5", "xmm15", "cc");
}

static void registers(void)
{
	count = 0;
	handle(SIGTRAP, trample, 0);
	uint64_t vectors[6] = { 1, 2, 3, 4, 5, 6 }, vectors_after[6];
	uint64_t rcx, r9, r11, flags;
	/* int3 lets the handler run between two instructions of ours, so even rcx and r11 must survive. */
	__asm__ volatile("movups (%[v]), %%xmm0; movups 16(%[v]), %%xmm5; movups 32(%[v]), %%xmm15; movq $0x1111, %%rcx; movq $0x2222, %%r11; movq $0x3333, %%r9; stc;"
		"int3; pushfq; popq %[f]; movups %%xmm0, (%[a]); movups %%xmm5, 16(%[a]); movups %%xmm15, 32(%[a]); movq %%r9, %[r9]; movq %%r11, %[r11]"
		: "=&c"(rcx), [r9] "=&r"(r9), [r11] "=&r"(r11), [f] "=&r"(flags) : [v] "r"(vectors), [a] "r"(vectors_after) : "memory", "r9", "r11", "xmm0", "xmm5", "xmm15", "cc");
	say("general registers survive a handler", count == 1 && rcx == 0x1111 && r9 == 0x3333 && r11 == 0x2222 && flags & 1);
	say("vector registers survive a handler", memcmp(vectors, vectors_after, sizeof vectors) == 0);
}

static volatile uintptr_t fault_address;
static volatile int fault_code, fault_number;

/* Goes on behind the faulting instruction, whose address and length the program left in rbx. */
static void skip(int number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;
	fault_number = number;
	fault_code = info->si_code;
	fault_address = (uintptr_t)info->si_addr;
	user->uc_mcontext.gregs[REG_RIP] = user->uc_mcontext.gregs[REG_RBX];
	user->uc_mcontext.gregs[REG_RAX] = 4242;
	count++;
}

#define FAULTING(instruction, input) __asm__ volatile("leaq 1f(%%rip), %%rbx; " instruction "; 1:" : "=a"(result) : "a"(input) : "rbx", "rcx", "rdx", "memory", "cc")

static void mending(void)
{
	uint64_t result;
	handle(SIGSEGV, skip, 0);
	handle(SIGFPE, skip, 0);
	handle(SIGILL, skip, 0);
	char *page = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	FAULTING("movl (%%rax), %%ecx", 0x5678);
	say("a read of nothing, mended", result == 4242 && fault_number == SIGSEGV && fault_code == SEGV_MAPERR && fault_address == 0x5678);
	FAULTING("movb $1, (%%rax)", page + 17);
	say("a write to a read-only page, mended", result == 4242 && fault_code == SEGV_ACCERR && fault_address == (uintptr_t)page + 17);
	FAULTING("movl (%%rax), %%ecx", 0x8000000000000000);
	say("a non-canonical address, mended", result == 4242 && fault_code == SI_KERNEL && fault_address == 0);
	FAULTING("hlt", 0);
	say("a privileged instruction, mended", result == 4242 && fault_number == SIGSEGV && fault_code == SI_KERNEL);
	FAULTING("xorl %%edx, %%edx; xorl %%ecx, %%ecx; divl %%ecx", 1);
	say("a division by zero, mended", result == 4242 && fault_number == SIGFPE && fault_code == FPE_INTDIV);
	FAULTING("ud2", 0);
	say("an undefined instruction, mended", result == 4242 && fault_number == SIGILL && fault_code == ILL_ILLOPN);
	munmap(page, 4096);
}

static void escape(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	fault_address = (uintptr_t)info->si_addr;
	stack_in_handler = (uintptr_t)__builtin_frame_address(0);
	siglongjmp(way_out, 1);
}

static char alternate[65536];

#pragma clang diagnostic ignored "-Winfinite-recursion"
static uint64_t recurse(volatile char *above)
{
	volatile char frame[4000];
	frame[0] = above ? above[0] + 1 : 0;
	return recurse(frame) + frame[0];
}

static void alternate_stack(void)
{
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate }, now;
	sigaltstack(&stack, 0);
	handle(SIGUSR1, remember, SA_ONSTACK);
	raise(SIGUSR1);
	say("a handler on the alternate stack", stack_in_handler - (uintptr_t)alternate < sizeof alternate);
	sigaltstack(0, &now);
	say("sigaltstack tells the stack", now.ss_sp == alternate && now.ss_size == sizeof alternate && now.ss_flags == 0);
	handle(SIGSEGV, escape, SA_ONSTACK);
	volatile int escaped = 0;
	if (sigsetjmp(way_out, 1) == 0)
		recurse(0);
	else
		escaped = stack_in_handler - (uintptr_t)alternate < sizeof alternate;
	say("a stack overflow is survived", escaped);
	escaped = 0;
	if (sigsetjmp(way_out, 1) == 0)
		*(volatile int *)0x1230 = 1;
	else
		escaped = fault_address == 0x1230;
	say("again, after leaving the handler by a jump", escaped);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, 0);
}

static siginfo_t seen[8];

static void note(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	if (count < 8)
		seen[count] = *info;
	count++;
}

static void queued(void)
{
	int low = SIGRTMIN + 2, high = SIGRTMIN + 3;
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, low);
	sigaddset(&set, high);
	sigaddset(&set, SIGUSR1);
	handle(low, note, 0);
	handle(SIGUSR1, note, 0);
	sigprocmask(SIG_BLOCK, &set, &old);
	count = 0;
	for (int i = 0; i < 3; i++) {
		sigqueue(getpid(), high, (union sigval){ .sival_int = 30 + i });
		sigqueue(getpid(), low, (union sigval){ .sival_int = 20 + i });
		sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 10 + i });
	}
	siginfo_t info;
	int good = sigwaitinfo(&set, &info) == SIGUSR1 && info.si_value.sival_int == 10 && info.si_code == SI_QUEUE && info.si_pid == getpid();
	say("a plain signal is queued once, the first of its kind", good);
	good = 1;
	for (int i = 0; i < 3; i++)
		good &= sigwaitinfo(&set, &info) == low && info.si_value.sival_int == 20 + i;
	for (int i = 0; i < 3; i++)
		good &= sigwaitinfo(&set, &info) == high && info.si_value.sival_int == 30 + i;
	say("real-time signals come by number and in order, with their values", good);
	struct timespec none = { 0 };
	say("then there are no more", sigtimedwait(&set, &info, &none) == -1 && errno == EAGAIN);
	struct rlimit limit, few;
	getrlimit(RLIMIT_SIGPENDING, &limit);
	few = limit;
	few.rlim_cur = 8;
	setrlimit(RLIMIT_SIGPENDING, &few);
	int sent = 0;
	while (sent < 40 && sigqueue(getpid(), low, (union sigval){ .sival_int = sent }) == 0)
		sent++;
	/* Linux counts what all processes of the user have queued, so there may be room for none. */
	say("the queue has a limit", sent <= 8 && errno == EAGAIN);
	setrlimit(RLIMIT_SIGPENDING, &limit);
	sigprocmask(SIG_SETMASK, &old, 0);
	say("all that were queued are handled", count == sent && (sent == 0 || (seen[0].si_code == SI_QUEUE && seen[0].si_signo == low)));
	count = 0;
	kill(getpid(), low);
	raise(low);
	say("what kill and raise say of themselves", count == 2 && seen[0].si_code == SI_USER && seen[1].si_code == SI_TKILL && seen[1].si_pid == getpid() && seen[1].si_uid == getuid());
	siginfo_t own = { .si_code = -77 };
	own.si_value.sival_int = 5;
	count = 0;
	syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), low, &own);
	say("a code of one's own", count == 1 && seen[0].si_code == -77 && seen[0].si_value.sival_int == 5);
	sigprocmask(SIG_BLOCK, &set, &old);
	raise(SIGUSR1);
	signal(SIGUSR1, SIG_IGN);
	sigset_t waiting;
	sigpending(&waiting);
	say("ignoring a signal forgets it", !sigismember(&waiting, SIGUSR1));
	sigprocmask(SIG_SETMASK, &old, 0);
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, 0);
	sigprocmask(SIG_SETMASK, &old, &waiting);
	say("SIGKILL and SIGSTOP cannot be blocked", !sigismember(&waiting, SIGKILL) && !sigismember(&waiting, SIGSTOP) && sigismember(&waiting, SIGUSR1));
}

static void masked_waits(void)
{
	sigset_t set, old, none;
	sigemptyset(&set);
	sigemptyset(&none);
	sigaddset(&set, SIGUSR1);
	handle(SIGUSR1, note, 0);
	sigprocmask(SIG_BLOCK, &set, &old);
	raise(SIGUSR1);
	count = 0;
	struct timespec span = { 5, 0 };
	say("ppoll lets a signal in", ppoll(0, 0, &span, &none) == -1 && errno == EINTR && count == 1);
	raise(SIGUSR1);
	say("pselect too", pselect(0, 0, 0, 0, &span, &none) == -1 && errno == EINTR && count == 2);
	span.tv_sec = 0;
	raise(SIGUSR1);
	int answer = ppoll(0, 0, &span, &set);
	sigset_t now;
	sigprocmask(SIG_SETMASK, 0, &now);
	say("the mask comes back", answer == 0 && count == 2 && sigismember(&now, SIGUSR1));
	sigprocmask(SIG_SETMASK, &old, 0);
	say("and the signal with it", count == 3);
}

static volatile int refused, told_flags;

static void on_its_stack(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	stack_t now, other = { .ss_sp = alternate, .ss_size = sizeof alternate / 2 };
	sigaltstack(0, &now);
	told_flags = now.ss_flags;
	refused = sigaltstack(&other, 0) == -1 ? errno : 0;
}

static void alternate_stack_rules(void)
{
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate }, now;
	sigaltstack(&stack, 0);
	handle(SIGUSR1, on_its_stack, SA_ONSTACK);
	raise(SIGUSR1);
	say("SS_ONSTACK is told, and the stack cannot be changed", told_flags == SS_ONSTACK && refused == EPERM);
	stack.ss_flags = (int)(1u << 31);
	sigaltstack(&stack, 0);
	raise(SIGUSR1);
	say("one that disarms itself is free", told_flags == SS_DISABLE && refused == 0);
	sigaltstack(0, &now);
	say("and comes back", now.ss_sp == alternate && now.ss_size == sizeof alternate && now.ss_flags == (int)(1u << 31));
	stack.ss_flags = 0;
	stack.ss_size = 100;
	say("a small one is refused", sigaltstack(&stack, 0) == -1 && errno == ENOMEM);
	stack.ss_size = sizeof alternate;
	stack.ss_flags = 76;
	say("strange flags are refused", sigaltstack(&stack, 0) == -1 && errno == EINVAL);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, 0);
}

static volatile uint32_t control_in_handler;

/* Another mask, another xmm5: what the handler leaves in the frame is what the program goes on with. */
static void edit(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	ucontext_t *user = context;
	control_in_handler = _mm_getcsr();
	user->uc_mcontext.fpregs->_xmm[5].element[0] = 0xabcdef01;
	user->uc_mcontext.gregs[REG_R9] = 0x5151;
	sigaddset(&user->uc_sigmask, SIGUSR2);
	count++;
}

/* Components that no processor has. */
static void spoil(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	uint8_t *area = (uint8_t *)((ucontext_t *)context)->uc_mcontext.fpregs;
	memset(area + 512, 0xff, 64);
	count++;
}

static void editing(void)
{
	sigset_t old, now;
	sigprocmask(SIG_SETMASK, 0, &old);
	handle(SIGTRAP, edit, 0);
	count = 0;
	uint32_t rounding = 0x7f80;
	uint64_t r9, after[2];
	__asm__ volatile("ldmxcsr %[c]; xorps %%xmm5, %%xmm5; xorl %%r9d, %%r9d; int3; movups %%xmm5, (%[a]); movq %%r9, %[r9]"
		: [r9] "=&r"(r9) : [c] "m"(rounding), [a] "r"(after) : "memory", "r9", "xmm5");
	sigprocmask(SIG_SETMASK, &old, &now);
	say("a handler edits registers and the mask", count == 1 && after[0] == 0xabcdef01 && r9 == 0x5151 && sigismember(&now, SIGUSR2));
	say("a handler begins with the initial control word", control_in_handler == 0x1f80 && _mm_getcsr() == 0x7f80);
	_mm_setcsr(0x1f80);
	handle(SIGTRAP, spoil, 0);
	handle(SIGSEGV, escape, 0);
	count = 0;
	if (sigsetjmp(way_out, 1) == 0)
		__asm__ volatile("int3");
	else
		count += 10;
	say("a frame with an impossible vector state", count == 11);
	/* What no stack can take is a fault, which another stack takes. */
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
	sigaltstack(&stack, 0);
	handle(SIGSEGV, escape, SA_ONSTACK);
	handle(SIGTRAP, edit, 0);
	count = 0;
	if (sigsetjmp(way_out, 1) == 0)
		__asm__ volatile("movq %%rsp, %%rbx; movq $0x1000, %%rsp; int3; movq %%rbx, %%rsp" ::: "rbx", "memory");
	else
		count += 10;
	say("a frame without a stack", count == 10);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, 0);
	sigprocmask(SIG_SETMASK, &old, 0);
}

static void floats(void)
{
	handle(SIGFPE, escape, 0);
	static const struct { const char *name; double a, b; uint32_t unmasked; int code; } cases[] = {
		{ "a division by zero, SSE", 1, 0, 0x200, FPE_FLTDIV }, { "an invalid operation", 0, 0, 0x80, FPE_FLTINV },
		{ "an overflow", 1e308, 1e-308, 0x400, FPE_FLTOVF }, { "an inexact result", 1, 3, 0x1000, FPE_FLTRES },
	};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct sigaction action = { .sa_sigaction = skip, .sa_flags = SA_SIGINFO };
		sigaction(SIGFPE, &action, 0);
		volatile double a = cases[i].a, b = cases[i].b;
		fault_code = -1;
		uint64_t result;
		uint32_t control = 0x1f80 & ~cases[i].unmasked, normal = 0x1f80;
		__asm__ volatile("leaq 1f(%%rip), %%rbx; ldmxcsr %[c]; movsd %[a], %%xmm1; divsd %[b], %%xmm1; 1: ldmxcsr %[n]"
			: "=a"(result) : [c] "m"(control), [n] "m"(normal), [a] "m"(a), [b] "m"(b), "a"(0) : "rbx", "xmm1", "memory");
		say(cases[i].name, result == 4242 && fault_code == cases[i].code);
	}
}

static void broken_pipe(void)
{
	int ends[2];
	handle(SIGPIPE, note, 0);
	count = 0;
	if (pipe(ends) != 0)
		return;
	close(ends[0]);
	errno = 0;
	long rc = write(ends[1], "x", 1);
	say("SIGPIPE", rc == -1 && errno == EPIPE && count == 1 && seen[0].si_code == SI_USER);
	signal(SIGPIPE, SIG_IGN);
	rc = write(ends[1], "x", 1);
	say("SIGPIPE, ignored", rc == -1 && errno == EPIPE && count == 1);
	close(ends[1]);
}

static void timers(void)
{
	count = 0;
	handle(SIGALRM, remember, 0);
	struct itimerval timer = { .it_value = { 0, 20000 } };
	setitimer(ITIMER_REAL, &timer, 0);
	errno = 0;
	int result = pause();
	say("a timer interrupts a pause", result == -1 && errno == EINTR && count == 1 && last.si_signo == SIGALRM);
	setitimer(ITIMER_REAL, &timer, 0);
	while (count == 1)
		__asm__ volatile("");
	say("a timer interrupts a loop", count == 2);
	char byte;
	int ends[2];
	handle(SIGALRM, remember, 0);
	if (pipe(ends) == 0) {
		setitimer(ITIMER_REAL, &timer, 0);
		errno = 0;
		result = (int)read(ends[0], &byte, 1);
		say("a timer interrupts a read", result == -1 && errno == EINTR && count == 3);
	}
}

int main(int argc, char **argv)
{
	/* `signals timers` adds what needs interval timers and pipes. */
	raising();
	masks();
	nesting();
	registers();
	mending();
	alternate_stack();
	queued();
	masked_waits();
	alternate_stack_rules();
	editing();
	floats();
	broken_pipe();
	if (argc > 1 && strcmp(argv[1], "timers") == 0)
		timers();
	return 0;
}
