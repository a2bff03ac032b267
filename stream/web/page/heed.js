// The live page: asks once a second and shows what it is told. Texts are only ever set as text.
import { DASH, clock, count, fixed, isNumber, percent, span, value } from "./format.js";
import { draw } from "./chart.js";

const EVERY = 1000; // ms between two rounds
const PATIENCE = 5000; // ms for an answer
const STILL = 15000; // ms without a step forward, from which on the page says so
const ROWS = 100;
const POINTS = 600;
const OUTCOMES = ["full", "lite", "sentinel", "shed", "gap", "warmup"];
const WORDS = { catching_up: "catching up" };

const $ = (id) => document.getElementById(id);
const seen = { points: [], budget: 0, time: null, moved: performance.now(), since: null };

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
  if (!answer.ok) throw new Error(`${path.split("?")[0]} answers ${answer.status}`);
  return answer.json();
}

function streamsPath() {
  const form = new FormData($("choice"));
  const query = new URLSearchParams({ limit: String(ROWS), sort: form.get("sort") });
  for (const name of ["q", "group"]) if (form.get(name)) query.set(name, form.get(name));
  return `api/v1/streams?${query}`;
}

async function round() {
  try {
    if (!seen.points.length) await remember();
    const paths = ["api/v1/status", `api/v1/alerts?limit=${ROWS}`, streamsPath()];
    const [status, alerts, streams] = await Promise.all(paths.map(ask));
    found();
    showStatus(status);
    showAlerts(alerts.data);
    showStreams(streams.data);
  } catch (error) {
    lost(error);
  }
}

async function remember() {
  const { data } = await ask("api/v1/history");
  seen.points = data.time.map((time, i) => ({ time, lag: data.lag[i], coverage: data.coverage[i] }));
}

// -- the connection

function lost(error) {
  seen.since ??= new Date();
  badge("connection lost", "lost");
  $("lost").textContent = `Connection lost at ${clock(seen.since)}: what is below is old. Trying again. (${error.message})`;
  $("lost").hidden = false;
  $("live").classList.add("old");
}

function found() {
  seen.since = null;
  $("lost").hidden = true;
  $("live").classList.remove("old");
}

function badge(text, kind) {
  set("state", text);
  $("state").className = `badge ${kind}`;
  document.title = kind === "ready" ? "heed" : `heed – ${text}`;
}

// -- at a glance

function showStatus(status) {
  const now = status.now;
  const still = stillFor(status.time);
  if (still) badge(`standing still for ${span(still / 1000)}`, "lost");
  else badge(WORDS[status.state] ?? status.state, status.state);
  set("reasons", status.reasons.join("; "));
  set("about", about(status));
  showTiles(status, now);
  showWindows(status.windows ?? {});
  showLine(status, now);
}

function stillFor(time) {
  if (time !== seen.time) [seen.time, seen.moved] = [time, performance.now()];
  const still = performance.now() - seen.moved;
  return time && still > STILL ? still : 0;
}

function about(status) {
  const model = status.model.name ? `model ${status.model.name}` : "";
  const version = status.version ? `heed ${status.version}` : "";
  return [version, model, status.time ? clock(status.time) : ""].filter(Boolean).join(" · ");
}

function showTiles(status, now) {
  const { streams, alerts_firing: firing } = now;
  set("streams", count(Object.values(streams).reduce((a, b) => a + b, 0) || status.streams || 0));
  set("streams-more", list(`${count(status.groups ?? 0)} groups`, some(streams.warmup, "in warm-up"), some(streams.gap, "quiet")));
  const p99 = status.lag?.p99 ?? now.lag;
  set("lag", span(p99), now.budget > 0 && p99 > now.budget ? "bad" : "");
  meter("lag-meter", now.budget > 0 ? p99 / now.budget : 0, 0.8, 0.999, 0);
  set("lag-more", list(now.budget > 0 ? `${span(now.budget)} allowed` : "", `now ${span(now.lag)}`));
  set("coverage", percent(now.coverage));
  meter("coverage-meter", now.coverage, 0.2, 0.5, 1);
  set("coverage-more", list(isNumber(status.coverage) ? `${percent(status.coverage)} since the start` : ""));
  set("unseen", span(now.unseen_max), now.guarantee_violations ? "bad" : "");
  set("unseen-more", now.guarantee_violations ? `blind not kept ${count(now.guarantee_violations)} times` : "blind is kept");
  set("firing", count(firing), firing ? "bad" : "good");
  set("firing-more", list(some(now.incidents_open, now.incidents_open === 1 ? "incident open" : "incidents open"),
    isNumber(status.alerts) ? `${count(status.alerts)} since the start` : ""));
}

