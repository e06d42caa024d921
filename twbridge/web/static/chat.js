// The chat page: shows what comes, sends what is written.

import { connect } from "./twbridge.js";

// Of the bridge's first route; the stream keeps what was said, where there is one.
const {
  socket: SOCKET,
  subscribe: SUBSCRIBE,
  publish: PUBLISH,
  stream: STREAM,
} = document.body.dataset;
const MOST_LINES = 500;
const LONGEST_TEXT = 4000;
const LONGEST_NAME = 40;
const TOGETHER = 3 * 60_000; // ms: lines of one person within it are shown as one group
const COLOURS = 8;
const SOON = 30; // ms in which lines are gathered, to be shown together
const MANY = 10; // lines at once are history: not read out
const QUIET = 500; // ms without history, before lines are read out again
const PATIENCE = 15_000; // ms that a line may take
const AGAIN = 3_000; // ms before subscribing again to what has ended

const STATES = {
  connecting: "Connecting…",
  ready: "Connected",
  "server-away": "The server is away, trying again…",
  "broker-away": "The message broker is away, waiting for it…",
  closed: "You may not chat here.",
};

const PROBLEMS = {
  lost: "The server is away, so your line was not sent.",
  unknown: "The connection was lost: it is not certain whether your line was sent.",
  timeout: "The message broker did not answer: it is not certain whether your line was sent.",
  not_ready: "The message broker is away, so your line was not sent.",
  nacked: "The message broker did not take your line.",
  unroutable: "Nobody would get your line, so it was not sent.",
  forbidden: "You may not write here.",
  too_large: "Your line is too long.",
};

const [body, status, name, log, empty, latest, notice, form, line, send] = [
  "body", "#status", "#name", "#log", "#empty", "#latest", "#notice", "#form", "#line", "#send",
].map((selector) => document.querySelector(selector));

// What is stored is only a comfort: it may be forbidden.
const stored = (storage, key) => ({
  get: () => {
    try {
      return globalThis[storage].getItem(key) ?? "";
    } catch {
      return "";
    }
  },
  set: (value) => {
    try {
      globalThis[storage].setItem(key, value);
    } catch {
      // Then it is another one next time.
    }
  },
});
const storedName = stored("localStorage", "twbridge.name");
// Lines of this tab are our own, after it was loaded again too.
const storedClient = stored("sessionStorage", "twbridge.client");

const bridge = connect(SOCKET, { client: storedClient.get() || undefined, timeout: PATIENCE });
storedClient.set(bridge.client);

// -- What comes

/** What a message is to us: a line of the chat, or anything else, as text. */
function read({ body: content, properties, routingKey }) {
  if (isLine(content)) {
    return {
      by: clip(content.name.trim(), LONGEST_NAME) || "Guest",
      text: clip(content.text, LONGEST_TEXT),
      time: timeOf(content.time),
      own: String(properties.message_id ?? "").startsWith(`${bridge.client}/`),
      foreign: false,
    };
  }
  let text = typeof content === "string" ? content : JSON.stringify(content);
  if (content instanceof Uint8Array) text = `Binary data, ${content.length} bytes`;
  const by = clip(routingKey || "elsewhere", LONGEST_NAME);
  const seconds = Number(properties.timestamp);
  return {
    by,
    text: clip(text ?? "", LONGEST_TEXT),
    time: timeOf(seconds ? seconds * 1000 : undefined),
    own: false,
    foreign: true,
  };
}

function isLine(content) {
  return (
    typeof content === "object" &&
    content !== null &&
    typeof content.name === "string" &&
    typeof content.text === "string"
  );
}

function clip(text, length) {
  const characters = [...text];
  return characters.length > length ? `${characters.slice(0, length - 1).join("")}…` : text;
}

function timeOf(value) {
  const time = new Date(value ?? NaN);
  return Number.isNaN(time.getTime()) ? new Date() : time;
}

// -- What is shown

/** Text only: nothing that comes is ever read as HTML. */
function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function colourOf(text) {
  let sum = 7;
  for (const character of text) sum = (sum * 31 + character.codePointAt(0)) >>> 0;
  return sum % COLOURS;
}

const waiting = []; // what is to be shown: functions that give an element
let showing = 0;
let quiet = 0;
let unread = 0;

/** Has something shown soon, together with what comes until then: history comes in thousands. */
function enqueue(make) {
  waiting.push(make);
  if (waiting.length > MOST_LINES) waiting.shift();
  showing ||= setTimeout(showAll, SOON);
}

function showAll() {
  showing = 0;
  const history = waiting.length > MANY;
  if (history) {
    log.setAttribute("aria-live", "off");
    clearTimeout(quiet);
    quiet = setTimeout(() => log.setAttribute("aria-live", "polite"), QUIET);
  }
  const follow = atEnd();
  const made = waiting.splice(0).flatMap((make) => make());
  log.append(...made);
  empty.hidden = true;
  while (log.childElementCount > MOST_LINES + 1) empty.nextElementSibling.remove();
  if (follow || made.some((node) => node.classList.contains("own"))) {
    toEnd();
  } else {
    latest.hidden = false;
  }
  const lines = made.filter((node) => node.classList.contains("line"));
  if (document.hidden && !history) unread += lines.length;
  if (unread) document.title = `(${unread}) twbridge chat`;
}

