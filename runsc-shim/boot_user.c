/*
 * Who the first process is: --user USER[:GROUP], names or numbers, as docker run takes them. Names are looked up in the guest's own
 * /etc/passwd and /etc/group (hostile text: bounded, parsed field by field). A name brings its groups with it; a number has the
 * group of its passwd entry, or 0 if there is none.
 */
#include "runsc-shim/boot_user.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fs/file.h"
#include "fs/path.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define TABLE_MAX (1ul << 20)
#define GROUPS_MAX 1024

struct identity {
	uint32_t uid, gid;
	char name[256]; /* empty if the user has no entry */
	char home[PATH_MAX];
	uint32_t groups[GROUPS_MAX];
	size_t group_count;
};

/* A guest's file as a NUL-terminated string of TABLE_MAX + 1 bytes, kalloc'ed; NULL if it cannot be read. */
static char *read_table(struct ctx *c, const char *path)
{
	FILE_REF f = NULL;
	char *text;
	size_t done = 0;
	off_t pos = 0;

	if (vfs_open(c, AT_FDCWD, path, O_RDONLY, 0, LOOKUP_FOLLOW, &f))
		return NULL;
	text = kalloc(TABLE_MAX + 1);
	while (text && done < TABLE_MAX) {
		struct iobuf b;
		ssize_t n;

		iobuf_init_kernel(&b, text + done, TABLE_MAX - done);
		n = file_read(c, f, &b, &pos);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return text;
}

static void free_table(char *text)
{
	if (text)
		kfree(text, TABLE_MAX + 1);
}

static bool parse_id(const char *s, uint32_t *ret)
{
	char *end;
	unsigned long n;

	if (*s < '0' || *s > '9')
		return false;
	n = strtoul(s, &end, 10);
	*ret = (uint32_t)n;
	return !*end && n < UINT32_MAX;
}

/* Cuts the next line of *text into at most `max` fields at colons; the number of fields, 0 at the end. */
static size_t next_line(char **text, char **fields, size_t max)
{
	char *line = strsep(text, "\n");
	size_t n = 0;

	while (line && n < max)
		fields[n++] = strsep(&line, ":");
	return n;
}

/* Finds the passwd entry of a name or number. */
static bool find_user(char *table, const char *name, struct identity *id)
{
	char *fields[7];
	uint32_t wanted = 0, uid, gid;
	bool numeric = parse_id(name, &wanted);

	while (table && *table) {
		size_t count = next_line(&table, fields, 7);

		if (count < 4 || !parse_id(fields[2], &uid) || !parse_id(fields[3], &gid))
			continue;
		if (numeric ? uid != wanted : strcmp(fields[0], name) != 0)
			continue;
		id->uid = uid;
		id->gid = gid;
		snprintf(id->name, sizeof(id->name), "%s", fields[0]);
		snprintf(id->home, sizeof(id->home), "%s", count > 5 ? fields[5] : "");
		return true;
	}
	return false;
}

static bool find_group(char *table, const char *name, uint32_t *ret)
{
	char *fields[4];

	while (table && *table)
		if (next_line(&table, fields, 4) >= 3 && strcmp(fields[0], name) == 0)
			return parse_id(fields[2], ret);
	return false;
}

static bool is_member(char *members, const char *name)
{
	char *m;

	while ((m = strsep(&members, ",")))
		if (strcmp(m, name) == 0)
			return true;
	return false;
}

/* The supplementary groups of id->name. */
static void add_groups(char *table, struct identity *id)
{
	char *fields[4];
	uint32_t gid;

	while (table && *table && id->group_count < GROUPS_MAX)
		if (next_line(&table, fields, 4) == 4 && is_member(fields[3], id->name) && parse_id(fields[2], &gid))
			id->groups[id->group_count++] = gid;
}

static int resolve_user(struct ctx *c, const char *user, struct identity *id, struct error *e)
{
	char *table = read_table(c, "/etc/passwd");
	bool found = find_user(table, user, id);

	free_table(table);
	if (found || parse_id(user, &id->uid))
		return 0;
	return error_set(e, EXIT_SANDBOX, 0, "give its number, or a name of the sandbox's /etc/passwd",
			 "unknown user '%s' of --user", user);
}

static int resolve_group(struct ctx *c, const char *group, struct identity *id, struct error *e)
{
	char *table;
	bool found;

	if (parse_id(group, &id->gid))
		return 0;
	table = read_table(c, "/etc/group");
	found = find_group(table, group, &id->gid);
	free_table(table);
	if (found)
		return 0;
	return error_set(e, EXIT_SANDBOX, 0, "give its number, or a name of the sandbox's /etc/group",
			 "unknown group '%s' of --user", group);
}

static int resolve(struct ctx *c, const char *spec, struct identity *id, struct error *e)
{
	char user[256];
	const char *colon = strchr(spec, ':');
	char *table;

	snprintf(user, sizeof(user), "%.*s", (int)strcspn(spec, ":"), spec);
	if (resolve_user(c, user, id, e))
		return -1;
	if (colon)
		return resolve_group(c, colon + 1, id, e);
	if (*id->name) {
		table = read_table(c, "/etc/group");
		add_groups(table, id);
		free_table(table);
	}
	return 0;
}

/*
 * What the caller's environment says of him is said of the user now; one without an entry has the home directory / and no name. What it does not
 * say stays unsaid.
 */
static void fit_environment(const struct spec *s, const struct identity *id)
{
	static char text[USER_ENV_COUNT][sizeof(id->home) + 16];
	size_t kept = 0;

	for (size_t n = 0; s->envp[n]; n++) {
		size_t len = strcspn(s->envp[n], "="), i = 0;
		const char *value;

		while (i < USER_ENV_COUNT && (strlen(user_env[i]) != len || strncmp(user_env[i], s->envp[n], len) != 0))
			i++;
		s->envp[kept] = s->envp[n];
		if (i == USER_ENV_COUNT || s->user_env_given & 1u << i) {
			kept++;
			continue;
		}
		value = i > 0 ? id->name : *id->home ? id->home : "/";
		snprintf(text[i], sizeof(text[i]), "%s=%s", user_env[i], value);
		s->envp[kept] = text[i];
		kept += *value != 0;
	}
	s->envp[kept] = NULL;
}

int boot_user(struct ctx *c, const struct spec *s, const struct cred **ret, struct error *e)
{
	static struct identity id;

	if (!s->user) {
		*ret = cred_create(s->uid, s->gid, s->groups, s->group_count);
	} else {
		if (resolve(c, s->user, &id, e))
			return -1;
		fit_environment(s, &id);
		*ret = cred_create(id.uid, id.gid, id.groups, id.group_count);
	}
	return *ret ? 0 : error_set(e, EXIT_SANDBOX, ENOMEM, NULL, "cannot start");
}
