/* Names of hosts: see name.h. RFC 1123, 2.1, and the underscores that RFC 8552 gives to services. */
#include "net/nat/name.h"

#include <string.h>

#define LABEL_MAX 63u

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool name_from_text(const char *text, size_t n, char ret[NAME_MAX_SIZE])
{
	size_t label = 0;

	if (n && text[n - 1] == '.')
		n--;
	if (n == 0 || n > 253)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = lower(text[i]);

		if (c == '.' ? label == 0 : !host_char(c) || label == LABEL_MAX)
			return false;
		label = c == '.' ? 0 : label + 1;
		ret[i] = c;
	}
	ret[n] = 0;
	return label != 0;
}

bool name_below(const char *name, const char *domain)
{
	size_t n = strlen(name), d = strlen(domain);

	return n > d + 1 && name[n - d - 1] == '.' && memcmp(name + n - d, domain, d) == 0;
}

bool name_is_localhost(const char *name)
{
	return strcmp(name, "localhost") == 0 || name_below(name, "localhost");
}
