// tests/unit/collect/collection_test.cpp - one request for one profile: names, formats, ends.

#include "prof/collect/collection.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "../process/own_process.hpp"
#include "prof/api.hpp"
#include "prof/sample/cpu.hpp"
#include "prof/sample/heap.hpp"
#include "rain_part.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using prof::error;
using prof::result;

output into(std::string& text) {
  return {[](void* context, const void* data, std::size_t size) {
            static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
            return true;
          },
          &text};
}

bool is_gzip(const std::string& bytes) {
  return bytes.size() > 20 && bytes.compare(0, 2, "\x1f\x8b") == 0;
}

// Begins and finishes at once.
result collected(const char* name, const prof::profile_request& request, std::string& text) {
  collection work(*enter_process());
  if (result begun = work.begin(name, request); !begun) return begun;
  return work.finish(into(text));
}

cpu_state& cpu() { return *cpu_of(*enter_process()); }

// A part of this program whose counts are read while new code is mapped, and which looks for that code when the profile
// is filled.
struct mapped_while_read {
  static const profile_part* real;
  static void* code;
  static bool listed;

  static void map_code() {
    const int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    code = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, self, 0);
    close(self);
  }
  static result end(profile_run& run) {
    map_code();
    return real->end(run);
  }
  static void fill(profile& p, profile_run& run) {
    listed = run.process.code.load()->find_current(reinterpret_cast<std::uintptr_t>(code)) != nullptr;
    real->fill(p, run);
  }

  // Whether the map that a profile was filled with knew it.
  static bool seen_by(const char* name, part which) {
    process_state& process = *enter_process();
    real = find_part_sig<profile_part>(process, which);
    profile_part changed = *real;
    changed.end = &end;
    changed.fill = &fill;
    std::atomic<const part_head*>& place = process.parts[static_cast<unsigned>(which)].descriptor;
    std::string text;
    listed = false;
    place.store(&changed.head);
    collection work(process);
    CHECK(work.begin(name, {}));
    CHECK(work.finish(into(text)));
    place.store(&real->head);
    munmap(code, 4096);
    return listed;
  }
};
const profile_part* mapped_while_read::real;
void* mapped_while_read::code;
bool mapped_while_read::listed;

prof::profile_request for_seconds(unsigned seconds) {
  prof::profile_request request;
  request.seconds = seconds;
  request.format = prof::format::text;
  return request;
}

}  // namespace

TEST_CASE("the map that names a profile's code is read behind the counts") {
  CHECK(mapped_while_read::seen_by("heap", part::heap));
  CHECK(mapped_while_read::seen_by("profile", part::cpu));
}

TEST_CASE("what cannot be collected says why") {
  collection work(*enter_process());
  CHECK(work.begin("no such", {}).code() == error::unknown_profile);
  CHECK(work.begin("trace", {}).code() == error::not_in_version);
  const own_process bare;
  collection without(*bare.state);
  CHECK(without.begin("heap", {}).code() == error::profile_off);
}

TEST_CASE("heap and allocs as pprof, text and table") {
  prof::profile_request request;
  std::string text;
  CHECK(collected("heap", request, text));
  CHECK(is_gzip(text));
  request.debug = 1;
  text.clear();
  CHECK(collected("heap", request, text));
  CHECK(text.compare(0, 14, "heap profile: ") == 0);
  request.debug = 0;
  request.format = prof::format::text;
  std::string same;
  CHECK(collected("allocs", request, same));
  CHECK(same.compare(0, 14, "heap profile: ") == 0);
  request.format = prof::format::top;
  request.top_rows = 3;
  request.top_type = "alloc_space";
  text.clear();
  CHECK(collected("heap", request, text));
  CHECK_FALSE(text.empty());
  CHECK(text.find("alloc_space") != std::string::npos);
}

TEST_CASE("durations: heap now or for some seconds, CPU 30 seconds unless told") {
  prof::profile_request request;
  collection now(*enter_process());
  REQUIRE(now.begin("heap", request));
  CHECK(now.duration_ns() == 0);
  collection standard(*enter_process());
  REQUIRE(standard.begin("profile", request));
  CHECK(standard.duration_ns() == 30u * std::uint64_t{1000000000});
  request.seconds = 7;
  collection longer(*enter_process());
  REQUIRE(longer.begin("heap", request));
  CHECK(longer.duration_ns() == 7u * std::uint64_t{1000000000});
  collection cpu_longer(*enter_process());
  REQUIRE(cpu_longer.begin("profile", request));
  CHECK(cpu_longer.duration_ns() == 7u * std::uint64_t{1000000000});
}

