// Command binfmt registers QEMU with the kernel's binfmt_misc, with the command line of tonistiigi/binfmt:
//
//	binfmt [--install all|ARCH,...] [--uninstall NAME,...] [--version]
//
// It prints the status as JSON afterwards. What can be installed are the emulators in the image: for each `/usr/share/binfmt/NAME.conf`, a
// line in the format of systemd's binfmt.d, there is an emulator `/usr/bin/NAME`.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"syscall"
)

const (
	rules    = "/usr/share/binfmt"
	programs = "/usr/bin"
)

// The names that users give an architecture, where QEMU has another.
var emulators = map[string]string{"arm64": "aarch64", "amd64": "x86_64", "386": "i386"}

var platforms = map[string][]string{
	"aarch64": {"linux/arm64"},
	"arm":     {"linux/arm/v7", "linux/arm/v6"},
	"i386":    {"linux/386"},
	"ppc64le": {"linux/ppc64le"},
	"riscv64": {"linux/riscv64"},
	"s390x":   {"linux/s390x"},
	"x86_64":  {"linux/amd64"},
}

type status struct {
	Supported []string `json:"supported"`
	Emulators []string `json:"emulators"`
}

func main() {
	log.SetFlags(0)
	mount := flag.String("mount", "/proc/sys/fs/binfmt_misc", "where binfmt_misc is, or is to be mounted")
	install := flag.String("install", "", "architectures to install, or all")
	uninstall := flag.String("uninstall", "", "emulators or architectures to remove")
	version := flag.Bool("version", false, "print the version and stop")
	flag.Parse()
	if *version {
		fmt.Println("binfmt (the local test cluster's) qemu/Debian go/" + strings.TrimPrefix(runtime.Version(), "go"))
		return
	}
	if err := run(*mount, *install, *uninstall); err != nil {
		log.Fatalf("error: %v", err)
	}
}

func run(mount, install, uninstall string) error {
	if _, err := os.Stat(filepath.Join(mount, "status")); errors.Is(err, fs.ErrNotExist) {
		if err := syscall.Mount("binfmt_misc", mount, "binfmt_misc", 0, ""); err != nil {
			return fmt.Errorf("cannot mount binfmt_misc filesystem at %s: %w", mount, err)
		}
		// It stays mounted: from Linux 6.7 on the registrations are gone with the last mount.
	}
	for _, name := range split(uninstall) {
		report("uninstalling", name, remove(mount, name))
	}
	names := split(install)
	if install == "all" {
		names = available()
	}
	for _, name := range names {
		report("installing", name, register(mount, name))
	}
	return printStatus(mount)
}

// Like the original: what fails is said, and is no failure of the whole.
func report(action, name string, err error) {
	if err != nil {
		log.Printf("%s: %s %v", action, name, err)
		return
	}
	log.Printf("%s: %s OK", action, name)
}

func register(mount, arch string) error {
	name := emulator(arch)
	rule, err := os.ReadFile(filepath.Join(rules, name+".conf"))
	if err != nil {
		return errors.New("not found")
	}
	fields := strings.Split(strings.TrimSpace(string(rule)), ":")
	if len(fields) != 8 {
		return fmt.Errorf("rule of %d fields in %s.conf", len(fields), name)
	}
	// P: argv[0] stays as it was, by which busybox knows what it is; C: a setuid program keeps its rights; F: the kernel opens the emulator
	// now, so containers need not have it.
	fields[6], fields[7] = filepath.Join(programs, name), "POCF"
	file, err := os.OpenFile(filepath.Join(mount, "register"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString(strings.Join(fields, ":")); err != nil {
		return fmt.Errorf("cannot register %q to %s: %w", fields[6], file.Name(), errors.Unwrap(err))
	}
	return nil
}

// NAME may be the registered name, a pattern of such names, or an architecture.
func remove(mount, name string) error {
	found, err := filepath.Glob(filepath.Join(mount, name))
	if err != nil || len(found) == 0 {
		found, err = filepath.Glob(filepath.Join(mount, emulator(name)))
	}
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errors.New("not found")
	}
	for _, entry := range found {
		if err := os.WriteFile(entry, []byte("-1"), 0); err != nil {
			return err
		}
	}
	return nil
}

func printStatus(mount string) error {
	now := status{Supported: []string{"linux/" + runtime.GOARCH}, Emulators: []string{}}
	if runtime.GOARCH == "amd64" {
		now.Supported = append(now.Supported, "linux/386")
	}
	entries, err := os.ReadDir(mount)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == "register" || entry.Name() == "status" {
			continue
		}
		now.Emulators = append(now.Emulators, entry.Name())
		state, err := os.ReadFile(filepath.Join(mount, entry.Name()))
		if err == nil && strings.HasPrefix(string(state), "enabled") {
			now.Supported = append(now.Supported, platforms[strings.TrimPrefix(entry.Name(), "qemu-")]...)
		}
	}
	out, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(out))
	return nil
}

func available() []string {
	found, _ := filepath.Glob(filepath.Join(rules, "*.conf"))
	names := []string{}
	for _, path := range found {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".conf"))
	}
	sort.Strings(names)
	return names
}

func emulator(arch string) string {
	if strings.HasPrefix(arch, "qemu-") {
		return arch
	}
	if name, ok := emulators[arch]; ok {
		arch = name
	}
	return "qemu-" + arch
}

func split(list string) []string {
	names := []string{}
	for _, name := range strings.Split(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
