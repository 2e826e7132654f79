// tests/unit/os/linux_symbols_test.cpp - next definitions found without the loader are those that the loader finds.

#include "prof/os/os.hpp"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <link.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "prof/api.hpp"  // the program has hooks of its own then, also where this file is built alone

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

void* next_of(const char* name) {
  wanted_symbol wanted;
  wanted.name = name;
  os_find_next_symbols_sig(&wanted, 1);
  return wanted.found;
}

std::uintptr_t number_of(const void* place) { return reinterpret_cast<std::uintptr_t>(place); }

// What hooks ask for, and more that programs lock and wait with.
constexpr const char* names_of_waits[] = {
    "pthread_mutex_lock",         "pthread_mutex_trylock",      "pthread_mutex_timedlock",    "pthread_mutex_clocklock",
    "pthread_mutex_unlock",       "pthread_mutex_init",         "pthread_mutex_destroy",      "pthread_mutex_consistent",
    "pthread_rwlock_rdlock",      "pthread_rwlock_tryrdlock",   "pthread_rwlock_timedrdlock", "pthread_rwlock_clockrdlock",
    "pthread_rwlock_wrlock",      "pthread_rwlock_trywrlock",   "pthread_rwlock_timedwrlock", "pthread_rwlock_clockwrlock",
    "pthread_rwlock_unlock",      "pthread_spin_lock",          "pthread_spin_trylock",       "pthread_spin_unlock",
    "pthread_cond_wait",          "pthread_cond_timedwait",     "pthread_cond_clockwait",     "pthread_cond_signal",
    "pthread_cond_broadcast",     "pthread_cond_init",          "pthread_cond_destroy",       "pthread_barrier_wait",
    "pthread_barrier_init",       "pthread_once",               "pthread_create",             "pthread_join",
    "pthread_tryjoin_np",         "pthread_timedjoin_np",       "pthread_clockjoin_np",       "pthread_detach",
    "pthread_exit",               "pthread_cancel",             "pthread_key_create",         "pthread_setspecific",
    "sem_wait",                   "sem_trywait",                "sem_timedwait",              "sem_clockwait",
    "sem_post",                   "sem_init",                   "sem_destroy",                "syscall",
    "nanosleep",                  "clock_nanosleep",            "poll",                       "read",
    "accept",                     "qsort",                      "malloc",                     "getpid"};
constexpr std::size_t count_of_waits = sizeof names_of_waits / sizeof names_of_waits[0];

// ---- an object as the loader has it --------------------------------------------------------------------------------

struct loaded_object {
  const link_map* map = nullptr;
  loaded_symbols in;
  explicit loaded_object(const char* name) {
    void* const handle = dlopen(name, RTLD_NOLOAD | RTLD_LAZY);
    REQUIRE(handle != nullptr);
    REQUIRE(dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0);
    in = os_symbols_of_sig(map->l_addr, number_of(map->l_ld));
    dlclose(handle);
  }
};

template <class Value>
Value read_at(std::uintptr_t address) {
  Value value;
  std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof value);
  return value;
}

// How many symbols an object has, by its GNU hash table: one more than the last of the longest chain.
std::uint32_t symbols_in(const loaded_symbols& in) {
  const auto buckets = read_at<std::uint32_t>(in.gnu_hash);
  const auto first = read_at<std::uint32_t>(in.gnu_hash + 4);
  const std::uintptr_t bucket = in.gnu_hash + 16 + read_at<std::uint32_t>(in.gnu_hash + 8) * sizeof(std::uintptr_t);
  std::uint32_t last = 0;
  for (std::uint32_t i = 0; i < buckets; ++i) {
    const auto begin = read_at<std::uint32_t>(bucket + 4 * std::uintptr_t{i});
    if (begin > last) last = begin;
  }
  while ((read_at<std::uint32_t>(bucket + 4 * (std::uintptr_t{buckets} + last - first)) & 1) == 0) ++last;
  return last + 1;
}

