
"use strict";
// What a browser makes of the page: charts, one step with its responses, and the problems.
// Every text of a run is put in as text, and never as HTML, so that nothing in it can run.

const PAGE = JSON.parse(document.getElementById("runs").textContent);
const RUNS = PAGE.runs;
const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // of runs
const DASHES = ["", "7 3", "2 3", "8 3 2 3"];
const AROUND = 7; // steps to either side of a mean
const KINDS = 8; // areas of a chart at most
const ROWS = 1000; // of the table of problems, and dots of a chart times ten
const BARS = 40; // candidates of a chart

let at = { run: 0, step: 0, group: 0 }; // `group` counts within the step

// ------------------------------------------------------------------------------- elements, texts

const byId = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

// A text in which what has no shape of its own, or turns the others around, shows as its number.
function visible(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (c) => {
    if ("\n\t\u200c\u200d".includes(c)) return c;
    return "⟨U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩";
  });
}

function short(text, most = 60) {
  const line = visible(text).replace(/\s+/g, " ");
  return line.length > most ? line.slice(0, most - 1) + "…" : line;
}

function said(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const small = Math.abs(value) < 0.001 && value !== 0;
  return small ? value.toExponential(1) : String(Number(value.toPrecision(digits)));
}

const signed = (value) => (value > 0 ? "+" : "") + said(value).replace("-", "−");
const percent = (value) =>
  value === null || value === undefined ? "–" : (100 * value).toFixed(1) + "%";
const many = (n, what) => `${n.toLocaleString("en-US")} ${what}${n === 1 ? "" : "s"}`;

// ------------------------------------------------------------------------------- what is derived

function spread(rewards) {
  return Math.max(...rewards) > Math.min(...rewards);
}

// Where the groups of each step begin among all groups of a run, and who was tried when.
for (const run of RUNS) {
  run.first = [];
  run.visits = new Map(); // problem -> its groups
  run.groups.forEach((group, n) => {
    if (run.first[group.step] === undefined) run.first[group.step] = n;
    if (!run.visits.has(group.problem)) run.visits.set(group.problem, []);
    run.visits.get(group.problem).push(n);
    const solved = group.solved;
    group.share = solved.reduce((sum, each) => sum + each, 0) / solved.length;
    group.teaches = spread(group.rewards);
  });
  run.first.push(run.groups.length);
  run.n = run.curves.step.length;
}

const shortName = (run) => short(run.name, 40);
const colourOf = (r) => LINES[r % LINES.length];
const dashOf = (r) => DASHES[r % DASHES.length];

// The responses of a run are read once they are asked for: the charts do not wait for them.
function responses(r) {
  RUNS[r].responses ??= JSON.parse(byId("responses-" + r).textContent);
  return RUNS[r].responses;
}

function smooth(values) {
  return values.map((value, i) => {
    if (value === null) return null;
    const some = values.slice(Math.max(0, i - AROUND), i + AROUND + 1).filter((v) => v !== null);
    return some.reduce((sum, v) => sum + v, 0) / some.length;
  });
}

// ------------------------------------------------------------------------------------- one chart

function ticks(low, high, n) {
  const rough = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) {
    found.push(Number((k * step).toPrecision(12)));
  }
  return found;
}

const charts = []; // drawn again where the window changes its width

// A chart of lines, areas, dots and bars.  `pick(x, y, perX, perY)` is called with the place of a
// click, in the units of the axes, and how many of these make one pixel.
function chart(place, spec) {
  const figure = make("figure", {}, make("figcaption", {}, spec.title), legend(spec.legend ?? []));
  place.append(figure);
  charts.push({ figure, spec }); // drawn by `redraw`, once all beside it are there
}

function legend(entries) {
  return make("div", { class: "legend" }, ...entries.map((entry) => {
    const line = { x1: 0, x2: 26, y1: 6, y2: 6, stroke: entry.colour, "stroke-width": 2.5 };
    const mark = entry.box
      ? draw("rect", { x: 6, y: 0, width: 14, height: 12, fill: entry.colour })
      : entry.dot
        ? draw("circle", { cx: 13, cy: 6, r: 4, ...entry.dot })
        : draw("line", { ...line, "stroke-dasharray": entry.dash ?? "" });
    return make("span", {}, draw("svg", { "aria-hidden": "true" }, mark), visible(entry.name));
  }));
}

