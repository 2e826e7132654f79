// Usage: contention WHAT FILE [SECONDS]. Contends for locks in a way that it can account for itself, prints
// `function milliseconds` of what each unlock made others wait, and writes FILE (mutex) and FILE.waiter.
//   crowd      101 threads that lock, hold for 10 ms, unlock, until the time is over; prints holds and the sum for those
//              that ended in time
//   holders    two threads hold for 30 and 10 ms, three others lock and unlock at once; all pause for 1 ms
//   broadcast  20 threads wait for a condition, are all woken, and hold the mutex for 5 ms each
//   readers    two readers hold for 20 ms together, a writer waits
// With OWN_LOCKS the locks are prof's own, else the standard's.
#include <prof/api.hpp>

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using time_point = clock_type::time_point;

#define APART extern "C" __attribute__((noinline)) void

struct interval {
  time_point begin;
  time_point end;
};
static double milliseconds(clock_type::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }
static double overlap(const interval& a, const interval& b) {
  const time_point begin = a.begin > b.begin ? a.begin : b.begin;
  const time_point end = a.end < b.end ? a.end : b.end;
  return begin < end ? milliseconds(end - begin) : 0;
}

#ifdef OWN_LOCKS
using plain_mutex = prof::mutex;
using readers_mutex = prof::shared_mutex;
#else
using plain_mutex = std::mutex;
using readers_mutex = std::shared_mutex;
#endif
static plain_mutex lock;
static time_point over;

// What one thread saw.
struct diary {
  std::vector<interval> waits;
  std::vector<interval> holds;
};
static void take(diary& log, interval& wait) {
  wait.begin = clock_type::now();
  lock.lock();
  wait.end = clock_type::now();
  log.waits.push_back(wait);
}
static double charged(const std::vector<diary>& all, const diary& holder) {
  double sum = 0;
  for (const interval& hold : holder.holds) {
    for (const diary& other : all) {
      for (const interval& wait : other.waits) sum += overlap(wait, hold);
    }
  }
  return sum;
}

// ---- crowd -----------------------------------------------------------------------------------------------------------

static std::atomic<int> holds{0};
APART crowd_member() {
  while (clock_type::now() < over) {
    lock.lock();
    std::this_thread::sleep_for(10ms);
    if (clock_type::now() < over) ++holds;
    lock.unlock();
  }
}

static void crowd(const std::string& file) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 101; ++i) threads.emplace_back(crowd_member);
  std::this_thread::sleep_until(over);
  (void)prof::write_profile("mutex", file.c_str());  // of holds that ended while all others waited
  for (std::thread& thread : threads) thread.join();
  std::printf("holds %d\n", holds.load());
}

// ---- holders ----------------------------------------------------------------------------------------------------------

template <int Milliseconds>
__attribute__((noinline)) static void hold(diary& log) {
  while (clock_type::now() < over) {
    interval wait{};
    take(log, wait);
    if (Milliseconds != 0) std::this_thread::sleep_for(std::chrono::milliseconds(Milliseconds));
    log.holds.push_back({wait.end, clock_type::now()});
    lock.unlock();
    std::this_thread::sleep_for(1ms);
  }
}
APART hold_30(diary* log) { hold<30>(*log); }
APART hold_10(diary* log) { hold<10>(*log); }
APART compete(diary* log) { hold<0>(*log); }

static void holders() {
  std::vector<diary> logs(5);
  std::vector<std::thread> threads;
  threads.emplace_back(hold_30, &logs[0]);
  threads.emplace_back(hold_10, &logs[1]);
  for (std::size_t i = 2; i < 5; ++i) threads.emplace_back(compete, &logs[i]);
  for (std::thread& thread : threads) thread.join();
  std::printf("hold_30 %.3f\nhold_10 %.3f\n", charged(logs, logs[0]), charged(logs, logs[1]));
}

// ---- broadcast --------------------------------------------------------------------------------------------------------

static std::mutex told;
static std::condition_variable condition;
static bool go;
static int waiting;
APART woken() {
  std::unique_lock<std::mutex> held(told);
  ++waiting;
  while (!go) condition.wait(held);
  std::this_thread::sleep_for(5ms);
}
static void broadcast() {
  std::vector<std::thread> threads;
  for (int i = 0; i < 20; ++i) threads.emplace_back(woken);
  for (bool all = false; !all; std::this_thread::sleep_for(1ms)) {
    const std::lock_guard<std::mutex> held(told);
    all = waiting == 20;
  }
  std::this_thread::sleep_for(20ms);
  {
    const std::lock_guard<std::mutex> held(told);
    go = true;
  }
  condition.notify_all();
  for (std::thread& thread : threads) thread.join();
}

// ---- readers ----------------------------------------------------------------------------------------------------------

static readers_mutex shared;
static time_point first_ends;
static time_point writer_begins;
APART read_for_20() {
  shared.lock_shared();
  std::this_thread::sleep_for(20ms);
  first_ends = clock_type::now();
  shared.unlock_shared();
}
APART read_for_60() {
  shared.lock_shared();
  std::this_thread::sleep_for(60ms);
  shared.unlock_shared();
}
APART write_now() {
  writer_begins = clock_type::now();
  shared.lock();
  std::printf("write_now %.3f\n", milliseconds(clock_type::now() - writer_begins));
  shared.unlock();
}
static void readers() {
  std::thread first(read_for_20);
  std::thread second(read_for_60);
  std::this_thread::sleep_for(10ms);
  std::thread writer(write_now);
  first.join();
  second.join();
  writer.join();
  std::printf("read_for_20 %.3f\n", milliseconds(first_ends - writer_begins) / 2);  // of what both held
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string what = argv[1];
  const std::string file = argv[2];
  over = clock_type::now() + std::chrono::seconds(argc > 3 ? std::atoi(argv[3]) : 3);
  (void)prof::set_mutex_profile_fraction(1);
  if (what == "crowd") crowd(file);
  else if (what == "holders") holders();
  else if (what == "broadcast") broadcast();
  else if (what == "readers") readers();
  else return 2;
  prof::profile_request of_waiters;
  of_waiters.view = "waiter";
  if (what != "crowd" && !prof::write_profile("mutex", file.c_str())) return 1;
  return prof::write_profile("mutex", (file + ".waiter").c_str(), of_waiters) ? 0 : 1;
}
