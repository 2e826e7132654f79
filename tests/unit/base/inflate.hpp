// tests/unit/base/inflate.hpp - a plain gzip reader that shares no line with prof: canonical codes
// decoded one bit at a time. For tests and fuzzers that read back what gzip_writer wrote.
// Source: RFC 1951, RFC 1952.
#ifndef PROF_TESTS_UNIT_BASE_INFLATE_HPP
#define PROF_TESTS_UNIT_BASE_INFLATE_HPP

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace plain_gzip {

using bytes = std::vector<unsigned char>;

struct huffman {
  int count[16] = {};
  std::vector<int> symbols{};

  explicit huffman(const std::vector<int>& lengths) {
    for (int length : lengths) ++count[length];
    count[0] = 0;
    for (int length = 1; length < 16; ++length) {
      for (std::size_t i = 0; i < lengths.size(); ++i) {
        if (lengths[i] == length) symbols.push_back(static_cast<int>(i));
      }
    }
  }

  // Every sequence of bits is a code, none is two: other readers refuse a block without this.
  bool is_complete() const {
    int room = 1;
    for (int length = 1; length < 16; ++length) {
      room = 2 * room - count[length];
      if (room < 0) return false;
    }
    return room == 0;
  }
};

struct inflater {
  const bytes& in;
  std::size_t at;
  unsigned bit = 0;
  bytes out{};
  bool ok = true;
  int stored_blocks = 0;
  int fixed_blocks = 0;
  int dynamic_blocks = 0;
  std::size_t farthest = 0;
  std::size_t longest = 0;
  std::size_t limit = static_cast<std::size_t>(-1);  // more is refused

  int read_bit() {
    if (at >= in.size()) {
      ok = false;
      return 0;
    }
    const int value = (in[at] >> bit) & 1;
    if (++bit == 8) {
      bit = 0;
      ++at;
    }
    return value;
  }

  std::size_t read_bits(int count) {
    std::size_t value = 0;
    for (int i = 0; i < count; ++i) value |= static_cast<std::size_t>(read_bit()) << i;
    return value;
  }

  int read_symbol(const huffman& codes) {
    int code = 0;
    int first = 0;
    int index = 0;
    for (int length = 1; length < 16 && ok; ++length) {
      code |= read_bit();
      if (code - codes.count[length] < first) {
        return codes.symbols[static_cast<std::size_t>(index + code - first)];
      }
      index += codes.count[length];
      first = (first + codes.count[length]) << 1;
      code <<= 1;
    }
    ok = false;
    return 256;
  }

  void align() {
    while (bit != 0) {
      if (read_bit() != 0) ok = false;  // padding should be zero
    }
  }

  void stored() {
    ++stored_blocks;
    align();
    const std::size_t size = read_bits(16);
    if ((read_bits(16) ^ 0xFFFFU) != size || at + size > in.size()) {
      ok = false;
      return;
    }
    for (std::size_t i = 0; i < size; ++i) out.push_back(in[at++]);
  }

  void copy_match(std::size_t length, std::size_t distance) {
    if (distance > out.size()) {
      ok = false;
      return;
    }
    if (distance > farthest) farthest = distance;
    if (length > longest) longest = length;
    for (std::size_t i = 0; i < length; ++i) out.push_back(out[out.size() - distance]);
  }

  void compressed(const huffman& literals, const huffman& distances) {
    static const int length_base[29] = {3,  4,  5,  6,   7,   8,   9,   10,  11, 13,
                                        15, 17, 19, 23,  27,  31,  35,  43,  51, 59,
                                        67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const int length_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                         2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const int distance_base[30] = {
        1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
        193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    while (ok) {
      if (out.size() > limit) ok = false;
      const int symbol = read_symbol(literals);
      if (symbol == 256) return;
      if (symbol < 256) {
        out.push_back(static_cast<unsigned char>(symbol));
        continue;
      }
      if (symbol > 285) {
        ok = false;
        return;
      }
      const std::size_t length = static_cast<std::size_t>(length_base[symbol - 257]) +
                                 read_bits(length_extra[symbol - 257]);
      if (symbol == 284 && length == 258) ok = false;  // symbol 285 is the one for 258
      const int code = read_symbol(distances);
      if (code > 29) {
        ok = false;
        return;
      }
      const int extra = code < 4 ? 0 : code / 2 - 1;
      copy_match(length, static_cast<std::size_t>(distance_base[code]) + read_bits(extra));
    }
  }

  void fixed() {
    ++fixed_blocks;
    std::vector<int> lengths(288, 8);
    for (std::size_t i = 144; i < 256; ++i) lengths[i] = 9;
    for (std::size_t i = 256; i < 280; ++i) lengths[i] = 7;
    compressed(huffman(lengths), huffman(std::vector<int>(30, 5)));
  }

  void dynamic() {
    ++dynamic_blocks;
    static const std::size_t order[19] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                          11, 4,  12, 3, 13, 2, 14, 1, 15};
    const std::size_t literal_count = read_bits(5) + 257;
    const std::size_t distance_count = read_bits(5) + 1;
    const std::size_t code_count = read_bits(4) + 4;
    std::vector<int> code_lengths(19, 0);
    for (std::size_t i = 0; i < code_count; ++i)
      code_lengths[order[i]] = static_cast<int>(read_bits(3));
    const huffman codes(code_lengths);
    if (!codes.is_complete() || literal_count > 286 || distance_count > 30) ok = false;
    std::vector<int> lengths;
    while (ok && lengths.size() < literal_count + distance_count) {
      const int symbol = read_symbol(codes);
      if (symbol < 16) {
        lengths.push_back(symbol);
        continue;
      }
      if (symbol == 16 && lengths.empty()) ok = false;
      const int repeated = symbol == 16 && !lengths.empty() ? lengths.back() : 0;
      const int extra = symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
      const std::size_t times = (symbol == 18 ? 11U : 3U) + read_bits(extra);
      lengths.insert(lengths.end(), times, repeated);
    }
    if (lengths.size() != literal_count + distance_count) ok = false;
    if (ok && lengths[256] == 0) ok = false;  // no end
    if (!ok) return;
    const auto split = lengths.begin() + static_cast<std::ptrdiff_t>(literal_count);
    const huffman literals({lengths.begin(), split});
    const huffman distances({split, lengths.end()});
    if (!literals.is_complete() || !distances.is_complete()) ok = false;
    compressed(literals, distances);
  }

  void run() {
    for (bool last = false; ok && !last;) {
      last = read_bit() != 0;
      const std::size_t kind = read_bits(2);
      if (kind == 0)
        stored();
      else if (kind == 1)
        fixed();
      else if (kind == 2)
        dynamic();
      else
        ok = false;
    }
    align();
  }
};

inline std::uint32_t slow_crc32(const bytes& data) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (unsigned char byte : data) {
    crc ^= byte;
    for (int i = 0; i < 8; ++i) crc = (crc & 1U) != 0 ? (crc >> 1) ^ 0xEDB88320U : crc >> 1;
  }
  return ~crc;
}

inline std::uint32_t little_endian(const bytes& data, std::size_t at) {
  return static_cast<std::uint32_t>(data[at]) | (static_cast<std::uint32_t>(data[at + 1]) << 8) |
         (static_cast<std::uint32_t>(data[at + 2]) << 16) |
         (static_cast<std::uint32_t>(data[at + 3]) << 24);
}

struct unpacked {
  bool ok = false;
  bytes data{};
  int stored_blocks = 0;
  int fixed_blocks = 0;
  int dynamic_blocks = 0;
  std::size_t farthest = 0;
  std::size_t longest = 0;
};

// Exactly one member, exactly our header, nothing after the trailer.
inline unpacked gunzip(const bytes& file) {
  static const unsigned char header[10] = {0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255};
  if (file.size() < 18) return {};
  for (std::size_t i = 0; i < 10; ++i) {
    if (file[i] != header[i]) return {};
  }
  inflater body{file, 10};
  body.run();
  if (!body.ok || body.at + 8 != file.size()) return {};
  if (little_endian(file, body.at) != slow_crc32(body.out)) return {};
  if (little_endian(file, body.at + 4) != static_cast<std::uint32_t>(body.out.size())) return {};
  return {true,          std::move(body.out), body.stored_blocks, body.fixed_blocks,
          body.dynamic_blocks, body.farthest, body.longest};
}

}  // namespace plain_gzip

#endif  // PROF_TESTS_UNIT_BASE_INFLATE_HPP
