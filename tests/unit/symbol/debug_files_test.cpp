// tests/unit/symbol/debug_files_test.cpp - debug files wherever they may be, and none that belongs to another file.

#include "prof/symbol/debug_files.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "small_elf.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using small_elfs::raw;
using small_elfs::small_elf;

const std::string id_text = "0123456789abcdefghij";
const std::string id_hex = "303132333435363738396162636465666768696a";

std::string text_of(text_view text) { return std::string(text.data, text.size); }

// A folder of its own, and an environment that leads to nothing else.
class own_folder {
 public:
  own_folder() {
    char name[] = "/tmp/prof_debug_XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
    const char* const home = std::getenv("HOME");
    home_ = home == nullptr ? "" : home;
    set("HOME", path + "/home");
    for (const char* const name_of : {"PROF_DEBUG_PATH", "DEBUGINFOD_CACHE_PATH", "XDG_CACHE_HOME"}) unsetenv(name_of);
  }
  ~own_folder() {
    set("HOME", home_);
    for (const char* const name : {"PROF_DEBUG_PATH", "DEBUGINFOD_CACHE_PATH", "XDG_CACHE_HOME"}) unsetenv(name);
    const int removed = std::system(("rm -r " + path).c_str());
    CHECK(removed == 0);
  }
  own_folder(const own_folder&) = delete;
  own_folder& operator=(const own_folder&) = delete;

  static void set(const char* name, const std::string& value) { setenv(name, value.c_str(), 1); }
  // Makes the file and the folders above it; its path.
  std::string put(const std::string& name, const std::string& content) const {
    const std::string whole = path + "/" + name;
    for (std::size_t at = path.size() + 1; (at = whole.find('/', at)) != std::string::npos; ++at) {
      mkdir(whole.substr(0, at).c_str(), 0700);
    }
    std::ofstream(whole, std::ios::binary) << content;
    return whole;
  }

  std::string path;

 private:
  std::string home_;
};

std::string with_id(small_elf elf, const std::string& id) {
  elf.build_id = id;
  return elf.bytes();
}
// A file with lines, of a build.
std::string debug_of(const std::string& id, const std::string& marked = "lines") {
  small_elf elf;
  elf.add(".debug_info", SHT_PROGBITS, 0, 0, marked);
  return with_id(elf, id);
}
std::string link_to(const std::string& name, std::uint32_t crc) {
  std::string content = name + '\0';
  content.resize((content.size() + 3) & ~std::size_t{3});
  return content + raw(crc);
}
std::string stripped(const std::string& id, const std::string& link = "") {
  small_elf elf;
  if (!link.empty()) elf.add(".gnu_debuglink", SHT_PROGBITS, 0, 0, link);
  return with_id(elf, id);
}
std::uint32_t crc_of(const std::string& content) {
  return gzip_crc32(0, reinterpret_cast<const unsigned char*>(content.data()), content.size());
}

// The path of the debug file of a file, without that of the folder; "": none.
std::string debug_file_of(const own_folder& folder, const std::string& content, const std::string& path) {
  arena memory(os_pages);
  debug_files files(memory);
  debug_file found;
  if (!files.find(elf_image(content.data(), content.size()), {path.data(), path.size()}, found)) {
    CHECK(found.pages == nullptr);
    return "";
  }
  CHECK(found.image.usable());
  const std::string where = text_of(found.path);
  close_debug_file(found);
  return where.compare(0, folder.path.size(), folder.path) == 0 ? where.substr(folder.path.size()) : where;
}

}  // namespace

TEST_CASE("by build id: in folders of PROF_DEBUG_PATH and in debuginfod's caches") {
  const own_folder folder;
  const std::string file = stripped(id_text);
  const std::string by_id = ".build-id/30/" + id_hex.substr(2) + ".debug";
  const auto found = [&] { return debug_file_of(folder, file, "/usr/bin/service"); };
  CHECK(found() == "");
  own_folder::set("PROF_DEBUG_PATH", folder.path + "/none::" + folder.path + "/own");
  CHECK(found() == "");
  folder.put("home/.debuginfod_client_cache/" + id_hex + "/debuginfo", debug_of(id_text));
  CHECK(found() == "/home/.debuginfod_client_cache/" + id_hex + "/debuginfo");
  folder.put("home/.cache/debuginfod_client/" + id_hex + "/debuginfo", debug_of(id_text));
  CHECK(found() == "/home/.cache/debuginfod_client/" + id_hex + "/debuginfo");
  own_folder::set("XDG_CACHE_HOME", folder.path + "/xdg");
  folder.put("xdg/debuginfod_client/" + id_hex + "/debuginfo", debug_of(id_text));
  CHECK(found() == "/xdg/debuginfod_client/" + id_hex + "/debuginfo");
  own_folder::set("DEBUGINFOD_CACHE_PATH", folder.path + "/cache");
  CHECK(found() == "");  // then the others are not caches
  folder.put("cache/" + id_hex + "/debuginfo", debug_of(id_text));
  CHECK(found() == "/cache/" + id_hex + "/debuginfo");
  folder.put("own/" + by_id, debug_of(id_text));
  CHECK(found() == "/own/" + by_id);
  std::string up;
  for (int i = 0; i < 50; ++i) up += "../";
  own_folder::set("PROF_DEBUG_PATH", up + folder.path.substr(1) + "/own");  // from wherever the program is
  CHECK(found() == "/cache/" + id_hex + "/debuginfo");
}

