// Workloads of libcrypto 3, whose assembly keeps the CFA in rax, r11, rsi and other registers, or behind a word
// of the frame: case 34 of the hard ones. Opened at run time, as its headers need not be here.
#include "workloads.hpp"

#include <dlfcn.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

namespace {

void* address_of(const char* name) {
  static void* const library = dlopen("libcrypto.so.3", RTLD_NOW);
  void* const found = library != nullptr ? dlsym(library, name) : nullptr;
  if (found == nullptr) {
    std::fprintf(stderr, "crypto: %s\n", dlerror());
    std::exit(3);
  }
  return found;
}
template <class Function>
Function* function(const char* name) {
  return reinterpret_cast<Function*>(address_of(name));
}

using digest = unsigned char*(const unsigned char*, std::size_t, unsigned char*);
unsigned char text[700];
unsigned char result[64];

void digests() {
  for (const char* const name : {"SHA1", "SHA256", "SHA512"}) function<digest>(name)(text, sizeof text, result);
}

// 2^65537 modulo 2^1024 - 105, by Montgomery's multiplication.
void powers() {
  const auto make = function<void*()>("BN_new");
  const auto set = function<int(void*, unsigned long)>("BN_set_word");
  void* const base = make();
  void* const power = make();
  void* const modulus = make();
  void* const remainder = make();
  void* const context = function<void*()>("BN_CTX_new")();
  set(base, 2);
  set(power, 65537);
  function<int(void*, int)>("BN_set_bit")(modulus, 1024);
  function<int(void*, unsigned long)>("BN_sub_word")(modulus, 105);
  function<int(void*, void*, void*, void*, void*)>("BN_mod_exp")(remainder, base, power, modulus, context);
}

}  // namespace

const workload workloads[] = {{"digests", digests, true}, {"powers", powers, true}};
const int workload_count = sizeof workloads / sizeof workloads[0];
