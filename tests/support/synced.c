/* Keeps, in a second folder, each file of a watched folder as it was when it was last synced: what a power cut leaves.
 *
 * LD_PRELOAD this into a program with SYNCED_FROM (the watched folder) and SYNCED_TO set. SQLite's shared-memory file is
 * never synced, so it is missing after a cut, as it would be. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where a watched file is kept; 0 when it is not watched. */
static int kept_as(const char *path, char *whole) {
    const char *from = getenv("SYNCED_FROM"), *to = getenv("SYNCED_TO"), *name = strrchr(path, '/');
    if (!from || !to || !name || strncmp(path, from, strlen(from)) || path[strlen(from)] != '/') return 0;
    snprintf(whole, PATH_MAX, "%s%s", to, name);
    return 1;
}

static void keep(int fd) {
    char link[64], path[PATH_MAX], part[PATH_MAX + 8], whole[PATH_MAX], buffer[1 << 16];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    if (!kept_as(path, whole)) return;
    snprintf(part, sizeof part, "%s.part", whole);
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out < 0) return;
    /* Never open and close the file itself: that would drop the locks which SQLite holds on it. */
    off_t at = 0;
    ssize_t got;
    while ((got = pread(fd, buffer, sizeof buffer, at)) > 0 && write(out, buffer, got) == got) at += got;
    close(out);
    rename(part, whole);
}

/* SQLite syncs the folder after it has deleted a journal, so a deletion counts at once. */
int unlink(const char *path) {
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    char whole[PATH_MAX];
    if (kept_as(path, whole)) real(whole);
    return real(path);
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = real(fd);
    if (result == 0) keep(fd);
    return result;
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd);
    if (result == 0) keep(fd);
    return result;
}
