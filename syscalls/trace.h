/* System calls and signals printed in the manner of strace(1): --strace. */
#pragma once

/* Traces every task, to fd (which stays the caller's). Before the first task. */
void trace_init(int fd);
