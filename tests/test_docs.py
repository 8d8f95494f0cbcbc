"""The documentation tells the truth: commands parse, names exist, links lead somewhere, pages build strictly."""

import ast
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
from browser import dump_dom, needs_chromium
from log_sessions import story
from plant_session import plant_bag, plant_log
from stopped_log import stopped_log

import robolearn as rl
from robolearn.cli.app import app, main
from robolearn.config import config_path
from robolearn.learn.train_config import train_config
from robolearn.policy.bundle import PolicyBundle

ROOT = Path(__file__).parent.parent
DOCS = [p for p in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in p.parts]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")), *DOCS]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FORBIDDEN = re.compile(
    r"\b(certified|compliant|CE|PL|SIL|category|safety function|e-stop|safe)\b|—", re.IGNORECASE
)
RECORDED = "runs/serve/20261127-101500/safety"  # the log that the how-to's fit is shown with
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def commands(text):
    """Lines of shell blocks and inline code that call robolearn; a command's bare name in a sentence is no call."""
    lines = [line for kind, block in BLOCK.findall(text) if kind == "sh" for line in block.splitlines()]
    lines += re.findall(r"`(robolearn [^`\n]+ [^`\n]+)`", BLOCK.sub("", text))
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["robolearn"]:
            yield words[1:]


FOUND = [
    (name, words) for page, name in zip(PAGES, NAMES, strict=True) for words in commands(page.read_text())
]


def parse(words):
    """Parse without running; click raises where a command, an option or an argument is wrong."""
    group = typer.main.get_command(app)
    context = group.make_context("robolearn", list(words), resilient_parsing=False)
    while isinstance(context.command, click.Group) or hasattr(context.command, "commands"):
        rest = [*context._protected_args, *context.args]
        if not rest:
            return context
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return context


def test_commands_are_found_at_all():
    assert len(FOUND) > 20
    assert {words[0] for _, words in FOUND} >= {
        "train",
        "eval",
        "export",
        "inspect",
        "serve",
        "review",
        "doctor",
    }


@pytest.mark.parametrize(
    ("page", "words"), FOUND, ids=[f"{page}: {' '.join(words)}" for page, words in FOUND]
)
def test_every_command_shown_exists(page, words):
    if "--help" in words:
        words = [word for word in words if word != "--help"]
    if not words:
        return
    context = parse(words)
    if context.info_name == "train" and context.params["task"]:
        overrides = context.params["overrides"] or []
        # a file that another command of the page writes: see `test_every_command_shown_runs`
        named = [text for text in overrides if not text.startswith("calibration=")]
        assert train_config(context.params["task"], None, named).task


def once(found):
    """The distinct commands, in the order in which they are shown."""
    return [list(words) for words in dict.fromkeys(tuple(words) for _, words in found)]


