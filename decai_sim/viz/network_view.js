// The interactive network view: a map of nodes and links on two stacked canvases, a clock that replays a run, an inspector and a
// table. Everything it shows comes from the model's traits; nothing is fetched.

const PLAY_S = 20; // how long a whole run takes at speed 1×
const DRAG_PX = 4; // a press that moves less is a click
const SETTLE_MS = 110; // when links are drawn anew after the last zoom or pan; until then their picture is moved and scaled
const SILENT_MS = 1000; // after this long without a word from the display that plays, another goes on
const PAGE_ROWS = 25;
const LISTED = 30; // neighbours
const CLASSES = 15;
const DOT = "#000"; // stands out from what it is on, whatever colour the page has
const PAINT_ORDER = ["offline", "online", "informed", "training", "byzantine", "rejected"]; // the rarer, the further on top

// ---- data --------------------------------------------------------------------------------------------------------------------

function read(model) {
  const raw = (name) => {
    const view = model.get(name);
    return view ? view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) : new ArrayBuffer(0);
  };
  const about = model.get("about");
  const legend = model.get("legend");
  const numbers = new Float64Array(raw("numbers"));
  const [initial, states] = [new Uint8Array(raw("initial")), new Uint8Array(raw("change_state"))];
  const shown = shownAs(legend);
  const occurs = legend.map(() => false);
  for (const some of [initial, states]) for (const byte of some) occurs[shown[byte]] = true;
  const columns = Object.fromEntries(about.numbers.map((name, i) => [name, numbers.subarray(i * about.n, (i + 1) * about.n)]));
  return {
    ...about,
    legend,
    shown, // per state byte, an index of the legend
    occurs, // per entry of the legend, whether any node is ever shown as it
    columns,
    byzantine: model.get("about").byzantine,
    xy: new Float32Array(raw("positions")),
    edges: new Uint32Array(raw("edges")), // with very many links only those to draw: then the degrees alone say how many there are
    degrees: new Uint32Array(raw("degrees")),
    classCounts: new Uint32Array(raw("class_counts")),
    initial,
    times: new Float64Array(raw("change_t_s")),
    nodes: new Uint32Array(raw("change_node")),
    states,
  };
}

/** Per state byte, which entry of the legend it is shown as: the first that fits. */
function shownAs(legend) {
  return Uint8Array.from({ length: 256 }, (_, byte) => legend.findIndex((s) => !s.bit || !!(byte & s.bit) === s.when));
}

/** Neighbours of every node, one after the other, and where each node's begin. */
function neighboursOf(n, edges) {
  const start = new Uint32Array(n + 1);
  for (const node of edges) start[node + 1]++;
  for (let i = 0; i < n; i++) start[i + 1] += start[i];
  const next = start.slice(0, n);
  const list = new Uint32Array(edges.length);
  for (let i = 0; i < edges.length; i += 2) {
    list[next[edges[i]]++] = edges[i + 1];
    list[next[edges[i + 1]]++] = edges[i];
  }
  return (node) => list.subarray(start[node], start[node + 1]).slice().sort();
}

/** The states at any time: a step forward applies the changes in between; a leap starts from the nearest kept state before. */
class Timeline {
  constructor({ initial, times, nodes, states }) {
    Object.assign(this, { times, nodes, states, at: 0, now: initial.slice() });
    this.stride = Math.max(256, Math.ceil(times.length / 256));
    this.kept = [initial.slice()];
    for (let i = this.stride; i <= times.length; i += this.stride) {
      this.forward(i);
      this.kept.push(this.now.slice());
    }
    this.now.set(initial);
    this.at = 0;
  }
  forward(to) {
    for (; this.at < to; this.at++) this.now[this.nodes[this.at]] = this.states[this.at];
  }
  /** Go to time `t`; true if anything differs. */
  seek(t) {
    let low = 0;
    for (let high = this.times.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= t) low = middle + 1;
      else high = middle;
    }
    if (low === this.at) return false;
    if (low < this.at || low > this.at + this.stride) {
      const nearest = Math.floor(low / this.stride);
      this.now.set(this.kept[nearest]);
      this.at = nearest * this.stride;
    }
    this.forward(low);
    return true;
  }
}

// ---- words -------------------------------------------------------------------------------------------------------------------

const count = (x) => x.toLocaleString("en");
const plural = (x, word) => `${count(x)} ${word}${x === 1 ? "" : "s"}`;

