"""The arm in space by itself: an arm on rails, gaps that are told what to find, and numbers worked by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from robolearn.safety.arm_model import Posture
from robolearn.safety.profile import Box, Plane, SafetyProfile, Workspace
from robolearn.safety.space import Space
from robolearn.safety.types import Record

PERIOD_S = 0.5
APART, TOGETHER = (SafetyProfile.load("fr3").mode(name) for name in ("automatic", "collaborative"))
NOT_CHECKED = APART.contact
TABLE, TAB, TAB_LEFT = (f"keep_out:{name} - lower" for name in ("table", "tab", "tab left"))


def number(value):
    return APART.tcp_speed_max_m_s.model_copy(update={"value": value})


def region(kind, name, **corners):
    return kind(
        name=name, source=f"plan of the {name}", trust="integrator", risk_assessment_ref="RA", **corners
    )


CELL = region(Box, "cell", min_m=(-4.0, -5.0, -6.0), max_m=(7.0, 8.0, 9.0))
WINDOW = region(Plane, "window", normal=(0.0, -0.6, 0.8), offset_m=-3.0)
DOOR = region(Plane, "door", normal=(-1.0, 0.0, 0.0), offset_m=-2.5)
OBSTACLES = [
    region(Box, name, min_m=(1.0, 1.0, 1.0), max_m=(2.0, 2.0, 2.0)) for name in ("tab", "table", "tab left")
]
CELL_WITH_ALL = Workspace(stay_in=CELL, planes=(WINDOW, DOOR), keep_out=tuple(OBSTACLES))
BOUNDLESS = Workspace(
    stay_in=region(Box, "all", min_m=(-1e3, -1e3, -1e3), max_m=(1e3, 1e3, 1e3)), keep_out=tuple(OBSTACLES)
)
CHEST = TOGETHER.contact.model_copy(
    update={
        "model": "kinetic_energy",
        "transient_regions": ("chest",),
        "quasi_static_regions": (),
        "contact_area_cm2": number(1.0),
        "payload_kg": number(0.75),
    }
)
# 2 * 120 N/cm2 * 1 cm2 = 240 N, 25 kN/m and 40 kg: 240 / sqrt(40 * 25000) against an arm of any mass
FLOOR = 0.24


ROBOT = SimpleNamespace(name="rails", moving_mass_kg=18.5)  # with the payload 10 kg are felt
BY_ENERGY = "chest, transient, by kinetic_energy: mR = 2 E / v^2 + mL"


class Gaps:
    """In place of `gaps.Gaps`: keeps what it was asked, and finds what it is told to find."""

    names = ("upper - tcp", TABLE, TAB, TAB_LEFT)
    needed_m = np.array([0.125, 0.0, 0.0, 0.0])

    def __init__(self, arm, finds):
        self.arm, self.finds, self.asked = arm, finds, []

    def least(self, joints_rad, swing):
        assert self.arm.at == joints_rad.tolist()
        self.asked.append((joints_rad.tolist(), swing.tolist()))
        return self.finds(joints_rad, swing)


class Rails:
    """In place of `ArmModel`: of one radian, joint 1 slides its points along y and joint 2 along x by `reach` m.

    Joint 2 turns the lower part as well, by one radian of each radian.
    """

    names = ("upper", "lower", "elbow", "tcp")
    part, first = np.array([0, 0, 1, 1, 2, 3]), np.array([0, 2, 4, 5])
    radius = np.array([0.125, 0.125, 0.0625, 0.0625, 0.0, 0.0])
    reach = np.array([[0.0, 0.0], [2.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.25, 0.0], [1.0, 0.25]])
    longest = np.array([2.0, 1.0])
    start = np.array(
        [
            [0.0, 0.0, 0.25],
            [0.0, 0.0, 1.0],
            [0.0, 0.0, 1.0],
            [0.5, 0.0, 1.0],
            [0.0, 0.0, 1.0],
            [0.5, 0.25, 1.0],
        ]
    )
    # so that one radian is one radian of `point_speeds`, which bounds a turn by the change of its matrix
    turn = np.sqrt(2.0) / 1.001 * np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])

    def __init__(self, finds=lambda *_: None, energies=(), levers=()):
        self.asked, self.at, self.energies = [], None, np.array(energies)
        self.distances, self.near = Gaps(self, finds), np.array(levers)
        self.kept = self.longest  # as where none have been measured

    def gaps(self, apart_m):
        self.asked.append(("gaps", apart_m))
        return self.distances

    def there(self, joints_rad):
        points, rotation = self.start.copy(), np.zeros((6, 9))
        points[:, 1] += self.reach[:, 0] * joints_rad[0]
        points[:, 0] += self.reach[:, 1] * joints_rad[1]
        rotation[:, 4] = self.turn * joints_rad[1]
        return Posture(points, rotation)

    def posture(self, joints_rad):
        self.at = joints_rad.tolist()
        self.asked.append(("posture", self.at))
        return self.there(joints_rad)

    def postures(self, path_rad):
        self.asked.append(("postures", path_rad.tolist()))
        self.at = path_rad[-1].tolist()
        each = [self.there(joints_rad) for joints_rad in path_rad]
        return Posture(np.array([one.points for one in each]), np.array([one.rotation for one in each]))

    def levers(self, posture, swing):
        self.asked.append(("levers", posture, swing))
        return self.near

    def kept_levers(self, joints_rad, swing):
        self.kept_for = joints_rad.tolist(), swing.tolist()
        return self.kept

    def kinetic_energy(self, velocity_rad_s):
        self.asked.append(("kinetic_energy", velocity_rad_s.tolist()))
        return float(self.energies[0])

    def kinetic_energies(self, path_rad, velocity_rad_s):
        self.asked.append(("kinetic_energies", path_rad.tolist(), velocity_rad_s.tolist()))
        self.at = path_rad[-1].tolist()
        return self.energies[: len(path_rad)]


def space_of(arm=None, **changes):
    """A Space whose mode has wide limits but for the changes, and whose sources are named after their fields."""
    wide = {
        "workspace": CELL_WITH_ALL, "contact": NOT_CHECKED, "separation": NOT_CHECKED,
        "tcp_speed_max_m_s": 50.0, "elbow_speed_max_m_s": 50.0, "link_speed_max_m_s": 50.0,
        "stopping_distance_max_m": 50.0, "self_distance_min_m": 0.125,
    }  # fmt: skip
    update = {k: number(v) if isinstance(v, float) else v for k, v in (wide | changes).items()}
    limits = SimpleNamespace(
        mode=APART.model_copy(update=update), source=lambda field: f"source of {field}", robot=ROBOT
    )
    return Space(limits, arm or Rails(), PERIOD_S)


def motion(velocities, start=(0.0, 0.0)):
    """In place of `Braking`: from start on at velocities [m, n], each kept for a period."""
    velocity, begin = np.array(velocities), np.array(start)
    path = begin + PERIOD_S * np.cumsum(velocity, axis=0)
    slowest, fastest = velocity.min(axis=0, initial=0.0), velocity.max(axis=0, initial=0.0)
    return SimpleNamespace(
        position_rad=begin, slowest_rad_s=slowest, fastest_rad_s=fastest, trajectory=(path, velocity)
    )


def same(record, expected):
    """Records that differ in nothing but rounding."""
    numbers = [(each.value, each.limit, each.margin) for each in (record, expected)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-12)
    rest = [(each.rule, each.unit, each.source, each.text, each.where) for each in (record, expected)]
    assert rest[0] == rest[1]


# ---- where it may be


def test_gaps_are_those_of_the_modes_distance():
    arm = Rails()
    space = space_of(arm, self_distance_min_m=0.375)
    assert arm.asked == [("gaps", 0.375)]
    assert (space.arm, space.period_s) == (arm, PERIOD_S)


def test_margins_are_each_spheres_room_to_each_wall():
    points = np.array([[1.0, 2.0, 3.0], [-4.0, 0.5, 0.0], *np.zeros((4, 3))])
    # x, y, z above the lower corner of the cell, then below the upper, then the window and the door; less the radius
    by_hand = np.array(
        [
            [4.875, 6.875, 8.875, 5.875, 5.875, 5.875, 4.075, 1.375],
            [-0.125, 5.375, 5.875, 10.875, 7.375, 8.875, 2.575, 6.375],
            *[[3.9375, 4.9375, 5.9375, 6.9375, 7.9375, 8.9375, 2.9375, 2.4375]] * 2,
            *[[4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 3.0, 2.5]] * 2,
        ]
    )
    margins = space_of().wall_clearances(Posture(points, np.zeros((6, 9))))
    np.testing.assert_allclose(margins, by_hand, atol=1e-14)


def place(space, points, room, swing=(0.25, 0.5), joints=(1.0, 2.0)):
    space.arm.at = list(joints)
    posture = Posture(np.array(points), np.zeros((6, 9)))
    return space._place(posture, np.array(joints), np.array(swing), np.array(room))


WALLS = [
    ("cell x_min", (-3.9375, 0.0, 0.0)),
    ("cell y_min", (0.0, -4.9375, 0.0)),
    ("cell z_min", (0.0, 0.0, -5.9375)),
    ("cell x_max", (6.9375, 0.0, 0.0)),
    ("cell y_max", (0.0, 7.9375, 0.0)),
    ("cell z_max", (0.0, 0.0, 8.9375)),
]


@pytest.mark.parametrize(("where", "point"), WALLS)
def test_a_wall_that_a_sphere_may_meet_is_found_in_full(where, point):
    """Its centre is 1/16 m from the wall, the sphere's radius is 1/8 m and it may go 1/4 m."""
    points = np.zeros((6, 3))
    points[1] = point
    room = [0.0, 0.25, 0.0, 0.0, 0.0, 0.5]
    found = place(space_of(workspace=Workspace(stay_in=CELL)), points, room)
    assert found == Record(
        "workspace", -0.3125, 0.0, -0.3125, "m", "plan of the cell", f"{where}: -0.3125 m is below 0 m", where
    )


