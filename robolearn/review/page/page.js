const D = JSON.parse(document.getElementById("data").textContent);
const S = D.statistics, V = D.verdict, START = D.start;

function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null) node.setAttribute(name === "cls" ? "class" : name, value);
  }
  node.append(...children.flat(9).filter(c => c !== null && c !== undefined && c !== ""));
  return node;
}
const table = (heads, rows, cls) => el("div", {cls: "wide"}, el("table", {cls}, el("thead", {}, el("tr", {}, heads.map(h => el("th", {cls: h.num ? "num" : null}, h.name ?? h)))), el("tbody", {}, rows)));
const row = (...cells) => el("tr", {}, cells.map(c => c instanceof HTMLTableCellElement ? c : el("td", {}, c ?? "")));
const cell = (cls, ...content) => el("td", {cls}, ...content);
const chip = (text, tone) => el("span", {cls: `chip ${tone || ""}`}, text);
const stamp = utc => `${utc.slice(0, 10)} ${utc.slice(11, 23)}`;
const unitText = unit => unit === "1" ? "" : " " + unit.replace("^2", "²").replace("^3", "³");
const list = items => el("ul", {}, items.map(i => el("li", {}, i)));
const words = text => String(text).replaceAll("_", " ");
const short = text => el("code", {title: text}, String(text).slice(0, 16));
const count = (n, one, many) => `${Number(n || 0).toLocaleString("en")} ${n === 1 ? one : many || one + "s"}`;
const share = (n, of) => of ? `${(100 * n / of).toFixed(n / of < 0.001 && n ? 4 : 2)} %` : "–";
const UNITS = [["_rad_s3", "rad/s³"], ["_rad_s2", "rad/s²"], ["_rad_s", "rad/s"], ["_nm_s", "Nm/s"], ["_m_s", "m/s"], ["_cm2", "cm²"], ["_rad", "rad"], ["_nm", "Nm"], ["_kg", "kg"], ["_m", "m"], ["_s", "s"]];
const unitOf = key => (UNITS.find(([end]) => key.endsWith(end)) || ["", ""]);
const nameOf = key => { const [end] = unitOf(key); return words(end ? key.slice(0, -end.length) : key).replaceAll(".", ": ").replace(/\btcp\b/, "TCP"); };
function duration(s) {
  if (!(s > 0)) return "0 s";
  const h = Math.floor(s / 3600), m = Math.floor(s % 3600 / 60);
  return h ? `${h} h ${m} min` : m ? `${m} min ${Math.round(s % 60)} s` : `${number(s)} s`;
}
const TONE = {intact: "good", incomplete: "warn", altered: "bad", note: ""};
const sections = [];
const section = (title, lead, ...content) => sections.push({title, lead, content});

const recordsOf = event => Array.isArray(event[4].records) ? event[4].records : [];

function records(found) {
  if (!found || !found.length) return el("p", {cls: "muted"}, "No rule record.");
  return table(["Rule", {name: "Value", num: 1}, {name: "Limit", num: 1}, {name: "Margin", num: 1}, "Where", "In words", "Source of the limit"], found.map(r => row(
    cell("key", words(r.rule)), cell("num", number(r.value) + unitText(r.unit)), cell("num", number(r.limit) + unitText(r.unit)), cell("num", number(r.margin)), words(r.where || ""), r.text, cell("src", r.source))));
}

function summaryCards() {
  const replay = D.replay, nearest = S.nearest, stops = D.stops.length;
  const card = (label, big, small, tone) => el("div", {cls: `card ${tone || ""}`}, el("div", {cls: "label"}, label), el("b", {}, big), el("span", {}, small));
  return el("div", {cls: "cards"},
    D.simulated_time ? card("Clock", "simulated", "not a real arm: every time is a simulator's, by /clock", "bad") : null,
    card("Integrity", V.status, V.status === "intact" ? "unmodified, closed properly" : count(V.findings.filter(f => f.weight !== "note").length, "finding"), TONE[V.status]),
    card("Replay", replay ? (replay.agrees ? "agrees" : count(replay.total, "difference")) : "not made", replay ? `${count(replay.cycles, "cycle")} decided again` : "run robolearn review", replay ? (replay.agrees ? "good" : "bad") : "warn"),
    card("Recorded", duration(S.duration_s), `${count(S.cycles, "cycle")}, ${count(V.events, "event")}`),
    card("Stops", String(stops), stops ? `first: ${words(D.stops[0].fields.records[0]?.rule || "no rule")}` : "none in this log", stops ? "warn" : ""),
    card("Passed unchanged", share(S.verdicts.PASS || 0, S.cycles), `limited ${share(S.verdicts.LIMIT || 0, S.cycles)}, stopped ${share(S.verdicts.STOP || 0, S.cycles)}`),
    card("Lost cycles", String(V.losses), V.losses ? "admitted by loss records" : "none", V.losses ? "warn" : ""),
    nearest ? card("Nearest to a limit", `${number(100 * (1 - nearest.share))} %`, `${nameOf(nearest.key)}${nearest.where ? ", " + nearest.where : ""}`, nearest.share < 0 ? "bad" : "") : null,
    card("Longest cycle", `${number((S.period.max || 0) * 1e3)} ms`, `nominal ${number(START.period_s * 1e3)} ms; ${count(S.late_total, "late cycle")}`, S.late_total ? "warn" : ""));
}

