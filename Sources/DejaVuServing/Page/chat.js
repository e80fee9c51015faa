// The conversation: what was said, what is being said, and what to tell when it fails.

const $ = (id) => document.getElementById(id);

const settings = {
  defaults: { system: "", temperature: 0.7, max: null, theme: "auto" },
  load() {
    let stored = {};
    try { stored = JSON.parse(localStorage.getItem("settings")) ?? {}; } catch { /* a broken store counts as none */ }
    this.values = { ...this.defaults, ...stored };
    this.key = sessionStorage.getItem("key") ?? "";
    this.apply();
  },
  save() {
    localStorage.setItem("settings", JSON.stringify(this.values));
    sessionStorage.setItem("key", this.key);
    this.apply();
  },
  apply() { document.documentElement.dataset.theme = this.values.theme; },
  fill() {
    $("set-system").value = this.values.system;
    $("set-temperature").value = this.values.temperature;
    $("out-temperature").textContent = Number(this.values.temperature).toFixed(2);
    $("set-max").value = this.values.max ?? "";
    $("set-key").value = this.key;
    document.querySelector(`input[name="theme"][value="${CSS.escape(this.values.theme)}"]`).checked = true;
  },
  read() {
    const max = parseInt($("set-max").value, 10);
    this.values = {
      system: $("set-system").value, temperature: Number($("set-temperature").value), max: max > 0 ? max : null,
      theme: document.querySelector('input[name="theme"]:checked').value,
    };
    this.key = $("set-key").value.trim();
    $("out-temperature").textContent = this.values.temperature.toFixed(2);
    this.save();
  },
};

const requestHeaders = (more = {}) => settings.key ? { ...more, authorization: "Bearer " + settings.key } : more;

// What went wrong, in words for people, and what may be done about it.
class Failure extends Error {
  constructor(title, text, action) { super(text); this.title = title; this.action = action; }

  // May be gone when the answer is asked for again.
  isPassing = false;

  static of(status, error, retryAfter) {
    const text = error?.message ?? "The server answered with status " + status + ".";
    if (error?.code === "context_length_exceeded") return new Failure("Too long.", text + " A new chat starts with an empty context.", "new");
    if (status === 401) return new Failure("No access.", "This server needs an API key.", "key");
    if (status === 429) return new Failure("Busy.", text + (retryAfter ? ` It may work in ${plural(Number(retryAfter), "second")}.` : ""), "retry");
    if (status >= 502 && status <= 504) return Object.assign(new Failure("Not ready.", text, "retry"), { isPassing: true });
    if (status >= 500) return new Failure("The server failed.", text, "retry");
    return new Failure("Not possible.", text, "retry");
  }
}

