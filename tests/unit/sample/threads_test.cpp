// tests/unit/sample/threads_test.cpp - threads are asked where they are and answer, or it is said why not; who made whom.

#include "prof/sample/threads.hpp"

#include <doctest/doctest.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../process/own_process.hpp"
#include "prof/api.hpp"
#include "prof/process/enter.hpp"
#include "prof/process/sampling_signal.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

constexpr std::uint64_t millisecond = 1000000;
constexpr std::uint64_t second = 1000 * millisecond;
// What a survey may take on a machine that has other things to do; one that does not keep its deadline waits for ever.
constexpr std::uint64_t long_enough = 20 * second;

// The process's own state, ready to ask.
process_state& process() {
  process_state* const there = enter_process();
  REQUIRE(there != nullptr);
  REQUIRE(prepare_signal(*there, "a test"));
  there->signal.asked.store(&answer_sig);
  return *there;
}
threads_state& threads() {
  threads_state* const there = threads_of(process());
  REQUIRE(there != nullptr);
  return *there;
}
int signal_number() { return process().signal.number.load(); }

template <class Done>
bool wait_until(Done done, std::uint64_t most_ns = long_enough) {
  const std::uint64_t began = os_monotonic_ns_sig();
  while (!done()) {
    if (os_monotonic_ns_sig() - began > most_ns) return false;
    os_sleep_ns(millisecond);
  }
  return true;
}

// ---- threads that stay where they are ----

struct parked;
using place_to_wait = void (*)(parked&);

struct parked {
  std::atomic<std::uint32_t> id{0};
  std::atomic<std::uintptr_t> call{0};  // return address of the call in which it waits
  std::atomic<bool> is_busy{false};
  std::atomic<bool> end{false};
  std::thread thread;

  void begin(place_to_wait where, const char* name = nullptr) {
    thread = std::thread([this, where, name] {
      if (name == nullptr) return where(*this);
      const prof::label_scope labels{{"name", name}, {"kind", "parked"}};
      where(*this);
    });
    while (id.load() == 0) os_yield();
  }
  void stop() {
    end.store(true);
    if (thread.joinable()) thread.join();
  }
  parked() = default;
  ~parked() { stop(); }
  parked(const parked&) = delete;
  parked& operator=(const parked&) = delete;
};

__attribute__((noinline)) void park(parked& self) {
  self.call.store(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
  self.id.store(os_thread_id_sig());
  while (!self.end.load()) {
    if (!self.is_busy.load()) os_sleep_ns(millisecond);
  }
}
__attribute__((noinline)) void wait_in_one_place(parked& self) {
  park(self);
  __asm__ volatile("" : : "r"(&self) : "memory");  // no tail call
}
__attribute__((noinline)) void wait_in_another_place(parked& self) {
  park(self);
  __asm__ volatile("" : : "r"(&self) : "memory");
}

// ---- surveys ----

bool has_call(const process_state& of, stack_id id, std::uintptr_t return_address) {
  const stack_view view = of.stacks.view(id);
  for (std::size_t i = 0; i < view.depth; ++i) {
    const std::uintptr_t call = frame_address_sig(view.frames[i]);
    if (call < return_address && call + 8 > return_address) return true;
  }
  return false;
}
std::string labels_in(const process_state& of, label_set_id id) {
  std::string text;
  of.labels.for_each(id, [&text](const label_pair& pair) {
    if (!text.empty()) text += ',';
    text += std::string(pair.key.data, pair.key.size) + '=' + std::string(pair.value.data, pair.value.size);
  });
  return text;
}

struct survey {
  arena memory{os_pages};
  thread_survey asked;
  bool listed = false;
  std::uint64_t took_ns = 0;
  std::uintptr_t call = 0;  // of the caller's to run()

  survey() : asked(process(), threads(), memory) {}
  survey(process_state& of, threads_state& state) : asked(of, state, memory) {}
  __attribute__((noinline)) void run() {
    call = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
    const std::uint64_t began = os_monotonic_ns_sig();
    listed = asked.run(caller_registers_sig(PROF_DETAIL_CALL_FRAME()));
    took_ns = os_monotonic_ns_sig() - began;
  }
  // How often a thread was listed.
  int count(std::uint32_t thread) const {
    int n = 0;
    for (const asked_thread& one : asked.threads()) n += one.thread == thread ? 1 : 0;
    return n;
  }
  const asked_thread& of(std::uint32_t thread) const {
    for (const asked_thread& one : asked.threads()) {
      if (one.thread == thread) return one;
    }
    static const asked_thread nobody;
    FAIL_CHECK("thread " << thread << " was not listed");
    return nobody;
  }
  silence why(std::uint32_t thread) const { return of(thread).why; }
  bool answered(std::uint32_t thread) const { return why(thread) == silence::none; }
};

// Surveys until one is right: on a machine that has other things to do a thread may be late.
template <class Right>
std::unique_ptr<survey> survey_until(Right right) {
  std::unique_ptr<survey> last;
  for (int tries = 0; tries < 20; ++tries) {
    last = std::make_unique<survey>();
    last->run();
    if (right(*last)) break;
  }
  return last;
}

// As the signal's handler is told.
registers registers_here() {
  registers here;
  here.pc = reinterpret_cast<std::uintptr_t>(&registers_here) + 4;
  here.fp = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  here.sp = here.fp;
  return here;
}

}  // namespace

