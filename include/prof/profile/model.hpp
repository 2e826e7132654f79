// prof/profile/model.hpp - the profile model: plain data, which samplers fill, the symbolizer
// names and writers read.
// Floor 6 (profile). Between sample/ below and symbol/, write/ above; neither side knows the other.
// Safety: ordinary context; thread-compatible (one profile, one thread).
// Memory: everything in the arena given at construction and gone with it. An exhausted arena loses
//         entries, never consistency; complete() tells.
// Source: google/pprof profile.proto (field meanings); every index here is 0-based, writers add
//         the 1 that the wire format wants.
//
// Glossary
//   mapping    a range of addresses that a file's segment was loaded at, now or earlier
//   location   one code address in a mapping, with the source lines it stands for; or only a name
//   line       a function and a line number; a location has several where calls were inlined,
//              innermost first
//   sample     a stack (locations, leaf first), labels and one value per value type
//   label      key with a text, or key with a number and its unit
#ifndef PROF_PROFILE_MODEL_HPP
#define PROF_PROFILE_MODEL_HPP

#include "prof/base/memory.hpp"
#include "prof/base/table.hpp"
#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

using string_index = std::uint32_t;  // into profile::strings; 0 is ""
inline constexpr std::uint32_t no_index = ~std::uint32_t{0};

struct profile_value_type {
  string_index type = 0;
  string_index unit = 0;
};

struct profile_mapping {
  std::uint64_t start = 0;
  std::uint64_t limit = 0;
  std::uint64_t offset = 0;
  string_index file = 0;
  string_index build_id = 0;  // lower-case hex
  std::uint32_t range = 0;    // its number in the code map; 0: unknown
  bool current = true;        // false: unmapped since (its samples keep their name and build id)
  bool has_functions = false;
  bool has_filenames = false;
  bool has_line_numbers = false;
  bool has_inline_frames = false;
};

struct profile_function {
  string_index name = 0;         // as shown: demangled
  string_index system_name = 0;  // as linked: mangled
  string_index file = 0;
  std::int64_t start_line = 0;
  bool is_made_up = false;       // the name says where it is, for it has none
};

struct profile_line {
  std::uint32_t function = 0;
  std::int64_t line = 0;
  std::int64_t column = 0;
};

struct profile_location {
  std::uint32_t mapping = no_index;
  std::uint64_t address = 0;  // 0: a name without an address
  std::uint32_t first_line = 0;
  std::uint32_t line_count = 0;  // 0 until symbolized
};

struct profile_label {
  string_index key = 0;
  string_index text = 0;    // 0: a number
  std::int64_t number = 0;
  string_index unit = 0;
};

struct profile_sample {
  std::uint32_t first_frame = 0;  // into profile::frames
  std::uint32_t depth = 0;
  std::uint32_t first_label = 0;  // into profile::labels
  std::uint32_t label_count = 0;
  std::uint32_t first_value = 0;  // into profile::values; one per value type
  bool approximate = false;       // a frame was found by scanning or by reading code
  bool truncated = false;         // too deep, or no way to the root
};

