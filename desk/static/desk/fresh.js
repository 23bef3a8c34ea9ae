// What the pages have in common that keep themselves fresh.
"use strict";
window.fresh = (() => {
  const LOGGED_OUT = "Not refreshed any more: you are logged out. Load the page again.";
  const FOCUSABLE = "a[href], summary, button:not([hidden]), input:not([type='hidden']), [tabindex='0']";

  // The times on the pages are in UTC too.
  const clock = (moment) => `${moment.toISOString().slice(11, 19)} UTC`;

  // Of a request that follows no redirect: that to the login is one.
  const isLoggedOut = (answer) => answer.type === "opaqueredirect" || answer.status === 403;

  // Why a request has failed, in words.
  const reason = (error, deadline) => error.name === "TimeoutError" ? `no answer within ${deadline / 1000} seconds`
    : error instanceof TypeError ? "the service cannot be reached" : error.message;

  // Replaces what is inside of an element under somebody's eyes: what they opened, scrolled, typed or focused stays so.
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

  return {LOGGED_OUT, clock, isLoggedOut, reason, replace};
})();
