"""Byte streams to a builder: exec in its pod, sockets, and the bridge that lends a stream to grpcio."""