const chat = {
  messages: [],
  usedTokens: 0,
  running: null,

  start() {
    try { this.messages = JSON.parse(sessionStorage.getItem("chat")) ?? []; } catch { this.messages = []; }
    this.usedTokens = Number(sessionStorage.getItem("used")) || 0;
    for (const message of this.messages) this.addTurn(message);
    this.changed();
    // An answer that was being written when the page was loaded anew goes on.
    const pending = this.pending();
    if (pending && this.messages.at(-1)?.role === "user") this.answer(pending);
  },

  pending() {
    try { return JSON.parse(sessionStorage.getItem("pending")); } catch { return null; }
  },

  changed() {
    $("welcome").hidden = this.messages.length > 0;
    try {
      sessionStorage.setItem("chat", JSON.stringify(this.messages));
      sessionStorage.setItem("used", this.usedTokens);
    } catch { /* a full store only costs the memory across reloads */ }
    showContext();
  },

  clear() {
    this.stop();
    this.messages = [];
    this.usedTokens = 0;
    $("log").replaceChildren();
    this.changed();
    $("prompt").focus();
  },

  stop() { this.running?.abort("stopped"); },

  addTurn(message) {
    const turn = make("article", "turn " + message.role);
    turn.setAttribute("aria-label", message.role === "user" ? "You" : "Answer");
    if (message.role === "user") turn.textContent = message.content;
    else this.showAnswer(turn, message);
    $("log").append(turn);
    return turn;
  },

  showAnswer(turn, message) {
    const prose = make("div", "prose");
    prose.append(markdown.render(message.content));
    turn.replaceChildren(prose);
    if (!message.note) return;
    const meta = make("div", "meta");
    const copy = make("button", "", "Copy");
    copy.type = "button";
    copy.addEventListener("click", () => copyText(message.content, copy));
    const again = make("button", "again", "Try again");
    again.type = "button";
    again.addEventListener("click", () => this.again());
    meta.append(copy, again, make("span", "", message.note));
    turn.append(meta);
  },

  send(text) {
    if (this.running || !text.trim()) return;
    const message = { role: "user", content: text };
    this.messages.push(message);
    this.addTurn(message);
    this.changed();
    this.answer();
  },

  // Answers the last message once more.
  again() {
    if (this.running) return;
    document.querySelectorAll(".notice").forEach((notice) => notice.remove());
    if (this.messages.at(-1)?.role === "assistant") {
      this.messages.pop();
      $("log").lastElementChild.remove();
    }
    if (this.messages.length) this.answer();
  },

  async answer(pending = null) {
    document.querySelectorAll(".notice, .again").forEach((element) => element.remove());
    const abort = this.running = new AbortController();
    const message = { role: "assistant", content: "" };
    const turn = this.addTurn(message);
    turn.setAttribute("aria-busy", "true");
    const dots = make("span", "thinking");
    dots.setAttribute("aria-label", "Waiting for the answer");
    dots.append(make("i"), make("i"), make("i"));
    turn.replaceChildren(dots);
    setBusy(true);
    scroll.toEnd(true);
    const started = performance.now();
    const facts = { first: null, tokens: 0, reason: null };
    let failure = null;
    try {
      await this.stream(message, turn, abort.signal, facts, pending ?? this.request());
    } catch (error) {
      if (abort.signal.aborted) facts.reason = "stopped";
      else failure = error instanceof Failure ? error : new Failure("No connection.", "The server cannot be reached, or the connection broke.", "retry");
    }
    this.running = null;
    sessionStorage.removeItem("pending");
    setBusy(false);
    turn.removeAttribute("aria-busy");
    if (message.content || !failure) {
      message.note = note(facts, started, failure);
      this.messages.push(message);
      this.showAnswer(turn, message);
    } else turn.remove();
    if (failure) this.showFailure(failure);
    else $("announcer").textContent = facts.reason === "stopped" ? "Stopped." : "The answer is complete.";
    this.changed();
    scroll.toEnd();
  },

  // What is asked, under a name by which it can be asked for again.
  request() {
    const system = settings.values.system.trim();
    const body = {
      messages: [...(system ? [{ role: "system", content: system }] : []), ...this.messages.map(({ role, content }) => ({ role, content }))],
      temperature: settings.values.temperature, stream: true, stream_options: { include_usage: true },
    };
    if (settings.values.max) body.max_tokens = settings.values.max;
    const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return { key, body: JSON.stringify(body) };
  },

  // Follows an answer to its end, over as many connections as it takes.
  async stream(message, turn, signal, facts, { key, body }) {
    try { sessionStorage.setItem("pending", JSON.stringify({ key, body })); } catch { /* then a reload loses the answer */ }
    // Who leaves without a word is waited for.
    signal.addEventListener("abort", () => {
      fetch(`/v1/requests/${key}/cancel`, { method: "POST", headers: requestHeaders(), keepalive: true }).catch(() => {});
    });
    const draw = this.drawing(message, turn, signal);
    const place = { id: null, hasBegun: false };
    let [wait, news] = [250, performance.now()];
    for (;;) {
      const before = place.id;
      try {
        await this.follow(message, signal, facts, { key, body, place, draw: () => { turn.removeAttribute("data-cut"); draw(); } });
        if (facts.reason) return;
      } catch (error) {
        if (signal.aborted || !place.hasBegun || (error instanceof Failure && !error.isPassing)) throw error;
      }
      if (place.id !== before) [wait, news] = [250, performance.now()];
      if (performance.now() - news > 60000) throw new Failure("Cut off.", "The connection ended before the answer did, and did not come back.", "retry");
      turn.setAttribute("data-cut", "");
      await new Promise((resolve) => {
        setTimeout(resolve, wait);
        signal.addEventListener("abort", resolve, { once: true });
      });
      signal.throwIfAborted();
      wait = Math.min(wait * 2, 4000);
    }
  },

  // One connection: from the last event that came to the end, or as far as it holds.
  async follow(message, signal, facts, { key, body, place, draw }) {
    const headers = { "content-type": "application/json", "idempotency-key": key };
    if (place.id) headers["last-event-id"] = place.id;
    const response = await fetch("/v1/chat/completions", { method: "POST", headers: requestHeaders(headers), body, signal });
    if (!response.ok) {
      const answer = await response.json().catch(() => ({}));
      throw Failure.of(response.status, answer.error, response.headers.get("retry-after"));
    }
    place.hasBegun = true;
    for await (const { id, data: event } of events(response.body)) {
      if (id) place.id = id;
      if (!event) continue;
      if (event.error) throw Object.assign(Failure.of(503, event.error), { isPassing: false });
      if (event.usage) {
        facts.tokens = event.usage.completion_tokens;
        this.usedTokens = event.usage.total_tokens;
      }
      const choice = event.choices?.[0];
      facts.reason = choice?.finish_reason ?? facts.reason;
      if (!choice?.delta?.content) continue;
      facts.first ??= performance.now();
      facts.tokens += 1;
      message.content += choice.delta.content;
      draw();
    }
  },

  // Shows an answer that grows, once a frame.
  drawing(message, turn, signal) {
    let isScheduled = false;
    const draw = () => {
      isScheduled = false;
      if (signal.aborted || !turn.isConnected || this.running?.signal !== signal) return;
      const prose = make("div", "prose");
      prose.append(markdown.render(message.content));
      turn.replaceChildren(prose);
      scroll.toEnd();
    };
    return () => {
      if (!isScheduled) { isScheduled = true; requestAnimationFrame(draw); }
    };
  },

  showFailure(failure) {
    const notice = make("div", "notice");
    notice.setAttribute("role", "alert");
    const text = make("span");
    text.append(make("b", "", failure.title), " " + failure.message);
    const button = make("button", "", { retry: "Try again", new: "New chat", key: "Enter a key" }[failure.action]);
    button.type = "button";
    button.addEventListener("click", () => {
      if (failure.action === "new") return this.clear();
      if (failure.action === "key") return openSettings("set-key");
      this.again();
    });
    notice.append(text, button);
    $("log").append(notice);
  },
};

