// Asks COUNT times, AT_ONCE at a time, over HTTP/2; prints answered and failed: URL COUNT AT_ONCE [METHOD]
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

func main() {
	count, _ := strconv.Atoi(os.Args[2])
	atOnce, _ := strconv.Atoi(os.Args[3])
	method := "GET"
	if len(os.Args) > 4 {
		method = os.Args[4]
	}
	config := &tls.Config{InsecureSkipVerify: true}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	var left, answered, failed atomic.Int64
	left.Store(int64(count))
	var workers sync.WaitGroup
	for range atOnce {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for left.Add(-1) >= 0 {
				// Without GetBody a body is not sent again by the library itself.
				var body io.Reader
				if method == "POST" {
					body = io.NopCloser(strings.NewReader("hello"))
				}
				request, _ := http.NewRequest(method, os.Args[1], body)
				response, err := client.Do(request)
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				if err == nil && response.StatusCode == 200 {
					answered.Add(1)
				} else {
					failed.Add(1)
				}
			}
		}()
	}
	workers.Wait()
	fmt.Println(answered.Load(), failed.Load())
}
