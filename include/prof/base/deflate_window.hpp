// prof/base/deflate_window.hpp - the latest input, and where in it the next bytes stood before.
// Floor 2 (base). Used by base/gzip.hpp.
// Safety: ordinary context; thread-compatible; bounded work per byte.
// Memory: 160 KiB inline in the object.
// Source: RFC 1951 section 4; hash chains with one byte of lookahead as in zlib 1.2.13 deflate_slow.
#ifndef PROF_BASE_DEFLATE_WINDOW_HPP
#define PROF_BASE_DEFLATE_WINDOW_HPP

#include "prof/base/deflate.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t deflate_min_match = 4;  // Deflate allows 3; four bytes are hashed
inline constexpr std::size_t deflate_reach = 32768;  // farthest distance

// The latest 32 KiB of input and room for a block behind them.
class deflate_window {
 public:
  deflate_window() noexcept {
    // Zero is not "none" but position 0: every candidate is compared before it is used.
    std::memset(latest_, 0, sizeof latest_);
    std::memset(before_, 0, sizeof before_);
  }

  // Takes what fits into the block; returns how much.
  std::size_t fill(const unsigned char* data, std::size_t size) noexcept {
    const std::size_t room = begin_ + deflate_block - end_;
    const std::size_t part = size < room ? size : room;
    std::memcpy(bytes_ + end_, data, part);
    end_ += part;
    return part;
  }
  bool full() const noexcept { return end_ == begin_ + deflate_block; }
  const unsigned char* block() const noexcept { return bytes_ + begin_; }
  std::size_t block_size() const noexcept { return end_ - begin_; }

  void parse(deflate_tokens& tokens) noexcept {
    for (std::size_t at = begin_; at < end_;) {
      found best = longest(at, deflate_min_match - 1, chain_length);
      // A longer one may begin at the next byte; a long one is not worth the look.
      while (best.length >= deflate_min_match && best.length < good_length) {
        const found next = longest(at + 1, best.length, chain_length / 2);
        if (next.length <= best.length) break;
        tokens.literal(bytes_[at++]);
        best = next;
      }
      if (best.length < deflate_min_match) {
        tokens.literal(bytes_[at++]);
        continue;
      }
      tokens.match(best.length, best.distance);
      remember(at + (best.length < good_length ? 2 : 1), at + best.length);
      at += best.length;
    }
  }

  // Makes room for the next block.
  void next_block() noexcept {
    begin_ = end_;
    if (end_ < sizeof bytes_) return;
    std::memcpy(bytes_, bytes_ + deflate_reach, deflate_reach);
    for (std::uint16_t& at : latest_) at = moved(at);
    for (std::uint16_t& at : before_) at = moved(at);
    begin_ = end_ = deflate_reach;
  }

 private:
  static constexpr unsigned hash_bits = 14;
  static constexpr unsigned chain_length = 8;    // candidates looked at
  static constexpr std::size_t good_length = 32;  // a match that needs no better one

  struct found {
    std::size_t length = 0;
    std::size_t distance = 0;
  };

  static std::uint16_t moved(std::uint16_t at) noexcept {
    return static_cast<std::uint16_t>(at >= deflate_reach ? at - deflate_reach : 0);
  }

  // The longest match at `at` if longer than `least`; notes the place.
  found longest(std::size_t at, std::size_t least, unsigned chain) noexcept {
    found best;
    if (end_ - at < deflate_min_match) return best;
    best.length = least;
    std::size_t last = at;
    std::size_t candidate = note(at);
    for (; chain != 0 && candidate < last && at - candidate <= deflate_reach; --chain) {
      last = candidate;
      if (at + best.length < end_ && bytes_[candidate + best.length] == bytes_[at + best.length]) {
        const std::size_t length = common_length(candidate, at);
        if (length > best.length) best = {length, at - candidate};
        if (length >= good_length) break;
      }
      candidate = before_[candidate % deflate_reach];
    }
    return best;
  }

  std::size_t common_length(std::size_t earlier, std::size_t later) const noexcept {
    const std::size_t room = end_ - later;
    const std::size_t limit = room < deflate_max_match ? room : deflate_max_match;
    std::size_t length = 0;
    while (length + 8 <= limit) {
      std::uint64_t a;
      std::uint64_t b;
      std::memcpy(&a, bytes_ + earlier + length, sizeof a);
      std::memcpy(&b, bytes_ + later + length, sizeof b);
      if (a != b) break;
      length += 8;
    }
    while (length < limit && bytes_[earlier + length] == bytes_[later + length]) ++length;
    return length;
  }

  // Puts `at` at the head of its chain; returns the head before.
  std::size_t note(std::size_t at) noexcept {
    std::uint16_t& head = latest_[hash(bytes_ + at)];
    const std::uint16_t seen = head;
    before_[at % deflate_reach] = seen;
    head = static_cast<std::uint16_t>(at);
    return seen;
  }
  void remember(std::size_t first, std::size_t last) noexcept {
    const std::size_t end = last + deflate_min_match <= end_ + 1 ? last : end_ + 1 - deflate_min_match;
    for (std::size_t at = first; at < end; ++at) note(at);
  }

  // Multiplicative hashing (Knuth, 2^32 divided by the golden ratio); byte order fixed, so that
  // every machine writes the same file.
  static std::size_t hash(const unsigned char* p) noexcept {
    const std::uint32_t four = std::uint32_t{p[0]} | std::uint32_t{p[1]} << 8 |
                               std::uint32_t{p[2]} << 16 | std::uint32_t{p[3]} << 24;
    return (four * 2654435769U) >> (32 - hash_bits);
  }

  std::size_t begin_ = 0;  // of the block
  std::size_t end_ = 0;    // of the input
  std::uint16_t latest_[std::size_t{1} << hash_bits];  // hash of four bytes -> latest position
  std::uint16_t before_[deflate_reach];                // position -> the one before with that hash
  unsigned char bytes_[deflate_reach + deflate_block];
};

PROF_DETAIL_END

#endif  // PROF_BASE_DEFLATE_WINDOW_HPP
