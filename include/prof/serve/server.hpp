// prof/serve/server.hpp - a small HTTP server on loopback: one thread, one poll loop.
// Floor 9 (serve). Started by the public http calls; answers through http_routes.
// Safety: start, stop and running from any thread, not from signal handlers; stop also from a
//         route. Routes run on the server's thread, one at a time. After fork the child has no
//         server: running() is false there, stop() does nothing and start() begins afresh.
// Memory: http_server is about 90 KiB and is meant for pages of os_map_sig; requests and responses
//         are in an arena per connection, released after each response.
// Source: Go's net/http for timeouts; CVE-2019-11248 and its kin for the limits.
#ifndef PROF_SERVE_SERVER_HPP
#define PROF_SERVE_SERVER_HPP

#include "prof/base/memory.hpp"
#include "prof/base/result.hpp"
#include "prof/os/net.hpp"
#include "prof/os/os.hpp"
#include "prof/serve/address.hpp"
#include "prof/serve/http.hpp"

#include <new>
#include <type_traits>

PROF_DETAIL_BEGIN

// Work that goes on after begin() returned: until a deadline, or until nobody wants it any more.
// Exactly one of finish and cancel is called. Either may be null.
struct http_job {
  static constexpr std::size_t state_size = 512;

  std::uint64_t deadline_ns = 0;  // CLOCK_MONOTONIC; 0: answered at once, there is no job
  void (*finish)(void* state, http_response& response) = nullptr;
  void (*cancel)(void* state) = nullptr;  // the client is gone or the server stops
  alignas(16) unsigned char state[state_size];

  // Places the route's own state; finish and cancel get its address.
  template <class T>
  T& keep(const T& value) noexcept {
    static_assert(sizeof(T) <= state_size && alignof(T) <= 16, "T must fit into the job");
    static_assert(std::is_trivially_destructible_v<T>, "nobody destroys the state");
    return *::new (static_cast<void*>(state)) T(value);
  }
};

// What the routes do with a request: answer at once, or begin something that ends at a deadline.
struct http_routes {
  void (*begin)(void* context, const http_request& request, http_response& response,
                http_job& job) = nullptr;
  void* context = nullptr;
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

// Chrome and Firefox open at most 6 connections to one host; pprof one.
inline constexpr std::size_t http_slots = 8;
inline constexpr int http_backlog = 8;

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

  void close() noexcept {
    if (phase_ == phase::waiting && job_.cancel != nullptr) job_.cancel(job_.state);
    if (socket_ >= 0) os_close_socket(socket_);
    forget();
    renew_memory();
  }

  // Leaves everything as it is but the descriptor: in a forked child the parent owns the rest.
  void abandon() noexcept {
    if (socket_ >= 0) os_close_socket(socket_);
    forget();
  }

  // Answers without asking the routes, and closes.
  void refuse(const http_refusal& why) noexcept {
    start_refusal(why);
    advance();
  }

  bool is_open() const noexcept { return socket_ >= 0; }
  // May be closed when another connection needs the slot.
  bool is_spare() const noexcept { return idle_ || phase_ == phase::draining; }
  std::uint64_t deadline() const noexcept { return deadline_; }

  net_wait wait() const noexcept {
    if (phase_ == phase::waiting) return {socket_, net_hangup, 0};
    return {socket_, phase_ == phase::writing ? net_writable : net_readable, 0};
  }

  void on_ready(short happened) noexcept {
    switch (phase_) {
      case phase::reading_head:
      case phase::reading_body:
        return receive();
      case phase::waiting:
        if ((happened & net_gone) != 0) close();
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
      if (job_.finish != nullptr) job_.finish(job_.state, response_);
      respond();
      advance();
    } else if (is_reading() && !idle_) {
      refuse({408, "the request did not arrive in time", {}});
    } else {
      close();
    }
  }

 private:
  enum class phase { closed, reading_head, reading_body, waiting, writing, draining };

