// Usage: waits DIRECTORY. Waits some 50 ms for one thing of each kind and prints `kind function milliseconds` by the
// program's own clock; then writes block.pb.gz, mutex.pb.gz and waiter.pb.gz.
#include <prof/api.hpp>

#include <pthread.h>
#include <semaphore.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

#define WAITS extern "C" __attribute__((noinline)) void

static void say(const char* kind, const char* function, clock_type::time_point began) {
  const std::chrono::duration<double, std::milli> waited = clock_type::now() - began;
  std::printf("%s %s %.3f\n", kind, function, waited.count());
}

// Calls `act` once the caller has waited for some 50 ms.
template <class Act>
static std::thread after_50_ms(Act act) {
  return std::thread([act] {
    std::this_thread::sleep_for(50ms);
    act();
  });
}

static std::mutex plain;
static std::timed_mutex timed;
static std::shared_mutex shared;
static std::condition_variable condition;
static sem_t semaphore;
static pthread_barrier_t barrier;
static std::once_flag once;

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
WAITS wait_read() {
  const auto began = clock_type::now();
  shared.lock_shared();
  say("rdlock", __func__, began);
  shared.unlock_shared();
}
WAITS wait_write() {
  const auto began = clock_type::now();
  shared.lock();
  say("wrlock", __func__, began);
  shared.unlock();
}
WAITS wait_condition() {
  std::unique_lock<std::mutex> lock(plain);
  const auto began = clock_type::now();
  condition.wait_for(lock, 50ms);
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
  future.wait_for(50ms);
  say("futex", __func__, began);
}

static void wait_for_locks() {
  plain.lock();
  std::thread waiter(wait_mutex);
  std::this_thread::sleep_for(50ms);
  plain.unlock();
  waiter.join();

  timed.lock();
  waiter = std::thread(wait_timed_in_vain);
  waiter.join();
  timed.unlock();

  plain.lock();
  waiter = std::thread(wait_timedlock_in_vain);
  waiter.join();
  plain.unlock();

  shared.lock();
  waiter = std::thread(wait_read);
  std::this_thread::sleep_for(50ms);
  shared.unlock();
  waiter.join();

  shared.lock_shared();
  waiter = std::thread(wait_write);
  std::this_thread::sleep_for(50ms);
  shared.unlock_shared();
  waiter.join();
}

static void wait_for_conditions() {
  wait_condition();
  std::thread waiter(wait_condition_and_mutex);
  std::this_thread::sleep_for(20ms);
  plain.lock();
  condition.notify_all();
  std::this_thread::sleep_for(30ms);
  plain.unlock();
  waiter.join();
}

static void wait_for_others() {
  sem_init(&semaphore, 0, 0);
  std::thread other = after_50_ms([] { sem_post(&semaphore); });
  wait_semaphore();
  other.join();
  wait_semaphore_in_vain();

  pthread_barrier_init(&barrier, nullptr, 2);
  other = after_50_ms([] { pthread_barrier_wait(&barrier); });
  wait_barrier();
  other.join();

  other = after_50_ms([] {});
  wait_join(other);

  other = std::thread([] { std::call_once(once, [] { std::this_thread::sleep_for(60ms); }); });
  std::this_thread::sleep_for(10ms);
  wait_once();
  other.join();

  std::promise<int> promise;
  std::future<int> future = promise.get_future();
  other = after_50_ms([&promise] { promise.set_value(1); });
  wait_future(future);
  other.join();
  std::promise<int> never;
  future = never.get_future();
  wait_future_for(future);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  (void)prof::set_mutex_profile_fraction(1);
  (void)prof::set_block_profile_rate(1);
  wait_for_locks();
  wait_for_conditions();
  wait_for_others();
  const std::string directory = argv[1];
  prof::profile_request of_waiters;
  of_waiters.view = "waiter";
  bool done = true;
  done &= static_cast<bool>(prof::write_profile("block", (directory + "/block.pb.gz").c_str()));
  done &= static_cast<bool>(prof::write_profile("mutex", (directory + "/mutex.pb.gz").c_str()));
  done &= static_cast<bool>(prof::write_profile("mutex", (directory + "/waiter.pb.gz").c_str(), of_waiters));
  return done ? 0 : 1;
}
