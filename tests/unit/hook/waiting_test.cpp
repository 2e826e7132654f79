// tests/unit/hook/waiting_test.cpp - what the hooks of all waiting calls have in common, shown by a family of this file's
// own.

#include "prof/hook/waiting.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#include "prof/api.hpp"
#include "../waits.hpp"

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace waits_test;

// ---- a family ------------------------------------------------------------------------------------------------------

enum own_entry : int { entry_abs, entry_labs, entry_llabs, entry_lonely, own_entry_count };

std::atomic<int> g_counted{0};
std::atomic<int> g_fallbacks{0};

const hook_set& own_hooks() PROF_DETAIL_SIG;

// libc has next definitions of these three; the block profile wants to see the first, the mutex profile the second, and
// the third always counts.
template <class Tag, int Index, class Number>
struct counting_entry : waiting_base<Tag, Number(Number)> {
  static constexpr int index = Index;
  static const hook_set& set() PROF_DETAIL_SIG { return own_hooks(); }
  static Number counting(Number n) {
    ++g_counted;
    return hooked_base<Tag, Number(Number)>::call_next(n);
  }
  static Number fallback(Number) {
    ++g_fallbacks;
    return -1;
  }
};
struct abs_entry : counting_entry<abs_entry, entry_abs, int> {};
struct labs_entry : counting_entry<labs_entry, entry_labs, long> {};
struct llabs_entry : counting_entry<llabs_entry, entry_llabs, long long> {};
// Nobody has one of this.
struct lonely_entry : counting_entry<lonely_entry, entry_lonely, int> {};

// The symbols.
int hooked_abs(int n) { return abs_entry::state.route.load()(n); }
long hooked_labs(long n) { return labs_entry::state.route.load()(n); }
long long hooked_llabs(long long n) { return llabs_entry::state.route.load()(n); }
int hooked_lonely(int n) { return lonely_entry::state.route.load()(n); }

hook_record g_records[own_entry_count] = {{"abs", {"unknown"}, {"not called yet"}},
                                          {"labs", {"unknown"}, {"not called yet"}},
                                          {"llabs", {"unknown"}, {"not called yet"}},
                                          {"prof_test_nobody_waits_here", {"unknown"}, {"not called yet"}}};
std::atomic<hook_role> g_role{hook_role::unresolved};
std::atomic<std::uint32_t> g_resolver{0};

void own_rates_changed() noexcept { wait_rates_changed(own_hooks()); }
constexpr hook_family_part own_part{hook_family_magic, g_records, own_entry_count, nullptr, &own_rates_changed};
constexpr hook_family_part other_part{hook_family_magic, nullptr, 0, nullptr, nullptr};

constexpr hook_entry_facts own_facts[own_entry_count] = {
    facts_of<abs_entry, &hooked_abs>(for_block), facts_of<labs_entry, &hooked_labs>(for_mutex),
    facts_of<llabs_entry, &hooked_llabs>(for_threads), facts_of<lonely_entry, &hooked_lonely>(for_mutex | for_block)};
static_assert(facts_are_in_order(own_facts));

// In the place of a family whose hooks do not look there once they are settled.
constexpr hook_set own_hook_set = {hook_family::thread, &own_part,   own_facts,       g_records,
                                   &g_role,             &g_resolver, own_entry_count, nullptr,
                                   &first_wait_target_sig};
const hook_set& own_hooks() PROF_DETAIL_SIG { return own_hook_set; }

template <class Entry>
void forget_entry() {
  Entry::state.next.store(nullptr);
  Entry::state.settled.store(nullptr);
  Entry::state.route.store(&Entry::first_call);
  set_record_sig(g_records[Entry::index], "unknown", "not called yet");
}

// The hooks of this file as when the program starts, while both rates are 0; `counts` is who has claimed the family.
struct fresh_hooks {
  const rates off{0, 0};
  std::atomic<const hook_family_part*>& owner;
  const hook_family_part* const before;

