// prof/symbol/readable_name.hpp - the tree of a C++ linker name as people write the name.
// Floor 9 (symbol). Used by demangle.hpp.
// Safety: ordinary context; thread-compatible. What a tree stands for may be of any size: the text is cut at
//         max_readable_name, and steps are counted together with those of reading. No recursion.
// Memory: a text and a stack in the arena, used again for the next name and given back with the printer.
// Source: where to put what follows Itanium C++ ABI 5.1; blanks and brackets are those of libiberty (GCC 12), so
//         that names are equal to those of other tools.
#ifndef PROF_SYMBOL_READABLE_NAME_HPP
#define PROF_SYMBOL_READABLE_NAME_HPP

#include "prof/symbol/mangled_name.hpp"

PROF_DETAIL_BEGIN

// Substitutions let a short name stand for one of any length; what is beyond this nobody reads.
inline constexpr std::size_t max_readable_name = std::size_t{64} * 1024;

// Text of std::string and the like: short, in full, or what its constructors are called.
PROF_DETAIL_COLD inline const char* standard_text(std::uint32_t letter, std::uint16_t form) noexcept {
  switch (letter) {
    case 'a': return form == 2 ? "allocator" : "std::allocator";
    case 'b': return form == 2 ? "basic_string" : "std::basic_string";
    case 's':
      if (form == 0) return "std::string";
      return form == 2 ? "basic_string" : "std::basic_string<char, std::char_traits<char>, std::allocator<char> >";
    case 'i':
      if (form == 0) return "std::istream";
      return form == 2 ? "basic_istream" : "std::basic_istream<char, std::char_traits<char> >";
    case 'o':
      if (form == 0) return "std::ostream";
      return form == 2 ? "basic_ostream" : "std::basic_ostream<char, std::char_traits<char> >";
    default:
      if (form == 0) return "std::iostream";
      return form == 2 ? "basic_iostream" : "std::basic_iostream<char, std::char_traits<char> >";
  }
}

// Prints from the left to the right. A type surrounds what has it, as in "int (*name) [3]": it has a part on the
// left and one on the right. What is to be printed later is on a stack, the next on top.
class readable_name {
 public:
  explicit readable_name(arena& memory) noexcept : text_(memory), later_(memory), scopes_(memory) { reserve(); }
  PROF_DETAIL_COLD ~readable_name() {
    scopes_.release();
    text_.release();
    later_.release();
  }
  readable_name(const readable_name&) = delete;
  readable_name& operator=(const readable_name&) = delete;

  // Prints a name that was parsed; false when there is no end to it, or no memory.
  PROF_DETAIL_NOINLINE bool print(mangled_name& name) noexcept {
    name_ = &name;
    text_.clear();
    later_.clear();
    scopes_.clear();
    here_ = {};
    last_ = '\0';
    stopped_ = failed_ = false;
    if (!reserve() || !scopes_.push({0, 0})) return false;
    later(whole, name.root());
    while (!later_.empty() && !stopped_ && spend()) {
      const piece& next = later_[later_.size() - 1];
      later_.drop(1);
      run(next);
    }
    return !failed_;
  }
  // Up to the next print.
  text_view text() const noexcept { return {text_.data(), text_.size()}; }

 private:
  // All of the text; of the rest what most names need. See mangled_name::reserve.
  PROF_DETAIL_COLD bool reserve() noexcept {
    return text_.room(max_readable_name) != nullptr && later_.room(1024) != nullptr && scopes_.room(512) != nullptr;
  }

  enum what : std::uint8_t {
    whole,    // a node
    pattern,  // see put_pattern
    left,     // the part of a type before what has it, and the one behind
    right,
    right_again,  // of an array of arrays
    operand,      // in parentheses, unless it is a name
    elements,     // of a list, from one on
    arguments,    // the same between < and >
    member,       // behind ::
    qualifiers,
    open,  // what points to a function or an array is in parentheses
    gap,   // between a return type and the name
    expanded,
    remember,  // where a node is in the text
  };
  static constexpr std::uint16_t no_index = 0xffff;
  // Which arguments template parameters stand for: those of scope, and of a pack the one at index.
  struct context {
    std::uint16_t scope = 0;
    std::uint16_t index = no_index;
  };
  // A node and where to look for its parameters.
  struct place {
    std::uint32_t node;
    context where;
  };
  struct piece {
    place what_of;
    const char* text;
    std::uint32_t begin;
    std::uint16_t extra;
    what kind;
  };
  // Template arguments; those of a generic lambda are not known. Arguments are looked for in outer scopes.
  struct scope {
    std::uint32_t list;
    std::uint16_t outer;
  };
  static constexpr std::uint32_t unknown = ~std::uint32_t{0};

