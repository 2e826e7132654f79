// prof/stack/return_address.hpp - whether a word on the stack is a return address, and whether the call before it
// leads into the function that a walk is in.
// Floor 3 (stack). Asked by unwind.hpp where no rule is known, and of what nobody vouches for.
// Safety: async-signal-safe: every load goes through the caller's reader, every loop is bounded.
// Memory: none.
// Source: call_site.hpp reads the instructions. Code that another thread may be unloading is read by a copy that
//         fails instead of faulting (any_code): only of code that stays is it known that it can be read.
#ifndef PROF_STACK_RETURN_ADDRESS_HPP
#define PROF_STACK_RETURN_ADDRESS_HPP

#include "prof/os/os.hpp"
#include "prof/stack/call_site.hpp"

PROF_DETAIL_BEGIN

// Memory: read_word and read_code; Code: is_lasting_sig and function_start_sig: see unwind.hpp.
template <class Memory, class Code>
class return_addresses {
 public:
  return_addresses(Memory& memory, Code& code) PROF_DETAIL_SIG
      : memory_(memory), code_(code), lasting_(memory), any_code_{memory}, any_(any_code_) {}

  bool is_return_sig(std::uintptr_t word) PROF_DETAIL_SIG {
    return code_.is_lasting_sig(word) ? lasting_.is_return_address_sig(word) : any_.is_return_address_sig(word);
  }

  // Whether the call before a word enters the function that holds `inside` and starts at `here` (0: unknown);
  // where that cannot be known, for the call is indirect, `otherwise`.
  bool leads_sig(std::uintptr_t word, std::uintptr_t inside, std::uintptr_t here, bool otherwise)
      PROF_DETAIL_SIG {
    return code_.is_lasting_sig(word) ? leads_by_sig(lasting_, word, inside, here, otherwise)
                                      : leads_by_sig(any_, word, inside, here, otherwise);
  }
  bool leads_sig(std::uintptr_t word, std::uintptr_t inside, bool otherwise) PROF_DETAIL_SIG {
    return leads_sig(word, inside, code_.function_start_sig(inside, memory_), otherwise);
  }

  // See call_tracer; pc is an interrupted instruction.
  bool stub_depth_sig(std::uintptr_t pc, std::uintptr_t& depth) PROF_DETAIL_SIG {
    return lasting_.stub_depth_sig(pc, depth);
  }
  bool is_context_start_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    return os_is_context_start_sig(address, any_code_);
  }

 private:
  template <class Tracer>
  static bool leads_by_sig(Tracer& tracer, std::uintptr_t word, std::uintptr_t inside, std::uintptr_t here,
                           bool otherwise) PROF_DETAIL_SIG {
    const call_site call = tracer.call_at_sig(word);
    if (call.kind == call_kind::indirect) return otherwise;
    return call.kind == call_kind::direct && tracer.entered_through_sig(call.target, inside, here);
  }

  Memory& memory_;
  Code& code_;
  call_tracer<Memory> lasting_;
  any_code<Memory> any_code_;
  call_tracer<any_code<Memory>> any_;
};

PROF_DETAIL_END

#endif  // PROF_STACK_RETURN_ADDRESS_HPP
