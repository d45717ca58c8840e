/* A line of a recording that holds a plain phase boundary, as recordings/recorder.py writes them, taken apart. Whatever is
 * not exactly that, byte for byte, is left to recordings/session_pass.py. No byte outside of the line is looked at.
 */
#ifndef PHASESCOPE_LINE_H
#define PHASESCOPE_LINE_H

#include "plain.h"

/* Names in a longer line are looked at one by one, which Python does; see recordings/event_parser.py. */
enum { LONGEST_LINE = 2048 };

typedef struct {
    /* What the lines of a session have in common: up to the time, from the host to the device, from the context to the
     * backend.
     */
    Slice head, middle, tail;
    /* What differs from one phase to the next, and the device as Python packs it. */
    Slice collector, backend, thread_name, error_type, metadata;
    int64_t pid, interval_ms, device_id, thread_id, used, free, total;
    int has_free, has_total;
    unsigned char device[LONGEST_LINE + 64];
} LineText;

static int
skip_literal(Cursor *c, const char *text, size_t size)
{
    if ((size_t)(c->end - c->at) < size || memcmp(c->at, text, size) != 0) {
        return 0;
    }
    c->at += size;
    return 1;
}

#define SKIP(c, text) skip_literal(c, text, sizeof text - 1)

static int
skip_slice(Cursor *c, Slice slice)
{
    return skip_literal(c, (const char *)slice.data, slice.size);
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
    while (c->at < c->end && *c->at >= 0x20 && *c->at < 0x80 && *c->at != '"' && *c->at != '\\') {
        c->at++;
    }
    *text = (Slice){start, (size_t)(c->at - start)};
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
    while (c->at < c->end && *c->at != '"') {
        c->at += *c->at == '\\' && c->end - c->at > 1 ? 2 : 1;
    }
    if (!SKIP(c, "\"")) {
        return 0;
    }
    *raw = (Slice){start, (size_t)(c->at - start)};
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
    *raw = (Slice){start, (size_t)(c->at - start)};
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

static int
line_counts(Cursor *c, Plain *plain)
{
    for (int at = 0; at < COUNTS; at++) {
        const unsigned char *start = c->at;
        if (SKIP(c, ",\"") && skip_literal(c, count_names[at], strlen(count_names[at])) && SKIP(c, "\":")) {
            if (!line_integer(c, 0, &plain->counts[at])) {
                return 0;
            }
            plain->has_count[at] = plain->has_counts = 1;
        }
        else {
            c->at = start;
        }
    }
    return 1;
}

static unsigned char *
line_append(unsigned char *at, Slice slice)
{
    memcpy(at, slice.data, slice.size);
    return at + slice.size;
}

/* The device's number, backend and unavailable counters together, as `LineUnpack.boundaries` has them. */
static Slice
line_device(unsigned char *room, Slice number, Slice backend, Slice unavailable)
{
    unsigned char *at = room;
    *at++ = '[';
    at = line_append(at, number);
    *at++ = ',';
    at = line_append(at, backend);
    *at++ = ',';
    at = line_append(at, unavailable);
    *at++ = ']';
    return (Slice){room, (size_t)(at - room)};
}

static int
is_blank(Slice text)
{
    for (size_t index = 0; index < text.size; index++) {
        if (text.data[index] > 0x20) {
            return 0;
        }
    }
    return 1;
}

static int
line_ending(Cursor *c, Plain *plain, Slice *error_type)
{
    Slice status;
    plain->has_duration = 1;
    if (!SKIP(c, ",\"duration_ns\":") || !line_integer(c, 0, &plain->duration_ns) || !SKIP(c, ",\"status\":")
        || !line_string(c, &status)) {
        return 0;
    }
    plain->status = is_text(status, "ok") ? STATUS_OK : is_text(status, "error") ? STATUS_ERROR : STATUS_ABANDONED;
    if (plain->status == STATUS_ABANDONED && !is_text(status, "abandoned")) {
        return 0;
    }
    plain->has_error_type = SKIP(c, ",\"error_type\":");
    if (plain->has_error_type && !line_string(c, error_type)) {
        return 0;
    }
    plain->has_delta = SKIP(c, ",\"allocated_delta_bytes\":");
    if (plain->has_delta && !line_integer(c, INT64_MIN, &plain->allocated_delta)) {
        return 0;
    }
    plain->has_peak = SKIP(c, ",\"peak_allocated_bytes\":");
    return !plain->has_peak || line_integer(c, 0, &plain->peak);
}

static int
line_figures(Cursor *c, LineText *text, Plain *plain)
{
    return SKIP(c, ",\"allocator_allocated_bytes\":") && line_integer(c, 0, &plain->allocated)
        && SKIP(c, ",\"allocator_reserved_bytes\":") && line_integer(c, 0, &plain->reserved)
        && SKIP(c, ",\"allocator_active_bytes\":") && line_optional(c, &plain->has_active, &plain->active)
        && SKIP(c, ",\"allocator_inactive_bytes\":") && line_optional(c, &plain->has_inactive, &plain->inactive)
        && SKIP(c, ",\"allocator_change_bytes\":") && line_integer(c, INT64_MIN, &plain->change)
        && SKIP(c, ",\"device_used_bytes\":") && line_integer(c, 0, &text->used)
        && SKIP(c, ",\"device_free_bytes\":") && line_optional(c, &text->has_free, &text->free)
        && SKIP(c, ",\"device_total_bytes\":") && line_optional(c, &text->has_total, &text->total)
        && (!text->has_total || (text->used <= text->total && (!text->has_free || text->free <= text->total)));
}

static int
line_phase(Cursor *c, LineText *text, Plain *plain)
{
    Slice name, last;
    int64_t number;
    if (!SKIP(c, ",\"phase_scope\":{\"action\":")
        || !(plain->is_exit ? SKIP(c, "\"exit\"") : SKIP(c, "\"enter\"")) || !SKIP(c, ",\"name\":")
        || !line_raw_string(c, &name) || !SKIP(c, ",\"path\":") || !line_raw_list(c, &plain->path, &last)
        || name.size != last.size || memcmp(name.data, last.data, name.size) != 0 || !SKIP(c, ",\"depth\":")
        || !line_integer(c, 0, &number) || !SKIP(c, ",\"scope_id\":") || !line_string(c, &plain->scope_id)
        || plain->scope_id.size == 0 || !SKIP(c, ",\"parent_scope_id\":")) {
        return 0;
    }
    plain->has_scope = 1;
    plain->has_parent = !SKIP(c, "null");
    if ((plain->has_parent && (!line_string(c, &plain->parent_id) || plain->parent_id.size == 0))
        || !SKIP(c, ",\"thread_id\":") || !line_integer(c, INT64_MIN, &text->thread_id)
        || !SKIP(c, ",\"thread_name\":") || !line_string(c, &text->thread_name) || !SKIP(c, ",\"sequence\":")
        || !line_integer(c, 0, &plain->sequence)) {
        return 0;
    }
    plain->has_attributes = SKIP(c, ",\"attributes\":");
    return (!plain->has_attributes || line_attributes(c)) && (!plain->is_exit || line_ending(c, plain, &text->error_type));
}

static inline int
take_line(const unsigned char *data, size_t size, LineText *text, Plain *plain)
{
    static const unsigned char none[] = "[]";
    Cursor cursor = {data, data + size}, *c = &cursor;
    Slice number, unavailable = {none, 2}, last;
    memset(plain, 0, sizeof *plain);
    if (size > LONGEST_LINE || !skip_slice(c, text->head) || !line_integer(c, 0, &plain->time_ns)
        || !SKIP(c, ",\"event_type\":\"phase_e")) {
        return 0;
    }
    plain->is_exit = SKIP(c, "xit\"");
    if ((!plain->is_exit && !SKIP(c, "nter\"")) || !SKIP(c, ",\"collector\":") || !line_string(c, &text->collector)
        || is_blank(text->collector) || !SKIP(c, ",\"sampling_interval_ms\":") || !line_integer(c, 0, &text->interval_ms)
        || !SKIP(c, ",\"pid\":") || !line_integer(c, -1, &text->pid) || !skip_slice(c, text->middle)) {
        return 0;
    }
    number.data = c->at;
    if (!line_integer(c, -1, &text->device_id) || text->device_id > 1LL << 31) {
        return 0;
    }
    number.size = (size_t)(c->at - number.data);
    if (!line_figures(c, text, plain) || !skip_slice(c, text->tail)) {
        return 0;
    }
    const unsigned char *metadata = c->at - sizeof "{\"backend\":" + 1; /* the tail ends with that */
    if (!line_raw_string(c, &text->backend)
        || (SKIP(c, ",\"unavailable\":") && !SKIP(c, "[]") && !line_raw_list(c, &unavailable, &last))
        || !line_counts(c, plain) || !line_phase(c, text, plain) || !SKIP(c, "}}}") || c->at != c->end) {
        return 0;
    }
    text->metadata = (Slice){metadata, (size_t)(c->at - 1 - metadata)};
    plain->device = line_device(text->device, number, text->backend, unavailable);
    return 1;
}

#endif
