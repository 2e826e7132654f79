// tests/unit/process/wait_table_test.cpp - who waits: from the begin to the end, as others read it meanwhile.

#include "prof/process/wait_table.hpp"

#include <doctest/doctest.h>

#if PROF_DETAIL_OS_LINUX
#include <signal.h>
#include <sys/mman.h>
#endif

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../base/own_memory.hpp"

namespace {

using namespace prof::detail;

struct bound_waits {
  own_memory memory;
  wait_table table;
  bound_waits() { table.bind(memory); }
  bound_waits(const bound_waits&) = delete;
  bound_waits& operator=(const bound_waits&) = delete;

  // The facts that are read of all waits, by number.
  std::map<std::size_t, wait_facts> all() const {
    std::map<std::size_t, wait_facts> found;
    table.for_each([&](std::size_t index, const wait_facts& facts) { found.emplace(index, facts); });
    return found;
  }
};

// Facts of which each has another value.
wait_facts facts_of(std::uint32_t thread) {
  wait_facts facts;
  facts.kind = wait_kind::semaphore;
  facts.thread = thread;
  facts.stack = thread + 1;
  facts.labels = thread + 2;
  facts.object = thread + 3;
  facts.began_ns = thread + 4;
  facts.rate_ns = thread + 5;
  facts.least_ns = thread + 6;
  facts.lock = thread + 7;
  facts.charged_before = thread + 8;
  facts.mutex = thread + 9;
  return facts;
}

bool are_equal(const wait_facts& a, const wait_facts& b) {
  return a.kind == b.kind && a.thread == b.thread && a.stack == b.stack && a.labels == b.labels &&
         a.object == b.object && a.began_ns == b.began_ns && a.rate_ns == b.rate_ns && a.least_ns == b.least_ns &&
         a.lock == b.lock && a.charged_before == b.charged_before && a.mutex == b.mutex;
}

std::string word_of(std::uint64_t kind) {
  const text_view word = wait_word(kind);
  return std::string(word.data, word.size);
}

}  // namespace

TEST_CASE("each kind of wait has a word of its own, and an unknown one a question mark") {
  std::set<std::string> words;
  const auto kinds = static_cast<std::uint64_t>(wait_kind::count_);
  for (std::uint64_t kind = 0; kind < kinds; ++kind) words.insert(word_of(kind));
  CHECK(words.size() == kinds);
  CHECK(words.count("") == 0);
  CHECK(words.count("?") == 0);
  CHECK(word_of(static_cast<std::uint64_t>(wait_kind::mutex)) == "mutex");
  CHECK(word_of(static_cast<std::uint64_t>(wait_kind::cond)) == "cond");
  CHECK(word_of(static_cast<std::uint64_t>(wait_kind::accept)) == "accept");
  CHECK(word_of(kinds) == "?");
  CHECK(word_of(~std::uint64_t{0}) == "?");
}

TEST_CASE("a wait is read with all its facts while it goes on, and not when it has ended") {
  bound_waits t;
  const wait_facts facts = facts_of(1000);
  const std::size_t index = t.table.begin_sig(facts, 0x7000);
  REQUIRE(index != no_slot);
  CHECK(t.table.used() == 1);
  wait_facts seen;
  REQUIRE(t.table.read_sig(index, seen));
  CHECK(are_equal(seen, facts));
  CHECK(t.table.is_same_sig(index, facts));
  t.table.end_sig(index);
  CHECK(t.table.used() == 0);
  CHECK_FALSE(t.table.read_sig(index, seen));
  CHECK_FALSE(t.table.is_same_sig(index, facts));
  CHECK(t.all().empty());
}

TEST_CASE("where nobody has ever waited nothing is read") {
  bound_waits t;
  wait_facts seen;
  CHECK_FALSE(t.table.read_sig(0, seen));
  CHECK_FALSE(t.table.read_sig(5000, seen));
  CHECK(t.all().empty());
  CHECK(t.memory.bytes.load() == 0);
}

TEST_CASE("a later wait of the same thread, or of another one in its place, is not the same") {
  bound_waits t;
  const wait_facts first = facts_of(1000);
  const std::size_t index = t.table.begin_sig(first, 0x7000);
  t.table.end_sig(index);
  wait_facts second = first;
  second.began_ns = first.began_ns + 1;
  REQUIRE(t.table.begin_sig(second, 0x7000) == index);
  CHECK_FALSE(t.table.is_same_sig(index, first));
  CHECK(t.table.is_same_sig(index, second));
  wait_facts others = second;
  others.thread = second.thread + 1;
  CHECK_FALSE(t.table.is_same_sig(index, others));
}

TEST_CASE("a wait that is about to be counted goes on, and is under way for no profile") {
  bound_waits t;
  const wait_facts before = facts_of(1000);
  const std::size_t index = t.table.begin_sig(before, 0x7000);
  t.table.leave_profiles_sig(index);
  wait_facts expected = before;
  expected.rate_ns = expected.lock = 0;
  wait_facts seen;
  REQUIRE(t.table.read_sig(index, seen));
  CHECK(are_equal(seen, expected));
  CHECK_FALSE(t.table.is_same_sig(index, before));
}

