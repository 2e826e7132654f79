// prof/stack/unwind.hpp - from registers and a way to read memory to call addresses.
// Floor 3 (stack). Called by the CPU handler and by the hooks' slow paths.
// Safety: async-signal-safe: a pure function of registers, a word reader and a code predicate;
//         every load goes through the reader, every loop is bounded.
// Memory: writes into the caller's frame buffer only.
// Source: frame records: System V psABI x86-64 3.2.2, AAPCS64 6.4.6. Code without frame pointers
//         is bridged by a bounded scan for words that follow a call instruction whose target is
//         the function the walk came from; such a stack is marked approximate. (Unwind tables will
//         come before both.)
#ifndef PROF_STACK_UNWIND_HPP
#define PROF_STACK_UNWIND_HPP

#include "prof/os/os.hpp"

PROF_DETAIL_BEGIN

// A frame record further away than this is not believed (Abseil bounds a frame at 100,000 bytes).
inline constexpr std::uintptr_t max_frame_size = std::uintptr_t{256} * 1024;
inline constexpr std::size_t bridge_words = 8;    // a frameless function near the leaf is small
inline constexpr std::size_t scan_words = 64;    // last resort, per frame
inline constexpr std::size_t scan_budget = 1024;  // last resort, per stack
// An indirect call's target is unknown, so such a word is believed only this close to sp.
inline constexpr std::size_t indirect_words = 6;
// How far behind its entry point a function's code is believed to reach where no table tells.
inline constexpr std::uintptr_t max_function_size = std::uintptr_t{32} * 1024;
// Stubs followed from a call to the function it enters: new[] takes six (ours, the library's, its
// PLT, ours again).
inline constexpr int max_hops = 8;

struct walked_stack {
  std::size_t depth = 0;
  bool approximate = false;  // a frame was found by scanning
  bool truncated = false;    // the walk stopped at the depth limit, not at a root
};

// What kind of call ends where a return address points.
enum class call_kind { none, direct, indirect };
struct call_site {
  call_kind kind = call_kind::none;
  std::uintptr_t target = 0;  // of a direct call
};

// The call before `ra`; `before` holds the 8 bytes below it.
inline call_site call_before_sig(std::uintptr_t ra, std::uint64_t before) PROF_DETAIL_SIG {
#if defined(__aarch64__)
  const auto instruction = static_cast<std::uint32_t>(before >> 32);
  if ((instruction & 0xfc000000u) == 0x94000000u) {  // bl imm26
    const auto offset = static_cast<std::int32_t>(instruction << 6) >> 4;
    return {call_kind::direct,
            ra - 4 + static_cast<std::uintptr_t>(static_cast<std::intptr_t>(offset))};
  }
  const bool blr = (instruction & 0xfffffc1fu) == 0xd63f0000u ||  // blr
                   (instruction & 0xfefff800u) == 0xd63f0800u;    // blraa and kin
  return {blr ? call_kind::indirect : call_kind::none, 0};
#else
  const auto byte = [before](unsigned back) {
    return static_cast<unsigned>(before >> (64 - 8 * back)) & 0xffu;
  };
  for (unsigned length = 2; length <= 7; ++length) {
    if (byte(length) != 0xff) continue;  // call r/m64 is ff /2
    const unsigned modrm = byte(length - 1);
    if ((modrm >> 3 & 7) != 2) continue;
    const unsigned mode = modrm >> 6;
    const unsigned base = modrm & 7;
    unsigned size = 2;
    if (mode != 3 && base == 4) size += 1;                 // SIB byte
    if (mode == 0 && base == 4 && length > 2 && (byte(length - 2) & 7) == 5) size += 4;  // no base
    if (mode == 1) size += 1;                              // disp8
    if (mode == 2 || (mode == 0 && base == 5)) size += 4;  // disp32, rip-relative
    if (size == length) return {call_kind::indirect, 0};
  }
  if (byte(5) != 0xe8) return {};  // call rel32
  const auto offset = static_cast<std::int32_t>(before >> 32);
  return {call_kind::direct, ra + static_cast<std::uintptr_t>(static_cast<std::intptr_t>(offset))};
#endif
}

