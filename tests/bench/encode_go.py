"""Writes the Go program that is a peer of encode_prof.cpp: a heap of some 10,000 stacks of 20 frames, made
by really allocating along random walks over 512 functions, and written by runtime/pprof."""

FUNCTIONS = 512
HEAD = """package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"sort"
	"strconv"
	"time"
)

var kept [][]byte
var table [FUNCTIONS]func(path []int)

func root(path []int) { middle(path) }
func middle(path []int) { table[path[0]](path[1:]) }

func main() {
	runtime.MemProfileRate = 1
	state := uint64(1)
	below := func(limit int) int {
		state = state*6364136223846793005 + 1442695040888963407
		return int(state>>33) % limit
	}
	var called [FUNCTIONS][10]int
	for i := range called {
		for k := range called[i] {
			called[i][k] = below(FUNCTIONS)
		}
	}
	for i := 0; i < 10350; i++ {
		path := make([]int, 14+below(4))
		at := 0
		for k := range path {
			at = called[at][below(10)]
			path[k] = at
		}
		root(path)
	}
	rounds, _ := strconv.Atoi(os.Args[1])
	var times []float64
	var out bytes.Buffer
	for i := 0; i < rounds; i++ {
		out.Reset()
		begin := time.Now()
		if err := pprof.WriteHeapProfile(&out); err != nil {
			panic(err)
		}
		times = append(times, float64(time.Since(begin).Microseconds())/1000)
	}
	sort.Float64s(times)
	packed := out.Len()
	reader, _ := gzip.NewReader(&out)
	raw, _ := io.Copy(io.Discard, reader)
	fmt.Printf("all_ms=%.3f raw_bytes=%d gz_bytes=%d\\n", times[len(times)/2], raw, packed)
}
"""
FUNCTION = """
//go:noinline
func walk{0}(path []int) {{
	if len(path) == 0 {{
		kept = append(kept, make([]byte, {1}))
		return
	}}
	table[path[0]](path[1:])
}}
"""


def program():
    text = HEAD.replace("FUNCTIONS", str(FUNCTIONS))
    text += "".join(FUNCTION.format(i, 16 + 16 * (i % 8)) for i in range(FUNCTIONS))
    entries = ", ".join(f"walk{i}" for i in range(FUNCTIONS))
    return text + f"\nfunc init() {{ table = [{FUNCTIONS}]func([]int){{{entries}}} }}\n"
