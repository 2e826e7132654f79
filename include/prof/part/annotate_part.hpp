// prof/part/annotate_part.hpp - the whole's side of annotations: labels are kept, records counted.
// Floor 10 (part). Included by prof.hpp, whatever the switches.
// Safety: functions ending in _sig may run in a handler or an allocator; labels are set in ordinary
//         context, any thread.
// Memory: label sets in the process state's table.
// Source: one keeper per process: thread-locals are per object, and CPU handler, hooks and annotated
//         code may be in three of them.
#ifndef PROF_PART_ANNOTATE_PART_HPP
#define PROF_PART_ANNOTATE_PART_HPP

#include "prof/part/parts.hpp"

PROF_DETAIL_BEGIN

// The process with a keeper of labels, or null when no memory can be mapped.
inline process_state* annotated_process() noexcept {
  return object_pinned.load(std::memory_order_acquire) ? attached_process_sig() : enter_process();
}

inline label_set_id enter_labels(const label_pair* pairs, std::size_t count) {
  process_state* const process = annotated_process();
  if (process == nullptr) return no_labels;
  const annotate_part* const keeper = process->annotations.load(std::memory_order_acquire);
  if (keeper != &prof_part_annotate_v1) return keeper->enter_labels(pairs, count);
  label_pair all[2 * label_table::max_labels];
  std::size_t size = 0;
  const label_set_id before = current_labels;
  process->labels.for_each(before, [&](const label_pair& outer) { all[size++] = outer; });
  for (std::size_t i = 0; i < count; ++i) all[size++] = pairs[i];
  current_labels = process->labels.intern(all, size);
  return before;
}

inline void leave_labels(label_set_id before) {
  const process_state* const process = attached_process_sig();
  if (process == nullptr) return;
  const annotate_part* const keeper = process->annotations.load(std::memory_order_acquire);
  if (keeper == &prof_part_annotate_v1) current_labels = before;
  else if (keeper != nullptr) keeper->leave_labels(before);
}

// This object's, else another's.
inline const heap_part* any_heap_part_sig(const process_state& process) PROF_DETAIL_SIG {
  const heap_part* const own = own_heap_part_sig();
  return own != nullptr ? own : find_part_sig<heap_part>(process, part::heap);
}

inline void annotate_alloc_sig(poisson_gap& gap, void* object, std::size_t size,
                               const call_frame& call) PROF_DETAIL_SIG {
  process_state* const process = process_sig();
  const heap_part* const heap =
      process == nullptr ? nullptr : any_heap_part_sig(*process);
  if (heap == nullptr) gap.left = max_gap;  // looks again behind that
  else heap->record_alloc_sig(*process, gap, object, size, caller_registers_sig(call));
}

inline void annotate_free_sig(void* object) PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  const heap_part* const heap =
      process == nullptr ? nullptr : any_heap_part_sig(*process);
  if (heap != nullptr) heap->record_free_sig(*process, object);
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const annotate_part
    prof_part_annotate_v1 = {&enter_labels, &leave_labels, &kept_labels_sig, &annotate_alloc_sig,
                             &annotate_free_sig};

PROF_DETAIL_END

#endif  // PROF_PART_ANNOTATE_PART_HPP