// Eight bytes at a time: names of templates have hundreds, and a profile has thousands of those.
inline std::uint64_t hash_text(text_view text) noexcept {
  std::uint64_t hash = text.size;
  std::uint64_t word = 0;
  for (; text.size >= sizeof word; text = text.from(sizeof word)) {
    std::memcpy(&word, text.data, sizeof word);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  word = 0;
  std::memcpy(&word, text.data, text.size);
  return mix_bits(hash ^ word);
}

// Finds equal things: a hash table of indices whose equality the caller knows.
class index_set {
 public:
  explicit index_set(arena& memory) noexcept : slots_(memory) {}

  void clear() noexcept {
    const std::size_t size = slots_.size();
    slots_.clear();
    slots_.resize(size);  // zeros
    count_ = 0;
  }

  // Index of the entry for which equal(index) holds, or no_index.
  template <class Equal>
  std::uint32_t find(std::uint64_t hash, Equal equal) const noexcept {
    if (slots_.empty()) return no_index;
    const auto mixed = static_cast<std::uint32_t>(mix_bits(hash));
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t at = mixed & mask; slots_[at].index_plus_1 != 0; at = (at + 1) & mask) {
      if (slots_[at].hash == mixed && equal(slots_[at].index_plus_1 - 1)) return slots_[at].index_plus_1 - 1;
    }
    return no_index;
  }

  // Index of the entry for which equal(index) holds, or `fresh` after adding it.
  template <class Equal>
  std::uint32_t find_or_add(std::uint64_t hash, std::uint32_t fresh, Equal equal) noexcept {
    if ((count_ + 1) * 2 > slots_.size() && !grow()) return no_index;
    const auto mixed = static_cast<std::uint32_t>(mix_bits(hash));
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = mixed & mask;
    for (; slots_[at].index_plus_1 != 0; at = (at + 1) & mask) {
      if (slots_[at].hash == mixed && equal(slots_[at].index_plus_1 - 1)) {
        return slots_[at].index_plus_1 - 1;
      }
    }
    slots_[at] = {mixed, fresh + 1};
    ++count_;
    return fresh;
  }

 private:
  struct slot {
    std::uint32_t hash;  // mixed, and cut: only a first look before equal()
    std::uint32_t index_plus_1;
  };
  bool grow() noexcept {
    arena_vector<slot> bigger(slots_.memory());
    if (!bigger.resize(slots_.empty() ? 64 : slots_.size() * 2)) return false;
    const std::size_t mask = bigger.size() - 1;
    for (const slot& old : slots_) {
      if (old.index_plus_1 == 0) continue;
      std::size_t at = old.hash & mask;
      while (bigger[at].index_plus_1 != 0) at = (at + 1) & mask;
      bigger[at] = old;
    }
    slots_.take_over(bigger);
    return true;
  }

  arena_vector<slot> slots_;
  std::size_t count_ = 0;
};

struct profile {
  explicit profile(arena& store) noexcept
      : memory(store),
        strings(store),
        value_types(store),
        comments(store),
        mappings(store),
        functions(store),
        lines(store),
        locations(store),
        frames(store),
        labels(store),
        values(store),
        samples(store),
        known_strings_(store),
        known_functions_(store),
        known_locations_(store),
        known_samples_(store) {
    string({"", 0});
  }

  arena& memory;
  arena_vector<text_view> strings;
  arena_vector<profile_value_type> value_types;
  arena_vector<string_index> comments;
  arena_vector<profile_mapping> mappings;
  arena_vector<profile_function> functions;
  arena_vector<profile_line> lines;
  arena_vector<profile_location> locations;
  arena_vector<std::uint32_t> frames;
  arena_vector<profile_label> labels;
  arena_vector<std::int64_t> values;
  arena_vector<profile_sample> samples;

  string_index default_type = 0;
  profile_value_type period_type;
  std::int64_t period = 0;
  std::uint64_t time_ns = 0;      // since 1970
  std::uint64_t duration_ns = 0;  // 0: not an interval
  string_index drop_frames = 0;
  string_index keep_frames = 0;
  string_index doc_url = 0;

  // Nothing was lost for want of memory.
  bool complete() const noexcept { return !memory.exhausted(); }

  string_index string(text_view text) noexcept {
    const auto fresh = static_cast<string_index>(strings.size());
    const string_index found = known_strings_.find_or_add(
        hash_text(text), fresh,
        [&](std::uint32_t i) { return i < strings.size() && strings[i].equals(text); });
    if (found != fresh) return found == no_index ? 0 : found;
    const char* const copy = memory.copy(text.data, text.size);
    const bool is_kept = copy != nullptr && strings.push(text_view(copy, text.size));
    return is_kept ? found : 0;
  }

  void add_value_type(text_view type, text_view unit) noexcept {
    value_types.push({string(type), string(unit)});
  }
  void add_comment(text_view text) noexcept { comments.push(string(text)); }

  std::uint32_t add_function(text_view name, text_view system_name, text_view file = {}) noexcept {
    profile_function wanted;
    wanted.name = string(name);
    wanted.system_name = string(system_name);
    wanted.file = string(file);
    const std::uint64_t hash =
        mix_bits((std::uint64_t{wanted.name} << 32 | wanted.system_name) ^
                 mix_bits(wanted.file));
    const auto fresh = static_cast<std::uint32_t>(functions.size());
    const std::uint32_t found =
        known_functions_.find_or_add(hash, fresh, [&](std::uint32_t i) {
          return i < functions.size() && functions[i].name == wanted.name &&
                 functions[i].system_name == wanted.system_name && functions[i].file == wanted.file;
        });
    return found != fresh || functions.push(wanted) ? found : no_index;
  }

