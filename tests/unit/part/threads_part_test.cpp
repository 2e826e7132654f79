// tests/unit/part/threads_part_test.cpp - the profiles threads, goroutine and threadcreate, as collect/ asks for them.

#include "prof/part/threads_part.hpp"

#include <doctest/doctest.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../process/own_process.hpp"
#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using prof::error;
using prof::profile_request;
using prof::result;

constexpr std::uint64_t millisecond = 1000000;
constexpr std::uint64_t second = 1000 * millisecond;

template <class Done>
bool wait_until(Done done) {
  const std::uint64_t began = os_monotonic_ns_sig();
  while (!done()) {
    if (os_monotonic_ns_sig() - began > 20 * second) return false;
    os_sleep_ns(millisecond);
  }
  return true;
}

threads_state& threads() {
  threads_state* const there = threads_of(*enter_process());
  REQUIRE(there != nullptr);
  return *there;
}

const profile_row& row_of(const char* name) {
  struct {
    const char* name;
    const profile_row* found = nullptr;
  } wanted{name};
  prof_part_threads_v2.visit_rows(*enter_process(), {[](void* context, const profile_row& row) {
                                                       auto& to = *static_cast<decltype(wanted)*>(context);
                                                       if (row.name.equals(to.name)) to.found = &row;
                                                     },
                                                     &wanted});
  REQUIRE(wanted.found != nullptr);
  return *wanted.found;
}

std::string text_in(const profile& p, string_index index) {
  REQUIRE(index < p.strings.size());
  return std::string(p.strings[index].data, p.strings[index].size);
}

bool append(void* context, const void* data, std::size_t size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
  return true;
}

// One collection of one profile, as collect/ makes it.
struct collected {
  arena memory{os_pages};
  arena store{os_pages};
  profile_request request;
  profile_run run;
  profile p{store};

  explicit collected(const char* name)
      : run{*enter_process(), row_of(name), request, memory, memory.allocate(prof_part_threads_v2.run_bytes)} {}
  result begin() { return prof_part_threads_v2.begin(run); }
  void finish() {
    CHECK(prof_part_threads_v2.end(run));
    refresh_code_map(run.process);
    prof_part_threads_v2.fill(p, run);
    CHECK(p.complete());
  }
  void collect() {
    REQUIRE(begin());
    finish();
  }

  std::int64_t count(const profile_sample& sample) const { return p.values_of(sample)[0]; }
  std::int64_t total() const {
    std::int64_t sum = 0;
    for (const profile_sample& sample : p.samples) sum += count(sample);
    return sum;
  }
  bool has_call(const profile_sample& sample, std::uintptr_t return_address) const {
    for (std::size_t i = 0; i < sample.depth; ++i) {
      const std::uint64_t call = p.locations[p.frames_of(sample)[i]].address;
      if (call < return_address && call + 8 > return_address) return true;
    }
    return false;
  }
  // How many are counted at stacks with a call.
  std::int64_t count_at(std::uintptr_t return_address) const {
    std::int64_t sum = 0;
    for (const profile_sample& sample : p.samples) sum += has_call(sample, return_address) ? count(sample) : 0;
    return sum;
  }
  // How many are counted where the one frame is a name.
  std::int64_t count_named(const char* name) const {
    std::int64_t sum = 0;
    for (const profile_sample& sample : p.samples) sum += is_named(sample, name) ? count(sample) : 0;
    return sum;
  }
  bool is_named(const profile_sample& sample, const char* name) const {
    const profile_location& location = p.locations[p.frames_of(sample)[0]];
    if (sample.depth != 1 || location.address != 0 || location.line_count != 1) return false;
    return text_in(p, p.functions[p.lines[location.first_line].function].name) == name;
  }
  const profile_label* label(const profile_sample& sample, const char* key) const {
    for (std::size_t i = 0; i < sample.label_count; ++i) {
      const profile_label& there = p.labels[sample.first_label + i];
      if (text_in(p, there.key) == key) return &there;
    }
    return nullptr;
  }
  std::int64_t number(const profile_sample& sample, const char* key) const {
    const profile_label* const there = label(sample, key);
    return there != nullptr ? there->number : 0;
  }
  std::string text(const profile_sample& sample, const char* key) const {
    const profile_label* const there = label(sample, key);
    return there != nullptr ? text_in(p, there->text) : "";
  }
  // The sample with a number; null: there is none.
  const profile_sample* find(const char* key, std::uint32_t thread) const {
    for (const profile_sample& sample : p.samples) {
      if (number(sample, key) == thread) return &sample;
    }
    return nullptr;
  }
  std::string written(bool (*write)(const profile& p, arena& scratch, output out)) const {
    arena scratch(os_pages);
    std::string text;
    CHECK(write(p, scratch, {&append, &text}));
    return text;
  }
};

// Collects until all is right: on a machine that has other things to do a thread may be late.
template <class Prepare, class Right>
std::unique_ptr<collected> collect_until(const char* name, Prepare prepare, Right right) {
  std::unique_ptr<collected> last;
  for (int tries = 0; tries < 20; ++tries) {
    last = std::make_unique<collected>(name);
    prepare(last->request);
    last->collect();
    if (right(*last)) break;
  }
  return last;
}
const auto plainly = [](profile_request&) {};
const auto in_full = [](profile_request& request) { request.debug = 2; };

