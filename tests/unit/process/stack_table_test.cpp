// tests/unit/process/stack_table_test.cpp - equal stacks get one number, a full table says so.

#include "prof/process/stack_table.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <thread>
#include <utility>
#include <vector>

#include "../base/own_memory.hpp"

namespace {

using namespace prof::detail;

struct bound_table {
  own_memory memory;
  stack_table table;

  bound_table() { table.bind(memory); }
  bound_table(const bound_table&) = delete;
  bound_table& operator=(const bound_table&) = delete;

  stack_id intern(const std::vector<std::uintptr_t>& frames, bool approximate = false,
                  bool truncated = false) {
    return table.intern_sig({frames.data(), frames.size(), approximate, truncated});
  }
  std::vector<std::uintptr_t> frames_of(stack_id id) const {
    const stack_view view = table.view(id);
    return std::vector<std::uintptr_t>(view.frames, view.frames + view.depth);
  }
};

}  // namespace

TEST_CASE("equal stacks are one, different ones are not") {
  bound_table t;
  const stack_id first = t.intern({1, 2, 3});
  CHECK(first != overflow_stack);
  CHECK(t.intern({1, 2, 3}) == first);
  CHECK(t.intern({3, 2, 1}) != first);
  CHECK(t.intern({1, 2}) != first);
  CHECK(t.intern({1, 2, 3, 4}) != first);
  CHECK(t.table.used() == 4);
  CHECK(t.frames_of(first) == std::vector<std::uintptr_t>{1, 2, 3});
}

TEST_CASE("the marks belong to the stack") {
  bound_table t;
  const stack_id plain = t.intern({1, 2});
  const stack_id scanned = t.intern({1, 2}, true, false);
  const stack_id cut = t.intern({1, 2}, false, true);
  const stack_id both = t.intern({1, 2}, true, true);
  CHECK(t.table.used() == 4);
  CHECK_FALSE(t.table.view(plain).approximate);
  CHECK_FALSE(t.table.view(plain).truncated);
  CHECK(t.table.view(scanned).approximate);
  CHECK_FALSE(t.table.view(scanned).truncated);
  CHECK(t.table.view(cut).truncated);
  CHECK(t.table.view(both).approximate);
  CHECK(t.table.view(both).truncated);
  CHECK(t.frames_of(both) == std::vector<std::uintptr_t>{1, 2});
}

TEST_CASE("a stack of the greatest depth survives") {
  bound_table t;
  std::vector<std::uintptr_t> deep(1024);
  for (std::size_t i = 0; i < deep.size(); ++i) deep[i] = 0x400000 + i;
  const stack_id id = t.intern(deep, true, true);
  CHECK(t.frames_of(id) == deep);
}

TEST_CASE("the overflow stack is empty") {
  bound_table t;
  CHECK(t.table.view(overflow_stack).depth == 0);
}

TEST_CASE("without room for its frames a new stack overflows and is counted; known ones stay") {
  bound_table t;
  std::vector<std::uintptr_t> deep(1024);
  const stack_id known = t.intern({1, 2, 3, 4});
  std::size_t made = 0;
  for (std::uintptr_t i = 0; t.table.overflow() == 0; ++i) {
    deep[0] = i;
    made += t.intern(deep) != overflow_stack ? 1u : 0u;
  }
  CHECK(made > 3900);
  CHECK(made < 4096);  // 32 MiB
  CHECK(t.table.overflow() == 1);
  CHECK(t.intern(deep) == overflow_stack);
  CHECK(t.table.overflow() == 2);
  CHECK(t.intern({1, 2, 3, 4}) == known);
  CHECK(t.frames_of(known) == std::vector<std::uintptr_t>{1, 2, 3, 4});
}

TEST_CASE("without memory a new stack overflows and is counted") {
  bound_table t;
  const stack_id known = t.intern({1, 2, 3, 4});
  t.memory.run_out();
  std::vector<std::uintptr_t> deep(1024);
  for (std::uintptr_t i = 0; i < 100; ++i) {
    deep[0] = i;
    (void)t.intern(deep);
  }
  CHECK(t.table.overflow() > 60);  // a piece has room for 32
  CHECK(t.memory.refused.load() > 0);
  CHECK(t.intern({1, 2, 3, 4}) == known);
}

TEST_CASE("many stacks keep their numbers and frames while the table grows") {
  bound_table t;
  std::vector<stack_id> ids;
  for (std::uintptr_t i = 0; i < 20000; ++i) ids.push_back(t.intern({i, i * 3, 7}));
  bool right = true;
  for (std::uintptr_t i = 0; i < 20000; ++i) {
    right = right && t.intern({i, i * 3, 7}) == ids[i];
    right = right && t.frames_of(ids[i]) == std::vector<std::uintptr_t>{i, i * 3, 7};
  }
  CHECK(right);
  CHECK(t.table.used() == 20000);
}

TEST_CASE("threads that intern the same stacks agree about the frames") {
  bound_table t;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&] {
      for (std::uintptr_t i = 0; i < 20000; ++i) {
        const std::uintptr_t frames[3] = {i % 5000, 1, 2};
        const stack_id id = t.table.intern_sig({frames, 3, false, false});
        const stack_view view = t.table.view(id);
        // Empty: the thread that adds it has not published it yet.
        if (id == overflow_stack || (view.depth != 0 && view.frames[0] != i % 5000)) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
  CHECK(t.table.used() >= 5000);
  CHECK(t.table.overflow() == 0);
}

TEST_CASE("near the end of the words no two stacks get the same ones") {
  bound_table t;
  constexpr int threads = 4;
  std::vector<std::vector<std::pair<stack_id, std::uintptr_t>>> made(threads);
  std::vector<std::thread> running;
  for (int n = 0; n < threads; ++n) {
    running.emplace_back([&, n] {
      for (std::uintptr_t i = 1; i < 2500; ++i) {
        std::vector<std::uintptr_t> frames(n % 2 == 0 ? 3 : 1000, i * threads + static_cast<std::uintptr_t>(n));
        made[static_cast<std::size_t>(n)].push_back(
            {t.table.intern_sig({frames.data(), frames.size(), false, false}), frames[0]});
      }
    });
  }
  for (auto& thread : running) thread.join();
  bool right = true;
  std::size_t kept = 0;
  for (const auto& of_thread : made) {
    for (const auto& [id, frame] : of_thread) {
      if (id == overflow_stack) continue;
      ++kept;
      for (const std::uintptr_t word : t.frames_of(id)) right = right && word == frame;
    }
  }
  CHECK(right);
  CHECK(kept > 10);
  CHECK(t.table.overflow() > 0);
}

TEST_CASE("a hash is never one of the reserved keys and depends on everything") {
  const std::uintptr_t words[2] = {1, 2};
  CHECK(hash_words_sig(words, 2, 0) != hash_words_sig(words, 2, 1));
  CHECK(hash_words_sig(words, 2, 0) != hash_words_sig(words, 1, 0));
  for (std::size_t i = 0; i < 2; ++i) {
    std::uintptr_t others[2] = {1, 2};
    others[i] = 3;
    CHECK(hash_words_sig(words, 2, 0) != hash_words_sig(others, 2, 0));
  }
  CHECK(hash_words_sig(words, 0, 0) > 2);
}
