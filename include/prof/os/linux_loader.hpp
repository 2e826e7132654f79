// prof/os/linux_loader.hpp - the OS contract on Linux: what the dynamic loader knows and does.
// Floor 3 (os). Included by os/os.hpp only, behind os/linux.hpp.
// Safety: functions ending in _sig are async-signal-safe; the rest is for ordinary context and may take the
//         loader's lock.
// Memory: none.
// Source: dlsym(3), dladdr(3), dl_iterate_phdr(3); _dl_find_object: glibc 2.35's manual, "Dynamic Linker
//         Introspection" (AS-safe, lock-free).
#ifndef PROF_OS_LINUX_LOADER_HPP
#define PROF_OS_LINUX_LOADER_HPP

#include <dlfcn.h>
#include <sys/auxv.h>

#include "prof/os/linux.hpp"
#include "prof/os/objects.hpp"

PROF_DETAIL_BEGIN

// ---- next definitions -------------------------------------------------------------------------------

#if PROF_DETAIL_GLIBC_BEFORE(34)
// Not weak: a linker that has --as-needed by default (Debian 11's, Ubuntu's) leaves out libdl, where dlsym
// was, when only weak references are for it; then hooks have no next definition, and the host no threads.
// Without -ldl the link fails instead.
extern "C" {
void* prof_libc_dlsym(void*, const char*) noexcept __asm__("dlsym")
    __attribute__((__visibility__("default")));
int prof_libc_dladdr(const void*, Dl_info*) noexcept __asm__("dladdr")
    __attribute__((__visibility__("default")));
}
inline bool os_has_dlsym() noexcept { return true; }
#else
// Weak: a fully static program has no loader. Every hook has a defined fallback for "no next definition".
extern "C" {
void* prof_libc_dlsym(void*, const char*) noexcept PROF_DETAIL_WEAK_IMPORT("dlsym");
int prof_libc_dladdr(const void*, Dl_info*) noexcept PROF_DETAIL_WEAK_IMPORT("dladdr");
}
inline bool os_has_dlsym() noexcept {
  return prof_libc_dlsym != nullptr && prof_libc_dladdr != nullptr;
}
#endif

// The next definition after this shared object's. RTLD_NEXT looks at the caller's address, so this
// must be a real call from this object's own text and never a tail call.
PROF_DETAIL_NOINLINE inline void* os_next_symbol(const char* name) noexcept {
  void* found = nullptr;
  if (os_has_dlsym()) found = prof_libc_dlsym(RTLD_NEXT, name);
  __asm__ volatile("" : "+r"(found));
  return found;
}

// The file that holds an address, as it was given to the loader; "" when unknown, or the loader is busy.
inline const char* os_file_of(const void* address) noexcept {
  Dl_info info;
  if (!os_has_dlsym() || is_loader_busy(loader_lock::objects) || prof_libc_dladdr(address, &info) == 0) return "";
  return info.dli_fname != nullptr ? info.dli_fname : "";
}

// Keeps the object that holds `address` loaded for ever: a handler or a hook in it may be entered any
// time. False where the loader is busy.
inline bool os_pin_object(const void* address) noexcept {
  return !is_loader_busy(loader_lock::objects) && os_pin_file(os_file_of(address));
}

// ---- loaded objects ----------------------------------------------------------------------------------

inline bool os_loader_is_busy() noexcept { return is_loader_busy(loader_lock::list); }

inline std::uint64_t os_objects_loaded() noexcept {
  std::uint64_t loaded = 0;
  (void)os_iterate_objects(
      [](dl_phdr_info* info, std::size_t, void* count) {
        *static_cast<std::uint64_t*>(count) = info->dlpi_adds;
        return 1;
      },
      &loaded);
  return loaded;
}

// Where the program's own first byte is mapped.
inline std::uintptr_t os_program_header_sig() PROF_DETAIL_SIG {
  return static_cast<std::uintptr_t>(getauxval(AT_PHDR)) & ~std::uintptr_t{4095};
}

