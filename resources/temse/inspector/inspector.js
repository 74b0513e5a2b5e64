// Everything that others wrote comes to the page as text (textContent), never as markup.
"use strict";

const MOST_CONVERSATIONS = 200;
const MOST_ENTRIES = 5000;
const MOST_ROWS = 400;
const MOST_TIMES = 200;
const REDRAW = 150;

const $ = (id) => document.getElementById(id);

function element(tag, className, text, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined && text !== null) e.textContent = text;
  e.append(...children);
  return e;
}

function shape(tag, attributes, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text !== undefined) e.textContent = text;
  return e;
}

// ---- what was received

const conversations = new Map();
const times = new Map();
let entries = 0;
let lost = 0;
let chosen = null;
let chosenEntry = null;
let follows = true;
let paused = false;
let waiting = [];
let lastNumber = 0;
let panel = "entry";      // what the right side shows: entry, replay or shadow
let replayed = null;      // { id, outcome }, the outcome null while it runs
let shadow = null;

function conversationOf(entry) {
  let c = conversations.get(entry.id);
  if (!c) {
    c = { id: entry.id, who: entry.peer, sender: "", verdict: "", mails: 0, at: entry.at, entries: [], text: "" };
    conversations.set(entry.id, c);
  }
  return c;
}

function forgetOldest() {
  const [id, oldest] = conversations.entries().next().value;
  conversations.delete(id);
  entries -= oldest.entries.length;
  if (chosen === id) { chosen = null; chosenEntry = null; follows = true; }
}

function take(entry) {
  if (entry.n <= lastNumber) return;
  lastNumber = entry.n;
  const c = conversationOf(entry);
  c.entries.push(entry);
  entries++;
  if (entry.client) c.who = entry.client;
  if (entry.sender !== undefined) { c.sender = entry.sender; c.verdict = ""; c.mails++; }
  if (entry.verdict) c.verdict = entry.verdict;
  if (c.text.length < 20000) c.text += " " + entry.text.toLowerCase();
  if (entry.event !== "define-macro" && entry.event !== "message-end" && entry.event !== "disconnect") {
    const known = times.get(entry.event) || [];
    known.push(entry.millis);
    if (known.length > MOST_TIMES) known.shift();
    times.set(entry.event, known);
  }
  while (conversations.size > 1 && (conversations.size > MOST_CONVERSATIONS || entries > MOST_ENTRIES)) forgetOldest();
  if (c.entries.length > MOST_ENTRIES) { c.entries.shift(); entries--; }
  if (follows && (chosen === null || entry.event === "options")) { chosen = entry.id; chosenEntry = null; }
}

// ---- drawing

let due = false;
function redraw() {
  if (due) return;
  due = true;
  setTimeout(() => { due = false; drawList(); drawBar(); drawLadder(); drawDetail(); drawLatency(); drawState(); }, REDRAW);
}

function time(at) {
  return new Date(at).toLocaleTimeString([], { hour12: false });
}

function matches(c) {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (c.who + " " + c.sender + " " + c.verdict).toLowerCase() + c.text;
  return words.every((word) => text.includes(word));
}

function drawList() {
  const shown = [...conversations.values()].filter(matches).reverse();
  const items = shown.map((c) => {
    const item = element("button", "conversation" + (c.id === chosen ? " chosen" : ""), null,
      element("span", "who", c.who), element("span", "when", time(c.at)),
      element("span", "sender", c.sender || "no mail yet"),
      element("span", "verdict " + c.verdict, c.verdict));
    item.type = "button";
    item.title = c.who + "\n" + c.sender;
    item.dataset.id = c.id;
    return item;
  });
  $("conversations").replaceChildren(...(items.length ? items
    : [element("div", "empty", conversations.size ? "No conversation fits the filter." : "No MTA has connected yet.")]));
}

