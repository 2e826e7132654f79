// tests/unit/hook/entry_test.cpp - what the hooks of all families have in common, shown by a family of this file's own:
// one entry has a next definition, one has none, and the symbol of the third is another's.

#include "prof/hook/entry.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <thread>

#include "prof/prof.hpp"

#include <sys/wait.h>
#include <unistd.h>

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

enum own_entry : int { entry_abs, entry_lonely, entry_lost, own_entry_count };

std::atomic<int> g_counted{0};
std::atomic<int> g_fallbacks{0};
char g_fallback_object = 0;
char g_early_object = 0;

const hook_set& own_hooks() PROF_DETAIL_SIG;

// libc has a next definition.
struct abs_entry : hooked_base<abs_entry, int(int)> {
  static constexpr int index = entry_abs;
  static const hook_set& set() PROF_DETAIL_SIG { return own_hooks(); }
  static int counting(int n) {
    ++g_counted;
    return call_next(n);
  }
  static int fallback(int) { return -1; }
  static int while_resolving(int) { return -2; }
};

// Nobody has one.
struct lonely_entry : hooked_base<lonely_entry, void*(std::size_t)> {
  static constexpr int index = entry_lonely;
  static const hook_set& set() PROF_DETAIL_SIG { return own_hooks(); }
  static void* counting(std::size_t n) {
    ++g_counted;
    return call_next(n);
  }
  static void* fallback(std::size_t) {
    ++g_fallbacks;
    return &g_fallback_object;
  }
  static void* while_resolving(std::size_t) { return &g_early_object; }
};

// libc has one, but the program's calls do not come here.
struct lost_entry : hooked_base<lost_entry, long(long)> {
  static constexpr int index = entry_lost;
  static const hook_set& set() PROF_DETAIL_SIG { return own_hooks(); }
  static long counting(long n) {
    ++g_counted;
    return call_next(n);
  }
  static long fallback(long) { return -1; }
  static long while_resolving(long) { return -2; }
};

// The symbols.
int hooked_abs(int n) { return abs_entry::state.route.load()(n); }
void* hooked_lonely(std::size_t n) { return lonely_entry::state.route.load()(n); }
long somebody_elses(long n) { return n; }

hook_record g_records[own_entry_count] = {
    {"abs", {"unknown"}, {"not called yet"}}, {"prof_test_nobody_has_this", {"unknown"}, {"not called yet"}},
    {"labs", {"unknown"}, {"not called yet"}}};
std::atomic<hook_role> g_role{hook_role::unresolved};
std::atomic<std::uint32_t> g_resolver{0};

constexpr hook_family_part own_part{hook_family_magic, g_records, own_entry_count, nullptr, nullptr};
constexpr hook_family_part other_part{hook_family_magic, nullptr, 0, nullptr, nullptr};

// How often it was settled; while `hold` is set, whoever settles waits; `refuses`: it cannot count.
struct settling {
  std::atomic<int> times{0};
  std::atomic<bool> hold{false};
  std::atomic<bool> refuses{false};
};
settling g_settling;

int entered_by_symbol(const hook_set& set, int entry) {
  int hit = no_entry;
  const any_function symbol = load_function_sig(set.facts[entry].hook);
  if (entry == entry_abs) (void)probe_call<int>(hit, symbol, 0);
  else if (entry == entry_lonely) (void)probe_call<void*>(hit, symbol, std::size_t{0});
  else (void)probe_call<long>(hit, symbol, long{0});
  return hit;
}

// As the families of prof do it: an entry that its symbol does not enter is dead.
bool settle_own(const hook_set& set, process_state*, bool counting) {
  ++g_settling.times;
  errno = EBUSY;  // as dlsym may leave it
  while (g_settling.hold.load()) std::this_thread::yield();
  if (!counting || g_settling.refuses.load()) {
    settle_all_forwarding_sig(set);
    return false;
  }
  const probe_scope probing;
  for (int entry = 0; entry < set.count; ++entry) {
    if (entered_by_symbol(set, entry) == probe_number(set, entry)) settle_live_sig(set, entry);
    else settle_to_next_sig(set, entry, "dead", "the symbol is another's");
  }
  return true;
}

