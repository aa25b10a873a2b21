// Sends a body of SIZE bytes in pieces of PIECE with PAUSE seconds between; prints the status: URL SIZE PIECE PAUSE
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

type paced struct {
	left, piece int
	pause       time.Duration
}

func (body *paced) Read(into []byte) (int, error) {
	if body.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(body.pause)
	size := min(body.left, body.piece, len(into))
	body.left -= size
	return size, nil
}

func main() {
	size, _ := strconv.Atoi(os.Args[2])
	piece, _ := strconv.Atoi(os.Args[3])
	pause, _ := strconv.ParseFloat(os.Args[4], 64)
	body := &paced{size, piece, time.Duration(pause * float64(time.Second))}
	request, _ := http.NewRequest("POST", os.Args[1], body)
	request.ContentLength = int64(size)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(response.StatusCode)
}