let previous = null; // the line above, if it may be in one group with the next
let day = new Date().toDateString();

/** An element, behind one for the day where that is another one. */
function lineOf({ by, text, time, own, foreign }) {
  const before = [];
  if (time.toDateString() !== day) {
    day = time.toDateString();
    before.push(
      ...remarkOf(time.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" })),
    );
  }
  return [...before, articleOf({ by, text, time, own, foreign })];
}

function articleOf({ by, text, time, own, foreign }) {
  const article = element("article", "line");
  article.classList.toggle("own", own);
  article.classList.toggle("foreign", foreign);
  const again =
    previous?.by === by &&
    previous.own === own &&
    previous.foreign === foreign &&
    Math.abs(time - previous.time) < TOGETHER;
  article.classList.toggle("again", again);
  previous = { by, own, foreign, time };
  remarked = "";

  const avatar = element("div", `avatar colour-${colourOf(by)}`, [...by.toUpperCase()][0] ?? "?");
  avatar.setAttribute("aria-hidden", "true");
  if (foreign) avatar.textContent = "#";

  const head = element("p", "by");
  head.append(element("span", "who-said", by));
  if (own) head.append(element("span", "you", "you"));
  const when = element("time", "", time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  when.dateTime = time.toISOString();
  when.title = time.toLocaleString();
  head.append(when);

  const bubble = element("div", "bubble");
  bubble.append(head, element("p", "text", text));
  article.append(avatar, bubble);
  return article;
}

let remarked = ""; // what the last remark said, if nothing has come since

function remarkOf(text) {
  if (remarked === text) return [];
  previous = null;
  remarked = text;
  return [element("p", "remark", text)];
}

function atEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 48;
}

function toEnd() {
  log.scrollTop = log.scrollHeight;
  latest.hidden = true;
}

function tell(problem) {
  notice.textContent = problem;
  notice.hidden = !problem;
}

// -- What is sent

async function submit(event) {
  event.preventDefault();
  const text = line.value.trim();
  if (!text || form.getAttribute("aria-busy") === "true") {
    line.focus();
    return;
  }
  tell("");
  if (bridge.state === "server-away") {
    tell(PROBLEMS.lost);
    return;
  }
  form.setAttribute("aria-busy", "true");
  line.readOnly = true;
  const content = { name: name.value.trim() || "Guest", text, time: new Date().toISOString() };
  try {
    await bridge.publish(PUBLISH, content);
    line.value = "";
  } catch (error) {
    tell(PROBLEMS[error.code] ?? `Your line was not sent. ${error.message}`);
  } finally {
    line.readOnly = false;
    form.removeAttribute("aria-busy");
    line.focus();
  }
}

// -- The connection

let lines; // the subscription
let again; // the timer of the next

function subscribe(destination, from) {
  const show = (message) => enqueue(() => lineOf(read(message)));
  lines = bridge.subscribe(destination, show, { from });
  lines.on("subscribed", () => say(bridge.state));
  lines.on("gap", (gap) => {
    const text =
      gap.from === undefined
        ? "Connected again. Lines sent in between may be missing."
        : "Lines are missing here: they were not kept.";
    enqueue(() => remarkOf(text));
  });
  lines.on("ended", (error) => {
    if (error.code === "forbidden" && destination !== SUBSCRIBE) {
      subscribe(SUBSCRIBE); // then without history
    } else if (error.code === "forbidden" || bridge.state === "closed") {
      say("closed");
    } else {
      // Whoever took it away may give it back.
      say("broker-away");
      const { position } = lines;
      again = setTimeout(subscribe, AGAIN, destination, position === undefined ? from : position + 1);
    }
  });
}

bridge.on("state", (state) => {
  // Nothing comes before the subscription stands.
  if (state !== "ready" || lines.active) say(state);
  if (state === "closed") clearTimeout(again);
});

function say(state) {
  body.dataset.state = state;
  status.textContent = STATES[state];
  if (state === "ready") tell("");
}

if (STREAM) subscribe(STREAM, "first");
else subscribe(SUBSCRIBE);

// -- What is done with the page

form.addEventListener("submit", submit);
line.addEventListener("input", () => tell(""));
name.addEventListener("input", () => storedName.set(name.value.trim()));
name.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  line.focus();
});
latest.addEventListener("click", () => {
  toEnd();
  line.focus();
});
log.addEventListener("scroll", () => {
  if (atEnd()) latest.hidden = true;
});
addEventListener("resize", () => {
  if (latest.hidden) toEnd();
});
document.addEventListener("visibilitychange", () => {
  unread = 0;
  document.title = "twbridge chat";
});

name.value = storedName.get();
(name.value ? line : name).focus();
