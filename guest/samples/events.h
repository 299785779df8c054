/* What the parts of the sample of polling share. */
#pragma once

/* Prints a line: what was tried, and the number it gave, or the name of the error. */
void saw(const char *what, long result);
/* The events that a set tells within `timeout_ms`, each with its data. */
void tell(const char *what, int set, int timeout_ms);
long now_ms(void);

void epoll_tests(void);
void epoll_error_tests(void);
void poll_tests(void);
void object_tests(void);
void pipe_tests(void);
void wait_for_signal(void);