function showWindows(windows) {
  const known = OUTCOMES.filter((outcome) => windows[outcome] > 0);
  const due = known.reduce((sum, outcome) => sum + windows[outcome], 0);
  set("windows-due", due ? count(due) : "none yet");
  $("windows").replaceChildren(...known.map((outcome) => {
    const part = element("span", "", outcome);
    part.style.flexGrow = String(windows[outcome] / due);
    part.title = `${outcome}: ${count(windows[outcome])}`;
    return part;
  }));
  $("windows-legend").replaceChildren(...known.map((outcome) =>
    element("li", `${outcome} ${count(windows[outcome])} (${percent(windows[outcome] / due)})`, `key ${outcome}`)));
}

function showLine(status, now) {
  const time = new Date(status.time ?? NaN).getTime() / 1000;
  const last = seen.points.length ? seen.points[seen.points.length - 1].time : 0;
  seen.budget = now.budget;
  if (time >= last + 0.5) seen.points = [...seen.points.slice(1 - POINTS), { time, lag: now.lag, coverage: now.coverage }];
  draw($("chart"), seen.points, seen.budget);
}

// -- tables

function showAlerts(data) {
  const rows = data.alerts.map((alert) => {
    const stream = alert.streams?.[0] ?? {};
    const severity = alert.labels.severity ?? "";
    return [
      cell(clock(alert.starts_at), "time", alert.starts_at),
      pill(severity, severity),
      cell(alert.labels.alertname),
      cell(alert.labels.stream ?? alert.group, "name"),
      cell(value(stream.value), "number"),
      cell(expected(stream), "number"),
      cell(fixed(stream.score, 2), "number"),
      cell(`${untold(alert)}${alert.annotations.summary ?? alert.annotations.description ?? ""}`, "wide"),
    ];
  });
  fill("alerts", rows);
  $("no-alerts").hidden = rows.length > 0;
  set("alerts-more", data.total > rows.length ? `the first ${rows.length} of ${count(data.total)}` : "");
  $("lately").hidden = data.recent.length === 0;
  fill("recent", data.recent.map((alert) => [
    cell(clock(alert.ends_at ?? alert.starts_at), "time", alert.ends_at ?? alert.starts_at),
    pill(alert.status, alert.status),
    cell(alert.labels.alertname),
    cell(alert.labels.stream ?? alert.group, "name"),
    cell(alert.reason),
  ]));
}

function untold(alert) {
  const { silencedBy = [], mutedBy = [] } = alert.notification ?? {};
  if (silencedBy.length) return "(silenced) ";
  return mutedBy.length ? "(muted) " : "";
}

function expected(stream) {
  if (isNumber(stream.low) && isNumber(stream.high)) return `${value(stream.low)} … ${value(stream.high)}`;
  return value(stream.expected);
}

function showStreams(data) {
  fill("table", data.streams.map((row) => [
    cell(row.stream, "name"),
    cell(row.group),
    cell(fixed(row.score, 2), row.score >= 1 ? "number alarming" : "number"),
    cell(value(row.value), "number"),
    cell(fixed(row.weight, 2), "number"),
    pill(row.outcome ?? "", row.outcome ?? ""),
    cell(span(row.age), "number"),
    cell(clock(row.ts), "number", row.ts),
  ]));
  $("no-streams").hidden = data.total > 0;
  set("table-more", data.total > data.streams.length ? `the first ${data.streams.length} of ${count(data.total)}` : "");
}

// -- pieces

function set(id, text, kind) {
  const found = $(id);
  if (found.textContent !== text) found.textContent = text;
  if (kind !== undefined) found.className = `big ${kind}`;
}

function meter(id, share, low, high, optimum) {
  Object.assign($(id), { low, high, optimum, value: Math.min(1, isNumber(share) ? share : 0) });
}

function element(tag, text, kind) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function cell(text, kind = "", title = "") {
  const shown = text === undefined || text === null || text === "" ? DASH : String(text);
  const made = element("td", shown, shown === DASH ? `${kind} none` : kind);
  if (title) made.title = title;
  return made;
}

function pill(text, kind) {
  if (!text) return cell("");
  const made = element("td", "");
  const known = /^[a-z]+$/.test(kind) ? kind : "";
  made.append(element("span", text, `pill ${known}`));
  return made;
}

function fill(id, rows) {
  const labels = [...$(id).tHead.rows[0].cells].map((head) => head.textContent);
  $(id).hidden = rows.length === 0;
  $(id).tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    cells.forEach((each, i) => (each.dataset.label = labels[i]));
    row.append(...cells);
    return row;
  }));
}

const some = (n, words) => (n > 0 ? `${count(n)} ${words}` : "");
const list = (...parts) => parts.filter(Boolean).join(" · ");

// -- turns

let asking = false;

async function turn() {
  if (asking) return;
  asking = true;
  await round();
  asking = false;
}

async function again() {
  if (!document.hidden) await turn();
  setTimeout(again, EVERY);
}

$("choice").addEventListener("submit", (submitted) => submitted.preventDefault());
$("choice").addEventListener("input", turn);
window.addEventListener("resize", () => draw($("chart"), seen.points, seen.budget));
again();
