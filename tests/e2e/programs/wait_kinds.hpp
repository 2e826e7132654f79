// One wait of each kind, in a function of its own, which prints `kind function milliseconds began` by the program's own
// clock, the last in milliseconds, too.
#pragma once

#include <pthread.h>
#include <semaphore.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <thread>

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

#define WAITS extern "C" __attribute__((noinline)) void

static double milliseconds(clock_type::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

static void say(const char* kind, const char* function, clock_type::time_point began) {
  const auto ended = clock_type::now();
  std::printf("%s %s %.3f %.3f\n", kind, function, milliseconds(ended - began), milliseconds(began.time_since_epoch()));
}

static std::mutex plain;
static std::timed_mutex timed;
static std::shared_mutex shared;
static std::condition_variable condition;
static sem_t semaphore;
static pthread_barrier_t barrier;
static std::once_flag once;
static std::chrono::milliseconds time_limit = 50ms;  // of wait_condition and wait_future_for

static timespec in_50_ms(clockid_t clock) {
  timespec until{};
  clock_gettime(clock, &until);
  until.tv_nsec += 50000000;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  return until;
}

WAITS wait_mutex() {
  const auto began = clock_type::now();
  plain.lock();
  say("mutex", __func__, began);
  plain.unlock();
}
WAITS wait_timed_in_vain() {
  const auto began = clock_type::now();
  if (timed.try_lock_for(50ms)) timed.unlock();
  say("mutex", __func__, began);
}
WAITS wait_timedlock_in_vain() {
  const timespec until = in_50_ms(CLOCK_REALTIME);
  const auto began = clock_type::now();
  if (pthread_mutex_timedlock(plain.native_handle(), &until) == 0) plain.unlock();
  say("mutex", __func__, began);
}
WAITS wait_read_lock() {
  const auto began = clock_type::now();
  shared.lock_shared();
  say("rdlock", __func__, began);
  shared.unlock_shared();
}
WAITS wait_write_lock() {
  const auto began = clock_type::now();
  shared.lock();
  say("wrlock", __func__, began);
  shared.unlock();
}
WAITS wait_condition() {
  std::unique_lock<std::mutex> lock(plain);
  const auto began = clock_type::now();
  condition.wait_for(lock, time_limit);
  say("cond", __func__, began);
}
WAITS wait_condition_and_mutex() {
  std::unique_lock<std::mutex> lock(plain);
  const auto began = clock_type::now();
  condition.wait(lock);
  say("cond", __func__, began);
}
WAITS wait_semaphore() {
  const auto began = clock_type::now();
  sem_wait(&semaphore);
  say("semaphore", __func__, began);
}
WAITS wait_semaphore_in_vain() {
  const timespec until = in_50_ms(CLOCK_REALTIME);
  const auto began = clock_type::now();
  sem_timedwait(&semaphore, &until);
  say("semaphore", __func__, began);
}
WAITS wait_barrier() {
  const auto began = clock_type::now();
  pthread_barrier_wait(&barrier);
  say("barrier", __func__, began);
}
WAITS wait_join(std::thread& thread) {
  const auto began = clock_type::now();
  thread.join();
  say("join", __func__, began);
}
WAITS wait_once() {
  const auto began = clock_type::now();
  std::call_once(once, [] {});
  say("once", __func__, began);
}
WAITS wait_future(std::future<int>& future) {
  const auto began = clock_type::now();
  future.get();
  say("futex", __func__, began);
}
WAITS wait_future_for(std::future<int>& future) {
  const auto began = clock_type::now();
  future.wait_for(time_limit);
  say("futex", __func__, began);
}