const sourceText = f => `commands from ${f.policy_digest ? `policy ${f.policy_digest.slice(0, 12)}` : `“${String(f.source).slice(0, 80)}”, which names no policy,`}${String(f.source).includes("+") ? " (swapped in while the arm moved)" : ""} from cycle ${f.at_cycle} on; the monitor is ${f.state}`;
const sourceName = s => s.policy_digest ? el("code", {title: s.source}, s.policy_digest) : el("span", {}, `“${s.source.slice(0, 80)}”, which names no policy:`);
function ranLine(s) {
  const turn = t => `${stamp(t.from_utc)} to ${stamp(t.to_utc)} UTC, cycles ${t.first_cycle} to ${t.last_cycle}${s.turns_total > 1 ? ` (${t.cycles.toLocaleString("en")} followed)` : ""}`;
  const more = s.turns_total - s.turns.length;
  return el("div", {}, sourceName(s), el("div", {cls: "muted"}, `${count(s.commands, "command")}, followed in ${count(s.followed, "cycle")}${s.in_motion ? "; swapped in while the arm moved" : ""}`), s.turns.slice(0, 12).map(t => el("div", {cls: "muted"}, turn(t))), s.turns.length > 12 || more ? el("div", {cls: "muted"}, `and ${count(s.turns_total - Math.min(12, s.turns.length), "further turn")}`) : null);
}

section("Identification and digests", "What was recorded, by what, and how to recognise it. Compare the digests with those of the files that were approved.", () => {
  const info = {...START.session};
  const dl = el("dl", {});
  const put = (name, value) => dl.append(el("dt", {}, name), el("dd", {}, value ?? "not stated"));
  const listed = (value) => value !== null && typeof value === "object" ? Object.entries(value).map(([k, v]) => `${words(k)}: ${v === "" ? "not set" : v}`).join("; ") : String(value);
  put("Session", el("code", {}, START.session_id));
  put("Deployment", START.deployment_id);
  put("Began", D.events[0][1]); put("Ended", `${D.events[D.events.length - 1][1]}${V.ended ? "" : " (last record; not closed properly)"}`);
  put("Arm", `${D.robot.label} (${START.robot.name}), ${D.robot.joints.length} joints: ${D.robot.joints.join(", ")}`);
  const ran = D.sources.listed.filter(s => s.followed), idle = D.sources.listed.filter(s => !s.followed);
  put("Policies that ran", ran.length ? el("div", {id: "ran"}, ran.map(ranLine)) : "none: no command was followed");
  if (idle.length) put("Not followed", el("div", {}, idle.map(s => el("div", {}, sourceName(s), ` ${count(s.commands, "command")} came, none went out`))));
  if (D.sources.total > D.sources.listed.length) put("Further sources", `${D.sources.total - D.sources.listed.length} more, not listed`);
  put("Robot file, SHA-256", el("code", {}, START.robot.digest));
  if (D.robot.note) put("Robot file now", el("span", {}, chip("differs", "warn"), " ", D.robot.note));
  put("Safety profile", `${START.profile.name}: ${D.profile.title}`);
  put("Profile, SHA-256", el("code", {}, START.profile.digest));
  put("Risk assessment", D.profile.ref);
  put("Mode at the start", words(START.mode)); put("Cycle period", `${number(START.period_s * 1e3)} ms`);
  for (const [key, value] of Object.entries(info)) put(words(key), typeof value === "string" && /^[0-9a-f]{40,}$/.test(value) ? el("code", {}, value) : listed(value));
  put("Software", Object.entries(START.software).map(([k, v]) => `${k} ${v}`).join(", "));
  put("Signing key", el("code", {}, V.key_id));
  put("Last record", el("span", {}, `seq ${V.head.seq}, hash `, el("code", {}, V.head.hash)));
  put("Log directory", el("code", {}, D.directory));
  return dl;
});

section("Intended use and exclusions", "What robolearn is for, and what it must not be relied upon to do.", () => [
  el("ol", {},
    el("li", {}, "robolearn is a non-rated command filter and evidence recorder. It stands before the arm's controller, subordinate to the rated functions of the arm and the cell."),
    el("li", {}, "It does not protect persons. No risk reduction may be credited to it; the cell must be acceptable with robolearn switched off or failing in the worst way."),
    el("li", {}, "It runs in one channel on a general-purpose computer and operating system; it can ask for a braking motion and hold, and cannot cut power."),
    el("li", {}, "The stop device of the cell, guards, enabling devices and sensors for persons are rated equipment outside robolearn."),
    el("li", {}, "The monitor is deterministic and never learns or tunes itself. The policy behind it may be learned and has no part in limiting."),
    el("li", {}, "This page reports what was recorded. It is not an assessment of conformity with any act or standard.")),
  el("h3", {}, "Looked at by the monitor"),
  list(["Commands: finite, right joints, age, jump; measurement: age, tracking of the command.", "Joint position, velocity, acceleration, jerk; torque estimate where the manufacturer publishes limits.", "Speed of TCP, elbow and every capsule; workspace regions for every capsule; distance of links to each other.", "Distance to a person as one sensor reports it, and contact limits, where the profile does not say otherwise.", "Stopping time and distance: a command passes only if the arm could brake from it inside all limits."]),
  el("h3", {}, "Not looked at"),
  list(["Faults of the arm, its brakes, its controller, its sensors, or of this computer.", "Objects and persons that no sensor reports; hazards of tool and workpiece (edges, heat, ejection); falling loads.", "Whether the limits are right for the cell: that is the risk assessment's part.", "Pinching between arm and surroundings that are not in the profile."])]);

