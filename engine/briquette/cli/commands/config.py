"""``briquette config show``: the settings of an environment, and where each value came from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from briquette.cli.options import OUTPUT, RUN, CommandGroup, Common, PanelledCommand, expand, option
from briquette.cli.output import begin, say
from briquette.errors import UsageError

if TYPE_CHECKING:
    from briquette.settings.environments import Settings

config = typer.Typer(cls=CommandGroup, no_args_is_help=True, help="Look at settings.", rich_markup_mode=None)


@config.command(cls=PanelledCommand)
@expand
def show(
    common: Common,
    *,
    env: Annotated[str, option(RUN, "Environment: dev, staging, prod, or another file's name.")] = "",
    set_: Annotated[
        list[str] | None, option(RUN, "KEY=VALUE over the file and the environment; repeat it.", "--set")
    ] = None,
    origin: Annotated[
        bool, option(OUTPUT, "Say where each value came from and what it means.", "--origin")
    ] = False,
) -> None:
    """Print an environment's settings.

    A file of config/environments, under BRIQUETTE_<KEY> of this process, under --set.
    """
    begin(common)
    from briquette.settings.environments import environment_names, load_environment, setting_keys

    if not env:
        raise UsageError("no environment was named.", hint=f"Pass --env {'|'.join(environment_names())}.")
    given = dict(_pair(text) for text in set_ or ())
    settings = load_environment(env, env=os.environ, overrides=given)
    values: dict[str, Any] = {name: getattr(settings, name) for name in setting_keys()}
    document = {"environment": env, "settings": values}
    if origin:
        document["origins"] = {name: settings.origin(name) for name in values}
    say(document, _text(settings, values, origin=origin))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text!r} has no value.", hint="Write --set key=value.")
    return name.strip(), value.strip()


def _text(settings: Settings, values: dict[str, Any], *, origin: bool) -> str:
    from briquette.cli.text import table_of
    from briquette.settings.environments import setting_keys

    shown = {name: _shown(value) for name, value in values.items()}
    if not origin:
        return table_of(("key", "value"), tuple(shown.items()))
    meanings = {name: str(field.metadata["meaning"]) for name, field in setting_keys().items()}
    rows = tuple((name, text, settings.origin(name), meanings[name]) for name, text in shown.items())
    return table_of(("key", "value", "from", "meaning"), rows)


def _shown(value: object) -> str:
    """A value as TOML writes it.

    >>> _shown(True), _shown(("a", "b")), _shown(3)
    ('true', '["a", "b"]', '3')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{v}"' for v in value) + "]"
    return str(value)
