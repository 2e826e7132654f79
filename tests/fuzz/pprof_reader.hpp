// tests/fuzz/pprof_reader.hpp - reads a plain profile.proto as strictly as its strictest reader and
// checks what must hold in every file. Shares no line with prof.
// Source: google/pprof proto/profile.proto and profile/profile.go CheckValid; Parca's validator
//         (ids 1..N, labels with a key and a value, index of string 0); protobuf.dev "Encoding".
#ifndef PROF_TESTS_FUZZ_PPROF_READER_HPP
#define PROF_TESTS_FUZZ_PPROF_READER_HPP

#include "fuzz.hpp"

#include <initializer_list>

namespace fuzz __attribute__((visibility("hidden"))) {

// ---- the wire format ---------------------------------------------------------------------------

inline std::uint64_t take_varint(text_view& from) {
  std::uint64_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    FUZZ_REQUIRE(from.size != 0);
    const auto byte = static_cast<unsigned char>(from.data[0]);
    from = from.from(1);
    FUZZ_REQUIRE(shift < 63 || byte <= 1);
    value |= std::uint64_t{byte & 0x7fU} << shift;
    if (byte >= 0x80) continue;
    FUZZ_REQUIRE(byte != 0 || shift == 0);  // the shortest form
    return value;
  }
}

struct proto_field {
  std::uint64_t number = 0;
  bool is_bytes = false;
  std::uint64_t value = 0;
  text_view bytes{};
};

inline proto_field take_field(text_view& from) {
  const std::uint64_t key = take_varint(from);
  proto_field field;
  field.number = key >> 3;
  field.is_bytes = (key & 7) == 2;
  FUZZ_REQUIRE(field.is_bytes || (key & 7) == 0);
  field.value = take_varint(from);
  if (!field.is_bytes) {
    FUZZ_REQUIRE(field.value != 0);  // proto3 leaves zeros out
    return field;
  }
  FUZZ_REQUIRE(field.value <= from.size);
  field.bytes = {from.data, static_cast<std::size_t>(field.value)};
  from = from.from(field.bytes.size);
  return field;
}

// A message whose fields are ascending and whose kinds are known: bit n of `bytes`, `numbers`:
// field n is of that kind; of `repeated`: it may come more than once.
struct proto_shape {
  std::uint32_t numbers;
  std::uint32_t bytes;
  std::uint32_t repeated;
};

class proto_message {
 public:
  proto_message(text_view bytes, proto_shape shape) {
    for (std::uint64_t last = 0; bytes.size != 0;) {
      const proto_field field = take_field(bytes);
      FUZZ_REQUIRE(field.number >= 1 && field.number < 32);
      const std::uint32_t bit = std::uint32_t{1} << field.number;
      FUZZ_REQUIRE(((field.is_bytes ? shape.bytes : shape.numbers) & bit) != 0);
      FUZZ_REQUIRE(field.number > last || (field.number == last && (shape.repeated & bit) != 0));
      last = field.number;
      fields_.push_back(field);
    }
  }

  std::uint64_t number(unsigned wanted) const {
    for (const proto_field& field : fields_) {
      if (field.number == wanted) return field.value;
    }
    return 0;
  }
  std::vector<text_view> all(unsigned wanted) const {
    std::vector<text_view> found;
    for (const proto_field& field : fields_) {
      if (field.number == wanted) found.push_back(field.bytes);
    }
    return found;
  }
  bool has(unsigned wanted) const { return number(wanted) != 0 || !all(wanted).empty(); }
  std::vector<std::uint64_t> packed(unsigned wanted) const {
    std::vector<std::uint64_t> values;
    for (text_view rest : all(wanted)) {
      FUZZ_REQUIRE(rest.size != 0);
      while (rest.size != 0) values.push_back(take_varint(rest));
    }
    return values;
  }

 private:
  std::vector<proto_field> fields_{};
};

constexpr std::uint32_t fields(std::initializer_list<unsigned> numbers) {
  std::uint32_t bits = 0;
  for (const unsigned number : numbers) bits |= std::uint32_t{1} << number;
  return bits;
}

