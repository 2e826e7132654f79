"""What prof compresses is read by the decompressors of the world: gzip, zlib (Python's), Go's; prof reads what zlib
compresses, and refuses what zlib refuses."""

import gzip
import random
import struct
import subprocess
import unittest
import zlib

from support import harness

GO = """package main

import (
	"compress/gzip"
	"io"
	"os"
)

func main() {
	reader, err := gzip.NewReader(os.Stdin)
	if err != nil {
		panic(err)
	}
	if _, err := io.Copy(os.Stdout, reader); err != nil {
		panic(err)
	}
}
"""


def inputs():
    source = random.Random(1)
    text = b"".join(path.read_bytes() for path in sorted(harness.TREE.rglob("*.hpp")))
    return {
        "empty": b"",
        "one byte": b"x",
        "text": text,
        "zeros": bytes(1 << 20),
        "random": source.randbytes(1 << 20),
        "few symbols": bytes(source.choice(b"ab") for _ in range(200000)),
        "mixed": text[:50000] + source.randbytes(100000) + text[:50000] + bytes(70000),
    }


class Gzip(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.filter = harness.build(["gzip_filter.cpp"], "gzip_filter")
        folder = harness.BUILD / "gunzip_go"
        folder.mkdir(exist_ok=True)
        (folder / "main.go").write_text(GO)
        (folder / "go.mod").write_text("module gunzip\n\ngo 1.18\n")
        subprocess.run([harness.tool("go"), "build", "-o", harness.BUILD / "gunzip", "."], cwd=folder,
                       check=True)

    @staticmethod
    def through(command, data):
        return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout

    def test_everybody_reads_it(self):
        for name, data in inputs().items():
            packed = self.through([self.filter], data)
            with self.subTest(name):
                self.assertEqual(self.through([harness.tool("gzip"), "-dc"], packed), data)
                self.assertEqual(gzip.decompress(packed), data)
                decoder = zlib.decompressobj(31)
                self.assertEqual(decoder.decompress(packed), data)
                self.assertTrue(decoder.eof and not decoder.unused_data)
                self.assertEqual(self.through([harness.BUILD / "gunzip"], packed), data)

    def test_sizes(self):
        """Never above stored + 0.1 % and the frame of 18 bytes and a block; text as zlib does it or better."""
        for name, data in inputs().items():
            size = len(self.through([self.filter], data))
            with self.subTest(name):
                self.assertLessEqual(size, len(data) * 1.001 + 18 + 5)
                if name == "text":
                    level_1 = zlib.compressobj(1, zlib.DEFLATED, 31)
                    self.assertLessEqual(size, len(level_1.compress(data) + level_1.flush()))


def zlib_streams():
    """(stream, size) of all levels, strategies and windows, of one block and of many."""
    strategies = [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED]
    ways = [(level, 15, zlib.Z_DEFAULT_STRATEGY) for level in range(10)]
    ways += [(9, window, zlib.Z_DEFAULT_STRATEGY) for window in range(9, 16)]
    ways += [(6, 15, strategy) for strategy in strategies]
    for data in inputs().values():
        for level, window, strategy in ways:
            packer = zlib.compressobj(level, zlib.DEFLATED, window, 9, strategy)
            yield packer.compress(data) + packer.flush(), data
        packer = zlib.compressobj(6)
        pieces = [packer.compress(data[at : at + 999]) + packer.flush(zlib.Z_SYNC_FLUSH if at % 2 else zlib.Z_FULL_FLUSH)
                  for at in range(0, min(len(data), 99999), 999)]
        yield b"".join(pieces) + packer.flush(), data[: 999 * len(pieces)]


def broken_streams(source):
    """Thousands with some bytes changed, and with the right checksum where zlib still reads the blocks."""
    text = inputs()["text"]
    for turn in range(20000):
        start = source.randrange(len(text) - 2000)
        data = text[start : start + source.randrange(2000)]
        packer = zlib.compressobj(turn % 10, zlib.DEFLATED, 15, 9, zlib.Z_FIXED if turn % 3 == 0 else 0)
        stream = bytearray(packer.compress(data) + packer.flush())
        # In the head of the block, mostly: behind it every change is another literal.
        for _ in range(source.randrange(1, 4)):
            stream[source.randrange(2, min(len(stream), source.choice([6, 60, 5000])))] ^= 1 << source.randrange(8)
        yield bytes(stream)


def zlib_reads(stream):
    """What zlib makes of it, with the checksum that is right for that; None if it refuses the blocks."""
    decoder = zlib.decompressobj(-15)
    try:
        data = decoder.decompress(stream[2:], 1 << 20)
    except zlib.error:
        return stream, None
    if not decoder.eof:
        return stream, None
    blocks = stream[: len(stream) - len(decoder.unused_data)]
    return blocks + struct.pack(">I", zlib.adler32(data)), data


class Inflate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.filter = harness.build(["inflate_filter.cpp"], "inflate_filter", flags=["-fsanitize=address,undefined",
                                                                                 "-fno-sanitize-recover=all"])

    def through(self, streams):
        """For (stream, size): the bytes, or None where it was refused."""
        asked = b"".join(struct.pack("=II", len(stream), size) + stream for stream, size in streams)
        answer = subprocess.run([self.filter], input=asked, stdout=subprocess.PIPE, check=True).stdout
        at = 0
        for _, size in streams:
            ok = answer[at] == 1
            yield answer[at + 1 : at + 1 + size] if ok else None
            at += 1 + (size if ok else 0)
        self.assertEqual(at, len(answer))

    def test_what_zlib_writes_is_read(self):
        cases = list(zlib_streams())
        for (stream, data), got in zip(cases, self.through([(stream, len(data)) for stream, data in cases])):
            self.assertTrue(got == data, f"{len(stream)} bytes that begin with {stream[:20].hex()}")

    def test_what_zlib_refuses_is_refused(self):
        cases = [zlib_reads(stream) for stream in broken_streams(random.Random(1))]
        sizes = [(stream, 1000 if data is None else len(data)) for stream, data in cases]
        for (stream, data), got in zip(cases, self.through(sizes)):
            self.assertTrue(got == data, f"zlib {'refuses' if data is None else 'reads'} {stream.hex()}")
        refused = sum(data is None for _, data in cases)
        self.assertGreater(refused, 2000)
        self.assertGreater(len(cases) - refused, 2000)


if __name__ == "__main__":
    unittest.main()
