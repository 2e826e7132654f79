// prof/symbol/mangled_name.hpp - the grammar of C++ linker names: from characters to a tree of nodes (name_node.hpp).
// Floor 9 (symbol). Used by readable_name.hpp, which prints the tree, and by demangle.hpp.
// Safety: ordinary context; thread-compatible. Names are hostile: what a name stands for may be of any size, so
//         steps, nodes and characters are counted. No recursion: what is to be read next is on a stack in the arena.
// Memory: arrays in the arena, a copy of the name among them, that are used again for the next name and given back
//         with the parser.
// Source: Itanium C++ ABI 5.1 ("External Names"), what g++ 12 and clang 14 to 19 write beyond it; productions
//         have the names they have there. Where readers differ, libiberty's (GCC 12) is followed.
#ifndef PROF_SYMBOL_MANGLED_NAME_HPP
#define PROF_SYMBOL_MANGLED_NAME_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"
#include "prof/symbol/name_node.hpp"

PROF_DETAIL_BEGIN

// Reads one name at a time. Tasks that wait are on a stack: a production pushes those of its parts, the last
// one first. Each part leaves one node on a stack of values, from which the task behind it takes it.
class mangled_name {
 public:
  static constexpr std::uint32_t max_nodes = 0x10000;
  static constexpr std::size_t max_characters = std::size_t{128} * 1024;
  // Reading and printing together; a step takes some nanoseconds.
  static constexpr std::uint32_t max_steps = 160 * 1024;

  explicit mangled_name(arena& memory) noexcept
      : nodes_(memory), values_(memory), substitutions_(memory), tasks_(memory), copy_(memory) {
    reserve();
  }
  PROF_DETAIL_COLD ~mangled_name() {
    copy_.release();
    nodes_.release();
    values_.release();
    substitutions_.release();
    tasks_.release();
  }
  mangled_name(const mangled_name&) = delete;
  mangled_name& operator=(const mangled_name&) = delete;

  // Reads the name that a text begins with; false when that is none, or a larger one than is read. What follows
  // it begins at end().
  PROF_DETAIL_NOINLINE bool parse(text_view text) noexcept {
    nodes_.clear();
    values_.clear();
    substitutions_.clear();
    tasks_.clear();
    copy_.clear();
    steps_ = 0;
    conversion_ = false;
    failed_ = !reserve() || !copy(text);
    leaf(name_kind::none, 0);
    if (!failed_) begin();
    while (!failed_ && !tasks_.empty()) run_next();
    return !failed_ && values_.size() == 1;
  }

  std::size_t end() const noexcept { return position(); }
  std::uint32_t root() const noexcept { return values_[0]; }
  // A copy, up to the next parse.
  text_view text() const noexcept { return {copy_.data(), copy_.size()}; }
  const name_node& node(std::uint32_t index) const noexcept { return nodes_[index]; }
  name_node& node(std::uint32_t index) noexcept { return nodes_[index]; }
  bool is_conversion(std::uint32_t name) noexcept { return nodes_[unscoped(name)].kind == name_kind::conversion; }
  std::uint32_t steps() const noexcept { return steps_; }
  // Counts a step; false when the name has had all that it may take.
  bool spend() noexcept { return ++steps_ <= max_steps; }

 private:
  // Enough for most names, and so large that the arena finds it again when it is given back: the largest first.
  PROF_DETAIL_COLD bool reserve() noexcept {
    return nodes_.room(1024) != nullptr && tasks_.room(1024) != nullptr && values_.room(1024) != nullptr &&
           substitutions_.room(1024) != nullptr && copy_.room(4096) != nullptr;
  }
  // Behind the copy are zeros, so that nobody who looks ahead asks where the end is. One that fails may be a
  // character behind it.
  PROF_DETAIL_COLD bool copy(text_view text) noexcept {
    char* const place = text.size <= max_characters ? copy_.room(text.size + zeros) : nullptr;
    if (place == nullptr) return false;
    std::memcpy(place, text.data, text.size);
    std::memset(place + text.size, 0, zeros);
    copy_.take(text.size);
    at_ = place;
    return true;
  }
  static constexpr std::size_t zeros = 8;
  std::size_t position() const noexcept { return static_cast<std::size_t>(at_ - copy_.data()); }
  text_view rest() const noexcept { return position() < copy_.size() ? text().from(position()) : text_view(); }

  enum step : std::uint8_t {
    // names
    do_encoding,
    do_encoding_rest,
    do_make_encoding,
    do_make_special,
    do_offset,
    do_call_offset,
    do_module,
    do_make_block,
    do_name,
    do_unscoped_rest,
    do_local_entity,
    do_make_local,
    do_nested,
    do_join,
    do_abi_tags,
    do_make_conversion,
    do_inheriting,
    do_lambda_head,
    do_make_lambda,
    // types and lists
    do_type,
    do_template_args,
    do_template_args_if,
    do_argument,
    do_declaration,
    do_list,
    do_make_pack,
    do_add_substitution,
    do_make_unary,
    do_make_binary,
    do_make_type,
    do_qualifiers,
    do_exception_rest,
    do_make_function,
    do_array_rest,
    do_make_vendor_qualified,
    // expressions and what all need
    do_expression,
    do_source_name,
    do_make_expression,
    do_make_requires,
    do_literal_rest,
    do_unresolved_rest,
    do_level,
    do_member_name,
    do_operator,
    do_initializer,
    do_cast_operand,
    do_requirement,
    do_requirement_rest,
    do_discard,
    do_expect,
  };
  struct task {
    step what;
    std::uint8_t kind;
    std::uint16_t extra;
    std::uint32_t value;
  };
  // What a list is made of.
  enum item : std::uint8_t {
    types,
    arguments,
    template_arguments,  // make one with the name before
    type_arguments,      // that one is a type
    expressions,
    declarations,
    requirements,
  };
  static constexpr std::uint32_t from_here = ~std::uint32_t{0};

  // ---- tasks -----------------------------------------------------------------------------------

