/* Reads one block of a store in place, under a lease: see docs/store-format.md.
 *
 * usage: read_block STORE MULTIHASH_HEX [SECONDS]
 * build: cc -I LMDB read_block.c LMDB/mdb.c LMDB/midl.c -lpthread     (or -llmdb where it is installed)
 *
 * It finds the block, ends its snapshot, writes "ready SIZE" to standard error, waits for a line or the end of standard
 * input, and then writes the block from where it lies in the file to standard output. It ends with 1 where the block is
 * not there, and with 3 where the lease was lost: then what it wrote may be false.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lmdb.h"

#define MAX_KEY 96
#define SETTLE_NS 50000000ull
#define POLL_NS 500000

static void fail(const char *what, const char *why) {
    fprintf(stderr, "read_block: %s: %s\n", what, why);
    exit(2);
}

static uint64_t now(void) {
    struct timespec ts;
    if (clock_gettime(CLOCK_BOOTTIME, &ts)) fail("clock_gettime", strerror(errno));
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* --- leases ------------------------------------------------------------------------------------------------------- */

struct header { /* then for each block two bytes with the length of its multihash, and the multihash */
    char magic[8];
    uint64_t since, until, blocks;
};

struct lease {
    int fd;
    uint64_t until;
    char path[PATH_MAX];
};

/* A locked file that gets its name when it is whole. */
static void take_lease(struct lease *lease, const char *store, const MDB_val *key, uint64_t seconds) {
    uint64_t id, since = now();
    struct header header = {.since = since, .until = since + seconds * 1000000000ull, .blocks = 1};
    uint16_t length = (uint16_t)key->mv_size;
    char data[sizeof header + sizeof length + MAX_KEY], draft[PATH_MAX];
    size_t size = sizeof header + sizeof length + key->mv_size;

    memcpy(header.magic, "IPFSLEA1", sizeof header.magic);
    memcpy(data, &header, sizeof header);
    memcpy(data + sizeof header, &length, sizeof length);
    memcpy(data + sizeof header + sizeof length, key->mv_data, key->mv_size);
    if (getrandom(&id, sizeof id, 0) != sizeof id) fail("getrandom", strerror(errno));
    if (snprintf(draft, sizeof draft, "%s/leases/%016llx.new", store, (unsigned long long)id) >= (int)sizeof draft ||
        snprintf(lease->path, sizeof lease->path, "%s/leases/%016llx.lease", store, (unsigned long long)id) < 0)
        fail(store, "too long");
    lease->until = header.until;
    for (;;) {
        lease->fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (lease->fd < 0) fail(draft, strerror(errno));
        if (flock(lease->fd, LOCK_SH)) fail(draft, strerror(errno));
        if (write(lease->fd, data, size) != (ssize_t)size) fail(draft, strerror(errno));
        if (!rename(draft, lease->path)) return;
        if (errno != ENOENT) fail(draft, strerror(errno)); /* a store that was being opened may have removed it */
        close(lease->fd);
    }
}

/* The numbers of the deletions that may not have seen the lease: of kept and of fetched blocks. */
static void read_stamps(const char *store, uint64_t stamps[2]) {
    char path[PATH_MAX];
    int fd;

    stamps[0] = stamps[1] = 0;
    snprintf(path, sizeof path, "%s/leases/stamps", store);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (pread(fd, stamps, 2 * sizeof *stamps, 0) != 2 * sizeof *stamps) stamps[0] = stamps[1] = 0;
    close(fd);
}

