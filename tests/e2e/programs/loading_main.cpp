// Usage: loading_main LIBRARY CALL. While a thread is in dlopen, where a constructor waits for the main thread, the main
// thread makes the first CALL (mutex, rwlock, cond, semaphore, barrier, once, futex, join) of the process.
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>

static std::atomic<bool> is_being_loaded{false};
static std::atomic<bool> may_be_loaded{false};
static pthread_t other;

static void sleep_until(const std::atomic<bool>& condition) {
  while (!condition) usleep(100);
}
extern "C" void while_it_is_loaded() {
  is_being_loaded = true;
  sleep_until(may_be_loaded);
}

static void* load(void* name) { return dlopen(static_cast<const char*>(name), RTLD_NOW); }
static void* end_at_once(void*) { return nullptr; }

// ---- what the main thread calls meanwhile: 0 when it is done -------------------------------------------------------

static int call_mutex() {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  return pthread_mutex_lock(&mutex) | pthread_mutex_unlock(&mutex);
}
static int call_rwlock() {
  static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
  return pthread_rwlock_rdlock(&lock) | pthread_rwlock_unlock(&lock);
}
static int call_cond() {
  static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
  return pthread_cond_signal(&cond);
}
static int call_semaphore() {
  sem_t semaphore;
  return sem_init(&semaphore, 0, 1) | sem_wait(&semaphore);
}
static int call_barrier() {
  pthread_barrier_t barrier;
  const int failed = pthread_barrier_init(&barrier, nullptr, 1);
  return failed == 0 && pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : 1;
}
static int call_once() {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  return pthread_once(&once, [] {});
}
static int call_futex() {
  static int word = 0;
  return static_cast<int>(syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0));
}
static int call_join() { return pthread_join(other, nullptr); }

struct named_call {
  const char* name;
  int (*call)();
};
static const named_call calls[] = {{"mutex", call_mutex},         {"rwlock", call_rwlock},   {"cond", call_cond},
                                   {"semaphore", call_semaphore}, {"barrier", call_barrier}, {"once", call_once},
                                   {"futex", call_futex},         {"join", call_join}};

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  pthread_t loader{};
  if (pthread_create(&other, nullptr, end_at_once, nullptr) != 0) return 3;
  if (pthread_create(&loader, nullptr, load, argv[1]) != 0) return 3;
  sleep_until(is_being_loaded);
  int answer = -1;
  for (const named_call& one : calls) {
    if (std::strcmp(one.name, argv[2]) == 0) answer = one.call();
  }
  may_be_loaded = true;
  void* library = nullptr;
  pthread_join(loader, &library);
  std::printf("%s %d %s\n", argv[2], answer, library != nullptr ? "loaded" : dlerror());
  return 0;
}
