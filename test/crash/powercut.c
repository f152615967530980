// A disk that forgets: loaded into the server with LD_PRELOAD, it keeps beside the data directory
// (POWERCUT_DIR) a shadow of it (POWERCUT_SHADOW) that holds what a power cut would leave: of every
// file the pages that were written before its last fsync, and of the directory the entries that were
// there at the directory's last fsync. Content that was synced under an entry that was not lies in
// the shadow as `.pending-NAME`. If the directory itself was made and its parent not synced since,
// the file `POWERCUT_SHADOW.unsynced` is there. The shared-memory file of SQLite (-shm) is left out:
// it is not needed after a crash.
//
// POWERCUT_IGNORE_SYNC=1 makes every fsync do nothing. POWERCUT_KILL_AT=n ends the process with
// SIGKILL in place of its n-th call that changes or syncs something in the directory.
//
// POWERCUT_FAULTS names a file of numbers, shared with whoever runs the server, that says which calls
// are to fail: see struct faults. When a sync fails, the system takes what was to be synced for clean: of
// each page it is left to chance whether it is on the disk, and the others are lost with the next cut, or
// at once, as if the system had dropped them.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define FDS 4096
#define NODES 4096
#define DIR_SIZE 1024
#define PATH_SIZE 2048

// A file that the directory has, or had: an entry and, as far as it is known, its unsynced pages.
struct node {
  char name[256];
  int attached; // the directory has it under this name
  int durable;  // the shadow has the entry
  unsigned char *dirty;
  size_t pages;
  double since; // when the first of what is not synced was written; 0 if all is
  int missed;   // a sync of it has failed since a fault was armed
};

enum { SYNC = 1, WRITE = 2, TRUNCATE = 4, READ = 8 };
enum { LOG = 1, DATABASE = 2 };

// What is to fail. Written by the one who runs the server, `times` last; what is marked, by the server.
struct faults {
  int times;     // how many calls fail from now on
  int calls;     // which: SYNC and so on
  int files;     // of which files: LOG, DATABASE
  int skip;      // how many of them go well before
  int error;     // the errno
  int drops;     // whether pages that a failed sync has lost read at once as they were before
  int keeps;     // how many percent of the pages of a failed sync are on the disk all the same
  int shortens;  // whether a write may also write the first half only
  int hits;      // marked: how many calls have failed
  double first, last; // marked: when, in milliseconds since 1970
  double since;  // marked: the first time at which something was written to a log that a sync has failed to sync
  int log_syncs; // marked: how many of the calls that have failed were syncs of a log
  int shortened; // marked: how many writes wrote the first half only
  double unsynced; // marked all the time: when the first of what is not synced of any log was written
  int logs;      // marked: how many logs those syncs were of
};

enum { NOTHING = 0, DIRECTORY = -1, PARENT = -2 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char directory[DIR_SIZE], parent[DIR_SIZE], shadow[DIR_SIZE];
static int ignores_sync;
static long kill_at, calls;
static struct faults *faults;
static struct node nodes[NODES];
static int node_count = 1; // 0 stands for none
static int node_of[FDS];   // what a file descriptor is: an index, or one of the constants above

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_ftruncate)(int, off_t);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_rename)(const char *, const char *);
static int (*real_mkdir)(const char *, mode_t);

static void set_up(void) {
  static int is_ready;
  if (is_ready) return;
  is_ready = 1;
  real_open = dlsym(RTLD_NEXT, "open64");
  real_openat = dlsym(RTLD_NEXT, "openat64");
  real_close = dlsym(RTLD_NEXT, "close");
  real_write = dlsym(RTLD_NEXT, "write");
  real_writev = dlsym(RTLD_NEXT, "writev");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_pwritev = dlsym(RTLD_NEXT, "pwritev64");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_read = dlsym(RTLD_NEXT, "read");
  real_pread = dlsym(RTLD_NEXT, "pread64");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_unlink = dlsym(RTLD_NEXT, "unlink");
  real_rename = dlsym(RTLD_NEXT, "rename");
  real_mkdir = dlsym(RTLD_NEXT, "mkdir");
  const char *dir = getenv("POWERCUT_DIR"), *to = getenv("POWERCUT_SHADOW");
  if (dir == NULL || to == NULL) return;
  snprintf(directory, sizeof directory, "%s", dir);
  snprintf(parent, sizeof parent, "%s", dir);
  *strrchr(parent, '/') = 0;
  snprintf(shadow, sizeof shadow, "%s", to);
  ignores_sync = getenv("POWERCUT_IGNORE_SYNC") != NULL;
  if (getenv("POWERCUT_KILL_AT") != NULL) kill_at = atol(getenv("POWERCUT_KILL_AT"));
  real_mkdir(shadow, 0700);
  const char *file = getenv("POWERCUT_FAULTS");
  if (file == NULL) return;
  int fd = real_open(file, O_RDWR | O_CLOEXEC);
  if (fd >= 0) faults = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd < 0 || faults == MAP_FAILED) {
    fprintf(stderr, "powercut: %s: %s\n", file, strerror(errno));
    abort();
  }
  real_close(fd);
}

