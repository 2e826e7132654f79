// In place of libunwind: it finds nothing without .eh_frame_hdr, and its archive cannot be linked into a
// static-pie program. single_step.cpp then has no second opinion.
#define UNW_LOCAL_ONLY
#include <libunwind.h>

extern "C" {
int unw_init_local2(unw_cursor_t*, unw_context_t*, int) { return -UNW_EUNSPEC; }
int unw_get_reg(unw_cursor_t*, int, unw_word_t*) { return -UNW_EUNSPEC; }
int unw_is_signal_frame(unw_cursor_t*) { return -UNW_EUNSPEC; }
int unw_step(unw_cursor_t*) { return -UNW_EUNSPEC; }
}