section("Limits in force", "Every number of the profile in the modes that held, with where it comes from. “Nearest” is the closest approach in this log, of what was sent to the arm or, for ages, tracking and persons, of what came in. Torques, speeds of links and distances are computed again from what was sent; where not every cycle was looked at, it says so.", () =>
  D.limits.map(mode => [el("h3", {}, `Mode ${words(mode.mode)}`), table(["Limit", "Value", "Nearest in this log", {name: "Margin", num: 1}, "Source and risk assessment", "Trust"], mode.rows.map(limitRow), "limits")]));

function limitRow(r) {
  const worst = r.worst, unit = worst ? unitText(worst.unit).trim().replace("rad/s2", "rad/s²").replace("rad/s3", "rad/s³") : unitOf(r.key)[1];
  let near = r.instead ? el("span", {cls: "muted"}, r.instead) : "", margin = "";
  if (worst) {
    const used = worst.limit ? 1 - worst.margin / Math.abs(worst.limit) : null, isPosition = r.key.startsWith("position"), noBar = isPosition || /^(workspace|self_distance|separation)/.test(r.key) && !r.key.includes("age");
    const tone = worst.margin < 0 ? "bad" : used > 0.9 && !noBar ? "warn" : "";
    near = [`${number(worst.value)} ${unit}${worst.where ? " at " + worst.where : ""}${/^(velocity|separation\.edition|contact\.(edition|kinetic_energy|iso_ts_15066))/.test(r.key) ? `, limit there ${number(worst.limit)} ${unit}` : ""}, cycle ${worst.cycle}${worst.every > 1 ? ` (1 cycle in ${worst.every} looked at)` : ""}`, noBar || used === null ? null : el("div", {cls: `bar ${tone}`, title: `${(100 * used).toFixed(1)} % of the limit`}, el("i", {style: `width:${Math.max(0, Math.min(100, 100 * used)).toFixed(1)}%`}))];
    margin = `${number(worst.margin)} ${unit}`;
  }
  const value = Array.isArray(r.value) ? el("span", {title: r.joints?.join(", ")}, `${r.value.join(", ")} ${unit}`) : `${r.value}${r.source && unit ? " " + unit : ""}`;
  return row(cell("key", nameOf(r.key)), value, el("td", {}, near), cell("num", margin), cell("src", r.source || "", r.ref ? el("div", {cls: "ref"}, r.ref) : null), r.trust ? chip(r.trust, r.trust === "primary" ? "good" : r.trust === "memory" ? "warn" : "") : r.open ? chip("open", "warn") : "");
}

section("Statistics", "The whole session at a glance, then how often each rule acted.", () => {
  const O = D.overview, t = O.t.map((v, i) => v ?? i), zero = t[0], time = t.map(v => v - zero);
  const panels = [
    {title: "Largest joint speed, share of its limit", height: 70, floor: 0, limits: [1], always: true, lines: [{values: i => O.speed[i], color: COLORS[0]}]},
    {title: "TCP speed [m/s]", height: 70, floor: 0, limits: D.limits.map(m => +m.rows.find(r => r.key === "tcp_speed_max_m_s").value), lines: [{values: i => O.tcp[i], color: COLORS[2]}]},
    {title: "Share of cycles limited or stopped", height: 50, floor: 0, limits: [], lines: [{values: i => O.limit[i], color: "#d99a1c", bars: true, width: 2}, {values: i => O.stop[i], color: "#b3261e", bars: true, width: 2}], note: "amber: limited, red: stopped"}];
  if (O.person.some(v => v !== null)) panels.splice(2, 0, {title: "Distance to a person [m]", height: 60, floor: 0, lines: [{values: i => O.person[i] ?? NaN, color: COLORS[3]}]});
  const readout = i => el("div", {}, el("b", {}, `${number(time[i])} s`), el("table", {}, [["Joint speed", `${number(100 * O.speed[i])} % of limit`], ["TCP speed", `${number(O.tcp[i])} m/s`], ["Person", `${number(O.person[i])} m`], ["Limited", share(O.limit[i], 1)], ["Stopped", share(O.stop[i], 1)], ["Longest cycle", `${number(O.period[i] * 1e3)} ms`]].map(([a, b]) => row(a, String(b)))));
  const rules = Object.entries(S.rules).sort((a, b) => b[1] - a[1]);
  const worstOf = rule => { let worst = null; for (const e of D.events) for (const r of recordsOf(e)) if (r.rule === rule && (worst === null || r.margin < worst.margin)) worst = r; return worst; };
  return [time.length > 1 ? chart(panels, time, {readout}) : null,
    el("h3", {}, "Rules that acted"),
    rules.length ? table(["Rule", {name: "Events", num: 1}, {name: "Worst value", num: 1}, {name: "Limit", num: 1}, {name: "Worst margin", num: 1}, "Where"], rules.map(([rule, n]) => { const w = worstOf(rule); return row(cell("key", words(rule)), cell("num", String(n)), cell("num", w ? number(w.value) + unitText(w.unit) : ""), cell("num", w ? number(w.limit) + unitText(w.unit) : ""), cell("num", w ? number(w.margin) : ""), w ? words(w.where) : ""); })) : el("p", {cls: "muted"}, "No rule acted in this session."),
    el("h3", {}, "Time in each state"),
    table(["State", {name: "Cycles", num: 1}, {name: "Share", num: 1}], Object.entries(S.states).map(([s, n]) => row(s, cell("num", n.toLocaleString("en")), cell("num", share(n, S.cycles)))))];
});