TEST_CASE("a survey lists every thread once, each with its own stack and its own labels") {
  parked some[6];
  for (int i = 0; i < 6; ++i) {
    some[i].begin(i % 2 == 0 ? &wait_in_one_place : &wait_in_another_place, i < 4 ? std::to_string(i).c_str() : nullptr);
    some[i].is_busy.store(i >= 3);
  }
  REQUIRE(some[0].call.load() != some[1].call.load());
  const prof::label_scope labels{{"name", "asks"}};
  const std::uint64_t asked_before = threads().asked.load();
  const std::uint64_t answered_before = threads().answered.load();
  std::size_t surveyed = 0;
  const auto found = survey_until([&](const survey& s) {
    ++surveyed;
    bool all = true;
    for (const parked& one : some) all = all && s.answered(one.id.load());
    return all;
  });
  CHECK(found->listed);
  CHECK(found->took_ns < long_enough);
  for (int i = 0; i < 6; ++i) {
    CAPTURE(i);
    const asked_thread& one = found->of(some[i].id.load());
    CHECK(found->count(some[i].id.load()) == 1);
    CHECK(static_cast<bool>(one.why == silence::none));
    CHECK(has_call(process(), one.stack, some[i].call.load()));
    CHECK_FALSE(has_call(process(), one.stack, some[1 - i % 2].call.load()));
    CHECK_FALSE(has_call(process(), one.stack, found->call));
    CHECK(labels_in(process(), one.labels) == (i < 4 ? "kind=parked,name=" + std::to_string(i) : ""));
  }
  CHECK(found->count(os_thread_id_sig()) == 1);
  CHECK(threads().asked.load() >= asked_before + 6 * surveyed);
  CHECK(threads().answered.load() >= answered_before + 6);
  CHECK(threads().questions.used() == 0);
}

TEST_CASE("who asks is in the survey, too, at the place of its call") {
  const prof::label_scope labels{{"name", "asks"}};
  survey mine;
  mine.run();
  const asked_thread& self = mine.of(os_thread_id_sig());
  CHECK(static_cast<bool>(self.why == silence::none));
  REQUIRE(process().stacks.view(self.stack).depth != 0);
  CHECK(has_call(process(), self.stack, mine.call));
  const stack_view view = process().stacks.view(self.stack);
  CHECK(frame_address_sig(view.frames[0]) < mine.call);  // the leaf: nothing of the survey itself
  CHECK(frame_address_sig(view.frames[0]) + 8 > mine.call);
  CHECK(labels_in(process(), self.labels) == "name=asks");
}

TEST_CASE("the threads that a survey lists are those of /proc") {
  parked one;
  one.begin(&wait_in_one_place);
  survey mine;
  mine.run();
  std::vector<std::uint32_t> there;
  (void)os_for_each_thread(
      [](void* to, std::uint32_t thread) { static_cast<std::vector<std::uint32_t>*>(to)->push_back(thread); }, &there);
  CHECK(there.size() >= 2);
  CHECK(mine.asked.threads().size() == there.size());
  for (const std::uint32_t thread : there) CHECK(mine.count(thread) == 1);
}

TEST_CASE("answers belong to their questions when the numbers of questions begin again") {
  parked some[4];
  for (parked& one : some) one.begin(&wait_in_one_place);
  for (const std::uint32_t near_end : {0xfffffeu, 0xfffffffeu, 0x3ffffffeu}) {
    CAPTURE(near_end);
    const auto found = survey_until([&](const survey& s) {
      bool all = true;
      for (const parked& one : some) all = all && s.answered(one.id.load());
      threads().generation.store(near_end);
      return all;
    });
    threads().generation.store(near_end);
    const auto after = survey_until([&](const survey& s) {
      bool all = true;
      for (const parked& one : some) all = all && s.answered(one.id.load());
      return all;
    });
    for (const parked& one : some) {
      CHECK(after->answered(one.id.load()));
      CHECK(has_call(process(), after->of(one.id.load()).stack, one.call.load()));
    }
  }
  CHECK(threads().questions.used() == 0);
}

// ---- threads that do not answer ---------------------------------------------------------------------------------------

namespace {

// Blocks the signal until it is told to let it through, and then says so.
struct deaf_thread {
  std::atomic<std::uint32_t> id{0};
  std::atomic<bool> listen{false};
  std::atomic<bool> listens{false};
  std::atomic<bool> end{false};
  std::thread thread;

  void begin() {
    const int number = signal_number();
    thread = std::thread([this, number] {
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, number);
      pthread_sigmask(SIG_BLOCK, &set, nullptr);
      id.store(os_thread_id_sig());
      while (!listen.load()) os_sleep_ns(100000);
      pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
      listens.store(true);
      while (!end.load()) os_sleep_ns(millisecond);
    });
    while (id.load() == 0) os_yield();
  }
  ~deaf_thread() {
    listen.store(true);
    end.store(true);
    if (thread.joinable()) thread.join();
  }
  deaf_thread() = default;
  deaf_thread(const deaf_thread&) = delete;
  deaf_thread& operator=(const deaf_thread&) = delete;
};

}  // namespace

TEST_CASE("a thread that blocks the signal is named with that reason, soon, and the others answer") {
  parked other;
  other.begin(&wait_in_one_place);
  deaf_thread deaf;
  deaf.begin();
  const auto found = survey_until([&](const survey& s) {
    return s.answered(other.id.load()) && s.took_ns < answers_deadline_ns;
  });
  CHECK(static_cast<bool>(found->why(deaf.id.load()) == silence::blocks_signal));
  CHECK(found->of(deaf.id.load()).stack == overflow_stack);
  CHECK(found->answered(other.id.load()));
  CHECK(threads().questions.used() == 0);
  CHECK(silence_text(found->why(deaf.id.load())).equals("it blocks the signal"));
}

