// tests/unit/sample/block_test.cpp - how much a wait counts, while it goes on and when it has ended.

#include "prof/sample/block.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "../process/own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

constexpr std::uint64_t ms = 1000000;
constexpr std::uint64_t hour = 3600 * 1000 * ms;
constexpr std::uint64_t lasted = 20 * 1000 * ms;  // of waits that go on; they began after the machine did
constexpr std::uint64_t one_wait = std::uint64_t{1} << wait_count_bits;

// What a profile shows of one stack and kind of wait.
struct shown_row {
  std::uint64_t address = 0;
  std::string kind;
  std::int64_t waits = 0;
  std::int64_t ns = 0;
};

struct own_block {
  own_process own;
  process_state* process = own.state;
  block_state* block = block_of(*process);
  explicit own_block(std::uint64_t rate_ns = 1) {
    REQUIRE(block != nullptr);
    block->rate.set_own(rate_ns);
    block->random.store(1);
  }
  own_block(const own_block&) = delete;
  own_block& operator=(const own_block&) = delete;

  // Facts of a wait that begins now, drawn for.
  wait_facts begins(std::uintptr_t address = 0x1000, wait_kind kind = wait_kind::mutex) const {
    stack_view stack;
    stack.frames = &address;
    stack.depth = 1;
    wait_facts facts;
    facts.kind = kind;
    facts.stack = process->stacks.intern_sig(stack);
    draw_wait_sig(*block, facts);
    return facts;
  }
  void ends(const wait_facts& facts, std::uint64_t ns) const { count_wait_sig(*process, *block, facts, ns); }
  void counts(std::uint64_t ns, std::uintptr_t address = 0x1000, wait_kind kind = wait_kind::mutex) const {
    ends(begins(address, kind), ns);
  }
  std::vector<shown_row> shown(const block_snapshot& now, const block_snapshot* base = nullptr) const {
    arena memory(os_pages);
    profile p(memory);
    fill_block_profile(p, *process, *block, now, base);
    std::vector<shown_row> rows;
    for (const profile_sample& sample : p.samples) {
      REQUIRE(sample.label_count == 1);
      const profile_label& label = p.labels[sample.first_label];
      CHECK(p.strings[label.key].equals("wait"));
      const text_view kind = p.strings[label.text];
      rows.push_back({p.locations[p.frames_of(sample)[0]].address, std::string(kind.data, kind.size),
                      p.values_of(sample)[0], p.values_of(sample)[1]});
    }
    return rows;
  }
  // All that has been counted: waits in parts of one, and ns.
  std::pair<std::uint64_t, std::uint64_t> totals() const {
    arena memory(os_pages);
    count_snapshot now(memory);
    block->counts.read(now);
    std::pair<std::uint64_t, std::uint64_t> sum;
    block->counts.for_each_since(nullptr, now, [&](const count_key&, const std::uint64_t* counted) {
      sum.first += counted[waits_counted];
      sum.second += counted[waited_ns];
    });
    return sum;
  }
};

// A wait that goes on: it is in the table of waits.
class wait_that_goes_on {
 public:
  // It began so long ago; the system's clock goes on meanwhile.
  wait_that_goes_on(const own_block& own, std::uint32_t thread, std::uint64_t ago_ns, std::uintptr_t address = 0x1000)
      : own_(own), facts_(own.begins(address)) {
    facts_.thread = thread;
    facts_.began_ns = os_monotonic_ns_sig() - ago_ns;
    place_ = own.process->waits.begin_sig(facts_, 1);
    REQUIRE(place_ != no_slot);
  }
  void ends(std::uint64_t ns) {
    own_.ends(facts_, ns);
    own_.process->waits.end_sig(place_);
  }
  const wait_facts& facts() const { return facts_; }

 private:
  const own_block& own_;
  wait_facts facts_;
  std::size_t place_;
};

struct snapshots {
  arena memory{os_pages};
  block_snapshot first{memory};
  block_snapshot second{memory};
};

bool is_weight(const wait_weight& seen, std::uint64_t waits, std::uint64_t ns) {
  return seen.waits == waits && seen.ns == ns;
}

}  // namespace

// ---- one wait -------------------------------------------------------------------------------------------------------

