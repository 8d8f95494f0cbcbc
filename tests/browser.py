"""A page opened in headless Chromium, with no network, and what it has become by then."""

import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium (apt-get install chromium)")


def dump_dom(url, profile, *more):
    """The finished process; its output is the page's document. profile: a new folder of the browser's own."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"]
    quiet = ["--disable-background-networking", "--no-first-run", f"--user-data-dir={profile}"]
    return subprocess.run(
        [*command, *quiet, *more, "--dump-dom", url], capture_output=True, text=True, timeout=120, check=False
    )
