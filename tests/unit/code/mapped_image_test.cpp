// tests/unit/code/mapped_image_test.cpp - notes and segments of images in memory, true and false
// ones.

#include "prof/code/mapped_image.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// An image in memory: its header and some segments.
struct fake_image {
  ElfW(Ehdr) head{};
  ElfW(Phdr) segments[4] = {};
  unsigned char rest[0x2800] = {};

  fake_image() {
    put_header(0x2100, 0x03, 0x3b);
    std::memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_phentsize = sizeof(ElfW(Phdr));
    head.e_phoff = sizeof head;
  }
  void add(std::uint32_t type, std::uintptr_t address, std::size_t size, std::uint64_t offset) {
    ElfW(Phdr)& segment = segments[head.e_phnum++];
    segment.p_type = type;
    segment.p_vaddr = address;
    segment.p_filesz = size;
    segment.p_offset = offset;
  }
  // .eh_frame_hdr: how its count and its table are encoded.
  void put_header(std::size_t offset, unsigned char count, unsigned char table) {
    const unsigned char bytes[12] = {1, 0x1b, count, table};
    std::memcpy(rest + (offset - offsetof(fake_image, rest)), bytes, sizeof bytes);
  }
  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(this); }
};

cfi_place cfi_of(std::uintptr_t header) {
  elf_room room;
  return find_cfi_sig(header, room);
}

}  // namespace

TEST_CASE("a program header that lies does no harm") {
  struct image {
    ElfW(Ehdr) head;
    ElfW(Phdr) segment;
  } fake{};
  int visits = 0;
  elf_room room;
  const note_visitor count{[](void* context, const elf_note&) { ++*static_cast<int*>(context); },
                           &visits};
  const auto where = reinterpret_cast<std::uintptr_t>(&fake);
  CHECK_FALSE(walk_image_sig(where, count, room));
  CHECK_FALSE(walk_image_sig(0, count, room));
  std::memcpy(fake.head.e_ident, ELFMAG, SELFMAG);
  fake.head.e_phentsize = sizeof(ElfW(Phdr));
  fake.head.e_phnum = 65;
  CHECK_FALSE(walk_image_sig(where, count, room));
  fake.head.e_phnum = 1;
  fake.head.e_phoff = sizeof(ElfW(Ehdr));
  fake.segment.p_type = PT_NOTE;
  fake.segment.p_vaddr = std::uintptr_t{1} << 46;
  fake.segment.p_filesz = 4096;
  CHECK(walk_image_sig(where, count, room));
  CHECK(visits == 0);
}

TEST_CASE("notes are walked one by one; a broken one ends the walk") {
  struct seen_notes {
    std::string owners;
    int count = 0;
  } seen;
  elf_room room;
  const note_visitor collect{[](void* context, const elf_note& note) {
                               auto& all = *static_cast<seen_notes*>(context);
                               all.owners.append(note.owner.data, note.owner.size).append(";");
                               ++all.count;
                             },
                             &seen};
  alignas(4) unsigned char notes[64] = {};
  const std::uint32_t first[3] = {4, 5, 1};  // owner "abc", five bytes
  const std::uint32_t second[3] = {2, 0, 2};
  std::memcpy(notes, first, 12);
  std::memcpy(notes + 12, "abc", 4);
  std::memcpy(notes + 24, second, 12);
  std::memcpy(notes + 36, "x", 2);
  const auto where = reinterpret_cast<std::uintptr_t>(notes);
  walk_notes_sig(where, 40, collect, room);
  CHECK(seen.owners == "abc;x;");
  walk_notes_sig(where, 39, collect, room);  // the last one does not fit
  CHECK(seen.count == 3);
  walk_notes_sig(where, 11, collect, room);
  CHECK(seen.count == 3);
  const std::uint32_t huge[3] = {0xffffffff, 0xffffffff, 2};
  std::memcpy(notes, huge, 12);
  walk_notes_sig(where, 64, collect, room);
  walk_notes_sig(1, 64, collect, room);
  CHECK(seen.count == 3);
}

