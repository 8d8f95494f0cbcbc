"""The coordinator's end."""

from robolearn.fleet.server import app

__all__ = ["app"]
