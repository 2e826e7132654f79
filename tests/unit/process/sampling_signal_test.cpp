// tests/unit/process/sampling_signal_test.cpp - which signal is chosen, whose handlers stay, who gets what it brings.

#include "prof/process/sampling_signal.hpp"

#include <doctest/doctest.h>

#include <csignal>
#include <cstring>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#include "own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using prof::error;
using prof::result;

std::vector<int> all_candidates() {
  std::vector<int> all;
  for (int n = 0; os_candidate_signal(n) != 0; ++n) all.push_back(os_candidate_signal(n));
  return all;
}

// While it lives, the signals that may be chosen are nobody's; afterwards they are whose they were.
class free_signals {
 public:
  free_signals() {
    std::vector<int> numbers = all_candidates();
    for (const int number : {SIGPROF, SIGUSR1, SIGUSR2}) numbers.push_back(number);
    for (const int number : numbers) {
      struct sigaction nobody;
      std::memset(&nobody, 0, sizeof nobody);
      nobody.sa_handler = SIG_IGN;  // what is on its way kills nobody
      kept was{number, {}};
      REQUIRE(sigaction(number, &nobody, &was.action) == 0);
      kept_.push_back(was);
      nobody.sa_handler = SIG_DFL;
      REQUIRE(sigaction(number, &nobody, nullptr) == 0);
    }
  }
  ~free_signals() {
    for (const kept& was : kept_) sigaction(was.number, &was.action, nullptr);
  }
  free_signals(const free_signals&) = delete;
  free_signals& operator=(const free_signals&) = delete;

 private:
  struct kept {
    int number;
    struct sigaction action;
  };
  std::vector<kept> kept_;
};

void foreign_handler(int) {}
void foreign_handler_with_facts(int, siginfo_t*, void*) {}

void take(int number, void (*handler)(int)) {
  struct sigaction foreign;
  std::memset(&foreign, 0, sizeof foreign);
  foreign.sa_handler = handler;
  REQUIRE(sigaction(number, &foreign, nullptr) == 0);
}
bool is_at(int number, void (*handler)(int)) {
  return os_signal_handler(number) == reinterpret_cast<const void*>(handler);
}
bool is_ours(int number) { return os_signal_handler(number) == os_own_signal_handler(); }

std::string name_in(const result& refused) { return refused.message(); }
bool says(const result& refused, const char* what) { return name_in(refused).find(what) != std::string::npos; }

}  // namespace

TEST_CASE("the usual signal is chosen where nobody uses it") {
  const free_signals all_free;
  const own_process own;
  CHECK_FALSE(is_ours(SIGPROF));
  REQUIRE(prepare_signal(*own.state, "a test"));
  CHECK(own.state->signal.number.load() == SIGPROF);
  CHECK(is_ours(SIGPROF));
  CHECK(own.state->signal.handler.load() == os_own_signal_handler());
  for (const int number : all_candidates()) CHECK(is_at(number, SIG_DFL));
}

TEST_CASE("a handler of the host's is not displaced: another signal is chosen") {
  const free_signals all_free;
  const own_process own;
  take(SIGPROF, &foreign_handler);
  SUBCASE("the first real-time signal that is free") {
    REQUIRE(prepare_signal(*own.state, "a test"));
    CHECK(own.state->signal.number.load() == os_candidate_signal(0));
  }
  SUBCASE("or one behind those that are used, too") {
    take(os_candidate_signal(0), &foreign_handler);
    take(os_candidate_signal(1), &foreign_handler);
    REQUIRE(prepare_signal(*own.state, "a test"));
    CHECK(own.state->signal.number.load() == os_candidate_signal(2));
    CHECK(is_at(os_candidate_signal(0), &foreign_handler));
    CHECK(is_at(os_candidate_signal(1), &foreign_handler));
  }
  CHECK(is_ours(own.state->signal.number.load()));
  CHECK(is_at(SIGPROF, &foreign_handler));
}

TEST_CASE("a handler that wants facts counts, too, and so does a signal that is ignored") {
  const free_signals all_free;
  const own_process own;
  struct sigaction foreign;
  std::memset(&foreign, 0, sizeof foreign);
  foreign.sa_sigaction = &foreign_handler_with_facts;
  foreign.sa_flags = SA_SIGINFO;
  REQUIRE(sigaction(SIGPROF, &foreign, nullptr) == 0);
  take(os_candidate_signal(0), SIG_IGN);
  REQUIRE(prepare_signal(*own.state, "a test"));
  CHECK(own.state->signal.number.load() == os_candidate_signal(1));
  CHECK(os_signal_handler(SIGPROF) == reinterpret_cast<const void*>(&foreign_handler_with_facts));
  CHECK(is_at(os_candidate_signal(0), SIG_IGN));
}