// Copied, for another thread may set a variable meanwhile, and getenv(3) would read what that has freed.
inline std::size_t os_environment(const char* name, char* buffer, std::size_t size) noexcept {
  if (getauxval(AT_SECURE) != 0) return 0;
  const std::size_t name_size = std::strlen(name);
  std::uintptr_t variable = 0;
  for (std::size_t i = 0; i < 4096; ++i) {
    if (!os_copy_sig(&variable, reinterpret_cast<std::uintptr_t>(environ + i), sizeof variable) || variable == 0) break;
    char begin[32];
    if (name_size >= sizeof begin || !os_copy_sig(begin, variable, name_size + 1)) continue;
    if (std::memcmp(begin, name, name_size) != 0 || begin[name_size] != '=') continue;
    return os_copy_text_sig(buffer, variable + name_size + 1, size);
  }
  return 0;
}

// The loader lists what it loaded at the start first and is in that list itself: what comes behind it
// may have come later. (glibc 2.36's elf/rtld.c puts it where it is needed first, or last.)
inline std::size_t os_never_unloaded_objects(std::uintptr_t* headers, std::size_t room) noexcept {
  struct list {
    std::uintptr_t* headers;
    std::size_t room;
    std::size_t count;
    bool met_loader;
  } found{headers, room, 0, false};
  (void)os_iterate_objects(
      [](dl_phdr_info* info, std::size_t, void* data) {
        list& to = *static_cast<list*>(data);
        std::uintptr_t first = info->dlpi_addr;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
          first += info->dlpi_phdr[i].p_vaddr & ~std::uintptr_t{4095};
          break;
        }
        if (to.count < to.room) to.headers[to.count++] = first;
        to.met_loader = first == getauxval(AT_BASE);
        return to.met_loader ? 1 : 0;
      },
      &found);
  return found.met_loader ? found.count : 0;  // it is not there as ld.so ./program
}

// dl_iterate_phdr(3) holds the lock under which glibc 2.36 unlists and unmaps (elf/dl-close.c); musl
// never unmaps.
inline bool os_with_objects_kept(void (*visit)(void*), void* context) noexcept {
  struct call {
    void (*visit)(void*);
    void* context;
  } wanted{visit, context};
  return os_iterate_objects(
      [](dl_phdr_info*, std::size_t, void* data) {
        const call& c = *static_cast<call*>(data);
        c.visit(c.context);
        return 1;
      },
      &wanted);
}

// ---- the object of an address ------------------------------------------------------------------------

// struct dl_find_object of glibc's <dlfcn.h>, which older ones and musl do not have.
struct loader_object {
  std::uint64_t flags;
  void* map_start;
  void* map_end;
  void* link_map;
  void* eh_frame;  // .eh_frame_hdr
  std::uint64_t reserved[8];
};
extern "C" int prof_weak_dl_find_object(void*, loader_object*) noexcept
    PROF_DETAIL_WEAK_IMPORT("_dl_find_object");

#if defined(__GLIBC__)
inline constexpr bool os_unloads_objects = true;
#else
inline constexpr bool os_unloads_objects = false;  // musl's dlclose(3) does nothing
#endif

inline bool os_answers_for_objects() PROF_DETAIL_SIG { return prof_weak_dl_find_object != nullptr; }

static_assert(sizeof(loader_object) == sizeof(os_object::answer), "the loader writes all of it");
inline bool os_find_object_sig(std::uintptr_t address, os_object& object) PROF_DETAIL_SIG {
  if (!os_answers_for_objects()) return false;
  void* const room = object.answer;
  loader_object& found = *new (room) loader_object;
  if (prof_weak_dl_find_object(reinterpret_cast<void*>(address), &found) != 0) return false;
  object.start = reinterpret_cast<std::uintptr_t>(found.map_start);
  object.limit = reinterpret_cast<std::uintptr_t>(found.map_end);
  object.cfi_header = reinterpret_cast<std::uintptr_t>(found.eh_frame);
  object.name_at = reinterpret_cast<std::uintptr_t>(found.link_map) + offsetof(link_map, l_name);
  return true;
}

PROF_DETAIL_END

#endif  // PROF_OS_LINUX_LOADER_HPP
