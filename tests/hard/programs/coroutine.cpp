// A C++20 coroutine: its body is resumed from main's stack, twice, from different functions.
#include <coroutine>
#include <exception>

#include "sampler.hpp"

static volatile long g_sink;

struct task {
  struct promise_type {
    task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

FN void leaf() {
  TAKE_SAMPLE();
  g_sink = g_sink + 1;
}
static task body() {
  leaf();
  g_sink = g_sink + 1;
  co_await std::suspend_always{};
  leaf();
  g_sink = g_sink + 1;
}
FN void resumes_first(std::coroutine_handle<> handle) {
  handle.resume();
  g_sink = g_sink + 1;
}
FN void resumes_again(std::coroutine_handle<> handle) {
  handle.resume();
  g_sink = g_sink + 1;
}

int main(int argc, char** argv) {
  begin_sampling(argc, argv);
  const task one = body();
  resumes_first(one.handle);
  resumes_again(one.handle);
  one.handle.destroy();
  print_samples();
  return 0;
}
