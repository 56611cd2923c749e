// Keeps a page up to date: each element with `data-refresh` is exchanged when the server renders it differently.
// Everything works without this script.
"use strict";
(() => {
  const parts = () => document.querySelectorAll("[data-refresh][id]");
  if (!parts().length) return;
  const SLOW_MS = 15000, LIVE_MS = 2000, QUIET_MS = 300, LONGEST_MS = 30000, LIMIT_MS = 60000;
  // Sign in, role missing, not found, gone: what the page shows is not so any more, or not for this user.
  const ENDED = [401, 403, 404, 410];
  let timer = null, busy = false, again = false, changed = false, failures = 0, stream = null;

  // After the event of a change the page is asked for as by its reader; otherwise only for what is cached, so that a
  // page which is left open asks no storage system for anything, also not when each of its reads fails.
  const isWaiting = (page) => page.querySelector("[data-until-ready]") !== null;

  async function refresh() {
    if (busy) { again = true; return; }
    if (document.hidden) { plan(); return; }
    busy = true;
    const isCached = !changed && !isWaiting(document);
    changed = false;
    try {
      const headers = { Accept: "text/html", ...(isCached ? { "X-Console-Update": "1" } : {}) };
      const signal = AbortSignal.timeout(LIMIT_MS);
      const answer = await fetch(location.href, { headers, credentials: "same-origin", signal });
      failures = answer.ok ? 0 : failures + 1;
      if (answer.ok) listen();
      if (ENDED.includes(answer.status)) openAnew();
      else if (answer.ok && !answer.redirected) exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { failures += 1; /* The server is away for a moment: the next turn tries again. */ }
    busy = false;
    if (again) { again = false; soon(); } else plan();
  }

  // Nothing is exchanged under the hands of somebody who fills in a form or has opened a menu, also not when that was
  // begun while the page was on its way, or when the focus has moved on to the button.
  function isFilledIn(part) {
    const active = document.activeElement;
    return (part.contains(active) && active.matches("input, select, textarea"))
      || [...part.querySelectorAll("input, select, textarea")].some(isChanged);
  }

  function isChanged(field) {
    if (field.tagName !== "SELECT") return field.value !== field.defaultValue;
    return field.selectedIndex !== Math.max(0, [...field.options].findIndex((option) => option.defaultSelected));
  }

  // Not by a reload: of a page that a form has led to, that would send the form once more.
  function openAnew() {
    if (![...parts()].some(isFilledIn)) location.replace(location.pathname + location.search);
  }

  function exchange(fresh) {
    if (isWaiting(document) && !isWaiting(fresh)) {
      openAnew();
      return;
    }
    for (const old of parts()) {
      const now = fresh.getElementById(old.id);
      if (!now || now.outerHTML === old.outerHTML || isFilledIn(old)) continue;
      const place = placeOf(document.activeElement, old);
      const open = [...old.querySelectorAll("details")].map((each) => each.open);
      const left = [...old.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
      old.replaceWith(now);
      now.querySelectorAll("details").forEach((each, index) => { each.open = open[index] ?? each.open; });
      now.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = left[index] ?? 0; });
      focusAgain(now, place);
      announce(old, now);
    }
    document.title = fresh.title;
  }

  // What had the focus: by its address or action, since rows move.
  function placeOf(active, part) {
    if (!active || !part.contains(active)) return null;
    const form = active.closest("form");
    return { tag: active.tagName, href: active.getAttribute("href"), action: form && form.getAttribute("action") };
  }

  function focusAgain(part, place) {
    if (!place) return;
    const same = [...part.querySelectorAll(place.tag)].find((each) => each.getAttribute("href") === place.href
      && (each.closest("form")?.getAttribute("action") ?? null) === place.action);
    (same || document.getElementById("main")).focus({ preventScroll: true });
  }

  function announce(old, now) {
    const state = (part) => part.querySelector("h1 .state")?.textContent;
    if (state(now) && state(now) !== state(old)) document.getElementById("announcer").textContent = `The job is ${state(now)}.`;
  }

  function plan() {
    clearTimeout(timer);
    const base = document.querySelector("[data-live]") ? LIVE_MS : SLOW_MS;
    timer = setTimeout(refresh, Math.min(base * 2 ** failures, LONGEST_MS));
  }

  // What happens during a request may not be in its response yet: the page is requested once more.
  function soon() {
    if (busy) { again = true; return; }
    clearTimeout(timer);
    timer = setTimeout(refresh, QUIET_MS);
  }

  // A browser has few connections to one server, for all its tabs together: only the tab that is looked at holds one.
  function listen() {
    const url = document.body.dataset.url;
    if (!url || !window.EventSource || document.hidden || stream) return;
    stream = new EventSource(url);
    // What happened between the page and its stream would be noticed late.
    stream.addEventListener("open", () => { if (document.querySelector("[data-live]")) soon(); });
    stream.addEventListener("job", (event) => { changed ||= isChange(JSON.parse(event.data)); soon(); });
    stream.addEventListener("gap", () => { changed = true; soon(); });
    // The browser connects again by itself, unless the answer was an error, such as that of a server that starts.
    stream.addEventListener("error", () => { if (stream.readyState === EventSource.CLOSED) deafen(); });
  }

  const isChange = (job) => !/^(list|get)_/.test(job.operation);

  function deafen() { if (stream) stream.close(); stream = null; }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { deafen(); return; }
    changed = true;
    listen();
    soon();
  });
  addEventListener("pagehide", deafen);
  addEventListener("pageshow", listen);
  listen();
  plan();
})();