  place here(std::uint32_t node) const noexcept { return {node, here_}; }
  PROF_DETAIL_NOINLINE void push(what kind, place of, std::uint16_t extra, std::uint32_t begin,
                                 const char* text) noexcept {
    if (PROF_DETAIL_UNLIKELY(later_.full())) return push_in_more(kind, of, extra, begin, text);
    // One after the other: put together on the stack first, it would be a copy of parts, for which a processor waits.
    piece& made = later_.data()[later_.size()];
    later_.take(1);
    made.what_of = of;
    made.text = text;
    made.begin = begin;
    made.extra = extra;
    made.kind = kind;
  }
  // Called at the end, so that who needs no room saves no registers for it.
  PROF_DETAIL_COLD void push_in_more(what kind, place of, std::uint16_t extra, std::uint32_t begin,
                                     const char* text) noexcept {
    if (later_.size() >= mangled_name::max_nodes || later_.room(1) == nullptr) return fail();
    push(kind, of, extra, begin, text);
  }
  void later(what kind, place of, std::uint16_t extra = 0) noexcept { push(kind, of, extra, 0, nullptr); }
  void later(what kind, std::uint32_t node, std::uint16_t extra = 0) noexcept { later(kind, here(node), extra); }
  void later(const char* text, std::uint32_t node = 0) noexcept { push(pattern, here(node), 0, 0, text); }
  PROF_DETAIL_COLD void fail() noexcept { stopped_ = failed_ = true; }
  bool spend() noexcept { return PROF_DETAIL_LIKELY(name_->spend()) || (fail(), false); }

  // Pieces may be pushed to where the next one is: see mangled_name::run_next.
  void run(const piece& next) noexcept {
    const std::uint32_t index = next.what_of.node;
    here_ = next.what_of.where;
    switch (next.kind) {
      case whole: return put_whole(index);
      case pattern: return put_pattern(next.text, index);
      case left: return put_left(next.what_of);
      case right: return put_right(next.what_of, true);
      case right_again: return put_right(next.what_of, false);
      case operand: return put_operand(index);
      case elements:
      case arguments: return put_elements(next.kind, index, next.extra, next.begin);
      case member: put("::", 2); return put_whole(index);
      case qualifiers: return put_qualifiers(next.extra);
      case open: return put_open(next.what_of, next.extra != 0);
      case gap: return has_suffix(next.what_of) ? void() : put(" ", 1);
      case expanded: return put_expanded(index, next.extra);
      case remember: return remember_text(index, next.begin);
    }
  }

  // ---- characters ------------------------------------------------------------------------------

  // Most texts have a few characters.
  PROF_DETAIL_NOINLINE void put(const char* text, std::size_t size) noexcept {
    if (size - 1 >= 16 || text_.size() + size >= max_readable_name) return put_long(text, size);
    char* const to = text_.data() + text_.size();
    if (size >= 8) {
      copy_ends<std::uint64_t>(to, text, size);
    } else if (size >= 4) {
      copy_ends<std::uint32_t>(to, text, size);
    } else {
      to[0] = text[0];
      to[size / 2] = text[size / 2];
      to[size - 1] = text[size - 1];
    }
    text_.take(size);
    last_ = to[size - 1];
  }
  PROF_DETAIL_NOINLINE void put_long(const char* text, std::size_t size) noexcept {
    const std::size_t left_over = max_readable_name - text_.size();
    if (size >= left_over) {
      stopped_ = true;
      size = left_over;
    }
    if (size == 0) return;
    std::memcpy(text_.data() + text_.size(), text, size);
    text_.take(size);
    last_ = text[size - 1];
  }
  // The first and the last word, which may overlap.
  template <class Word>
  static void copy_ends(char* to, const char* from, std::size_t size) noexcept {
    Word first;
    Word last;
    std::memcpy(&first, from, sizeof first);
    std::memcpy(&last, from + size - sizeof last, sizeof last);
    std::memcpy(to, &first, sizeof first);
    std::memcpy(to + size - sizeof last, &last, sizeof last);
  }
  PROF_DETAIL_NOINLINE void put(const char* text) noexcept { put(text, std::strlen(text)); }
  PROF_DETAIL_COLD void put_number(std::uint32_t value) noexcept {
    char digits[20];
    put(digits, format_decimal(value, digits));
  }
  PROF_DETAIL_NOINLINE void put_angle(char bracket) noexcept {
    if (last_ == bracket) put(" ", 1);
    put(&bracket, 1);
  }

