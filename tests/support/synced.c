/* Keeps, in a second folder, each file of a watched folder as it was when it was last synced: what a power cut leaves.
 *
 * LD_PRELOAD this into a program with SYNCED_FROM (the watched folder) and SYNCED_TO set. What is written or truncated
 * after the last sync is not there after a cut. SQLite's shared-memory file is never synced, so it is missing, as it
 * would be. With SYNCED_LIES set, the disk says that it has synced, and never has. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where a watched file is kept; 0 when it is not watched. */
static int kept_as(const char *path, char *whole) {
    const char *from = getenv("SYNCED_FROM"), *to = getenv("SYNCED_TO"), *name = strrchr(path, '/');
    if (!from || !to || !name || strncmp(path, from, strlen(from)) || path[strlen(from)] != '/') return 0;
    snprintf(whole, PATH_MAX - 32, "%s%s", to, name);
    return 1;
}

/* Copies the file as it is now to a name of this thread's own; 0 when it is not watched. */
static int copy(int fd, char *part, char *whole) {
    char link[64], path[PATH_MAX], buffer[1 << 16];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (getenv("SYNCED_LIES") || !kept_as(path, whole)) return 0;
    snprintf(part, PATH_MAX, "%s.%d.part", whole, gettid());
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out < 0) return 0;
    /* Never open and close the file itself: that would drop the locks which SQLite holds on it. */
    off_t at = 0;
    ssize_t got;
    while ((got = pread(fd, buffer, sizeof buffer, at)) > 0 && write(out, buffer, got) == got) at += got;
    close(out);
    return 1;
}

/* Only what was written before a sync began is promised by it, so the copy is made before. One sync after the other:
 * an old copy must not take the place of a newer one. */
static int keep(int fd, int (*sync)(int)) {
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    char part[PATH_MAX], whole[PATH_MAX];
    pthread_mutex_lock(&one);
    int watched = copy(fd, part, whole);
    int result = sync(fd);
    if (watched && result == 0) rename(part, whole);
    pthread_mutex_unlock(&one);
    return result;
}

/* SQLite syncs the folder after it has deleted a journal, so a deletion counts at once. */
int unlink(const char *path) {
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    char whole[PATH_MAX];
    if (kept_as(path, whole)) real(whole);
    return real(path);
}

int fsync(int fd) { return keep(fd, (int (*)(int))dlsym(RTLD_NEXT, "fsync")); }

int fdatasync(int fd) { return keep(fd, (int (*)(int))dlsym(RTLD_NEXT, "fdatasync")); }
