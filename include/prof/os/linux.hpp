// prof/os/linux.hpp - the OS contract on Linux, x86-64 and aarch64, glibc and musl.
// Floor 3 (os). Included by os/os.hpp only; it and its siblings are the only ones with Linux
//          headers (sockets, which only the server needs, are in os/linux_net.hpp).
// Safety: as os/os.hpp says. System calls are inline assembly, see os/linux_call.hpp.
// Memory: mmap and munmap only.
// Source: man-pages 6.03 (mmap(2), timer_create(2), proc(5), signal-safety(7)); kernel 6.18 and glibc 2.36 are what it
//         was run on.
#ifndef PROF_OS_LINUX_HPP
#define PROF_OS_LINUX_HPP

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>

#include "prof/base/memory.hpp"
#include "prof/base/result.hpp"
#include "prof/base/text.hpp"
#include "prof/os/linux_call.hpp"

// Whether libc is glibc, and older than 2.minor. For #if.
#if defined(__GLIBC__)
#define PROF_DETAIL_GLIBC_BEFORE(minor) (!__GLIBC_PREREQ(2, minor))
#else
#define PROF_DETAIL_GLIBC_BEFORE(minor) 0
#endif

PROF_DETAIL_BEGIN

// Restores errno: a hook's slow path calls into the loader, which may change it.
class errno_guard {
 public:
  errno_guard() noexcept : before_(errno) {}
  ~errno_guard() { errno = before_; }
  errno_guard(const errno_guard&) = delete;
  errno_guard& operator=(const errno_guard&) = delete;

 private:
  const int before_;
};

// ---- memory ------------------------------------------------------------------------------------

// mmap(2) without a wish where, and munmap(2); null when refused. A sanitizer must see both, by libc's entries: else it
// takes a thread's first use of an address for a race with another's last one, before it was unmapped.
inline void* os_map_as_sig(std::size_t size, int protection, int flags, int descriptor) PROF_DETAIL_SIG {
#if PROF_DETAIL_SANITIZED
  const errno_guard kept;
  void* const pages = ::mmap(nullptr, size, protection, flags, descriptor, 0);
  return pages == MAP_FAILED ? nullptr : pages;
#else
  const long answer = os_call_sig(SYS_mmap, 0, static_cast<long>(size), protection, flags, descriptor, 0);
  return answer < 0 && answer > -4096 ? nullptr : reinterpret_cast<void*>(answer);
#endif
}
inline void os_unmap_sig(void* pages, std::size_t size) PROF_DETAIL_SIG {
#if PROF_DETAIL_SANITIZED
  const errno_guard kept;
  ::munmap(pages, size);
#else
  os_call_sig(SYS_munmap, os_word(pages), static_cast<long>(size));
#endif
}

// MAP_NORESERVE: tables reserve far more than a small program touches.
inline constexpr int table_pages = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
inline void* os_map_sig(std::size_t size) PROF_DETAIL_SIG {
  return os_map_as_sig(size, PROT_READ | PROT_WRITE, table_pages, -1);
}
// The same, of which the kernel fills in 256 KiB at a time under mlockall(MCL_FUTURE), where it fills in all that can be
// written: mprotect(2) lets others map in between.
PROF_DETAIL_NOINLINE inline void* os_map_in_steps_sig(std::size_t size) PROF_DETAIL_SIG {
  constexpr std::size_t step = std::size_t{256} << 10;
  if (size <= step) return os_map_sig(size);
  void* const pages = os_map_as_sig(size, PROT_NONE, table_pages, -1);
  if (pages == nullptr) return nullptr;
  for (std::size_t done = 0; done < size; done += step) {
    const std::size_t rest = size - done < step ? size - done : step;
    const long opened = os_call_sig(SYS_mprotect, os_word(pages) + static_cast<long>(done), static_cast<long>(rest),
                                    PROT_READ | PROT_WRITE);
    if (opened == 0) continue;
    os_unmap_sig(pages, size);
    return nullptr;
  }
  return pages;
}
inline void os_forget_pages(text_view mapped) noexcept {
  if (mapped.size != 0) os_call_sig(SYS_madvise, os_word(mapped.data), static_cast<long>(mapped.size), MADV_DONTNEED);
}
inline constexpr page_source os_pages{&os_map_sig, &os_unmap_sig};

