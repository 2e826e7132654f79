// tests/unit/sample/mutex_test.cpp - what each unlock is charged, and what its waiters: the same, at any time.

#include "prof/sample/mutex.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../process/own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

constexpr std::uint64_t ms = 1000000;
constexpr std::uint64_t start = 1000 * ms;
constexpr std::uint64_t granule = std::uint64_t{1} << clock_shift;  // to which a wait is exact
constexpr std::uintptr_t lock_a = 0x10000;
constexpr std::uintptr_t lock_b = 0x20000;
constexpr std::uintptr_t cond_a = 0x30000;

// Locks of their own. Times are ns since `start`.
struct own_locks {
  own_process own;
  process_state* process = own.state;
  mutex_state* mutex = mutex_of(*process);
  explicit own_locks(std::uint64_t fraction = 1) {
    REQUIRE(mutex != nullptr);
    mutex->fraction.set_own(fraction);
    mutex->random.store(1);
  }
  own_locks(const own_locks&) = delete;
  own_locks& operator=(const own_locks&) = delete;

  std::size_t records() const { return mutex->locks.used(); }
  std::uint64_t dropped() const { return drops_of(*process, static_cast<unsigned>(drop::contended_locks_full)); }

  lock_wait begins(std::uint64_t at, std::uintptr_t lock = lock_a, bool is_held = true, std::uint32_t count = 1) const {
    return begin_lock_wait_sig(*process, *mutex, lock, start + at, is_held, count);
  }
  delay gets(const lock_wait& wait, std::uint64_t at) const { return end_lock_wait_sig(*mutex, wait, start + at); }
  delay gives_up(const lock_wait& wait, std::uint64_t at) const {
    return abandon_lock_wait_sig(*mutex, wait, start + at);
  }
  delay unlocks(std::uint64_t at, std::uint64_t sharers = 1, std::uintptr_t lock = lock_a) const {
    return charge_unlock_sig(*mutex, lock, start + at, sharers);
  }
  void barges(std::uint64_t at, std::uintptr_t lock = lock_a) const { note_hold_sig(*mutex, lock, start + at); }
};

// What is charged in ms, so that a failure can be read.
struct charge {
  std::uint64_t contentions;
  double milliseconds;
};
bool operator==(const delay& seen, const charge& wanted) {
  return seen.contentions == wanted.contentions && seen.ns == static_cast<std::uint64_t>(wanted.milliseconds * ms);
}
constexpr charge nothing{0, 0};

doctest::String text_of(std::uint64_t contentions, double milliseconds) {
  return (std::to_string(contentions) + " contentions, " + std::to_string(milliseconds) + " ms").c_str();
}

}  // namespace

PROF_DETAIL_BEGIN
static doctest::String toString(const delay& seen) {
  return text_of(seen.contentions, static_cast<double>(seen.ns) / ms);
}
PROF_DETAIL_END
namespace {
doctest::String toString(const charge& wanted) { return text_of(wanted.contentions, wanted.milliseconds); }
}  // namespace

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

// ---- condition variables ------------------------------------------------------------------------------------------------

namespace {

// Condition variables of the mutex lock_a. Whoever is woken is so at a time of the system; the mutex's clock is asked
// what that was, and goes on in ns of its own from there.
struct own_conds : own_locks {
  using own_locks::own_locks;
  bool is_held = false;  // lock_a

