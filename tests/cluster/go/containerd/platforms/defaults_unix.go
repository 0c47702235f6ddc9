// Takes the place of the file of this name in a copy of github.com/containerd/platforms: the containerd of a simulated node believes that it
// runs on the platform that PLATFORM_OF_NODE names, and so chooses that platform's manifest from an index.
package platforms

import (
	"os"

	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultSpec returns the simulated node's platform.
func DefaultSpec() specs.Platform {
	named := os.Getenv("PLATFORM_OF_NODE")
	if named == "" {
		panic("PLATFORM_OF_NODE is not set: this build of containerd is for simulated nodes only")
	}
	return MustParse(named)
}

// Default returns a matcher of the simulated node's platform and of what such a machine also runs.
func Default() MatchComparer {
	return Only(DefaultSpec())
}
