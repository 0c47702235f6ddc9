// Reads image indexes from standard input, one JSON document after the other, and prints for each the base64 of the bytes that
// BuildKit's image writer makes of such a value: ocispec.Index, indented with two spaces (exporter/containerimage/writer.go).
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"os"

	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	decoder := json.NewDecoder(os.Stdin)
	for decoder.More() {
		var index specs.Index
		if err := decoder.Decode(&index); err != nil {
			log.Fatal(err)
		}
		data, err := json.MarshalIndent(index, "", "  ")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(base64.StdEncoding.EncodeToString(data))
	}
}
