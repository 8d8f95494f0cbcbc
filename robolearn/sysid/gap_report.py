"""The gap report: how far the simulation was from the arm's log, how far it is after the fit, and what is left.

One self-contained page, drawn here as HTML and SVG: no script, nothing loaded from a network. `report_data` has the
same as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

import robolearn
from robolearn.errors import DataError
from robolearn.files.page import CONTENT_POLICY, stylesheet
from robolearn.files.writing import replace_file
from robolearn.sysid import svg
from robolearn.sysid.fit import FitResult
from robolearn.sysid.quantities import IDENTIFIED_MAX, IDENTIFIED_WITHIN, WIDE_MAX
from robolearn.sysid.ranges import ranges_of, servo_of

_SHOWN_S = 2.2  # of a held-out stretch in the overlaid traces


def report_data(result: FitResult) -> dict[str, Any]:
    """Everything the page says, as plain JSON values."""
    held, names = result.held_out, result.robot.joint_names
    errors = {which: held.rmse(which) for which in ("nominal", "fitted", "commanded")}
    servo = servo_of(
        result.robot, result.judged.quantities, result.problem.layout.reference_inertia, result.effort
    )
    drawn, origins = ranges_of(result.robot, result.judged.quantities, servo, result.measurement_delay)
    return {
        "made_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "robolearn": robolearn.__version__,
        "robot": {"name": result.robot.name, "label": result.robot.label, "digest": result.robot.digest},
        "explained": result.explained,
        "effort": result.effort,
        "fit_seconds": round(result.seconds, 2),
        "simulated": result.found.evaluations,
        "held_out": [
            {"joint": name, **{f"{which}_rmse_rad": float(errors[which][j]) for which in errors}}
            for j, name in enumerate(names)
        ],
        "joints": [
            {**asdict(joint), "explained": joint.explained, "reasons": list(joint.reasons)}
            for joint in result.joints
        ],
        "quantities": [quantity.model_dump(mode="json") for quantity in result.judged.quantities],
        "measurement_delay": None
        if result.measurement_delay is None
        else result.measurement_delay.model_dump(mode="json"),
        "randomize": {"ranges": drawn, "from": origins},
        "logs": [
            {
                "source": motion.source,
                "digest": motion.digest,
                "start_utc": motion.start_utc,
                "duration_s": motion.duration_s,
                "verified": motion.verified,
                "faults": [asdict(fault) for fault in motion.faults],
                "missing": list(motion.missing),
                "notes": list(motion.notes),
            }
            for motion in result.motions
        ],
    }


def write_report(result: FitResult, path: str | Path) -> Path:
    """Write the page, and beside it the same as `.json`; the page's path. Raises DataError where it cannot."""
    path = Path(path)
    data = report_data(result)
    css = stylesheet()
    sections = [
        ("Held-out error", _held_out(data)),
        ("Traces", _traces(result)),
        ("Parameters", _parameters(data)),
        ("Not identified, stays nominal", _not_identified(data)),
        ("What the residual holds", _residual(data)),
        ("What to randomise", _randomize(data)),
        ("Recordings", _recordings(data)),
    ]
    page = _page(data, sections, css)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, page)
        replace_file(path.with_suffix(".json"), json.dumps(data, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise DataError(f"Cannot write the report '{path}': {error.strerror}.") from None
    return path


def _page(data: dict[str, Any], sections: list[tuple[str, str]], css: str) -> str:
    links = "".join(
        f'<a href="#s{k}"><span>{k}</span>{title}</a>' for k, (title, _) in enumerate(sections, 1)
    )
    body = "".join(
        f'<section id="s{k}"><h2><span class="n">{k}</span>{title}</h2>{html}</section>'
        for k, (title, html) in enumerate(sections, 1)
    )
    label = escape(data["robot"]["label"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}">'
        f"<title>Gap report: {label}</title><style>{css}{svg.CSS}</style></head><body>"
        f'<nav aria-label="Contents"><div class="brand">robolearn<small>gap report</small></div>{links}</nav>'
        f"<main><header><h1>{label}: simulation and log</h1><p>{escape(data['made_utc'])}, robolearn "
        f"{escape(data['robolearn'])}, robot file sha256 {data['robot']['digest'][:12]}</p></header>"
        f"{_cards(data)}{body}</main></body></html>"
    )


def _cards(data: dict[str, Any]) -> str:
    held = data["held_out"]
    nominal = float(np.sqrt(np.mean([row["nominal_rmse_rad"] ** 2 for row in held])))
    fitted = float(np.sqrt(np.mean([row["fitted_rmse_rad"] ** 2 for row in held])))
    identified, wide = (sum(q["status"] == s for q in data["quantities"]) for s in ("identified", "wide"))
    bad = [joint["joint"] for joint in data["joints"] if not joint["explained"]]
    verdict = "yes" if data["explained"] else "no"
    on = "every joint" if not bad else f"not on {', '.join(bad)}: do not use their numbers"
    cards = [
        ("good" if data["explained"] else "bad", "model explains the log", verdict, on),
        (
            "good" if fitted < nominal / 3 else "warn",
            "held-out error",
            f"{nominal * 1e3:.2f} to {fitted * 1e3:.3f} mrad",
            f"nominal to fitted, all joints; {fitted / max(nominal, 1e-12):.2f} of it remains",
        ),
        (
            "good" if identified else "warn",
            "identified",
            f"{identified} of {len(data['quantities'])}",
            f"{wide} more are wide; " + ("with motor effort" if data["effort"] else "without effort: ratios"),
        ),
        ("", "fit", f"{data['fit_seconds']:.0f} s", f"{data['simulated']:,} simulations of the recording"),
    ]
    return '<div class="cards">' + "".join(
        f'<div class="card {kind}"><span class="label">{label}</span><b>{escape(value)}</b>'
        f"<span>{escape(text)}</span></div>"
        for kind, label, value, text in cards
    ) + "</div>"  # fmt: skip


def _held_out(data: dict[str, Any]) -> str:
    rows = []
    most = max(row["nominal_rmse_rad"] for row in data["held_out"]) or 1.0
    for row in data["held_out"]:
        nominal, fitted = row["nominal_rmse_rad"], row["fitted_rmse_rad"]
        rows.append(
            [
                _key(row["joint"]),
                _number(f"{1e3 * row['commanded_rmse_rad']:.3f}"),
                _number(f"{1e3 * nominal:.3f}") + svg.bar(nominal / most, "warn"),
                _number(f"{1e3 * fitted:.3f}") + svg.bar(fitted / most, ""),
                _number(f"{fitted / max(nominal, 1e-12):.2f}"),
            ]
        )
    lead = (
        "Root mean square of predicted minus measured joint position on held-out stretches, in mrad. "
        "The models play the logged commands; the first column is what the command alone would predict."
    )
    head = ["joint", "command", "nominal model", "fitted model", "fitted / nominal"]
    return _lead(lead) + _table(head, rows)


def _traces(result: FitResult) -> str:
    held = result.held_out
    first = held.group == held.group[0]
    rows = np.flatnonzero(first & (held.time_s < held.time_s[0] + _SHOWN_S))
    time = held.time_s[rows]
    parts = [
        _lead(
            "One held-out stretch. Left: measured position and both models. Right: the errors of the models."
        ),
        svg.legend([("measured", "m"), ("nominal", "n"), ("fitted", "f")]),
    ]
    for j, name in enumerate(result.robot.joint_names):
        measured = held.measured_rad[rows, j]
        position = [
            ("m", measured),
            ("n", held.nominal_rad[rows, j]),
            ("f", held.fitted_rad[rows, j]),
        ]
        error = [
            ("n", 1e3 * (held.nominal_rad[rows, j] - measured)),
            ("f", 1e3 * (held.fitted_rad[rows, j] - measured)),
        ]
        parts.append(
            '<div class="pair">'
            + svg.lines(time, position, f"{name}, rad")
            + svg.lines(time, error, f"{name}, error in mrad")
            + "</div>"
        )
    return "".join(parts)


def _parameters(data: dict[str, Any]) -> str:
    rows = []
    for q in data["quantities"]:
        if q["interval"] is None:
            continue
        low, high = q["interval"]
        wide = q["status"] == "wide"
        rows.append(
            [
                _key(q["name"]) + (' <span class="chip warn">wide</span>' if wide else ""),
                _number("" if q["nominal"] is None else f"{q['nominal']:.5g}"),
                _number(f"{q['estimate']:.5g}"),
                _number(f"{low:.5g} to {high:.5g}"),
                _unit(q["unit"]),
                svg.interval(q["nominal"], q["estimate"], low, high),
            ]
        )
    lead = (
        "Fitted to the log, with 95 % intervals that allow autocorrelated residuals of unequal size. A number counts "
        f"as identified where it is within {100 * IDENTIFIED_WITHIN:g} % of the truth with a probability of 99 %, an "
        f"interval of {100 * IDENTIFIED_MAX:.1f} % on each side (delay, bias and centre of mass: a fixed amount). A "
        f"wider one, up to {100 * WIDE_MAX:g} %, is marked wide: the model uses it and a training draws from its "
        "interval, because the robot file's number is known less well, but it is not claimed. The bar "
        "shows nominal (grey) and fitted (blue, with its interval) between 0 and the larger of them."
    )
    if not rows:
        return _lead("Nothing was identified: no number here may be used.")
    return _lead(lead) + _table(["", "nominal", "fitted", "95 % interval", "unit", ""], rows)


def _not_identified(data: dict[str, Any]) -> str:
    rows = []
    for q in data["quantities"]:
        if q["interval"] is not None:
            continue
        unit = _unit(q["unit"])
        best = "" if q["best_fit"] is None else f"{q['best_fit']:.4g} {unit}, not to be used"
        chip = "bad" if q["status"] == "not explained" else "warn"
        nominal = "" if q["nominal"] is None else f"{q['nominal']:.5g} {unit}"
        status = f'<span class="chip {chip}">{escape(q["status"])}</span>'
        rows.append([_key(q["name"]), status, nominal, best, escape(q["why"])])
    if not rows:
        return _lead("All fitted parameters were identified or are wide.")
    lead = "These keep their nominal values."
    return _lead(lead) + _table(["", "", "stays", "where the fit ended", "why"], rows)


def _residual(data: dict[str, Any]) -> str:
    rows = []
    for joint in data["joints"]:
        explained = joint["explained"]
        chip = f'<span class="chip {"good" if explained else "bad"}">{"" if explained else "not "}explained</span>'
        sizes = f"{1e3 * joint['residual_rms_rad']:.3f} of {1e3 * joint['noise_rad']:.3f}"
        white = f"p {_probability(joint['whiteness_p'])}"
        rows.append(
            [
                f"{_key(joint['joint'])}<br>{chip}",
                _number(sizes),
                _number(f"{100 * joint['excess_share']:.2f} %"),
                f"{svg.autocorrelation(joint['autocorrelation'])}<br>{_number(white)}",
                *(_misfit(misfit) for misfit in joint["misfits"]),
            ]
        )
    lead = (
        "What the fit leaves. A model that explains the log leaves white noise as large as the sensor's. The last "
        "columns test for what the model lacks: the probability of such a log without it, and the size of what it "
        "would explain. A test counts where it is significant and larger than 0.2 % of the tracking error. A joint on "
        "which one counts, or whose residual is neither white nor small, gives no numbers; where half of the joints "
        "do not, none does."
    )
    reasons = [
        f"<li>{_key(joint['joint'])}: {escape(reason)}</li>"
        for joint in data["joints"]
        for reason in joint["reasons"]
    ]
    head = [
        "joint", "residual rms, of the sensor's noise, mrad", "beyond noise, of tracking error",
        "autocorrelation, lags 0 to 20; white?", "friction that changes with speed", "backlash",
        "posture: sag, link inertia",
    ]  # fmt: skip
    return _lead(lead) + (f"<ul>{''.join(reasons)}</ul>" if reasons else "") + _table(head, rows)


def _misfit(misfit: dict[str, Any]) -> str:
    found = '<br><span class="chip bad">found</span>' if misfit["found"] else ""
    return (
        _number(f"p {_probability(misfit['p'])}")
        + "<br>"
        + _number(f"{1e3 * misfit['size_rad']:.3f} mrad")
        + found
    )


def _probability(p: float) -> str:
    return "< 1e-12" if p < 1e-12 else f"{p:.2f}" if p >= 0.01 else f"{p:.0e}"


def _randomize(data: dict[str, Any]) -> str:
    rows = []
    for term, origin in data["randomize"]["from"].items():
        given = data["randomize"]["ranges"].get(term)
        if isinstance(given, dict):
            text = ", ".join(f"{name} {low:.3f} to {high:.3f}" for name, (low, high) in given.items())
        else:
            text = "" if given is None else f"{given[0]:.3g} to {given[1]:.3g}"
        rows.append([_key(term), escape(text), escape(origin)])
    lead = (
        "Ranges that a training with this calibration draws from, over the calibrated values: the fit's own "
        "uncertainty. What was not identified keeps the task's default range."
    )
    return _lead(lead) + _table(["term", "range", "from"], rows)


def _recordings(data: dict[str, Any]) -> str:
    rows = []
    for log in data["logs"]:
        verified = {True: "verified", False: "NOT verified", None: "nothing to verify it by"}[log["verified"]]
        faults = "".join(f"<div>{escape(fault['text'])}</div>" for fault in log["faults"])
        missing = f"<div>not recorded: {escape(', '.join(log['missing']))}</div>" if log["missing"] else ""
        notes = "".join(f"<div>{escape(note)}</div>" for note in log["notes"])
        rows.append(
            [
                f"<code>{escape(log['source'])}</code><br><code>{log['digest']}</code>",
                _number(f"{log['duration_s']:.1f} s"),
                escape(verified),
                faults + missing + notes or "no fault found",
            ]
        )
    return _table(["recording, sha256", "length", "integrity", "what was found"], rows)


def _lead(text: str) -> str:
    return f'<p class="lead">{escape(text)}</p>'


def _unit(text: str) -> str:
    return escape(text).replace("^2", "²")


def _key(text: str) -> str:
    return f"<b>{escape(text)}</b>"


def _number(text: str) -> str:
    return f'<span class="num">{escape(text)}</span>'


def _table(head: Iterable[str], rows: list[list[str]]) -> str:
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
