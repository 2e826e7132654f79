// Usage: lock_pairs KIND PAIRS [FRACTION RATE]. Takes a lock that nobody else wants and lets it go, PAIRS times.
// Without prof in the process the rates change nothing.
#include <prof/api.hpp>

#include <pthread.h>

#include <cstdlib>
#include <cstring>

static pthread_mutex_t mutex;
static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;

// Compiled for each pair of functions, so that the calls are direct ones.
template <class Lock, int (*Take)(Lock*), int (*LetGo)(Lock*)>
__attribute__((noinline)) static int pairs_of(Lock& lock, long pairs) {
  int failed = 0;
  for (long i = 0; i < pairs; ++i) {
    failed |= Take(&lock);
    failed |= LetGo(&lock);
  }
  return failed;
}

static int make_mutex(const char* kind) {
  pthread_mutexattr_t how;
  int failed = pthread_mutexattr_init(&how);
  if (std::strcmp(kind, "recursive") == 0) failed |= pthread_mutexattr_settype(&how, PTHREAD_MUTEX_RECURSIVE);
  if (std::strcmp(kind, "errorcheck") == 0) failed |= pthread_mutexattr_settype(&how, PTHREAD_MUTEX_ERRORCHECK);
  if (std::strcmp(kind, "pi") == 0) failed |= pthread_mutexattr_setprotocol(&how, PTHREAD_PRIO_INHERIT);
  if (std::strcmp(kind, "robust") == 0) failed |= pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
  return failed | pthread_mutex_init(&mutex, &how);
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const char* const kind = argv[1];
  const long pairs = std::atol(argv[2]);
  if (argc > 4) {
    (void)prof::set_mutex_profile_fraction(static_cast<unsigned>(std::atoi(argv[3])));
    (void)prof::set_block_profile_rate(static_cast<unsigned>(std::atoi(argv[4])));
  }
  if (std::strcmp(kind, "read") == 0) {
    return pairs_of<pthread_rwlock_t, &pthread_rwlock_rdlock, &pthread_rwlock_unlock>(shared, pairs);
  }
  if (std::strcmp(kind, "write") == 0) {
    return pairs_of<pthread_rwlock_t, &pthread_rwlock_wrlock, &pthread_rwlock_unlock>(shared, pairs);
  }
  return make_mutex(kind) | pairs_of<pthread_mutex_t, &pthread_mutex_lock, &pthread_mutex_unlock>(mutex, pairs);
}