TEST_CASE("by name: beside the file, in .debug, in folders of PROF_DEBUG_PATH") {
  for (const std::string& id : {id_text, std::string()}) {
    const own_folder folder;
    const std::string lines = debug_of(id);
    const std::string file = stripped(id, link_to("service.debug", crc_of(lines)));
    const auto found = [&] { return debug_file_of(folder, file, folder.path + "/bin/service"); };
    CHECK(found() == "");
    own_folder::set("PROF_DEBUG_PATH", folder.path + "/own");
    folder.put("own/service.debug", lines);
    CHECK(found() == "/own/service.debug");
    folder.put("bin/.debug/service.debug", lines);
    CHECK(found() == "/bin/.debug/service.debug");
    folder.put("bin/service.debug", lines);
    CHECK(found() == "/bin/service.debug");
    CHECK(debug_file_of(folder, file, "service") == "/own/service.debug");  // no folder to look beside it
  }
}

TEST_CASE("in the system's folder: by build id before all others, by the folder of the file, by .dwz") {
  const own_folder folder;
  const std::string system = folder.path + "/system";
  const auto find = [&](const std::string& content, bool supplement) {
    arena memory(os_pages);
    debug_files files(memory, {system.data(), system.size()});
    debug_file found;
    const elf_image image(content.data(), content.size());
    const bool is_found =
        supplement ? files.find_supplement(image, "/x", found) : files.find(image, "/usr/bin/service", found);
    const std::string where = text_of(found.path);
    close_debug_file(found);
    return is_found ? where : "none";
  };
  const std::string lines = debug_of(id_text);
  const std::string file = stripped(id_text, link_to("service.debug", 0));
  const std::string by_folder = folder.put("system/usr/bin/service.debug", lines);
  CHECK(find(file, false) == by_folder);
  folder.put("system/service.debug", lines);  // not there
  CHECK(find(file, false) == by_folder);
  own_folder::set("PROF_DEBUG_PATH", folder.path + "/own");
  folder.put("own/.build-id/30/" + id_hex.substr(2) + ".debug", lines);
  const std::string by_id = folder.put("system/.build-id/30/" + id_hex.substr(2) + ".debug", lines);
  CHECK(find(file, false) == by_id);
  small_elf shared;
  shared.add(".gnu_debugaltlink", SHT_PROGBITS, 0, 0, std::string("../.dwz/shared.debug") + '\0' + id_text);
  const std::string dwz = folder.put("system/.dwz/shared.debug", lines);
  CHECK(find(shared.bytes(), true) == dwz);
  own_folder::set("PROF_DEBUG_PATH", "");
  unlink(by_id.c_str());
  unlink(by_folder.c_str());
  CHECK(find(file, false) == "none");
}

TEST_CASE("behind the deadline no file is checked by its CRC, which is said") {
  const own_folder folder;
  const std::string nameless = debug_of("");
  const std::string lines = debug_of(id_text);
  folder.put("b/service.debug", nameless);
  folder.put("c/service.debug", lines);
  for (const bool is_late : {false, true}) {
    arena memory(os_pages);
    debug_files files(memory, {"/nowhere", 8}, is_late ? os_monotonic_ns_sig() : ~std::uint64_t{0});
    debug_file found;
    const std::string by_id = stripped(id_text, link_to("service.debug", 0));
    const std::string by_crc = stripped("", link_to("service.debug", crc_of(nameless)));
    const std::string folders[] = {folder.path + "/b/service", folder.path + "/c/service"};
    CHECK(files.find(elf_image(by_id.data(), by_id.size()), {folders[1].data(), folders[1].size()}, found));
    close_debug_file(found);
    CHECK_FALSE(files.is_late());
    CHECK(files.find(elf_image(by_crc.data(), by_crc.size()), {folders[0].data(), folders[0].size()}, found) == !is_late);
    close_debug_file(found);
    CHECK(files.is_late() == is_late);
  }
}

