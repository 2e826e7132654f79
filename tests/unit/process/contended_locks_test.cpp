// tests/unit/process/contended_locks_test.cpp - what each unlock is charged, and what its waiters: the same, at any time.

#include "prof/process/contended_locks.hpp"

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

// ---- one lock -------------------------------------------------------------------------------------------------------

TEST_CASE("where nobody waits an unlock is charged nothing, and nothing is remembered") {
  const own_locks own;
  own.barges(1 * ms);
  CHECK(own.unlocks(5 * ms) == nothing);
  CHECK(own.records() == 0);
}

TEST_CASE("an unlock is charged for what one waiter waited in its hold, and the waiter the same") {
  const own_locks own;
  const lock_wait wait = own.begins(10 * ms);
  REQUIRE(wait.index != no_slot);
  CHECK(own.records() == 1);
  CHECK(own.unlocks(25 * ms) == charge{1, 15});
  CHECK(own.records() == 1);
  CHECK(own.gets(wait, 26 * ms) == charge{1, 15});  // nobody held it for the last one
  CHECK(own.records() == 0);
  CHECK(own.unlocks(30 * ms) == nothing);
}

TEST_CASE("several waiters are charged each for its own time, and the unlock for all of it") {
  const own_locks own;
  const lock_wait first = own.begins(0);
  const lock_wait second = own.begins(4 * ms);
  const lock_wait third = own.begins(7 * ms);
  CHECK(own.records() == 1);
  CHECK(own.unlocks(10 * ms) == charge{1, 10 + 6 + 3});
  CHECK(own.gets(first, 11 * ms) == charge{1, 10});
  CHECK(own.unlocks(20 * ms) == charge{1, 9 + 9});
  CHECK(own.gets(third, 20 * ms) == charge{1, 3 + 9});
  const lock_wait fourth = own.begins(21 * ms);
  CHECK(own.unlocks(25 * ms) == charge{1, 5 + 4});
  CHECK(own.gets(second, 25 * ms) == charge{1, 6 + 9 + 5});
  CHECK(own.records() == 1);
  CHECK(own.unlocks(32 * ms) == charge{1, 7});
  CHECK(own.gets(fourth, 33 * ms) == charge{1, 4 + 7});
  CHECK(own.records() == 0);
}

TEST_CASE("waits are exact to 16 ns each, whenever they begin and end") {
  const own_locks own;
  std::uint64_t random = 5;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t began = random_sig(random) % ms;
    const std::uint64_t ended = began + random_sig(random) % (i % 2 == 0 ? 100 : ms);
    const lock_wait wait = own.begins(began);
    const delay holder = own.unlocks(ended);
    CHECK(holder.ns + granule > ended - began);
    CHECK(holder.ns < ended - began + granule);
    CHECK(own.gets(wait, ended + random_sig(random) % 100).ns == holder.ns);
    CHECK(holder.contentions == 1);
  }
  CHECK(own.records() == 0);
}

TEST_CASE("an unlock that meets a thread which is only about to wait is charged nothing") {
  const own_locks own;
  const std::size_t index = pin_or_make_lock_sig(*own.mutex, lock_a, start, true);
  REQUIRE(index != no_slot);
  CHECK(own.unlocks(5 * ms) == nothing);
  own.mutex->locks.unpin_sig(index);
  CHECK(own.records() == 0);
}

TEST_CASE("two locks that are contended at once know nothing of each other") {
  const own_locks own;
  const lock_wait at_a = own.begins(0, lock_a);
  const lock_wait at_b = own.begins(3 * ms, lock_b);
  CHECK(at_a.index != at_b.index);
  CHECK(own.records() == 2);
  CHECK(own.unlocks(5 * ms, 1, lock_b) == charge{1, 2});
  CHECK(own.gets(at_b, 6 * ms) == charge{1, 2});
  CHECK(own.records() == 1);
  CHECK(own.unlocks(9 * ms, 1, lock_a) == charge{1, 9});
  CHECK(own.gets(at_a, 9 * ms) == charge{1, 9});
  CHECK(own.records() == 0);
}

TEST_CASE("two hundred waiters that are let in one by one are charged as a queue is") {
  const own_locks own;
  std::vector<lock_wait> waits;
  for (std::uint64_t i = 0; i < 200; ++i) waits.push_back(own.begins(i * ms));
  std::uint64_t holders = 0;
  std::uint64_t waiters = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const std::uint64_t at = (1000 + 3 * i) * ms;
    const delay holder = own.unlocks(at);
    const std::uint64_t first = (200 * 1000 - 199 * 200 / 2) * ms;  // of the hold that all of them met
    CHECK(holder.ns == (i == 0 ? first : (200 - i) * 3 * ms));
    holders += holder.ns;
    const delay waiter = own.gets(waits[i], at);
    CHECK(waiter.ns == at - i * ms);
    waiters += waiter.ns;
  }
  CHECK(holders == waiters);
  CHECK(own.records() == 0);
}