def test_planes_are_walls_after_the_cells_own():
    points = np.zeros((6, 3))
    points[3, 0] = 2.5
    assert place(space_of(), points, np.zeros(6)) == Record(
        "workspace", -0.0625, 0.0, -0.0625, "m", "plan of the door", "door: -0.0625 m is below 0 m", "door"
    )
    points[5] = (0.0, 4.0, -2.0)  # 0.8 * -2 - 0.6 * 4 = -4, one metre beyond: further than the door
    same(
        place(space_of(), points, np.zeros(6)),
        Record(
            "workspace", -1.0, 0.0, -1.0, "m", "plan of the window", "window: -1 m is below 0 m", "window"
        ),
    )


def test_a_wall_met_exactly_is_kept_and_hides_no_gap():
    points = np.zeros((6, 3))
    points[1, 0] = -3.625  # 0.375 m from the wall, less the radius: 0.25 m
    arm = Rails(finds=lambda *_: (0, 0.0625))
    room = [0.0, 0.25, 0.0, 0.0, 0.0, 0.0]
    found = place(space_of(arm), points, room)
    assert found.rule == "self_distance"
    room[1] = 0.2500001
    assert place(space_of(arm), points, room).rule == "workspace"
    assert len(arm.distances.asked) == 1


GAPS = [
    ((0, 0.0625), "self_distance", "upper - tcp", 0.125, "source of self_distance_min_m"),
    ((1, -0.0625), "keep_out", TABLE, 0.0, "plan of the table"),
    ((2, -0.0625), "keep_out", TAB, 0.0, "plan of the tab"),
    ((3, -0.0625), "keep_out", TAB_LEFT, 0.0, "plan of the tab left"),
]


