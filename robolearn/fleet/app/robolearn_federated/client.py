"""A site's end."""

from robolearn.fleet.client import app

__all__ = ["app"]
