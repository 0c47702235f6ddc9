// Prints what containerd/platforms answers, as BuildKit asks it. Each line of standard input is a JSON request, each line of
// standard output its answer.
//
//	{"parse": "linux/armhf"}
//	{"normalize": {"os": "Linux", "architecture": "x86_64"}}
//
// An answer has either "error" or "platform", "format" and "formatAll".
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/containerd/platforms"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

type request struct {
	Parse     *string         `json:"parse"`
	Normalize *specs.Platform `json:"normalize"`
}

type answer struct {
	Error     string          `json:"error,omitempty"`
	Platform  *specs.Platform `json:"platform,omitempty"`
	Format    string          `json:"format,omitempty"`
	FormatAll string          `json:"formatAll,omitempty"`
}

func ask(r request) answer {
	var platform specs.Platform
	if r.Parse != nil {
		parsed, err := platforms.Parse(*r.Parse)
		if err != nil {
			return answer{Error: err.Error()}
		}
		platform = parsed
	} else {
		platform = *r.Normalize
	}
	platform = platforms.Normalize(platform)
	return answer{Platform: &platform, Format: platforms.Format(platform), FormatAll: platforms.FormatAll(platform)}
}

func main() {
	decoder := json.NewDecoder(os.Stdin)
	encoder := json.NewEncoder(os.Stdout)
	for decoder.More() {
		var r request
		if err := decoder.Decode(&r); err != nil {
			log.Fatal(err)
		}
		if err := encoder.Encode(ask(r)); err != nil {
			log.Fatal(err)
		}
	}
}
