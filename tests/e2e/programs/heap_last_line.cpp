// Usage: heap_last_line PROFILE. A program whose only use of prof is its last line.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <prof/api.hpp>

#if defined(__clang__)
#define SITE __attribute__((noinline))
#else
#define SITE __attribute__((noinline, noclone, no_icf))
#endif

struct node { char bytes[2000]; };

SITE void fill_with_malloc(std::vector<void*>& to) { for (auto& p : to) p = std::malloc(6000); }
SITE void fill_with_new(std::vector<node*>& to) { for (auto& p : to) p = new node; }
SITE void fill_with_arrays(std::vector<char*>& to) { for (auto& p : to) p = new char[5000]; }
SITE void fill_with_calloc(std::vector<void*>& to) { for (auto& p : to) p = std::calloc(5, 1500); }
SITE void fill_with_realloc(std::vector<void*>& to) { for (auto& p : to) p = std::realloc(nullptr, 9000); }
SITE void fill_with_shared(std::vector<std::shared_ptr<node>>& to) { for (auto& p : to) p = std::make_shared<node>(); }
struct store {
  std::vector<void*> a = std::vector<void*>(5000), d = std::vector<void*>(5000), e = std::vector<void*>(5000);
  std::vector<node*> b = std::vector<node*>(20000);
  std::vector<char*> c = std::vector<char*>(5000);
  std::vector<std::shared_ptr<node>> f = std::vector<std::shared_ptr<node>>(20000);
};
SITE void load(store& s) {
  fill_with_malloc(s.a);
  fill_with_new(s.b);
  fill_with_arrays(s.c);
  fill_with_calloc(s.d);
  fill_with_realloc(s.e);
  fill_with_shared(s.f);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::FILE* const file = std::fopen(argv[1], "wb");
  static store s;
  load(s);
  if (auto r = prof::write_heap_profile(file); !r) return 3;
}
