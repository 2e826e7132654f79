"""Whatever a user's file holds before and after the include, prof compiles in it and works.

Other libraries' macros, every other header before and behind, both facades in any order, as a
system header, precompiled, in files with odd names, and in several files of one program.
"""

import itertools
import unittest

from headers import PROGRAMS, golden
from support import pprof_check
from support.compiling import COMPILERS, TREES, USE, AllCompile, Job, heap_profile, include, labels_of, must
from support.harness import WARNINGS, fresh_directory, in_parallel, run

HTTP = "-DPROF_ENABLE_HTTP"

# Macros as other people's headers have them, by where they come from.
MACROS = {
    "windows.h, for Wine and old ports": """
        min(a,b) (((a) < (b)) ? (a) : (b))
        max(a,b) (((a) > (b)) ? (a) : (b))
        near
        far
        small char
        hyper long
        interface struct
        pascal
        cdecl
        IN
        OUT
        OPTIONAL
        CONST const
        VOID void
        TRUE 1
        FALSE 0
        STRICT 1
        DELETE 0x00010000L
        ERROR 0
        NO_ERROR 0
        OPAQUE 2
        TRANSPARENT 1
        DIFFERENCE 11
        CALLBACK
        THIS void
        grp1 0x0430
        rad1 0x0420
        Yield()
        GetObject GetObjectA
        SendMessage SendMessageA""",
    "Qt": """
        slots
        signals public
        emit
        foreach(variable, container) for (variable : container)
        forever for (;;)""",
    "X11": """
        Bool int
        Status int
        True 1
        False 0
        None 0L
        Success 0
        Always 2
        Above 0
        Below 1
        Complex 0
        Convex 2
        Unsorted 0
        CursorShape 0
        Expose 12
        FocusIn 9
        KeyPress 2""",
    "the kernel's and embedded code's attributes and helpers": """
        likely(x) __builtin_expect(!!(x), 1)
        unlikely(x) __builtin_expect(!!(x), 0)
        noinline __attribute__((__noinline__))
        weak __attribute__((__weak__))
        unused __attribute__((__unused__))
        cold __attribute__((__cold__))
        hot __attribute__((__hot__))
        aligned(n) __attribute__((__aligned__(n)))
        fallthrough __attribute__((__fallthrough__))
        barrier() __asm__ __volatile__("" ::: "memory")
        container_of(p, type, member) ((type*)((char*)(p) - offsetof(type, member)))
        ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
        BIT(n) (1UL << (n))
        READ_ONCE(x) (*(const volatile decltype(x)*)&(x))
        PAGE_SIZE 4096
        PAGE_MASK (~(PAGE_SIZE - 1))
        u8 unsigned char
        u32 unsigned
        u64 unsigned long
        s32 int""",
    "assertions and logging": """
        check(x) assert(x)
        verify(x) assert(x)
        require(x, label) do { if (!(x)) goto label; } while (0)
        expect(x) assert(x)
        ensure(x) assert(x)
        CHECK(x) assert(x)
        REQUIRE(x) assert(x)
        FAIL(x) abort()
        ASSERT(x) assert(x)
        LOG(x) (void)(x)
        DEBUG 1
        INFO 2
        WARNING 3
        trace(...) (void)0
        debug(...) (void)0
        log_error(...) (void)0""",
    "BSD, old C and C-like C++": """
        BSD 199506
        major(d) (int)(((d) >> 8) & 0xff)
        minor(d) (int)((d) & 0xff)
        makedev(a, b) (((a) << 8) | (b))
        MIN(a, b) (((a) < (b)) ? (a) : (b))
        MAX(a, b) (((a) > (b)) ? (a) : (b))
        ABS(a) ((a) < 0 ? -(a) : (a))
        CLAMP(x, low, high) MIN(MAX(x, low), high)
        index strchr
        bcopy(a, b, n) memmove(b, a, n)
        bzero(a, n) memset(a, 0, n)
        unix 1
        linux 1
        uint unsigned
        ulong unsigned long
        nil 0
        YES 1
        NO 0
        OK 0
        I 1.0i
        N 100005
        private public
        protected public""",
}

