// name_addresses.cpp - `name_addresses FILE [functions|lines|inlines] < addresses`: names link-time addresses of a file,
// a hexadecimal one per line, as prof's symbolizer does. For each a line: an array of frames, innermost first, each
// {"name", "linkage", "file", "line", "column", "start_line", "made_up"}; [] for an address that the file does not have.
// The file must have a build id. On stderr: how long it took in milliseconds, and what memory, in KiB.

#include <prof/prof.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using namespace prof::detail;

constexpr std::uint64_t loaded_at = std::uint64_t{1} << 40;  // where the file is said to be mapped, whole

std::string quoted(text_view text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size; ++i) {
    const char c = text.data[i];
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  }
  return out + '"';
}

std::string hex_of(text_view bytes) {
  std::string hex;
  for (std::size_t i = 0; i < bytes.size; ++i) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned>(static_cast<unsigned char>(bytes.data[i])));
    hex += two;
  }
  return hex;
}

// False: no segment of the file has it.
bool offset_of(const elf_image& image, std::uint64_t address, std::uint64_t& offset) {
  Elf64_Phdr segment{};
  for (std::size_t i = 0; image.segment(i, segment); ++i) {
    const bool holds = segment.p_type == PT_LOAD && address - segment.p_vaddr < segment.p_filesz;
    if (!holds) continue;
    offset = address - segment.p_vaddr + segment.p_offset;
    return true;
  }
  return false;
}

std::string frames_of(const profile& p, const profile_location& location) {
  std::string out = "[";
  for (std::uint32_t i = 0; i < location.line_count; ++i) {
    const profile_line& line = p.lines[location.first_line + i];
    const profile_function& function = p.functions[line.function];
    out += std::string(i == 0 ? "" : ", ") + "{\"name\": " + quoted(p.strings[function.name]) +
           ", \"linkage\": " + quoted(p.strings[function.system_name != 0 ? function.system_name : function.name]) + ", \"file\": " + quoted(p.strings[function.file]) +
           ", \"line\": " + std::to_string(line.line) + ", \"column\": " + std::to_string(line.column) +
           ", \"start_line\": " + std::to_string(function.start_line) +
           ", \"made_up\": " + (function.is_made_up ? "true" : "false") + "}";
  }
  return out + "]";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string word = argc > 2 ? argv[2] : "inlines";
  const name_detail detail = word == "functions" ? name_detail::functions
                             : word == "lines"   ? name_detail::lines
                                                 : name_detail::inlines;
  std::size_t size = 0;
  const void* const pages = os_map_file(argv[1], size);
  const elf_image image(pages, size);
  arena memory(os_pages);
  profile p(memory);
  profile_mapping mapping;
  mapping.start = loaded_at;
  mapping.limit = loaded_at + size;
  mapping.file = p.string(argv[1]);
  mapping.build_id = p.string(hex_of(image.build_id()).c_str());
  p.mappings.push(mapping);
  std::vector<std::uint32_t> locations;
  for (char line[64]; std::fgets(line, sizeof line, stdin) != nullptr;) {
    std::uint64_t offset = 0;
    const bool is_there = offset_of(image, std::strtoull(line, nullptr, 16), offset);
    locations.push_back(is_there ? p.add_location(0, loaded_at + offset) : no_index);
  }
  const auto begun = std::chrono::steady_clock::now();
  arena own(os_pages);
  symbolizer(own, nullptr, {}, detail).symbolize(p, nullptr);
  const auto took = std::chrono::steady_clock::now() - begun;
  std::fprintf(stderr, "%.3f %zu\n", std::chrono::duration<double, std::milli>(took).count(), own.bytes() >> 10);
  for (std::size_t i = 0; i < p.comments.size(); ++i) {
    std::fprintf(stderr, "# %s\n", std::string(p.strings[p.comments[i]].data, p.strings[p.comments[i]].size).c_str());
  }
  for (const std::uint32_t location : locations) {
    std::puts(location == no_index ? "[]" : frames_of(p, p.locations[location]).c_str());
  }
}