// The events of a stream with their ids, parsed; the end mark has no data.
async function* events(body) {
  const decoder = new TextDecoder();
  let buffer = "";
  for (const reader = body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += decoder.decode(value, { stream: true });
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").filter((line) => line.startsWith(name)).map((line) => line.slice(name.length)).join("\n");
      const data = field("data: ");
      if (data) yield { id: field("id: "), data: data === "[DONE]" ? null : JSON.parse(data) };
    }
  }
}

const note = (facts, started, failure) => {
  const parts = [];
  if (facts.tokens) parts.push(plural(facts.tokens, "token"));
  if (facts.first) {
    const seconds = (performance.now() - facts.first) / 1000;
    if (facts.tokens > 4 && seconds > 0.05) parts.push(Math.round((facts.tokens - 1) / seconds) + " per second");
    const first = facts.first - started;
    parts.push("first after " + (first < 1000 ? Math.round(first) + " ms" : (first / 1000).toFixed(1) + " s"));
  }
  const end = failure ? "incomplete" : { length: "reached the length limit", stopped: "stopped" }[facts.reason];
  if (end) parts.push(end);
  return parts.join("  ·  ") || "empty answer";
};

const showContext = () => {
  const total = cluster.contextLength;
  $("context").hidden = !total;
  if (!total) return;
  const share = Math.min(1, chat.usedTokens / total);
  $("context-text").textContent = `${chat.usedTokens.toLocaleString("en")} of ${total.toLocaleString("en")} tokens`;
  $("context-share").textContent = Math.round(share * 100) + " %";
  $("context-meter").setAttribute("aria-valuemax", total);
  $("context-meter").setAttribute("aria-valuenow", chat.usedTokens);
  $("context-meter").firstElementChild.style.width = share * 100 + "%";
  $("context").dataset.full = share > 0.9;
};

// Follows the end of the conversation unless the reader has scrolled away from it.
const scroll = {
  isFollowing: true,
  start() {
    $("scroller").addEventListener("scroll", () => {
      const box = $("scroller");
      this.isFollowing = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
    }, { passive: true });
  },
  toEnd(force) {
    if (force) this.isFollowing = true;
    if (this.isFollowing) $("scroller").scrollTop = $("scroller").scrollHeight;
  },
};

const setBusy = (isBusy) => {
  $("composer").classList.toggle("busy", isBusy);
  $("send").setAttribute("aria-label", isBusy ? "Stop" : "Send");
  $("send").title = isBusy ? "Stop (Esc)" : "Send (Enter)";
  updateSend();
};

const updateSend = () => { $("send").disabled = !chat.running && !$("prompt").value.trim(); };

const grow = () => {
  const box = $("prompt");
  if (!CSS.supports("field-sizing", "content")) {
    box.style.height = "auto";
    box.style.height = box.scrollHeight + "px";
  }
  updateSend();
};

const submit = () => {
  if (chat.running) return chat.stop();
  const text = $("prompt").value;
  if (!text.trim()) return;
  $("prompt").value = "";
  grow();
  chat.send(text);
};

const openSettings = (focus) => {
  settings.fill();
  $("settings").showModal();
  if (focus) $(focus).focus();
};

$("composer").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
$("prompt").addEventListener("input", grow);
$("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!chat.running) submit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chat.running && !$("settings").open) chat.stop();
});
$("new-chat").addEventListener("click", () => chat.clear());
$("open-settings").addEventListener("click", () => openSettings());
$("settings").addEventListener("input", () => settings.read());
$("settings").addEventListener("click", (event) => { if (event.target === $("settings")) $("settings").close(); });
$("settings").addEventListener("close", () => { cluster.poll(); $("prompt").focus(); });
$("reset-settings").addEventListener("click", () => { settings.values = { ...settings.defaults }; settings.save(); settings.fill(); });
for (const text of ["Explain gravity to a child", "Write a haiku about rain", "What is a pipeline?"]) {
  const chip = make("button", "", text);
  chip.type = "button";
  chip.addEventListener("click", () => chat.send(text));
  $("chips").append(chip);
}

settings.load();
scroll.start();
chat.start();
cluster.start();
grow();
