// prof/write/text.hpp - writes profiles as text that people read and pprof parses (debug=1): of the heap, of waits, of
// numbers of things.
// Floor 9 (write). Called by parts, as what debug=1 writes.
// Safety: ordinary context; thread-compatible. Not for signal handlers.
// Memory: 40 bytes per sample in the caller's scratch arena, to sort them.
// Source: Go 1.26 runtime/pprof writeHeapInternal, writeProfileInternal, printCountProfile (layout); google/pprof
//         profile/legacy_profile.go parseHeap, parseContention, parseGoCount, September 2026 (what a reader accepts and
//         does to the numbers).
#ifndef PROF_WRITE_TEXT_HPP
#define PROF_WRITE_TEXT_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"
#include "prof/profile/model.hpp"

PROF_DETAIL_BEGIN

// A line `# key = value` after the records, such as Go's memory statistics.
struct heap_text_stat {
  text_view key;
  std::uint64_t value;
};

struct heap_text_counts {
  std::int64_t objects;
  std::int64_t bytes;
};

struct heap_text_row {
  heap_text_counts inuse;
  heap_text_counts alloc;
  std::uint32_t sample;
};

// The parser refuses the whole file over bytes without an object.
inline heap_text_counts heap_text_pair(std::int64_t objects, std::int64_t bytes) noexcept {
  if (objects == 0 && bytes != 0) objects = bytes < 0 ? -1 : 1;
  return {objects, bytes};
}

// What all texts have: stacks, with the names of their functions as comments, and the mappings at the end.
class text_profile_writer {
 public:
  text_profile_writer(const profile& p, output out) noexcept : p_(p), out_(out) {}

 protected:
  // The parser takes the numbers behind @ for return addresses and subtracts 1; ours are the
  // calls already, so 1 is added. The comments show the call, as Go's do.
  void put_addresses(const profile_sample& sample, text_view if_none) noexcept {
    const std::uint32_t* const frames = p_.frames_of(sample);
    bool has_address = false;
    out_.put(" @");
    for (std::size_t i = 0; i < sample.depth; ++i) {
      if (frames[i] >= p_.locations.size()) continue;
      const std::uint64_t address = p_.locations[frames[i]].address;
      if (address != 0) out_.put(" ").hex(address + 1);
      has_address |= address != 0;
    }
    if (!has_address) out_.put(if_none);
    out_.put("\n");
  }
  void put_frames(const profile_sample& sample) noexcept {
    const std::uint32_t* const frames = p_.frames_of(sample);
    for (std::size_t i = 0; i < sample.depth; ++i) {
      if (frames[i] < p_.locations.size()) put_frame(p_.locations[frames[i]]);
    }
    out_.put("\n");
  }

  void put_frame(const profile_location& location) noexcept {
    if (location.line_count == 0) out_.put("#\t").hex(location.address).put("\n");
    for (std::size_t i = 0; i < location.line_count; ++i) {
      put_line(location.address, p_.lines[location.first_line + i]);
    }
  }

  // The distance from the function's start is not known here, hence always +0x0.
  void put_line(std::uint64_t address, const profile_line& line) noexcept {
    out_.put("#\t").hex(address);
    if (line.function < p_.functions.size()) {
      const profile_function& function = p_.functions[line.function];
      out_.put("\t");
      out_.printable(string(function.name));
      out_.put("+0x0");
      if (string(function.file).size != 0) out_.put("\t");
      out_.printable(string(function.file));
      const bool has_place = string(function.file).size != 0 && line.line > 0;
      if (has_place) out_.put(":").signed_decimal(line.line);
    }
    out_.put("\n");
  }

  // The first mapping that holds an address wins, so those unmapped since come last.
  void put_mappings(text_view title) noexcept {
    out_.put(title);
    for (const profile_mapping& mapping : p_.mappings) {
      if (mapping.current) put_mapping(mapping);
    }
    for (const profile_mapping& mapping : p_.mappings) {
      if (!mapping.current) put_mapping(mapping);
    }
  }

  // A line of /proc/self/maps (proc(5)); device and inode are not in a profile.
  void put_mapping(const profile_mapping& mapping) noexcept {
    put_padded_hex(mapping.start);
    out_.put("-");
    put_padded_hex(mapping.limit);
    out_.put(" r-xp ");
    put_padded_hex(mapping.offset);
    out_.put(" 00:00 0 ");
    out_.printable(string(mapping.file));
    out_.put("\n");
  }

  void put_padded_hex(std::uint64_t number) noexcept {
    char digits[16];
    const std::size_t size = format_hex(number, digits);
    for (std::size_t i = size; i < 8; ++i) out_.put("0");
    out_.put({digits, size});
  }