TEST_CASE("a note longer than the room is seen as far as it fits, and those behind it are") {
  struct seen_notes {
    std::string owners;
    std::vector<std::size_t> sizes;
    std::string text;
  } seen;
  elf_room room;
  const note_visitor collect{[](void* context, const elf_note& note) {
                               auto& all = *static_cast<seen_notes*>(context);
                               all.owners.append(note.owner.data, note.owner.size).append(";");
                               all.sizes.push_back(note.size);
                               all.text = reinterpret_cast<const char*>(note.data);  // ends with a zero
                             },
                             &seen};
  std::string notes;
  const auto add = [&notes](const std::string& owner, const std::string& data) {
    const std::uint32_t head[3] = {static_cast<std::uint32_t>(owner.size() + 1), static_cast<std::uint32_t>(data.size()), 1};
    notes.append(reinterpret_cast<const char*>(head), 12).append(owner).append(4 - owner.size() % 4, '\0');
    notes.append(data).append((4 - data.size() % 4) % 4, '\0');
  };
  add("abc", std::string(3000, 'j'));
  add(std::string(2000, 'o'), "x");  // skipped
  add("def", "behind");
  walk_notes_sig(reinterpret_cast<std::uintptr_t>(notes.data()), notes.size(), collect, room);
  CHECK(seen.owners == "abc;def;");
  CHECK(seen.sizes == std::vector<std::size_t>{sizeof room.note - 1 - 16, 6});
  notes.clear();
  add("abc", std::string(3000, 'j'));
  walk_notes_sig(reinterpret_cast<std::uintptr_t>(notes.data()), notes.size(), collect, room);
  CHECK(seen.text == std::string(sizeof room.note - 1 - 16, 'j'));
}

TEST_CASE("the call frame information of an image, wherever it is mapped") {
  fake_image image;
  image.add(PT_LOAD, 0x400000, 0x1000, 0);
  image.add(PT_LOAD, 0x402000, 0x800, 0x2000);
  image.add(PT_GNU_EH_FRAME, 0x402100, 0x40, 0x2100);
  const std::uintptr_t bias = image.address() - 0x400000;
  const cfi_place place = cfi_of(image.address());
  CHECK(place.header == bias + 0x402100);
  CHECK(place.limit == bias + 0x402800);
}

TEST_CASE("the order of segments does not matter") {
  fake_image image;
  image.add(PT_GNU_EH_FRAME, 0x2100, 0x40, 0x2100);
  image.add(PT_LOAD, 0x2000, 0x800, 0x2000);
  image.add(PT_LOAD, 0, 0x1000, 0);
  CHECK(cfi_of(image.address()).header == image.address() + 0x2100);
  CHECK(cfi_of(image.address()).limit == image.address() + 0x2800);
}

TEST_CASE("call frame information that no segment loads is none") {
  for (const std::uintptr_t at : {std::uintptr_t{0x1000}, std::uintptr_t{0x1fff},
                                  std::uintptr_t{0x2800}, ~std::uintptr_t{0}}) {
    CAPTURE(at);
    fake_image image;
    image.add(PT_LOAD, 0, 0x1000, 0);
    image.add(PT_LOAD, 0x2000, 0x800, 0x2000);
    image.add(PT_GNU_EH_FRAME, at, 0x40, at);
    CHECK(cfi_of(image.address()).header == 0);
    CHECK(cfi_of(image.address()).limit == 0);
  }
}

TEST_CASE("no image, no call frame information") {
  fake_image image;
  image.add(PT_LOAD, 0, 0x1000, 0);
  CHECK(cfi_of(image.address()).header == 0);
  image.add(PT_GNU_EH_FRAME, 0x200, 0x40, 0x200);
  CHECK(cfi_of(image.address()).header == 0);  // that is none
  image.put_header(0x200, 0xff, 0xff);         // without a table, as ld writes it where it cannot sort
  CHECK(cfi_of(image.address()).header == 0);
  CHECK(cfi_of(image.address()).limit == 0);
  image.put_header(0x200, 0x03, 0x3b);
  CHECK(cfi_of(image.address()).header != 0);
  image.head.e_phentsize = 1;
  CHECK(cfi_of(image.address()).header == 0);
  image.head.e_phentsize = sizeof(ElfW(Phdr));
  image.head.e_ident[1] = 'F';
  CHECK(cfi_of(image.address()).header == 0);
  CHECK(cfi_of(0).header == 0);
}

TEST_CASE("call frame information that is not in its header's segment is none") {
  fake_image image;
  image.add(PT_LOAD, 0, 0x1000, 0);
  image.add(PT_LOAD, 0x2000, 0x400, 0x2000);
  image.add(PT_GNU_EH_FRAME, 0x2100, 0x40, 0x2100);
  const auto point_to = [&image](std::int32_t offset) {  // relative to the pointer itself
    std::memcpy(image.rest + (0x2104 - offsetof(fake_image, rest)), &offset, sizeof offset);
    return cfi_of(image.address());
  };
  const std::uintptr_t header = image.address() + 0x2100;
  CHECK(point_to(0x40).header == header);
  CHECK(point_to(0x2fb).header == header);
  CHECK(point_to(0x2fc).header == 0);  // the segment's end
  CHECK(point_to(-0x104).header == header);  // the segment's begin
  CHECK(point_to(-0x105).header == 0);
  CHECK(point_to(-0x100000).limit == 0);
}

