// Probe runs as a step of a build and writes to /result, as JSON, what it finds there: files, variables, an ssh agent.
//
//	probe file PATH...   for each file that is there its permissions and SHA-256
//	probe env NAME...    for each variable that is set the SHA-256 of its value
//	probe fail           nothing: it fails
//	probe agent COUNT    what the agent of SSH_AUTH_SOCK answers on COUNT connections at once
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
)

const (
	requestKeys    = 11
	keysAnswer     = 12
	requestSign    = 13
	signAnswer     = 14
	removeAll      = 19
	addConstrained = 25
	extension      = 27
)

func main() {
	var found any
	switch os.Args[1] {
	case "file":
		found = files(os.Args[2:])
	case "env":
		found = variables(os.Args[2:])
	case "agent":
		count, err := strconv.Atoi(os.Args[2])
		check(err)
		found = connections(count)
	case "fail":
		check(fmt.Errorf("told to fail"))
	}
	data, err := json.Marshal(found)
	check(err)
	check(os.WriteFile("/result", data, 0o644))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func sum(data []byte) string {
	hash := sha256.Sum256(data)
	return hex.EncodeToString(hash[:])
}

func files(paths []string) map[string][]string {
	found := map[string][]string{}
	for _, path := range paths {
		if data, err := os.ReadFile(path); err == nil {
			status, err := os.Stat(path)
			check(err)
			found[path] = []string{fmt.Sprintf("%o", status.Mode().Perm()), sum(data)}
		} else if !os.IsNotExist(err) {
			check(err)
		}
	}
	return found
}

func variables(names []string) map[string]string {
	found := map[string]string{}
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			found[name] = sum([]byte(value))
		}
	}
	return found
}

type agent struct {
	Keys    []string
	Signed  int
	Refused []byte
}

// connections holds all connections open before it asks on any, so that none of them can be served after another.
func connections(count int) []agent {
	open := make([]net.Conn, count)
	for i := range open {
		conn, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
		check(err)
		open[i] = conn
	}
	found := make([]agent, count)
	var group sync.WaitGroup
	for i, conn := range open {
		group.Add(1)
		go func() {
			defer group.Done()
			found[i] = examine(conn)
		}()
	}
	group.Wait()
	return found
}

func examine(conn net.Conn) agent {
	defer conn.Close()
	var found agent
	for _, request := range [][]byte{{removeAll}, {addConstrained, 0}, append([]byte{extension}, text([]byte("session-bind@openssh.com"))...)} {
		found.Refused = append(found.Refused, ask(conn, request)[0])
	}
	answer := ask(conn, []byte{requestKeys})
	if answer[0] != keysAnswer {
		check(fmt.Errorf("answer %d to a request for keys", answer[0]))
	}
	rest := answer[5:]
	for count := binary.BigEndian.Uint32(answer[1:]); count > 0; count-- {
		var key []byte
		key, rest = cut(rest)
		_, rest = cut(rest)
		found.Keys = append(found.Keys, base64.StdEncoding.EncodeToString(key))
		if signs(conn, key) {
			found.Signed++
		}
	}
	return found
}

// signs tells whether the agent signs with an ed25519 key so that the signature is good.
func signs(conn net.Conn, key []byte) bool {
	payload := make([]byte, 100_000)
	request := append([]byte{requestSign}, text(key)...)
	request = append(append(request, text(payload)...), 0, 0, 0, 0)
	answer := ask(conn, request)
	if answer[0] != signAnswer {
		return false
	}
	signature, _ := cut(answer[1:])
	_, signature = cut(signature)
	signature, _ = cut(signature)
	_, public := cut(key)
	public, _ = cut(public)
	return ed25519.Verify(public, payload, signature)
}

func ask(conn net.Conn, request []byte) []byte {
	_, err := conn.Write(text(request))
	check(err)
	size := make([]byte, 4)
	_, err = io.ReadFull(conn, size)
	check(err)
	answer := make([]byte, binary.BigEndian.Uint32(size))
	_, err = io.ReadFull(conn, answer)
	check(err)
	return answer
}

func text(data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
}

func cut(data []byte) (head, rest []byte) {
	size := binary.BigEndian.Uint32(data)
	return data[4 : 4+size], data[4+size:]
}
