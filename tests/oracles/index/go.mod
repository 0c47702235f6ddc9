module kubectl-build.invalid/tests/oracles/index

go 1.25.9

require github.com/opencontainers/image-spec v1.1.1

require github.com/opencontainers/go-digest v1.0.0 // indirect
