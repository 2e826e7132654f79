// tests/unit/process/waited_conds_test.cpp - who is woken at a condition variable waits for the mutex from then on, whoever woke it.

#include "prof/process/waited_conds.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "own_locks.hpp"

#if PROF_DETAIL_OS_LINUX

using namespace own_locks_test;

// ---- condition variables ------------------------------------------------------------------------------------------------

namespace {

// Condition variables of the mutex lock_a. Whoever is woken is so at a time of the system; the mutex's clock is asked
// what that was, and goes on in ns of its own from there.
struct own_conds : own_locks {
  using own_locks::own_locks;
  bool is_held = false;  // lock_a
  std::uint32_t in_libc = ~std::uint32_t{0};  // how many wait there

  cond_wait begins_wait(std::uintptr_t cond = cond_a) const { return begin_cond_wait_sig(*mutex, cond, lock_a); }
  void wakes(bool all, std::uintptr_t cond = cond_a) const {
    wake_cond_sig(*process, *mutex, cond, all, in_libc, [this](std::uintptr_t lock) {
      CHECK(lock == lock_a);
      return is_held;
    });
  }
  void wakes_one() const { wakes(false); }
  void wakes_all() const { wakes(true); }
  // What a waiter that has the mutex again is charged; `woken`: whether it was taken for one that was woken.
  delay returns(const cond_wait& wait, std::uint64_t at, bool timed_out, bool& woken) const {
    const lock_wait after = end_cond_wait_sig(*mutex, wait, timed_out);
    woken = after.index != no_slot;
    if (woken) return end_lock_wait_sig(*mutex, after, at);
    note_hold_sig(*mutex, lock_a, at);
    return {};
  }
  delay returns(const cond_wait& wait, std::uint64_t at) const {
    bool woken = false;
    return returns(wait, at, false, woken);
  }
  bool is_woken(const cond_wait& wait, bool timed_out = false) const {
    bool woken = false;
    (void)returns(wait, clock(), timed_out, woken);
    return woken;
  }
  delay unlocks_at(std::uint64_t at) const { return charge_unlock_sig(*mutex, lock_a, at); }
  // Of the mutex, in ns; any time where it has no record.
  std::uint64_t clock() const {
    const std::size_t index = mutex->locks.find_sig(lock_a);
    return index == no_slot ? start : mutex->locks.at(index).last.load() << clock_shift;
  }
  std::size_t conds() const { return mutex->conds.used(); }
};

// Waiters that have the mutex for 5 ms each, one after the other; what all of them and the holders are charged.
std::pair<std::uint64_t, std::uint64_t> hold_in_turn(const own_conds& own, const std::vector<cond_wait>& waits,
                                                     std::uint64_t now) {
  std::uint64_t waiters = 0;
  std::uint64_t holders = 0;
  for (const cond_wait& wait : waits) {
    waiters += own.returns(wait, now).ns;
    holders += own.unlocks_at(now += 5 * ms).ns;
  }
  return {waiters, holders};
}

std::vector<cond_wait> begin_waits(const own_conds& own, int count) {
  std::vector<cond_wait> waits;
  for (int i = 0; i < count; ++i) waits.push_back(own.begins_wait());
  return waits;
}

}  // namespace

