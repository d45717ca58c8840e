/* A line of a recording that holds a plain phase boundary, as recordings/recorder.py writes them, taken apart. Whatever is
 * not exactly that, byte for byte, is left to recordings/session_pass.py. No byte outside of the line is looked at.
 */
#ifndef PHASESCOPE_LINE_H
#define PHASESCOPE_LINE_H

#include "json_text.h"
#include "plain.h"

/* Names in a longer line are looked at one by one, which Python does; see recordings/event_parser.py. */
enum { LONGEST_LINE = 2048 };

typedef struct {
    /* What the lines of a session have in common: up to the time, from the host to the device, from the context to the
     * backend.
     */
    Slice head, middle, tail;
    /* What differs from one phase to the next, as text: the collector up to the process, the number of the device, what
     * its driver says, and the thread. Most are equal to those of the line before: then they need not be read again.
     */
    Slice source, number, driver, backend, unavailable, thread, parent_id, error_type, metadata;
    unsigned char device[LONGEST_LINE + 64];
} LineText;

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
static inline Slice
line_device(LineText *text)
{
    unsigned char *at = text->device;
    *at++ = '[';
    at = line_append(at, text->number);
    *at++ = ',';
    at = line_append(at, text->backend);
    *at++ = ',';
    at = line_append(at, text->unavailable);
    *at++ = ']';
    return (Slice){text->device, (size_t)(at - text->device)};
}

/* All that is alike in many lines but for the phase and the thread, in the same room. */
static inline Slice
line_source(LineText *text)
{
    unsigned char *at = line_append(line_append(text->device, text->source), text->number);
    at = line_append(line_append(line_append(at, text->driver), text->backend), text->unavailable);
    return (Slice){text->device, (size_t)(at - text->device)};
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
line_driver(Cursor *c, LineText *text)
{
    const unsigned char *start = c->at;
    int64_t used, free = 0, total = 0;
    int has_free, has_total;
    if (skip_same(c, text->driver, ',')) {
        return 1;
    }
    if (!SKIP(c, ",\"device_used_bytes\":") || !line_integer(c, 0, &used) || !SKIP(c, ",\"device_free_bytes\":")
        || !line_optional(c, &has_free, &free) || !SKIP(c, ",\"device_total_bytes\":")
        || !line_optional(c, &has_total, &total) || (has_total && (used > total || (has_free && free > total)))) {
        return 0;
    }
    text->driver = text_from(start, c);
    return 1;
}

static int
line_figures(Cursor *c, LineText *text, Plain *plain)
{
    return SKIP(c, ",\"allocator_allocated_bytes\":") && line_integer(c, 0, &plain->allocated)
        && SKIP(c, ",\"allocator_reserved_bytes\":") && line_integer(c, 0, &plain->reserved)
        && SKIP(c, ",\"allocator_active_bytes\":") && line_optional(c, &plain->has_active, &plain->active)
        && SKIP(c, ",\"allocator_inactive_bytes\":") && line_optional(c, &plain->has_inactive, &plain->inactive)
        && SKIP(c, ",\"allocator_change_bytes\":") && line_integer(c, INT64_MIN, &plain->change) && line_driver(c, text);
}

static int
line_thread(Cursor *c, LineText *text)
{
    const unsigned char *start = c->at;
    int64_t number;
    Slice name;
    if (skip_same(c, text->thread, ',')) {
        return 1;
    }
    if (!SKIP(c, ",\"thread_id\":") || !line_integer(c, INT64_MIN, &number) || !SKIP(c, ",\"thread_name\":")
        || !line_string(c, &name)) {
        return 0;
    }
    text->thread = text_from(start, c);
    return 1;
}

static int
line_parent(Cursor *c, LineText *text, Plain *plain)
{
    plain->has_parent = !SKIP(c, "null");
    if (!plain->has_parent) {
        return 1;
    }
    if (text->parent_id.data != NULL && SKIP(c, "\"") && !skip_same(c, text->parent_id, '"')) {
        c->at--; /* at the quote again */
        text->parent_id.data = NULL;
    }
    if (text->parent_id.data != NULL) {
        plain->parent_id = text->parent_id;
        return SKIP(c, "\"");
    }
    if (!line_string(c, &plain->parent_id) || plain->parent_id.size == 0) {
        return 0;
    }
    text->parent_id = plain->parent_id;
    return 1;
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
    if (!line_parent(c, text, plain) || !line_thread(c, text) || !SKIP(c, ",\"sequence\":")
        || !line_integer(c, 0, &plain->sequence)) {
        return 0;
    }
    plain->has_attributes = SKIP(c, ",\"attributes\":");
    return (!plain->has_attributes || line_attributes(c)) && (!plain->is_exit || line_ending(c, plain, &text->error_type));
}

/* From the collector to the process. */
static int
line_collector(Cursor *c, LineText *text)
{
    const unsigned char *start = c->at;
    int64_t number;
    Slice collector;
    if (skip_same(c, text->source, ',')) {
        return 1;
    }
    if (!SKIP(c, ",\"collector\":") || !line_string(c, &collector) || is_blank(collector)
        || !SKIP(c, ",\"sampling_interval_ms\":") || !line_integer(c, 0, &number) || !SKIP(c, ",\"pid\":")
        || !line_integer(c, -1, &number)) {
        return 0;
    }
    text->source = text_from(start, c);
    return 1;
}

static int
line_backend(Cursor *c, LineText *text)
{
    static const unsigned char none[] = "[]";
    Slice last;
    if (!skip_same(c, text->backend, ',') && !line_raw_string(c, &text->backend)) {
        return 0;
    }
    int has_list = SKIP(c, ",\"unavailable\":");
    if (has_list && skip_same(c, text->unavailable, ',')) {
        return 1;
    }
    if (has_list && !SKIP(c, "[]")) {
        return line_raw_list(c, &text->unavailable, &last);
    }
    text->unavailable = (Slice){none, 2};
    return 1;
}

/* `text` has what the line before had, in the same memory, and is all 0 but for the form where there was none. */
static inline int
take_line(const unsigned char *data, size_t size, LineText *text, Plain *plain)
{
    Cursor cursor = {data, data + size}, *c = &cursor;
    memset(plain, 0, sizeof *plain);
    if (size > LONGEST_LINE || !skip_slice(c, text->head) || !line_integer(c, 0, &plain->time_ns)
        || !SKIP(c, ",\"event_type\":\"phase_e")) {
        return 0;
    }
    plain->is_exit = SKIP(c, "xit\"");
    if ((!plain->is_exit && !SKIP(c, "nter\"")) || !line_collector(c, text) || !skip_slice(c, text->middle)) {
        return 0;
    }
    int64_t device_id;
    text->number.data = c->at;
    if (!line_integer(c, -1, &device_id) || device_id > 1LL << 31) {
        return 0;
    }
    text->number.size = (size_t)(c->at - text->number.data);
    if (!line_figures(c, text, plain) || !skip_slice(c, text->tail)) {
        return 0;
    }
    const unsigned char *metadata = c->at - sizeof "{\"backend\":" + 1; /* the tail ends with that */
    if (!line_backend(c, text) || !line_counts(c, plain) || !line_phase(c, text, plain) || !SKIP(c, "}}}")
        || c->at != c->end) {
        return 0;
    }
    text->metadata = (Slice){metadata, (size_t)(c->at - 1 - metadata)};
    plain->device = line_device(text);
    return 1;
}

#endif
