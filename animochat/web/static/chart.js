/**
 * One chart of the operator's page: lines over the last hour, for the eye and for screen readers. The drawing (by uPlot)
 * is a slider through the moments of that hour, the same numbers are in a table, and no line depends on its colour alone.
 */
import uPlot from "./vendor/uPlot.esm.js";

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {(number|null)[]} values  one for each time; null where nothing was measured
 */

/** How many lines a chart draws: as many as can be told apart. The table has all. */
const DRAWN = 8;

/** Dashes and gaps, in pixels, of the first line, the second, and so on. The colours are in charts.css. */
const DASHES = [[], [8, 4], [2, 3], [12, 3, 2, 3], [5, 2], [14, 5], [8, 2, 2, 2, 2, 2], [3, 7]];

/** Pixels. */
const HEIGHT = 200;

/** Between two labels of the hour, in milliseconds. */
const MINUTES = [1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60_000);

/** By how many moments a key goes. */
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -6, PageUp: 6 };

const SVG = "http://www.w3.org/2000/svg";

let charts = 0;

const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format;
const minute = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" }).format;

export class Chart {
  /**
   * @param {string} title
   * @param {{format: (value: number) => string, least: number}} kind  how a value is written with its unit; up to which
   *   one the chart goes at least
   * @param {(time: number|null) => void} choose  called when someone selects another moment here; null: the latest
   */
  constructor(title, { format, least }, choose) {
    this.title = title;
    this.format = format;
    this.least = least;
    this.choose = choose;
    this.times = [];
    this.lines = [];
    this.build();
    new ResizeObserver(() => this.fit()).observe(this.plot);
  }

  build() {
    const id = `chart-${++charts}`;
    this.element = make("article", "card chart");
    const heading = make("h3", "", this.title);
    heading.id = id;
    this.element.setAttribute("aria-labelledby", id);
    this.moment = make("p", "facts");
    this.legend = make("ul", "legend");
    this.plot = make("div", "plot");
    this.plot.tabIndex = 0;
    this.plot.role = "slider";
    this.plot.ariaLabel = `${this.title}: moment`;
    this.summary = make("p", "facts");
    this.summary.id = `${id}-summary`;
    this.plot.setAttribute("aria-describedby", this.summary.id);
    this.plot.addEventListener("keydown", (event) => this.press(event));
    // The selected moment stays while the hour goes on.
    this.plot.addEventListener("focus", () => this.choose(this.chosen ?? this.times.at(-1) ?? null));
    this.plot.addEventListener("blur", () => this.choose(null));
    for (const type of ["pointerdown", "pointermove"]) this.plot.addEventListener(type, (event) => this.point(event));
    this.plot.addEventListener("pointerleave", (event) => {
      // A finger leaves when it is lifted: what it chose stays.
      if (event.pointerType === "mouse" && document.activeElement !== this.plot) this.choose(null);
    });

    this.details = document.createElement("details");
    this.details.append(make("summary", "", `Table: ${this.title}`));
    this.details.addEventListener("toggle", () => this.fill());
    this.table = document.createElement("table");
    this.table.setAttribute("aria-labelledby", id);
    const scroller = make("div", "scroller");
    scroller.tabIndex = 0;
    scroller.role = "region";
    scroller.ariaLabel = `Table: ${this.title}`;
    scroller.append(this.table);
    this.details.append(scroller);

    const head = make("div", "head");
    head.append(heading, this.moment);
    this.element.append(head, this.legend, this.plot, this.summary, this.details);
  }

  /**
   * @param {number[]} times  Unix milliseconds, in steps of one length
   * @param {Line[]} lines  those that matter most at the beginning
   */
  update(times, lines) {
    const same = lines.map((line) => line.name).join("\n") === this.lines.map((line) => line.name).join("\n");
    this.times = times;
    this.lines = lines;
    if (!same || !this.uplot) this.draw();
    this.uplot.batch((it) => it.setData(this.data())); // at once: the next call needs the new scale
    this.summary.textContent = this.summarize();
    this.fill();
  }

  /** Show what was at `time`, or the latest where it is null. */
  show(time) {
    this.chosen = time;
    const last = this.times.length - 1;
    const index = time === null ? last : this.times.indexOf(time);
    this.moment.textContent = last < 0 ? "" : clock(this.times[index]);
    this.legend.querySelectorAll("b").forEach((value, line) => {
      value.textContent = this.value(line, index);
    });
    this.plot.ariaValueMin = "0";
    this.plot.ariaValueMax = String(Math.max(0, last));
    this.plot.ariaValueNow = String(Math.max(0, index));
    this.plot.ariaValueText = last < 0 ? "nothing yet" : this.spoken(index);
    if (!this.uplot) return;
    const left = time === null ? -10 : this.uplot.valToPos(time, "x"); // below 0 there is no cursor
    this.uplot.setCursor({ left, top: 0 }, false);
  }

  /** The drawing follows the page's colours. */
  recolour() {
    this.uplot?.redraw(false);
  }

  // The drawing

  data() {
    return [this.times, ...this.drawn().map((line) => line.values)];
  }

  drawn() {
    return this.lines.slice(0, DRAWN);
  }

