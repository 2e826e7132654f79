// prof/write/pprof.hpp - writes a profile as google/pprof's profile.proto, gzipped or plain.
// Floor 9 (write). Called by collect/.
// Safety: ordinary context; thread-compatible. Not for signal handlers.
// Memory: one message at a time, about 4 KiB of finished ones and the compressor (233 KiB), all in
//         the caller's scratch arena; nothing grows with the number of samples.
// Source: google/pprof proto/profile.proto and profile/encode.go (September 2026). Ids are 1..N in
//         file order, which pprof does not need but Parca's validator does.
#ifndef PROF_WRITE_PPROF_HPP
#define PROF_WRITE_PPROF_HPP

#include "prof/base/gzip.hpp"
#include "prof/base/memory.hpp"
#include "prof/base/protobuf.hpp"
#include "prof/base/text.hpp"
#include "prof/profile/model.hpp"

PROF_DETAIL_BEGIN

// Three messages are in the making: a part (label, line), the entry it belongs to (sample,
// location, ...) and the pending run of finished entries, which goes out every few KiB.
// Indices are checked against their array: a profile that ran out of memory may hold one whose
// entry was lost, and a single bad id makes readers refuse the whole file.
class pprof_writer {
 public:
  pprof_writer(const profile& p, arena& scratch, output out, gzip_writer* gzip) noexcept
      : p_(p),
        scratch_(scratch),
        out_(out),
        gzip_(gzip),
        part_(scratch),
        entry_(scratch),
        pending_(scratch),
        cleaned_(scratch) {}

  bool write() noexcept {
    for (const profile_value_type& type : p_.value_types) put_value_type(1, type);
    for (const profile_sample& sample : p_.samples) {
      if (ok_ && has_value(sample)) put_sample(sample);
    }
    for (std::size_t i = 0; i < p_.mappings.size(); ++i) put_mapping(i + 1, p_.mappings[i]);
    for (std::size_t i = 0; i < p_.locations.size(); ++i) put_location(i + 1, p_.locations[i]);
    for (std::size_t i = 0; i < p_.functions.size(); ++i) put_function(i + 1, p_.functions[i]);
    put_string({});  // readers demand that string 0 is empty
    for (std::size_t i = 1; i < p_.strings.size(); ++i) put_string(p_.strings[i]);
    put_profile_fields();
    send();
    if (gzip_ != nullptr && ok_) ok_ = gzip_->finish();
    return ok_;
  }

 private:
  // ValueType: 1 type, 2 unit.
  void put_value_type(unsigned field, const profile_value_type& type) noexcept {
    entry_.integer(1, text(type.type));
    entry_.integer(2, text(type.unit));
    finish_entry(field);
  }

  // Samples of zeros carry nothing; Go's writer leaves them out too.
  bool has_value(const profile_sample& sample) const noexcept {
    const std::int64_t* const values = p_.values_of(sample);
    for (std::size_t i = 0; i < p_.value_types.size(); ++i) {
      if (values[i] != 0) return true;
    }
    return false;
  }

  // Sample: 1 location_id, 2 value, 3 label.
  void put_sample(const profile_sample& sample) noexcept {
    const std::uint32_t* const frames = p_.frames_of(sample);
    entry_.packed_ids(1, sample.depth, [&](std::size_t i) {
      return frames[i] < p_.locations.size() ? std::uint64_t{frames[i]} + 1 : 0;
    });
    const std::int64_t* const sums = p_.values_of(sample);
    entry_.packed(2, p_.value_types.size(),
                  [&](std::size_t i) { return static_cast<std::uint64_t>(sums[i]); });
    for (std::size_t i = 0; i < sample.label_count; ++i) {
      put_label(p_.labels[sample.first_label + i]);
    }
    finish_entry(2);
  }

  // Label: 1 key, 2 str, 3 num, 4 num_unit. Without a key or without any value it is left out:
  // pprof ignores it and Parca refuses the file.
  void put_label(const profile_label& label) noexcept {
    const bool is_text = text(label.text) != 0;
    if (text(label.key) == 0) return;
    if (!is_text && label.number == 0 && text(label.unit) == 0) return;
    part_.integer(1, text(label.key));
    part_.integer(2, text(label.text));
    if (!is_text) {
      part_.integer(3, label.number);
      part_.integer(4, text(label.unit));
    }
    finish_part(3);
  }

  // Mapping: 1 id, 2 memory_start, 3 memory_limit, 4 file_offset, 5 filename, 6 build_id,
  // 7 has_functions, 8 has_filenames, 9 has_line_numbers, 10 has_inline_frames.
  void put_mapping(std::uint64_t id, const profile_mapping& mapping) noexcept {
    entry_.integer(1, id);
    entry_.integer(2, mapping.start);
    entry_.integer(3, mapping.limit);
    entry_.integer(4, mapping.offset);
    entry_.integer(5, text(mapping.file));
    entry_.integer(6, text(mapping.build_id));
    entry_.integer(7, std::uint64_t{mapping.has_functions});
    entry_.integer(8, std::uint64_t{mapping.has_filenames});
    entry_.integer(9, std::uint64_t{mapping.has_line_numbers});
    entry_.integer(10, std::uint64_t{mapping.has_inline_frames});
    finish_entry(3);
  }

