// prof/unwind/call_site.hpp - is this word a return address: what call stands before it, and does that
// call lead into the function the walk came from?
// Floor 4 (unwind). The last resort of unwind.hpp, where neither tables nor frame pointers tell.
// Safety: async-signal-safe: every load goes through the caller's reader, every loop is bounded.
// Memory: none.
// Source: Intel SDM vol. 2 (call, jmp, their ModR/M forms), Arm ARM C6.2 (BL, BLR); PLT entries as
//         GNU ld 2.40 and lld 14 write them.
#ifndef PROF_UNWIND_CALL_SITE_HPP
#define PROF_UNWIND_CALL_SITE_HPP

#include <cstring>

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// What kind of call ends where a return address points.
enum class call_kind { none, direct, indirect, by_slot };
struct call_site {
  call_kind kind = call_kind::none;
  // Of a direct call; of an indirect one, where it may be a direct one as well, else 0; of call *disp(%rip), as
  // -fno-plt writes it, where the target is read from.
  std::uintptr_t target = 0;
};

// How far behind its entry point a function's code is believed to reach where no table tells.
inline constexpr std::uintptr_t max_function_size = std::uintptr_t{32} * 1024;
// Stubs followed from a call to the function it enters: new[] takes six (ours, the library's, its
// PLT, ours again).
inline constexpr int max_hops = 8;
// Bytes e9 of a function's begin that are taken for a jump out.
inline constexpr int max_tail_jumps = 4;

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
  const auto displacement = static_cast<std::uintptr_t>(std::intptr_t{static_cast<std::int32_t>(before >> 32)});
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
    if (size != length) continue;
    if (mode == 0 && base == 5) return {call_kind::by_slot, ra + displacement};
    // The last bytes of a call rel32 may look like that.
    return {call_kind::indirect, byte(5) == 0xe8 ? ra + displacement : 0};
  }
  if (byte(5) != 0xe8) return {};  // call rel32
  return {call_kind::direct, ra + displacement};
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

// Code that another thread may be unloading, or that is none: a Memory whose every read is Memory's read_copy.
template <class Memory>
struct any_code {
  Memory& memory;
  bool read_word(std::uintptr_t address, std::uintptr_t& word) PROF_DETAIL_SIG {
    return memory.read_copy(address, word);
  }
};

// The word of a stub's slot; return_address.hpp, which chooses how to read by the stub, overloads it.
template <class Memory>
bool read_slot_sig(Memory& memory, std::uintptr_t, std::uintptr_t slot, std::uintptr_t& word) PROF_DETAIL_SIG {
  return memory.read_word(slot, word);
}

// Looks at code through Memory: bool read_word(address, word&).
template <class Memory>
class call_tracer {
 public:
  explicit call_tracer(Memory& memory) PROF_DETAIL_SIG : memory_(memory) {}

  call_site call_at_sig(std::uintptr_t return_address) PROF_DETAIL_SIG {
    std::uintptr_t before = 0;
    if (return_address <= 4096 || !read_before_sig(return_address, before)) return {};
    return call_before_sig(return_address, before);
  }
  bool is_return_address_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    return call_at_sig(address).kind != call_kind::none;
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

  // Where a call goes; an indirect one by what its slot holds now, which may have been changed since. 0: unknown.
  std::uintptr_t target_of_sig(const call_site& call, std::uintptr_t return_address) PROF_DETAIL_SIG {
    std::uintptr_t target = 0;
    if (call.kind != call_kind::by_slot) return call.target;
    return read_slot_sig(memory_, return_address, call.target, target) ? target : 0;
  }

  // Whether the function at `at` has a jump out that leads to the function that starts at `here`:
  // libstdc++'s string growth ends in a jump to operator new.
  bool tail_called_sig(std::uintptr_t at, std::uintptr_t here) PROF_DETAIL_SIG {
#if !defined(__x86_64__)
    here = 0;  // only x86-64's jumps are read
#endif
    int jumps = 0;
    for (std::size_t i = 0; here != 0 && i < 96 && jumps < max_tail_jumps; ++i) {
      std::uintptr_t code = 0;
      if (!memory_.read_word(at + i, code)) return false;
      if ((code & 0xff) != 0xe9) continue;
      ++jumps;
      std::uintptr_t target = at + i;
      for (int hop = 0; hop < max_hops && target != 0; ++hop) {
        if (target == here) return true;
        target = jump_target_sig(target);
      }
    }
    return false;
  }

