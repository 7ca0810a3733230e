"""The settings of a program that embeds flagent-cdc: given by the program, never read from its environment."""

from collections.abc import Mapping

from cdc.settings.settings import Settings

__all__ = ["settings_of"]


def settings_of(database_url: str, given: Mapping[str, str] | None) -> Settings:
    """`given` has the names and formats of the environment variables; raises `InvalidInput` for a bad one."""
    return Settings.from_environment({**(given or {}), "FLAGENT_CDC_DATABASE_URL": database_url})