TEST_CASE("another build's file is not taken, with the right CRC neither; without build ids the CRC decides") {
  const own_folder folder;
  const std::string other = debug_of("another build's id..");
  CHECK(other.size() > 0);
  folder.put("a/service.debug", other);
  CHECK(debug_file_of(folder, stripped(id_text, link_to("service.debug", crc_of(other))), folder.path + "/a/service") == "");
  const std::string nameless = debug_of("");
  folder.put("b/service.debug", nameless);
  const std::string path = folder.path + "/b/service";
  CHECK(debug_file_of(folder, stripped(id_text, link_to("service.debug", crc_of(nameless))), path) == "");
  CHECK(debug_file_of(folder, stripped("", link_to("service.debug", crc_of(nameless) + 1)), path) == "");
  CHECK(debug_file_of(folder, stripped("", link_to("service.debug", crc_of(nameless))), path) == "/b/service.debug");
  CHECK(debug_file_of(folder, stripped(""), path) == "");
}

TEST_CASE("a file is not its own debug file, and one with all has no need of any") {
  const own_folder folder;
  own_folder::set("PROF_DEBUG_PATH", folder.path + "/own");
  const std::string by_id = "own/.build-id/30/" + id_hex.substr(2) + ".debug";
  const std::string itself = stripped(id_text, link_to("service", 0));
  folder.put("bin/service", itself);
  folder.put(by_id, itself);
  CHECK(debug_file_of(folder, itself, folder.path + "/bin/service") == "");
  small_elf symbols;
  symbols.add(".symtab", SHT_SYMTAB, 0, 0, "symbols");
  folder.put(by_id, with_id(symbols, id_text));
  CHECK(debug_file_of(folder, itself, "/bin/service") == "/" + by_id);
  CHECK(debug_file_of(folder, with_id(symbols, id_text), "/bin/service") == "");  // no more than it has
  small_elf whole = symbols;
  whole.add(".debug_info", SHT_PROGBITS, 0, 0, "lines");
  folder.put(by_id, with_id(whole, id_text));
  CHECK(debug_file_of(folder, with_id(symbols, id_text), "/bin/service") == "/" + by_id);
  CHECK(debug_file_of(folder, with_id(whole, id_text), "/bin/service") == "");
}

TEST_CASE("broken links are none") {
  const auto link_in = [](const std::string& content) {
    const std::string file = stripped("", content);
    const debug_link link = debug_link_of(elf_image(file.data(), file.size()));
    return text_of(link.name) + "," + std::to_string(link.crc);
  };
  CHECK(link_in(link_to("a.debug", 7)) == "a.debug,7");
  CHECK(link_in(link_to("abc", 7)) == "abc,7");
  CHECK(link_in(link_to("", 7)) == ",0");
  CHECK(link_in(link_to("../a", 7)) == ",0");
  CHECK(link_in("abc") == ",0");
  CHECK(link_in(link_to("abc", 7).substr(0, 7)) == ",0");
  CHECK(link_in(link_to("abc", 7).substr(0, 4)) == ",0");
}

// ---- supplementary files -----------------------------------------------------------------------------

namespace {

std::string with_alternative(const std::string& path, const std::string& id) {
  small_elf elf;
  elf.add(".gnu_debugaltlink", SHT_PROGBITS, 0, 0, path + '\0' + id);
  return elf.bytes();
}
std::string with_sup(const std::string& path, const std::string& checksum, char is_supplement = 0) {
  small_elf elf;
  elf.build_id = "";
  const std::string head = std::string("\5\0", 2) + is_supplement + path + '\0';
  elf.add(".debug_sup", SHT_PROGBITS, 0, 0, head + static_cast<char>(checksum.size()) + checksum);
  return elf.bytes();
}

std::string supplement_of(const own_folder& folder, const std::string& content, const std::string& path) {
  arena memory(os_pages);
  debug_files files(memory);
  debug_file found;
  if (!files.find_supplement(elf_image(content.data(), content.size()), {path.data(), path.size()}, found)) return "";
  const std::string where = text_of(found.path);
  close_debug_file(found);
  return where.compare(0, folder.path.size(), folder.path) == 0 ? where.substr(folder.path.size()) : where;
}

}  // namespace

