// tests/unit/process/rate_windows_test.cpp - which rate is in effect while windows open and close.

#include "prof/process/rate_windows.hpp"

#include <doctest/doctest.h>

#if PROF_DETAIL_OS_LINUX
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <atomic>
#include <iterator>
#include <map>
#include <set>
#include <thread>
#include <vector>

namespace {

using prof::detail::mix_bits;
using prof::detail::rate_windows;

}  // namespace

TEST_CASE("nothing is in effect until somebody asks, and again when nobody does") {
  rate_windows rates;
  CHECK(rates.in_effect_sig() == 0);
  CHECK(rates.own() == 0);
  const int window = rates.open(100);
  CHECK(window != rate_windows::none);
  CHECK(rates.in_effect_sig() == 100);
  CHECK(rates.own() == 0);
  rates.close(window);
  CHECK(rates.in_effect_sig() == 0);
}

TEST_CASE("setting the program's own rate answers with the one before") {
  rate_windows rates;
  CHECK(rates.set_own(10) == 0);
  CHECK(rates.set_own(1) == 10);
  CHECK(rates.own() == 1);
  CHECK(rates.in_effect_sig() == 1);
  CHECK(rates.set_own(0) == 1);
  CHECK(rates.own() == 0);
  CHECK(rates.in_effect_sig() == 0);
}

TEST_CASE("the most detailed rate wins, whoever wants it and in whatever order they end") {
  rate_windows rates;
  rates.set_own(1000);
  const int outer = rates.open(100);
  const int inner = rates.open(10);
  CHECK(outer != inner);
  CHECK(rates.in_effect_sig() == 10);
  const int coarse = rates.open(5000);
  CHECK(rates.in_effect_sig() == 10);
  rates.close(inner);
  CHECK(rates.in_effect_sig() == 100);
  rates.set_own(1);
  CHECK(rates.in_effect_sig() == 1);
  rates.set_own(1000);
  CHECK(rates.in_effect_sig() == 100);
  rates.close(outer);
  CHECK(rates.in_effect_sig() == 1000);
  rates.set_own(0);
  CHECK(rates.in_effect_sig() == 5000);
  rates.close(coarse);
  CHECK(rates.in_effect_sig() == 0);
}

TEST_CASE("the own rate that is set meanwhile is what was asked for and not what is in effect") {
  rate_windows rates;
  const int window = rates.open(1);
  CHECK(rates.set_own(50) == 0);
  CHECK(rates.own() == 50);
  CHECK(rates.in_effect_sig() == 1);
  CHECK(rates.set_own(60) == 50);
  rates.close(window);
  CHECK(rates.in_effect_sig() == 60);
}

TEST_CASE("two windows at one rate keep it until the second ends") {
  rate_windows rates;
  const int first = rates.open(7);
  const int second = rates.open(7);
  CHECK(first != second);
  rates.close(first);
  CHECK(rates.in_effect_sig() == 7);
  rates.close(second);
  CHECK(rates.in_effect_sig() == 0);
}

TEST_CASE("one window too many is refused and changes nothing, and a closed one makes room") {
  rate_windows rates;
  rates.set_own(5000);
  std::set<int> windows;
  for (std::uint64_t i = 0; i < rate_windows::max_windows; ++i) windows.insert(rates.open(100 + i));
  CHECK(windows.size() == rate_windows::max_windows);
  CHECK(windows.count(rate_windows::none) == 0);
  CHECK(rates.open(1) == rate_windows::none);
  CHECK(rates.in_effect_sig() == 100);
  rates.close(rate_windows::none);  // of the one that was refused
  CHECK(rates.in_effect_sig() == 100);
  CHECK(rates.own() == 5000);
  rates.close(*windows.rbegin());
  CHECK(rates.open(1) == *windows.rbegin());
  CHECK(rates.in_effect_sig() == 1);
}

TEST_CASE("the largest rate there is can be asked for") {
  rate_windows rates;
  const int window = rates.open(~std::uint64_t{0});
  CHECK(rates.in_effect_sig() == ~std::uint64_t{0});
  CHECK(rates.set_own(~std::uint64_t{0} - 1) == 0);
  CHECK(rates.in_effect_sig() == ~std::uint64_t{0} - 1);
  rates.close(window);
}

TEST_CASE("in a child the program's own rate stays and all windows are closed") {
  rate_windows rates;
  rates.set_own(1000);
  for (std::uint64_t i = 0; i < rate_windows::max_windows; ++i) (void)rates.open(1 + i);
  rates.forget_windows();
  CHECK(rates.in_effect_sig() == 1000);
  CHECK(rates.own() == 1000);
  int opened = 0;
  while (rates.open(5) != rate_windows::none) ++opened;
  CHECK(opened == rate_windows::max_windows);
}

#if PROF_DETAIL_OS_LINUX
TEST_CASE("in a child no window waits for a thread of the parent that was just changing one") {
  rate_windows rates;
  std::atomic<bool> end{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!end.load()) rates.close(rates.open(7));
    });
  }
  for (int child = 0; child < 40; ++child) {
    const pid_t pid = fork();
    if (pid == 0) {
      alarm(10);
      rates.forget_windows();
      rates.set_own(3);
      _exit(rates.in_effect_sig() == 3 ? 0 : 1);
    }
    int status = -1;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
    if (status != 0) break;
  }
  end.store(true);
  for (std::thread& thread : threads) thread.join();
}
#endif

TEST_CASE("any order of opening, closing and setting agrees with a model") {
  rate_windows rates;
  std::map<int, std::uint64_t> open;
  std::uint64_t own = 0;
  int wrong = 0;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const std::uint64_t random = mix_bits(i + 1);
    const std::uint64_t rate = 1 + (random >> 8) % 50;
    if (random % 7 == 0) {
      const std::uint64_t before = own;
      own = (random >> 32) % 3 == 0 ? 0 : rate;
      if (rates.set_own(own) != before) ++wrong;
    } else if (random % 2 == 0 && !open.empty()) {
      const auto closed = std::next(open.begin(), static_cast<long>((random >> 32) % open.size()));
      rates.close(closed->first);
      open.erase(closed);
    } else {
      const int window = rates.open(rate);
      const bool has_room = open.size() < rate_windows::max_windows;
      if ((window != rate_windows::none) != has_room) ++wrong;
      if (window != rate_windows::none && !open.emplace(window, rate).second) ++wrong;
    }
    std::uint64_t smallest = own;
    for (const auto& window : open) {
      if (smallest == 0 || window.second < smallest) smallest = window.second;
    }
    if (rates.in_effect_sig() != smallest || rates.own() != own) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("windows of many threads at once are each their own, and none is left") {
  rate_windows rates;
  rates.set_own(1000);
  std::atomic<int> holders[rate_windows::max_windows] = {};
  std::atomic<int> wrong{0};
  const auto work = [&](std::uint64_t me) {
    for (int i = 0; i < 5000; ++i) {
      const int window = rates.open(me);
      if (window == rate_windows::none) {
        wrong.fetch_add(1);
        continue;
      }
      if (holders[window].fetch_add(1) != 0) wrong.fetch_add(1);
      if (rates.in_effect_sig() > me) wrong.fetch_add(1);
      holders[window].fetch_sub(1);
      rates.close(window);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t me = 1; me <= 4; ++me) threads.emplace_back(work, me);
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
  CHECK(rates.in_effect_sig() == 1000);
}
