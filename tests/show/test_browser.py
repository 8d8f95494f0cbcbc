"""The scene in the browser: what is drawn is the model, where it is; the page stays on this machine."""

import re
import socket
import sys
import threading
import time
import urllib.request
from itertools import islice

import mujoco
import numpy as np
import psutil
import pytest

from robolearn.env.vec_env import make
from robolearn.errors import ConfigError, MissingDependency
from robolearn.robots import load_robot
from robolearn.show import browser
from robolearn.show.browser import BrowserScene, BrowserView
from robolearn.show.film import play
from robolearn.show.view import policy_step, view
from robolearn.sim.render import Pace

SHAPES = """
<mujoco>
  <asset><mesh name="wedge" vertex="0 0 0  .2 0 0  0 .1 0  0 0 .3"/></asset>
  <worldbody>
    <geom name="plane" type="plane" size="0 0 1"/>
    <body pos="0 0 1">
      <freejoint/>
      <geom name="box" type="box" size=".1 .2 .3"/>
      <geom name="sphere" type="sphere" size=".1"/>
      <geom name="ellipsoid" type="ellipsoid" size=".1 .2 .3"/>
      <geom name="capsule" type="capsule" size=".1 .3"/>
      <geom name="cylinder" type="cylinder" size=".1 .3"/>
      <geom name="wedge" type="mesh" mesh="wedge"/>
      <geom name="hidden" type="box" size="1 1 1" group="3"/>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.mark.parametrize("name", ["box", "sphere", "ellipsoid", "capsule", "cylinder", "wedge"])
def test_every_shape_is_as_large_as_the_geom(name):
    model = mujoco.MjModel.from_xml_string(SHAPES)
    geom = model.geom(name).id
    vertices, faces = browser._shape(model, geom)
    centre, half = model.geom_aabb[geom][:3], model.geom_aabb[geom][3:]
    np.testing.assert_allclose(vertices.min(axis=0), centre - half, atol=2e-3)
    np.testing.assert_allclose(vertices.max(axis=0), centre + half, atol=2e-3)
    assert faces.min() == 0
    assert faces.max() < len(vertices)


def test_the_page_is_served_on_this_machine_only_and_names_nothing_elsewhere(port):
    scene = BrowserScene(load_robot("fr3").spec().compile(), "arm", port)
    try:
        assert scene.address == f"http://localhost:{port}"
        ours = [c for c in psutil.Process().net_connections("tcp") if c.laddr.port == port]
        assert {c.laddr.ip for c in ours} == {"127.0.0.1"}
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=20).read().decode()
        assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']https?://[^\"']+", page)
        assert not scene.watched
        with pytest.raises(ConfigError, match=f"Port {port} is in use: choose another with --port"):
            BrowserScene(scene.model, "a second one", port)
    finally:
        scene.close()


@pytest.mark.parametrize(
    ("origin", "host", "found"),
    [
        ("http://localhost:8080", "localhost:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("http://localhost:9000", "localhost:9000", True),  # ssh -L 9000:localhost:8080
        ("http://localhost:3000", "localhost:8080", False),
        ("https://elsewhere.example", "localhost:8080", False),
        (
            "http://elsewhere.example:8080",
            "elsewhere.example:8080",
            False,
        ),  # its name resolved to this machine
        ("http://localhost.elsewhere.example:8080", "localhost.elsewhere.example:8080", False),
        ("http://[::1:8080", "[::1:8080", False),
        ("null", "localhost:8080", False),
        (None, "localhost:8080", False),
        ("http://localhost:8080", None, False),
    ],
)
def test_only_the_page_itself_may_connect(origin, host, found):
    assert browser.same_origin(origin, host) is found


def test_what_a_browser_asks_for_is_not_done_and_other_pages_are_turned_away(port, monkeypatch):
    """viser would open a tunnel to its scene from the whole internet, for any page that this machine's user visits."""
    import msgspec
    import viser
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    asked, last = [], threading.Event()
    monkeypatch.setattr(viser.ViserServer, "request_share_url", lambda *_, **__: asked.append("share"))
    scene = BrowserScene(load_robot("fr3").spec().compile(), "arm", port)
    scene.say("as it is")
    scene._server._websock_server.register_handler(viser._messages.ShareUrlDisconnect, lambda *_: last.set())
    share = msgspec.msgpack.encode({"type": "ShareUrlRequest"})
    update = {"type": "GuiUpdateMessage", "uuid": scene._text._impl.uuid, "updates": {"content": "changed"}}

    def visit(origin):
        spoken = [Subprotocol(f"viser-v{viser.__version__}")]
        return connect(f"ws://localhost:{port}", origin=origin, subprotocols=spoken, max_size=None)

    try:
        for origin in ("https://elsewhere.example", f"http://elsewhere.example:{port}", None):
            with visit(origin) as page, pytest.raises(ConnectionClosed, match="1008 .* another origin"):
                page.recv(timeout=20)
        with visit(f"http://localhost:{port}") as page:
            page.send(share)
            page.send(msgspec.msgpack.encode(update))
            page.send(msgspec.msgpack.encode({"type": "ShareUrlDisconnect"}))
            assert page.recv(timeout=20)  # the scene
            assert last.wait(20.0)  # what came before it has been read
        assert asked == []
        assert scene._text.content == "as it is"
    finally:
        scene.close()


