/* Stands between a node and libc: makes calls on the node's own files fail or wait, and shifts its wall clock. What to
 * do stands in a page of memory that the harness shares; what was done is counted there. The layout is that of shim.rs.
 * Calls on sockets, logs and files outside of the data folder are never touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#undef fread_unlocked /* a macro where the compiler optimizes */

enum kind { SYNC = 0, WRITE = 1, READ = 2, KINDS = 3 };

struct page {
    uint64_t processes;       /* that have loaded this */
    int64_t clock_offset_ns;  /* added to the wall clock */
    uint64_t clock_shifted;   /* answers that it changed */
    struct {
        uint64_t error_permille; /* of calls that fail with EIO */
        uint64_t errors;
        uint64_t delay_ns;       /* before each call */
        uint64_t delayed;
    } calls[KINDS];
};

static struct page *page;
static const char *folder;
static size_t folder_length;

static uint64_t get(uint64_t *at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
static void count(uint64_t *at) { __atomic_fetch_add(at, 1, __ATOMIC_RELAXED); }

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("YUNBASE_CHAOS_PAGE");
    folder = getenv("YUNBASE_CHAOS_FOLDER");
    if (!path || !folder) return;
    folder_length = strlen(folder);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED) return;
    page = at;
    count(&page->processes);
}

static uint64_t chance(void) {
    static __thread uint64_t state;
    if (!state) state = (uintptr_t)&state ^ ((uint64_t)getpid() << 32) ^ 0x9e3779b97f4a7c15u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % 1000;
}

static int is_own_file(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    return length > (ssize_t)folder_length && !memcmp(path, folder, folder_length) && path[folder_length] == '/';
}

/* Whether the call shall fail; waits first when it shall. */
static int disturbed(enum kind kind, int fd) {
    if (!page) return 0;
    uint64_t permille = get(&page->calls[kind].error_permille);
    uint64_t delay = get(&page->calls[kind].delay_ns);
    if (!permille && !delay) return 0;
    int before = errno;
    int fails = 0;
    if (is_own_file(fd)) {
        if (delay) {
            struct timespec wait = {delay / 1000000000, delay % 1000000000};
            count(&page->calls[kind].delayed);
            nanosleep(&wait, NULL);
        }
        if (permille && chance() < permille) {
            count(&page->calls[kind].errors);
            fails = 1;
        }
    }
    errno = before;
    return fails;
}

#define REAL(name)                                                   \
    static __typeof__(&name) real;                                   \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);

#define WRAP(kind, type, name, parameters, ...)                      \
    type name parameters {                                           \
        REAL(name)                                                   \
        if (disturbed(kind, fd)) {                                   \
            errno = EIO;                                             \
            return -1;                                               \
        }                                                            \
        return real(__VA_ARGS__);                                    \
    }

WRAP(SYNC, int, fsync, (int fd), fd)
WRAP(SYNC, int, fdatasync, (int fd), fd)
WRAP(SYNC, int, sync_file_range, (int fd, off64_t from, off64_t length, unsigned flags), fd, from, length, flags)
WRAP(WRITE, ssize_t, write, (int fd, const void *bytes, size_t length), fd, bytes, length)
WRAP(WRITE, ssize_t, writev, (int fd, const struct iovec *parts, int n), fd, parts, n)
WRAP(WRITE, ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t at), fd, bytes, length, at)
WRAP(WRITE, ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off64_t at), fd, bytes, length, at)
WRAP(WRITE, ssize_t, pwritev, (int fd, const struct iovec *parts, int n, off_t at), fd, parts, n, at)
WRAP(WRITE, ssize_t, pwritev64, (int fd, const struct iovec *parts, int n, off64_t at), fd, parts, n, at)
WRAP(READ, ssize_t, read, (int fd, void *bytes, size_t length), fd, bytes, length)
WRAP(READ, ssize_t, pread, (int fd, void *bytes, size_t length, off_t at), fd, bytes, length, at)
WRAP(READ, ssize_t, pread64, (int fd, void *bytes, size_t length, off64_t at), fd, bytes, length, at)

/* RocksDB reads its manifest and its logs by this one; libc calls none of the above for it. */
size_t fread_unlocked(void *bytes, size_t size, size_t n, FILE *file) {
    REAL(fread_unlocked)
    if (disturbed(READ, fileno(file))) {
        errno = EIO;
        return 0;
    }
    return real(bytes, size, n, file);
}

static int64_t shift(void) {
    if (!page) return 0;
    int64_t offset = __atomic_load_n(&page->clock_offset_ns, __ATOMIC_RELAXED);
    if (offset) count(&page->clock_shifted);
    return offset;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(clock_gettime)
    int answer = real(clock, time);
    /* The monotonic clock is left alone: elections are timed by it, and no machine's jumps. */
    if (answer == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = (int64_t)time->tv_sec * 1000000000 + time->tv_nsec + shift();
        time->tv_sec = ns / 1000000000;
        time->tv_nsec = ns % 1000000000;
    }
    return answer;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    REAL(gettimeofday)
    int answer = real(time, zone);
    if (answer == 0) {
        int64_t us = (int64_t)time->tv_sec * 1000000 + time->tv_usec + shift() / 1000;
        time->tv_sec = us / 1000000;
        time->tv_usec = us % 1000000;
    }
    return answer;
}

time_t time(time_t *at) {
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