inline bool os_readable_sig(std::uintptr_t address) PROF_DETAIL_SIG {
  // rt_sigprocmask with an invalid `how` reads the set first: EFAULT when it cannot, EINVAL when
  // it can; no descriptor and no side effect (the trick of Abseil's AddressIsReadable).
  if (address == 0) return false;  // null means "no set" and is not read
  return os_call_sig(SYS_rt_sigprocmask, ~0L, static_cast<long>(address), 0, 8) != -EFAULT;
}

PROF_DETAIL_NOINLINE inline bool os_copy_sig(void* to, std::uintptr_t from, std::size_t size)
    PROF_DETAIL_SIG {
  const iovec local{to, size};
  const iovec remote{reinterpret_cast<void*>(from), size};
  const long answer = os_call_sig(SYS_process_vm_readv, os_call_sig(SYS_getpid), os_word(&local),
                                  1, os_word(&remote), 1, 0);
  if (answer >= 0) return static_cast<std::size_t>(answer) == size;
  if (answer == -EFAULT) return false;
  // Denied by a seccomp filter: probe every page, then copy.
  if (from + size < from) return false;
  for (std::uintptr_t page = from & ~std::uintptr_t{4095}; page < from + size; page += 4096) {
    if (!os_readable_sig(page)) return false;
  }
  std::memcpy(to, reinterpret_cast<const void*>(from), size);
  return true;
}

// In parts that end with a multiple of 64 bytes: behind the text there may be nothing.
PROF_DETAIL_NOINLINE inline std::size_t os_copy_text_sig(char* to, std::uintptr_t from, std::size_t room)
    PROF_DETAIL_SIG {
  for (std::size_t done = 0; from != 0 && done < room;) {
    std::size_t part = 64 - (from + done) % 64;
    if (part > room - done) part = room - done;
    if (!os_copy_sig(to + done, from + done, part)) return 0;
    const std::size_t text = text_view(to + done, part).find('\0');
    done += text;
    if (text != part) return done;
  }
  return 0;
}

// ---- identity ----------------------------------------------------------------------------------

inline std::uint32_t os_process_id_sig() PROF_DETAIL_SIG {
  return static_cast<std::uint32_t>(os_call_sig(SYS_getpid));
}
inline std::uint32_t os_thread_id_sig() PROF_DETAIL_SIG {
  return static_cast<std::uint32_t>(os_call_sig(SYS_gettid));
}
// The first word of the thread control block is its own address (x86-64); aarch64 has a register for it. ELF Handling For
// Thread-Local Storage, 3.4.
inline std::uintptr_t os_thread_pointer_sig() PROF_DETAIL_SIG {
  std::uintptr_t pointer;
#if defined(__x86_64__)
  __asm__("movq %%fs:0, %0" : "=r"(pointer));
#else
  __asm__("mrs %0, tpidr_el0" : "=r"(pointer));
#endif
  return pointer;
}
// tgkill(2) with signal 0 only looks.
inline bool os_thread_has_ended_sig(std::uint32_t process, std::uint32_t thread) PROF_DETAIL_SIG {
  return os_call_sig(SYS_tgkill, static_cast<long>(process), static_cast<long>(thread), 0) == -ESRCH;
}
inline timespec os_timespec(std::uint64_t ns) PROF_DETAIL_SIG {
  timespec t{};
  t.tv_sec = static_cast<time_t>(ns / 1000000000u);
  t.tv_nsec = static_cast<long>(ns % 1000000000u);
  return t;
}
inline void os_sleep_ns(std::uint64_t ns) {
  timespec left = os_timespec(ns);
  while (os_call_sig(SYS_nanosleep, os_word(&left), os_word(&left)) == -EINTR) {
  }
}
inline void os_yield() noexcept { os_call_sig(SYS_sched_yield); }

// ---- /proc -----------------------------------------------------------------------------------------

inline int os_open_read_sig(const char* path) PROF_DETAIL_SIG {
  return static_cast<int>(os_call_sig(SYS_openat, AT_FDCWD, os_word(path), O_RDONLY | O_CLOEXEC));
}
inline long os_read_sig(int descriptor, void* to, std::size_t size) PROF_DETAIL_SIG {
  long n = -EINTR;
  while (n == -EINTR) n = os_call_sig(SYS_read, descriptor, os_word(to), static_cast<long>(size));
  return n;
}
inline void os_close_sig(int descriptor) PROF_DETAIL_SIG { os_call_sig(SYS_close, descriptor); }

