/*
 * Names: where the gateway's resolver asks, and what the guest's resolv.conf says.
 *
 * The host's file is read as glibc does: a keyword begins its line, what is not understood is passed over, the last of domain and search counts. The
 * guest's names the gateway, and has the host's search list and its other options. It is a file in memory, sealed, so that there is nothing to write to.
 */
#include "runsc-shim/resolv.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/nat/dns.h"
#include "net/stack/addr.h"

#define HOST_FILE "/etc/resolv.conf"
#define FILE_MAX (64u << 10)
#define SPACES " \t\r\v\f"
#define TIMEOUT 5
#define ATTEMPTS 2

bool resolv_address(const char *text, struct dns_server *ret)
{
	size_t n = strcspn(text, "%");
	char addr[INET6_ADDRSTRLEN];
	struct in_addr v4;

	*ret = (struct dns_server){.port = DNS_PORT};
	if (n >= sizeof(addr))
		return false;
	memcpy(addr, text, n);
	addr[n] = 0;
	if (!text[n] && inet_pton(AF_INET, addr, &v4) == 1) {
		ret->addr = addr_from_v4(v4.s_addr);
		return true;
	}
	if (inet_pton(AF_INET6, addr, &ret->addr) != 1)
		return false;
	if (!text[n])
		return true;
	ret->scope = if_nametoindex(text + n + 1);
	if (!ret->scope)
		ret->scope = (unsigned)strtoul(text + n + 1, NULL, 10);
	return ret->scope && IN6_IS_ADDR_LINKLOCAL(&ret->addr);
}

/* Appends a word, if there is room and it has nothing but what names and options have. */
static void append_word(char *to, size_t size, const char *word)
{
	static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:";
	size_t n = strlen(to), len = strlen(word);

	if (strspn(word, fine) != len || n + len + 2 > size)
		return;
	snprintf(to + n, size - n, "%s%s", n ? " " : "", word);
}

/* Those about several resolvers and their time are the gateway's: the guest, which has one, must have patience for all of them. */
static void parse_option(const char *word, struct resolv_spec *r)
{
	if (strncmp(word, "timeout:", 8) == 0)
		r->dns.timeout = (unsigned)MIN(MAX(strtoul(word + 8, NULL, 10), 1ul), 30ul);
	else if (strncmp(word, "attempts:", 9) == 0)
		r->dns.attempts = (unsigned)MIN(MAX(strtoul(word + 9, NULL, 10), 1ul), 5ul);
	else if (strcmp(word, "rotate") == 0)
		r->dns.rotate = true;
	else
		append_word(r->options, sizeof(r->options), word);
}

static void parse_server(const char *word, struct resolv_spec *r)
{
	struct dns_server s;

	if (!r->given && r->dns.server_count < DNS_SERVERS_MAX && resolv_address(word, &s))
		r->dns.servers[r->dns.server_count++] = s;
}

static void parse_line(char *line, struct resolv_spec *r)
{
	char *rest, *keyword, *word;
	bool search;

	/* A keyword stands at the beginning. */
	if (!*line || strchr(SPACES "#;", *line))
		return;
	keyword = strtok_r(line, SPACES, &rest);
	search = strcmp(keyword, "search") == 0 || strcmp(keyword, "domain") == 0;
	if (search)
		r->search[0] = 0;
	while ((word = strtok_r(NULL, SPACES, &rest)) && !strchr("#;", *word)) {
		if (search)
			append_word(r->search, sizeof(r->search), word);
		else if (strcmp(keyword, "options") == 0)
			parse_option(word, r);
		else if (strcmp(keyword, "nameserver") == 0)
			parse_server(word, r);
		if (*keyword == 'd' || *keyword == 'n')
			break;
	}
}

void resolv_parse(const char *text, size_t n, struct resolv_spec *r)
{
	char line[1024];

	r->dns.timeout = TIMEOUT;
	r->dns.attempts = ATTEMPTS;
	while (n) {
		const char *end = memchr(text, '\n', n);
		size_t len = end ? (size_t)(end - text) : n, used = end ? len + 1 : len;

		if (len < sizeof(line) && !memchr(text, 0, len)) {
			memcpy(line, text, len);
			line[len] = 0;
			parse_line(line, r);
		}
		text += used;
		n -= used;
	}
	if (!r->dns.server_count)
		r->dns.servers[r->dns.server_count++] =
		    (struct dns_server){.addr = addr_from_v4(htonl(INADDR_LOOPBACK)), .port = DNS_PORT};
}

static size_t read_host_file(char *to, size_t size)
{
	int fd = open(HOST_FILE, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t have = 0;
	ssize_t n = 1;

	if (fd < 0)
		return 0;
	while (have < size && (n = read(fd, to + have, size - have)) > 0)
		have += (size_t)n;
	close(fd);
	return have;
}

/* -errno */
static int make_file(const struct resolv_spec *r)
{
	int fd = memfd_create("resolv.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING), err = 0;
	const char *search = *r->search ? "search " : "", *options = *r->options ? "options " : "";

	if (fd < 0)
		return -errno;
	if (dprintf(
		fd,
		"# of the sandbox: its gateway asks the resolvers of the machine outside\nnameserver %s\n%s%s%s%s%s%s",
		NAT_RESOLVER, search, r->search, *search ? "\n" : "", options, r->options, *options ? "\n" : "") < 0 ||
	    fchmod(fd, 0444) || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int resolv_open(struct resolv_spec *r, struct error *e)
{
	char *text = malloc(FILE_MAX);

	if (!text)
		return error_set(e, EXIT_SANDBOX, ENOMEM, NULL, "cannot start");
	resolv_parse(text, read_host_file(text, FILE_MAX), r);
	free(text);
	r->fd = make_file(r);
	return r->fd < 0 ? error_set(e, EXIT_SANDBOX, -r->fd, NULL, "cannot make the guest's " HOST_FILE) : 0;
}