  PROF_DETAIL_COLD void todo(step what) noexcept { todo(what, 0); }
  PROF_DETAIL_NOINLINE void todo(step what, std::uint32_t value, std::uint8_t kind = 0,
                                 std::uint16_t extra = 0) noexcept {
    if (PROF_DETAIL_UNLIKELY(tasks_.full())) return todo_in_more(what, value, kind, extra);
    tasks_.data()[tasks_.size()] = {what, kind, extra, value};
    tasks_.take(1);
  }
  PROF_DETAIL_COLD void todo_in_more(step what, std::uint32_t value, std::uint8_t kind, std::uint16_t extra) noexcept {
    if (more(tasks_)) todo(what, value, kind, extra);
  }
  // These are called at the end, so that who needs no room saves no registers for them.
  template <class T>
  bool more(arena_vector<T>& full) noexcept {
    if (full.size() < max_nodes && full.room(1) != nullptr) return true;
    fail();
    return false;
  }
  PROF_DETAIL_COLD void todo_make(int operands, name_kind kind, std::uint16_t extra = 0) noexcept {
    todo(operands == 1 ? do_make_unary : do_make_binary, 0, static_cast<std::uint8_t>(kind), extra);
  }
  PROF_DETAIL_COLD void todo_discarded(step what) noexcept {
    todo(do_discard);
    todo(what);
  }
  // What is to be read, in the order of reading, by letters.
  PROF_DETAIL_COLD void todo_all(const char* parts) noexcept {
    for (std::size_t i = std::strlen(parts); i-- > 0;) todo_part(parts[i]);
  }
  PROF_DETAIL_COLD void todo_part(char part) noexcept {
    switch (part) {
      case 'T': return todo(do_type);
      case 'X': return todo(do_expression);
      case 'N': return todo(do_name);
      case 'E': return todo(do_encoding);
      case 'A': return todo(do_argument);
      case 'O': return todo(do_operator);
      case 'M': return todo(do_member_name);
      case 'S': return todo(do_source_name);
      case 'a': return todo_list(arguments);
      case 'x': return todo_list(expressions);
      case 'p': return todo_list(expressions, '_');
      case 'i': return todo(do_initializer);
      case 'o': return todo(do_offset);
      case 'c': return todo(do_call_offset);
      case 'm': return todo(do_module);
      default: return todo(do_expect, 'E');
    }
  }
  // A list up to a character, of the values from here on or from where its turn comes. '\0': up to where a
  // function's parameters end.
  void todo_list(item what, char last, std::uint32_t first) noexcept {
    todo(do_list, first, what, static_cast<std::uint16_t>(last));
  }
  PROF_DETAIL_NOINLINE void todo_list(item what, char last = 'E') noexcept { todo_list(what, last, from_here); }
  // Whoever is called may push tasks to where t is: it has what it needs of t. No copy: one of what has just been
  // written in parts makes a processor wait.
  void run_next() noexcept {
    const task& t = tasks_[tasks_.size() - 1];
    tasks_.drop(1);
    if (PROF_DETAIL_UNLIKELY(!spend())) return fail();
    switch (t.what) {
      case do_encoding: return encoding();
      case do_encoding_rest: return encoding_rest();
      case do_make_encoding: return make_encoding();
      case do_make_special: return make_special(t.extra);
      case do_offset: return skip_offset();
      case do_call_offset: return call_offset();
      case do_module: return push(module_name(0));
      case do_make_block: return make_block();
      case do_name: return name();
      case do_unscoped_rest: return unscoped_rest(t.value != 0);
      case do_local_entity: return local_entity();
      case do_make_local: return make_local(t.value);
      case do_nested: return nested(t.extra);
      case do_join: return join();
      case do_abi_tags: return abi_tags(t.value);
      case do_make_conversion: return make_conversion(t.kind != 0);
      case do_inheriting: return make_special_member(name_kind::constructor);
      case do_lambda_head: return lambda_head();
      case do_make_lambda: return make_lambda();
      case do_type: return type();
      case do_template_args: return template_args();
      case do_template_args_if: return peek() == 'I' ? template_args() : void();
      case do_argument: return template_arg();
      case do_declaration: return template_param_decl();
      case do_list: return list(static_cast<item>(t.kind), static_cast<char>(t.extra), t.value);
      case do_make_pack: return make_pack();
      case do_add_substitution: return add_substitution();
      case do_make_unary: return make(1, static_cast<name_kind>(t.kind), t.extra);
      case do_make_binary: return make(2, static_cast<name_kind>(t.kind), t.extra);
      case do_make_type: make(1, static_cast<name_kind>(t.kind), t.extra); return add_substitution();
      case do_qualifiers: return qualifiers(t.extra);
      case do_exception_rest: return exception_rest(t.extra, t.kind != 0);
      case do_make_function: return make_function(t.extra, t.kind != 0);
      case do_array_rest: return array_rest(static_cast<name_kind>(t.kind));
      case do_make_vendor_qualified: return make_vendor_qualified();
      case do_expression: return expression();
      case do_source_name: return push(source_name());
      case do_make_expression: return make_expression(t.extra, t.value);
      case do_make_requires: return make_requires();
      case do_literal_rest: return literal_rest();
      case do_unresolved_rest: return unresolved_rest();
      case do_level: return level();
      case do_member_name: return member_name();
      case do_operator: return push_leaf(name_kind::operator_name, find_operator());
      case do_initializer: return initializer();
      case do_cast_operand: return cast_operand();
      case do_requirement: return requirement();
      case do_requirement_rest: return requirement_rest();
      case do_discard: static_cast<void>(pop()); return;
      case do_expect: return demand(static_cast<char>(t.value));
    }
  }

  // ---- characters ------------------------------------------------------------------------------

  void fail() noexcept { failed_ = true; }
  char peek(std::size_t ahead = 0) const noexcept { return at_[ahead]; }
  PROF_DETAIL_NOINLINE bool is_at(char a, char b) const noexcept { return at_[0] == a && at_[1] == b; }
  bool take(char c) noexcept {
    const bool found = *at_ == c;
    at_ += found ? 1 : 0;
    return found;
  }
  PROF_DETAIL_NOINLINE bool take(char a, char b) noexcept {
    const bool found = is_at(a, b);
    at_ += found ? 2 : 0;
    return found;
  }
  PROF_DETAIL_NOINLINE void demand(char c) noexcept {
    if (!take(c)) fail();
  }
  static bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
  static bool is_one_of(char c, text_view letters) noexcept {
    for (std::size_t i = 0; i < letters.size; ++i) {
      if (letters.data[i] == c) return true;
    }
    return false;
  }

