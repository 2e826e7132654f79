// What get.cpp does, in Go.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"strconv"
)

type item struct {
	bytes []byte
	name  string
}

var kept []*item

//go:noinline
func make1(i int) {
	kept = append(kept, &item{make([]byte, 2048), strconv.Itoa(i)})
}

//go:noinline
func walk(depth, i, path int) {
	if depth == 0 {
		make1(i)
	} else if path&1 != 0 {
		walk(depth-1, i, path>>1)
	} else {
		walk(depth-1, i+1, path>>1)
	}
}

func main() {
	for i := 0; i < 20000; i++ {
		walk(6, i, i)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	go http.Serve(listener, nil)
	io.Copy(io.Discard, os.Stdin)
}
