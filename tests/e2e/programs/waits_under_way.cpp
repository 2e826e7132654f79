// Usage: waits_under_way DIRECTORY. Threads wait, each for a thing of another kind; meanwhile middle.pb.gz is written, a
// profile over one second begins, rest.pb.gz, in which all waits end, and behind it whole.pb.gz. Prints what
// wait_kinds.hpp says of each wait, and `snapshot middle before behind`, in milliseconds of the same clock.
#include <prof/api.hpp>

#include <atomic>
#include <string>
#include <vector>

#include "wait_kinds.hpp"

static std::atomic<bool> released{false};
static void until_released() {
  while (!released) std::this_thread::sleep_for(1ms);
}
static double now_ms() { return milliseconds(clock_type::now().time_since_epoch()); }

// What the waiters wait for, and for how long: until release().
struct waiters {
  std::vector<std::thread> threads;
  std::thread running{until_released};
  std::promise<int> kept;
  std::future<int> soon = kept.get_future();
  std::promise<int> never;
  std::future<int> later = never.get_future();

  waiters() {
    threads.emplace_back(wait_condition);
    threads.emplace_back([] { std::call_once(once, until_released); });
    std::this_thread::sleep_for(100ms);  // they have what they need
    plain.lock();
    shared.lock();
    sem_init(&semaphore, 0, 0);
    pthread_barrier_init(&barrier, nullptr, 2);
    for (void (*wait)() : {wait_mutex, wait_read_lock, wait_write_lock, wait_semaphore, wait_barrier, wait_once}) {
      threads.emplace_back(wait);
    }
    threads.emplace_back([this] { wait_join(running); });
    threads.emplace_back([this] { wait_future(soon); });
    threads.emplace_back([this] { wait_future_for(later); });
  }
  void release() {
    released = true;
    plain.unlock();
    shared.unlock();
    sem_post(&semaphore);
    pthread_barrier_wait(&barrier);
    kept.set_value(1);
    for (std::thread& thread : threads) thread.join();
  }
};

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string directory = argv[1];
  const auto write = [&directory](const char* name, unsigned seconds) {
    prof::profile_request request;
    request.seconds = seconds;
    request.rate = 1;
    return static_cast<bool>(prof::write_profile("block", (directory + name).c_str(), request));
  };
  (void)prof::set_block_profile_rate(1);
  time_limit = 700ms;
  waiters all;
  std::this_thread::sleep_for(100ms);
  const double before = now_ms();
  bool written = write("/middle.pb.gz", 0);
  std::printf("snapshot middle %.3f %.3f\n", before, now_ms());
  bool rest_written = false;
  std::thread rest([&] { rest_written = write("/rest.pb.gz", 1); });
  std::this_thread::sleep_for(200ms);
  all.release();
  rest.join();
  written &= write("/whole.pb.gz", 0);
  return written && rest_written ? 0 : 1;
}
