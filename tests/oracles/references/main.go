// Prints what distribution/reference answers. Each line of standard input is a JSON string, each line of standard output the answer:
// either "error", or the name, domain, path, tag and digest after TagNameOnly.
package main

import (
	_ "crypto/sha256" // programs that parse digests link the hashes; without them no digest is valid
	_ "crypto/sha512"
	"encoding/json"
	"log"
	"os"

	"github.com/distribution/reference"
)

type answer struct {
	Error  string `json:"error,omitempty"`
	Name   string `json:"name,omitempty"`
	Domain string `json:"domain,omitempty"`
	Path   string `json:"path,omitempty"`
	Tag    string `json:"tag,omitempty"`
	Digest string `json:"digest,omitempty"`
	Text   string `json:"text,omitempty"`
}

func ask(text string) answer {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return answer{Error: err.Error()}
	}
	named = reference.TagNameOnly(named)
	a := answer{Name: named.Name(), Domain: reference.Domain(named), Path: reference.Path(named), Text: named.String()}
	if tagged, ok := named.(reference.Tagged); ok {
		a.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		a.Digest = digested.Digest().String()
	}
	return a
}

func main() {
	decoder := json.NewDecoder(os.Stdin)
	encoder := json.NewEncoder(os.Stdout)
	for decoder.More() {
		var text string
		if err := decoder.Decode(&text); err != nil {
			log.Fatal(err)
		}
		if err := encoder.Encode(ask(text)); err != nil {
			log.Fatal(err)
		}
	}
}
