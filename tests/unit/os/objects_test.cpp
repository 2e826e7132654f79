// tests/unit/os/objects_test.cpp - notes of loaded objects, as the thin header reads them.

#include "prof/os/objects.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "prof/process/file_note.hpp"

#if defined(__linux__)

namespace {

using namespace prof::detail;

struct note_bytes {
  std::vector<unsigned char> bytes;
  void add(const char* owner, std::uint32_t type, const std::string& contents) {
    const std::uint32_t head[3] = {static_cast<std::uint32_t>(std::strlen(owner) + 1),
                                   static_cast<std::uint32_t>(contents.size()), type};
    const auto* const words = reinterpret_cast<const unsigned char*>(head);
    bytes.insert(bytes.end(), words, words + sizeof head);
    put(std::string(owner) + '\0');
    put(contents);
  }
  void put(const std::string& text) {
    bytes.insert(bytes.end(), text.begin(), text.end());
    while (bytes.size() % 4 != 0) bytes.push_back(0);
  }
};

struct seen {
  std::vector<std::uint32_t> types;
  std::size_t most = 100;
};
bool see(void* context, const object_note& note) {
  auto& to = *static_cast<seen*>(context);
  to.types.push_back(note.type);
  return to.types.size() < to.most;
}

}  // namespace

TEST_CASE("prof's notes are found among others") {
  note_bytes notes;
  notes.add("GNU", 3, "build id of some length");
  notes.add("prof", 7, "one");
  notes.add("proF", 8, "");
  notes.add("prof", 9, "");
  seen all;
  CHECK(visit_notes(notes.bytes.data(), notes.bytes.size(), "", {&see, &all}));
  CHECK(all.types == std::vector<std::uint32_t>{7, 9});
  seen first;
  first.most = 1;
  CHECK_FALSE(visit_notes(notes.bytes.data(), notes.bytes.size(), "", {&see, &first}));
  CHECK(first.types == std::vector<std::uint32_t>{7});
}

TEST_CASE("notes that are cut short are not read") {
  note_bytes notes;
  notes.add("prof", 7, "some contents");
  for (std::size_t size = 0; size < notes.bytes.size(); ++size) {
    const std::vector<unsigned char> cut(notes.bytes.begin(), notes.bytes.begin() + static_cast<std::ptrdiff_t>(size));
    seen none;
    CHECK(visit_notes(cut.data(), cut.size(), "", {&see, &none}));
    CHECK(none.types.empty());
  }
}

TEST_CASE("this program's own notes are found by way of the loader") {
  seen all;
  os_for_each_object_note({&see, &all});
  CHECK_FALSE(all.types.empty());
  bool has_file = false;
  for (const std::uint32_t type : all.types) has_file = has_file || type == file_note_type;
  CHECK(has_file);
  seen first;
  first.most = 1;
  os_for_each_object_note({&see, &first});
  CHECK(first.types.size() == 1);
}

TEST_CASE("what is no object is not pinned, without harm") {
  CHECK(os_pin_file(nullptr));
  CHECK(os_pin_file(""));
  CHECK(os_pin_file("/no/such/file.so"));
}

#if defined(__GLIBC__)

namespace {

// Another thread that is in a callback of dl_iterate_phdr until this ends.
class loader_holder {
 public:
  loader_holder() : thread_([this] { dl_iterate_phdr(&hold, this); }) {
    while (!holds_.load()) std::this_thread::yield();
  }
  ~loader_holder() {
    may_go_.store(true);
    thread_.join();
  }
  loader_holder(const loader_holder&) = delete;
  loader_holder& operator=(const loader_holder&) = delete;

 private:
  static int hold(dl_phdr_info*, std::size_t, void* self) {
    auto& mine = *static_cast<loader_holder*>(self);
    mine.holds_.store(true);
    while (!mine.may_go_.load()) std::this_thread::yield();
    return 1;
  }
  std::atomic<bool> holds_{false};
  std::atomic<bool> may_go_{false};
  std::thread thread_;
};

int count_objects(dl_phdr_info*, std::size_t, void* count) {
  ++*static_cast<int*>(count);
  return 0;
}

}  // namespace

TEST_CASE("the loader's locks are found, and are free or ours") {
  int count = 0;
  CHECK(os_iterate_objects(&count_objects, &count));
  CHECK(count > 1);
  REQUIRE(loader_list_lock.load() != 0);
  CHECK_FALSE(is_loader_busy(loader_lock::list));
  CHECK_FALSE(is_loader_busy(loader_lock::objects));
  bool was_busy = true;
  CHECK(os_iterate_objects(
      [](dl_phdr_info*, std::size_t, void* busy) {
        const loader_mutex held = read_loader_mutex(loader_list_lock.load());
        CHECK(held.owner == loader_thread_id());
        CHECK(held.count == 1);
        *static_cast<bool*>(busy) = is_loader_busy(loader_lock::list);
        return 1;
      },
      &was_busy));
  CHECK_FALSE(was_busy);
}

TEST_CASE("while another thread keeps the loader's list nobody waits for it for ever") {
  int count = 0;
  REQUIRE(os_iterate_objects(&count_objects, &count));  // the locks are known from here on
  const loader_holder holder;
  CHECK(is_loader_busy(loader_lock::list));
  CHECK_FALSE(is_loader_busy(loader_lock::objects));
  count = 0;
  CHECK_FALSE(os_iterate_objects(&count_objects, &count));
  CHECK(count == 0);
}

TEST_CASE("what is no pair of recursive mutexes is not taken for the loader's locks") {
  const std::uintptr_t before = loader_list_lock.exchange(0);
  alignas(8) int words[3 * loader_mutex_bytes / sizeof(int)] = {};
  const auto from = reinterpret_cast<std::uintptr_t>(words);
  const std::size_t second = loader_mutex_bytes / sizeof(int);
  const loader_mutex held{1, 1, 42, 1, 1};
  const auto found = [&] {
    loader_list_lock.store(0);
    seek_loader_locks(from, from + sizeof words, 42);
    return loader_list_lock.load();
  };
  CHECK(found() == 0);
  std::memcpy(words + second, &held, sizeof held);
  CHECK(found() == 0);  // the one before it is none
  words[4] = 1;
  CHECK(found() == from + loader_mutex_bytes);
  words[second + 2] = 43;
  CHECK(found() == 0);  // another thread's
  words[second + 2] = 42;
  words[second + 1] = 2;
  CHECK(found() == 0);  // held twice
  loader_list_lock.store(before);
}

#endif  // __GLIBC__

#endif