function rowOf(entry) {
  const answers = element("span", "", null, ...answersOf(entry.answers || []));
  if (entry.failure) answers.append(element("span", "answer failure", entry.failure));
  const row = element("button", "row" + (entry.n === chosenEntry ? " chosen" : ""), null,
    element("span", "dir", entry.event === "define-macro" ? "macros" : "MTA"),
    element("span", "text", entry.event === "define-macro" ? entry.text.replace(/^define-macro /, "") : entry.text),
    answers,
    element("span", "millis", entry.millis >= 0.05 ? entry.millis.toFixed(1) + " ms" : ""));
  row.type = "button";
  row.dataset.n = entry.n;
  return row;
}

function drawBar() {
  const c = conversations.get(chosen);
  $("bar").hidden = !c;
  if (c) $("which").textContent = "Connection " + c.id + ", " + c.who;
  $("replay").disabled = replayed !== null && replayed.outcome === null;
  $("shadow").hidden = !shadow;
  $("shadow").setAttribute("aria-pressed", String(panel === "shadow"));
  if (shadow) $("shadow").textContent = shadow.problem ? "Shadow" : "Shadow: " + shadow.disagreed + " of " + shadow.conversations + " differ";
}

let drawnLadder = "";
let drawnConversation = null;
function drawLadder() {
  const ladder = $("ladder");
  const c = conversations.get(chosen);
  const now = c ? [c.id, c.entries[0].n, c.entries[c.entries.length - 1].n, chosenEntry].join(" ") : "none";
  if (now === drawnLadder) return;
  drawnLadder = now;
  if (!c) {
    ladder.replaceChildren(element("div", "empty", "Send a mail through the MTA, and its conversation is shown here."));
    return;
  }
  const down = ladder.scrollHeight - ladder.scrollTop - ladder.clientHeight < 40;
  const rows = [];
  const hidden = c.entries.length - MOST_ROWS;
  if (hidden > 0) rows.push(element("div", "note", hidden + " earlier events are not shown"));
  let mail = null;
  for (const entry of c.entries.slice(-MOST_ROWS)) {
    if (entry.mail && entry.mail !== mail) { mail = entry.mail; rows.push(element("div", "begins", "Mail " + mail)); }
    if (entry.skipped) rows.push(element("div", "note",
      entry.skipped + " more header fields or pieces of the body were answered with continue"));
    rows.push(rowOf(entry));
  }
  ladder.replaceChildren(...rows);
  if (chosen !== drawnConversation) ladder.scrollTop = 0;
  if (down && follows) ladder.scrollTop = ladder.scrollHeight;
  drawnConversation = chosen;
}

function section(title, ...content) {
  return content.length ? [element("h3", "", title), ...content] : [];
}

function flags(rows) {
  const table = element("table", "");
  for (const { flag, text, offered, agreed } of rows) {
    const row = element("tr", agreed ? "on" : "off", null,
      element("td", "", agreed ? "agreed" : offered ? "not used" : "not offered"),
      element("td", "", flag, element("small", "", text)));
    table.append(row);
  }
  return table;
}

function negotiation(n) {
  const macros = element("dl", "");
  for (const [stage, names] of n.macros) macros.append(element("dt", "", stage), element("dd", "", names));
  return [element("h2", "", "Negotiation"),
    element("div", "soft", "version " + n.version + " of " + n["offered-version"] + " offered"),
    ...section("Actions", flags(n.actions)), ...section("Protocol", flags(n.protocol)),
    ...(n.macros.length ? section("Macros asked for", macros) : [])];
}

function selected() {
  const c = conversations.get(chosen);
  if (!c) return null;
  return c.entries.find((e) => e.n === chosenEntry)
    || c.entries.findLast((e) => e.delivered) || c.entries.findLast((e) => e.event !== "message-end" && e.event !== "disconnect");
}

function answersOf(answers) {
  return answers.map((a) => {
    const answer = element("span", "answer " + a.tone, a.text);
    if (a.why) answer.append(element("span", "why", "  " + a.why));
    return answer;
  });
}

function linesOf(lines) {
  return element("div", "mail mono", null, ...lines.map((line) =>
    element("div", line.startsWith("- ") ? "removed" : line.startsWith("+ ") ? "added" : "", line)));
}

