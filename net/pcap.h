/* --pcap: the packets of a stack in a file, for tcpdump and Wireshark. */
#pragma once

#include "net/stack/stack.h"

/*
 * From now on, what the stack's interfaces send and receive goes to fd, which is open for writing. Once in a process. 0, -ENOMEM, or why there is no thread
 * for it. The stack lives until pcap_finish().
 */
int __must_check pcap_start(struct stack *s, int fd);
/* Waits until all that was seen is written, but not for ever. Nothing without pcap_start(). */
void pcap_finish(void);