// Waits for a word that changes, by a system call that no hook sees.
struct parked {
  std::atomic<std::uint32_t> id{0};
  std::atomic<std::uintptr_t> call{0};  // return address of the call in which it waits
  std::atomic<std::uint32_t> word{0};
  std::thread thread;

  void stop() {
    word.store(1);
    os_call_sig(SYS_futex, os_word(&word), 1, 1, 0);  // FUTEX_WAKE
    if (thread.joinable()) thread.join();
  }
  parked() = default;
  ~parked() { stop(); }
  parked(const parked&) = delete;
  parked& operator=(const parked&) = delete;
};

__attribute__((noinline)) void park(parked& self) {
  self.call.store(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
  self.id.store(os_thread_id_sig());
  while (self.word.load() == 0) os_call_sig(SYS_futex, os_word(&self.word), 0, 0, 0);  // FUTEX_WAIT
}
__attribute__((noinline)) void wait_in_the_hall(parked& self) {
  park(self);
  __asm__ volatile("" : : "r"(&self) : "memory");  // no tail call
}
void* park_plainly(void* context) {
  wait_in_the_hall(*static_cast<parked*>(context));
  return nullptr;
}

// Starts a thread as the program does; `call`: where.
__attribute__((noinline)) int start_here(pthread_t& thread, void* (*main)(void*), void* argument, std::uintptr_t& call,
                                         const pthread_attr_t* attributes = nullptr) {
  call = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  const int answer = pthread_create(&thread, attributes, main, argument);
  __asm__ volatile("" : : "r"(&thread) : "memory");
  return answer;
}
__attribute__((noinline)) void start_parked(parked& one, std::uintptr_t& call) {
  call = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  one.thread = std::thread([&one] { wait_in_the_hall(one); });
  while (one.id.load() == 0) os_yield();
}

void* end_at_once(void* argument) { return argument; }

std::size_t known_threads() { return threads().made.used(); }

}  // namespace

TEST_CASE("the part brings three profiles, which take no time and have texts") {
  std::map<std::string, const profile_row*> rows;
  prof_part_threads_v2.visit_rows(*enter_process(), {[](void* context, const profile_row& row) {
                                                       (*static_cast<decltype(rows)*>(context))[std::string(
                                                           row.name.data, row.name.size)] = &row;
                                                     },
                                                     &rows});
  CHECK(rows.size() == 3);
  for (const char* const name : {"threads", "goroutine", "threadcreate"}) {
    CAPTURE(name);
    REQUIRE(rows.count(name) == 1);
    const profile_row& row = *rows[name];
    CHECK(row.default_seconds == 0);
    CHECK(row.description.size > 10);
    CHECK(std::strlen(row.description.data) == row.description.size);
    CHECK(row.delta_name.equals((std::string(name) + "-delta").c_str()));
    CHECK(static_cast<bool>(row.write_text == &write_count_text));
    CHECK(static_cast<bool>(row.write == nullptr));
  }
  CHECK(static_cast<bool>(rows["threads"]->write_full_text == &write_thread_dump));
  CHECK(static_cast<bool>(rows["goroutine"]->write_full_text == &write_goroutine_dump));
  CHECK(static_cast<bool>(rows["threadcreate"]->write_full_text == nullptr));
}

TEST_CASE("every thread counts once at its stack, under either name") {
  for (const char* const name : {"threads", "goroutine"}) {
    CAPTURE(name);
    parked some[3];
    std::uintptr_t call = 0;
    for (parked& one : some) start_parked(one, call);
    std::int64_t there = 0;
    const auto found = collect_until(name, plainly, [&](const collected& c) {
      there = static_cast<std::int64_t>(prof_part_threads_v2.count(*enter_process()));
      return c.count_at(some[0].call.load()) == 3;
    });
    CHECK(found->count_at(some[0].call.load()) == 3);
    CHECK(found->total() == there);
    CHECK(there >= 4);
    REQUIRE(found->p.value_types.size() == 1);
    CHECK(text_in(found->p, found->p.value_types[0].type) == name);
    CHECK(text_in(found->p, found->p.value_types[0].unit) == "count");
    CHECK(text_in(found->p, found->p.period_type.type) == name);
    CHECK(found->p.period == 1);
    for (const profile_sample& sample : found->p.samples) {
      CHECK(found->count(sample) > 0);
      CHECK(found->label(sample, ".thread") == nullptr);
    }
  }
}

TEST_CASE("threads keep their labels, and stacks with other labels are other samples") {
  parked some[3];
  std::uintptr_t call = 0;
  for (int i = 0; i < 3; ++i) {
    some[i].thread = std::thread([&some, i] {
      const prof::label_scope labels{{"role", i == 0 ? "first" : "other"}};
      wait_in_the_hall(some[i]);
    });
    while (some[i].id.load() == 0) os_yield();
  }
  call = some[0].call.load();
  const auto found = collect_until("threads", plainly, [&](const collected& c) { return c.count_at(call) == 3; });
  std::map<std::string, std::int64_t> roles;
  for (const profile_sample& sample : found->p.samples) {
    if (found->has_call(sample, call)) roles[found->text(sample, "role")] += found->count(sample);
  }
  CHECK(roles == std::map<std::string, std::int64_t>{{"first", 1}, {"other", 2}});
}