  // Checked, because a profile that ran out of memory may name a string that it lost.
  text_view string(string_index index) const noexcept {
    return index < p_.strings.size() ? p_.strings[index] : text_view();
  }

  const profile& p_;
  text_writer out_;
};

class heap_text_writer : text_profile_writer {
 public:
  heap_text_writer(const profile& p, arena& scratch, output out) noexcept
      : text_profile_writer(p, out), rows_(scratch) {}

  // False, with nothing written, when there is no memory to sort in.
  bool collect() noexcept {
    for (std::size_t i = 0; i < p_.samples.size(); ++i) {
      const heap_text_row row = row_of(static_cast<std::uint32_t>(i));
      const bool is_empty = row.inuse.objects == 0 && row.alloc.objects == 0;
      if (!is_empty && !rows_.push(row)) return false;
    }
    heap_sort(rows_.data(), rows_.size(), [](const heap_text_row& a, const heap_text_row& b) {
      if (a.inuse.bytes != b.inuse.bytes) return a.inuse.bytes > b.inuse.bytes;
      if (a.alloc.bytes != b.alloc.bytes) return a.alloc.bytes > b.alloc.bytes;
      return a.sample < b.sample;
    });
    return true;
  }

  bool write(const heap_text_stat* stats, std::size_t stat_count) noexcept {
    put_header();
    for (const heap_text_row& row : rows_) put_record(row);
    out_.put("\n");
    for (std::size_t i = 0; i < stat_count; ++i) {
      out_.put("# ");
      out_.printable(stats[i].key);
      out_.put(" = ").decimal(stats[i].value).put("\n");
    }
    put_mappings("\nMAPPED_LIBRARIES:\n");
    return out_.flush();
  }

 private:
  heap_text_row row_of(std::uint32_t sample) const noexcept {
    heap_text_row row;
    row.inuse = heap_text_pair(value(sample, "inuse_objects"), value(sample, "inuse_space"));
    row.alloc = heap_text_pair(value(sample, "alloc_objects"), value(sample, "alloc_space"));
    // The parser has no sign in these two columns, only in the first two.
    if (row.alloc.objects < 0 || row.alloc.bytes < 0) row.alloc = {0, 0};
    row.sample = sample;
    return row;
  }

  // A profile without the type (only in-use values, say) reads as zeros there.
  std::int64_t value(std::uint32_t sample, text_view type) const noexcept {
    for (std::size_t i = 0; i < p_.value_types.size(); ++i) {
      if (string(p_.value_types[i].type).equals(type)) return p_.values_of(p_.samples[sample])[i];
    }
    return 0;
  }

  // "heapprofile" is the one type that the parser does not scale by a sampling rate; our values
  // are estimates of the whole already. Its totals only tell it whether the alloc columns are
  // there: they are, it thinks, when they differ from the in-use totals and are not zero. Hence
  // one byte more when they are equal, as in Go.
  void put_header() noexcept {
    heap_text_counts inuse = {0, 0};
    heap_text_counts alloc = {0, 0};
    for (const heap_text_row& row : rows_) {
      inuse.objects += row.inuse.objects;
      inuse.bytes += row.inuse.bytes;
      alloc.objects += row.alloc.objects;
      alloc.bytes += row.alloc.bytes;
    }
    // A difference of two profiles may sum to less than nothing, for which the header has no sign.
    if (inuse.objects < 0) inuse.objects = 0;
    if (inuse.bytes < 0) inuse.bytes = 0;
    if (alloc.bytes == inuse.bytes || alloc.bytes == 0) alloc.bytes++;
    if (alloc.bytes == inuse.bytes) alloc.bytes++;
    out_.put("heap profile: ");
    put_counts(inuse, alloc);
    out_.put(" @ heapprofile\n");
  }

  void put_counts(const heap_text_counts& inuse, const heap_text_counts& alloc) noexcept {
    out_.signed_decimal(inuse.objects).put(": ").signed_decimal(inuse.bytes);
    out_.put(" [").signed_decimal(alloc.objects).put(": ").signed_decimal(alloc.bytes).put("]");
  }

  void put_record(const heap_text_row& row) noexcept {
    const profile_sample& sample = p_.samples[row.sample];
    put_counts(row.inuse, row.alloc);
    put_addresses(sample, "");
    put_frames(sample);
  }

  arena_vector<heap_text_row> rows_;
};

