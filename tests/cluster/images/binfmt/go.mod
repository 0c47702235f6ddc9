module kubectl-build.invalid/tests/cluster/binfmt

go 1.22
