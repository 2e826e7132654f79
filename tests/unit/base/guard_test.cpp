// tests/unit/base/guard_test.cpp - scopes restore what they found.

#include "prof/base/guard.hpp"

#include <doctest/doctest.h>

#include <thread>
#include <type_traits>
#include <vector>

using prof::detail::depth_guard;
using prof::detail::presence_guard;
using prof::detail::spin_lock;

TEST_CASE("only the outermost scope is first, and the outer value survives") {
  int depth = 0;
  {
    const depth_guard outer(depth);
    CHECK(outer.first());
    CHECK(depth == 1);
    {
      const depth_guard inner(depth);
      CHECK_FALSE(inner.first());
      CHECK(depth == 2);
    }
    CHECK(depth == 1);
  }
  CHECK(depth == 0);
}

TEST_CASE("a depth guard restores the value even if somebody changed it meanwhile") {
  int depth = 3;
  {
    const depth_guard scope(depth);
    CHECK_FALSE(scope.first());
    depth = 99;
  }
  CHECK(depth == 3);
}

TEST_CASE("presence is counted per thread inside") {
  std::atomic<std::uint32_t> inside{0};
  {
    const presence_guard one(inside);
    const presence_guard two(inside);
    CHECK(inside.load() == 2);
  }
  CHECK(inside.load() == 0);
  static_assert(!std::is_copy_constructible_v<presence_guard>);
  static_assert(!std::is_copy_constructible_v<depth_guard>);
}

TEST_CASE("a spin lock is held once") {
  spin_lock lock;
  CHECK(lock.try_lock());
  CHECK_FALSE(lock.try_lock());
  lock.unlock();
  CHECK(lock.try_lock());
  lock.unlock();
}

TEST_CASE("a spin lock keeps threads apart") {
  spin_lock lock;
  int plain = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20000; ++i) {
        while (!lock.try_lock()) std::this_thread::yield();
        ++plain;
        lock.unlock();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(plain == 80000);
}
