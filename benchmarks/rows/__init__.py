"""All rows, in the order of the table. Rows that use the data of the one before stand after it."""

from __future__ import annotations

from benchmarks.row import Row
from benchmarks.rows import builders, contexts, memory, nodes, outputs, pools

ROWS: tuple[Row, ...] = (*builders.ROWS, *contexts.ROWS, *memory.ROWS, *pools.ROWS, *nodes.ROWS, *outputs.ROWS)
