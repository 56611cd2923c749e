// By what each scenario is about: the page, and what happens then, step by step.
"use strict";
const part = (content, { live = "", id = "a" } = {}) => `<div id="${id}" data-refresh${live}>${content}</div>`;
const live = (content) => part(content, { live: " data-live" });
const other = (content) => part(content, { id: "b" });
const awaited = (content) => `<p id="a" data-refresh data-live data-until-ready>${content}</p>`;
const ofJob = (state, also) => part(`<h1>Job <b class="state">${state}</b></h1><b class="state">${also}</b>`);
const select = (second) => `<select><option>x<option${second}>y</select>`;
const wide = (content) => `<div class="scroll" style="width: 9px; overflow: auto"><p style="width: 99px">${content}</p></div>`;
const form = (name, word) => `<form action="/${name}"><button name="${name}">${word}</button></form>`;
const shut = "<details></details>", open = "<details open></details>";

window.scenarios = {
  "a page that never changes is left alone": ["<p data-refresh>no id</p>", () => window.stream],
  "a part that has changed is exchanged": [
    part(1) + other("same"), () => turn(part(2) + other("same")), () => turn(other("only")), () => turn(part(3)),
  ],
  "what awaits something is asked for more often": [live(1), () => turn(live(2)), () => turn(part(3))],
  "a failure makes it slower, to a limit, and a success as before": [
    live(1), () => turn(), () => turn(), () => turn(), () => turn(), () => turn(), () => turn(live("bad"), { ok: false, status: 503 }),
    () => turn(live(2)), () => turn(),
  ],
  "an answer from elsewhere is not shown": [part(1), () => turn(part(2), { redirected: true })],
  "an event is followed by a request as of the reader": [
    part(1), () => hear("open"), () => hear("job"), () => hear("job"), () => turn(part(2)), () => hear("gap"),
    () => turn(part(3)), () => hear("other"), () => turn(part(4)),
  ],
  "the event of a read is followed by a request for what is cached": [
    part(1), () => hear("job", "list_locks"), () => turn(part(2)), () => hear("job", "get_volume"),
    () => turn(part(3)), () => hear("job"), () => hear("job", "list_volumes"), () => turn(part(4)),
  ],
  "a stream that is refused is opened again after the next answer": [
    part(1), () => breakOff(0), () => turn(part(2)), () => breakOff(2), () => turn(), () => turn(part(3)),
  ],
  "what its user may not see any more is opened anew": [part(1), () => turn("sign in", { ok: false, status: 401 })],
  "what is gone is opened anew, but not over a form that is filled in": [
    part("<input>"), () => write("z"), () => turn("gone", { ok: false, status: 404 }), () => write(""),
    () => turn("gone", { ok: false, status: 404 }),
  ],
  "what happened before the stream was open is seen": [live(1), () => hear("open")],
  "what happens during a request is followed by one more": [
    part(1), () => turn(part(2), { meanwhile: () => hear("job") }), () => turn(part(3)),
  ],
  "a hidden page asks for nothing": [
    part(1), () => hide(true), () => happen("pageshow"), () => turn(), () => turn(), () => hear("job"), () => hide(false),
    () => turn(part(2)),
  ],
  "a page that is looked at again is requested as by its reader": [
    part(1), () => hide(true), () => hide(false), () => turn(part(2)), () => turn(part(3)),
  ],
  "a page that is left and comes back": [
    part(1), () => happen("pagehide"), () => happen("pagehide"), () => happen("pageshow"), () => happen("pageshow"),
  ],
  "a field that has the focus is left alone": [
    part("<input value=x>1"), () => find("input").focus(), () => turn(part("<input value=x>2")), () => find("input").blur(),
    () => turn(part("<input value=x>2")),
  ],
  "what was written stays": [
    part("<textarea>x</textarea>1"), () => write("z"), () => turn(part("<textarea>x</textarea>2")), () => write("x"),
    () => turn(part("<textarea>x</textarea>3")),
  ],
  "what was chosen stays": [
    part(select("") + 1), () => turn(part(select(" selected") + 2)), () => choose(0), () => turn(part(3)),
  ],
  "what was chosen while the page was on its way stays": [
    part(select("")), () => turn(part(2), { meanwhile: () => choose(1) }),
  ],
  "a field elsewhere is no reason": [
    "<input>" + part(1), () => write("z"), () => find("input").focus(), () => turn("<input>" + part(2)),
  ],
  "a menu stays open or closed, and a new one as it comes": [
    part(shut + open), () => find("details").click(), () => { find("details").open = true; },
    () => { find("details + details").open = false; }, () => turn(part(shut + open + open + 2)),
  ],
  "a table stays where it was scrolled to": [
    part(wide(1)), () => { find(".scroll").scrollLeft = 7; }, () => turn(part(wide(2) + wide(2))),
  ],
  "the focus stays on the same link, though rows move": [
    part("<a href=/x>1</a> <a href=/y>1</a>"), () => find("[href='/y']").focus(),
    () => turn(part("<a href=/n>2</a> <a href=/x>2</a> <a href=/y>2</a>")), () => turn(part("<a href=/x>3</a>")),
  ],
  "the focus stays on the button of the same form": [
    part(form("x", 1) + form("y", 1)), () => find("[name=y]").focus(),
    () => turn(part("<button name=n>2</button>" + form("x", 2) + form("y", 2))),
  ],
  "the focus elsewhere stays": [
    "<a href=/x>x</a>" + part(1), () => find("a").focus(), () => turn("<a href=/x>x</a>" + part(2)),
  ],
  "a new state of a job is said once": [
    ofJob("queued", 1), () => turn(ofJob("queued", 2)), () => turn(ofJob("running", 3)), () => turn(part("no state")),
  ],
  "what is being read comes as a whole": [awaited(1), () => turn(awaited(2)), () => turn("ready")],
  "what is ready does not come over a form that is filled in": [
    awaited("<input>"), () => write("z"), () => turn("ready"), () => write(""), () => turn("ready"),
  ],
};
