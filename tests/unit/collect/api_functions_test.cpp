// tests/unit/collect/api_functions_test.cpp - the functions behind the public API: labels of threads, records for
// whoever has a heap part, profiles and rates of all parts.

#include "prof/collect/api_functions.hpp"

#include <doctest/doctest.h>

#include <string>
#include <thread>

#include "../process/own_process.hpp"
#include "prof/api.hpp"
#include "prof/sample/heap.hpp"
#include "rain_part.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

process_state& entered() {
  process_state* const process = enter();
  REQUIRE(process != nullptr);
  return *process;
}

// Of the calling thread.
label_set_id own_labels(process_state& process) { return labels_of_sig(process, os_thread_id_sig()); }

}  // namespace

TEST_CASE("labels are kept for the thread that sets them, whichever object asks for them") {
  process_state& process = entered();
  const label_pair pair{"k", "v"};
  const label_set_id before = enter_labels(&pair, 1);
  CHECK(before == no_labels);
  CHECK(own_labels(process) != no_labels);
  const thread_state* const kept = process.threads.find_sig(os_thread_id_sig());
  REQUIRE(kept != nullptr);
  CHECK(kept->labels.load() == own_labels(process));
  label_set_id elsewhere = 99;
  std::thread([&] { elsewhere = own_labels(process); }).join();
  CHECK(elsewhere == no_labels);
  leave_labels(before);
  CHECK(own_labels(process) == no_labels);
}

TEST_CASE("a scope's labels go through the table and come on top of those in force") {
  process_state& process = entered();
  const auto text = [&] {
    std::string all;
    process.labels.for_each(own_labels(process), [&](const label_pair& pair) {
      all += std::string(pair.key.data, pair.key.size) + "=" + std::string(pair.value.data, pair.value.size) + " ";
    });
    return all;
  };
  {
    const prof::label_scope scope{{"a", "b"}, {"c", "d"}};
    CHECK(text() == "a=b c=d ");
    const label_pair inner[2] = {{"c", "other"}, {"e", "f"}};
    const label_set_id before = api_sig()->enter_labels(inner, 2);
    CHECK(text() == "a=b c=other e=f ");
    api_sig()->leave_labels(before);
    CHECK(text() == "a=b c=d ");
  }
  CHECK(own_labels(process) == no_labels);
}

TEST_CASE("of more labels than a set can have the first are taken") {
  process_state& process = entered();
  label_pair many[100];
  const char* const keys = "abcdefghijklmnopqrstuvwxyz";
  for (std::size_t i = 0; i < 100; ++i) many[i] = {{keys + i % 26, 1}, {"", 0}};
  const label_set_id before = enter_labels(many, 100);
  std::string set;
  process.labels.for_each(own_labels(process), [&](const label_pair& pair) { set += pair.key.data[0]; });
  leave_labels(before);
  CHECK(set == "abcdefghijklmnop");
}

TEST_CASE("a thread without a record has no labels") {
  const own_process own;
  CHECK(own_labels(*own.state) == no_labels);
}

TEST_CASE("what is told goes to this object's heap part, and uses the countdown up") {
  process_state& process = entered();
  CHECK(record_part_sig(process) == &prof_part_records_v2);
  const own_process bare;  // no part is registered there, but this object has one
  CHECK(record_part_sig(*bare.state) == &prof_part_records_v2);
  const std::size_t rate = prof::set_mem_profile_rate(1);
  const heap_state& heap = *heap_sig(process);
  char object = 0;
  std::int64_t countdown = -1;  // one byte has used it up
  record_any_alloc_sig(countdown, &object, 1, PROF_DETAIL_CALL_FRAME());
  CHECK(countdown == 0);
  CHECK(heap.live.contains_sig(reinterpret_cast<std::uintptr_t>(&object)));
  record_any_free_sig(&object);
  CHECK_FALSE(heap.live.contains_sig(reinterpret_cast<std::uintptr_t>(&object)));
  prof::set_mem_profile_rate(0);
  countdown = -1;
  record_any_alloc_sig(countdown, &object, 1, PROF_DETAIL_CALL_FRAME());
  CHECK(countdown > 0);  // looks again behind that
  CHECK_FALSE(heap.live.contains_sig(reinterpret_cast<std::uintptr_t>(&object)));
  prof::set_mem_profile_rate(rate);
}

TEST_CASE("profiles are visited sorted, with names that end") {
  const part_scope registered(entered());
  std::string text;
  visit_profiles(
      [](void* context, const char* name, bool available) {
        static_cast<std::string*>(context)->append(name).append(available ? "+ " : "- ");
      },
      &text);
  CHECK(text == "allocs+ block+ goroutine+ heap+ mutex+ profile+ rain+ rain/story+ threadcreate+ threads+ trace- ");
}

TEST_CASE("a rate is set by the part that has the profile; one that nobody has changes nothing") {
  const std::uint64_t heap_rate = set_rate_of("heap", 12345);
  CHECK(heap_sig(entered())->rate.load() == 12345);
  CHECK(set_rate_of("allocs", heap_rate) == 12345);
  CHECK(set_rate_of("profile", 250) == 100);
  CHECK(set_rate_of("profile", 0) == 250);
  CHECK(set_rate_of("profile", 100) == 250);
  CHECK(set_rate_of("mutex", 7) == 0);
  CHECK(set_rate_of("no such", 7) == 0);
  rain.rate.store(5);
  CHECK(set_rate_of("rain", 7) == 0);
  const part_scope registered(entered());
  CHECK(set_rate_of("rain", 7) == 5);
  CHECK(rain.rate.load() == 7);
  profile_part without_rate = rain_part;
  without_rate.set_rate = nullptr;
  without_rate.visit_rows = [](process_state&, visitor<profile_row> visit) {
    static const profile_row row{{"snow", 4}, {"How much lies", 13}};
    visit(row);
  };
  const part_scope other(entered(), without_rate);
  CHECK(set_rate_of("snow", 7) == 0);
}

TEST_CASE("the table of this object leads to its own functions, all of them") {
  CHECK(prof_api_v1.size == sizeof(api_table));
  CHECK(prof_api_v1.version == PROF_VERSION);
  // No member may be null: whoever has the table calls them without a look.
  const auto* const words = reinterpret_cast<const unsigned char*>(&prof_api_v1);
  std::size_t functions = 0;
  for (std::size_t at = offsetof(api_table, enter_labels); at < sizeof(api_table); at += sizeof(std::uintptr_t)) {
    std::uintptr_t word = 0;
    std::memcpy(&word, words + at, sizeof word);
    CHECK(word != 0);
    ++functions;
  }
  CHECK(functions == 19);
  CHECK(static_cast<bool>(prof_api_v1.enter_labels == &enter_labels));
  CHECK(static_cast<bool>(prof_api_v1.find_http == &find_http_part));
}

#endif
