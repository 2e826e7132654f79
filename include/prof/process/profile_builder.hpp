// prof/process/profile_builder.hpp - from interned stacks and a code map to the locations of a profile.
// Floor 7 (process). Used by every part that fills a profile.
// Safety: ordinary context; thread-compatible.
// Memory: the profile's arena.
// Source: google/pprof profile.proto: locations belong to mappings; the first mapping is taken for
//         the main binary, which address order gives on Linux.
#ifndef PROF_PROCESS_PROFILE_BUILDER_HPP
#define PROF_PROCESS_PROFILE_BUILDER_HPP

#include "prof/process/process.hpp"

PROF_DETAIL_BEGIN

// A range of the code map as a mapping of a profile: its index there, if there is room.
inline std::uint32_t add_mapping(profile& p, const code_range& range) noexcept {
  char hex[2 * build_id_size];
  format_hex_bytes({reinterpret_cast<const char*>(range.build_id), range.build_id_length}, hex);
  profile_mapping mapping;
  mapping.start = range.start;
  mapping.limit = range.limit;
  mapping.offset = range.offset;
  mapping.file = p.string({range.path, range.path_size});
  mapping.build_id = p.string({hex, std::size_t{2} * range.build_id_length});
  mapping.current = range.current;
  mapping.range = range.number;
  const auto index = static_cast<std::uint32_t>(p.mappings.size());
  return p.mappings.push(mapping) ? index : no_index;
}

class profile_builder {
 public:
  static constexpr std::size_t max_extra_labels = 12;

  profile_builder(profile& target, const process_state& process) noexcept
      : profile_builder(target, process.code.load(), process.stacks, process.labels) {}
  profile_builder(profile& target, const code_map* code, const stack_table& stacks,
                  const label_table& labels) noexcept
      : target_(target), code_(code), stacks_(stacks), labels_(labels), frames_(target.memory) {
    add_mappings();
  }

  // One entry of a sampler's table; entries with the same stack and labels are summed. `extra`: labels of the sampler's
  // own, at most max_extra_labels.
  void add(stack_id stack, label_set_id label_set, const std::int64_t* values, const profile_label* extra = nullptr,
           std::size_t extra_count = 0) noexcept {
    add_named(stack, label_set, values, "[stack table full]", extra, extra_count);
  }

  // The same of one value, where a stack that is not there has a reason of its own.
  void add_or_say(stack_id stack, label_set_id label_set, std::int64_t value, text_view why, const profile_label* extra,
                  std::size_t extra_count) noexcept {
    add_named(why.size != 0 ? overflow_stack : stack, label_set, &value, why.size != 0 ? why : "[stack table full]", extra,
              extra_count);
  }

  // "12 of 340 stacks (18 of 2000 samples) are truncated ...", also when none are; samples or whatever the
  // profile's first values are.
  void add_stack_comments() noexcept {
    add_share(approximate_,
              "have frames found by scanning or by reading code (no call frame information)");
    add_share(truncated_, "are truncated (too deep, or no way to the root)");
  }

 private:
  void add_named(stack_id stack, label_set_id label_set, const std::int64_t* values, text_view no_stack,
                 const profile_label* extra, std::size_t extra_count) noexcept {
    const stack_view view = stacks_.view(stack);
    frames_.clear();
    for (std::size_t i = 0; i < view.depth; ++i) frames_.push(locate(view.frames[i]));
    if (view.depth == 0) frames_.push(target_.add_named_location(no_stack));
    profile_label marks[label_table::max_labels + max_extra_labels];
    std::size_t count = 0;
    labels_.for_each(label_set, [&](const label_pair& pair) {
      marks[count++] = {target_.string(pair.key), target_.string(pair.value), 0, 0};
    });
    for (std::size_t i = 0; i < extra_count && i < max_extra_labels; ++i) marks[count++] = extra[i];
    profile_sample* const sample =
        target_.add_sample(frames_.data(), frames_.size(), marks, count, values);
    if (sample == nullptr) return;
    sample->approximate |= view.approximate;
    sample->truncated |= view.truncated;
    all_.count(values[0]);
    if (view.approximate) approximate_.count(values[0]);
    if (view.truncated) truncated_.count(values[0]);
  }

  void add_mappings() noexcept {
    for (std::size_t i = 0; code_ != nullptr && i < code_->count; ++i) add_mapping(target_, code_->ranges[i]);
  }

  std::uint32_t locate(std::uintptr_t frame) noexcept {
    if (frame == truncation_mark) return target_.add_named_location("[truncated]");
    const std::uintptr_t address = frame_address_sig(frame);
    const code_range* const range = range_of(frame);
    if (range == nullptr) return target_.add_location(no_index, address);
    return target_.add_location(static_cast<std::uint32_t>(range - code_->ranges), address);
  }
  const code_range* range_of(std::uintptr_t frame) const noexcept {
    return code_ == nullptr ? nullptr : code_->find_frame(frame);
  }

  // Stacks with their labels, and the sum of their first values.
  struct tally {
    std::uint64_t stacks = 0;
    std::uint64_t weight = 0;
    void count(std::int64_t value) noexcept {
      ++stacks;
      weight += value > 0 ? static_cast<std::uint64_t>(value) : 0;
    }
  };

  void add_share(const tally& part, text_view what) noexcept {
    if (all_.stacks == 0) return;
    bounded_text<256> line;
    line.decimal(part.stacks).put(" of ").decimal(all_.stacks).put(" stacks (");
    line.decimal(part.weight).put(" of ").decimal(all_.weight).put(" ");
    line.put(target_.strings[target_.value_types.empty() ? 0 : target_.value_types[0].type]);
    line.put(") ").put(what);
    target_.add_comment(line.view());
  }

  profile& target_;
  const code_map* code_;
  const stack_table& stacks_;
  const label_table& labels_;
  arena_vector<std::uint32_t> frames_;
  tally all_;
  tally approximate_;
  tally truncated_;
};

// Go's shape of the profiles of waits: contentions, and their delay.
inline void describe_delays(profile& p) noexcept {
  p.add_value_type("contentions", "count");
  p.add_value_type("delay", "nanoseconds");
  p.period_type = {p.string("contentions"), p.string("count")};
  p.period = 1;
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_PROFILE_BUILDER_HPP
