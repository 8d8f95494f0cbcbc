"""Flower's client process under a site's policy: `robolearn federate site` puts it in place of `flwr-clientapp`.

Before an app is unpacked its digest is looked up, before a reply leaves it is logged; the text of an exception, which
could hold anything, stays at the site. Needs flwr, of whose functions it wraps three; a Flower without them is refused.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
from typing import Any

from robolearn.errors import MissingDependency
from robolearn.fleet.settings import SITE_VARIABLE, Folder
from robolearn.fleet.site_policy import SitePolicy, SiteRefuses

_WRAPPED = ("pull_task_input", "install_from_fab", "push_message")
FAILED = "The work failed at the site. Its own log says why."


def main() -> None:
    """Run Flower's client process with the site's policy around it."""
    from flwr.supernode.cli.flwr_clientapp import flwr_clientapp
    from flwr.supernode.runtime import run_clientapp as runtime

    guard(runtime, Folder(os.environ[SITE_VARIABLE]))
    flwr_clientapp()


def guard(runtime: Any, folder: Folder) -> None:
    """Put the policy around a module of Flower's that pulls a message, unpacks the app, and pushes the reply."""
    from robolearn.fleet.messages import holds, wire_bytes

    absent = [name for name in _WRAPPED if not callable(getattr(runtime, name, None))]
    if absent:
        raise MissingDependency(
            f"This Flower has no {', '.join(absent)}, so that the site's policy cannot be kept. Install flwr==1.42.0."
        )
    settings = folder.site()
    policy = SitePolicy(folder.path, settings.allowed_apps, settings.rounds_max)
    pull, install, push = (getattr(runtime, name) for name in _WRAPPED)
    asked: dict[str, Any] = {}

    def pulled(client: Any) -> Any:
        message, context, run, fab = pull(client)
        asked.update(message=message, run=str(message.metadata.run_id), round=message.metadata.group_id)
        return message, context, run, fab

    def installed(content: bytes, *args: Any, **kwargs: Any) -> Any:
        try:
            policy.require_app(bytes(content))
            policy.require_round(asked["run"], asked["round"])
        except SiteRefuses as error:
            asked["refusal"] = str(error)
            raise
        return install(content, *args, **kwargs)

    def pushed(client: Any, message: Any, context: Any) -> Any:
        if message.has_error():
            message = _without_text(message, asked)
        refused = message.has_error()
        policy.sending(
            asked["run"], asked["round"], wire_bytes(message), holds(message),
            answers=not refused, personal=settings.personal,
        )  # fmt: skip
        return push(client, message, context)

    runtime.pull_task_input, runtime.install_from_fab, runtime.push_message = pulled, installed, pushed


def _without_text(message: Any, asked: dict[str, Any]) -> Any:
    """The error with a text of ours: why the site refuses, or only that the work failed."""
    from flwr.app import Message
    from flwr.app.error import Error

    kind, _, text = str(message.error.reason).partition(":<'")
    reason = asked.get("refusal") or (text.rstrip("'>") if "SiteRefuses" in kind else FAILED)
    return Message(Error(code=message.error.code, reason=reason), reply_to=asked["message"])


if __name__ == "__main__":
    main()
