// prof/os/bare.hpp - the OS contract where there is no known OS: a port's starting point.
// Floor 3 (os). Included by os/os.hpp only, on platforms that linux.hpp does not cover.
// Safety: as os/os.hpp says; every call answers "unsupported" except memory, clock and FILE*.
// Memory: pages come from the C library's calloc; without hooks nothing can re-enter it. A bare
//         machine replaces these two functions by its own region.
// Source: ISO C only. To port: answer the calls below for your system, in the order of os.hpp.
#ifndef PROF_OS_BARE_HPP
#define PROF_OS_BARE_HPP

#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "prof/base/memory.hpp"
#include "prof/base/result.hpp"
#include "prof/base/text.hpp"

#define PROF_DETAIL_OS_LOCKS 0

PROF_DETAIL_BEGIN

class errno_guard {};
class sigpipe_guard {
 public:
  sigpipe_guard() noexcept {}  // user-provided: no warning about an unused variable
};

inline void* os_map_sig(std::size_t size) PROF_DETAIL_SIG { return std::calloc(size, 1); }
inline void os_unmap_sig(void* pages, std::size_t) PROF_DETAIL_SIG { std::free(pages); }
inline void os_forget_pages(text_view) noexcept {}
inline void* os_map_in_steps_sig(std::size_t size) PROF_DETAIL_SIG { return os_map_sig(size); }
inline constexpr page_source os_pages{&os_map_sig, &os_unmap_sig};

inline std::uint32_t os_process_id_sig() PROF_DETAIL_SIG { return 1; }
inline std::uint32_t os_thread_id_sig() PROF_DETAIL_SIG { return 1; }
inline std::uintptr_t os_thread_pointer_sig() PROF_DETAIL_SIG { return 1; }
inline bool os_thread_has_ended_sig(std::uint32_t, std::uint32_t) PROF_DETAIL_SIG { return false; }
inline std::uint64_t os_realtime_ns_sig() PROF_DETAIL_SIG {
  return static_cast<std::uint64_t>(std::time(nullptr)) * 1000000000u;
}
inline std::uint64_t os_monotonic_ns_sig() PROF_DETAIL_SIG { return os_realtime_ns_sig(); }
inline std::uint64_t os_thread_cpu_ns_sig() PROF_DETAIL_SIG { return 0; }
inline void os_sleep_ns(std::uint64_t) {}
inline void os_yield() noexcept {}

inline bool os_readable_sig(std::uintptr_t) PROF_DETAIL_SIG { return false; }
inline bool os_copy_sig(void*, std::uintptr_t, std::size_t) PROF_DETAIL_SIG { return false; }
inline std::size_t os_copy_text_sig(char*, std::uintptr_t, std::size_t) PROF_DETAIL_SIG { return 0; }
inline constexpr bool os_unloads_objects = false;
inline bool os_answers_for_objects() PROF_DETAIL_SIG { return false; }
inline bool os_find_object_sig(std::uintptr_t, os_object&) PROF_DETAIL_SIG { return false; }
inline std::uintptr_t os_register_place_sig(const void*, unsigned) PROF_DETAIL_SIG { return 0; }
template <class Memory>
inline bool os_is_signal_return_sig(std::uintptr_t, Memory&) PROF_DETAIL_SIG {
  return false;
}
template <class Memory>
inline bool os_is_context_start_sig(std::uintptr_t, Memory&) PROF_DETAIL_SIG {
  return false;
}
template <class Memory>
inline bool os_signal_frame_sig(std::uintptr_t, Memory&, registers&) PROF_DETAIL_SIG {
  return false;
}
inline bool os_for_each_mapping_sig(bool (*)(void*, const os_mapping&), void*) PROF_DETAIL_SIG {
  return false;
}
inline std::size_t os_executable_path(char*, std::size_t) noexcept { return 0; }
inline std::size_t os_command_line(char*, std::size_t) noexcept { return 0; }
inline const void* os_map_file(const char*, std::size_t& size, os_file_facts* = nullptr) noexcept {
  size = 0;
  return nullptr;
}
inline bool os_find_mapping_sig(std::uintptr_t, os_mapping&) PROF_DETAIL_SIG { return false; }
inline std::size_t os_read_link_sig(const char*, char*, std::size_t) PROF_DETAIL_SIG { return 0; }
inline std::size_t os_environment(const char*, char*, std::size_t) noexcept { return 0; }