@pytest.mark.parametrize(("least", "rule", "where", "limit", "source"), GAPS)
def test_a_gap_that_may_close_is_found_in_full(least, rule, where, limit, source):
    arm = Rails(finds=lambda *_: least)
    found = place(space_of(arm), np.zeros((6, 3)), np.zeros(6))
    text = f"{where}: {least[1]:.4g} m is below {limit:.4g} m"
    assert found == Record(rule, least[1], limit, -0.0625, "m", source, text, where)
    assert arm.distances.asked == [([1.0, 2.0], [0.25, 0.5])]


def test_a_pair_of_links_belongs_to_no_box():
    space = space_of(Rails(finds=lambda *_: (0, 0.0625)), workspace=Workspace(stay_in=CELL))
    assert place(space, np.zeros((6, 3)), np.zeros(6)).source == "source of self_distance_min_m"


# ---- the way to rest, sample by sample


def places(arm, path, swing=(0.0, 0.0), room=(0.0,) * 6, **changes):
    """What is found on a path of samples, the first of them now; and the samples looked at, by their joints."""
    space, path = space_of(arm, **changes), np.array(path, dtype=float)
    braking = SimpleNamespace(position_rad=path[0], trajectory=(path[1:], None))
    posture = arm.posture(path[0])
    del arm.asked[:], arm.distances.asked[:]
    found = space.places(posture, braking, np.array(swing), np.array(room))
    return found, [joints for what, joints in arm.asked if what == "posture"]


# the ways are 0, 1, 2, 4, 5, 5, 5 and 0, 0, 1, 1, 2, 2, 3 rad
BACK_AND_FORTH = [[0, 0], [1, 0], [2, 1], [4, 1], [3, 2], [3, 2], [3, 3]]
STILL = [0.0, 0.0]


def at_swing(*swing):
    """Finds a gap while joint 1 or joint 2 may swing by more than that."""
    return lambda _, given: (0, 0.0625) if (given > swing).any() else None


def test_room_for_the_whole_way_is_looked_at_once():
    arm = Rails()
    found, looked = places(
        arm, BACK_AND_FORTH, swing=(4.0, 3.0), room=[0.0, 60.0, 0.0, 0.0, 60.0, 50.0], workspace=BOUNDLESS
    )
    assert found is None
    assert looked == []
    assert arm.distances.asked == [([0.0, 0.0], [4.0, 3.0])]