TEST_CASE("a supplementary file is found by its path, from where the file lies that names it") {
  const own_folder folder;
  const std::string shared = debug_of(id_text);
  folder.put("debug/.dwz/service.debug", shared);
  folder.put("debug/.build-id/aa/x.debug", "");
  const std::string path = folder.path + "/debug/.build-id/aa/x.debug";
  CHECK(supplement_of(folder, with_alternative("../../.dwz/service.debug", id_text), path) ==
        "/debug/.build-id/aa/../../.dwz/service.debug");
  const std::string whole = folder.path + "/debug/.dwz/service.debug";
  CHECK(supplement_of(folder, with_alternative(whole, id_text), "") == "/debug/.dwz/service.debug");
  CHECK(supplement_of(folder, with_sup(whole, id_text), "") == "/debug/.dwz/service.debug");
  CHECK(supplement_of(folder, with_alternative(whole, "another id.........."), "") == "");
  CHECK(supplement_of(folder, with_alternative(whole, ""), "") == "");
  CHECK(supplement_of(folder, with_sup(whole, id_text, 1), "") == "");  // it is one itself
  folder.put("debug/.dwz/service.debug", with_sup("", "checksum", 1));
  CHECK(supplement_of(folder, with_sup(whole, "checksum"), "") == "/debug/.dwz/service.debug");
  CHECK(supplement_of(folder, with_sup(whole, "checksun"), "") == "");
  folder.put("debug/.dwz/service.debug", with_sup("", "checksum", 0));
  CHECK(supplement_of(folder, with_sup(whole, "checksum"), "") == "");
}

TEST_CASE("from where a link to the file leads") {
  const own_folder folder;
  folder.put("debug/.dwz/service.debug", debug_of(id_text));
  folder.put("debug/lib/x.debug", "");
  folder.put("links/y.debug", "");
  for (const std::string& target : {folder.path + "/debug/lib/x.debug", std::string("../debug/lib/x.debug")}) {
    const std::string link = folder.path + "/links/x.debug";
    REQUIRE(symlink(target.c_str(), link.c_str()) == 0);
    const std::string found = supplement_of(folder, with_alternative("../.dwz/service.debug", id_text), link);
    CHECK(found.find("debug/lib/../.dwz/service.debug") != std::string::npos);
    unlink(link.c_str());
  }
}

TEST_CASE("or wherever debug files are, by name below .dwz, or by build id") {
  const own_folder folder;
  own_folder::set("PROF_DEBUG_PATH", folder.path + "/own");
  const std::string file = with_alternative("../../.dwz/x86_64/service.debug", id_text);
  CHECK(supplement_of(folder, file, "/nowhere/x.debug") == "");
  const std::string by_id = "own/.build-id/30/" + id_hex.substr(2) + ".debug";
  folder.put(by_id, debug_of(id_text));
  CHECK(supplement_of(folder, file, "/nowhere/x.debug") == "/" + by_id);
  folder.put("own/.dwz/x86_64/service.debug", debug_of(id_text));
  CHECK(supplement_of(folder, file, "/nowhere/x.debug") == "/own/.dwz/x86_64/service.debug");
  CHECK(supplement_of(folder, with_alternative(".dwz/x86_64/service.debug", id_text), "") ==
        "/own/.dwz/x86_64/service.debug");
}

TEST_CASE("broken names of supplementary files are none") {
  const auto link_in = [](const std::string& section, const std::string& content) {
    small_elf elf;
    elf.add(section, SHT_PROGBITS, 0, 0, content);
    const std::string file = elf.bytes();
    const supplement_link link = supplement_link_of(elf_image(file.data(), file.size()));
    return text_of(link.path) + "," + text_of(link.id);
  };
  CHECK(link_in(".gnu_debugaltlink", std::string("a\0id", 4)) == "a,id");
  CHECK(link_in(".gnu_debugaltlink", "a") == ",");
  CHECK(link_in(".debug_sup", std::string("\5\0\0a\0\2id", 8)) == "a,id");
  CHECK(link_in(".debug_sup", std::string("\5\0\0a\0\3id", 8)) == ",");
  CHECK(link_in(".debug_sup", std::string("\4\0\0a\0\2id", 8)) == ",");
  CHECK(link_in(".debug_sup", std::string("\5\0\0a\0", 5)) == ",");
  CHECK(link_in(".debug_sup", std::string("\5\0\0abcdef", 9)) == ",");
  CHECK(link_in(".debug_sup", std::string("\5\0\0", 3)) == ",");
  CHECK(link_in(".debug_sup", std::string("\5\0\0a\0\x82\0id", 9)) == ",");
}

#endif
