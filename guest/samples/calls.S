/*
 * Benchmark: `calls N` makes the system call getppid N times (a million if nothing is said) and ends; `calls 0` is the
 * smallest program there is. `make_calls(n)` does the same when it is called from outside, and `make_short_calls(n)` makes
 * getpid, which a machine may answer without leaving the guest.
 */
	.text
	.globl _start
	.type _start, @function
_start:
	movl $1000000, %edi
	cmpq $2, (%rsp)
	jb 2f
	movq 16(%rsp), %rsi
	xorl %edi, %edi
1:	movzbl (%rsi), %eax
	subl $'0', %eax
	cmpl $9, %eax
	ja 2f
	imulq $10, %rdi, %rdi
	addq %rax, %rdi
	incq %rsi
	jmp 1b
2:	call make_calls
	xorl %edi, %edi
	movl $231, %eax
	syscall
	hlt
	.size _start, . - _start

	.globl make_calls
	.type make_calls, @function
make_calls:
	testq %rdi, %rdi
	jz 2f
1:	movl $110, %eax
	syscall
	decq %rdi
	jnz 1b
2:	ret
	.size make_calls, . - make_calls

	.globl make_short_calls
	.type make_short_calls, @function
make_short_calls:
	testq %rdi, %rdi
	jz 2f
1:	movl $39, %eax
	syscall
	decq %rdi
	jnz 1b
2:	ret
	.size make_short_calls, . - make_short_calls

	.section .note.GNU-stack, "", @progbits
