/*
 * Credentials: immutable once published. A task changes its identity by making a copy, changing it and replacing the pointer
 * (cred_clone(), then ctx->cred = ...), as Linux's prepare_creds()/commit_creds() do. capabilities(7), credentials(7).
 */
#pragma once

#include "sentry/base/ref.h"

struct user_ns; /* one for now: the initial one */

struct cred {
	struct ref ref;
	uint32_t uid, euid, suid, fsuid;
	uint32_t gid, egid, sgid, fsgid;
	uint64_t cap_inheritable, cap_permitted, cap_effective, cap_bounding, cap_ambient;
	uint32_t securebits;
	bool no_new_privs;
	size_t group_count;
	uint32_t *groups; /* supplementary, sorted; owned */
};

#define CAP_FULL_SET ((1ull << 41) - 1)

/* A credential with uid and gid in every field; full capabilities if uid is 0. NULL: no memory. */
struct cred *cred_create(uint32_t uid, uint32_t gid, const uint32_t *groups, size_t group_count);
/* A private copy, count 1. NULL: no memory. */
struct cred *cred_clone(const struct cred *c);
const struct cred *cred_get(const struct cred *c);
void cred_put(const struct cred *c);
/* cap: CAP_* of linux/capability.h. */
bool cred_capable(const struct cred *c, int cap);
/* fsgid or a supplementary group, as for access to files. */
bool cred_in_group(const struct cred *c, uint32_t gid);
/* Replaces the supplementary groups of an unpublished clone by a copy, sorted. -ENOMEM: nothing changed. */
int __must_check cred_set_groups(struct cred *c, const uint32_t *groups, size_t count);