constexpr hook_entry_facts own_facts[own_entry_count] = {
    facts_of<abs_entry, &hooked_abs>(7), facts_of<lonely_entry, &hooked_lonely>(),
    facts_of<lost_entry, &somebody_elses>()};
static_assert(facts_are_in_order(own_facts));

constexpr hook_set own_hook_set = {hook_family::thread, &own_part, own_facts,       g_records,
                                   &g_role,             &g_resolver, own_entry_count, &settle_own};
const hook_set& own_hooks() PROF_DETAIL_SIG { return own_hook_set; }

template <class Entry>
void forget_entry() {
  Entry::state.next.store(nullptr);
  Entry::state.settled.store(nullptr);
  Entry::state.route.store(&Entry::first_call);
  set_record_sig(g_records[Entry::index], "unknown", "not called yet");
}

// The hooks of this file as when the program starts. They stand in the place of a family of the program's, whose hooks
// are settled and do not look there; `counts` is who has claimed it, if anybody.
struct fresh_hooks {
  std::atomic<const hook_family_part*>& owner;
  const hook_family_part* const before;

  explicit fresh_hooks(const hook_family_part* counts = nullptr)
      : owner(settled_process().hooks[static_cast<unsigned>(hook_family::thread)].owner), before(owner.load()) {
    owner.store(counts);
    g_role.store(hook_role::unresolved);
    g_resolver.store(0);
    g_counted.store(0);
    g_fallbacks.store(0);
    g_settling.times.store(0);
    forget_entry<abs_entry>();
    forget_entry<lonely_entry>();
    forget_entry<lost_entry>();
  }
  ~fresh_hooks() { owner.store(before); }
  fresh_hooks(const fresh_hooks&) = delete;
  fresh_hooks& operator=(const fresh_hooks&) = delete;

  static process_state& settled_process() {
    (void)prof::status();  // tests the hooks of all families
    process_state* const process = attached_process_sig();
    REQUIRE(process != nullptr);
    return *process;
  }
};

// All entries lead to first_call again, as while a family is settled.
void unsettle_routes() {
  abs_entry::state.route.store(&abs_entry::first_call);
  lonely_entry::state.route.store(&lonely_entry::first_call);
}

// doctest prints no pointers to functions.
template <class Function>
bool is_function(any_function there, Function wanted) {
  return there == reinterpret_cast<any_function>(wanted);
}

std::string state_of(int entry) { return g_records[entry].state.load(); }
std::string why_of(int entry) { return g_records[entry].why.load(); }

}  // namespace

TEST_CASE("the first call finds the next definitions, claims the family and counts") {
  const fresh_hooks fresh;
  CHECK_FALSE(is_resolved_sig(own_hooks()));
  CHECK_FALSE(counts_here_sig(own_hooks()));
  errno = 77;
  const int answer = hooked_abs(-3);
  const int kept_errno = errno;
  CHECK(answer == 3);
  CHECK(kept_errno == 77);
  CHECK(g_counted.load() == 1);
  CHECK(is_resolved_sig(own_hooks()));
  CHECK(counts_here_sig(own_hooks()));
  CHECK(g_role.load() == hook_role::counting);
  CHECK(g_resolver.load() == os_process_id_sig());
  CHECK(fresh.owner.load() == &own_part);
  const auto next = abs_entry::state.next.load();
  CHECK(std::string(os_file_of(reinterpret_cast<const void*>(next))).find("libc") != std::string::npos);
  CHECK(state_of(entry_abs) == "live");
  CHECK(why_of(entry_abs) == "counts");
  CHECK(hooked_abs(-4) == 4);
  CHECK(g_counted.load() == 2);
  CHECK_FALSE(resolving.has_this_sig());
  CHECK_FALSE(is_probing_sig());
}

TEST_CASE("an entry without a next definition counts and is answered by its fallback") {
  const fresh_hooks fresh;
  CHECK(hooked_lonely(1) == &g_fallback_object);
  CHECK(g_counted.load() == 1);
  CHECK(g_fallbacks.load() == 2);  // this call, and the probe before it
  CHECK(state_of(entry_lonely) == "live");
  CHECK(why_of(entry_lonely) == "counts; no next definition, own fallback");
}

