// prof/os/os.hpp - the OS contract: every question prof asks the system, and the backend that
// answers it.
// Floor 3 (os). The only door to the system: no header outside os/ includes an OS header.
// Safety: functions ending in _sig are async-signal-safe and leave errno alone; the others need
//         ordinary context. None throws, prints or aborts.
// Memory: pages come from os_map and go back by os_unmap; nothing is malloc'ed.
// Source: os/linux.hpp names man pages and kernel versions call by call; os/bare.hpp is the worked
//         example of a port: every call there answers "unsupported".
#ifndef PROF_OS_OS_HPP
#define PROF_OS_OS_HPP

#include "prof/base/memory.hpp"
#include "prof/base/platform.hpp"
#include "prof/base/result.hpp"
#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

// The registers a walk carries. fp: rbp or x29; rbx_or_lr: rbx or x30 (lr), 0 where it is not known.
struct registers {
  std::uintptr_t pc = 0;
  std::uintptr_t sp = 0;
  std::uintptr_t fp = 0;
  std::uintptr_t rbx_or_lr = 0;
  const void* context = nullptr;  // all of them, see os_register_place_sig; null: there is no more
};

// The loaded object that holds an address.
struct os_object {
  std::uintptr_t start = 0;
  std::uintptr_t limit = 0;
  std::uintptr_t cfi_header = 0;  // .eh_frame_hdr in memory, 0: none
  std::uintptr_t name_at = 0;     // a pointer to its name lies here
  std::uint64_t answer[13];       // the loader's own words: room that a handler's stack has not
};

// One line of the address space map. path is not NUL-terminated and dies with the callback.
struct os_mapping {
  std::uintptr_t start = 0;
  std::uintptr_t limit = 0;
  std::uint64_t offset = 0;
  std::uint64_t device = 0;  // major number << 32 | minor number; 0, as the inode, of memory without a file
  std::uint64_t inode = 0;
  bool readable = false;
  bool writable = false;
  bool executable = false;
  bool shared = false;  // what is written there goes to the file
  text_view path;
};

// What the system says of a file that was opened, or not.
struct os_file_facts {
  std::uint64_t device = 0;  // as in os_mapping; some file systems (overlayfs, btrfs) say another one there
  std::uint64_t inode = 0;
  std::uint64_t changed_ns = 0;  // since 1970: when its content, name or owner changed last
  bool is_absent = false;        // there is no such file
};

// What a sampling signal said. slot: the pointer given to os_timer_create, null when the signal
// did not come from such a timer. expirations: 1 + the ones the kernel folded into this signal.
struct timer_event {
  void* slot = nullptr;
  std::uint64_t expirations = 0;
  registers regs;
};

PROF_DETAIL_END

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#define PROF_DETAIL_OS_LINUX 1
#include "prof/os/linux.hpp"
#include "prof/os/linux_clock.hpp"
#include "prof/os/linux_loader.hpp"
#include "prof/os/linux_locks.hpp"
#include "prof/os/linux_sampling.hpp"
#include "prof/os/linux_stack.hpp"
#include "prof/os/linux_symbols.hpp"
#else
#define PROF_DETAIL_OS_LINUX 0
#include "prof/os/bare.hpp"
#endif

PROF_DETAIL_BEGIN

// ---- the contract ------------------------------------------------------------------------------

// Zeroed pages whose memory is used only when touched; null when the system refuses. _sig: hooks
// and handlers may call it (a system call, no lock of ours).
void* os_map_sig(std::size_t size) PROF_DETAIL_SIG;
void os_unmap_sig(void* pages, std::size_t size) PROF_DETAIL_SIG;
// Of a file that is mapped: its pages need not stay in memory; what is read again is read from the file.
void os_forget_pages(text_view mapped) noexcept;
// The same as os_map_sig in steps that keep nobody waiting: for more than 256 KiB in a hook.
void* os_map_in_steps_sig(std::size_t size) PROF_DETAIL_SIG;