__attribute__((constructor)) static void at_load(void) { set_up(); }

static void fail(const char *what) {
  fprintf(stderr, "powercut: %s: %s\n", what, strerror(errno));
  abort();
}

// Every call that changes or syncs something comes through here before it does.
static void count_call(void) {
  if (++calls == kill_at) kill(getpid(), SIGKILL);
}

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static int ends_with(const char *name, const char *end) {
  size_t length = strlen(name), size = strlen(end);
  return length > size && strcmp(name + length - size, end) == 0;
}

static int kind_of(const struct node *node) {
  return ends_with(node->name, "-wal") ? LOG : ends_with(node->name, ".db") ? DATABASE : 0;
}

// Notes since when a log is not synced.
static void note_since(struct node *node, double since) {
  if (faults == NULL || kind_of(node) != LOG || (node->since == 0) == (since == 0)) return;
  node->since = since;
  faults->unsynced = 0;
  for (int i = 1; i < node_count; i++) {
    double each = nodes[i].since;
    if (each > 0 && (faults->unsynced == 0 || each < faults->unsynced)) faults->unsynced = each;
  }
}

// Whether this call is to fail; errno says how.
static int fails(struct node *node, int call) {
  if (faults == NULL || faults->times <= 0) return 0;
  int kind = kind_of(node);
  if ((faults->calls & call) == 0 || (faults->files & kind) == 0) return 0;
  if (faults->skip > 0) {
    faults->skip--;
    return 0;
  }
  faults->times--;
  faults->last = now_ms();
  if (faults->hits == 0) {
    faults->first = faults->last;
    faults->logs = 0;
    faults->since = 0;
    for (int i = 1; i < node_count; i++) nodes[i].missed = 0;
  }
  if (call == SYNC && kind == LOG) {
    double since = node->since; // 0 if there was nothing to sync: that takes nothing back
    if (since > 0 && (faults->since == 0 || faults->since > since)) faults->since = since;
    faults->log_syncs++;
    if (!node->missed) faults->logs++;
    node->missed = 1;
  }
  faults->hits++;
  errno = faults->error;
  return 1;
}

// The name within the directory that a path stands for; NULL if it is not in it, or left out.
static const char *name_in_directory(const char *path) {
  size_t length = strlen(directory);
  if (length == 0 || strncmp(path, directory, length) != 0 || path[length] != '/') return NULL;
  const char *name = path + length + 1;
  size_t size = strlen(name);
  if (size == 0 || size > 200 || strchr(name, '/') != NULL) return NULL;
  if (ends_with(name, "-shm")) return NULL;
  return name;
}

static char *shadow_path(const char *prefix, const char *name, char *path) {
  snprintf(path, PATH_SIZE, "%s/%s%s", shadow, prefix, name);
  return path;
}

static int find_node(const char *name) {
  for (int i = 1; i < node_count; i++)
    if (nodes[i].attached && strcmp(nodes[i].name, name) == 0) return i;
  return 0;
}

static int add_node(const char *name, int durable) {
  if (node_count == NODES) fail("too many files");
  struct node *node = &nodes[node_count];
  snprintf(node->name, sizeof node->name, "%s", name);
  node->attached = 1;
  node->durable = durable;
  return node_count++;
}

static int classify(const char *path, int existed) {
  if (directory[0] == 0) return NOTHING;
  if (strcmp(path, directory) == 0) return DIRECTORY;
  if (strcmp(path, parent) == 0) return PARENT;
  const char *name = name_in_directory(path);
  if (name == NULL) return NOTHING;
  int index = find_node(name);
  if (index != 0) return index;
  char path_there[PATH_SIZE];
  return add_node(name, existed && access(shadow_path("", name, path_there), F_OK) == 0);
}

static int opened(int fd, const char *path, int existed) {
  if (fd < 0 || fd >= FDS) return fd;
  pthread_mutex_lock(&lock);
  node_of[fd] = classify(path, existed);
  pthread_mutex_unlock(&lock);
  return fd;
}

static struct node *node_at(int fd) {
  return fd >= 0 && fd < FDS && node_of[fd] > 0 ? &nodes[node_of[fd]] : NULL;
}