  explicit fresh_hooks(const hook_family_part* counts = nullptr)
      : owner(settled_process().hooks[static_cast<unsigned>(hook_family::thread)].owner), before(owner.load()) {
    owner.store(counts);
    g_role.store(hook_role::unresolved);
    g_counted.store(0);
    g_fallbacks.store(0);
    forget_entry<abs_entry>();
    forget_entry<labs_entry>();
    forget_entry<llabs_entry>();
    forget_entry<lonely_entry>();
  }
  ~fresh_hooks() { owner.store(before); }
  fresh_hooks(const fresh_hooks&) = delete;
  fresh_hooks& operator=(const fresh_hooks&) = delete;

  static process_state& settled_process() {
    std::thread([] {}).join();
    (void)prof::status();  // tests the hooks of all families
    return all();
  }
};

// doctest prints no pointers to functions.
template <class Function>
bool is_function(any_function there, Function wanted) {
  return there == reinterpret_cast<any_function>(wanted);
}
bool goes_straight_on(int entry) {
  const any_function next = load_word_sig(own_hooks(), entry, word_next);
  return next != nullptr && load_word_sig(own_hooks(), entry, word_route) == next;
}
bool is_counting(int entry) {
  return load_word_sig(own_hooks(), entry, word_route) == function_of_sig(own_hooks(), entry, function_counting);
}
std::string state_of(int entry) { return g_records[entry].state.load(); }
std::string why_of(int entry) { return g_records[entry].why.load(); }

// ---- waits ---------------------------------------------------------------------------------------------------------

char g_object = 0;

// A call that waits as long as its argument is not 0; nothing of it is libc's.
struct nap_entry : plain_wait_entry<nap_entry, int(int) noexcept> {
  static constexpr int index = entry_lonely;
  static constexpr wait_kind kind = wait_kind::sleep;
  static const hook_set& set() PROF_DETAIL_SIG { return own_hooks(); }
  static bool may_wait(int n) PROF_DETAIL_SIG { return n != 0; }
  static const volatile void* object(int) PROF_DETAIL_SIG { return &g_object; }
  static int fallback(int) noexcept { return -1; }
};
std::vector<wait_facts> g_waits_in_nap;
std::atomic<std::uint64_t> g_nap_ns{0};
int nap_next(int n) noexcept {
  g_waits_in_nap = waits_now();
  os_sleep_ns(g_nap_ns.load());
  errno = 55;
  return n + 1;
}

}  // namespace

// ---- next definitions, who counts ----------------------------------------------------------------------------------

TEST_CASE("the first call of a waiting family finds the next definitions, claims the family and keeps errno") {
  const fresh_hooks fresh;
  CHECK_FALSE(is_resolved_sig(own_hooks()));
  errno = 77;
  const int answer = hooked_abs(-3);
  const int kept_errno = errno;
  CHECK(answer == 3);
  CHECK(kept_errno == 77);
  CHECK(counts_here_sig(own_hooks()));
  CHECK(fresh.owner.load() == &own_part);
  for (int entry = 0; entry < own_entry_count; ++entry) {
    CAPTURE(entry);
    const any_function next = load_word_sig(own_hooks(), entry, word_next);
    const bool is_lonely = entry == entry_lonely;
    CHECK(is_function(next, os_next_symbol(g_records[entry].name)) == !is_lonely);
    CHECK((next == function_of_sig(own_hooks(), entry, function_fallback)) == is_lonely);
    CHECK(state_of(entry) == "live");
    CHECK(why_of(entry) == (is_lonely ? "counts; no next definition, own fallback" : "counts"));
  }
}

TEST_CASE("the first call of a waiting family goes where the rates want it") {
  const fresh_hooks fresh;
  CHECK(hooked_abs(-3) == 3);
  CHECK(g_counted.load() == 0);
  CHECK(goes_straight_on(entry_abs));
  forget_entry<abs_entry>();
  forget_entry<labs_entry>();
  g_role.store(hook_role::unresolved);
  const rates on(0, 1);
  CHECK(hooked_abs(-4) == 4);
  CHECK(g_counted.load() == 1);
  CHECK(hooked_labs(-4) == 4);
  CHECK(g_counted.load() == 1);
  CHECK(hooked_llabs(-4) == 4);
  CHECK(g_counted.load() == 2);
}

