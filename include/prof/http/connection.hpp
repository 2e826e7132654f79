// prof/http/connection.hpp - one HTTP connection: reads a request, has the routes answer it, writes.
// Floor 12 (http). Driven by server.hpp's loop, but for the steps of jobs, which a worker runs (workers.hpp).
// Safety: the loop's thread. Nothing of it blocks: it goes as far as the socket allows. work() is for any thread; while it
//         runs the loop does not touch the request, the response or their memory, and the worker nothing else.
// Memory: 8 KiB for a request's head; the rest in an arena per connection, of which the first chunk of 64 KiB stays from one
//         response to the next.
// Source: RFC 9112 (HTTP/1.1); Go's net/http for timeouts; CVE-2019-11248 and its kin for the limits.
#ifndef PROF_HTTP_CONNECTION_HPP
#define PROF_HTTP_CONNECTION_HPP

#include "prof/base/memory.hpp"
#include "prof/os/net.hpp"
#include "prof/os/os.hpp"
#include "prof/http/http.hpp"
#include "prof/http/http_response.hpp"

#include <new>
#include <type_traits>

PROF_DETAIL_BEGIN

// Work that goes on after begin() returned: steps, each at a deadline. What a step leaves without a deadline is the answer.
// Either a last step runs or cancel, which may be null.
struct http_job {
  static constexpr std::size_t state_size = 512;
  static constexpr std::uint64_t at_once = 1;

  std::uint64_t deadline_ns = 0;  // CLOCK_MONOTONIC; 0: it is answered, there is no job
  void (*step)(void* state, http_response& response, http_job& next) = nullptr;
  void (*cancel)(void* state) = nullptr;  // the client is gone or the server stops
  alignas(16) unsigned char state[state_size];

  // Places the route's own state; step and cancel get its address.
  template <class T>
  T& keep(const T& value) noexcept {
    static_assert(sizeof(T) <= state_size && alignof(T) <= 16, "T must fit into the job");
    static_assert(std::is_trivially_destructible_v<T>, "nobody destroys the state");
    return *::new (static_cast<void*>(state)) T(value);
  }
};

// What the routes do with a request: answer at once, or begin something that takes time. begin, cancel and meanwhile run on the
// server's loop, which waits for them; steps on workers, those of several connections at a time. The request stays until the
// answer is there.
struct http_routes {
  void (*begin)(void* context, const http_request& request, http_response& response,
                http_job& job) = nullptr;
  void* context = nullptr;
  // Called at every turn of the server's loop while jobs go on, once a second at least; null: there is nothing to do.
  void (*meanwhile)(void* context) = nullptr;
  // What the loop does between these two may start a thread, which is not the program's. Both or neither is null.
  void (*own_begins)(void* context) = nullptr;
  void (*own_ends)(void* context, std::size_t new_threads) = nullptr;  // as many more than there have ever been
};

// How long what may take.
struct http_limits {
  static constexpr std::uint64_t second = 1000000000;
  std::uint64_t read_ns = 5 * second;    // a whole request; a slow one must not keep a slot
  std::uint64_t idle_ns = 30 * second;   // between the requests of one connection
  std::uint64_t write_ns = 30 * second;  // a whole response, without the job before it
  // After "Connection: close", until the client closes too. A close with unread input sends RST,
  // which may overtake the response (RFC 9112 9.6).
  std::uint64_t linger_ns = 1 * second;
  // How long the backlog waits for a slot before its first is answered 503; also the pause after
  // a failed accept (no descriptors left).
  std::uint64_t full_ns = second / 10;
};

struct http_setting {
  http_routes routes;
  http_rules rules;
  http_limits limits;
};

// ---- one connection ----------------------------------------------------------------------------

// Reads a request, lets the routes answer it, writes the response; then the next one. Driven by
// the loop: on_ready when poll reports something, on_deadline when deadline() has passed.
class http_connection {
 public:
  void open(int socket, const http_setting& setting) noexcept {
    socket_ = socket;
    setting_ = &setting;
    used_ = 0;
    begin_request();
    deadline_ = after(setting.limits.read_ns);
    idle_ = false;
  }

  // Not while a worker has it. What one has left for later is canceled like what waits.
  void close() noexcept {
    if (has_worked() && job_.deadline_ns != 0) phase_ = phase::waiting;
    if (has_job() && job_.cancel != nullptr) job_.cancel(job_.state);
    close_socket();
    release_memory();
  }

  // Leaves everything as it is but the descriptor: in a forked child the parent owns the rest. What a worker of the parent was in
  // the middle of is left as it is, too: nobody can tell what state it is in.
  void abandon() noexcept {
    if (phase_ == phase::working) make_memory();
    close_socket();
  }

  // Answers without asking the routes, and closes.
  void refuse(const http_refusal& why) noexcept {
    start_refusal(why);
    advance();
  }

