// prof/symbol/name_cache.hpp - names that were found before, by file and place in it, so that the next profile costs a look.
// Floor 9 (symbol). Used by the symbolizer; one per process.
// Safety: ordinary context; the caller holds `lock`, for the time of a look or of a copy and never while names are looked up in
//         files.
// Memory: max_bytes, some more for the last entry, and pages that nothing has touched. What is full takes nothing more, until a
//         profile finds less in it than it misses: then it begins anew.
// Source: none; a profile is the store, for it keeps each text, function and line once.
#ifndef PROF_SYMBOL_NAME_CACHE_HPP
#define PROF_SYMBOL_NAME_CACHE_HPP

#include "prof/base/guard.hpp"
#include "prof/os/os.hpp"
#include "prof/profile/model.hpp"

PROF_DETAIL_BEGIN

// Code of a file, and how much was asked of it.
struct name_key {
  std::uint64_t module = 0;  // a hash of what tells the file from others
  std::uint64_t offset = 0;  // in the file
  std::uint8_t detail = 0;

  bool operator==(const name_key& other) const noexcept {
    return module == other.module && offset == other.offset && detail == other.detail;
  }
  std::uint64_t hash() const noexcept { return mix_bits(module ^ mix_bits(offset)) + detail; }
};

struct cached_name {
  name_key key;
  std::uint32_t first_line;  // of the store
  std::uint32_t line_count;
  bool is_made_up;
  std::uint64_t until_ns;  // on the monotonic clock: when it is worth another look
};

// What is to be said of a file in every profile that it is in.
struct module_remark {
  std::uint64_t module;
  string_index text;  // of the store
};

class name_store {
 public:
  static constexpr std::size_t max_bytes = std::size_t{8} << 20;

  explicit name_store(page_source pages) noexcept
      : memory_(pages, std::size_t{16} << 10), lines_(memory_), names_(memory_), known_(memory_), remarks_(memory_) {}

  const profile& lines() const noexcept { return lines_; }
  std::size_t bytes() const noexcept { return memory_.used(); }
  bool is_full() const noexcept { return bytes() > max_bytes || memory_.exhausted(); }
  std::size_t size() const noexcept { return names_.size(); }
  const arena_vector<module_remark>& remarks() const noexcept { return remarks_; }

  const cached_name* find(const name_key& key, std::uint64_t now_ns) noexcept {
    if (names_.empty()) return nullptr;
    const std::uint32_t found = known_.find(key.hash(), [&](std::uint32_t i) { return is_at(i, key); });
    return found != no_index && now_ns < names_[found].until_ns ? &names_[found] : nullptr;
  }

  // Keeps the lines of a location of a profile, in place of older ones.
  void add(const name_key& key, const profile& p, const profile_location& location, bool is_made_up,
           std::uint64_t until_ns) noexcept {
    const cached_name made{key, static_cast<std::uint32_t>(lines_.lines.size()), location.line_count, is_made_up, until_ns};
    for (std::uint32_t i = 0; i < location.line_count; ++i) {
      profile_line line = p.lines[location.first_line + i];
      line.function = copy_function(p, line.function);
      lines_.lines.push(line);
    }
    const auto fresh = static_cast<std::uint32_t>(names_.size());
    const std::uint32_t found = known_.find_or_add(key.hash(), fresh, [&](std::uint32_t i) { return is_at(i, key); });
    if (memory_.exhausted()) return;
    if (found == fresh) names_.push(made);
    else names_[found] = made;
  }
  void add_remark(std::uint64_t module, text_view text) noexcept {
    for (const module_remark& known : remarks_) {
      if (known.module == module) return;
    }
    remarks_.push({module, lines_.string(text)});
  }

 private:
  // An entry may have been lost when memory ran out, after its number was taken.
  bool is_at(std::uint32_t i, const name_key& key) const noexcept { return i < names_.size() && names_[i].key == key; }
  std::uint32_t copy_function(const profile& p, std::uint32_t index) noexcept {
    const profile_function& from = p.functions[index];
    const std::uint32_t made = lines_.add_function(p.strings[from.name], p.strings[from.system_name], p.strings[from.file]);
    if (made < lines_.functions.size()) lines_.functions[made].start_line = from.start_line;
    return made;
  }

  arena memory_;
  profile lines_;
  arena_vector<cached_name> names_;
  index_set known_;
  arena_vector<module_remark> remarks_;
};

struct name_cache {
  spin_lock lock;
  bool has_store;
  alignas(name_store) unsigned char room[sizeof(name_store)];

  name_store& store() noexcept {
    if (!has_store) return renew();
    return *reinterpret_cast<name_store*>(room);
  }
  // An empty one in its place.
  name_store& renew() noexcept {
    if (has_store) reinterpret_cast<name_store*>(room)->~name_store();
    has_store = true;
    return *new (room) name_store(os_pages);
  }
  // In a forked child, where a thread that does not exist there may have been changing it: what it was is given up.
  void forget_parent() noexcept {
    if (lock.held()) has_store = false;
    lock.unlock();
  }
};

PROF_DETAIL_END

#endif  // PROF_SYMBOL_NAME_CACHE_HPP