// Strips a pointer-authentication code (aarch64 keeps 48-bit user addresses; x86-64: no change).
inline std::uintptr_t strip_address_sig(std::uintptr_t address) PROF_DETAIL_SIG {
#if defined(__aarch64__)
  return address & 0x0000ffffffffffffu;
#else
  return address;
#endif
}

// Start of the function that holds `pc`, from a module's .eh_frame_hdr (LSB 10.6.2: a table of
// {function start, FDE}, both 32-bit and relative to the header, sorted); 0 when it does not tell.
template <class Memory>
inline std::uintptr_t function_start_sig(std::uintptr_t header, std::uintptr_t pc, Memory& memory)
    PROF_DETAIL_SIG {
  std::uintptr_t head = 0;
  std::uintptr_t count = 0;
  if (header == 0 || !memory.read_word(header, head) || !memory.read_word(header + 8, count)) {
    return 0;
  }
  // Version 1, eh_frame_ptr any 4 bytes, count udata4, table datarel sdata4: what linkers write.
  if ((head & 0xff) != 1 || (head >> 16 & 0xff) != 0x03 || (head >> 24 & 0xff) != 0x3b) return 0;
  std::size_t low = 0;
  std::size_t high = count & 0xffffffffu;
  std::uintptr_t start = 0;
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    std::uintptr_t entry = 0;
    if (!memory.read_word(header + 12 + 8 * middle, entry)) return 0;
    const auto offset = static_cast<std::int32_t>(entry & 0xffffffffu);
    const std::uintptr_t begin =
        header + static_cast<std::uintptr_t>(static_cast<std::intptr_t>(offset));
    if (begin > pc) {
      high = middle;
    } else {
      start = begin;
      low = middle + 1;
    }
  }
  return start;
}

// Memory: bool read_word(address, word&). Code: bool contains(address); std::uintptr_t
// function_table(address), the .eh_frame_hdr of the module there or 0.
template <class Memory, class Code>
class stack_walk {
 public:
  stack_walk(Memory& memory, const Code& code, std::uintptr_t* out, std::size_t capacity)
      PROF_DETAIL_SIG : memory_(memory), code_(code), out_(out), capacity_(capacity) {}

  // `leaf_is_return`: pc is a return address (a hook's caller), not an interrupted instruction.
  walked_stack run_sig(const registers& start, bool leaf_is_return) PROF_DETAIL_SIG {
    sp_ = start.sp;
    fp_ = start.fp;
    push_sig(start.pc, leaf_is_return);
    if (start.lr != 0 && !leaf_is_return) link_register_sig(start);
    bool linked = false;
    while (!full_sig()) {
      std::uintptr_t next_fp = 0;
      std::uintptr_t ra = 0;
      if (frame_record_sig(next_fp, ra)) {
        if (!linked && bridge_sig()) continue;
        push_sig(ra, true);
        linked = true;
        sp_ = fp_ + 16;
        fp_ = next_fp;
      } else if (!scan_sig(scan_words, ~std::uintptr_t{0})) {
        return result_;
      }
    }
    result_.truncated = true;
    return result_;
  }

 private:
  // The one place where a return address becomes a call address: the byte before it belongs to
  // the call, the return address itself may belong to the next line or function.
  void push_sig(std::uintptr_t pc, bool is_return) PROF_DETAIL_SIG {
    out_[result_.depth++] = is_return ? pc - 1 : pc;
  }
  bool full_sig() const PROF_DETAIL_SIG { return result_.depth >= capacity_; }

