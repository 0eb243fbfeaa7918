// What each part of the page shows of the state.

import { brief, bytes, clock, count, el, outside, percent, rate, seconds, show } from "./dom.js";

const $ = (id) => document.getElementById(id);
const GOOD = new Set(["running", "done"]);
const LATELY = 60; // seconds before the last batch: the slowest of these tells how long rows take
const LATE = 60; // seconds behind from which a shard is marked
const PHASES = ["latestOffset", "queryPlanning", "walCommit", "addBatch", "commitOffsets", "getBatch"];
const PHASE_WORDS = {
  latestOffset: "look for rows", queryPlanning: "plan", walCommit: "note the start", addBatch: "read, check, write",
  commitOffsets: "note the end", getBatch: "hand over", other: "other",
};

const fact = (name, value, bad = false, more = "") =>
  [el("div", { class: more ? "two" : null }, el("dt", {}, name), el("dd", { class: bad ? "bad" : null }, value, more ? el("small", {}, ` (${more})`) : null))];
const sum = (values) => values.reduce((total, value) => total + value, 0);
const width = (element, share) => ((element.style.width = `${100 * share}%`), element);
const isGood = (source) => GOOD.has(source.state);

export const hourOf = (state, outcome) =>
  sum(Object.entries(state.last_hour).filter(([name]) => name.endsWith(`/${outcome}`)).map(([, value]) => value));

// Where a source stands is known while it goes on and has looked since its start. Of any other there is only what was.
const known = (source) => isGood(source) && source.looked;
const isStream = (source) => source.lag != null;
const hasFiles = (source) => source.backlog[0] != null;
const files = (number) => `${number ? count(number) : "no"} ${number === 1 ? "file" : "files"}`;
const most = (values) => (values.length ? Math.max(...values) : null);

// What waits, in a few words for the top of the page.
const waits = (sources) => {
  const sure = sources.filter(known);
  const lag = most(sure.filter(isStream).map((source) => source.lag));
  const waiting = sum(sure.map((source) => source.backlog[0] ?? 0));
  const unsure = sources.filter((source) => isGood(source) && !known(source)).map((source) => source.name);
  const found = [
    lag ? `${seconds(lag)} behind` : null,
    waiting ? `${files(waiting)} ${waiting === 1 ? "waits" : "wait"}` : null,
    unsure.length ? `${unsure.join(" and ")} ${unsure.length > 1 ? "have" : "has"} not looked for rows yet` : null,
  ].filter(Boolean);
  return found.length || !sure.some((source) => isStream(source) || hasFiles(source)) ? found : ["nothing waits"];
};

export const health = (state) => {
  const bad = state.sources.filter((source) => !isGood(source));
  const good = state.service.ready;
  const pill = $("health");
  const words = good ? (state.sources.every(({ state }) => state === "done") ? "all read" : "running") : "not ready";
  pill.className = `pill ${good ? "good" : "bad"}`;
  if (pill.textContent !== words) pill.textContent = words;
  const facts = good
    ? [`${rate(sum(state.sources.map((source) => source.rate)))} rows a second`, ...waits(state.sources)]
    : bad.length ? bad.map((source) => `${source.name} ${source.state}`) : ["the service starts"];
  $("sentence").textContent = facts.join(", ");
  $("icon").setAttribute("href", good ? "/live/good.svg" : "/live/bad.svg");
  document.title = `${good ? "" : "▲ "}${facts[0]} – qsr-ingest`;
};

export const glance = (state) => {
  const [clean, dead, twice] = ["clean", "dead", "duplicates"].map((outcome) => hourOf(state, outcome));
  const whole = clean + dead + twice;
  const ever = sum(state.sources.map((source) => source.rows.read));
  const last = state.batches[0]?.ended - LATELY;
  const oldest = most(state.batches.filter((batch) => batch.oldest != null && batch.ended >= last).map((batch) => batch.oldest));
  const tile = (name, value, unit = "", bad = false) =>
    el("div", {}, el("dt", {}, name), el("dd", { class: `${/^[a-z]/.test(value) ? "word" : ""}${bad ? " bad" : ""}` }, value, unit ? el("small", {}, ` ${unit}`) : null));
  const split = (text) => text.split(" ");
  show($("glance"),
    tile("now", rate(sum(state.sources.map((source) => source.rate))), "rows/s"),
    standing(state.sources.filter(isStream), "behind the stream's tip", tile, (found) => {
      const lag = most(found.map((source) => source.lag));
      return [...split(seconds(lag)), lag > LATE];
    }),
    standing(state.sources.filter(hasFiles), "waiting files", tile, (found) => {
      const [number, size] = [0, 1].map((at) => sum(found.map((source) => source.backlog[at])));
      return [brief(number), number ? bytes(size) : "files", found.some((source) => isOld(source.backlog, state.now))];
    }),
    tile("from arrival to queryable", ...split(seconds(oldest))),
    tile("in the last hour", brief(whole), "rows"),
    tile("rejected in the last hour", brief(dead), whole ? percent(dead, whole) : ""),
    tile("since ever", brief(ever), "rows"),
    audit(state, tile));
};

