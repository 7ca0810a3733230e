"""Settings, read once from the environment and passed down; nothing reads the environment later.

`Settings` has one section for each part of the program that reads it. `reference()` returns the manual's page
(`python -m cdc.settings.settings > docs/reference/settings.md`). An unknown variable that begins with `FLAGENT_CDC_` is
rejected, so that a misspelt name does not silently leave the default.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from ..core.errors import InvalidInput
from ..database.database_url import read_database_url
from .nats_settings import NatsSettings
from .sections import (
    FLAGENT_DATABASE,
    AuthSettings,
    DatabaseSettings,
    ExposureSettings,
    LimitSettings,
    ListenerSettings,
    ListenSettings,
    LogSettings,
    PipelineSettings,
    RetentionSettings,
    SseSettings,
    WebSettings,
    WebSocketSettings,
)
from .variable import Variable

__all__ = ["Settings", "reference", "variables"]

OWN_PREFIX = "FLAGENT_CDC_"
TEST_PREFIX = "FLAGENT_CDC_TEST_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, in one section for each reader, in the order of the manual."""

    listen: ListenSettings = field(default_factory=ListenSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    web: WebSettings = field(default_factory=WebSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    sse: SseSettings = field(default_factory=SseSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    listener: ListenerSettings = field(default_factory=ListenerSettings)
    pipeline: PipelineSettings = field(default_factory=PipelineSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    exposures: ExposureSettings = field(default_factory=ExposureSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    nats: NatsSettings = field(default_factory=NatsSettings)
    log: LogSettings = field(default_factory=LogSettings)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read every variable; an empty value counts as unset.

        Raises `InvalidInput` that names the variable, its value and the allowed format.
        """
        known = variables()
        _reject_unknown(environment, {variable.name for variable in known.values()})
        values: dict[str, Any] = {}
        for name, variable in known.items():
            if text := environment.get(variable.name, "").strip():
                values[name] = variable.read(text)
        for name in (known["database.url"].name, FLAGENT_DATABASE):
            if text := environment.get(name, "").strip():
                # Only checked: the value stays as written, so that messages show it so.
                read_database_url(text, name=name)
                values["database.url"] = text
                break
        return cls().with_values(values)

    @property
    def most_streams(self) -> int:
        """How many streams one process may serve at the same time."""
        sse = self.sse.max_clients if self.sse.enabled else 0
        return sse + (self.websocket.max_connections if self.websocket.enabled else 0)

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """These settings with other values, by `section.field`, such as `{"sse.path": "/stream"}`."""
        by_section: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            section, _, leaf = name.partition(".")
            by_section.setdefault(section, {})[leaf] = value
        return replace(self, **{section: replace(getattr(self, section), **its) for section, its in by_section.items()})


def variables() -> dict[str, Variable]:
    """The variable of each setting, by `section.field`, in the order of the manual."""
    return dict(_variables())


def _variables() -> Iterator[tuple[str, Variable]]:
    for section, values in ((each.name, each.default_factory) for each in fields(Settings)):
        for each in fields(values):  # type: ignore[arg-type]
            yield f"{section}.{each.name}", each.metadata["variable"]


def _reject_unknown(environment: Mapping[str, str], known: set[str]) -> None:
    # Compared without prefixes, so that FLAGENT_WS_PORT is suggested for FLAGENT_CDC_PORT.
    stems = {name.split("_", 2)[2]: name for name in sorted(known)}
    for name in sorted(environment):
        if name.startswith(OWN_PREFIX) and not name.startswith(TEST_PREFIX) and name not in known:
            near = difflib.get_close_matches(name.removeprefix(OWN_PREFIX), stems, n=1, cutoff=0.0)[0]
            raise InvalidInput(
                f"{name} is not a setting; did you mean {stems[near]}?", name=name, code="unknown_setting"
            )


def reference() -> str:
    """The manual's page of settings."""
    lines = [
        "# Settings",
        "",
        "Environment variables, read once at start. A bad value, or an unknown name that begins with `FLAGENT_CDC_`,",
        "stops the command with one sentence and exit code 2. Command-line options take precedence. Durations are",
        "written `30s`, `500ms`, `2m`, `1h`; a bare number is milliseconds.",
        "",
        "| variable | default | format | meaning |",
        "|---|---|---|---|",
    ]
    for variable in variables().values():
        default = f"`{variable.written}`" if variable.written else "unset"
        lines.append(f"| `{variable.name}` | {default} | {variable.format.description} | {variable.text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
