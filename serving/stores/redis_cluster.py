"""Redis Cluster: as stores/redis.py has it, its buckets spread over the cluster's slots."""

from __future__ import annotations

from typing import Any

import redis

from serving.stores.redis import SECONDS, Redis


class RedisCluster(Redis):
    """Several Redis servers, each with a share of the slots; the address is that of any of them."""

    def _connected(self, address: str) -> Any:
        return redis.RedisCluster.from_url(address, **SECONDS)

    def _infos(self, section: str) -> list[dict[str, Any]]:
        primaries = redis.RedisCluster.PRIMARIES
        return list(self._client.info(section, target_nodes=primaries).values())