  // Digits as a number; without digits 0.
  PROF_DETAIL_NOINLINE std::uint32_t number() noexcept {
    constexpr std::uint32_t too_large = 100 * 1000 * 1000;
    std::uint32_t value = 0;
    for (; is_digit(*at_); ++at_) {
      value = value * 10 + static_cast<std::uint32_t>(*at_ - '0');
      if (value < too_large) continue;
      fail();
      return 0;
    }
    return value;
  }
  // "_" is 0, "0_" is 1.
  PROF_DETAIL_COLD std::uint32_t compact_number() noexcept {
    const std::uint32_t value = is_digit(peek()) ? number() + 1 : 0;
    demand('_');
    return value;
  }
  // The same to base 36.
  PROF_DETAIL_NOINLINE std::uint32_t sequence_number() noexcept {
    std::uint32_t value = 0;
    if (take('_')) return value;
    for (; value <= max_nodes && (is_digit(peek()) || (peek() >= 'A' && peek() <= 'Z')); ++at_) {
      value = value * 36 + static_cast<std::uint32_t>(is_digit(peek()) ? peek() - '0' : peek() - 'A' + 10);
    }
    demand('_');
    return value + 1;
  }
  // Digits, or what else stands before a character, as they are.
  PROF_DETAIL_COLD std::uint32_t text_before(char last) noexcept {
    const std::size_t length = rest().find(last);
    if (length == rest().size || length == 0) fail();
    return take_text(length);
  }
  // Which of several entities of one name in a function: nobody shows it.
  PROF_DETAIL_COLD void discriminator() noexcept {
    if (take('_', '_')) {
      number();
      demand('_');
    } else if (peek() == '_' && is_digit(peek(1))) {
      ++at_;
      number();
    }
  }

  // ---- nodes -----------------------------------------------------------------------------------

