// prof/os/objects.hpp - the notes of loaded objects, and keeping an object loaded: what the thin header asks of the
// system.
// Floor 3 (os). A contract of its own, so that the thin header does not bring the headers of os/os.hpp.
// Safety: ordinary context; takes the loader's lock.
// Memory: none.
// Source: dl_iterate_phdr(3), dlopen(3) RTLD_NODELETE, pthread_atfork(3); System V gABI ch. 5, "Note Section".
#ifndef PROF_OS_OBJECTS_HPP
#define PROF_OS_OBJECTS_HPP

#include <cstring>

#include "prof/base/platform.hpp"

#if defined(__linux__) && defined(__ELF__)
#include <dlfcn.h>
#include <link.h>
#include <sched.h>
#include <time.h>

#include <atomic>
#endif

PROF_DETAIL_BEGIN

// A note whose owner is "prof", of one loaded object.
struct object_note {
  std::uint32_t type = 0;
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  const char* object = "";  // the object's file as the loader knows it; "" of the program
};

#if defined(__linux__) && defined(__ELF__)

// Weak: a fully static program has no loader. Before glibc 2.34 linux_loader.hpp has a strong reference to it.
extern "C" void* prof_any_dlsym(void*, const char*) noexcept PROF_DETAIL_WEAK_IMPORT("dlsym");

// Keeps an object loaded for ever. Looked up at run time: a static link warns about any reference to dlopen.
inline void os_pin_file(const char* name) noexcept {
  if (prof_any_dlsym == nullptr || name == nullptr || name[0] == '\0') return;
  void* const found = prof_any_dlsym(RTLD_DEFAULT, "dlopen");
  void* (*open)(const char*, int) = nullptr;
  std::memcpy(&open, &found, sizeof open);
  if (open != nullptr) (void)open(name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

// ---- fork and the loader's lock ------------------------------------------------------------------------------------
// glibc (2.36, posix/fork.c) leaves dl_load_write_lock, which dl_iterate_phdr takes, as it is: were it held by another
// thread at a fork, the child could never load anything, nor throw before 2.35. So fork waits for this object's calls,
// and calls wait for forks: a second at most, for the lock may be held by who waits for the fork.

inline std::atomic<int> loader_calls{0};
inline std::atomic<int> loader_forks{0};
inline std::atomic<bool> loader_watches_forks{false};

// glibc's, behind pthread_atfork, which is not in its shared library. musl puts its lock right in the child.
extern "C" int prof_any_register_atfork(void (*)(), void (*)(), void (*)(), void*)
    PROF_DETAIL_WEAK_IMPORT("__register_atfork");
extern "C" __attribute__((__visibility__("hidden"))) char prof_dso_handle __asm__("__dso_handle");

inline std::uint64_t loader_clock_ms() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1000000;
}
inline bool wait_until_none(const std::atomic<int>& count) noexcept {
  for (const std::uint64_t end = loader_clock_ms() + 1000; count.load() > 0; sched_yield()) {
    if (loader_clock_ms() >= end) return false;
  }
  return true;
}
// Handlers that wait for what calls os_iterate_objects must be registered behind this: fork runs the last ones first.
PROF_DETAIL_COLD inline void os_hold_forks_for_loader() noexcept {
  if (loader_watches_forks.exchange(true) || prof_any_register_atfork == nullptr) return;
  (void)prof_any_register_atfork(
      [] {
        loader_forks.fetch_add(1);
        (void)wait_until_none(loader_calls);
      },
      [] { loader_forks.fetch_sub(1); },
      [] {
        loader_calls.store(0);
        loader_forks.store(0);
      },
      &prof_dso_handle);
}

// dl_iterate_phdr, not while another thread forks.
PROF_DETAIL_COLD inline void os_iterate_objects(int (*visit)(dl_phdr_info*, std::size_t, void*), void* context) noexcept {
  if (!loader_watches_forks.load(std::memory_order_relaxed)) os_hold_forks_for_loader();
  // Whoever of a call and a fork comes second sees the first: both are sequentially consistent.
  for (bool waits = true; loader_calls.fetch_add(1), waits && loader_forks.load() > 0;) {
    loader_calls.fetch_sub(1);
    waits = wait_until_none(loader_forks);
  }
  dl_iterate_phdr(visit, context);
  loader_calls.fetch_sub(1);
}

// ---- notes ---------------------------------------------------------------------------------------------------------

struct note_search {
  bool (*visit)(void* context, const object_note& note);
  void* context;
};

// The notes of one segment, 4-byte aligned as prof's are; false when visit said so.
inline bool visit_notes(const unsigned char* at, std::size_t size, const char* object, const note_search& search) noexcept {
  while (size >= 12) {
    std::uint32_t head[3];  // sizes of owner and contents, type
    std::memcpy(head, at, sizeof head);
    const std::size_t owner = (std::size_t{head[0]} + 3) & ~std::size_t{3};
    const std::size_t contents = (std::size_t{head[1]} + 3) & ~std::size_t{3};
    if (owner > size - 12 || contents > size - 12 - owner) return true;
    if (head[0] == 5 && std::memcmp(at + 12, "prof", 5) == 0) {
      if (!search.visit(search.context, {head[2], at + 12 + owner, head[1], object})) return false;
    }
    at += 12 + owner + contents;
    size -= 12 + owner + contents;
  }
  return true;
}

// Whether all of a segment is in memory: a note may be in the file only.
inline bool is_loaded_segment(const dl_phdr_info& info, const ElfW(Phdr)& segment) noexcept {
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const auto& load = info.dlpi_phdr[i];
    const bool holds = load.p_type == PT_LOAD && segment.p_vaddr >= load.p_vaddr &&
                       segment.p_vaddr - load.p_vaddr <= load.p_filesz &&
                       segment.p_filesz <= load.p_filesz - (segment.p_vaddr - load.p_vaddr);
    if (holds) return true;
  }
  return false;
}

// Calls visit(context, note) for prof's notes of all loaded objects, until it returns false. No object is unloaded
// meanwhile; visit must not load or unload any.
PROF_DETAIL_COLD inline void os_for_each_object_note(note_search search) noexcept {
  os_iterate_objects(
      [](dl_phdr_info* info, std::size_t, void* data) {
        const auto& wanted = *static_cast<const note_search*>(data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_NOTE || !is_loaded_segment(*info, segment)) continue;
          const auto* const bytes = reinterpret_cast<const unsigned char*>(info->dlpi_addr + segment.p_vaddr);
          const char* const name = info->dlpi_name != nullptr ? info->dlpi_name : "";
          if (!visit_notes(bytes, segment.p_filesz, name, wanted)) return 1;
        }
        return 0;
      },
      &search);
}

#else

inline void os_pin_file(const char*) noexcept {}
inline void os_hold_forks_for_loader() noexcept {}
inline std::uint64_t loader_clock_ms() noexcept { return 0; }
struct note_search {
  bool (*visit)(void* context, const object_note& note);
  void* context;
};
inline void os_for_each_object_note(note_search) noexcept {}

#endif

PROF_DETAIL_END

#endif  // PROF_OS_OBJECTS_HPP
