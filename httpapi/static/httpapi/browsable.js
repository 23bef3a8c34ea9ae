// Sends the forms of the browsable API as a program would, and shows the page that comes back.
"use strict";

const FOLLOW_EVERY = 1500; // milliseconds
const FOLLOW_FOR = 120_000;
const PATIENCE = "wait=20"; // seconds that the service may take until it has something new to say, where it knows of that

const token = JSON.parse(document.getElementById("drf_csrf").textContent);

function bodyOf(form) {
  return form.querySelector("textarea");
}

function show(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const main = page.querySelector("main");
  if (!main) {
    return false;
  }
  document.title = page.title;
  document.querySelector("main").replaceWith(document.adoptNode(main));
  return true;
}

async function send(form, button) {
  const method = (button && button.dataset.method) || form.dataset.method;
  const body = bodyOf(form);
  const typed = body && body.value;
  const given = [...form.querySelectorAll("[data-header]")].map((input) => [input.dataset.header, input.value.trim()]);
  const headers = Object.fromEntries(given.filter(([, value]) => value));
  headers.Accept = "text/html";
  headers[token.csrfHeaderName] = token.csrfToken;
  if (body) {
    headers["Content-Type"] = "application/json";
  }
  const status = form.querySelector("[role=status]");
  const buttons = [...form.querySelectorAll("button")];
  const opened = document.getElementById("send") !== null && document.getElementById("send").open;
  buttons.forEach((each) => { each.disabled = true; });
  try {
    const response = await fetch(form.action, { method, headers, body: typed === null ? undefined : typed });
    if (!show(await response.text())) {
      location.assign(form.action);
      return;
    }
    const again = document.querySelector(`form[data-method="${form.dataset.method}"] textarea`);
    if (again && typed) { // also when the service has not read it, or told of it
      again.value = typed;
      given.forEach(([name, value]) => {
        const input = document.querySelector(`[data-header="${name}"]`);
        if (input) { input.value = value; }
      });
      tell(again.form);
      document.getElementById("send").open = opened;
    }
    const outcome = document.getElementById("outcome") || document.querySelector("main");
    outcome.focus({ preventScroll: true });
    window.scrollTo({ top: 0 });
    follow();
  } catch (error) {
    // A header may have content that cannot be sent; then nothing was sent.
    const said = `Not sent, or not answered: ${error.message}. What you typed is still here.`;
    if (status) { status.textContent = said; } else { window.alert(said); }
  } finally {
    buttons.forEach((each) => { each.disabled = false; });
  }
}

// Shows the command that sends what is in the form now.
function tell(form) {
  const command = form.querySelector("[data-command]");
  if (!command) {
    return;
  }
  const quoted = (text) => `'${text.replaceAll("'", `'"'"'`)}'`;
  const lines = command.textContent.split(" \\\n  ");
  const names = [...form.querySelectorAll("[data-header]")].map((input) => input.dataset.header);
  const kept = [];
  for (const line of lines) {
    if (line.startsWith("-d ")) { break; }
    if (!names.some((name) => line.startsWith(`-H '${name}:`))) { kept.push(line); }
  }
  for (const input of form.querySelectorAll("[data-header]")) {
    if (input.value.trim()) { kept.push(`-H ${quoted(`${input.dataset.header}: ${input.value.trim()}`)}`); }
  }
  kept.push(`-d ${quoted(bodyOf(form).value)}`);
  command.textContent = kept.join(" \\\n  ");
}

function selectLine(area, number) {
  const lines = area.value.split("\n");
  const start = lines.slice(0, number - 1).join("\n").length + (number > 1 ? 1 : 0);
  area.focus();
  area.setSelectionRange(start, start + (lines[number - 1] || "").length);
  area.scrollTop = Math.max(0, (number - 4) * parseFloat(getComputedStyle(area).lineHeight));
}

let following = 0;

// Asks again for what is not final yet, until it is, or until enough time has passed.
async function follow() {
  const mine = ++following;
  const until = Date.now() + FOLLOW_FOR;
  for (let first = true; Date.now() < until; first = false) {
    const shown = document.querySelector("[data-follow]");
    if (!shown) {
      return;
    }
    if (!first) {
      await new Promise((resolve) => { setTimeout(resolve, FOLLOW_EVERY); });
    }
    if (mine !== following) {
      return;
    }
    if (document.hidden) {
      continue;
    }
    try {
      const response = await fetch(shown.dataset.follow, { headers: { Accept: "text/html", Prefer: PATIENCE } });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.getElementById("readable");
      if (!response.ok || !fresh || mine !== following || fresh.hasAttribute("data-follow")) {
        continue;
      }
      fresh.querySelector(".follow").textContent = "It has changed since the page was opened.";
      shown.replaceWith(document.adoptNode(fresh));
      // Also replaces the JSON if what is followed is this page itself; the answer to a POST stays as it was.
      if (new URL(shown.dataset.follow, location).pathname === location.pathname) {
        document.querySelector("#answer .json").replaceWith(document.adoptNode(page.querySelector("#answer .json")));
      }
      return;
    } catch {
      // The service is away for a moment; the next try may reach it.
    }
  }
  const line = document.querySelector("[data-follow] .follow");
  if (line) {
    line.textContent = "It still has not changed, and the page has stopped following it. Reload to look again.";
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.method) {
    event.preventDefault();
    if (!form.dataset.confirm || window.confirm(form.dataset.confirm)) {
      send(form, event.submitter);
    }
  }
});

// Empty fields stay out of the address.
document.addEventListener("formdata", (event) => {
  if (event.target.hasAttribute("data-filters")) {
    for (const [name, value] of [...event.formData]) {
      if (!value) { event.formData.delete(name); }
    }
  }
});

document.addEventListener("click", (event) => {
  const example = event.target.closest("[data-example]");
  if (example) {
    const form = example.form;
    bodyOf(form).value = JSON.parse(document.getElementById("examples").textContent)[example.dataset.example].body;
    tell(form);
    bodyOf(form).focus();
  }
  const line = event.target.closest("[data-line]");
  const area = document.querySelector("#send textarea");
  if (line && area) {
    event.preventDefault();
    document.getElementById("send").open = true;
    selectLine(area, Number(line.dataset.line));
  }
});

document.addEventListener("input", (event) => {
  if (event.target.form && event.target.form.dataset.method) { tell(event.target.form); }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("form[data-method] textarea")) {
    event.target.form.requestSubmit();
  }
});

follow();