// Calls visit(index, name) for every function whose name new programs are linked to.
template <class Visit>
void for_each_function(const loaded_symbols& in, Visit visit) {
  const std::uint32_t count = symbols_in(in);
  for (std::uint32_t i = 1; i < count; ++i) {
    const auto symbol = read_at<ElfW(Sym)>(in.symbols + i * sizeof(ElfW(Sym)));
    const bool is_hidden = in.versions != 0 && (read_at<std::uint16_t>(in.versions + 2 * std::uintptr_t{i}) & 0x8000) != 0;
    if (symbol.st_shndx == SHN_UNDEF || (symbol.st_info & 15) != STT_FUNC || is_hidden) continue;
    visit(i, std::string(reinterpret_cast<const char*>(in.names + symbol.st_name)));
  }
}

// ---- an object of our own ------------------------------------------------------------------------------------------

struct made_symbol {
  const char* name;
  std::uintptr_t value;
  unsigned char type = STT_FUNC;
  std::uint16_t section = 1;
  std::uint16_t version = 2;
};

// Symbol table, names, versions and both hash tables of symbols that are given; all chains have one bucket.
class made_object {
 public:
  static constexpr std::uintptr_t bias = 0x100000;

  explicit made_object(const std::vector<made_symbol>& given) : symbols_(1), versions_(1, 0), names_(1, '\0') {
    hash_ = {1, static_cast<std::uint32_t>(given.size() + 1), given.empty() ? 0u : 1u, 0};
    gnu_ = {1, 1, 1, 6};
    for (int i = 0; i < 2; ++i) gnu_.push_back(~std::uint32_t{0});  // the bloom filter lets all pass
    gnu_.push_back(given.empty() ? 0 : 1);
    for (const made_symbol& one : given) add(one, &one == &given.back());
  }

  loaded_symbols by_gnu_hash() const {
    loaded_symbols in = tables();
    in.gnu_hash = number_of(gnu_.data());
    return in;
  }
  loaded_symbols by_hash() const {
    loaded_symbols in = tables();
    in.hash = number_of(hash_.data());
    return in;
  }

  std::vector<std::uint32_t> gnu_;   // four words, 64 bits of bloom filter, one bucket, the chain
  std::vector<std::uint32_t> hash_;  // two words, one bucket, the chain

 private:
  loaded_symbols tables() const {
    loaded_symbols in;
    in.bias = bias;
    in.symbols = number_of(symbols_.data());
    in.names = number_of(names_.data());
    in.versions = number_of(versions_.data());
    return in;
  }
  void add(const made_symbol& one, bool is_last) {
    ElfW(Sym) symbol{};
    symbol.st_name = static_cast<ElfW(Word)>(names_.size());
    symbol.st_info = one.type;
    symbol.st_shndx = one.section;
    symbol.st_value = one.value;
    symbols_.push_back(symbol);
    versions_.push_back(one.version);
    names_.append(one.name).push_back('\0');
    hash_.push_back(is_last ? 0 : static_cast<std::uint32_t>(symbols_.size()));
    std::uint32_t hash = 5381;
    for (const char* c = one.name; *c != '\0'; ++c) hash = hash * 33 + static_cast<unsigned char>(*c);
    gnu_.push_back((hash & ~1u) | (is_last ? 1u : 0u));
  }

  std::vector<ElfW(Sym)> symbols_;
  std::vector<std::uint16_t> versions_;
  std::string names_;
};

// The answers by both tables, which are the same.
std::uintptr_t found_in(const made_object& object, const char* name) {
  const std::uintptr_t by_gnu_hash = os_find_in_sig(object.by_gnu_hash(), name);
  const std::uintptr_t by_hash = os_find_in_sig(object.by_hash(), name);
  CHECK(by_gnu_hash == by_hash);
  return by_gnu_hash;
}