section("Stops", "Each stop from one second before the decision until it came to rest. Dashed: asked for by the policy. Solid: sent to the arm. Dotted: measured. Red dashed lines are limits.", () =>
  D.stops.length ? D.stops.map(stopCard) : el("p", {cls: "muted"}, "No stop is recorded."));

function stopCard(stop) {
  const f = stop.fields, first = f.records[0];
  const box = el("div", {cls: "body"});
  let drawn = false;
  const draw = () => { if (!drawn) { drawn = true; box.append(...stopBody(stop)); } };
  const card = el("details", {cls: "stop", ontoggle: e => e.target.open && draw()},
    el("summary", {}, el("b", {}, `Stop ${stop.number}`), chip(words(first?.rule || "no rule"), "bad"), el("span", {}, first?.text || ""), el("span", {cls: "when"}, `${stamp(stop.utc)} UTC · cycle ${f.at_cycle}`)), box);
  card.draw = draw;
  if (stop.number === D.stops[0].number) { card.open = true; draw(); }
  return card;
}

const NEAR = {walls: "Distance to the nearest wall", keep_out: "Distance to the nearest keep-out box", links: "Distance between own links", person: "Distance to a person, dashed: needed", way_to_rest: "Way of the TCP to rest from here"};

function stopBody(stop) {
  const f = stop.fields, r = stop.report, parts = [records(f.records)];
  if (stop.further.length) parts.push(el("h3", {}, "Further rules during this stop"), records(stop.further));
  const facts = [`mode ${words(stop.mode)}`, `event seq ${stop.seq}`, r ? `at rest after ${number(r.measured_time_s)} s, predicted ${number(r.predicted_time_s)} s` : "standstill was not measured", f.person_distance_m !== null ? `person at ${number(f.person_distance_m)} m` : "no distance to a person"];
  parts.push(el("p", {cls: "muted"}, facts.join(" · ")));
  if (!stop.timeline) { parts.push(el("p", {cls: "note"}, "No cycles around this stop are readable in the trace.")); return parts; }
  const T = stop.timeline, n = D.robot.joints.length, get = name => unpack(T[name], Float32Array);
  const t = get("t"), tcp = get("tcp"), person = T.person ? get("person") : null, verdict = unpack(T.verdict, Uint8Array);
  const rest = get("time_to_rest"), near = Object.entries(T.near?.series || {}).map(([kind, q]) => ({kind, title: NEAR[kind], value: unpack(q.value, Float32Array), limit: unpack(q.limit, Float32Array), note: `least room ${number(q.least.margin)} m${q.least.where ? ": " + words(q.least.where) : ""}`}));
  const s = Object.fromEntries(["command_position_rad", "sent_position_rad", "measured_position_rad", "sent_velocity_rad_s", "measured_velocity_rad_s"].map(k => [k, get(k)]));
  const on = D.robot.joints.map(() => true), holder = el("div");
  const named = D.robot.joints.indexOf(first(f.records)?.where);
  if (named >= 0) on.forEach((_, i) => { on[i] = i === named; });
  const draw = () => {
    const joints = on.map((o, j) => o ? j : -1).filter(j => j >= 0), lines = [], speeds = [], P = T.limits;
    // One joint: as it is. Several: as a share of what each may do, so that all can be read against their limits.
    const share = joints.length !== 1;
    const at = (name, j) => {
      const low = P.position_min[j], span = P.position_max[j] - low, fast = P.velocity[j], values = s[name];
      if (!share) return i => values[i * n + j];
      return name.includes("velocity") ? i => values[i * n + j] / fast : i => (values[i * n + j] - low) / span;
    };
    for (const j of joints) {
      lines.push({values: at("command_position_rad", j), color: COLORS[j], dash: "6 4", opacity: 0.75, width: 1.2}, {values: at("measured_position_rad", j), color: COLORS[j], dash: "1.5 3"}, {values: at("sent_position_rad", j), color: COLORS[j], width: 1.9});
      speeds.push({values: at("measured_velocity_rad_s", j), color: COLORS[j], dash: "1.5 3"}, {values: at("sent_velocity_rad_s", j), color: COLORS[j], width: 1.9});
    }
    const L = T.limits, one = joints.length === 1 ? joints[0] : -1, panels = [
      one >= 0 ? {title: `${D.robot.joints[one]}: position [rad]`, height: 170, lines, limits: [L.position_min[one], L.position_max[one]], note: `limits ${number(L.position_min[one])} to ${number(L.position_max[one])} rad`}
        : {title: "Joint position between its limits (0: lowest, 1: highest)", height: 170, lines, limits: [0, 1], always: true, note: "choose one joint to see radians"},
      one >= 0 ? {title: `${D.robot.joints[one]}: velocity [rad/s]`, height: 130, lines: speeds, limits: [L.velocity[one], -L.velocity[one]], note: `limit ${number(L.velocity[one])} rad/s`}
        : {title: "Joint velocity, share of its limit", height: 130, lines: speeds, limits: [1, -1]},
      {title: "TCP speed [m/s]", height: 80, floor: 0, limits: [L.tcp], lines: [{values: i => tcp[i], color: "#1b2430", width: 1.8}]}];
    for (const one of near) panels.push({title: `${one.title} [m]`, height: 64, floor: 0, limits: one.kind === "person" ? [] : [one.limit[one.limit.length >> 1]].filter(Number.isFinite), note: one.note, lines: [{values: i => one.value[i], color: "#1b2430", width: 1.8}, ...(one.kind === "person" ? [{values: i => one.limit[i], color: "#b3261e", dash: "5 4", width: 1.2}] : [])]});
    panels.push({title: "Time to rest from here [s]", height: 56, floor: 0, limits: [L.stopping_time], note: `limit ${number(L.stopping_time)} s`, lines: [{values: i => rest[i], color: "#1b2430", width: 1.8}]});
    if (person && !near.some(q => q.kind === "person")) panels.push({title: "Distance to a person [m]", height: 80, floor: 0, limits: f.records.filter(q => q.rule.includes("separation") || q.rule.includes("person")).filter(q => q.unit === "m").map(q => q.limit), lines: [{values: i => person[i], color: COLORS[3], width: 1.8}]});
    const readout = i => el("div", {}, el("b", {}, `${t[i] >= 0 ? "+" : "−"}${number(Math.abs(t[i]))} s · ${["PASS", "LIMIT", "STOP"][verdict[i]]}`), el("table", {}, el("tr", {}, ["", "asked", "sent", "measured", "sent speed"].map(h => el("th", {}, h))),
      joints.map(j => row(el("td", {}, el("i", {style: `background:${COLORS[j]}`}), D.robot.joints[j]), ...["command_position_rad", "sent_position_rad", "measured_position_rad", "sent_velocity_rad_s"].map(k => number(s[k][i * n + j])))),
      row("TCP speed", `${number(tcp[i])} m/s`), person ? row("person", `${number(person[i])} m`) : "", near.map(q => row(q.title, `${number(q.value[i])} m, limit ${number(q.limit[i])} m`)), row("Time to rest", `${number(rest[i])} s`)));
    holder.replaceChildren(joints.length ? chart(panels, t, {readout, shade: 0, until: r?.measured_time_s ?? undefined}) : el("p", {cls: "muted"}, "Choose a joint."));
  };
  const buttons = D.robot.joints.map((name, j) => el("button", {type: "button", style: `--c:${COLORS[j]}`, onclick: () => { on[j] = !on[j]; refresh(); }}, el("i"), name));
  const all = el("button", {type: "button", onclick: () => { const any = on.every(Boolean); on.fill(!any); refresh(); }}, "all");
  const refresh = () => { buttons.forEach((b, j) => b.setAttribute("aria-pressed", String(on[j]))); draw(); };
  const key = (dash, text) => el("span", {}, svg("svg", {viewBox: "0 0 26 8"}, svg("line", {x1: 0, x2: 26, y1: 4, y2: 4, stroke: "#5a6675", "stroke-width": 2, "stroke-dasharray": dash})), text);
  parts.push(el("div", {cls: "toggles"}, buttons, all), el("div", {cls: "legend"}, key("6 4", "asked for by the policy"), key("none", "sent to the arm"), key("1.5 3", "measured"), T.stride > 1 ? el("span", {}, `1 cycle in ${T.stride} is drawn`) : el("span", {}, "every cycle is drawn"), T.near ? el("span", {}, `distances: computed again by the monitor's code in 1 cycle of ${T.near.every}`) : null), T.near ? "" : el("p", {cls: "note"}, `Distances to walls, own links and persons are not shown: ${D.not_again}`), holder);
  refresh();
  return parts;
}
const first = found => found && found[0];