// ---- who gives up ---------------------------------------------------------------------------------------------------

TEST_CASE("who gives up makes the holder pay for its wait, even when nobody else waits") {
  const own_locks own;
  const lock_wait wait = own.begins(0);
  CHECK(own.gives_up(wait, 7 * ms) == charge{1, 7});
  CHECK(own.records() == 1);  // until the holder has paid
  CHECK(own.unlocks(10 * ms) == charge{1, 7});
  CHECK(own.records() == 0);
}

TEST_CASE("who gives up is no longer waited for, and what other holders paid is not paid again") {
  const own_locks own;
  const lock_wait patient = own.begins(0);
  const lock_wait hasty = own.begins(2 * ms);
  const lock_wait later = own.begins(3 * ms);
  CHECK(own.unlocks(10 * ms) == charge{1, 10 + 8 + 7});
  CHECK(own.gets(patient, 10 * ms) == charge{1, 10});
  CHECK(own.gives_up(hasty, 14 * ms) == charge{1, 8 + 4});
  CHECK(own.unlocks(20 * ms) == charge{1, 4 + 10});
  CHECK(own.gets(later, 20 * ms) == charge{1, 7 + 10});
  CHECK(own.records() == 0);
}

TEST_CASE("who gives up at once is charged nothing, and leaves nothing to pay") {
  const own_locks own;
  const lock_wait wait = own.begins(5 * ms);
  CHECK(own.gives_up(wait, 5 * ms) == nothing);
  CHECK(own.records() == 0);
  CHECK(own.unlocks(9 * ms) == nothing);
}

TEST_CASE("what somebody waited in vain is paid by that hold, when the next waiter finds it still unpaid, too") {
  const own_locks own;
  CHECK(own.gives_up(own.begins(0), 3 * ms) == charge{1, 3});
  const lock_wait next = own.begins(4 * ms);
  CHECK(own.records() == 1);
  CHECK(own.unlocks(6 * ms) == charge{1, 3 + 2});
  CHECK(own.gets(next, 6 * ms) == charge{1, 2});
  CHECK(own.records() == 0);
}

TEST_CASE("who gives up while nobody holds the lock has waited in the holds before only") {
  const own_locks own;
  const lock_wait wait = own.begins(0);
  const lock_wait other = own.begins(4 * ms);
  CHECK(own.unlocks(10 * ms) == charge{1, 10 + 6});
  CHECK(own.gives_up(wait, 15 * ms) == charge{1, 10});
  CHECK(own.gets(other, 16 * ms) == charge{1, 6});
  CHECK(own.records() == 0);
}

// ---- holds that do not follow each other at once ----------------------------------------------------------------------

TEST_CASE("time in which nobody holds the lock is charged to nobody") {
  const own_locks own;
  const lock_wait wait = own.begins(0);
  CHECK(own.unlocks(5 * ms) == charge{1, 5});
  own.barges(8 * ms);
  CHECK(own.unlocks(10 * ms) == charge{1, 2});
  own.barges(11 * ms);
  own.barges(12 * ms);  // another reader, or a hook that is late: it is held already
  CHECK(own.unlocks(15 * ms) == charge{1, 4});
  CHECK(own.gets(wait, 19 * ms) == charge{1, 5 + 2 + 4});
  CHECK(own.records() == 0);
}

TEST_CASE("who comes to wait while nobody holds the lock waits from the next hold on") {
  const own_locks own;
  const lock_wait first = own.begins(0);
  CHECK(own.unlocks(5 * ms) == charge{1, 5});
  const lock_wait second = own.begins(6 * ms);
  own.barges(8 * ms);
  CHECK(own.unlocks(10 * ms) == charge{1, 2 + 2});
  CHECK(own.gets(second, 12 * ms) == charge{1, 2});
  CHECK(own.unlocks(13 * ms) == charge{1, 1});
  CHECK(own.gets(first, 13 * ms) == charge{1, 5 + 2 + 1});
  CHECK(own.records() == 0);
}

TEST_CASE("a lock that is free when its first waiter is announced is charged from its next hold on") {
  const own_locks own;
  const lock_wait woken = own.begins(0, lock_a, false);
  own.barges(3 * ms);
  CHECK(own.unlocks(7 * ms) == charge{1, 4});
  CHECK(own.gets(woken, 9 * ms) == charge{1, 4});
  const lock_wait alone = own.begins(20 * ms, lock_a, false);
  CHECK(own.gets(alone, 25 * ms) == nothing);
  CHECK(own.records() == 0);
}

TEST_CASE("a hold that nobody saw begin is charged to no other one") {
  // As of a read-write lock that is taken by a try, which is no hook's.
  const own_locks own;
  const lock_wait wait = own.begins(0);
  CHECK(own.unlocks(5 * ms) == charge{1, 5});
  (void)own.unlocks(12 * ms);  // somebody had it since 8 ms
  own.barges(14 * ms);
  CHECK(own.unlocks(15 * ms) == charge{1, 1});
  (void)own.gets(wait, 15 * ms);
  CHECK(own.records() == 0);
}