// ---- the profile -------------------------------------------------------------------------------

class pprof_reader {
 public:
  explicit pprof_reader(text_view file)
      : top_(file, {fields({7, 8, 9, 10, 12, 14, 15}), fields({1, 2, 3, 4, 5, 6, 11, 13}),
                    fields({1, 2, 3, 4, 5, 6})}) {
    for (unsigned field = 1; field <= 6; ++field) counts_[field] = top_.all(field).size();
  }

  std::size_t count(unsigned field) const { return counts_[field]; }

  void check() const {
    check_strings();
    for (const text_view type : top_.all(1)) check_value_type(type);
    for (const text_view sample : top_.all(2)) check_sample(sample);
    check_ids(3, {fields({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), 0, 0});
    check_ids(4, location_shape);
    check_ids(5, {fields({1, 2, 3, 4, 5}), 0, 0});
    for (const text_view mapping : top_.all(3)) check_mapping(mapping);
    for (const text_view location : top_.all(4)) check_location(location);
    for (const text_view function : top_.all(5)) check_function(function);
    for (const unsigned field : {7U, 8U, 14U, 15U}) check_string(top_.number(field));
    for (const text_view type : top_.all(11)) check_value_type(type);
    for (const std::uint64_t comment : top_.packed(13)) check_string(comment);
  }

 private:
  static constexpr proto_shape location_shape{fields({1, 2, 3}), fields({4}), fields({4})};

  void check_strings() const {
    const std::vector<text_view> strings = top_.all(6);
    FUZZ_REQUIRE(!strings.empty() && strings[0].size == 0);
    for (const text_view string : strings) FUZZ_REQUIRE(is_utf8(string));
  }
  void check_string(std::uint64_t index) const { FUZZ_REQUIRE(index < count(6)); }

  // Ids 1..N in the order of the file.
  void check_ids(unsigned field, proto_shape shape) const {
    std::uint64_t id = 0;
    for (const text_view entry : top_.all(field)) {
      FUZZ_REQUIRE(proto_message(entry, shape).number(1) == ++id);
    }
  }

  void check_value_type(text_view bytes) const {
    const proto_message type(bytes, {fields({1, 2}), 0, 0});
    check_string(type.number(1));
    check_string(type.number(2));
  }

  void check_sample(text_view bytes) const {
    const proto_message sample(bytes, {0, fields({1, 2, 3}), fields({3})});
    for (const std::uint64_t id : sample.packed(1)) FUZZ_REQUIRE(id >= 1 && id <= count(4));
    FUZZ_REQUIRE(sample.packed(2).size() == count(1));
    for (const text_view label : sample.all(3)) check_label(label);
  }

  void check_label(text_view bytes) const {
    const proto_message label(bytes, {fields({1, 2, 3, 4}), 0, 0});
    for (const unsigned field : {1U, 2U, 4U}) check_string(label.number(field));
    FUZZ_REQUIRE(label.has(1));
    FUZZ_REQUIRE(label.has(2) != (label.has(3) || label.has(4)));
  }

  void check_mapping(text_view bytes) const {
    const proto_message mapping(bytes, {fields({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), 0, 0});
    check_string(mapping.number(5));
    check_string(mapping.number(6));
    for (unsigned flag = 7; flag <= 10; ++flag) FUZZ_REQUIRE(mapping.number(flag) <= 1);
  }

  void check_location(text_view bytes) const {
    const proto_message location(bytes, location_shape);
    FUZZ_REQUIRE(location.number(2) <= count(3));
    for (const text_view one : location.all(4)) {
      const proto_message line(one, {fields({1, 2, 3}), 0, 0});
      FUZZ_REQUIRE(line.number(1) >= 1 && line.number(1) <= count(5));
    }
  }

  void check_function(text_view bytes) const {
    const proto_message function(bytes, {fields({1, 2, 3, 4, 5}), 0, 0});
    for (const unsigned field : {2U, 3U, 4U}) check_string(function.number(field));
  }

  proto_message top_;
  std::size_t counts_[7] = {};
};

}  // namespace fuzz

#endif  // PROF_TESTS_FUZZ_PPROF_READER_HPP