TEST_CASE("a difference over some seconds has what came and what went") {
  std::uintptr_t call = 0;
  auto goes = std::make_unique<parked>();
  parked stays;
  start_parked(*goes, call);
  start_parked(stays, call);
  const std::uintptr_t hall = stays.call.load();
  bool is_right = false;
  for (int tries = 0; tries < 20 && !is_right; ++tries) {
    if (goes == nullptr) {
      goes = std::make_unique<parked>();
      start_parked(*goes, call);
    }
    collected difference("threads");
    difference.request.seconds = 1;
    REQUIRE(difference.begin());
    goes.reset();
    std::unique_ptr<parked> come[3];
    std::uintptr_t call_of_those = 0;
    for (auto& one : come) {
      one = std::make_unique<parked>();
      start_parked(*one, call_of_those);
    }
    difference.finish();
    is_right = difference.count_at(hall) == 2;  // three came, one went
  }
  CHECK(is_right);
}

TEST_CASE("a collection that is cancelled leaves nothing behind") {
  collected canceled("threads");
  canceled.request.seconds = 1;
  REQUIRE(canceled.begin());
  prof_part_threads_v2.cancel(canceled.run);
  CHECK(wait_until([] { return threads().questions.used() == 0; }));
}

TEST_CASE("a signal that is in use is an error, and no thread is asked") {
  process_state& process = *enter_process();
  const int number = os_candidate_signal(2);
  const int signal_before = process.signal.number.exchange(0);
  const int wanted_before = process.wanted_signal.exchange(number);
  struct sigaction before;
  struct sigaction foreign;
  std::memset(&foreign, 0, sizeof foreign);
  foreign.sa_handler = [](int) {};
  REQUIRE(sigaction(number, &foreign, &before) == 0);
  const std::uint64_t asked = threads().asked.load();
  collected refused("threads");
  CHECK(refused.begin().code() == error::signal_in_use);
  CHECK(threads().asked.load() == asked);
  sigaction(number, &before, nullptr);
  process.wanted_signal.store(wanted_before);
  process.signal.number.store(signal_before);
}

TEST_CASE("a thread that does not answer is counted all the same, under a name that says so") {
  const auto ready = std::make_unique<collected>("threads");
  REQUIRE(ready->begin());
  std::atomic<std::uint32_t> id{0};
  std::atomic<bool> end{false};
  std::thread deaf([&] {
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    id.store(os_thread_id_sig());
    while (!end.load()) os_sleep_ns(millisecond);
  });
  while (id.load() == 0) os_yield();
  collected plain("threads");
  plain.collect();
  collected full("threads");
  full.request.debug = 2;
  full.collect();
  end.store(true);
  deaf.join();
  CHECK(plain.count_named("[no answer]") >= 1);
  const profile_sample* const sample = full.find(".thread", id.load());
  REQUIRE(sample != nullptr);
  CHECK(full.is_named(*sample, "[no answer]"));
  CHECK(full.text(*sample, ".why") == "it blocks the signal");
  CHECK(full.count(*sample) == 1);
}

// ---- debug=2 -----------------------------------------------------------------------------------------------------------

TEST_CASE("in full each thread is a sample of its own, with all that is known of it") {
  parked some[2];
  std::uintptr_t call = 0;
  for (parked& one : some) start_parked(one, call);
  REQUIRE(pthread_setname_np(some[0].thread.native_handle(), "in the hall") == 0);
  const std::uint32_t self = os_thread_id_sig();
  const auto found = collect_until("threads", in_full, [&](const collected& c) {
    return c.count_at(some[0].call.load()) == 2;
  });
  const profile_sample* const one = found->find(".thread", some[0].id.load());
  const profile_sample* const two = found->find(".thread", some[1].id.load());
  const profile_sample* const mine = found->find(".thread", self);
  REQUIRE(one != nullptr);
  REQUIRE(two != nullptr);
  REQUIRE(mine != nullptr);
  CHECK(one != two);
  CHECK(found->text(*one, ".name") == "in the hall");
  CHECK(found->text(*one, ".state") == "S");
  CHECK(found->text(*mine, ".state") == "R");
  CHECK(found->number(*mine, ".cpu") > 0);
  CHECK(found->text(*one, ".why").empty());
  for (const profile_sample* const sample : {one, two}) {
    CHECK(found->count(*sample) == 1);
    CHECK(found->has_call(*sample, some[0].call.load()));
  }
  const profile_sample* const maker = found->find(".made", some[0].id.load());
  REQUIRE(maker != nullptr);
  CHECK(found->count(*maker) == 0);
  CHECK(found->number(*maker, ".creator") == self);
  CHECK(found->has_call(*maker, call));
  CHECK(found->find(".made", self) == nullptr);
  CHECK(found->total() == static_cast<std::int64_t>(found->p.samples.size()) -
                              std::count_if(found->p.samples.begin(), found->p.samples.end(), [&](const profile_sample& s) {
                                return found->label(s, ".made") != nullptr;
                              }));
}

