"""Help pages for narrow terminals: flags without a type, plain names of types, paragraphs that wrap as one."""

from __future__ import annotations

from typing import Any

_TYPES = {
    "str": "TEXT",
    "int": "INT",
    "float": "NUMBER",
    "Path": "PATH",
    "list[str]": "TEXT",
    "list[Path]": "PATH",
}


def tidy(command: Any) -> Any:
    """The same click command (and its subcommands), with help that reads well in 80 columns."""
    paragraphs = (command.help or "").split("\n\n")
    command.help = "\n\n".join(p if p.startswith("Example") else p.replace("\n", " ") for p in paragraphs)
    for parameter in command.get_params(command.context_class(command)):  # with --help, which it then keeps
        label = _type_label(parameter)
        if label is not None:
            parameter.display_type_rich = lambda ctx, label=label: label
    for inner in getattr(command, "commands", {}).values():
        tidy(inner)
    return command


def _type_label(parameter: Any) -> str | None:
    """What stands in the column of types; None leaves it as it is."""
    if getattr(parameter, "is_flag", False):
        return ""
    if parameter.param_type_name == "option" and parameter.metavar is not None:
        return None
    bare = getattr(parameter, "bare_type", None)
    return None if bare is None else _TYPES.get(bare())
