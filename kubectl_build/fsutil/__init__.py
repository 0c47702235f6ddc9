"""How a directory travels to and from BuildKit: walk, stat, patterns, packets, as tonistiigi/fsutil and moby/patternmatcher have them."""