  // A pattern is a text with parts of a node in it: see put_part. What is behind a part is printed later.
  PROF_DETAIL_NOINLINE void put_pattern(const char* text, std::uint32_t index) noexcept {
    std::size_t size = 0;
    while (text[size] != '%' && text[size] != '\0') ++size;
    put(text, size);
    if (text[size] == '\0') return;
    if (text[size + 2] != '\0') later(text + size + 2, index);
    put_part(text[size + 1], index);
  }
  // a, b: the nodes that a node is made of; c, d: those of the cell that b is; in capitals: as operands.
  PROF_DETAIL_COLD void put_part(char part, std::uint32_t index) noexcept {
    const name_node& n = node(index);
    const name_node& cell = node(n.kind == name_kind::expression ? n.b : 0);
    switch (part) {
      case 'a': return later(whole, n.a);
      case 'A': return later(operand, n.a);
      case 'b': return later(whole, n.b);
      case 'B': return later(operand, n.b);
      case 'c': return later(whole, cell.a);
      case 'C': return later(operand, cell.a);
      case 'D': return later(operand, cell.b);
      case 'i': return later(whole, index);  // the node itself
      case 'p': return later(whole, shown_parameters(n.a));
      // A function in an expression is shown without its parameters.
      case 'f': return later(operand, kind_of(n.a) == name_kind::encoding ? node(n.a).a : n.a);
      case 'o': return put(all_operators[n.extra].text);
      case 's': return put(all_operators[kind_of(n.a) == name_kind::operator_name ? node(n.a).a : 0].text);
      case 'v': return put_value(n);
      case '-': return put("-", n.extra != 0 ? 1 : 0);
      default: return put(" ", last_ != '(' ? 1 : 0);  // g: before the class of a member pointer
    }
  }

  // ---- nodes -----------------------------------------------------------------------------------

  name_node& node(std::uint32_t index) const noexcept { return name_->node(index); }
  name_kind kind_of(std::uint32_t index) const noexcept { return node(index).kind; }
  PROF_DETAIL_COLD void open_scope(std::uint32_t list) noexcept {
    const std::size_t index = scopes_.size();
    if (index > 0xffff || !scopes_.push({list, here_.scope})) return fail();
    here_.scope = static_cast<std::uint16_t>(index);
  }
  // What a parameter stands for: an argument, whose own parameters are those of the outer scope.
  PROF_DETAIL_NOINLINE place resolve(place p) noexcept {
    return kind_of(p.node) == name_kind::template_parameter ? resolve_parameter(p) : p;
  }
  PROF_DETAIL_COLD place resolve_parameter(place p) noexcept {
    while (kind_of(p.node) == name_kind::template_parameter && spend()) {
      const scope s = scopes_[p.where.scope];
      if (s.list == unknown) break;
      const std::uint32_t index = node(p.node).a;
      if (s.list == 0 || index >= node(s.list).b) {
        fail();
        break;
      }
      p = {node(node(s.list).a + index).a, {s.outer, p.where.index}};
      if (kind_of(p.node) != name_kind::pack || p.where.index == no_index) continue;
      const name_node& pack = node(p.node);
      p.node = p.where.index < pack.b ? node(pack.a + p.where.index).a : 0;
    }
    node(p.node).flags |= shared_bit;
    return p;
  }
  // What a type that is no array or function is made of; 0 when there is nothing to it.
  std::uint32_t inner_type(const name_node& n) const noexcept {
    if (n.kind == name_kind::member_pointer || n.kind == name_kind::vector) return n.b;
    const bool inner = n.kind >= name_kind::qualified_type && n.kind <= name_kind::imaginary;
    return inner ? n.a : 0;
  }
  static bool is_suffix(name_kind kind) noexcept { return kind == name_kind::array || kind == name_kind::function; }
  bool may_have_suffix(std::uint32_t index) const noexcept { return (node(index).flags & suffix_bit) != 0; }
  bool has_suffix(place type) noexcept { return may_have_suffix(type.node) && find_suffix(type); }
  PROF_DETAIL_COLD bool find_suffix(place type) noexcept {
    for (type = resolve(type); type.node != 0 && !is_suffix(kind_of(type.node)) && spend(); type = resolve(type)) {
      type.node = inner_type(node(type.node));
    }
    return type.node != 0;
  }
  // What is pointed to, without qualifiers.
  PROF_DETAIL_COLD name_kind target_kind(place type) noexcept {
    type = resolve(type);
    while (kind_of(type.node) == name_kind::qualified_type && spend()) type = resolve({node(type.node).a, type.where});
    return kind_of(type.node);
  }
  bool is_suffix_behind(place type) noexcept { return may_have_suffix(type.node) && is_suffix(target_kind(type)); }
  static bool is_reference(name_kind kind) noexcept {
    return kind == name_kind::lvalue_reference || kind == name_kind::rvalue_reference;
  }
  // What a reference refers to: a reference to a reference is one reference, && only if both are.
  PROF_DETAIL_COLD place referred(place type, bool& is_lvalue) noexcept {
    is_lvalue = false;
    while (is_reference(kind_of(type.node)) && spend()) {
      is_lvalue = is_lvalue || kind_of(type.node) == name_kind::lvalue_reference;
      type = resolve({node(type.node).a, type.where});
    }
    return type;
  }

