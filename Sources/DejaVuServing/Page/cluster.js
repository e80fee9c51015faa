// The live strip: workers, stages and microbatches, twice a second while the page is looked at.

const cluster = {
  last: null,
  contextLength: 0,
  failures: 0,

  start() {
    $("strip").open = localStorage.getItem("strip") ? localStorage.getItem("strip") === "open" : innerWidth > 720;
    $("strip").addEventListener("toggle", () => localStorage.setItem("strip", $("strip").open ? "open" : "closed"));
    $("cluster").addEventListener("click", (event) => {
      const button = event.target.closest("button[data-process]");
      if (button) this.kill(button);
    });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.poll(); });
    this.poll();
  },

  async poll() {
    clearTimeout(this.timer);
    try {
      const response = await fetch("/cluster", { headers: requestHeaders(), signal: AbortSignal.timeout(5000) });
      if (response.status === 401) return this.show("lost", "needs an API key", "This server needs an API key: set it in the settings.");
      const status = await response.json();
      this.failures = 0;
      this.draw(status);
    } catch {
      this.failures += 1;
      if (this.failures > 1) this.show("lost", null, "The server cannot be reached.");
    } finally {
      clearTimeout(this.timer);
      const wait = this.failures ? 2000 : 500;
      if (!document.hidden) this.timer = setTimeout(() => this.poll(), wait);
    }
  },

  // Only with --demo.
  async kill(button) {
    button.disabled = true;
    try {
      const headers = requestHeaders({ "content-type": "application/json" });
      const body = JSON.stringify({ process_id: Number(button.dataset.process) });
      await fetch("/demo/kill", { method: "POST", headers, body });
    } finally {
      button.disabled = false;
      this.poll();
    }
  },

  killButton(worker) {
    const button = make("button", "kill", "Kill");
    button.type = "button";
    button.dataset.process = worker.process_id;
    button.title = `kill -9 ${worker.process_id}: ${worker.name}`;
    return button;
  },

  show(state, name, summary) {
    $("state").dataset.state = state;
    $("state").title = summary;
    if (name) $("model-name").textContent = name;
    $("strip-summary").textContent = summary;
  },

  draw({ model, demo, cluster: now }) {
    this.isDemo = demo;
    this.contextLength = model.context_length;
    const seconds = this.last ? (performance.now() - this.last.at) / 1000 : 0;
    const rate = seconds > 0 ? Math.max(0, now.tokens_emitted - this.last.tokens) / seconds : 0;
    this.rate = this.rate === undefined ? rate : this.rate * 0.5 + rate * 0.5;
    this.last = { at: performance.now(), tokens: now.tokens_emitted };
    const stages = now.pipelines.reduce((sum, pipeline) => sum + pipeline.stages.length, 0);
    const used = now.pipelines.reduce((sum, pipeline) => sum + pipeline.kv_bytes_used, 0);
    const total = now.pipelines.reduce((sum, pipeline) => sum + pipeline.kv_bytes_total, 0);
    const facts = [plural(now.workers.length, "worker"), plural(stages, "stage"), now.sequences_running + " running"];
    if (now.queue.requests) facts.push(now.queue.requests + " waiting");
    facts.push((this.rate < 10 ? this.rate.toFixed(1) : Math.round(this.rate)) + " tokens/s");
    if (now.replicates && now.sequences_running) {
      facts.push(now.sequences_at_risk ? plural(now.sequences_at_risk, "answer") + " without a copy"
        : "copies " + plural(now.positions_at_risk, "token") + " behind");
    }
    if (now.prompts && now.prompts.running + now.prompts.waiting) {
      facts.push(plural(now.prompts.running + now.prompts.waiting, "prompt") + " on prompt workers");
    }
    if (now.pipelines.some((pipeline) => pipeline.swap && pipeline.swap.on && pipeline.swap.needed)) {
      facts.push("answers take turns on the devices");
    }
    facts.push(...(now.warnings || []));
    if (total) facts.push("memory " + Math.round(100 * used / total) + " %");
    const isReady = now.ready;
    this.show(isReady ? "ready" : "waiting", model.id, isReady ? facts.join("  ·  ") : "Not ready: " + (now.reason || "starting"));
    showContext();
    if ($("strip").open) this.drawCluster(now);
  },

  drawCluster(now) {
    const names = new Map(now.workers.map((worker) => [worker.id, worker]));
    const boxes = now.pipelines.map((pipeline) => {
      const row = make("div", "pipeline");
      row.dataset.role = pipeline.role;
      row.append(...pipeline.stages.map((stage) => this.stage(stage, pipeline, names)));
      return row;
    });
    for (const worker of now.workers.filter((worker) => worker.stage === null)) {
      const box = make("div", "standby");
      box.title = worker.error || worker.name;
      const held = worker.replicas.map((replica) => replica.stage + 1).join(", ");
      const role = worker.replicas.length ? (worker.replicas.every((replica) => replica.ready) ? "holds " : "loads ") +
        "a copy of stage " + held : worker.state;
      box.append(make("b", "", worker.name), make("small", "", worker.error ? "resting" : role));
      if (this.isDemo) box.append(this.killButton(worker));
      boxes.push(box);
    }
    this.update($("cluster"), boxes);
    this.showRecovery(now.last_recovery, now.recoveries);
  },

  // What the last death of a worker has cost.
  showRecovery(last, count) {
    $("recovery").hidden = !last;
    if (!last) return;
    const ms = (seconds) => Math.round(seconds * 1000) + " ms";
    const parts = [["noticed", last.detect_seconds], ["placed", last.place_seconds], ["restored", last.restore_seconds],
      ["run again", last.run_again_seconds], ["next token", last.first_token_seconds]];
    const text = `${count === 1 ? "One recovery" : count + " recoveries"}, the last: answers paused for ${ms(last.pause_seconds)} (` +
      parts.map(([name, seconds]) => `${name} ${ms(seconds)}`).join(", ") + `), ${plural(last.positions_run_again, "token")} computed again`;
    if ($("recovery").textContent !== text) $("recovery").textContent = text;
    $("recovery").title = last.reason;
  },

  stage(stage, pipeline, names) {
    const box = make("div", "stage");
    const worker = names.get(stage.worker);
    box.dataset.worker = worker ? worker.state : "none";
    const holder = names.get(stage.replica_worker);
    const copy = holder ? `copied to ${holder.name}, ${plural(stage.replica_lag, "token")} behind` : "no copy";
    box.title = `${Math.round(stage.busy_share * 100)} % busy, ${stage.passes} passes, ${copy}`;
    const load = make("span", "load");
    const fill = make("i");
    fill.style.width = Math.round(stage.busy_share * 100) + "%";
    load.append(fill);
    const batches = make("span", "batches");
    for (const batch of pipeline.microbatches.filter((batch) => batch.stage === stage.index).slice(0, 8)) {
      const dot = make("i");
      dot.dataset.prompt = batch.rows > batch.sequences;
      dot.dataset.key = batch.pass;
      dot.title = `${plural(batch.sequences, "sequence")}, ${plural(batch.rows, "row")}`;
      batches.append(dot);
    }
    const state = !worker ? "no worker" : worker.state === "serving" ? "" : " · " + worker.state;
    const role = { prompt: "Prompts · ", token: "Tokens · " }[pipeline.role] || "";
    const copied = pipeline.role === "prompt" ? "sent on to token stages" : "no copy";
    box.append(make("b", "", role + (worker ? worker.name : "Stage " + (stage.index + 1))),
      make("small", "", `layers ${stage.first_layer}–${stage.end_layer - 1}${worker ? state : " · " + state}`), load, batches,
      make("small", "copy", holder ? `copy at ${holder.name}` + (stage.replica_ready ? `, ${stage.replica_lag} behind` : ", loading") : copied));
    if (this.isDemo && worker) box.append(this.killButton(worker));
    return box;
  },

  // Keeps the elements whose shape is the same, so that bars glide and dots do not blink.
  update(parent, boxes) {
    const fit = (old, fresh) => old.className === fresh.className && old.childElementCount === fresh.childElementCount &&
      [...old.children].every((child, index) => child.className === "batches" || fit(child, fresh.children[index]));
    const patch = (old, fresh) => {
      if (old.title !== fresh.title) old.title = fresh.title;
      if (fresh.dataset.process) old.dataset.process = fresh.dataset.process;
      if (fresh.dataset.worker) old.dataset.worker = fresh.dataset.worker;
      if (fresh.className === "batches") return this.dots(old, fresh);
      if (!fresh.childElementCount) {
        if (old.textContent !== fresh.textContent) old.textContent = fresh.textContent;
        old.style.width = fresh.style.width;
      }
      [...old.children].forEach((child, index) => patch(child, fresh.children[index]));
    };
    const same = parent.childElementCount === boxes.length && boxes.every((box, index) => fit(parent.children[index], box));
    if (same) boxes.forEach((box, index) => patch(parent.children[index], box));
    else parent.replaceChildren(...boxes);
  },

  dots(old, fresh) {
    const known = new Map([...old.children].map((dot) => [dot.dataset.key, dot]));
    old.replaceChildren(...[...fresh.children].map((dot) => known.get(dot.dataset.key) ?? dot));
  },
};

const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