TEST_CASE("in full a wait that a hook saw is told with its kind, its object, its time and who has it") {
  process_state& process = *enter_process();
  parked waits;
  std::uintptr_t call = 0;
  start_parked(waits, call);
  wait_facts facts;
  facts.thread = waits.id.load();
  facts.kind = wait_kind::barrier;
  facts.object = 0x123450;
  facts.began_ns = os_monotonic_ns_sig() - 90 * second;
  const std::size_t index = process.waits.begin_sig(facts, 1);
  REQUIRE(index != no_slot);
  collected found("threads");
  found.request.debug = 2;
  found.collect();
  process.waits.end_sig(index);
  const profile_sample* const sample = found.find(".thread", waits.id.load());
  REQUIRE(sample != nullptr);
  CHECK(found.text(*sample, ".wait") == "barrier");
  CHECK(found.number(*sample, ".object") == 0x123450);
  CHECK(found.number(*sample, ".waited") >= static_cast<std::int64_t>(90 * second));
  CHECK(found.number(*sample, ".waited") < static_cast<std::int64_t>(1000 * second));
  CHECK(found.label(*sample, ".owner") == nullptr);
  CHECK(found.label(*sample, ".circle") == nullptr);
}

TEST_CASE("in full a mutex is told with the thread that has it, also where no profile of waits is on") {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&mutex);
  std::atomic<std::uint32_t> id{0};
  std::thread waiting([&] {
    id.store(os_thread_id_sig());
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
  });
  CHECK(wait_until([&id] { return id.load() != 0 && os_futex_of_thread(id.load()) != 0; }));
  const auto found = collect_until("threads", in_full, [&](const collected& c) {
    const profile_sample* const sample = c.find(".thread", id.load());
    return sample != nullptr && c.text(*sample, ".wait") == "mutex";
  });
  pthread_mutex_unlock(&mutex);
  waiting.join();
  const profile_sample* const sample = found->find(".thread", id.load());
  REQUIRE(sample != nullptr);
  CHECK(found->text(*sample, ".wait") == "mutex");
  CHECK(found->number(*sample, ".object") == static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(&mutex)));
  CHECK(found->number(*sample, ".owner") == os_thread_id_sig());
}

TEST_CASE("the text in full names threads and who made them, with either title") {
  parked one;
  std::uintptr_t call = 0;
  start_parked(one, call);
  const auto found = collect_until("threads", in_full, [&](const collected& c) {
    return c.count_at(one.call.load()) == 1;
  });
  const std::string number = std::to_string(one.id.load());
  const std::string made = "created in thread " + std::to_string(os_thread_id_sig()) + " by ";
  const std::string as_threads = found->written(row_of("threads").write_full_text);
  const std::string as_goroutines = found->written(row_of("goroutine").write_full_text);
  CHECK(("\n" + as_threads).find("\nthread " + number + " [") != std::string::npos);
  CHECK(("\n" + as_goroutines).find("\ngoroutine " + number + " [") != std::string::npos);
  CHECK(as_threads.find(made) != std::string::npos);
}

TEST_CASE("the text that counts names no thread, and is the same for all who wait at one place") {
  parked some[3];
  std::uintptr_t call = 0;
  for (parked& one : some) start_parked(one, call);
  const auto found = collect_until("threads", [](profile_request& request) { request.debug = 1; }, [&](const collected& c) {
    return c.count_at(some[0].call.load()) == 3;
  });
  const std::string text = found->written(row_of("threads").write_text);
  CHECK(text.find("threads profile: total " + std::to_string(found->total()) + "\n") == 0);
  CHECK(("\n" + text).find("\n3 @ 0x") != std::string::npos);
  CHECK(text.find(".thread") == std::string::npos);
}

TEST_CASE("only threads that have waited for long enough are shown where that is asked for") {
  process_state& process = *enter_process();
  parked waits[3];
  std::uintptr_t call = 0;
  std::size_t indices[2];
  for (int i = 0; i < 3; ++i) {
    start_parked(waits[i], call);
    if (i == 2) continue;
    wait_facts facts;
    facts.thread = waits[i].id.load();
    facts.kind = wait_kind::semaphore;
    facts.object = 0x1000;
    facts.began_ns = os_monotonic_ns_sig() - (i == 0 ? 100 : 1) * second;
    indices[i] = process.waits.begin_sig(facts, 1);
    REQUIRE(indices[i] != no_slot);
  }
  const auto found = collect_until("threads", [](profile_request& request) { request.min_wait = 60; }, [&](const collected& c) {
    return c.count_at(waits[0].call.load()) == 1;
  });
  for (const std::size_t index : indices) process.waits.end_sig(index);
  CHECK(found->total() == 1);
  CHECK(found->count_at(waits[0].call.load()) == 1);
}

TEST_CASE("in full a wait at a descriptor is told with that") {
  process_state& process = *enter_process();
  parked waits;
  std::uintptr_t call = 0;
  start_parked(waits, call);
  wait_facts facts;
  facts.thread = waits.id.load();
  facts.kind = wait_kind::read;
  facts.object = 7;
  facts.began_ns = os_monotonic_ns_sig();
  const std::size_t index = process.waits.begin_sig(facts, 1);
  REQUIRE(index != no_slot);
  collected found("threads");
  found.request.debug = 2;
  found.collect();
  process.waits.end_sig(index);
  const profile_sample* const sample = found.find(".thread", waits.id.load());
  REQUIRE(sample != nullptr);
  CHECK(found.number(*sample, ".descriptor") == 7);
  CHECK(found.label(*sample, ".object") == nullptr);
}

