from collections.abc import Sequence
from typing import Any

from redis import Redis

class Script:
    script: str
    sha: str
    def __call__(self, keys: Sequence[str] | None = ..., args: Sequence[Any] | None = ..., client: Redis | None = ...) -> Any: ...