TEST_CASE("a thread that blocks the signal is not sent one, which would wait there for it") {
  deaf_thread deaf;
  deaf.begin();
  survey mine;
  mine.run();
  CHECK(static_cast<bool>(mine.why(deaf.id.load()) == silence::blocks_signal));
  const std::uint64_t answered = threads().answered.load();
  deaf.listen.store(true);
  CHECK(wait_until([&deaf] { return deaf.listens.load(); }));  // where a handler would have run
  CHECK(threads().answered.load() == answered);
  const auto again = survey_until([&](const survey& s) { return s.answered(deaf.id.load()); });
  CHECK(again->answered(deaf.id.load()));
}

namespace {

// As if in a handler, it runs with the signal blocked until its survey asks one that comes later in the list.
void block_until_asked(parked& self, parked& later) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal_number());
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  self.id.store(os_thread_id_sig());
  const auto is_later_asked = [&later] { return threads().questions.find_sig(thread_key_base + later.id.load()) != no_slot; };
  while (!self.end.load() && (later.id.load() == 0 || !is_later_asked())) {
  }
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  while (!self.end.load()) {
  }
}

}  // namespace

TEST_CASE("a thread that is in a handler when it is looked at answers when it has left that") {
  bool has_answered = false;
  for (int tries = 0; tries < 20 && !has_answered; ++tries) {
    parked handling;
    parked later;
    handling.thread = std::thread([&] { block_until_asked(handling, later); });
    while (handling.id.load() == 0) os_yield();
    later.begin(&wait_in_one_place);
    survey mine;
    mine.run();
    has_answered = mine.answered(handling.id.load());
    handling.stop();
  }
  CHECK(has_answered);
  CHECK(threads().questions.used() == 0);
}

TEST_CASE("a thread that runs with the signal blocked is waited for as long as handlers take") {
  parked busy;
  busy.thread = std::thread([&busy] {
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    busy.id.store(os_thread_id_sig());
    while (!busy.end.load()) {
    }
  });
  while (busy.id.load() == 0) os_yield();
  const auto found = survey_until([](const survey& s) { return s.took_ns < patience_ns; });
  CHECK(static_cast<bool>(found->why(busy.id.load()) == silence::blocks_signal));
  CHECK(found->took_ns < patience_ns);
}

TEST_CASE("a thread that waits for signals itself does not get one of ours") {
  std::atomic<std::uint32_t> id{0};
  std::atomic<int> taken{0};
  std::thread waiting([&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    id.store(os_thread_id_sig());
    int number = 0;
    sigwait(&all, &number);
    taken.store(number);
  });
  CHECK(wait_until([&] { return id.load() != 0 && os_signal_awaited(id.load(), process().signal.number.load()); }));
  survey mine;
  mine.run();
  CHECK(static_cast<bool>(mine.why(id.load()) == silence::awaits_signal));
  CHECK(silence_text(mine.why(id.load())).equals("it waits for signals itself"));
  CHECK(taken.load() == 0);
  pthread_kill(waiting.native_handle(), SIGUSR1);
  waiting.join();
  CHECK(taken.load() == SIGUSR1);
}

namespace {

// A thread that sleeps uninterruptibly, until its child of vfork(2) ends.
class vforking_thread {
 public:
  vforking_thread() {
    REQUIRE(pipe(ends_) == 0);
    thread_ = std::thread([this] {
      id.store(os_thread_id_sig());
      char byte = 0;
      if (vfork() == 0) {
        (void)!read(ends_[0], &byte, 1);
        _exit(0);
      }
      is_back.store(true);
      while (!may_go_.load()) os_sleep_ns(100000);
    });
    while (id.load() == 0 || os_thread_state(id.load()) != 'D') os_yield();
  }
  ~vforking_thread() {
    end();
    may_go_.store(true);
    thread_.join();
    for (const int one : ends_) close(one);
  }
  vforking_thread(const vforking_thread&) = delete;
  vforking_thread& operator=(const vforking_thread&) = delete;
  void end() {
    if (!ended_.exchange(true)) CHECK(write(ends_[1], "x", 1) == 1);
  }
  std::atomic<std::uint32_t> id{0};
  std::atomic<bool> is_back{false};

 private:
  int ends_[2];
  std::atomic<bool> ended_{false};
  std::atomic<bool> may_go_{false};
  std::thread thread_;
};

}  // namespace

TEST_CASE("an answer that comes after its survey has ended is dropped") {
  vforking_thread away;
  survey mine;
  mine.run();
  REQUIRE(static_cast<bool>(mine.why(away.id.load()) == silence::uninterruptible));
  CHECK(mine.took_ns >= patience_ns);
  CHECK(mine.took_ns < answers_deadline_ns);
  const std::uint64_t answered = threads().answered.load();
  away.end();
  CHECK(wait_until([&away] { return away.is_back.load(); }));  // and the handler has run
  CHECK(threads().answered.load() == answered);
  CHECK(threads().questions.used() == 0);
  CHECK(static_cast<bool>(mine.why(away.id.load()) == silence::uninterruptible));
}

TEST_CASE("a question whose signal was lost is asked again: another one was on its way already") {
  bool is_right = false;
  for (int tries = 0; tries < 20 && !is_right; ++tries) {
    vforking_thread away;
    CHECK(os_ask_thread_sig(away.id.load(), signal_number(), 0) == 0);
    survey mine;
    std::thread asking([&mine] { mine.run(); });
    CHECK(wait_until([&] { return threads().questions.find_sig(thread_key_base + away.id.load()) != no_slot; }));
    os_sleep_ns(5 * millisecond);
    away.end();
    asking.join();
    is_right = mine.answered(away.id.load());
  }
  CHECK(is_right);
}

