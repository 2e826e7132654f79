// prof/unwind/probed_memory.hpp - reads of addresses that nobody vouches for.
// Floor 4 (unwind). The Memory of unwind.hpp's walks.
// Safety: async-signal-safe: a page is probed by one system call before its first load. A page that
//         another thread unmaps between probe and load still faults: so only what a rule says of a walk's own
//         stack, and code that stays, is read that way; all else is copied by the kernel (read_copy).
// Memory: eight pages are remembered, for one walk, and those that are read now; and 128 copied bytes. For all
//         walks, 128 ends of stacks.
// Source: the probe is os/linux.hpp's os_readable_sig.
#ifndef PROF_UNWIND_PROBED_MEMORY_HPP
#define PROF_UNWIND_PROBED_MEMORY_HPP

#include <atomic>
#include <cstring>

#include "prof/os/os.hpp"

PROF_DETAIL_BEGIN

// Pages behind which nothing could be read, by any walk: a hint only. What is mapped there since is asked for when
// it is needed.
inline std::atomic<std::uintptr_t> last_pages[128] = {};

// A walk reads stacks as words, a scan also what is between the host's variables: a sanitizer would stop the host.
PROF_DETAIL_INLINE std::uintptr_t load_word_sig(std::uintptr_t address) PROF_DETAIL_SIG {
  std::uintptr_t word;
#if PROF_DETAIL_SANITIZED && defined(__x86_64__)
  __asm__ volatile("{movq (%1), %0|mov %0, [%1]}" : "=r"(word) : "r"(address) : "memory");
#elif PROF_DETAIL_SANITIZED && defined(__aarch64__)
  __asm__ volatile("ldr %0, [%1]" : "=r"(word) : "r"(address) : "memory");
#else
  std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof word);
#endif
  return word;
}

class probed_memory {
 public:
  // The page that the walk itself stands on needs no question; mostly the stack that it walks begins there.
  probed_memory() PROF_DETAIL_SIG {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) >> page_bits;
    known_[here % pages] = here;
    begin_ = here << page_bits;
  }

  // Inlined: called, a frame takes half as long again.
  PROF_DETAIL_INLINE bool read_word(std::uintptr_t address, std::uintptr_t& word) PROF_DETAIL_SIG {
    if (PROF_DETAIL_UNLIKELY(address - begin_ >= words_) && !move_slow_sig(address)) return false;
    word = load_word_sig(address);
    return true;
  }
  bool readable(std::uintptr_t address, std::size_t size) PROF_DETAIL_SIG {
    const std::uintptr_t last = address + size - 1;
    if (last < address) return false;
    for (std::uintptr_t page = address & ~page_mask; page <= last; page += page_mask + 1) {
      if (!page_ok_sig(page)) return false;
    }
    return true;
  }

 private:
  static constexpr unsigned page_bits = 12;
  static constexpr std::uintptr_t page_mask = (std::uintptr_t{1} << page_bits) - 1;
  static constexpr std::size_t pages = 8;
  static constexpr std::uintptr_t rest = sizeof(std::uintptr_t) - 1;
  // The pages that are read now follow the word at `address`, or grow by its page: a walk goes up.
  PROF_DETAIL_NOINLINE bool move_slow_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    const std::uintptr_t first = address & ~page_mask;
    const std::uintptr_t last = (address + rest) & ~page_mask;
    if (!page_ok_sig(first) || (last != first && !page_ok_sig(last))) return false;
    if (first - begin_ > words_ + rest) {  // not the page behind them, nor the last of them
      begin_ = first;
    }
    words_ = last + page_mask + 1 - begin_ - rest;
    return true;
  }
  bool page_ok_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    const std::uintptr_t page = address >> page_bits;
    if (page == 0) return false;  // what an empty entry of known_ would match
    std::uintptr_t& known = known_[page % pages];
    return PROF_DETAIL_LIKELY(known == page) || probe_slow_sig(page, known);
  }
  // A walk goes up: eight bytes across the page's end answer for the next one as well. On the last page of a stack
  // that is a fault inside the kernel, 630 ns instead of 95 (Linux 6.18), so such pages are remembered.
  PROF_DETAIL_NOINLINE bool probe_slow_sig(std::uintptr_t page, std::uintptr_t& known)
      PROF_DETAIL_SIG {
    std::atomic<std::uintptr_t>& last = last_pages[page % (sizeof last_pages / sizeof last_pages[0])];
    const bool is_last = last.load(std::memory_order_relaxed) == page;
    const bool both = !is_last && os_readable_sig(((page + 1) << page_bits) - 4);
    if (!both && !os_readable_sig(page << page_bits)) return false;
    if (both) known_[(page + 1) % pages] = page + 1;
    else if (!is_last) last.store(page, std::memory_order_relaxed);
    known = page;
    return true;
  }
  std::uintptr_t known_[pages] = {};
  std::uintptr_t begin_;  // of the pages that are read now, and at how many addresses in them a word begins
  std::uintptr_t words_ = page_mask + 1 - rest;
};

// Reads also what another thread may unmap at this moment: code before every stale word of the stack, what a
// register that may be no frame pointer points to. A copy by one system call cannot fault; where a seccomp filter
// denies process_vm_readv(2), pages are probed before they are read.
class walk_memory : public probed_memory {
 public:
  bool read_copy(std::uintptr_t address, std::uintptr_t& word) PROF_DETAIL_SIG {
    if (!has_copy_sig(copies_[latest_], address) && !has_copy_sig(copies_[latest_ ^= 1], address) &&
        !copy_slow_sig(copies_[latest_], address)) {
      return os_copy_sig(&word, address, sizeof word);
    }
    const copy& there = copies_[latest_];
    std::memcpy(&word, there.bytes + (address - there.at), sizeof word);
    return true;
  }

 private:
  // Two, for a walk by frame records reads stack and code in turn.
  struct copy {
    std::uintptr_t at = 0;  // 0: of nothing
    unsigned char bytes[64];
  };
  static bool has_copy_sig(const copy& there, std::uintptr_t address) PROF_DETAIL_SIG {
    return address - there.at <= sizeof there.bytes - sizeof(std::uintptr_t) && there.at != 0;
  }
  // False: that reaches into a page that cannot be read, or the word's cannot.
  PROF_DETAIL_NOINLINE static bool copy_slow_sig(copy& to, std::uintptr_t address) PROF_DETAIL_SIG {
    to.at = address & ~std::uintptr_t{31};
    if (os_copy_sig(to.bytes, to.at, sizeof to.bytes)) return true;
    to.at = 0;
    return false;
  }
  unsigned latest_ = 0;
  copy copies_[2];
};

PROF_DETAIL_END

#endif  // PROF_UNWIND_PROBED_MEMORY_HPP
