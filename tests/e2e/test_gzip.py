"""What prof compresses is read by the decompressors of the world: gzip, zlib (Python's), Go's."""

import gzip
import random
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


if __name__ == "__main__":
    unittest.main()