std::uint32_t os_process_id_sig() PROF_DETAIL_SIG;
std::uint32_t os_thread_id_sig() PROF_DETAIL_SIG;
// A number that no other thread has while this one runs, and one that runs later may have: where its own words are.
std::uintptr_t os_thread_pointer_sig() PROF_DETAIL_SIG;
bool os_thread_has_ended_sig(std::uint32_t process, std::uint32_t thread) PROF_DETAIL_SIG;
std::uint64_t os_monotonic_ns_sig() PROF_DETAIL_SIG;  // CLOCK_MONOTONIC
std::uint64_t os_thread_cpu_ns_sig() PROF_DETAIL_SIG;  // what this thread used
std::uint64_t os_realtime_ns_sig() PROF_DETAIL_SIG;   // since 1970
void os_sleep_ns(std::uint64_t ns);
void os_yield() noexcept;

// True when 8 bytes at `address` can be read now. Costs a system call; callers cache by page.
bool os_readable_sig(std::uintptr_t address) PROF_DETAIL_SIG;
// Copies memory that may be unmapped meanwhile; false when any byte could not be read.
bool os_copy_sig(void* to, std::uintptr_t from, std::size_t size) PROF_DETAIL_SIG;
// The same of a NUL-terminated text; its length, 0: it cannot be read, or does not fit.
std::size_t os_copy_text_sig(char* to, std::uintptr_t from, std::size_t room) PROF_DETAIL_SIG;

// Each backend says whether its loader unmaps what dlclose gives back: constexpr bool os_unloads_objects.
// The object that the loader has at an address; false also where the loader cannot be asked so.
bool os_answers_for_objects() PROF_DETAIL_SIG;
bool os_find_object_sig(std::uintptr_t address, os_object& object) PROF_DETAIL_SIG;
// Where a register of the interrupted function is saved, by its DWARF number; `context` is registers::context.
// 0: nowhere.
std::uintptr_t os_register_place_sig(const void* context, unsigned number) PROF_DETAIL_SIG;
// Templates of each backend, over Memory with bool read_word(address, word&):
//   bool os_is_signal_return_sig(pc, memory)     handlers return to the code at pc
//   bool os_is_context_start_sig(pc, memory)     so do functions of contexts that makecontext(3) made
//   bool os_signal_frame_sig(sp, memory, regs&)  the registers the kernel saved at sp

// Calls visit(context, mapping) for the mappings of this process in address order, until it returns false.
bool os_for_each_mapping_sig(bool (*visit)(void*, const os_mapping&), void* context)
    PROF_DETAIL_SIG;
// The running executable's path and the command line (NUL-separated) into a buffer; their length.
std::size_t os_executable_path(char* buffer, std::size_t size) noexcept;
std::size_t os_command_line(char* buffer, std::size_t size) noexcept;

// A whole file mapped read-only, or null. Only a regular file: a pipe, a device or a folder is not waited for, nor read.
const void* os_map_file(const char* path, std::size_t& size, os_file_facts* facts) noexcept;
// The line that holds an address, without its path; false: none does.
bool os_find_mapping_sig(std::uintptr_t address, os_mapping& found) PROF_DETAIL_SIG;
// Where a symbolic link leads, not NUL-terminated and cut to the buffer; its length, 0: it is none.
std::size_t os_read_link_sig(const char* path, char* buffer, std::size_t size) PROF_DETAIL_SIG;
// A variable of the environment, NUL-terminated; its length, 0: it is not set, does not fit, or the program was started
// with rights that who started it does not have.
std::size_t os_environment(const char* name, char* buffer, std::size_t size) noexcept;

// Opens for writing (created or truncated, close-on-exec); -1 and os_error on failure.
int os_open_write(const char* path, int& os_error) noexcept;
bool os_write(int descriptor, const void* data, std::size_t size, int& os_error) noexcept;
bool os_write(std::FILE* file, const void* data, std::size_t size, int& os_error) noexcept;
bool os_flush(std::FILE* file, int& os_error) noexcept;
bool os_close(int descriptor, int& os_error) noexcept;
// "No space left on device" and the like, for messages.
const char* os_error_text(int os_error) noexcept;

