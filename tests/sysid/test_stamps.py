"""Jitter of stamps is taken out where the motion shows that it is of the stamps, else left."""

from dataclasses import replace

import numpy as np
import pytest
from recorded import plant_in_class, record

from robolearn.data.motion import Motion, Stream
from robolearn.robots import load_robot
from robolearn.sysid.stamps import even_stamps, without_jitter

JITTER_S = 1e-4


def _motion(time, true_time, noise=2e-4):
    """Two joints whose positions at true_time are stamped with time."""
    rng = np.random.default_rng(5)
    position = np.stack([np.sin(3 * true_time), 0.5 * np.cos(5 * true_time)], 1)
    position += noise * rng.normal(size=position.shape)
    return Motion("log", "", ("a", "b"), Stream(time, {}), Stream(time, {"position_rad": position}))


def test_even_stamps_have_a_tenth_of_the_jitter_and_lost_messages_do_not_move_them():
    rng = np.random.default_rng(0)
    grid = 0.0020001 * np.arange(8000) + 3.0
    kept = np.delete(grid, rng.choice(8000, 100, replace=False))  # lost messages
    kept = kept[(kept < 9.0) | (kept > 9.1)]  # and a gap
    even = even_stamps(kept + rng.normal(0, JITTER_S, len(kept)))
    off = even - kept
    assert np.std(off) < 0.15 * JITTER_S
    assert abs(off).max() < 0.6 * JITTER_S
    assert even_stamps(grid) == pytest.approx(grid, abs=1e-9)
    assert even_stamps(grid[:1]) == pytest.approx(grid[:1])
    assert even_stamps(grid[:2]) == pytest.approx(grid[:2])


def test_jitter_of_the_stamps_is_taken_out_and_said():
    grid = 0.002 * np.arange(5000)
    stamps = grid + np.random.default_rng(1).normal(0, JITTER_S, 5000)
    found = without_jitter(_motion(stamps, grid))
    assert np.abs(found.measured.time_s - grid).max() < 0.5 * JITTER_S
    assert found.notes[-1] == "stamps of measurements jitter by 0.1 ms (standard deviation): made even"


def test_jitter_of_the_sampling_itself_stays_as_it_was_stamped():
    stamps = 0.002 * np.arange(5000) + np.random.default_rng(1).normal(0, JITTER_S, 5000)
    motion = _motion(stamps, stamps)
    assert without_jitter(motion) is motion


def test_stamps_that_are_even_already_stay_and_so_do_those_of_no_rate():
    grid = 0.002 * np.arange(5000)
    assert without_jitter(_motion(grid, grid)).notes == ()
    wild = np.sort(np.random.default_rng(2).uniform(0, 10, 5000))
    assert np.array_equal(without_jitter(_motion(wild, wild)).measured.time_s, wild)


def test_a_recorded_plant_gets_the_times_at_which_it_was_measured():
    """The fit reads these: with jitter in them the stiffness of stiff joints was too high by 0.1 to 0.2 %."""
    plant = plant_in_class(load_robot("ur5e"), noise=1.0)
    jittered = record(plant, effort=True)
    right = record(plant.model_copy(update={"stamp_jitter_s": 0.0}), effort=True).measured.time_s
    found = without_jitter(replace(jittered, notes=("before",)))
    assert np.std(jittered.measured.time_s - right) == pytest.approx(JITTER_S, rel=0.1)
    assert np.std(found.measured.time_s - right) < 0.15 * JITTER_S
    assert found.notes[0] == "before"
    assert len(found.notes) == 2
