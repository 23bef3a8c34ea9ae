// What the pages that refresh themselves have in common.
"use strict";
window.fresh = (() => {
  const LOGGED_OUT = "Not refreshed any more: you are logged out. Load the page again.";
  const FOCUSABLE = "a[href], summary, button:not([hidden]), input:not([type='hidden']), [tabindex='0']";

  // In UTC, like the other times on the pages.
  const clock = (moment) => `${moment.toISOString().slice(11, 19)} UTC`;

  // For the answer to a request that does not follow redirects, such as the one to the login.
  const isLoggedOut = (answer) => answer.type === "opaqueredirect" || answer.status === 403;

  // Why a request has failed, in words.
  const reason = (error, deadline) => error.name === "TimeoutError" ? `no answer within ${deadline / 1000} seconds`
    : error instanceof TypeError ? "the service cannot be reached" : error.message;

  // Replaces the content of an element while somebody looks at it: what they opened, scrolled, typed or focused stays so.
  function replace(element, html) {
    const all = (selector) => [...element.querySelectorAll(selector)];
    const open = all("details[open]").map((details) => details.id);
    const scrolled = all(".desk-scroll").map((table) => [table.scrollLeft, table.scrollTop]);
    const typed = all("input[id]").map((input) => [input.id, input.value]);
    const focused = all(FOCUSABLE).indexOf(document.activeElement);
    element.innerHTML = html;
    open.forEach((id) => { const details = document.getElementById(id); if (details) details.open = true; });
    all(".desk-scroll").forEach((table, number) => {
      if (scrolled[number]) [table.scrollLeft, table.scrollTop] = scrolled[number];
    });
    typed.forEach(([id, value]) => { const input = document.getElementById(id); if (input) input.value = value; });
    if (focused >= 0) all(FOCUSABLE)[focused]?.focus({preventScroll: true});
  }

  // Asks `url` for news again and again while somebody can see the page, says so in `#<name>-state`, and makes
  // `#<name>-pause` work. `every()` is how long to wait, in milliseconds; 0 when nothing more will come. `read` turns an
  // answer into what `show` shows; if they throw, the page says so and tries again. `told` says, at first and after each
  // refresh, how fresh the page is.
  function keep({name, url, deadline, every, read, show, told}) {
    const state = document.getElementById(`${name}-state`);
    const pause = document.getElementById(`${name}-pause`);
    let paused = false, timer = 0, busy = false, last = new Date();

    function say(text, failed = false) {
      state.textContent = text;
      state.parentElement.classList.toggle("desk-failed", failed);
    }

    function tell(isFirst) {
      pause.hidden = !every();
      say(told(clock(last), isFirst));
    }

    async function refresh() {
      if (busy || paused || document.hidden || !every()) return;
      busy = true;
      clearTimeout(timer);
      try {
        const answer = await fetch(url, {
          credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(deadline),
        });
        if (isLoggedOut(answer)) {
          say(LOGGED_OUT, true);
          return;
        }
        if (!answer.ok) throw new Error(`the service answered ${answer.status}`);
        const news = await read(answer);
        if (paused) return; // paused meanwhile
        show(news);
        last = new Date();
        tell(false);
      } catch (error) {
        if (paused) return;
        say(`Could not refresh at ${clock(new Date())}: ${reason(error, deadline)}. What is shown is from ${clock(last)}; trying on.`, true);
      } finally {
        busy = false;
      }
      wait();
    }

    function wait() {
      clearTimeout(timer);
      if (!paused && every()) timer = setTimeout(refresh, every());
    }

    pause.addEventListener("click", () => {
      paused = !paused;
      pause.textContent = paused ? "Go on" : "Pause";
      if (paused) {
        clearTimeout(timer);
        say(`Paused. What is shown is from ${clock(last)}.`);
      } else {
        refresh();
      }
    });
    document.addEventListener("visibilitychange", refresh);
    tell(true);
    wait();
  }

  return {LOGGED_OUT, clock, isLoggedOut, keep, reason, replace};
})();