// A figure of sources that is known only while they go on; nothing where there are no such sources.
const standing = (sources, name, tile, figure) => {
  if (!sources.length) return null;
  return sources.every(known) ? tile(name, ...figure(sources)) : tile(name, "unknown", "", !sources.every(isGood));
};

// Whether anything is lost, as the last `batch_app audit` found it.
const audit = (state, tile) => {
  if (!state.audit) return tile("audited", "never");
  const { ended, differences } = state.audit;
  const ago = el("span", { class: "one" }, `${seconds(Math.max(0, state.now - ended))} ago`);
  return differences ? tile(["differences, audited ", ago], count(differences), "", true) : tile(["nothing lost or doubled, audited ", ago], "complete");
};

const shardList = (source) => {
  if (!source.shards.length || !known(source)) return null;
  const items = source.shards.slice(0, 12).map(({ shard, lag }) =>
    el("li", { class: lag > LATE ? "bad" : lag > 5 ? "late" : null, title: `${shard}: ${seconds(lag)} behind` },
      `${shard.replace(/^shardId-0*(?=\d)/, "shard ")} · ${lag ? seconds(lag) : "at its tip"}`));
  const rest = source.shards.length - items.length;
  return el("ul", { class: "shards", "aria-label": "Shards, furthest behind first" }, items, rest > 0 ? el("li", {}, `and ${rest} more`) : null);
};

const isOld = ([number, , oldest], now) => number > 0 && now - oldest > 3600;

const backlog = ([number, size, oldest], now) =>
  fact("waiting files", number ? count(number) : "none", isOld([number, size, oldest], now),
    number ? `${bytes(size)}, ${seconds(Math.max(0, now - oldest))} old` : "");

const records = ({ lag, lag_records: behind }) => (lag && behind ? `about ${brief(behind)} records` : "");

// Where a source stands, or that nobody knows.
const stand = (source, now) => {
  if (!known(source)) {
    const names = [isStream(source) ? "behind" : null, hasFiles(source) ? "waiting files" : null].filter(Boolean);
    return names.flatMap((name) => fact(name, "unknown", !isGood(source)));
  }
  return [
    ...(isStream(source) ? fact("behind", source.lag ? seconds(source.lag) : "at the tip", source.lag > LATE, records(source)) : []),
    ...(hasFiles(source) ? backlog(source.backlog, now) : []),
  ];
};

// What was, for one that nothing is known of.
const stood = (source, now) => {
  const left = [
    isStream(source) ? `it ${source.lag ? `${seconds(source.lag)} behind` : "at the tip"}` : null,
    hasFiles(source) ? `${files(source.backlog[0])} waiting` : null,
  ].filter(Boolean);
  if (known(source) || !source.last_success || !left.length) return null;
  return el("p", { class: "note quiet" }, `Its last batch, ${seconds(now - source.last_success)} ago, left ${left.join(" and ")}.`);
};

const sourceCard = (source, now) => {
  const { rows } = source;
  const good = isGood(source);
  const failures = Object.entries(source.failures).map(([kind, number]) => `${kind} ${count(number)}×`).join(", ");
  const part = (name, at) => width(el("span", { class: name, title: `${count(at)}` }), rows.read ? at / rows.read : 0);
  return el("article", { class: `card source${good ? "" : " bad"}`, "aria-label": source.name },
    el("div", { class: "head" }, outside("h3", source.name), el("p", { class: `pill small ${good ? "good" : "bad"}` }, source.state)),
    el("dl", { class: "facts" },
      fact("rows a second", rate(source.rate)),
      stand(source, now),
      fact("last batch", source.last_success ? `${seconds(now - source.last_success)} ago` : "none yet"),
      fact("since ever", brief(rows.read)),
      fact("rejected", rows.read ? percent(rows.dead, rows.read) : "–"),
      known(source) && source.shards_draining ? fact("shards that drain", count(source.shards_draining)) : [],
      rows.duplicates ? fact("repeats left out", brief(rows.duplicates)) : [],
      source.throttles ? fact("throttled calls", brief(source.throttles)) : []),
    rows.read ? el("div", { class: "split", role: "img", "aria-label": `${count(rows.clean)} clean, ${count(rows.dead)} rejected, ${count(rows.duplicates)} repeats` },
      part("s1", rows.clean), part("s2", rows.dead), part("s3", rows.duplicates)) : null,
    shardList(source),
    stood(source, now),
    good || !source.last_heard ? null : el("p", { class: "note bad" }, `Spark last told of this query ${seconds(now - source.last_heard)} ago.`),
    source.unpublished ? el("p", { class: "note bad" }, `${count(source.unpublished)} committed batches are not visible yet.`) : null,
    failures ? el("p", { class: "note quiet" }, `since the start: ${failures}; ${count(source.restarts)} ${source.restarts === 1 ? "restart" : "restarts"}`) : null);
};