function duration(s, whole) {
  const two = (x) => String(x).padStart(2, "0");
  if (whole < 60) return `${s.toFixed(whole < 10 ? 2 : 1)} s`;
  const r = Math.round(s);
  if (whole < 3600) return `${Math.floor(r / 60)} min ${two(r % 60)} s`;
  if (whole < 172800) return `${Math.floor(r / 3600)} h ${two(Math.floor(r / 60) % 60)} min`;
  return `${Math.floor(r / 86400)} d ${two(Math.floor(r / 3600) % 24)} h`;
}

function bytes(x) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const i = x < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(x) / 3));
  const value = x / 1000 ** i;
  return `${i === 0 ? value : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${units[i]}`;
}

/** What a node's column says, in words; a dash where nothing is known. */
function said(data, name, node) {
  const value = data.columns[name]?.[node];
  if (value === undefined || Number.isNaN(value)) return "–";
  if (data.texts[name]) return data.texts[name][value];
  if (name.startsWith("bytes_")) return bytes(value);
  return name === "online_s" ? duration(value, value) : count(value);
}

// ---- drawing -----------------------------------------------------------------------------------------------------------------

function outline(ctx, triangle, x, y, r) {
  ctx.beginPath();
  if (!triangle) return ctx.arc(x, y, r, 0, 2 * Math.PI);
  const [up, out, down] = [1.35 * r, 1.2 * r, 0.75 * r];
  ctx.moveTo(x, y - up);
  ctx.lineTo(x + out, y + down);
  ctx.lineTo(x - out, y + down);
  return ctx.closePath();
}

/** One node's mark: colour by what it is shown as, and a second channel for those who do not see the colour. */
function mark(ctx, state, triangle, x, y, r, { ink, paper }) {
  const size = { ring: 0.75, cross: 1.1 }[state.extra] ?? (state.filled ? 1 : 0.8);
  const rim = 1.3 * r + 0.7;
  ctx.lineWidth = Math.max(1, 0.25 * r);
  ctx.fillStyle = paper; // a thin border to what lies below, and no links shining through
  outline(ctx, triangle, x, y, (state.extra === "ring" ? rim : size * r) + 0.7);
  ctx.fill();
  ctx.fillStyle = ctx.strokeStyle = state.color;
  outline(ctx, triangle, x, y, size * r);
  if (state.filled) ctx.fill();
  else ctx.stroke();
  if (state.extra === "ring") {
    outline(ctx, triangle, x, y, rim);
    ctx.stroke();
  } else if (state.extra === "cross") {
    ctx.strokeStyle = ink;
    ctx.lineWidth = Math.max(1, 0.2 * r);
    ctx.beginPath();
    for (const side of [-1, 1]) {
      ctx.moveTo(x - 1.3 * r, y - side * 1.3 * r);
      ctx.lineTo(x + 1.3 * r, y + side * 1.3 * r);
    }
    ctx.stroke();
  } else if (state.extra === "dot") {
    ctx.fillStyle = DOT;
    ctx.beginPath();
    ctx.arc(x, y, Math.max(1, 0.36 * r), 0, 2 * Math.PI);
    ctx.fill();
  }
}

/** The pixels of every mark that are not empty: where they are relative to its middle, and their colours. */
function stamps(legend, r, ratio, colors) {
  const half = Math.ceil((1.9 * r + 3) * ratio);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 2 * half;
  const ctx = canvas.getContext("2d", { willReadFrequently: true });
  const drawn = (state, triangle) => {
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, canvas.width, canvas.height);
    mark(ctx, state, triangle, half / ratio, half / ratio, r, colors);
    const pixels = ctx.getImageData(0, 0, 2 * half, 2 * half).data;
    const used = Array.from({ length: 4 * half * half }, (_, i) => i).filter((i) => pixels[4 * i + 3] > 0);
    return {
      dx: Int32Array.from(used, (i) => (i % (2 * half)) - half),
      dy: Int32Array.from(used, (i) => Math.floor(i / (2 * half)) - half),
      rgba: Uint8ClampedArray.from(used.flatMap((i) => [...pixels.subarray(4 * i, 4 * i + 4)])),
    };
  };
  return { half, of: legend.map((state) => [false, true].map((triangle) => drawn(state, triangle))) };
}