TEST_CASE("the first call of a waiting family waits for nobody who is loading a library") {
  const fresh_hooks fresh;
  const std::string file = "/tmp/prof_waiting_test." + std::to_string(getpid());
  REQUIRE(mkfifo(file.c_str(), 0600) == 0);
  std::atomic<bool> is_loading{false};
  std::atomic<bool> answered{false};
  std::thread caller([&] {
    while (!is_loading.load()) os_yield();
    answered.store(hooked_abs(-3) == 3);
  });
  void* library = &is_loading;
  // Nobody writes to the file, so that whoever opens it waits: here, with the loader's lock.
  std::thread loader([&] { library = dlopen(file.c_str(), RTLD_NOW); });
  int writer = -1;
  CHECK(becomes([&] { return (writer = open(file.c_str(), O_WRONLY | O_NONBLOCK)) != -1; }));  // it has it open
  is_loading.store(true);
  CHECK(becomes([&] { return answered.load(); }));
  close(writer);
  loader.join();
  caller.join();
  unlink(file.c_str());
  CHECK(library == nullptr);
}

TEST_CASE("an entry without a next definition is answered by its fallback, counted or not") {
  const fresh_hooks fresh;
  CHECK(hooked_lonely(5) == -1);
  CHECK(g_fallbacks.load() == 1);
  CHECK(g_counted.load() == 0);
  const rates on(1, 0);
  own_rates_changed();
  CHECK(hooked_lonely(5) == -1);
  CHECK(g_fallbacks.load() == 2);
  CHECK(g_counted.load() == 1);
}

TEST_CASE("where another object counts, the entries of a waiting family forward, whatever the rates") {
  const fresh_hooks fresh(&other_part);
  const rates on(1, 1);
  CHECK(hooked_abs(-3) == 3);
  CHECK(hooked_llabs(-3) == 3);
  own_rates_changed();
  CHECK(hooked_labs(-3) == 3);
  CHECK(hooked_lonely(3) == -1);
  CHECK(g_counted.load() == 0);
  CHECK(g_role.load() == hook_role::forwarding);
  CHECK(fresh.owner.load() == &other_part);
  for (int entry = 0; entry < own_entry_count; ++entry) {
    CAPTURE(entry);
    CHECK(goes_straight_on(entry));
    CHECK(state_of(entry) == "forwarding");
    CHECK(why_of(entry) == "another object of the process counts");
  }
}

TEST_CASE("when the object that counts is gone, the next that is asked about rates takes over") {
  const fresh_hooks fresh(&other_part);
  CHECK(hooked_llabs(-3) == 3);
  CHECK(g_role.load() == hook_role::forwarding);
  fresh.owner.store(nullptr);
  const rates on(1, 1);
  own_rates_changed();
  CHECK(hooked_llabs(-4) == 4);
  CHECK(counts_here_sig(own_hooks()));
  CHECK(fresh.owner.load() == &own_part);
  CHECK(g_counted.load() == 1);
}

