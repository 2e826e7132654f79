// The profiler around a storm: PROGRAM SECONDS DIRECTORY [ARGUMENT...]. See storm.hpp.
#include "storm.hpp"

#include <prof/prof.hpp>

#include <pthread.h>
#include <time.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace {

std::atomic<bool> g_goes_on{true};

void need(const prof::result& outcome, const char* what) {
  if (!outcome) storm_fails(what, outcome.message());
}

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

void sleep_ms(long ms) {
  timespec t{0, ms * 1000000};
  nanosleep(&t, nullptr);
}

// Profiles are short, so that the code map is refreshed again and again while the storm goes on.
void take_profiles(double end, const char* directory) {
  prof::cpu_options options;
  options.hz = 1000;
  char path[512];
  for (unsigned n = 0; now() < end; ++n) {
    std::snprintf(path, sizeof path, "%s/cpu_%05u.pb.gz", directory, n);
    need(prof::start_cpu_profile(path, options), "start_cpu_profile");
    sleep_ms(100);
    if (n % 4 == 0) {
      std::snprintf(path, sizeof path, "%s/heap_%05u.pb.gz", directory, n);
      need(prof::write_heap_profile(path), "write_heap_profile");
    }
    sleep_ms(100);
    need(prof::stop_cpu_profile(), "stop_cpu_profile");
  }
}

void print_status() {
  const prof::status_report report = prof::status();
  std::printf("cpu_samples %llu\nheap_samples %llu\nunsampled %llu\n",
              static_cast<unsigned long long>(report.number("cpu samples")),
              static_cast<unsigned long long>(report.number("heap samples")), 
              static_cast<unsigned long long>(report.number("threads with the signal blocked")));
  for (const prof::drop_status& one : report.drops) {
    if (one.count == 0) continue;
    std::printf("drop %llu %s\n", static_cast<unsigned long long>(one.count), one.cause);
  }
}

}  // namespace

bool storm_goes_on() {
  return g_goes_on.load(std::memory_order_relaxed);
}

void storm_fails(const char* what, const char* why) {
  std::fprintf(stderr, "%s: %s\n", what, why);
  std::_Exit(3);
}

FN void storm_work() {
  static thread_local volatile unsigned long sink;
  unsigned long x = sink;
  for (int i = 0; i < 40000; ++i) x = x * 6364136223846793005u + 1442695040888963407u;
  sink = x;
  void* volatile block = std::malloc(64 + x % 512);
  std::free(block);
  STAY_ON_STACK();
}

int main(int argc, char** argv) {
  if (argc < 3) storm_fails("usage", "PROGRAM SECONDS DIRECTORY [ARGUMENT...]");
  prof::set_mem_profile_rate(4096);
  storm_begin(argv + 3);
  pthread_t threads[16];
  for (unsigned i = 0; i < storm_thread_count; ++i) {
    if (pthread_create(&threads[i], nullptr, storm_threads[i], nullptr) != 0) {
      storm_fails("pthread_create", "failed");
    }
  }
  take_profiles(now() + std::atof(argv[1]), argv[2]);
  g_goes_on.store(false);
  for (unsigned i = 0; i < storm_thread_count; ++i) pthread_join(threads[i], nullptr);
  storm_end();
  print_status();
  std::printf("cpu_ms %ld\n", static_cast<long>(clock() / (CLOCKS_PER_SEC / 1000)));
  return 0;
}
