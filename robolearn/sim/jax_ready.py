"""Whether JAX can be used as it is set up, asked before the first array is made."""

from __future__ import annotations

import os

import jax

from robolearn.errors import PhysicsError


def require_jax() -> None:
    """Raise PhysicsError, in one line, where JAX has no device, or computes in double precision."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        why = " ".join(str(error).split())
        raise PhysicsError(
            f"JAX found no device for JAX_PLATFORMS={platforms or '(not set)'}{': ' + why if why else ''}. Unset "
            "JAX_PLATFORMS, or set it to cpu; a GPU needs pip install 'robolearn[gpu]'."
        ) from None
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise PhysicsError(
            "JAX is set to double precision (JAX_ENABLE_X64), but robolearn uses single precision: unset it."
        )
