// tests/unit/hook/thread_test.cpp - new threads are seen, get a timer while a profile runs, and
// give it back.

#include "prof/hook/thread.hpp"
#include "prof/part/cpu_part.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "prof/api.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

cpu_state& cpu() {
  cpu_state* const there = cpu_of(*process_sig());
  REQUIRE(there != nullptr);
  return *there;
}

int records_taken() {
  int taken = 0;
  for (const start_record& record : start_records) taken += record.taken.load() != 0 ? 1 : 0;
  return taken;
}

bool has_timer(std::uint32_t thread) {
  const spin_guard lock(cpu().timers_lock);
  return cpu().timers.find_sig(thread_key_base + thread) != no_slot;
}

// A thread that waits until it is told to end.
struct idle_thread {
  std::atomic<std::uint32_t> id{0};
  std::atomic<bool> end{false};
  std::thread thread;
  void begin() {
    thread = std::thread([this] {
      id.store(os_thread_id_sig());
      while (!end.load()) std::this_thread::yield();
    });
    while (id.load() == 0) std::this_thread::yield();
  }
  void stop() {
    end.store(true);
    thread.join();
  }
};

}  // namespace

TEST_CASE("threads that the program starts are counted, each once") {
  const std::uint64_t before = cpu().threads_started.load();
  for (int i = 0; i < 3; ++i) std::thread([] {}).join();
  CHECK(cpu().threads_started.load() == before + 3);
  CHECK(records_taken() == 0);
}

TEST_CASE("arguments and results pass through") {
  pthread_t thread{};
  int argument = 5;
  const auto main = [](void* value) -> void* {
    *static_cast<int*>(value) = 6;
    return value;
  };
  REQUIRE(pthread_create(&thread, nullptr, main, &argument) == 0);
  void* answer = nullptr;
  CHECK(pthread_join(thread, &answer) == 0);
  CHECK(answer == &argument);
  CHECK(argument == 6);
}

TEST_CASE("threads of ours are not counted") {
  const std::uint64_t before = cpu().threads_started.load();
  {
    const own_code_scope own(*process_sig());
    std::thread([] {}).join();
  }
  CHECK(cpu().threads_started.load() == before);
}

TEST_CASE("a thread that cannot be started gives its record back") {
  const std::uint64_t before = cpu().threads_started.load();
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, std::size_t{1} << 50) == 0);
  pthread_t thread{};
  CHECK(pthread_create(&thread, &attributes, [](void* p) { return p; }, nullptr) != 0);
  pthread_attr_destroy(&attributes);
  CHECK(records_taken() == 0);
  CHECK(cpu().threads_started.load() == before);
}

TEST_CASE("without a free record a thread starts all the same and is counted as lost") {
  for (start_record& record : start_records) record.taken.store(1);
  auto& lost = process_sig()->drops[static_cast<unsigned>(drop::start_records_full)];
  const std::uint64_t before = lost.load();
  bool ran = false;
  std::thread([&ran] { ran = true; }).join();
  CHECK(ran);
  CHECK(lost.load() == before + 1);
  for (start_record& record : start_records) record.taken.store(0);
}

TEST_CASE("while a profile runs every new thread has a timer, and loses it at its end") {
  std::string bytes;
  prof::cpu_session session;
  idle_thread early;
  early.begin();
  CHECK_FALSE(has_timer(early.id.load()));
  REQUIRE(session.start(prof::append_to(bytes)));
  CHECK(has_timer(early.id.load()));
  CHECK(has_timer(os_thread_id_sig()));
  idle_thread late;
  late.begin();
  CHECK(has_timer(late.id.load()));
  late.stop();
  CHECK_FALSE(has_timer(late.id.load()));
  early.stop();
  REQUIRE(session.stop());
  CHECK_FALSE(has_timer(os_thread_id_sig()));
  idle_thread after;
  after.begin();
  CHECK_FALSE(has_timer(after.id.load()));
  after.stop();
}

TEST_CASE("a new thread refreshes a code map that is outdated, while a profile runs and once a second at most") {
  process_state& process = *process_sig();
  const auto start_a_thread = [&process] {
    process.code_map_outdated.store(true);
    std::thread([] {}).join();
    return !process.code_map_outdated.load();
  };
  process.refreshed_at.store(0);
  CHECK_FALSE(start_a_thread());
  std::string bytes;
  prof::cpu_session session;
  REQUIRE(session.start(prof::append_to(bytes)));
  process.refreshed_at.store(0);
  CHECK(start_a_thread());
  CHECK_FALSE(start_a_thread());
  REQUIRE(session.stop());
}

