/* CRC-32 as zlib computes it: by carry-less multiplication where the processor has it, else eight bytes at a step
 * (slicing by 8). The tables, 8 KiB, are in crc32.c; in a training's step they are seldom in a cache.
 */
#ifndef PHASESCOPE_CRC32_H
#define PHASESCOPE_CRC32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define CRC32_CAN_MULTIPLY 1
#endif

enum { CRC32_BLOCK = 16 };

extern uint32_t crc32_tables[8][256];
extern int crc32_multiplies;

/* Fill the tables, and find out what the processor can do. */
void crc32_set_up(void);

/* Of at least CRC32_BLOCK bytes. */
uint32_t crc32_multiplied(const unsigned char *data, size_t size, uint32_t start);

/* The four bytes at this place, the first the lowest, on any machine. */
static inline uint32_t
crc32_four(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint32_t
crc32_of(const unsigned char *data, size_t size, uint32_t start)
{
#ifdef CRC32_CAN_MULTIPLY
    if (crc32_multiplies && size >= CRC32_BLOCK) {
        return crc32_multiplied(data, size, start);
    }
#endif
    uint32_t crc = ~start;
    while (size >= 8) {
        uint32_t low = crc ^ crc32_four(data), high = crc32_four(data + 4);
        crc = crc32_tables[7][low & 0xFF] ^ crc32_tables[6][low >> 8 & 0xFF] ^ crc32_tables[5][low >> 16 & 0xFF]
            ^ crc32_tables[4][low >> 24] ^ crc32_tables[3][high & 0xFF] ^ crc32_tables[2][high >> 8 & 0xFF]
            ^ crc32_tables[1][high >> 16 & 0xFF] ^ crc32_tables[0][high >> 24];
        data += 8;
        size -= 8;
    }
    while (size--) {
        crc = crc >> 8 ^ crc32_tables[0][(crc ^ *data++) & 0xFF];
    }
    return ~crc;
}

#endif
