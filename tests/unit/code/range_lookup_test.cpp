// tests/unit/code/range_lookup_test.cpp - which range an address is in while libraries come and go.

#include "prof/code/range_lookup.hpp"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstring>
#include <string>

#include "own_registry.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

void some_function() {}

struct fixture {
  own_registry registry;
  const code_map* map = read_code_map_sig(nullptr, *registry.code);
  std::atomic<bool> stale{false};

  ~fixture() { os_unmap_sig(const_cast<code_map*>(map), map->bytes); }
  range_lookup lookup() { return range_lookup(map, *registry.code, stale); }
};

// A library that nothing else uses, and the address of something in it.
struct visiting_library {
  void* handle = nullptr;
  const void* inside = nullptr;
  void load() {
    const struct {
      const char* file;
      const char* symbol;
    } candidates[] = {{"libanl.so.1", "__libanl_version_placeholder"},
                      {"libthread_db.so.1", "td_init"},
                      {"libBrokenLocale.so.1", "__ctype_get_mb_cur_max"}};
    for (const auto& candidate : candidates) {
      if (dlopen(candidate.file, RTLD_NOW | RTLD_NOLOAD) != nullptr) continue;
      handle = dlopen(candidate.file, RTLD_NOW | RTLD_LOCAL);
      inside = handle == nullptr ? nullptr : dlsym(handle, candidate.symbol);
      Dl_info info;
      if (inside != nullptr && dladdr(inside, &info) != 0 &&
          std::strstr(info.dli_fname, candidate.file) != nullptr) {
        return;
      }
      if (handle != nullptr) dlclose(handle);
      handle = nullptr;
    }
    FAIL("no library to load");
  }
  void unload() { dlclose(handle); }
  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(inside); }
};

std::string path_of(const code_range* range) { return range == nullptr ? "none" : range->path; }

}  // namespace

TEST_CASE("what was there at the start is found in the map, never unloaded or not") {
  fixture f;
  const auto here = reinterpret_cast<std::uintptr_t>(&some_function);
  range_lookup lookup = f.lookup();
  const code_range* const range = lookup.meet_sig(here);
  REQUIRE(range != nullptr);
  CHECK(range->number != 0);
  CHECK(range->holds(here));
  CHECK(lookup.number_at_sig(here) == range->number);
  CHECK_FALSE(f.stale.load());
  int local = 0;
  const auto the_stack = reinterpret_cast<std::uintptr_t>(&local);
  CHECK(lookup.meet_sig(the_stack) == nullptr);
  CHECK(lookup.number_at_sig(the_stack) == 0);
  CHECK(lookup.is_code_sig(here));
  CHECK_FALSE(lookup.is_code_sig(the_stack));
}

TEST_CASE("the latest range is the one that was asked about last") {
  fixture f;
  const auto here = reinterpret_cast<std::uintptr_t>(&some_function);
  range_lookup lookup = f.lookup();
  const range_number mine = lookup.number_at_sig(here);
  CHECK_FALSE(lookup.is_latest_sig(mine));
  CHECK_FALSE(lookup.is_latest_sig(0));
  CHECK_FALSE(lookup.is_range_sig(mine + 1, here));
  CHECK_FALSE(lookup.is_latest_sig(mine));
  CHECK(lookup.is_range_sig(mine, here));
  CHECK(lookup.is_latest_sig(mine));
  CHECK(lookup.is_range_sig(0, 16));  // nothing is there
  CHECK(lookup.is_latest_sig(mine));
  CHECK_FALSE(lookup.is_latest_sig(0));
}