  static std::uint64_t after(std::uint64_t ns) noexcept { return os_monotonic_ns_sig() + ns; }

  bool is_reading() const noexcept {
    return phase_ == phase::reading_head || phase_ == phase::reading_body;
  }

  void forget() noexcept {
    socket_ = -1;
    phase_ = phase::closed;
    deadline_ = net_forever;
    idle_ = false;
  }

  // A fresh arena: the next request starts with a small chunk and without the exhausted flag.
  void renew_memory() noexcept {
    memory_.~arena();
    ::new (static_cast<void*>(&memory_)) arena(os_pages);
    response_ = http_response(memory_);
    head_ = arena_vector<char>(memory_);
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
      os_send(socket_, go_on.data, go_on.size, false);
    }
    return {};
  }

  bool take_body() noexcept {
    if (body_used_ < request_.body_size) return false;
    if (body_used_ != 0) request_.body = {body_, body_used_};
    job_.deadline_ns = 0;
    job_.finish = nullptr;
    job_.cancel = nullptr;
    setting_->routes.begin(setting_->routes.context, request_, response_, job_);
    if (job_.deadline_ns == 0) {
      respond();
      return true;
    }
    phase_ = phase::waiting;
    deadline_ = job_.deadline_ns;
    return false;
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
      const bool in_head = sent_ < head;
      const char* const data =
          in_head ? head_.data() + sent_ : response_.body.data() + sent_ - head;
      const std::size_t size = in_head ? head - sent_ : head + body_to_send_ - sent_;
      const long n = os_send(socket_, data, size, in_head && body_to_send_ != 0);
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
    renew_memory();
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
  arena_vector<char> head_{memory_};
  std::size_t body_to_send_ = 0;
  std::size_t sent_ = 0;
  char input_[http_head_limit];
};

// ---- the server --------------------------------------------------------------------------------

class http_server {
 public:
  http_server() noexcept = default;
  // For tests; a server in pages is never destroyed and its thread ends with the process.
  ~http_server() { stop(); }
  http_server(const http_server&) = delete;
  http_server& operator=(const http_server&) = delete;

  // Listens and starts the thread, which blocks every signal but open_signal.
  result start(const address& where, http_routes routes, int open_signal = 0,
               const http_limits& limits = {}) noexcept {
    const hold held(*this);
    if (owner_.load(std::memory_order_relaxed) == os_process_id_sig()) {
      if (!stopping_.load(std::memory_order_acquire)) return result(error::server_running);
      join();  // a route has called stop()
    }
    abandon();
    setting_.routes = routes;
    setting_.rules.unix_socket = where.type == address::kind::path;
    setting_.limits = limits;
    where_ = where;
    const int answer = os_listen(where, http_backlog, listener_);
    if (answer != 0) return listen_error(where, answer);
    where_.port = listener_.port;
    format_address(where_, bound_);
    return launch(open_signal);
  }

  // Cancels the jobs, closes everything, removes the Unix socket and joins the thread. Called by a
  // route it only asks for that, since the route runs on that thread.
  void stop() noexcept {
    if (thread_id_.load(std::memory_order_relaxed) == os_thread_id_sig()) return ask_to_stop();
    const hold held(*this);
    if (owner_.load(std::memory_order_relaxed) != os_process_id_sig()) return;
    ask_to_stop();
    join();
  }

  // Until stop() is called; false in a forked child.
  bool running() const noexcept {
    return owner_.load(std::memory_order_acquire) == os_process_id_sig() &&
           !stopping_.load(std::memory_order_acquire);
  }

  // "127.0.0.1:6060" with the port bound for 0; empty before the first start. Lives until the
  // next start.
  text_view bound_address() const noexcept { return text_view(bound_); }