function redraw({ figure, spec }) {
  figure.querySelector(":scope > svg, :scope > p")?.remove();
  const xs = [], ys = [];
  for (const part of [...(spec.lines ?? []), ...(spec.areas ?? []), { points: spec.dots ?? [] }]) {
    for (const [x, ...rest] of part.points) {
      xs.push(x);
      ys.push(...rest.slice(0, part.width ?? 1));
    }
  }
  if (!xs.length) {
    figure.append(make("p", { class: "quiet" }, spec.empty ?? "This was not recorded."));
    return;
  }
  const W = Math.max(240, figure.clientWidth || 480), H = spec.height ?? 230;
  const low = spec.low ?? least(ys), highest = spec.high ?? most(ys);
  const high = highest > low ? highest : low + (Math.abs(low) || 1);
  const from = spec.from ?? 0, to = Math.max(spec.to ?? most(xs), from + 1e-9);
  const yTicks = spec.bands ? [] : ticks(low, high, 4);
  const wide = Math.max(0, ...yTicks.map((t) => said(t).length), ...(spec.bands ?? []).map((b) =>
    b.name.length));
  const left = 30 + 7 * wide, right = W - 8, top = 8, bottom = H - 38;
  const X = (x) => left + ((x - from) / (to - from)) * (right - left);
  const Y = (y) => bottom - ((y - low) / (high - low)) * (bottom - top);
  const svg = draw("svg", { width: W, height: H, role: "img", "aria-label": spec.title });
  for (const t of yTicks) {
    svg.append(draw("line", { class: "grid", x1: left, x2: right, y1: Y(t), y2: Y(t) }));
    svg.append(draw("text", { x: left - 6, y: Y(t) + 4, "text-anchor": "end" }, said(t)));
  }
  for (const band of spec.bands ?? []) {
    const [y, middle] = [Y(band.low), (Y(band.low) + Y(band.high)) / 2];
    svg.append(draw("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }));
    svg.append(draw("text", { x: left - 6, y: middle + 4, "text-anchor": "end" }, band.name));
  }
  for (const t of spec.noTicks ? [] : ticks(from, to, Math.max(2, Math.floor(W / 95)))) {
    svg.append(draw("line", { class: "grid", x1: X(t), x2: X(t), y1: bottom, y2: bottom + 4 }));
    svg.append(draw("text", { x: X(t), y: bottom + 17, "text-anchor": "middle" }, said(t)));
  }
  svg.append(draw("line", { class: "grid", x1: left, x2: right, y1: bottom, y2: bottom }));
  const middle = (left + right) / 2;
  svg.append(draw("text", { class: "axis", x: middle, y: H - 4, "text-anchor": "middle" }, spec.x));
  const turned = `translate(11 ${(top + bottom) / 2}) rotate(-90)`;
  svg.append(draw("text", { class: "axis", transform: turned, "text-anchor": "middle" }, spec.y));
  for (const area of spec.areas ?? []) {
    const path = [...area.points.map(([x, a]) => `${X(x)},${Y(a)}`),
      ...area.points.map(([x, , b]) => `${X(x)},${Y(b)}`).reverse()];
    svg.append(draw("polygon", { points: path.join(" "), fill: area.colour, stroke: "none" }));
  }
  for (const line of spec.lines ?? []) drawLine(svg, line, X, Y);
  for (const [x, y0, y1, look, title] of spec.bars ?? []) {
    const width = Math.max(1, (X(1) - X(0)) * 0.7);
    const size = { x: X(x) - width / 2, width, y: Y(y1), height: Math.max(0, Y(y0) - Y(y1)) };
    const bar = draw("rect", { ...size, ...look });
    if (title) bar.append(draw("title", {}, title));
    svg.append(bar);
  }
  for (const [x, y, look, title] of spec.dots ?? []) {
    const dot = draw("circle", { cx: X(x), cy: Y(y), r: 3.4, ...look });
    if (title) dot.append(draw("title", {}, title));
    svg.append(dot);
  }
  if (spec.cursor) {
    const cursor = draw("line", { class: "cursor", y1: top, y2: bottom });
    svg.append(cursor);
    spec.move = () => {
      const x = spec.cursor();
      cursor.style.display = x === null ? "none" : "";
      if (x !== null) { cursor.setAttribute("x1", X(x)); cursor.setAttribute("x2", X(x)); }
    };
    spec.move();
  }
  if (spec.pick) {
    svg.classList.add("picks");
    svg.addEventListener("click", (event) => {
      const box = svg.getBoundingClientRect();
      const [perX, perY] = [(to - from) / (right - left), (high - low) / (bottom - top)];
      const x = from + (event.clientX - box.left - left) * perX;
      const y = low + (bottom - (event.clientY - box.top)) * perY;
      spec.pick(x, y, perX, perY);
    });
  }
  figure.append(svg);
}

function drawLine(svg, line, X, Y) {
  const look = { fill: "none", stroke: line.colour, "stroke-dasharray": line.dash ?? "",
    "stroke-width": line.faint ? 1 : 2.2, opacity: line.faint ? 0.3 : 1,
    "stroke-linejoin": "round" };
  const points = line.points.map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(" ");
  svg.append(draw("polyline", { points, ...look }));
  for (const [x, y] of line.dots ? line.points : []) {
    svg.append(draw("circle", { cx: X(x), cy: Y(y), r: 3.2, fill: line.colour }));
  }
}

const least = (values) => values.reduce((a, b) => (b < a ? b : a), Infinity);
const most = (values) => values.reduce((a, b) => (b > a ? b : a), -Infinity);

// ------------------------------------------------------------------------- the charts of all runs

const ROLLOUTS = "training rollouts";

// What charts over rollouts share: the line at the step that is open, and what a click opens.
function overRollouts(only) {
  const longest = most(RUNS.map((run) => most(run.curves.rollouts)));
  return {
    x: ROLLOUTS, to: longest,
    cursor: () => (only === undefined || only === at.run
      ? RUNS[at.run].curves.rollouts[at.step] : null),
    pick: (x) => open(only ?? at.run, nearestStep(only ?? at.run, x), 0, true),
  };
}

function nearestStep(r, rollouts) {
  let best = 0;
  RUNS[r].curves.rollouts.forEach((each, i) => {
    const found = Math.abs(each - rollouts) < Math.abs(RUNS[r].curves.rollouts[best] - rollouts);
    if (found) best = i;
  });
  return best;
}

const legendOfRuns = () => (RUNS.length < 2 ? [] : RUNS.map((run, r) => (
  { name: shortName(run), colour: colourOf(r), dash: dashOf(r) })));

function drawAccuracy() {
  const lines = RUNS.map((run, r) => {
    const points = run.before === null ? [] : [[0, run.before]];
    run.curves.accuracy.forEach((a, i) => a !== null && points.push([run.curves.rollouts[i], a]));
    return { points, colour: colourOf(r), dash: dashOf(r), dots: true };
  });
  chart(byId("accuracy"), { title: "Held-out accuracy", y: "greedy accuracy", lines, low: 0,
    high: 1, legend: legendOfRuns(), ...overRollouts() });
  RUNS.forEach((run, r) => {
    const kinds = Object.keys(run.accuracy_by_kind).slice(0, KINDS);
    const lines = kinds.map((kind, k) => ({ points: run.accuracy_by_kind[kind], dots: true,
      colour: colourOf(k), dash: dashOf(k) }));
    const entries = kinds.map((kind, k) => (
      { name: short(kind || "(no kind)", 30), colour: colourOf(k), dash: dashOf(k) }));
    chart(byId("accuracy"), { title: "Held-out accuracy by kind of problem" + ofRun(r), lines,
      y: "greedy accuracy", low: 0, high: 1, legend: entries, ...overRollouts(r) });
  });
}

const ofRun = (r) => (RUNS.length < 2 ? "" : ": " + shortName(RUNS[r]));

// The kinds by how often they were chosen, the rarest together once they are many.
function fewKinds(run) {
  const counts = new Map();
  for (const group of run.groups) counts.set(group.kind, (counts.get(group.kind) ?? 0) + 1);
  const names = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  const kept = names.length > KINDS ? names.slice(0, KINDS - 1) : names;
  return { kept: kept.sort(), others: names.length - kept.length };
}

function drawCurriculum() {
  const N = PAGE.window; // as in curve.png
  RUNS.forEach((run, r) => {
    const { kept, others } = fewKinds(run);
    const names = others ? [...kept, `${others} other kinds`] : kept;
    const place = new Map(kept.map((kind, k) => [kind, k]));
    const counts = names.map(() => new Array(run.n + 1).fill(0)); // up to each step
    for (let i = 0; i < run.n; i++) {
      for (const row of counts) row[i + 1] = row[i];
      for (let g = run.first[i]; g < run.first[i + 1]; g++) {
        counts[place.get(run.groups[g].kind) ?? names.length - 1][i + 1]++;
      }
    }
    const areas = names.map((_, k) => ({ points: [], colour: PAGE.colours[k % PAGE.colours.length],
      width: 2 }));
    for (let i = 0; i < run.n; i++) {
      const [a, b] = [Math.max(0, i - N), Math.min(run.n, i + N + 1)];
      const some = counts.map((row) => row[b] - row[a]);
      const all = some.reduce((sum, each) => sum + each, 0);
      let under = 0;
      some.forEach((each, k) => {
        const over = under + each / all;
        if (i === 0) areas[k].points.push([0, under, over]);
        areas[k].points.push([run.curves.rollouts[i], under, over]);
        under = over;
      });
    }
    const entries = names.map((name, k) => ({ name: short(name || "(no kind given)", 30), box: true,
      colour: areas[k].colour }));
    chart(byId("curriculum"), { title: "Kind of problem chosen" + ofRun(r), areas, low: 0, high: 1,
      y: `share of ${2 * N + 1} steps around`, legend: entries, ...overRollouts(r) });
  });
  RUNS.forEach((run, r) => drawProblemsOverTime(run, r));
}

function look(group) {
  const colour = { 0: "var(--orange)", 1: "var(--blue)" }[group.share] ?? "#808080";
  return group.teaches ? { fill: mixed(group.share), stroke: "currentColor", "stroke-width": 0.7 }
    : { fill: "none", stroke: colour, "stroke-width": 1.3, opacity: 0.8 };
}

// From orange (none right) over grey to blue (all right).
function mixed(share) {
  const [a, b, t] = share < 0.5 ? [[213, 94, 0], [190, 190, 190], 2 * share]
    : [[190, 190, 190], [0, 114, 178], 2 * share - 1];
  return `rgb(${a.map((v, i) => Math.round(v + (b[i] - v) * t)).join(" ")})`;
}

function drawProblemsOverTime(run, r) {
  const kindOf = new Map(run.groups.map((group) => [group.problem, group.kind]));
  const order = [...kindOf.keys()].sort((a, b) => {
    const [x, y] = [kindOf.get(a), kindOf.get(b)];
    return x < y ? -1 : x > y ? 1 : a - b;
  });
  const rank = new Map(order.map((problem, n) => [problem, n]));
  const bands = [];
  order.forEach((problem, n) => {
    const kind = kindOf.get(problem);
    if (!bands.length || bands.at(-1).kind !== kind) bands.push({ kind, low: n, high: n + 1 });
    bands.at(-1).high = n + 1;
  });
  const labelled = bands.filter((band) => band.high - band.low > order.length / 25);
  for (const band of labelled) band.name = short(band.kind || "(none)", 14);
  const every = Math.ceil(run.groups.length / (10 * ROWS));
  const dots = run.groups.filter((_, n) => n % every === 0).map((group) => [
    run.curves.rollouts[group.step], rank.get(group.problem) + 0.5, look(group),
    `step ${run.curves.step[group.step]}: ${short(nameOf(run, group.problem))}, `
      + `${percent(group.share)} right`]);
  const pick = (x, y, perX, perY) => {
    let best = null, nearest = Infinity;
    run.groups.forEach((group, n) => {
      const dx = (run.curves.rollouts[group.step] - x) / perX;
      const dy = (rank.get(group.problem) + 0.5 - y) / perY;
      if (dx * dx + dy * dy < nearest) { nearest = dx * dx + dy * dy; best = n; }
    });
    openGroup(r, best);
  };
  const entries = [
    { name: "all right", dot: { fill: "none", stroke: "var(--blue)", "stroke-width": 1.3 } },
    { name: "informative: mostly right", dot: look({ share: 0.8, teaches: true }) },
    { name: "half", dot: look({ share: 0.5, teaches: true }) },
    { name: "mostly wrong", dot: look({ share: 0.15, teaches: true }) },
    { name: "all wrong", dot: { fill: "none", stroke: "var(--orange)", "stroke-width": 1.3 } },
  ];
  const title = `Problem chosen, one row per problem${every > 1 ? `, every ${every}th` : ""}`;
  chart(byId("curriculum"), { title: title + ofRun(r), y: "problem", dots, bands: labelled, low: 0,
    high: order.length, height: Math.min(620, Math.max(230, 60 + 5 * order.length)),
    legend: entries, ...overRollouts(r), pick });
}

const CURVES = [
  ["informative", "Groups that were informative", "share of groups", 0, 1],
  ["mean_length", "Length of the responses", "tokens per response", 0],
  ["cut_off", "Responses that were cut off", "share of responses", 0],
  ["entropy", "Entropy of the sampled tokens", "nats per token", 0],
  ["kl", "KL to the starting model (k3)", "nats per token", 0],
  ["clip_fraction", "Tokens that were clipped", "share of tokens", 0],
  ["sampler_gap", "Sampler against loss, |Δ log p|", "nats per token", 0],
  ["grad_norm", "Gradient before it is clipped", "norm", 0],
  ["loss", "Loss of the last update", "loss"],
];

function drawCurves() {
  for (const [name, title, y, low, high] of CURVES) {
    const lines = [];
    RUNS.forEach((run, r) => {
      const values = run.curves[name];
      const points = (some) => some.map((v, i) => [run.curves.rollouts[i], v])
        .filter(([, v]) => v !== null);
      const look = { colour: colourOf(r), dash: dashOf(r) };
      lines.push({ points: points(values), ...look, dash: "", faint: true });
      lines.push({ points: points(smooth(values)), ...look });
    });
    const recorded = { clip_fraction: "No update was recorded.", kl: "There was no KL penalty." };
    chart(byId("curves"), { title, y, lines, low, high, height: 190, empty: recorded[name],
      legend: legendOfRuns(), ...overRollouts() });
  }
}

// ------------------------------------------------------------------------------------ the summary

function fillSummary() {
  const columns = [["run", shortName]];
  for (const fact of PAGE.facts) columns.push([fact, (run) => short(run.facts[fact] ?? "–", 60)]);
  columns.push(["steps", (run) => said(run.n) + (run.finished ? "" : " so far")]);
  columns.push(["rollouts", (run) => said(run.curves.rollouts.at(-1))]);
  columns.push(["informative groups", (run) =>
    `${said(run.groups.filter((group) => group.teaches).length)} of ${said(run.groups.length)}`]);
  columns.push(["held-out accuracy", (run) =>
    `${percent(run.before)} → ${percent(run.curves.accuracy.findLast((a) => a !== null))}`]);
  const heads = columns.map(([name]) => make("th", { scope: "col" }, name));
  const cells = (run) => columns.map(([, of]) => make("td", {}, of(run)));
  const rows = RUNS.map((run) => make("tr", {}, ...cells(run)));
  byId("summary").append(make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  RUNS.forEach((run, r) => {
    const say = (text, kind) => byId("notes").append(make("p", { class: kind },
      visible(text) + (ofRun(r) && ` (${shortName(run)})`)));
    for (const note of run.notes) say(note, "quiet");
    for (const warning of run.warnings) say("Warning, " + warning, "note");
  });
}

// ---------------------------------------------------------------------------------------- one step

// Open a step, and remember it in the address: a link to `report.html#step=12` leads there.
function open(r, step, group = 0, scroll = false) {
  const run = RUNS[r];
  step = Math.min(Math.max(0, step), run.n - 1);
  group = Math.min(Math.max(0, group), run.first[step + 1] - run.first[step] - 1);
  at = { run: r, step, group };
  const words = [`step=${run.curves.step[step]}`];
  if (r) words.unshift(`run=${r + 1}`);
  if (group) words.push(`group=${group + 1}`);
  const address = "#" + words.join("&");
  if (location.hash !== address) history.replaceState(null, "", address);
  showStep();
  if (scroll) byId("step").scrollIntoView({ block: "start" });
}

function openGroup(r, n, scroll = true) {
  const step = RUNS[r].groups[n].step;
  open(r, step, n - RUNS[r].first[step], scroll);
}

// #step=12, #run=2&step=12&group=3: all counted from 1, the step as the record counts it.  Without
// a step it is the first that had something to teach.
function openAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  const number = (name) => Math.max(1, Number.parseInt(words.get(name) ?? "1", 10) || 1);
  const r = Math.min(number("run"), RUNS.length) - 1;
  const teaching = RUNS[r].groups.findIndex((group) => group.teaches);
  if (!words.has("step")) return openGroup(r, Math.max(0, teaching), false);
  const found = RUNS[r].curves.step.findIndex((step) => step >= number("step"));
  open(r, found < 0 ? RUNS[r].n - 1 : found, number("group") - 1, true);
}

// The next group, or the one before, whose rewards differ.
function openInformative(way) {
  const run = RUNS[at.run];
  for (let n = run.first[at.step] + at.group + way; n >= 0 && n < run.groups.length; n += way) {
    if (run.groups[n].teaches) return openGroup(at.run, n, false);
  }
}

function showStep() {
  const run = RUNS[at.run];
  byId("run").value = at.run;
  byId("slider").max = run.n - 1;
  byId("slider").value = at.step;
  byId("slider").setAttribute("aria-valuetext", `step ${run.curves.step[at.step]}`);
  const [step, last_step] = [run.curves.step[at.step], run.curves.step.at(-1)];
  byId("where").textContent = `step ${said(step)} of ${said(last_step)}`;
  for (const { spec } of charts) spec.move?.();
  const [first, last] = [run.first[at.step], run.first[at.step + 1]];
  const facts = CURVES.map(([name]) => [name, run.curves[name][at.step]])
    .filter(([name, value]) => name !== "informative" && value !== null)
    .map(([name, value]) => `${name} ${said(value)}`);
  if (run.curves.accuracy[at.step] !== null) {
    facts.unshift(`evaluated after it: ${percent(run.curves.accuracy[at.step])}`);
  }
  byId("facts").textContent = facts.join(" · ");
  const tabs = [];
  for (let n = first; n < last && last - first > 1; n++) {
    const pressed = n - first === at.group;
    const text = `#${run.groups[n].problem} ${percent(run.groups[n].share)}`;
    tabs.push(make("button", { type: "button", "aria-pressed": pressed }, text));
    tabs.at(-1).addEventListener("click", () => openGroup(at.run, n, false));
  }
  byId("groups").replaceChildren(...tabs);
  showChoice(run);
  showGroup();
  markProblem();
}

const nameOf = (run, problem) => run.problems[problem]?.[0] ?? `problem ${problem}`;

// What the selector saw before it chose, and what became of the open problem's score over time.
function showChoice(run) {
  const group = run.groups[run.first[at.step] + at.group];
  byId("choice").replaceChildren();
  for (let n = charts.length - 1; n >= 0; n--) if (charts[n].spec.ofStep) charts.splice(n, 1);
  const offer = run.offers[at.step];
  const bars = [], dots = [], lines = [];
  if (offer) {
    const order = [...offer.candidates.keys()].sort((a, b) => offer.scores[b] - offer.scores[a]);
    const shown = order.slice(0, BARS);
    const k = offer.candidates.indexOf(group.problem);
    if (k >= 0 && !shown.includes(k)) shown.splice(-1, 1, k);
    shown.forEach((k, x) => {
      const [score, v, b] = [offer.scores[k], offer.volatility?.[k] ?? 0, offer.bonus?.[k] ?? 0];
      const title = `${short(nameOf(run, offer.candidates[k]))}: score ${said(score)}, volatility `
        + `${said(v)}, bonus ${said(b)}`;
      bars.push([x, 0, v, { fill: "#56b4e9" }, title], [x, v, v + b, { fill: "#e69f00" }, title]);
      const chosen = offer.candidates[k] === group.problem;
      const mark = { fill: chosen ? "currentColor" : "none", stroke: "currentColor",
        r: chosen ? 5 : 2.5 };
      dots.push([x, score, mark, title], [x, v + b, { r: 0 }], [x, 0, { r: 0 }]);
    });
  }
  const of = offer && offer.candidates.length > BARS ? `, the ${BARS} of the highest score` : "";
  chart(byId("choice"), { ofStep: true, title: "Candidates, as seen before the choice" + of,
    dots, bars, x: "candidates, by their score", y: "score", noTicks: true, from: -0.8, height: 210,
    high: 1.06 * most(dots.map(([, y]) => y)),
    to: (dots.length / 3) - 0.2, empty: run.thinned ?? "The scores were not recorded.",
    legend: [{ name: "volatility", colour: "#56b4e9", box: true },
      { name: "bonus", colour: "#e69f00", box: true },
      { name: "score", dot: { fill: "none", stroke: "currentColor", r: 2.5 } },
      { name: "chosen", dot: { fill: "currentColor" } }] });
  const [scores, volatility, bonus] = [[], [], []];
  run.offers.forEach((each, i) => {
    const k = each ? each.candidates.indexOf(group.problem) : -1;
    if (k < 0) return;
    const x = run.curves.rollouts[i];
    scores.push([x, each.scores[k]]);
    if (each.volatility) volatility.push([x, each.volatility[k]]);
    if (each.bonus) bonus.push([x, each.bonus[k]]);
  });
  lines.push({ points: scores, colour: "#808080" });
  lines.push({ points: volatility, colour: "#0072b2", dash: "7 3" });
  lines.push({ points: bonus, colour: "#e69f00", dash: "2 3" });
  const visits = run.visits.get(group.problem).map((n) => {
    const g = run.groups[n];
    return [run.curves.rollouts[g.step], g.share, look(g), `step ${run.curves.step[g.step]}: `
      + `${percent(g.share)} right`];
  });
  chart(byId("choice"), { ...overRollouts(at.run), ofStep: true, lines, dots: visits, low: 0,
    height: 210, title: `This problem over the run: ${many(visits.length, "visit")}`,
    y: "score; share right",
    legend: [{ name: "score", colour: "#808080" },
      { name: "volatility", colour: "#0072b2", dash: "7 3" },
      { name: "bonus", colour: "#e69f00", dash: "2 3" },
      { name: "a visit: share right", dot: { fill: "#bebebe", stroke: "currentColor" } }] });
  charts.filter(({ spec }) => spec.ofStep).forEach(redraw);
}

// ------------------------------------------------------------------------------- its responses

function colouring() {
  return document.querySelector("input[name=by]:checked").value;
}

function showGroup() {
  const run = RUNS[at.run], n = run.first[at.step] + at.group, group = run.groups[n];
  const [text, gold] = run.problems[group.problem] ?? [null, null];
  const title = text === null ? `Problem ${group.problem}` : visible(text);
  const about = [`problem ${group.problem}`, group.kind && `kind ${visible(group.kind)}`,
    gold !== null && `right answer ${visible(gold)}`].filter(Boolean).join(", ");
  byId("problem").replaceChildren(title, make("span", { class: "quiet" }, `   (${about})`));
  const texts = responses(at.run).groups[n];
  const nats = (whole) => whole?.map((value) => value / PAGE.per_nat);
  const all = group.rewards.map((reward, g) => {
    const one = texts?.[g] ?? {};
    return { ...one, reward, solved: group.solved[g], A: group.advantages[g],
      logps: nats(one.logps), ratios: nats(one.ratios) };
  });
  const by = colouring(), scale = scaleOf(by, all);
  byId("scale").replaceChildren(...explained(by, scale, all, run, group));
  byId("token").textContent = all.some((one) => one.pieces)
    ? "Point at a token, or click it, to see its numbers." : "";
  byId("responses").replaceChildren(...all.map((one, g) => response(one, g, by, scale)));
}

// The largest value of the group, which has the full colour.
function scaleOf(by, all) {
  const values = [0];
  for (const one of all) {
    if (by === "advantage" && one.A !== null) values.push(Math.abs(one.A));
    if (by === "ratio") for (const v of one.ratios ?? []) values.push(Math.abs(v));
    if (by === "surprise") for (const v of one.logps ?? []) values.push(-v);
  }
  return most(values);
}

function explained(by, scale, all, run, group) {
  const recorded = all.some((one) => one.pieces);
  if (!all.some((one) => one.pieces || one.text !== undefined)) {
    return ["The responses of this group are not in the page."];
  }
  const sample = (value, words) => {
    const box = make("span", { class: "sample t" }, words);
    paint(box, value);
    return box;
  };
  const untold = "This group was trained without --report: its single tokens are not recorded, "
    + "only whole responses. train.py --report records them.";
  if (by === "none") return [recorded ? "" : untold];
  if (by === "advantage") {
    if (!scale) {
      return ["All rewards are equal: every advantage is 0, and none was better than another."];
    }
    return ["A, the response's reward against its group's mean. ",
      sample(-1, `−${said(scale)}: made less likely`), " ",
      sample(1, `+${said(scale)}: made likelier`), recorded ? "" : " " + untold];
  }
  if (!recorded) return [untold];
  if (by === "surprise") {
    return ["−log p of the token when it was sampled, in nats. ", sample(null, "0: certain"), " ",
      sample([1], `${said(scale)}: a surprise`)];
  }
  if (!all.some((one) => one.ratios)) return ["This step updated nothing: every ratio is 1."];
  return ["log ρ = log π after this step's update − log π when it was sampled, in nats. ",
    sample(-1, `−${said(scale)}: less likely now`), " ", sample(1, `+${said(scale)}: likelier now`),
    run.clip ? ` The clip of the loss begins at ${signed(Math.log(1 - run.clip[0]))} and `
      + `${signed(Math.log(1 + run.clip[1]))}; tokens beyond it have a frame.` : ""];
}

// Colour an element by a value from -1 to 1; one in brackets, from 0 to 1, has no sign.
function paint(element, value) {
  if (value === null || value === undefined) return;
  const v = Array.isArray(value) ? value[0] : value;
  const strength = (0.5 * Math.min(1, Math.abs(v))).toFixed(2);
  const colour = Array.isArray(value) ? "204 121 167" : v > 0 ? "0 114 178" : "213 94 0";
  if (v) element.style.backgroundColor = `rgb(${colour} / ${strength})`;
  if (!Array.isArray(value) && Math.abs(v) > 0.2) element.classList.add(v > 0 ? "up" : "down");
}

function response(one, g, by, scale) {
  const right = one.solved >= 0.5;
  const cut = one.cut ? make("span", {}, make("b", {}, "✂ cut off"),
    RUNS[at.run].mask_truncated ? ", not in the loss" : "") : null;
  const verdict = make("div", { class: "verdict" },
    make("b", {}, one.solved > 0 && one.solved < 1 ? `◐ ${said(one.solved)} right`
      : right ? "✓ right" : "✗ wrong"),
    make("span", {}, `${one.reward > 0 ? "paid" : "not paid: reward"} ${said(one.reward)}`),
    one.A === null ? null : make("span", {}, `A = ${signed(one.A)}`),
    one.n === undefined ? null : make("span", {}, many(one.n, "token")), cut,
    one.answer === undefined ? null : make("span", {},
      one.answer === null ? "no answer found" : `answer ${short(one.answer, 200)}`));
  const text = make("p", { class: "said", dir: "auto" });
  if (one.pieces) {
    const begun = begunBy(at.run, at.step, at.group);
    if (begun) text.append(make("span", { class: "begun" }, visible(begun)));
    const words = responses(at.run).vocabulary;
    one.pieces.forEach((piece, t) => {
      const shown = visible(words[piece]).replace(/\n/g, "⏎\n");
      const token = make("span", { class: "t", "data-t": t }, shown);
      paint(token, valueOf(one, t, by, scale));
      if (one.ratios && beyondClip(one, t)) token.classList.add("clipped");
      text.append(token);
    });
  } else if (one.text !== undefined) {
    const whole = make("span", { class: "t" }, visible(one.text));
    if (by === "advantage" && scale) paint(whole, one.A / scale);
    text.append(whole);
  }
  const item = make("li", { class: right ? "right" : "wrong" }, verdict, text);
  for (const kind of ["mouseover", "click"]) {
    text.addEventListener(kind, (event) => {
      const t = event.target.getAttribute?.("data-t");
      if (t !== null && t !== undefined) byId("token").textContent = aboutToken(one, g, Number(t));
    });
  }
  return item;
}

function begunBy(r, step, group) {
  const run = RUNS[r], problem = run.problems[run.groups[run.first[step] + group].problem];
  return (run.prefill ?? "").replaceAll("{problem}", () => problem?.[0] ?? "");
}

function valueOf(one, t, by, scale) {
  if (!scale) return null;
  if (by === "advantage") return one.A === null ? null : one.A / scale;
  if (by === "ratio") return one.ratios ? one.ratios[t] / scale : null;
  return by === "surprise" && one.logps ? [-one.logps[t] / scale] : null;
}

function beyondClip(one, t) {
  const clip = RUNS[at.run].clip;
  if (!clip || !one.A) return false;
  const ratio = Math.exp(one.ratios[t]);
  return one.A > 0 ? ratio > 1 + clip[1] : ratio < 1 - clip[0];
}

function aboutToken(one, g, t) {
  const word = short(responses(at.run).vocabulary[one.pieces[t]].replace(/\n/g, "⏎"), 40);
  const parts = [`response ${g + 1}, token ${t + 1} of ${one.pieces.length}: “${word}”`];
  const [logp, ratio] = [one.logps?.[t], one.ratios?.[t]];
  if (one.logps) parts.push(`log p ${signed(logp)} (p = ${percent(Math.exp(logp))})`);
  if (one.ratios) parts.push(`log ρ ${signed(ratio)} (ρ = ${said(Math.exp(ratio), 4)})`);
  if (one.A !== null) parts.push(`A = ${signed(one.A)}`);
  return parts.join(" · ");
}

// ------------------------------------------------------------------------------------ the problems

const COLUMNS = [
  ["problem", (row) => row.problem], ["kind", (row) => row.kind], ["text", (row) => row.text],
  ["visits", (row) => row.visits], ["informative", (row) => row.teaches],
  ["right at first", (row) => row.first], ["right at last", (row) => row.last],
  ["score", (row) => row.score], ["volatility", (row) => row.volatility],
  ["bonus", (row) => row.bonus],
];
const sorting = { column: 3, way: -1 };

function rowsOf(run) {
  const rows = new Map();
  const row = (problem) => {
    if (!rows.has(problem)) {
      rows.set(problem, { problem, kind: "", text: nameOf(run, problem), visits: 0, teaches: 0,
        first: null, last: null, score: null, volatility: null, bonus: null });
    }
    return rows.get(problem);
  };
  for (const offer of run.offers) {
    offer?.candidates.forEach((problem, k) => Object.assign(row(problem), { score: offer.scores[k],
      volatility: offer.volatility?.[k] ?? null, bonus: offer.bonus?.[k] ?? null }));
  }
  for (const group of run.groups) {
    const one = row(group.problem);
    one.kind = group.kind;
    one.visits++;
    one.teaches += group.teaches ? 1 : 0;
    one.first ??= group.share;
    one.last = group.share;
  }
  return [...rows.values()];
}

function fillProblems() {
  const run = RUNS[at.run];
  run.rows ??= rowsOf(run);
  const value = COLUMNS[sorting.column][1];
  const rows = [...run.rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === y) return a.problem - b.problem;
    if (x === null || y === null) return x === null ? 1 : -1;
    return (x < y ? -1 : 1) * sorting.way;
  });
  byId("about-problems").textContent = "Score, volatility and bonus are those of the last time "
    + "that it was a candidate, before the choice; right at first and at last are of its groups. "
    + (rows.length > ROWS ? `The first ${ROWS} of ${rows.length.toLocaleString("en-US")}.` : "")
    + (ofRun(at.run) && ` The run is ${shortName(run)}.`);
  const heads = COLUMNS.map(([name], c) => {
    const button = make("button", { type: "button" }, name);
    const sorted = c !== sorting.column ? "none" : sorting.way > 0 ? "ascending" : "descending";
    button.addEventListener("click", () => {
      const way = c === sorting.column ? -sorting.way : c > 2 ? -1 : 1; // numbers: largest first
      Object.assign(sorting, { way, column: c });
      fillProblems();
    });
    const arrow = { none: "", ascending: " ↑", descending: " ↓" }[sorted];
    const about = { "aria-sort": sorted, scope: "col", class: c > 2 ? "number" : "" };
    return make("th", about, button, arrow);
  });
  const lines = rows.slice(0, ROWS).map((row) => {
    const visited = run.visits.get(row.problem);
    const link = make("button", { type: "button" }, short(row.text, 70));
    if (visited) link.addEventListener("click", () => openGroup(at.run, visited.at(-1)));
    else link.disabled = true;
    const cells = COLUMNS.slice(3).map(([name, of]) => make("td", { class: "number" },
      name.startsWith("right") ? percent(of(row)) : said(of(row))));
    return make("tr", { "data-problem": row.problem }, make("td", {}, said(row.problem)),
      make("td", {}, short(row.kind, 24)), make("td", {}, link), ...cells);
  });
  byId("problems").replaceChildren(make("thead", {}, make("tr", {}, ...heads)),
    make("tbody", {}, ...lines));
  byId("problems").dataset.run = at.run;
  markProblem();
}