@pytest.mark.parametrize(
    ("room_m", "finds"), [(50.0, (0, 0.0625)), (50.0001, None)], ids=["a gap", "stopping distance"]
)
def test_too_little_room_for_the_whole_way_is_no_finding_yet(room_m, finds):
    arm = Rails(finds=lambda _, swing: finds if swing[0] == 9.0 else None)
    found, looked = places(
        arm, BACK_AND_FORTH, swing=(9.0, 9.0), room=[*[0.0] * 5, room_m], workspace=BOUNDLESS
    )
    assert found is None
    assert looked == [[4.0, 1.0]]  # one look in the middle
    assert arm.distances.asked == [([0.0, 0.0], [9.0, 9.0]), ([4.0, 1.0], [4.0, 2.0])]


def test_intervals_are_halved_until_each_sample_speaks_for_itself_the_later_half_first():
    arm = Rails(finds=at_swing(0.0, 0.0))
    found, looked = places(arm, BACK_AND_FORTH, swing=(9.0, 9.0), workspace=BOUNDLESS)
    assert found is None
    assert looked == [BACK_AND_FORTH[k] for k in (3, 5, 6, 4, 1, 2, 0)]
    assert arm.distances.asked == [
        ([0.0, 0.0], [9.0, 9.0]),
        ([4.0, 1.0], [4.0, 2.0]),
        ([4.0, 1.0], STILL),
        ([3.0, 2.0], [0.0, 1.0]),
        ([3.0, 2.0], STILL),
        ([3.0, 3.0], STILL),
        ([3.0, 2.0], STILL),
        ([1.0, 0.0], [1.0, 1.0]),
        ([1.0, 0.0], STILL),
        ([2.0, 1.0], STILL),
        ([0.0, 0.0], STILL),
    ]


def test_an_interval_with_room_is_not_halved():
    arm = Rails(finds=at_swing(3.0, 2.0))
    found, looked = places(arm, BACK_AND_FORTH, swing=(9.0, 9.0), workspace=BOUNDLESS)
    assert found is None
    assert looked == [BACK_AND_FORTH[k] for k in (3, 5, 1)]


def test_the_first_sample_looked_at_that_is_bad_by_itself_is_the_finding():
    bad = ([3.0, 3.0], [1.0, 0.0], [2.0, 1.0])
    arm = Rails(finds=lambda q, swing: (1, -q[0]) if q.tolist() in bad else at_swing(0.0, 0.0)(q, swing))
    found, looked = places(arm, BACK_AND_FORTH, swing=(9.0, 9.0), workspace=BOUNDLESS)
    text = f"{TABLE}: -3 m is below 0 m"
    assert found == Record("keep_out", -3.0, 0.0, -3.0, "m", "plan of the table", text, TABLE)
    assert looked == [BACK_AND_FORTH[k] for k in (3, 5, 6)]
    assert arm.distances.asked[-2:] == [([3.0, 2.0], STILL), ([3.0, 3.0], STILL)]  # asked once


def test_a_sample_in_the_middle_is_a_finding_only_by_itself():
    arm = Rails(finds=lambda q, swing: (1, -1.0 - swing[1]) if q[0] == 4.0 or swing[0] == 9.0 else None)
    found, looked = places(arm, BACK_AND_FORTH, swing=(9.0, 9.0), workspace=BOUNDLESS)
    assert (found.rule, found.value) == ("keep_out", -1.0)
    assert looked == [[4.0, 1.0]]
    assert [swing for _, swing in arm.distances.asked] == [[9.0, 9.0], [4.0, 2.0], STILL]


def test_a_motion_that_takes_too_many_looks_is_taken_for_bad():
    def straight(samples):
        arm = Rails(finds=at_swing(0.0, 0.0))
        path = [[k / 64, 0.0] for k in range(samples)]
        return arm, *places(arm, path, swing=(9.0, 9.0), workspace=BOUNDLESS)

    # Halved to the end, samples 0, 2, 1, 4, 6, 5, 3 are the last seven looks, from the last backwards.
    arm, found, looked = straight(65)
    assert found is None
    assert len(looked) == 65  # the 64th is at sample 2, which is good by itself
    arm, found, looked = straight(66)
    assert len(looked) == 64
    assert looked[-1] == [1 / 64, 0.0]
    assert arm.distances.asked[-1] == ([1 / 64, 0.0], [1 / 64, 0.0])
    assert (found.rule, found.value) == ("self_distance", 0.0625)


# ---- stopping distance