export const sources = (state) =>
  show($("sources"), state.sources.length ? state.sources.map((source) => sourceCard(source, state.now)) : el("p", { class: "empty" }, "The service starts."));

const CLEAN = { kinesis: ["--c0", "s0"], csv: ["--c1", "s1"] };

// Clean rows by source, what was not clean of all sources together.
const areas = (found) => {
  const made = Object.entries(found).filter(([name]) => name.endsWith("/clean")).reverse().map(([name, values]) => {
    const [source] = name.split("/");
    const [color, swatch] = CLEAN[source] ?? ["--c1", "s1"];
    return { name: `${source} clean`, color, swatch, values };
  });
  for (const [outcome, name, at] of [["dead", "rejected", 2], ["duplicates", "repeats", 3]]) {
    const parts = Object.entries(found).filter(([each]) => each.endsWith(`/${outcome}`)).map(([, values]) => values);
    if (parts.length) made.push({ name, color: `--c${at}`, swatch: `s${at}`, values: parts[0].map((_, step) => sum(parts.map((part) => part[step]))) });
  }
  return made;
};

// A reason keeps its colour while it is among the first, whatever its rank; 7 is everything else.
const given = new Map();

const colours = (names) => {
  for (const name of given.keys()) if (!names.includes(name)) given.delete(name);
  for (const name of names) {
    const free = [0, 1, 2, 3, 4, 5, 6].find((slot) => ![...given.values()].includes(slot));
    if (!given.has(name)) given.set(name, name ? free : 7);
  }
  return given;
};

export const charts = (state, rows, reasons) => {
  const { begin, step } = state.history;
  rows.draw(begin, step, areas(state.history.rows));
  const slots = colours(state.history.reasons.map(([name]) => name));
  reasons.draw(begin, step, state.history.reasons.map(([name, values]) =>
    ({ name: name || "all others", color: `--r${slots.get(name)}`, swatch: `r${slots.get(name)}`, values })).reverse());
};

// A letter that is there already keeps its element, so that one that was opened stays open.
const letters = new Map();

const letter = (row, words) => {
  const ago = el("span", { class: "quiet ago" });
  const raw = row.encoding === "base64" ? `base64: ${row.raw}` : row.raw;
  const more = row.length > row.raw.length ? ` … (${count(row.length)} characters)` : "";
  const made = el("details", {},
    el("summary", {},
      ago, el("span", { class: "stage" }, row.stage),
      el("span", { class: "chips" }, row.reasons.map((reason) => outside("bdi", reason, { class: "chip", title: reason }))),
      outside("code", (raw || "(empty)") + more)),
    el("div", { class: "more" },
      row.reasons.map((reason) => (words.get(reason) ? el("p", {}, outside("bdi", `${reason}: ${words.get(reason)}`)) : null)),
      el("p", { class: "quiet" }, outside("bdi", `${row.source} at ${row.position}`), row.arrived ? `, arrived ${new Date(1000 * row.arrived).toISOString()}` : ""),
      el("p", { class: "mono" }, `python -m batch_app dead-letters show ${row.id} --config …`)));
  return { made, ago };
};

export const deadLetters = (state) => {
  const words = new Map(state.rules.map((rule) => [rule.id, rule.words]));
  const wanted = state.dead_letters.map((row) => {
    const key = `${row.id} ${row.ingested}`;
    if (!letters.has(key)) letters.set(key, letter(row, words));
    letters.get(key).ago.textContent = `${seconds(Math.max(0, state.now - row.ingested))} ago`;
    return [key, letters.get(key).made];
  });
  const kept = new Set(wanted.map(([key]) => key));
  for (const key of letters.keys()) if (!kept.has(key)) letters.delete(key);
  const place = $("dead");
  const next = wanted.map(([, made]) => made);
  if (!next.length) return show(place, el("p", { class: "empty" }, "None. Every row that was looked at lately passed."));
  if (next.length !== place.children.length || next.some((made, at) => place.children[at] !== made)) replace(place, next);
};