TEST_CASE("a thread that ends while it is asked has just ended, and nobody waits for it") {
  // Nobody answers meanwhile; what the thread sees is that it is asked.
  threads_state& state = threads();
  auto& receiver = process().signal.asked;
  bool is_right = false;
  for (int tries = 0; tries < 20 && !is_right; ++tries) {
    std::atomic<std::uint32_t> id{0};
    survey mine;  // the receiver is ours from here on
    receiver.store([](process_state&, std::uint64_t, const registers&) noexcept {});
    std::thread brief([&id, &state] {
      id.store(os_thread_id_sig());
      while (state.questions.find_sig(thread_key_base + os_thread_id_sig()) == no_slot) os_yield();
    });
    while (id.load() == 0) os_yield();
    mine.run();
    CHECK(mine.took_ns < long_enough);
    CHECK_FALSE(mine.answered(id.load()));
    is_right = mine.why(id.load()) == silence::ended;
    brief.join();
  }
  CHECK(is_right);
  CHECK(threads().questions.used() == 0);
}

TEST_CASE("surveys of threads that come and go end in time, and leave no question behind") {
  std::atomic<bool> end{false};
  std::thread churn([&end] {
    while (!end.load()) {
      std::thread some[4];
      for (std::thread& one : some) one = std::thread([] {});
      for (std::thread& one : some) one.join();
    }
  });
  parked stays;
  stays.begin(&wait_in_one_place);
  int right = 0;
  for (int i = 0; i < 50; ++i) {
    survey mine;
    mine.run();
    CHECK(mine.took_ns < long_enough);
    right += mine.answered(stays.id.load()) && has_call(process(), mine.of(stays.id.load()).stack, stays.call.load()) ? 1 : 0;
  }
  end.store(true);
  churn.join();
  CHECK(right >= 25);
  CHECK(wait_until([] { return threads().questions.used() == 0; }));
}

namespace {

// A child that stops one thread of ours by ptrace(2), until it is told to go.
class tracer {
 public:
  explicit tracer(std::uint32_t thread) {
    REQUIRE(pipe(here_) == 0);
    REQUIRE(pipe(there_) == 0);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    child_ = fork();
    if (child_ == 0) trace(static_cast<pid_t>(thread));
    char answer = 0;
    is_tracing_ = child_ > 0 && read(here_[0], &answer, 1) == 1 && answer == 'y';
  }
  ~tracer() { let_go(); }
  tracer(const tracer&) = delete;
  tracer& operator=(const tracer&) = delete;

  bool is_tracing() const { return is_tracing_; }
  void let_go() {
    if (child_ <= 0) return;
    CHECK(write(there_[1], "x", 1) == 1);
    waitpid(child_, nullptr, 0);
    child_ = 0;
    for (const int descriptor : {here_[0], here_[1], there_[0], there_[1]}) close(descriptor);
  }

 private:
  [[noreturn]] void trace(pid_t thread) const {
    int status = 0;
    const bool traces = ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) == 0 &&
                        ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) == 0 && waitpid(thread, &status, __WALL) == thread;
    if (write(here_[1], traces ? "y" : "n", 1) != 1) _exit(1);
    char answer = 0;
    if (read(there_[0], &answer, 1) != 1) _exit(1);
    if (traces) ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
    _exit(0);
  }

  int here_[2] = {-1, -1};
  int there_[2] = {-1, -1};
  pid_t child_ = 0;
  bool is_tracing_ = false;
};

}  // namespace

TEST_CASE("a thread that is stopped is named with that reason, and answers when it goes on") {
  parked stopped;
  stopped.begin(&wait_in_one_place);
  tracer debugger(stopped.id.load());
  if (!debugger.is_tracing()) {
    MESSAGE("not tried: nobody may be traced here");
    return;
  }
  survey mine;
  mine.run();
  CHECK(static_cast<bool>(mine.why(stopped.id.load()) == silence::stopped));
  CHECK(mine.took_ns < long_enough);
  CHECK(threads().questions.used() == 0);
  CHECK(silence_text(silence::stopped).equals("it is stopped"));
  debugger.let_go();
  const auto again = survey_until([&](const survey& s) { return s.answered(stopped.id.load()); });
  CHECK(again->answered(stopped.id.load()));
  CHECK(has_call(process(), again->of(stopped.id.load()).stack, stopped.call.load()));
}

namespace {

// A thread that sleeps uninterruptibly: its child shares its memory and has not executed anything yet, see vfork(2).
struct sleeping_thread {
  static constexpr std::size_t stack_bytes = 65536;
  std::atomic<std::uint32_t> id{0};
  std::atomic<bool> sleeps{false};
  std::atomic<bool> end{false};
  std::atomic<bool> failed{false};
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  std::thread thread;

  void begin() {
    thread = std::thread([this] {
      id.store(os_thread_id_sig());
      const int child = clone(
          [](void* context) {
            auto& self = *static_cast<sleeping_thread*>(context);
            self.sleeps.store(true);
            while (!self.end.load()) os_sleep_ns(millisecond);
            return 0;
          },
          stack.get() + stack_bytes, CLONE_VM | CLONE_VFORK | SIGCHLD, this);
      failed.store(child < 0);
      if (child > 0) waitpid(child, nullptr, 0);
      while (!end.load()) os_sleep_ns(millisecond);
    });
    while (!sleeps.load() && !failed.load()) os_yield();
  }
  sleeping_thread() = default;
  ~sleeping_thread() {
    end.store(true);
    if (thread.joinable()) thread.join();
  }
  sleeping_thread(const sleeping_thread&) = delete;
  sleeping_thread& operator=(const sleeping_thread&) = delete;
};

}  // namespace