function markProblem() {
  if (byId("problems").dataset.run !== String(at.run)) return fillProblems();
  const run = RUNS[at.run], open = run.groups[run.first[at.step] + at.group].problem;
  byId("problems").querySelector("tr.current")?.classList.remove("current");
  byId("problems").querySelector(`tr[data-problem="${open}"]`)?.classList.add("current");
}

// -------------------------------------------------------------------------------------- the hands

function listen() {
  RUNS.forEach((run, r) => byId("run").append(make("option", { value: r }, shortName(run))));
  byId("which-run").hidden = RUNS.length < 2;
  byId("run").addEventListener("change", () => open(Number(byId("run").value), at.step));
  byId("slider").addEventListener("input", () => open(at.run, Number(byId("slider").value)));
  byId("back").addEventListener("click", () => open(at.run, at.step - 1));
  byId("on").addEventListener("click", () => open(at.run, at.step + 1));
  byId("informative-back").addEventListener("click", () => openInformative(-1));
  byId("informative-on").addEventListener("click", () => openInformative(1));
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("step").scrollIntoView();
    byId("step").focus();
  });
  byId("colouring").addEventListener("change", showGroup);
  window.addEventListener("hashchange", openAddress);
  document.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const busy = event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented;
    if (!way || busy || event.target.matches?.("input, select")) return;
    event.preventDefault();
    if (event.shiftKey) openInformative(way);
    else open(at.run, at.step + way);
  });
  let width = document.body.clientWidth;
  window.addEventListener("resize", () => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    charts.forEach(redraw);
  });
}

fillSummary();
listen();
drawAccuracy();
drawCurriculum();
drawCurves();
charts.forEach(redraw);
openAddress();
