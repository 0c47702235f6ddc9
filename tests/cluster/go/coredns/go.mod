module kubectl-build.invalid/tests/cluster/coredns

go 1.25.0