TEST_CASE("a canceled or forgotten collection frees the sampler") {
  prof::profile_request request;
  request.hz = 777;
  {
    collection forgotten(*enter_process());
    REQUIRE(forgotten.begin("profile", request));
    CHECK(cpu().period_ns.load() == 1000000000u / 777);
  }
  CHECK(cpu().period_ns.load() == 0);
  collection canceled(*enter_process());
  REQUIRE(canceled.begin("profile", request));
  canceled.cancel();
  canceled.cancel();
  CHECK(cpu().period_ns.load() == 0);
}

TEST_CASE("a CPU profile is gzip, and a table when asked") {
  prof::profile_request request;
  std::string text;
  CHECK(collected("profile", request, text));
  CHECK(is_gzip(text));
  request.format = prof::format::top;
  text.clear();
  CHECK(collected("profile", request, text));
  CHECK(text.compare(0, 2, "\x1f\x8b") != 0);
  CHECK_FALSE(text.empty());
  CHECK(cpu().period_ns.load() == 0);
}

TEST_CASE("a bad rate is refused before anything runs") {
  prof::profile_request request;
  request.hz = 10001;
  collection work(*enter_process());
  CHECK(work.begin("profile", request).code() == error::bad_argument);
  CHECK(cpu().period_ns.load() == 0);
}

TEST_CASE("an output that refuses ends the collection with an error") {
  collection work(*enter_process());
  REQUIRE(work.begin("heap", {}));
  const output refusing{[](void*, const void*, std::size_t) { return false; }, nullptr};
  CHECK(work.finish(refusing).code() == error::write_failed);
}

TEST_CASE("heap profiles alone keep the code map up to date, however often code comes and goes") {
  process_state& process = *enter_process();
  const auto& stale = process.drops[static_cast<unsigned>(drop::code_map_busy)];
  const std::uint64_t before = stale.load();
  int unknown = 0;
  std::vector<void*> mapped;  // until the end: at the same place again it would be no change
  for (std::size_t i = 0; i < 2 * max_retired_maps; ++i) {
    const int file = open("/bin/true", O_RDONLY | O_CLOEXEC);
    void* const code = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
    close(file);
    mapped.push_back(code);
    std::string text;
    CHECK(collected("heap", {}, text));
    const code_range* const range =
        process.code.load()->find(reinterpret_cast<std::uintptr_t>(code));
    unknown += range == nullptr || !range->current ? 1 : 0;
  }
  for (void* const code : mapped) munmap(code, 4096);
  CHECK(unknown == 0);
  CHECK(stale.load() == before);
  CHECK(process.retired_count <= 1);
}

TEST_CASE("what was lost is a comment of the profile") {
  process_state& process = *enter_process();
  std::string text;
  prof::profile_request request;
  request.debug = 1;
  count_drop_sig(process, drop::no_frame_buffer, 17);
  CHECK(std::string(drop_texts[static_cast<unsigned>(drop::no_frame_buffer)])
            .find("64 captures") != std::string::npos);
  for (const char* words : drop_texts) CHECK(std::strlen(words) > 10);
  CHECK(collected("heap", request, text));
  process.drops[static_cast<unsigned>(drop::no_frame_buffer)].fetch_sub(17);
  const own_process own;
  const part_scope registered(*own.state);
  count_drop_sig(*own.state, drop::no_frame_buffer, 17);
  own.state->memory.refused.store(3);  // of a table's memory, which is such a loss, too
  collection work(*own.state);
  text.clear();
  REQUIRE(work.begin("rain", request));
  REQUIRE(work.finish(into(text)));
  const std::string no_buffer = drop_texts[static_cast<unsigned>(drop::no_frame_buffer)];
  const std::string no_memory = drop_texts[static_cast<unsigned>(drop::no_memory)];
  CHECK(text == "rain: 0 drops\ndefault: drops\nnow\n17 " + no_buffer + "\n3 " + no_memory + "\n");
}

