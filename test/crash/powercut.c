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
#include <sys/stat.h>
#include <sys/uio.h>
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
};

enum { NOTHING = 0, DIRECTORY = -1, PARENT = -2 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char directory[DIR_SIZE], parent[DIR_SIZE], shadow[DIR_SIZE];
static int ignores_sync;
static long kill_at, calls;
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

// The name within the directory that a path stands for; NULL if it is not in it, or left out.
static const char *name_in_directory(const char *path) {
  size_t length = strlen(directory);
  if (length == 0 || strncmp(path, directory, length) != 0 || path[length] != '/') return NULL;
  const char *name = path + length + 1;
  size_t size = strlen(name);
  if (size == 0 || size > 200 || strchr(name, '/') != NULL) return NULL;
  if (size > 4 && strcmp(name + size - 4, "-shm") == 0) return NULL;
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

// What was written is durable now: it goes into the shadow.
static void sync_file(int fd, struct node *node) {
  if (!node->attached) return;
  char path[PATH_SIZE];
  shadow_path(node->durable ? "" : ".pending-", node->name, path);
  int to = real_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (to < 0) fail(path);
  off_t size = size_of(fd);
  static char page[PAGE];
  for (size_t i = 0; i < node->pages && (off_t)(i * PAGE) < size; i++) {
    if (!node->dirty[i]) continue;
    ssize_t length = pread64(fd, page, PAGE, (off_t)(i * PAGE));
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
    result = real(fd);
    char path[PATH_SIZE];
    if (result != 0) errno = EIO;
    else if (index == DIRECTORY) sync_directory();
    else if (index == PARENT) real_unlink(marker_path(path));
    else sync_file(fd, &nodes[index]);
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
  off_t from = (at), size = size_of(fd);                   \
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

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  WRITE(offset, real_pwrite(fd, data, length, offset))
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  WRITE(offset, real_pwrite(fd, data, length, offset))
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  WRITE(offset, real_pwritev(fd, parts, count, offset))
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  WRITE(offset, real_pwritev(fd, parts, count, offset))
}

static int truncated(int fd, off_t length) {
  set_up();
  struct node *node = node_at(fd);
  if (node == NULL) return real_ftruncate(fd, length);
  pthread_mutex_lock(&lock);
  count_call();
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