TEST_CASE("a thread that sleeps uninterruptibly is named with that reason, soon") {
  sleeping_thread sleeping;
  sleeping.begin();
  REQUIRE_FALSE(sleeping.failed.load());
  CHECK(wait_until([&] { return os_thread_state(sleeping.id.load()) == 'D'; }));
  survey mine;
  mine.run();
  CHECK(static_cast<bool>(mine.why(sleeping.id.load()) == silence::uninterruptible));
  CHECK(mine.took_ns < long_enough);
  CHECK(threads().questions.used() == 0);
  CHECK(silence_text(silence::uninterruptible).equals("it sleeps uninterruptibly"));
}

namespace {

// A process of its own whose signal nobody answers.
struct silent_process {
  own_process own;
  threads_state* state = threads_of(*own.state);
  int number = 0;
  silent_process() {
    REQUIRE(state != nullptr);
    for (int n = 0; os_candidate_signal(n) != 0 && number == 0; ++n) {
      if (os_signal_handler(os_candidate_signal(n)) == nullptr) number = os_candidate_signal(n);
    }
    REQUIRE(number != 0);
    struct sigaction nothing;
    std::memset(&nothing, 0, sizeof nothing);
    nothing.sa_handler = [](int) {};
    nothing.sa_flags = SA_RESTART;
    REQUIRE(sigaction(number, &nothing, nullptr) == 0);
    own.state->signal.number.store(number);
  }
  ~silent_process() { signal(number, SIG_IGN); }  // some may still be on their way
  silent_process(const silent_process&) = delete;
  silent_process& operator=(const silent_process&) = delete;
};

}  // namespace

TEST_CASE("who does not answer for no known reason is late, and nobody is waited for longer than the deadline") {
  parked other;
  other.begin(&wait_in_one_place);
  silent_process silent;
  survey mine(*silent.own.state, *silent.state);
  mine.run();
  CHECK(static_cast<bool>(mine.why(other.id.load()) == silence::late));
  CHECK(mine.of(other.id.load()).stack == overflow_stack);
  CHECK(mine.answered(os_thread_id_sig()));
  CHECK(mine.took_ns >= answers_deadline_ns);
  CHECK(mine.took_ns < long_enough);
  CHECK(silent.own.state->code.load() != nullptr);  // without which no stack is right
  CHECK(silent.state->questions.used() == 0);
  CHECK(silent.state->answered.load() == 0);
  CHECK(silent.state->asked.load() >= 1);
  signal(silent.number, SIG_IGN);
}

TEST_CASE("a question that is being answered when its survey gives up is left to the thread that answers") {
  parked other;
  other.begin(&wait_in_one_place);
  silent_process silent;
  survey mine(*silent.own.state, *silent.state);
  std::thread asking([&mine] { mine.run(); });
  std::size_t index = no_slot;
  std::uint32_t asked = 0;
  CHECK(wait_until([&] {
    index = silent.state->questions.find_sig(thread_key_base + other.id.load());
    if (index == no_slot) return false;
    asked = silent.state->questions.at(index).state.load();
    return (asked & 3) == is_asked;
  }));
  REQUIRE(index != no_slot);
  std::uint32_t expected = asked;
  CHECK(silent.state->questions.at(index).state.compare_exchange_strong(expected, (asked & ~3u) | is_answering));
  asking.join();
  CHECK(static_cast<bool>(mine.why(other.id.load()) == silence::late));
  CHECK(silent.state->questions.used() == 1);
  CHECK(silent.state->questions.at(index).state.load() == ((asked & ~3u) | nobody_asks));
  CHECK(silent.state->answered.load() == 0);
}

TEST_CASE("where there is no room for questions, that is the reason") {
  parked other;
  other.begin(&wait_in_one_place);
  const own_process own;
  threads_state* const state = threads_of(*own.state);
  REQUIRE(state != nullptr);
  first_code_map_sig(*own.state);
  own.state->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  own.state->signal.number.store(signal_number());
  survey mine(*own.state, *state);
  mine.run();
  CHECK(mine.listed);
  CHECK(static_cast<bool>(mine.why(other.id.load()) == silence::no_room));
  CHECK(silence_text(silence::no_room).equals("too many threads are asked"));
  CHECK(static_cast<bool>(mine.why(os_thread_id_sig()) == silence::none));
  CHECK(mine.took_ns < long_enough);
  CHECK(state->asked.load() == 0);
  own.state->memory.map_sig = &os_map_in_steps_sig;
}

TEST_CASE("every reason has its words, and no reason none") {
  CHECK(silence_text(silence::none).size == 0);
  CHECK(silence_text(silence::ended).equals("it has just ended"));
  CHECK(silence_text(silence::late).equals("it did not answer in time"));
}

TEST_CASE("two surveys at once ask the same threads and each other, and both are told all") {
  parked some[8];
  for (int i = 0; i < 8; ++i) some[i].begin(i % 2 == 0 ? &wait_in_one_place : &wait_in_another_place);
  std::atomic<std::uint32_t> ids[2] = {};
  int complete = 0;
  int wrong = 0;
  for (int round = 0; round < 40 && complete < 5; ++round) {
    survey both[2];
    std::atomic<int> ready{0};
    std::atomic<int> left{2};
    const auto ask = [&](int which) {
      ids[which].store(os_thread_id_sig());
      ++ready;
      while (ready.load() != 2) os_yield();
      both[which].run();
      --left;
      while (left.load() != 0) os_sleep_ns(millisecond);  // the other one still asks
    };
    std::thread beside([&ask] { ask(1); });
    ask(0);
    beside.join();
    int silent = 0;
    for (const survey& mine : both) {
      for (const parked& one : some) {
        if (!mine.answered(one.id.load())) ++silent;
        else if (!has_call(process(), mine.of(one.id.load()).stack, one.call.load())) ++wrong;
      }
      for (const std::atomic<std::uint32_t>& id : ids) silent += mine.answered(id.load()) ? 0 : 1;
      CHECK(mine.took_ns < long_enough);
    }
    complete += silent == 0 ? 1 : 0;
  }
  CHECK(wrong == 0);
  CHECK(complete == 5);
  CHECK(threads().questions.used() == 0);
}