TEST_CASE("who came to wait behind the time of an unlock is not one who waited for it") {
  const own_locks own;
  const lock_wait early = own.begins(0);
  const lock_wait late = own.begins(6 * ms);  // has looked at the clock later, and was quicker then
  const delay holder = own.unlocks(5 * ms);
  CHECK(holder.ns <= 5 * ms);
  CHECK(own.gets(early, 7 * ms) == charge{1, 5});
  CHECK(own.gets(late, 8 * ms).ns <= 1 * ms);
  CHECK(own.records() == 0);

  const lock_wait alone = own.begins(16 * ms);
  CHECK(own.unlocks(15 * ms).ns == 0);
  CHECK(own.gets(alone, 17 * ms) == nothing);
  CHECK(own.records() == 0);
}

TEST_CASE("a wait that has been lasting for 50 days is charged") {
  for (const std::uint64_t days : {1u, 20u, 50u}) {
    CAPTURE(days);
    const own_locks own;
    const lock_wait wait = own.begins(0);
    const std::uint64_t ns = days * 24 * 3600 * 1000 * ms;
    CHECK(own.unlocks(ns).ns == ns);
    CHECK(own.gets(wait, ns).ns == ns);
  }
}

TEST_CASE("a thousand waiters of one hold are charged, be it of three quarters of an hour") {
  for (const std::uint64_t minutes : {1u, 30u, 45u}) {
    CAPTURE(minutes);
    const own_locks own;
    const lock_wait waits = own.begins(0, lock_a, true, 1000);
    const std::uint64_t ns = minutes * 60 * 1000 * ms;
    CHECK(own.unlocks(ns).ns == 1000 * ns);
    std::uint64_t waiters = 0;
    for (int i = 0; i < 1000; ++i) waiters += own.gets(waits, ns).ns;
    CHECK(waiters == 1000 * ns);
    CHECK(own.records() == 0);
  }
}

// ---- readers --------------------------------------------------------------------------------------------------------

TEST_CASE("readers that share a lock pay a share each of what is unpaid, and the last one the rest") {
  const own_locks own;
  const lock_wait writer = own.begins(0);
  CHECK(own.unlocks(9 * ms, 3) == charge{1, 3});
  CHECK(own.unlocks(12 * ms, 2) == charge{1, 4.5});
  CHECK(own.unlocks(15 * ms, 1) == charge{1, 7.5});
  CHECK(own.gets(writer, 16 * ms) == charge{1, 15});
  CHECK(own.records() == 0);
}

TEST_CASE("a reader that comes while others hold the lock neither ends their hold nor begins another") {
  const own_locks own;
  const lock_wait writer = own.begins(0);
  own.barges(1 * ms);
  CHECK(own.unlocks(4 * ms, 2) == charge{1, 2});
  own.barges(5 * ms);
  CHECK(own.unlocks(6 * ms, 2) == charge{1, 2});
  CHECK(own.unlocks(8 * ms, 1) == charge{1, 4});
  own.barges(10 * ms);
  CHECK(own.unlocks(11 * ms, 1) == charge{1, 1});
  CHECK(own.gets(writer, 12 * ms) == charge{1, 9});
  CHECK(own.records() == 0);
}

TEST_CASE("several readers that waited for a writer are let in together") {
  const own_locks own;
  const lock_wait first = own.begins(0);
  const lock_wait second = own.begins(2 * ms);
  const lock_wait writer = own.begins(3 * ms);
  CHECK(own.unlocks(10 * ms) == charge{1, 10 + 8 + 7});
  CHECK(own.gets(first, 11 * ms) == charge{1, 10});
  CHECK(own.gets(second, 13 * ms) == charge{1, 8});
  CHECK(own.unlocks(15 * ms, 2) == charge{1, 2});
  CHECK(own.unlocks(16 * ms, 1) == charge{1, 3});
  CHECK(own.gets(writer, 17 * ms) == charge{1, 7 + 5});
  CHECK(own.records() == 0);
}

TEST_CASE("what waiters left unpaid is shared by the readers, whoever still waits") {
  const own_locks own;
  CHECK(own.gives_up(own.begins(0), 8 * ms) == charge{1, 8});
  CHECK(own.unlocks(9 * ms, 4) == charge{1, 2});
  CHECK(own.unlocks(9 * ms, 3) == charge{1, 2});
  CHECK(own.records() == 1);
  CHECK(own.unlocks(9 * ms, 2) == charge{1, 2});
  CHECK(own.unlocks(9 * ms, 1) == charge{1, 2});
  CHECK(own.records() == 0);
}

