// Keeps the page in step with the gateway. Without it the page reloads by itself, and its levers
// are plain forms.

const liveness = document.getElementById("liveness");
const announcer = document.getElementById("announcer");
const levers = document.getElementById("levers");

const WORDS = { on: "Live", wait: "Reconnecting …", off: "Not live: reload" };

function show(state) {
  liveness.dataset.state = state;
  liveness.textContent = WORDS[state];
}

// The gateway escapes all that is not its own markup, and the policy runs no inline script.
function replace(id, html) {
  const section = document.getElementById(id);
  if (section === null) return;
  const focused = section.contains(document.activeElement) ? document.activeElement.id : "";
  section.innerHTML = html;
  if (focused) document.getElementById(focused)?.focus();
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

async function pull(event) {
  event.preventDefault();
  const button = event.submitter;
  const form = new FormData(levers, button);
  button.disabled = true;
  try {
    await fetch(levers.action, {
      method: "POST",
      body: new URLSearchParams(form),
      redirect: "manual",
    });
  } catch {
    show("wait");
  } finally {
    button.disabled = false;
  }
}

announce();
follow();
levers.addEventListener("submit", pull);
