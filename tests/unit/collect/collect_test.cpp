// tests/unit/collect/collect_test.cpp - one request for one profile: names, formats, ends.

#include "prof/collect/collect.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "prof/prof.hpp"

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

// Parts whose counts are read while new code is mapped, and which look for that code when the profile is filled.
struct mapped_while_read {
  static void* code;
  static bool listed;

  static void map_code() {
    const int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    code = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, self, 0);
    close(self);
  }
  static void look(const process_state& process) {
    listed = process.code.load()->find_current(reinterpret_cast<std::uintptr_t>(code)) != nullptr;
  }
  static bool read(process_state&, heap_reading&) { return map_code(), true; }
  static void fill(profile&, process_state& process, const heap_reading&, const heap_reading*) { look(process); }
  static result begin(process_state&, cpu_run& run) { return run.slot = 0, result(); }
  static void end(process_state&, cpu_run& run) { run.slot = -1, map_code(); }
  static void fill_cpu(profile&, const process_state& process, const cpu_run&) { look(process); }

  // Whether the map that a profile was filled with knew it.
  static bool seen_by(const char* name, part which, const void* own) {
    process_state& process = *enter_process();
    std::string text;
    listed = false;
    prof::profile_request request;
    collection work(process);
    const void* const before = process.parts[static_cast<unsigned>(which)].exchange(own);
    CHECK(work.begin(name, request));
    CHECK(work.finish(into(text)));
    process.parts[static_cast<unsigned>(which)].store(before);
    munmap(code, 4096);
    return listed;
  }
};
void* mapped_while_read::code;
bool mapped_while_read::listed;

}  // namespace

TEST_CASE("the map that names a profile's code is read behind the counts") {
  heap_part heap{};
  heap.read = &mapped_while_read::read;
  heap.fill = &mapped_while_read::fill;
  CHECK(mapped_while_read::seen_by("heap", part::heap, &heap));
  cpu_part cpu{};
  cpu.begin = &mapped_while_read::begin;
  cpu.end = &mapped_while_read::end;
  cpu.fill = &mapped_while_read::fill_cpu;
  CHECK(mapped_while_read::seen_by("profile", part::cpu, &cpu));
}

TEST_CASE("known profiles are sorted, and every text has its right length") {
  for (const known_profile& known : known_profiles) {
    CAPTURE(known.name.data);
    CHECK(known.name.size == std::strlen(known.name.data));
    CHECK(known.switch_name.size == std::strlen(known.switch_name.data));
    CHECK(known.description.size == std::strlen(known.description.data));
    CHECK(known.switch_name.starts_with("PROF_ENABLE_"));
    if (known.available) CHECK(known.description.size != 0);
    if (&known == known_profiles) continue;
    CHECK(std::strcmp((&known - 1)->name.data, known.name.data) < 0);
  }
}

TEST_CASE("profiles are found by their whole name") {
  CHECK(find_profile("heap") != nullptr);
  CHECK(find_profile("hea") == nullptr);
  CHECK(find_profile("heap2") == nullptr);
  CHECK(find_profile("Heap") == nullptr);
  CHECK(find_profile("") == nullptr);
}

TEST_CASE("what cannot be collected says why and what to do") {
  const process_state& process = *enter_process();
  CHECK(check_profile(process, "heap"));
  CHECK(check_profile(process, "allocs"));
  CHECK(check_profile(process, "profile"));
  const result unknown = check_profile(process, "no such");
  CHECK(unknown.code() == error::unknown_profile);
  CHECK(std::string(unknown.message()) ==
        "unknown profile \"no such\"; for_each_profile lists the names");
  const result mutex = check_profile(process, "mutex");
  CHECK(mutex.code() == error::not_in_version);
  CHECK(std::string(mutex.message()) ==
        "profile \"mutex\" needs PROF_ENABLE_MUTEX, which is not available in this version");
  const std::string long_name(1000, 'n');
  CHECK(check_profile(process, {long_name.data(), long_name.size()}).code() ==
        error::unknown_profile);
}

TEST_CASE("a part that no file brings is off, with the switch that would bring it") {
  process_state* const bare = make_process_sig();
  REQUIRE(bare != nullptr);
  const result off = check_profile(*bare, "heap");
  CHECK(off.code() == error::profile_off);
  CHECK(std::string(off.message()) ==
        "profile \"heap\" needs PROF_ENABLE_HEAP, which is off; define it to 1 in a file that "
        "includes prof.hpp");
  collection work(*bare);
  CHECK(work.begin("heap", {}).code() == error::profile_off);
  os_unmap_sig(bare, process_bytes);
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

#endif
