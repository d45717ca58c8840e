/* A hash table of pointers, each with a number. Its memory is the C library's: nothing here begins a collection. */
#ifndef PHASESCOPE_POINTERS_H
#define PHASESCOPE_POINTERS_H

#include "core.h"

#include <stdlib.h>

typedef struct {
    const void *key; /* NULL: free */
    Py_ssize_t value;
} Pointer;

typedef struct {
    Pointer *slots;
    size_t mask, used;
} Pointers;

static inline int
pointers_make(Pointers *table, size_t expected)
{
    size_t size = 64;
    while (size < expected * 2) {
        size *= 2;
    }
    table->slots = calloc(size, sizeof *table->slots);
    table->mask = size - 1;
    table->used = 0;
    return table->slots == NULL ? -1 : 0;
}

static inline void
pointers_free(Pointers *table)
{
    free(table->slots);
    table->slots = NULL;
}

static inline Pointer *
pointers_slot(const Pointers *table, const void *key)
{
    size_t place = (size_t)(((uintptr_t)key >> 4) * 0x9E3779B97F4A7C15ull >> 20) & table->mask;
    while (table->slots[place].key != NULL && table->slots[place].key != key) {
        place = (place + 1) & table->mask;
    }
    return &table->slots[place];
}

static inline const Pointer *
pointers_find(const Pointers *table, const void *key)
{
    const Pointer *slot = pointers_slot(table, key);
    return slot->key == NULL ? NULL : slot;
}

static inline int
pointers_grow(Pointers *table)
{
    Pointers larger;
    if (pointers_make(&larger, table->mask + 1) < 0) {
        return -1;
    }
    for (size_t place = 0; place <= table->mask; place++) {
        if (table->slots[place].key != NULL) {
            *pointers_slot(&larger, table->slots[place].key) = table->slots[place];
        }
    }
    larger.used = table->used;
    free(table->slots);
    *table = larger;
    return 0;
}

/* The slot of this key, made with this value where there was none; NULL where there is no memory. */
static inline Pointer *
pointers_add(Pointers *table, const void *key, Py_ssize_t value, int *is_new)
{
    if (table->used * 2 > table->mask && pointers_grow(table) < 0) {
        return NULL;
    }
    Pointer *slot = pointers_slot(table, key);
    *is_new = slot->key == NULL;
    if (*is_new) {
        slot->key = key;
        slot->value = value;
        table->used++;
    }
    return slot;
}

#endif