TEST_CASE("an entry that its symbol does not enter is dead: what comes there all the same goes on uncounted") {
  const fresh_hooks fresh;
  (void)hooked_abs(0);
  const int counted = g_counted.load();
  CHECK(state_of(entry_lost) == "dead");
  CHECK(why_of(entry_lost) == "the symbol is another's");
  CHECK(lost_entry::state.route.load()(-8) == 8);
  CHECK(g_counted.load() == counted);
}

TEST_CASE("where another object counts, all entries forward") {
  const fresh_hooks fresh(&other_part);
  CHECK(hooked_abs(-3) == 3);
  CHECK(hooked_lonely(1) == &g_fallback_object);
  CHECK(g_counted.load() == 0);
  CHECK(is_resolved_sig(own_hooks()));
  CHECK_FALSE(counts_here_sig(own_hooks()));
  CHECK(g_role.load() == hook_role::forwarding);
  CHECK(fresh.owner.load() == &other_part);
  for (int entry = 0; entry < own_entry_count; ++entry) {
    CAPTURE(entry);
    CHECK(state_of(entry) == "forwarding");
    CHECK(why_of(entry) == "another object of the process counts");
    CHECK(is_function(load_word_sig(own_hooks(), entry, word_route), load_word_sig(own_hooks(), entry, word_next)));
  }
}

TEST_CASE("a family that cannot count leaves it to another object") {
  const fresh_hooks fresh;
  g_settling.refuses.store(true);
  CHECK(hooked_abs(-3) == 3);
  g_settling.refuses.store(false);
  CHECK(g_role.load() == hook_role::forwarding);
  CHECK(fresh.owner.load() == nullptr);
  CHECK(hooked_abs(-4) == 4);
  CHECK(g_counted.load() == 0);
}

TEST_CASE("a family is resolved once") {
  const fresh_hooks fresh;
  (void)hooked_abs(0);
  CHECK(g_settling.times.load() == 1);
  CHECK(resolve_slow_sig(own_hooks()));
  (void)hooked_lonely(0);
  CHECK(g_settling.times.load() == 1);
}

TEST_CASE("a call while another thread resolves goes to the next definition, uncounted") {
  const fresh_hooks fresh;
  g_settling.hold.store(true);
  int first_answer = 0;
  std::thread first([&] { first_answer = hooked_abs(-5); });
  while (g_settling.times.load() == 0) std::this_thread::yield();
  const bool mine = resolve_slow_sig(own_hooks());
  const int answer = hooked_abs(-6);
  const void* const object = hooked_lonely(1);
  const int counted = g_counted.load();
  const bool resolved = is_resolved_sig(own_hooks());
  g_settling.hold.store(false);
  first.join();
  CHECK_FALSE(mine);
  CHECK(answer == 6);
  CHECK(object == &g_fallback_object);
  CHECK(counted == 0);
  CHECK_FALSE(resolved);
  CHECK(first_answer == 5);
  CHECK(g_settling.times.load() == 1);
  CHECK(g_counted.load() == 1);
  CHECK(hooked_abs(-7) == 7);
  CHECK(g_counted.load() == 2);
}

TEST_CASE("when the thread that resolves has not come to an entry yet, the call finds the next definition itself") {
  const fresh_hooks fresh;
  g_resolver.store(os_process_id_sig());  // as if another thread were at its beginning
  CHECK(hooked_abs(-9) == 9);
  CHECK(static_cast<bool>(abs_entry::state.next.load() != nullptr));
  CHECK(static_cast<bool>(abs_entry::state.settled.load() == nullptr));
  CHECK(static_cast<bool>(lonely_entry::state.next.load() == nullptr));
  CHECK(g_counted.load() == 0);
  CHECK(g_settling.times.load() == 0);
  CHECK_FALSE(resolving.has_this_sig());
}

TEST_CASE("a child resolves what a thread of its parent was resolving at the fork") {
  const fresh_hooks fresh;
  g_resolver.store(1);
  CHECK(hooked_abs(-9) == 9);
  CHECK(g_counted.load() == 1);
  CHECK(g_resolver.load() == os_process_id_sig());
}