TEST_CASE("all who wait are visited, each with its own facts, on whichever level they are") {
  bound_waits t;
  std::map<std::size_t, std::uint32_t> begun;
  for (std::uint32_t thread = 1; thread <= 5000; ++thread) begun.emplace(t.table.begin_sig(facts_of(thread), 1), thread);
  CHECK(begun.size() == 5000);
  CHECK(begun.count(no_slot) == 0);
  CHECK(t.table.used() == 5000);
  const auto seen = t.all();
  CHECK(seen.size() == 5000);
  int wrong = 0;
  for (const auto& wait : seen) {
    const auto known = begun.find(wait.first);
    if (known == begun.end() || !are_equal(wait.second, facts_of(known->second))) ++wrong;
  }
  CHECK(wrong == 0);
  for (const auto& wait : begun) {
    if (wait.second % 10 != 0) t.table.end_sig(wait.first);
  }
  CHECK(t.all().size() == 500);
  CHECK(t.table.used() == 500);
}

TEST_CASE("a thread too many finds no room, and the others are as they were") {
  bound_waits t;
  std::vector<std::size_t> begun;
  std::uint32_t thread = 0;
  for (std::size_t index = 0; index != no_slot;) {
    index = t.table.begin_sig(facts_of(++thread), 1);
    if (index != no_slot) begun.push_back(index);
  }
  CHECK(begun.size() > 24000);  // as the text of drop::waits_full says
  CHECK(begun.size() <= leveled_table::slots_in(wait_table::first_level, wait_table::levels));
  CHECK(t.table.used() == begun.size());
  wait_facts seen;
  REQUIRE(t.table.read_sig(begun.front(), seen));
  CHECK(seen.thread == 1);
  REQUIRE(t.table.read_sig(begun.back(), seen));
  CHECK(seen.thread == begun.size());

  bound_waits poor;
  poor.memory.run_out();
  CHECK(poor.table.begin_sig(facts_of(1), 1) == no_slot);
  CHECK(poor.table.used() == 0);
}

TEST_CASE("a record takes no more memory than the header says") {
  CHECK(sizeof(wait_slot) <= 96);
  bound_waits t;
  (void)t.table.begin_sig(facts_of(1), 1);
  CHECK(t.memory.bytes.load() <= page_round(96 * wait_table::first_level));
}

TEST_CASE("a thread's wait is found by its id, with the frame of its hook") {
  bound_waits t;
  CHECK(t.table.find_sig(1000) == no_slot);
  const std::size_t index = t.table.begin_sig(facts_of(1000), 0x7000);
  REQUIRE(index != no_slot);
  CHECK(t.table.find_sig(1000) == index);
  CHECK(t.table.frame_of(index) == 0x7000);
  CHECK(t.table.find_sig(1001) == no_slot);
  t.table.end_sig(index);
  CHECK(t.table.find_sig(1000) == no_slot);
}

TEST_CASE("a wait that its thread has left is ended by one of those who find it") {
  bound_waits t;
  const std::size_t index = t.table.begin_sig(facts_of(12), 1);
  REQUIRE(index != no_slot);
  CHECK_FALSE(t.table.end_left_sig(index, 13));
  CHECK(t.table.used() == 1);
  CHECK(t.table.end_left_sig(index, 12));
  CHECK_FALSE(t.table.end_left_sig(index, 12));
  CHECK(t.table.used() == 0);
}

TEST_CASE("a wait in a signal handler goes on beside the one that it interrupted") {
  bound_waits t;
  wait_facts inner = facts_of(1000);
  inner.kind = wait_kind::sleep;
  inner.began_ns += 100;
  const std::size_t outer = t.table.begin_sig(facts_of(1000), 0x7000);
  const std::size_t index = t.table.begin_sig(inner, 0x6000);
  REQUIRE(index != no_slot);
  CHECK(index != outer);
  CHECK(t.all().size() == 2);
  CHECK(t.table.is_same_sig(index, inner));
  t.table.end_sig(index);
  CHECK(t.table.is_same_sig(outer, facts_of(1000)));
}

TEST_CASE("of a thread's two waits one is found after the other") {
  bound_waits t;
  const std::size_t outer = t.table.begin_sig(facts_of(1000), 0x7000);
  const std::size_t inner = t.table.begin_sig(facts_of(1000), 0x6000);
  const std::size_t found = t.table.find_sig(1000);
  CHECK((found == outer || found == inner));
  t.table.end_sig(found);
  CHECK(t.table.find_sig(1000) == (found == inner ? outer : inner));
}

