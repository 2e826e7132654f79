// What every object of the object tests does: 100 allocations of its own sizes by malloc and by new, half of
// the latter freed, 20 explicit records of malloc's size + 100, half of them withdrawn, and two threads, of which one
// holds a lock that the other waits for and then waits in vain for a condition and a semaphore. Sizes and names of
// functions tell the objects apart in the profiles.
#pragma once
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <prof/prof.hpp>
#include <thread>

inline double in_ms(const timespec& time) {
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}
inline double now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return in_ms(now);
}
inline void sleep_ms(int milliseconds) {
  const timespec time{0, milliseconds * 1000000};
  nanosleep(&time, nullptr);
}
// A thread that is held up between this and its wait by less than 40 ms still waits for more than 10.
inline timespec in_50_ms(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  time.tv_nsec += 50000000;
  time.tv_sec += time.tv_nsec / 1000000000;
  time.tv_nsec %= 1000000000;
  return time;
}

// What an object's threads wait for, and when they do so by their own clock.
struct object_waits {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t cond{};
  sem_t semaphore{};
  std::atomic<bool> is_held{false};
  bool was_held_to_its_end = false;
  bool is_right = false;
  double begin = 0, got_it = 0, between = 0, end = 0, let_go = 0;

  // The condition is waited for by a clock that condition variables before GLIBC_2.3.2 know nothing of.
  object_waits() {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&cond, &attributes);
    sem_init(&semaphore, 0, 0);
  }
  bool is_waited_for() const { return __atomic_load_n(&mutex.__data.__lock, __ATOMIC_RELAXED) == 2; }
  // What the profiles may say at most.
  void say(const char* name) const {
    std::printf("%s held %.3f mutex %.3f cond %.3f semaphore %.3f\n", name, let_go - begin, got_it - begin,
                between - got_it, end - between);
  }
};

#define OBJECT_FUNCTION extern "C" __attribute__((visibility("default"), noinline))

// prof's headers must work in all of them, so each also calls something that needs the process.
#define OBJECT_WORK(name, malloc_size, new_size)                                                  \
  OBJECT_FUNCTION void name##_holds(object_waits* of) {                                           \
    pthread_mutex_lock(&of->mutex);                                                               \
    of->is_held = true;                                                                           \
    while (!of->is_waited_for()) sleep_ms(1);                                                     \
    sleep_ms(30);                                                                                 \
    of->was_held_to_its_end = true;                                                               \
    pthread_mutex_unlock(&of->mutex);                                                             \
    of->let_go = now_ms();                                                                        \
  }                                                                                               \
  OBJECT_FUNCTION void name##_waits(object_waits* of) {                                           \
    while (!of->is_held) sleep_ms(1);                                                             \
    of->begin = now_ms();                                                                         \
    pthread_mutex_lock(&of->mutex);                                                               \
    of->got_it = now_ms();                                                                        \
    of->is_right = of->was_held_to_its_end;                                                       \
    const timespec time = in_50_ms(CLOCK_MONOTONIC);                                              \
    of->is_right &= pthread_cond_timedwait(&of->cond, &of->mutex, &time) == ETIMEDOUT;            \
    of->is_right &= now_ms() >= in_ms(time);                                                      \
    pthread_mutex_unlock(&of->mutex);                                                             \
    of->between = now_ms();                                                                       \
    const timespec until = in_50_ms(CLOCK_REALTIME);                                              \
    of->is_right &= sem_timedwait(&of->semaphore, &until) == -1 && errno == ETIMEDOUT;            \
    of->end = now_ms();                                                                           \
  }                                                                                               \
  OBJECT_FUNCTION int name() {                                                                    \
    void* volatile kept[100];                                                                     \
    for (auto& object : kept) object = std::malloc(malloc_size);                                  \
    for (auto& object : kept) {                                                                   \
      std::free(object);                                                                          \
      object = ::operator new(new_size);                                                          \
    }                                                                                             \
    for (int i = 0; i < 50; ++i) ::operator delete(kept[i]);                                      \
    static char recorded[20];                                                                     \
    for (char& object : recorded) prof::record_alloc(&object, (malloc_size) + 100);               \
    for (int i = 0; i < 10; ++i) prof::record_free(&recorded[i]);                                 \
    object_waits waits;                                                                           \
    std::thread holder(name##_holds, &waits);                                                     \
    std::thread waiter(name##_waits, &waits);                                                     \
    waiter.join();                                                                                \
    holder.join();                                                                                \
    waits.say(#name);                                                                             \
    return waits.is_right && prof::status().number("heap rate (bytes per sample)") == 1 ? 0 : 1;  \
  }