 private:
  // The lock of start and stop. It remembers the process: one that a fork copied while it was held
  // by a thread the child does not have counts as free.
  class hold {
   public:
    explicit hold(http_server& server) noexcept : server_(server) {
      const std::uint32_t self = os_process_id_sig();
      std::uint32_t seen = server_.holder_.load(std::memory_order_relaxed);
      // Acquire pairs with the release below: the one before has left the members consistent.
      while (seen == self ||
             !server_.holder_.compare_exchange_weak(seen, self, std::memory_order_acquire,
                                                    std::memory_order_relaxed)) {
        if (seen == self) os_sleep_ns(1000000);
        seen = server_.holder_.load(std::memory_order_relaxed);
      }
    }
    ~hold() { server_.holder_.store(0, std::memory_order_release); }
    hold(const hold&) = delete;
    hold& operator=(const hold&) = delete;

   private:
    http_server& server_;
  };

  static result listen_error(const address& where, int answer) noexcept {
    char text[result_text_size] = "";
    char name[address_text_size] = "";
    append_host(where, name);
    if (answer == net_unsupported) return result(error::unsupported, "the HTTP server");
    if (answer == net_in_use && where.type == address::kind::path) {
      return result(error::address_in_use, name, -answer);
    }
    if (answer == net_in_use) {
      append_text(text, sizeof text, "port ");
      char port[address_text_size] = "";
      append_port(where, port);
      append_text(text, sizeof text, port);
      append_text(text, sizeof text, " on ");
      append_text(text, sizeof text, name);
      return result(error::address_in_use, text, -answer);
    }
    format_address(where, name);
    append_text(text, sizeof text, name);
    append_text(text, sizeof text, ": ");
    append_text(text, sizeof text,
                answer == net_not_ours ? "what is there is not a socket of this user"
                                       : os_error_text(-answer));
    return result(error::listen_failed, text, -answer);
  }

  result launch(int open_signal) noexcept {
    event_ = os_make_event();
    stopping_.store(false, std::memory_order_relaxed);
    full_since_ = 0;
    accept_after_ = 0;
    int answer = event_ < 0 ? -event_ : 0;
    if (answer == 0) answer = os_start_thread(&http_server::main, this, open_signal, thread_);
    if (answer == 0) {
      owner_.store(os_process_id_sig(), std::memory_order_release);  // pairs with running()
      return {};
    }
    os_unlisten(where_, listener_);
    abandon();
    char text[result_text_size] = "";
    append_text(text, sizeof text, bound_);
    append_text(text, sizeof text, ": ");
    append_text(text, sizeof text, os_error_text(answer));
    return result(error::listen_failed, text, answer);
  }

  // Drops what a parent process left in this copy, without touching what it shares with it: the
  // descriptors are closed here only, the Unix socket's file stays.
  void abandon() noexcept {
    owner_.store(0, std::memory_order_relaxed);
    thread_id_.store(0, std::memory_order_relaxed);
    for (http_connection& connection : connections_) connection.abandon();
    if (listener_.socket >= 0) os_close_socket(listener_.socket);
    if (event_ >= 0) os_close_socket(event_);
    listener_ = net_listener{};
    event_ = -1;
  }

  void ask_to_stop() noexcept {
    stopping_.store(true, std::memory_order_release);  // pairs with the acquire in run()
    os_raise_event(event_);
  }

  void join() noexcept {
    os_join_thread(thread_);
    abandon();
  }

  // ---- the server's thread ----

  static void* main(void* self) {
    static_cast<http_server*>(self)->run();
    return nullptr;
  }

  void run() noexcept {
    thread_id_.store(os_thread_id_sig(), std::memory_order_relaxed);
    while (!stopping_.load(std::memory_order_acquire)) serve_once();
    for (http_connection& connection : connections_) connection.close();
    os_unlisten(where_, listener_);
    thread_id_.store(0, std::memory_order_relaxed);  // the kernel may give the number away
  }