TEST_CASE("the signal that another object of ours has installed is shared") {
  const free_signals all_free;
  const own_process first;
  const own_process second;
  REQUIRE(prepare_signal(*first.state, "a test"));
  REQUIRE(prepare_signal(*second.state, "a test"));
  CHECK(second.state->signal.number.load() == SIGPROF);
  CHECK_FALSE(is_ours(os_candidate_signal(0)));
}

TEST_CASE("a handler that another object has installed for the process stays, and its signal may be chosen") {
  const free_signals all_free;
  const own_process own;
  take(SIGPROF, &foreign_handler);  // as it looks from here
  own.state->signal.handler.store(reinterpret_cast<const void*>(&foreign_handler));
  SUBCASE("it is the process's signal already") {
    own.state->signal.number.store(SIGPROF);
    CHECK(prepare_signal(*own.state, "a test"));
    CHECK(is_at(SIGPROF, &foreign_handler));
  }
  SUBCASE("no signal has been chosen yet") {
    CHECK(prepare_signal(*own.state, "a test"));
    CHECK(is_ours(SIGPROF));
  }
  CHECK(own.state->signal.number.load() == SIGPROF);
  CHECK(is_at(os_candidate_signal(0), SIG_DFL));
}

TEST_CASE("a wanted signal that is free is chosen, and no other one is touched") {
  const free_signals all_free;
  for (const int wanted : {os_candidate_signal(3), SIGUSR2}) {
    const own_process own;
    own.state->wanted_signal.store(wanted);
    REQUIRE(prepare_signal(*own.state, "a test"));
    CHECK(own.state->signal.number.load() == wanted);
    CHECK(is_ours(wanted));
  }
  CHECK(is_at(SIGPROF, SIG_DFL));
  CHECK(is_at(os_candidate_signal(0), SIG_DFL));
}

TEST_CASE("a wanted signal that is in use is an error that says so, and nothing else is taken instead") {
  const free_signals all_free;
  const own_process own;
  const auto check_refused = [&own](int wanted, const char* name) {
    take(wanted, &foreign_handler);
    own.state->wanted_signal.store(wanted);
    const result refused = prepare_signal(*own.state, "a test");
    CHECK(refused.code() == error::signal_in_use);
    CHECK(says(refused, name));
    CHECK(says(refused, "has a foreign handler"));
    CHECK(is_at(wanted, &foreign_handler));
    CHECK(own.state->signal.number.load() == 0);
    CHECK(own.state->signal.handler.load() == nullptr);
  };
  check_refused(os_candidate_signal(2), "a real-time signal");
  CHECK(is_at(SIGPROF, SIG_DFL));
  check_refused(SIGPROF, "SIGPROF");
  CHECK(is_at(os_candidate_signal(0), SIG_DFL));
  take(SIGPROF, SIG_DFL);
  CHECK(prepare_signal(*own.state, "a test"));
  CHECK(is_ours(SIGPROF));
}

TEST_CASE("an error about a wanted signal calls none a real-time signal that is not") {
  const free_signals all_free;
  const own_process own;
  take(SIGUSR1, &foreign_handler);
  own.state->wanted_signal.store(SIGUSR1);
  const result refused = prepare_signal(*own.state, "a test");
  CHECK(refused.code() == error::signal_in_use);
  CAPTURE(name_in(refused));
  CHECK_FALSE(says(refused, "a real-time signal has a foreign handler"));
}

TEST_CASE("where every signal is in use, that is an error, which names the usual one") {
  const free_signals all_free;
  const own_process own;
  take(SIGPROF, &foreign_handler);
  for (const int number : all_candidates()) take(number, &foreign_handler);
  const result refused = prepare_signal(*own.state, "a test");
  CHECK(refused.code() == error::signal_in_use);
  CHECK(says(refused, "SIGPROF has a foreign handler"));
  for (const int number : all_candidates()) CHECK(is_at(number, &foreign_handler));
  CHECK(own.state->signal.number.load() == 0);
}

TEST_CASE("a signal that takes no handler is an error that says what cannot be done without") {
  const free_signals all_free;
  const own_process own;
  own.state->wanted_signal.store(SIGKILL);
  const result refused = prepare_signal(*own.state, "counting sheep");
  CHECK(refused.code() == error::unsupported);
  CHECK(says(refused, "counting sheep"));
  CHECK(own.state->signal.number.load() == 0);
}