  draw() {
    this.uplot?.destroy();
    this.legend.replaceChildren(...this.drawn().map((line, number) => key(line.name, number)));
    const swatches = [...this.legend.querySelectorAll("svg")];
    const ink = () => getComputedStyle(this.plot).color;
    const faint = () => getComputedStyle(this.plot).borderTopColor;
    const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    this.uplot = new uPlot(
      {
        width: this.plot.clientWidth || 300,
        height: HEIGHT,
        ms: 1,
        legend: { show: false },
        cursor: { y: false, points: { show: false } },
        select: { show: false },
        scales: { y: { range: (_, __, most) => [0, uPlot.rangeNum(0, Math.max(most ?? 0, this.least), 0.1, true)[1]] } },
        axes: [
          { ...axis, size: 28, space: 70, incrs: MINUTES, values: (_, splits) => splits.map((time) => minute(time)) },
          { ...axis, size: 64, values: (_, splits) => splits.map((value) => this.format(value)) },
        ],
        series: [
          {},
          ...swatches.map((swatch, number) => ({
            stroke: () => getComputedStyle(swatch).color,
            width: 2,
            dash: DASHES[number],
            points: { size: 5, filter: lonely, fill: () => getComputedStyle(swatch).color },
          })),
        ],
      },
      [[]],
      this.plot,
    );
  }

  fit() {
    if (!this.uplot) return;
    this.uplot.batch((it) => it.setSize({ width: this.plot.clientWidth, height: HEIGHT }));
    this.show(this.chosen ?? null);
  }

  // The spoken text

  value(line, index) {
    const value = this.lines[line].values[index];
    return value === null || value === undefined ? "–" : this.format(value);
  }

  spoken(index) {
    const values = this.drawn().map((line, number) => `${line.name} ${this.value(number, index).replace("–", "none")}`);
    return `${clock(this.times[index])}: ${values.join(", ")}`;
  }

  summarize() {
    if (this.times.length === 0) return "No data yet.";
    const since = `Since ${minute(this.times[0])}:`;
    if (this.lines.length <= 2) {
      return `${since} ${this.lines.map(({ name, values }) => `${name} ${this.range(values)}`).join(", ")}.`;
    }
    const more = this.lines.length > DRAWN ? ` Showing ${DRAWN} of ${this.lines.length}; the table has all.` : "";
    return `${since} ${this.range(this.lines.flatMap(({ values }) => values))}.${more}`;
  }

  range(values) {
    const measured = values.filter((value) => value !== null);
    if (measured.length === 0) return "none";
    const [least, most] = [Math.min, Math.max].map((of) => this.format(measured.reduce((one, other) => of(one, other))));
    return least === most ? least : `${least} to ${most}`;
  }

  // The table, the latest first

  fill() {
    if (!this.details.open) return;
    const names = this.lines.map((line) => line.name);
    if (this.table.dataset.names !== names.join("\n")) {
      this.table.dataset.names = names.join("\n");
      const head = this.table.createTHead();
      head.replaceChildren(row("col", ["Time", ...names]));
      this.body?.remove();
      this.body = this.table.createTBody();
      this.rows = new Map();
    }
    // Existing rows stay the same elements, so that a reader keeps their place.
    for (const [time, old] of this.rows) {
      if (time >= this.times[0]) break;
      old.remove();
      this.rows.delete(time);
    }
    this.times.forEach((time, index) => {
      if (this.rows.has(time)) return;
      const added = row("row", [clock(time), ...names.map((_, line) => this.value(line, index))]);
      this.rows.set(time, added);
      this.body.prepend(added);
    });
  }

  // Keys and pointers

  press(event) {
    const at = this.times.indexOf(this.chosen ?? this.times.at(-1));
    const last = this.times.length - 1;
    const to = { Home: 0, End: last }[event.key] ?? at + (STEPS[event.key] ?? Number.NaN);
    if (Number.isNaN(to) || last < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.choose(this.times[Math.min(Math.max(to, 0), last)]);
  }

  point(event) {
    if (this.times.length === 0) return;
    this.choose(this.times[this.uplot.posToIdx(event.clientX - this.uplot.over.getBoundingClientRect().left)]);
  }
}

/** Measurements with nothing on either side: no line goes through them, so they are drawn as points. */
function lonely(it, number) {
  const values = it.data[number];
  const nothing = (value) => value === null || value === undefined;
  return [...values.keys()].filter((at) => !nothing(values[at]) && nothing(values[at - 1]) && nothing(values[at + 1]));
}

/** A line's name, its look, and room for its value. */
function key(name, number) {
  const item = make("li", `line-${number + 1}`);
  const swatch = document.createElementNS(SVG, "svg");
  swatch.setAttribute("viewBox", "0 0 24 8");
  swatch.ariaHidden = "true";
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", "M0 4h24");
  line.setAttribute("stroke-dasharray", DASHES[number].join(" "));
  swatch.append(line);
  item.append(swatch, make("span", "", name), " ", make("b", ""));
  return item;
}

function row(scope, texts) {
  const element = document.createElement("tr");
  texts.forEach((text, number) => {
    const cell = document.createElement(scope === "col" || number === 0 ? "th" : "td");
    if (cell.tagName === "TH") cell.scope = scope;
    cell.textContent = text;
    element.append(cell);
  });
  return element;
}

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}
