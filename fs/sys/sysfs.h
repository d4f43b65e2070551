/* /sys: sysfs(5). What runtimes read to learn about processors, memory nodes and huge pages; the rest is empty directories. */
#pragma once

struct super;

/* The file system of /sys. NULL: no memory. */
struct super *sysfs_create(void);
/* mount(2) knows it. */
void sysfs_init(void);
