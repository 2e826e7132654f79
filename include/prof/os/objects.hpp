// prof/os/objects.hpp - the notes of loaded objects, and keeping an object loaded: what the thin header asks of the
// system.
// Floor 3 (os). A contract of its own, so that the thin header does not bring the headers of os/os.hpp.
// Safety: ordinary context; takes the loader's locks, but waits 50 ms at most for a thread that keeps one.
// Memory: none.
// Source: dl_iterate_phdr(3), dlopen(3) RTLD_NODELETE, pthread_atfork(3); System V gABI ch. 5, "Note Section".
#ifndef PROF_OS_OBJECTS_HPP
#define PROF_OS_OBJECTS_HPP

#include <cstring>

#include "prof/os/linux_call.hpp"

#if defined(__linux__) && defined(__ELF__)
#include <dlfcn.h>
#include <link.h>
#include <sched.h>
#include <sys/auxv.h>
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

inline std::uint64_t loader_clock_ms() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1000000;
}

// ---- whether the loader answers ----------------------------------------------------------------------------------
// glibc's loader has two locks that a thread may keep for as long as it likes: one while dlopen(3) runs the constructors of
// a library, which dlopen, dlsym and dladdr take; one while dl_iterate_phdr(3) calls back, which that takes. Whoever waits
// for them waits with the host, and a deadlock of which they are part could not be looked at. They are recursive mutexes,
// one behind the other in the loader's data (glibc 2.36, elf/rtld.c: _dl_load_lock, _dl_load_write_lock), and in a
// callback of ours the second one is ours: so they are found, once. Where they are not, nothing is ever said to be busy.

// The beginning of glibc's pthread_mutex_t.
struct loader_mutex {
  int lock;
  unsigned count;
  int owner;
  unsigned users;
  int kind;  // 1: recursive
};
#if defined(__aarch64__)
inline constexpr std::size_t loader_mutex_bytes = 48;
#else
inline constexpr std::size_t loader_mutex_bytes = 40;
#endif
enum class loader_lock { objects, list };  // what dlopen takes, what dl_iterate_phdr takes

inline std::atomic<std::uintptr_t> loader_list_lock{0};
inline std::atomic<bool> loader_locks_sought{false};

inline loader_mutex read_loader_mutex(std::uintptr_t address) noexcept {
  loader_mutex mutex{};
  std::memcpy(&mutex, reinterpret_cast<const void*>(address), sizeof mutex);
  return mutex;
}
// 0 where it is not known, which no lock's owner is.
inline int loader_thread_id() noexcept {
#if PROF_DETAIL_LINUX_CALLS
  return static_cast<int>(os_call_sig(SYS_gettid));
#else
  return 0;
#endif
}

// Looks for the lock of the list between two addresses, which the calling thread has once.
inline void seek_loader_locks(std::uintptr_t from, std::uintptr_t to, int self) noexcept {
  for (std::uintptr_t at = from + loader_mutex_bytes; at + loader_mutex_bytes <= to; at += 8) {
    const loader_mutex list = read_loader_mutex(at);
    if (list.owner != self || list.kind != 1 || list.count != 1 || list.lock == 0) continue;
    if (read_loader_mutex(at - loader_mutex_bytes).kind == 1) loader_list_lock.store(at);
  }
}
inline int seek_loader_locks_in(dl_phdr_info* info, std::size_t, void*) noexcept {
  if (info->dlpi_addr != getauxval(AT_BASE)) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    const std::uintptr_t start = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) == 0) continue;
    seek_loader_locks((start + 7) & ~std::uintptr_t{7}, start + segment.p_memsz, loader_thread_id());
  }
  return 1;
}

// Whether another thread has a lock of the loader's, and keeps it for 50 ms.
inline bool is_loader_busy(loader_lock which) noexcept {
  const std::uintptr_t list = loader_list_lock.load();
  if (list == 0) return false;
  const std::uintptr_t address = which == loader_lock::list ? list : list - loader_mutex_bytes;
  const int self = loader_thread_id();
  const std::uint64_t end = loader_clock_ms() + 50;
  do {  // at least once, however late this thread comes to it
    const loader_mutex now = read_loader_mutex(address);
    if (now.lock == 0 || now.owner == self) return false;
    sched_yield();
  } while (loader_clock_ms() < end);
  return true;
}

// Weak: a fully static program has no loader. Before glibc 2.34 linux_loader.hpp has a strong reference to it.
extern "C" void* prof_any_dlsym(void*, const char*) noexcept PROF_DETAIL_WEAK_IMPORT("dlsym");

// Keeps an object loaded for ever; false where the loader is busy. Looked up at run time: a static link warns about any
// reference to dlopen.
inline bool os_pin_file(const char* name) noexcept {
  if (prof_any_dlsym == nullptr || name == nullptr || name[0] == '\0') return true;
  if (is_loader_busy(loader_lock::objects)) return false;
  void* const found = prof_any_dlsym(RTLD_DEFAULT, "dlopen");
  void* (*open)(const char*, int) = nullptr;
  std::memcpy(&open, &found, sizeof open);
  if (open != nullptr) (void)open(name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  return true;
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

// dl_iterate_phdr, not while another thread forks. False where the loader is busy: then nothing was visited.
PROF_DETAIL_COLD inline bool os_iterate_objects(int (*visit)(dl_phdr_info*, std::size_t, void*), void* context) noexcept {
  if (!loader_watches_forks.load(std::memory_order_relaxed)) os_hold_forks_for_loader();
  // Whoever of a call and a fork comes second sees the first: both are sequentially consistent.
  for (bool waits = true; loader_calls.fetch_add(1), waits && loader_forks.load() > 0;) {
    loader_calls.fetch_sub(1);
    waits = wait_until_none(loader_forks);
  }
  if (!loader_locks_sought.exchange(true)) dl_iterate_phdr(&seek_loader_locks_in, nullptr);
  const bool answers = !is_loader_busy(loader_lock::list);
  if (answers) dl_iterate_phdr(visit, context);
  loader_calls.fetch_sub(1);
  return answers;
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
// meanwhile; visit must not load or unload any. For none where the loader is busy.
PROF_DETAIL_COLD inline void os_for_each_object_note(note_search search) noexcept {
  (void)os_iterate_objects(
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

inline bool os_pin_file(const char*) noexcept { return true; }
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