def test_the_tcp_stops_within_its_distance_from_where_it_is():
    """The TCP goes 1 m for each radian of joint 1 and 1/4 m for each of joint 2."""
    path = [[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]]
    room = [0.0, 0.0, 0.0, 0.0, 0.0, 60.0]
    wide = {"swing": (9.0, 9.0), "room": room, "workspace": BOUNDLESS}
    # in the middle: 1 m from the beginning, and room for 1 m more
    assert places(Rails(), path, **wide, stopping_distance_max_m=2.0) == (None, [[2.0, 2.0]])
    found, looked = places(Rails(), path, **wide, stopping_distance_max_m=1.9375)
    assert looked == [[2.0, 2.0], [3.0, 2.0]]
    source = "source of stopping_distance_max_m"
    assert found == Record("stopping_distance", 2.0, 1.9375, -0.0625, "m", source, "2 m is above 1.938 m")


def test_the_tcps_distance_is_straight_and_counts_what_both_joints_may_add():
    path = [[0.0, 0.0], [3.0, 16.0], [3.0, 18.0]]
    wide = {"swing": (9.0, 99.0), "room": [0.0, 0.0, 0.0, 0.0, 0.0, 60.0], "workspace": BOUNDLESS}
    # in the middle: 3 m along y and 4 m along x are 5 m; the way there may take it 3 + 4 m, the rest less
    assert places(Rails(), path, **wide, stopping_distance_max_m=12.0)[1] == [path[1]]
    found, looked = places(Rails(), path, **wide, stopping_distance_max_m=11.9375)
    assert found is None
    assert looked == [path[1], path[2], path[0]]