TEST_CASE("a share that is no whole number of granules is lost to nobody") {
  const own_locks own;
  const lock_wait writer = own.begins(0);
  std::uint64_t readers = own.unlocks(granule, 3).ns;
  CHECK(readers == 0);
  readers += own.unlocks(granule * 10, 2).ns;
  readers += own.unlocks(granule * 11, 1).ns;
  CHECK(readers == granule * 11);
  CHECK(own.gets(writer, ms).ns == granule * 11);
  CHECK(own.records() == 0);
}

TEST_CASE("an unlock that meets another reader's in the middle leaves its part to the next one") {
  const own_locks own;
  const lock_wait writer = own.begins(0);
  contended_lock& record = own.mutex->locks.at(writer.index);
  record.turn.fetch_add(1);  // another thread is at it
  CHECK(own.unlocks(4 * ms, 2) == nothing);
  record.turn.fetch_add(1);
  CHECK(own.unlocks(6 * ms, 1) == charge{1, 6});
  CHECK(own.gets(writer, 7 * ms) == charge{1, 6});
  CHECK(own.records() == 0);
}

// ---- waiters of other threads ---------------------------------------------------------------------------------------

TEST_CASE("waiters that are announced together wait as if each had come by itself") {
  const own_locks own;
  const lock_wait waits = own.begins(2 * ms, lock_a, true, 3);
  CHECK(waiters_of_sig(own.mutex->locks.at(waits.index)) == 3);
  CHECK(own.unlocks(4 * ms) == charge{1, 3 * 2});
  CHECK(own.gets(waits, 4 * ms) == charge{1, 2});
  CHECK(own.gives_up(waits, 7 * ms) == charge{1, 2 + 3});
  CHECK(own.unlocks(9 * ms) == charge{1, 5 + 3});
  CHECK(own.records() == 1);
  CHECK(own.gets(waits, 9 * ms) == charge{1, 2 + 5});
  CHECK(own.records() == 0);
}

TEST_CASE("waiters that are taken back have never been there") {
  const own_locks own;
  take_back_sig(*own.mutex, own.begins(0, lock_a, true, 3), 3);
  CHECK(own.records() == 0);
  const lock_wait other = own.begins(1 * ms);
  take_back_sig(*own.mutex, own.begins(2 * ms, lock_a, true, 5), 5);
  CHECK(own.unlocks(4 * ms) == charge{1, 3});
  CHECK(own.gets(other, 4 * ms) == charge{1, 3});
  CHECK(own.records() == 0);
}

TEST_CASE("thirty thousand waiters of one lock are counted") {
  const own_locks own;
  const lock_wait waits = own.begins(0, lock_a, true, 30000);
  CHECK(waiters_of_sig(own.mutex->locks.at(waits.index)) == 30000);
  CHECK(own.unlocks(1 * ms) == charge{1, 30000});
  take_back_sig(*own.mutex, waits, 30000);
  CHECK(own.records() == 0);
}

TEST_CASE("a waiter for whose lock there is no room is counted as lost and charged to nobody") {
  const own_locks own;
  own.process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  CHECK(own.begins(0).index == no_slot);
  CHECK(own.begins(0, lock_a, true, 5).index == no_slot);
  CHECK(own.dropped() == 6);
  own.barges(1 * ms);
  CHECK(own.unlocks(2 * ms) == nothing);
  CHECK(own.records() == 0);
  own.process->memory.map_sig = &os_map_in_steps_sig;
  CHECK(own.begins(0).index != no_slot);
  CHECK(own.dropped() == 6);
}

