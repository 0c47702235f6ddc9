"""The wire schema: our own minimal .proto files and the modules that protoc makes from them.

Regenerate with `make proto`. Only messages and fields that this client speaks are declared; names and numbers are
those of the projects named at the head of each file.
"""