  // What a name ends with is on the stack when its beginning is printed here.
  PROF_DETAIL_NOINLINE void put_whole(std::uint32_t index) noexcept {
    do {
      const name_node& n = node(index);
      if (n.kind < name_kind::qualified_name) return put_leaf(n, index);
      if ((n.flags & shared_bit) != 0 && put_again(n, index)) return;
      if (n.kind >= name_kind::encoding) return put_other(n, index);
      index = put_name(n, index);
    } while (index != 0 && spend());
  }
  PROF_DETAIL_NOINLINE void put_other(const name_node& n, std::uint32_t index) noexcept {
    if (n.kind < name_kind::qualified_type) return put_encoding(n, index);
    if (n.kind > name_kind::function) return put_expression(n, index);
    if (has_suffix(here(index))) later(right, index);
    put_left(here(index));
  }
  // What the name refers to more than once, and what has the same text wherever it is, is copied from there.
  PROF_DETAIL_NOINLINE bool put_again(const name_node& n, std::uint32_t index) noexcept {
    if ((n.flags & parameter_bit) != 0 || n.kind > name_kind::function) return false;
    if (n.shown_size != 0 && std::size_t{n.shown_at} + n.shown_size <= text_.size()) {
      put(text_.data() + n.shown_at, n.shown_size);
      return true;
    }
    push(remember, here(index), 0, static_cast<std::uint32_t>(text_.size()), nullptr);
    return false;
  }
  PROF_DETAIL_COLD void remember_text(std::uint32_t index, std::uint32_t begin) noexcept {
    static_assert(max_readable_name == 0x10000, "a text that is not cut ends below");
    if (begin >= text_.size()) return;
    // Behind another < there is a blank, and commas may be taken back: see put_angle and drop_commas.
    if (text_[begin] == '<' || text_[begin] == ' ' || last_ == ',' || last_ == ' ') return;
    node(index).shown_at = static_cast<std::uint16_t>(begin);
    node(index).shown_size = static_cast<std::uint16_t>(text_.size() - begin);
  }
  // Leaves that are printed at once.
  bool is_short(std::uint32_t index) const noexcept { return kind_of(index) <= name_kind::operator_name; }
  PROF_DETAIL_NOINLINE void put_leaf(const name_node& n, std::uint32_t index) noexcept {
    switch (n.kind) {
      case name_kind::text: return put(name_->text().data + n.a, n.b);
      case name_kind::word: return put(word_text(n.a));
      case name_kind::standard: return put(standard_text(n.a, n.extra));
      default: return put_cold_leaf(n, index);
    }
  }
  PROF_DETAIL_COLD void put_cold_leaf(const name_node& n, std::uint32_t index) noexcept {
    switch (n.kind) {
      case name_kind::operator_name: return put_operator_name(all_operators[n.a].text);
      case name_kind::function_parameter: return put_function_parameter(n.a);
      case name_kind::template_parameter: return put_parameter(index);
      case name_kind::number: return put_number(n.a);
      case name_kind::pack:
      case name_kind::list: return put_list(elements, index);
      default: return;
    }
  }
  PROF_DETAIL_COLD void put_parameter(std::uint32_t index) noexcept {
    const place p = resolve(here(index));
    if (p.node != index) return later(whole, p);
    put("auto:");
    put_number(node(index).a + 1);
  }
  PROF_DETAIL_COLD void put_operator_name(text_view text) noexcept {
    put("operator");
    if (text.data[0] >= 'a' && text.data[0] <= 'z') put(" ");
    if (text.data[text.size - 1] == ' ') --text.size;
    put(text.data, text.size);
  }
  PROF_DETAIL_COLD void put_function_parameter(std::uint32_t number) noexcept {
    if (number == 0) return put("this");
    put("{parm#");
    put_number(number);
    put("}");
  }

