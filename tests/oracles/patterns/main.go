// Prints what moby/patternmatcher and tonistiigi/fsutil answer, one JSON line for each JSON line on stdin.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// A question has either Root (walk that directory) or Paths (match each of them).
type question struct {
	Root    string
	Include []string
	Exclude []string
	Follow  []string
	Paths   []string
}

type answer struct {
	Matches []bool        `json:"matches"`
	Entries []*types.Stat `json:"entries"`
	Error   string        `json:"error"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	output := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		var a answer
		var err error
		if q.Root != "" {
			a.Entries, err = walk(q)
		} else {
			a.Matches, err = match(q)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := output.Encode(a); err != nil {
			os.Exit(1)
		}
	}
}

func match(q question) ([]bool, error) {
	matcher, err := patternmatcher.New(q.Exclude)
	if err != nil {
		return nil, err
	}
	result := []bool{}
	for _, path := range q.Paths {
		matched := false
		var info patternmatcher.MatchInfo
		parts := strings.Split(path, string(filepath.Separator))
		for i := range parts {
			matched, info, err = matcher.MatchesUsingParentResults(filepath.Join(parts[:i+1]...), info)
			if err != nil {
				return nil, err
			}
		}
		result = append(result, matched)
	}
	return result, nil
}

func walk(q question) ([]*types.Stat, error) {
	tree, err := fsutil.NewFS(q.Root)
	if err != nil {
		return nil, err
	}
	tree, err = fsutil.NewFilterFS(tree, &fsutil.FilterOpt{IncludePatterns: q.Include, ExcludePatterns: q.Exclude, FollowPaths: q.Follow})
	if err != nil {
		return nil, err
	}
	entries := []*types.Stat{}
	err = fsutil.WithHardlinkReset(tree).Walk(context.Background(), "/", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		entries = append(entries, info.Sys().(*types.Stat))
		return nil
	})
	return entries, err
}