TEST_CASE("a library that comes later is registered by the walk that meets it, once") {
  fixture f;
  visiting_library library;
  library.load();
  range_lookup first = f.lookup();
  const code_range* const range = first.meet_sig(library.address());
  REQUIRE(range != nullptr);
  CHECK(f.stale.load());
  CHECK_FALSE(range->never_unloaded);
  CHECK(range->build_id_length > 8);
  Dl_info info;
  REQUIRE(dladdr(library.inside, &info) != 0);
  CHECK(reinterpret_cast<std::uintptr_t>(info.dli_fbase) == range->header);
  CHECK(range->module != nullptr);
  const std::size_t known = f.registry.code->ranges.size();
  for (int i = 0; i < 3; ++i) {
    range_lookup next = f.lookup();
    CHECK(next.meet_sig(library.address()) == range);
  }
  CHECK(f.registry.code->ranges.size() == known);
  const code_map* const map = read_code_map_sig(f.map, *f.registry.code);
  CHECK(map != f.map);
  const code_range* const listed = map->find_current(library.address());
  REQUIRE(listed != nullptr);
  CHECK(listed->number == range->number);
  os_unmap_sig(const_cast<code_map*>(map), map->bytes);
  library.unload();
}

TEST_CASE("a library that has gone is nowhere, though the map still has it") {
  visiting_library library;
  library.load();
  fixture f;
  range_lookup before = f.lookup();
  const code_range* const range = before.meet_sig(library.address());
  REQUIRE(range != nullptr);
  CHECK(path_of(range) == path_of(f.map->find_current(library.address())));
  library.unload();
  range_lookup after = f.lookup();
  CHECK(after.meet_sig(library.address()) == nullptr);
  CHECK_FALSE(after.is_range_sig(range->number, library.address()));
  // Where the loader cannot be asked, what the map has is taken for code.
  CHECK(after.is_code_sig(library.address()) == !os_answers_for_objects());
  // Seen by a walk and by no refresh: listed as unloaded all the same.
  const code_map* const map = read_code_map_sig(f.map, *f.registry.code);
  const code_range* const gone = map->find_frame(make_frame_sig(library.address(), range->number));
  REQUIRE(gone != nullptr);
  CHECK_FALSE(gone->current);
  CHECK(path_of(gone) == path_of(range));
  os_unmap_sig(const_cast<code_map*>(map), map->bytes);
}

TEST_CASE("while many walks register code, it is nameless; a walk that failed does not try again") {
  fixture f;
  visiting_library library;
  library.load();
  registration_scratch* taken[4];
  for (registration_scratch*& one : taken) one = f.registry.code->take_scratch_sig();
  CHECK(f.registry.code->take_scratch_sig() == nullptr);
  range_lookup lookup = f.lookup();
  CHECK(lookup.meet_sig(library.address()) == nullptr);
  CHECK(lookup.is_code_sig(library.address()) == os_answers_for_objects());
  for (registration_scratch* const one : taken) one->lock.unlock();
  CHECK(lookup.meet_sig(library.address()) == nullptr);
  CHECK(f.registry.code->registration_paid_at.load() > 0);  // the failure was charged
  range_lookup next = f.lookup();
  CHECK(next.meet_sig(library.address()) != nullptr);
  library.unload();
}

TEST_CASE("registering costs one per cent of a CPU, after 20 ms at once") {
  fixture f;
  visiting_library library;
  library.load();
  std::atomic<std::uint64_t>& paid_at = f.registry.code->registration_paid_at;
  paid_at.store(os_monotonic_ns_sig() + 60000000000);
  range_lookup put_off = f.lookup();
  CHECK(put_off.meet_sig(library.address()) == nullptr);
  const std::uint64_t debt = os_monotonic_ns_sig() + 1000000000;
  paid_at.store(debt);
  range_lookup next = f.lookup();
  CHECK(next.meet_sig(library.address()) != nullptr);
  CHECK((paid_at.load() == debt || paid_at.load() >= debt + 100000000));  // charged if it took a millisecond
  library.unload();
}

