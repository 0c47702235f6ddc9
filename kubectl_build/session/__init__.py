"""What the daemon may ask of a client, served inside Control.Session: a gRPC server on h2 and the services on it."""