TEST_CASE("a wait that is as long as the rate counts as it is") {
  CHECK(is_weight(weigh_wait_sig(1000, 1000, 1000), one_wait, 1000));
  CHECK(is_weight(weigh_wait_sig(1001, 1000, 1000), one_wait, 1001));
  CHECK(is_weight(weigh_wait_sig(hour, 1000, 1), one_wait, hour));
  CHECK(is_weight(weigh_wait_sig(5, 1, 0), one_wait, 5));
}

TEST_CASE("a shorter wait stands for as many of its length as make up the rate, or for none") {
  CHECK(is_weight(weigh_wait_sig(250, 1000, 250), 4 * one_wait, 1000));
  CHECK(is_weight(weigh_wait_sig(250, 1000, 1), 4 * one_wait, 1000));
  CHECK(is_weight(weigh_wait_sig(250, 1000, 251), 0, 0));
  CHECK(is_weight(weigh_wait_sig(1, 10000, 1), 10000 * one_wait, 10000));
  CHECK(is_weight(weigh_wait_sig(300, 1000, 300), (1000 * one_wait + 150) / 300, 1000));
}

TEST_CASE("a wait of no time at all counts at rate 1 only, and at rate 0 none does") {
  CHECK(is_weight(weigh_wait_sig(0, 1, 0), one_wait, 1));
  CHECK(is_weight(weigh_wait_sig(0, 1000, 1), 0, 0));
  CHECK(is_weight(weigh_wait_sig(0, 0, 0), 0, 0));
  CHECK(is_weight(weigh_wait_sig(hour, 0, 0), 0, 0));
}

TEST_CASE("a rate of days weighs as one of nanoseconds does") {
  for (const std::uint64_t days : {1u, 3u, 4u, 30u}) {
    CAPTURE(days);
    const std::uint64_t rate = days * 24 * hour;
    const wait_weight weight = weigh_wait_sig(rate / 8, rate, 1);
    CHECK(weight.waits == 8 * one_wait);
    CHECK(weight.ns == rate);
  }
}

TEST_CASE("what a wait must last is drawn from 1 to the rate, each as likely as the others") {
  const own_block own(8);
  std::map<std::uint64_t, int> drawn;
  for (int i = 0; i < 80000; ++i) {
    const wait_facts facts = own.begins();
    CHECK(facts.rate_ns == 8);
    ++drawn[facts.least_ns];
  }
  CHECK(drawn.size() == 8);
  CHECK(drawn.begin()->first == 1);
  CHECK(drawn.rbegin()->first == 8);
  for (const auto& value : drawn) CHECK(std::abs(value.second - 10000) < 400);  // 4 standard deviations
}

TEST_CASE("at rate 1 all waits count, at rate 0 none, and a rate that is set later is that of later waits") {
  const own_block own(1);
  const wait_facts at_1 = own.begins();
  CHECK(at_1.rate_ns == 1);
  CHECK(at_1.least_ns == 0);
  own.block->rate.set_own(0);
  const wait_facts at_0 = own.begins();
  CHECK(at_0.rate_ns == 0);
  own.block->rate.set_own(1000);
  CHECK(own.begins().rate_ns == 1000);
  own.ends(at_0, hour);
  CHECK(own.totals() == std::make_pair(std::uint64_t{0}, std::uint64_t{0}));
  CHECK(own.block->samples.load() == 0);
  own.ends(at_1, 77);
  CHECK(own.totals() == std::make_pair(one_wait, std::uint64_t{77}));
  CHECK(own.block->samples.load() == 1);
}

// ---- sums ---------------------------------------------------------------------------------------------------------------

namespace {

// Of some estimates: how many standard errors their mean is from what is expected, where the variance of one is known.
double sigmas_off(double sum, double count, double expected, double variance) {
  return (sum / count - expected) / std::sqrt(variance / count);
}

}  // namespace

TEST_CASE("sums of waits and of their time are right on average, whatever their lengths") {
  constexpr double runs = 200;
  for (const std::uint64_t rate : {100u, 10000u, 1000000u}) {
    CAPTURE(rate);
    const own_block own(rate);
    std::vector<std::uint64_t> lengths;
    std::uint64_t random = 9;
    for (int i = 0; i < 300; ++i) lengths.push_back(1 + random_sig(random) % (i % 3 == 0 ? rate / 10 : 2 * rate));
    double ns = 0, waits_variance = 0, ns_variance = 0;
    for (const std::uint64_t length : lengths) {
      const auto c = static_cast<double>(length);
      const auto r = static_cast<double>(rate);
      ns += c;
      if (c >= r) continue;
      waits_variance += r / c - 1;
      ns_variance += c * (r - c);
    }
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
      own.block->random.store(mix_bits(seed));
      for (const std::uint64_t length : lengths) own.counts(length);
    }
    const auto seen = own.totals();
    const double waits_seen = static_cast<double>(seen.first) / static_cast<double>(one_wait);
    CHECK(std::fabs(sigmas_off(waits_seen, runs, 300, waits_variance)) < 3);
    CHECK(std::fabs(sigmas_off(static_cast<double>(seen.second), runs, ns, ns_variance)) < 3);
    CHECK(own.block->samples.load() > 100 * 200);
    CHECK(own.block->samples.load() < 250 * 200);
  }
}

