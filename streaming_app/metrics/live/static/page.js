// Asks for the state again and again and hands it to the panels. Changes nothing on the server.

import { Chart } from "./charts.js";
import { seconds } from "./dom.js";
import * as panels from "./panels.js";

const EVERY = 2000; // milliseconds
const SOON = 300; // dead letters are being read right now
const PATIENCE = 8000;
const $ = (id) => document.getElementById(id);
const rows = new Chart($("rows-chart"), $("rows-legend"), "Rows a second");
const reasons = new Chart($("reasons-chart"), $("reasons-legend"), "Rejected rows a second by reason");
let span = 3600;
let heard = null; // when the last answer came
let timer = null;

const draw = (state) => {
  panels.health(state);
  panels.glance(state);
  panels.sources(state);
  panels.charts(state, rows, reasons);
  panels.deadLetters(state);
  panels.batches(state);
  panels.rules(state);
  panels.foot(state);
  document.documentElement.dataset.drawn = String((Number(document.documentElement.dataset.drawn) || 0) + 1);
};

const lost = (why) => {
  const since = heard ? `The figures are ${seconds((Date.now() - heard) / 1000)} old. ` : "";
  $("lost").textContent = `No answer from the service (${why}). ${since}Trying again.`;
  $("lost").hidden = false;
  $("health").className = "pill bad";
  $("health").textContent = "no answer";
  $("icon").setAttribute("href", "/live/bad.svg");
  document.title = "▲ no answer – qsr-ingest";
};

const ask = async () => {
  clearTimeout(timer);
  const asked = span;
  let soon = false;
  try {
    const answer = await fetch(`/api/live?span=${asked}`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const state = await answer.json();
    if (asked === span) {
      heard = Date.now();
      soon = state.reading;
      $("lost").hidden = true;
      draw(state);
    }
  } catch (error) {
    lost(error.name === "TimeoutError" ? "it takes too long" : error.message);
  }
  clearTimeout(timer);
  timer = setTimeout(ask, document.hidden ? 5 * EVERY : soon ? SOON : EVERY);
};

const age = () => {
  if (heard) $("fresh").textContent = Date.now() - heard < 3 * EVERY ? "live" : `as of ${seconds((Date.now() - heard) / 1000)} ago`;
};

for (const button of document.querySelectorAll("[data-span]"))
  button.addEventListener("click", () => {
    span = Number(button.dataset.span);
    for (const each of document.querySelectorAll("[data-span]")) each.setAttribute("aria-pressed", String(each === button));
    ask();
  });

document.addEventListener("visibilitychange", () => document.hidden || ask());
setInterval(age, 1000);
ask();