// Value types are found by Go's names (inuse_space, ...). False when `out` refused or `scratch`
// has no room.
inline bool write_heap_text(const profile& p, arena& scratch, output out,
                            const heap_text_stat* stats, std::size_t stat_count) noexcept {
  heap_text_writer writer(p, scratch, out);
  return writer.collect() && writer.write(stats, stat_count);
}

// As a part's row has it: debug=1.
inline bool write_heap_text(const profile& p, arena& scratch, output out) noexcept {
  return write_heap_text(p, scratch, out, nullptr, 0);
}

// ---- waits, and numbers of things -----------------------------------------------------------------------------------------

// The samples of a profile, those with the largest last value first.
class ranked_text_writer : protected text_profile_writer {
 public:
  ranked_text_writer(const profile& p, arena& scratch, output out) noexcept
      : text_profile_writer(p, out), order_(scratch) {}

  // Go's text of the block and mutex profiles: nanoseconds, so that there are 1e9 cycles a second; our values stand for
  // the whole already, so that the parser has nothing to scale.
  bool write_delays(text_view title, bool has_period) noexcept {
    if (!rank()) return false;
    out_.put(title).put("\ncycles/second=1000000000\n");
    if (has_period) out_.put("sampling period=1\n");
    for (const std::uint32_t sample : order_) {
      const std::int64_t* const values = p_.values_of(p_.samples[sample]);
      out_.signed_decimal(values[1]).put(" ").signed_decimal(values[0]);
      put_stack(sample);
    }
    put_mappings("--- Memory map: ---\n");
    return out_.flush();
  }

  // Go's text of profiles that count things.
  bool write_counts() noexcept {
    if (!rank()) return false;
    std::int64_t total = 0;
    for (const std::uint32_t sample : order_) total += p_.values_of(p_.samples[sample])[0];
    out_.put(p_.value_types.empty() ? text_view("things") : string(p_.value_types[0].type)).put(" profile: total ").signed_decimal(total).put("\n");
    for (const std::uint32_t sample : order_) {
      out_.signed_decimal(p_.values_of(p_.samples[sample])[0]);
      put_stack(sample);
    }
    put_mappings("--- Memory map: ---\n");
    return out_.flush();
  }

 private:
  // Without what a difference has less of: the parser has no sign.
  bool rank() noexcept {
    if (p_.value_types.empty()) return true;
    const std::size_t last = p_.value_types.size() - 1;
    for (std::size_t i = 0; i < p_.samples.size(); ++i) {
      const std::int64_t* const values = p_.values_of(p_.samples[i]);
      if (values[0] >= 0 && values[last] > 0 && !order_.push(static_cast<std::uint32_t>(i))) return false;
    }
    heap_sort(order_.data(), order_.size(), [&](std::uint32_t a, std::uint32_t b) {
      const std::int64_t of_a = p_.values_of(p_.samples[a])[last];
      const std::int64_t of_b = p_.values_of(p_.samples[b])[last];
      return of_a != of_b ? of_a > of_b : a < b;
    });
    return true;
  }
  void put_stack(std::uint32_t sample) noexcept {
    put_addresses(p_.samples[sample], " 0x1");  // the parser wants one
    put_labels(p_.samples[sample]);
    put_frames(p_.samples[sample]);
  }
  // # labels: {"key":"value", "key2":"value2"}
  void put_labels(const profile_sample& sample) noexcept {
    const char* before = "# labels: {";
    for (std::size_t i = 0; i < sample.label_count; ++i) {
      const profile_label& label = p_.labels[sample.first_label + i];
      if (label.text == 0) continue;
      out_.put(before);
      put_quoted(string(label.key));
      out_.put(":");
      put_quoted(string(label.text));
      before = ", ";
    }
    if (before[0] == ',') out_.put("}\n");
  }
  void put_quoted(text_view text) noexcept {
    out_.put("\"");
    for (std::size_t i = 0; i < text.size; ++i) {
      if (text.data[i] == '"' || text.data[i] == '\\') out_.put("\\");
      out_.printable({text.data + i, 1});
    }
    out_.put("\"");
  }

  arena_vector<std::uint32_t> order_;
};

// As parts' rows have them.
inline bool write_block_text(const profile& p, arena& scratch, output out) noexcept {
  return ranked_text_writer(p, scratch, out).write_delays("--- contention:", false);
}
inline bool write_mutex_text(const profile& p, arena& scratch, output out) noexcept {
  return ranked_text_writer(p, scratch, out).write_delays("--- mutex:", true);
}
inline bool write_count_text(const profile& p, arena& scratch, output out) noexcept {
  return ranked_text_writer(p, scratch, out).write_counts();
}

PROF_DETAIL_END

#endif  // PROF_WRITE_TEXT_HPP
