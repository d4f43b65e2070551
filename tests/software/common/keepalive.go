// An HTTP server, and a client that holds many connections: keepalive serve ADDRESS | keepalive get URL CONNECTIONS ROUNDS.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func serve(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var open, most atomic.Int64
	s := http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/most" {
				fmt.Fprint(w, most.Load())
				return
			}
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %d", r.URL.Path, len(body))
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				n := open.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
			case http.StateClosed:
				open.Add(-1)
			}
		},
	}
	fmt.Println(s.Serve(l))
}

// One connection of its own: the first round of all must have been answered before the second begins.
func client(url string, i, rounds int, first *sync.WaitGroup, failed *atomic.Int64) {
	t := &http.Transport{MaxIdleConnsPerHost: 1, MaxConnsPerHost: 1}
	c := http.Client{Transport: t, Timeout: 60 * time.Second}
	for round := 0; round < rounds; round++ {
		path := fmt.Sprintf("/%d/%d", i, round)
		r, err := c.Get(url + path)
		if err == nil {
			body, _ := io.ReadAll(r.Body)
			r.Body.Close()
			if string(body) != path+" 0" {
				err = fmt.Errorf("wrong answer: %q", body)
			}
		}
		if err != nil {
			if failed.Add(1) < 5 {
				fmt.Println(err)
			}
		}
		if round == 0 {
			first.Done()
			first.Wait()
		}
	}
	t.CloseIdleConnections()
}

func get(url string, connections, rounds int) {
	var all, first sync.WaitGroup
	var failed atomic.Int64
	start := time.Now()
	first.Add(connections)
	for i := 0; i < connections; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			client(url, i, rounds, &first, &failed)
		}(i)
	}
	all.Wait()
	seconds := time.Since(start).Seconds()
	fmt.Printf("%d connections, %d requests each, %d failed\n", connections, rounds, failed.Load())
	fmt.Printf("# %d connections %.0f requests/s\n", connections, float64(connections*rounds)/seconds)
}

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		serve(os.Args[2])
	case len(os.Args) == 5 && os.Args[1] == "get":
		connections, _ := strconv.Atoi(os.Args[3])
		rounds, _ := strconv.Atoi(os.Args[4])
		get(os.Args[2], connections, rounds)
	default:
		os.Exit(2)
	}
}