TEST_CASE("a thread whose parent blocked the signal is sampled all the same") {
  std::string bytes;
  prof::cpu_session session;
  REQUIRE(session.start(prof::append_to(bytes)));
  sigset_t set;
  sigset_t before;
  sigemptyset(&set);
  sigaddset(&set, process_sig()->signal.number.load());
  pthread_sigmask(SIG_BLOCK, &set, &before);
  bool blocked = true;
  std::thread([&blocked] {
    blocked = os_signal_blocked(os_thread_id_sig(), process_sig()->signal.number.load());
  }).join();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  CHECK_FALSE(blocked);
  REQUIRE(session.stop());
}

TEST_CASE("threads come and go by the hundred while profiles start and stop") {
  std::atomic<bool> end{false};
  std::atomic<int> started{0};
  std::thread churn([&] {
    while (!end.load()) {
      std::vector<std::thread> some;
      for (int i = 0; i < 8; ++i) some.emplace_back([&started] { ++started; });
      for (auto& thread : some) thread.join();
    }
  });
  for (int i = 0; i < 20; ++i) {
    std::string bytes;
    prof::cpu_session session;
    CHECK(session.start(prof::append_to(bytes)));
    os_sleep_ns(3000000);
    CHECK(session.stop());
    CHECK(bytes.size() > 100);
  }
  end.store(true);
  churn.join();
  CHECK(started.load() > 20);
  CHECK(cpu().timers.used() == 0);
  CHECK(records_taken() == 0);
}

TEST_CASE("the hook's own test makes no thread") {
  const std::uint64_t before = cpu().threads_started.load();
  const prof::status_report report = prof::status();
  CHECK(cpu().threads_started.load() == before);
  bool found = false;
  for (std::size_t i = 0; i < report.hook_count; ++i) {
    if (std::string(report.hooks[i].name) != "pthread_create") continue;
    found = true;
    CHECK(std::string(report.hooks[i].state) == "live");
  }
  CHECK(found);
  CHECK(owner_of_sig(*process_sig(), static_cast<unsigned>(hook_family::thread)) == &prof_hooks_thread_v2);
  CHECK(counts_here_sig(thread_hooks()));
  CHECK(static_cast<bool>(pthread_create_entry::state.route.load() == &pthread_create_entry::counting));
}

TEST_CASE("when the object that counts threads is unloaded, another one counts the next thread") {
  process_state& process = *process_sig();
  std::atomic<const hook_family_part*>& owner = process.hooks[static_cast<unsigned>(hook_family::thread)].owner;
  const hook_family_part* const mine = owner.load();
  static hook_family_part other = *mine;
  owner.store(&other);
  (void)settle_thread(thread_hooks(), &process, false);
  thread_role.store(hook_role::forwarding);
  const std::uint64_t before = cpu().threads_started.load();
  std::thread([] {}).join();
  CHECK(cpu().threads_started.load() == before);
  CHECK(owner.load() == &other);
  other.magic = 0;  // as memory that others have now
  std::thread([] {}).join();
  CHECK(cpu().threads_started.load() == before + 1);
  CHECK(owner.load() == mine);
  CHECK(counts_here_sig(thread_hooks()));
}

TEST_CASE("the next pthread_create is libc's") {
  std::thread([] {}).join();
  const pthread_create_fn next = pthread_create_entry::state.next.load();
  const bool another = next != nullptr && next != &pthread_create;
  CHECK(another);
  CHECK(std::string(os_file_of(reinterpret_cast<const void*>(next))) !=
        os_file_of(reinterpret_cast<const void*>(&pthread_create_entry::counting)));
  if (prof_libc_pthread_create == nullptr) {
    CHECK(pthread_create_entry::fallback(nullptr, nullptr, nullptr, nullptr) == ENOSYS);
  }
}

TEST_CASE("what another thread starts while the hook is tested starts all the same and counts") {
  std::thread([] {}).join();
  std::atomic<bool> tested{false};
  std::atomic<bool> go{false};
  bool ran = false;
  std::uint64_t before = 0;
  std::thread other([&] {
    while (!go.load()) std::this_thread::yield();
    before = cpu().threads_started.load();
    std::thread([&ran] { ran = true; }).join();
    tested.store(true);
  });
  {
    const probe_scope probing;
    store_word_sig(thread_hooks(), 0, word_route, reinterpret_cast<any_function>(&pthread_create_entry::probed));
    go.store(true);
    while (!tested.load()) os_yield();
  }
  test_thread_hook();
  other.join();
  CHECK(ran);
  CHECK(cpu().threads_started.load() == before + 1);
  CHECK(std::string(thread_records[0].state.load()) == "live");
  CHECK(static_cast<bool>(pthread_create_entry::state.route.load() == &pthread_create_entry::counting));
}

TEST_CASE("a thread that dlsym would make is refused, as it makes none") {
  CHECK(pthread_create_entry::while_resolving(nullptr, nullptr, nullptr, nullptr) == EAGAIN);
}

#endif
