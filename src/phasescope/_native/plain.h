/* A ring payload that is a plain phase boundary, as event.h writes them, taken apart. Whatever is not exactly that is
 * left to wire/codec.py, which knows all there may be. No byte outside of the payload is looked at.
 */
#ifndef PHASESCOPE_PLAIN_H
#define PHASESCOPE_PLAIN_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const unsigned char *at, *end;
} Cursor;

typedef struct {
    const unsigned char *data;
    size_t size;
} Slice;

enum { STATUS_OK = 0, STATUS_ERROR = 1, STATUS_ABANDONED = 2 };

/* What an allocator counts; see analysis/summary/allocator_counts.py. */
enum { COUNTS = 4 };
static const char *const count_names[COUNTS] = {
    "num_alloc_retries", "num_ooms", "num_device_alloc", "num_device_free"};

/* A line has whole ids of phases in place of their numbers. */
typedef struct {
    int is_exit, status;
    int has_scope, has_parent, has_duration, has_delta, has_peak, has_active, has_inactive;
    int has_attributes, has_error_type;
    int has_count[COUNTS], has_counts;
    int64_t time_ns, allocated, reserved, active, inactive, change, sequence, scope, parent;
    int64_t duration_ns, allocated_delta, peak;
    int64_t counts[COUNTS];
    Slice device, thread, path, scope_id, parent_id;
} Plain;

/* Of one, two, four or eight bytes. Compilers make one load of each case, but no loop of four. */
static inline uint64_t
big_endian(const unsigned char *at, int bytes)
{
    switch (bytes) {
    case 1:
        return at[0];
    case 2:
        return (uint64_t)at[0] << 8 | at[1];
    case 4:
        return (uint64_t)at[0] << 24 | (uint64_t)at[1] << 16 | (uint64_t)at[2] << 8 | at[3];
    default:
        return (uint64_t)at[0] << 56 | (uint64_t)at[1] << 48 | (uint64_t)at[2] << 40 | (uint64_t)at[3] << 32
            | (uint64_t)at[4] << 24 | (uint64_t)at[5] << 16 | (uint64_t)at[6] << 8 | at[7];
    }
}

/* The same of one that is longer than its mark. */
static int
take_long_integer(Cursor *c, int64_t *value)
{
    int mark = *c->at;
    if (mark < 0xCC || mark > 0xD3) {
        return 0;
    }
    int bytes = 1 << (mark & 3);
    if (c->end - c->at <= bytes) {
        return 0;
    }
    uint64_t bits = big_endian(c->at + 1, bytes);
    if (mark >= 0xD0) { /* with a sign */
        uint64_t sign = 1ULL << (8 * bytes - 1);
        *value = (int64_t)((bits ^ sign) - sign);
    }
    else if (bits > INT64_MAX) {
        return 0;
    }
    else {
        *value = (int64_t)bits;
    }
    c->at += 1 + bytes;
    return 1;
}

/* An integer of 64 bits with a sign; 0 where there is none. */
static inline int
take_integer(Cursor *c, int64_t *value)
{
    if (c->at >= c->end) {
        return 0;
    }
    int mark = *c->at;
    if (mark < 0x80 || mark >= 0xE0) {
        *value = mark < 0x80 ? mark : mark - 0x100;
        c->at++;
        return 1;
    }
    return take_long_integer(c, value);
}

static int
take_unsigned(Cursor *c, int64_t *value)
{
    return take_integer(c, value) && *value >= 0;
}

static int
take_nil(Cursor *c)
{
    if (c->at < c->end && *c->at == 0xC0) {
        c->at++;
        return 1;
    }
    return 0;
}

static int
take_optional(Cursor *c, int *has, int64_t *value)
{
    *has = !take_nil(c);
    return !*has || take_unsigned(c, value);
}

static int
take_text(Cursor *c, Slice *text)
{
    if (c->at >= c->end) {
        return 0;
    }
    int mark = *c->at, bytes = mark == 0xD9 ? 1 : mark == 0xDA ? 2 : 0;
    if ((mark < 0xA0 || mark > 0xBF) && bytes == 0) {
        return 0;
    }
    if (c->end - c->at <= bytes) {
        return 0;
    }
    text->size = bytes == 0 ? (size_t)(mark & 0x1F) : (size_t)big_endian(c->at + 1, bytes);
    text->data = c->at + 1 + bytes;
    if ((size_t)(c->end - text->data) < text->size) {
        return 0;
    }
    c->at = text->data + text->size;
    return 1;
}

/* Of what is not ASCII Python is to find out whether it is UTF-8. */
static int
take_ascii(Cursor *c)
{
    Slice text;
    if (!take_text(c, &text)) {
        return 0;
    }
    for (size_t index = 0; index < text.size; index++) {
        if (text.data[index] >= 0x80) {
            return 0;
        }
    }
    return 1;
}

static int
is_text(Slice text, const char *expected)
{
    return text.size == strlen(expected) && memcmp(text.data, expected, text.size) == 0;
}

/* How many elements an array (`short_mark` 0x90) or a map (0x80) has; -1 where there is none. */
static long
take_count(Cursor *c, int short_mark, int long_mark)
{
    if (c->at < c->end && (*c->at & 0xF0) == short_mark) {
        return *c->at++ & 0x0F;
    }
    if (c->end - c->at >= 3 && *c->at == long_mark) {
        c->at += 3;
        return (long)big_endian(c->at - 2, 2);
    }
    return -1;
}

