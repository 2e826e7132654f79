// prof/unwind/return_address.hpp - whether a word on the stack is a return address, and whether the call before it
// leads into the function that a walk is in.
// Floor 4 (unwind). Asked by unwind.hpp where no rule is known, and of what nobody vouches for.
// Safety: async-signal-safe: every load goes through the caller's reader, every loop is bounded.
// Memory: none.
// Source: call_site.hpp reads the instructions. Code that another thread may be unloading is read by a copy that
//         fails instead of faulting (any_code): only of code that stays is it known that it can be read.
#ifndef PROF_UNWIND_RETURN_ADDRESS_HPP
#define PROF_UNWIND_RETURN_ADDRESS_HPP

#include "prof/os/os.hpp"
#include "prof/unwind/call_site.hpp"

PROF_DETAIL_BEGIN

// Memory: read_word and read_copy; Code: is_never_unloaded_sig: see unwind.hpp. Each read is chosen by its address, for a
// call of the program's may lead through a stub into a library that goes.
template <class Memory, class Code>
struct chosen_code {
  Memory& memory;
  Code& code;
  bool read_word(std::uintptr_t address, std::uintptr_t& word) PROF_DETAIL_SIG {
    return code.is_never_unloaded_sig(address) ? memory.read_word(address, word) : memory.read_copy(address, word);
  }
};
// A stub's slot lies in the stub's file, and stays if that does.
template <class Memory, class Code>
bool read_slot_sig(chosen_code<Memory, Code>& from, std::uintptr_t stub, std::uintptr_t slot, std::uintptr_t& word)
    PROF_DETAIL_SIG {
  return from.code.is_never_unloaded_sig(stub) ? from.memory.read_word(slot, word) : from.memory.read_copy(slot, word);
}

// An address in a function, and its first one, 0 when that is unknown.
struct entered_function {
  std::uintptr_t inside = 0;
  std::uintptr_t start = 0;
};

template <class Memory, class Code>
class return_addresses {
 public:
  return_addresses(Memory& memory, Code& code) PROF_DETAIL_SIG
      : chosen_{memory, code}, tracer_(chosen_) {}

  PROF_DETAIL_NOINLINE bool is_return_sig(std::uintptr_t word) PROF_DETAIL_SIG {
    return tracer_.is_return_address_sig(word);
  }

  // Whether the call before a word enters the function; where that cannot be known, for the call is indirect,
  // `otherwise`.
  PROF_DETAIL_NOINLINE bool leads_sig(std::uintptr_t word, entered_function to, bool otherwise) PROF_DETAIL_SIG {
    const call_site call = tracer_.call_at_sig(word);
    if (otherwise && (call.kind == call_kind::indirect || call.kind == call_kind::by_slot)) return true;
    return tracer_.entered_through_sig(tracer_.target_of_sig(call, word), to.inside, to.start);
  }

  // See call_tracer; pc is an interrupted instruction.
  bool stub_depth_sig(std::uintptr_t pc, std::uintptr_t& depth) PROF_DETAIL_SIG {
    return tracer_.stub_depth_sig(pc, depth);
  }
  bool is_context_start_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    return os_is_context_start_sig(address, chosen_);
  }

 private:
  chosen_code<Memory, Code> chosen_;
  call_tracer<chosen_code<Memory, Code>> tracer_;
};

PROF_DETAIL_END

#endif  // PROF_UNWIND_RETURN_ADDRESS_HPP