  call_site call_at_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    std::uintptr_t before = 0;
    if (address <= 4096 || !memory_.read_word(address - 8, before)) return {};
    return call_before_sig(address, before);
  }
  bool is_return_address_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    return call_at_sig(address).kind != call_kind::none;
  }

  // A leaf function of aarch64 may not have stored its return address yet.
  void link_register_sig(const registers& start) PROF_DETAIL_SIG {
    const std::uintptr_t ra = strip_address_sig(start.lr);
    std::uintptr_t stored = 0;
    if (memory_.read_word(fp_ + 8, stored) && strip_address_sig(stored) == ra) return;
    if (!code_.contains(ra) || !is_return_address_sig(ra) || full_sig()) return;
    push_sig(ra, true);
  }

  // {caller's fp, return address} at fp, plausible and further out than sp.
  bool frame_record_sig(std::uintptr_t& next_fp, std::uintptr_t& ra) PROF_DETAIL_SIG {
    if (fp_ < sp_ || fp_ - sp_ > max_frame_size || (fp_ & 7) != 0) return false;
    if (!memory_.read_word(fp_, next_fp) || !memory_.read_word(fp_ + 8, ra)) return false;
    ra = strip_address_sig(ra);
    if (!is_return_address_sig(ra)) return false;
    // The caller may use the register for something else (libstdc++, libc's start code): then its
    // own record is gone and the walk goes on by scanning, but this return address stands. 0 is the
    // ABI's mark of the outermost frame, and also a value like any other.
    return next_fp == 0 || next_fp > fp_ || code_.contains(ra);
  }

  // Between the leaf and the first frame record there may be a function that keeps no frame
  // pointer (operator new, memcpy): its return address lies within a few words of sp.
  bool bridge_sig() PROF_DETAIL_SIG {
    if (bridges_ >= 3) return false;
    ++bridges_;
    return scan_sig(bridge_words, fp_);
  }

  // Takes the first word above sp that is a believable return address: its call leads here.
  bool scan_sig(std::size_t words, std::uintptr_t limit) PROF_DETAIL_SIG {
    const std::uintptr_t first = (sp_ + 7) & ~std::uintptr_t{7};
    const std::uintptr_t pc = out_[result_.depth - 1];
    const std::uintptr_t here = function_start_sig(code_.function_table(pc), pc, memory_);
    for (std::uintptr_t at = first; at < limit && at < first + 8 * words && budget_ != 0; at += 8) {
      --budget_;
      std::uintptr_t word = 0;
      if (!memory_.read_word(at, word)) break;
      word = strip_address_sig(word);
      const call_site call = code_.contains(word) ? call_at_sig(word) : call_site{};
      if (call.kind == call_kind::direct && entered_through_sig(call.target, pc, here)) {
        return take_sig(at, word);
      }
      if (call.kind == call_kind::indirect && at < first + 8 * indirect_words) {
        return take_sig(at, word);
      }
    }
    return false;
  }

  bool take_sig(std::uintptr_t at, std::uintptr_t return_address) PROF_DETAIL_SIG {
    push_sig(return_address, true);
    result_.approximate = true;
    sp_ = at + 8;
    return true;
  }

  // Whether a call to `target` leads into the function that starts at `here` (0: unknown) and holds
  // pc: directly, or through PLT stubs and tail jumps, which are followed.
  bool entered_through_sig(std::uintptr_t target, std::uintptr_t pc, std::uintptr_t here)
      PROF_DETAIL_SIG {
    for (int hop = 0; hop < max_hops && target != 0; ++hop) {
      if (target == here) return true;
      if (here == 0 && target <= pc && pc - target < max_function_size) return true;
      const std::uintptr_t next = jump_target_sig(target);
      if (next == 0) return tail_called_sig(target, here);
      target = next;
    }
    return false;
  }

  // Whether the function at `at` has a jump out that leads to the function that starts at `here`:
  // libstdc++'s string growth ends in a jump to operator new.
  bool tail_called_sig(std::uintptr_t at, std::uintptr_t here) PROF_DETAIL_SIG {
    for (std::size_t i = 0; here != 0 && i < 96; ++i) {
      std::uintptr_t code = 0;
      if (!memory_.read_word(at + i, code)) return false;
      if ((code & 0xff) != 0xe9) continue;
      std::uintptr_t target = at + i;
      for (int hop = 0; hop < max_hops && target != 0 && code_.contains(target); ++hop) {
        if (target == here) return true;
        target = jump_target_sig(target);
      }
    }
    return false;
  }

  // Where a stub that only jumps goes; 0 for anything else. x86-64: [endbr64] [bnd] jmp *disp(%rip);
  // jmp rel32; mov disp(%rip),%rax; jmp *%rax (which our own hooks compile to).
  std::uintptr_t jump_target_sig(std::uintptr_t at) PROF_DETAIL_SIG {
#if defined(__x86_64__)
    std::uintptr_t code = 0;
    if (!memory_.read_word(at, code)) return 0;
    if ((code & 0xffffffffu) == 0xfa1e0ff3u && !memory_.read_word(at += 4, code)) return 0;
    if ((code & 0xff) == 0xf2 && !memory_.read_word(at += 1, code)) return 0;
    if ((code & 0xffffffffu) == 0xe5894855u && !memory_.read_word(at += 4, code)) return 0;
    const auto offset_at = [&code](unsigned byte) {
      return static_cast<std::uintptr_t>(
          static_cast<std::intptr_t>(static_cast<std::int32_t>(code >> (8 * byte))));
    };
    std::uintptr_t slot = 0;
    if ((code & 0xff) == 0xe9) return at + 5 + offset_at(1);
    if ((code & 0xffff) == 0x25ff) slot = at + 6 + offset_at(2);
    // jmp *%rax, or pop %rbp before it, follows (clang with frame pointers).
    const bool jumps = code >> 56 == 0xff || code >> 56 == 0x5d;
    if ((code & 0xffffff) == 0x058b48 && jumps) slot = at + 7 + offset_at(3);
    std::uintptr_t target = 0;
    return slot != 0 && memory_.read_word(slot, target) ? target : 0;
#else
    (void)at;
    return 0;
#endif
  }

  Memory& memory_;
  const Code& code_;
  std::uintptr_t* const out_;
  const std::size_t capacity_;
  std::uintptr_t sp_ = 0;
  std::uintptr_t fp_ = 0;
  std::size_t budget_ = scan_budget;
  unsigned bridges_ = 0;
  walked_stack result_;
};

