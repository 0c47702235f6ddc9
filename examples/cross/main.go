// Command hello greets from the platform that it was built for.
package main

import (
	"os"
	"runtime"
)

// variant is that of the platform, such as v7. The linker sets it: Go itself keeps GOARM only as a setting of the build.
var variant string

func main() {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if runtime.GOARCH == "arm" {
		platform += "/" + variant
	}
	os.Stdout.WriteString("Hello from " + platform + "!\n")
}