TEST_CASE("more than 12000 locks may be contended at once, each with its own charge") {
  const own_locks own;
  std::vector<lock_wait> waits;
  for (std::uint64_t i = 0; i < 12000; ++i) waits.push_back(own.begins(i * granule, 0x100000 + 64 * i));
  CHECK(own.records() == 12000);
  CHECK(own.dropped() == 0);
  int wrong = 0;
  for (std::uint64_t i = 0; i < 12000; ++i) {
    if (own.unlocks(ms, 1, 0x100000 + 64 * i).ns != ms - i * granule) ++wrong;
    if (own.gets(waits[i], 2 * ms).ns != ms - i * granule) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(own.records() == 0);
}

// ---- any order of events ----------------------------------------------------------------------------------------------

namespace {

// A lock beside a model of it that goes through all waiters at each unlock. Times are ns.
class modelled_lock {
 public:
  modelled_lock(const own_locks& own, std::uintptr_t address, std::uint64_t seed)
      : own_(own), address_(address), random_(seed) {}

  // One event, at any time behind the last one.
  void step() {
    static constexpr std::uint64_t longest[] = {20, 500, 20000, 3000000};
    now_ += below(longest[below(4)]);
    const std::uint64_t choice = below(10);
    if (choice < 2 && !waits_.empty()) give_up(below(waits_.size()));
    else if (is_held_ && choice < 6) begin();
    else if (is_held_) unlock();
    else if (choice < 3 && !waits_.empty()) begin();  // it has seen a hold that ends just now
    else if (choice < 7 && !waits_.empty()) get(below(waits_.size()));
    else barge();
  }
  // Until nobody waits and nothing is owed.
  void finish() {
    while (!waits_.empty()) {
      now_ += below(1000);
      if (is_held_) unlock();
      get(below(waits_.size()));
    }
    if (is_held_) unlock();
  }

  int wrong = 0;
  std::uint64_t holders_ns = 0;
  std::uint64_t waiters_ns = 0;
  std::uint64_t exact_ns = 0;
  std::uint64_t unlocks = 0;
  std::uint64_t contentions = 0;
  std::uint64_t gave_up = 0;
  std::size_t most_waiters = 0;

 private:
  struct waiter {
    lock_wait wait;
    std::uint64_t from = 0;  // what has not been charged to it yet
    std::uint64_t exact = 0;
  };

  std::uint64_t below(std::uint64_t limit) { return random_sig(random_) % limit; }
  static bool is_near(std::uint64_t seen, std::uint64_t exact, std::uint64_t waits) {
    return seen <= exact + granule * waits && exact <= seen + granule * waits;
  }

  void begin() {
    waits_.push_back({own_.begins(now_, address_), now_, 0});
    if (waits_.size() > most_waiters) most_waiters = waits_.size();
  }
  void hold() {
    is_held_ = true;
    for (waiter& each : waits_) each.from = now_;
  }
  void barge() {
    own_.barges(now_, address_);
    hold();
  }
  waiter take_out(std::size_t which) {
    const waiter taken = waits_[which];
    waits_[which] = waits_.back();
    waits_.pop_back();
    return taken;
  }
  void end(const waiter& ended, const delay& seen) {
    if (!is_near(seen.ns, ended.exact, 1)) ++wrong;
    if (seen.contentions != (seen.ns != 0 ? 1 : 0)) ++wrong;
    waiters_ns += seen.ns;
  }
  void get(std::size_t which) {
    const waiter ended = take_out(which);
    end(ended, own_.gets(ended.wait, now_));
    hold();
  }
  void give_up(std::size_t which) {
    waiter ended = take_out(which);
    const std::uint64_t waited = is_held_ ? now_ - ended.from : 0;
    ended.exact += waited;
    owed_ += waited;
    in_vain_ += is_held_ ? 1 : 0;
    ++gave_up;
    end(ended, own_.gives_up(ended.wait, now_));
  }
  void unlock() {
    std::uint64_t exact = owed_;
    for (waiter& each : waits_) {
      exact += now_ - each.from;
      each.exact += now_ - each.from;
      each.from = now_;
    }
    const delay seen = own_.unlocks(now_, 1, address_);
    if (!is_near(seen.ns, exact, waits_.size() + in_vain_)) ++wrong;
    if (!waits_.empty() && seen.contentions != 1) ++wrong;
    if (waits_.empty() && in_vain_ == 0 && seen.contentions != 0) ++wrong;
    owed_ = in_vain_ = 0;
    is_held_ = false;
    holders_ns += seen.ns;
    exact_ns += exact;
    contentions += seen.contentions;
    ++unlocks;
  }

  const own_locks& own_;
  std::uintptr_t address_;
  std::uint64_t random_;
  std::uint64_t now_ = 0;
  bool is_held_ = true;
  std::vector<waiter> waits_;
  std::uint64_t owed_ = 0;     // by the hold that goes on, to those who gave up
  std::uint64_t in_vain_ = 0;  // how many they are
};

}  // namespace

TEST_CASE("whatever happens to some locks, it agrees with a model that counts each waiter by itself") {
  const own_locks own;
  std::vector<modelled_lock> locks;
  for (std::uint64_t i = 0; i < 5; ++i) locks.emplace_back(own, lock_a + 0x40 * i, i);
  std::uint64_t random = 1;
  for (int i = 0; i < 100000; ++i) locks[random_sig(random) % locks.size()].step();
  for (modelled_lock& lock : locks) {
    lock.finish();
    CHECK(lock.wrong == 0);
    CHECK(lock.holders_ns == lock.waiters_ns);
    CHECK(lock.holders_ns > lock.exact_ns - lock.exact_ns / 1000);
    CHECK(lock.holders_ns < lock.exact_ns + lock.exact_ns / 1000);
    CHECK(lock.unlocks > 3000);
    CHECK(lock.contentions > 2000);
    CHECK(lock.gave_up > 1000);
    CHECK(lock.most_waiters > 5);
  }
  CHECK(own.records() == 0);
}

namespace {

// The same of a read-write lock, which one writer or several readers hold.
class modelled_rwlock {
 public:
  modelled_rwlock(const own_locks& own, std::uint64_t seed) : own_(own), random_(seed) {}

  void step() {
    now_ += below(below(2) == 0 ? 50 : 100000);
    const std::uint64_t choice = below(8);
    if (holders_ == 0) {
      if (waits_.empty() || choice < 2) barge();
      else get();
    } else if (choice < 3) {
      waits_.push_back({own_.begins(now_), now_});
    } else if (choice == 3 && is_read_) {
      barge();  // one more reader
    } else if (choice == 4 && is_read_ && !waits_.empty()) {
      get();
    } else if (choice == 5 && !waits_.empty()) {
      give_up();
    } else {
      unlock();
    }
  }
  void finish() {
    while (!waits_.empty() || holders_ != 0) {
      if (holders_ == 0) get();
      else unlock();
    }
  }

  int wrong = 0;
  std::uint64_t holders_ns = 0;
  std::uint64_t waiters_ns = 0;
  std::uint64_t most_readers = 0;
  std::uint64_t shares = 0;

 private:
  struct waiter {
    lock_wait wait;
    std::uint64_t from;
  };
  std::uint64_t below(std::uint64_t limit) { return random_sig(random_) % limit; }
  void hold() {
    if (holders_ == 0) {
      is_read_ = below(3) != 0;
      for (waiter& each : waits_) each.from = now_;
    }
    ++holders_;
    if (holders_ > most_readers) most_readers = holders_;
  }
  void barge() {
    own_.barges(now_);
    hold();
  }
  waiter take_out() {
    std::swap(waits_[below(waits_.size())], waits_.back());
    const waiter taken = waits_.back();
    waits_.pop_back();
    return taken;
  }
  // Nobody has been charged for a reader's time between the last unlock and now when it gets in beside others: it
  // does not wait for an unlock, so the model charges as the profile does, up to the last one.
  void get() {
    waiters_ns += own_.gets(take_out().wait, now_).ns;
    hold();
  }
  void give_up() {
    const waiter ended = take_out();
    owed_ += static_cast<double>(now_ - ended.from);
    tolerance_ += granule;
    waiters_ns += own_.gives_up(ended.wait, now_).ns;
  }
  void unlock() {
    for (waiter& each : waits_) {
      owed_ += static_cast<double>(now_ - each.from);
      each.from = now_;
      tolerance_ += granule;
    }
    const double share = owed_ / static_cast<double>(holders_);
    const std::uint64_t seen = own_.unlocks(now_, holders_).ns;
    tolerance_ += granule;
    if (std::fabs(static_cast<double>(seen) - share) > tolerance_) ++wrong;
    owed_ -= share;
    if (holders_ > 1) ++shares;
    else tolerance_ = 0;
    --holders_;
    holders_ns += seen;
  }

  const own_locks& own_;
  std::uint64_t random_;
  std::uint64_t now_ = 0;
  std::uint64_t holders_ = 1;
  bool is_read_ = true;
  std::vector<waiter> waits_;
  double owed_ = 0;
  double tolerance_ = 0;
};

}  // namespace

TEST_CASE("whatever happens to a read-write lock, each unlock pays its share and the sums are equal") {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const own_locks own;
    modelled_rwlock lock(own, seed);
    for (int i = 0; i < 30000; ++i) lock.step();
    lock.finish();
    CHECK(lock.wrong == 0);
    CHECK(lock.holders_ns == lock.waiters_ns);
    CHECK(lock.holders_ns > 100 * ms);
    CHECK(lock.most_readers > 3);
    CHECK(lock.shares > 1000);
    CHECK(own.records() == 0);
  }
}

