// tests/unit/code/modules_test.cpp - the code map against /proc/self/maps and the files
// themselves.

#include "prof/code/modules.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <string>
#include <vector>

#include "own_registry.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct maps_line {
  std::uintptr_t start = 0;
  std::uintptr_t limit = 0;
  std::uint64_t offset = 0;
  std::string path;
};

// The executable lines of /proc/self/maps that have a name.
std::vector<maps_line> executable_lines() {
  std::ifstream maps("/proc/self/maps");
  std::vector<maps_line> lines;
  for (std::string text; std::getline(maps, text);) {
    std::istringstream fields(text);
    std::string range;
    std::string permissions;
    std::string offset;
    std::string device;
    std::string inode;
    maps_line line;
    fields >> range >> permissions >> offset >> device >> inode >> std::ws;
    std::getline(fields, line.path);
    if (permissions[2] != 'x' || line.path.empty()) continue;
    line.start = std::stoull(range, nullptr, 16);
    line.limit = std::stoull(range.substr(range.find('-') + 1), nullptr, 16);
    line.offset = std::stoull(offset, nullptr, 16);
    lines.push_back(line);
  }
  return lines;
}

std::string whole_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

template <class T>
T taken(const std::string& bytes, std::size_t at) {
  T value;
  REQUIRE(at + sizeof value <= bytes.size());
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// The build id by the section headers of the file, as readelf -n finds it; "" when there is none.
std::string build_id_in_file(const std::string& path) {
  const std::string file = whole_file(path);
  if (file.size() < sizeof(ElfW(Ehdr)) || file.compare(0, 4, "\177ELF") != 0) return "";
  const auto head = taken<ElfW(Ehdr)>(file, 0);
  for (std::size_t i = 0; i < head.e_shnum; ++i) {
    const auto section = taken<ElfW(Shdr)>(file, head.e_shoff + i * head.e_shentsize);
    if (section.sh_type != SHT_NOTE) continue;
    std::size_t at = section.sh_offset;
    while (at + 12 <= section.sh_offset + section.sh_size) {
      const auto owner = taken<std::uint32_t>(file, at);
      const auto size = taken<std::uint32_t>(file, at + 4);
      const auto type = taken<std::uint32_t>(file, at + 8);
      const std::size_t data = at + 12 + ((owner + 3u) & ~3u);
      if (type == NT_GNU_BUILD_ID && owner == 4 && file.compare(at + 12, 3, "GNU") == 0) {
        return file.substr(data, size);
      }
      at = data + ((size + 3u) & ~3u);
    }
  }
  return "";
}

std::string build_id_of(const code_range& range) {
  return std::string(reinterpret_cast<const char*>(range.build_id), range.build_id_length);
}

const code_range* range_of(const code_map& map, const std::string& name) {
  for (std::size_t i = 0; i < map.count; ++i) {
    if (std::string(map.ranges[i].path).find(name) != std::string::npos) return &map.ranges[i];
  }
  return nullptr;
}

}  // namespace

TEST_CASE("the code map is what /proc/self/maps says") {
  const code_map* const map = read_code_map();
  REQUIRE(map != nullptr);
  const std::vector<maps_line> lines = executable_lines();
  REQUIRE(map->count == lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const code_range& range = map->ranges[i];
    CAPTURE(lines[i].path);
    CHECK(range.start == lines[i].start);
    CHECK(range.limit == lines[i].limit);
    CHECK(range.offset == lines[i].offset);
    CHECK(std::string(range.path) == lines[i].path);
    CHECK(range.path_size == lines[i].path.size());
    CHECK(range.current);
  }
}

TEST_CASE("build ids are those of the files") {
  const code_map* const map = read_code_map();
  REQUIRE(map != nullptr);
  int compared = 0;
  for (std::size_t i = 0; i < map->count; ++i) {
    const code_range& range = map->ranges[i];
    if (range.path[0] != '/') continue;
    CAPTURE(range.path);
    const std::string wanted = build_id_in_file(range.path);
    CHECK(build_id_of(range) == wanted);
    compared += wanted.empty() ? 0 : 1;
  }
  CHECK(compared >= 2);  // libc and libstdc++ at least
}

TEST_CASE("the vdso is in the map, with its build id") {
  const code_map* const map = read_code_map();
  const code_range* const vdso = range_of(*map, "[vdso]");
  REQUIRE(vdso != nullptr);
  CHECK(vdso->header == vdso->start);
  CHECK(vdso->build_id_length > 0);
}

TEST_CASE("this code is found where it is, with the header of its file") {
  const code_map* const map = read_code_map();
  const auto here = reinterpret_cast<std::uintptr_t>(&whole_file);
  const code_range* const range = map->find(here);
  REQUIRE(range != nullptr);
  char path[4096];
  const std::size_t size = os_executable_path(path, sizeof path);
  CHECK(std::string(range->path) == std::string(path, size));
  CHECK(std::memcmp(reinterpret_cast<const void*>(range->header), "\177ELF", 4) == 0);
  int local = 0;
  CHECK(map->find(reinterpret_cast<std::uintptr_t>(&local)) == nullptr);
}