if (D.ood) section("Unfamiliar observations", "How far what the policy observed was from what it had met in its evaluation: its out-of-distribution score, 1 at the threshold that its bundle states. It advises people and changed nothing that was sent. A small score does not show that nothing was wrong: an offset of a joint or a weak drive is not visible in it.", () => {
  const O = D.ood, t = O.course.map(p => p[0]);
  return [el("p", {}, chip(O.above ? "above the threshold" : "familiar", O.above ? "warn" : "good"), ` ${count(O.count, "score")}, ${O.above.toLocaleString("en")} above 1 (${share(O.above, O.count)})${O.first_above === null ? "" : `, the first in cycle ${O.first_above}`}; largest ${O.largest === null ? "infinite" : number(O.largest)}, in cycle ${O.largest_cycle}.`),
    t.length > 1 ? chart([{title: "Out-of-distribution score (1: threshold)", height: 110, floor: 0, limits: [1], always: true, lines: [{values: i => O.course[i][1] ?? NaN, color: COLORS[3]}]}], t.map(v => v - t[0]), {readout: i => el("div", {}, el("b", {}, `${number(t[i] - t[0])} s`), ` score ${number(O.course[i][1])}`)}) : null];
});

section("Stop performance", "Measured against what the monitor predicted when the stop began. These are stops by braking motion with power kept on; stops that cut power cannot be made, nor measured, by software.", () => {
  const measured = D.stops.filter(s => s.report);
  if (!measured.length) return el("p", {cls: "muted"}, "No stop was measured to standstill.");
  const worst = values => values.length ? Math.max(...values.map(Math.abs)) : null;
  const ratios = measured.map(s => s.report.measured_time_s / s.report.predicted_time_s).filter(Number.isFinite);
  return [table(["Stop", "Cause", {name: "Predicted time", num: 1}, {name: "Measured time", num: 1}, {name: "Predicted travel", num: 1}, {name: "Measured travel", num: 1}], measured.map(s => { const r = s.report; return row(`Stop ${s.number}`, words(r.cause), cell("num", `${number(r.predicted_time_s)} s`), cell("num", r.measured_time_s === null ? "not measured" : `${number(r.measured_time_s)} s`), cell("num", `${number(worst(r.predicted_travel_rad))} rad`), cell("num", `${number(worst(r.measured_travel_rad))} rad`)); })),
    el("p", {cls: "note"}, `${measured.length} of ${D.stops.length} stops measured${ratios.length ? `; measured time over predicted time at most ${number(Math.max(...ratios))}` : ""}. Travel is that of the joint that moved most. The prediction covers the motion that was sent; the arm follows it with its own delay.`)];
});