// ---- fractions ----------------------------------------------------------------------------------------------------------

namespace {

struct sums {
  std::uint64_t holders_ns = 0;
  std::uint64_t holders = 0;  // contentions
  std::uint64_t waiters_ns = 0;
  std::uint64_t waiters = 0;
  void add_holder(const delay& seen) {
    holders_ns += seen.ns;
    holders += seen.contentions;
  }
  void add_waiter(const delay& seen) {
    waiters_ns += seen.ns;
    waiters += seen.contentions;
  }
};

// The same events every time: queues of some waiters, of which some give up in the middle of a hold.
sums run_of_events(const own_locks& own) {
  sums sum;
  std::uint64_t random = 77;
  std::uint64_t now = 0;
  for (int queue = 0; queue < 40; ++queue) {
    std::vector<lock_wait> waits;
    for (std::uint64_t i = 1 + random_sig(random) % 6; i > 0; --i) {
      waits.push_back(own.begins(now += random_sig(random) % ms));
    }
    while (!waits.empty()) {
      const lock_wait last = waits.back();
      waits.pop_back();
      if (random_sig(random) % 4 == 0) {
        sum.add_waiter(own.gives_up(last, now += random_sig(random) % ms));
        continue;
      }
      sum.add_holder(own.unlocks(now += 16 + random_sig(random) % ms));
      sum.add_waiter(own.gets(last, now += random_sig(random) % 1000));
    }
    sum.add_holder(own.unlocks(now += ms));
  }
  return sum;
}

// Of some estimates: how many standard errors their mean is from what is expected.
class estimates {
 public:
  void add(std::uint64_t seen) {
    const auto value = static_cast<double>(seen);
    ++count_;
    sum_ += value;
    squares_ += value * value;
  }
  double sigmas_off(std::uint64_t expected) const {
    const double mean = sum_ / count_;
    const double variance = (squares_ / count_ - mean * mean) * count_ / (count_ - 1);
    return (mean - static_cast<double>(expected)) / std::sqrt(variance / count_);
  }

