/* SipHash-2-4 (Aumasson and Bernstein): a keyed hash of short input that who does not know the key cannot aim. */
#pragma once

#include "sentry/base/types.h"

uint64_t siphash(const uint64_t key[2], const void *data, size_t n);