TEST_CASE("the signal is chosen once") {
  const free_signals all_free;
  const own_process own;
  take(SIGPROF, &foreign_handler);
  REQUIRE(prepare_signal(*own.state, "a test"));
  const int chosen = own.state->signal.number.load();
  CHECK(chosen == os_candidate_signal(0));
  take(SIGPROF, SIG_DFL);
  own.state->wanted_signal.store(os_candidate_signal(5));
  CHECK(prepare_signal(*own.state, "a test"));
  CHECK(own.state->signal.number.load() == chosen);
  CHECK(is_ours(chosen));
  CHECK(is_at(SIGPROF, SIG_DFL));
  CHECK(is_at(os_candidate_signal(5), SIG_DFL));
}

TEST_CASE("a signal that the host has taken back since is left to it") {
  const free_signals all_free;
  const own_process own;
  REQUIRE(prepare_signal(*own.state, "a test"));
  REQUIRE(own.state->signal.number.load() == SIGPROF);
  take(SIGPROF, &foreign_handler);
  CHECK(prepare_signal(*own.state, "a test"));
  CHECK(own.state->signal.number.load() == os_candidate_signal(0));
  CHECK(is_ours(os_candidate_signal(0)));
  CHECK(is_at(SIGPROF, &foreign_handler));
}

TEST_CASE("threads that choose at once agree, and one handler is installed") {
  const free_signals all_free;
  for (int round = 0; round < 50; ++round) {
    const own_process own;
    take(SIGPROF, &foreign_handler);
    for (const int number : all_candidates()) take(number, SIG_DFL);
    std::atomic<int> waiting{4};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        --waiting;
        while (waiting.load() != 0) os_yield();
        const result ready = prepare_signal(*own.state, "a test");
        if (!ready || own.state->signal.number.load() != os_candidate_signal(0)) ++wrong;
      });
    }
    for (auto& thread : threads) thread.join();
    int installed = 0;
    for (const int number : all_candidates()) installed += is_ours(number) ? 1 : 0;
    CHECK(wrong.load() == 0);
    CHECK(installed == 1);
  }
}

// ---- who gets it ------------------------------------------------------------------------------------------------------

namespace {

const process_state* g_told = nullptr;
std::uint64_t g_expirations = 0;
std::uint64_t g_token = 0;
std::uintptr_t g_pc = 0;
std::uintptr_t g_sp = 0;

void count_tick(process_state& process, const timer_event& event) {
  g_told = &process;
  g_expirations = event.expirations;
}
void note_question(process_state& process, std::uint64_t token, const registers& regs) {
  g_told = &process;
  g_token = token;
  g_pc = regs.pc;
  g_sp = regs.sp;
}

// The receivers of the process while this lives are a test's.
struct own_receivers {
  signal_state& signal = process_sig()->signal;
  decltype(&count_tick) ticked = signal.ticked.exchange(nullptr);
  decltype(&note_question) asked = signal.asked.exchange(nullptr);
  own_receivers() { g_told = nullptr; }
  ~own_receivers() {
    signal.ticked.store(ticked);
    signal.asked.store(asked);
  }
  own_receivers(const own_receivers&) = delete;
  own_receivers& operator=(const own_receivers&) = delete;
};

}  // namespace

TEST_CASE("a tick and a question go to whoever wants them, with the process") {
  const own_receivers receivers;
  timer_event event;
  event.expirations = 7;
  registers regs;
  regs.pc = 1234;
  receive_tick_sig(event);  // nobody wants it
  receive_question_sig(99, regs);
  CHECK(g_told == nullptr);
  receivers.signal.ticked.store(&count_tick);
  receive_question_sig(99, regs);
  CHECK(g_told == nullptr);
  receive_tick_sig(event);
  CHECK(g_told == process_sig());
  CHECK(g_expirations == 7);
  g_told = nullptr;
  receivers.signal.ticked.store(nullptr);
  receivers.signal.asked.store(&note_question);
  receive_tick_sig(event);
  CHECK(g_told == nullptr);
  receive_question_sig(99, regs);
  CHECK(g_told == process_sig());
  CHECK(g_token == 99);
  CHECK(g_pc == 1234);
}

TEST_CASE("a question that this thread asks itself arrives by the chosen signal with its token and registers") {
  const free_signals all_free;
  const own_receivers receivers;
  const own_process own;
  REQUIRE(prepare_signal(*own.state, "a test"));
  receivers.signal.asked.store(&note_question);
  g_token = 0;
  g_pc = 0;
  // A signal that a thread sends itself and lets through is delivered before the call returns, see kill(2).
  CHECK(os_ask_thread_sig(os_thread_id_sig(), own.state->signal.number.load(), 0x123456789abcu) == 0);
  CHECK(g_told == process_sig());
  CHECK(g_token == 0x123456789abcu);
  const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  CHECK(os_readable_sig(g_pc));
  CHECK(g_sp < frame);
  CHECK(g_sp > frame - 65536);
}

#endif