function disagreementOf(d, then, now) {
  const box = element("div", "disagreement", null,
    element("div", "event mono", d.event),
    element("div", "soft", "differs in " + d.differs.join(", ")),
    element("dl", "", null,
      element("dt", "", then), element("dd", "then", null, ...answersOf(d.then)),
      element("dt", "", now), element("dd", "now", null, ...answersOf(d.now))));
  if (d.at) box.prepend(element("div", "soft", time(d.at) + ", " + d.peer));
  if (d.problem) box.append(element("div", "answer refuse", d.problem));
  if (d.lines) box.append(linesOf(d.lines));
  return box;
}

function replay() {
  const { id, outcome } = replayed;
  const title = [element("h2", "", "Replay with today's handlers"), element("div", "soft", "connection " + id)];
  if (!outcome) return [...title, element("p", "", "The handlers are called ...")];
  if (outcome.problem) return [...title, element("p", "refuse", outcome.problem)];
  const unseen = outcome.unseen.length ? [element("p", "soft", "Not replayed, since no handler wanted it then: " + outcome.unseen.join(", "))] : [];
  if (!outcome.count) return [...title, element("p", "accept", "No differences: " + outcome.exchanges + " events were answered as they were then."), ...unseen];
  const more = outcome.count - outcome.differences.length;
  return [...title,
    element("p", "", outcome.count + (outcome.count === 1 ? " difference" : " differences") + " in " + outcome.exchanges + " events"),
    ...unseen,
    ...outcome.differences.map((d) => disagreementOf(d, "then", "now")),
    ...(more ? [element("p", "soft", more + " more are not shown")] : [])];
}

function shadows() {
  if (shadow.problem) return [element("h2", "", "Shadow"), element("p", "refuse", shadow.problem)];
  const counts = element("dl", "");
  const rows = [["compared", shadow.conversations], ["disagreed", shadow.disagreed], ...shadow.differs.map(([what, n]) => ["by " + what, n]),
    ...["cut", "dropped", "failed"].filter((key) => shadow[key]).map((key) => [key, shadow[key]])];
  for (const [key, n] of rows) counts.append(element("dt", "", key), element("dd", "", n));
  return [element("h2", "", "Shadow"), element("div", "soft", "conversations that the candidate has seen, too"), ...section("Counts", counts),
    ...section("Latest disagreements", ...shadow.samples.map((s) => disagreementOf(s, "live", "candidate")))];
}

let drawn = null;
function drawDetail() {
  if (panel !== "entry") {
    const shown = panel === "replay" ? replayed.outcome || replayed : shadow;
    if (drawn === shown) return;
    drawn = shown;
    $("detail").replaceChildren(...(panel === "replay" ? replay() : shadows()));
    return;
  }
  const entry = selected();
  if (drawn === (entry && entry.n)) return;
  drawn = entry && entry.n;
  const detail = $("detail");
  if (!entry) { detail.replaceChildren(); return; }
  if (entry.negotiation) { detail.replaceChildren(...negotiation(entry.negotiation)); return; }
  const facts = element("dl", "");
  for (const [key, text] of entry.details || []) facts.append(element("dt", "", key), element("dd", "", text));
  const answers = (entry.answers || []).map((a) => element("div", "answer " + a.tone, a.text));
  const whys = (entry.answers || []).filter((a) => a.why).map((a) => element("div", "mono", a.why));
  const changes = (entry.changes || []).map(([key, before, after]) => element("div", "changed mono", null,
    element("div", "soft", key),
    ...(before === null ? [] : [element("div", "removed", "- " + before)]),
    ...(after === null ? [] : [element("div", "added", "+ " + after)])));
  detail.replaceChildren(element("h2", "", entry.event),
    element("div", "soft", time(entry.at) + ", connection " + entry.id + (entry.mail ? ", mail " + entry.mail : "")),
    ...(facts.children.length ? section("Event", facts) : []),
    ...section("Answer", ...answers), ...section("Why", ...whys),
    ...(entry.failure ? section("Failure of the handler", element("div", "answer refuse", entry.failure)) : []),
    ...section("Context", ...changes),
    ...(entry.delivered ? section("Mail, as received and as delivered", linesOf(entry.delivered)) : []));
  detail.scrollTop = 0;
}