inline int os_open_write(const char*, int& os_error) noexcept {
  os_error = 0;
  return -1;
}
inline bool os_write(int, const void*, std::size_t, int&) noexcept { return false; }
inline bool os_write(std::FILE* file, const void* data, std::size_t size, int&) noexcept {
  return std::fwrite(data, 1, size, file) == size;
}
inline bool os_flush(std::FILE* file, int&) noexcept { return std::fflush(file) == 0; }
inline bool os_close(int, int&) noexcept { return false; }
inline const char* os_error_text(int) noexcept { return "system error"; }

inline int os_default_signal() noexcept { return 0; }
inline int os_candidate_signal(int) noexcept { return 0; }
inline const void* os_signal_handler(int) noexcept { return nullptr; }
inline const void* os_own_signal_handler() noexcept { return nullptr; }
inline bool os_install_handler(int) noexcept { return false; }
inline const char* os_signal_name(int) noexcept { return "no signal"; }
inline std::atomic<void (*)(const timer_event&)> tick_receiver{nullptr};
inline std::atomic<void (*)(std::uint64_t token, const registers& regs)> ask_receiver{nullptr};
inline constexpr int os_no_such_thread = -2;
inline int os_ask_thread_sig(std::uint32_t, int, std::uint64_t) PROF_DETAIL_SIG { return -1; }

inline int os_timer_create_sig(std::uint32_t, int, void*, int&) PROF_DETAIL_SIG { return -1; }
inline int os_timer_set_sig(int, std::uint64_t, std::uint64_t) PROF_DETAIL_SIG { return -1; }
inline void os_timer_delete_sig(int) PROF_DETAIL_SIG {}

using os_thread_handle = int;
using os_thread_main = void* (*)(void*);
inline constexpr std::size_t os_thread_stack = 0;
inline int os_start_thread(os_thread_main, void*, int, os_thread_handle&) noexcept { return -1; }
inline void os_join_thread(os_thread_handle) noexcept {}

inline bool os_for_each_thread(void (*)(void*, std::uint32_t), void*) noexcept { return false; }
inline std::size_t os_thread_count() noexcept { return 0; }
inline bool os_signal_blocked(std::uint32_t, int) noexcept { return false; }
inline void os_unblock_signal_sig(int) PROF_DETAIL_SIG {}
struct os_thread_facts {
  char name[32] = {};
  char wait_channel[48] = {};
  char state = 0;
  std::uint64_t cpu_ns = 0;
};
inline char os_thread_state(std::uint32_t) noexcept { return 'R'; }
inline void os_describe_thread(std::uint32_t, os_thread_facts&) noexcept {}
inline std::uintptr_t os_futex_of_thread(std::uint32_t) noexcept { return 0; }
inline bool os_signal_awaited(std::uint32_t, int) noexcept { return false; }
inline bool os_on_signal_stack_sig() PROF_DETAIL_SIG { return false; }
inline std::uint64_t os_cpu_ns_of_thread_sig(std::uint32_t) PROF_DETAIL_SIG { return 0; }
inline bool os_loader_is_busy() noexcept { return false; }
inline std::uint64_t os_objects_loaded() noexcept { return 0; }
inline std::size_t os_never_unloaded_objects(std::uintptr_t*, std::size_t) noexcept { return 0; }
inline bool os_with_objects_kept(void (*)(void*), void*) noexcept { return false; }
inline bool os_pin_object(const void*) noexcept { return true; }
inline int os_at_fork(void (*)(), void (*)(), void (*)()) noexcept { return -1; }
inline const char* os_file_of(const void*) noexcept { return ""; }

PROF_DETAIL_END

#endif  // PROF_OS_BARE_HPP
