// In the place of the browser's clock, network and events: they do what a scenario says, and log what the script does.
"use strict";
window.log = [];
const answers = [], planned = new Map();
let count = 0, isHidden = false;
window.setTimeout = (call, ms) => { log.push(`plans a turn in ${ms} ms`); planned.set(++count, call); return count; };
window.clearTimeout = (id) => { if (planned.delete(id)) log.push("drops that plan"); };
window.fetch = async (url, { headers, signal, ...options }) => {
  const limit = signal instanceof AbortSignal ? "" : " without a limit";
  log.push(`asks for ${new URL(url).pathname} ${JSON.stringify({ ...options, ...headers })}${limit}`);
  const answer = answers.shift();
  if (!answer) throw new TypeError("away");
  answer.meanwhile?.();
  return { ok: true, redirected: false, ...answer, text: async () => answer.text };
};
window.EventSource = class extends EventTarget {
  static CLOSED = 2;
  readyState = 1;
  constructor(url) { super(); log.push(`listens to ${url}`); window.stream = this; }
  close() { log.push("listens no longer"); }
};
Object.defineProperty(document, "hidden", { get: () => isHidden });
navigation.addEventListener("navigate", (event) => {
  log.push(`leaves the page: ${event.navigationType}`);
  event.preventDefault();
});

// What scenarios do.
window.turn = async (content, rest) => {
  if (content) answers.push({ text: `<title>later</title><main id="main" tabindex="-1">${content}</main>`, ...rest });
  const [id, call] = [...planned][0];
  planned.delete(id);
  await call();
};
window.happen = (kind) => { dispatchEvent(new Event(kind)); };
window.hear = (kind, operation = "update_volume") => {
  stream.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify({ operation }) }));
};
window.breakOff = (readyState) => { stream.readyState = readyState; hear("error"); };
window.hide = (value) => { isHidden = value; document.dispatchEvent(new Event("visibilitychange")); };
window.find = (selector) => document.querySelector(selector);
window.write = (text) => { find("input, textarea").value = text; };
window.choose = (index) => { find("select").selectedIndex = index; };
window.seen = () => {
  const active = document.activeElement;
  const words = {
    focus: active === document.body ? "" : active.cloneNode(false).outerHTML,
    details: [...document.querySelectorAll("details")].map((each) => (each.open ? "open" : "closed")),
    scrolled: [...document.querySelectorAll(".scroll")].map((each) => each.scrollLeft),
    fields: [...document.querySelectorAll("input, textarea, select")].map((each) => each.value),
    said: find("#announcer").textContent,
  };
  const rest = Object.entries(words).filter(([, value]) => value.length).map(([name, value]) => `; ${name}: ${value}`);
  return `${document.title}: ${find("main").innerHTML}${rest.join("")}`;
};