// A page behind which there is nothing, as far as any 32 bits lead.
class last_page {
 public:
  static constexpr std::size_t size = 4096;
  static constexpr std::size_t reach = std::size_t{64} << 30;
  last_page() : pages_(mmap(nullptr, reach, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    REQUIRE(static_cast<bool>(pages_ != MAP_FAILED));
    REQUIRE(mprotect(pages_, size, PROT_READ | PROT_WRITE) == 0);
  }
  ~last_page() { munmap(pages_, reach); }
  last_page(const last_page&) = delete;
  last_page& operator=(const last_page&) = delete;

  std::uintptr_t end() const { return number_of(pages_) + size; }
  // Copies words to its end; where they are.
  template <class Value>
  std::uintptr_t put(const std::vector<Value>& values) const {
    const std::size_t bytes = values.size() * sizeof(Value);
    std::memcpy(static_cast<char*>(pages_) + size - bytes, values.data(), bytes);
    return end() - bytes;
  }

 private:
  void* const pages_;
};

std::uintptr_t found_in_libc(const loaded_symbols& in) {
  return os_find_in_sig(in, "pthread_mutex_lock");
}

}  // namespace

// ---- what is loaded ------------------------------------------------------------------------------------------------

#if defined(__GLIBC__)
TEST_CASE("the program's dynamic section and the loader's list are found by what the kernel says") {
  errno = 77;
  const std::uintptr_t dynamic = os_program_dynamic_sig();
  const std::uintptr_t first = os_first_loaded_sig();
  const int kept_errno = errno;
  CHECK(kept_errno == 77);
  CHECK(dynamic == number_of(&prof_own_dynamic[0]));
  REQUIRE(first == number_of(_r_debug.r_map));
  CHECK(number_of(reinterpret_cast<const link_map*>(first)->l_ld) == dynamic);
}
#endif

// ---- next definitions ----------------------------------------------------------------------------------------------

TEST_CASE("next definitions of what locks and waits are those that dlsym finds") {
  for (const char* const name : names_of_waits) {
    CAPTURE(name);
    CHECK(next_of(name) == dlsym(RTLD_NEXT, name));
  }
  CHECK(next_of("pthread_mutex_lock") != nullptr);
  CHECK(next_of("sem_wait") != nullptr);
}

TEST_CASE("many names are found in one search, each as it is found alone") {
  wanted_symbol wanted[count_of_waits];
  for (std::size_t i = 0; i < count_of_waits; ++i) wanted[i].name = names_of_waits[i];
  os_find_next_symbols_sig(wanted, count_of_waits);
  for (const wanted_symbol& one : wanted) {
    CAPTURE(one.name);
    CHECK(one.found == dlsym(RTLD_NEXT, one.name));
  }
}

TEST_CASE("the next definition of what this program defines is another's") {
  int (*const own)(pthread_mutex_t*) = &pthread_mutex_lock;
  void* const next = next_of("pthread_mutex_lock");
  REQUIRE(next != nullptr);
  CHECK(number_of(next) != reinterpret_cast<std::uintptr_t>(own));
  CHECK(std::string(os_file_of(next)) != os_file_of(reinterpret_cast<const void*>(&next_of)));
}

TEST_CASE("functions that nobody has and names of other things than functions are not found") {
  CHECK(next_of("prof_no_such_symbol_at_all") == nullptr);
  CHECK(next_of("pthread_mutex_loc") == nullptr);
  CHECK(next_of("pthread_mutex_lockk") == nullptr);
  CHECK(next_of("") == nullptr);
  REQUIRE(dlsym(RTLD_DEFAULT, "environ") != nullptr);
  CHECK(next_of("environ") == nullptr);
  CHECK(next_of(std::string(500, 'a').c_str()) == nullptr);
}

