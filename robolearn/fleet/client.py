"""The site's end of a round, in Flower's ClientApp: a new process for every message. Needs flwr, and JAX to train."""

# pyright: reportMissingImports=false
from __future__ import annotations

import os

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from robolearn import __version__
from robolearn.fleet.messages import UPDATE, VECTOR, array_in, content, request_in
from robolearn.fleet.rounds import PROTOCOL, Request
from robolearn.fleet.settings import SITE_VARIABLE, Federation, Folder
from robolearn.fleet.site_policy import SiteRefuses
from robolearn.fleet.vector import Vector, clipped
from robolearn.fleet.work import work_of

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round, and answer with the difference, clipped where the federation says so."""
    folder = Folder(os.environ[SITE_VARIABLE])
    federation = folder.federation()
    if federation.secure_aggregation:
        from robolearn.fleet import secure

        def update(vector: Vector, request: Request) -> Vector:
            return _update(folder, federation, vector, request, secure.bound(federation, len(vector)))

        return secure.answer(message, context, federation, update)
    request, vector = request_in(message), array_in(message, VECTOR)
    return Message(
        content(UPDATE, _update(folder, federation, vector, request, federation.clip_norm)), reply_to=message
    )


def _update(
    folder: Folder, federation: Federation, vector: Vector, request: Request, norm_max: float | None
) -> Vector:
    """What the site adds to the vector by a round of its work, no longer than norm_max."""
    require_agreed(federation, request)
    if not np.isfinite(vector).all():
        raise SiteRefuses("The coordinator's vector is not finite. It was not trained from.")
    update = np.asarray(work_of(folder.site())(folder, vector, request), np.float32) - vector
    return update if norm_max is None else clipped(update, norm_max)


def require_agreed(federation: Federation, request: Request) -> None:
    """Raises SiteRefuses where the coordinator asks for something else than the site's federation.yaml says."""
    if request.protocol != PROTOCOL or request.robolearn.split(".")[:2] != __version__.split(".")[:2]:
        raise SiteRefuses(
            f"The coordinator has robolearn {request.robolearn} ({request.protocol}), this site {__version__} "
            f"({PROTOCOL}). Install the same version at both."
        )
    if request.federation != federation.digest:
        raise SiteRefuses(
            f"The coordinator's federation.yaml has digest {request.federation[:16]}, this site's "
            f"{federation.digest[:16]}. Compare the two files; the site takes part in what it has agreed to only."
        )
    if request.count != federation.local_iterations or request.round > federation.rounds:
        raise SiteRefuses(f"Round {request.round} of {request.count} iterations is not in federation.yaml.")
