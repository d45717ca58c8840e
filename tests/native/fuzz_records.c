/* A fuzzer of what reads records: any bytes, any place, any number. Under AddressSanitizer each read beyond is a crash.
 *
 * With libFuzzer (clang) its entry is LLVMFuzzerTestOneInput. Without (gcc) `main` makes inputs of its own: true records,
 * damaged at random, in a block that ends where they do. Its argument is how many.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../src/phasescope/_native/line.h"
#include "../../src/phasescope/_native/plain.h"
#include "../../src/phasescope/_native/records.h"

static long found, found_plain, found_lines;

#define SLICE(text) {(const unsigned char *)text, sizeof text - 1}

/* What the lines of a session have in common. */
static LineText line_text = {
    .head = SLICE("{\"schema_version\":3,\"session_id\":\"5b0e\",\"timestamp_ns\":"),
    .middle = SLICE(",\"host\":\"n\",\"device_id\":"),
    .tail = SLICE(",\"context\":null,\"job_id\":null,\"rank\":0,\"local_rank\":0,\"world_size\":1,\"metadata\":{\"backend\":"),
};

static const char true_line[] =
    "{\"schema_version\":3,\"session_id\":\"5b0e\",\"timestamp_ns\":1700000000000000000,\"event_type\":\"phase_exit\","
    "\"collector\":\"phasescope.cuda\",\"sampling_interval_ms\":100,\"pid\":42,\"host\":\"n\",\"device_id\":0,"
    "\"allocator_allocated_bytes\":1073741824,\"allocator_reserved_bytes\":1073741824,\"allocator_active_bytes\":null,"
    "\"allocator_inactive_bytes\":null,\"allocator_change_bytes\":-512,\"device_used_bytes\":1,\"device_free_bytes\":2,"
    "\"device_total_bytes\":3,\"context\":null,\"job_id\":null,\"rank\":0,\"local_rank\":0,\"world_size\":1,"
    "\"metadata\":{\"backend\":\"cuda\",\"unavailable\":[\"a\",\"b\"],\"num_ooms\":1,\"phase_scope\":{\"action\":\"exit\","
    "\"name\":\"for\\\"\",\"path\":[\"step\",\"for\\\"\"],\"depth\":2,\"scope_id\":\"5b0e:10\",\"parent_scope_id\":\"5b0e:1\","
    "\"thread_id\":1,\"thread_name\":\"MainThread\",\"sequence\":11,\"attributes\":{\"n\":1,\"t\":\"x\",\"b\":true},"
    "\"duration_ns\":12345,\"status\":\"ok\",\"allocated_delta_bytes\":-512,\"peak_allocated_bytes\":9}}}";

static int
is_equal(Slice one, Slice other)
{
    return one.size == other.size && (one.size == 0 || memcmp(one.data, other.data, one.size) == 0);
}

static int
is_same_line(const LineText *text, const Plain *plain, const LineText *other_text, const Plain *other)
{
    return is_equal(plain->device, other->device) && is_equal(plain->path, other->path)
        && is_equal(plain->scope_id, other->scope_id) && is_equal(plain->parent_id, other->parent_id)
        && is_equal(text->source, other_text->source) && is_equal(text->driver, other_text->driver)
        && is_equal(text->thread, other_text->thread) && is_equal(text->metadata, other_text->metadata)
        && plain->time_ns == other->time_ns && plain->allocated == other->allocated && plain->sequence == other->sequence
        && plain->is_exit == other->is_exit && plain->duration_ns == other->duration_ns && plain->status == other->status;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 18) {
        return 0;
    }
    uint64_t position, number;
    memcpy(&position, data, 8);
    memcpy(&number, data + 8, 8);
    size_t at = data[16];
    int is_big_endian = data[17] & 1;
    long length;
    while ((length = payload_length(data + 18, size - 18, at, position, number, is_big_endian)) >= 0) {
        at += RECORD_HEADER + (size_t)length;
        number++;
        found++;
    }
    Plain plain;
    found_plain += take_plain(data + 18, size - 18, &plain);
    /* As the first line, and behind one that it may be equal to in parts: both ways must agree. */
    LineText text = line_text, text_behind = line_text;
    Plain behind;
    int is_line = take_line(data + 18, size - 18, &text, &plain);
    if (!take_line((const unsigned char *)true_line, sizeof true_line - 1, &text_behind, &behind)
        || take_line(data + 18, size - 18, &text_behind, &behind) != is_line
        || (is_line && !is_same_line(&text, &plain, &text_behind, &behind))) {
        abort();
    }
    found_lines += is_line;
    return 0;
}

#ifndef WITH_LIBFUZZER
static uint64_t state = 88172645463325252ULL;