section("Tests on record", "Functional tests that were recorded as events of the kind “test”.", () => {
  const tests = D.events.filter(e => e[3] === "test");
  return tests.length ? table(["Time", "Test"], tests.map(e => row(e[1], JSON.stringify(e[4])))) : el("p", {cls: "muted"}, "None. What was tested before this session, how often and with what result is not part of this log.");
});

section("Gaps and clocks", "Where the record is thin, and how regular the cycle was.", () => [
  table(["Cycle period", {name: "Median", num: 1}, {name: "99 %", num: 1}, {name: "99.9 %", num: 1}, {name: "Longest", num: 1}], [row(`nominal ${number(START.period_s * 1e3)} ms`, ...["p50", "p99", "p99.9", "max"].map(k => cell("num", `${number((S.period[k] ?? NaN) * 1e3)} ms`)))]),
  el("p", {}, `${count(S.late_total, "cycle")} came later than two periods; the cycle clock went backwards ${count(S.backwards, "time")}; ${count(V.losses, "cycle")} lost.`),
  S.late.length ? el("details", {}, el("summary", {}, `Late cycles (${S.late.length} of ${S.late_total})`), table([{name: "Cycle", num: 1}, {name: "After the one before", num: 1}], S.late.map(l => row(cell("num", String(l.cycle)), cell("num", `${number(l.step_s * 1e3)} ms`))))) : null,
  findings(V.findings.filter(f => ["loss", "clock", "silence", "no_end", "orphaned", "problem", "torn_line", "unsigned_tail", "trace_tail"].includes(f.kind)), "No gap, no silence, no step of the wall clock.")]);

function findings(found, none) {
  return found.length ? table(["", "Kind", "Where", "What"], found.map(f => row(chip(f.weight, f.weight === "altered" ? "bad" : f.weight === "incomplete" ? "warn" : ""), cell("key", words(f.kind)), cell("place", f.where), f.text))) : el("p", {cls: "muted"}, none);
}

section("Configuration history", "Every version, start, reset and change of mode, in order.", () => {
  const shown = D.events.filter(e => ["session_start", "config", "attach", "swap", "command_source", "mode", "start", "reset", "session_end"].includes(e[3]));
  const text = e => { const f = e[4]; return e[3] === "command_source" ? sourceText(f) : e[3] === "session_start" ? `profile ${START.profile.name} (${START.profile.digest.slice(0, 12)}), robot ${START.robot.name} (${START.robot.digest.slice(0, 12)}), mode ${words(START.mode)}` : f.answer?.text || Object.entries(f).filter(([k]) => k !== "measured" && k !== "answer").map(([k, v]) => `${words(k)}: ${typeof v === "object" ? JSON.stringify(v) : v}`).join("; "); };
  return table(["Time (UTC)", {name: "Seq", num: 1}, "Event", "By", "What"], shown.map(e => row(cell("time", stamp(e[1])), cell("num", String(e[0])), cell("who", words(e[3])), cell("who", e[4].who || ""), [e[4].answer && !e[4].answer.accepted ? [chip("refused", "warn"), " "] : null, text(e), e[4].why && !text(e).includes(e[4].why) ? ` (${e[4].why})` : ""])));
});

