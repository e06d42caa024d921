// The chat page: shows what comes, sends what is written.

import { Connection } from "./connection.js";

// Of the bridge's first route.
const { socket: SOCKET, subscribe: SUBSCRIBE, publish: PUBLISH } = document.body.dataset;
const MOST_LINES = 500;
const LONGEST_TEXT = 4000;
const LONGEST_NAME = 40;
const TOGETHER = 3 * 60_000; // ms: lines of one person within it are shown as one group
const COLOURS = 8;

const STATES = {
  connecting: "Connecting…",
  ready: "Connected",
  "server-away": "The server is away, trying again…",
  "broker-away": "The message broker is away, waiting for it…",
  refused: "You may not chat here.",
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

// Who we are to ourselves: lines with it come from this page. randomUUID needs https.
const me = [...crypto.getRandomValues(new Uint8Array(12))]
  .map((byte) => byte.toString(16).padStart(2, "0"))
  .join("");
let sent = 0;
let unread = 0;

// What is stored is only a comfort: it may be forbidden.
const stored = {
  get: () => {
    try {
      return localStorage.getItem("twbridge.name") ?? "";
    } catch {
      return "";
    }
  },
  set: (value) => {
    try {
      localStorage.setItem("twbridge.name", value);
    } catch {
      // Then it is asked for again next time.
    }
  },
};

const url = new URL(SOCKET, location.href);
url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
url.search = url.hash = "";
const connection = new Connection(url.href, SUBSCRIBE);

// -- What comes

/** What a message is to us: a line of the chat, or anything else, as text. */
function read(frame) {
  const { body: content, base64, properties = {} } = frame;
  if (isLine(content)) {
    return {
      by: clip(content.name.trim(), LONGEST_NAME) || "Guest",
      text: clip(content.text, LONGEST_TEXT),
      time: timeOf(content.time),
      own: String(properties.message_id ?? "").startsWith(`${me}/`),
      foreign: false,
    };
  }
  let text = typeof content === "string" ? content : JSON.stringify(content);
  if (base64 !== undefined) text = `Binary data, ${bytesIn(base64)} bytes`;
  const by = clip(String(frame.routing_key || "elsewhere"), LONGEST_NAME);
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

function bytesIn(base64) {
  return Math.floor((base64.length * 3) / 4) - (base64.match(/=*$/)[0].length);
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

let previous = null; // the line above, if it may be in one group with the next

function show({ by, text, time, own, foreign }) {
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
  add(article);
  if (document.hidden) document.title = `(${++unread}) twbridge chat`;
}

function remark(text) {
  if (log.lastElementChild?.textContent === text) return;
  previous = null;
  add(element("p", "remark", text));
}

function add(node) {
  empty.hidden = true;
  const follow = atEnd();
  log.append(node);
  while (log.childElementCount > MOST_LINES + 1) empty.nextElementSibling.remove();
  if (follow || node.classList.contains("own")) {
    toEnd();
  } else {
    latest.hidden = false;
  }
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
  form.setAttribute("aria-busy", "true");
  line.readOnly = true;
  const content = { name: name.value.trim() || "Guest", text, time: new Date().toISOString() };
  try {
    await connection.publish(PUBLISH, content, { message_id: `${me}/${++sent}` });
    line.value = "";
  } catch (error) {
    tell(PROBLEMS[error.code] ?? `Your line was not sent. ${error.message}`);
  } finally {
    line.readOnly = false;
    form.removeAttribute("aria-busy");
    line.focus();
  }
}

connection.addEventListener("state", ({ detail }) => {
  body.dataset.state = detail;
  status.textContent = STATES[detail];
  if (detail === "ready") tell("");
});
connection.addEventListener("message", ({ detail }) => show(read(detail)));
connection.addEventListener("gap", () => remark("Connected again. Lines sent in between may be missing."));

form.addEventListener("submit", submit);
line.addEventListener("input", () => tell(""));
name.addEventListener("input", () => stored.set(name.value.trim()));
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

name.value = stored.get();
(name.value ? line : name).focus();
connection.open();
