// Usage: sampled_waits WHAT RATE WINDOWS DIRECTORY. Waits in WINDOWS stretches, each with lengths of its own, with the
// profile's rate at RATE in them and at 0 between them. Prints of each what the program's own clock says,
// `holds waits nanoseconds`, and writes the profile so far: DIRECTORY/N.pb.gz and, of mutexes, N.waiter.pb.gz.
//   mutex  holds of a lock, each with up to three waiters
//   block  16 threads that wait for nothing, 1 to 10 ms at a time
#include <prof/api.hpp>

#include <semaphore.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

using clock_type = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::nanoseconds;

#define APART extern "C" __attribute__((noinline)) void

struct truth {
  long holds = 0;
  std::atomic<long> waits{0};
  std::atomic<std::int64_t> ns{0};
};

// ---- mutexes ---------------------------------------------------------------------------------------------------------

constexpr unsigned most_waiters = 3;
static std::mutex lock;
static sem_t go[most_waiters];
static sem_t done;
static bool over;
static clock_type::time_point began[most_waiters];

APART wait_for_it(unsigned waiter) {
  began[waiter] = clock_type::now();
  lock.lock();
  lock.unlock();
}
static void be_waiter(unsigned waiter) {
  for (;;) {
    sem_wait(&go[waiter]);
    if (over) return;
    wait_for_it(waiter);
    sem_post(&done);
  }
}

// Returns when it ended.
extern "C" __attribute__((noinline)) clock_type::time_point hold_it(unsigned waiters, microseconds length) {
  lock.lock();
  for (unsigned i = 0; i < waiters; ++i) sem_post(&go[i]);
  std::this_thread::sleep_for(length);
  const auto ended = clock_type::now();
  lock.unlock();
  return ended;
}

static void contend(std::minstd_rand& random, truth& sum) {
  for (int round = 0; round < 50; ++round) {
    const auto waiters = static_cast<unsigned>(1 + random() % most_waiters);
    const auto ended = hold_it(waiters, microseconds(50 + random() % 200));
    long waited = 0;
    for (unsigned i = 0; i < waiters; ++i) sem_wait(&done);
    for (unsigned i = 0; i < waiters; ++i) {
      if (began[i] >= ended) continue;
      ++waited;
      sum.ns += nanoseconds(ended - began[i]).count();
    }
    sum.waits += waited;
    sum.holds += waited != 0;
  }
}

// ---- blocking --------------------------------------------------------------------------------------------------------

APART wait_in_vain(sem_t* semaphore, const timespec* until) { sem_timedwait(semaphore, until); }

static void block_for(microseconds length, truth& sum) {
  sem_t never;
  sem_init(&never, 0, 0);
  timespec until{};
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += nanoseconds(length).count();
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  const auto begin = clock_type::now();
  wait_in_vain(&never, &until);
  sum.ns += nanoseconds(clock_type::now() - begin).count();
  ++sum.waits;
}
static void block(std::minstd_rand& random, truth& sum) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([seed = random(), &sum] {
      std::minstd_rand lengths(seed);
      for (int wait = 0; wait < 4; ++wait) block_for(microseconds(1000 + lengths() % 9000), sum);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// ---- windows ---------------------------------------------------------------------------------------------------------

template <class Wait, class SetRate>
static bool run(const char* profile, int windows, const std::string& directory, Wait wait, SetRate set_rate) {
  const bool is_mutex = std::strcmp(profile, "mutex") == 0;
  prof::profile_request of_waiters;
  of_waiters.view = "waiter";
  bool written = true;
  for (int window = 0; window < windows; ++window) {
    std::minstd_rand random(static_cast<unsigned>(window + 1));
    truth sum;
    set_rate(true);
    wait(random, sum);
    set_rate(false);
    std::printf("%ld %ld %lld\n", sum.holds, sum.waits.load(), static_cast<long long>(sum.ns.load()));
    const std::string file = directory + "/" + std::to_string(window);
    written &= static_cast<bool>(prof::write_profile(profile, (file + ".pb.gz").c_str()));
    if (is_mutex) written &= static_cast<bool>(prof::write_profile(profile, (file + ".waiter.pb.gz").c_str(), of_waiters));
  }
  return written;
}

static bool run_mutex(unsigned rate, int windows, const std::string& directory) {
  sem_init(&done, 0, 0);
  std::vector<std::thread> waiters;
  for (unsigned i = 0; i < most_waiters; ++i) {
    sem_init(&go[i], 0, 0);
    waiters.emplace_back(be_waiter, i);
  }
  const bool written = run("mutex", windows, directory, contend,
                           [rate](bool on) { (void)prof::set_mutex_profile_fraction(on ? rate : 0); });
  over = true;
  for (sem_t& semaphore : go) sem_post(&semaphore);
  for (std::thread& waiter : waiters) waiter.join();
  return written;
}

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const auto rate = static_cast<unsigned>(std::atol(argv[2]));
  const int windows = std::atoi(argv[3]);
  const bool written = std::strcmp(argv[1], "mutex") == 0
                           ? run_mutex(rate, windows, argv[4])
                           : run("block", windows, argv[4], block,
                                 [rate](bool on) { (void)prof::set_block_profile_rate(on ? rate : 0); });
  return written ? 0 : 1;
}