// Reads a file's beginning; returns the bytes read.
inline std::size_t os_read_file(const char* path, char* buffer, std::size_t size) noexcept {
  const int descriptor = os_open_read_sig(path);
  if (descriptor < 0) return 0;
  std::size_t used = 0;
  while (used < size) {
    const long n = os_read_sig(descriptor, buffer + used, size - used);
    if (n <= 0) break;
    used += static_cast<std::size_t>(n);
  }
  os_close_sig(descriptor);
  return used;
}

// "start-limit perms offset major:minor inode   path", proc(5).
inline os_mapping os_parse_mapping_sig(text_view line) PROF_DETAIL_SIG {
  os_mapping m;
  m.start = take_hex(line);
  line = line.from(line.size != 0);
  m.limit = take_hex(line);
  if (line.size < 6) return m;
  m.readable = line.data[1] == 'r';
  m.writable = line.data[2] == 'w';
  m.executable = line.data[3] == 'x';
  m.shared = line.data[4] == 's';
  line = line.from(6);
  m.offset = take_hex(line);
  line = line.from(line.size != 0 && line.data[0] == ' ');
  m.device = take_hex(line) << 32;
  line = line.from(line.size != 0 && line.data[0] == ':');
  m.device |= take_hex(line) & 0xffffffffu;
  line = line.from(line.find(' '));
  line = line.from(line.size != 0 && line.data[0] == ' ');
  while (line.size != 0 && line.data[0] >= '0' && line.data[0] <= '9') {
    m.inode = m.inode * 10 + static_cast<std::uint64_t>(line.data[0] - '0');
    line = line.from(1);
  }
  while (line.size != 0 && line.data[0] == ' ') line = line.from(1);
  m.path = line;
  return m;
}

inline constexpr std::size_t maps_buffer_size = std::size_t{16} * 1024;  // a line: PATH_MAX + 80

inline bool os_for_each_mapping_sig(bool (*visit)(void*, const os_mapping&), void* context)
    PROF_DETAIL_SIG {
  const int descriptor = os_open_read_sig("/proc/self/maps");
  if (descriptor < 0) return false;
  char* const buffer = static_cast<char*>(os_map_sig(maps_buffer_size));
  std::size_t used = 0;
  bool on = true;
  while (buffer != nullptr && on) {
    const long n = os_read_sig(descriptor, buffer + used, maps_buffer_size - used);
    if (n <= 0) break;
    used += static_cast<std::size_t>(n);
    text_view rest{buffer, used};
    for (std::size_t end = rest.find('\n'); on && end != rest.size; end = rest.find('\n')) {
      on = visit(context, os_parse_mapping_sig({rest.data, end}));
      rest = rest.from(end + 1);
    }
    if (rest.size == maps_buffer_size) rest = {};  // no newline in 16 KiB: not a maps line
    std::memmove(buffer, rest.data, rest.size);
    used = rest.size;
  }
  if (buffer != nullptr) os_unmap_sig(buffer, maps_buffer_size);
  os_close_sig(descriptor);
  return buffer != nullptr;
}

// struct procmap_query of <linux/fs.h>: kernel 6.11 answers for one address what /proc/self/maps says.
struct os_mapping_query {
  std::uint64_t size = sizeof(os_mapping_query);
  std::uint64_t flags = 0;  // the mapping that holds the address, not the next one
  std::uint64_t address = 0;
  std::uint64_t start = 0;
  std::uint64_t limit = 0;
  std::uint64_t permissions = 0;  // 1 readable, 2 writable, 4 executable, 8 shared
  std::uint64_t page_size = 0;
  std::uint64_t offset = 0;
  std::uint64_t inode = 0;
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint32_t name_size = 0;
  std::uint32_t build_id_size = 0;
  std::uint64_t name_at = 0;
  std::uint64_t build_id_at = 0;
};
static_assert(sizeof(os_mapping_query) == 104, "the kernel's layout");