TEST_CASE("code of a file that is no image has a name and a number, no module, and may go") {
  const int file = memfd_create("jit", MFD_CLOEXEC);
  REQUIRE(ftruncate(file, 8192) == 0);
  void* const at = mmap(nullptr, 8192, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
  REQUIRE(at != MAP_FAILED);
  const code_map* const map = read_code_map();
  const code_range* const range = map->find_current(reinterpret_cast<std::uintptr_t>(at) + 100);
  REQUIRE(range != nullptr);
  CHECK(std::string(range->path) == "/memfd:jit");
  CHECK(range->number != 0);
  CHECK_FALSE(range->image);
  CHECK(range->module == nullptr);
  CHECK_FALSE(range->never_unloaded);
  munmap(at, 8192);
  close(file);
}

TEST_CASE("nothing new: the same map; what lasts is news") {
  const own_registry registry;
  const code_map* const map = read_code_map_sig(nullptr, *registry.code);
  CHECK(read_code_map_sig(map, *registry.code) == map);
  const auto own = reinterpret_cast<std::uintptr_t>(&whole_file);
  CHECK(map->find(own)->never_unloaded);  // the program stays
  const auto here = reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "qsort"));
  CHECK(map->find(here)->never_unloaded == !os_unloads_objects);
  never_unloaded_objects never_unloaded;
  never_unloaded.headers = &map->find(here)->header;
  never_unloaded.count = 1;
  const code_map* const told = read_code_map_sig(map, *registry.code, never_unloaded);
  REQUIRE(told != map);
  CHECK(told->find(here)->never_unloaded);
  CHECK(told->find(here)->number == map->find(here)->number);
  CHECK(read_code_map_sig(told, *registry.code, never_unloaded) == told);
}

TEST_CASE("a library that comes and goes stays listed as unloaded") {
  const code_map* const before = read_code_map();
  void* library = nullptr;
  std::string name;
  for (const char* candidate : {"libthread_db.so.1", "libanl.so.1", "libBrokenLocale.so.1",
                                "libresolv.so.2", "libutil.so.1"}) {
    if (range_of(*before, std::string(candidate).substr(0, 8)) != nullptr) continue;
    library = dlopen(candidate, RTLD_NOW | RTLD_LOCAL);
    name = candidate;
    name = name.substr(0, name.find(".so"));
    if (library != nullptr) break;
  }
  REQUIRE(library != nullptr);
  const code_map* const with = read_code_map(before);
  CHECK(with != before);
  const code_range* const range = range_of(*with, name);
  REQUIRE(range != nullptr);
  CHECK(range->current);
  CHECK(build_id_of(*range) == build_id_in_file(range->path));
  const std::uintptr_t inside = range->start + (range->limit - range->start) / 2;
  CHECK(with->find(inside) == range);

  dlclose(library);
  const code_map* const after = read_code_map(with);
  CHECK(after != with);
  const code_range* const gone = range_of(*after, name);
  REQUIRE(gone != nullptr);
  CHECK_FALSE(gone->current);
  CHECK(gone->start == range->start);
  CHECK(build_id_of(*gone) == build_id_of(*range));
  CHECK(std::string(gone->path) == range->path);
  CHECK(after->find(inside) == gone);

  // Loaded again, most often at the same place: then it is current once, never twice.
  void* const again = dlopen(range->path, RTLD_NOW | RTLD_LOCAL);
  REQUIRE(again != nullptr);
  const code_map* const finally = read_code_map(after);
  int current = 0;
  for (std::size_t i = 0; i < finally->count; ++i) {
    if (std::string(finally->ranges[i].path).find(name) == std::string::npos) continue;
    current += finally->ranges[i].current ? 1 : 0;
  }
  CHECK(current == 1);
  for (std::size_t i = 1; i < finally->current; ++i) {
    CHECK(finally->ranges[i - 1].start <= finally->ranges[i].start);
  }
  dlclose(again);
}

TEST_CASE("what was found at an address is there still, or another file is") {
  const auto file_with_a_page = [](const char* path) {
    std::ofstream(path, std::ios::binary) << std::string(4096, '\xc3');
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    return file;
  };
  const int one = file_with_a_page("modules_test_one");
  const int other = file_with_a_page("modules_test_other");
  void* const place = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, one, 0);
  REQUIRE(place != MAP_FAILED);
  static registration_scratch scratch;
  const auto address = reinterpret_cast<std::uintptr_t>(place) + 8;
  REQUIRE(find_mapping_sig(scratch, address));
  CHECK(std::string(scratch.range.path, scratch.range.path_size).find("modules_test_one") != std::string::npos);
  CHECK(is_still_mapped_sig(scratch));
  mmap(place, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, other, 0);
  CHECK_FALSE(is_still_mapped_sig(scratch));
  mmap(place, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, one, 0);
  CHECK(is_still_mapped_sig(scratch));
  munmap(place, 4096);
  CHECK_FALSE(is_still_mapped_sig(scratch));
  close(one);
  close(other);
}

