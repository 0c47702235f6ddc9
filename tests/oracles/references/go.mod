module kubectl-build.invalid/tests/oracles/references

go 1.25.9

require github.com/distribution/reference v0.6.0

require github.com/opencontainers/go-digest v1.0.0 // indirect
