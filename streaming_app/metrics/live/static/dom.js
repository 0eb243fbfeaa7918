// Builds elements. Text goes in as text and never as markup; what could hide or reorder it is written out.

const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

// Control characters, also those that turn the direction of writing or have no width, as \u202e.
export const visible = (text) =>
  String(text ?? "").replace(HIDDEN, (c) => "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));

export const el = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, visible(value));
  }
  for (const child of children.flat()) if (child != null) made.append(child.nodeType ? child : visible(child));
  return made;
};

// A text of a direction of its own: what comes from outside must not turn its neighbours round.
export const outside = (tag, text, attributes = {}) => el(tag, { dir: "auto", ...attributes }, text);

// Puts children in place of what is there, unless it would look the same: selections and scrolling stay.
export const show = (parent, ...children) => {
  const next = document.createElement(parent.tagName);
  next.append(...children.flat().filter((child) => child != null));
  if (next.innerHTML !== parent.innerHTML) parent.replaceChildren(...next.childNodes);
};

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export const count = (value) => (value == null ? "–" : plain.format(value));
export const brief = (value) => (value == null ? "–" : value < 10000 ? plain.format(value) : short.format(value));
export const rate = (value) => {
  if (value == null) return "–";
  if (value > 0 && value < 0.095) return value < 0.005 ? "<0.01" : value.toFixed(2);
  return value > 0 && value < 9.95 ? value.toFixed(1) : brief(value);
};

export const bytes = (value) => {
  if (value == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1000 && at < 4) [value, at] = [value / 1024, at + 1];
  return `${value < 9.95 && at ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
};

export const seconds = (value) => {
  if (value == null) return "–";
  if (value < 0.0005) return "0 s";
  if (value < 9.95) return `${value < 0.995 ? value.toFixed(2).replace(/0$/, "") : value.toFixed(1)} s`;
  if (value < 100) return `${Math.round(value)} s`;
  if (value < 6000) return `${Math.round(value / 60)} min`;
  if (value < 172800) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} days`;
};

export const percent = (part, whole) => {
  if (!whole) return "–";
  const share = (100 * part) / whole;
  return `${share > 0 && share < 9.95 ? share.toFixed(share < 0.095 ? 2 : 1) : Math.round(share)}%`;
};

export const clock = (moment) => new Date(1000 * moment).toLocaleTimeString("en-GB");
