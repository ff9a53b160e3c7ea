"""Redis Cluster: the layout of stores/redis.py, with buckets spread over the cluster's slots."""

from __future__ import annotations

from typing import Any

import redis

from serving.stores.redis import RedisStore


class RedisClusterStore(RedisStore):
    """Several Redis servers, each with a share of the slots. The address may be that of any of them."""

    def _connect(self) -> Any:
        return redis.RedisCluster.from_url(self.address, **self._patience())

    def _server_info(self, section: str) -> list[dict[str, Any]]:
        primaries = redis.RedisCluster.PRIMARIES
        return list(self._client.info(section, target_nodes=primaries).values())