TEST_CASE("of any number of threads that make the first call at once each gets its answer") {
  for (int round = 0; round < 20; ++round) {
    const fresh_hooks fresh;
    std::atomic<int> ready{0};
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int i = 1; i <= 4; ++i) {
      threads.emplace_back([&, i] {
        ++ready;
        while (ready.load() != 4) continue;
        const bool answers = hooked_abs(-i) == i && hooked_labs(-i) == i && hooked_llabs(-i) == i && hooked_lonely(i) == -1;
        right += answers ? 1 : 0;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(right.load() == 4);
    CHECK(fresh.owner.load() == &own_part);
    CHECK(counts_here_sig(own_hooks()));
    CHECK(goes_straight_on(entry_abs));
    CHECK(goes_straight_on(entry_labs));
    CHECK(is_counting(entry_llabs));
    CHECK(goes_straight_on(entry_lonely));
  }
}

// ---- routes --------------------------------------------------------------------------------------------------------

TEST_CASE("each entry counts while a profile is on that it is for") {
  const fresh_hooks fresh;
  (void)hooked_abs(0);
  for (const bool mutex : {false, true}) {
    for (const bool block : {false, true}) {
      const rates on(mutex ? 1 : 0, block ? 1 : 0);
      own_rates_changed();
      CAPTURE(mutex);
      CAPTURE(block);
      CHECK(wanted_profiles_sig(all()) == ((mutex ? for_mutex : 0) | (block ? for_block : 0) | for_threads));
      CHECK(is_counting(entry_abs) == block);
      CHECK(goes_straight_on(entry_abs) == !block);
      CHECK(is_counting(entry_labs) == mutex);
      CHECK(goes_straight_on(entry_labs) == !mutex);
      CHECK(is_counting(entry_llabs));
      CHECK(is_counting(entry_lonely) == (mutex || block));
      CHECK(goes_straight_on(entry_lonely) == (!mutex && !block));
      g_counted.store(0);
      CHECK(hooked_abs(-1) + hooked_labs(-1) == 2);
      CHECK(g_counted.load() == (mutex ? 1 : 0) + (block ? 1 : 0));
    }
  }
}

TEST_CASE("a change of rates before the first call resolves nothing") {
  const fresh_hooks fresh;
  const rates on(1, 1);
  own_rates_changed();
  CHECK_FALSE(is_resolved_sig(own_hooks()));
  CHECK(is_function(load_word_sig(own_hooks(), entry_abs, word_route), &abs_entry::first_call));
  CHECK(fresh.owner.load() == nullptr);
}

TEST_CASE("routes follow rates that others change meanwhile") {
  const fresh_hooks fresh;
  (void)hooked_abs(0);
  std::atomic<bool> end{false};
  std::thread other([&end] {
    while (!end.load()) {
      prof::set_block_profile_rate(1);
      own_rates_changed();
      prof::set_block_profile_rate(0);
      own_rates_changed();
    }
  });
  for (int i = 0; i < 2000; ++i) {
    prof::set_mutex_profile_fraction(i % 2 == 0 ? 1 : 0);
    own_rates_changed();
  }
  end.store(true);
  other.join();
  prof::set_mutex_profile_fraction(0);
  prof::set_block_profile_rate(1);
  own_rates_changed();
  CHECK(is_counting(entry_abs));
  CHECK(goes_straight_on(entry_labs));
}

namespace {

// A family with one entry, whose words are not there when its route is laid: by then the block profile goes on.
struct late_rate {
  void* const page = mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  hook_entry_facts facts = own_facts[entry_abs];
  hook_set hooks = own_hook_set;
  struct sigaction before {};

  late_rate() {
    REQUIRE(page != MAP_FAILED);
    facts.state = page;
    hooks.facts = &facts;
    hooks.count = 1;
    store_word_sig(hooks, 0, word_next, reinterpret_cast<any_function>(&nap_next));
    store_word_sig(hooks, 0, word_settled, reinterpret_cast<any_function>(&hooked_abs));
    current() = this;
    struct sigaction meets {};
    meets.sa_handler = [](int) {
      mprotect(current()->page, page_bytes, PROT_READ | PROT_WRITE);
      block_of(all())->rate.set_own(1);
    };
    REQUIRE(sigaction(SIGSEGV, &meets, &before) == 0);
    REQUIRE(mprotect(page, page_bytes, PROT_NONE) == 0);
  }
  ~late_rate() {
    sigaction(SIGSEGV, &before, nullptr);
    munmap(page, page_bytes);
  }
  late_rate(const late_rate&) = delete;
  late_rate& operator=(const late_rate&) = delete;

 private:
  static late_rate*& current() {
    static late_rate* only = nullptr;
    return only;
  }
};

}  // namespace

TEST_CASE("a rate that changes while routes are laid leads them where they are wanted by then") {
  const rates off(0, 0);
  late_rate t;
  route_waits_sig(t.hooks, all());
  CHECK(block_of(all())->rate.in_effect_sig() == 1);
  CHECK(is_function(load_word_sig(t.hooks, 0, word_route), &hooked_abs));
}

// ---- tests of hooks ------------------------------------------------------------------------------------------------

namespace {

std::atomic<int> g_test_calls{0};
// As programs call the symbols; that of the second entry is another's.
void call_own_symbol(int entry) {
  ++g_test_calls;
  if (entry == entry_abs) (void)hooked_abs(-1);
  else if (entry == entry_llabs) (void)hooked_llabs(-1);
  else if (entry == entry_lonely) (void)hooked_lonely(-1);
}

}  // namespace

TEST_CASE("the test of a waiting family tells live entries from dead ones, counts nothing and is done once") {
  const fresh_hooks fresh;
  std::atomic<bool> tested{false};
  g_test_calls.store(0);
  test_wait_hooks_once(own_hooks(), tested, &call_own_symbol);
  CHECK(tested.load());
  CHECK(g_test_calls.load() == own_entry_count);
  CHECK(g_counted.load() == 0);
  CHECK(counts_here_sig(own_hooks()));
  CHECK(state_of(entry_abs) == "live");
  CHECK(state_of(entry_labs) == "dead");
  CHECK(why_of(entry_labs) == "another definition comes first in symbol order or in a static link");
  CHECK(state_of(entry_llabs) == "live");
  CHECK(state_of(entry_lonely) == "live");
  CHECK(goes_straight_on(entry_abs));
  CHECK(is_counting(entry_llabs));
  test_wait_hooks_once(own_hooks(), tested, &call_own_symbol);
  CHECK(g_test_calls.load() == own_entry_count);
  CHECK_FALSE(is_probing_sig());
  // And it stays dead when the rates change.
  const rates on(1, 1);
  own_rates_changed();
  CHECK(is_counting(entry_abs));
  CHECK(goes_straight_on(entry_labs));
}

TEST_CASE("hooks that forward are not tested, nor are any while another thread tests") {
  std::atomic<bool> tested{false};
  g_test_calls.store(0);
  {
    const fresh_hooks fresh(&other_part);
    test_wait_hooks_once(own_hooks(), tested, &call_own_symbol);
    CHECK(g_role.load() == hook_role::forwarding);
  }
  const fresh_hooks fresh;
  {
    const probe_scope probing;
    std::thread([&tested] { test_wait_hooks_once(own_hooks(), tested, &call_own_symbol); }).join();
  }
  CHECK(g_test_calls.load() == 0);
  CHECK_FALSE(tested.load());
}

TEST_CASE("what other threads call while a hook is tested is forwarded, and is not what the test sees") {
  const fresh_hooks fresh;
  (void)hooked_abs(0);
  const rates on(0, 1);
  own_rates_changed();
  static std::atomic<int> step;
  static std::atomic<int> answer;
  step.store(0);
  answer.store(0);
  std::thread other([] {
    while (step.load() != 1) std::this_thread::yield();
    answer.store(hooked_abs(-6));
    step.store(2);
  });
  std::atomic<bool> tested{false};
  test_wait_hooks_once(own_hooks(), tested, [](int entry) {
    if (entry != entry_abs) return;
    step.store(1);
    while (step.load() != 2) os_yield();
  });
  other.join();
  CHECK(answer.load() == 6);
  CHECK(g_counted.load() == 0);
  CHECK(state_of(entry_abs) == "dead");  // for the test itself did not call it
}

// ---- an entry that only waits ----------------------------------------------------------------------------------------

TEST_CASE("an entry that only waits is followed where it may wait, and answers as the next definition") {
  const rates on(0, 1);
  const counted since(wait_kind::sleep);
  nap_entry::state.next.store(&nap_next);
  g_nap_ns.store(0);
  errno = 77;
  CHECK(nap_entry::counting(0) == 1);
  int its_errno = errno;
  CHECK(its_errno == 55);
  CHECK(g_waits_in_nap.empty());
  CHECK(since.blocked().count == 0);
  g_nap_ns.store(5 * ms);
  const std::uint64_t began = now();
  errno = 77;
  CHECK(nap_entry::counting(41) == 42);
  its_errno = errno;
  CHECK(its_errno == 55);
  REQUIRE(g_waits_in_nap.size() == 1);
  CHECK(g_waits_in_nap[0].kind == wait_kind::sleep);
  CHECK(g_waits_in_nap[0].object == address_of(&g_object));
  CHECK(waits_now().empty());
  CHECK(since.blocked().count == one_wait);
  CHECK(since.blocked().ns >= 5 * ms);
  CHECK(since.blocked().ns <= now() - began);
}

#endif
