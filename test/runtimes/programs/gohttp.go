// A server and its clients in one process, over TCP and over pipes of the process's own.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func get(client *http.Client, url string) string {
	answer, err := client.Get(url)
	check(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	check(err)
	return string(body)
}

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello %s", r.URL.Path) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, strings.Repeat("l", 2000000)) })
	mux.HandleFunc("/size", func(w http.ResponseWriter, r *http.Request) {
		size, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, size)
	})
	mux.HandleFunc("/panic", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Second) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	base := "http://" + listener.Addr().String()
	client := &http.Client{}
	for i := 0; i < 50; i++ {
		if path := fmt.Sprintf("/%d", i); get(client, base+path) != "hello "+path {
			fmt.Println("wrong", i)
		}
	}
	fmt.Println(len(get(client, base+"/large")))
	answer, err := client.Post(base+"/size", "text/plain", strings.NewReader(strings.Repeat("p", 500000)))
	check(err)
	size, _ := io.ReadAll(answer.Body)
	fmt.Println(string(size))
	_, err = client.Get(base + "/panic")
	fmt.Println(strings.Contains(err.Error(), "EOF"))
	_, err = (&http.Client{Timeout: 20 * time.Millisecond}).Get(base + "/slow")
	fmt.Println(os.IsTimeout(err))
	var group sync.WaitGroup
	wrong := make(chan string, 40)
	for i := 0; i < 40; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			own := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			if path := fmt.Sprintf("/p%d", i); get(own, base+path) != "hello "+path {
				wrong <- path
			}
		}(i)
	}
	group.Wait()
	fmt.Println("wrong", len(wrong))
	check(server.Close())
	_, err = client.Get(base + "/closed")
	fmt.Println(strings.Contains(err.Error(), "refused"))
	left, right := net.Pipe()
	go func() { io.WriteString(left, "piped"); left.Close() }()
	text, _ := io.ReadAll(right)
	fmt.Println(string(text))
}
