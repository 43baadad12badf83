from typing import Any

from redis import ConnectionPool

class SentinelManagedConnection:
    _sock: Any
    def connect(self) -> None: ...
    def send_packed_command(self, command: Any, check_health: bool = ...) -> None: ...

class Sentinel:
    def __init__(self, sentinels: list[tuple[str, int]], *, sentinel_kwargs: dict[str, Any] | None = ..., **options: Any) -> None: ...

class SentinelConnectionPool(ConnectionPool):
    def __init__(self, service_name: str, sentinel_manager: Sentinel, **options: Any) -> None: ...
