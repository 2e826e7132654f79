// Nothing but the slow paths of the heap hooks, after their entries were resolved.
#include "prof/hook/allocation.hpp"

extern const void* const hook_path[];  // extern: a const array would be local, and dropped
const void* const hook_path[] = {
    reinterpret_cast<const void*>(&prof::detail::record_sampled_alloc_sig),
    reinterpret_cast<const void*>(&prof::detail::record_object_sig),
    reinterpret_cast<const void*>(&prof::detail::sampling_rate_sig),
    reinterpret_cast<const void*>(&prof::detail::add_live_sig),
    reinterpret_cast<const void*>(&prof::detail::labels_of_sig),
    reinterpret_cast<const void*>(&prof::detail::count_freed_sig),
    reinterpret_cast<const void*>(&prof::detail::sampled_free_sig),
};
