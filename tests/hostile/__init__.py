"""A daemon that means harm, and what becomes of a client that talks to it: nothing leaks, nothing hangs, nothing crashes."""