  cond_wait begins_wait(std::uintptr_t cond = cond_a) const { return begin_cond_wait_sig(*mutex, cond, lock_a); }
  void wakes(bool all, std::uintptr_t cond = cond_a) const {
    wake_cond_sig(*process, *mutex, cond, all, [this](std::uintptr_t lock) {
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
  wake_cond_sig(*own.process, *own.mutex, cond_a, true, [&](std::uintptr_t) {
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

// ---- threads ------------------------------------------------------------------------------------------------------------

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

TEST_CASE("in a child nobody waits, and only the program's own fraction stays") {
  own_conds own;
  own.mutex->fraction.set_own(7);
  (void)own.mutex->fraction.open(1);
  (void)own.begins(0);
  (void)own.gives_up(own.begins(0, lock_b), 5 * ms);
  (void)own.begins_wait();
  own.wakes_all();
  forget_parent_mutex(*own.mutex);
  CHECK(own.records() == 0);
  CHECK(own.conds() == 0);
  CHECK(own.mutex->fraction.in_effect_sig() == 7);
  own.mutex->fraction.set_own(1);
  const lock_wait wait = own.begins(20 * ms);
  CHECK(own.unlocks(22 * ms) == charge{1, 2});
  CHECK(own.gets(wait, 22 * ms) == charge{1, 2});
  CHECK(own.records() == 0);
}

// ---- profiles -----------------------------------------------------------------------------------------------------------

namespace {

stack_id stack_at(const own_locks& own, std::uintptr_t address) {
  stack_view stack;
  stack.frames = &address;
  stack.depth = 1;
  return own.process->stacks.intern_sig(stack);
}

struct shown_row {
  std::uint64_t address = 0;
  std::int64_t contentions = 0;
  std::int64_t ns = 0;
  bool operator==(const shown_row& other) const {
    return address == other.address && contentions == other.contentions && ns == other.ns;
  }
};
doctest::String toString(const std::vector<shown_row>& rows) {
  std::string text;
  for (const shown_row& row : rows) {
    text += std::to_string(row.address) + ": " + std::to_string(row.contentions) + " in " + std::to_string(row.ns) + "; ";
  }
  return text.c_str();
}

// What a profile shows of either view, in the order of its samples.
std::vector<shown_row> rows_of(const own_locks& own, const count_table& counts, const mutex_snapshot& now,
                               const mutex_snapshot* base) {
  arena memory(os_pages);
  profile p(memory);
  fill_mutex_profile(p, *own.process, counts, now, base);
  std::vector<shown_row> rows;
  for (const profile_sample& sample : p.samples) {
    rows.push_back({p.locations[p.frames_of(sample)[0]].address, p.values_of(sample)[0], p.values_of(sample)[1]});
  }
  return rows;
}

// A waiter as the hooks note it: in the table of waits, and at its lock.
struct noted_waiter {
  lock_wait wait;
  std::size_t place = no_slot;
  stack_id stack = overflow_stack;

  noted_waiter(const own_locks& own, std::uint32_t thread, stack_id from, std::uint64_t at)
      : wait(own.begins(at)), stack(from) {
    wait_facts facts;
    facts.thread = thread;
    facts.stack = stack;
    facts.began_ns = start + at;
    facts.lock = wait.index + 1;
    facts.charged_before = wait.charged_before;
    place = own.process->waits.begin_sig(facts, 1);
  }
  void gets(const own_locks& own, std::uint64_t at) const {
    count_delay_sig(*own.process, *own.mutex, own.mutex->waiters, stack, no_labels, own.gets(wait, at));
    own.process->waits.end_sig(place);
  }
};

struct snapshots {
  arena memory{os_pages};
  mutex_snapshot first{memory};
  mutex_snapshot second{memory};
};

}  // namespace

TEST_CASE("a profile has Go's two columns, and what each stack was charged") {
  const own_locks own;
  const stack_id one = stack_at(own, 0x1000);
  const stack_id other = stack_at(own, 0x2000);
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, one, no_labels, {1, 5000});
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, other, no_labels, {3, 7000});
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, one, no_labels, {0, 600});
  CHECK(own.mutex->samples.load() == 3);
  arena memory(os_pages);
  mutex_snapshot now(memory);
  own.mutex->holders.read(now.counts);
  profile p(memory);
  fill_mutex_profile(p, *own.process, own.mutex->holders, now, nullptr);
  const auto text = [&](string_index i) { return std::string(p.strings[i].data, p.strings[i].size); };
  REQUIRE(p.value_types.size() == 2);
  CHECK(text(p.value_types[0].type) == "contentions");
  CHECK(text(p.value_types[0].unit) == "count");
  CHECK(text(p.value_types[1].type) == "delay");
  CHECK(text(p.value_types[1].unit) == "nanoseconds");
  CHECK(p.period == 1);
  std::vector<shown_row> rows = rows_of(own, own.mutex->holders, now, nullptr);
  if (rows.size() == 2 && rows[0].address != 0x1000) std::swap(rows[0], rows[1]);
  CHECK(rows == std::vector<shown_row>{{0x1000, 1, 5600}, {0x2000, 3, 7000}});
}

TEST_CASE("labels keep delays of one stack apart") {
  const own_locks own;
  const label_pair pair{"k", "v"};
  const label_set_id labels = own.process->labels.intern(&pair, 1);
  const stack_id stack = stack_at(own, 0x1000);
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, stack, no_labels, {1, 5});
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, stack, labels, {1, 5});
  snapshots at;
  own.mutex->holders.read(at.first.counts);
  CHECK(rows_of(own, own.mutex->holders, at.first, nullptr).size() == 2);
}

TEST_CASE("a profile over some seconds is what was charged between its two ends") {
  const own_locks own;
  const stack_id stack = stack_at(own, 0x1000);
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, stack, no_labels, {1, 5000});
  snapshots at;
  own.mutex->holders.read(at.first.counts);
  CHECK(rows_of(own, own.mutex->holders, at.first, &at.first).empty());
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, stack, no_labels, {2, 300});
  own.mutex->holders.read(at.second.counts);
  CHECK(rows_of(own, own.mutex->holders, at.second, &at.first) == std::vector<shown_row>{{0x1000, 2, 300}});
  CHECK(rows_of(own, own.mutex->holders, at.second, nullptr) == std::vector<shown_row>{{0x1000, 3, 5300}});
}