 private:
  double count_ = 0;
  double sum_ = 0;
  double squares_ = 0;
};

}  // namespace

TEST_CASE("at fraction 0 nothing is charged") {
  const own_locks own(0);
  const sums sum = run_of_events(own);
  CHECK(sum.holders_ns == 0);
  CHECK(sum.holders == 0);
  CHECK(sum.waiters_ns == 0);
  CHECK(sum.waiters == 0);
  CHECK(own.records() == 0);
}

TEST_CASE("at fraction n one hold of n is charged n times, so that sums are right on average") {
  const own_locks own(1);
  const sums exact = run_of_events(own);
  CHECK(exact.holders_ns == exact.waiters_ns);
  CHECK(exact.holders_ns > 100 * ms);
  CHECK(exact.holders > 50);
  for (const std::uint64_t fraction : {2u, 5u, 30u}) {
    CAPTURE(fraction);
    own.mutex->fraction.set_own(fraction);
    estimates holders_ns, holders, waiters_ns, waiters;
    int wrong = 0;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
      own.mutex->random.store(mix_bits(seed));
      const sums sum = run_of_events(own);
      if (sum.holders_ns != sum.waiters_ns || sum.holders % fraction != 0 || sum.holders_ns == exact.holders_ns) ++wrong;
      holders_ns.add(sum.holders_ns);
      holders.add(sum.holders);
      waiters_ns.add(sum.waiters_ns);
      waiters.add(sum.waiters);
    }
    CHECK(wrong == 0);
    CHECK(std::fabs(holders_ns.sigmas_off(exact.holders_ns)) < 3);
    CHECK(std::fabs(holders.sigmas_off(exact.holders)) < 3);
    CHECK(std::fabs(waiters_ns.sigmas_off(exact.waiters_ns)) < 3);
    CHECK(std::fabs(waiters.sigmas_off(exact.waiters)) < 3);
  }
  CHECK(own.records() == 0);
}

TEST_CASE("a wait of one hold has the weight of that hold, whether it gets the lock or gives up") {
  const own_locks own(4);
  int charged = 0;
  int wrong = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    own.mutex->random.store(mix_bits(seed));
    const lock_wait gets = own.begins(0);
    const lock_wait gives_up = own.begins(0);
    const delay in_vain = own.gives_up(gives_up, 10 * ms);
    const delay holder = own.unlocks(10 * ms);
    const delay waiter = own.gets(gets, 10 * ms);
    if (waiter.ns != waiter.contentions * 10 * ms || in_vain.ns != in_vain.contentions * 10 * ms) ++wrong;
    if (holder.ns != holder.contentions * 20 * ms || holder.contentions != waiter.contentions) ++wrong;
    if (waiter.contentions != in_vain.contentions) ++wrong;
    if (holder.contentions != 0) ++charged;
  }
  CHECK(wrong == 0);
  CHECK(charged > 60);
  CHECK(charged < 140);
  CHECK(own.records() == 0);
}

TEST_CASE("a wait that is given up while nobody holds the lock has the weight of the last hold") {
  const own_locks own(4);
  std::uint64_t contentions = 0;
  int wrong = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    own.mutex->random.store(mix_bits(seed));
    const lock_wait wait = own.begins(0);
    const delay holder = own.unlocks(10 * ms);
    const delay waiter = own.gives_up(wait, 12 * ms);
    if (waiter.ns != holder.ns) ++wrong;
    if (waiter.contentions != holder.contentions) ++wrong;
    contentions += waiter.contentions;
  }
  CHECK(wrong == 0);
  CHECK(contentions > 280);
  CHECK(contentions < 520);
}

TEST_CASE("a fraction that is set in the middle of a hold is that of the next one") {
  const own_locks own(1);
  const lock_wait first = own.begins(0);
  const lock_wait second = own.begins(1 * ms);
  own.mutex->fraction.set_own(0);
  CHECK(own.unlocks(5 * ms) == charge{1, 5 + 4});
  CHECK(own.gets(first, 5 * ms) == charge{1, 5});
  own.mutex->fraction.set_own(1);
  CHECK(own.unlocks(9 * ms) == nothing);  // was decided when the hold before ended
  own.barges(9 * ms);
  const lock_wait third = own.begins(10 * ms);
  CHECK(own.unlocks(12 * ms) == charge{1, 3 + 2});
  CHECK(own.gets(second, 12 * ms) == charge{1, 4 + 3});
  CHECK(own.gets(third, 12 * ms) == charge{1, 2});
  CHECK(own.records() == 0);
}