TEST_CASE("a text that counts has no labels of ours, whatever else was asked for") {
  process_state& process = *enter_process();
  parked waits;
  std::uintptr_t call = 0;
  start_parked(waits, call);
  wait_facts facts;
  facts.thread = waits.id.load();
  facts.kind = wait_kind::semaphore;
  facts.began_ns = os_monotonic_ns_sig() - 100 * second;
  const std::size_t index = process.waits.begin_sig(facts, 1);
  REQUIRE(index != no_slot);
  collected found("threads");
  found.request.min_wait = 60;
  found.request.debug = 1;
  found.collect();
  process.waits.end_sig(index);
  const std::string text = found.written(row_of("threads").write_text);
  CHECK(text.find("threads profile: total 1\n") == 0);
  CHECK(text.find("\".state\"") == std::string::npos);
}

// ---- threadcreate ------------------------------------------------------------------------------------------------------

TEST_CASE("threadcreate counts the threads there are at the stacks that made them, with their makers' labels") {
  parked some[3];
  std::uintptr_t call = 0;
  {
    const prof::label_scope labels{{"maker", "test"}};
    for (parked& one : some) start_parked(one, call);
  }
  collected found("threadcreate");
  found.collect();
  CHECK(found.count_at(call) == 3);
  int samples = 0;
  for (const profile_sample& sample : found.p.samples) {
    if (!found.has_call(sample, call)) continue;
    ++samples;
    CHECK(found.text(sample, "maker") == "test");
  }
  CHECK(samples == 1);
  CHECK(found.count_named("[main thread]") == 1);
  CHECK(text_in(found.p, found.p.value_types[0].type) == "threadcreate");
  CHECK(found.total() == static_cast<std::int64_t>(prof_part_threads_v2.count(*enter_process())));
  for (parked& one : some) one.stop();
  CHECK(wait_until([call] {
    collected after("threadcreate");
    after.collect();
    return after.count_at(call) == 0;
  }));
}

TEST_CASE("a thread whose making nobody saw says so") {
  collected before("threadcreate");
  before.collect();
  parked one;
  pthread_t thread{};
  REQUIRE(is_resolved_sig(thread_hooks()));
  REQUIRE(pthread_create_entry::call_next(&thread, nullptr, &park_plainly, &one) == 0);
  while (one.id.load() == 0) os_yield();
  collected found("threadcreate");
  found.collect();
  CHECK(found.count_named("[not seen when made]") == before.count_named("[not seen when made]") + 1);
  one.stop();
  pthread_join(thread, nullptr);
}

TEST_CASE("a difference of threadcreate has what came and went") {
  std::uintptr_t first_call = 0;
  auto goes = std::make_unique<parked>();
  start_parked(*goes, first_call);
  collected difference("threadcreate");
  difference.request.seconds = 1;
  REQUIRE(difference.begin());
  parked comes[2];
  std::uintptr_t call = 0;
  for (parked& one : comes) start_parked(one, call);
  difference.finish();
  CHECK(difference.count_at(call) == 2);
  CHECK(difference.count_at(first_call) == 0);
  CHECK(difference.count_named("[main thread]") == 0);
}

TEST_CASE("a difference of threadcreate has less where a thread has ended meanwhile") {
  std::uintptr_t call = 0;
  auto goes = std::make_unique<parked>();
  start_parked(*goes, call);
  const std::uint32_t id = goes->id.load();
  collected difference("threadcreate");
  difference.request.seconds = 1;
  REQUIRE(difference.begin());
  goes.reset();
  CHECK(wait_until([id] { return os_thread_has_ended_sig(os_process_id_sig(), id); }));
  difference.finish();
  CHECK(difference.count_at(call) == -1);
}

TEST_CASE("threads that have ended and that nobody has joined are shown where that is asked for, until one does") {
  pthread_t leaked[2];
  std::uintptr_t call = 0;
  const auto leak = [](profile_request& request) { request.leak = true; };
  for (pthread_t& one : leaked) REQUIRE(start_here(one, &end_at_once, nullptr, call) == 0);
  parked lives;
  std::uintptr_t other_call = 0;
  start_parked(lives, other_call);
  CHECK(wait_until([call, &leak] {
    collected found("threadcreate");
    leak(found.request);
    found.collect();
    return found.count_at(call) == 2;
  }));
  const auto count_now = [&](std::uintptr_t at) {
    collected found("threadcreate");
    leak(found.request);
    found.collect();
    CHECK(found.count_named("[main thread]") == 0);
    return found.count_at(at);
  };
  CHECK(count_now(call) == 2);
  CHECK(count_now(other_call) == 0);
  CHECK(pthread_join(leaked[0], nullptr) == 0);
  CHECK(count_now(call) == 1);
  CHECK(pthread_detach(leaked[1]) == 0);
  CHECK(count_now(call) == 0);
}