TEST_CASE("a search leaves what has been found already, and errno") {
  int mine = 0;
  wanted_symbol wanted[3];
  wanted[0].name = "pthread_mutex_lock";
  wanted[0].found = &mine;
  wanted[1].name = "prof_no_such_symbol_at_all";
  wanted[2].name = "sem_wait";
  errno = 77;
  os_find_next_symbols_sig(wanted, 3);
  const int kept_errno = errno;
  CHECK(kept_errno == 77);
  CHECK(wanted[0].found == &mine);
  CHECK(wanted[1].found == nullptr);
  CHECK(wanted[2].found == dlsym(RTLD_NEXT, "sem_wait"));
  os_find_next_symbols_sig(wanted, 0);
  CHECK(wanted[1].found == nullptr);
}

#if defined(__GLIBC__) && defined(__x86_64__)
TEST_CASE("of a function with several versions the one is found that new programs get") {
  struct versions {
    const char* name;
    const char* present;
    const char* former;
  };
  for (const versions& one : {versions{"pthread_cond_wait", "GLIBC_2.3.2", "GLIBC_2.2.5"},
                              versions{"pthread_cond_timedwait", "GLIBC_2.3.2", "GLIBC_2.2.5"},
                              versions{"pthread_cond_signal", "GLIBC_2.3.2", "GLIBC_2.2.5"},
                              versions{"pthread_cond_broadcast", "GLIBC_2.3.2", "GLIBC_2.2.5"},
                              versions{"realpath", "GLIBC_2.3", "GLIBC_2.2.5"},
                              versions{"posix_spawn", "GLIBC_2.15", "GLIBC_2.2.5"},
                              versions{"regexec", "GLIBC_2.3.4", "GLIBC_2.2.5"}}) {
    CAPTURE(one.name);
    void* const present = dlvsym(RTLD_NEXT, one.name, one.present);
    void* const former = dlvsym(RTLD_NEXT, one.name, one.former);
    REQUIRE(present != nullptr);
    REQUIRE(former != nullptr);
    REQUIRE(present != former);
    CHECK(next_of(one.name) == present);
  }
}
#endif

// ---- objects as the loader has them --------------------------------------------------------------------------------

#if defined(__GLIBC__)
TEST_CASE("every function of libc and of the C++ library is found in it as dlsym finds it") {
  for (const char* const name : {"libc.so.6", "libstdc++.so.6", "libm.so.6"}) {
    CAPTURE(name);
    void* const handle = dlopen(name, RTLD_NOLOAD | RTLD_LAZY);
    if (handle == nullptr) continue;
    const loaded_object object(name);
    REQUIRE(object.in.gnu_hash != 0);
    std::size_t compared = 0;
    for_each_function(object.in, [&](std::uint32_t, const std::string& function) {
      if (function.size() >= 64) return;
      ++compared;
      const std::uintptr_t found = os_find_in_sig(object.in, text_view(function.c_str()));
      if (found == number_of(dlsym(handle, function.c_str()))) return;
      CAPTURE(function);
      CHECK(found == number_of(dlsym(handle, function.c_str())));
    });
    CHECK(compared > 500);
    dlclose(handle);
  }
}

TEST_CASE("what an object only imports is not found in it") {
  const loaded_object libc("libc.so.6");
  void* const handle = dlopen("libstdc++.so.6", RTLD_NOLOAD | RTLD_LAZY);
  if (handle == nullptr) return;
  dlclose(handle);
  const loaded_object library("libstdc++.so.6");
  REQUIRE(os_find_in_sig(libc.in, "abort") != 0);
  CHECK(os_find_in_sig(library.in, "abort") == 0);
}

TEST_CASE("the older hash table of an object leads to the same functions as the newer one") {
  std::size_t with_both = 0;
  for (const link_map* map = _r_debug.r_map; map != nullptr; map = map->l_next) {
    CAPTURE(map->l_name);
    const loaded_symbols both = os_symbols_of_sig(map->l_addr, number_of(map->l_ld));
    if (both.gnu_hash == 0 || both.hash == 0) continue;
    ++with_both;
    loaded_symbols older = both;
    older.gnu_hash = 0;
    std::size_t differ = 0;
    for_each_function(both, [&](std::uint32_t, const std::string& function) {
      const text_view name(function.c_str());
      differ += os_find_in_sig(both, name) != os_find_in_sig(older, name) ? 1u : 0u;
    });
    CHECK(differ == 0);
  }
  const loaded_symbols libc = loaded_object("libc.so.6").in;
  if (libc.hash == 0) return;  // some distributions leave it out
  CHECK(with_both >= 1);
  CHECK(number_of(dlsym(RTLD_NEXT, "pthread_mutex_lock")) == found_in_libc(libc));
}
#endif

