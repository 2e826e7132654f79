// tests/unit/code/elf_image_test.cpp - parts of hand-made and damaged ELF images.

#include "prof/code/elf_image.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "../symbol/small_elf.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace small_elfs;
using prof::detail::elf_image;

TEST_CASE("the build id is found; other classes and byte orders are no images") {
    const std::string file = rich_image();
    CHECK(elf_image(file.data(), file.size()).usable());
    CHECK(elf_image(file.data(), file.size()).build_id().equals("0123456789abcdefghij"));
    for (const auto& [at, value] : {std::pair{EI_CLASS, ELFCLASS32}, {EI_DATA, ELFDATA2MSB}}) {
        std::string other = file;
        other[static_cast<std::size_t>(at)] = static_cast<char>(value);
        CHECK_FALSE(elf_image(other.data(), other.size()).usable());
        CHECK(elf_image(other.data(), other.size()).build_id().size == 0);
    }
}

TEST_CASE("ranges that wrap around are not in the image") {
    const std::string file = rich_image();
    const elf_image image(file.data(), file.size());
    CHECK(image.bytes(0, file.size()).size == file.size());
    CHECK(image.bytes(1, file.size()).size == 0);
    CHECK(image.bytes(16, ~std::uint64_t{0} - 7).size == 0);
    CHECK(image.bytes(~std::uint64_t{0} - 7, 16).size == 0);
}

TEST_CASE("a note that says it is longer than its segment is not the build id") {
    constexpr std::size_t note_at = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);
    for (const std::uint32_t field : {0u, 1u}) {  // size of the owner's name, size of the id
        for (const std::uint32_t length : {21u, 64u, 0x7fffffffu, 0xfffffff0u, 0xffffffffu}) {
            std::string file = rich_image();
            std::memcpy(&file[note_at + field * 4], &length, sizeof length);
            const elf_image image(file.data(), file.size());
            CHECK(image.build_id().size == 0);
        }
    }
}

TEST_CASE("the last note's padding may be missing") {
    small_elf elf;
    elf.build_id.resize(21);  // ends off its alignment
    std::string file = elf.bytes();
    const std::size_t note_at = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);
    file.resize(note_at + 12 + 4 + 21);
    CHECK(elf_image(file.data(), file.size()).build_id().size == 21);
    file[note_at + 8] = 1;  // of another type: the walk goes on, behind the padding
    CHECK(elf_image(file.data(), file.size()).build_id().size == 0);
}

}  // namespace

#endif
