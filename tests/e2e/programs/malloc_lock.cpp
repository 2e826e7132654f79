// Usage: malloc_lock PROFILE STATUS. A program whose own malloc takes a mutex, the first that the process takes, before
// main. Four threads allocate at once, and 5 ms each time; writes the mutex profile and the status, and prints
// `first NUMBER` (locks before main), `overlap MS` (what holds made others wait by the program's own clock) and
// `waited MS` (for how long calls of pthread_mutex_lock took).
#include <prof/api.hpp>

#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>

static double now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

static void sleep_ms(long milliseconds) {
  const timespec time{0, milliseconds * 1000000};
  nanosleep(&time, nullptr);
}

// ---- what the program logs -------------------------------------------------------------------------------------------

struct interval {
  double begin, end;
};
constexpr int threads = 4;
constexpr int calls_of_each = 10;
constexpr std::size_t slow_size = 4711;
constexpr int most_logged = 2 * threads * calls_of_each;  // a piece is given back each time
static interval waits[most_logged];
static interval holds[most_logged];
static int logged;  // like the next, under the mutex
static int locks_taken;
static std::atomic<bool> threads_run{false};

// ---- malloc --------------------------------------------------------------------------------------------------------------

static pthread_mutex_t heap_lock = PTHREAD_MUTEX_INITIALIZER;
static char* rest;
static char* rest_ends;

// Before each piece stands its size. Nothing is given back.
static void* take(std::size_t size, std::size_t alignment) {
  const std::size_t most = size + alignment + sizeof(std::size_t);
  if (static_cast<std::size_t>(rest_ends - rest) < most) {
    const std::size_t region = most > (std::size_t{1} << 24) ? most : std::size_t{1} << 24;
    void* const pages = mmap(nullptr, region, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return nullptr;
    rest = static_cast<char*>(pages);
    rest_ends = rest + region;
  }
  const auto first = reinterpret_cast<std::uintptr_t>(rest) + sizeof(std::size_t);
  char* const piece = rest + sizeof(std::size_t) + (0 - first) % alignment;
  std::memcpy(piece - sizeof size, &size, sizeof size);
  rest = piece + size;
  return piece;
}
static interval lock_heap() {
  interval wait{now_ms(), 0};
  pthread_mutex_lock(&heap_lock);
  wait.end = now_ms();
  ++locks_taken;
  return wait;
}
static void unlock_heap(const interval& wait) {
  if (threads_run && logged != most_logged) {
    waits[logged] = wait;
    holds[logged++] = {wait.end, now_ms()};
  }
  pthread_mutex_unlock(&heap_lock);
}
static void* take_locked(std::size_t size, std::size_t alignment) {
  const interval wait = lock_heap();
  void* const piece = take(size, alignment);
  if (size == slow_size) sleep_ms(5);
  unlock_heap(wait);
  return piece;
}
extern "C" {
void* malloc(std::size_t size) { return take_locked(size, 16); }
void* memalign(std::size_t alignment, std::size_t size) { return take_locked(size, alignment); }
void* aligned_alloc(std::size_t alignment, std::size_t size) { return take_locked(size, alignment); }
int posix_memalign(void** piece, std::size_t alignment, std::size_t size) {
  *piece = take_locked(size, alignment);
  return 0;
}
void free(void* piece) {
  if (piece != nullptr) unlock_heap(lock_heap());
}
void* calloc(std::size_t count, std::size_t size) { return malloc(count * size); }  // pages are zeroed
void* realloc(void* piece, std::size_t size) {
  void* const moved = malloc(size);
  std::size_t before = 0;
  if (piece != nullptr) std::memcpy(&before, static_cast<char*>(piece) - sizeof before, sizeof before);
  if (piece != nullptr) std::memcpy(moved, piece, before < size ? before : size);
  return moved;
}
}

// ---- the program ---------------------------------------------------------------------------------------------------------

static const bool has_allocated = [] {
  void* volatile const piece = malloc(10);
  free(piece);
  return true;
}();

extern "C" void* allocate(void*) {
  while (!threads_run) sleep_ms(1);  // for the creation of a thread allocates, too
  for (int i = 0; i < calls_of_each; ++i) {
    void* volatile const piece = malloc(slow_size);
    free(piece);
  }
  return nullptr;
}

static void say_waits() {
  double overlap = 0;
  double waited = 0;
  for (const interval& wait : waits) {
    waited += wait.end - wait.begin;
    for (const interval& hold : holds) {
      const double begin = wait.begin > hold.begin ? wait.begin : hold.begin;
      const double end = wait.end < hold.end ? wait.end : hold.end;
      if (end > begin) overlap += end - begin;
    }
  }
  std::printf("overlap %.3f\nwaited %.3f\n", overlap, waited);
}

int main(int argc, char** argv) {
  if (argc < 3 || !has_allocated) return 2;
  std::printf("first %d\n", locks_taken);
  (void)prof::set_mutex_profile_fraction(1);
  (void)prof::set_block_profile_rate(1);
  pthread_t started[threads];
  for (pthread_t& thread : started) {
    if (pthread_create(&thread, nullptr, allocate, nullptr) != 0) return 3;
  }
  threads_run = true;
  for (const pthread_t thread : started) pthread_join(thread, nullptr);
  threads_run = false;
  say_waits();
  return prof::write_profile("mutex", argv[1]) && prof::write_status(argv[2]) ? 0 : 1;
}
