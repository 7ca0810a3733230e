"""The filters of Flagent's `GET /flags`, as its database applies them."""

from ..text.kotlin_text import WHITESPACE
from ..text.like_pattern import compile_like
from .flag import FlagJson

__all__ = ["FlagFilter"]


class FlagFilter:
    """Selects flags; None demands nothing.

    >>> FlagFilter(description_like="50% off").matches({"description": "Up to 50 EUR OFF"})
    True
    """

    def __init__(
        self,
        *,
        enabled: bool | None = None,
        description: str | None = None,
        key: str | None = None,
        description_like: str | None = None,
        tags: str | None = None,
        environment_id: int | None = None,
        project_id: int | None = None,
    ) -> None:
        """`description_like` is a part of the description, in any case, where `%`, `_` and `\\` are those of LIKE.
        `tags` are separated by commas; one is enough. A flag without an environment belongs to all of them."""
        self._enabled = enabled
        self._description = description
        self._key = key
        self._is_like = None if description_like is None else compile_like(f"%{description_like.lower()}%")
        self._tags = None if tags is None else {tag.strip(WHITESPACE) for tag in tags.split(",")}
        self._environment_id = environment_id
        self._project_id = project_id

    def matches(self, flag: FlagJson) -> bool:
        return (
            (self._enabled is None or flag["enabled"] == self._enabled)
            and (self._description is None or flag["description"] == self._description)
            and (self._key is None or flag["key"] == self._key)
            and (self._is_like is None or self._is_like(flag["description"].lower()))
            and (self._tags is None or any(tag["value"] in self._tags for tag in flag["tags"]))
            and (self._environment_id is None or flag["environmentId"] in (None, self._environment_id))
            and (self._project_id is None or flag["projectId"] == self._project_id)
        )
