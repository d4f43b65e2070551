/* Bytes of TLS that are seen on the way: RFC 8446. */
#pragma once

#include "sentry/base/types.h"

#define TLS_CHANGE_CIPHER 20
#define TLS_ALERT 21
#define TLS_HANDSHAKE 22
#define TLS_DATA 23
#define TLS_RECORD_HEAD 5u
#define TLS_RECORD_MAX 16384u
#define TLS_ALERT_SIZE 7u
#define TLS_CHOICE_SIZE 43u /* of a ServerHello with its record's head, as far as is looked at */

bool tls_is_server_hello(const uint8_t choice[TLS_CHOICE_SIZE]);
/* Of such a one: the server wants another ClientHello. */
bool tls_is_retry(const uint8_t choice[TLS_CHOICE_SIZE]);
