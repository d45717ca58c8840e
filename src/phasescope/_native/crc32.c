/* CRC-32: the tables of crc32.h, and the way without them. */
#include "crc32.h"

#ifdef CRC32_CAN_MULTIPLY
#include <immintrin.h>
#endif

uint32_t crc32_tables[8][256];
int crc32_multiplies;

void
crc32_set_up(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) {
            value = value & 1 ? value >> 1 ^ 0xEDB88320u : value >> 1;
        }
        crc32_tables[0][byte] = value;
    }
    for (int table = 1; table < 8; table++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t before = crc32_tables[table - 1][byte];
            crc32_tables[table][byte] = before >> 8 ^ crc32_tables[0][before & 0xFF];
        }
    }
#ifdef CRC32_CAN_MULTIPLY
    __builtin_cpu_init();
    crc32_multiplies = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
}

#ifdef CRC32_CAN_MULTIPLY

/* Bits are reflected: the lowest one stands for the highest power. What 16 bytes weigh is carried on to the 16 behind
 * them (V. Gopal et al., Fast CRC Computation for Generic Polynomials Using PCLMULQDQ, Intel 2009): their halves times
 * these powers of x, modulo P, each shifted by one bit since the product of two reflected numbers is.
 */
enum { LOW_BY_LOW = 0x00, LOW_BY_HIGH = 0x10, HIGH_BY_HIGH = 0x11 };

#define MULTIPLIES __attribute__((target("pclmul,sse4.1")))

MULTIPLIES static inline __m128i
block_at(const unsigned char *place)
{
    return _mm_loadu_si128((const __m128i *)(const void *)place);
}

MULTIPLIES static inline __m128i
carried_on(__m128i sum, __m128i carry, __m128i block)
{
    __m128i low = _mm_clmulepi64_si128(sum, carry, LOW_BY_LOW), high = _mm_clmulepi64_si128(sum, carry, HIGH_BY_HIGH);
    return _mm_xor_si128(_mm_xor_si128(low, high), block);
}

MULTIPLIES uint32_t
crc32_multiplied(const unsigned char *data, size_t size, uint32_t start)
{
    const __m128i carry = _mm_set_epi64x(0x0CCAA009E, 0x1751997D0);  /* x^96 and, for the first half, x^160 */
    const __m128i half = _mm_set_epi64x(0, 0x163CD6124);             /* x^64 */
    const __m128i reduce = _mm_set_epi64x(0x1F7011641, 0x1DB710641); /* x^64 / P, P */
    const __m128i low_32 = _mm_set_epi32(0, -1, 0, -1);
    const unsigned char *end = data + size;
    /* Once the start is made a part of the data, zeros before them change nothing: they fill up the first block. */
    unsigned char first[2 * CRC32_BLOCK] = {0};
    size_t odd = size % CRC32_BLOCK, zeros = odd == 0 ? 0 : CRC32_BLOCK - odd;
    memcpy(first + zeros, data, CRC32_BLOCK);
    memcpy(first + zeros + odd, data + odd, CRC32_BLOCK);
    uint32_t four;
    memcpy(&four, first + zeros, sizeof four);
    four ^= ~start;
    memcpy(first + zeros, &four, sizeof four);
    __m128i sum = block_at(first);
    if (odd != 0) {
        sum = carried_on(sum, carry, block_at(first + CRC32_BLOCK));
    }
    for (data += odd + CRC32_BLOCK; data < end; data += CRC32_BLOCK) {
        sum = carried_on(sum, carry, block_at(data));
    }
    /* 128 bits to 96, to 64, and those modulo P (Barrett). */
    sum = _mm_xor_si128(_mm_srli_si128(sum, 8), _mm_clmulepi64_si128(sum, carry, LOW_BY_HIGH));
    sum = _mm_xor_si128(_mm_srli_si128(sum, 4), _mm_clmulepi64_si128(_mm_and_si128(sum, low_32), half, LOW_BY_LOW));
    __m128i times = _mm_clmulepi64_si128(_mm_and_si128(sum, low_32), reduce, LOW_BY_HIGH);
    times = _mm_clmulepi64_si128(_mm_and_si128(times, low_32), reduce, LOW_BY_LOW);
    return ~(uint32_t)_mm_extract_epi32(_mm_xor_si128(sum, times), 1);
}

#endif