TEST_CASE("waiters show what they have been charged so far, once") {
  const own_locks own;
  const noted_waiter waiter(own, 1, stack_at(own, 0x1000), 0);
  snapshots before;
  read_waiters(*own.process, *own.mutex, before.first);
  CHECK(before.first.waits.size() == 1);
  CHECK(rows_of(own, own.mutex->waiters, before.first, nullptr).empty());  // its holder has not been charged either
  CHECK(own.unlocks(5 * ms) == charge{1, 5});
  own.barges(6 * ms);
  snapshots at;
  read_waiters(*own.process, *own.mutex, at.first);
  CHECK(rows_of(own, own.mutex->waiters, at.first, nullptr) == std::vector<shown_row>{{0x1000, 0, 5 * ms}});
  CHECK(own.unlocks(9 * ms) == charge{1, 3});
  waiter.gets(own, 9 * ms);
  read_waiters(*own.process, *own.mutex, at.second);
  CHECK(at.second.waits.size() == 0);
  CHECK(rows_of(own, own.mutex->waiters, at.second, nullptr) == std::vector<shown_row>{{0x1000, 1, 8 * ms}});
  CHECK(rows_of(own, own.mutex->waiters, at.second, &at.first) == std::vector<shown_row>{{0x1000, 1, 3 * ms}});
}

TEST_CASE("waiters that still wait at both ends show what they were charged in between") {
  const own_locks own;
  const noted_waiter one(own, 1, stack_at(own, 0x1000), 0);
  const noted_waiter other(own, 2, stack_at(own, 0x1000), 2 * ms);
  CHECK(own.unlocks(5 * ms) == charge{1, 5 + 3});
  snapshots at;
  read_waiters(*own.process, *own.mutex, at.first);
  own.barges(5 * ms);
  CHECK(own.unlocks(6 * ms) == charge{1, 1 + 1});
  read_waiters(*own.process, *own.mutex, at.second);
  CHECK(rows_of(own, own.mutex->waiters, at.second, nullptr) == std::vector<shown_row>{{0x1000, 0, (6 + 4) * ms}});
  CHECK(rows_of(own, own.mutex->waiters, at.second, &at.first) == std::vector<shown_row>{{0x1000, 0, 2 * ms}});
}