// ---- the handler -------------------------------------------------------------------------------------------------------

namespace {

// A question in a process of its own, as it is asked.
struct open_question {
  own_process own;
  threads_state* state = threads_of(*own.state);
  std::size_t index = no_slot;
  static constexpr std::uint32_t generation = 0x123456;
  open_question() {
    REQUIRE(state != nullptr);
    first_code_map_sig(*own.state);
    index = state->questions.claim_sig(thread_key_base + 1);
    REQUIRE(index != no_slot);
    slot().state.store(state_of_question(generation, is_asked));
    state->questions.publish_sig(index, thread_key_base + 1);
  }
  question& slot() const { return state->questions.at(index); }
  bool is(question_step step) const { return slot().state.load() == state_of_question(generation, step); }
  void answer(std::uint64_t token) const { answer_sig(*own.state, token, registers_here()); }
};

}  // namespace

TEST_CASE("a question is answered once, with the stack and the labels of the thread") {
  const open_question open;
  const label_pair pair{"a", "b"};
  thread_state* const known = this_thread_sig(*open.own.state);
  REQUIRE(known != nullptr);
  known->labels.store(open.own.state->labels.intern(&pair, 1));
  open.answer(token_of(open.index, open.generation));
  CHECK(open.is(is_answered));
  const stack_id stack = open.slot().stack.load();
  REQUIRE(open.own.state->stacks.view(stack).depth != 0);
  CHECK(frame_address_sig(open.own.state->stacks.view(stack).frames[0]) == registers_here().pc);
  CHECK(labels_in(*open.own.state, open.slot().labels.load()) == "a=b");
  open.slot().stack.store(overflow_stack);
  open.answer(token_of(open.index, open.generation));  // a second signal
  CHECK(open.is(is_answered));
  CHECK(open.slot().stack.load() == overflow_stack);
  CHECK(open.state->questions.used() == 1);
}

TEST_CASE("a token that is not of an open question answers none") {
  const open_question open;
  const std::uint64_t right = token_of(open.index, open.generation);
  open.answer(token_of(open.index, open.generation - 1));  // of an earlier question in this slot
  open.answer(token_of(open.index, open.generation + 1));
  open.answer(right & ~question_mark);  // somebody else's
  open.answer(right ^ (std::uint64_t{1} << 63));
  open.answer(token_of(open.state->questions.span(), open.generation));
  open.answer(token_of(0xffffff, open.generation));
  CHECK(open.is(is_asked));
  CHECK(open.slot().stack.load() == overflow_stack);
  CHECK(open.state->questions.used() == 1);
  open.answer(right);
  CHECK(open.is(is_answered));
}

TEST_CASE("a process that has asked nobody answers nobody") {
  const own_process own;
  answer_sig(*own.state, token_of(0, 1), registers_here());
  CHECK(attached_threads_sig(*own.state) == nullptr);
}

namespace {

const open_question* g_abandoned = nullptr;
bool g_was_answering = false;

// The table of stacks wants its first piece in the middle of an answer: then the survey gives up.
void* map_and_give_up(std::size_t size) noexcept {
  if (g_abandoned != nullptr) {
    std::uint32_t expected = state_of_question(open_question::generation, is_answering);
    g_was_answering = g_abandoned->slot().state.compare_exchange_strong(
        expected, state_of_question(open_question::generation, nobody_asks));
    g_abandoned = nullptr;
  }
  return os_map_in_steps_sig(size);
}

}  // namespace

TEST_CASE("who is still answering when the survey gives up tidies the question away") {
  const open_question open;
  g_abandoned = &open;
  g_was_answering = false;
  open.own.state->memory.map_sig = &map_and_give_up;
  open.answer(token_of(open.index, open.generation));
  open.own.state->memory.map_sig = &os_map_in_steps_sig;
  CHECK(g_was_answering);
  CHECK(open.state->questions.used() == 0);
  CHECK(open.is(nobody_asks));
}

TEST_CASE("the tables are made once, by whoever needs them first") {
  const own_process own;
  CHECK(attached_threads_sig(*own.state) == nullptr);
  std::atomic<int> ready{0};
  threads_state* seen[2] = {};
  const auto make = [&](int which) {
    ++ready;
    while (ready.load() != 2) os_yield();
    seen[which] = threads_of(*own.state);
  };
  std::thread other([&make] { make(1); });
  make(0);
  other.join();
  CHECK(seen[0] != nullptr);
  CHECK(seen[0] == seen[1]);
  CHECK(attached_threads_sig(*own.state) == seen[0]);
}

// ---- who made whom -----------------------------------------------------------------------------------------------------

namespace {

// Made threads in a process of their own.
struct makers {
  own_process own;
  threads_state* state = threads_of(*own.state);
  arena memory{os_pages};
  std::uint64_t last_number = 0;
  makers() { REQUIRE(state != nullptr); }

