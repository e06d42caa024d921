// One part for each section of the page, and the numbers. Every path is relative, so that the page
// works wherever it is mounted.

const $ = (id) => document.getElementById(id);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The JSON of an answer; throws what the server says is wrong. */
async function ask(path, options) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error(await sentence(answer));
  return answer.json();
}

async function sentence(answer) {
  const type = answer.headers.get("Content-Type") ?? "";
  if (type.startsWith("application/json")) return (await answer.json()).error;
  if (type.startsWith("text/plain")) return answer.text();
  return `The server says ${answer.status}.`;
}

/** Have a form do something; while it does its button is off, and what goes wrong is told. */
function on(form, said, action) {
  const button = $(form).querySelector("button");
  $(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true"); // it keeps the focus, which disabled would not
    try {
      $(said).textContent = (await action()) ?? "";
      $(said).classList.remove("wrong");
    } catch (error) {
      $(said).textContent = error.message;
      $(said).classList.add("wrong");
    }
    button.removeAttribute("aria-disabled");
  });
}

function element(tag, text, ...names) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.classList.add(...names);
  return made;
}

// -- News for everybody

on("publish", "publish-said", async () => {
  const line = {name: $("name").value, text: $("text").value};
  $("text").value = "";
  try {
    await ask("publish", {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify(line),
    });
  } catch (error) {
    $("text").value ||= line.text;
    throw error;
  }
});

/** Long polling: each answer is one line, and its number is where the next request goes on. */
async function follow() {
  let number = ""; // asks for one, at once: what is published from then on is not missed
  for (;;) {
    try {
      // "no-store", else windows that ask for the same wait for each other: one fills the cache.
      const answer = await fetch(`subscribe?after=${number}`, {cache: "no-store"});
      if (!answer.ok) throw new Error(await sentence(answer));
      number = answer.headers.get("Twbridge-Number");
      const missed = answer.headers.get("Twbridge-Missed");
      if (missed) show(element("p", `Lines are missing here: ${missed}.`, "remark"));
      if (answer.status === 200) show(line(await answer.json())); // 204: none
    } catch {
      await pause(1000);
    }
  }
}

function line({name, text, by}) {
  const made = element("p", "");
  made.append(element("b", name), " ", element("span", text, "text"), " ", element("small", by));
  return made;
}

function show(made) {
  $("empty")?.remove();
  $("lines").append(made);
  if ($("lines").childElementCount > 500) $("lines").firstElementChild.remove();
  $("lines").scrollTop = $("lines").scrollHeight;
}

// -- Work in parallel

on("parallel", "parallel-said", async () => {
  const numbers = $("numbers").value.split(/[\s,]+/).filter(Boolean).join(",");
  const begun = performance.now();
  const work = ask(`parallel?numbers=${encodeURIComponent(numbers)}`);
  const times = await fastUntil(work);
  $("results").tBodies[0].replaceChildren(...(await work).map(row));
  $("results").hidden = false;
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  const slowest = Math.max(...times).toFixed(0);
  return `${seconds} s. Meanwhile /fast answered ${times.length} times, in ${slowest} ms at most.`;
});

/** Ask /fast until the work is done; gives the milliseconds of each answer. */
async function fastUntil(work) {
  const times = [];
  let busy = true;
  const done = () => (busy = false);
  work.then(done, done);
  do {
    const asked = performance.now();
    await ask("fast");
    times.push(performance.now() - asked);
    await Promise.race([work.catch(() => null), pause(40)]);
  } while (busy);
  return times;
}

function row({number, factors, process, message}) {
  const made = element("tr", "");
  const result = message ? element("td", message, "wrong") : element("td", factors.join(" × "));
  made.append(element("td", number), result, element("td", process ?? ""));
  return made;
}

// -- A Flask application

on("hello", "flask-said", async () => {
  const {hello, process} = await ask(`app/hello/${encodeURIComponent($("who").value)}`);
  return `Hello, ${hello}! Process ${process}.`;
});

on("upload", "flask-said", async () => {
  const {bytes, sha256} = await ask("app/upload", {method: "POST", body: $("file").files[0]});
  return `${bytes} bytes, SHA-256 ${sha256.slice(0, 16)}…`;
});

// -- Numbers

async function numbers() {
  for (;;) {
    try {
      const {instance, requests, link, workers, messages, polls} = await ask("stat");
      const values = {
        requests, instance, polls, link: link.state,
        "task-workers": workers.tasks, "wsgi-workers": workers.wsgi,
        published: messages.published, received: messages.received,
      };
      for (const [id, value] of Object.entries(values)) $(id).textContent = value;
      tell(link.state, link.state === "ready" ? "Connected" : `The broker: ${link.why}`);
    } catch {
      tell("away", "The server is away, trying again…");
    }
    await pause(2000);
  }
}

function tell(state, words) {
  $("status").dataset.state = state;
  if ($("status").textContent !== words) $("status").textContent = words; // read out when it changes
}

follow();
numbers();
