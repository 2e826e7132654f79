"""A program with about 55 MB of code and debug information in 16 files, and addresses in it."""

import random

FILES, TYPES = 16, 6

TYPE = """
struct t{n} {{ int a; double b; std::string c; bool operator<(const t{n}& o) const {{ return a < o.a || c < o.c; }} }};
int work_{n}(int n) {{
  std::map<std::string, std::vector<t{n}>> by_name;
  std::unordered_map<int, std::set<t{n}>> by_number;
  for (int i = 0; i < n; ++i) {{
    by_name[std::to_string(i)].push_back(t{n}{{i, i * 2.0, "x"}});
    by_number[i].insert(t{n}{{i, 1.0, "y"}});
  }}
  int sum = 0;
  for (auto& one : by_name) {{
    std::sort(one.second.begin(), one.second.end());
    std::stable_sort(one.second.begin(), one.second.end());
    sum += static_cast<int>(one.second.size());
  }}
  const std::function<int(int)> more = [&](int x) {{
    return static_cast<int>(std::make_shared<std::vector<t{n}>>(static_cast<std::size_t>(x))->size()) + sum;
  }};
  return more(3) + static_cast<int>(by_number.size());
}}
"""
HEADERS = "".join(f"#include <{name}>\n" for name in
                  ("algorithm", "functional", "map", "memory", "regex", "set", "string", "unordered_map", "vector"))
SEARCH = """
bool search_{n}(const std::string& text) {{ return std::regex_search(text, std::regex("a+b*(c|d)[0-9]")); }}
"""


def sources():
    """{file name: text}; the last one calls all the others in corpus_work()."""
    made = {}
    for number in range(FILES):
        types = "".join(TYPE.format(n=f"{number}_{k}") for k in range(TYPES))
        made[f"corpus_{number}.cpp"] = HEADERS + types + SEARCH.format(n=number)
    names = [f"work_{number}_{k}" for number in range(FILES) for k in range(TYPES)]
    made["corpus_all.cpp"] = ("".join(f"int {name}(int);\n" for name in names) + "int corpus_work(int n) {\n  return " +
                              " + ".join(f"{name}(n)" for name in names) + ";\n}\n")
    return made


def addresses(begin, size, count=1000):
    """Of a piece of code; always the same ones."""
    choice = random.Random(16)
    return sorted(begin + choice.randrange(size) for _ in range(count))
