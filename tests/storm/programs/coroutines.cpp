// Three threads resume C++20 coroutines: one that works itself, and one that awaits another, which
// is resumed by symmetric transfer. Frames are made and destroyed all the time, and one in four
// throws.
#include <atomic>
#include <coroutine>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <utility>

#include "storm.hpp"

namespace {

std::atomic<unsigned long> g_rounds;
thread_local std::coroutine_handle<> t_suspended;

// Leaves the innermost coroutine where its resumer finds it.
struct suspend_here {
  bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> from) noexcept { t_suspended = from; }
  void await_resume() noexcept {}
};

struct task {
  struct promise_type {
    std::coroutine_handle<> awaiting;
    std::exception_ptr thrown;
    // At the end the one that awaits goes on, or the resumer.
    struct goes_back {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> ended) noexcept {
        const std::coroutine_handle<> next = ended.promise().awaiting;
        return next ? next : std::noop_coroutine();
      }
      void await_resume() noexcept {}
    };
    task get_return_object() {
      return task{std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    goes_back final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { thrown = std::current_exception(); }
  };
  explicit task(std::coroutine_handle<promise_type> made) : handle(made) {}
  task(task&& other) noexcept : handle(std::exchange(other.handle, {})) {}
  ~task() {
    if (handle) handle.destroy();
  }
  bool await_ready() noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> from) noexcept {
    handle.promise().awaiting = from;
    return handle;
  }
  void await_resume() {
    if (handle.promise().thrown) std::rethrow_exception(handle.promise().thrown);
  }
  std::coroutine_handle<promise_type> handle;
};

}  // namespace

FN void coroutine_leaf() {
  storm_work();
  STAY_ON_STACK();
}
static task plain_body(unsigned turns) {
  for (unsigned i = 0; i < turns; ++i) {
    coroutine_leaf();
    co_await std::suspend_always{};
    coroutine_leaf();
  }
}
static task inner_body(unsigned n) {
  coroutine_leaf();
  co_await suspend_here{};
  if (n % 4 == 0) throw std::runtime_error("from the inner coroutine");
  coroutine_leaf();
}
static task outer_body(unsigned n) {
  coroutine_leaf();
  try {
    co_await inner_body(n);
  } catch (const std::runtime_error&) {
    coroutine_leaf();
  }
}

FN void resumes_plain(std::coroutine_handle<> handle) {
  handle.resume();
  STAY_ON_STACK();
}
FN void resumes_outer(std::coroutine_handle<> handle) {
  handle.resume();
  STAY_ON_STACK();
}
// The inner one's end goes on with the outer one.
FN void resumes_inner(std::coroutine_handle<> handle) {
  handle.resume();
  STAY_ON_STACK();
}
FN void* coroutine_thread(void*) {
  for (unsigned n = 0; storm_goes_on(); ++n) {
    const task plain = plain_body(n % 5);
    const task outer = outer_body(n);
    while (!plain.handle.done()) resumes_plain(plain.handle);
    resumes_outer(outer.handle);
    resumes_inner(t_suspended);
    g_rounds.fetch_add(1, std::memory_order_relaxed);
  }
  return nullptr;
}

const thread_function storm_threads[] = {coroutine_thread, coroutine_thread, coroutine_thread};
const unsigned storm_thread_count = 3;

void storm_begin(char**) {}
void storm_end() {
  std::printf("rounds %lu\n", g_rounds.load());
}
