"""flagent-cdc inside one's own program: the public interface for Python.

`embed` is the whole server as an ASGI application, to mount under any path. `follow` yields the events of flags and of
watched tables without HTTP. What this module exports is stable: it changes as semantic versioning says. Everything
below it is not public.
"""

from .embedded import Embedded, embed
from .events import Event
from .follower import follow

__all__ = ["Embedded", "Event", "embed", "follow"]