// ---- what the map knows of a file's call frame information
// ---------------------------------------

namespace {

// The search header of the object that holds an address, as the loader tells it.
struct loader_answer {
  std::uintptr_t address = 0;
  std::uintptr_t header = 0;

  static int look(dl_phdr_info* object, std::size_t, void* context) {
    auto& answer = *static_cast<loader_answer*>(context);
    bool holds = false;
    std::uintptr_t found = 0;
    for (int i = 0; i < object->dlpi_phnum; ++i) {
      const ElfW(Phdr)& segment = object->dlpi_phdr[i];
      const std::uintptr_t begin = object->dlpi_addr + segment.p_vaddr;
      if (segment.p_type == PT_GNU_EH_FRAME) found = begin;
      if (segment.p_type != PT_LOAD) continue;
      holds = holds || (answer.address >= begin && answer.address - begin < segment.p_memsz);
    }
    if (holds) answer.header = found;
    return holds ? 1 : 0;
  }
};

std::uintptr_t cfi_header_by_loader(std::uintptr_t address) {
  loader_answer answer;
  answer.address = address;
  dl_iterate_phdr(&loader_answer::look, &answer);
  return answer.header;
}

}  // namespace

TEST_CASE("a first page that is mapped again as code is no new image; another copy of the file is") {
  latest_image image;
  const auto see = [&image](std::uintptr_t start, std::uint64_t offset, bool executable) {
    os_mapping mapping;
    mapping.start = start;
    mapping.limit = start + 0x1000;
    mapping.offset = offset;
    mapping.inode = 7;
    mapping.readable = true;
    mapping.executable = executable;
    mapping.path = {"/lib", 4};
    see_header_sig(image, mapping);
    return image.header;
  };
  CHECK(see(0x10000, 0, false) == 0x10000);
  CHECK(see(0x11000, 0, true) == 0x10000);
  CHECK(see(0x12000, 0x1000, false) == 0x10000);
  CHECK(see(0x50000, 0, true) == 0x50000);  // one segment for header and code
}

TEST_CASE("every file's call frame information is where the loader says") {
  const code_map* const map = read_code_map();
  REQUIRE(map != nullptr);
  int compared = 0;
  for (std::size_t i = 0; i < map->current; ++i) {
    const code_range& range = map->ranges[i];
    CAPTURE(range.path);
    CHECK(range.cfi.header == cfi_header_by_loader(range.start));
    if (range.cfi.header == 0) continue;
    CHECK(range.cfi.limit > range.cfi.header + 12);
    ++compared;
  }
  CHECK(compared >= 3);  // this program, libc and libstdc++ at least
}

TEST_CASE("a module has the same entry in every map, different ones have different entries") {
  const own_registry registry;
  const code_map* const first = read_code_map_sig(nullptr, *registry.code);
  const code_map* const second = read_code_map_sig(nullptr, *registry.code);
  REQUIRE(first->count == second->count);
  for (std::size_t i = 0; i < first->count; ++i) {
    const code_range& range = first->ranges[i];
    CAPTURE(range.path);
    CHECK((range.module == nullptr) == (range.header == 0));
    CHECK(second->ranges[i].module == range.module);
    for (std::size_t k = 0; k < i; ++k) {
      const code_range& other = first->ranges[k];
      if (range.module != nullptr && other.header != range.header) {
        CHECK(other.module != range.module);
      }
    }
  }
}

TEST_CASE("the identity is that of the file, not of where it is loaded") {
  code_range range;
  range.header = 0x10000;
  range.cfi = {0x14000, 0x18000};
  range.build_id_length = 20;
  range.path = "/lib/a";
  range.path_size = 6;
  const std::uint64_t identity = identity_of_sig(range);
  code_range moved = range;
  moved.header += 0x7000000;
  moved.cfi.header += 0x7000000;
  moved.cfi.limit += 0x7000000;
  moved.path = "/lib/b";
  CHECK(identity_of_sig(moved) == identity);
  moved.build_id[19] = 1;
  CHECK(identity_of_sig(moved) != identity);
  moved = range;
  moved.cfi.header += 8;
  CHECK(identity_of_sig(moved) != identity);
  moved = range;
  moved.build_id_length = range.build_id_length = 0;  // then the path tells
  CHECK(identity_of_sig(moved) == identity_of_sig(range));
  moved.path = "/lib/b";
  CHECK(identity_of_sig(moved) != identity_of_sig(range));
  moved = range;
  moved.cfi_hash = 1;  // and what it says of its frames
  CHECK(identity_of_sig(moved) != identity_of_sig(range));
  CHECK_FALSE(same_range_sig(moved, range));
}

TEST_CASE("the image of a range is all that a table is built from") {
  code_range range;
  range.header = 0x10000;
  range.cfi = {0x14000, 0x18000};
  range.path = "/lib/a";
  const module_image image = image_of(range);
  CHECK(image.base == 0x10000);
  CHECK(image.place.header == 0x14000);
  CHECK(image.place.limit == 0x18000);
  CHECK(std::string(image.path) == "/lib/a");
}

#endif