  void serve_once() noexcept {
    // Only what is open: ppoll refuses more entries than RLIMIT_NOFILE.
    net_wait waits[2 + http_slots + 1];
    http_connection* owners[2 + http_slots + 1];
    const bool accepting = may_accept();
    waits[0] = {event_, net_readable, 0};
    waits[1] = {accepting ? listener_.socket : -1, net_readable, 0};
    std::size_t count = 2;
    for (http_connection& connection : connections_) {
      if (!connection.is_open()) continue;
      owners[count] = &connection;
      waits[count++] = connection.wait();
    }
    if (os_wait(waits, count, time_left(accepting)) < 0) {
      os_sleep_ns(setting_.limits.full_ns);  // ENOMEM: do not spin
    }
    for (std::size_t i = 2; i < count; ++i) {
      if (waits[i].happened != 0) owners[i]->on_ready(waits[i].happened);
    }
    end_deadlines();
    if (waits[1].happened != 0) accept_some();
  }

  void end_deadlines() noexcept {
    const std::uint64_t now = os_monotonic_ns_sig();
    for (http_connection& connection : connections_) {
      if (connection.deadline() <= now) connection.on_deadline();
    }
  }

  std::uint64_t time_left(bool accepting) const noexcept {
    std::uint64_t first = net_forever;
    for (const http_connection& connection : connections_) {
      if (connection.deadline() < first) first = connection.deadline();
    }
    if (!accepting) {
      const std::uint64_t full_end = full_since_ == 0 ? 0 : full_since_ + setting_.limits.full_ns;
      const std::uint64_t again = full_end > accept_after_ ? full_end : accept_after_;
      if (again < first) first = again;
    }
    if (first == net_forever) return net_forever;
    const std::uint64_t now = os_monotonic_ns_sig();
    return first > now ? first - now : 0;
  }

  // A slot that is free or can be made free; null when all are at work.
  http_connection* find_slot() noexcept {
    http_connection* found = nullptr;
    for (std::size_t i = 0; i < http_slots; ++i) {
      http_connection& slot = connections_[i];
      if (!slot.is_open()) return &slot;
      const bool sooner = found == nullptr || slot.deadline() < found->deadline();
      if (slot.is_spare() && sooner) found = &slot;
    }
    return found;
  }

  // While all slots are at work the backlog keeps new connections for a moment; after that they
  // are answered 503 at once until a slot is free again.
  bool may_accept() noexcept {
    const std::uint64_t now = os_monotonic_ns_sig();
    if (now < accept_after_) return false;
    if (find_slot() != nullptr) {
      full_since_ = 0;
      return true;
    }
    if (full_since_ == 0) full_since_ = now;
    return now - full_since_ >= setting_.limits.full_ns;
  }

  void accept_some() noexcept {
    for (int i = 0; i < http_backlog && may_accept(); ++i) {
      const int socket = os_accept(listener_.socket);
      if (socket == net_again) return;
      if (socket < 0) {
        accept_after_ = os_monotonic_ns_sig() + setting_.limits.full_ns;
        return;
      }
      place(socket);
    }
  }

  void place(int socket) noexcept {
    http_connection* const slot = find_slot();
    http_connection& chosen = slot != nullptr ? *slot : connections_[http_slots];
    chosen.close();
    chosen.open(socket, setting_);
    if (slot == nullptr) chosen.refuse({503, "too many connections; try again later", {}});
  }

  std::atomic<std::uint32_t> holder_{0};     // the process that is inside start or stop
  std::atomic<std::uint32_t> owner_{0};      // the process whose thread serves; 0: none
  std::atomic<std::uint32_t> thread_id_{0};  // of that thread, once it runs
  std::atomic<bool> stopping_{false};
  int event_ = -1;  // wakes the loop for stop
  os_thread_handle thread_{};
  net_listener listener_;
  address where_;
  http_setting setting_;
  std::uint64_t full_since_ = 0;
  std::uint64_t accept_after_ = 0;
  char bound_[address_text_size] = "";
  http_connection connections_[http_slots + 1];  // the last one only says 503
};

PROF_DETAIL_END

#endif  // PROF_SERVE_SERVER_HPP
