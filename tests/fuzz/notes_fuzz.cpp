// tests/fuzz/notes_fuzz.cpp - the notes of a mapped ELF image: exactly those that a plain reading
// of the bytes finds, with owner, type, address and content; nothing behind the segment is read.
//
// prof reads them by a system call, which no sanitizer sees; therefore the bytes end where a page
// begins that cannot be read.

#include "prof/code/modules.hpp"

#include "fuzz.hpp"

#include <sys/mman.h>

#include <algorithm>

namespace {

using namespace prof::detail;

constexpr std::size_t room = 16 * 4096;

// The bytes at the end of readable pages, with a page behind them that is not.
const char* place_at_edge(text_view bytes) {
  static char* pages = nullptr;
  if (pages == nullptr) {
    void* const made =
        mmap(nullptr, room + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FUZZ_REQUIRE(made != MAP_FAILED);
    pages = static_cast<char*>(made);
    FUZZ_REQUIRE(mprotect(pages + room, 4096, PROT_NONE) == 0);
  }
  char* const place = pages + room - bytes.size;
  std::memcpy(place, bytes.data, bytes.size);
  return place;
}

struct note {
  std::size_t offset;
  std::uint32_t type;
  std::string owner;
  std::string data;

  bool operator==(const note& other) const {
    return offset == other.offset && type == other.type && owner == other.owner &&
           data == other.data;
  }
};

struct notes {
  text_view bytes;
  std::vector<note> seen{};

  // What is outside the bytes may change meanwhile, which is no fault.
  static void visit(void* context, const elf_note& found) {
    auto& self = *static_cast<notes*>(context);
    const std::string data(reinterpret_cast<const char*>(found.data), found.size);
    const std::size_t at = found.address - reinterpret_cast<std::uintptr_t>(self.bytes.data);
    self.seen.push_back({at, found.type, fuzz::to_string(found.owner), data});
    if (at > self.bytes.size || found.size > self.bytes.size - at) return;
    FUZZ_REQUIRE(text_view(self.bytes.data + at, found.size).equals({data.data(), data.size()}));
  }
};

// System V gABI ch. 5, with the limits that walk_notes_sig states.
std::vector<note> plain_notes(text_view bytes) {
  std::vector<note> found;
  for (std::size_t at = 0; bytes.size - at >= 12;) {
    std::uint32_t head[3];
    std::memcpy(head, bytes.data + at, sizeof head);
    const std::size_t data = at + 12 + (std::size_t{head[0]} + 3) / 4 * 4;
    const std::size_t next = data + (std::size_t{head[1]} + 3) / 4 * 4;
    if (head[0] == 0 || next > bytes.size) break;
    if (data - at <= 1023) {
      found.push_back({data, head[2], std::string(bytes.data + at + 12, head[0] - 1),
                       std::string(bytes.data + data, std::min<std::size_t>(head[1], at + 1023 - data))});
    }
    at = next;
  }
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > room) size = room;
  const text_view bytes{place_at_edge({reinterpret_cast<const char*>(data), size}), size};
  const auto address = reinterpret_cast<std::uintptr_t>(bytes.data);
  notes segment{bytes};
  elf_room copy;
  walk_notes_sig(address, size, {notes::visit, &segment}, copy);
  FUZZ_REQUIRE(segment.seen == plain_notes(bytes));

  notes image{bytes};
  const bool is_elf = size >= 64 && bytes.starts_with({"\177ELF", 4});
  const bool walked = walk_image_sig(address, {notes::visit, &image}, copy);
  const cfi_place place = find_cfi_sig(address, copy);
  FUZZ_REQUIRE(is_elf || (!walked && image.seen.empty() && place.header == 0));
  FUZZ_REQUIRE((place.header == 0) == (place.limit == 0) && place.header <= place.limit);
  return 0;
}