section("Integrity of the log", null, () => [
  el("p", {}, chip(V.status, TONE[V.status]), " ", V.summary),
  el("p", {cls: "muted"}, `Signatures cover the events up to seq ${V.signed_through}. Trace: ${(V.trace_bytes / 1e6).toFixed(1)} MB. Key ${V.key_id}: ${V.key_trusted ? "as given from outside" : V.key_expected ? "not the one given" : "as the log itself names it"}. Head kept elsewhere: ${V.head_expected ? "compared" : "not compared"}.`),
  findings(V.findings, "No finding."),
  el("h3", {}, "What this check does not show"), list(V.not_shown)]);

section("Replay", "The recorded inputs went through the monitor again, with the robot file and the profile stored in the log.", () => {
  const part = r => [el("p", {}, chip(r.agrees ? "agrees" : "differs", r.agrees ? "good" : "bad"), " ", r.summary), r.disagreements.length ? table([{name: "Cycle", num: 1}, "In what", "Recorded", "Now", ""], r.disagreements.map(d => row(cell("num", String(d.cycle)), d.what, d.recorded, d.replayed, d.after_gap ? chip("after a gap", "warn") : ""))) : null];
  return [D.replay ? part(D.replay) : el("p", {cls: "muted"}, "Not made for this page."), D.others.length ? [el("h3", {}, "Under other profiles"), D.others.map(part)] : null];
});

section("Requirements of the law, clause by clause", "Directive 2006/42/EC (Annex I, until 19 January 2027) and Regulation (EU) 2023/1230 (Annex III, from 20 January 2027). Paraphrased, not legal advice. Neither act holds a numeric limit of speed, force or distance. “Evidence here” is what this log can contribute; whether a requirement is met is for the manufacturer of the machine to show.", () =>
  table(["Directive", "Regulation", "Requirement, in short", "Evidence here", "Remains open"], D.clauses.map(c => row(cell("key", c.md), cell("key", c.mr), [el("b", {}, c.title), el("div", {cls: "muted"}, c.asks)], cell("list", c.evidence.map(e => el("div", {}, e))), c.open))));

section("Events", "Every event of the log. Heartbeats, segments and scores are hidden until chosen.", () => {
  const kinds = [...new Set(D.events.map(e => e[3]))].sort();
  const search = el("input", {type: "search", placeholder: "rule, joint, person, text …", "aria-label": "Search"}), kind = el("select", {"aria-label": "Kind"}, el("option", {value: ""}, "without heartbeats"), el("option", {value: "*"}, "all kinds"), kinds.map(k => el("option", {value: k}, words(k))));
  const from = el("input", {type: "text", size: 9, placeholder: "from cycle", "aria-label": "From cycle"}), to = el("input", {type: "text", size: 9, placeholder: "to cycle", "aria-label": "To cycle"});
  const body = el("tbody"), shown = el("span", {cls: "muted", id: "shown"}), more = el("button", {type: "button"}, "Show more");
  let matching = [], upTo = 0;
  const text = new Map(), textOf = e => { if (!text.has(e)) text.set(e, JSON.stringify(e[4])); return text.get(e); };
  const brief = e => { const r = recordsOf(e); return r.length ? r.map(x => `${words(x.rule)}: ${x.text || number(x.value) + unitText(x.unit)}`).join("; ") : e[3] === "command_source" ? sourceText(e[4]) : e[4].answer?.text || e[4].text || ""; };
  const page = () => {
    const next = matching.slice(upTo, upTo + 200);
    body.append(...next.map(e => el("tr", {}, el("td", {cls: "num"}, String(e[0])), el("td", {cls: "time"}, stamp(e[1])), el("td", {cls: "num"}, String(e[2])), el("td", {cls: "kind"}, chip(words(e[3]), e[3] === "stop" ? "bad" : ["limit", "loss", "problem", "clock"].includes(e[3]) ? "warn" : "")), el("td", {}, brief(e), el("details", {ontoggle: x => { if (x.target.open && x.target.children.length === 1) x.target.append(el("pre", {cls: "mono", style: "white-space:pre-wrap;margin:4px 0"}, JSON.stringify(e[4], null, 1))); }}, el("summary", {cls: "muted"}, "fields"))))));
    upTo += next.length;
    more.hidden = upTo >= matching.length;
    shown.textContent = `${upTo.toLocaleString("en")} of ${matching.length.toLocaleString("en")} shown, ${D.events.length.toLocaleString("en")} in all`;
  };
  const filter = () => {
    const q = search.value.trim().toLowerCase(), k = kind.value, a = from.value.trim() === "" ? -Infinity : +from.value, b = to.value.trim() === "" ? Infinity : +to.value;
    matching = D.events.filter(e => (k === "*" || (k ? e[3] === k : !["heartbeat", "segment", "ood_score"].includes(e[3]))) && e[2] >= a && e[2] <= b && (!q || textOf(e).toLowerCase().includes(q) || e[3].includes(q)));
    body.replaceChildren(); upTo = 0; page();
  };
  for (const control of [search, kind, from, to]) control.addEventListener("input", filter);
  more.addEventListener("click", page);
  const quote = v => `"${String(v).replaceAll('"', '""')}"`;
  const save = el("button", {type: "button", onclick: () => { const lines = [["seq", "utc", "cycle", "kind", "fields"].join(","), ...matching.map(e => [e[0], e[1], e[2], e[3], quote(textOf(e))].join(","))]; const link = el("a", {href: URL.createObjectURL(new Blob([lines.join("\r\n")], {type: "text/csv"})), download: `events-${START.session_id.slice(0, 8)}.csv`}); link.click(); setTimeout(() => URL.revokeObjectURL(link.href), 1000); }}, "Save these as CSV");
  filter();
  return [el("div", {cls: "filters"}, search, kind, from, to, save, shown), el("div", {cls: "wide"}, el("table", {id: "events"}, el("thead", {}, el("tr", {}, el("th", {cls: "num"}, "Seq"), el("th", {}, "Time (UTC)"), el("th", {cls: "num"}, "Cycle"), el("th", {}, "Kind"), el("th", {}, "What"))), body)), more];
});