TEST_CASE("threads that are made detached, or detach later, are leaked by nobody") {
  const auto count_leaked = [](std::uintptr_t at) {
    collected found("threadcreate");
    found.request.leak = true;
    found.collect();
    return found.count_at(at);
  };
  pthread_attr_t detached;
  REQUIRE(pthread_attr_init(&detached) == 0);
  REQUIRE(pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) == 0);
  static std::atomic<std::uint32_t> ids[2];
  pthread_t thread{};
  std::uintptr_t call = 0;
  std::uintptr_t other_call = 0;
  REQUIRE(start_here(
              thread,
              [](void*) -> void* {
                ids[0].store(os_thread_id_sig());
                return nullptr;
              },
              nullptr, call, &detached) == 0);
  pthread_attr_destroy(&detached);
  REQUIRE(start_here(
              thread,
              [](void*) -> void* {
                pthread_detach(pthread_self());
                ids[1].store(os_thread_id_sig());
                return nullptr;
              },
              nullptr, other_call) == 0);
  for (const std::atomic<std::uint32_t>& id : ids) {
    CHECK(wait_until([&id] { return id.load() != 0 && os_thread_has_ended_sig(os_process_id_sig(), id.load()); }));
  }
  CHECK(count_leaked(call) == 0);
  CHECK(count_leaked(other_call) == 0);
}

TEST_CASE("threads that are detached at once, one after another, are leaked by nobody") {
  int leaked = 0;
  for (int round = 0; round < 50; ++round) {
    static std::atomic<std::uint32_t> id;
    id.store(0);
    std::uintptr_t call = 0;
    pthread_t thread{};
    REQUIRE(start_here(
                thread,
                [](void*) -> void* {
                  id.store(os_thread_id_sig());
                  return nullptr;
                },
                nullptr, call) == 0);
    CHECK(pthread_detach(thread) == 0);
    CHECK(wait_until([] { return id.load() != 0 && os_thread_has_ended_sig(os_process_id_sig(), id.load()); }));
    collected found("threadcreate");
    found.request.leak = true;
    found.collect();
    leaked += found.count_at(call) != 0 ? 1 : 0;
  }
  CHECK(leaked == 0);
}

TEST_CASE("a thread that is joined at once is leaked by nobody, although a detached one had its pthread_t") {
  pthread_attr_t detached;
  REQUIRE(pthread_attr_init(&detached) == 0);
  REQUIRE(pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) == 0);
  int leaked = 0;
  for (int round = 0; round < 50; ++round) {
    static std::atomic<std::uint32_t> id;
    id.store(0);
    std::uintptr_t call = 0;
    pthread_t thread{};
    REQUIRE(start_here(
                thread,
                [](void*) -> void* {
                  id.store(os_thread_id_sig());
                  return nullptr;
                },
                nullptr, call, &detached) == 0);
    CHECK(wait_until([] { return id.load() != 0 && os_thread_has_ended_sig(os_process_id_sig(), id.load()); }));
    REQUIRE(start_here(thread, &end_at_once, nullptr, call) == 0);
    CHECK(pthread_join(thread, nullptr) == 0);
    collected found("threadcreate");
    found.request.leak = true;
    found.collect();
    leaked += found.count_at(call) != 0 ? 1 : 0;
  }
  pthread_attr_destroy(&detached);
  CHECK(leaked == 0);
}

// ---- threads that come and go ------------------------------------------------------------------------------------------

TEST_CASE("threads that are joined leave no record, and all are counted") {
  const std::size_t before = known_threads();
  const std::uint64_t created = threads().created.load();
  for (int i = 0; i < 50; ++i) {
    std::thread one([] {});
    CHECK(known_threads() <= before + 1);
    one.join();
  }
  CHECK(known_threads() <= before);
  CHECK(threads().created.load() == created + 50);
}

TEST_CASE("of many threads that are made and joined at once by several, none is left and none is leaked") {
  const auto count_leaked = [] {
    collected found("threadcreate");
    found.request.leak = true;
    found.collect();
    return found.total();
  };
  const std::int64_t leaked_before = count_leaked();
  const std::size_t known_before = known_threads();
  std::atomic<int> failed{0};
  const auto make_many = [&failed] {
    pthread_t some[200];  // at once, so that each has a pthread_t of its own
    for (pthread_t& one : some) failed += pthread_create(&one, nullptr, &end_at_once, nullptr) == 0 ? 0 : 1;
    for (const pthread_t one : some) failed += pthread_join(one, nullptr) == 0 ? 0 : 1;
  };
  std::int64_t leaked = 0;
  std::size_t most_known = 0;
  for (int round = 0; round < 20; ++round) {
    std::thread others[3];
    for (std::thread& one : others) one = std::thread(make_many);
    for (std::thread& one : others) one.join();
    leaked = std::max(leaked, count_leaked());
    most_known = std::max(most_known, known_threads());
  }
  REQUIRE(failed.load() == 0);
  CHECK(leaked <= leaked_before);
  CHECK(most_known <= known_before);
}

TEST_CASE("threads that live are known with those who made them when several make and join threads at once") {
  std::atomic<int> failed{0};
  std::atomic<int> unknown{0};
  const auto make_many = [&] {
    for (int round = 0; round < 100; ++round) {
      parked some[8];
      for (parked& one : some) one.thread = std::thread([&one] { wait_in_the_hall(one); });
      for (parked& one : some) failed += wait_until([&one] { return one.id.load() != 0; }) ? 0 : 1;
      arena memory(os_pages);
      known_makers makers(memory);
      makers.read(threads());
      for (parked& one : some) unknown += makers.find(one.id.load()) == nullptr ? 1 : 0;
    }
  };
  std::thread others[3];
  for (std::thread& one : others) one = std::thread(make_many);
  for (std::thread& one : others) one.join();
  CHECK(failed.load() == 0);
  CHECK(unknown.load() == 0);
}

