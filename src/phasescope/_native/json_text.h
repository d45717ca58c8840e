/* Parts of JSON text as line.h needs them, each skipped and checked. No byte outside of the cursor's is looked at. */
#ifndef PHASESCOPE_JSON_TEXT_H
#define PHASESCOPE_JSON_TEXT_H

#include "plain.h"

static inline int
skip_literal(Cursor *c, const char *text, size_t size)
{
    if ((size_t)(c->end - c->at) < size || memcmp(c->at, text, size) != 0) {
        return 0;
    }
    c->at += size;
    return 1;
}

#define SKIP(c, text) skip_literal(c, text, sizeof text - 1)

static inline int
skip_slice(Cursor *c, Slice slice)
{
    return skip_literal(c, (const char *)slice.data, slice.size);
}

/* The same text as in the line before, and this byte behind it. */
static inline int
skip_same(Cursor *c, Slice before, int behind)
{
    const unsigned char *at = c->at;
    if (before.data != NULL && skip_slice(c, before) && c->at < c->end && *c->at == behind) {
        return 1;
    }
    c->at = at;
    return 0;
}

static inline Slice
text_from(const unsigned char *start, const Cursor *c)
{
    return (Slice){start, (size_t)(c->at - start)};
}

/* How many bytes from here on are certainly neither quote nor backslash, nor a control character or beyond ASCII: they
 * are looked at eight at a time. A byte that is one sets its highest bit in one of the terms; a borrow may set that of
 * another byte above it, which is then looked at by itself.
 */
static inline size_t
plain_bytes(const unsigned char *at, const unsigned char *end)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    const unsigned char *start = at;
    for (; end - at >= 8; at += 8) {
        uint64_t eight, quote, backslash;
        memcpy(&eight, at, sizeof eight);
        quote = eight ^ ones * '"';
        backslash = eight ^ ones * '\\';
        if (((eight | (eight - ones * 0x20) | (quote - ones) | (backslash - ones)) & high) != 0) {
            break;
        }
    }
    return (size_t)(at - start);
}

/* An integer of 64 bits as JSON has it, from `least` on. */
static int
line_integer(Cursor *c, int64_t least, int64_t *value)
{
    int is_negative = c->at < c->end && *c->at == '-';
    const unsigned char *at = c->at + is_negative, *start = at;
    uint64_t digits = 0;
    while (at < c->end && *at >= '0' && *at <= '9' && at - start < 19) {
        digits = 10 * digits + (uint64_t)(*at++ - '0');
    }
    if (at == start || (*start == '0' && (at - start > 1 || is_negative)) || digits > INT64_MAX
        || (at < c->end && ((*at >= '0' && *at <= '9') || *at == '.' || *at == 'e' || *at == 'E'))) {
        return 0;
    }
    *value = is_negative ? -(int64_t)digits : (int64_t)digits;
    c->at = at;
    return *value >= least;
}

static int
line_optional(Cursor *c, int *has, int64_t *value)
{
    *has = !SKIP(c, "null");
    return !*has || line_integer(c, 0, value);
}

/* A string without escapes, in ASCII: what is between its quotes. */
static int
line_string(Cursor *c, Slice *text)
{
    if (!SKIP(c, "\"")) {
        return 0;
    }
    const unsigned char *start = c->at;
    c->at += plain_bytes(c->at, c->end);
    while (c->at < c->end && *c->at >= 0x20 && *c->at < 0x80 && *c->at != '"' && *c->at != '\\') {
        c->at++;
    }
    *text = text_from(start, c);
    return SKIP(c, "\"");
}

/* Any string, quotes included. Whether it is a true one is known where it is equal to one that Python has read. */
static int
line_raw_string(Cursor *c, Slice *raw)
{
    const unsigned char *start = c->at;
    if (!SKIP(c, "\"")) {
        return 0;
    }
    c->at += plain_bytes(c->at, c->end);
    while (c->at < c->end && *c->at != '"') {
        c->at += *c->at == '\\' && c->end - c->at > 1 ? 2 : 1;
    }
    if (!SKIP(c, "\"")) {
        return 0;
    }
    *raw = text_from(start, c);
    return 1;
}

/* The same of a list of strings that is not empty, and the last of them. */
static int
line_raw_list(Cursor *c, Slice *raw, Slice *last)
{
    const unsigned char *start = c->at;
    if (!SKIP(c, "[")) {
        return 0;
    }
    do {
        if (!line_raw_string(c, last)) {
            return 0;
        }
    } while (SKIP(c, ","));
    if (!SKIP(c, "]")) {
        return 0;
    }
    *raw = text_from(start, c);
    return 1;
}

static int
line_scalar(Cursor *c)
{
    Slice text;
    int64_t number;
    if (c->at < c->end && *c->at == '"') {
        return line_string(c, &text);
    }
    return SKIP(c, "null") || SKIP(c, "true") || SKIP(c, "false") || line_integer(c, INT64_MIN, &number);
}

static int
line_attributes(Cursor *c)
{
    Slice name;
    if (!SKIP(c, "{")) {
        return 0;
    }
    do {
        if (!line_string(c, &name) || !SKIP(c, ":") || !line_scalar(c)) {
            return 0;
        }
    } while (SKIP(c, ","));
    return SKIP(c, "}");
}

#endif
