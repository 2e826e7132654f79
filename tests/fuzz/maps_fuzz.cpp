// tests/fuzz/maps_fuzz.cpp - a line of /proc/self/maps gives back the fields that it was printed
// from; any other line gives a path inside it and reads nothing beyond.

#include "prof/os/os.hpp"

#include "fuzz.hpp"

namespace {

using prof::detail::os_mapping;
using prof::detail::os_parse_mapping_sig;
using prof::detail::text_view;

// As fs/proc/task_mmu.c show_map_vma prints it: the name begins in column 74 or behind the inode.
std::string print_line(const os_mapping& m, const char* permissions, unsigned device) {
  char head[160];
  const int size = std::snprintf(head, sizeof head, "%08llx-%08llx %s %08llx %02x:%02x %llu ",
                                 static_cast<unsigned long long>(m.start),
                                 static_cast<unsigned long long>(m.limit), permissions,
                                 static_cast<unsigned long long>(m.offset), device >> 8,
                                 device & 0xff, static_cast<unsigned long long>(m.inode));
  std::string line(head, static_cast<std::size_t>(size));
  if (m.path.size == 0) return line;
  if (line.size() < 73) line.resize(73, ' ');
  return line.append(m.path.data, m.path.size);
}

// Blanks in front are lost, as between fields; a line break the kernel writes as \012.
text_view usable_path(text_view path) {
  while (path.size != 0 && path.data[0] == ' ') path = path.from(1);
  return {path.data, path.find('\n')};
}

void check_printed(fuzz::source in) {
  os_mapping m;
  m.start = in.number<std::uintptr_t>() >> in.byte() % 64;
  m.limit = in.number<std::uintptr_t>() >> in.byte() % 64;
  m.offset = in.number<std::uint64_t>() >> in.byte() % 64;
  m.inode = in.number<std::uint64_t>() >> in.byte() % 64;
  const unsigned flags = in.byte();
  m.readable = (flags & 1) != 0;
  m.executable = (flags & 2) != 0;
  const char permissions[] = {m.readable ? 'r' : '-', (flags & 4) != 0 ? 'w' : '-',
                              m.executable ? 'x' : '-', (flags & 8) != 0 ? 's' : 'p', '\0'};
  const unsigned device = in.number<std::uint16_t>();
  m.path = usable_path(in.rest());

  const std::string line = print_line(m, permissions, device);
  const os_mapping back = os_parse_mapping_sig({line.data(), line.size()});
  FUZZ_REQUIRE(back.start == m.start && back.limit == m.limit);
  FUZZ_REQUIRE(back.offset == m.offset && back.inode == m.inode);
  FUZZ_REQUIRE(back.readable == m.readable && back.executable == m.executable);
  FUZZ_REQUIRE(back.path.equals(m.path));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const text_view line{reinterpret_cast<const char*>(data), size};
  const os_mapping any = os_parse_mapping_sig(line);
  FUZZ_REQUIRE(any.path.size == 0 || fuzz::lies_in(any.path, line.data, line.size));
  check_printed(fuzz::source(data, size));
  return 0;
}