/** Put a mark into an image. 5,000 of them take a few milliseconds; `drawImage` takes five times as long without a GPU. */
function press(image, { dx, dy, rgba }, x0, y0) {
  const { data, width, height } = image;
  for (let i = 0; i < dx.length; i++) {
    const x = x0 + dx[i];
    const y = y0 + dy[i];
    if (x < 0 || y < 0 || x >= width || y >= height) continue;
    const to = 4 * (y * width + x);
    const from = 4 * i;
    const alpha = rgba[from + 3] / 255;
    const below = (data[to + 3] / 255) * (1 - alpha);
    const both = alpha + below;
    for (let c = 0; c < 3; c++) data[to + c] = below ? (rgba[from + c] * alpha + data[to + c] * below) / both : rgba[from + c];
    data[to + 3] = 255 * both;
  }
}

function drawLinks(ctx, edges, order, x, y, width, height) {
  let drawn = 0;
  for (const i of order) {
    const [a, b] = [edges[2 * i], edges[2 * i + 1]];
    if (Math.max(x[a], x[b]) < 0 || Math.min(x[a], x[b]) > width || Math.max(y[a], y[b]) < 0 || Math.min(y[a], y[b]) > height) continue;
    if (drawn++ % 64 === 0) {
      if (drawn > 1) ctx.stroke(); // little by little, so that many links over each other look darker than one
      ctx.beginPath();
    }
    ctx.moveTo(x[a], y[a]);
    ctx.lineTo(x[b], y[b]);
  }
  if (drawn) ctx.stroke();
}

// ---- page elements -----------------------------------------------------------------------------------------------------------

function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children); // strings become text, never markup
  return element;
}

const say = (element, text) => element.textContent === text || (element.textContent = text);

function legendRows(data) {
  const counts = data.legend.map(() => h("span", { class: "dn-count" }));
  const swatches = data.legend.map(() => h("canvas", { class: "dn-swatch", "aria-hidden": "true" }));
  const rows = data.legend.map((s, i) => h("li", { title: s.drawn }, swatches[i], h("span", {}, s.name), counts[i]));
  const bad = data.initial.reduce((sum, byte) => sum + !!(byte & data.byzantine), 0);
  const note = bad ? [h("p", { class: "dn-faint" }, `Triangles: ${plural(bad, "byzantine node")} in all`)] : [];
  return { counts, swatches, element: h("div", { class: "dn-legend", "aria-live": "off" }, h("ul", {}, ...rows.filter((_, i) => data.occurs[i]).reverse()), ...note) };
}

function histogram(data, node) {
  const own = [...data.classCounts.subarray(node * data.classes, (node + 1) * data.classes)];
  const most = Math.max(1, ...own);
  const name = (i) => data.class_names[i] ?? `class ${i}`;
  const all = own.map((_, i) => i);
  const shown = own.length <= CLASSES ? all : all.sort((a, b) => own[b] - own[a] || a - b).slice(0, CLASSES);
  const rest = own.length - shown.length;
  const missed = own.reduce((a, b) => a + b, 0) - shown.reduce((sum, i) => sum + own[i], 0);
  const rows = shown.map((i) => {
    const bar = h("i");
    bar.style.width = `${(100 * own[i]) / most}%`;
    return h("li", {}, h("span", { class: "dn-class", title: name(i) }, name(i)), h("span", { class: "dn-bar" }, bar), h("span", {}, count(own[i])));
  });
  const more = rest ? [h("p", { class: "dn-faint" }, `and ${count(missed)} samples in ${rest} more classes`)] : [];
  return [h("h4", {}, "Its data by class"), h("ul", { class: "dn-histogram" }, ...rows), ...more];
}

function inspect(data, neighbours, node, pick) {
  const state = h("dd");
  const degree = data.degrees[node];
  const found = neighbours(node);
  const all = found.length === degree;
  const near = all ? found.subarray(0, LISTED) : [];
  const facts = [["state", state]];
  for (const [name, label] of [["device", "device"], ["region", "region"], ["n_samples", "samples"], ["bytes_up", "sent"], ["bytes_down", "received"]])
    if (data.columns[name]) facts.push([label, said(data, name, node)]);
  const list = facts.flatMap(([name, value]) => [h("dt", {}, name), value === state ? state : h("dd", {}, value)]);
  const links = [...near].map((i) => h("button", { type: "button", onclick: () => pick(i) }, String(i)));
  const left = all ? `and ${count(degree - near.length)} more` : `The network has too many links to list these. Highlighted: ${count(found.length)} of them.`;
  const more = near.length < degree ? [left] : [];
  const close = h("button", { type: "button", class: "dn-close", "aria-label": "close", onclick: () => pick(-1) }, "×");
  return {
    state,
    children: [
      h("h3", {}, `Node ${node}, ${data.initial[node] & data.byzantine ? "byzantine" : "honest"}`, close),
      h("dl", {}, ...list),
      h("h4", {}, degree ? plural(degree, "neighbour") : "no neighbours"),
      h("p", { class: "dn-near" }, ...links, ...more),
      ...(data.classes ? histogram(data, node) : []),
    ],
  };
}