TEST_CASE("a call from inside dlsym is answered without a next definition, one of another thread is not") {
  const fresh_hooks fresh;
  int elsewhere = 0;
  std::atomic<bool> go{false};
  std::thread other([&] {
    while (!go.load()) std::this_thread::yield();
    elsewhere = hooked_abs(-5);
  });
  const bool entered = resolving.enter_sig();
  const int answer = hooked_abs(-5);
  const void* const object = hooked_lonely(1);
  const bool resolved = is_resolved_sig(own_hooks());
  go.store(true);
  other.join();
  resolving.leave_sig();
  CHECK(entered);
  CHECK(answer == -2);
  CHECK(object == &g_early_object);
  CHECK_FALSE(resolved);
  CHECK(elsewhere == 5);
  CHECK(g_counted.load() == 1);
  CHECK(hooked_abs(-5) == 5);
  CHECK(g_counted.load() == 2);
}

TEST_CASE("64 threads may be inside dlsym at once, and are told apart") {
  resolving_threads threads{};
  CHECK_FALSE(threads.has_this_sig());
  CHECK(threads.enter_sig());
  CHECK(threads.has_this_sig());
  bool elsewhere = true;
  std::thread([&] {
    elsewhere = threads.has_this_sig();
    threads.leave_sig();  // has none to leave
  }).join();
  CHECK_FALSE(elsewhere);
  CHECK(threads.has_this_sig());
  for (int i = 1; i < 64; ++i) CHECK(threads.enter_sig());
  CHECK_FALSE(threads.enter_sig());
  for (int i = 0; i < 64; ++i) threads.leave_sig();
  CHECK_FALSE(threads.has_this_sig());
}

TEST_CASE("a probe notes the entry that is entered first, calls the next definition and counts nothing") {
  const fresh_hooks fresh;
  (void)hooked_abs(0);
  unsettle_routes();
  const int counted = g_counted.load();
  int hit = no_entry;
  int second_hit = no_entry;
  int answer = 0;
  int no_hit = 0;
  std::int64_t countdown = -1;
  int (*const both)(int) = [](int n) {
    (void)hooked_lonely(1);
    return hooked_abs(n);
  };
  long (*const neither)(long) = &somebody_elses;
  {
    const probe_scope probing;
    answer = probe_call<int>(hit, reinterpret_cast<any_function>(&hooked_abs), -11);
    (void)probe_call<int>(second_hit, reinterpret_cast<any_function>(both), -11);
    alloc_countdown = 1000;
    (void)hooked_abs(-11);
    countdown = alloc_countdown;
    (void)probe_call<long>(no_hit, reinterpret_cast<any_function>(neither), long{0});
  }
  CHECK(answer == 11);
  CHECK(hit == probe_number(own_hooks(), entry_abs));
  CHECK(second_hit == probe_number(own_hooks(), entry_lonely));
  CHECK(no_hit == no_entry);
  CHECK(countdown == 0);  // so that malloc's hooks notice what comes next
  CHECK(g_counted.load() == counted);
  CHECK(hooked_abs(-12) == 12);
  CHECK(g_counted.load() == counted + 1);
}

TEST_CASE("a probe that must not call the next definition only notes the hit") {
  const fresh_hooks fresh;
  (void)hooked_abs(0);
  unsettle_routes();
  const int before = g_fallbacks.load();
  int hit = no_entry;
  const void* object = &object;
  bool next_probe_calls = false;
  {
    const probe_scope probing;
    probe.without_next = true;
    object = probe_call<void*>(hit, reinterpret_cast<any_function>(&hooked_lonely), std::size_t{1});
  }
  CHECK(object == nullptr);
  CHECK(hit == probe_number(own_hooks(), entry_lonely));
  CHECK(g_fallbacks.load() == before);
  {
    const probe_scope probing;
    next_probe_calls = !probe.without_next;
  }
  CHECK(next_probe_calls);
}

TEST_CASE("what other threads call is no part of a probe") {
  const fresh_hooks fresh;
  (void)hooked_abs(0);
  unsettle_routes();
  const int counted = g_counted.load();
  std::atomic<int> step{0};
  bool others_probe = true;
  std::thread other([&] {
    while (step.load() != 1) std::this_thread::yield();
    others_probe = is_probing_sig();
    (void)hooked_abs(-1);
    step.store(2);
  });
  int hit = 0;
  bool mine = false;
  {
    const probe_scope probing;
    mine = is_probing_sig();
    probe.first_hit = no_entry;
    step.store(1);
    while (step.load() != 2) os_yield();
    hit = probe.first_hit;
  }
  other.join();
  CHECK(mine);
  CHECK_FALSE(others_probe);
  CHECK(hit == no_entry);
  CHECK(g_counted.load() == counted + 1);
}

