# go build, and a program of 400 goroutines.
exec 2>&1
command -v go >/dev/null || { echo "no go"; exit 77; }
export GOCACHE=$PWD/cache GOPATH=$PWD/path GOFLAGS=-mod=mod GO111MODULE=off CGO_ENABLED=0 HOME=$PWD
mkdir prog; cat > prog/main.go <<'END'
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func main() {
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	ch := make(chan int, 10)
	for i := 0; i < 400; i++ {
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			for k := 0; k < 50; k++ {
				syscall.Getppid()
				f, err := os.Open("/proc/self/comm")
				if err == nil {
					f.Close()
				}
				runtime.Gosched()
			}
			mu.Lock()
			total += n
			mu.Unlock()
			ch <- n
		}(i)
	}
	sum := 0
	for i := 0; i < 400; i++ {
		sum += <-ch
	}
	wg.Wait()
	fmt.Println(total, sum)
	out, err := exec.Command("sh", "-c", "echo child; exit 2").CombinedOutput()
	fmt.Printf("%s%v\n", out, err)
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	syscall.Kill(syscall.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-c)
	select {
	case <-time.After(20 * time.Millisecond):
		fmt.Println("timer")
	}
	b := make([][]byte, 0)
	for i := 0; i < 200; i++ {
		b = append(b, make([]byte, 1<<18))
	}
	runtime.GC()
	fmt.Println(len(b))
	defer func() { fmt.Println("recovered:", recover()); os.Exit(4) }()
	var p *int
	*p = 1
}
END
cd prog && go build -o ../p . && cd .. && ./p; echo "status $?"