/** The same as the map, in rows. */
function table(data, stateName, pick) {
  const text = (name) => ({ cell: (i) => said(data, name, i), key: (i) => (data.texts[name] ? said(data, name, i) : data.columns[name][i]) });
  const isBad = (i) => (data.initial[i] & data.byzantine ? "yes" : "no");
  const columns = [
    { label: "node", cell: String, key: (i) => i },
    { label: "state", cell: stateName, key: stateName },
    { label: "byzantine", cell: isBad, key: isBad },
    ...[["device", "device"], ["region", "region"], ["n_samples", "samples"], ["bytes_up", "sent"], ["bytes_down", "received"]]
      .filter(([name]) => data.columns[name])
      .map(([name, label]) => ({ label, ...text(name), number: !data.texts[name] })),
    { label: "neighbours", cell: (i) => count(data.degrees[i]), key: (i) => data.degrees[i], number: true },
  ];
  const order = Array.from({ length: data.n }, (_, i) => i);
  let [first, by, down] = [0, 0, false];
  const body = h("tbody");
  let page = new Map(); // the rows that are there, by node
  const where = h("span", { "aria-live": "polite" });
  const turn = (step) => () => ((first = Math.max(0, Math.min(first + step, PAGE_ROWS * Math.floor((data.n - 1) / PAGE_ROWS)))), show());
  const heads = columns.map((column, c) =>
    h("th", { scope: "col" }, h("button", { type: "button", onclick: () => (([down, by] = [by === c && !down, c]), (first = 0), show()) }, column.label)));
  function sort() {
    const keys = order.map((_, i) => columns[by].key(i));
    const less = (a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0);
    order.sort((a, b) => (down ? less(b, a) : less(a, b)) || a - b);
    heads.forEach((head, c) => head.setAttribute("aria-sort", c !== by ? "none" : down ? "descending" : "ascending"));
  }
  function row(i) {
    const button = h("button", { type: "button", "aria-label": `node ${i}` }, String(i)); // a press on it is one on its row
    const cells = columns.map((column, c) => h("td", { class: column.number ? "dn-number" : null }, ...(c ? [] : [button])));
    return { element: h("tr", { "data-node": i, onclick: () => pick(i) }, ...cells), button, cells };
  }
  function show(selected = show.selected) {
    show.selected = selected;
    sort();
    const focused = body.querySelector(":focus");
    page = new Map(order.slice(first, first + PAGE_ROWS).map((i) => [i, page.get(i) ?? row(i)]));
    for (const [i, { element, button, cells }] of page) {
      element.setAttribute("aria-selected", String(i === selected));
      button.setAttribute("aria-pressed", String(i === selected));
      for (let c = 1; c < cells.length; c++) say(cells[c], columns[c].cell(i));
    }
    const rows = [...page.values()].map(({ element }) => element);
    if (rows.length !== body.children.length || rows.some((element, k) => element !== body.children[k])) {
      body.replaceChildren(...rows); // only when they differ: a press or the focus would not outlive it
      const kept = focused?.isConnected === false ? heads[by].firstChild : focused; // its row went to another page
      kept?.focus({ preventScroll: true });
    }
    say(where, `rows ${count(first + 1)} to ${count(first + rows.length)} of ${count(data.n)}`);
  }
  const element = h(
    "div",
    { class: "dn-table", hidden: true },
    h("div", { class: "dn-scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ...heads)), body)),
    h("p", {}, h("button", { type: "button", onclick: turn(-PAGE_ROWS) }, "Previous"), " ", h("button", { type: "button", onclick: turn(PAGE_ROWS) }, "Next"), " ", where),
  );
  return { element, show };
}

// ---- the view ----------------------------------------------------------------------------------------------------------------

function render({ model, el }) {
  const data = read(model);
  const { n, legend, shown, occurs } = data;
  const m = data.links;
  const sent = data.edges.length / 2;
  const neighbours = neighboursOf(n, data.edges);
  const timeline = new Timeline(data);
  const drawnLinks = Math.min(sent, data.max_links);
  const linkOrder = Uint32Array.from({ length: drawnLinks }, (_, i) => Math.floor((i * sent) / drawnLinks));
  const paintOrder = legend.map((_, i) => i).sort((a, b) => PAINT_ORDER.indexOf(legend[a].name) - PAINT_ORDER.indexOf(legend[b].name));

  let t = 0;
  let playing = false;
  let selected = -1;
  let near = [];
  let size = { width: 0, height: 0, ratio: 1 };
  let camera = { k: 1, x: 0, y: 0 };
  let painted = null; // the camera the links were last drawn for
  const dirty = { camera: true, links: true, nodes: true, words: true };
  const px = new Float32Array(n);
  const py = new Float32Array(n);
  let radius = 4;
  let stamp = null;
  let image = null;
  let card = null;
  const stateName = (node) => legend[shown[timeline.now[node]]].name;

  // -- elements
  const linkCanvas = h("canvas", { class: "dn-links", "aria-hidden": "true" });
  const nodeCanvas = h("canvas", { class: "dn-nodes", tabindex: "0", role: "application", "aria-roledescription": "network map" });
  const hint = h("div", { class: "dn-hint", "aria-hidden": "true" }, "Click the map, then scroll to zoom");
  const button = (label, title, onclick) => h("button", { type: "button", title, "aria-label": title, onclick }, label);
  const zoomButtons = h("div", { class: "dn-zoom" }, button("+", "zoom in", () => zoom(1.5)), button("−", "zoom out", () => zoom(1 / 1.5)), button("Fit", "show the whole network", fit));
  const map = h("div", { class: "dn-map" }, linkCanvas, nodeCanvas, zoomButtons, hint);
  map.style.height = `${data.height_px}px`;
  const key = legendRows(data);
  const panel = h("div", { class: "dn-inspector", "aria-live": "polite" });
  const side = h("div", { class: "dn-side" }, key.element, panel);
  side.style.setProperty("--dn-height", `${data.height_px}px`);
  const slider = h("input", { type: "range", min: 0, max: 1000, step: 1, value: 0, "aria-label": "virtual time", oninput: () => goTo((data.end_s * slider.value) / 1000) });
  const clock = h("span", { class: "dn-clock" });
  const play = h("button", { type: "button", class: "dn-play", onclick: () => setPlaying(!playing) }, "Play");
  const speed = h("select", { "aria-label": "speed of the replay" }, ...["½", "1", "2", "4"].map((x) => h("option", { value: x === "½" ? 0.5 : x, selected: x === "1" }, `${x}×`)));
  const rows = table(data, stateName, pick);
  const tableButton = h("button", { type: "button", "aria-expanded": "false", onclick: toggleTable }, "Table");
  const time = data.end_s > 0 ? [play, slider, clock, speed] : [h("span", { class: "dn-fill" })];
  const links = drawnLinks < m ? `showing ${count(drawnLinks)} of ${plural(m, "link")}` : plural(m, "link");
  const facts = h("span", { class: "dn-faint" }, `${plural(n, "node")}, ${links}`);
  const root = h(
    "div",
    { class: "decai-network", "data-lm-suppress-shortcuts": "true" }, // or JupyterLab would take the keys
    h("div", { class: "dn-head" }, ...(data.title ? [h("strong", {}, data.title)] : []), facts),
    h("div", { class: "dn-body" }, map, side),
    h("div", { class: "dn-controls" }, ...time, tableButton),
    rows.element,
    ...(data.caption ? [h("p", { class: "dn-faint dn-caption" }, data.caption)] : []),
  );
  Object.assign(root.dataset, { frames: 0, linkFrames: 0 });
  root.networkView = { at: (node) => [px[node], py[node]], state: stateName, camera: () => ({ ...camera }) };

  // -- time: of several displays of one view, the one where something was pressed last plays; the others show what it says
  const me = Math.random().toString(36).slice(2);
  const leads = () => model.get("player") === me;
  function lead() {
    if (leads()) return;
    model.set("player", me);
    model.save_changes();
  }
  let heardAt = 0;
  let pushTimer = 0;
  function push() {
    clearTimeout(pushTimer);
    pushTimer = 0;
    if (model.get("t_s") === t || (playing && !leads())) return;
    model.set("t_s", t);
    model.save_changes();
  }
  function goTo(to, tell = true) {
    t = Math.max(0, Math.min(to, data.end_s));
    if (timeline.seek(t)) dirty.nodes = true;
    dirty.words = true;
    if (tell && playing) lead();
    if (tell) pushTimer ||= setTimeout(push, 150);
    schedule();
  }
  function setPlaying(on, tell = true) {
    if (on === playing || (on && !data.end_s)) return;
    if (on && t >= data.end_s) goTo(0);
    playing = on;
    last = 0;
    heardAt = performance.now();
    dirty.words = true;
    say(play, on ? "Pause" : "Play");
    if (!on && (tell || leads())) push();
    if (tell) {
      if (on) model.set("player", me);
      model.set("playing", on);
      model.save_changes();
    }
    schedule();
  }

  // -- camera: a place (x, y) in [−1, 1]² is drawn at the middle + camera.x + x · half the width · camera.k
  function spans() {
    const [w, v] = [Math.max(20, size.width / 2 - 18), Math.max(20, size.height / 2 - 18)];
    return [Math.min(w, 2.2 * v), Math.min(v, 2.2 * w)];
  }
  function place() {
    const [w, v] = spans();
    const [cx, cy] = [size.width / 2 + camera.x, size.height / 2 + camera.y];
    for (let i = 0; i < n; i++) {
      px[i] = cx + data.xy[2 * i] * w * camera.k;
      py[i] = cy - data.xy[2 * i + 1] * v * camera.k;
    }
    const wanted = Math.min(Math.max(2.2, Math.min(8, 0.3 * Math.sqrt((4 * w * v) / n))) * Math.sqrt(camera.k), 15);
    if (wanted !== radius) stamp = null;
    radius = wanted;
  }
  let settleTimer = 0;
  function look(next) {
    camera = next;
    dirty.camera = dirty.nodes = true;
    if (drawnLinks < 2000) dirty.links = true;
    clearTimeout(settleTimer);
    settleTimer = setTimeout(() => ((dirty.links = true), schedule()), SETTLE_MS);
    schedule();
  }
  function zoom(by, x = size.width / 2, y = size.height / 2) {
    const k = Math.max(0.5, Math.min(camera.k * by, 60));
    const f = k / camera.k;
    const [dx, dy] = [x - size.width / 2, y - size.height / 2];
    look({ k, x: dx - (dx - camera.x) * f, y: dy - (dy - camera.y) * f });
  }
  function pan(dx, dy) {
    look({ ...camera, x: camera.x + dx, y: camera.y + dy });
  }
  function fit() {
    look({ k: 1, x: 0, y: 0 });
  }
  function reveal(node) {
    const inside = px[node] > 10 && px[node] < size.width - 10 && py[node] > 10 && py[node] < size.height - 10;
    if (!inside) pan(size.width / 2 - px[node], size.height / 2 - py[node]);
  }

  // -- selection
  function pick(node, tell = true) {
    selected = node;
    near = node < 0 ? [] : neighbours(node);
    card = null;
    if (node >= 0) reveal(node);
    Object.assign(dirty, { links: true, nodes: true, words: true });
    if (tell && model.get("selected") !== node) {
      model.set("selected", node);
      model.save_changes();
    }
    schedule();
  }
  function nearest(x, y) {
    let [best, found] = [Math.max(1.6 * radius, 9) ** 2, -1];
    for (let i = 0; i < n; i++) {
      const d = (px[i] - x) ** 2 + (py[i] - y) ** 2;
      if (d <= best) [best, found] = [d, i];
    }
    return found;
  }
  function toggleTable() {
    rows.element.hidden = !rows.element.hidden;
    tableButton.setAttribute("aria-expanded", String(!rows.element.hidden));
    dirty.words = true;
    schedule();
  }

  // -- painting
  function clear(canvas) {
    const ctx = canvas.getContext("2d");
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, canvas.width, canvas.height);
    ctx.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
    return ctx;
  }
  const colors = () => (({ color, backgroundColor }) => ({ ink: color, paper: backgroundColor }))(getComputedStyle(root));
  /** How many times over the links would cover the map. */
  function covered() {
    const longest = Math.hypot(size.width, size.height);
    let length = 0;
    for (const i of linkOrder) {
      const [a, b] = [data.edges[2 * i], data.edges[2 * i + 1]];
      length += Math.min(longest, Math.hypot(px[a] - px[b], py[a] - py[b]));
    }
    return (0.8 * length) / (size.width * size.height * camera.k ** 2) + 1e-9;
  }
  function paintLinks() {
    const ctx = clear(linkCanvas);
    ctx.strokeStyle = colors().ink;
    ctx.lineWidth = 0.8;
    ctx.globalAlpha = Math.min(0.35, Math.max(0.012, 0.25 / covered())) * (selected < 0 ? 1 : 0.6);
    drawLinks(ctx, data.edges, linkOrder, px, py, size.width, size.height);
    if (selected >= 0) {
      ctx.globalAlpha = near.length > 200 ? 0.3 : 0.9;
      ctx.lineWidth = 1.6;
      ctx.beginPath();
      for (const other of near) {
        ctx.moveTo(px[selected], py[selected]);
        ctx.lineTo(px[other], py[other]);
      }
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
    painted = camera;
    linkCanvas.style.transform = "";
    root.dataset.linkFrames++;
  }
  function moveLinks() {
    const f = camera.k / painted.k;
    const x = size.width / 2 + camera.x - (size.width / 2 + painted.x) * f;
    const y = size.height / 2 + camera.y - (size.height / 2 + painted.y) * f;
    linkCanvas.style.transform = `translate(${x}px, ${y}px) scale(${f})`;
  }
  function paintNodes() {
    const ctx = nodeCanvas.getContext("2d");
    const { ratio } = size;
    const [right, bottom] = [nodeCanvas.width, nodeCanvas.height];
    if (image?.width !== right || image.height !== bottom) image = ctx.createImageData(right, bottom);
    else image.data.fill(0);
    stamp ??= stamps(legend, radius, ratio, colors());
    const { half, of } = stamp;
    for (const wanted of paintOrder) {
      for (let i = 0; i < n; i++) {
        const byte = timeline.now[i];
        if (shown[byte] !== wanted) continue;
        const x = Math.round(px[i] * ratio);
        const y = Math.round(py[i] * ratio);
        if (x > -half && y > -half && x < right + half && y < bottom + half) press(image, of[wanted][byte & data.byzantine ? 1 : 0], x, y);
      }
    }
    ctx.putImageData(image, 0, 0);
    if (selected >= 0) paintSelection(ctx, ratio);
    root.dataset.frames++;
  }
  function paintSelection(ctx, ratio) {
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.strokeStyle = colors().ink;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const other of near) {
      ctx.moveTo(px[other] + 1.5 * radius + 3, py[other]);
      ctx.arc(px[other], py[other], 1.5 * radius + 3, 0, 2 * Math.PI);
    }
    if (near.length <= 200) ctx.stroke();
    ctx.lineWidth = 2.5;
    ctx.beginPath();
    ctx.arc(px[selected], py[selected], 1.6 * radius + 4, 0, 2 * Math.PI);
    ctx.stroke();
  }
  function paintSwatches() {
    for (const [i, canvas] of key.swatches.entries()) {
      canvas.width = canvas.height = 22 * size.ratio;
      const ctx = canvas.getContext("2d");
      ctx.scale(size.ratio, size.ratio);
      mark(ctx, legend[i], legend[i].name === "byzantine", 11, 11, 5, colors());
    }
  }

  // -- words beside the map
  let wordsAt = 0;
  function write(now) {
    const found = new Uint32Array(legend.length);
    for (let i = 0; i < n; i++) found[shown[timeline.now[i]]]++;
    legend.forEach((_, i) => say(key.counts[i], count(found[i])));
    const when = `virtual time ${duration(t, data.end_s)} of ${duration(data.end_s, data.end_s)}`;
    say(clock, when);
    slider.value = data.end_s ? Math.round((1000 * t) / data.end_s) : 0;
    if (!card) {
      card = selected < 0 ? { children: [h("p", { class: "dn-faint" }, "Click a node to see what it is and has. "), h("p", { class: "dn-faint" }, "Keys on the map: arrows move, + − 0 zoom, N and P go from node to node, Space plays.")] } : inspect(data, neighbours, selected, pick);
      panel.replaceChildren(...card.children);
    }
    if (selected >= 0) say(card.state, stateName(selected));
    if (playing && now - wordsAt < 250) return; // what is slow to write, or read aloud, waits a little
    wordsAt = now;
    slider.setAttribute("aria-valuetext", when);
    const states = legend.flatMap((state, i) => (occurs[i] ? [`${count(found[i])} ${state.name}`] : [])).join(", ");
    nodeCanvas.setAttribute("aria-label", `Map of ${plural(n, "node")} and ${plural(m, "link")}${data.end_s ? ` at ${when}` : ""}: ${states}`);
    if (!rows.element.hidden) rows.show(selected);
    dirty.words = false;
  }

  // -- one frame
  let pending = 0;
  let last = 0;
  function schedule() {
    pending ||= requestAnimationFrame(frame);
  }
  function frame(now) {
    pending = 0;
    if (playing) {
      const passed = last ? Math.min(now - last, 250) / 1000 : 0; // a page that slept does not leap
      last = now;
      if (!model.get("player") || now - heardAt > SILENT_MS) lead(); // started from Python, or the one that played is gone
      if (leads()) goTo(t + (passed * data.end_s * Number(speed.value)) / PLAY_S);
      if (leads() && t >= data.end_s) setPlaying(false);
    }
    if (!size.width) return;
    if (dirty.camera) place();
    if (dirty.links) paintLinks();
    else if (dirty.camera) moveLinks();
    if (dirty.nodes) paintNodes();
    dirty.camera = dirty.links = dirty.nodes = false;
    if (dirty.words || playing) write(now);
    if (playing) schedule();
  }
  function resize() {
    const ratio = window.devicePixelRatio || 1;
    root.classList.toggle("dn-narrow", root.clientWidth < 720);
    const { clientWidth: width, clientHeight: height } = map;
    if (!width || (width === size.width && height === size.height && ratio === size.ratio)) return;
    size = { width, height, ratio };
    for (const canvas of [linkCanvas, nodeCanvas]) [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    recolor();
  }
  function recolor() {
    stamp = null;
    Object.assign(dirty, { camera: true, links: true, nodes: true, words: true });
    paintSwatches();
    schedule();
  }

  // -- pointer and keys
  let held = null;
  const local = (event) => [event.offsetX, event.offsetY];
  const on = (name, handler, options) => nodeCanvas.addEventListener(name, handler, options);
  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    held = { from: local(event), at: local(event), moved: false };
    nodeCanvas.setPointerCapture(event.pointerId);
  });
  on("pointermove", (event) => {
    const at = local(event);
    if (!held) return void (nodeCanvas.style.cursor = nearest(...at) >= 0 ? "pointer" : "grab");
    held.moved ||= Math.hypot(at[0] - held.from[0], at[1] - held.from[1]) > DRAG_PX;
    if (held.moved) pan(at[0] - held.at[0], at[1] - held.at[1]);
    if (held.moved) held.at = at;
  });
  on("pointerup", (event) => {
    if (held && !held.moved) pick(nearest(...local(event)));
    held = null;
  });
  on("pointercancel", () => (held = null));
  on("dblclick", (event) => zoom(2, ...local(event)));
  let hintTimer = 0;
  on("wheel", (event) => {
    if (document.activeElement !== nodeCanvas && !nodeCanvas.matches(":focus") && !event.ctrlKey && !event.metaKey) {
      hint.classList.add("dn-shown"); // the page scrolls on
      clearTimeout(hintTimer);
      hintTimer = setTimeout(() => hint.classList.remove("dn-shown"), 1500);
      return;
    }
    event.preventDefault();
    zoom(Math.exp(-Math.max(-60, Math.min(event.deltaY * (event.deltaMode === 1 ? 16 : 1), 60)) * 0.004), ...local(event));
  }, { passive: false });
  const step = (by) => pick(selected < 0 ? (by > 0 ? 0 : n - 1) : (selected + by + n) % n);
  const keys = {
    ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0), ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
    "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), 0: fit, " ": () => setPlaying(!playing),
    n: () => step(1), "]": () => step(1), p: () => step(-1), "[": () => step(-1),
    Enter: () => near.length && pick(near[0]), Escape: () => (selected < 0 ? nodeCanvas.blur() : pick(-1)),
    Home: () => goTo(0), End: () => goTo(data.end_s),
  };
  on("keydown", (event) => {
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  });

  // -- what comes from Python
  const heard = {
    "change:t_s": () => ((heardAt = performance.now()), model.get("t_s") !== t && goTo(model.get("t_s"), false)),
    "change:selected": () => model.get("selected") !== selected && pick(model.get("selected"), false),
    "change:playing": () => setPlaying(model.get("playing"), false),
  };
  for (const [name, handler] of Object.entries(heard)) model.on(name, handler);

  // -- begin, and end
  el.append(root);
  const observer = new ResizeObserver(resize);
  observer.observe(root);
  observer.observe(map);
  window.addEventListener("resize", resize);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", recolor);
  const theme = new MutationObserver(recolor);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"] });
  goTo(model.get("t_s"), false);
  pick(model.get("selected"), false);
  resize();
  if (model.get("playing")) setPlaying(true, false);

  const remove = () => {
    if (pushTimer) push();
    for (const [name, handler] of Object.entries(heard)) model.off(name, handler);
    observer.disconnect();
    theme.disconnect();
    dark.removeEventListener("change", recolor);
    window.removeEventListener("resize", resize);
    cancelAnimationFrame(pending);
    pending = -1; // nothing is scheduled any more
    for (const timer of [settleTimer, hintTimer, pushTimer]) clearTimeout(timer);
    root.remove();
  };
  root.networkView.remove = remove;
  return remove;
}

export default { render };
