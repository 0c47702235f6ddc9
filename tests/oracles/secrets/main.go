// Prints which login docker's own library takes from a config.json. Each line of standard input is {"config": TEXT, "host": HOST}, each
// line of standard output {"error": ...} or the login's fields.
package main

import (
	"encoding/json"
	"log"
	"os"
	"strings"

	"github.com/docker/cli/cli/config/configfile"
)

type request struct {
	Config string `json:"config"`
	Host   string `json:"host"`
}

type answer struct {
	Error         string `json:"error,omitempty"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func ask(r request) answer {
	file := configfile.New("config.json")
	if err := file.LoadFromReader(strings.NewReader(r.Config)); err != nil {
		return answer{Error: err.Error()}
	}
	found, err := file.GetAuthConfig(r.Host)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{
		Username: found.Username, Password: found.Password, IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
	}
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