static uint64_t
chance(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* An enter with attributes, and an exit, as events are packed. */
static const char true_enter[] =
    "\xdc\x00\x10\xab\x70\x68\x61\x73\x65\x5f\x65\x6e\x74\x65\x72\xcf\x17\x97\x9c\xfe\x36\x2a\x00\x00\x96"
    "\xa4\x63\x75\x64\x61\x00\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xce\x40\x00\x00\x00\xc0\x03\xce\x10\x00"
    "\x00\x00\xce\x20\x00\x00\x00\x05\xc0\xd2\xff\xfe\xee\x90\xc0\xc0\xcd\x02\xbc\xc0\xcd\x02\xb2\x92\xcf"
    "\x00\x00\x01\x00\x00\x00\x00\x00\xaa\x4d\x61\x69\x6e\x54\x68\x72\x65\x61\x64\x92\xa4\x73\x74\x65\x70"
    "\xa7\x66\x6f\x72\x77\x61\x72\x64\x85\xa1\x6e\x03\xa1\x74\xa4\x74\x65\x78\x74\xa1\x66\xcb\x3f\xf8\x00"
    "\x00\x00\x00\x00\x00\xa1\x62\xc3\xa1\x7a\xc0";
static const char true_exit[] =
    "\xdc\x00\x15\xaa\x70\x68\x61\x73\x65\x5f\x65\x78\x69\x74\xcf\x17\x97\x9c\xfe\x36\x2a\x00\x00\x96\xa4"
    "\x63\x75\x64\x61\x00\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xce\x40\x00\x00\x00\xc0\x03\xce\x10\x00\x00"
    "\x00\xce\x20\x00\x00\x00\x05\xc0\x00\xc0\xc0\xcd\x02\xbd\xcd\x02\xbc\xcd\x02\xb2\x92\xcf\x00\x00\x01"
    "\x00\x00\x00\x00\x00\xaa\x4d\x61\x69\x6e\x54\x68\x72\x65\x61\x64\x92\xa4\x73\x74\x65\x70\xa7\x66\x6f"
    "\x72\x77\x61\x72\x64\xc0\xce\x00\x01\xe2\x40\xa2\x6f\x6b\xc0\xd1\xf0\x00\xc0";

/* A few true records, the first at `at`. */
static size_t
true_records(unsigned char *data, size_t room, uint64_t position, uint64_t number, size_t at)
{
    size_t end = at;
    for (int left = (int)(chance() % 4); left > 0; left--) {
        uint32_t length = (uint32_t)(chance() % 200);
        if (end + RECORD_HEADER + length > room) {
            break;
        }
        uint32_t crc = crc32_of(data + end + RECORD_HEADER, length, (uint32_t)(position + end + number));
        memcpy(data + end, &length, 4);
        memcpy(data + end + 4, &crc, 4);
        memcpy(data + end + 8, &number, 8);
        end += RECORD_HEADER + length;
        number++;
    }
    return end;
}

/* The two ways to a checksum: they must agree. */
static void
checksum_both_ways(const unsigned char *data, size_t size)
{
    uint32_t start = (uint32_t)chance(), found = crc32_of(data, size, start);
    int multiplies = crc32_multiplies;
    crc32_multiplies = 0;
    uint32_t by_tables = crc32_of(data, size, start);
    crc32_multiplies = multiplies;
    if (found != by_tables) {
        abort();
    }
}

static void
one_input(void)
{
    unsigned char pool[2048];
    for (size_t index = 0; index < sizeof pool; index += 8) {
        uint64_t bits = chance();
        memcpy(pool + index, &bits, 8);
    }
    uint64_t position = chance() % 3 ? chance() % 100000 : chance(), number = chance() % 3 ? chance() % 5000 : chance();
    memcpy(pool, &position, 8);
    memcpy(pool + 8, &number, 8);
    pool[16] = (unsigned char)(chance() % 4 ? 0 : chance());
    pool[17] = (unsigned char)(chance() % 8 == 0);
    size_t size = 18 + true_records(pool + 18, sizeof pool - 18, position, number, pool[16]);
    int is_payload = chance() % 2 == 0, is_exit = chance() % 2 == 0;
    if (is_payload) {
        size = is_exit ? sizeof true_exit - 1 : sizeof true_enter - 1;
        memcpy(pool + 18, is_exit ? true_exit : true_enter, size);
        size += 18;
    }
    if (chance() % 4 == 0) {
        size = 18 + sizeof true_line - 1;
        memcpy(pool + 18, true_line, size - 18);
    }
    size = chance() % 4 ? size : chance() % sizeof pool;
    for (int left = (int)(chance() % 4); left > 0 && size > 18; left--) {
        pool[18 + chance() % (size - 18)] ^= (unsigned char)(1u << chance() % 8);
    }
    unsigned char *block = malloc(size + !size);
    if (block != NULL) {
        memcpy(block, pool, size);
        checksum_both_ways(block, size);
        LLVMFuzzerTestOneInput(block, size);
        free(block);
    }
}

int
main(int argc, char **argv)
{
    long inputs = argc > 1 ? atol(argv[1]) : 100000;
    crc32_set_up();
    for (long done = 0; done < inputs; done++) {
        one_input();
    }
    printf("%ld inputs, %ld true records, %ld plain boundaries, %ld lines\n", inputs, found, found_plain, found_lines);
    return found > inputs / 8 && found_plain > inputs / 16 && found_lines > inputs / 32 ? 0 : 1;
}
#else
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    crc32_set_up();
    return 0;
}
#endif