// Its answer: 0, -ENOENT where nothing is mapped, or that it does not know the question.
inline long os_query_mapping_sig(std::uintptr_t address, os_mapping& found) PROF_DETAIL_SIG {
  constexpr long query = 0xc0686611L;  // _IOWR('f', 17, struct procmap_query)
  const int descriptor = os_open_read_sig("/proc/self/maps");
  if (descriptor < 0) return descriptor;
  os_mapping_query asked;
  asked.address = address;
  const long answer = os_call_sig(SYS_ioctl, descriptor, query, os_word(&asked));
  os_close_sig(descriptor);
  found.start = static_cast<std::uintptr_t>(asked.start);
  found.limit = static_cast<std::uintptr_t>(asked.limit);
  found.offset = asked.offset;
  found.device = std::uint64_t{asked.major} << 32 | asked.minor;
  found.inode = asked.inode;
  found.readable = (asked.permissions & 1) != 0;
  found.writable = (asked.permissions & 2) != 0;
  found.executable = (asked.permissions & 4) != 0;
  found.shared = (asked.permissions & 8) != 0;
  return answer;
}

PROF_DETAIL_NOINLINE inline bool os_read_mapping_sig(std::uintptr_t address, os_mapping& found) PROF_DETAIL_SIG {
  found = {};
  found.start = address;
  os_for_each_mapping_sig(
      [](void* context, const os_mapping& mapping) {
        os_mapping& to = *static_cast<os_mapping*>(context);
        if (to.start >= mapping.limit) return true;
        if (to.start >= mapping.start) to = mapping;
        return false;
      },
      &found);
  found.path = {};
  return found.limit != 0;
}
// Without reading all lines before it, where the kernel knows the question.
inline bool os_find_mapping_sig(std::uintptr_t address, os_mapping& found) PROF_DETAIL_SIG {
  const long answer = os_query_mapping_sig(address, found);
  return answer == 0 || (answer != -ENOENT && os_read_mapping_sig(address, found));
}

inline std::size_t os_read_link_sig(const char* path, char* buffer, std::size_t size) PROF_DETAIL_SIG {
  const long n =
      os_call_sig(SYS_readlinkat, AT_FDCWD, os_word(path), os_word(buffer), static_cast<long>(size));
  return n < 0 ? 0 : static_cast<std::size_t>(n);
}
inline std::size_t os_executable_path(char* buffer, std::size_t size) noexcept {
  return os_read_link_sig("/proc/self/exe", buffer, size);
}
inline std::size_t os_command_line(char* buffer, std::size_t size) noexcept {
  return os_read_file("/proc/self/cmdline", buffer, size);
}

// ---- files ------------------------------------------------------------------------------------------

// st_dev has the low bits of both numbers in front (sysmacros.h of glibc and musl).
inline std::uint64_t os_device_of(std::uint64_t device) noexcept {
  const std::uint64_t major = (device >> 8 & 0xfffu) | (device >> 32 & 0xfffff000u);
  const std::uint64_t minor = (device & 0xffu) | (device >> 12 & 0xffffff00u);
  return major << 32 | minor;
}

// 0: no regular file. fstat(2) fills in libc's struct stat on both machines.
inline std::size_t os_describe_file(int descriptor, os_file_facts& facts) noexcept {
  struct stat status {};
  if (os_call_sig(SYS_fstat, descriptor, os_word(&status)) != 0 || !S_ISREG(status.st_mode)) return 0;
  facts.device = os_device_of(status.st_dev);
  facts.inode = status.st_ino;
  facts.changed_ns = static_cast<std::uint64_t>(status.st_ctim.tv_sec) * 1000000000u +
                     static_cast<std::uint64_t>(status.st_ctim.tv_nsec);
  return status.st_size > 0 ? static_cast<std::size_t>(status.st_size) : 0;
}

// O_NONBLOCK: open(2) of a pipe would wait for a writer. O_NOCTTY: that of a terminal would make it the process's own.
inline const void* os_map_file(const char* path, std::size_t& size, os_file_facts* facts = nullptr) noexcept {
  os_file_facts found;
  constexpr int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const auto descriptor = static_cast<int>(os_call_sig(SYS_openat, AT_FDCWD, os_word(path), flags));
  found.is_absent = descriptor == -ENOENT || descriptor == -ENOTDIR;
  size = descriptor < 0 ? 0 : os_describe_file(descriptor, found);
  const void* const pages = size == 0 ? nullptr : os_map_as_sig(size, PROT_READ, MAP_PRIVATE, descriptor);
  if (pages == nullptr) size = 0;
  if (descriptor >= 0) os_close_sig(descriptor);
  if (facts != nullptr) *facts = found;
  return pages;
}