// Signals. install replaces whatever is there: ask os_signal_handler first.
int os_default_signal() noexcept;
int os_candidate_signal(int n) noexcept;  // n-th alternative, 0 when there are no more
const void* os_signal_handler(int number) noexcept;  // null: default action
const void* os_own_signal_handler() noexcept;        // what os_install_handler installs
bool os_install_handler(int number) noexcept;
const char* os_signal_name(int number) noexcept;

// Whether the calling thread runs on its alternate signal stack, as a handler does that wants it (sigaltstack(2)).
bool os_on_signal_stack_sig() PROF_DETAIL_SIG;

// Asks a thread of this process for itself: `token` and its registers go to ask_receiver there. 0, os_no_such_thread or
// another errno.
int os_ask_thread_sig(std::uint32_t thread, int signal_number, std::uint64_t token) PROF_DETAIL_SIG;

// CPU-time timers of any thread of this process. Both return 0 or an errno.
int os_timer_create_sig(std::uint32_t thread, int signal_number, void* slot, int& timer)
    PROF_DETAIL_SIG;
int os_timer_set_sig(int timer, std::uint64_t first_ns, std::uint64_t period_ns) PROF_DETAIL_SIG;
void os_timer_delete_sig(int timer) PROF_DETAIL_SIG;

// Calls visit(context, thread id) for every thread of this process.
bool os_for_each_thread(void (*visit)(void*, std::uint32_t), void* context) noexcept;
std::size_t os_thread_count() noexcept;  // 0: it is not known
// Whether a thread has a signal blocked, so that it cannot be sampled.
bool os_signal_blocked(std::uint32_t thread, int number) noexcept;
// Whether a thread waits for a signal to take it itself (sigwait), so that it must not be asked by one.
bool os_signal_awaited(std::uint32_t thread, int number) noexcept;
// What the system says of a thread: R, S, D, T, Z ... as in proc(5), 0: it has ended; all it says; the address of the
// futex it waits at, or 0.
char os_thread_state(std::uint32_t thread) noexcept;
std::uint64_t os_cpu_ns_of_thread_sig(std::uint32_t thread) PROF_DETAIL_SIG;  // what it has used; 0: it has ended
void os_describe_thread(std::uint32_t thread, os_thread_facts& facts) noexcept;
std::uintptr_t os_futex_of_thread(std::uint32_t thread) noexcept;
// Runs main(argument) on a thread with a small stack (os_thread_stack bytes, and room for the host's thread-locals) that
// blocks every signal but `open_signal` (0: every one); both types are the backend's. 0 or an errno.
int os_start_thread(os_thread_main main, void* argument, int open_signal,
                    os_thread_handle& thread) noexcept;
void os_join_thread(os_thread_handle thread) noexcept;

// Whether another thread keeps the lock of the loader's list, and does so for 50 ms; then the calls below do nothing.
bool os_loader_is_busy() noexcept;
// How many objects have been loaded so far, the executable among them; 0 when unknown.
std::uint64_t os_objects_loaded() noexcept;
// Writes where the first bytes of objects are mapped that the loader never unloads, at most `room`.
std::size_t os_never_unloaded_objects(std::uintptr_t* headers, std::size_t room) noexcept;
// Calls visit(context) once while no object can be unloaded; it must not load or unload any. False: the loader is busy.
bool os_with_objects_kept(void (*visit)(void*), void* context) noexcept;
// Keeps the executable or library that holds `address` loaded for ever. False: the loader is busy.
bool os_pin_object(const void* address) noexcept;
// Its file's name, "" when unknown or the loader is busy.
const char* os_file_of(const void* address) noexcept;
// Runs `handler` in every child of fork(), before fork returns there; the other two in the parent, around
// it, or null. 0 or an errno.
int os_at_fork(void (*before)(), void (*after)(), void (*handler)()) noexcept;

// Lets a signal through on the calling thread.
void os_unblock_signal_sig(int number) PROF_DETAIL_SIG;

// Where hook/ is built, a backend also answers os_next_symbol, os_make_exit_key and os_at_thread_exit; see os/linux_loader.hpp and os/linux_sampling.hpp.

PROF_DETAIL_END

#endif  // PROF_OS_OS_HPP
