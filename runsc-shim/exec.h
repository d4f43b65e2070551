/* `sandbox exec`. */
#pragma once

/* argv[0] is "exec". Returns the exit status. */
int exec_main(int argc, char **argv, char **environment);
