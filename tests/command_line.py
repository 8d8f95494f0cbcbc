"""The command line within a test's own process."""

import pytest

from robolearn.cli import app as cli


def run(capsys, *arguments):
    """Exit status, stdout and stderr of the command line."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err
