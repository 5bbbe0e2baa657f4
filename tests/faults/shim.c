/* Between mailhauld and the C library, for tests/faults.rs: it numbers, over all threads, the calls that
 * change the store or the mailbox, and those that speak with other servers. At number SHIM_AT the call fails
 * once with a fitting error (SHIM_HOW=error), or the process is gone before the call (kill), or after half
 * of what it would have written (torn). It refuses to touch anything else: the log, the control socket,
 * reads of files.
 *
 * SHIM_STATE, SHIM_MAIL: directories; SHIM_SOURCE, SHIM_THERE: the ports of the source and of the server that
 * is the destination; SHIM_LIST: gets `NUMBER KIND PATH` of each call; SHIM_HIT: the same of the one that was
 * hit. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define LONGEST 4096

static long count, at = -1;
static int source, there, list = -1;
static const char *state, *mail, *hit;
static enum { ERROR, KILL, TORN } how;

/* The next definition of the function that we stand before. */
#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int plain_open(const char *path)
{
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    return real(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void plain_write(int fd, const char *text, int length)
{
    ssize_t (*real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (real(fd, text, length) != length) abort();
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("SHIM_HOW");
    how = text && !strcmp(text, "kill") ? KILL : text && !strcmp(text, "torn") ? TORN : ERROR;
    state = getenv("SHIM_STATE");
    mail = getenv("SHIM_MAIL");
    hit = getenv("SHIM_HIT");
    if ((text = getenv("SHIM_SOURCE"))) source = atoi(text);
    if ((text = getenv("SHIM_THERE"))) there = atoi(text);
    if ((text = getenv("SHIM_AT"))) at = atol(text);
    if ((text = getenv("SHIM_LIST"))) list = plain_open(text);
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* A call that counts: 0 when it may go on, 1 when it has to be torn, else -1 and errno is set. */
static int point(const char *kind, const char *path, int error)
{
    char line[LONGEST + 100];
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (list < 0 && number != at) return 0;
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, kind, path);
    if (list >= 0) plain_write(list, line, length);
    if (number != at) return 0;
    if (hit) plain_write(plain_open(hit), line, length);
    if (how == TORN && !strcmp(kind, "write")) return 1;
    if (how != ERROR) die();
    errno = error;
    return -1;
}

/* The path as the list has it, if it is one of ours. */
static int ours(const char *path, char *shown)
{
    const char *roots[] = {state, mail}, *names[] = {"state", "mail"};
    for (int i = 0; i < 2; i++) {
        size_t length = roots[i] ? strlen(roots[i]) : 0;
        if (length && !strncmp(path, roots[i], length) && (!path[length] || path[length] == '/'))
            return snprintf(shown, LONGEST, "%s%s", names[i], path + length) > 0;
    }
    return 0;
}

static int path_of(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, LONGEST - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int our_file(int fd, char *shown)
{
    char path[LONGEST];
    int before = errno, found = path_of(fd, path) && ours(path, shown);
    errno = before;
    return found;
}

static int our_name(int fd, const char *name, char *shown)
{
    char path[2 * LONGEST];
    if (name[0] == '/') return ours(name, shown);
    if (fd == AT_FDCWD || !path_of(fd, path)) return 0;
    size_t length = strlen(path);
    snprintf(path + length, LONGEST, "/%s", name);
    return ours(path, shown);
}

/* Whose address it is; 0: nobody's that matters. */
static const char *server(const struct sockaddr *address)
{
    int port = address->sa_family == AF_INET ? ntohs(((const struct sockaddr_in *)address)->sin_port) : 0;
    return !port ? 0 : port == source ? "source" : port == there ? "there" : 0;
}

static const char *our_socket(int fd)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    int before = errno, found = (source || there) && !getpeername(fd, (struct sockaddr *)&peer, &length);
    errno = before;
    return found ? server((struct sockaddr *)&peer) : 0;
}

/* ---- names */

#define OPEN(name, fd, ...) \
    { \
        char shown[LONGEST]; \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        REAL(name); \
        if ((flags & O_CREAT || (flags & O_ACCMODE) != O_RDONLY) && our_name(fd, path, shown) \
            && point(flags & O_CREAT ? "create" : "open", shown, ENOSPC)) \
            return -1; \
        return real(__VA_ARGS__, flags, mode); \
    }
int open(const char *path, int flags, ...) OPEN(open, AT_FDCWD, path)
int open64(const char *path, int flags, ...) OPEN(open64, AT_FDCWD, path)
int openat(int fd, const char *path, int flags, ...) OPEN(openat, fd, fd, path)
int openat64(int fd, const char *path, int flags, ...) OPEN(openat64, fd, fd, path)

#define NAME(name, kind, fd, path, error, ...) \
    { \
        char shown[LONGEST]; \
        REAL(name); \
        if (our_name(fd, path, shown) && point(kind, shown, error)) return -1; \
        return real(__VA_ARGS__); \
    }
int mkdir(const char *path, mode_t mode) NAME(mkdir, "mkdir", AT_FDCWD, path, ENOSPC, path, mode)
int mkdirat(int fd, const char *path, mode_t mode) NAME(mkdirat, "mkdir", fd, path, ENOSPC, fd, path, mode)
int rmdir(const char *path) NAME(rmdir, "rmdir", AT_FDCWD, path, EIO, path)
int unlink(const char *path) NAME(unlink, "unlink", AT_FDCWD, path, EIO, path)
int unlinkat(int fd, const char *path, int flags)
    NAME(unlinkat, flags & AT_REMOVEDIR ? "rmdir" : "unlink", fd, path, EIO, fd, path, flags)
int rename(const char *from, const char *to) NAME(rename, "rename", AT_FDCWD, to, ENOSPC, from, to)
int renameat(int a, const char *from, int b, const char *to)
    NAME(renameat, "rename", b, to, ENOSPC, a, from, b, to)
int link(const char *from, const char *to) NAME(link, "link", AT_FDCWD, to, ENOSPC, from, to)
int linkat(int a, const char *from, int b, const char *to, int flags)
    NAME(linkat, "link", b, to, ENOSPC, a, from, b, to, flags)
int chmod(const char *path, mode_t mode) NAME(chmod, "chmod", AT_FDCWD, path, EIO, path, mode)
int chown(const char *path, uid_t uid, gid_t gid) NAME(chown, "chown", AT_FDCWD, path, EIO, path, uid, gid)
int fchownat(int fd, const char *path, uid_t uid, gid_t gid, int flags)
    NAME(fchownat, "chown", fd, path, EIO, fd, path, uid, gid, flags)
int utimensat(int fd, const char *path, const struct timespec times[2], int flags)
    NAME(utimensat, "date", fd, path, EIO, fd, path, times, flags)

/* ---- open files */

#define FILE_CALL(name, kind, error, ...) \
    { \
        char shown[LONGEST]; \
        REAL(name); \
        if (our_file(fd, shown) && point(kind, shown, error)) return -1; \
        return real(__VA_ARGS__); \
    }
int fsync(int fd) FILE_CALL(fsync, "sync", EIO, fd)
int fdatasync(int fd) FILE_CALL(fdatasync, "sync", EIO, fd)
int syncfs(int fd) FILE_CALL(syncfs, "sync", EIO, fd)
int sync_file_range(int fd, off64_t from, off64_t count, unsigned flags)
    FILE_CALL(sync_file_range, "sync", EIO, fd, from, count, flags)
int ftruncate(int fd, off_t length) FILE_CALL(ftruncate, "truncate", EIO, fd, length)
int ftruncate64(int fd, off64_t length) FILE_CALL(ftruncate64, "truncate", EIO, fd, length)
int futimens(int fd, const struct timespec times[2]) FILE_CALL(futimens, "date", EIO, fd, times)
int fchmod(int fd, mode_t mode) FILE_CALL(fchmod, "chmod", EIO, fd, mode)
int fchown(int fd, uid_t uid, gid_t gid) FILE_CALL(fchown, "chown", EIO, fd, uid, gid)
int flock(int fd, int how) FILE_CALL(flock, "lock", ENOLCK, fd, how)

/* `half` writes the first half of it. */
#define WRITE(name, half, ...) \
    { \
        char shown[LONGEST]; \
        const char *whose; \
        int what = 0; \
        REAL(name); \
        if (our_file(fd, shown)) what = point("write", shown, ENOSPC); \
        else if ((whose = our_socket(fd))) what = point("send", whose, ECONNRESET); \
        if (what < 0) return -1; \
        if (what > 0) { \
            if (half < 0) abort(); \
            die(); \
        } \
        return real(__VA_ARGS__); \
    }
ssize_t write(int fd, const void *data, size_t count) WRITE(write, real(fd, data, count / 2), fd, data, count)
ssize_t pwrite(int fd, const void *data, size_t count, off_t at)
    WRITE(pwrite, real(fd, data, count / 2, at), fd, data, count, at)
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at)
    WRITE(pwrite64, real(fd, data, count / 2, at), fd, data, count, at)
ssize_t writev(int fd, const struct iovec *parts, int count)
    WRITE(writev, real(fd, parts, count / 2), fd, parts, count)

/* ---- other servers */

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    REAL(connect);
    const char *whose = server(address);
    if (whose && point("connect", whose, ECONNREFUSED)) return -1;
    return real(fd, address, length);
}

#define SEND(name, ...) \
    { \
        REAL(name); \
        const char *whose = our_socket(fd); \
        if (whose && point("send", whose, ECONNRESET)) return -1; \
        return real(__VA_ARGS__); \
    }
ssize_t send(int fd, const void *data, size_t count, int flags) SEND(send, fd, data, count, flags)
ssize_t sendto(int fd, const void *data, size_t count, int flags, const struct sockaddr *to, socklen_t length)
    SEND(sendto, fd, data, count, flags, to, length)
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) SEND(sendmsg, fd, message, flags)

/* What came is lost. A look that found nothing is no step. */
#define RECEIVE(name, ...) \
    { \
        REAL(name); \
        ssize_t got = real(__VA_ARGS__); \
        const char *whose = got < 0 ? 0 : our_socket(fd); \
        if (whose && point("receive", whose, ECONNRESET)) return -1; \
        return got; \
    }
ssize_t recv(int fd, void *data, size_t count, int flags) RECEIVE(recv, fd, data, count, flags)
ssize_t read(int fd, void *data, size_t count) RECEIVE(read, fd, data, count)
ssize_t readv(int fd, const struct iovec *parts, int count) RECEIVE(readv, fd, parts, count)
ssize_t recvmsg(int fd, struct msghdr *message, int flags) RECEIVE(recvmsg, fd, message, flags)