def test_bodies_are_where_the_model_has_them(port):
    robot = load_robot("ur5e")
    model = robot.spec().compile()
    scene = BrowserScene(model, "arm", port)
    try:
        qpos = model.key("home").qpos + 0.1
        scene.show(qpos)
        data = mujoco.MjData(model)
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        for body, frame in enumerate(scene._bodies):
            np.testing.assert_allclose(frame.position, data.xpos[body], atol=1e-6)
            np.testing.assert_allclose(frame.wxyz, data.xquat[body], atol=1e-6)
        scene.mark("goal", [0.4, 0.1, 0.3])
        np.testing.assert_allclose(scene._marks["goal"].position, [0.4, 0.1, 0.3], atol=1e-6)
    finally:
        scene.close()


def test_an_environment_is_shown_with_its_goal_and_episodes_are_counted(port):
    env = make("fr3/reach", num_envs=1, engine="native")
    page = BrowserView(env, "reach", port)
    try:
        states = list(islice(play(env, policy_step(env, "expert", 0), 1, 0), env.episode_steps + 1))
        page._pace = Pace(0.0)
        for state in states[-3:]:
            page.show(state)
        assert page._scene._text.content == "Episodes: 1 ended, 1 succeeded"
        goal = next(value[0] for name, value in states[-1].goal.items() if name.endswith("_position"))
        np.testing.assert_allclose(next(iter(page._scene._marks.values())).position, goal, atol=1e-6)
    finally:
        page.close()


def test_geoms_are_drawn_anew_where_their_size_changes(port):
    model = mujoco.MjModel.from_xml_string(SHAPES)
    scene = BrowserScene(model, "shapes", port)
    try:
        drawn = []
        scene._draw = drawn.append
        scene.show(model.qpos0)
        assert drawn == []
        size = model.geom_size.copy()
        size[model.geom("box").id, 0] = 0.5
        scene.show(model.qpos0, {"geom_size": size})
        assert drawn == [model.geom("box").id]
        assert model.geom("hidden").id not in scene._drawn
    finally:
        scene.close()


def test_wrong_options_are_refused_in_one_line(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="Choose one: a video"):
        view("fr3/reach", output=tmp_path / "x.mp4", browser=8080)
    with pytest.raises(ConfigError, match="port is 70000, but must be 1 to 65535"):
        browser._serve("x", 70000)
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(MissingDependency, match=r"pip install 'robolearn\[viewer\]'"):
        browser._serve("x", 8080)


def test_the_view_says_where_it_is_and_ends_when_interrupted(port, monkeypatch):
    said = []

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)  # it waits for a browser
    with pytest.raises(KeyboardInterrupt):
        view("fr3/reach", "zero", browser=port, say=said.append)
    assert said == [f"Open http://localhost:{port} in a browser. Ctrl-C ends it."]
    with socket.socket() as again:  # the page is gone
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
