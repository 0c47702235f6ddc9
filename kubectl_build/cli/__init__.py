"""The command line: argv in, words out. The only layer that chooses streams and exits, and that knows typer."""