// ---- threads ---------------------------------------------------------------------------------------------------------

TEST_CASE("threads that lock, give up and unlock at once leave no record") {
  const own_locks own;
  std::atomic<std::uint64_t> clock{0};
  std::atomic<bool> is_held{false};
  std::atomic<std::uint64_t> holders{0};
  std::atomic<std::uint64_t> waiters{0};
  std::atomic<std::uint64_t> waits{0};
  const auto now = [&] { return clock.fetch_add(granule) + granule; };
  const auto work = [&](std::uint64_t random) {
    for (int i = 0; i < 20000; ++i) {
      if (!is_held.exchange(true)) {
        own.barges(now());
      } else {
        const lock_wait wait = own.begins(now());
        waits.fetch_add(1);
        bool got_it = false;
        for (std::uint64_t tries = random_sig(random) % 50; tries > 0 && !got_it; --tries) {
          std::this_thread::yield();
          got_it = !is_held.exchange(true);
        }
        waiters.fetch_add(got_it ? own.gets(wait, now()).ns : own.gives_up(wait, now()).ns);
        if (!got_it) continue;
      }
      for (std::uint64_t looks = random_sig(random) % 4; looks > 0; --looks) std::this_thread::yield();
      holders.fetch_add(own.unlocks(now()).ns);
      is_held.store(false);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  own.barges(now());
  holders.fetch_add(own.unlocks(now()).ns);
  CHECK(own.records() == 0);
  CHECK(own.dropped() == 0);
  CHECK(waits.load() > 1000);
  // Who is preempted between a look at the clock and its use makes both a little wrong.
  CHECK(holders.load() <= 4 * clock.load());
  CHECK(waiters.load() > holders.load() - holders.load() / 20);
  CHECK(waiters.load() < holders.load() + holders.load() / 20);
}

// ---- pauses and forks -------------------------------------------------------------------------------------------------

TEST_CASE("who waits when counting begins after a pause does so from then on") {
  own_locks own;
  const std::uint64_t began = os_monotonic_ns_sig() - 20 * ms;
  const lock_wait first = begin_lock_wait_sig(*own.process, *own.mutex, lock_a, began);
  const lock_wait second = begin_lock_wait_sig(*own.process, *own.mutex, lock_a, began + 10 * ms);
  own.mutex->fraction.set_own(0);
  own.mutex->fraction.set_own(1);
  restart_locks(*own.mutex);
  const std::uint64_t restarted = own.mutex->locks.at(first.index).last.load() << clock_shift;
  CHECK(restarted + granule > began + 20 * ms);
  const std::uint64_t now = restarted + 12 * ms;
  CHECK(charge_unlock_sig(*own.mutex, lock_a, now) == charge{1, 12 + 12});
  CHECK(end_lock_wait_sig(*own.mutex, first, now) == charge{1, 12});
  CHECK(end_lock_wait_sig(*own.mutex, second, now) == charge{1, 12});
  CHECK(own.records() == 0);
}

TEST_CASE("when counting begins after a pause a lock is held, and nothing is owed from before") {
  own_locks own;
  const std::uint64_t began = os_monotonic_ns_sig() - 20 * ms;
  CHECK(begin_lock_wait_sig(*own.process, *own.mutex, lock_b, began).index != no_slot);
  const lock_wait in_vain = begin_lock_wait_sig(*own.process, *own.mutex, lock_a, began);
  (void)abandon_lock_wait_sig(*own.mutex, in_vain, began + 5 * ms);
  CHECK(own.records() == 2);
  CHECK(charge_unlock_sig(*own.mutex, lock_b, began + 10 * ms) == charge{1, 10});
  restart_locks(*own.mutex);
  CHECK(own.records() == 1);  // nobody waits for lock_a, and nobody will be asked to pay
  const contended_lock& record = own.mutex->locks.at(own.mutex->locks.find_sig(lock_b));
  CHECK(record.free_ns.load() == 0);
  CHECK(waiters_of_sig(record) == 1);
  CHECK(record.unpaid.load() == 0);
}

TEST_CASE("counting that begins after a pause draws weights at the rate that is in effect by then") {
  own_locks own(0);
  const lock_wait wait = begin_lock_wait_sig(*own.process, *own.mutex, lock_a, os_monotonic_ns_sig() - ms);
  own.mutex->fraction.set_own(1);
  restart_locks(*own.mutex);
  const std::uint64_t restarted = own.mutex->locks.at(wait.index).last.load() << clock_shift;
  CHECK(charge_unlock_sig(*own.mutex, lock_a, restarted + 3 * ms) == charge{1, 3});
  CHECK(end_lock_wait_sig(*own.mutex, wait, restarted + 3 * ms) == charge{1, 3});
}

#endif