TEST_CASE("an object without symbols, without names or without a hash table has no functions") {
  const made_object object({{"one", 0x10}});
  REQUIRE(os_find_in_sig(object.by_gnu_hash(), "one") == made_object::bias + 0x10);
  loaded_symbols in = object.by_gnu_hash();
  in.symbols = 0;
  CHECK(os_find_in_sig(in, "one") == 0);
  in = object.by_gnu_hash();
  in.names = 0;
  CHECK(os_find_in_sig(in, "one") == 0);
  in = object.by_gnu_hash();
  in.gnu_hash = 0;
  CHECK(os_find_in_sig(in, "one") == 0);
  CHECK(os_find_in_sig({}, "one") == 0);
}

TEST_CASE("a dynamic section says where the tables are, by addresses or by offsets") {
  constexpr std::uintptr_t bias = 0x7f0000000000u;
  const ElfW(Sxword) tags[] = {DT_SYMTAB, DT_STRTAB, DT_VERSYM, DT_GNU_HASH, DT_HASH};
  for (const std::uintptr_t base : {std::uintptr_t{0}, bias}) {
    std::vector<ElfW(Dyn)> section;
    std::uintptr_t offset = 0x100;
    for (const ElfW(Sxword) tag : tags) {
      ElfW(Dyn) entry{};
      entry.d_tag = tag;
      entry.d_un.d_ptr = base + offset;
      section.push_back(entry);
      offset += 0x100;
    }
    section.push_back({});
    ElfW(Dyn) behind{};
    behind.d_tag = DT_HASH;
    section.push_back(behind);
    const loaded_symbols found = os_symbols_of_sig(bias, number_of(section.data()));
    CHECK(found.bias == bias);
    CHECK(found.symbols == bias + 0x100);
    CHECK(found.names == bias + 0x200);
    CHECK(found.versions == bias + 0x300);
    CHECK(found.gnu_hash == bias + 0x400);
    CHECK(found.hash == bias + 0x500);
  }
  const loaded_symbols none = os_symbols_of_sig(bias, 0);
  CHECK(none.symbols == 0);
  CHECK(none.hash == 0);
}

// ---- symbols -------------------------------------------------------------------------------------------------------

TEST_CASE("a name is found among others of its chain, and none that only begins like it") {
  const made_object object({{"wait", 0x10}, {"waits", 0x20}, {"wai", 0x30}, {"unlock", 0x40}});
  CHECK(found_in(object, "wait") == made_object::bias + 0x10);
  CHECK(found_in(object, "waits") == made_object::bias + 0x20);
  CHECK(found_in(object, "wai") == made_object::bias + 0x30);
  CHECK(found_in(object, "unlock") == made_object::bias + 0x40);
  CHECK(found_in(object, "wa") == 0);
  CHECK(found_in(object, "waitss") == 0);
  CHECK(found_in(object, "lock") == 0);
  CHECK(found_in(object, "") == 0);
}

TEST_CASE("hidden versions, imports and data of a name are passed over for its function") {
  const made_object object({{"wait", 0x10, STT_FUNC, 1, 0x8002},
                            {"wait", 0x20, STT_FUNC, SHN_UNDEF, 3},
                            {"wait", 0x30, STT_OBJECT, 1, 3},
                            {"wait", 0x40, STT_GNU_IFUNC, 1, 3},
                            {"wait", 0x50, STT_FUNC, 1, 3}});
  CHECK(found_in(object, "wait") == made_object::bias + 0x50);
  const made_object only_hidden({{"wait", 0x10, STT_FUNC, 1, 0x8002}, {"other", 0x20}});
  CHECK(found_in(only_hidden, "wait") == 0);
  CHECK(found_in(only_hidden, "other") == made_object::bias + 0x20);
}

