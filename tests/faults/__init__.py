"""The fault matrix: each row breaks something real while the real client builds, and looks at what comes of it."""
