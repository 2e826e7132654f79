// Usage: contention WHAT FILE [SECONDS]. The same as contention.cpp, which says what crowd and holders do, with Go's own
// mutex profile: prints `function milliseconds` of what each unlock made others wait, and writes FILE.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

var (
	lock sync.Mutex
	over time.Time
)

type interval struct{ begin, end time.Time }

func (a interval) overlap(b interval) time.Duration {
	begin, end := a.begin, a.end
	if b.begin.After(begin) {
		begin = b.begin
	}
	if b.end.Before(end) {
		end = b.end
	}
	return max(0, end.Sub(begin))
}

// What one goroutine saw.
type diary struct{ waits, holds []interval }

func charged(all []diary, holder diary) (sum time.Duration) {
	for _, hold := range holder.holds {
		for _, other := range all {
			for _, wait := range other.waits {
				sum += wait.overlap(hold)
			}
		}
	}
	return sum
}

// ---- crowd ----

var holds atomic.Int64

//go:noinline
func crowdMember() {
	for time.Now().Before(over) {
		lock.Lock()
		time.Sleep(10 * time.Millisecond)
		if time.Now().Before(over) {
			holds.Add(1)
		}
		lock.Unlock()
	}
}

// The profile is of holds that ended while all others waited.
func crowd(write func()) {
	var all sync.WaitGroup
	for range 101 {
		all.Go(crowdMember)
	}
	time.Sleep(time.Until(over))
	write()
	all.Wait()
	fmt.Println("holds", holds.Load())
}

// ---- holders ----

func hold(log *diary, length time.Duration) {
	for time.Now().Before(over) {
		began := time.Now()
		lock.Lock()
		got := time.Now()
		log.waits = append(log.waits, interval{began, got})
		if length != 0 {
			time.Sleep(length)
		}
		log.holds = append(log.holds, interval{got, time.Now()})
		lock.Unlock()
		time.Sleep(time.Millisecond)
	}
}

//go:noinline
func hold30(log *diary) { hold(log, 30*time.Millisecond) }

//go:noinline
func hold10(log *diary) { hold(log, 10*time.Millisecond) }

//go:noinline
func compete(log *diary) { hold(log, 0) }

func holders(write func()) {
	logs := make([]diary, 5)
	var all sync.WaitGroup
	for i, run := range []func(*diary){hold30, hold10, compete, compete, compete} {
		all.Go(func() { run(&logs[i]) })
	}
	all.Wait()
	write()
	for i, name := range []string{"hold30", "hold10"} {
		fmt.Println(name, charged(logs, logs[i]).Seconds()*1000)
	}
	var total time.Duration
	for _, log := range logs {
		total += charged(logs, log)
	}
	fmt.Println("total", total.Seconds()*1000)
}

func main() {
	runtime.SetMutexProfileFraction(1)
	seconds := 3
	if len(os.Args) > 3 {
		seconds, _ = strconv.Atoi(os.Args[3])
	}
	over = time.Now().Add(time.Duration(seconds) * time.Second)
	write := func() {
		file, err := os.Create(os.Args[2])
		if err == nil {
			err = pprof.Lookup("mutex").WriteTo(file, 0)
		}
		if err != nil {
			panic(err)
		}
	}
	map[string]func(func()){"crowd": crowd, "holders": holders}[os.Args[1]](write)
}