  bool is_open() const noexcept { return socket_ >= 0; }
  // The routes have begun something that has not ended.
  bool has_job() const noexcept { return phase_ == phase::waiting || phase_ == phase::due; }
  // There is something for a worker to do; work() does it.
  bool is_due() const noexcept { return phase_ == phase::due; }
  // May be closed when another connection needs the slot.
  bool is_spare() const noexcept { return idle_ || phase_ == phase::draining; }
  std::uint64_t deadline() const noexcept { return deadline_; }

  net_wait wait() const noexcept {
    if (phase_ == phase::waiting) return {socket_, net_hangup, 0};
    // A client that has said all it will say is answered all the same; one that is gone altogether shows unasked.
    if (phase_ == phase::due || phase_ == phase::working) return {is_gone_ ? -1 : socket_, 0, 0};
    return {socket_, phase_ == phase::writing ? net_writable : net_readable, 0};
  }

  void on_ready(short happened) noexcept {
    switch (phase_) {
      case phase::reading_head:
      case phase::reading_body:
        return receive();
      case phase::waiting:
      case phase::due:
        if ((happened & net_gone) != 0) close();
        return;
      case phase::working:
        is_gone_ = (happened & net_gone) != 0;
        return;
      case phase::writing:
        return advance();
      case phase::draining:
        return discard();
      case phase::closed:
        return;
    }
  }

  void on_deadline() noexcept {
    if (phase_ == phase::waiting) {
      become_due();
    } else if (is_reading() && !idle_) {
      refuse({408, "the request did not arrive in time", {}});
    } else {
      close();
    }
  }

  // ---- what a worker does ----

  // The loop gives what is due to a worker, which calls work and then set_worked, and says so here; then it calls take_back.
  void set_working() noexcept { phase_ = phase::working; }
  void work() noexcept {
    job_.deadline_ns = 0;
    job_.step(job_.state, response_, job_);
  }
  void set_worked() noexcept { has_worked_.store(true, std::memory_order_release); }  // pairs with has_worked

  bool has_worked() const noexcept { return phase_ == phase::working && has_worked_.load(std::memory_order_acquire); }
  void take_back() noexcept {
    if (is_gone_) return close();
    if (job_.deadline_ns != 0) return wait_for_job();
    respond();
    advance();
  }

 private:
  // waiting: for the deadline of the job's next step. due: for a worker. working: a worker has it.
  enum class phase { closed, reading_head, reading_body, waiting, due, working, writing, draining };

  static std::uint64_t after(std::uint64_t ns) noexcept { return os_monotonic_ns_sig() + ns; }

  bool is_reading() const noexcept {
    return phase_ == phase::reading_head || phase_ == phase::reading_body;
  }

  // Forgets the number first: a fork in between must not find one that is the host's by then.
  void close_socket() noexcept {
    const int socket = socket_;
    forget();
    if (socket >= 0) os_close_socket(socket);
  }

  void forget() noexcept {
    socket_ = -1;
    phase_ = phase::closed;
    deadline_ = net_forever;
    idle_ = false;
  }

  // For the next request, which often needs no more than the first chunk.
  void renew_memory() noexcept {
    memory_.reuse();
    make_texts();
  }
  void release_memory() noexcept {
    memory_.~arena();
    make_memory();
  }
  void make_memory() noexcept {
    ::new (static_cast<void*>(&memory_)) arena(os_pages);
    make_texts();
  }
  void make_texts() noexcept {
    ::new (static_cast<void*>(&response_)) http_response(memory_);
    ::new (static_cast<void*>(&head_)) arena_vector<char>(memory_);
  }

  void begin_request() noexcept {
    renew_memory();
    request_ = http_request{};
    searched_ = 0;
    consumed_ = 0;
    idle_ = used_ == 0;
    deadline_ = after(idle_ ? setting_->limits.idle_ns : setting_->limits.read_ns);
    phase_ = phase::reading_head;
  }

  // ---- reading ----

  void receive() noexcept {
    const bool in_body = phase_ == phase::reading_body;
    std::size_t& used = in_body ? body_used_ : used_;
    char* const to = in_body ? body_ : input_;
    const std::size_t size = in_body ? request_.body_size : sizeof input_;
    const long n = os_receive(socket_, to + used, size - used);
    if (n == net_again) return;
    if (n <= 0) return close();
    used += static_cast<std::size_t>(n);
    if (idle_) deadline_ = after(setting_->limits.read_ns);
    idle_ = false;
    advance();
  }

  // Goes on as far as it can without waiting. A loop, because one input may hold many requests.
  void advance() noexcept {
    bool moved = true;
    while (moved) {
      switch (phase_) {
        case phase::reading_head:
          moved = take_head();
          break;
        case phase::reading_body:
          moved = take_body();
          break;
        case phase::writing:
          moved = write();
          break;
        default:
          moved = false;
      }
    }
  }

  bool take_head() noexcept {
    skip_empty_lines();
    const std::size_t size = http_head_end({input_, used_}, searched_);
    searched_ = used_;
    if (size == 0 && used_ < sizeof input_) return false;
    consumed_ = size;
    http_refusal why{431, "the request head is larger than 8 KiB", {}};
    if (size != 0) why = http_parse_head({input_, size}, memory_, request_);
    if (why.status == 0) why = http_check(request_, setting_->rules);
    if (why.status == 0) why = begin_body();
    if (why.status != 0) start_refusal(why);
    return true;
  }

