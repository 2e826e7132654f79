// Usage: abseil FILE. Lets a thread wait some 50 ms for an absl::Mutex, prints for how many milliseconds it did, and writes
// the mutex profile to FILE.
#include <prof/api.hpp>

#include <absl/base/internal/cycleclock.h>
#include <absl/synchronization/mutex.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

static absl::Mutex mutex;
static std::atomic<bool> is_held{false};
static std::atomic<clock_type::rep> let_go{0};

extern "C" __attribute__((noinline)) void hold() {
  mutex.Lock();
  is_held.store(true);
  std::this_thread::sleep_for(60ms);
  let_go.store(clock_type::now().time_since_epoch().count());
  mutex.Unlock();
  is_held.store(false);  // no jump to Unlock, so that this frame is there
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  (void)prof::set_mutex_profile_fraction(1);
  absl::RegisterMutexProfiler(&prof::absl_mutex_profiler<absl::base_internal::CycleClock>);
  std::thread holder(hold);
  while (!is_held.load()) std::this_thread::yield();
  const auto began = clock_type::now();
  mutex.Lock();
  mutex.Unlock();
  holder.join();
  const clock_type::time_point end{clock_type::duration(let_go.load())};
  std::printf("%.3f\n", std::chrono::duration<double, std::milli>(end - began).count());
  return prof::write_profile("mutex", argv[1]) ? 0 : 1;
}
