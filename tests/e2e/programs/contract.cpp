// Usage: contract ADDRESS DIRECTORY. Serves, prints `listening on ADDRESS` and a line for each profile of the process:
// name, default seconds, name of its delta, 1 if debug=1 has a text. Two threads work under the label work=steady.
// `fork` on its input: a child writes every profile to DIRECTORY/NAME.child.pb.gz.
#define PROF_ENABLE_HTTP
#include "rain_part.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// A forked child has one of its own: the parent's may be held by a thread that is not there.
static auto* shared = new std::mutex;

// One thread that the caller's thread has made is always there.
__attribute__((noinline)) static void leave_a_thread() {
  struct helper {
    std::atomic<bool> ends{false};
    std::thread thread;
  };
  static thread_local std::unique_ptr<helper> last;
  auto next = std::make_unique<helper>();
  next->thread = std::thread([own = next.get()] {
    while (!own->ends.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  std::swap(last, next);
  if (next == nullptr) return;
  next->ends.store(true);
  next->thread.join();
}

extern "C" __attribute__((noinline)) void contract_work() {
  static thread_local void* kept[64];
  for (int i = 0; i < 64; ++i) {
    std::free(kept[i]);
    kept[i] = std::malloc(100000);
    std::memset(kept[i], i, 100000);
    rain::drop_here(3);
  }
  {
    const std::lock_guard<std::mutex> alone(*shared);
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(5);
    while (std::chrono::steady_clock::now() < end) {
    }
  }
  leave_a_thread();
  // One more that stays, for those come and go while threads are looked at.
  static thread_local const bool is_made = [] {
    std::thread([] {
      for (;;) pause();
    }).detach();
    return true;
  }();
  (void)is_made;
  asm volatile("" ::: "memory");
}

// What each profile has at once; what takes time one second of it. 0, or how many failed.
static int write_all(const std::string& directory) {
  int failed = 0;
  std::vector<std::pair<std::string, unsigned>> rows;
  prof::detail::for_each_row(*prof::detail::process_sig(), [&rows](const prof::detail::known_row& known) {
    rows.emplace_back(std::string(known.row->name.data, known.row->name.size), known.row->default_seconds);
  });
  for (const auto& [name, default_seconds] : rows) {
    prof::profile_request request;
    request.seconds = default_seconds != 0 ? 1 : 0;
    const std::string path = directory + "/" + name + ".child.pb.gz";
    const auto written = prof::write_profile(name.c_str(), path.c_str(), request);
    if (!written) std::printf("%s: %s\n", name.c_str(), written.message());
    failed += written ? 0 : 1;
  }
  std::printf("parents forgotten %d\n", rain::parents_forgotten.load());
  std::fflush(stdout);
  return failed;
}

static void begin_to_work() {
  for (int i = 0; i < 2; ++i) {
    std::thread([] {
      const prof::label_scope scope{{"work", "steady"}};
      for (;;) contract_work();
    }).detach();
  }
}

// Its profiles are of its own work.
static int be_a_child(const std::string& directory) {
  shared = new std::mutex;
  begin_to_work();
  usleep(200000);
  return write_all(directory);
}

int main(int argc, char** argv) {
  if (argc < 3 || !rain::begin_to_rain()) return 2;
  (void)prof::set_mem_profile_rate(4096);
  (void)prof::set_mutex_profile_fraction(1);
  (void)prof::set_block_profile_rate(1);
  if (!prof::http::serve(argv[1])) return 3;
  begin_to_work();
  std::printf("listening on %s\n", prof::http::address());
  prof::detail::for_each_row(*prof::detail::process_sig(), [](const prof::detail::known_row& known) {
    const prof::detail::profile_row& row = *known.row;
    std::printf("row %.*s %u %.*s %d\n", static_cast<int>(row.name.size), row.name.data, row.default_seconds,
                static_cast<int>(row.delta_name.size), row.delta_name.size != 0 ? row.delta_name.data : "",
                row.write_text != nullptr ? 1 : 0);
  });
  std::puts("done rows");
  std::fflush(stdout);
  char line[100];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    const pid_t child = fork();
    if (child == 0) _exit(be_a_child(argv[2]));
    int status = -1;
    waitpid(child, &status, 0);
    std::printf("child %d\ndone fork\n", status);
    std::fflush(stdout);
  }
}