  // ---- lists -----------------------------------------------------------------------------------

  void put_list(what kind, std::uint32_t list) noexcept {
    push(kind, here(list), 0, static_cast<std::uint32_t>(text_.size()), nullptr);
  }
  // The elements from `index` on, up to one of which something is left for later.
  void put_elements(what kind, std::uint32_t list, std::uint32_t index, std::uint32_t begin) noexcept {
    const name_node& n = node(list);
    const std::uint32_t count = n.kind == name_kind::list || n.kind == name_kind::pack ? n.b : 0;
    if (kind == arguments && index == 0) {
      put_angle('<');
      begin = static_cast<std::uint32_t>(text_.size());
    }
    const context where = here_;
    push(kind, here(list), 0, begin, nullptr);
    if (stopped_) return;
    const std::size_t waiting = later_.size();
    for (; index < count && spend(); ++index) {
      if (index != 0) put(", ", 2);
      later_[waiting - 1].extra = static_cast<std::uint16_t>(index + 1);
      put_whole(node(n.a + index).a);
      if (later_.size() != waiting || stopped_) return;
      here_ = where;
    }
    later_.drop(1);
    drop_commas(begin);
    if (kind == arguments) put_angle('>');
  }
  // What is empty at the end, such as a parameter pack of no elements, has no comma before it. What follows sees
  // the blank nevertheless: libiberty does not put another one between two brackets then.
  void drop_commas(std::size_t begin) noexcept {
    const char* const text = text_.data();
    std::size_t end = text_.size();
    while (end >= begin + 2 && text[end - 1] == ' ' && text[end - 2] == ',' && spend()) end -= 2;
    text_.drop(text_.size() - end);
  }

  // ---- names -----------------------------------------------------------------------------------

  // Returns the node that the name goes on with, or 0.
  std::uint32_t put_name(const name_node& n, std::uint32_t index) noexcept {
    const bool at_once = is_short(n.a);
    switch (n.kind) {
      case name_kind::qualified_name:
      case name_kind::local_name:
        if (!at_once) break;
        put_leaf(node(n.a), n.a);
        put("::", 2);
        return n.b;
      case name_kind::template_name:
        put_list(arguments, n.b);
        // The type that a template converts to has the parameters of that template.
        if ((node(n.a).flags & parameter_bit) != 0 && name_->is_conversion(n.a)) open_scope(n.b);
        return n.a;
      default: return put_cold_name(n, index);
    }
    later(member, n.b);
    return n.a;
  }
  PROF_DETAIL_COLD std::uint32_t put_cold_name(const name_node& n, std::uint32_t index) noexcept {
    switch (n.kind) {
      case name_kind::qualified_member: later(qualifiers, 0, n.extra); return n.a;
      case name_kind::module_name: put_pattern(n.extra != 0 ? "%a:%b" : n.a != 0 ? "%a.%b" : "%b", index); break;
      case name_kind::literal_operator: put_pattern(n.extra != 0 ? "operator %a" : "operator\"\" %a", index); break;
      case name_kind::lambda:
        open_scope(unknown);
        put_pattern("{lambda(%p)#%b}", index);
        break;
      case name_kind::constructor: return n.a;
      default: {
        static constexpr const char* patterns[] = {
            "{default arg#%b}::%a", "", "%a[abi:%b]", "", "%a@%b", "", "~%a", "operator %a", "", "", "{unnamed type#%a}",
            "[%a]"};
        put_pattern(patterns[static_cast<int>(n.kind) - static_cast<int>(name_kind::default_argument)], index);
      }
    }
    return 0;
  }

  PROF_DETAIL_COLD void put_encoding(const name_node& n, std::uint32_t index) noexcept {
    if (n.kind == name_kind::special) return put_pattern(all_specials[n.extra].pattern, index);
    if (n.kind == name_kind::block) return put_pattern("invocation function for block in %a", index);
    const context outer = here_;
    const std::uint32_t list = arguments_of(n.a);
    if (list != 0) open_scope(list);
    const std::uint32_t returned = node(n.b).a;
    later(right, n.b);
    later(whole, {n.a, outer});
    if (returned == 0) return;
    later(gap, returned);
    later(left, returned);
  }
  // The template arguments of a function, which its type refers to.
  std::uint32_t arguments_of(std::uint32_t name) noexcept {
    while (spend()) {
      const name_node& n = node(name);
      if (n.kind == name_kind::local_name) name = n.b;
      else if (n.kind == name_kind::default_argument || n.kind == name_kind::qualified_member) name = n.a;
      else return n.kind == name_kind::template_name ? n.b : 0;
    }
    return 0;
  }
  // ---- types -----------------------------------------------------------------------------------

