// Usage: own_frames FOLDER. Allocates, locks, waits, makes threads and asks for stacks, each in a function host_* of its
// own that calls prof's hook or prof itself, and writes heap, mutex, block, threads and threadcreate, with names as
// FOLDER/NAME.pb.gz and without as FOLDER/NAME.raw.pb.gz. Prints the functions that each profile must have as leaves:
// `NAME function...`.
#define PROF_ENABLE_CPU
#define PROF_ENABLE_HEAP
#define PROF_ENABLE_MUTEX
#define PROF_ENABLE_BLOCK
#define PROF_ENABLE_BLOCK_SYSCALLS
#define PROF_ENABLE_THREADS
#define PROF_ENABLE_SYMBOLIZE
#include <prof/prof.hpp>

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

// Something follows the call, so that it is none that jumps.
static std::atomic<int> steps{0};
#define HOST(name, ...) extern "C" __attribute__((noinline)) void name(__VA_ARGS__)
#define THEN ++steps

// ---- the heap ----------------------------------------------------------------------------------------------------------

static void* volatile kept[16];
static char pool[4096];

HOST(host_malloc) { kept[0] = std::malloc(1001); THEN; }
HOST(host_calloc) { kept[1] = std::calloc(3, 1001); THEN; }
HOST(host_realloc) { kept[0] = std::realloc(kept[0], 5001); THEN; }
HOST(host_memalign) {
  void* place = nullptr;
  if (posix_memalign(&place, 64, 1002) == 0) kept[2] = place;
  THEN;
}
HOST(host_aligned_alloc) { kept[3] = aligned_alloc(64, 1024); THEN; }
HOST(host_new) { kept[4] = ::operator new(1003); THEN; }
HOST(host_new_array) { kept[5] = ::operator new[](1004); THEN; }
HOST(host_record_alloc) { prof::record_alloc(pool, sizeof pool); THEN; }

// The host's own malloc, by way of a function with one of the hooks' names in another namespace: a frame like any.
namespace host {
__attribute__((noinline)) void* malloc(std::size_t n) {
  void* const made = std::malloc(n);
  THEN;
  return made;
}
}
HOST(host_nested) { kept[6] = host::malloc(1005); THEN; }

static void allocate() {
  for (int i = 0; i < 3; ++i) {
    host_malloc();
    host_calloc();
    host_realloc();
    host_memalign();
    host_aligned_alloc();
    host_new();
    host_new_array();
    host_record_alloc();
    host_nested();
  }
}

// ---- locks and waits -----------------------------------------------------------------------------------------------------

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;
static prof::mutex own;
static prof::shared_mutex own_shared;
static sem_t semaphore;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool is_signalled = false;

HOST(host_lock) { pthread_mutex_lock(&lock); THEN; }
HOST(host_unlock) { pthread_mutex_unlock(&lock); THEN; }
HOST(host_wrlock) { pthread_rwlock_wrlock(&shared); THEN; }
HOST(host_rwlock_unlock) { pthread_rwlock_unlock(&shared); THEN; }
HOST(host_own_lock) { own.lock(); THEN; }
HOST(host_own_unlock) { own.unlock(); THEN; }
HOST(host_own_lock_shared) { own_shared.lock_shared(); THEN; }
HOST(host_own_shared_unlock) { own_shared.unlock(); THEN; }
HOST(host_contention) { prof::record_contention(1000); THEN; }
HOST(host_sem_wait) { sem_wait(&semaphore); THEN; }
HOST(host_sleep) { usleep(2000); THEN; }
HOST(host_cond_wait) {
  while (!is_signalled) pthread_cond_wait(&cond, &lock);
  THEN;
}
HOST(host_create, pthread_t* thread, void* (*main)(void*)) { pthread_create(thread, nullptr, main, nullptr); THEN; }
HOST(host_join, pthread_t thread) { pthread_join(thread, nullptr); THEN; }

static std::atomic<int> stage{0};
static void reach(int number) {
  stage = number;
  usleep(30000);  // the other thread comes to wait meanwhile
}
static void await(int number) {
  while (stage < number) usleep(500);
}
extern "C" void* host_waiter(void*) {
  await(1);
  host_lock();
  host_unlock();
  await(2);
  host_wrlock();
  host_rwlock_unlock();
  await(3);
  host_own_lock();
  host_own_unlock();
  await(4);
  host_own_lock_shared();
  own_shared.unlock_shared();
  await(5);
  host_sem_wait();
  await(6);
  host_lock();
  host_cond_wait();
  host_unlock();
  usleep(20000);
  return nullptr;
}
static void contend() {
  pthread_t thread{};
  sem_init(&semaphore, 0, 0);
  host_lock();
  host_create(&thread, &host_waiter);
  reach(1);
  host_unlock();
  host_wrlock();
  reach(2);
  host_rwlock_unlock();
  host_own_lock();
  reach(3);
  host_own_unlock();
  own_shared.lock();
  reach(4);
  host_own_shared_unlock();
  reach(5);
  sem_post(&semaphore);
  reach(6);
  host_lock();
  is_signalled = true;
  pthread_cond_signal(&cond);
  host_unlock();
  host_contention();
  host_sleep();
  host_join(thread);
}

// ---- asking ----------------------------------------------------------------------------------------------------------------

HOST(host_ask, const char* name, const char* file, bool symbolize) {
  prof::profile_request request;
  request.symbolize = symbolize ? prof::symbols::inlines : prof::symbols::none;
  const prof::result written = prof::write_profile(name, file, request);
  if (!written) std::fprintf(stderr, "%s: %s\n", name, written.message());
  THEN;
}
extern "C" void* host_stayer(void*) {
  for (;;) pause();
}

int main(int, char** arguments) {
  const std::string folder = arguments[1];
  prof::set_mem_profile_rate(1);
  prof::set_mutex_profile_fraction(1);
  prof::set_block_profile_rate(1);
  allocate();
  contend();
  pthread_t stayer{};
  host_create(&stayer, &host_stayer);
  usleep(10000);
  for (const char* name : {"heap", "mutex", "block", "threads", "threadcreate"}) {
    host_ask(name, (folder + "/" + name + ".pb.gz").c_str(), true);
    host_ask(name, (folder + "/" + name + ".raw.pb.gz").c_str(), false);
  }
  std::puts("heap host_malloc host_calloc host_realloc host_memalign host_aligned_alloc host_new host_new_array "
            "host_record_alloc host::malloc");
  std::puts("mutex host_unlock host_rwlock_unlock host_own_unlock host_own_shared_unlock host_contention");
  std::puts("block host_lock host_wrlock host_own_lock host_own_lock_shared host_sem_wait host_sleep host_cond_wait host_join");
  std::puts("threads host_ask");
  std::puts("threadcreate host_create");
}