inline int os_open_write(const char* path, int& os_error) noexcept {
  const long answer = os_call_sig(SYS_openat, AT_FDCWD, os_word(path),
                                  O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  os_error = answer < 0 ? static_cast<int>(-answer) : 0;
  return answer < 0 ? -1 : static_cast<int>(answer);
}

inline bool os_write(int descriptor, const void* data, std::size_t size, int& os_error) noexcept {
  const char* next = static_cast<const char*>(data);
  int waits = 0;
  while (size != 0) {
    const long n = os_call_sig(SYS_write, descriptor, os_word(next), static_cast<long>(size));
    if (n == -EINTR) continue;
    if (n == -EAGAIN && ++waits <= 5000) {  // a non-blocking descriptor: wait for room, at most 5 s
      os_sleep_ns(1000000);
      continue;
    }
    if (n <= 0) {
      os_error = n < 0 ? static_cast<int>(-n) : EIO;
      return false;
    }
    next += n;
    size -= static_cast<std::size_t>(n);
    waits = 0;
  }
  return true;
}

inline bool os_write(std::FILE* file, const void* data, std::size_t size, int& os_error) noexcept {
  errno = 0;
  if (std::fwrite(data, 1, size, file) == size) return true;
  os_error = errno != 0 ? errno : EIO;
  return false;
}
inline bool os_flush(std::FILE* file, int& os_error) noexcept {
  errno = 0;
  if (std::fflush(file) == 0) return true;
  os_error = errno != 0 ? errno : EIO;
  return false;
}
inline bool os_close(int descriptor, int& os_error) noexcept {
  const long answer = os_call_sig(SYS_close, descriptor);
  if (answer >= 0 || answer == -EINTR) return true;
  os_error = static_cast<int>(-answer);
  return false;
}

// The ones a user of a profile file or a port meets; the rest by number.
inline const char* os_error_text(int os_error) noexcept {
  switch (os_error) {
    case 0: return "no error";
    case EACCES: return "Permission denied";
    case EADDRINUSE: return "Address already in use";
    case EADDRNOTAVAIL: return "Cannot assign requested address";
    case EAGAIN: return "Resource temporarily unavailable";
    case EBADF: return "Bad file descriptor";
    case EIO: return "Input/output error";
    case EISDIR: return "Is a directory";
    case EMFILE: return "Too many open files";
    case ENOENT: return "No such file or directory";
    case ENOMEM: return "Cannot allocate memory";
    case ENOSPC: return "No space left on device";
    case ENOTDIR: return "Not a directory";
    case EPERM: return "Operation not permitted";
    case EPIPE: return "Broken pipe";
    case EROFS: return "Read-only file system";
    default: return "system error";
  }
}

// Keeps SIGPIPE from reaching the host while a profile is written to a pipe whose reader left:
// blocks it for this thread and eats the one that the write raised.
class sigpipe_guard {
 public:
  sigpipe_guard() noexcept {
    sigset_t pipe_only;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    was_pending_ = pending();
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before_);
  }
  ~sigpipe_guard() {
    if (!was_pending_ && pending()) {
      sigset_t pipe_only;
      sigemptyset(&pipe_only);
      sigaddset(&pipe_only, SIGPIPE);
      const timespec at_once{};
      sigtimedwait(&pipe_only, nullptr, &at_once);
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  sigpipe_guard(const sigpipe_guard&) = delete;
  sigpipe_guard& operator=(const sigpipe_guard&) = delete;

 private:
  static bool pending() noexcept {
    sigset_t waiting;
    return sigpending(&waiting) == 0 && sigismember(&waiting, SIGPIPE) == 1;
  }
  bool was_pending_ = false;
  sigset_t before_;
};

// ---- forks -------------------------------------------------------------------------------------------

// Runs `handler` in every child of fork(), before fork returns there. 0 or an errno.
inline int os_at_fork(void (*before)(), void (*after)(), void (*handler)()) noexcept {
  return pthread_atfork(before, after, handler);
}

PROF_DETAIL_END

#endif  // PROF_OS_LINUX_HPP