# Real headers with macros and names of their own; libc6-dev and linux-libc-dev have them all. Not
# resolv.h: it defines p_type as __p_type, and nobody can use elf.h's structs after that.
C_HEADERS = """aio.h arpa/inet.h arpa/nameser.h assert.h complex.h ctype.h dirent.h dlfcn.h elf.h
endian.h err.h errno.h error.h execinfo.h fcntl.h features.h fenv.h fnmatch.h ftw.h getopt.h glob.h
grp.h iconv.h ifaddrs.h inttypes.h langinfo.h libgen.h limits.h link.h locale.h malloc.h math.h
mcheck.h monetary.h mqueue.h net/if.h netdb.h netinet/in.h netinet/ip.h netinet/tcp.h nl_types.h
obstack.h paths.h poll.h pthread.h pty.h pwd.h regex.h sched.h search.h semaphore.h
setjmp.h signal.h spawn.h stdint.h stdio.h stdlib.h string.h strings.h sys/auxv.h sys/epoll.h
sys/eventfd.h sys/file.h sys/inotify.h sys/ioctl.h sys/ipc.h sys/mman.h sys/mount.h sys/msg.h
sys/param.h sys/poll.h sys/prctl.h sys/ptrace.h sys/queue.h sys/random.h sys/resource.h
sys/select.h sys/sem.h sys/sendfile.h sys/shm.h sys/signalfd.h sys/socket.h sys/stat.h
sys/statvfs.h sys/syscall.h sys/sysinfo.h sys/sysmacros.h sys/time.h sys/timerfd.h sys/times.h
sys/types.h sys/ucontext.h sys/uio.h sys/un.h sys/user.h sys/utsname.h sys/wait.h syslog.h
termios.h tgmath.h threads.h time.h ucontext.h ulimit.h unistd.h utime.h utmpx.h wchar.h wctype.h
wordexp.h linux/errqueue.h linux/fs.h linux/futex.h linux/if.h linux/input.h linux/kernel.h
linux/limits.h linux/perf_event.h linux/sched.h linux/stddef.h linux/types.h""".split()

CPP_HEADERS = """algorithm any array atomic bitset cassert ccomplex cctype cerrno cfenv cfloat charconv
chrono cinttypes climits clocale cmath codecvt complex condition_variable csetjmp csignal cstdarg
cstddef cstdint cstdio cstdlib cstring ctime cuchar cwchar cwctype deque exception execution
filesystem forward_list fstream functional future initializer_list iomanip ios iosfwd iostream
istream iterator limits list locale map memory memory_resource mutex new numeric optional ostream
queue random ratio regex scoped_allocator set shared_mutex sstream stack stdexcept streambuf string
string_view system_error thread tuple type_traits typeindex typeinfo unordered_map
unordered_set utility valarray variant vector cxxabi.h""".split()


def includes(names):
    return "".join(f"#include <{name}>\n" for name in names)


def defines(origin, macros):
    return f"// {origin}\n" + "".join(
        f"#define {line.strip()}\n" for line in macros.strip().splitlines())


MACROS_TEXT = "".join(defines(*item) for item in MACROS.items())


def job(compiler, source, *flags, tree="include", std="c++17"):
    return Job(compiler, source, (f"-std={std}", "-pthread", "-fsyntax-only", *WARNINGS, HTTP,
                                  "-I", TREES[tree], *flags))


class OtherMacros(AllCompile, unittest.TestCase):
    """All of MACROS at once. -Werror, because an empty `emit` silently turns a call of something
    with that name into a comma expression."""

    # First, because system headers are not ours to protect.
    SYSTEM = includes(sorted(golden.names_in(golden.path_of("includes", "prof")) |
                             {"assert.h", "stddef.h"}))
    MAY = "-Wno-keyword-macro"  # `private` is one

    def test_before_the_include(self):
        self.expect_all_compile([
            job(compiler, self.SYSTEM + MACROS_TEXT + include("prof") + USE, self.MAY)
            for compiler in COMPILERS])

    def test_before_the_cheap_include(self):
        self.expect_all_compile([
            job(compiler, self.SYSTEM + MACROS_TEXT + include("api"), self.MAY)
            for compiler in COMPILERS])

    def test_after_the_include(self):
        """prof's own macros expand in the user's file, if at all, beside the user's."""
        self.expect_all_compile([
            job(compiler, include("api", "prof") + MACROS_TEXT + USE, self.MAY)
            for compiler in COMPILERS])

    def test_gnu_modes(self):
        """There `linux` and `unix` are 1 from the start."""
        check = "static_assert(linux == 1 && unix == 1);\n"
        self.expect_all_compile([
            job(compiler, check + include("prof", "api") + USE, std=std)
            for compiler, std in zip(COMPILERS, ("gnu++17", "gnu++20"))])