TEST_CASE("of two probes at once the second is not alone, and its end is not the first one's") {
  bool first_alone = false;
  bool nested_alone = true;
  bool second_alone = true;
  bool still_mine = false;
  std::atomic<int> step{0};
  std::thread other([&] {
    while (step.load() != 1) std::this_thread::yield();
    {
      const probe_scope second;
      second_alone = second.alone();
    }
    step.store(2);
  });
  {
    const probe_scope first;
    first_alone = first.alone();
    {
      const probe_scope nested;
      nested_alone = nested.alone();
    }
    step.store(1);
    while (step.load() != 2) os_yield();
    still_mine = is_probing_sig();
  }
  other.join();
  CHECK(first_alone);
  CHECK_FALSE(nested_alone);
  CHECK_FALSE(second_alone);
  CHECK(still_mine);
  CHECK_FALSE(is_probing_sig());
  const probe_scope after;
  CHECK(after.alone());
}

TEST_CASE("in a forked child a probe or a dlsym of the parent's is nobody's") {
  const auto in_child = [](auto check) {
    const pid_t child = fork();
    if (child == 0) _exit(check() ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    return status == 0;
  };
  const probe_scope probing;
  REQUIRE(probing.alone());
  REQUIRE(resolving.enter_sig());
  // Its thread has this one's thread pointer, as a new thread on a dead one's stack would.
  CHECK(in_child([] { return !is_probing_sig() && !resolving.has_this_sig(); }));
  CHECK(in_child([] {
    const probe_scope own;
    return own.alone() && is_probing_sig();
  }));
  CHECK(is_probing_sig());
  CHECK(resolving.has_this_sig());
  resolving.leave_sig();
  CHECK_FALSE(resolving.has_this_sig());
}

TEST_CASE("while another thread probes a family is not settled, and by a later call it is") {
  const fresh_hooks fresh;
  int answer = 0;
  {
    const probe_scope probing;
    std::thread([&answer] { answer = hooked_abs(-6); }).join();
    CHECK_FALSE(is_resolved_sig(own_hooks()));
  }
  CHECK(answer == 6);
  CHECK(g_counted.load() == 0);
  CHECK(hooked_abs(-7) == 7);
  CHECK(counts_here_sig(own_hooks()));
  CHECK(g_counted.load() == 1);
}

TEST_CASE("a probe that comes before the next definitions finds them") {
  const fresh_hooks fresh;
  const probe_scope probing;
  probe.first_hit = no_entry;
  CHECK(hooked_abs(-5) == 5);
  CHECK(probe.first_hit == probe_number(own_hooks(), entry_abs));
  CHECK(g_settling.times.load() == 0);
}

TEST_CASE("the words and functions of an entry are found by its number") {
  const fresh_hooks fresh;
  const hook_set& set = own_hooks();
  CHECK(set.facts[entry_abs].shape == 7);
  CHECK(is_function(function_of_sig(set, entry_abs, function_counting), &abs_entry::counting));
  CHECK(is_function(function_of_sig(set, entry_lonely, function_fallback), &lonely_entry::fallback));
  CHECK(is_function(function_of_sig(set, entry_abs, function_resolving), &abs_entry::while_resolving));
  CHECK(is_function(load_function_sig(set.facts[entry_lonely].hook), &hooked_lonely));
  CHECK(is_function(load_word_sig(set, entry_abs, word_route), &abs_entry::first_call));
  store_word_sig(set, entry_abs, word_settled, reinterpret_cast<any_function>(&abs_entry::fallback));
  CHECK(static_cast<bool>(abs_entry::state.settled.load() == &abs_entry::fallback));
  settle_sig(set, entry_abs, reinterpret_cast<any_function>(&abs_entry::while_resolving), "a state", "a reason");
  CHECK(static_cast<bool>(abs_entry::state.settled.load() == &abs_entry::while_resolving));
  CHECK(hooked_abs(1) == -2);
  CHECK(state_of(entry_abs) == "a state");
  CHECK(why_of(entry_abs) == "a reason");
  CHECK(probe_number(set, entry_abs) != probe_number(heap_hooks(), entry_malloc));
}

#endif