TEST_CASE("a join that is told late forgets no later thread with the same pthread_t") {
  const own_process own;
  process_state& process = *own.state;
  constexpr std::uintptr_t handle = 0x7f0000001000;
  const host_call here = host_call_sig(PROF_DETAIL_CALL_FRAME());
  thread_start first;
  thread_start later;
  prof_part_threads_v2.thread_starts(process, first, here);
  first.handle = handle;
  prof_part_threads_v2.thread_runs(process, first);
  const std::uint64_t number = prof_part_threads_v2.join_begins(process, handle);
  CHECK(number == first.number);
  // The first has been joined, and its stack is another thread's already; now who joined it says so.
  prof_part_threads_v2.thread_starts(process, later, here);
  later.handle = handle;
  prof_part_threads_v2.thread_runs(process, later);
  prof_part_threads_v2.join_ends(process, handle, number, true);
  arena memory(os_pages);
  known_makers makers(memory);
  makers.read(*threads_of(process));
  REQUIRE(makers.find(os_thread_id_sig()) != nullptr);
  CHECK(makers.find(os_thread_id_sig())->start.number == later.number);
}

TEST_CASE("what is told of threads is numbered, and has the stack and the labels of who makes them") {
  const own_process own;
  process_state& process = *own.state;
  const label_pair pair{"a", "b"};
  thread_state* const self = this_thread_sig(process);
  REQUIRE(self != nullptr);
  self->labels.store(process.labels.intern(&pair, 1));
  thread_start one;
  thread_start two;
  const host_call here = host_call_sig(PROF_DETAIL_CALL_FRAME());
  one.creator = two.creator = os_thread_id_sig();
  prof_part_threads_v2.thread_starts(process, one, here);
  prof_part_threads_v2.thread_starts(process, two, here);
  CHECK(one.number == 1);
  CHECK(two.number == 2);
  CHECK(one.stack != overflow_stack);
  REQUIRE(process.stacks.view(one.stack).depth != 0);
  CHECK(frame_address_sig(process.stacks.view(one.stack).frames[0]) < here.pc);
  CHECK(frame_address_sig(process.stacks.view(one.stack).frames[0]) + 8 > here.pc);
  CHECK(one.labels == self->labels.load());
  CHECK(one.labels != no_labels);
  CHECK(process.code.load() != nullptr);
}

TEST_CASE("the thread that asks begins at the host's call, and in code of ours where that asks") {
  const registers asker = caller_registers_sig(PROF_DETAIL_CALL_FRAME());
  const auto leaf_is_asker = [&](collected& dump) {
    bool found = false;
    for (const profile_sample& sample : dump.p.samples) {
      const std::uint64_t call = dump.p.locations[dump.p.frames_of(sample)[0]].address;
      found = found || (call < asker.pc && call + 8 > asker.pc);
    }
    return found;
  };
  collected by_host("threads");
  by_host.run.asker = &asker;
  by_host.collect();
  CHECK(leaf_is_asker(by_host));
  collected by_us("threads");
  by_us.collect();
  CHECK_FALSE(leaf_is_asker(by_us));
}

TEST_CASE("a thread that was told of when nobody followed threads yet is not recorded") {
  const own_process own;
  thread_start early;
  early.handle = 0x7f0000001000;
  prof_part_threads_v2.thread_runs(*own.state, early);
  CHECK(prof_part_threads_v2.join_begins(*own.state, early.handle) == 0);
  prof_part_threads_v2.join_ends(*own.state, early.handle, 1, true);
  prof_part_threads_v2.thread_detached(*own.state, early.handle);
  CHECK(attached_threads_sig(*own.state) == nullptr);
  REQUIRE(threads_of(*own.state) != nullptr);
  prof_part_threads_v2.thread_runs(*own.state, early);  // without a number
  CHECK(threads_of(*own.state)->made.used() == 0);
}

TEST_CASE("a thread that is let go is forgotten when it is joined or has ended, else it is only not joinable") {
  const own_process own;
  process_state& process = *own.state;
  constexpr std::uintptr_t handle = 0x7f0000001000;
  thread_start one;
  prof_part_threads_v2.thread_starts(process, one, host_call_sig(PROF_DETAIL_CALL_FRAME()));
  one.handle = handle;
  prof_part_threads_v2.thread_detached(process, handle);  // it does not run yet
  auto& made = threads_of(process)->made;
  const std::size_t index = made.find_sig(handle);
  REQUIRE(index != no_slot);
  prof_part_threads_v2.thread_runs(process, one);
  CHECK(made.find_sig(handle) == index);
  CHECK_FALSE(made.at(index).is_joinable.load());
  CHECK(made.at(index).thread.load() == os_thread_id_sig());
  prof_part_threads_v2.thread_detached(process, handle);  // it runs
  CHECK(made.find_sig(handle) == index);
  prof_part_threads_v2.join_ends(process, handle, one.number, true);
  CHECK(made.used() == 0);
  prof_part_threads_v2.join_ends(process, handle, one.number, true);  // nobody knows it any more
  CHECK(made.used() == 0);
}

// ---- status and forks --------------------------------------------------------------------------------------------------

