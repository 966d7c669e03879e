"""`make settings`: every setting with its default and its meaning, as the README's table."""

from __future__ import annotations

from argparse import Namespace

from pydantic_core import PydanticUndefined

from provision.settings import SECRET_SETTINGS, Settings


def run(arguments: Namespace) -> int:
    print(table())
    return 0


def table() -> str:
    """All settings as a Markdown table."""
    example = Settings(**dict.fromkeys(SECRET_SETTINGS, "x"))
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        if name in SECRET_SETTINGS:
            default = "`.secrets/<environment>.env`"
        elif field.default is PydanticUndefined and field.default_factory is None:
            default = ""
        else:
            default = f"`{_shown(getattr(example, name))}`"
        lines.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(lines)


def _shown(value: object) -> str:
    # A rate as an inventory writes it: "5/15min".
    return repr({name: str(each) for name, each in value.items()} if isinstance(value, dict) else value)
