// tests/unit/os/linux_loader_test.cpp - objects as the loader knows them.

#include "prof/os/os.hpp"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <link.h>

#include <cstdint>
#include <initializer_list>
#include <string>

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

std::uintptr_t header_by_loader(std::uintptr_t address) {
  struct search {
    std::uintptr_t address;
    std::uintptr_t found;
  } for_it{address, 0};
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* context) {
        auto& wanted = *static_cast<search*>(context);
        std::uintptr_t header = 0;
        bool holds = false;
        for (int i = 0; i < object->dlpi_phnum; ++i) {
          const ElfW(Phdr)& segment = object->dlpi_phdr[i];
          const std::uintptr_t begin = object->dlpi_addr + segment.p_vaddr;
          if (segment.p_type == PT_GNU_EH_FRAME) header = begin;
          if (segment.p_type != PT_LOAD) continue;
          holds = holds || wanted.address - begin < segment.p_memsz;
        }
        if (holds) wanted.found = header;
        return holds ? 1 : 0;
      },
      &for_it);
  return for_it.found;
}

extern "C" const char prof_test_old_loader __attribute__((__weak__));  // see old_loader.s

bool loader_can_be_asked() {
  return dlsym(RTLD_DEFAULT, "_dl_find_object") != nullptr && &prof_test_old_loader == nullptr;
}

}  // namespace

TEST_CASE("the next definition of a symbol is libc's") {
  void* const next = os_next_symbol("getpid");
  REQUIRE(next != nullptr);
  CHECK(std::string(os_file_of(next)).find("libc") != std::string::npos);
  CHECK(os_next_symbol("prof_no_such_symbol_at_all") == nullptr);
}

TEST_CASE("the loader knows the objects that hold code, with their search headers") {
  for (const auto address : {reinterpret_cast<std::uintptr_t>(&header_by_loader),
                             reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "qsort"))}) {
    os_object object;
    REQUIRE(os_find_object_sig(address, object) == loader_can_be_asked());
    if (!loader_can_be_asked()) continue;
    CHECK(object.start <= address);
    CHECK(address < object.limit);
    CHECK(object.cfi_header == header_by_loader(address));
    CHECK(object.cfi_header != 0);
  }
}

TEST_CASE("the two objects are different ones") {
  if (!loader_can_be_asked()) return;
  os_object own;
  os_object libc;
  REQUIRE(os_find_object_sig(reinterpret_cast<std::uintptr_t>(&header_by_loader), own));
  REQUIRE(os_find_object_sig(reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "qsort")), libc));
  CHECK(own.cfi_header != libc.cfi_header);
  CHECK((own.limit <= libc.start || libc.limit <= own.start));
}

TEST_CASE("what no object holds is not found") {
  os_object object;
  int local = 0;
  CHECK_FALSE(os_find_object_sig(reinterpret_cast<std::uintptr_t>(&local), object));
  CHECK_FALSE(os_find_object_sig(0, object));
  CHECK_FALSE(os_find_object_sig(~std::uintptr_t{0}, object));
}

#endif
