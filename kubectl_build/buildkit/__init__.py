"""The BuildKit daemon's API over grpcio: a client, one solve, attributes, status and typed errors."""