  thread_start start(std::uintptr_t handle, bool is_joinable = true) {
    thread_start one;
    one.number = ++last_number;
    state->created.store(last_number);
    one.handle = handle;
    one.creator = 77;
    one.stack = static_cast<stack_id>(1000 + one.number);
    one.labels = static_cast<label_set_id>(2000 + one.number);
    one.is_joinable = is_joinable;
    return one;
  }
  // As the hook tells it: by the thread itself, by who detaches it.
  void runs(const thread_start& one, std::uint32_t thread) const {
    note_running(*own.state, *state, one);
    const std::size_t index = state->made.find_sig(one.handle);
    REQUIRE(index != no_slot);
    state->made.at(index).thread.store(thread);
  }
  void detached(std::uintptr_t of) const { note_detached(*own.state, *state, of); }
  bool has(std::uintptr_t of) const { return state->made.find_sig(of) != no_slot; }
  const known_makers& known() {
    auto* const all = new (memory.allocate(sizeof(known_makers))) known_makers(memory);
    all->read(*state);
    return *all;
  }
  std::vector<std::uint64_t> leaked() {
    std::vector<std::uint64_t> numbers;
    known().for_each_leaked([&](const known_maker& known) { numbers.push_back(known.start.number); });
    return numbers;
  }
};

std::uint32_t ended_thread() {
  std::atomic<std::uint32_t> id{0};
  std::thread([&id] { id.store(os_thread_id_sig()); }).join();
  // Joined is not gone: the kernel wakes the joiner first.
  CHECK(wait_until([&id] { return os_thread_has_ended_sig(os_process_id_sig(), id.load()); }));
  return id.load();
}

constexpr std::uintptr_t handle = 0x7f0000001000;
constexpr std::uintptr_t other_handle = 0x7f0000002000;

}  // namespace

TEST_CASE("a thread's record says who made it where, whether it runs or is detached first") {
  for (const bool detached_first : {true, false}) {
    CAPTURE(detached_first);
    makers all;
    thread_start one = all.start(handle);
    one.is_own = true;
    const thread_start two = all.start(other_handle, false);
    if (detached_first) all.detached(handle);
    all.runs(one, 10);
    all.runs(two, 11);
    CHECK(all.state->made.used() == 2);
    const known_makers& known = all.known();
    const known_maker* const found = known.find(10);
    REQUIRE(found != nullptr);
    CHECK(found->start.number == one.number);
    CHECK(found->start.handle == handle);
    CHECK(found->start.creator == 77);
    CHECK(found->start.stack == one.stack);
    CHECK(found->start.labels == one.labels);
    CHECK(found->start.is_joinable == !detached_first);
    CHECK(found->start.is_own);
    const known_maker* const other = known.find(11);
    REQUIRE(other != nullptr);
    CHECK(other->start.number == two.number);
    CHECK_FALSE(other->start.is_joinable);
    CHECK_FALSE(other->start.is_own);
    CHECK(known.find(12) == nullptr);
    CHECK(known.find(9) == nullptr);
  }
}

TEST_CASE("a later thread with the same pthread_t takes the record over, and the earlier one is forgotten") {
  makers all;
  all.runs(all.start(handle, false), 10);
  const thread_start later = all.start(handle);
  all.runs(later, 11);
  const known_makers& known = all.known();
  CHECK(known.find(10) == nullptr);
  REQUIRE(known.find(11) != nullptr);
  CHECK(known.find(11)->start.number == later.number);
  CHECK(known.find(11)->start.is_joinable);
  CHECK(all.state->made.used() == 1);
}

