// SHA-256 (FIPS 180-4). The state is plain data: it can be saved between two calls and taken up again.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} sha256_t;

void sha256_begin(sha256_t *sha);
void sha256_add(sha256_t *sha, const uint8_t *data, size_t len);
// Writes 64 hexadecimal digits and a NUL.
void sha256_end(sha256_t *sha, char hex[65]);
