/* A disk with a volatile write cache, for tests/power.rs: one file, served over FUSE, for a loop device to
 * stand on. What was written and not flushed is in the cache only. At SIGUSR1 the power fails: of the cache
 * some blocks have reached the medium and others not, as chance has it; the medium is written to a file,
 * and nothing is taken any more. It refuses to be gentle: a write that was not flushed was never promised.
 *
 * disk DIRECTORY IMAGE CUT SEED: IMAGE is what the medium holds at first, CUT gets what it holds after. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK 4096
#define LARGEST (1 << 20)
#define FILE_NODE 2

static int device;
static size_t size;
static char *cache, *medium, *dirty;
static volatile sig_atomic_t failing;
static int off;

static void stop(const char *what)
{
    perror(what);
    exit(1);
}

static void power_fails(int signal)
{
    (void)signal;
    failing = 1;
}

static void reply(const struct fuse_in_header *asked, int error, const void *data, size_t length)
{
    struct fuse_out_header head = {.len = sizeof head + length, .error = -error, .unique = asked->unique};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)data, length}};
    /* Whoever asked may be gone. */
    if (writev(device, parts, 2) < 0 && errno != ENOENT) stop("reply");
}

static struct fuse_attr attributes(uint64_t node)
{
    struct fuse_attr attr = {.ino = node, .nlink = 1, .blksize = BLOCK};
    attr.mode = node == FILE_NODE ? S_IFREG | 0600 : S_IFDIR | 0700;
    if (node == FILE_NODE) attr.size = size, attr.blocks = size / 512;
    return attr;
}

static void flush(void)
{
    for (size_t block = 0; block < size / BLOCK; block++)
        if (dirty[block]) memcpy(medium + block * BLOCK, cache + block * BLOCK, BLOCK), dirty[block] = 0;
}

static void answer(char *request)
{
    struct fuse_in_header *asked = (struct fuse_in_header *)request;
    void *body = request + sizeof *asked;
    switch (asked->opcode) {
    case FUSE_INIT: {
        struct fuse_init_in *in = body;
        struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION};
        out.max_readahead = in->max_readahead;
        out.flags = in->flags & (FUSE_BIG_WRITES | FUSE_MAX_PAGES);
        out.max_write = LARGEST;
        out.max_pages = LARGEST / 4096;
        out.max_background = 16;
        out.congestion_threshold = 12;
        return reply(asked, 0, &out, sizeof out);
    }
    case FUSE_LOOKUP: {
        if (strcmp(body, "disk")) return reply(asked, ENOENT, NULL, 0);
        struct fuse_entry_out out = {.nodeid = FILE_NODE, .attr = attributes(FILE_NODE)};
        out.entry_valid = out.attr_valid = 3600;
        return reply(asked, 0, &out, sizeof out);
    }
    case FUSE_GETATTR:
    case FUSE_SETATTR: {
        struct fuse_attr_out out = {.attr_valid = 3600, .attr = attributes(asked->nodeid)};
        return reply(asked, 0, &out, sizeof out);
    }
    case FUSE_OPEN: {
        struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO};
        return reply(asked, 0, &out, sizeof out);
    }
    case FUSE_READ: {
        struct fuse_read_in *in = body;
        if (in->offset >= size) return reply(asked, 0, NULL, 0);
        size_t length = in->size < size - in->offset ? in->size : size - in->offset;
        return reply(asked, 0, cache + in->offset, length);
    }
    case FUSE_WRITE: {
        struct fuse_write_in *in = body;
        if (off || in->offset + in->size > size) return reply(asked, EIO, NULL, 0);
        memcpy(cache + in->offset, in + 1, in->size);
        if (in->size)
            memset(dirty + in->offset / BLOCK, 1, (in->offset + in->size - 1) / BLOCK - in->offset / BLOCK + 1);
        struct fuse_write_out out = {.size = in->size};
        return reply(asked, 0, &out, sizeof out);
    }
    case FUSE_FSYNC:
        if (!off) flush();
        return reply(asked, off ? EIO : 0, NULL, 0);
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_ACCESS:
        return reply(asked, 0, NULL, 0);
    case FUSE_STATFS: {
        struct fuse_statfs_out out = {.st = {.bsize = BLOCK, .frsize = BLOCK, .namelen = 255}};
        return reply(asked, 0, &out, sizeof out);
    }
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return;
    default:
        return reply(asked, ENOSYS, NULL, 0);
    }
}

/* Some, all or none of the cache has reached the medium. */
static void cut(const char *path)
{
    char new[4096];
    int share = (int[]){0, 25, 50, 75, 100}[rand() % 5];
    long kept = 0, gone = 0;
    for (size_t block = 0; block < size / BLOCK; block++) {
        if (!dirty[block]) continue;
        if (rand() % 100 < share) memcpy(medium + block * BLOCK, cache + block * BLOCK, BLOCK), kept++;
        else gone++;
    }
    off = 1;
    snprintf(new, sizeof new, "%s.new", path);
    FILE *file = fopen(new, "w");
    if (!file || fwrite(medium, 1, size, file) != size || fclose(file)) stop(new);
    if (rename(new, path)) stop(path);
    printf("%ld %ld\n", kept, gone);
    fflush(stdout);
}

int main(int count, char **words)
{
    if (count != 5) return 2;
    char options[100], *request = malloc(LARGEST + BLOCK);
    struct stat image;
    int file = open(words[2], O_RDONLY);
    if (file < 0 || fstat(file, &image)) stop(words[2]);
    size = image.st_size;
    cache = malloc(size), medium = malloc(size), dirty = calloc(1, size / BLOCK + 1);
    if (!request || !cache || !medium || !dirty) stop("memory");
    for (size_t got = 0; got < size;) {
        ssize_t more = read(file, medium + got, size - got);
        if (more <= 0) stop(words[2]);
        got += more;
    }
    memcpy(cache, medium, size);
    srand(atoi(words[4]));
    struct sigaction action = {.sa_handler = power_fails};
    sigaction(SIGUSR1, &action, NULL);
    if ((device = open("/dev/fuse", O_RDWR | O_CLOEXEC)) < 0) stop("/dev/fuse");
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
    if (mount("disk", words[1], "fuse", MS_NOSUID | MS_NODEV, options)) stop("mount");
    for (;;) {
        if (failing && !off) cut(words[3]);
        ssize_t length = read(device, request, LARGEST + BLOCK);
        int error = errno;
        /* What was asked before the power failed and was not answered comes too late. */
        if (failing && !off) cut(words[3]);
        if (length > 0) answer(request);
        else if (length < 0 && error == ENODEV) return 0;
        else if (length < 0 && error != EINTR && error != ENOENT && error != EAGAIN) stop("read");
    }
}
