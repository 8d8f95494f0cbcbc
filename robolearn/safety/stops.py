"""A running stop: what was predicted when it began, and what was measured when it ended."""

from __future__ import annotations

import numpy as np

from robolearn.safety.inputs import Reading
from robolearn.safety.mode_limits import Limits
from robolearn.safety.rest import RestReadings
from robolearn.safety.types import Record, StopReport, Vector

_STANDSTILL_WAIT_S = 1.0  # after the end of the braking motion, for a measurement that shows standstill


class Stop:
    """From the decision to stop until standstill."""

    def __init__(
        self, cause: Record, began_s: float, predicted_s: float, travel_rad: Vector, reading: Reading | None
    ):
        self.cause, self.began_s = cause, began_s
        self._predicted_s, self._travel = predicted_s, travel_rad
        self._from = reading
        self._sent_rest_s: float | None = None

    def standstill(
        self, reading: Reading | None, rest: RestReadings, now_s: float, limits: Limits
    ) -> StopReport | None:
        """The report once the arm is measured at rest, or was given time enough; None before.

        rest: the readings before, which decide with this one, as they do over where the arm is held. To be called once
        the braking motion has been sent to its end.
        """
        if self._sent_rest_s is None:
            self._sent_rest_s = now_s
            rest.forget()  # those of the braking motion
        still = reading is not None and rest.still(reading, limits)
        if not still and now_s - self._sent_rest_s < _STANDSTILL_WAIT_S:
            return None
        travel = np.zeros_like(self._travel)
        if reading is not None and self._from is not None:
            travel = reading.position_rad - self._from.position_rad
        return StopReport(
            cause=self.cause.rule,
            began_s=self.began_s,
            predicted_time_s=self._predicted_s,
            measured_time_s=now_s - self.began_s if still and now_s >= self.began_s else None,
            predicted_travel_rad=self._travel,
            measured_travel_rad=travel,
        )
