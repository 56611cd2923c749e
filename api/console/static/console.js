// Keeps a page up to date: every element with `data-refresh` is exchanged when the server renders it differently.
// Everything works without this script.
"use strict";
(() => {
  const base = document.currentScript.src.replace(/\/console\/assets\/.*/, "");
  const parts = () => document.querySelectorAll("[data-refresh][id]");
  if (!parts().length) return;
  const SLOW_MS = 15000, LIVE_MS = 2000, QUIET_MS = 400;
  let timer = null, busy = false, again = false;

  async function refresh() {
    if (busy) { again = true; return; }
    if (document.hidden || editing()) { plan(); return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.ok) exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* The server is away for a moment: the next turn tries again. */ }
    busy = false;
    if (again) { again = false; soon(); } else plan();
  }

  function editing() {
    const active = document.activeElement;
    return active && active.closest("[data-refresh]") && active.matches("input, select, textarea, button");
  }

  function exchange(fresh) {
    for (const old of parts()) {
      const now = fresh.getElementById(old.id);
      if (!now || now.outerHTML === old.outerHTML) continue;
      const open = [...old.querySelectorAll("details")].map((each) => each.open);
      old.replaceWith(now);
      now.querySelectorAll("details").forEach((each, place) => { each.open = open[place] ?? each.open; });
      announce(old, now);
    }
    document.title = fresh.title;
  }

  function announce(old, now) {
    const state = (part) => part.querySelector("h1 .state")?.textContent;
    if (state(now) && state(now) !== state(old)) document.getElementById("announcer").textContent = `The job is ${state(now)}.`;
  }

  function plan() {
    clearTimeout(timer);
    timer = setTimeout(refresh, document.querySelector("[data-live]") ? LIVE_MS : SLOW_MS);
  }

  function soon() { clearTimeout(timer); timer = setTimeout(refresh, QUIET_MS); }

  if (document.querySelector(".who form") && window.EventSource) {
    const events = new EventSource(`${base}/v4/events`);
    events.addEventListener("job", soon);
    events.addEventListener("gap", soon);
    addEventListener("pagehide", () => events.close());
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
  plan();
})();