static void mark(struct node *node, off_t from, off_t to) {
  if (to <= from) return;
  size_t first = from / PAGE, last = (to - 1) / PAGE;
  if (last >= node->pages) {
    size_t pages = last * 2 + 64;
    node->dirty = realloc(node->dirty, pages);
    if (node->dirty == NULL) fail("realloc");
    memset(node->dirty + node->pages, 0, pages - node->pages);
    node->pages = pages;
  }
  memset(node->dirty + first, 1, last - first + 1);
}

static off_t size_of(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) fail("fstat");
  return status.st_size;
}

static unsigned seed = 1;

static int keeps_page(void) {
  return (int)(rand_r(&seed) % 100) < faults->keeps;
}

// A page that never came to the disk reads as it did when it was synced last, or as zeros.
static void drop_page(int fd, int from, size_t index, off_t size) {
  char page[PAGE] = {0};
  off_t at = (off_t)(index * PAGE);
  size_t length = size - at < PAGE ? size - at : PAGE;
  if (real_pread(from, page, length, at) < 0) fail("pread");
  if (real_pwrite(fd, page, length, at) != (ssize_t)length) fail("pwrite");
}

// What was written is durable now: it goes into the shadow. Of a sync that has failed some of it does.
static void sync_file(int fd, struct node *node, int has_failed) {
  if (!node->attached) return;
  char path[PATH_SIZE];
  shadow_path(node->durable ? "" : ".pending-", node->name, path);
  int to = real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (to < 0) fail(path);
  off_t size = size_of(fd);
  static char page[PAGE];
  for (size_t i = 0; i < node->pages && (off_t)(i * PAGE) < size; i++) {
    if (!node->dirty[i]) continue;
    if (has_failed && !keeps_page()) {
      if (faults->drops) drop_page(fd, to, i, size);
      continue;
    }
    ssize_t length = real_pread(fd, page, PAGE, (off_t)(i * PAGE));
    if (length < 0) fail("pread");
    if (real_pwrite(to, page, length, (off_t)(i * PAGE)) != length) fail("pwrite");
  }
  if (real_ftruncate(to, size) != 0) fail("ftruncate");
  real_close(to);
  if (node->pages > 0) memset(node->dirty, 0, node->pages);
}

// The entries of the directory are durable now.
static void sync_directory(void) {
  char from[PATH_SIZE], to[PATH_SIZE];
  for (int i = 1; i < node_count; i++) {
    struct node *node = &nodes[i];
    if (node->attached || !node->durable) continue;
    node->durable = 0;
    real_unlink(shadow_path("", node->name, to));
  }
  for (int i = 1; i < node_count; i++) {
    struct node *node = &nodes[i];
    if (!node->attached || node->durable) continue;
    node->durable = 1;
    shadow_path("", node->name, to);
    if (real_rename(shadow_path(".pending-", node->name, from), to) == 0) continue;
    int fd = real_open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) fail(to);
    real_close(fd);
  }
}

static char *marker_path(char *path) {
  snprintf(path, PATH_SIZE, "%s.unsynced", shadow);
  return path;
}

