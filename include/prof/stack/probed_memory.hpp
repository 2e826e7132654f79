// prof/stack/probed_memory.hpp - reads of addresses that nobody vouches for.
// Floor 3 (stack). The Memory of unwind.hpp's walks.
// Safety: async-signal-safe: a page is probed by one system call before its first load. A page that
//         another thread unmaps between probe and load still faults: so only what a rule says of a walk's own
//         stack, and code that stays, is read that way; all else is copied by the kernel (read_copy).
// Memory: eight pages are remembered, for one walk; and 128 copied bytes. For all walks, 128 ends of stacks.
// Source: the probe is os/linux.hpp's os_readable_sig.
#ifndef PROF_STACK_PROBED_MEMORY_HPP
#define PROF_STACK_PROBED_MEMORY_HPP

#include <atomic>
#include <cstring>

#include "prof/os/os.hpp"

PROF_DETAIL_BEGIN

// Pages behind which nothing could be read, by any walk: a hint only. What is mapped there since is asked for when
// it is needed.
inline std::atomic<std::uintptr_t> last_pages[128] = {};

class probed_memory {
 public:
  // The page that the walk itself stands on needs no question; mostly the stack that it walks begins there.
  probed_memory() PROF_DETAIL_SIG {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) >> page_bits;
    known_[here % pages] = here;
  }

  bool read_word(std::uintptr_t address, std::uintptr_t& word) PROF_DETAIL_SIG {
    if (!page_ok_sig(address)) return false;
    if ((address & page_mask) > page_mask + 1 - sizeof word && !page_ok_sig(address + sizeof word - 1)) {
      return false;
    }
    std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof word);
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
};

// Reads also what another thread may unmap at this moment: code before every stale word of the stack, what a
// register that may be no frame pointer points to. A copy by one system call cannot fault; where a seccomp filter
// denies process_vm_readv(2), pages are probed before they are read.
class walk_memory : public probed_memory {
 public:
  bool read_copy(std::uintptr_t address, std::uintptr_t& word) PROF_DETAIL_SIG {
    if (address - copied_ > sizeof copy_ - sizeof word || copied_ == 0) {
      copied_ = address & ~std::uintptr_t{63};
      if (!os_copy_sig(copy_, copied_, sizeof copy_)) {  // it reaches into the next page
        copied_ = 0;
        return os_copy_sig(&word, address, sizeof word);
      }
    }
    std::memcpy(&word, copy_ + (address - copied_), sizeof word);
    return true;
  }

 private:
  std::uintptr_t copied_ = 0;  // 0: nothing is
  unsigned char copy_[128];
};

PROF_DETAIL_END

#endif  // PROF_STACK_PROBED_MEMORY_HPP