static int
take_device(Cursor *c, Slice *device)
{
    const unsigned char *start = c->at;
    Slice name;
    int has;
    int64_t number;
    if (take_count(c, 0x90, 0xDC) != 6 || !take_text(c, &name) || !take_integer(c, &number) || !take_unsigned(c, &number)
        || !take_optional(c, &has, &number) || !take_optional(c, &has, &number) || !take_unsigned(c, &number)) {
        return 0;
    }
    *device = (Slice){start, (size_t)(c->at - start)};
    return 1;
}

static int
take_path(Cursor *c, Slice *path)
{
    const unsigned char *start = c->at;
    Slice name;
    long count = take_count(c, 0x90, 0xDC);
    for (long index = 0; index < count; index++) {
        if (!take_text(c, &name)) {
            return 0;
        }
    }
    *path = (Slice){start, (size_t)(c->at - start)};
    return count >= 0;
}

static int
take_scalar(Cursor *c)
{
    int64_t number;
    if (c->at >= c->end) {
        return 0;
    }
    int mark = *c->at;
    if (mark == 0xC0 || mark == 0xC2 || mark == 0xC3) {
        c->at++;
        return 1;
    }
    if (mark == 0xCB) {
        if (c->end - c->at < 9) {
            return 0;
        }
        uint64_t bits = big_endian(c->at + 1, 8);
        double value;
        memcpy(&value, &bits, sizeof value);
        c->at += 9;
        return isfinite(value);
    }
    return take_integer(c, &number) || take_ascii(c);
}

static int
take_attributes(Cursor *c)
{
    if (take_nil(c)) {
        return 1;
    }
    long count = take_count(c, 0x80, 0xDE);
    for (long index = 0; index < count; index++) {
        if (!take_ascii(c) || !take_scalar(c)) {
            return 0;
        }
    }
    return count >= 0;
}

/* What an event may have beyond its own: here, the allocator's counts, in their order. */
static int
take_extra(Cursor *c, Plain *plain)
{
    if (take_nil(c)) {
        return 1;
    }
    long count = take_count(c, 0x80, 0xDE);
    int at = 0;
    for (long index = 0; index < count; index++) {
        Slice name;
        if (!take_text(c, &name)) {
            return 0;
        }
        while (at < COUNTS && !is_text(name, count_names[at])) {
            at++;
        }
        if (at == COUNTS || !take_unsigned(c, &plain->counts[at])) {
            return 0;
        }
        plain->has_count[at++] = plain->has_counts = 1;
    }
    return count > 0;
}

/* Where the whole event is to be true, its name must be text as well: only ASCII is known to be. */
static int
take_thread(Cursor *c, Slice *thread, int is_whole)
{
    const unsigned char *start = c->at;
    Slice name;
    int64_t number;
    if (take_count(c, 0x90, 0xDC) != 2 || !take_integer(c, &number)
        || !(is_whole ? take_ascii(c) : take_text(c, &name))) {
        return 0;
    }
    *thread = (Slice){start, (size_t)(c->at - start)};
    return 1;
}

/* What only an exit has: of five values those that there are, the last may be left out. */
static int
take_ending(Cursor *c, long count, Plain *plain)
{
    Slice status;
    if (count > 0 && !take_optional(c, &plain->has_duration, &plain->duration_ns)) {
        return 0;
    }
    if (count > 1) {
        if (!take_text(c, &status)) {
            return 0;
        }
        plain->status = is_text(status, "ok") ? STATUS_OK : is_text(status, "error") ? STATUS_ERROR : STATUS_ABANDONED;
        if (plain->status == STATUS_ABANDONED && !is_text(status, "abandoned")) {
            return 0;
        }
    }
    plain->has_error_type = count > 2 && !take_nil(c);
    if (plain->has_error_type && !take_ascii(c)) {
        return 0;
    }
    plain->has_delta = count > 3 && !take_nil(c);
    return (!plain->has_delta || take_integer(c, &plain->allocated_delta))
        && (count < 5 || take_optional(c, &plain->has_peak, &plain->peak));
}

enum { UP_TO_PATH = 15, UP_TO_ATTRIBUTES = 16, ALL_VALUES = 21 };

static inline int
take_plain(const unsigned char *data, size_t size, Plain *plain)
{
    Cursor cursor = {data, data + size}, *c = &cursor;
    Slice kind;
    memset(plain, 0, sizeof *plain);
    long count = take_count(c, 0x90, 0xDC);
    if (count < UP_TO_PATH || count > ALL_VALUES || !take_text(c, &kind)) {
        return 0;
    }
    plain->is_exit = is_text(kind, "phase_exit");
    if ((!plain->is_exit && (count > UP_TO_ATTRIBUTES || !is_text(kind, "phase_enter")))
        || !take_unsigned(c, &plain->time_ns) || !take_device(c, &plain->device) || !take_unsigned(c, &plain->allocated)
        || !take_unsigned(c, &plain->reserved) || !take_optional(c, &plain->has_active, &plain->active)
        || !take_optional(c, &plain->has_inactive, &plain->inactive) || !take_integer(c, &plain->change)
        || !take_nil(c) /* context */ || !take_extra(c, plain) || !take_unsigned(c, &plain->sequence)
        || !take_optional(c, &plain->has_scope, &plain->scope)
        || !take_optional(c, &plain->has_parent, &plain->parent)
        || !take_thread(c, &plain->thread, plain->has_counts) || !take_path(c, &plain->path)) {
        return 0;
    }
    plain->has_attributes = count >= UP_TO_ATTRIBUTES && c->at < c->end && *c->at != 0xC0;
    return (count < UP_TO_ATTRIBUTES || take_attributes(c))
        && (!plain->is_exit || take_ending(c, count - UP_TO_ATTRIBUTES, plain)) && c->at == c->end;
}

#endif