TEST_CASE("program headers that cannot be read are none") {
  fake_image image;
  image.add(PT_LOAD, 0, 0x1000, 0);
  image.add(PT_GNU_EH_FRAME, 0x100, 0x40, 0x100);
  image.head.e_phoff = std::uintptr_t{1} << 46;
  CHECK(cfi_of(image.address()).header == 0);
}

TEST_CASE("every segment is visited once, with the bias of the image") {
  fake_image image;
  image.add(PT_NOTE, 0x600, 0, 0x600);
  image.add(PT_LOAD, 0x5000, 0x1000, 0);
  struct seen {
    int count = 0;
    std::uintptr_t bias = 0;
  } all;
  elf_room room;
  CHECK(for_each_segment_sig(
      image.address(),
      [](void* context, const ElfW(Phdr)&, std::uintptr_t bias) {
        auto& to = *static_cast<seen*>(context);
        ++to.count;
        to.bias = bias;
      },
      &all, room));
  CHECK(all.count == 2);
  CHECK(all.bias == image.address() - 0x5000);
}

TEST_CASE("call frame information has the hash of its bytes, wherever it is") {
  std::vector<unsigned char> bytes(5000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i * 7);
  elf_room room;
  const auto hash_of = [&room](const std::vector<unsigned char>& of) {
    const auto at = reinterpret_cast<std::uintptr_t>(of.data());
    return hash_cfi_sig({at, at + of.size()}, at, room);
  };
  const std::uint64_t hash = hash_of(bytes);
  CHECK(hash != 0);
  const std::vector<unsigned char> copy = bytes;
  CHECK(hash_of(copy) == hash);
  for (const std::size_t place : {std::size_t{0}, std::size_t{1023}, std::size_t{1024}, bytes.size() - 1}) {
    CAPTURE(place);
    ++bytes[place];
    CHECK(hash_of(bytes) != hash);
    --bytes[place];
  }
  const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
  CHECK(hash_cfi_sig({}, at, room) == 0);
  CHECK(hash_cfi_sig({4096, 8192}, at, room) == 0);  // nothing is mapped there
  CHECK(hash_cfi_sig({at, at + bytes.size()}, 4096, room) == 0);
}

TEST_CASE("what lies before the search header counts, and the begin of the file") {
  std::vector<unsigned char> bytes(9000);
  elf_room room;
  const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
  const unsigned char header[12] = {1, 0x1b, 0x03, 0x3b, 0x2c, 0xf8, 0xff, 0xff};  // .eh_frame is 2000 before it
  std::memcpy(bytes.data() + 7000, header, sizeof header);
  const auto hash = [&] { return hash_cfi_sig({at + 7000, at + 8000}, at, room); };
  const std::uint64_t before = hash();
  CHECK(before != 0);
  for (const std::size_t place : {56u, 500u, 5000u, 6999u, 7011u, 7999u}) {
    CAPTURE(place);
    ++bytes[place];
    CHECK(hash() != before);
    --bytes[place];
  }
  for (const std::size_t place : {600u, 4999u, 8000u}) {
    CAPTURE(place);
    ++bytes[place];
    CHECK(hash() == before);
    --bytes[place];
  }
}

TEST_CASE("of very much call frame information parts are read, the last one too") {
  const std::size_t size = std::size_t{13} << 20;
  std::vector<unsigned char> bytes(size + 100);
  elf_room room;
  const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
  const auto hash = [&] { return hash_cfi_sig({at, at + bytes.size()}, at, room); };
  const std::uint64_t before = hash();
  CHECK(before != 0);
  ++bytes[size + 99];
  CHECK(hash() != before);
  --bytes[size + 99];
  std::size_t seen = 0;
  for (std::size_t i = 0; i < 1000; ++i) {
    unsigned char& byte = bytes[i * (size / 1000)];
    ++byte;
    seen += hash() != before ? 1u : 0u;
    --byte;
  }
  CHECK(seen >= 10);   // 256 of 13,312 blocks
  CHECK(seen <= 100);
}

#endif
