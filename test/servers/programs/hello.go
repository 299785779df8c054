package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if r.URL.Path == "/large" {
			io.WriteString(w, strings.Repeat("l", 300000))
			return
		}
		size, _ := io.Copy(io.Discard, r.Body)
		if size > 0 {
			fmt.Fprintf(w, "%s %s %d\n", r.Method, r.URL.Path, size)
		} else {
			fmt.Fprintf(w, "%s %s\n", r.Method, r.URL.Path)
		}
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
	os.Exit(1)
}
