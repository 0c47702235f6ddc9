"""What a build shows while it runs: events are reduced to a state, and one of four views draws it on the stream given."""