TEST_CASE("short waits alone are estimated, too: one in a thousand stands for a thousand") {
  const own_block own(100000);
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    own.block->random.store(mix_bits(seed));
    for (int i = 0; i < 2000; ++i) own.counts(100);
  }
  const auto seen = own.totals();
  const double waits_seen = static_cast<double>(seen.first) / static_cast<double>(one_wait);
  CHECK(std::fabs(sigmas_off(waits_seen, 200, 2000, 2000 * 999.0)) < 3);
  CHECK(seen.second == 100 * (seen.first >> wait_count_bits));
  CHECK(seen.first == own.block->samples.load() * 1000 * one_wait);
}

// ---- profiles -----------------------------------------------------------------------------------------------------------

TEST_CASE("a profile has Go's two columns, and the kind of the wait as a label") {
  const own_block own;
  own.counts(100);
  own.counts(50);
  own.counts(7, 0x1000, wait_kind::semaphore);
  own.counts(3, 0x2000);
  snapshots at;
  read_block(*own.process, *own.block, at.first);
  arena memory(os_pages);
  profile p(memory);
  fill_block_profile(p, *own.process, *own.block, at.first, nullptr);
  const auto text = [&](string_index i) { return std::string(p.strings[i].data, p.strings[i].size); };
  REQUIRE(p.value_types.size() == 2);
  CHECK(text(p.value_types[0].type) == "contentions");
  CHECK(text(p.value_types[0].unit) == "count");
  CHECK(text(p.value_types[1].type) == "delay");
  CHECK(text(p.value_types[1].unit) == "nanoseconds");
  CHECK(p.period == 1);
  std::map<std::pair<std::uint64_t, std::string>, std::pair<std::int64_t, std::int64_t>> rows;
  for (const shown_row& row : own.shown(at.first)) rows[{row.address, row.kind}] = {row.waits, row.ns};
  CHECK(rows.size() == 3);
  CHECK(rows[{0x1000, "mutex"}] == std::pair<std::int64_t, std::int64_t>{2, 150});
  CHECK(rows[{0x1000, "semaphore"}] == std::pair<std::int64_t, std::int64_t>{1, 7});
  CHECK(rows[{0x2000, "mutex"}] == std::pair<std::int64_t, std::int64_t>{1, 3});
}

TEST_CASE("labels of the thread keep waits apart") {
  const own_block own;
  const label_pair pair{"k", "v"};
  wait_facts facts = own.begins();
  own.ends(facts, 5);
  facts.labels = own.process->labels.intern(&pair, 1);
  own.ends(facts, 6);
  CHECK(own.block->counts.used() == 2);
}

TEST_CASE("counts are shown as whole waits, rounded") {
  CHECK(whole_waits(0) == 0);
  CHECK(whole_waits(one_wait) == 1);
  CHECK(whole_waits(one_wait * 3 / 2) == 2);
  CHECK(whole_waits(one_wait * 3 / 2 - 1) == 1);
  CHECK(whole_waits(0 - one_wait) == -1);
  CHECK(whole_waits(0 - one_wait * 3 / 2 - 1) == -2);
}

TEST_CASE("a profile over some seconds is what was waited between its two ends") {
  const own_block own;
  own.counts(1000);
  snapshots at;
  read_block(*own.process, *own.block, at.first);
  CHECK(own.shown(at.first, &at.first).empty());
  own.counts(300);
  own.counts(40);
  read_block(*own.process, *own.block, at.second);
  const std::vector<shown_row> rows = own.shown(at.second, &at.first);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].waits == 2);
  CHECK(rows[0].ns == 340);
  CHECK(own.shown(at.second)[0].ns == 1340);
}

