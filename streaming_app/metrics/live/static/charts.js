// Stacked areas over time with uPlot. The legend below each chart has the same figures as text.

import { brief, el, rate, show, visible } from "./dom.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// From the bottom up; a line is the sum of itself and all below it.
const stacked = (series) => {
  const sums = [];
  series.forEach(({ values }, at) => sums.push(values.map((value, step) => value + (at ? sums[at - 1][step] : 0))));
  return sums;
};

const axis = (more) => ({
  stroke: () => colour("--quiet"),
  grid: { stroke: () => colour("--grid"), width: 1 },
  ticks: { show: false },
  font: "12px system-ui, sans-serif",
  ...more,
});

const options = (series, width, height) => ({
  width,
  height,
  legend: { show: false },
  cursor: { drag: { setScale: false, x: false, y: false }, points: { show: false } },
  padding: [8, 24, 0, 0],
  axes: [
    axis({ values: (_, at) => at.map((moment) => new Date(1000 * moment).toLocaleTimeString("en-GB").slice(0, 5)), space: 70, size: 28 }),
    axis({ size: 46, values: (_, at) => at.map((value) => (value < 10 ? String(Number(value.toFixed(2))) : brief(value))), space: 40 }),
  ],
  scales: { x: { time: true }, y: { range: (_, __, most) => [0, Math.max(most * 1.08, 1)] } },
  // The highest first, so that each lower one is painted over it.
  series: [{}, ...series.map(({ color }) => ({ fill: () => colour(color), stroke: () => colour(color), width: 0, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) })).reverse()],
});

export class Chart {
  constructor(place, legend, what) {
    Object.assign(this, { place, legend, what, key: "", made: null, hovered: null, last: null });
    new ResizeObserver(() => this.fit()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.made?.redraw(false));
  }

  fit() {
    if (this.made && this.place.clientWidth) this.made.setSize({ width: this.place.clientWidth, height: this.place.clientHeight });
  }

  // series: [{name, color, values}] from the bottom up
  draw(begin, step, series) {
    this.last = { begin, step, series };
    if (!series.length) return this.nothing();
    const moments = series[0].values.map((_, at) => begin + at * step);
    const data = [moments, ...stacked(series).reverse()];
    const key = series.map(({ name, color }) => `${color} ${name}`).join("\n");
    if (key !== this.key || !this.made) {
      this.made?.destroy();
      this.place.replaceChildren();
      const made = options(series, this.place.clientWidth || 600, this.place.clientHeight || 200);
      made.hooks = { setCursor: [(plot) => this.hover(plot.cursor.idx)] };
      this.made = new uPlot(made, data, this.place);
      this.key = key;
    } else this.made.setData(data);
    this.describe();
  }

  nothing() {
    this.made?.destroy();
    Object.assign(this, { made: null, key: "" });
    show(this.place, el("p", { class: "empty" }, "Nothing in this time."));
    this.place.setAttribute("aria-label", `${this.what}: nothing in this time`);
    show(this.legend);
  }

  hover(at) {
    this.hovered = at;
    if (this.last?.series.length) this.describe();
  }

  describe() {
    const { begin, step, series } = this.last;
    const at = this.hovered != null && this.hovered < series[0].values.length ? this.hovered : null;
    const figure = (values) => (at == null ? values.reduce((sum, value) => sum + value, 0) / values.length : values[at]);
    const when = at == null ? "average" : new Date(1000 * (begin + at * step)).toLocaleTimeString("en-GB");
    const items = [...series].reverse().map(({ name, swatch, values }) =>
      el("li", {}, el("i", { class: swatch }), el("span", { dir: "auto", title: name }, name), el("b", {}, rate(figure(values)))));
    show(this.legend, ...items, el("li", { class: "quiet" }, when));
    const said = series.map(({ name, values }) => `${visible(name)} ${rate(values.reduce((a, b) => a + b, 0) / values.length)}`);
    this.place.setAttribute("aria-label", `${this.what}, average: ${said.join(", ")}`);
  }
}
