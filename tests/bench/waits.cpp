// What locks cost, with prof in the process or without it; prints figures as name=value.
//   waits pair THREADS FRACTION RATE     ns of a lock and an unlock that nobody else wants; other threads sleep
//   waits contended FRACTION RATE        ns of a lock and an unlock that four threads want
//   waits sleepers COUNT DIRECTORY       ms of threads?debug=2, and of a list of the same threads from /proc alone
#include <prof/api.hpp>

#include <dirent.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

using clock_type = std::chrono::steady_clock;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static std::atomic<bool> over{false};

// ns for each of `count`.
template <class Run>
static double nanoseconds(long count, Run run) {
  const auto began = clock_type::now();
  run();
  return std::chrono::duration<double, std::nano>(clock_type::now() - began).count() / static_cast<double>(count);
}
template <class Measure>
static double median_of_nine(Measure measure) {
  std::vector<double> all;
  for (int i = 0; i < 9; ++i) all.push_back(measure());
  std::nth_element(all.begin(), all.begin() + 4, all.end());
  return all[4];
}

static std::vector<std::thread> sleepers(int count) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([] {
      while (!over) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    });
  }
  return threads;
}
static void end(std::vector<std::thread>& threads) {
  over = true;
  for (std::thread& thread : threads) thread.join();
}

static void pairs(long count) {
  for (long i = 0; i < count; ++i) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
  }
}
static double cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}
// By the thread's own CPU time, the best of many, for others have the processors, too.
static void pair(int threads) {
  std::vector<std::thread> others = sleepers(threads - 1);
  constexpr long count = 20000;
  double best = 1e9;
  for (int i = 0; i < 200; ++i) {
    const double began = cpu_ns();
    pairs(count);
    best = std::min(best, (cpu_ns() - began) / count);
  }
  std::printf("pair_ns=%.3f\n", best);
  end(others);
}

static void work(int steps) {
  for (volatile int i = 0; i < steps;) i = i + 1;
}
static void contend(long count) {
  for (long i = 0; i < count; ++i) {
    pthread_mutex_lock(&mutex);
    work(20);
    pthread_mutex_unlock(&mutex);
    work(60);
  }
}
static void contended() {
  static constexpr int threads = 4;
  static constexpr long count = 100000;
  std::printf("contended_ns=%.3f\n", nanoseconds(threads * count, [] {
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i) all.emplace_back(contend, count);
    for (std::thread& thread : all) thread.join();
  }));
}

// The least that says name and state of each.
static std::size_t list_threads() {
  std::size_t characters = 0;
  DIR* const tasks = opendir("/proc/self/task");
  while (const dirent* const task = readdir(tasks)) {
    if (task->d_name[0] == '.') continue;
    std::ifstream stat("/proc/self/task/" + std::string(task->d_name) + "/stat");
    std::string line;
    std::getline(stat, line);
    characters += line.size();
  }
  closedir(tasks);
  return characters;
}
static void list_sleepers(int count, const std::string& directory) {
  std::vector<std::thread> others = sleepers(count);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  prof::profile_request in_full;
  in_full.debug = 2;
  const std::string file = directory + "/threads.txt";
  bool written = true;
  std::size_t listed = 0;
  const double dump = median_of_nine([&] {
    return nanoseconds(1, [&] { written &= static_cast<bool>(prof::write_profile("threads", file.c_str(), in_full)); });
  });
  const double listing = median_of_nine([&] { return nanoseconds(1, [&] { listed += list_threads(); }); });
  if (written && listed != 0) std::printf("dump_ms=%.3f\nlisting_ms=%.3f\n", dump / 1e6, listing / 1e6);
  end(others);
}

int main(int argc, char** argv) {
  const std::string what = argc > 3 ? argv[1] : "";
  const auto set_rates = [argv](int first) {
    (void)prof::set_mutex_profile_fraction(static_cast<unsigned>(std::atoi(argv[first])));
    (void)prof::set_block_profile_rate(static_cast<unsigned>(std::atoi(argv[first + 1])));
  };
  if (what == "pair" && argc > 4) {
    set_rates(3);
    pair(std::atoi(argv[2]));
  } else if (what == "contended") {
    set_rates(2);
    contended();
  } else if (what == "sleepers") {
    list_sleepers(std::atoi(argv[2]), argv[3]);
  } else {
    return 2;
  }
  return 0;
}
