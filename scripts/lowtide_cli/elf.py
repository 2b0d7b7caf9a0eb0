"""What an ELF file says of itself: architecture, loader, libraries, and the symbols it defines."""
import mmap
import struct

PT_DYNAMIC, PT_INTERP, SHT_SYMTAB, SHT_DYNSYM = 2, 3, 2, 11
DT_NEEDED, DT_STRTAB = 1, 5
FUNCTIONS = (2, 10)     # types of symbols: functions, and those chosen at load time
MACHINES = {3: "i386", 21: "ppc64", 22: "s390", 40: "arm", 62: "x86-64", 183: "aarch64", 243: "riscv", 258: "loongarch"}


class NotElf(Exception):
    pass


class Elf:
    """Small reader. Symbols are looked for by name, since large programs have a million of them."""

    def __init__(self, path):
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:4] != b"\x7fELF" or len(head) < 52:
                raise NotElf(path)
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.bits = 64 if head[4] == 2 else 32
        self.order = "<" if head[5] == 1 else ">"
        try:
            self.read()
        except (struct.error, IndexError):
            raise NotElf(path) from None

    def unpack(self, layout, at):
        return struct.unpack_from(self.order + layout, self.data, at)

    def text(self, at):
        end = self.data.find(b"\0", at)
        return self.data[at:end].decode(errors="replace")

    def read(self):
        wide = self.bits == 64
        self.type, self.machine = self.unpack("HH", 16)
        program, section = self.unpack("QQ", 32) if wide else self.unpack("II", 28)
        self.header = self.unpack("HHHHH", 54 if wide else 42)      # sizes and numbers of both tables
        self.segments = [self.read_segment(program + i * self.header[0]) for i in range(self.header[1])]
        self.sections = [self.read_section(section + i * self.header[2]) for i in range(self.header[3])] \
            if section else []
        self.interpreter = next((self.text(s[1]) for s in self.segments if s[0] == PT_INTERP), None)
        self.is_dynamic = any(s[0] == PT_DYNAMIC for s in self.segments)
        self.needed = list(self.read_needed())
        self.section_names = set(self.read_section_names())

    def read_segment(self, at):
        """(type, offset, address, size in the file)"""
        if self.bits == 64:
            kind, _, offset, address, _, size = self.unpack("IIQQQQ", at)
        else:
            kind, offset, address, _, size = self.unpack("IIIII", at)
        return kind, offset, address, size

    def read_section(self, at):
        """(name, type, offset, size, linked section, size of an entry)"""
        if self.bits == 64:
            name, kind, _, _, offset, size, link, _, _, entry = self.unpack("IIQQQQIIQQ", at)
        else:
            name, kind, _, _, offset, size, link, _, _, entry = self.unpack("IIIIIIIIII", at)
        return name, kind, offset, size, link, entry

    def offset_of(self, address):
        for kind, offset, start, size in self.segments:
            if kind == 1 and start <= address < start + size:
                return offset + address - start
        return None

    def read_needed(self):
        word = "Q" if self.bits == 64 else "I"
        step = struct.calcsize(word) * 2
        for kind, offset, _, size in self.segments:
            if kind != PT_DYNAMIC:
                continue
            entries = [self.unpack(word * 2, offset + i) for i in range(0, size - step + 1, step)]
            strings = self.offset_of(dict(entries).get(DT_STRTAB, 0))
            if strings is not None:
                yield from (self.text(strings + value) for tag, value in entries if tag == DT_NEEDED)

    def defines(self, *names):
        """Whether a function of one of these names is defined for other libraries to use."""
        return any(self.has_function(name, (SHT_DYNSYM,)) for name in names)

    def knows(self, *names):
        """The same for any function, as far as the file was not stripped."""
        return any(self.has_function(name, (SHT_DYNSYM, SHT_SYMTAB)) for name in names)

    def has_function(self, name, tables):
        for _, kind, offset, size, link, _ in self.sections:
            if kind in tables and link < len(self.sections):
                places = self.find_name(name, self.sections[link])
                if places and self.has_symbol(places, offset, size):
                    return True
        return False

    def find_name(self, name, strings):
        """Where it is in a table of strings; it may also be the end of a longer name."""
        begin, end, found = strings[2], strings[2] + strings[3], set()
        at = self.data.find(name.encode() + b"\0", begin, end)
        while at >= 0:
            found.add(at - begin)
            at = self.data.find(name.encode() + b"\0", at + 1, end)
        return found

    def has_symbol(self, places, offset, size):
        if self.bits == 64:
            layout, info_at, section_at = struct.Struct(self.order + "IBxH16x"), 1, 2
        else:
            layout, info_at, section_at = struct.Struct(self.order + "I8xBxH"), 1, 2
        table = self.data[offset:offset + size - size % layout.size]
        return any(symbol[0] in places and symbol[section_at] and symbol[info_at] & 15 in FUNCTIONS
                   for symbol in layout.iter_unpack(table))

    def read_section_names(self):
        index = self.header[4]
        if index < len(self.sections):
            strings = self.sections[index][2]
            yield from (self.text(strings + section[0]) for section in self.sections)

    def architecture(self):
        name = MACHINES.get(self.machine, f"machine {self.machine}")
        return name if self.bits == 64 or name in ("i386", "arm") else f"{name}, {self.bits} bits"