// Takes out what is gone and puts in what is new, without touching what has the focus.
const replace = (place, next) => {
  for (const child of [...place.children]) if (!next.includes(child)) child.remove();
  next.forEach((made, at) => place.children[at] !== made && place.insertBefore(made, place.children[at] ?? null));
};

const header = (...names) =>
  el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col", class: name.startsWith("#") ? "n" : null }, name.replace("#", "")))));

const phasesOf = (batch) => {
  const whole = batch.ms || sum(Object.values(batch.phases)) || 1;
  const known = PHASES.map((name) => [name, batch.phases[name] ?? 0]);
  const other = Math.max(0, whole - sum(known.map(([, ms]) => ms)));
  return [...known, ["other", other]].filter(([, ms]) => ms > 0).map(([name, ms]) => ({ name, ms, share: ms / whole }));
};

const phaseClass = (name) => `p${name === "other" ? 6 : PHASES.indexOf(name)}`;

const phaseBar = (batch, longest) => {
  if (batch.ms == null) return el("span", { class: "quiet" }, "before this start");
  const found = phasesOf(batch);
  const said = found.map(({ name, ms }) => `${PHASE_WORDS[name]} ${seconds(ms / 1000)}`).join(", ");
  const bar = el("div", { class: "bar", role: "img", title: said, "aria-label": said });
  bar.append(...found.map(({ name, share }) => width(el("span", { class: phaseClass(name) }), share * Math.min(1, batch.ms / longest))));
  return bar;
};

export const batches = (state) => {
  // Full width is what the third-longest took: a slow first batch, while Spark warms up, must not flatten all others.
  const longest = state.batches.map((batch) => batch.ms ?? 0).sort((one, other) => other - one).slice(0, 3).pop() || 1;
  const rows = state.batches.map((batch) =>
    el("tr", { class: batch.ms == null ? "off" : null },
      el("td", {}, clock(batch.ended)), el("td", {}, batch.source), el("td", { class: "n" }, count(batch.batch)),
      el("td", { class: "n" }, count(batch.read)), el("td", { class: `n${batch.dead ? " bad" : ""}` }, count(batch.dead)),
      el("td", { class: "n" }, seconds(batch.oldest)), el("td", { class: "n" }, count(batch.files)),
      el("td", { class: "n" }, batch.ms == null ? "–" : seconds(batch.ms / 1000)), el("td", {}, phaseBar(batch, longest))));
  const seen = new Set(state.batches.flatMap((batch) => (batch.ms == null ? [] : phasesOf(batch).map(({ name }) => name))));
  show($("phases-legend"), [...PHASES, "other"].filter((name) => seen.has(name)).map((name) => el("li", {}, el("i", { class: phaseClass(name) }), PHASE_WORDS[name])));
  show($("batches"), header("ended", "source", "#batch", "#read", "#rejected", "#oldest row", "#files", "#took", "phases"),
    el("tbody", {}, rows.length ? rows : el("tr", {}, el("td", { colspan: 9, class: "empty" }, "None yet."))));
};

export const rules = (state) => {
  const { name, fingerprint } = state.suite;
  $("suite").textContent = name ? `suite ${name}, ${fingerprint}` : "";
  const rank = (rule) => -(rule.hour * 1e12 + rule.ever);
  const rows = [...state.rules].sort((one, other) => rank(one) - rank(other)).map((rule) =>
    el("tr", { class: rule.ever ? null : "off" },
      outside("td", rule.id, { class: "id", title: rule.id }),
      el("td", { class: `n${rule.hour && rule.severity === "critical" ? " bad" : ""}` }, count(rule.hour)), el("td", { class: "n" }, brief(rule.ever)),
      el("td", {}, rule.where === "gate" ? "gate only" : rule.severity), el("td", { class: "wide" }, rule.words)));
  show($("rules"), header("rule", "#last hour", "#since ever", "severity", "in words"), el("tbody", {}, rows));
};

export const foot = (state) => {
  const { machine, service } = state;
  const parts = [
    service.version ? `version ${service.version}, Spark ${service.spark}, Python ${service.python}` : null,
    `a micro-batch every ${seconds(service.trigger)}`,
    `up ${seconds(state.now - service.started)}`,
    machine.heap == null ? null : `heap ${bytes(machine.heap)} of ${bytes(machine.heap_limit)}`,
    machine.python == null ? null : `driver's Python ${bytes(machine.python)}`,
    ...machine.disks.map(({ place, free }) => `${place}: ${bytes(free)} free`),
  ].filter(Boolean);
  show($("foot"), parts.map((text) => el("span", {}, text)));
};