static int synced(int fd, int (*real)(int)) {
  int index = fd >= 0 && fd < FDS ? node_of[fd] : NOTHING;
  if (index == NOTHING) return real(fd);
  pthread_mutex_lock(&lock);
  count_call();
  int result = 0;
  if (!ignores_sync) {
    char path[PATH_SIZE];
    if (index > 0 && fails(&nodes[index], SYNC)) {
      int error = errno;
      sync_file(fd, &nodes[index], 1);
      errno = error;
      pthread_mutex_unlock(&lock);
      return -1;
    }
    result = real(fd);
    if (index > 0 && result == 0) note_since(&nodes[index], 0);
    if (result != 0) errno = EIO;
    else if (index == DIRECTORY) sync_directory();
    else if (index == PARENT) real_unlink(marker_path(path));
    else sync_file(fd, &nodes[index], 0);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

// --- what the server calls ---

static int open_any(int at, const char *path, int flags, mode_t mode) {
  set_up();
  int existed = 1;
  if (directory[0] != 0 && (flags & O_CREAT) && name_in_directory(path) != NULL) {
    existed = access(path, F_OK) == 0;
    pthread_mutex_lock(&lock);
    if (!existed) count_call();
    pthread_mutex_unlock(&lock);
  }
  if (existed == 1 && (flags & O_TRUNC) && name_in_directory(path) != NULL) fail("O_TRUNC");
  return opened(real_openat(at, path, flags, mode), path, existed);
}

#define OPEN_MODE                                  \
  mode_t mode = 0;                                 \
  if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
    va_list list;                                  \
    va_start(list, flags);                         \
    mode = va_arg(list, mode_t);                   \
    va_end(list);                                  \
  }

int open(const char *path, int flags, ...) {
  OPEN_MODE
  return open_any(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  OPEN_MODE
  return open_any(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...) {
  OPEN_MODE
  return open_any(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
  OPEN_MODE
  return open_any(at, path, flags, mode);
}

int close(int fd) {
  set_up();
  if (fd >= 0 && fd < FDS) node_of[fd] = NOTHING;
  return real_close(fd);
}

// Writes through `call` and marks what it has written from `at` on.
#define WRITE(at, call)                                    \
  set_up();                                                \
  struct node *node = node_at(fd);                         \
  if (node == NULL) return call;                           \
  pthread_mutex_lock(&lock);                               \
  count_call();                                            \
  if (fails(node, WRITE)) {                                \
    pthread_mutex_unlock(&lock);                           \
    return -1;                                             \
  }                                                        \
  off_t from = (at), size = size_of(fd);                   \
  note_since(node, now_ms());                              \
  ssize_t written = call;                                  \
  if (written > 0) mark(node, from < size ? from : size, from + written); \
  pthread_mutex_unlock(&lock);                             \
  return written;

ssize_t write(int fd, const void *data, size_t length) {
  WRITE(lseek64(fd, 0, SEEK_CUR), real_write(fd, data, length))
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  WRITE(lseek64(fd, 0, SEEK_CUR), real_writev(fd, parts, count))
}

// How much of it a write that is to fail may write before it does.
static size_t shortened(int fd, size_t length) {
  struct node *node = node_at(fd);
  if (node == NULL || faults == NULL || length < 2) return length;
  pthread_mutex_lock(&lock);
  int is_armed = faults->times > 0 && faults->shortens && (faults->calls & WRITE) != 0;
  if (is_armed && (faults->files & kind_of(node)) != 0 && rand_r(&seed) % 2 == 0) {
    faults->shortened++;
    length /= 2;
  }
  pthread_mutex_unlock(&lock);
  return length;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  length = shortened(fd, length);
  WRITE(offset, real_pwrite(fd, data, length, offset))
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  length = shortened(fd, length);
  WRITE(offset, real_pwrite(fd, data, length, offset))
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  WRITE(offset, real_pwritev(fd, parts, count, offset))
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  WRITE(offset, real_pwritev(fd, parts, count, offset))
}

#define READING(call)                                      \
  set_up();                                                \
  struct node *node = node_at(fd);                         \
  if (node == NULL || faults == NULL) return call;         \
  pthread_mutex_lock(&lock);                               \
  int is_failing = fails(node, READ);                      \
  pthread_mutex_unlock(&lock);                             \
  return is_failing ? -1 : call;

ssize_t read(int fd, void *data, size_t length) { READING(real_read(fd, data, length)) }

ssize_t pread(int fd, void *data, size_t length, off_t offset) {
  READING(real_pread(fd, data, length, offset))
}

ssize_t pread64(int fd, void *data, size_t length, off64_t offset) {
  READING(real_pread(fd, data, length, offset))
}

static int truncated(int fd, off_t length) {
  set_up();
  struct node *node = node_at(fd);
  if (node == NULL) return real_ftruncate(fd, length);
  pthread_mutex_lock(&lock);
  count_call();
  if (fails(node, TRUNCATE)) {
    pthread_mutex_unlock(&lock);
    return -1;
  }
  off_t size = size_of(fd);
  int result = real_ftruncate(fd, length);
  if (result == 0) mark(node, size < length ? size : length, size < length ? length : size);
  pthread_mutex_unlock(&lock);
  return result;
}

int ftruncate(int fd, off_t length) { return truncated(fd, length); }

int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }

int fsync(int fd) {
  set_up();
  return synced(fd, real_fsync);
}

int fdatasync(int fd) {
  set_up();
  return synced(fd, real_fdatasync);
}

int unlink(const char *path) {
  set_up();
  const char *name = directory[0] == 0 ? NULL : name_in_directory(path);
  if (name == NULL) return real_unlink(path);
  pthread_mutex_lock(&lock);
  count_call();
  int index = classify(path, 1);
  int result = real_unlink(path);
  if (result == 0) {
    char pending[PATH_SIZE];
    nodes[index].attached = 0;
    if (!nodes[index].durable) real_unlink(shadow_path(".pending-", name, pending));
  }
  pthread_mutex_unlock(&lock);
  return result;
}

int rename(const char *from, const char *to) {
  set_up();
  if (directory[0] != 0 && (name_in_directory(from) != NULL || name_in_directory(to) != NULL))
    fail("rename is not known here");
  return real_rename(from, to);
}

int mkdir(const char *path, mode_t mode) {
  set_up();
  int result = real_mkdir(path, mode);
  if (result == 0 && directory[0] != 0 && strcmp(path, directory) == 0) {
    char marker[PATH_SIZE];
    real_close(real_open(marker_path(marker), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  }
  return result;
}
