// Command hello greets from the platform that it was built for.
package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

func main() {
	fmt.Printf("Hello from %s!\n", platform())
}

// platform names the platform as images do: linux/amd64, linux/arm/v6.
func platform() string {
	name := runtime.GOOS + "/" + runtime.GOARCH
	info, ok := debug.ReadBuildInfo()
	if !ok || runtime.GOARCH != "arm" {
		return name
	}
	for _, setting := range info.Settings {
		if setting.Key == "GOARM" {
			return name + "/v" + setting.Value
		}
	}
	return name
}
