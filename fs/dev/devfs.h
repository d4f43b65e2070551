/* /dev: a tmpfs that starts with the usual nodes and links; devpts and shared memory are mounted below it. */
#pragma once

#include "fs/mount.h"

/* Registers all devices. Once, before any is opened. */
void devfs_init(void);
/* An empty /dev to mount; a reference, or NULL. */
struct super *devfs_create(void);
/* Once it is mounted on /dev: makes the nodes and links, and mounts /dev/pts and /dev/shm. c has all capabilities. 0 or the first error. */
int devfs_populate(struct ctx *c);

/* fs/dev/mem.c */
void mem_devices_init(void);
