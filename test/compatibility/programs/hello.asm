global _start
section .data
text: db "hello from nasm", 10
section .text
_start: mov rax, 1
mov rdi, 1
mov rsi, text
mov rdx, 16
syscall
mov rax, 60
mov rdi, 3
syscall