@pytest.mark.shown
def test_every_command_shown_runs(tmp_path, monkeypatch, capsys):
    """In the order shown, in one folder, with short trainings.

    Of `sysid fit`, exit status 0 says that the model explains the log. `demo` runs in `make wheel`, `serve` and
    `operate` in tests/ros, `federate` in tests/fleet.
    """
    short = {
        "train": ["total_steps=16384"],
        "eval": ["--episodes", "32", "--no-shifts"],
        "sweep": ["--episodes", "8"],
        "sysid excite": ["--duration", "8", "--rate", "100"],
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path / "home"))
    story(tmp_path / "runs" / "demo" / "safety", tmp_path / "log.pem", waves=100)
    shutil.copy(tmp_path / "runs" / "demo" / "safety" / "head.json", "head.json")
    for name in ("my_arm.yaml", "NAME.yaml"):
        shutil.copy(rl.load_robot("fr3").path, name)
    shutil.copy(config_path("safety/fr3.yaml"), "my_cell.yaml")
    shutil.copytree(ROOT / "configs" / "safety", "configs/safety")  # as in a clone
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "arm_ws" / "src").mkdir(parents=True)
    cell = config_path("deploy/fr3.yaml").read_text()
    plant_log(tmp_path / RECORDED, tmp_path / "log.pem", "fr3")
    plant_bag(tmp_path / "recording.mcap", "fr3")
    Path("my_fr3.yaml").write_text(cell.replace("operators: {}", "operators: {anna: 0123456789abcdef}"))
    ran, failed = set(), []
    last = sorted(
        once(FOUND), key=lambda words: words[0] == "revoke"
    )  # final: nothing is done with the bundle afterwards
    for words in last:
        if words[0] in ("demo", "serve", "operate", "federate") or words[:2] == ["security", "check"]:
            continue  # `security check` answers no where the middleware has no DDS Security
        if words[:3] == ["robots", "draft", "MODEL"]:
            continue  # a placeholder; tests/robots/test_draft.py
        if "--browser" in words:
            continue  # it shows a page until it is interrupted: tests/show/test_browser.py
        if words[0] == "init-cell" and "--no-ask" not in words:
            continue  # it asks a person: tests/cli/test_init_cell.py
        if words[:1] == ["explain"] and "--log" in words:
            stopped_log(Path(words[words.index("--log") + 1]), PolicyBundle.load(words[1]))
        with pytest.raises(SystemExit) as end:
            main([*words, *short.get(" ".join(words[:2]), short.get(words[0], []))])
        said = capsys.readouterr()
        if end.value.code:
            failed.append(f"robolearn {' '.join(words)}\n{said.out[-1000:]}{said.err[-1000:]}")
        ran.add(words[0])
    assert not failed, "\n\n".join(failed)
    assert ran >= {
        "train",
        "eval",
        "export",
        "inspect",
        "review",
        "view",
        "doctor",
        "robots",
        "tasks",
        "sysid",
    }


def test_a_wrong_command_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        parse(["train", "fr3/reach", "--no-such-option"])
    with pytest.raises(Exception, match="No such command"):
        parse(["trian"])


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_targets_shown_exist(page):
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE):
        assert target in targets


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_words_that_claim_too_much_are_not_used(page):
    assert not FORBIDDEN.findall(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        if "reference/" not in target:
            assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:configs|notebooks|tests|robolearn|envs|docs|benchmarks)/[\w./-]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_shown_is_python_and_its_names_exist(page):
    for kind, block in BLOCK.findall(page.read_text()):
        if kind != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rl":
                assert node.attr in rl.__all__
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_reference_is_written_from_the_code(tmp_path):
    pytest.importorskip("rclpy")
    subprocess.run([sys.executable, ROOT / "docs" / "reference.py", tmp_path], check=True)
    assert "`total_steps`" in (tmp_path / "config.md").read_text()
    assert "`command_jump`" in (tmp_path / "rules.md").read_text()
    assert "## robolearn doctor" in (tmp_path / "command_line.md").read_text()
    assert "fr3_joint7" in (tmp_path / "robots.md").read_text()


@pytest.mark.parametrize("page", ["tutorials/safety_engineer.md", "howto/own_limits.md"])
def test_the_worked_calculations_are_shown_to_who_sets_limits(page):
    shown = {tuple(words[:2]) for words in commands((ROOT / "docs" / page).read_text())}
    assert shown >= {("safety", "limits"), ("safety", "pfl"), ("safety", "separation")}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built documentation."""
    pytest.importorskip("rclpy")
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("mkdocs is not installed: pip install 'robolearn[docs]'")
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_documentation_builds_strictly_and_loads_nothing_from_elsewhere(site):
    assert "Check your machine first" in (site / "index.html").read_text()
    elsewhere = re.compile(
        r'<(?:script|img|iframe)[^>]*\ssrc="(?:https?:)?//|<link[^>]*\shref="(?:https?:)?//'
    )
    for page in site.rglob("*.html"):
        assert not elsewhere.search(page.read_text()), page


@needs_chromium
def test_the_search_works_from_disk(site, tmp_path):
    page = f"{(site / 'index.html').as_uri()}?q=separation"
    done = dump_dom(page, tmp_path, "--virtual-time-budget=20000")
    found = re.findall(r'href="([^"]*)" class="md-search-result__link', done.stdout)
    assert any("reference/rules.html" in link for link in found), done.stderr[-2000:]