namespace {

// A waiter that gets its lock while a profile is read: when the first of what has been counted is about to be copied.
struct ending_waiter {
  static ending_waiter*& current() {
    static ending_waiter* only = nullptr;
    return only;
  }
  static void* map(std::size_t size) noexcept {
    ending_waiter* const self = current();
    if (self->snapshot.waits.size() == 1 && !self->has_ended) {
      self->has_ended = true;
      self->waiter.gets(self->own, 9 * ms);
    }
    return os_pages.map(size);
  }

  own_locks own;
  noted_waiter waiter{own, 1, stack_at(own, 0x1000), 0};
  noted_waiter other{own, 2, stack_at(own, 0x2000), 9 * ms};  // so that the lock's record stays
  bool has_ended = false;
  arena memory{page_source{&ending_waiter::map, os_pages.unmap}, 4096};
  mutex_snapshot snapshot{memory};
  ending_waiter() {
    current() = this;
    own.process->waits.end_sig(other.place);
  }
};

}  // namespace

TEST_CASE("a waiter that gets its lock while a profile is read is shown once") {
  ending_waiter t;
  CHECK(t.own.unlocks(9 * ms) == charge{1, 9});
  read_waiters(*t.own.process, *t.own.mutex, t.snapshot);
  REQUIRE(t.has_ended);
  CHECK(rows_of(t.own, t.own.mutex->waiters, t.snapshot, nullptr) == std::vector<shown_row>{{0x1000, 1, 9 * ms}});
}

TEST_CASE("waits that are for no lock, or at a condition variable, are no waiters of a lock") {
  const own_locks own;
  wait_facts facts;
  facts.thread = 1;
  CHECK(own.process->waits.begin_sig(facts, 1) != no_slot);
  facts.thread = 2;
  facts.kind = wait_kind::cond;
  facts.lock = 1;
  CHECK(own.process->waits.begin_sig(facts, 1) != no_slot);
  snapshots at;
  read_waiters(*own.process, *own.mutex, at.first);
  CHECK(at.first.waits.size() == 0);
}

// ---- memory -------------------------------------------------------------------------------------------------------------

TEST_CASE("a delay for which there is no memory is counted as lost") {
  const own_locks own;
  own.process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, overflow_stack, no_labels, {1, 5});
  CHECK(own.mutex->samples.load() == 1);
  CHECK(own.mutex->holders.used() == 0);
  CHECK(drops_of(*own.process, static_cast<unsigned>(drop::count_table_full)) == 1);
}

TEST_CASE("a process has one state of the mutex profile, whoever is first, and none without memory") {
  static process_state* process = nullptr;
  static mutex_state* others = nullptr;
  const own_process own;
  process = own.state;
  CHECK(attached_mutex_sig(*process) == nullptr);
  process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  CHECK(mutex_of(*process) == nullptr);
  CHECK(attached_mutex_sig(*process) == nullptr);
  const std::uint64_t bytes = process->memory.bytes.load();
  process->memory.map_sig = [](std::size_t size) noexcept -> void* {  // another thread is quicker
    process->memory.map_sig = &os_map_in_steps_sig;
    others = mutex_of(*process);
    return os_map_in_steps_sig(size);
  };
  CHECK(mutex_of(*process) == others);
  CHECK(others != nullptr);
  CHECK(attached_mutex_sig(*process) == others);
  CHECK(mutex_of(*process) == others);
  CHECK(process->memory.bytes.load() == bytes + page_round(sizeof(mutex_state)));
  CHECK(others->fraction.in_effect_sig() == 0);
}

#endif
