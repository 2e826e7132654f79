// prof/http/server.hpp - a small HTTP server on loopback: one poll loop in a thread, and workers for what takes time.
// Floor 12 (http). Started by the public http calls; answers through http_routes.
// Safety: start, stop and running from any thread, not from signal handlers; stop also from a
//         route. Routes begin on the loop; what takes time runs on workers, several at a time. After fork the child has no
//         server: running() is false there, stop() does nothing and start() begins afresh.
// Memory: http_server is about 90 KiB and is meant for pages of os_map_sig; requests and responses
//         are in an arena per connection, of which 64 KiB stay while that is open.
// Source: Go's net/http for timeouts; CVE-2019-11248 and its kin for the limits.
#ifndef PROF_HTTP_SERVER_HPP
#define PROF_HTTP_SERVER_HPP

#include "prof/base/result.hpp"
#include "prof/os/net.hpp"
#include "prof/os/os.hpp"
#include "prof/http/address.hpp"
#include "prof/http/connection.hpp"
#include "prof/http/workers.hpp"

PROF_DETAIL_BEGIN

// Chrome and Firefox open at most 6 connections to one host; pprof one.
inline constexpr std::size_t http_slots = 8;
inline constexpr int http_backlog = 8;
static_assert(http_max_workers == http_slots, "no connection waits for a worker");

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
      // A route that has called stop() runs on a thread that would be waited for.
      if (!stopping_.load(std::memory_order_acquire) || is_own_thread()) return result(error::server_running);
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
    bound_ = format_address(where_);
    return launch(open_signal);
  }

  // Cancels the jobs, waits for what workers do at the moment, closes everything, removes the Unix socket and joins the
  // threads. Called by a route it only asks for that, since the route runs on one of them.
  void stop() noexcept {
    if (is_own_thread()) return ask_to_stop();
    const hold held(*this);
    if (owner_.load(std::memory_order_relaxed) != os_process_id_sig()) return;
    ask_to_stop();
    join();
  }

  // In a forked child: closes its copies of the sockets, or the port would stay taken when the
  // parent is gone, and clients would wait for a server that is not there.
  void forget_parent() noexcept {
    if (owner_.load(std::memory_order_relaxed) != os_process_id_sig()) abandon();
  }

  // Until stop() is called; false in a forked child.
  bool running() const noexcept {
    return owner_.load(std::memory_order_acquire) == os_process_id_sig() &&
           !stopping_.load(std::memory_order_acquire);
  }

  // "127.0.0.1:6060" with the port bound for 0; empty before the first start. Lives until the
  // next start.
  const char* bound_address() const noexcept { return bound_.c_str(); }

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
    address_text host;
    put_host(where, host);
    if (answer == net_unsupported) return result(error::unsupported, "the HTTP server");
    if (answer == net_in_use && where.type == address::kind::path) {
      return result(error::address_in_use, host.c_str(), -answer);
    }
    bounded_text<result_text_size> text;
    if (answer == net_in_use) {
      text.put("port ").decimal(where.port).put(" on ").put(host.view());
      return result(error::address_in_use, text.c_str(), -answer);
    }
    text.put(format_address(where).view()).put(": ");
    text.put(answer == net_not_ours ? "what is there is not a socket of this user" : os_error_text(-answer));
    return result(error::listen_failed, text.c_str(), -answer);
  }

  // Routes begin on the loop's thread, and their steps run on a worker's.
  bool is_own_thread() const noexcept {
    return thread_id_.load(std::memory_order_relaxed) == os_thread_id_sig() || workers_.has_this_thread();
  }

  result launch(int open_signal) noexcept {
    event_ = os_make_event();
    workers_.begin(event_, open_signal);
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
    bounded_text<result_text_size> text;
    text.put(bound_.view()).put(": ").put(os_error_text(answer));
    return result(error::listen_failed, text.c_str(), answer);
  }

  // Drops what a parent process left in this copy, without touching what it shares with it: the
  // descriptors are closed here only, the Unix socket's file stays.
  void abandon() noexcept {
    owner_.store(0, std::memory_order_relaxed);
    thread_id_.store(0, std::memory_order_relaxed);
    for (http_connection& connection : connections_) connection.abandon();
    workers_.forget();
    const int listening = listener_.socket;
    const int event = event_;
    listener_ = net_listener{};  // before they are closed: see http_connection::close_socket
    event_ = -1;
    if (listening >= 0) os_close_socket(listening);
    if (event >= 0) os_close_socket(event);
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
    workers_.end();
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
    if (waits[0].happened != 0) os_clear_event(event_);
    for (std::size_t i = 2; i < count; ++i) {
      if (waits[i].happened != 0) owners[i]->on_ready(waits[i].happened);
    }
    take_back();
    end_deadlines();
    hand_over();
    if (has_jobs() && setting_.routes.meanwhile != nullptr) setting_.routes.meanwhile(setting_.routes.context);
    if (waits[1].happened != 0) accept_some();
  }

  void end_deadlines() noexcept {
    const std::uint64_t now = os_monotonic_ns_sig();
    for (http_connection& connection : connections_) {
      if (connection.deadline() <= now) connection.on_deadline();
    }
  }

  // Behind the event: what a worker says after it raises the event again.
  void take_back() noexcept {
    for (http_connection& connection : connections_) {
      if (connection.has_worked()) connection.take_back();
    }
  }

  void hand_over() noexcept {
    for (http_connection& connection : connections_) {
      if (connection.is_due() && hand_over(connection)) connection.set_working();
    }
  }

  bool hand_over(http_connection& connection) noexcept {
    const http_routes& routes = setting_.routes;
    if (routes.own_begins != nullptr) routes.own_begins(routes.context);
    const bool is_taken = workers_.hand_over(work_of(connection));
    const std::size_t now = workers_.count();
    const std::size_t fresh = now > most_workers_ ? now - most_workers_ : 0;
    most_workers_ += fresh;
    if (routes.own_ends != nullptr) routes.own_ends(routes.context, fresh);
    return is_taken;
  }

  static http_work work_of(http_connection& connection) noexcept {
    return {[](void* of) { static_cast<http_connection*>(of)->work(); },
            [](void* of) { static_cast<http_connection*>(of)->set_worked(); }, &connection};
  }

  bool has_jobs() const noexcept {
    for (const http_connection& connection : connections_) {
      if (connection.is_open() && connection.has_job()) return true;
    }
    return false;
  }

  std::uint64_t time_left(bool accepting) const noexcept {
    std::uint64_t first = net_forever;
    if (setting_.routes.meanwhile != nullptr && has_jobs()) first = os_monotonic_ns_sig() + http_limits::second;
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
  address_text bound_;
  http_connection connections_[http_slots + 1];  // the last one only says 503
  http_workers workers_;
  std::size_t most_workers_ = 0;  // that there have been at a time
};

PROF_DETAIL_END

#endif  // PROF_HTTP_SERVER_HPP
