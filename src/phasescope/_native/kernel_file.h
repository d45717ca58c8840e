/* A file whose text the kernel makes again at each read, by the descriptor that Python keeps open; see KernelFile in
 * backends/cgroup.py. Nothing here needs the interpreter's lock.
 */
#ifndef PHASESCOPE_KERNEL_FILE_H
#define PHASESCOPE_KERNEL_FILE_H

#include <stdint.h>
#include <string.h>

#ifndef _WIN32
#include <sys/stat.h>
#include <unistd.h>
#endif

enum { KERNEL_TEXT = 16384 }; /* as backends/cgroup.py has it */

typedef struct {
    int fd; /* -1: none */
    unsigned long long device, number;
} KernelFile;

/* Whether the descriptor is still the file's. Its size, if it is asked for. */
static inline int
is_held(const KernelFile *file, long long *size)
{
#ifdef _WIN32
    (void)file, (void)size;
    return 0;
#else
    struct stat now;
    if (file->fd < 0 || fstat(file->fd, &now) != 0 || (unsigned long long)now.st_dev != file->device
        || (unsigned long long)now.st_ino != file->number) {
        return 0;
    }
    if (size != NULL) {
        *size = (long long)now.st_size;
    }
    return 1;
#endif
}

/* The length of what is read, -1 if the file is another one by now, or cannot be read. */
static inline long
read_kernel_file(const KernelFile *file, char *text, size_t room)
{
#ifdef _WIN32
    (void)file, (void)text, (void)room;
    return -1;
#else
    return is_held(file, NULL) ? (long)pread(file->fd, text, room, 0) : -1;
#endif
}

/* The decimal number at `at`, behind blanks; -1 if there is none, or it is beyond 2^60. `behind`: where it ends. */
static inline long long
decimal_at(const char *at, const char *end, const char **behind)
{
    while (at < end && *at == ' ') {
        at++;
    }
    const char *first = at;
    long long number = 0;
    while (at < end && *at >= '0' && *at <= '9') {
        number = 10 * number + (*at++ - '0');
        if (number > 1LL << 60) {
            return -1;
        }
    }
    *behind = at;
    return at == first ? -1 : number;
}

/* The number behind a label at the beginning of a line, or -1; `behind`: where it ends. */
static inline long long
labelled_number(const char *text, long size, const char *label, size_t length, const char **behind)
{
    const char *at = text, *end = text + (size < 0 ? 0 : size);
    while (at < end) {
        if ((size_t)(end - at) > length && memcmp(at, label, length) == 0) {
            return decimal_at(at + length, end, behind);
        }
        const char *line = memchr(at, '\n', (size_t)(end - at));
        at = line == NULL ? end : line + 1;
    }
    return -1;
}

#endif
