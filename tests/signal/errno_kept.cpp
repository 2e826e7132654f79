// Prints how often errno changed: in sampled calls of every hooked kind that succeed, while the CPU profile
// ticks, in a new thread's first calls; and errno after a call that fails.
#include "../e2e/programs/cpu_work.hpp"

#include <cerrno>
#include <new>
#include <thread>

namespace {
constexpr int marker = 77;

template <class Call>
int changed_by(Call call) {
  errno = marker;
  call();
  return errno != marker ? 1 : 0;
}

int every_kind() {
  int changed = 0;
  void* volatile p = nullptr;
  changed += changed_by([&] { p = std::malloc(100); });
  changed += changed_by([&] { p = std::realloc(p, 200); });
  changed += changed_by([&] { p = reallocarray(p, 20, 20); });
  changed += changed_by([&] { std::free(p); });
  changed += changed_by([&] { p = std::calloc(3, 50); });
  changed += changed_by([&] { std::free(p); });
  changed += changed_by([&] { p = ::operator new(60); });
  changed += changed_by([&] { ::operator delete(p); });
  changed += changed_by([&] { p = ::operator new(60, std::align_val_t(64)); });
  changed += changed_by([&] { ::operator delete(p, std::align_val_t(64)); });
  changed += changed_by([&] { p = std::aligned_alloc(64, 128); });
  changed += changed_by([&] { std::free(p); });
  changed += changed_by([&] { prof::record_alloc(&changed, 10); });
  changed += changed_by([&] { prof::record_free(&changed); });
  return changed;
}
}  // namespace

int main() {
  prof::set_mem_profile_rate(1);
  prof::cpu_options options;
  options.hz = 1000;
  need(prof::start_cpu_profile("/dev/null", options), "start");
  int in_calls = 0;
  for (int i = 0; i < 2000; ++i) in_calls += every_kind();
  int in_ticks = 0;
  for (const std::uint64_t end = thread_cpu_ns() + 300000000; thread_cpu_ns() < end;) {
    in_ticks += changed_by([] { compute(); });
  }
  int in_thread = 0;
  std::thread([&] { in_thread = every_kind(); }).join();
  std::size_t volatile too_much = ~std::size_t{0} / 4;
  errno = marker;
  void* volatile none = std::malloc(too_much);
  const int after_failure = errno;
  const prof::status_report report = prof::status();
  need(prof::stop_cpu_profile(), "stop");
  std::printf("%d %d %d %d %d %llu\n", in_calls, in_ticks, in_thread, none == nullptr ? 1 : 0,
              after_failure, static_cast<unsigned long long>(report.number("cpu samples")));
}
