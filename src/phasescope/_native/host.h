/* The host's figures, between two looks of Python's; see host.c. */
#ifndef PHASESCOPE_HOST_H
#define PHASESCOPE_HOST_H

#include "core.h"
#include "kernel_file.h"

enum { LONGEST_LABEL = 32 };
enum { FIGURES_NS = 250000000 }; /* between two readings, as backends/cpu.py has it */

/* What there is to read, by value: it is read without the interpreter's lock. */
typedef struct {
    KernelFile statm, meminfo, usage, stat;
    char label[LONGEST_LABEL]; /* of the reclaimable part, in `stat` */
    size_t label_bytes;
    long long total_bytes; /* of the machine */
    long long limit_bytes; /* -1: no group limits it */
} HostFiles;

typedef struct {
    PyObject_HEAD
    PyObject *figures; /* as backends/cpu.py has read them last, or a tick of the core's */
    long long due_ns;  /* when they are to be read again */
    long long known_until_ns; /* when Python is to look at the files again; 0: at once */
    unsigned long long looks; /* how often it did */
    HostFiles files;
} Host;

/* Read them into `figures`: used, free, total. 0 where it is Python's to find out. */
int read_host(const HostFiles *files, long long figures[3]);

#endif