  PROF_DETAIL_NOINLINE void put_left(place type) noexcept {
    do {
      type = resolve(type);
      here_ = type.where;
      if (kind_of(type.node) < name_kind::qualified_type || kind_of(type.node) > name_kind::function) {
        return put_whole(type.node);
      }
      type = put_end_of_left(type);
    } while (type.node != 0 && spend());
  }
  // Leaves for later what the left part of a type ends with; returns the type whose left part comes before.
  PROF_DETAIL_COLD place put_end_of_left(place type) noexcept {
    const name_node& n = node(type.node);
    place inner{inner_type(n), type.where};
    switch (n.kind) {
      case name_kind::qualified_type: put_left_qualified(n); return inner;
      case name_kind::vendor_qualified: later(" %b", type.node); return left_pointer(inner, true);
      case name_kind::pointer: later("*"); return left_pointer(inner, false);
      case name_kind::lvalue_reference:
      case name_kind::rvalue_reference: {
        bool is_lvalue = false;
        inner = referred(type, is_lvalue);
        later(is_lvalue ? "&" : "&&");
        return left_pointer(inner, false);
      }
      case name_kind::complex: later(" _Complex"); return inner;
      case name_kind::imaginary: later(" _Imaginary"); return inner;
      case name_kind::member_pointer: later("%g%a::*", type.node); return left_pointer(inner, true);
      case name_kind::vector: later(" __vector(%a)", type.node); return inner;
      case name_kind::function:
        if (n.a != 0) later(gap, n.a);
        return here(n.a);
      default: return here(n.b);  // an array
    }
  }
  PROF_DETAIL_NOINLINE place left_pointer(place target, bool apart) noexcept {
    if (is_suffix_behind(target)) later(open, target, apart ? 1 : 0);
    return target;
  }
  // A qualifier is shown once; that of an array is one of its elements.
  PROF_DETAIL_COLD void put_left_qualified(const name_node& n) noexcept {
    place inner = resolve(here(n.a));
    while (kind_of(inner.node) == name_kind::array && spend()) inner = resolve({node(inner.node).b, inner.where});
    const int twice = kind_of(inner.node) == name_kind::qualified_type ? node(inner.node).extra : 0;
    later(qualifiers, 0, static_cast<std::uint16_t>(n.extra & ~twice));
  }
  PROF_DETAIL_COLD void put_open(place target, bool to_member) noexcept {
    const name_kind kind = target_kind(target);
    if (kind == name_kind::array) put(" (");
    if (kind != name_kind::function) return;
    const bool apart = to_member || (last_ != '(' && last_ != '*');
    put(apart && last_ != ' ' ? " (" : "(");
  }
  PROF_DETAIL_COLD void put_right(place type, bool apart) noexcept {
    type = resolve(type);
    here_ = type.where;
    const name_node& n = node(type.node);
    if (n.kind == name_kind::function) return put_parameters(n);
    if (n.kind == name_kind::array) return put_bound(n, type.node, apart);
    place inner = here(inner_type(n));
    if (inner.node == 0) return;
    bool is_lvalue = false;
    if (is_reference(n.kind)) inner = referred(type, is_lvalue);
    later(apart ? right : right_again, inner);
    const bool points = n.kind == name_kind::vendor_qualified || n.kind == name_kind::member_pointer ||
                        n.kind == name_kind::pointer || is_reference(n.kind);
    if (points && is_suffix_behind(inner)) put(")");
  }
  PROF_DETAIL_COLD void put_bound(const name_node& n, std::uint32_t index, bool apart) noexcept {
    later(target_kind(here(n.b)) == name_kind::array ? right_again : right, n.b);
    put_pattern(apart ? " [%a]" : "[%a]", index);
  }
  void put_parameters(const name_node& n) noexcept {
    later(right, n.a);
    if (n.extra != 0) later(qualifiers, 0, n.extra);
    if (node(n.b).b != 0) later(whole, node(n.b).b);
    later("(%p)", n.b);
  }
  // None instead of a single void.
  PROF_DETAIL_COLD std::uint32_t shown_parameters(std::uint32_t list) const noexcept {
    const name_node& first = node(node(list).b == 1 ? node(node(list).a).a : 0);
    return first.kind == name_kind::word && first.a == 'v' ? 0 : list;
  }
  PROF_DETAIL_COLD void put_qualifiers(std::uint32_t bits) noexcept {
    static constexpr const char* texts[] = {" noexcept", " transaction_safe", " const", " volatile", " restrict",
                                            " &",        " &&"};
    for (unsigned i = 0; bits >> i != 0; ++i) {
      if ((bits >> i & 1) != 0) put(texts[i]);
    }
  }

