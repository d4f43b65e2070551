/* What every platform's cpu begins with. Only platforms include this. */
#pragma once

#include "platform/platform.h"

struct cpu {
	void *client;          /* the owner's, see cpu_client() */
	struct aspace *aspace; /* constant; the platform's own type */
};