  PROF_DETAIL_NOINLINE std::uint32_t leaf(name_kind kind, std::uint32_t a, std::uint32_t b = 0, std::uint16_t extra = 0,
                                          std::uint8_t flags = 0) noexcept {
    if (PROF_DETAIL_UNLIKELY(nodes_.full())) return leaf_in_more(kind, a, b, extra, flags);
    const std::size_t index = nodes_.size();
    nodes_.data()[index] = {kind, flags, extra, a, b, 0, 0};
    nodes_.take(1);
    return static_cast<std::uint32_t>(index);
  }
  PROF_DETAIL_COLD std::uint32_t leaf_in_more(name_kind kind, std::uint32_t a, std::uint32_t b, std::uint16_t extra,
                                              std::uint8_t flags) noexcept {
    return more(nodes_) ? leaf(kind, a, b, extra, flags) : 0;
  }
  PROF_DETAIL_NOINLINE std::uint32_t branch(name_kind kind, std::uint32_t a, std::uint32_t b = 0,
                                            std::uint16_t extra = 0) noexcept {
    const bool is_suffix = kind == name_kind::array || kind == name_kind::function;
    const int below = (nodes_[a].flags | nodes_[b].flags) & ~shared_bit;
    return leaf(kind, a, b, extra, static_cast<std::uint8_t>(below | (is_suffix ? suffix_bit : 0)));
  }
  // The next characters, of which there are so many.
  PROF_DETAIL_NOINLINE std::uint32_t take_text(std::size_t length) noexcept {
    const std::size_t begin = position();
    at_ += length;
    return leaf(name_kind::text, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(length));
  }
  PROF_DETAIL_NOINLINE void push(std::uint32_t value) noexcept { push_to(values_, value); }
  void push_to(arena_vector<std::uint32_t>& values, std::uint32_t value) noexcept {
    if (PROF_DETAIL_UNLIKELY(values.full())) return push_to_more(values, value);
    values.data()[values.size()] = value;
    values.take(1);
  }
  PROF_DETAIL_COLD void push_to_more(arena_vector<std::uint32_t>& values, std::uint32_t value) noexcept {
    if (more(values)) push_to(values, value);
  }
  PROF_DETAIL_NOINLINE void push_leaf(name_kind kind, std::uint32_t a) noexcept { push(leaf(kind, a)); }
  PROF_DETAIL_NOINLINE void push_word(char first, char second = '\0') noexcept {
    push(leaf(name_kind::word, word_letters(first, second)));
  }
  std::uint32_t top() const noexcept { return values_.empty() ? 0 : values_[values_.size() - 1]; }
  PROF_DETAIL_NOINLINE std::uint32_t pop() noexcept {
    const std::uint32_t value = top();
    values_.drop(1);
    return value;
  }
  // Makes one node of the last one or two values.
  PROF_DETAIL_NOINLINE void make(std::size_t operands, name_kind kind, std::uint16_t extra = 0) noexcept {
    if (values_.size() < operands) return fail();
    values_.drop(operands - 1);
    std::uint32_t& first = values_[values_.size() - 1];
    first = branch(kind, first, operands == 2 ? (&first)[1] : 0, extra);
  }
  // Makes a list of all values from `first` on.
  PROF_DETAIL_NOINLINE void collect(std::size_t first) noexcept {
    if (first > values_.size()) return fail();
    const std::size_t count = values_.size() - first;
    const auto cells = static_cast<std::uint32_t>(nodes_.size());
    name_node* const place = cells + count < max_nodes ? nodes_.room(count) : nullptr;
    if (place == nullptr) return fail();
    int flags = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t value = values_[first + i];
      flags |= nodes_[value].flags;
      place[i] = {name_kind::cell, 0, 0, value, 0, 0, 0};
    }
    nodes_.take(count);
    values_.drop(count);
    push(leaf(name_kind::list, cells, static_cast<std::uint32_t>(count), 0,
              static_cast<std::uint8_t>(flags & ~shared_bit)));
  }
  // Elements that need no task of their own are read at once.
  void list(item what, char last, std::uint32_t first) noexcept {
    if (first == from_here) first = static_cast<std::uint32_t>(values_.size());
    todo_list(what, last, first);
    const std::size_t waiting = tasks_.size();
    while (last == '\0' ? !ends_parameters() : !take(last)) {
      list_element(what);
      if (failed_ || tasks_.size() != waiting || !spend()) return;
    }
    tasks_.drop(1);
    collect(first);
    if (what != template_arguments && what != type_arguments) return;
    make(2, name_kind::template_name);
    if (what == type_arguments) add_substitution();
  }
  void list_element(item what) noexcept {
    switch (what) {
      case types: return type();
      case arguments:
      case template_arguments:
      case type_arguments: return template_arg();
      case expressions: return expression();
      case declarations: return template_param_decl();
      case requirements: return requirement();
    }
  }
  // A function's parameters end with its name, with what the name is a part of, or with qualifiers behind them.
  PROF_DETAIL_NOINLINE bool ends_parameters() const noexcept {
    switch (peek()) {
      case '\0':
      case 'E':
      case '.':
      case '_':
      case 'Q':
      case '@': return true;
      case 'R':
      case 'O': return peek(1) == 'E';
      default: return false;
    }
  }

  // ---- substitutions ---------------------------------------------------------------------------

  PROF_DETAIL_NOINLINE void add_substitution() noexcept {
    push_to(substitutions_, top());
  }
  // A class whose constructor follows is written in full.
  PROF_DETAIL_NOINLINE void push_substitution(bool in_prefix = false) noexcept {
    ++at_;  // S
    if (peek() >= 'a') return push_standard(in_prefix);
    const std::uint32_t index = sequence_number();
    if (failed_ || index >= substitutions_.size()) return fail();
    nodes_[substitutions_[index]].flags |= shared_bit;
    push(substitutions_[index]);
  }
  PROF_DETAIL_COLD void push_standard(bool in_prefix) noexcept {
    const char c = *at_;
    if (!is_one_of(c, {"absiod", 6})) return fail();
    ++at_;
    const bool full = in_prefix && (peek() == 'C' || peek() == 'D');
    push(leaf(name_kind::standard, static_cast<std::uint32_t>(c), 0, full ? 1 : 0));
    if (peek() != 'B') return;
    abi_tags(0);
    add_substitution();
  }

  // ---- encodings -------------------------------------------------------------------------------

  PROF_DETAIL_COLD void begin() noexcept {
    if (take('_', 'Z')) return todo(do_encoding);
    // What a block is called by, a function of Apple's C; some prepend another underscore.
    const std::size_t length = text().starts_with({"___Z", 4}) ? 4 : text().starts_with({"____Z", 5}) ? 5 : 0;
    if (length == 0) return fail();
    at_ += length;
    todo(do_make_block);
    todo(do_encoding);
  }
  PROF_DETAIL_COLD void make_block() noexcept {
    constexpr text_view invoke{"_block_invoke", 13};
    if (!rest().starts_with(invoke)) return fail();
    at_ += invoke.size;
    take('_');
    number();
    make(1, name_kind::block);
  }

  PROF_DETAIL_COLD void encoding() noexcept {
    if (peek() == 'T' || peek() == 'G') return special_name();
    todo(do_encoding_rest);
    todo(do_name);
  }
  // Behind the name of a function its type, without a name of its own. Only templates have a return type there.
  PROF_DETAIL_COLD void encoding_rest() noexcept {
    if (ends_parameters()) return;
    const std::uint32_t last = entity(top());
    const std::uint32_t named = nodes_[last].kind == name_kind::qualified_member ? nodes_[last].a : last;
    const bool returns = nodes_[named].kind == name_kind::template_name && !is_without_return(nodes_[named].a);
    todo(do_make_encoding);
    todo(do_make_function, 0, 0, take_qualifiers(last));
    todo_list(types, '\0');
    push(0);
    if (returns) todo(do_type);
    else push(0);
  }
  // What a name in a function names.
  PROF_DETAIL_COLD std::uint32_t entity(std::uint32_t name) noexcept {
    while (spend()) {
      if (nodes_[name].kind == name_kind::local_name) name = nodes_[name].b;
      else if (nodes_[name].kind == name_kind::default_argument) name = nodes_[name].a;
      else break;
    }
    return name;
  }
  // Qualifiers of a member function are shown behind its parameters, not with its name.
  PROF_DETAIL_COLD std::uint16_t take_qualifiers(std::uint32_t last) noexcept {
    name_node& node = nodes_[last];
    if (node.kind != name_kind::qualified_member) return 0;
    const std::uint16_t bits = node.extra;
    node.extra = 0;
    return bits;
  }
  PROF_DETAIL_COLD bool is_without_return(std::uint32_t name) noexcept {
    const name_kind kind = nodes_[unscoped(name)].kind;
    return kind == name_kind::constructor || kind == name_kind::destructor || kind == name_kind::conversion;
  }
  PROF_DETAIL_COLD std::uint32_t unscoped(std::uint32_t name) noexcept {
    while (spend()) {
      const name_node& node = nodes_[name];
      if (node.kind == name_kind::qualified_name || node.kind == name_kind::local_name) name = node.b;
      else if (node.kind == name_kind::tagged_name) name = node.a;
      else break;
    }
    return name;
  }
  PROF_DETAIL_COLD void make_encoding() noexcept {
    make(2, name_kind::encoding);
    if (take('Q')) todo_discarded(do_expression);
  }

  // ---- special names ---------------------------------------------------------------------------

  PROF_DETAIL_COLD void special_name() noexcept {
    for (std::uint16_t row = 0; row < special_count; ++row) {
      if (take(all_specials[row].code[0], all_specials[row].code[1])) return special_rest(row);
    }
    fail();
  }
  PROF_DETAIL_COLD void special_rest(std::uint16_t row) noexcept {
    if (all_specials[row].code[0] == 'G' && all_specials[row].code[1] == 'T') {
      if (take('n')) ++row;
      else demand('t');
    }
    todo(do_make_special, 0, 0, row);
    todo_all(all_specials[row].parts);
  }
  // How far a thunk moves `this`: n stands for a minus.
  PROF_DETAIL_COLD void call_offset() noexcept {
    if (take('v')) todo(do_offset);
    else demand('h');
    skip_offset();
  }
  PROF_DETAIL_COLD void skip_offset() noexcept {
    take('n');
    number();
    demand('_');
  }
  PROF_DETAIL_COLD void make_special(std::uint16_t row) noexcept {
    const char* const code = all_specials[row].code;
    const bool numbered = code[0] == 'G' && code[1] == 'R';
    if (numbered) push_leaf(name_kind::number, peek() == '\0' ? 0 : sequence_number());
    make(numbered || (code[0] == 'T' && code[1] == 'C') ? 2 : 1, name_kind::special, row);
  }

  // ---- names -----------------------------------------------------------------------------------

  PROF_DETAIL_NOINLINE void name() noexcept {
    if (peek() == 'N') return nested_name();
    if (take('Z')) {
      todo(do_local_entity);
      return todo(do_encoding);
    }
    if (peek() != 'S' || peek(1) == 't') return unscoped_name();
    push_substitution();
    if (nodes_[top()].kind == name_kind::module_name) return unscoped_name(pop());
    if (peek() == 'I') template_args();
  }
  // A name in std or in no namespace; what follows is done when the name is there.
  PROF_DETAIL_NOINLINE void unscoped_name(std::uint32_t module = 0) noexcept {
    const bool in_std = take('S', 't');
    if (in_std) push_word('S', 't');
    if (is_digit(peek()) && module == 0) {
      push(source_name());
      abi_tags(0);
      return unscoped_rest(in_std);
    }
    todo(do_unscoped_rest, in_std ? 1 : 0);
    unqualified_name(0, module);
  }
  PROF_DETAIL_NOINLINE void unscoped_rest(bool in_std) noexcept {
    if (in_std) make(2, name_kind::qualified_name);
    if (peek() != 'I') return;
    add_substitution();
    template_args();
  }

  // Something in a function, or of a default argument of one.
  PROF_DETAIL_COLD void local_entity() noexcept {
    demand('E');
    if (take('s')) {
      discriminator();
      push_word('L', 's');
      return make_local(0);
    }
    std::uint32_t argument = 0;
    if (take('d')) argument = compact_number() + 1;
    todo(do_make_local, argument);
    todo(do_name);
  }
  // Of the function its return type is left out: it would look like that of what is in it.
  PROF_DETAIL_COLD void make_local(std::uint32_t argument) noexcept {
    const std::uint32_t inner = pop();
    const std::uint32_t function = top();
    if (nodes_[inner].kind != name_kind::lambda && nodes_[inner].kind != name_kind::unnamed_type) discriminator();
    if (nodes_[function].kind == name_kind::encoding) nodes_[nodes_[function].b].a = 0;
    push(inner);
    if (argument != 0) {
      push_leaf(name_kind::number, argument);
      make(2, name_kind::default_argument);
    }
    make(2, name_kind::local_name);
  }

  PROF_DETAIL_NOINLINE void nested_name() noexcept {
    ++at_;
    take('H');  // the object is a parameter
    std::uint16_t bits = qualifier_bits();
    if (take('R')) bits |= lvalue_bit;
    else if (take('O')) bits |= rvalue_bit;
    if (bits != 0) todo_make(1, name_kind::qualified_member, bits);
    push(0);
    nested(nested_first);
  }
  // What the value is when the turn of the rest comes.
  enum : std::uint16_t { nested_first, nested_named, nested_apart };
  // Components, one after the other: the value is all before them. All but the whole can be referred to later.
  PROF_DETAIL_NOINLINE void nested(std::uint16_t state) noexcept {
    if (state == nested_apart) join();
    if (state != nested_first) nested_candidate();
    while (!failed_) {
      if (peek() == 'S') {
        if (nested_substitution()) return;
        continue;
      }
      if (!is_digit(peek())) break;
      push(source_name());
      abi_tags(0);
      join();
      nested_candidate();
    }
    const std::uint32_t prefix = top();
    if (take('E')) return prefix == 0 ? fail() : void();
    if (take('M')) return todo(do_nested);  // an initializer of the member before it
    if (peek() == 'I') {
      todo(do_nested, 0, 0, nested_named);
      return template_args();
    }
    todo(do_nested, 0, 0, nested_apart);
    if (peek() == 'T') return template_param();
    if (is_at('D', 'T') || is_at('D', 't')) return decltype_type();
    unqualified_name(prefix);
  }
  void nested_candidate() noexcept {
    if (peek() != 'E') add_substitution();
  }
  // Whether the rest has to wait, for what is attached to a module.
  PROF_DETAIL_NOINLINE bool nested_substitution() noexcept {
    const std::uint32_t prefix = top();
    if (take('S', 't')) push_word('S', 't');
    else push_substitution(true);
    const bool module = nodes_[top()].kind == name_kind::module_name;
    if (!module) {
      join();
      return false;
    }
    todo(do_nested, 0, 0, nested_apart);
    unqualified_name(prefix, pop());
    return true;
  }
  PROF_DETAIL_NOINLINE void join() noexcept {
    if (values_.size() < 2) return fail();
    const std::uint32_t last = pop();
    std::uint32_t& prefix = values_[values_.size() - 1];
    prefix = prefix == 0 ? last : branch(name_kind::qualified_name, prefix, last);
  }

  // ---- unqualified names -----------------------------------------------------------------------

  PROF_DETAIL_COLD void unqualified_name(std::uint32_t prefix, std::uint32_t module = 0) noexcept {
    while (peek() == 'W' && !failed_) module = module_name(module);
    todo(do_abi_tags, module);
    take('F');  // a friend that its class defines
    const char c = peek();
    if (is_digit(c)) return push(source_name());
    if (take('L')) {
      push(source_name());
      return discriminator();
    }
    if (take('D', 'C')) return bindings();
    if (c == 'C' || c == 'D') return ctor_dtor_name(prefix);
    if (take('U', 'l')) {
      todo(do_make_lambda);
      return todo(do_lambda_head);
    }
    if (take('U', 't')) return unnamed_type();
    operator_name();
  }
  PROF_DETAIL_NOINLINE std::uint32_t source_name() noexcept {
    const std::uint32_t length = number();
    if (length == 0 || length > rest().size) {
      fail();
      return 0;
    }
    const bool anonymous = length >= 10 && *at_ == '_' && rest().starts_with({"_GLOBAL_", 8}) && at_[9] == 'N' &&
                           is_one_of(at_[8], {"._$", 3});
    const std::uint32_t made = take_text(length);
    return anonymous ? leaf(name_kind::word, word_letters('N', 'a')) : made;
  }
  void abi_tags(std::uint32_t module) noexcept {
    if (peek() == 'B' || module != 0) add_tags(module);
  }
  PROF_DETAIL_COLD void add_tags(std::uint32_t module) noexcept {
    while (take('B') && !failed_) {
      push(source_name());
      make(2, name_kind::tagged_name);
    }
    if (module != 0) push(branch(name_kind::attached_name, pop(), module));
  }
  PROF_DETAIL_COLD std::uint32_t module_name(std::uint32_t module) noexcept {
    while (take('W') && !failed_) {
      const bool partition = take('P');
      module = branch(name_kind::module_name, module, source_name(), partition ? 1 : 0);
      push(module);
      add_substitution();
      static_cast<void>(pop());
    }
    return module;
  }
  PROF_DETAIL_COLD void bindings() noexcept {
    const std::size_t first = values_.size();
    while (!failed_ && !take('E')) push(source_name());
    collect(first);
    make(1, name_kind::bindings);
  }
  PROF_DETAIL_COLD void unnamed_type() noexcept {
    push_leaf(name_kind::number, compact_number() + 1);
    make(1, name_kind::unnamed_type);
  }

  PROF_DETAIL_COLD void ctor_dtor_name(std::uint32_t prefix) noexcept {
    const bool constructs = peek() == 'C';
    ++at_;
    const bool inherits = constructs && take('I');
    if (!is_digit(peek())) return fail();
    ++at_;
    if (inherits) {
      todo(do_inheriting);
      return todo(do_type);
    }
    push(prefix);
    make_special_member(constructs ? name_kind::constructor : name_kind::destructor);
  }
  // Of the last value, a class. A constructor that is inherited has the name of the class it comes from.
  PROF_DETAIL_COLD void make_special_member(name_kind kind) noexcept {
    const std::uint32_t name = class_name(pop());
    if (name == 0) return fail();
    push(branch(kind, name));
  }
  // What constructors of a class are called: its name without scope, template arguments and tags.
  PROF_DETAIL_COLD std::uint32_t class_name(std::uint32_t name) noexcept {
    while (name != 0 && spend()) {
      const name_node& node = nodes_[name];
      if (node.kind == name_kind::qualified_name || node.kind == name_kind::local_name) name = node.b;
      else if (node.kind >= name_kind::default_argument && node.kind <= name_kind::attached_name) name = node.a;
      else break;
    }
    if (nodes_[name].kind != name_kind::standard) return name;
    return leaf(name_kind::standard, nodes_[name].a, 0, 2);
  }

  PROF_DETAIL_COLD void lambda_head() noexcept {
    if (peek() == 'T' && is_one_of(peek(1), {"yntpk", 5})) {
      todo(do_lambda_head);
      return template_param_decl();
    }
    if (take('Q')) {
      todo(do_lambda_head);
      return todo_discarded(do_expression);
    }
    todo_list(types);
  }
  PROF_DETAIL_COLD void make_lambda() noexcept {
    push_leaf(name_kind::number, compact_number() + 1);
    make(2, name_kind::lambda);
  }

  // ---- operators -------------------------------------------------------------------------------

  PROF_DETAIL_COLD std::uint16_t find_operator() noexcept {
    for (std::uint16_t row = 0; row < operator_count; ++row) {
      if (take(all_operators[row].code[0], all_operators[row].code[1])) return row;
    }
    fail();
    return 0;
  }
  PROF_DETAIL_COLD void operator_name() noexcept {
    if (take('c', 'v')) {
      todo(do_make_conversion, 0, conversion_ ? 1 : 0);
      conversion_ = true;
      return todo(do_type);
    }
    const bool vendor = peek() == 'v' && is_digit(peek(1));
    if (take('l', 'i') || vendor) {
      at_ += vendor ? 2 : 0;
      push(source_name());
      return make(1, name_kind::literal_operator, vendor ? 1 : 0);
    }
    push_leaf(name_kind::operator_name, find_operator());
  }
  PROF_DETAIL_COLD void make_conversion(bool before) noexcept {
    conversion_ = before;
    make(1, name_kind::conversion);
  }

  // ---- template parameters and arguments -------------------------------------------------------

  PROF_DETAIL_COLD void template_param() noexcept {
    demand('T');
    if (take('L')) {
      number();
      demand('_');
    }
    push(leaf(name_kind::template_parameter, compact_number(), 0, 0, parameter_bit | suffix_bit));
  }
  PROF_DETAIL_NOINLINE void template_args() noexcept {
    demand('I');
    todo_list(template_arguments);
  }
  PROF_DETAIL_NOINLINE void template_arg() noexcept {
    if (take('X')) {
      return todo_all("Xe");
    }
    if (peek() == 'L') return expr_primary();
    if (take('J') || take('I')) {
      todo(do_make_pack);
      return todo_list(arguments);
    }
    if (peek() == 'T' && is_one_of(peek(1), {"yntpk", 5})) {
      todo(do_argument);
      return template_param_decl();
    }
    type();
  }
  PROF_DETAIL_COLD void make_pack() noexcept {
    const name_node items = nodes_[pop()];
    push(leaf(name_kind::pack, items.a, items.b, 0, items.flags));
  }
  // What kind of parameter a template has: it leaves no value.
  PROF_DETAIL_COLD void template_param_decl() noexcept {
    if (take('T', 'y')) return;
    if (take('T', 'n')) return todo_discarded(do_type);
    if (take('T', 'k')) return todo_discarded(do_name);
    if (take('T', 'p')) return todo(do_declaration);
    if (!take('T', 't')) return fail();
    todo(do_discard);
    todo_list(declarations);
  }

  // ---- types -----------------------------------------------------------------------------------

  PROF_DETAIL_NOINLINE void type() noexcept {
    while (type_around()) {
    }
    const char c = peek();
    if (c >= 'a' && c <= 'z' && word_text(static_cast<std::uint32_t>(c)) != nullptr) {
      ++at_;
      return push_word(c);
    }
    if (is_digit(c)) return class_type(false);
    switch (c) {
      case 'S': return substituted_type();
      case 'T': return template_param_type();
      case 'N':
        todo(do_add_substitution);
        return nested_name();
      default: return rare_type();
    }
  }
  // What is around a type and nothing else: it waits for the type.
  bool type_around() noexcept {
    name_kind kind = name_kind::none;
    switch (peek()) {
      case 'P': kind = name_kind::pointer; break;
      case 'R': kind = name_kind::lvalue_reference; break;
      case 'O': kind = name_kind::rvalue_reference; break;
      case 'C': kind = name_kind::complex; break;
      case 'G': kind = name_kind::imaginary; break;
      case 'K':
        if (is_one_of(peek(1), {"rVKFD", 5})) return false;
        kind = name_kind::qualified_type;
        break;
      default: return false;
    }
    todo(do_make_type, 0, static_cast<std::uint8_t>(kind), kind == name_kind::qualified_type ? const_bit : 0);
    ++at_;
    return !failed_;
  }
  // A class in std or in no namespace, by its name.
  PROF_DETAIL_NOINLINE void class_type(bool in_std) noexcept {
    push(source_name());
    abi_tags(0);
    if (in_std) make(2, name_kind::qualified_name);
    add_substitution();
    if (peek() == 'I') type_arguments_here();
  }
  void type_arguments_here() noexcept {
    ++at_;
    todo_list(type_arguments);
  }
  PROF_DETAIL_COLD void rare_type() noexcept {
    const char c = peek();
    if (c == 'D') return type_of_two_letters();
    if (c == 'U' && peek(1) != 'l' && peek(1) != 't') return vendor_qualified();
    if (c == 'u') return vendor_type();
    todo(do_add_substitution);
    if (is_function_or_qualified()) {
      push(0);
      return qualifiers(0);
    }
    if (c == 'A') return bounded_type(1, name_kind::array);
    if (c != 'M') return name();
    ++at_;
    todo_make(2, name_kind::member_pointer);
    todo_all("TT");
  }
  PROF_DETAIL_COLD bool is_function_or_qualified() const noexcept {
    return is_one_of(peek(), {"rVKF", 4}) || (peek() == 'D' && is_one_of(peek(1), {"oOxw", 4}));
  }

  PROF_DETAIL_COLD void template_param_type() noexcept {
    if (is_one_of(peek(1), {"sue", 3})) {
      at_ += 2;
      todo(do_add_substitution);
      return name();
    }
    template_param();
    add_substitution();
    // Behind the type that a template converts to, they are the template's own.
    if (peek() == 'I' && !conversion_) type_arguments_here();
  }
  PROF_DETAIL_NOINLINE void substituted_type() noexcept {
    if (peek(1) == 't') {
      if (is_digit(peek(2))) {
        at_ += 2;
        push_word('S', 't');
        return class_type(true);
      }
      todo(do_add_substitution);
      return name();
    }
    push_substitution();
    if (nodes_[top()].kind == name_kind::module_name) {
      todo(do_add_substitution);
      return unscoped_name(pop());
    }
    if (peek() == 'I') type_arguments_here();
  }
  PROF_DETAIL_COLD void type_of_two_letters() noexcept {
    const char c = peek(1);
    if (c == 'T' || c == 't') {
      todo(do_add_substitution);
      return decltype_type();
    }
    if (word_text(word_letters('D', c)) != nullptr) {
      at_ += 2;
      return push_word('D', c);
    }
    if (c == 'F') return float_type();
    todo(do_add_substitution);
    if (is_function_or_qualified()) {
      push(0);
      return qualifiers(0);
    }
    at_ += 2;
    switch (c) {
      case 'p':
        todo_make(1, name_kind::expansion);
        return todo(do_type);
      case 'v':
        if (take('_')) return bounded_by_expression(name_kind::vector);
        at_ -= 2;
        return bounded_type(2, name_kind::vector);
      case 'k':
      case 'K':
        todo_make(1, name_kind::constrained_auto, c == 'K' ? 1 : 0);
        return todo(do_name);
      case 'B':
      case 'U': return bit_int(c == 'U');
      default: return fail();
    }
  }
  PROF_DETAIL_COLD void decltype_type() noexcept {
    at_ += 2;
    todo_make(1, name_kind::decltype_of);
    todo_all("Xe");
  }
  // DF16_ and DF32x; DF16b has a name of its own.
  PROF_DETAIL_COLD void float_type() noexcept {
    at_ += 2;
    const char* const begin = at_;
    number();
    if (take('b')) return push_word('F', 'b');
    const auto length = static_cast<std::size_t>(at_ - begin);
    at_ = begin;
    const bool extended = begin[length] == 'x';
    const std::uint32_t digits = take_text(length + (extended ? 1 : 0));
    if (!extended) demand('_');
    push(branch(name_kind::numbered_type, digits, 0, 2));
  }
  PROF_DETAIL_COLD void bit_int(bool is_unsigned) noexcept {
    todo_make(1, name_kind::numbered_type, is_unsigned ? 1 : 0);
    todo(do_expect, '_');
    if (is_digit(peek())) push(text_before('_'));
    else todo(do_expression);
  }
  // Arrays and vectors: the bound, if any, and what there are so many of.
  PROF_DETAIL_COLD void bounded_type(std::size_t letters, name_kind kind) noexcept {
    at_ += letters;
    if (!is_digit(peek()) && peek() != '_') return bounded_by_expression(kind);
    push(peek() == '_' ? 0 : text_before('_'));
    array_rest(kind);
  }
  PROF_DETAIL_COLD void bounded_by_expression(name_kind kind) noexcept {
    todo(do_array_rest, 0, static_cast<std::uint8_t>(kind));
    todo(do_expression);
  }
  PROF_DETAIL_COLD void array_rest(name_kind kind) noexcept {
    demand('_');
    todo_make(2, kind);
    todo(do_type);
  }

  PROF_DETAIL_COLD void vendor_type() noexcept {
    ++at_;
    push(source_name());
    todo(do_add_substitution);
    if (peek() == 'I') todo(do_template_args);
  }
  PROF_DETAIL_COLD void vendor_qualified() noexcept {
    ++at_;
    push(source_name());
    todo(do_add_substitution);
    todo(do_make_vendor_qualified);
    todo(do_type);
    if (peek() == 'I') todo(do_template_args);
  }
  PROF_DETAIL_COLD void make_vendor_qualified() noexcept {
    const std::uint32_t type = pop();
    push(branch(name_kind::vendor_qualified, type, pop()));
  }

  // ---- qualifiers and functions ----------------------------------------------------------------

  PROF_DETAIL_COLD std::uint16_t qualifier_bits() noexcept {
    std::uint16_t bits = 0;
    for (;;) {
      if (take('r')) bits |= restrict_bit;
      else if (take('V')) bits |= volatile_bit;
      else if (take('K')) bits |= const_bit;
      else return bits;
    }
  }
  // Qualifiers and what they belong to; a function's are a part of its type. The value is the function's
  // exception specification, or none.
  PROF_DETAIL_COLD void qualifiers(std::uint16_t bits) noexcept {
    bits |= qualifier_bits();
    if (take('D', 'o')) return qualifiers_again(bits | noexcept_bit);
    if (take('D', 'x')) return qualifiers_again(bits | transaction_safe_bit);
    if (is_at('D', 'O') || is_at('D', 'w')) return exception_spec(bits);
    if (peek() == 'F') return function_type(bits);
    if (pop() != 0 || (bits & (noexcept_bit | transaction_safe_bit)) != 0) return fail();
    todo_make(1, name_kind::qualified_type, bits);
    todo(do_type);
  }
  void qualifiers_again(int bits) noexcept { todo(do_qualifiers, 0, 0, static_cast<std::uint16_t>(bits)); }
  PROF_DETAIL_COLD void exception_spec(std::uint16_t bits) noexcept {
    static_cast<void>(pop());
    const bool throws = peek(1) == 'w';
    at_ += 2;
    todo(do_exception_rest, 0, throws ? 1 : 0, bits);
    if (throws) return todo_list(types);
    todo_all("Xe");
  }
  PROF_DETAIL_COLD void exception_rest(std::uint16_t bits, bool throws) noexcept {
    make(1, name_kind::exception_specification, throws ? 1 : 0);
    qualifiers(bits);
  }
  PROF_DETAIL_COLD void function_type(std::uint16_t bits) noexcept {
    ++at_;
    take('Y');  // C linkage
    todo(do_make_function, 0, 1, bits);
    todo_list(types, '\0');
    todo(do_type);
  }
  // Of the last three values: exception specification, what it returns, parameters.
  PROF_DETAIL_COLD void make_function(std::uint16_t bits, bool is_type) noexcept {
    if (is_type) {
      if (take('R')) bits |= lvalue_bit;
      else if (take('O')) bits |= rvalue_bit;
      demand('E');
    }
    const std::uint32_t parameters = pop();
    const std::uint32_t returned = pop();
    const std::uint32_t signature = branch(name_kind::signature, parameters, pop());
    push(branch(name_kind::function, returned, signature, bits));
  }

  // ---- expressions -----------------------------------------------------------------------------

  // L: a value, or something that has a name.
  PROF_DETAIL_COLD void expr_primary() noexcept {
    ++at_;
    if (take('_', 'Z') || take('Z')) {
      return todo_all("Ee");
    }
    todo(do_literal_rest);
    type();
  }
  PROF_DETAIL_COLD void literal_rest() noexcept {
    if (take('E')) return;
    const bool negative = take('n');
    push(text_before('E'));
    demand('E');
    make(2, name_kind::literal, negative ? 1 : 0);
  }

  PROF_DETAIL_COLD void expression() noexcept {
    if (is_digit(peek())) return member_name();
    if (peek() == 'L') return expr_primary();
    if (peek() == 'T') return template_param();
    if (is_at('f', 'p') || (is_at('f', 'L') && is_digit(peek(2)))) return function_param();
    if (take('s', 'r')) return unresolved_name();
    if (take('s', 'p')) {
      todo_make(1, name_kind::expansion);
      return todo(do_expression);
    }
    if (is_at('i', 'l') || is_at('t', 'l')) return braced();
    if (take('c', 'v')) {
      todo_make(2, name_kind::cast);
      todo(do_cast_operand);
      return todo(do_type);
    }
    if (is_at('o', 'n') || is_at('d', 'n')) return member_name();
    if (take('u')) {
      push(source_name());
      todo_make(2, name_kind::call_of_vendor);
      return todo_list(arguments);
    }
    if (is_at('r', 'q') || is_at('r', 'Q')) return requires_expression();
    operation(find_operator());
  }
  PROF_DETAIL_COLD void function_param() noexcept {
    const bool outer = peek(1) == 'L';
    at_ += 2;
    if (outer) {
      number();
      demand('p');
    }
    if (take('T')) return push_leaf(name_kind::function_parameter, 0);
    qualifier_bits();
    push_leaf(name_kind::function_parameter, compact_number() + 1);
  }
  PROF_DETAIL_COLD void braced() noexcept {
    const bool typed = peek() == 't';
    at_ += 2;
    todo_make(2, name_kind::braced);
    todo_list(expressions);
    if (typed) todo(do_type);
    else push(0);
  }
  PROF_DETAIL_COLD void cast_operand() noexcept {
    if (take('_')) todo_list(expressions);
    else todo(do_expression);
  }

  // sr: a member of a type, or of scopes that end with E. Those cannot be referred to later.
  PROF_DETAIL_COLD void unresolved_name() noexcept {
    const bool in_scopes = take('N') || is_digit(peek());
    todo(do_unresolved_rest);
    if (in_scopes) todo(do_level);
    if (is_digit(peek())) push(0);
    else todo(do_type);
  }
  PROF_DETAIL_COLD void level() noexcept {
    if (!is_digit(peek())) return;
    todo(do_level);
    todo(do_join);
    todo(do_template_args_if);
    unqualified_name(0);
  }
  PROF_DETAIL_COLD void unresolved_rest() noexcept {
    const bool has_member = is_digit(peek(1)) || is_one_of(peek(1), {"od", 2});
    // Older compilers do not end the scopes: the last one is the member.
    if (peek() == 'E' && !has_member) return;
    take('E');
    todo_make(2, name_kind::qualified_name);
    member_name();
  }
  PROF_DETAIL_COLD void member_name() noexcept {
    if (is_at('s', 'r') || is_at('g', 's')) return expression();
    todo(do_template_args_if);
    if (!take('d', 'n')) {
      take('o', 'n');
      return unqualified_name(0);
    }
    todo_make(1, name_kind::destructor);
    if (is_digit(peek())) return unqualified_name(0);
    type();
  }

  PROF_DETAIL_COLD void operation(std::uint16_t row) noexcept {
    // By operand_form.
    static constexpr char operands[][4] = {"",   "X",  "X",  "T",  "X",  "X",  "X",   "a",   "XX",  "XX",
                                           "Xx", "XM", "TX", "OX", "SX", "XX", "OXX", "XXX", "XXX", "pTi"};
    const operand_form form = all_operators[row].form;
    const char* const parts = operands[static_cast<int>(form)];
    const bool before = form == operand_form::postfix && !take('_');
    todo(do_make_expression, before ? repeated : static_cast<std::uint32_t>(std::strlen(parts)), 0, row);
    todo_all(parts);
  }
  PROF_DETAIL_COLD void initializer() noexcept {
    if (take('E')) return push(0);
    if (take('p', 'i')) return todo_list(expressions);
    if (!is_at('i', 'l')) return fail();
    expression();
  }
  // Operands are a and b, or a and the two of a cell. One that is repeated stands before its operator.
  static constexpr std::uint32_t repeated = 4;
  PROF_DETAIL_COLD void make_expression(std::uint16_t row, std::uint32_t operands) noexcept {
    if (operands == 3) make(2, name_kind::cell);
    if (operands == repeated) push(top());
    if (operands == 0) push(0);
    make(operands < 2 ? 1 : 2, name_kind::expression, row);
  }

  // A list of requirements is read so that what is behind it is found, and shown as "requires {...}".
  PROF_DETAIL_COLD void requires_expression() noexcept {
    const bool has_parameters = peek(1) == 'Q';
    at_ += 2;
    todo(do_make_requires);
    todo_list(requirements);
    if (!has_parameters) return;
    todo(do_discard);
    todo_list(types, '_');
  }
  PROF_DETAIL_COLD void make_requires() noexcept {
    static_cast<void>(pop());
    push_word('r', 'q');
  }
  PROF_DETAIL_COLD void requirement() noexcept {
    if (take('T')) return todo(do_type);
    if (take('Q')) return todo(do_expression);
    if (!take('X')) return fail();
    todo(do_requirement_rest);
    todo(do_expression);
  }
  PROF_DETAIL_COLD void requirement_rest() noexcept {
    take('N');
    if (take('R')) todo_discarded(do_name);
  }

  const char* at_ = "";
  arena_vector<name_node> nodes_;
  arena_vector<std::uint32_t> values_;
  arena_vector<std::uint32_t> substitutions_;
  arena_vector<task> tasks_;
  arena_vector<char> copy_;  // of the name
  std::uint32_t steps_ = 0;
  bool conversion_ = false;    // in the type that an operator converts to
  bool failed_ = false;
};

PROF_DETAIL_END

#endif  // PROF_SYMBOL_MANGLED_NAME_HPP