TEST_CASE("a wait that goes on is shown with its time so far, and not again when it has ended") {
  const own_block own;
  wait_that_goes_on wait(own, 1, 20 * ms);
  snapshots at;
  read_block(*own.process, *own.block, at.first);
  REQUIRE(at.first.waits.size() == 1);
  const std::uint64_t so_far = at.first.waits[0].weight.ns;
  CHECK(so_far >= 20 * ms);
  CHECK(so_far < hour);
  std::vector<shown_row> rows = own.shown(at.first);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].address == 0x1000);
  CHECK(rows[0].kind == "mutex");
  CHECK(rows[0].waits == 1);
  CHECK(rows[0].ns == static_cast<std::int64_t>(so_far));
  CHECK(own.block->samples.load() == 0);

  wait.ends(hour);
  read_block(*own.process, *own.block, at.second);
  CHECK(at.second.waits.size() == 0);
  rows = own.shown(at.second);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].waits == 1);
  CHECK(rows[0].ns == static_cast<std::int64_t>(hour));
  rows = own.shown(at.second, &at.first);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].waits == 0);  // was one at the first end already
  CHECK(rows[0].ns == static_cast<std::int64_t>(hour - so_far));
}

TEST_CASE("a wait that goes on at both ends is shown with what it lasted in between") {
  const own_block own;
  const wait_that_goes_on one(own, 1, 20 * ms);
  const wait_that_goes_on other(own, 2, 30 * ms);
  snapshots at;
  read_block(*own.process, *own.block, at.first);
  own.counts(500);
  read_block(*own.process, *own.block, at.second);
  REQUIRE(at.first.waits.size() == 2);
  REQUIRE(at.second.waits.size() == 2);
  std::uint64_t between = 500;
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(at.second.waits[i].weight.ns >= at.first.waits[i].weight.ns);
    between += at.second.waits[i].weight.ns - at.first.waits[i].weight.ns;
  }
  const std::vector<shown_row> rows = own.shown(at.second, &at.first);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].waits == 1);
  CHECK(rows[0].ns == static_cast<std::int64_t>(between));
}

TEST_CASE("a wait that began before the first end and one that begins after it are shown for what they lasted") {
  const own_block own;
  wait_that_goes_on early(own, 1, 20 * ms, 0x1000);
  snapshots at;
  read_block(*own.process, *own.block, at.first);
  const wait_that_goes_on late(own, 2, 5 * ms, 0x2000);
  early.ends(hour);
  own.counts(77, 0x3000);
  read_block(*own.process, *own.block, at.second);
  std::map<std::uint64_t, shown_row> rows;
  for (const shown_row& row : own.shown(at.second, &at.first)) rows[row.address] = row;
  CHECK(rows.size() == 3);
  CHECK(rows[0x1000].waits == 0);
  CHECK(rows[0x1000].ns == static_cast<std::int64_t>(hour - at.first.waits[0].weight.ns));
  CHECK(rows[0x2000].waits == 1);
  CHECK(rows[0x2000].ns >= static_cast<std::int64_t>(5 * ms));
  CHECK(rows[0x3000].waits == 1);
  CHECK(rows[0x3000].ns == 77);
}

namespace {

// A wait that ends while a profile is read: when the first of what has been counted is about to be copied.
struct ending_wait {
  static ending_wait*& current() {
    static ending_wait* only = nullptr;
    return only;
  }
  static void* map(std::size_t size) noexcept {
    ending_wait* const self = current();
    if (self->snapshot.waits.size() == 1 && !self->has_ended) {
      self->has_ended = true;
      self->wait.ends(hour);
    }
    return os_pages.map(size);
  }

  own_block own;
  wait_that_goes_on wait{own, 1, 20 * ms};
  bool has_ended = false;
  arena memory{page_source{&ending_wait::map, os_pages.unmap}, 4096};
  block_snapshot snapshot{memory};
  ending_wait() { current() = this; }
};

}  // namespace

TEST_CASE("a wait that ends while a profile is read is shown once, as what it was in the end") {
  ending_wait t;
  read_block(*t.own.process, *t.own.block, t.snapshot);
  REQUIRE(t.has_ended);
  const std::vector<shown_row> rows = t.own.shown(t.snapshot);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].waits == 1);
  CHECK(rows[0].ns == static_cast<std::int64_t>(hour));
}

