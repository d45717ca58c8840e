/* MessagePack, as far as an event needs it, each value in its shortest form: the bytes that msgspec writes.
 *
 * Every function writes at `at` and returns the place behind. The caller has made sure of the room: at most NUMBER_BYTES
 * for a number, TEXT_BYTES and its length for a text.
 */
#ifndef PHASESCOPE_MSGPACK_H
#define PHASESCOPE_MSGPACK_H

#include <stdint.h>
#include <string.h>

enum { NUMBER_BYTES = 9, TEXT_BYTES = 5 };
enum { PACKED_NIL = 0xC0, PACKED_FALSE = 0xC2, PACKED_TRUE = 0xC3 };

static inline unsigned char *
pack_byte(unsigned char *at, int byte)
{
    *at = (unsigned char)byte;
    return at + 1;
}

static inline unsigned char *
pack_big_endian(unsigned char *at, int mark, uint64_t value, int bytes)
{
    *at++ = (unsigned char)mark;
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
        *at++ = (unsigned char)(value >> shift);
    }
    return at;
}

/* A number of that many bytes, always stored as eight: there is room for them, and compilers make one store of it. */
static inline unsigned char *
pack_number(unsigned char *at, int mark, uint64_t value, int bytes)
{
    value <<= 64 - 8 * bytes;
    at[0] = (unsigned char)mark;
    at[1] = (unsigned char)(value >> 56);
    at[2] = (unsigned char)(value >> 48);
    at[3] = (unsigned char)(value >> 40);
    at[4] = (unsigned char)(value >> 32);
    at[5] = (unsigned char)(value >> 24);
    at[6] = (unsigned char)(value >> 16);
    at[7] = (unsigned char)(value >> 8);
    at[8] = (unsigned char)value;
    return at + 1 + bytes;
}

static inline unsigned char *
pack_unsigned(unsigned char *at, uint64_t value)
{
    if (value < 0x80) {
        return pack_byte(at, (int)value);
    }
    if (value <= 0xFF) {
        return pack_number(at, 0xCC, value, 1);
    }
    if (value <= 0xFFFF) {
        return pack_number(at, 0xCD, value, 2);
    }
    if (value <= 0xFFFFFFFF) {
        return pack_number(at, 0xCE, value, 4);
    }
    return pack_number(at, 0xCF, value, 8);
}

static inline unsigned char *
pack_integer(unsigned char *at, int64_t value)
{
    if (value >= 0) {
        return pack_unsigned(at, (uint64_t)value);
    }
    if (value >= -32) {
        return pack_byte(at, (int)(value & 0xFF));
    }
    if (value >= INT8_MIN) {
        return pack_number(at, 0xD0, (uint64_t)value, 1);
    }
    if (value >= INT16_MIN) {
        return pack_number(at, 0xD1, (uint64_t)value, 2);
    }
    if (value >= INT32_MIN) {
        return pack_number(at, 0xD2, (uint64_t)value, 4);
    }
    return pack_number(at, 0xD3, (uint64_t)value, 8);
}

static inline unsigned char *
pack_double(unsigned char *at, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return pack_number(at, 0xCB, bits, 8);
}

static inline unsigned char *
pack_raw(unsigned char *at, const void *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}

static inline unsigned char *
pack_text(unsigned char *at, const char *text, size_t size)
{
    if (size < 32) {
        at = pack_byte(at, (int)(0xA0 | size));
    }
    else if (size <= 0xFF) {
        at = pack_big_endian(at, 0xD9, size, 1);
    }
    else if (size <= 0xFFFF) {
        at = pack_big_endian(at, 0xDA, size, 2);
    }
    else {
        at = pack_big_endian(at, 0xDB, size, 4);
    }
    return pack_raw(at, text, size);
}

#endif