  // The location of a code address; `mapping` may be no_index. no_index when out of memory.
  std::uint32_t add_location(std::uint32_t mapping, std::uint64_t address) noexcept {
    return find_location(mapping, address, no_index);
  }
  // A frame that has a name but no address, such as "[stack table full]".
  std::uint32_t add_named_location(text_view name) noexcept {
    return find_location(no_index, 0, add_function(name, name));
  }
  // The line a location stands for; repeat for inlined callers, innermost first. All lines of a
  // location must be added before those of the next.
  void add_line(profile_location& location, const profile_line& line) noexcept {
    if (location.line_count == 0) location.first_line = static_cast<std::uint32_t>(lines.size());
    if (lines.push(line)) location.line_count++;
  }

  // Adds to the sample with the same stack and labels, or makes it.
  profile_sample* add_sample(const std::uint32_t* stack, std::size_t depth,
                             const profile_label* marks, std::size_t mark_count,
                             const std::int64_t* sums) noexcept {
    const auto fresh = static_cast<std::uint32_t>(samples.size());
    const std::uint32_t found =
        known_samples_.find_or_add(hash_sample(stack, depth, marks, mark_count), fresh,
                                   [&](std::uint32_t i) {
                                     return i < samples.size() &&
                                            same_sample(samples[i], stack, depth, marks,
                                                        mark_count);
                                   });
    if (found == no_index) return nullptr;
    if (found == fresh && !push_sample(stack, depth, marks, mark_count)) return nullptr;
    std::int64_t* const sum = values.data() + samples[found].first_value;
    for (std::size_t i = 0; i < value_types.size(); ++i) sum[i] += sums[i];
    return &samples[found];
  }

  // Merges samples that became equal because their stacks were changed in place.
  void merge_samples() noexcept {
    known_samples_.clear();
    std::uint32_t kept = 0;
    for (const profile_sample sample : samples) {
      const std::uint32_t* const stack = frames_of(sample);
      const profile_label* const marks = labels.data() + sample.first_label;
      const std::uint32_t found = known_samples_.find_or_add(
          hash_sample(stack, sample.depth, marks, sample.label_count), kept,
          [&](std::uint32_t i) {
            return same_sample(samples[i], stack, sample.depth, marks, sample.label_count);
          });
      if (found == kept || found == no_index) {  // no memory to look: stays apart
        samples[kept++] = sample;
        continue;
      }
      profile_sample& same = samples[found];
      same.approximate = same.approximate || sample.approximate;
      same.truncated = same.truncated || sample.truncated;
      std::int64_t* const sum = values.data() + same.first_value;
      for (std::size_t i = 0; i < value_types.size(); ++i) sum[i] += values_of(sample)[i];
    }
    samples.resize(kept);
  }

  const std::int64_t* values_of(const profile_sample& sample) const noexcept {
    return values.data() + sample.first_value;
  }
  const std::uint32_t* frames_of(const profile_sample& sample) const noexcept {
    return frames.data() + sample.first_frame;
  }

 private:
  std::uint32_t find_location(std::uint32_t mapping, std::uint64_t address,
                              std::uint32_t function) noexcept {
    const std::uint64_t hash = mix_bits(address) ^ mapping ^ (std::uint64_t{function} << 32);
    const auto fresh = static_cast<std::uint32_t>(locations.size());
    const std::uint32_t found =
        known_locations_.find_or_add(hash, fresh, [&](std::uint32_t i) {
          if (i >= locations.size()) return false;  // lost when memory ran out
          const profile_location& there = locations[i];
          if (there.mapping != mapping || there.address != address) return false;
          if (function == no_index) return true;
          return there.line_count != 0 && lines[there.first_line].function == function;
        });
    if (found != fresh) return found;
    profile_location made;
    made.mapping = mapping;
    made.address = address;
    if (function != no_index) add_line(made, {function, 0, 0});
    return locations.push(made) ? found : no_index;
  }

  std::uint64_t hash_sample(const std::uint32_t* stack, std::size_t depth,
                            const profile_label* marks, std::size_t mark_count) const noexcept {
    // One multiplication a frame (a polynomial in an odd base); index_set mixes the sum.
    std::uint64_t hash = depth << 8 | mark_count;
    for (std::size_t i = 0; i < depth; ++i) hash = hash * 0x9e3779b97f4a7c15u + stack[i];
    for (std::size_t i = 0; i < mark_count; ++i) {
      hash = mix_bits(hash ^ (std::uint64_t{marks[i].key} << 32 | marks[i].text));
      hash = mix_bits(hash ^ static_cast<std::uint64_t>(marks[i].number) ^ marks[i].unit);
    }
    return hash;
  }

