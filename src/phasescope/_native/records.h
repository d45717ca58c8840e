/* What is a record of a ring, told without trust in anything: no byte outside of `data` is looked at. */
#ifndef PHASESCOPE_RECORDS_H
#define PHASESCOPE_RECORDS_H

#include "crc32.h"

enum { RECORD_HEADER = 16, LONGEST_PAYLOAD = 15 * 1024 };

/* Where a payload lies: its start and its length, of 32 bits each. See wire/payloads.py. */
enum { SPAN_BYTES = 8 };

static inline uint64_t
number_at(const unsigned char *at, int bytes, int is_big_endian)
{
    uint64_t value = 0;
    for (int index = 0; index < bytes; index++) {
        value |= (uint64_t)at[index] << 8 * (is_big_endian ? bytes - 1 - index : index);
    }
    return value;
}

/* The length of the payload of a true record at this place with this number; -1 where there is none.
 *
 * `position` is that of the first byte of `data` in the ring.
 */
static inline long
payload_length(const unsigned char *data, size_t size, size_t at, uint64_t position, uint64_t number, int is_big_endian)
{
    if (at > size || size - at < RECORD_HEADER) {
        return -1;
    }
    const unsigned char *record = data + at;
    uint64_t length = number_at(record, 4, is_big_endian);
    if (number_at(record + 8, 8, is_big_endian) != number || length > LONGEST_PAYLOAD
        || length > size - at - RECORD_HEADER) {
        return -1;
    }
    uint32_t start = (uint32_t)(position + at + number);
    uint32_t crc = crc32_of(record + RECORD_HEADER, (size_t)length, start);
    return crc == number_at(record + 4, 4, is_big_endian) ? (long)length : -1;
}

#endif
