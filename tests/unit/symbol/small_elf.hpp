// tests/unit/symbol/small_elf.hpp - ELF files made by hand.
#ifndef PROF_TESTS_UNIT_SYMBOL_SMALL_ELF_HPP
#define PROF_TESTS_UNIT_SYMBOL_SMALL_ELF_HPP

#include "prof/os/os.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#if PROF_DETAIL_OS_LINUX

namespace small_elfs {

constexpr std::uint64_t load_address = 0x10000;  // of file offset 0

template <class T>
inline std::string raw(const T& value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

// A zlib stream of stored blocks.
inline std::string packed(const std::string& text) {
    constexpr std::size_t longest = 0xffff;
    std::string out = "\x78\x01";
    for (std::size_t at = 0; at == 0 || at < text.size(); at += longest) {
        const std::string block = text.substr(at, longest);
        const auto size = static_cast<std::uint16_t>(block.size());
        out += static_cast<char>(at + longest >= text.size());  // the last one?
        out += raw(size) + raw(static_cast<std::uint16_t>(~size)) + block;
    }
    std::uint32_t a = 1;
    std::uint32_t b = 0;
    for (const char c : text) {
        a = (a + static_cast<unsigned char>(c)) % 65521;
        b = (b + a) % 65521;
    }
    for (const std::uint32_t part : {b >> 8, b, a >> 8, a}) out += static_cast<char>(part & 255);
    return out;
}
// A section of SHF_COMPRESSED that says to have `size` bytes.
inline std::string compressed(const std::string& text, std::uint64_t size, std::uint32_t type = 1) {
    Elf64_Chdr head{};
    head.ch_type = type;
    head.ch_size = size;
    head.ch_addralign = 1;
    return raw(head) + packed(text);
}

struct small_elf {
    struct part {
        std::string name;
        Elf64_Shdr head;
        std::string content;
    };
    Elf64_Ehdr header{};
    std::vector<part> parts{part{"", Elf64_Shdr{}, ""}};
    std::string strings = std::string(1, '\0');
    std::string symbols = raw(Elf64_Sym{});
    std::string build_id = "0123456789abcdefghij";

    small_elf() {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_machine = EM_X86_64;
        header.e_phoff = sizeof header;
        header.e_phentsize = sizeof(Elf64_Phdr);
        header.e_phnum = 2;
        header.e_shentsize = sizeof(Elf64_Shdr);
    }

    std::uint32_t string(const std::string& text) {
        const std::size_t at = strings.size();
        strings += text + '\0';
        return static_cast<std::uint32_t>(at);
    }
    void symbol(const std::string& name, std::uint64_t start, std::uint64_t size, unsigned type,
                unsigned binding, unsigned section) {
        Elf64_Sym s{};
        s.st_name = string(name);
        s.st_value = start;
        s.st_size = size;
        s.st_info = static_cast<unsigned char>(binding << 4 | type);
        s.st_shndx = static_cast<Elf64_Half>(section);
        symbols += raw(s);
    }
    std::uint32_t add(const std::string& name, std::uint32_t type, std::uint64_t flags,
                      std::uint64_t address, const std::string& content, std::uint32_t link = 0,
                      std::uint64_t entry = 0) {
        Elf64_Shdr head{};
        head.sh_type = type;
        head.sh_flags = flags;
        head.sh_addr = address;
        head.sh_link = link;
        head.sh_entsize = entry;
        parts.push_back({name, head, content});
        return static_cast<std::uint32_t>(parts.size() - 1);
    }

    std::string note() const {
        Elf64_Nhdr head{};
        head.n_namesz = 4;
        head.n_descsz = static_cast<std::uint32_t>(build_id.size());
        head.n_type = NT_GNU_BUILD_ID;
        return raw(head) + std::string("GNU\0", 4) + build_id;
    }

    std::string bytes() {
        std::string section_names(1, '\0');
        for (part& p : parts) {
            p.head.sh_name = static_cast<std::uint32_t>(section_names.size());
            section_names += p.name + '\0';
        }
        add("", SHT_STRTAB, 0, 0, section_names);
        const std::string own_note = note();
        const std::size_t note_at = sizeof header + 2 * sizeof(Elf64_Phdr);
        std::string body = own_note;
        for (part& p : parts) {
            p.head.sh_offset = note_at + body.size();
            p.head.sh_size = p.content.size();
            body += p.content;
        }
        header.e_shoff = note_at + body.size();
        header.e_shnum = static_cast<Elf64_Half>(parts.size());
        header.e_shstrndx = static_cast<Elf64_Half>(parts.size() - 1);
        Elf64_Phdr load{};
        load.p_type = PT_LOAD;
        load.p_flags = PF_R | PF_X;
        load.p_vaddr = load_address;
        load.p_filesz = 0x10000;  // more than the file: code need not have bytes for these tests
        Elf64_Phdr notes{};
        notes.p_type = PT_NOTE;
        notes.p_offset = note_at;
        notes.p_filesz = own_note.size();
        std::string file = raw(header) + raw(load) + raw(notes) + body;
        for (const part& p : parts) file += raw(p.head);
        parts.pop_back();
        return file;
    }
};

// A text section of 0x1000 bytes at load_address + 0x1000 whose symbols the caller adds.
constexpr std::uint64_t text = load_address + 0x1000;

inline small_elf with_text_section() {
    small_elf elf;
    elf.add(".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, text, "");
    return elf;
}

inline std::string finish(small_elf& elf) {
    const auto strings = static_cast<std::uint32_t>(elf.parts.size() + 1);
    elf.add(".symtab", SHT_SYMTAB, 0, 0, elf.symbols, strings, sizeof(Elf64_Sym));
    elf.add(".strtab", SHT_STRTAB, 0, 0, elf.strings);
    std::string file = elf.bytes();
    // .text claims 0x1000 bytes without having them in the file.
    Elf64_Shdr head;
    std::memcpy(&head, file.data() + elf.header.e_shoff + sizeof head, sizeof head);
    head.sh_size = 0x1000;
    std::memcpy(&file[elf.header.e_shoff + sizeof head], &head, sizeof head);
    return file;
}

inline std::string rich_image() {
    small_elf elf = with_text_section();
    elf.symbol("outer", text, 0x800, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("inner", text + 0x100, 0x100, STT_FUNC, STB_LOCAL, 1);
    elf.symbol("open", text + 0x900, 0, STT_FUNC, STB_WEAK, 1);
    elf.symbol("label", text + 0xa00, 0, STT_NOTYPE, STB_GLOBAL, 1);
    return finish(elf);
}

}  // namespace small_elfs

#endif

#endif  // PROF_TESTS_UNIT_SYMBOL_SMALL_ELF_HPP