  // Where a stub that only jumps goes; 0 for anything else. x86-64: [endbr64] [bnd] jmp *disp(%rip);
  // jmp rel32; mov disp(%rip),%rax; jmp *%rax (which our own hooks compile to). aarch64: a PLT entry; b imm26.
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
    return slot != 0 && read_slot_sig(memory_, at, slot, target) ? target : 0;
#elif defined(__aarch64__)
    std::uint32_t code = 0;
    std::uint32_t load = 0;
    if (!instruction_sig(at, code)) return 0;
    if (code == bti_c && !instruction_sig(at += 4, code)) return 0;
    if ((code & 0xfc000000u) == 0x14000000u) {
      return at + static_cast<std::uintptr_t>(std::intptr_t{static_cast<std::int32_t>(code << 6) >> 4});
    }
    const bool is_stub = (code & 0x9f00001fu) == 0x90000010u && instruction_sig(at + 4, load) &&
                         is_stub_load_sig(load);
    const auto pages = static_cast<std::int32_t>((code & 0xffffe0u) << 8 | (code >> 29 & 3u) << 11) >> 11;
    const std::uintptr_t slot = (at & ~std::uintptr_t{4095}) + static_cast<std::uintptr_t>(std::intptr_t{pages} * 4096) +
                                (load >> 10 & 0xfffu) * 8;
    std::uintptr_t target = 0;
    return is_stub && read_slot_sig(memory_, at, slot, target) ? target : 0;
#else
    (void)at;
    return 0;
#endif
  }

  // Whether pc is in a PLT, and how far above sp the caller's is there, but for the return address of
  // x86-64. x86-64's entry is [endbr64] [bnd] jmp *disp(%rip), push $n, jmp to the first entry; that
  // one push disp(%rip), jmp *disp(%rip). aarch64's is [bti c], adrp x16, ldr x17, add x16,
  // [autia1716], br x17; the first one stores x16 and lr below sp before the adrp.
  bool stub_depth_sig(std::uintptr_t pc, std::uintptr_t& depth) PROF_DETAIL_SIG {
#if defined(__aarch64__)
    depth = 0;
    bool loads = false;
    std::uint32_t code = 0;
    std::uintptr_t at = pc;
    for (; instruction_sig(at, code) && code != 0xd61f0220u; at += 4) {  // br x17
      if (!is_stub_code_sig(code) || at - pc > most_stub_bytes) return false;
      loads = loads || is_stub_load_sig(code);
    }
    if (code != 0xd61f0220u) return false;
    for (at = pc - 4; pc - at <= most_stub_bytes; at -= 4) {
      if (!instruction_sig(at, code) || !is_stub_code_sig(code)) break;
      loads = loads || is_stub_load_sig(code);
      if (code == stub_push) depth = 16;
    }
    return loads;
#else
    std::uintptr_t code = 0;
    std::uintptr_t before = 0;
    if (!memory_.read_word(pc, code) || !memory_.read_word(pc - 8, before)) return false;
    if ((code & 0xffffffffu) == 0xfa1e0ff3u && !memory_.read_word(pc + 4, code)) return false;
    if ((code & 0xff) == 0xf2) code >>= 8;
    const bool behind_push = (before >> 24 & 0xff) == 0x68;        // push $n takes 5 bytes
    const bool behind_load = (before >> 16 & 0xffff) == 0x35ff;    // push disp(%rip) takes 6
    const bool is_jump = (code & 0xffff) == 0x25ff;
    // Other code pushes, too: of a PLT's only what a jump follows.
    const std::uintptr_t behind = (code & 0xff) == 0x68 ? code >> 40 : code >> 48;
    const bool is_push = (code & 0xff) == 0x68 && ((behind & 0xff) == 0xe9 || (behind & 0xffff) == 0xe9f2);
    const bool is_load = (code & 0xffff) == 0x35ff && (behind == 0x25ff || behind == 0xfff2);
    depth = is_jump && behind_load ? 16 : is_jump || is_push ? 0 : 8;
    return is_jump || is_push || is_load || ((code & 0xff) == 0xe9 && behind_push);
#endif
  }

 private:
  // The 8 bytes before an address; zeros for those of a page before it that cannot be read, for a mapping's
  // code (a JIT compiler's) may begin with the call.
  bool read_before_sig(std::uintptr_t address, std::uintptr_t& before) PROF_DETAIL_SIG {
    if (memory_.read_word(address - 8, before)) return true;
    const std::uintptr_t in_page = address & 4095;
    if (in_page == 0 || in_page >= 8 || !memory_.read_word(address - in_page, before)) return false;
    before <<= 64 - 8 * in_page;
    return true;
  }
#if defined(__aarch64__)
  static constexpr std::uintptr_t most_stub_bytes = 5 * 4;
  static constexpr std::uint32_t stub_push = 0xa9bf7bf0u;  // stp x16, x30, [sp, #-16]!
  static constexpr std::uint32_t bti_c = 0xd503245fu;

  bool instruction_sig(std::uintptr_t at, std::uint32_t& code) PROF_DETAIL_SIG {
    std::uintptr_t two = 0;
    if (!memory_.read_word(at & ~std::uintptr_t{7}, two)) return false;
    code = static_cast<std::uint32_t>(two >> ((at & 4) * 8));
    return true;
  }
  static bool is_stub_load_sig(std::uint32_t code) PROF_DETAIL_SIG {
    return (code & 0xffc003ffu) == 0xf9400211u;  // ldr x17, [x16, #n]
  }
  static bool is_stub_code_sig(std::uint32_t code) PROF_DETAIL_SIG {
    return (code & 0x9f00001fu) == 0x90000010u ||  // adrp x16, page
           (code & 0xffc003ffu) == 0x91000210u ||  // add x16, x16, #n
           is_stub_load_sig(code) || code == stub_push || code == bti_c || code == 0xd503219fu;  // autia1716
  }
#endif
  Memory& memory_;
};

PROF_DETAIL_END

#endif  // PROF_UNWIND_CALL_SITE_HPP