  // ---- expressions -----------------------------------------------------------------------------

  PROF_DETAIL_COLD void put_expression(const name_node& n, std::uint32_t index) noexcept {
    const auto either = [&](const char* with_extra, const char* without) {
      put_pattern(n.extra != 0 ? with_extra : without, index);
    };
    switch (n.kind) {
      case name_kind::exception_specification: return either(" throw(%a)", " noexcept(%a)");
      case name_kind::expansion: return put_expansion(n);
      case name_kind::decltype_of: return put_pattern("decltype (%a)", index);
      case name_kind::constrained_auto: return either("%a decltype(auto)", "%a auto");
      case name_kind::numbered_type:
        return n.extra == 2 ? put_pattern("_Float%a", index) : either("unsigned _BitInt(%a)", "_BitInt(%a)");
      case name_kind::expression: return put_operation(n, index);
      case name_kind::literal: return put_literal(n, index);
      case name_kind::cast: return put_pattern("(%a)%B", index);
      case name_kind::braced: return put_pattern("%a{%b}", index);
      case name_kind::call_of_vendor: return put_pattern("%a%B", index);
      default: return;
    }
  }
  PROF_DETAIL_COLD void put_literal(const name_node& n, std::uint32_t index) noexcept {
    const name_node& type = node(n.a);
    const name_node& value = node(n.b);
    const char letter = type.kind == name_kind::word && type.a < 128 ? static_cast<char>(type.a) : '?';
    const char digit = value.kind == name_kind::text ? name_->text().data[value.a] : '\0';
    if (letter == 'b' && n.extra == 0 && value.b == 1 && (digit == '0' || digit == '1')) {
      return put(digit == '0' ? "false" : "true");
    }
    const char* const suffix = literal_suffix(letter);
    if (suffix == nullptr) return put_pattern(letter >= 'd' && letter <= 'g' ? "(%a)%-[%b]" : "(%a)%-%b", index);
    if (n.extra != 0) put("-");
    put_leaf(value, n.b);
    put(suffix);
  }
  static const char* literal_suffix(char type) noexcept {
    switch (type) {
      case 'i': return "";
      case 'j': return "u";
      case 'l': return "l";
      case 'm': return "ul";
      case 'x': return "ll";
      case 'y': return "ull";
      default: return nullptr;
    }
  }
  PROF_DETAIL_COLD void put_operand(std::uint32_t index) noexcept {
    const name_kind kind = kind_of(index);
    const bool bare = kind == name_kind::text || kind == name_kind::qualified_name || kind == name_kind::braced ||
                      kind == name_kind::function_parameter;
    put_pattern(bare ? "%i" : "(%i)", index);
  }
  PROF_DETAIL_COLD void put_operation(const name_node& n, std::uint32_t index) noexcept {
    // By operand_form; some forms have more than one.
    static constexpr char patterns[][17] = {
        "%o",      "%o%A",    "%o%A", "%o(%a)",     "%o(%a)", "%o%a",   "",       "",       "%A%o%B",
        "%A[%b]",  "%f%B",    "%A%o%B", "%o<%a>(%b)", "(%B%s...)", ".%a%v", "[%a]%v", "(%C%s...%s%D)", "[%a ... %c]%v",
        "%A?%C : %D", "new %c"};
    const operator_row& row = all_operators[n.extra];
    const char* text = patterns[static_cast<int>(row.form)];
    switch (row.form) {
      case operand_form::prefix: return put_prefix(n, row, index);
      case operand_form::postfix: text = n.b != 0 ? "%A%o" : text; break;
      case operand_form::pack_size: return put_pack_size(n.a, index);
      case operand_form::args_size: return put_args_size(node(n.a));
      case operand_form::fold: text = row.code[1] == 'l' ? "(...%s%B)" : text; break;
      case operand_form::new_object:
        if (node(n.a).b != 0) text = "new %A %c";
        if (node(n.b).b != 0) text = node(n.a).b != 0 ? "new %A %c%D" : "new %c%D";
        break;
      // Else it looked like the end of template arguments.
      case operand_form::binary: text = row.code[0] == 'g' && row.code[1] == 't' ? "(%A%o%B)" : text; break;
      default: break;
    }
    // The whole pack, not one element of it.
    if (row.form == operand_form::fold || row.form == operand_form::binary_fold) here_.index = no_index;
    put_pattern(text, index);
  }
  PROF_DETAIL_COLD void put_prefix(const name_node& n, const operator_row& row, std::uint32_t index) noexcept {
    const bool address_of_member = row.code[0] == 'a' && row.code[1] == 'd' && kind_of(n.a) == name_kind::encoding &&
                                   kind_of(node(n.a).a) == name_kind::qualified_name;
    put_pattern(address_of_member ? "%o%f" : "%o%A", index);
  }
  // What is initialized: .a, [i] or [i ... j]; one may follow another.
  PROF_DETAIL_COLD void put_value(const name_node& n) noexcept {
    const bool of_elements = all_operators[n.extra].form == operand_form::elements;
    const std::uint32_t value = of_elements ? node(n.b).b : n.b;
    const name_node& v = node(value);
    const operand_form form = v.kind == name_kind::expression ? all_operators[v.extra].form : operand_form::none;
    const bool chained = form == operand_form::field || form == operand_form::element || form == operand_form::elements;
    if (!chained) put("=");
    later(chained ? whole : operand, value);
  }