section("Open items", "What this page leaves for a person to settle.", () => {
  const items = [];
  for (const f of V.findings) if (f.weight !== "note") items.push(`Integrity: ${f.where}: ${f.text}`);
  if (!V.key_expected) items.push("Integrity: give the public key of the log writer (robolearn review --key FILE), so that the signatures say who wrote it.");
  if (!V.head_expected) items.push("Integrity: keep copies of head.json on another machine and compare them (robolearn review --head FILE).");
  if (D.simulated_time) items.push("Simulated time: record the same on the real arm; nothing here was measured on one.");
  if (D.robot.note) items.push(`Robot file: ${D.robot.note}`);
  if (!D.replay) items.push("Replay: not made."); else if (!D.replay.agrees) items.push("Replay: explain each difference.");
  const unmeasured = D.stops.filter(s => !s.report).length;
  if (unmeasured) items.push(`Stops: ${count(unmeasured, "stop")} without a measured standstill.`);
  const weak = D.limits.flatMap(m => m.rows.filter(r => r.open || ["memory", "single"].includes(r.trust)).map(r => `${nameOf(r.key)} (${m.mode.replaceAll("_", " ")}): ${r.open ? r.value : "source with trust " + r.trust}`));
  if (weak.length) items.push(el("span", {}, "Limits to confirm: ", weak.join("; ")));
  if (/placeholder/i.test(D.profile.ref)) items.push("Risk assessment: the profile names a placeholder.");
  items.push("Measure stopping time and distance, forces and pressures on the real cell, with rated equipment.");
  return list(items);
});

section("Sign-off", "By signing, the reviewer states to have read this page and, where the page says so, to have settled what is open.", () => [
  el("div", {cls: "sign"}, ["Reviewer (name, role)", "Date", "Organisation", "Signature", "Decision (accepted / accepted with conditions / not accepted)", "Conditions"].map(t => el("div", {}, el("span", {}, t))))]);

(function build() {
  document.title = `Safety log review · ${START.deployment_id} · ${START.session_id.slice(0, 8)}`;
  const main = document.getElementById("page"), nav = document.getElementById("contents");
  nav.append(el("div", {cls: "brand"}, "Safety log review", el("small", {}, `session ${START.session_id.slice(0, 8)}`)));
  main.replaceChildren(el("header", {}, el("h1", {}, "Safety log review"), el("p", {}, `${D.robot.label} · ${START.deployment_id} · ${D.events[0][1].slice(0, 19).replace("T", " ")} UTC · mode ${words(START.mode)}`), D.simulated_time ? el("p", {id: "simulated"}, chip("simulated time", "bad"), " The arm was a simulator. This log is no evidence about a real arm.") : null), summaryCards());
  const links = [];
  const draw = content => { try { return content(); } catch (error) { console.error(error); return el("p", {cls: "note"}, `This section could not be drawn: ${error.message}`); } };
  sections.forEach((s, i) => {
    const id = s.title.toLowerCase().replace(/[^a-z]+/g, "-");
    main.append(el("section", {id}, el("h2", {}, el("span", {cls: "n"}, String(i + 1)), s.title), s.lead ? el("p", {cls: "lead"}, s.lead) : "", s.content.map(draw)));
    const link = el("a", {href: `#${id}`}, el("span", {}, String(i + 1)), s.title);
    links.push([document.getElementById(id), link]);
    nav.append(link);
  });
  main.append(el("footer", {}, `Made ${D.made.utc} by robolearn ${D.made.robolearn} from ${D.directory}. This file holds all its data and loads nothing.`));
  const here = () => { let best = links[0]; for (const pair of links) if (pair[0].getBoundingClientRect().top < 140) best = pair; for (const [, link] of links) link.classList.toggle("here", link === best[1]); };
  addEventListener("scroll", here, {passive: true}); here();
  addEventListener("beforeprint", () => document.querySelectorAll("details.stop").forEach((card, i) => { if (i < 50) { card.draw(); card.open = true; } }));
})();
