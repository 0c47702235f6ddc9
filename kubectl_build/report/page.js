"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const whole = Math.max(data.seconds, 0.001);
  const byId = (id) => document.getElementById(id);

  // Elements are made here and nowhere else: a build's words only ever become text.
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== false && value !== undefined) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };

  const seconds = (value) => {
    if (value < 59.95) return `${value.toFixed(1)} s`;
    const full = Math.round(value);
    return full < 3600 ? `${Math.floor(full / 60)} min ${full % 60} s` : `${Math.floor(full / 3600)} h ${Math.floor(full / 60) % 60} min`;
  };
  const stateOf = (step) => step.state || "ran";
  const words = (step) => [
    stateOf(step) === "ran" ? "" : stateOf(step),
    step.emulated ? `emulated ${step.runsOn || ""}`.trim() : "",
    step.critical ? "on the critical path" : "",
  ].filter(Boolean);

  // The frontend tells each line of a long instruction by itself: lines that follow each other are said as one range.
  const lines = (spans) => {
    const ranges = [];
    for (const [file, first, last] of [...spans].sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
      const before = ranges[ranges.length - 1];
      if (before && before[0] === file && first <= before[2] + 1) before[2] = Math.max(before[2], last);
      else ranges.push([file, first, last]);
    }
    return ranges.map(([file, first, last]) => `${data.sources[file].name}:${first}${last > first ? `-${last}` : ""}`).join(", ");
  };

  // ---- one step, in a dialog
  const dialog = byId("step");
  const open = (number) => {
    const step = data.steps[number];
    const pool = data.pools[step.pool];
    byId("step-name").textContent = step.full || step.name;
    const facts = [
      ["State", [stateOf(step), ...words(step).filter((word) => word !== stateOf(step))].join(", ")],
      ["Time", `${seconds(step.seconds)}, from ${seconds(step.start)} to ${seconds(step.stop)}`],
      ["Pool", [pool.name, pool.pod && `pod ${pool.pod}`, pool.node && `node ${pool.node}`].filter(Boolean).join(", ")],
      ["Platforms", (step.platforms || []).join(", ")],
      ["Runs on", step.runsOn],
      ["Lines", lines(step.spans || [])],
      ["Waits for", (step.inputs || []).map((input) => data.steps[input].name).join("\n")],
      ["Error", step.error],
    ];
    byId("step-facts").replaceChildren(...facts.filter(([, value]) => value).map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, value))));
    const dropped = step.dropped ? [`(${step.dropped} lines before these are not in this report)`] : [];
    byId("step-log").textContent = [...dropped, ...(step.log || [])].join("\n") || "This step said nothing.";
    dialog.showModal();
    byId("step-log").scrollTop = 0;
  };
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // ---- timeline: only the rows in sight are in the page
  const filters = [
    ["Main", (step) => !step.own || step.state === "failed" || step.seconds >= whole / 100],
    ["All", () => true],
    ["Critical path", (step) => step.critical],
    ["Ran", (step) => stateOf(step) === "ran"],
    ["Cached", (step) => stateOf(step) === "cached"],
    ["Emulated", (step) => step.emulated],
    ["Failed", (step) => stateOf(step) === "failed"],
  ].filter(([name, test]) => name === "All" || (data.steps.some(test) && !(name === "Main" && data.steps.every(test))));

  const grid = byId("grid");
  const body = make("div", { class: "body", role: "rowgroup" });
  const space = make("div", {});
  const drawn = new Map();
  let rows = [], active = 0, chosen = 0;
  const rowHeight = () => (window.matchMedia("(max-width: 640px)").matches ? 46 : 28);

  const axis = () => {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
    const wanted = window.matchMedia("(max-width: 640px)").matches ? 4 : 7;
    const unit = steps.find((size) => whole / size <= wanted) || 86400 * Math.ceil(whole / 86400 / wanted);
    grid.style.setProperty("--unit", `${(100 * unit) / whole}%`);
    const track = make("div", { class: "track", role: "presentation" });
    for (let at = 0; at < whole * 0.97; at += unit) {
      const label = unit < 1 ? `${at.toFixed(1)} s` : at < 120 ? `${at} s` : at < 7200 ? `${+(at / 60).toFixed(1)} min` : `${+(at / 3600).toFixed(1)} h`;
      const tick = make("span", { class: "tick" }, label);
      tick.style.left = `${(100 * at) / whole}%`;
      track.append(tick);
    }
    return make("div", { class: "axis", role: "row", "aria-rowindex": 1 },
      make("span", { role: "columnheader" }, "Step"), make("span", { role: "columnheader" }, "Time"),
      make("span", { role: "columnheader", "aria-label": "When" }, track));
  };

  const poolRow = (pool) => make("div", { class: "row pool" }, make("div", { role: "gridcell", "aria-colspan": 3 },
    `${pool.name} `, make("span", {}, [pool.pod, pool.node && `on node ${pool.node}`].filter(Boolean).join(" "))));

  const stepRow = (number) => {
    const step = data.steps[number];
    const state = stateOf(step);
    const bars = (step.runs || [[step.start, step.stop]]).map(([start, stop]) => {
      const bar = make("i", { class: `bar ${state}${step.emulated ? " emulated" : ""}${step.critical ? " critical" : ""}` });
      bar.style.left = `min(${(100 * start) / whole}%, calc(100% - 3px))`;
      bar.style.width = `${Math.max(0, (100 * (stop - start)) / whole)}%`;
      return bar;
    });
    const tags = [];
    if (step.emulated) tags.push(make("span", { class: "tag" }, "QEMU"));
    if (state === "failed") tags.push(make("span", { class: "tag failed" }, "failed"));
    const label = [step.name, ...words(step), `${seconds(step.seconds)} from ${seconds(step.start)}`].join(", ");
    const row = make("div", { class: `row${step.own ? " own" : ""}`, "aria-label": label },
      make("div", { role: "gridcell" }, make("span", { class: "path", "aria-hidden": "true" }, step.critical ? "\u25c6" : ""),
        make("span", { class: "name", title: step.full || step.name }, step.name), ...tags),
      make("div", { role: "gridcell", class: "time" }, state === "cached" ? "cached" : seconds(step.seconds)),
      make("div", { role: "gridcell", class: "lane", "aria-label": `from ${seconds(step.start)} to ${seconds(step.stop)}` }, ...bars));
    return row;
  };

  const draw = () => {
    const height = rowHeight();
    const first = Math.max(0, Math.floor(body.scrollTop / height) - 12);
    const last = Math.min(rows.length, Math.ceil((body.scrollTop + body.clientHeight) / height) + 12);
    for (const [place, row] of drawn) {
      if ((place < first || place >= last) && row !== document.activeElement) { row.remove(); drawn.delete(place); }
    }
    for (let place = first; place < last; place += 1) {
      if (drawn.has(place)) continue;
      const entry = rows[place];
      const row = entry.pool ? poolRow(entry.pool) : stepRow(entry.step);
      row.setAttribute("role", "row");
      row.setAttribute("aria-rowindex", String(place + 2));
      row.tabIndex = place === active ? 0 : -1;
      row.style.top = `${place * height}px`;
      row.dataset.place = String(place);
      drawn.set(place, row);
      const after = [...drawn.keys()].filter((other) => other > place).sort((a, b) => a - b)[0];
      space.insertBefore(row, after === undefined ? null : drawn.get(after));
    }
  };

  const activate = (place, focus) => {
    active = Math.max(0, Math.min(rows.length - 1, place));
    const height = rowHeight();
    if (active * height < body.scrollTop) body.scrollTop = active * height;
    else if ((active + 1) * height > body.scrollTop + body.clientHeight) body.scrollTop = (active + 1) * height - body.clientHeight;
    draw();
    for (const [other, row] of drawn) row.tabIndex = other === active ? 0 : -1;
    if (focus && drawn.has(active)) drawn.get(active).focus({ preventScroll: true });
  };

  const fill = () => {
    const wanted = byId("search").value.trim().toLowerCase();
    const test = filters[chosen][1];
    const found = data.pools.map(() => []);
    let count = 0;
    data.steps.forEach((step, number) => {
      if (test(step) && (!wanted || step.name.toLowerCase().includes(wanted))) { found[step.pool].push({ step: number }); count += 1; }
    });
    const several = found.filter((list) => list.length).length > 1 || data.pools.length > 1;
    rows = found.flatMap((list, pool) => (list.length ? [...(several ? [{ pool: data.pools[pool] }] : []), ...list] : []));
    active = Math.max(0, rows.findIndex((row) => row.step !== undefined));
    for (const row of drawn.values()) row.remove();
    drawn.clear();
    space.style.height = rows.length ? `${rows.length * rowHeight()}px` : "64px";
    space.style.position = "relative";
    space.replaceChildren(...(rows.length ? [] : [make("p", { class: "empty" }, "No step matches.")]));
    grid.setAttribute("aria-rowcount", String(rows.length + 1));
    body.scrollTop = 0;
    byId("count").textContent = count === data.steps.length ? `${count} steps` : `${count} of ${data.steps.length} steps`;
    draw();
    grid.style.setProperty("--bar", `${body.offsetWidth - body.clientWidth}px`);
  };

  const layout = () => { grid.replaceChildren(axis(), body); fill(); };
  body.append(space);
  body.addEventListener("scroll", draw, { passive: true });
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; layout(); } else { draw(); } });
  body.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row) return;
    activate(Number(row.dataset.place), true);
    if (rows[active].step !== undefined) open(rows[active].step);
  });
  body.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(body.clientHeight / rowHeight()) - 1);
    const moves = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: rows.length - 1 };
    if (event.key in moves) { event.preventDefault(); activate(moves[event.key], true); }
    else if ((event.key === "Enter" || event.key === " ") && rows[active] && rows[active].step !== undefined) { event.preventDefault(); open(rows[active].step); }
  });
  byId("filters").append(...filters.map(([name], place) => {
    const button = make("button", { type: "button", "aria-pressed": String(place === chosen) }, name);
    button.addEventListener("click", () => {
      chosen = place;
      [...byId("filters").children].forEach((other, number) => other.setAttribute("aria-pressed", String(number === place)));
      fill();
    });
    return button;
  }));
  byId("search").addEventListener("input", fill);

  // ---- the Dockerfile
  const sources = data.sources.filter((source) => source.marks.length);
  byId("sources").hidden = !sources.length;
  for (const source of sources) {
    const at = new Map();
    source.marks.forEach((mark) => { for (let line = mark.first; line <= mark.last; line += 1) at.set(line, [...(at.get(line) || []), mark]); });
    const lines = source.lines.map((text, place) => {
      const marks = at.get(place + 1) || [];
      const mark = marks.find((other) => other.first === place + 1);
      const shown = marks[0];
      const cell = make("td", {});
      if (mark) {
        const label = mark.state === "cached" ? "cached" : mark.state === "failed" ? `failed, ${seconds(mark.seconds)}` : seconds(mark.seconds);
        const kind = mark.emulated ? "emulated" : mark.state;
        const said = `Line ${place + 1}: ${mark.state}, ${seconds(mark.seconds)}${mark.emulated ? ", emulated" : ""}; show the step`;
        const button = make("button", { type: "button", class: kind, "aria-label": said }, mark.emulated ? `${label} QEMU` : label);
        button.addEventListener("click", () => open(mark.steps[0]));
        cell.append(make("span", {}, button));
      }
      return make("tr", { class: shown ? (shown.emulated ? "emulated" : shown.state) : false },
        make("th", { scope: "row" }, String(place + 1)), make("td", { class: "code" }, make("code", {}, text)), cell);
    });
    byId("sources").append(
      ...(sources.length > 1 ? [make("h3", {}, source.name)] : []),
      make("div", { class: "source", tabindex: "0", role: "group", "aria-label": source.name },
        make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, make("span", { class: "unseen" }, "Line")),
          make("th", { scope: "col" }, source.name), make("th", { scope: "col", class: "number" }, "Time"))), make("tbody", {}, ...lines))));
  }

  // ---- the critical path: its steps open too
  for (const cell of document.querySelectorAll("[data-step]")) {
    const button = make("button", { type: "button", class: "link" }, make("span", {}, cell.textContent));
    button.addEventListener("click", () => open(Number(cell.dataset.step)));
    cell.replaceChildren(button);
  }

  // ---- layers
  for (const image of data.images) {
    const stack = make("div", { class: "stack", "aria-hidden": "true" }, ...image.layers.map((layer) => {
      const part = make("i", { title: `${layer.text} ${layer.by}` });
      part.style.flexGrow = String(Math.max(layer.size, 1));
      return part;
    }));
    const list = image.layers.map((layer) => make("tr", {}, make("td", { class: "step", title: layer.digest }, layer.by || "not known"),
      make("td", { class: "number" }, layer.text)));
    byId("image-list").append(make("div", { class: "layers" }, make("h3", {}, `${image.platform} `, make("span", {}, image.size)), stack,
      make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Made by"), make("th", { scope: "col", class: "number" }, "Size"))),
        make("tbody", {}, ...list))));
  }
  if (!data.images.length) byId("image-list").append(make("p", {}, "Not known: no image was made, or the daemon keeps none of it."));

  layout();
})();
