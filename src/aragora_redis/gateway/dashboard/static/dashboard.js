// Keeps the page in step with the gateway. Without it the page reloads by itself, its levers are
// plain forms, and what asks first is a page of its own.

const liveness = document.getElementById("liveness");
const announcer = document.getElementById("announcer");
const levers = document.getElementById("levers");
const dialog = document.getElementById("dialog");
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

const WORDS = { on: "Live", wait: "Reconnecting …", off: "Not live: reload" };
const MOVES = { duration: 600, easing: "cubic-bezier(0.2, 0, 0, 1)" };

function show(state) {
  liveness.dataset.state = state;
  liveness.textContent = WORDS[state];
  document.body.dataset.live = state;
}

// --- what lives ---------------------------------------------------------------------------

// What the operator has opened stays open, and what has the focus keeps it.
const kept = {
  beforeAttributeUpdated: (name, element) => !(name === "open" && element.tagName === "DETAILS"),
};

// The gateway escapes all that is not its own markup, and the policy runs no inline script.
function replace(id, html) {
  const section = document.getElementById(id);
  if (section === null) return;
  const before = places(section);
  Idiomorph.morph(section, html, { morphStyle: "innerHTML", callbacks: kept });
  if (before.size > 0 && !calm.matches) move(section, before);
}

function places(section) {
  const boxes = section.querySelectorAll("[data-x]");
  return new Map(Array.from(boxes, (box) => [box.id, [box.dataset.x, box.dataset.y]]));
}

// A server that takes another one's place is seen to go there.
function move(section, before) {
  for (const box of section.querySelectorAll("[data-x]")) {
    const old = before.get(box.id);
    const now = [box.dataset.x, box.dataset.y];
    if (old === undefined || (old[0] === now[0] && old[1] === now[1])) continue;
    const [from, to] = [old, now].map(([x, y]) => ({ transform: `translate(${x}px, ${y}px)` }));
    box.animate([from, to], MOVES);
  }
}

// A ticking figure is not read out, a change of the headline is.
function announce() {
  const headline = document.querySelector("[data-say]");
  if (headline === null) return;
  document.title = `${headline.dataset.title} · aragora-redis`;
  if (announcer.textContent !== headline.dataset.say) announcer.textContent = headline.dataset.say;
}

function follow() {
  const stream = new EventSource("/dashboard/events");
  stream.addEventListener("open", () => show("on"));
  stream.addEventListener("sections", (message) => {
    for (const [id, html] of Object.entries(JSON.parse(message.data))) replace(id, html);
    announce();
  });
  stream.addEventListener("ended", () => {
    stream.close();
    location.reload();
  });
  stream.addEventListener("error", () => {
    show(stream.readyState === EventSource.CLOSED ? "off" : "wait");
  });
}

// --- what is done -------------------------------------------------------------------------

async function send(form, button, options) {
  const body = new URLSearchParams(new FormData(form, button));
  if (button !== null) button.disabled = true;
  try {
    return await fetch(form.action, { method: "POST", body, ...options });
  } catch {
    show("wait");
    return null;
  } finally {
    if (button !== null) button.disabled = false;
  }
}

// What asks first, and what it came to, are pages; of these the dialog shows the content.
async function ask(form, button) {
  const answer = await send(form, button);
  if (answer === null) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const content = page.querySelector("main.asking");
  if (content === null) {
    // Either it goes on and is told on the page, or nobody is logged in any more.
    dialog.close();
    if (!answer.ok || new URL(answer.url).pathname !== "/dashboard") location.reload();
    return;
  }
  dialog.replaceChildren(...content.childNodes);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  (dialog.querySelector("input:not([type=hidden])") ?? dialog.querySelector("h1")).focus();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form !== levers && !("asks" in form.dataset)) return;
  event.preventDefault();
  if (form === levers) void send(form, event.submitter, { redirect: "manual" });
  else void ask(form, event.submitter);
});

dialog.addEventListener("click", (event) => {
  if (!event.target.matches("[data-closes]")) return;
  event.preventDefault();
  dialog.close();
});

announce();
follow();