TEST_CASE("a wait that goes on counts once it has lasted what was drawn for it, as it would when it ends") {
  const own_block own(1000 * ms);
  int counted = 0;
  for (std::uint32_t thread = 1; thread <= 200; ++thread) {
    const wait_that_goes_on wait(own, thread, lasted);
    CHECK(wait.facts().least_ns >= 1);
  }
  for (std::uint32_t thread = 1001; thread <= 1200; ++thread) {
    const wait_that_goes_on wait(own, thread, 0 - hour);  // it will begin
    CHECK(wait.facts().least_ns >= 1);
  }
  snapshots at;
  read_block(*own.process, *own.block, at.first);
  CHECK(at.first.waits.size() == 400);
  int wrong = 0;
  for (const wait_in_progress& wait : at.first.waits) {
    const bool counts = wait.weight.waits != 0;
    if (counts != (wait.facts.thread <= 200)) ++wrong;
    if (counts && (wait.weight.waits != one_wait || wait.weight.ns < lasted)) ++wrong;
    counted += counts ? 1 : 0;
  }
  CHECK(wrong == 0);
  CHECK(counted == 200);
}

TEST_CASE("a wait that goes on and is shorter than the rate is weighed like one that has ended") {
  const own_block own(4 * lasted);
  const std::uint64_t began = os_monotonic_ns_sig();
  for (std::uint32_t thread = 1; thread <= 100; ++thread) (void)wait_that_goes_on(own, thread, lasted);
  snapshots at;
  read_block(*own.process, *own.block, at.first);
  const std::uint64_t at_most = lasted + os_monotonic_ns_sig() - began;
  int counted = 0;
  int wrong = 0;
  for (const wait_in_progress& wait : at.first.waits) {
    if (wait.weight.waits == 0) {
      if (wait.facts.least_ns <= lasted) ++wrong;
      continue;
    }
    ++counted;
    if (wait.facts.least_ns > at_most) ++wrong;
    if (wait.weight.ns != 4 * lasted || wait.weight.waits > 4 * one_wait || wait.weight.waits < 3 * one_wait) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(counted > 10);
  CHECK(counted < 45);
}

TEST_CASE("waits that nobody wanted to see are not shown while they go on") {
  const own_block own(0);
  const wait_that_goes_on wait(own, 1, 20 * ms);
  CHECK(wait.facts().rate_ns == 0);
  snapshots at;
  read_block(*own.process, *own.block, at.first);
  CHECK(at.first.waits.size() == 0);
  CHECK(own.shown(at.first).empty());
}

TEST_CASE("a wait that has just begun, by a clock that is behind, is one of no time") {
  const own_block own;
  const wait_that_goes_on wait(own, 1, 0 - hour);
  CHECK(wait.facts().began_ns > os_monotonic_ns_sig());
  snapshots at;
  read_block(*own.process, *own.block, at.first);
  REQUIRE(at.first.waits.size() == 1);
  CHECK(is_weight(at.first.waits[0].weight, one_wait, 1));
}

// ---- memory -------------------------------------------------------------------------------------------------------------

TEST_CASE("a wait for which there is no memory is counted as lost") {
  const own_block own;
  own.process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  wait_facts facts;
  facts.rate_ns = 1;
  own.ends(facts, 5);
  CHECK(own.block->samples.load() == 1);
  CHECK(own.block->counts.used() == 0);
  CHECK(drops_of(*own.process, static_cast<unsigned>(drop::count_table_full)) == 1);
}

TEST_CASE("a process has one state of the block profile, whoever is first, and none without memory") {
  static process_state* process = nullptr;
  static block_state* others = nullptr;
  const own_process own;
  process = own.state;
  CHECK(attached_block_sig(*process) == nullptr);
  process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  CHECK(block_of(*process) == nullptr);
  CHECK(attached_block_sig(*process) == nullptr);
  const std::uint64_t bytes = process->memory.bytes.load();
  process->memory.map_sig = [](std::size_t size) noexcept -> void* {  // another thread is quicker
    process->memory.map_sig = &os_map_in_steps_sig;
    others = block_of(*process);
    return os_map_in_steps_sig(size);
  };
  CHECK(block_of(*process) == others);
  CHECK(others != nullptr);
  CHECK(attached_block_sig(*process) == others);
  CHECK(block_of(*process) == others);
  CHECK(process->memory.bytes.load() == bytes + page_round(sizeof(block_state)));
  CHECK(others->rate.in_effect_sig() == 0);
}

#endif