class OtherHeaders(AllCompile, unittest.TestCase):
    def test_any_order(self):
        """First, last and twice, among all headers of C++17 and of the system."""
        both = include("api", "prof")
        texts = [
            include("prof", "prof", "api", "annotate", "prof") + USE,
            include("api", "prof") + USE,
            includes(CPP_HEADERS) + "using namespace std;\n" + include("prof", "api") + USE,
            include("prof") + includes(CPP_HEADERS) + USE,
            include("api") + includes(CPP_HEADERS) + include("prof") + USE,
            both + includes(C_HEADERS) + USE,
            includes(C_HEADERS) + both + USE,
        ]
        places = itertools.cycle(itertools.product(TREES, COMPILERS))
        self.expect_all_compile([
            job(compiler, text, tree=tree) for text, (tree, compiler) in zip(texts, places)])

    def test_as_a_system_header(self):
        """-isystem turns warnings off and must turn nothing else on."""
        jobs = []
        for compiler, tree in zip(COMPILERS, TREES):
            plain = job(compiler, include("prof", "api") + USE, tree=tree)
            flags = tuple("-isystem" if flag == "-I" else flag for flag in plain.flags)
            jobs.append(plain._replace(flags=flags))
        self.expect_all_compile(jobs)

    def test_users_own_names(self):
        """Nothing of ours is in the global namespace but the hooks."""
        names = "label result sink options format detail status fd anchor part hook".split()
        own = "".join(f"struct {name} {{ int x; }};\n" for name in names)
        after = "using namespace prof;\n" + "".join(
            f"static_assert(sizeof(::{name}) == sizeof(int));\n" for name in names)
        self.expect_all_compile([
            job(compiler, own + include("prof") + after) for compiler in COMPILERS])


class SeveralFiles(unittest.TestCase):
    """Both trees, one each, because a program has one of them."""

    def build(self, compiler, tree, directory):
        flags = ("-std=c++17", "-O0", "-pthread", "-I", TREES[tree])
        names = [f"several_{name}" for name in ("main", "second", "annotated")]
        in_parallel(lambda name: must(compiler, *flags, "-c", PROGRAMS / f"{name}.cpp",
                                      "-o", directory / f"{name}.o"), names)
        # The annotating file first: what it has of prof is then what the linker keeps.
        for order in (names, names[::-1]):
            program = directory / order[0]
            must(compiler, "-pthread", *(directory / f"{name}.o" for name in order), "-o", program)
            yield program

    def test_two_files_with_the_whole_and_one_that_annotates(self):
        for compiler, tree in zip(COMPILERS, TREES):
            directory = fresh_directory(f"several_{compiler}")
            for program in self.build(compiler, tree, directory):
                with self.subTest(compiler=compiler, first=program.name):
                    one, two = directory / "one.pb.gz", directory / "two.pb.gz"
                    run(program, one, two)
                    for profile in map(heap_profile, (one, two)):
                        self.assertEqual(labels_of(profile, "second_allocates"),
                                         {("where", "annotated")})
                        self.assertEqual(pprof_check.find(profile, "main_allocates"), 1000)
                        self.assertEqual(pprof_check.find(profile, "second_allocates"), 1000)


class Precompiled(unittest.TestCase):
    def build(self, compiler):
        directory = fresh_directory(f"precompiled_{compiler}")
        flags = ("-std=c++17", "-O0", "-pthread", "-I", TREES["include"])
        header = directory / "precompiled.hpp"
        header.write_text((PROGRAMS / "precompiled.hpp").read_text())
        binary = directory / ("precompiled.hpp.gch" if compiler == "g++" else "precompiled.pch")
        must(compiler, *flags, "-x", "c++-header", header, "-o", binary)
        use = ("-include", header) if compiler == "g++" else ("-include-pch", binary)
        must(compiler, *flags, "-Winvalid-pch", "-Werror", *use, PROGRAMS / "precompiled.cpp",
             "-o", directory / "program")
        return directory / "program"

    def test_works(self):
        """The file's record is assembler text, which a precompiled header must carry along."""
        for compiler, program in zip(COMPILERS, in_parallel(self.build, COMPILERS)):
            with self.subTest(compiler=compiler):
                path = program.parent / "heap.pb.gz"
                run(program, path)
                self.assertEqual(pprof_check.find(heap_profile(path), "main_allocates"), 1000)


class FileNames(unittest.TestCase):
    NAMES = ("with space.cpp", "100%d.cpp", "it's.cpp", "\u00fcn\u00efcode.cpp", "#hash; {a|b}.cpp",
             "/* comment.cpp", 'say "hello".cpp', "back\\slash.cpp", "tab\t.cpp")

    def test_odd_names_are_recorded_as_they_are(self):
        """Every file leaves its name in its object; see process/anchor.hpp."""
        directory = fresh_directory("names")
        cases = list(itertools.product(COMPILERS, enumerate(self.NAMES)))
        for (compiler, (_, name)), found in zip(cases, in_parallel(
                lambda case: self.record_of(directory, *case), cases)):
            with self.subTest(compiler=compiler, name=name):
                self.assertIn(name.encode(), found)

    def record_of(self, directory, compiler, numbered):
        number, name = numbered
        source = directory / compiler / str(number) / name
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(include("api") + "int main() {}\n")
        program = directory / f"{compiler}{number}"
        must(compiler, "-std=c++17", "-I", TREES["include"], source, "-o", program)
        return program.read_bytes()


if __name__ == "__main__":
    unittest.main()