  // ---- parameter packs -------------------------------------------------------------------------

  // Once for each element, with all parameters in it standing for that one.
  PROF_DETAIL_COLD void put_expansion(const name_node& n) noexcept {
    const std::uint32_t pack = pack_in(n.a);
    if (pack == 0) {
      later("...");
      return later(operand, n.a);
    }
    const auto count = static_cast<std::uint16_t>(node(pack).b);
    here_.index = 0;
    if (count != 0) later(expanded, n.a, count);
  }
  PROF_DETAIL_COLD void put_expanded(std::uint32_t pattern_of, std::uint16_t count) noexcept {
    if (here_.index != 0) put(", ");
    const place first = here(pattern_of);
    if (++here_.index < count) later(expanded, pattern_of, count);
    later(whole, first);
  }
  // The first pack that a parameter in a pattern stands for, or 0.
  PROF_DETAIL_COLD std::uint32_t pack_in(std::uint32_t pattern_of) noexcept {
    const std::size_t begin = later_.size();
    const context all{here_.scope, no_index};
    std::uint32_t found = 0;
    for (later(whole, pattern_of); found == 0 && later_.size() > begin && spend();) {
      const std::uint32_t index = later_[later_.size() - 1].what_of.node;
      later_.drop(1);
      const name_node& n = node(index);
      if (n.kind == name_kind::list || n.kind == name_kind::pack) {
        for (std::uint32_t i = n.b; i-- > 0 && spend();) later(whole, node(n.a + i).a);
      } else if (n.kind == name_kind::template_parameter) {
        const std::uint32_t argument = resolve({index, all}).node;
        if (kind_of(argument) == name_kind::pack) found = argument;
      } else if ((n.flags & parameter_bit) != 0 && n.kind != name_kind::expansion && n.kind != name_kind::lambda) {
        later(whole, n.b);
        later(whole, n.a);
      }
    }
    later_.drop(later_.size() - begin);
    return found;
  }
  PROF_DETAIL_COLD void put_pack_size(std::uint32_t pattern_of, std::uint32_t index) noexcept {
    const std::uint32_t pack = pack_in(pattern_of);
    if (pack != 0) return put_number(node(pack).b);
    here_.index = no_index;
    put_pattern("sizeof...(%a)", index);
  }
  PROF_DETAIL_COLD void put_args_size(const name_node& list) noexcept {
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < list.b && spend(); ++i) {
      const name_node& n = node(node(list.a + i).a);
      const std::uint32_t pack = n.kind == name_kind::expansion ? pack_in(n.a) : 0;
      count += pack != 0 ? node(pack).b : 1;
    }
    put_number(count);
  }

  mangled_name* name_ = nullptr;
  arena_vector<char> text_;
  arena_vector<piece> later_;
  arena_vector<scope> scopes_;
  context here_;
  char last_ = '\0';  // printed
  bool stopped_ = false;  // the text is full, or
  bool failed_ = false;
};

PROF_DETAIL_END

#endif  // PROF_SYMBOL_READABLE_NAME_HPP