TEST_CASE("where symbols have no versions none is hidden") {
  const made_object object({{"wait", 0x10, STT_FUNC, 1, 0x8002}});
  loaded_symbols in = object.by_gnu_hash();
  in.versions = 0;
  CHECK(os_find_in_sig(in, "wait") == made_object::bias + 0x10);
}

TEST_CASE("a weak function is as good as any other") {
  const made_object object({{"wait", 0x10, static_cast<unsigned char>(STB_WEAK << 4 | STT_FUNC)}});
  CHECK(found_in(object, "wait") == made_object::bias + 0x10);
}

TEST_CASE("names of up to 63 characters are found") {
  const std::string longest(63, 'a');
  const std::string too_long(64, 'a');
  const made_object object({{longest.c_str(), 0x10}, {too_long.c_str(), 0x20}});
  CHECK(found_in(object, longest.c_str()) == made_object::bias + 0x10);
  CHECK(found_in(object, too_long.c_str()) == 0);
}

TEST_CASE("the last name of a string table at the end of a mapping is found") {
  const last_page page;
  const made_object object({{"wait", 0x10}});
  loaded_symbols in = object.by_gnu_hash();
  in.names = page.put(std::vector<char>{'\0', 'w', 'a', 'i', 't', '\0'});
  CHECK(os_find_in_sig(in, "wait") == made_object::bias + 0x10);
}

TEST_CASE("a filter that lacks a name ends the search for it") {
  made_object object({{"wait", 0x10}});
  object.gnu_[4] = 0;
  object.gnu_[5] = 0;
  CHECK(os_find_in_sig(object.by_gnu_hash(), "wait") == 0);
  CHECK(os_find_in_sig(object.by_hash(), "wait") == made_object::bias + 0x10);
}

// ---- damage --------------------------------------------------------------------------------------------------------

TEST_CASE("tables that are not there lead to nothing") {
  const last_page page;
  const made_object object({{"wait", 0x10}});
  const std::uintptr_t gone = page.end();
  for (const loaded_symbols& whole : {object.by_gnu_hash(), object.by_hash()}) {
    REQUIRE(os_find_in_sig(whole, "wait") == made_object::bias + 0x10);
    loaded_symbols in = whole;
    in.symbols = gone;
    CHECK(os_find_in_sig(in, "wait") == 0);
    in = whole;
    in.names = gone;
    CHECK(os_find_in_sig(in, "wait") == 0);
    in = whole;
    in.versions = gone;
    CHECK(os_find_in_sig(in, "wait") == 0);
    in = whole;
    (whole.gnu_hash != 0 ? in.gnu_hash : in.hash) = gone;
    CHECK(os_find_in_sig(in, "wait") == 0);
    in = whole;
    (whole.gnu_hash != 0 ? in.gnu_hash : in.hash) = gone - 8;  // its head is cut off
    CHECK(os_find_in_sig(in, "wait") == 0);
  }
}

TEST_CASE("tables of no buckets or no filter are not divided by") {
  for (const std::size_t zero : {std::size_t{0}, std::size_t{2}}) {
    made_object object({{"wait", 0x10}});
    object.gnu_[zero] = 0;
    CHECK(os_find_in_sig(object.by_gnu_hash(), "wait") == 0);
  }
  made_object object({{"wait", 0x10}});
  object.hash_[0] = 0;
  CHECK(os_find_in_sig(object.by_hash(), "wait") == 0);
}

