/**
 * The operator's charts: the last hour as the store has it (docs/operations.md), kept up to date while someone looks.
 */
import { Chart } from "./chart.js";

/** Milliseconds between two questions for what is new. */
const PAUSE = 5000;

/** Milliseconds for an answer. */
const PATIENCE = 10_000;

/** Milliseconds that are shown. */
const SHOWN = 3_600_000;

const count = (value) => value.toLocaleString();
const rounded = (value) => value.toLocaleString([], { maximumSignificantDigits: 3 });
const duration = (ms) => (ms < 1000 ? `${rounded(ms)} ms` : `${rounded(ms / 1000)} s`);

/** How a value is written, and how much a chart shows at least, whatever was measured. */
const NUMBER = { format: count, least: 5 };
const TIME = { format: duration, least: 1 };

/** The charts, each with its lines by what the readings call them. */
const CHARTS = [
  { title: "People", kind: NUMBER, lines: { onlineUsers: "online", waitingUsers: "waiting" } },
  { title: "Matches per minute", kind: NUMBER, lines: { matchesPerMinute: "matches" } },
  { title: "Messages per minute", kind: NUMBER, lines: { messagesPerMinute: "messages" } },
  { title: "Wait for a partner", kind: TIME, lines: { waitMedianMs: "median", waitP99Ms: "99th percentile" } },
  { title: "Message delivery", kind: TIME, lines: { deliveryMedianMs: "median", deliveryP99Ms: "99th percentile" } },
];

const status = document.querySelector("#status");
const place = document.querySelector("#charts");
const choice = document.querySelector("#workers");
const pause = document.querySelector("#pause");

/** By time. */
const intervals = new Map();
/** By id: what each worker is called here. */
const names = new Map();
/** Those on the page, by title. */
const charts = new Map();

let step = 0;
let last = 0;
let since = 0;
let moment = null;
let timer = 0;
let asking = false;

// Updates

async function ask() {
  for (let more = true; more; ) {
    const answer = await fetch(`/admin/api/readings?since=${since}`, { signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 401) {
      location.reload(); // the session is over: the page as it is now asks for the token
      return;
    }
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error.message);
    take(told);
    since = told.until;
    more = told.more;
  }
}

function take(told) {
  step = told.intervalMs;
  for (const [id, host] of Object.entries(told.workers)) names.set(id, `${host} ${id}`);
  for (const interval of told.intervals) {
    intervals.set(interval.time, interval);
    last = interval.time;
  }
  for (const time of intervals.keys()) if (time <= last - SHOWN) intervals.delete(time);
  const seen = new Set([...intervals.values()].flatMap((interval) => Object.keys(interval.workers)));
  for (const id of names.keys()) if (!seen.has(id)) names.delete(id);
}

async function renew() {
  clearTimeout(timer);
  if (asking || document.hidden || pause.ariaPressed === "true") return;
  asking = true;
  status.textContent = await ask().then(() => "", problem);
  asking = false;
  timer = setTimeout(renew, PAUSE);
  offer();
  render();
}

/** The text for a missing answer, one that is not JSON, or an error. */
function problem(error) {
  const answered = !(error instanceof TypeError || error instanceof SyntaxError || error.name === "TimeoutError");
  return `Not up to date: ${answered ? error.message : "the server can’t be reached"}. Trying again.`;
}

// The view

/** The workers, those that are here now before those that are gone. */
function workers() {
  const here = intervals.get(last)?.workers ?? {};
  const order = (id) => `${id in here ? 0 : 1} ${names.get(id)}`;
  return [...names.keys()].sort((one, other) => order(one).localeCompare(order(other)));
}

/** The choices: all workers together, each by itself, or one alone. */
function offer() {
  const group = choice.querySelector("optgroup");
  const ids = workers();
  if ([...group.children].map((option) => option.value).join() === ids.join()) return;
  const chosen = choice.value;
  group.replaceChildren(...ids.map((id) => new Option(names.get(id), id)));
  choice.value = chosen;
  if (choice.selectedIndex < 0) choice.value = "all"; // it is gone for an hour
}

/** Title, kind and lines of every chart: by what is measured, or where each worker is shown, by worker. */
function wanted(times) {
  const of = (measured) =>
    times.map((time) => {
      const interval = intervals.get(time);
      return (interval && measured(interval)) ?? null;
    });
  if (choice.value === "each") {
    return CHARTS.flatMap(({ title, kind, lines }) =>
      Object.entries(lines).map(([field, name]) => ({
        title: Object.keys(lines).length > 1 ? `${title}: ${name}` : title,
        kind,
        lines: workers().map((id) => ({ name: names.get(id), values: of((it) => it.workers[id]?.[field]) })),
      })),
    );
  }
  const whose = choice.value === "all" ? (it) => it.all : (it) => it.workers[choice.value];
  return CHARTS.map(({ title, kind, lines }) => ({
    title,
    kind,
    lines: Object.entries(lines).map(([field, name]) => ({ name, values: of((it) => whose(it)?.[field]) })),
  }));
}

function render() {
  // Every interval, also those without measurements: a gap in time is a gap in the chart.
  const times = [];
  if (last) for (let time = Math.min(...intervals.keys()); time <= last; time += step) times.push(time);
  const shown = wanted(times);
  const titles = shown.map(({ title }) => title);
  if (titles.join() !== [...charts.keys()].join()) {
    charts.clear();
    for (const { title, kind } of shown) charts.set(title, new Chart(title, kind, look));
    place.replaceChildren(...[...charts.values()].map((chart) => chart.element));
  }
  for (const { title, lines } of shown) charts.get(title).update(times, lines);
  look(moment !== null && times.includes(moment) ? moment : null);
}

/** All charts show the same moment; null: the latest. */
function look(time) {
  moment = time;
  for (const chart of charts.values()) chart.show(time);
}

choice.addEventListener("change", render);
pause.addEventListener("click", () => {
  pause.ariaPressed = String(pause.ariaPressed !== "true");
  renew();
});
document.addEventListener("visibilitychange", renew);
for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
  matchMedia(query).addEventListener("change", () => {
    for (const chart of charts.values()) chart.recolour();
  });
}
renew();