def test_a_wall_is_found_before_the_stopping_distance_and_with_the_room_on_the_way():
    path = [[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]
    wide = {"swing": (9.0, 9.0), "room": [0.0, 0.0, 0.0, 0.0, 0.0, 60.0]}
    # point 2 goes 2 m for each radian: to 8 m, and its sphere has a radius of 1/8 m
    edge = region(Box, "edge", min_m=(-50.0, -50.0, -50.0), max_m=(50.0, 8.125, 50.0))
    assert places(Rails(), path, **wide, workspace=Workspace(stay_in=edge)) == (None, [[2.0, 0.0]])
    edge = edge.model_copy(update={"max_m": (50.0, 8.0, 50.0)})
    found, looked = places(
        Rails(), path, **wide, workspace=Workspace(stay_in=edge), stopping_distance_max_m=2.0
    )
    assert looked == [[2.0, 0.0], [4.0, 0.0]]
    assert found == Record(
        "workspace", -0.125, 0.0, -0.125, "m", "plan of the edge", "edge y_max: -0.125 m is below 0 m",
        "edge y_max",
    )  # fmt: skip


# ---- speeds of one step


def speed_record(rule, value, limit, where=""):
    text = f"{where + ': ' if where else ''}{value:.4g} m/s is above {limit:.4g} m/s"
    return Record(rule, value, limit, limit - value, "m/s", f"source of {rule}_max_m_s", text, where)


SPEEDS = {"tcp_speed_max_m_s": 1.0, "elbow_speed_max_m_s": 0.5, "link_speed_max_m_s": 2.0}


def test_speeds_at_their_limits_are_kept():
    assert space_of(**SPEEDS).speeds(np.array([0.0, 2.0, 0.0, 0.0, 0.5, 1.0])) is None
    assert space_of(**SPEEDS).speeds(np.full(6, 0.5)) is None


def test_speeds_of_tcp_elbow_and_links_are_found_in_that_order_and_in_full():
    space, speeds = space_of(**SPEEDS), np.array([0.25, 0.75, 2.5, 2.25, 0.625, 1.25])
    assert space.speeds(speeds) == speed_record("tcp_speed", 1.25, 1.0)
    speeds[5] = 1.0
    assert space.speeds(speeds) == speed_record("elbow_speed", 0.625, 0.5)
    speeds[4] = 0.5
    assert space.speeds(speeds) == speed_record("link_speed", 2.5, 2.0, "lower")
    assert space.speeds(np.array([2.25, 2.125, 0.0, 0.0, 0.0, 0.0])) == speed_record(
        "link_speed", 2.25, 2.0, "upper"
    )


def test_a_speed_that_is_no_number_is_none_that_is_kept():
    found = space_of(**SPEEDS).speeds(np.array([0.0, 0.0, 0.0, 0.0, 0.0, np.nan]))
    assert (found.rule, found.limit) == ("tcp_speed", 1.0)


# ---- contact


def energy_of(mass_kg, speed_m_s):
    """J, of a mass with CHEST's payload: of the arm without it."""
    return 0.5 * (mass_kg - 0.75) * speed_m_s**2


def test_a_contact_speed_follows_the_energy_and_the_fastest_point():
    # (1/5 + 2/5) rad/s * (2 * 1/5 + 1 * 2/5) m/s * half of 1/2 s: in half a period velocities change by 0.12 m/s,
    # which is half of 0.24 m/s, so that of the fastest point's 1 m/s one half is sure
    velocity = np.array([0.2, -0.4])
    speeds = np.array([0.0, 0.25, 1.0, 0.5, 0.0, 0.125])
    # masses that make 10, 2.5, 1.6 kg of the chest's 40 kg: 240 N / sqrt(m 25 kN/m)
    for mass, allowed in [(40 / 3, 0.48), (8 / 3, 0.96), (5 / 3, 1.2)]:
        arm = Rails(energies=[energy_of(mass, 0.5)])
        space = space_of(arm, contact=CHEST)
        del arm.asked[:]
        assert space.contact_speed(velocity, speeds) == pytest.approx(allowed, rel=1e-12)
        assert arm.asked == [("kinetic_energy", [0.2, -0.4])]


def test_contact_speeds_of_several_steps_are_each_steps_own():
    velocities = np.array([[0.2, -0.4], [-0.2, 0.4], [0.2, 0.4]])
    speeds = np.array([[0.0, 1.0, 0.5], [2.0, 0.0, 0.0], [0.0, 0.25, 0.5]])
    masses, fastest = (8 / 3, 40 / 3, 5 / 3), (0.5, 1.0, 0.25)
    path = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    arm = Rails(energies=[energy_of(*each) for each in zip(masses, fastest, strict=True)])
    space = space_of(arm, contact=CHEST)
    allowed = space.contact_speeds(path, velocities, speeds)
    np.testing.assert_allclose(allowed, [0.96, 0.48, 1.2], rtol=1e-12)
    assert arm.asked[-1] == ("kinetic_energies", path.tolist(), velocities.tolist())
    assert space_of().contact_speeds(path, velocities, speeds).tolist() == [np.inf] * 3


def test_an_arm_whose_speed_changes_fast_is_allowed_what_any_mass_is():
    # 1.2 rad/s * 1.6 m/s / 4 = 0.48 m/s of change, twice the 0.24 m/s: nothing is sure
    space = space_of(Rails(energies=[1e-3]), contact=CHEST)
    assert space.contact_speed(np.array([0.4, 0.8]), np.array([1.0])) == pytest.approx(FLOOR, rel=1e-6)


def test_a_slow_arm_takes_no_energy():
    arm = Rails()
    space = space_of(arm, contact=CHEST)
    assert space.contact_speed(np.array([9.0, 9.0]), np.full(6, FLOOR)) == FLOOR
    assert arm.asked == [("gaps", 0.125)]


def test_where_nobody_may_be_touched_no_speed_is_one_of_contact():
    space, fast = space_of(), np.full(6, 9.0)
    assert space.contact_speed(np.array([9.0, 9.0]), fast) == np.inf
    assert space.contact(fast, 0.5) is None


def test_the_fastest_part_is_found_in_full():
    space = space_of(contact=CHEST)
    speeds = np.array([0.25, 0.5, 0.5, 1.25, 1.0, 0.75])
    assert space.contact(speeds, 1.25) is None
    assert space.contact(speeds, 0.5) == Record(
        "contact",
        1.25,
        0.5,
        -0.75,
        "m/s",
        CHEST.edition,
        f"lower: 1.25 m/s is above 0.5 m/s ({BY_ENERGY})",
        "lower",
    )


# ---- speeds until rest

HERE = Posture(Rails.start.copy(), np.zeros((6, 9)))


def to_rest(arm, braking, swing=(0.25, 0.5), **changes):
    space = space_of(arm, **changes)
    del arm.asked[:]
    return space.speeds_to_rest(HERE, braking, np.array(swing))


def asked_of(arm):
    return [what for what, *_ in arm.asked]


COUNTER = motion([[-1.0, 0.5], [0.5, -1.0]])


@pytest.mark.parametrize(
    ("changes", "velocity"),
    [
        ({"tcp_speed_max_m_s": 2.0}, (-0.75, 0.5)),  # 2 m/rad * 0.75 rad/s and 1 m/rad * 0.5 rad/s
        ({"contact": CHEST}, (-0.1199999, 0.0)),  # 2 m/rad, and what any mass is allowed
        ({"contact": CHEST, "elbow_speed_max_m_s": 0.125}, (-0.0625, 0.0)),
    ],
)
def test_what_is_slow_at_full_stretch_is_looked_at_no_further(changes, velocity):
    arm, braking = Rails(levers=(0.0, 0.0)), motion([velocity])
    assert to_rest(arm, braking, **changes) is None
    assert arm.asked == []
    braking.slowest_rad_s -= (1e-6, 0.0)
    assert to_rest(arm, braking, **changes) is None
    assert asked_of(arm) == ["levers"]


def test_what_is_slow_within_the_levers_kept_is_looked_at_no_further():
    arm = Rails(levers=(9.0, 9.0))
    arm.kept = np.array([1.5, 0.5]) * (1.0 - 1e-9)
    braking = motion([[-1.0, 0.5], [0.5, -1.0]], start=(8.0, 4.0))
    assert to_rest(arm, braking, swing=(0.25, 0.5), tcp_speed_max_m_s=2.0) is None
    assert arm.asked == []
    assert arm.kept_for == ([8.0, 4.0], [0.25, 0.5])
    # just slow enough: those measured here are asked next, and settle it
    arm.kept = arm.near = np.array([1.5, 0.5])
    assert to_rest(arm, COUNTER, tcp_speed_max_m_s=2.0) is None
    assert asked_of(arm) == ["levers"]


def test_what_is_slow_within_its_levers_is_looked_at_no_further():
    arm, bounds = Rails(levers=(1.5, 0.5)), SimpleNamespace(**vars(COUNTER))
    del bounds.trajectory
    # together at their fastest: 1.5 m * 1 rad/s and 0.5 m * 1 rad/s, one of them backwards
    assert to_rest(arm, bounds, swing=(0.25, 0.5), tcp_speed_max_m_s=2.0) is None
    ((what, posture, swing),) = arm.asked
    assert (what, posture, swing.tolist()) == ("levers", HERE, [0.25, 0.5])


def test_joints_that_are_never_at_their_fastest_together_are_looked_at_no_further():
    arm = Rails(levers=(1.5, 0.5))
    assert to_rest(arm, COUNTER, tcp_speed_max_m_s=1.75) is None  # 1.5 * 1 + 0.5 * 0.5 m/s, and less later
    assert asked_of(arm) == ["levers"]
    assert to_rest(arm, COUNTER, tcp_speed_max_m_s=1.7) is None
    assert asked_of(arm) == ["levers", "postures", "posture"]


def test_the_way_is_looked_at_up_to_its_last_fast_sample_and_the_arm_is_left_where_it_was():
    arm = Rails(levers=(1.0, 1.0))
    velocities = [[-1.5, 0.0], [-0.25, 0.0], [-1.5, 0.0], [-0.5, 0.25], [-1.25, 0.0], [-1.0, 0.0], [0.0, 0.0]]
    braking = motion(velocities, start=(8.0, 4.0))
    # more than 1 m/s is too fast for the elbow, but it goes 1/4 m for each radian of joint 1
    found = to_rest(arm, braking, elbow_speed_max_m_s=1.0)
    assert found is None
    assert arm.asked[1:] == [
        ("postures", [[8.0, 4.0], [7.25, 4.0], [7.125, 4.0], [6.375, 4.0], [6.125, 4.125], [5.5, 4.125]]),
        ("posture", [8.0, 4.0]),
    ]
    assert arm.at == [8.0, 4.0]


GROWING = motion([[0.5, 0.0], [0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [0.0, 4.0], [0.0, 0.0]], start=(1.0, 1.0))


def test_the_first_step_that_is_too_fast_is_found_in_full():
    """Joint 1 moves the upper part by 2 m/rad, the TCP by 1, the elbow by 1/4; joint 2 turns the lower part."""
    wide = {"levers": (9.0, 9.0)}
    assert to_rest(Rails(**wide), GROWING, tcp_speed_max_m_s=2.0) is None
    same(to_rest(Rails(**wide), GROWING, tcp_speed_max_m_s=1.75), speed_record("tcp_speed", 2.0, 1.75))
    same(
        to_rest(Rails(**wide), GROWING, elbow_speed_max_m_s=0.1875), speed_record("elbow_speed", 0.25, 0.1875)
    )
    # the lower part's surface: 1 m/s and 1/16 m at 1 rad/s, then four times that
    same(
        to_rest(Rails(**wide), GROWING, link_speed_max_m_s=4.125),
        speed_record("link_speed", 4.25, 4.125, "lower"),
    )
    same(
        to_rest(Rails(**wide), GROWING, link_speed_max_m_s=1.03125),
        speed_record("link_speed", 1.0625, 1.03125, "lower"),
    )


def test_a_contact_speed_that_is_exceeded_on_the_way_is_found_where_it_is_first():
    """Of GROWING: upper part at 1, lower part at 1.0625, then upper part at 2, 4 and lower part at 4.25 m/s."""
    contact = {"contact": CHEST, "tcp_speed_max_m_s": 9.0}
    # no energy at all: 0.75 kg of payload and 40 kg of chest
    most = 0.24 * np.sqrt(1.0 + 40.0 / 0.75)
    arm = Rails(levers=(9.0, 9.0), energies=np.zeros(5))
    same(
        to_rest(arm, GROWING, **contact),
        Record("contact", 2.0, most, most - 2.0, "m/s", CHEST.edition,
               f"upper: 2 m/s is above {most:.4g} m/s ({BY_ENERGY})", "upper"),
    )  # fmt: skip
    path, velocity = GROWING.trajectory
    assert arm.asked[1:] == [
        ("postures", [[1.0, 1.0], *path[:5].tolist()]),
        ("kinetic_energies", path[:5].tolist(), velocity[:5].tolist()),
        ("posture", [1.0, 1.0]),
    ]
    assert arm.at == [1.0, 1.0]
    # with energy in the second step alone that one is the first
    arm = Rails(levers=(9.0, 9.0), energies=[0.0, 1e9, 0.0, 0.0, 0.0])
    found = to_rest(arm, GROWING, **contact)
    assert (found.rule, found.value, found.where) == ("contact", pytest.approx(1.0625), "lower")
    assert found.limit == pytest.approx(FLOOR, rel=1e-6)
    # in the same step a limit of the mode goes first, in an earlier one the contact
    arm = Rails(levers=(9.0, 9.0), energies=np.zeros(5))
    mode = to_rest(arm, GROWING, contact=CHEST, link_speed_max_m_s=1.875)
    same(mode, speed_record("link_speed", 2.0, 1.875, "upper"))
    assert to_rest(arm, GROWING, contact=CHEST, link_speed_max_m_s=3.0).rule == "contact"


def test_only_steps_that_are_fast_take_energy():
    arm = Rails(levers=(9.0, 9.0), energies=np.zeros(5))
    slow = motion([[0.0, 0.25], [0.125, 0.0], [0.0, 0.125], [0.25, 0.0], [0.0, 0.0]])
    assert to_rest(arm, slow, contact=CHEST) is None
    assert arm.asked[2][0] == "kinetic_energies"
    # joint 1 moves the upper part by 2 m/rad: 0.25 and 0.5 m/s; joint 2 the lower part's surface by 1.0625 m/rad
    assert arm.asked[2][2] == [[0.0, 0.25], [0.125, 0.0], [0.25, 0.0]]


def test_a_speed_on_the_way_that_is_no_number_is_none_that_is_kept():
    arm = Rails(levers=(9.0, 9.0))
    arm.start = Rails.start + [[0.0, 0.0, np.nan]] * 6
    assert to_rest(arm, GROWING, tcp_speed_max_m_s=7.0).rule == "tcp_speed"


# ---- people

NUMBERS = APART.separation.model_copy(
    update={
        "human_speed_m_s": number(1.5), "reaction_time_s": number(0.125), "stopping_time_extra_s": number(0.25),
        "intrusion_distance_m": number(0.5), "sensor_uncertainty_m": number(0.0625),
        "robot_uncertainty_m": number(0.03125),
    }
)  # fmt: skip
REACHING = Posture(
    np.array(
        [
            [0.0, 0.0, 9.0],
            [-0.3, 0.4, 2.0],
            [0.4, -0.3, 0.0],
            [0.0, 0.0, 0.0],
            [0.0, -0.53, 0.0],
            [0.0, 0.0, 0.0],
        ]
    ),
    np.zeros((6, 9)),
)


def test_the_arm_extends_from_its_bases_axis_to_the_surface_of_its_widest_sphere():
    assert space_of().extent_m(REACHING) == pytest.approx(0.625)  # 0.5 m and a radius of 1/8 m


def test_a_person_may_be_as_near_as_the_arms_extent_and_the_protective_distance():
    space = space_of(separation=NUMBERS)
    # 1.5 m/s * (1/8 + 1/2 + 1/4) s; 2 m/s * 1/8 s; 3/8 m + 2 m/s * 1/4 s; 1/2 m, 1/16 m, 1/32 m
    needed = 1.3125 + 0.25 + 0.875 + 0.5 + 0.0625 + 0.03125
    assert space.person_min(REACHING, 2.0, 0.5, 0.375) == pytest.approx(0.625 + needed)
    assert space_of().person_min(REACHING, 2.0, 0.5, 0.375) == 0.0


def test_a_person_who_is_too_near_is_found_in_full():
    space = space_of(separation=NUMBERS)
    assert space.person(1.5, 1.5) is None
    assert space.person(1.5, 1.25) == Record(
        "separation", 1.25, 1.5, -0.25, "m", NUMBERS.edition,
        "a person is 1.250 m from the base, 1.500 m are needed",
    )  # fmt: skip
    assert space.person(1.5, None) is None
    assert space_of().person(1.5, 1.25) is None