TEST_CASE("buckets, filters and symbols far behind the end of what is mapped lead to nothing") {
  const last_page page;
  for (const std::size_t word : {std::size_t{0}, std::size_t{2}, std::size_t{6}}) {
    made_object object({{"wait", 0x10}});
    object.gnu_[word] = 0xffffff00u;
    loaded_symbols in = object.by_gnu_hash();
    in.gnu_hash = page.put(object.gnu_);
    CAPTURE(word);
    CHECK(os_find_in_sig(in, "wait") == 0);
  }
  for (const std::size_t word : {std::size_t{0}, std::size_t{2}}) {
    made_object object({{"wait", 0x10}});
    object.hash_[word] = 0xffffff00u;
    loaded_symbols in = object.by_hash();
    in.hash = page.put(object.hash_);
    CAPTURE(word);
    CHECK(os_find_in_sig(in, "wait") == 0);
  }
}

TEST_CASE("a bucket that leads before the first symbol with a hash is empty") {
  made_object object({{"wait", 0x10}});
  object.gnu_[1] = 2;  // the first symbol that is hashed
  CHECK(os_find_in_sig(object.by_gnu_hash(), "wait") == 0);
}

TEST_CASE("a chain without an end goes on to the end of its mapping at most") {
  const last_page page;
  made_object object({{"lock", 0x10}, {"wait", 0x20}});
  for (std::size_t i = 7; i < object.gnu_.size(); ++i) object.gnu_[i] &= ~1u;
  loaded_symbols in = object.by_gnu_hash();
  in.gnu_hash = page.put(object.gnu_);
  CHECK(os_find_in_sig(in, "wait") == made_object::bias + 0x20);
  CHECK(os_find_in_sig(in, "other") == 0);
}

TEST_CASE("a chain that leads in a circle is left after as many steps as there are symbols") {
  made_object object({{"lock", 0x10}, {"wait", 0x20}});
  object.hash_.back() = 1;
  CHECK(os_find_in_sig(object.by_hash(), "wait") == made_object::bias + 0x20);
  CHECK(os_find_in_sig(object.by_hash(), "other") == 0);
}

TEST_CASE("a dynamic section without an end is read up to the end of its mapping") {
  const last_page page;
  ElfW(Dyn) entry{};
  entry.d_tag = DT_SYMTAB;
  entry.d_un.d_ptr = 0x123;
  const loaded_symbols found = os_symbols_of_sig(0, page.put(std::vector<ElfW(Dyn)>(3, entry)));
  CHECK(found.symbols == 0x123);
  CHECK(found.names == 0);
  CHECK(os_symbols_of_sig(0, page.end()).symbols == 0);
}

TEST_CASE("any words at all in the tables of an object end a search") {
  const last_page page;
  std::uint64_t state = 88172645463325252u;
  const auto random = [&state] {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<std::uint32_t>(state >> 32);
  };
  const made_object object({{"lock", 0x10}, {"wait", 0x20}, {"join", 0x30}});
  int found = 0;
  for (int round = 0; round < 2000; ++round) {
    made_object damaged = object;
    damaged.gnu_[random() % damaged.gnu_.size()] ^= 1u << random() % 32;
    damaged.hash_[random() % 2 == 0 ? 0 : 2 + random() % (damaged.hash_.size() - 2)] ^= 1u << random() % 32;
    loaded_symbols in = damaged.by_gnu_hash();
    in.gnu_hash = page.put(damaged.gnu_);
    const std::uintptr_t by_gnu_hash = os_find_in_sig(in, "wait");
    in = damaged.by_hash();
    in.hash = page.put(damaged.hash_);
    const std::uintptr_t by_hash = os_find_in_sig(in, "wait");
    found += by_gnu_hash != 0 ? 1 : 0;
    for (const std::uintptr_t answer : {by_gnu_hash, by_hash}) {
      const bool is_right = answer == 0 || answer == made_object::bias + 0x20;
      if (!is_right) FAIL_CHECK("a search for wait has found " << answer);
    }
  }
  CHECK(found > 0);
  CHECK(found < 2000);
}

#endif
