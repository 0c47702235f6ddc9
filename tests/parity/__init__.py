"""The same builds by `docker buildx build` and by `kubectl build`, and whether the same bytes come out.

`python -m tests.parity` needs the local cluster. Each case is a Dockerfile with its context and flags (`corpus/`); both tools build it at
the same time, each on a builder of its own with the same daemon. Cases are values, so none of them knows how it is run or compared.
"""