  // Location: 1 id, 2 mapping_id, 3 address, 4 line. Line: 1 function_id, 2 line, 3 column.
  void put_location(std::uint64_t id, const profile_location& location) noexcept {
    const bool is_mapped = location.mapping < p_.mappings.size();
    entry_.integer(1, id);
    entry_.integer(2, is_mapped ? std::uint64_t{location.mapping} + 1 : std::uint64_t{0});
    entry_.integer(3, location.address);
    for (std::size_t i = 0; i < location.line_count; ++i) {
      const profile_line& line = p_.lines[location.first_line + i];
      if (line.function >= p_.functions.size()) continue;
      part_.integer(1, std::uint64_t{line.function} + 1);
      part_.integer(2, line.line);
      part_.integer(3, line.column);
      finish_part(4);
    }
    finish_entry(4);
  }

  // Function: 1 id, 2 name, 3 system_name, 4 filename, 5 start_line.
  void put_function(std::uint64_t id, const profile_function& function) noexcept {
    entry_.integer(1, id);
    entry_.integer(2, text(function.name));
    entry_.integer(3, text(function.system_name));
    entry_.integer(4, text(function.file));
    entry_.integer(5, function.start_line);
    finish_entry(5);
  }

  // Symbols and paths are bytes, protobuf strings are UTF-8: Pyroscope refuses a file over one
  // stray byte, so each becomes '?'.
  void put_string(text_view string) noexcept {
    cleaned_.clear();
    cleaned_.append(string.data, string.size);
    clean_utf8(cleaned_.data(), cleaned_.size());
    pending_.bytes(6, {cleaned_.data(), cleaned_.size()});
    send_if_large();
  }

  // Profile: 7 drop_frames, 8 keep_frames, 9 time_nanos, 10 duration_nanos, 11 period_type,
  // 12 period, 13 comment, 14 default_sample_type, 15 doc_url.
  void put_profile_fields() noexcept {
    pending_.integer(7, text(p_.drop_frames));
    pending_.integer(8, text(p_.keep_frames));
    pending_.integer(9, p_.time_ns);
    pending_.integer(10, p_.duration_ns);
    const bool has_period_type = p_.period_type.type != 0 || p_.period_type.unit != 0;
    if (has_period_type) put_value_type(11, p_.period_type);
    pending_.integer(12, p_.period);
    pending_.packed_ids(13, p_.comments.size(),
                        [&](std::size_t i) { return text(p_.comments[i]); });
    pending_.integer(14, text(p_.default_type));
    pending_.integer(15, text(p_.doc_url));
  }

  std::uint64_t text(string_index index) const noexcept {
    return index < p_.strings.size() ? index : 0;
  }

  void finish_part(unsigned field) noexcept {
    entry_.message(field, part_);
    part_.clear();
  }
  void finish_entry(unsigned field) noexcept {
    pending_.message(field, entry_);
    entry_.clear();
    send_if_large();
  }
  void send_if_large() noexcept {
    if (pending_.view().size >= 4096) send();  // one page: few calls, little memory
  }

  // An exhausted arena has cut a message short somewhere: nothing may follow.
  void send() noexcept {
    const text_view bytes = pending_.view();
    if (scratch_.exhausted()) ok_ = false;
    if (ok_ && bytes.size != 0) {
      ok_ = gzip_ != nullptr ? gzip_->write(bytes.data, bytes.size)
                             : out_.write(out_.context, bytes.data, bytes.size);
    }
    pending_.clear();
  }

  const profile& p_;
  arena& scratch_;
  output out_;
  gzip_writer* gzip_;
  protobuf_message part_;
  protobuf_message entry_;
  protobuf_message pending_;
  arena_vector<char> cleaned_;
  bool ok_ = true;
};

// False when `out` refused, or when `scratch` is or becomes exhausted; what was written by then is
// not a profile. A profile that is not complete() itself is written with what it has.
inline bool write_pprof(const profile& p, arena& scratch, output out, bool compress) noexcept {
  gzip_writer* gzip = nullptr;
  if (compress) {
    void* const place = scratch.allocate(sizeof(gzip_writer));
    if (place == nullptr) return false;
    gzip = new (place) gzip_writer(out.write, out.context);
  }
  return pprof_writer(p, scratch, out, gzip).write();
}

PROF_DETAIL_END

#endif  // PROF_WRITE_PPROF_HPP
