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
from robolearn.fleet.vector import clipped
from robolearn.fleet.work import work_of

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round, and answer with the difference, clipped where the federation says so."""
    folder = Folder(os.environ[SITE_VARIABLE])
    federation, request = folder.federation(), request_in(message)
    require_agreed(federation, request)
    vector = array_in(message, VECTOR)
    if not np.isfinite(vector).all():
        raise SiteRefuses("The coordinator's vector is not finite. It was not trained from.")
    new = work_of(folder.site())(folder, vector, request)
    update = np.asarray(new, np.float32) - vector
    if federation.clip_norm is not None:
        update = clipped(update, federation.clip_norm)
    return Message(content(UPDATE, update), reply_to=message)


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
