"""Whose a command is: the source that it names, and the policy in it.

A policy's source is `policy:DIGEST`, the SHA-256 of its bundle. After a swap in motion it is
`policy:DIGEST+policy:NEWER`: what the start was given to, then what computes now. Anything else is a source too, but
no policy.
"""

from __future__ import annotations

_POLICY, _THEN = "policy:", "+"
_LONGEST, _BRIEF = 40, 23


def policy_source(digest: str) -> str:
    """The source of the commands of a bundle."""
    return _POLICY + digest


def started_for(source: str) -> str:
    """What the start was given to: this may not change without another start."""
    return source.partition(_THEN)[0]


def computing(source: str) -> str:
    """What computes the commands now: another than `started_for` only after a swap in motion."""
    return source.rpartition(_THEN)[2]


def after_swap(source: str, newer: str) -> str:
    """The source from the first command on that `newer` computed, under the start that was given to `source`."""
    start = started_for(source)
    return start if start == newer else start + _THEN + newer


def policy_digest(source: str) -> str | None:
    """The digest of the bundle that computes the commands; None where the source names no policy."""
    name = computing(source)
    return name.removeprefix(_POLICY) if name.startswith(_POLICY) else None


def brief(source: str) -> str:
    """The source for one line of text."""
    return source if len(source) <= _LONGEST else source[:_BRIEF] + "..."
