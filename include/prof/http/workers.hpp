// prof/http/workers.hpp - threads that do what takes time, so that the server's loop only moves bytes.
// Floor 12 (http). Owned by server.hpp's server, whose loop hands work over.
// Safety: begin, hand_over and end on the loop's thread; has_this_thread on any. Work runs on the workers; where the system starts
//         no thread at all, on the loop's.
// Memory: a stack of os_thread_stack bytes for each thread. One is started when there is work while all others have some, and
//         stays until end().
// Source: futex(2).
#ifndef PROF_HTTP_WORKERS_HPP
#define PROF_HTTP_WORKERS_HPP

#include "prof/os/net.hpp"
#include "prof/os/os.hpp"
#include "prof/os/word_wait.hpp"

PROF_DETAIL_BEGIN

// One for each connection: names of one request may take seconds, and nobody waits for those of another one.
inline constexpr std::size_t http_max_workers = 8;

// What a worker does: `run`, and then, when it is free for more, `done`. Nothing touches `of` afterwards.
struct http_work {
  void (*run)(void* of) = nullptr;
  void (*done)(void* of) = nullptr;
  void* of = nullptr;
};

// A thread that waits at state_ for work. begin to end are its owner's calls, from one thread.
class http_worker {
 public:
  // 0 or an errno. `event` is raised whenever work is done.
  int begin(int event, int open_signal, const http_work& first) noexcept {
    event_ = event;
    work_ = first;
    state_.store(has_work, std::memory_order_relaxed);
    return os_start_thread(&http_worker::main, this, open_signal, thread_);
  }
  // Acquire pairs with the release in run(): the thread has read its last work.
  bool is_idle() const noexcept { return state_.load(std::memory_order_acquire) == 0; }
  // Only when it is idle.
  void take(const http_work& work) noexcept {
    work_ = work;
    set(has_work);
  }
  void ask_to_end() noexcept { set(ends); }
  // Waits until its work is done.
  void join() noexcept {
    os_join_thread(thread_);
    forget();
  }
  // In a forked child, which has no such thread.
  void forget() noexcept {
    state_.store(0, std::memory_order_relaxed);
    thread_id_.store(0, std::memory_order_relaxed);
  }
  bool is_this_thread() const noexcept { return thread_id_.load(std::memory_order_relaxed) == os_thread_id_sig(); }

 private:
  static constexpr std::uint64_t has_work = 1;
  static constexpr std::uint64_t ends = 2;

  void set(std::uint64_t what) noexcept {
    state_.fetch_or(what, std::memory_order_release);  // pairs with the acquire in run()
    os_wake_word_sig(state_, 1);
  }

  static void* main(void* self) {
    static_cast<http_worker*>(self)->run();
    return nullptr;
  }

  void run() noexcept {
    thread_id_.store(os_thread_id_sig(), std::memory_order_relaxed);
    while ((wait() & has_work) != 0) {
      const http_work work = work_;
      work.run(work.of);
      // Idle before anybody can know that it is done: the next request must not start another thread.
      state_.fetch_and(~has_work, std::memory_order_release);
      work.done(work.of);
      os_raise_event(event_);
    }
    thread_id_.store(0, std::memory_order_relaxed);  // the kernel may give the number away
  }

  std::uint64_t wait() const noexcept {
    std::uint64_t seen = 0;
    while ((seen = state_.load(std::memory_order_acquire)) == 0) os_wait_word_sig(state_, 0);
    return seen;
  }

  std::atomic<std::uint64_t> state_{0};  // has_work and ends, as bits; 0: idle
  std::atomic<std::uint32_t> thread_id_{0};
  http_work work_;
  int event_ = -1;
  os_thread_handle thread_{};
};

class http_workers {
 public:
  void begin(int event, int open_signal) noexcept {
    event_ = event;
    open_signal_ = open_signal;
  }

  // False: all have work, and the event will be raised.
  bool hand_over(const http_work& work) noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      if (!workers_[i].is_idle()) continue;
      workers_[i].take(work);
      return true;
    }
    if (count_ < http_max_workers && workers_[count_].begin(event_, open_signal_, work) == 0) {
      ++count_;
      return true;
    }
    if (count_ != 0) return false;
    run_here(work);
    return true;
  }

  // Waits until all work is done, and ends the threads.
  void end() noexcept {
    for (std::size_t i = 0; i < count_; ++i) workers_[i].ask_to_end();
    for (std::size_t i = 0; i < count_; ++i) workers_[i].join();
    count_ = 0;
  }

  void forget() noexcept {
    for (http_worker& worker : workers_) worker.forget();
    count_ = 0;
  }

  bool has_this_thread() const noexcept {
    for (const http_worker& worker : workers_) {
      if (worker.is_this_thread()) return true;
    }
    return false;
  }

  std::size_t count() const noexcept { return count_; }

 private:
  // The system starts no thread at all.
  void run_here(const http_work& work) noexcept {
    workers_[0].forget();
    work.run(work.of);
    work.done(work.of);
    os_raise_event(event_);
  }

  http_worker workers_[http_max_workers];
  std::size_t count_ = 0;  // the first ones have threads
  int event_ = -1;
  int open_signal_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_HTTP_WORKERS_HPP