TEST_CASE("the state of the threads is reported, and how many there are") {
  const auto report = [](const process_state& of) {
    std::map<std::string, std::uint64_t> rows;
    prof_part_threads_v2.report(of, {[](void* context, const status_value& row) {
                                       (*static_cast<decltype(rows)*>(context))[row.name] = row.number;
                                     },
                                     &rows});
    return rows;
  };
  const own_process own;
  CHECK(report(*own.state) == std::map<std::string, std::uint64_t>{
                                  {"threads created", 0}, {"threads asked for their stack", 0}, {"threads that answered", 0}});  // no deadlocks: nobody follows threads yet
  process_state& process = *enter_process();
  collected first("threads");
  first.collect();
  const auto before = report(process);
  const std::uint64_t count_before = prof_part_threads_v2.count(process);
  parked one;
  std::uintptr_t call = 0;
  start_parked(one, call);
  CHECK(prof_part_threads_v2.count(process) == count_before + 1);
  const auto found = collect_until("threads", plainly, [&](const collected& c) { return c.count_at(one.call.load()) == 1; });
  auto after = report(process);
  CHECK(after["threads created"] == before.at("threads created") + 1);
  CHECK(after["threads asked for their stack"] > before.at("threads asked for their stack"));
  CHECK(after["threads that answered"] > before.at("threads that answered"));
  CHECK(after["threads that answered"] <= after["threads asked for their stack"]);
  bool is_said = false;
  for (const string_index comment : found->p.comments) {
    is_said |= text_in(found->p, comment) == std::to_string(after["threads created"]) + " threads were created in all";
  }
  CHECK(is_said);
}

namespace {

// Two threads, each of which has one of two mutexes and waits for the other; they end with this, for the locks are timed.
class two_in_a_circle {
 public:
  two_in_a_circle() {
    for (int i = 0; i < 2; ++i) threads_.emplace_back([this, i] { lock_both(i); });
  }
  ~two_in_a_circle() {
    for (std::thread& thread : threads_) thread.join();
  }
  std::uint32_t id(int i) const { return ids_[i].load(); }
  std::uintptr_t mutex(int i) const { return reinterpret_cast<std::uintptr_t>(&mutexes_[i]); }
  bool both_wait() const { return id(0) != 0 && id(1) != 0 && os_futex_of_thread(id(0)) != 0 && os_futex_of_thread(id(1)) != 0; }

 private:
  void lock_both(int mine) {
    pthread_mutex_lock(&mutexes_[mine]);
    ++have_;
    while (have_.load() < 2) os_yield();
    const timespec until = os_timespec(os_realtime_ns_sig() + 3 * second);
    ids_[mine].store(os_thread_id_sig());
    if (pthread_mutex_timedlock(&mutexes_[1 - mine], &until) == 0) pthread_mutex_unlock(&mutexes_[1 - mine]);
    while (have_.load() > 2) os_yield();
    pthread_mutex_unlock(&mutexes_[mine]);
  }
  pthread_mutex_t mutexes_[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
  std::atomic<int> have_{0};
  std::atomic<std::uint32_t> ids_[2] = {};
  std::vector<std::thread> threads_;
};

}  // namespace

TEST_CASE("the state of the threads says how many deadlocks there are, and names the threads and locks of one") {
  process_state& process = *enter_process();
  collected first("threads");  // from here on threads are followed
  first.collect();
  const two_in_a_circle circle;
  REQUIRE(wait_until([&] { return circle.both_wait(); }));
  std::map<std::string, std::pair<std::uint64_t, std::string>> rows;
  prof_part_threads_v2.report(process, {[](void* context, const status_value& row) {
                                          (*static_cast<decltype(rows)*>(context))[row.name] = {
                                              row.number, row.text != nullptr ? row.text : ""};
                                        },
                                        &rows});
  CHECK(rows["deadlocks now"].first == 1);
  const std::string text = rows["first deadlock (stacks: threads?debug=2)"].second;
  for (int i = 0; i < 2; ++i) {
    bounded_text<100> part;
    part.put("thread ").decimal(circle.id(i)).put(" waits for the mutex ").hex(circle.mutex(1 - i));
    part.put(" of thread ").decimal(circle.id(1 - i));
    CAPTURE(text);
    CHECK(text.find(part.c_str()) != std::string::npos);
  }
}

TEST_CASE("a child forgets the threads and questions of its parent, if there are any") {
  const own_process own;
  prof_part_threads_v2.forget_parent(*own.state, true);
  CHECK(attached_threads_sig(*own.state) == nullptr);
  threads_state& state = *threads_of(*own.state);
  thread_start one;
  prof_part_threads_v2.thread_starts(*own.state, one, host_call_sig(PROF_DETAIL_CALL_FRAME()));
  prof_part_threads_v2.thread_detached(*own.state, 0x7f0000001000);
  REQUIRE(state.made.used() == 1);
  prof_part_threads_v2.forget_parent(*own.state, true);
  CHECK(state.made.used() == 0);
}

TEST_CASE("the descriptor says how large its run and its tables are, and has no rate") {
  CHECK(prof_part_threads_v2.head.size == sizeof(profile_part));
  CHECK(prof_part_threads_v2.head.layout == threads_layout);
  CHECK(prof_part_threads_v2.run_bytes == sizeof(threads_run));
  CHECK(static_cast<bool>(prof_part_threads_v2.set_rate == nullptr));
  CHECK(static_cast<bool>(prof_part_threads_v2.thread_ends == nullptr));
}

#endif