TEST_CASE("registering code is charged where it takes long, as among very many mappings") {
  fixture f;
  visiting_library library;
  library.load();
  constexpr std::size_t page = 4096;
  constexpr std::size_t count = 50000;  // 8 ms; Linux allows 65,530
  // Below the library, for the list is read up to it.
  void* const low = mmap(reinterpret_cast<void*>(0x10000000), count * page, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(low != MAP_FAILED);
  REQUIRE(reinterpret_cast<std::uintptr_t>(low) < library.address());
  for (std::size_t i = 0; i < count; i += 2) {
    REQUIRE(mprotect(static_cast<char*>(low) + i * page, page, PROT_READ) == 0);
  }
  const std::uint64_t began = os_monotonic_ns_sig();
  range_lookup lookup = f.lookup();
  CHECK(lookup.meet_sig(library.address()) != nullptr);
  CHECK(f.registry.code->registration_paid_at.load() >= began + 100000000);  // a hundred times a millisecond
  munmap(low, count * page);
  library.unload();
}

TEST_CASE("without a map, a walk registers all the files that it meets") {
  own_registry registry;
  std::atomic<bool> stale{false};
  visiting_library library;
  library.load();
  range_lookup lookup(nullptr, *registry.code, stale);
  const auto here = reinterpret_cast<std::uintptr_t>(&some_function);
  const auto in_libc = reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "qsort"));
  for (const std::uintptr_t address : {here, in_libc, library.address()}) {
    const code_range* const range = lookup.meet_sig(address);
    REQUIRE(range != nullptr);
    CHECK(range->holds(address));
  }
  CHECK(registry.code->ranges.size() == 3);
  library.unload();
}

// A tick may come while a hook of the same thread reads /proc/self/maps.
TEST_CASE("a walk registers what the walk it interrupted is registering") {
  fixture f;
  visiting_library library;
  library.load();
  registration_scratch* const interrupted = f.registry.code->take_scratch_sig();
  REQUIRE(interrupted != nullptr);
  range_lookup lookup = f.lookup();
  const code_range* const range = lookup.meet_sig(library.address());
  REQUIRE(range != nullptr);
  // The interrupted one then adds no second entry.
  const std::size_t known = f.registry.code->ranges.size();
  interrupted->lock.unlock();
  register_code_at_sig(*f.registry.code, library.address());
  CHECK(f.registry.code->ranges.size() == known);
  library.unload();
}

TEST_CASE("reading the maps for a range that is known already is charged") {
  fixture f;
  visiting_library library;
  library.load();
  range_lookup first = f.lookup();
  const code_range* const range = first.meet_sig(library.address());
  REQUIRE(range != nullptr);
  f.registry.code->registration_paid_at.store(0);  // should a reading have taken a millisecond
  static const code_range others[16];
  for (const code_range& other : others) f.registry.code->ranges.remember_recent_sig(&other);
  range_lookup next = f.lookup();
  CHECK(next.meet_sig(library.address()) == range);
  CHECK((f.registry.code->registration_paid_at.load() > 0) == !os_answers_for_objects());
  library.unload();
}

TEST_CASE("what a walk registered is code to those that follow, where the loader cannot be asked") {
  own_registry registry;
  std::atomic<bool> stale{false};
  visiting_library library;
  library.load();
  range_lookup before(nullptr, *registry.code, stale);
  CHECK(before.is_code_sig(library.address()) == os_answers_for_objects());
  REQUIRE(before.meet_sig(library.address()) != nullptr);
  range_lookup after(nullptr, *registry.code, stale);
  CHECK(after.is_code_sig(library.address()));
  CHECK_FALSE(after.is_code_sig(16));
  library.unload();
}

TEST_CASE("the loader's list of never unloaded objects has this program, libc and the loader") {
  std::uintptr_t headers[64];
  const std::size_t count = os_never_unloaded_objects(headers, 64);
  never_unloaded_objects never_unloaded;
  never_unloaded.headers = headers;
  never_unloaded.count = count;
  for (const void* const address :
       {reinterpret_cast<const void*>(&some_function), const_cast<const void*>(dlsym(RTLD_DEFAULT, "qsort"))}) {
    Dl_info info;
    REQUIRE(dladdr(address, &info) != 0);
    CHECK(never_unloaded.has_sig(reinterpret_cast<std::uintptr_t>(info.dli_fbase)));
  }
  visiting_library library;
  library.load();
  std::uintptr_t later[64];
  CHECK(os_never_unloaded_objects(later, 64) == count);
  Dl_info info;
  REQUIRE(dladdr(library.inside, &info) != 0);
  CHECK_FALSE(never_unloaded.has_sig(reinterpret_cast<std::uintptr_t>(info.dli_fbase)));
  library.unload();
  std::uintptr_t one[1];
  CHECK(os_never_unloaded_objects(one, 1) == 1);
}

#endif