TEST_CASE("in a child all waits are forgotten, and others begin") {
  bound_waits t;
  for (std::uint32_t thread = 1; thread <= 1000; ++thread) (void)t.table.begin_sig(facts_of(thread), 1);
  t.table.forget_all();
  CHECK(t.table.used() == 0);
  CHECK(t.all().empty());
  CHECK(t.table.begin_sig(facts_of(1), 1) != no_slot);
  CHECK(t.all().size() == 1);
}

// What another reads is of one wait, or it says that it is not. The facts of wait i all say i, and i begins at i.

namespace {

wait_facts facts_that_say(std::uint32_t i, std::uint32_t thread) {
  wait_facts facts;
  facts.thread = thread;
  facts.stack = facts.labels = i;
  facts.object = facts.mutex = i;
  facts.began_ns = facts.rate_ns = facts.least_ns = facts.lock = facts.charged_before = i;
  return facts;
}

bool is_whole(const wait_facts& seen) {
  return are_equal(seen, facts_that_say(static_cast<std::uint32_t>(seen.began_ns), seen.thread));
}

}  // namespace

TEST_CASE("waits that come and go while others read them are seen whole or not at all") {
  constexpr std::uint32_t waits = 200000;
  bound_waits t;
  std::atomic<bool> done{false};
  std::atomic<std::size_t> place{no_slot};
  std::atomic<std::uint32_t> seen_of_others{0};
  std::atomic<int> wrong{0};
  std::thread reader([&] {
    while (!done.load()) {
      wait_facts seen;
      const std::size_t index = place.load();
      if (index != no_slot && t.table.read_sig(index, seen) && seen.thread != 1000) wrong.fetch_add(1);
      t.table.for_each([&](std::size_t at, const wait_facts& facts) {
        if (facts.thread == 1001 && (at == index || !is_whole(facts))) wrong.fetch_add(1);
        if (facts.thread == 1001) seen_of_others.fetch_add(1);
      });
    }
  });
  const std::size_t others = t.table.begin_sig(facts_that_say(7, 1001), 1);
  for (std::uint32_t i = 1; i <= waits || seen_of_others.load() == 0; ++i) {
    const std::size_t index = t.table.begin_sig(facts_that_say(i, 1000), 1);
    place.store(index);
    if (index != no_slot) t.table.end_sig(index);
  }
  done.store(true);
  reader.join();
  CHECK(wrong.load() == 0);
  CHECK(t.table.used() == 1);
  CHECK(t.table.is_same_sig(others, facts_that_say(7, 1001)));
}

#if PROF_DETAIL_OS_LINUX

namespace {

// A table of which the first wait lies across two pages, so that a reader can be held up in the middle of it: what it
// touches first behind the split faults, and meanwhile the next wait begins in the same place.
struct split_wait {
  table_memory memory;
  wait_table table;
  std::uint32_t thread = 1;
  std::size_t index = no_slot;
  bool was_met = false;

  explicit split_wait(std::size_t split) {
    offset() = split;
    memory.map_sig = [](std::size_t size) noexcept -> void* {
      void* const pages = mmap(nullptr, size + page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (pages == MAP_FAILED) return nullptr;
      second_page() = static_cast<char*>(pages) + page_bytes;
      return second_page() - offset();
    };
    table.bind(memory);
    while ((mix_bits(thread_key_base + thread) & (wait_table::first_level - 1)) != 0) ++thread;  // of the first slot
    index = table.begin_sig(facts_that_say(1, thread), 1);
    REQUIRE(index == 0);
    current() = this;
    struct sigaction meets {};
    meets.sa_handler = [](int) { current()->meet(); };
    REQUIRE(sigaction(SIGSEGV, &meets, &before_) == 0);
    REQUIRE(mprotect(second_page(), page_bytes, PROT_NONE) == 0);
  }
  ~split_wait() { sigaction(SIGSEGV, &before_, nullptr); }
  split_wait(const split_wait&) = delete;
  split_wait& operator=(const split_wait&) = delete;

 private:
  static split_wait*& current() {
    static split_wait* only = nullptr;
    return only;
  }
  static std::size_t& offset() {
    static std::size_t only = 0;
    return only;
  }
  static char*& second_page() {
    static char* only = nullptr;
    return only;
  }
  void meet() {
    mprotect(second_page(), page_bytes, PROT_READ | PROT_WRITE);
    table.end_sig(index);
    was_met = table.begin_sig(facts_that_say(2, thread), 1) == index;
  }

  struct sigaction before_ {};
};

}  // namespace

TEST_CASE("a copy that is torn between two waits of a thread is not taken for either") {
  for (const std::size_t split : {offsetof(wait_slot, object), offsetof(wait_slot, rate_ns)}) {  // before the begin, behind it
    CAPTURE(split);
    split_wait t(split);
    wait_facts seen;
    const bool is_read = t.table.read_sig(t.index, seen);
    REQUIRE(t.was_met);
    CAPTURE(seen.stack);
    CAPTURE(seen.began_ns);
    CHECK((!is_read || is_whole(seen)));
  }
}

#endif