  // RFC 9112 2.2: some clients end a body with an extra CRLF.
  void skip_empty_lines() noexcept {
    std::size_t n = 0;
    while (n < used_ && (input_[n] == '\r' || input_[n] == '\n')) ++n;
    drop_input(n);
  }
  void drop_input(std::size_t n) noexcept {
    used_ -= n;
    if (n != 0) std::memmove(input_, input_ + n, used_);
  }

  http_refusal begin_body() noexcept {
    phase_ = phase::reading_body;
    body_used_ = 0;
    if (request_.body_size == 0) return {};
    body_ = static_cast<char*>(memory_.allocate(request_.body_size));
    if (body_ == nullptr) return {503, "no memory for the body", {}};
    const std::size_t here = used_ - consumed_;
    body_used_ = here < request_.body_size ? here : request_.body_size;
    std::memcpy(body_, input_ + consumed_, body_used_);
    consumed_ += body_used_;
    const bool asks = request_.is_http_1_1 && list_holds(request_.header("expect"), "100-continue");
    if (asks && body_used_ < request_.body_size) {  // curl waits a second for it
      const text_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
      os_send(socket_, go_on, {});
    }
    return {};
  }

  bool take_body() noexcept {
    if (body_used_ < request_.body_size) return false;
    if (body_used_ != 0) request_.body = {body_, body_used_};
    job_.deadline_ns = 0;
    job_.step = nullptr;
    job_.cancel = nullptr;
    setting_->routes.begin(setting_->routes.context, request_, response_, job_);
    if (job_.deadline_ns == 0) {
      respond();
      return true;
    }
    is_gone_ = false;
    wait_for_job();
    return false;
  }

  void wait_for_job() noexcept {
    phase_ = phase::waiting;
    deadline_ = job_.deadline_ns;
  }
  void become_due() noexcept {
    phase_ = phase::due;
    deadline_ = net_forever;
    has_worked_.store(false, std::memory_order_relaxed);  // whoever hands it over orders it
  }

  // ---- answering ----

  void start_refusal(const http_refusal& why) noexcept {
    request_.keep_alive = false;  // what follows in the input cannot be trusted
    response_.fail(why.status, why.text);
    response_.allow = why.allow;
    respond();
  }

  void respond() noexcept {
    if (memory_.exhausted()) {
      renew_memory();
      request_.keep_alive = false;
      response_.fail(500, "no memory for the response");
    }
    http_write_head(response_, request_.keep_alive, head_);
    body_to_send_ = request_.method.equals("HEAD") ? 0 : response_.body.size();
    sent_ = 0;
    idle_ = false;
    phase_ = phase::writing;
    deadline_ = after(setting_->limits.write_ns);
    if (memory_.exhausted()) close();
  }

  bool write() noexcept {
    const std::size_t head = head_.size();
    while (sent_ < head + body_to_send_) {
      const std::size_t of_head = sent_ < head ? sent_ : head;
      const std::size_t of_body = sent_ - of_head;
      const long n = os_send(socket_, {head_.data() + of_head, head - of_head},
                             {response_.body.data() + of_body, body_to_send_ - of_body});
      if (n == net_again) return false;
      if (n <= 0) {
        close();
        return false;
      }
      sent_ += static_cast<std::size_t>(n);
    }
    return end_response();
  }

  bool end_response() noexcept {
    if (request_.keep_alive) {
      drop_input(consumed_);
      begin_request();
      return used_ != 0;
    }
    os_shutdown_write(socket_);
    release_memory();
    phase_ = phase::draining;
    deadline_ = after(setting_->limits.linger_ns);
    return false;
  }

  void discard() noexcept {
    const long n = os_receive(socket_, input_, sizeof input_);
    if (n <= 0 && n != net_again) close();
  }

  const http_setting* setting_ = nullptr;
  int socket_ = -1;
  phase phase_ = phase::closed;
  bool idle_ = false;  // kept alive, and nothing of the next request is here
  std::uint64_t deadline_ = net_forever;

  std::size_t used_ = 0;      // bytes in input_
  std::size_t searched_ = 0;  // bytes in which the end of the head is not
  std::size_t consumed_ = 0;  // bytes of input_ that belong to the current request
  char* body_ = nullptr;
  std::size_t body_used_ = 0;

  arena memory_{os_pages};
  http_request request_;
  http_response response_{memory_};
  http_job job_;
  bool is_gone_ = false;   // the client, while a worker has the connection
  std::atomic<bool> has_worked_{false};
  arena_vector<char> head_{memory_};
  std::size_t body_to_send_ = 0;
  std::size_t sent_ = 0;
  char input_[http_head_limit];
};

PROF_DETAIL_END

#endif  // PROF_HTTP_CONNECTION_HPP
