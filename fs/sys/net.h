/* /sys/class/net and /sys/devices/virtual/net: the interfaces of the reader's network namespace. */
#pragma once

#include "fs/pseudo.h"

extern const struct pseudo_dir sys_class_net_dir, sys_virtual_net_dir;