function drawLatency() {
  const names = [...times.keys()].slice(0, 12);
  const svg = shape("svg", { viewBox: "0 0 1248 112", preserveAspectRatio: "xMidYMid meet" });
  const x = (millis) => 180 + 1010 * (Math.log10(Math.max(0.01, Math.min(millis, 100000))) + 2) / 7;
  for (const [millis, label] of [[0.01, "0.01 ms"], [0.1, "0.1 ms"], [1, "1 ms"], [10, "10 ms"], [100, "100 ms"], [1000, "1 s"], [10000, "10 s"]]) {
    svg.append(shape("line", { class: "grid", x1: x(millis), x2: x(millis), y1: 14, y2: 112 }),
      shape("text", { x: x(millis), y: 9, "text-anchor": "middle" }, label));
  }
  const step = Math.min(16, 96 / Math.max(1, names.length));
  names.forEach((name, i) => {
    const y = 14 + step * (i + 0.5);
    svg.append(shape("text", { x: 0, y: y + 4 }, name));
    const known = times.get(name);
    for (const millis of known) svg.append(shape("circle", { class: "dot", cx: x(millis), cy: y, r: 3 }));
    const median = [...known].sort((a, b) => a - b)[Math.floor(known.length / 2)];
    svg.append(shape("line", { class: "median", x1: x(median), x2: x(median), y1: y - 5, y2: y + 5 }));
  });
  $("latency").replaceChildren(svg);
}

let connected = false;
function drawState() {
  const state = $("state");
  state.className = "state " + (connected ? (paused ? "" : "live") : "bad");
  state.textContent = (connected ? (paused ? "paused, " + waiting.length + " waiting" : "live") : "not connected")
    + (lost ? ", " + lost + " lost" : "");
}

// ---- what the user does

$("conversations").addEventListener("click", (event) => {
  const item = event.target.closest(".conversation");
  if (!item) return;
  chosen = Number(item.dataset.id); chosenEntry = null; follows = false; panel = "entry";
  redraw();
});

$("ladder").addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (!row) return;
  chosenEntry = Number(row.dataset.n); follows = false; panel = "entry";
  redraw();
});

async function outcomeOf(id) {
  try {
    const answer = await fetch("replay/" + id, { method: "POST" });
    return answer.ok ? await answer.json() : { problem: await answer.text() };
  } catch (problem) {
    return { problem: "The milter cannot be reached: " + problem.message };
  }
}

$("replay").addEventListener("click", async () => {
  follows = false; panel = "replay";
  const mine = replayed = { id: chosen, outcome: null };
  redraw();
  mine.outcome = await outcomeOf(mine.id);
  redraw();
});

$("shadow").addEventListener("click", () => {
  panel = panel === "shadow" ? "entry" : "shadow"; drawn = null;
  redraw();
});

$("filter").addEventListener("input", redraw);

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
  if (!paused) { waiting.forEach(take); waiting = []; }
  redraw();
});

function setTheme(dark) {
  document.documentElement.classList.toggle("dark", dark);
  $("theme").textContent = dark ? "Light" : "Dark";
}

const preference = matchMedia("(prefers-color-scheme: dark)");
setTheme(preference.matches);
preference.addEventListener("change", (event) => setTheme(event.matches));
$("theme").addEventListener("click", () => setTheme(!document.documentElement.classList.contains("dark")));

// ---- the stream

const stream = new EventSource("events");
stream.addEventListener("open", () => { connected = true; redraw(); });
stream.addEventListener("error", () => { connected = false; redraw(); });
stream.addEventListener("hello", (event) => { $("server").textContent = JSON.parse(event.data).title; });
stream.addEventListener("shadow", (event) => { shadow = JSON.parse(event.data); redraw(); });
stream.addEventListener("lost", (event) => { lost += Number(event.data); redraw(); });
stream.addEventListener("message", (event) => {
  const entry = JSON.parse(event.data);
  if (!paused) { take(entry); }
  else if (waiting.length < MOST_ENTRIES) { waiting.push(entry); }
  else { waiting.shift(); waiting.push(entry); lost++; }
  redraw();
});
redraw();