TEST_CASE("a thread that begins to run while it is detached has one record, and cannot be joined") {
  int wrong = 0;
  for (const bool had_another : {false, true}) {
    for (int round = 0; round < 500; ++round) {
      makers all;
      if (had_another) all.runs(all.start(handle, false), ended_thread());
      const thread_start one = all.start(handle);
      std::atomic<bool> go{false};
      std::atomic<bool> is_detached{false};
      std::thread itself([&] {
        while (!go.load()) os_yield();
        note_running(*all.own.state, *all.state, one);
        while (!is_detached.load()) os_yield();  // one that has ended is forgotten
      });
      go.store(true);
      all.detached(handle);
      is_detached.store(true);
      itself.join();
      const std::size_t index = all.state->made.find_sig(handle);
      const bool is_right = all.state->made.used() == 1 && index != no_slot && !all.state->made.at(index).is_joinable.load();
      wrong += is_right ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("of threads with one id the last one made is meant") {
  for (std::uint64_t first = 0; first < 16; ++first) {
    makers all;
    std::vector<thread_start> starts;
    for (std::uintptr_t i = 0; i < 16; ++i) starts.push_back(all.start(handle + i * 0x1000));
    for (std::uint64_t i = 0; i < 16; ++i) all.runs(starts[(first + 5 * i) % 16], 10);
    const known_makers& known = all.known();
    REQUIRE(known.find(10) != nullptr);
    CHECK(known.find(10)->start.number == starts.back().number);
  }
}

TEST_CASE("a thread that is joined has no record any more, and its joiner's word forgets no later thread") {
  makers all;
  const thread_start one = all.start(handle);
  all.runs(one, os_thread_id_sig());
  const std::uint64_t known = begin_join(*all.state, handle);
  CHECK(known == one.number);
  SUBCASE("it is told at once") {
    end_join(*all.state, handle, known, true);
    CHECK_FALSE(all.has(handle));
  }
  SUBCASE("it is told when a later thread has the pthread_t") {
    all.runs(all.start(handle), 11);
    end_join(*all.state, handle, known, true);
    CHECK(all.has(handle));
  }
  SUBCASE("it is told of a pthread_t that nobody has") {
    end_join(*all.state, other_handle, known, true);
    CHECK(all.has(handle));
  }
}

TEST_CASE("a thread that does not run yet when its join begins has no record when that has ended") {
  makers all;
  all.state->created.store(1);
  const thread_start one = all.start(handle);
  const std::uint64_t known = begin_join(*all.state, handle);
  CHECK(known != 0);
  all.runs(one, 10);
  SUBCASE("it is told at once") {
    end_join(*all.state, handle, known, true);
    CHECK_FALSE(all.has(handle));
  }
  SUBCASE("it is told when a later thread has the pthread_t") {
    all.runs(all.start(handle), 11);
    end_join(*all.state, handle, known, true);
    CHECK(all.has(handle));
  }
}

TEST_CASE("a thread that does not run yet when its join begins has no record, although an ended one had its pthread_t") {
  makers all;
  all.runs(all.start(handle, false), ended_thread());
  const thread_start one = all.start(handle);
  const std::uint64_t known = begin_join(*all.state, handle);
  all.runs(one, ended_thread());
  end_join(*all.state, handle, known, true);
  CHECK_FALSE(all.has(handle));
  CHECK(all.leaked().empty());
}

TEST_CASE("a thread that is detached before it runs stays so, although an ended one had its pthread_t") {
  makers all;
  const std::uint32_t ended = ended_thread();
  const thread_start first = all.start(handle);
  all.detached(handle);
  all.runs(first, ended);
  const thread_start one = all.start(handle);
  all.detached(handle);
  all.runs(one, ended);
  CHECK(all.leaked().empty());
  const known_maker* const found = all.known().find(ended);
  REQUIRE(found != nullptr);
  CHECK(found->start.number == one.number);
  CHECK_FALSE(found->start.is_joinable);
}

TEST_CASE("a thread that can be joined is not taken for the one before it that could not") {
  makers all;
  all.detached(handle);
  all.runs(all.start(handle), 10);
  all.runs(all.start(handle), 11);
  const known_maker* const found = all.known().find(11);
  REQUIRE(found != nullptr);
  CHECK(found->start.is_joinable);
}

TEST_CASE("leaked is who has ended and could still be joined, and nobody else") {
  makers all;
  const std::uint32_t ended = ended_thread();
  const thread_start leaked = all.start(handle);
  all.runs(leaked, ended);
  all.runs(all.start(handle + 0x1000, false), ended_thread());  // detached
  all.runs(all.start(handle + 0x2000), os_thread_id_sig());     // runs
  all.detached(handle + 0x3000);                                // does not run yet
  CHECK(all.leaked() == std::vector<std::uint64_t>{leaked.number});
  const std::size_t index = all.state->made.find_sig(handle);
  REQUIRE(index != no_slot);
  all.state->made.at(index).is_joinable.store(false);
  CHECK(all.leaked().empty());
}

TEST_CASE("a thread whose id a later one has is leaked, too") {
  makers all;
  const thread_start first = all.start(handle);
  all.runs(first, os_thread_id_sig());
  all.runs(all.start(other_handle), os_thread_id_sig());
  CHECK(all.leaked() == std::vector<std::uint64_t>{first.number});
}

TEST_CASE("detached threads that have ended are forgotten when others come, all others stay") {
  makers all;
  const std::uint32_t ended = ended_thread();
  const auto in_table = [&all](std::uintptr_t of) { return all.state->made.find_sig(of) != no_slot; };
  const std::uintptr_t kept[3] = {handle, handle + 0x1000, handle + 0x2000};
  all.runs(all.start(kept[0]), ended);                    // not joined
  all.runs(all.start(kept[1], false), os_thread_id_sig());  // detached, runs
  all.detached(kept[2]);                                  // does not run yet
  const std::uintptr_t first = handle + 0x10000;
  for (std::uintptr_t i = 0; i < 2000; ++i) all.runs(all.start(first + i * 0x1000, false), ended);
  CHECK(all.state->made.used() < 300);
  CHECK_FALSE(in_table(first));
  for (const std::uintptr_t one : kept) CHECK(in_table(one));
}

TEST_CASE("threads that nobody joins have a record each until there is no room, which is counted") {
  makers all;
  const std::uint64_t& lost = [&all]() -> const std::uint64_t& {
    static std::uint64_t now;
    now = drops_of(*all.own.state, static_cast<unsigned>(drop::made_threads_full));
    return now;
  }();
  CHECK(lost == 0);
  const std::uint32_t ended = ended_thread();
  for (std::uintptr_t i = 0; i < 500; ++i) all.runs(all.start(handle + i * 0x1000), ended);
  CHECK(all.state->made.used() == 500);
  makers without;
  without.own.state->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  note_running(*without.own.state, *without.state, without.start(handle));
  CHECK(drops_of(*without.own.state, static_cast<unsigned>(drop::made_threads_full)) == 1);
  CHECK(without.state->made.used() == 0);
}

TEST_CASE("a child forgets its parent's questions and threads but itself, which has another id now") {
  makers all;
  all.runs(all.start(handle), 10);
  const thread_start self = all.start(os_thread_pointer_sig());
  all.runs(self, 11);
  all.detached(other_handle);
  const std::size_t asked = all.state->questions.claim_sig(thread_key_base + 10);
  REQUIRE(asked != no_slot);
  all.state->questions.at(asked).state.store(state_of_question(5, is_asked));
  all.state->questions.publish_sig(asked, thread_key_base + 10);
  REQUIRE(all.state->made_lock.try_lock());  // by a thread that the child does not have
  forget_parent_threads(*all.state);
  CHECK_FALSE(all.state->made_lock.held());
  CHECK(all.state->questions.used() == 0);
  CHECK(all.state->questions.at(asked).state.load() == nobody_asks);
  CHECK(all.state->made.used() == 1);
  const known_makers& known = all.known();
  CHECK(known.find(10) == nullptr);
  CHECK(known.find(11) == nullptr);
  REQUIRE(known.find(os_thread_id_sig()) != nullptr);
  CHECK(known.find(os_thread_id_sig())->start.number == self.number);
}

#endif
