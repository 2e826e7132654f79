// Usage: sanitized_locks DIRECTORY. Threads take locks of all kinds, wait for each other and call prof, while profiles are
// written one after another into DIRECTORY, each by its name; status behind them. For a build with a thread sanitizer.
#include <prof/prof.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <ctime>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

static std::mutex plain;
static std::recursive_timed_mutex timed;
static std::shared_mutex shared;
static std::condition_variable condition;
static int turn = 0;
static long counts[3];
static std::atomic<bool> over{false};

static void take_turns(int self) {
  std::unique_lock<std::mutex> held(plain);
  condition.wait_for(held, std::chrono::microseconds(100), [self] { return turn % 4 == self; });
  ++turn;
  condition.notify_all();
}
extern "C" __attribute__((noinline)) void contend(int self) {
  while (!over) {
    const prof::label_scope scope({{"worker", std::to_string(self)}});
    {
      const std::lock_guard<std::mutex> held(plain);
      ++counts[0];
    }
    {
      const std::lock_guard<std::recursive_timed_mutex> held(timed);
      const std::lock_guard<std::recursive_timed_mutex> again(timed);
      ++counts[1];
    }
    {
      const std::lock_guard<std::shared_mutex> held(shared);
      ++counts[2];
    }
    {
      const std::shared_lock<std::shared_mutex> held(shared);
      if (counts[2] < 0) return;
    }
    take_turns(self);
    (void)prof::set_block_profile_rate(static_cast<std::uint64_t>(1 + self));
  }
}

// Pages that one thread gave back, which the kernel hands to the next: no race, though nothing else orders the two.
static void hand_pages_on() {
  constexpr std::size_t size = std::size_t{1} << 20;
  static std::atomic<bool> given_back{false};
  std::thread first([] {
    void* const pages = prof::detail::os_map_sig(size);
    std::memset(pages, 1, size);
    prof::detail::os_unmap_sig(pages, size);
    given_back.store(true, std::memory_order_relaxed);
  });
  while (!given_back.load(std::memory_order_relaxed)) std::this_thread::yield();
  void* const pages = prof::detail::os_map_sig(size);
  std::memset(pages, 2, size);
  prof::detail::os_unmap_sig(pages, size);
  first.join();
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  hand_pages_on();
  const std::string directory = argv[1];
  (void)prof::set_mutex_profile_fraction(1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(contend, i);
  bool done = static_cast<bool>(prof::start_cpu_profile((directory + "/profile").c_str()));
  for (const char* name : {"mutex", "block", "threads", "goroutine", "threadcreate", "heap"}) {
    done &= static_cast<bool>(prof::write_profile(name, (directory + "/" + name).c_str()));
  }
  const std::clock_t begun = std::clock();  // for some fifty samples, however busy the machine is
  while (std::clock() - begun < CLOCKS_PER_SEC / 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::async(std::launch::async, [] { over = true; }).get();
  for (std::thread& thread : threads) thread.join();
  done &= static_cast<bool>(prof::stop_cpu_profile());
  done &= static_cast<bool>(prof::write_status((directory + "/status").c_str()));
  return done ? 0 : 1;
}