TEST_CASE("a part that is registered at run time is collected like any other") {
  const own_process own;
  const part_scope registered(*own.state);
  std::string text;
  rain.drops.store(12000);
  collection work(*own.state);
  REQUIRE(work.begin("rain", for_seconds(0)));
  CHECK(std::string(work.row().name.data, work.row().name.size) == "rain");
  CHECK(work.duration_ns() == 0);
  rain.drops.store(17000);
  CHECK(work.finish(into(text)));
  CHECK(text == "rain: 17000 drops\ndefault: drops\nnow\n");
  CHECK(rain.begun.load() == 1);
  CHECK(rain.ended.load() == 1);
  work.cancel();  // it runs no more
  CHECK(rain.canceled.load() == 0);
  prof::profile_request request;
  text.clear();
  collection as_pprof(*own.state);
  REQUIRE(as_pprof.begin("rain", request));
  CHECK(as_pprof.finish(into(text)));
  CHECK(is_gzip(text));
}

TEST_CASE("its difference over some seconds is what came between begin and end") {
  const own_process own;
  const part_scope registered(*own.state);
  std::string text;
  rain.drops.store(12000);
  collection work(*own.state);
  REQUIRE(work.begin("rain", for_seconds(2)));
  CHECK(work.duration_ns() == 2u * std::uint64_t{1000000000});
  rain.drops.store(17000);
  CHECK(work.finish(into(text)));
  CHECK(text == "rain: 5000 drops\ndefault: drops\ntook some time\n");
}

TEST_CASE("a row that writes its answer itself gets the run and the request") {
  const own_process own;
  const part_scope registered(*own.state);
  std::string text;
  prof::profile_request request;
  request.debug = 2;
  rain.drops.store(8);
  collection work(*own.state);
  REQUIRE(work.begin("rain/story", request));
  CHECK(work.finish(into(text)));
  CHECK(text == "It rained 8 drops, asked with debug=2.\n");
  collection again(*own.state);
  REQUIRE(again.begin("rain/story", request));
  const output refusing{[](void*, const void*, std::size_t) { return false; }, nullptr};
  CHECK(again.finish(refusing).code() == error::write_failed);
}

TEST_CASE("what a part says of its begin and its end is the answer") {
  const own_process own;
  const part_scope registered(*own.state);
  std::string text;
  {
    collection work(*own.state);
    rain.is_dry.store(true);
    const result begun = work.begin("rain", {});
    rain.is_dry.store(false);
    CHECK(begun.code() == error::unsupported);
  }
  CHECK(rain.canceled.load() == 0);  // it did not begin
  {
    collection work(*own.state);
    REQUIRE(work.begin("rain", {}));
    rain.is_stuck.store(true);
    const result ended = work.finish(into(text));
    rain.is_stuck.store(false);
    CHECK(ended.code() == error::bad_argument);
  }
  CHECK(rain.canceled.load() == 0);  // it was ended
  { collection never_begun(*own.state); }
  {
    collection forgotten(*own.state);
    REQUIRE(forgotten.begin("rain", {}));
  }
  CHECK(rain.canceled.load() == 1);
  CHECK(text.empty());
}

TEST_CASE("collecting allocates nothing that the profile would show") {
  const std::size_t before_rate = prof::set_mem_profile_rate(1);
  std::string text;
  text.reserve(4 << 20);
  const std::uint64_t before = heap_sig(*process_sig())->samples.load();
  const result done = collected("heap", {}, text);
  const std::uint64_t after = heap_sig(*process_sig())->samples.load();
  prof::set_mem_profile_rate(before_rate);
  CHECK(done);
  CHECK(after == before);
}

TEST_CASE("a part that has nothing to remember of a run is collected, too") {
  profile_part forgetful = rain_part;
  forgetful.run_bytes = 0;
  forgetful.begin = [](profile_run&) { return result(); };
  forgetful.end = [](profile_run&) { return result(); };
  forgetful.fill = [](profile& p, profile_run&) {
    p.add_value_type("drops", "count");
    const std::uint32_t leaf = p.add_named_location("cloud");
    const std::int64_t value = 1;
    (void)p.add_sample(&leaf, 1, nullptr, 0, &value);
  };
  const own_process own;
  const part_scope registered(*own.state, forgetful);
  std::string text;
  collection work(*own.state);
  REQUIRE(work.begin("rain", for_seconds(0)));
  CHECK(work.finish(into(text)));
  CHECK(text.compare(0, 14, "rain: 1 drops\n") == 0);
}

#endif
