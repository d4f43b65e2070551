/* `sandbox doctor`: what this host offers, what is chosen and why, which defences are in force. */
#pragma once

/* Prints to stdout; 0 if `sandbox exec` can run here, else 1. */
int doctor_main(void);