static int is_lost(const struct lease *lease) {
    struct stat stat;
    if (fstat(lease->fd, &stat)) fail(lease->path, strerror(errno));
    return stat.st_nlink == 0 || now() >= lease->until;
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

struct environment {
    MDB_env *env;
    MDB_dbi blocks;
    size_t page;
};

static void check(int code, const char *what) {
    if (code) fail(what, mdb_strerror(code));
}

static MDB_txn *begin(struct environment *environment) {
    MDB_txn *txn;
    int code = mdb_txn_begin(environment->env, NULL, MDB_RDONLY, &txn);
    if (code == MDB_MAP_RESIZED) { /* the node has made its map larger */
        check(mdb_env_set_mapsize(environment->env, 0), "mdb_env_set_mapsize");
        code = mdb_txn_begin(environment->env, NULL, MDB_RDONLY, &txn);
    }
    check(code, "mdb_txn_begin");
    return txn;
}

static void open_environment(struct environment *environment, const char *store, const char *name) {
    char path[PATH_MAX];
    MDB_stat stat;
    MDB_txn *txn;

    snprintf(path, sizeof path, "%s/%s", store, name);
    check(mdb_env_create(&environment->env), "mdb_env_create");
    check(mdb_env_set_maxdbs(environment->env, 8), "mdb_env_set_maxdbs");
    check(mdb_env_open(environment->env, path, MDB_RDONLY | MDB_NOTLS, 0600), path);
    txn = begin(environment);
    check(mdb_dbi_open(txn, "blocks", 0, &environment->blocks), "the table blocks");
    check(mdb_txn_commit(txn), "mdb_txn_commit");
    check(mdb_env_stat(environment->env, &stat), "mdb_env_stat");
    environment->page = stat.ms_psize;
}

/* Finds a block where it stays until the lease ends. */
static int find(struct environment environments[2], MDB_val *key, const uint64_t stamps[2], MDB_val *block) {
    static const int order[] = {0, 1, 0}; /* kept, fetched, kept again: a block that becomes a kept one moves */
    const struct timespec poll = {.tv_nsec = POLL_NS};
    uint64_t deadline = now() + SETTLE_NS;

    for (;;) {
        MDB_txn *txn = NULL;
        int at, settled, which = 0, code = MDB_NOTFOUND;

        for (at = 0; at < 3 && code == MDB_NOTFOUND; at++) {
            which = order[at];
            txn = begin(&environments[which]);
            code = mdb_get(txn, environments[which].blocks, key, block);
            if (code == MDB_NOTFOUND) mdb_txn_abort(txn);
        }
        if (code == MDB_NOTFOUND) return 0;
        check(code, "mdb_get");
        settled = mdb_txn_id(txn) >= stamps[which]; /* else a deletion that has not seen the lease has not ended */
        if (block->mv_size < environments[which].page || (!settled && now() >= deadline)) {
            /* It lies among others and moves with them, or the deletion lasts: copy it. */
            void *copy = malloc(block->mv_size + 1);
            if (!copy) fail("malloc", strerror(errno));
            block->mv_data = memcpy(copy, block->mv_data, block->mv_size);
            settled = 1;
        }
        mdb_txn_abort(txn);
        if (settled) return 1;
        nanosleep(&poll, NULL);
    }
}

static size_t from_hex(const char *text, unsigned char *out, size_t most) {
    size_t size = strlen(text) / 2, at;
    if (!size || size > most || strlen(text) % 2) fail(text, "is no multihash");
    for (at = 0; at < size; at++) {
        unsigned byte;
        if (sscanf(text + 2 * at, "%2x", &byte) != 1) fail(text, "is no multihash");
        out[at] = (unsigned char)byte;
    }
    return size;
}

int main(int argc, char **argv) {
    struct environment environments[2];
    struct lease lease;
    unsigned char multihash[MAX_KEY];
    MDB_val key = {.mv_data = multihash}, block;
    uint64_t stamps[2];
    int c, lost;

    if (argc < 3) fail("usage", "read_block STORE MULTIHASH_HEX [SECONDS]");
    key.mv_size = from_hex(argv[2], multihash, sizeof multihash);
    open_environment(&environments[0], argv[1], "kept");
    open_environment(&environments[1], argv[1], "fetched");
    take_lease(&lease, argv[1], &key, argc > 3 ? strtoull(argv[3], NULL, 10) : 30);
    read_stamps(argv[1], stamps);
    if (!find(environments, &key, stamps, &block)) {
        unlink(lease.path);
        return 1;
    }
    fprintf(stderr, "ready %zu\n", block.mv_size);
    do c = getchar();
    while (c != '\n' && c != EOF);
    if (fwrite(block.mv_data, 1, block.mv_size, stdout) != block.mv_size || fflush(stdout))
        fail("standard output", strerror(errno));
    lost = is_lost(&lease);
    unlink(lease.path);
    mdb_env_close(environments[0].env);
    mdb_env_close(environments[1].env);
    return lost ? 3 : 0;
}
