"""What keeps a builder from building, found by looking: small checks that run at once, each with a deadline."""