TEST_CASE("twenty waiters that one broadcast wakes wait for each other: 950 ms where each holds the mutex for 5 ms") {
  const own_conds own;
  const std::vector<cond_wait> waits = begin_waits(own, 20);
  CHECK(own.conds() == 1);
  CHECK(own.records() == 0);  // nobody waits for the mutex yet
  own.wakes_all();
  CHECK(own.records() == 1);
  const auto charged = hold_in_turn(own, waits, own.clock() + 3 * ms);  // nobody has it for the first 3
  CHECK(charged.first == 950 * ms);
  CHECK(charged.second == 950 * ms);
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("twenty waiters that are woken one by one wait for each other, too") {
  const own_conds own;
  const std::vector<cond_wait> waits = begin_waits(own, 20);
  for (int i = 0; i < 20; ++i) own.wakes_one();
  const auto charged = hold_in_turn(own, waits, own.clock());
  CHECK(charged.first == 950 * ms);
  CHECK(charged.second == 950 * ms);
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("whoever wakes waiters while it holds the mutex is charged for keeping it") {
  own_conds own;
  const std::vector<cond_wait> waits = begin_waits(own, 20);
  own.is_held = true;
  own.wakes_all();
  const std::uint64_t now = own.clock() + 2 * ms;
  CHECK(own.unlocks_at(now) == charge{1, 20 * 2});
  const auto charged = hold_in_turn(own, waits, now);
  CHECK(charged.first == (20 * 2 + 950) * ms);
  CHECK(charged.second == 950 * ms);
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("the waiters that are woken count beside those that wait for the mutex already") {
  own_conds own;
  const lock_wait plain = begin_lock_wait_sig(*own.process, *own.mutex, lock_a, os_monotonic_ns_sig());
  std::uint64_t now = own.clock();
  CHECK(own.unlocks_at(now += 4 * ms) == charge{1, 4});
  const std::vector<cond_wait> waits = begin_waits(own, 2);
  own.wakes_all();
  CHECK(end_lock_wait_sig(*own.mutex, plain, now) == charge{1, 4});
  CHECK(own.unlocks_at(now += 3 * ms) == charge{1, 3 + 3});
  CHECK(own.returns(waits[0], now) == charge{1, 3});
  CHECK(own.unlocks_at(now += 1 * ms) == charge{1, 1});
  CHECK(own.returns(waits[1], now) == charge{1, 3 + 1});
  CHECK(own.records() == 0);
}

TEST_CASE("waking costs nobody anything where nobody waits") {
  const own_conds own;
  own.wakes_one();
  own.wakes_all();
  CHECK(own.conds() == 0);
  CHECK(own.records() == 0);
  const cond_wait wait = own.begins_wait();
  own.wakes_one();
  own.wakes_one();  // for nobody: the one who waits has been woken
  own.wakes_all();
  CHECK(waiters_of_sig(own.mutex->locks.at(own.mutex->locks.find_sig(lock_a))) == 1);
  CHECK(own.is_woken(wait));
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("a waiter that nobody woke has not waited for the mutex, whatever it says") {
  const own_conds own;
  for (const bool timed_out : {false, true}) {
    const cond_wait wait = own.begins_wait();
    CHECK_FALSE(own.is_woken(wait, timed_out));
    CHECK(own.conds() == 0);
    CHECK(own.records() == 0);
  }
}

TEST_CASE("a waiter that nobody woke and that has the mutex again ends the gap in which nobody held it") {
  own_conds own;
  const std::vector<cond_wait> waits = begin_waits(own, 2);
  own.wakes_one();
  std::uint64_t now = own.clock();
  bool woken = true;
  CHECK(own.returns(waits[1], now += 2 * ms, true, woken) == nothing);
  CHECK_FALSE(woken);
  CHECK(own.unlocks_at(now += 7 * ms) == charge{1, 7});
  CHECK(own.returns(waits[0], now) == charge{1, 7});
  CHECK(own.records() == 0);
}

TEST_CASE("a signal wakes one waiter; one that times out meanwhile leaves it to another") {
  const own_conds own;
  const std::vector<cond_wait> waits = begin_waits(own, 3);
  own.wakes_one();
  CHECK_FALSE(own.is_woken(waits[1], true));
  CHECK(own.is_woken(waits[2]));
  CHECK_FALSE(own.is_woken(waits[0]));
  CHECK(own.conds() == 0);
  CHECK(own.records() == 0);
}

TEST_CASE("a signal is answered once, also by a waiter that says that its time was up when no other is left") {
  const own_conds own;
  const cond_wait only = own.begins_wait();
  own.wakes_one();
  CHECK(own.records() == 1);
  CHECK(own.is_woken(only, true));
  CHECK(own.records() == 0);
  const std::vector<cond_wait> waits = begin_waits(own, 2);
  own.wakes_one();
  own.wakes_one();
  CHECK(own.is_woken(waits[0], true));
  CHECK(own.is_woken(waits[1], true));
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("a broadcast does not wake who comes to wait behind it") {
  const own_conds own;
  const cond_wait before = own.begins_wait();
  own.wakes_all();
  const cond_wait behind = own.begins_wait();
  CHECK_FALSE(own.is_woken(behind));
  CHECK(own.is_woken(before));
  const cond_wait next = own.begins_wait();
  own.wakes_all();
  CHECK(own.is_woken(next));
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("a waiter is charged from its own broadcast on, when others follow before it comes back") {
  own_conds own;
  const cond_wait early = own.begins_wait();
  own.wakes_all();
  std::uint64_t now = own.clock();
  note_hold_sig(*own.mutex, lock_a, now);
  CHECK(own.unlocks_at(now += 3 * ms) == charge{1, 3});
  std::vector<cond_wait> waits;
  for (unsigned i = 1; i < waited_cond::remembered; ++i) {
    waits.push_back(own.begins_wait());
    own.wakes_all();
  }
  note_hold_sig(*own.mutex, lock_a, now);
  CHECK(own.unlocks_at(now += 1 * ms) == charge{1, waited_cond::remembered});
  CHECK(own.returns(early, now) == charge{1, 3 + 1});
  for (const cond_wait& wait : waits) CHECK(own.returns(wait, now) == charge{1, 1});
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("a waiter that a signal woke is charged from then on when a broadcast follows before it comes back") {
  own_conds own;
  const std::vector<cond_wait> waits = begin_waits(own, 2);
  own.wakes_one();
  std::uint64_t now = own.clock();
  note_hold_sig(*own.mutex, lock_a, now);
  CHECK(own.unlocks_at(now += 5 * ms) == charge{1, 5});
  own.wakes_all();
  note_hold_sig(*own.mutex, lock_a, now);
  CHECK(own.unlocks_at(now += 2 * ms) == charge{1, 2 + 2});
  const std::uint64_t waiters = own.returns(waits[0], now).ns + own.returns(waits[1], now).ns;
  CHECK(waiters == (5 + 2 + 2) * ms);
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("a signal that a broadcast has overtaken wakes nobody who comes to wait behind both") {
  const own_conds own;
  const std::vector<cond_wait> waits = begin_waits(own, 2);
  own.wakes_one();
  own.wakes_all();
  const cond_wait behind = own.begins_wait();
  CHECK_FALSE(own.is_woken(behind));
  for (const cond_wait& wait : waits) CHECK(own.is_woken(wait));
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("two that wake waiters at once announce each waiter once") {
  const own_conds own;
  const std::vector<cond_wait> waits = begin_waits(own, 3);
  bool is_first = true;
  wake_cond_sig(*own.process, *own.mutex, cond_a, true, 1000, [&](std::uintptr_t) {
    if (std::exchange(is_first, false)) own.wakes_one();  // of another thread, in the middle of it
    return false;
  });
  const contended_lock& record = own.mutex->locks.at(own.mutex->locks.find_sig(lock_a));
  CHECK(waiters_of_sig(record) == 3);
  CHECK(record.pins.load() == 3);
  for (const cond_wait& wait : waits) CHECK(own.is_woken(wait));
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("condition variables of one mutex wake each their own waiters") {
  const own_conds own;
  const cond_wait at_a = own.begins_wait(cond_a);
  const cond_wait at_b = own.begins_wait(cond_a + 48);
  CHECK(own.conds() == 2);
  own.wakes(true, cond_a + 48);
  CHECK_FALSE(own.is_woken(at_a));
  CHECK(own.is_woken(at_b));
  CHECK(own.conds() == 0);
  CHECK(own.records() == 0);
}

TEST_CASE("waiters for whose mutex there is no room are as if nobody had woken them") {
  const own_conds own;
  const std::vector<cond_wait> waits = begin_waits(own, 3);
  own.process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  own.wakes_all();
  own.wakes_one();
  CHECK(own.dropped() == 3 + 1);
  CHECK(own.begins_wait(cond_a + 48).index != no_slot);  // in the piece that there is
  for (const cond_wait& wait : waits) CHECK_FALSE(own.is_woken(wait));
  CHECK(own.records() == 0);

  const own_conds poor;
  poor.process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  CHECK(poor.begins_wait().index == no_slot);
  poor.wakes_all();
  CHECK(poor.dropped() == 0);
}

namespace {

// Threads that wait for a mutex and at a condition variable, woken, out of time or by chance. Whoever wakes them does
// so while nobody has the mutex, for then its clock stands. A broadcast waits until all signals have been answered.
class modelled_cond {
 public:
  modelled_cond(own_conds& own, std::uint64_t seed) : own_(own), random_(seed), now_(os_monotonic_ns_sig() + 3600000 * ms) {}

  void step() {
    now_ += below(below(3) == 0 ? 100 : 2 * ms);
    const std::uint64_t choice = below(12);
    if (is_held_) {
      if (choice < 3) plain_.push_back(begin_lock_wait_sig(*own_.process, *own_.mutex, lock_a, now_));
      else if (choice < 7) waits_.push_back({own_.begins_wait(), false});
      if (choice >= 3) unlock();
    } else if (choice < 2 && signalled_ < waited_cond::remembered && count_waiting() != 0) {
      own_.wakes_one();
      wake_one();
      ++signalled_;
    } else if (choice == 2 && signalled_ == 0) {
      own_.wakes_all();
      for (waiter& each : waits_) each.woken = true;
    } else if (choice < 9 && !waits_.empty()) {
      come_back(below(waits_.size()), choice);
    } else if (!plain_.empty()) {
      get();
    } else if (!is_followed()) {
      is_held_ = true;  // nobody waits: the first who does so makes a record of a lock that is held
    } else {
      note_hold_sig(*own_.mutex, lock_a, now_);
      is_held_ = true;
    }
  }
  void finish() {
    while (is_held_ || !waits_.empty() || !plain_.empty()) {
      if (is_held_) unlock();
      else if (!waits_.empty()) come_back(0, 3);
      else get();
    }
  }

  std::uint64_t holders_ns = 0;
  std::uint64_t waiters_ns = 0;
  std::uint64_t woken = 0;
  std::uint64_t timed_out = 0;

 private:
  struct waiter {
    cond_wait wait;
    bool woken;
  };
  std::uint64_t below(std::uint64_t limit) { return random_sig(random_) % limit; }
  bool is_followed() const { return own_.records() != 0; }
  std::size_t count_waiting() const {
    std::size_t count = 0;
    for (const waiter& each : waits_) count += each.woken ? 0 : 1;
    return count;
  }
  void wake_one() {
    std::size_t which = below(waits_.size());
    while (waits_[which].woken) which = (which + 1) % waits_.size();
    waits_[which].woken = true;
  }
  void unlock() {
    holders_ns += own_.unlocks_at(now_).ns;
    is_held_ = false;
  }
  void get() {
    waiters_ns += end_lock_wait_sig(*own_.mutex, plain_.back(), now_).ns;
    plain_.pop_back();
    is_held_ = true;
  }
  void come_back(std::size_t which, std::uint64_t how) {
    std::swap(waits_[which], waits_.back());
    const waiter back = waits_.back();
    waits_.pop_back();
    const bool says_timed_out = !back.woken && how < 8;
    bool was_woken = false;
    const std::size_t index = own_.mutex->conds.find_sig(cond_a);
    const cond_words before = unpack_sig(own_.mutex->conds.at(index).state.load());
    waiters_ns += own_.returns(back.wait, now_, says_timed_out, was_woken).ns;
    if (was_woken && before.signalled != before.answered && before.broadcasts == back.wait.broadcasts) --signalled_;
    woken += was_woken ? 1 : 0;
    timed_out += says_timed_out ? 1 : 0;
    is_held_ = true;
  }

  own_conds& own_;
  std::uint64_t random_;
  std::uint64_t now_;
  bool is_held_ = true;
  std::uint64_t signalled_ = 0;  // and not answered
  std::vector<waiter> waits_;
  std::vector<lock_wait> plain_;
};

}  // namespace

TEST_CASE("whoever is woken by what and in whatever order, holders and waiters are charged the same") {
  for (const std::uint64_t seed : {1u, 2u, 3u, 4u}) {
    CAPTURE(seed);
    own_conds own;
    modelled_cond cond(own, seed);
    for (int i = 0; i < 20000; ++i) cond.step();
    cond.finish();
    CHECK(cond.holders_ns == cond.waiters_ns);
    CHECK(cond.holders_ns > 1000 * ms);
    CHECK(cond.woken > 500);
    CHECK(cond.timed_out > 500);
    CHECK(own.records() == 0);
    CHECK(own.conds() == 0);
  }
}

// ---- threads ---------------------------------------------------------------------------------------------------------

TEST_CASE("threads that wait at a condition variable and wake each other at once leave no record") {
  own_conds own;
  std::atomic<std::uint64_t> woken{0};
  const auto work = [&](std::uint64_t random) {
    for (int i = 0; i < 20000; ++i) {
      const cond_wait wait = own.begins_wait();
      if (wait.index == no_slot) continue;
      const std::uint64_t choice = random_sig(random) % 8;
      if (choice < 4) own.wakes_one();
      else if (choice == 4) own.wakes_all();
      else if (choice == 5) std::this_thread::yield();
      const lock_wait after = end_cond_wait_sig(*own.mutex, wait, choice == 6);
      if (after.index == no_slot) continue;
      woken.fetch_add(1);
      (void)end_lock_wait_sig(*own.mutex, after, start);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  CHECK(woken.load() > 1000);
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("a woken waiter leaves the record in which it was announced, when another thread is just making one, too") {
  const own_conds own;
  const cond_wait wait = own.begins_wait();
  pinned_table<contended_lock>& locks = own.mutex->locks;
  const std::size_t others = locks.claim_sig(lock_a);  // the steps of pin_or_make_sig, which will find that it is late
  REQUIRE(others != no_slot);
  own.wakes_all();
  locks.at(others).pins.fetch_add(1);
  locks.publish_sig(others, lock_a);
  CHECK(own.records() == 2);
  (void)own.returns(wait, start);
  locks.unpin_sig(others);
  CHECK(own.records() == 0);
  CHECK((locks.at(others).pins.load() & 0xffff) == 0);
  CHECK(waiters_of_sig(locks.at(others)) == 0);
}

TEST_CASE("who is on its way to wait, and does not yet for libc, is woken by nobody") {
  own_conds own;
  own.is_held = true;
  own.in_libc = 0;
  const cond_wait wait = own.begins_wait();
  own.wakes_one();
  own.wakes_all();
  CHECK(own.records() == 0);
  own.in_libc = 1;
  own.wakes_one();
  CHECK(own.records() == 1);
  const cond_wait other = own.begins_wait();
  own.wakes_one();  // the one that libc has is on its way back
  bool woken = false;
  (void)own.returns(wait, own.clock(), false, woken);
  CHECK(woken);
  (void)own.returns(other, own.clock(), true, woken);
  CHECK_FALSE(woken);
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
}

TEST_CASE("in a child nobody waits, and only the program's own fraction stays") {
  own_conds own;
  own.mutex->fraction.set_own(7);
  (void)own.mutex->fraction.open(1);
  (void)own.begins(0);
  (void)own.gives_up(own.begins(0, lock_b), 5 * ms);
  (void)own.begins_wait();
  own.wakes_all();
  forget_parent_locks(*own.mutex);
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
  CHECK(own.mutex->fraction.in_effect_sig() == 7);
  own.mutex->fraction.set_own(1);
  const lock_wait wait = own.begins(20 * ms);
  CHECK(own.unlocks(22 * ms) == charge{1, 2});
  CHECK(own.gets(wait, 22 * ms) == charge{1, 2});
  CHECK(own.records() == 0);
}

#endif