  bool same_sample(const profile_sample& there, const std::uint32_t* stack, std::size_t depth,
                   const profile_label* marks, std::size_t mark_count) const noexcept {
    if (there.depth != depth || there.label_count != mark_count) return false;
    for (std::size_t i = 0; i < depth; ++i) {
      if (frames[there.first_frame + i] != stack[i]) return false;
    }
    for (std::size_t i = 0; i < mark_count; ++i) {
      const profile_label& a = labels[there.first_label + i];
      const profile_label& b = marks[i];
      if (a.key != b.key || a.text != b.text || a.number != b.number || a.unit != b.unit) {
        return false;
      }
    }
    return true;
  }

  bool push_sample(const std::uint32_t* stack, std::size_t depth, const profile_label* marks,
                   std::size_t mark_count) noexcept {
    profile_sample made;
    made.first_frame = static_cast<std::uint32_t>(frames.size());
    made.depth = static_cast<std::uint32_t>(depth);
    made.first_label = static_cast<std::uint32_t>(labels.size());
    made.label_count = static_cast<std::uint32_t>(mark_count);
    made.first_value = static_cast<std::uint32_t>(values.size());
    return frames.append(stack, depth) && labels.append(marks, mark_count) &&
           values.resize(values.size() + value_types.size()) && samples.push(made);
  }

  index_set known_strings_;
  index_set known_functions_;
  index_set known_locations_;
  index_set known_samples_;
};

// A line's function; empty where there is none. Indices are checked: a profile that ran out of memory may hold one whose
// entry was lost.
inline text_view function_of_line(const profile& p, std::uint32_t line) noexcept {
  const std::uint32_t function = line < p.lines.size() ? p.lines[line].function : no_index;
  const string_index name = function < p.functions.size() ? p.functions[function].name : 0;
  return name < p.strings.size() ? p.strings[name] : text_view();
}

// Drops the leaf frames of functions for which hides(name) holds, but never a whole stack, and merges the samples that
// became equal: a heap profile's stacks begin inside the allocator, and the reader wants who called it.
inline void hide_leading_frames(profile& p, bool (*hides)(text_view function)) noexcept {
  arena_vector<bool> hidden(p.memory);  // by location
  if (!hidden.resize(p.locations.size())) return;
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    const profile_location& location = p.locations[i];
    // The function itself: what others were inlined into is the host's.
    const std::uint32_t outermost = location.first_line + location.line_count - 1;
    hidden[i] = location.line_count != 0 && hides(function_of_line(p, outermost));
  }
  for (profile_sample& sample : p.samples) {
    const std::uint32_t* const frames = p.frames_of(sample);
    std::uint32_t leading = 0;
    const auto is_hidden = [&](std::uint32_t at) { return at < hidden.size() && hidden[at]; };
    while (leading < sample.depth && is_hidden(frames[leading])) ++leading;
    if (leading == sample.depth) continue;
    sample.first_frame += leading;
    sample.depth -= leading;
  }
  p.merge_samples();
}

// Whether a demangled name is of a function of ours; before it there may be a return type.
inline bool is_own_function(text_view name) noexcept {
  const std::size_t arguments = name.find('(');
  const std::size_t templates = name.find('<');
  name.size = arguments < templates ? arguments : templates;
  const std::size_t type = name.rfind(' ');
  return (type < name.size ? name.from(type + 1) : name).starts_with("prof::v1::");
}

// Of a call that a stack begins with: functions of ours that the compiler has put into the caller have no frame, so only
// names tell them. A frame that is all ours stays as it is.
inline void hide_inlined_calls(profile& p) noexcept {
  for (const profile_sample& sample : p.samples) {
    const std::uint32_t leaf = sample.depth != 0 ? p.frames_of(sample)[0] : no_index;
    if (leaf >= p.locations.size()) continue;
    profile_location& location = p.locations[leaf];
    std::uint32_t ours = 0;
    while (ours < location.line_count && is_own_function(function_of_line(p, location.first_line + ours))) ++ours;
    if (ours == location.line_count) continue;
    location.first_line += ours;
    location.line_count -= ours;
  }
}

PROF_DETAIL_END

#endif  // PROF_PROFILE_MODEL_HPP
