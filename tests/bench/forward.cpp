// The least that a hook can be: its symbol jumps to the next definition.
#include <dlfcn.h>
#include <pthread.h>

using function = int (*)(pthread_mutex_t*) noexcept;

static function next_of(const char* name) { return reinterpret_cast<function>(dlsym(RTLD_NEXT, name)); }

// Until the first call has found it.
static int first_lock(pthread_mutex_t* mutex) noexcept;
static int first_unlock(pthread_mutex_t* mutex) noexcept;
static function next_lock = &first_lock;
static function next_unlock = &first_unlock;

static int first_lock(pthread_mutex_t* mutex) noexcept {
  next_lock = next_of("pthread_mutex_lock");
  return next_lock(mutex);
}
static int first_unlock(pthread_mutex_t* mutex) noexcept {
  next_unlock = next_of("pthread_mutex_unlock");
  return next_unlock(mutex);
}

extern "C" {
int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept { return next_lock(mutex); }
int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept { return next_unlock(mutex); }
}
