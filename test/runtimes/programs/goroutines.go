// Goroutines, channels, timers, a goroutine that spins and is preempted by a signal, a nil pointer that is recovered from.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type node struct{ next *node }

func recovered(name string, body func()) {
	defer func() { fmt.Println(name, recover()) }()
	body()
}

func pipeline() {
	numbers, squares := make(chan int), make(chan int, 4)
	go func() {
		for i := 0; i < 1000; i++ {
			numbers <- i
		}
		close(numbers)
	}()
	var workers sync.WaitGroup
	for w := 0; w < 8; w++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for n := range numbers {
				squares <- n * n
			}
		}()
	}
	go func() { workers.Wait(); close(squares) }()
	sum := 0
	for s := range squares {
		sum += s
	}
	fmt.Println("sum", sum)
}

func spinning() {
	before := runtime.GOMAXPROCS(1)
	var stop, turns int64
	go func() {
		for atomic.LoadInt64(&stop) == 0 {
			turns++
		}
	}()
	// With one processor this goes on only if the one that spins is made to give way.
	time.Sleep(30 * time.Millisecond)
	atomic.StoreInt64(&stop, 1)
	fmt.Println("preempted")
	runtime.GOMAXPROCS(before)
}

func timers() {
	early, fired, start := int32(0), make(chan bool, 3), time.Now()
	for _, span := range []time.Duration{2, 12, 24} {
		span := span * time.Millisecond
		time.AfterFunc(span, func() {
			if time.Since(start) < span {
				atomic.AddInt32(&early, 1)
			}
			fired <- true
		})
	}
	fmt.Println(<-fired, <-fired, <-fired, early)
	ticker, ticks := time.NewTicker(time.Millisecond), 0
	for range ticker.C {
		if ticks++; ticks == 10 {
			ticker.Stop()
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	select {
	case <-ctx.Done():
		fmt.Println(ticks, ctx.Err())
	case <-time.After(10 * time.Second):
		fmt.Println("too late")
	}
}

func garbage() {
	debug.SetGCPercent(20)
	var kept sync.Map
	var group sync.WaitGroup
	for g := 0; g < 8; g++ {
		group.Add(1)
		go func(g int) {
			defer group.Done()
			var list *node
			for i := 0; i < 200000; i++ {
				list = &node{list}
				if i%1000 == 0 {
					list = nil
				}
			}
			kept.Store(g, make([]byte, 100000))
		}(g)
	}
	group.Wait()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	keys := []int{}
	kept.Range(func(key, _ any) bool { keys = append(keys, key.(int)); return true })
	sort.Ints(keys)
	fmt.Println(keys, stats.NumGC > 0)
}

func main() {
	pipeline()
	timers()
	spinning()
	garbage()
	var list *node
	recovered("nil", func() { fmt.Println(list.next) })
	recovered("index", func() { _ = make([]int, 3)[len(os.Args)+5] })
	recovered("division", func() { fmt.Println(1 / (len(os.Args) - len(os.Args))) })
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-signals)
	locked := make(chan int)
	go func() { runtime.LockOSThread(); locked <- syscall.Gettid() }()
	fmt.Println(<-locked > 0)
	go func() { panic("on purpose") }()
	time.Sleep(10 * time.Second)
}
