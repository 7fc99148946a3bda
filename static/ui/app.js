// What pages do beyond plain links and forms: keys, focus after swaps, messages, polls, charts. Everything works without it.
"use strict";
(() => {
  const root = document.documentElement;
  const plotlyUrl = document.currentScript.dataset.plotly;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const on = (type, act) => document.addEventListener(type, act);
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // Keys. `data-key="a"` (or "g i" for two strokes) on a real button, link or input; `data-key-label` where its text is not enough.
  const TYPING = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";
  const INTERACTIVE = `${TYPING}, input, a[href], button, summary, [role=button], [tabindex="0"]`;
  const LETTERS_ACT_IN = "[data-list], [data-card]";
  const SECOND_STROKE_MS = 1500;
  let firstStroke = "";
  let firstStrokeTimer = 0;

  const isVisible = (element) => element.checkVisibility() || element.closest("#side") !== null;
  const isUsable = (element) => isVisible(element) && !element.disabled && element.getAttribute("aria-disabled") !== "true";
  const scope = () => one("dialog:modal") || document;
  const keyed = () => all("[data-key]", scope()).filter(isUsable);

  const mayAct = (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.isComposing) return false;
    const focus = document.activeElement;
    if (!focus || focus === document.body) return true;
    if (focus.closest(TYPING)) return false;
    const isLetter = /^[a-z0-9]$/i.test(event.key);
    return !isLetter || !focus.matches(INTERACTIVE) || focus.closest(LETTERS_ACT_IN) !== null;
  };

  // Capitals ask for Shift; a locked Caps key alone changes no verb into another.
  const strokeOf = (event) => {
    if (!/^[a-z]$/i.test(event.key)) return event.key;
    return event.shiftKey ? event.key.toUpperCase() : event.key.toLowerCase();
  };

  const press = (element) => {
    if (element.matches(TYPING)) {
      element.focus();
      element.select?.();
    } else element.click();
  };

  const lists = () => all("[data-list]", scope()).filter(isVisible);
  const moveInList = (step) => {
    const list = document.activeElement?.closest("[data-list]") || lists()[0];
    const items = list ? all("[data-item]", list).filter(isVisible) : [];
    if (!items.length) return false;
    const here = items.findIndex((item) => item.contains(document.activeElement));
    const open = items.findIndex((item) => item.matches('[aria-current="true"]') || item.closest('[aria-current="true"]'));
    const from = here >= 0 ? here : open;
    const next = items[Math.min(items.length - 1, Math.max(0, from + step))];
    for (const item of items) item.tabIndex = item === next ? 0 : -1;
    next.focus();
    if (list.dataset.list === "follow" && next !== items[here]) next.click();
    return true;
  };

  const GENERAL = {
    "?": () => openDialog(one("#keys")),
    "/": () => {
      const search = all('[type="search"]', scope()).find(isUsable);
      search?.focus();
      return Boolean(search);
    },
    j: () => moveInList(1),
    k: () => moveInList(-1),
    o: () => {
      const item = document.activeElement?.closest("[data-item]");
      item?.click();
      return Boolean(item);
    },
    x: () => {
      const box = one("[type=checkbox]", document.activeElement?.closest("[data-list] > li") || make("i"));
      box?.click();
      return Boolean(box);
    },
  };

  on("keydown", (event) => {
    if (event.key === "Escape") return leave();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return send(event);
    if (root.dataset.keys === "off" || event.key.length > 1 || !mayAct(event)) return;
    const strokes = firstStroke ? `${firstStroke} ${strokeOf(event)}` : strokeOf(event);
    const wasSecond = firstStroke !== "";
    clearTimeout(firstStrokeTimer);
    firstStroke = "";
    const candidates = keyed();
    const target = candidates.find((element) => element.dataset.key === strokes);
    if (target) {
      event.preventDefault();
      press(target);
    } else if (!wasSecond && candidates.some((element) => element.dataset.key.startsWith(`${strokes} `))) {
      firstStroke = strokes;
      firstStrokeTimer = setTimeout(() => { firstStroke = ""; }, SECOND_STROKE_MS);
    } else if (!wasSecond && Object.hasOwn(GENERAL, strokes) && GENERAL[strokes]() !== false) event.preventDefault();
  });

  // Whoever typed into a box of several lines sends it without looking for the button.
  const send = (event) => {
    const form = document.activeElement?.closest("dialog form");
    const button = form && one(".actions button:not([type=button])", form);
    if (!button || event.repeat || event.isComposing) return;
    event.preventDefault();
    button.click();
  };

  const leave = () => {
    for (const menu of all("details.menu[open]")) {
      const hadFocus = menu.contains(document.activeElement);
      menu.open = false;
      if (hadFocus) one("summary", menu).focus();
    }
    if (document.activeElement?.matches('[type="search"]')) document.activeElement.blur();
  };

  const labelOf = (element) => {
    if (element.dataset.keyLabel) return element.dataset.keyLabel;
    if (element.ariaLabel) return element.ariaLabel;
    const copy = element.cloneNode(true);
    for (const extra of all(".keys, .count, svg, .sr", copy)) extra.remove();
    return copy.textContent.trim() || element.labels?.[0]?.textContent.trim() || element.placeholder || element.dataset.key;
  };
  const keyRow = (keys, label) =>
    make("div", {}, make("dt", {}, make("span", { class: "keys" }, ...keys.split(" ").map((key) => make("kbd", {}, key)))), make("dd", {}, label));
  const listKeys = () => {
    // What needs a selection first has its key all the same.
    const rows = all("[data-key]", scope()).filter(isVisible).map((element) => [element.dataset.key, labelOf(element)]);
    const here = rows.filter(([key]) => !key.startsWith("g ") && key !== "/");
    if (lists().length) here.unshift(["j", "Next in the list"], ["k", "Previous in the list"], ["o", "Open"]);
    if (lists().some((list) => one("[type=checkbox]", list))) here.unshift(["x", "Select or leave out"]);
    one("[data-keys-here]").replaceChildren(...here.map((row) => keyRow(...row)));
    const everywhere = one("[data-keys-everywhere]");
    for (const row of all("[data-found]", everywhere)) row.remove();
    for (const row of rows.filter(([key]) => key.startsWith("g "))) {
      const element = keyRow(...row);
      element.dataset.found = "";
      everywhere.append(element);
    }
  };

  const openDialog = (dialog) => {
    if (!dialog || dialog.open) return false;
    if (dialog.id === "keys") listKeys();
    if (one("#side:popover-open")) one("#side").hidePopover();
    dialog.showModal();
    return true;
  };

  on("click", (event) => {
    const target = event.target;
    for (const menu of all("details.menu[open]")) if (!menu.contains(target)) menu.open = false;
    if (target.matches("dialog")) target.close();
    const opener = target.closest("[data-opens]");
    if (opener) openDialog(document.getElementById(opener.dataset.opens));
    if (target.closest("[data-closes]")) target.closest("dialog")?.close();
    if (target.closest("[data-dismiss]")) target.closest(".toast, .alert")?.remove();
    if (target.closest("[data-select-all]")) selectAll(target.closest("form"));
  });

  const selectAll = (form) => {
    const boxes = all("[type=checkbox]:not(:disabled)", form);
    const isOn = boxes.some((box) => !box.checked);
    for (const box of boxes) box.checked = isOn;
    countSelected(form);
  };
  const countSelected = (form) => {
    const places = all("[data-selected]", form);
    if (!places.length) return;
    const count = all("[type=checkbox]:checked", form).length;
    for (const place of places) place.textContent = count;
    for (const button of all("[data-needs-selection]", form)) button.disabled = !count;
  };
  on("change", ({ target }) => { if (target.matches("[type=checkbox]") && target.form) countSelected(target.form); });

  // Words for those who do not see the page change.
  const announce = (text) => {
    const announcer = one("#announcer");
    announcer.textContent = "";
    setTimeout(() => { announcer.textContent = text; }, 50);
  };
  on("announce", (event) => announce(event.detail.value || event.detail));

  // Messages. A toast without a countdown leaves after a while unless it tells of trouble or is being read.
  const TOAST_MS = 8000;
  const toast = (status, text, id = "", ...buttons) => {
    if (id) document.getElementById(id)?.remove();
    const icon = one(`#shapes [data-shape="${status}"] svg`)?.cloneNode(true);
    const close = make("button", { type: "button", class: "quiet square", "data-dismiss": "", "aria-label": "Dismiss" }, one('#shapes [data-shape="close"] svg').cloneNode(true));
    const item = make("li", { class: "toast", "data-status": status }, ...(icon ? [icon] : []), make("span", { class: "grow" }, text), ...buttons, close);
    if (id) item.id = id;
    one("#messages").append(item);
  };
  const ageToast = (item, now) => {
    if (/bad|warn/.test(item.dataset.status) || one("[data-countdown-until]", item)) return;
    item.leavesAt ??= now + TOAST_MS;
    if (item.matches(":hover, :focus-within")) item.leavesAt = now + TOAST_MS / 2;
    if (now >= item.leavesAt) item.remove();
  };

  // Times. The server's clock rules: its difference to ours is taken once from `data-now`.
  const countDown = (element, now) => {
    element.behind ??= element.dataset.now ? Date.parse(element.dataset.now) - now : 0;
    const left = Date.parse(element.dataset.countdownUntil) - now - element.behind;
    element.textContent = `${Math.max(0, Math.ceil(left / 1000))} s`;
    if (left > 0 || element.isOver) return;
    element.isOver = true;
    element.dispatchEvent(new CustomEvent("countdown-over", { bubbles: true }));
    element.closest(".toast")?.remove();
  };
  const UNITS = [[86400, "d"], [3600, "h"], [60, "m"]];
  const inUnits = (seconds) => {
    const [size, unit] = UNITS.find(([each]) => seconds >= each) || [1, "s"];
    return `${Math.floor(seconds / size)} ${unit}`;
  };
  const relative = (element, now) => {
    const seconds = (now - Date.parse(element.dateTime)) / 1000;
    if (seconds >= 30 * 86400) return;
    const kind = element.dataset.relative;
    if (kind === "age") element.textContent = seconds < 60 ? "now" : inUnits(seconds);
    if (kind === "ago") element.textContent = seconds < 60 ? "just now" : `${inUnits(seconds)} ago`;
    if (kind !== "until") return;
    if (seconds > 0) element.textContent = seconds < 60 ? "overdue" : `overdue ${inUnits(seconds)}`;
    else element.textContent = seconds > -60 ? "under 1 m left" : `${inUnits(-seconds)} left`;
  };

  // Polls: `data-poll="5"` with hx-trigger="poll". Only while somebody looks; at once when they come back.
  const poll = (element, now) => {
    const period = (Number(element.dataset.poll) || 5) * 1000;
    element.pollsAt ??= now + period;
    if (now < element.pollsAt || element.classList.contains("htmx-request")) return;
    element.pollsAt = now + period;
    htmx.trigger(element, "poll");
  };
  let ticks = 0;
  const tick = () => {
    const now = Date.now();
    for (const element of all("[data-countdown-until]")) countDown(element, now);
    for (const item of all(".toast")) ageToast(item, now);
    if (document.visibilityState === "visible") {
      for (const element of all("[data-poll]")) poll(element, now);
      if (one("#ahead")?.drawnAt < now - AHEAD_MS) lookAhead();
    }
    if (ticks++ % 15 === 0) for (const element of all("time[data-relative]")) relative(element, now);
  };
  setInterval(tick, 1000);
  on("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    for (const element of all("[data-poll]")) element.pollsAt = 0;
    tick();
  });

  // Cards. The next one is drawn ahead and stands there at once when a verdict is given; the verdict itself goes its own way.
  // If it is refused, the decided card comes back as it was left. A card drawn ahead is claimed when it is shown: until the
  // claim is answered nobody knows the version that a verdict on it must carry, so the verdict waits for that.
  const AHEAD_MS = 60_000;
  const ANSWERED_WITH_A_CARD = [409, 422];
  const openCard = () => one("#detail [data-open-card]")?.dataset;
  const rowOf = (id) => document.getElementById(`proposal-${id}`);
  let claiming = null;
  let aheadTimer = 0;

  const ask = (url, body) => fetch(url, {
    method: body ? "POST" : "GET",
    body,
    headers: { ...JSON.parse(document.body.getAttribute("hx-headers")), "HX-Request": "true", "HX-Current-URL": location.href },
  });
  const lookAhead = async () => {
    const place = one("#ahead");
    const url = openCard()?.ahead;
    if (!place || !url || root.dataset.advance === "off") return;
    place.drawnAt = Date.now();
    const answer = await ask(url + location.search).catch(() => null);
    if (answer?.ok && !answer.headers.has("HX-Redirect") && openCard()?.ahead === url) htmx.swap(place, await answer.text(), { swapStyle: htmx.config.defaultSwapStyle });
  };
  const lookAheadSoon = () => {
    clearTimeout(aheadTimer);
    aheadTimer = setTimeout(lookAhead, 100);
  };
  const drawnAhead = (id) => {
    const place = one("#ahead");
    const next = place && one(`template[data-after="${id}"]`, place);
    if (!next || root.dataset.advance === "off" || Date.now() - place.drawnAt > AHEAD_MS) return null;
    const shown = one("[name=shown]", rowOf(next.dataset.card) || make("i"))?.value;
    return !shown || shown === `${next.dataset.card}:${next.dataset.version}` ? next : null;
  };

  const markOpen = (id) => {
    const row = rowOf(id);
    if (!one("#queue") || row?.matches("[aria-current]")) return;
    for (const each of all("#queue li [name=open]")) each.remove();
    for (const each of all("#queue [aria-current]")) each.removeAttribute("aria-current");
    if (!row) return;
    row.append(make("input", { type: "hidden", name: "open", value: id }));
    for (const each of [row, one("[data-item]", row)]) each?.setAttribute("aria-current", "true");
  };
  const show = (nodes, url) => {
    const place = one("#detail");
    const open = one("dialog[open]", place);
    open?.close();
    const held = { nodes: [...place.childNodes], url: location.pathname + location.search, open };
    place.replaceChildren(...nodes);
    htmx.process(place);
    meet(place);
    history.pushState({ htmx: true }, "", url);
    markOpen(openCard()?.openCard);
    showFromTop({ target: place });
    const heading = one("[data-focus]", place);
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    return held;
  };
  // Nobody loses what they are typing into the card that is open now: then a message leads back.
  const isBusy = () => Boolean(one("#detail dialog[open]"));
  const comeBack = (words, act) => {
    if (!isBusy()) return act();
    const button = make("button", { type: "button", class: "small" }, "Back to it");
    button.addEventListener("click", () => {
      button.closest(".toast").remove();
      for (const dialog of all("#detail dialog[open]")) dialog.close();
      act();
    });
    toast("bad", words, "", button);
  };

  const give = async (form, submitter, next) => {
    const { openCard: id } = openCard();
    const body = new FormData(form, submitter);
    body.append("ahead", next.dataset.card);
    const held = show([...document.importNode(next.content, true).childNodes], next.dataset.url + location.search);
    next.remove();
    if (rowOf(id)) rowOf(id).hidden = true;
    claiming = settle(form.getAttribute("hx-post"), body, id, held, next.dataset);
    // Whatever breaks on this way must not hold up the next verdict.
    try { await claiming; } finally { claiming = null; }
    lookAhead();
  };
  const settle = async (url, body, id, held, next) => {
    const answer = await ask(url, body).catch(() => null);
    const text = await answer?.text().catch(() => "") || "";
    if (answer?.headers.has("HX-Redirect")) return location.assign(answer.headers.get("HX-Redirect"));
    if (answer?.ok) {
      htmx.swap(document.body, text, { swapStyle: "none" });
      leaveQueue(id);
      countDownInbox();
      return claimShown(next);
    }
    if (rowOf(id)) rowOf(id).hidden = false;
    if (ANSWERED_WITH_A_CARD.includes(answer?.status)) return comeBack(wordsOf(answer.status, text), () => {
      history.pushState({ htmx: true }, "", held.url);
      htmx.swap("#detail", text, { swapStyle: htmx.config.defaultSwapStyle });
    });
    const words = answer ? wordsOf(answer.status, text) : UNREACHABLE;
    toast("bad", words, answer ? `failed-${answer.status}` : "offline");
    return comeBack(words, () => {
      show(held.nodes, held.url);
      openDialog(held.open);
    });
  };
  const claimShown = async ({ card, version, digest, claim }) => {
    const body = new FormData();
    for (const [name, value] of Object.entries({ version, digest, ahead: card })) body.append(name, value);
    const answer = await ask(claim, body).catch(() => null);
    if (!answer?.ok || openCard()?.openCard !== card) return;
    if (!answer.headers.get("Content-Type").includes("json")) {
      const text = await answer.text();
      comeBack(wordsOf(answer.status, text), () => htmx.swap("#detail", text, { swapStyle: htmx.config.defaultSwapStyle }));
      return;
    }
    const claimed = await answer.json();
    for (const input of all("#detail [name=version]")) input.value = claimed.version;
    const shown = one("[name=shown]", rowOf(card) || make("i"));
    if (shown) shown.value = `${card}:${claimed.version}`;
  };
  // A row that left stays in its place, unseen, until no answer of a poll can be about it any more.
  const leaving = new Set();
  const leaveQueue = (id) => {
    const row = rowOf(id);
    if (!row) return;
    one("[name=shown]", row)?.remove();
    leaving.add(row);
    if (!all("#queue [data-item]").some(isVisible)) one("#more-cards a")?.click();
  };
  // One less waits. Whatever else changed meanwhile, the next poll counts anew.
  const countDownInbox = () => {
    const count = one("#count-inbox");
    if (!count) return;
    count.textContent = Math.max(0, Number(count.textContent) - 1);
    count.hidden = count.textContent === "0";
  };
  const clearQueue = () => {
    for (const row of leaving) (rowOf(row.id.replace("proposal-", "")) || row).remove();
    leaving.clear();
  };

  // A poll that overtakes a verdict, or is overtaken, must neither bring back a card that is not open any more, nor take away
  // one whose answer is under way, nor look for its rows in a queue that was drawn anew meanwhile.
  const forgetPollOf = (queue) => queue.addEventListener("htmx:beforeOnLoad", (event) => event.preventDefault());
  on("htmx:beforeSwap", ({ detail }) => { if (detail.shouldSwap && detail.target.id === "queue" && detail.elt !== detail.target) forgetPollOf(detail.target); });
  on("htmx:oobBeforeSwap", ({ detail }) => {
    const { target, fragment } = detail;
    if (target.id === "queue") forgetPollOf(target);
    if (target.id !== "detail") return;
    const isOpen = one("[data-open-card]", fragment)?.dataset.openCard === openCard()?.openCard;
    if (!isOpen || one('.htmx-request[hx-target="#detail"]')) detail.shouldSwap = false;
  });
  on("htmx:confirm", (event) => {
    const form = event.detail.elt;
    if (!form.matches("form[data-verdict]")) return;
    event.preventDefault();
    if (form.isWaiting) return;
    form.isWaiting = Boolean(claiming);
    const { issueRequest, triggeringEvent } = event.detail;
    const go = () => {
      form.isWaiting = false;
      if (!form.isConnected) return undefined;
      const next = form.matches("[data-advances]") ? drawnAhead(openCard().openCard) : null;
      return next ? give(form, triggeringEvent.submitter, next) : issueRequest(true);
    };
    if (claiming) claiming.then(go, go);
    else go();
  });
  on("htmx:afterSettle", ({ detail }) => {
    if (detail.elt.id === "queue" && !detail.requestConfig?.elt.matches("[data-poll]")) leaving.clear();
    if (detail.elt.id !== "detail") return;
    markOpen(openCard()?.openCard);
    lookAheadSoon();
  });
  on("htmx:afterRequest", ({ detail }) => { if (detail.elt.matches("[data-poll]")) clearQueue(); });

  // Hints: `data-hints="/inbox/events/"` beside data-poll. A stream that says "changed" lets the polls run at once; without
  // it they run on as ever. Only for a page that somebody looks at, as a browser opens few connections to one host.
  const HINTS_REST_MS = 60000;
  let hints = null;
  let hintsRestUntil = 0;
  const dropHints = () => {
    hints?.close();
    hints = null;
  };
  const watchHints = () => {
    const place = document.visibilityState === "visible" && one("[data-hints]");
    if (!place) return dropHints();
    if (hints || Date.now() < hintsRestUntil) return;
    hints = new EventSource(place.dataset.hints);
    hints.addEventListener("changed", () => { for (const element of all("[data-hints][data-poll]")) element.pollsAt = 0; });
    hints.addEventListener("error", () => {
      if (hints?.readyState !== EventSource.CLOSED) return;
      hintsRestUntil = Date.now() + HINTS_REST_MS;
      dropHints();
    });
  };
  setInterval(watchHints, 1000);
  addEventListener("pagehide", dropHints);

  // Around htmx: busy marks, focus after swaps, and words for failures.
  let lostIn = null;
  on("htmx:beforeRequest", ({ detail }) => {
    if (!detail.elt.matches("[data-poll], [data-quiet], [hx-swap=none]")) detail.target?.setAttribute("aria-busy", "true");
  });
  on("htmx:afterRequest", ({ detail }) => {
    detail.target?.removeAttribute("aria-busy");
    if (detail.successful) document.getElementById("offline")?.remove();
  });
  on("htmx:beforeSwap", ({ detail }) => {
    lostIn = detail.shouldSwap && detail.target?.contains(document.activeElement) ? detail.target.id : null;
  });
  // A card that was swapped in is read from its top, also where it stands below the list.
  const showFromTop = ({ target, requestConfig }) => {
    if (!target?.matches(".detail") || requestConfig?.elt.matches("[data-poll]")) return;
    target.scrollTop = 0;
    const { top } = target.getBoundingClientRect();
    if (top < 0 || top > innerHeight / 2) target.scrollIntoView({ block: "start" });
  };
  on("htmx:afterSettle", ({ detail }) => {
    showFromTop(detail);
    const told = detail.elt.matches("[data-announce]") ? detail.elt : one("[data-announce]", detail.elt);
    if (told) announce(told.dataset.announce);
    if (lostIn === null || (document.activeElement && document.activeElement !== document.body)) return;
    const place = document.getElementById(lostIn) || detail.elt;
    lostIn = null;
    const heading = one("[data-focus], h1, h2, h3", place) || place;
    if (!heading.matches(INTERACTIVE)) heading.tabIndex = -1;
    heading.focus({ preventScroll: heading === place });
  });

  const FAILURES = {
    403: "You may not do this. Nothing was changed.",
    404: "This is no longer here. Nothing was changed.",
    413: "This is too large. Nothing was changed.",
    429: "Too much at once. Nothing was changed; wait a moment and try again.",
  };
  const UNREACHABLE = "The server cannot be reached. What you just sent may not have arrived; this page goes on trying.";
  const wordsOf = (status, text) => {
    const page = new DOMParser().parseFromString(text || "", "text/html");
    const told = one("[data-alert], [role=alert]", page)?.textContent.replace(/\s+/g, " ").trim();
    return told || FAILURES[status] || "Something broke on our side. Nothing of this request was kept; try again.";
  };
  const failedPanel = (element, words) => {
    const again = make("button", { type: "button", class: "small" }, "Try again");
    again.addEventListener("click", () => htmx.ajax("GET", element.getAttribute("hx-get"), { source: element, target: element }));
    element.replaceChildren(make("div", { class: "alert", "data-status": "bad", role: "alert" }, make("div", {}, words), make("div", { class: "actions" }, again)));
  };
  const fail = (detail, words, id) => {
    if (detail.elt.matches("[hx-get]") && one(".skeleton, [role=alert]", detail.elt)) failedPanel(detail.elt, words);
    else toast("bad", words, id);
  };
  on("htmx:responseError", ({ detail }) => fail(detail, wordsOf(detail.xhr.status, detail.xhr.responseText), `failed-${detail.xhr.status}`));
  for (const type of ["htmx:sendError", "htmx:timeout"])
    on(type, ({ detail }) => fail(detail, UNREACHABLE, "offline"));

  // Preferences answer with 204 and this event; without JavaScript the page comes back instead.
  on("preference", ({ detail }) => {
    root.dataset[detail.name] = detail.choice;
    for (const button of all(`button[name="${detail.name}"]`)) button.setAttribute("aria-pressed", String(button.value === detail.choice));
    if (detail.name === "keys") one("#keys-off").hidden = detail.choice === "on";
    announce(`${detail.name}: ${detail.choice}`);
    if (detail.name === "theme") redrawCharts();
    if (detail.name === "advance") lookAhead();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redrawCharts());

  // Charts: drawn when they scroll into view. A colour in a figure is a token: "--accent", or "--accent/0.2" for a tint.
  let plotly = null;
  const loadPlotly = () => {
    plotly ??= new Promise((resolve, reject) => {
      const script = make("script", { src: plotlyUrl });
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => { plotly = null; reject(new Error("plotly.js did not load")); };
      document.head.append(script);
    });
    return plotly;
  };
  const colour = (token) => {
    const [name, opacity] = token.split("/");
    const probe = make("i");
    probe.style.color = `var(${name})`;
    root.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return opacity ? value.replace("rgb(", "rgba(").replace(")", `, ${opacity})`) : value;
  };
  const coloured = (value) => {
    if (typeof value === "string") return value.startsWith("--") ? colour(value) : value;
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each)]));
    return value;
  };
  const isPlain = (value) => value && typeof value === "object" && !Array.isArray(value);
  const over = (base, own) => {
    const merged = { ...base };
    for (const [key, value] of Object.entries(own || {})) merged[key] = isPlain(value) && isPlain(base[key]) ? over(base[key], value) : value;
    return merged;
  };
  const AXIS = { gridcolor: "--line", linecolor: "--line", zerolinecolor: "--line", tickfont: { size: 12, color: "--muted" }, automargin: true, title: { font: { size: 12 } } };
  const LAYOUT = {
    autosize: true, showlegend: false, dragmode: false, hovermode: "x unified", margin: { l: 44, r: 12, t: 12, b: 28 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    colorway: ["--accent", "--ok", "--amber", "--bad", "--muted"],
    font: { family: "system-ui, sans-serif", size: 12, color: "--muted" },
    hoverlabel: { bgcolor: "--surface", bordercolor: "--line-strong", font: { color: "--text", size: 12 } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: "--text" } },
  };
  const CONFIG = { displayModeBar: false, displaylogo: false, responsive: true, showTips: false, scrollZoom: false, doubleClick: false };
  const layoutOf = (own = {}) => {
    const layout = over(LAYOUT, own);
    for (const name of new Set(["xaxis", "yaxis", ...Object.keys(own).filter((key) => /^[xy]axis\d*$/.test(key))])) layout[name] = over(AXIS, own[name]);
    return coloured(layout);
  };
  const traceOf = (own) => coloured(over(/^scatter/.test(own.type || "scatter") ? { connectgaps: false, line: { width: 2 } } : {}, own));
  const figureOf = async (source) => {
    if (source.startsWith("#")) return JSON.parse(one(source).textContent);
    const answer = await fetch(source, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(`${source} answered ${answer.status}`);
    return answer.json();
  };
  const draw = async (element) => {
    element.setAttribute("aria-busy", "true");
    try {
      element.figure ??= await figureOf(element.dataset.chart);
      const library = await loadPlotly();
      if (element.isConnected) await library.react(element, element.figure.data.map(traceOf), layoutOf(element.figure.layout), CONFIG);
    } catch {
      element.replaceChildren(make("p", { class: "muted" }, "The chart could not be drawn. The numbers are in the table below it."));
    } finally {
      element.removeAttribute("aria-busy");
    }
  };
  const redrawCharts = () => { for (const element of all("[data-chart]")) if (element.figure) draw(element); };
  const sight = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      sight.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "200px" });
  on("htmx:beforeCleanupElement", ({ target }) => { if (target.figure) window.Plotly?.purge(target); });

  const meet = (within) => {
    for (const element of all("[data-chart]", within)) if (!element.figure) sight.observe(element);
    for (const element of all("[data-key]", within)) if (/^[a-z0-9]$/i.test(element.dataset.key)) element.setAttribute("aria-keyshortcuts", element.dataset.key.replace(/[A-Z]/, "Shift+$&"));
    for (const dialog of all("dialog[data-open]", within)) openDialog(dialog);
    for (const place of all("[data-selected]", within)) countSelected(place.closest("form"));
  };
  meet(document);
  lookAheadSoon();
  on("htmx:load", ({ target }) => meet(target.parentNode || target));
})();