// Reads this process's memory without trusting any address: each page is probed by one system
// call before its first load, and remembered for this walk only.
class probed_memory {
 public:
  bool read_word(std::uintptr_t address, std::uintptr_t& word) PROF_DETAIL_SIG {
    if (!page_ok_sig(address) || !page_ok_sig(address + sizeof word - 1)) return false;
    std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof word);
    return true;
  }

 private:
  static constexpr std::size_t pages = 8;
  bool page_ok_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    const std::uintptr_t page = address >> 12;
    if (page == 0) return false;  // what an empty entry of known_ would match
    std::uintptr_t& known = known_[page % pages];
    if (known == page) return true;
    if (!os_readable_sig(page << 12)) return false;
    known = page;
    return true;
  }
  std::uintptr_t known_[pages] = {};
};

// The registers of a hook's caller. A macro, because the frame must be the hook's own: its frame
// record holds the caller's fp and the return address (psABI x86-64 3.2.2, AAPCS64 6.4.6).
inline registers caller_registers_sig(const void* frame, const void* return_address)
    PROF_DETAIL_SIG {
  registers r;
  const auto record = reinterpret_cast<std::uintptr_t>(frame);
  r.pc = strip_address_sig(reinterpret_cast<std::uintptr_t>(return_address));
  r.sp = record + 16;
  std::memcpy(&r.fp, frame, sizeof r.fp);
  return r;
}
#define PROF_DETAIL_CALLER_REGISTERS()                                  \
  ::prof::detail::caller_registers_sig(__builtin_frame_address(0),     \
                                       __builtin_return_address(0))

PROF_DETAIL_END

#endif  // PROF_STACK_UNWIND_HPP
