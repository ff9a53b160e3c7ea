"""How much data there is -> how Spark uses a cluster for it: shuffle partitions, executors, their memory.

The rule, which docs/cluster.md explains:

- A task handles TASK_BYTES of a shuffle: so many fit a core's share of the heap, with what Java makes of them. Spark
  joins smaller partitions by itself (adaptive execution), so the number only has to be large enough.
- There are as many executors at most as leave each core WAVES tasks of the largest shuffle: with fewer tasks a core
  waits for the slowest, and starting Python on it was in vain.
- Heap: HEAP_BYTES, and HEAP_PER_CORE for each core. It does not grow with the data: there are more tasks then.
- Beside the heap, where the cluster counts it (Kubernetes, YARN): Python, for each core a batch of users and the
  model's items as 8-bit numbers, and once the model's arrays, which all workers of a machine share.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

MIB, GIB = 2**20, 2**30
TASK_BYTES = 128 * MIB
SHUFFLED = 4
"""Bytes of the largest shuffle in its tasks' memory per byte of silver.interactions: an upper estimate, see
docs/cluster.md."""
FEWEST, MOST = 4, 20_000
MOST_OF_A_LOG = 50
WAVES = 2
HEAP_BYTES, HEAP_PER_CORE = GIB, GIB
PYTHON_PER_CORE = 512 * MIB
MODEL_PER_ITEM, MODEL_PER_ITEM_AND_CORE = 320, 96
"""Bytes with 64 factors: float32 and the item's id; 8-bit numbers and a place in the index of ids."""


@dataclass(frozen=True)
class DataSize:
    """What a night works on: bytes of all events (silver's and the new ones'), and items."""

    event_bytes: int
    items: int


def cluster_settings(size: DataSize, cores: int, ranks: int) -> dict[str, str]:
    """Spark's settings for data of a size on executors of so many cores; Horovod's `ranks` are executors, too."""
    partitions = min(MOST, max(FEWEST, ceil(size.event_bytes * SHUFFLED / TASK_BYTES)))
    beside = cores * PYTHON_PER_CORE + size.items * (MODEL_PER_ITEM + cores * MODEL_PER_ITEM_AND_CORE)
    return {
        "spark.sql.shuffle.partitions": str(partitions),
        # Delta's default reads the smallest log in 50 tasks, and Spark's lists a folder in 10,000.
        "spark.databricks.delta.snapshotPartitions": str(min(MOST_OF_A_LOG, ceil(partitions / 8))),
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(partitions),
        "spark.dynamicAllocation.enabled": "true",
        # Executors with rows of a shuffle stay: a cluster need not have a shuffle service.
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.maxExecutors": str(max(ranks, ceil(partitions / (WAVES * cores)))),
        "spark.executor.memory": f"{(HEAP_BYTES + cores * HEAP_PER_CORE) // MIB}m",
        "spark.executor.memoryOverhead": f"{ceil(beside / MIB)}m",
    }


def explanation(size: DataSize, settings: dict[str, str]) -> str:
    """One line for the stage's log."""
    get = settings.__getitem__
    return (
        f"{size.event_bytes / GIB:.2f} GiB of events, {size.items:,} items: "
        f"{get('spark.sql.shuffle.partitions')} shuffle partitions, up to "
        f"{get('spark.dynamicAllocation.maxExecutors')} executors with a heap of {get('spark.executor.memory')} and "
        f"{get('spark.executor.memoryOverhead')} beside it (spark_jobs/sizing.py; [spark.settings] overrides)"
    )
