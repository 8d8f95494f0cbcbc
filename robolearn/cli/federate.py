"""`robolearn federate ...`: many sites train one policy, and their data stays with them."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from robolearn.cli.options import Json
from robolearn.cli.safety import plain_table
from robolearn.cli.terminal import Terminal
from robolearn.errors import ConfigError

if TYPE_CHECKING:
    from robolearn.fleet.engine import FlowerProcess
    from robolearn.fleet.settings import Folder

app = typer.Typer(
    no_args_is_help=True,
    help="Federated training: many sites train one policy, and their data stays with them.",
)
out = Terminal()
Where = Annotated[Path, typer.Argument(metavar="FOLDER", help="The coordinator's or the site's folder.")]


@app.command()
def init(
    folder: Where,
    task: Annotated[str, typer.Option(help="The task, such as fr3/reach.")] = "fr3/reach",
    rounds: Annotated[int, typer.Option(help="Rounds.", min=1)] = 8,
    local: Annotated[int, typer.Option(help="Iterations of a site in a round.", min=1)] = 4,
    address: Annotated[str, typer.Option(help="Where the server listens.")] = "127.0.0.1:18000",
    site: Annotated[bool, typer.Option("--site", help="Make a site's folder, not a coordinator's.")] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Of a site: folder with federation.yaml and ca.crt.")
    ] = None,
    port: Annotated[int, typer.Option(help="Of a site: port of its own interface, loopback only.")] = 18100,
) -> None:
    """Make a coordinator's folder, or with --site a site's: settings, certificates, keys.

    Example: robolearn federate init federation --task fr3/reach
    """
    from robolearn.config import build
    from robolearn.fleet.settings import Federation
    from robolearn.fleet.setup import new_federation, new_site

    if site:
        if source is None:
            raise ConfigError(
                "A site needs --from, the folder with the coordinator's federation.yaml and ca.crt."
            )
        made = new_site(folder, source, folder.absolute().name, port)
        _say(
            f"{folder}: give the coordinator {folder / 'node.pub'}, and nothing else. Then edit {folder / 'site.yaml'}."
        )
        _say(f"Apps that it runs: {', '.join(made.site().allowed_apps)}")
        return
    name = "".join(c if c.isalnum() else "-" for c in folder.absolute().name.lower())
    told = {
        "schema": "robolearn.federation/1",
        "name": name if name[:1].isalpha() else f"f{name}",
        "task": task,
        "rounds": rounds,
        "local_iterations": local,
        "address": address,
    }
    federation = build(Federation, told, str(folder))
    new_federation(folder, federation)
    _say(
        f"{folder}: hand out {folder / 'federation.yaml'} and {folder / 'ca.crt'}; put each site's public key into"
    )
    _say(
        f"{folder / 'sites'} as NAME.pub, NAME being its pseudonym. Then: robolearn federate server {folder}"
    )


@app.command()
def server(folder: Where) -> None:
    """Run the coordinator's server, until Ctrl-C: TLS, and only nodes whose keys are in sites/.

    Example: robolearn federate server federation
    """
    from robolearn.fleet.engine import ended, register, start_server, wait_for_port
    from robolearn.fleet.setup import site_keys

    opened = _folder(folder)
    federation, keys = opened.federation(), site_keys(opened)
    with _stoppable(), ended(start_server(opened)) as process:
        wait_for_port(process, federation.host, federation.port)
        nodes = register(opened, keys)
        _say(f"Listening on {federation.address} for {', '.join(sorted(nodes.values()))}. Log: {process.log}")
        _until_ended(process)


@app.command(name="site")
def site_command(
    folder: Where,
    wait: Annotated[float, typer.Option(help="Try for so long to reach the server, in s.")] = 300.0,
) -> None:
    """Run a site's node, until Ctrl-C: it trains when it is asked, under the site's own policy.

    Example: robolearn federate site north
    """
    from robolearn.fleet.engine import clock_refused, ended, refused_by_server, start_site

    opened = _folder(folder)
    settings = opened.site()
    until = time.monotonic() + wait
    with _stoppable():
        _say(
            f"{settings.name}: at most {settings.rounds_max} rounds, {len(settings.allowed_apps)} apps allowed."
        )
        _say(f"Log: {opened / 'site.log'}. What leaves: {folder / 'messages.jsonl'}")
        while True:
            with ended(start_site(opened)) as process:
                while process.status is None:
                    time.sleep(0.5)
                clock = clock_refused(process)
                if not clock and not refused_by_server(process):
                    _ended_by_itself(process)
            if time.monotonic() > until:
                why = (
                    f"The server at {opened.federation().address} refused the time that this node signed. Set this "
                    "machine's clock: at most 5 s ahead of the server's, at most 300 s behind."
                    if clock
                    else f"No server at {opened.federation().address} that knows this site's key. Start the server, "
                    f"and give the coordinator {folder / 'node.pub'} for sites/{settings.name}.pub."
                )
                out.print(why, style="red", markup=False, soft_wrap=True)
                raise typer.Exit(1)
            time.sleep(2.0)


@app.command()
def run(
    folder: Where,
    sites: Annotated[int | None, typer.Option(help="Wait for so many sites (default: all).", min=1)] = None,
    wait: Annotated[float, typer.Option(help="Wait so long for them, in s.")] = 300.0,
) -> None:
    """Train the rounds that are missing, with the server and the sites running, and print each as it ends.

    Example: robolearn federate run federation
    """
    from robolearn.fleet.run import follow, prepare

    opened = _folder(folder)
    _say("Building the first vector ..." if not _begun(opened) else f"Continuing {folder}.")
    asked = prepare(opened, sites, wait)
    _say(f"Sites: {', '.join(asked)}.")
    out.print(_HEAD, highlight=False)
    outcome = follow(
        opened, lambda record: out.print(_row(record), markup=False, highlight=False, soft_wrap=True)
    )
    if outcome["outcome"] != "done":
        out.print(f"Not finished: {outcome['error']}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    _say(f"Done. The global policy as a bundle: robolearn federate bundle {folder}")


@app.command()
def status(folder: Where, as_json: Json = False) -> None:
    """What has happened: a coordinator's rounds, or the messages that left a site.

    Example: robolearn federate status federation
    """
    from robolearn.fleet.rounds import Rounds
    from robolearn.fleet.site_policy import SitePolicy, check_messages

    opened = _folder(folder)
    if opened.is_site:
        settings = opened.site()
        if fault := check_messages(opened.path):
            _say(
                f"{fault} Somebody changed the log, or the disk did; compare it with the coordinator's record."
            )
            raise typer.Exit(1)
        messages = SitePolicy(opened.path, settings.allowed_apps, settings.rounds_max).messages()
        if as_json:
            out.print_json(json.dumps(messages))
        else:
            table = plain_table("message", "round", "bytes", "sha256", "holds")
            for one in messages:
                table.add_row(
                    str(one["seq"]),
                    one["round"],
                    f"{one['bytes']:,}",
                    one["sha256"][:16],
                    _text(one["holds"]) + _kept(one.get("personal", [])),
                )
            out.print(table)
            _own_record(Rounds(opened.path).records())
        return
    opened.federation()
    records = Rounds(opened.path).records()
    if as_json:
        out.print_json(json.dumps(records))
        return
    out.print(_HEAD, highlight=False)
    for record in records:
        out.print(_row(record), markup=False, highlight=False, soft_wrap=True)


@app.command()
def bundle(
    folder: Where,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bundle (default: in the folder).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name (default: the federation's).")] = None,
    key: Annotated[Path | None, typer.Option(help="Signing key (default: yours).")] = None,
    episodes: Annotated[int, typer.Option(help="Episodes of the evaluation.", min=1)] = 1000,
    vector: Annotated[
        Path | None, typer.Option(help="Of a site: a file of the coordinator's rounds/, such as the last.")
    ] = None,
) -> None:
    """Write the global policy as a signed bundle, or of a site its own. Each site evaluates and approves it for itself.

    Example: robolearn federate bundle federation
    """
    from robolearn.fleet.global_bundle import export_global, export_own

    opened = _folder(folder)
    options: dict[str, Any] = {"name": name, "key_path": key, "episodes": episodes}
    if opened.is_site and vector is None:
        raise ConfigError(
            "A site's own policy needs --vector: a file of the coordinator's rounds/, such as the last."
        )
    if vector is not None:
        made = export_own(opened, vector, output, **options)
    else:
        made = export_global(opened, output, **options)
    told, success = made.manifest.training["federation"], made.manifest.evaluation["success"]
    written = output or folder / (made.manifest.name + ".robolearn")
    rate = f"{success['rate']:.1%} of {success['episodes']:,} episodes"
    if vector is not None:
        personal = ", ".join(told["personal"]) or "none"
        _say(f"{written}: round {told['rounds']} with the personal parts of {told['site']} ({personal}).")
        _say(f"Success in the simulation of the site's arm: {rate}.")
        return
    sites = ", ".join(f"{site} ({count} rounds)" for site, count in told["sites"].items())
    spent = told["privacy"]["epsilon"]
    _say(f"{written}: {told['rounds']} rounds of {sites}.")
    _say(
        "Epsilon: not accounted."
        if spent is None
        else f"Epsilon: {spent:.3f} at delta {told['privacy']['delta']:g}."
    )
    _say(
        f"Success in the task's own simulation: {rate}. On a site's arm: robolearn eval BUNDLE --plant PLANT.yaml"
    )


_HEAD = "round  seconds  sent bytes  received bytes  answered"


def _row(record: dict[str, Any]) -> str:
    text = (
        f"{record['round']:5d}  {record['seconds']:7.1f}  {record['sent_bytes']:10,d}  "
        f"{record['received_bytes']:14,d}  " + ", ".join(record["answered"])
    )
    if record.get("outcome") == "failed":
        text += "  FAILED"
    if "epsilon" in record:
        text += f"  epsilon {record['epsilon']:.3f}"
    for site, why in sorted(record["refused"].items()):
        text += f"\n       refused {site}: {why}"
    if record["missing"]:
        text += f"\n       no answer: {', '.join(record['missing'])}"
    return text


def _own_record(records: list[dict[str, Any]]) -> None:
    """A site's success on its own arm while it trained, which is never sent."""
    if not records:
        return
    table = plain_table("round", "success while training", "built in", "trained in")
    for one in records:
        table.add_row(
            str(one["round"]),
            f"{one['success_while_training']:.1%}",
            f"{one['build_s']:.0f} s",
            f"{one['train_s']:.0f} s",
        )
    out.print("Of this site only, never sent:")
    out.print(table)


def _text(holds: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {', '.join(map(str, value.values()))}" for name, value in holds.items())


def _kept(personal: list[str]) -> str:
    return f"; personal, sent as 0: {', '.join(personal)}" if personal else ""


def _folder(path: Path) -> Folder:
    from robolearn.fleet.settings import Folder

    return Folder(path)


def _begun(folder: Folder) -> bool:
    from robolearn.fleet.rounds import Rounds

    return Rounds(folder.path).begun


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM as Ctrl-C, which here is how the command is meant to end."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        _say("Stopped.")
    finally:
        signal.signal(signal.SIGTERM, before)


def _until_ended(process: FlowerProcess) -> None:
    """Until Flower ends by itself, which is exit status 1."""
    while process.status is None:
        time.sleep(0.5)
    _ended_by_itself(process)


def _ended_by_itself(process: FlowerProcess) -> NoReturn:
    out.print(f"Flower ended with status {process.status}:\n{process.tail()}", style="red", markup=False)
    raise typer.Exit(1)


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
    sys.stdout.flush()
