/* Destinations that no guest reaches by nat. */
#pragma once

#include <netinet/in.h>

#include "sentry/base/types.h"

bool nat_forbidden(const struct in6_addr *dst);
