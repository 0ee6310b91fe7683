// Rules in the plane: honest points, an attacker that can be dragged, and the aggregates that Python computes. Nothing is fetched.

const STEP = 0.02; // of the picture's half width, per press of an arrow key; with Shift five times as far
const GRAB_PX = 18; // so near to the attacker a press takes hold of it; elsewhere it jumps there
const SILENT_MS = 1000; // without an answer for so long, the next position is sent all the same
const INK = "#000000"; // drawn in the page's own colour, or it would not be seen on a dark one

const MARKS = {
  o: (c, r) => c.arc(0, 0, r, 0, 2 * Math.PI),
  s: (c, r) => c.rect(-0.88 * r, -0.88 * r, 1.76 * r, 1.76 * r),
  "^": (c, r) => polygon(c, [[0, -1.1 * r], [r, 0.85 * r], [-r, 0.85 * r]]),
  v: (c, r) => polygon(c, [[0, 1.1 * r], [r, -0.85 * r], [-r, -0.85 * r]]),
  D: (c, r) => polygon(c, [[0, -1.2 * r], [1.2 * r, 0], [0, 1.2 * r], [-1.2 * r, 0]]),
  P: (c, r) => polygon(c, cross(r, 0)),
  X: (c, r) => polygon(c, cross(r, Math.PI / 4)),
  "*": (c, r) => polygon(c, Array.from({ length: 10 }, (_, i) => at(i % 2 ? 0.5 * r : 1.25 * r, (i * Math.PI) / 5))),
};

const at = (r, angle) => [r * Math.sin(angle), -r * Math.cos(angle)];
const turned = ([x, y], a) => [x * Math.cos(a) - y * Math.sin(a), x * Math.sin(a) + y * Math.cos(a)];

function cross(r, angle) {
  const [long, wide] = [1.1 * r, 0.4 * r];
  const arm = [[-wide, -wide], [-wide, -long], [wide, -long]];
  return [0, 1, 2, 3].flatMap((quarter) => arm.map((point) => turned(point, angle + (quarter * Math.PI) / 2)));
}

function polygon(c, points) {
  points.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
  c.closePath();
}

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(context, marker, x, y, r, fill, edge) {
  context.save();
  context.translate(x, y);
  context.beginPath();
  MARKS[marker](context, r);
  context.fillStyle = fill;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = edge;
  context.stroke();
  context.restore();
}

const figure = (value) => (value === null ? "–" : (Math.abs(value) < 0.005 ? 0 : value).toFixed(2).replace("-", "−"));

function render({ model, el }) {
  const { title, reach, attackers, looks, mean } = model.get("about");
  const honest = model.get("honest");
  let attacker = model.get("attacker");
  let [held, pending, waiting, sentAt] = [null, 0, false, 0];

  // -- elements
  const canvas = h("canvas", { tabindex: "0", role: "application", "aria-roledescription": "picture of rules, attacker can be moved" });
  const body = h("tbody", {});
  const who = attackers === 1 ? "The attacker" : `${attackers} attackers who act as one`;
  const hint = h("p", { class: "drv-hint" }, `${who}: drag the triangle, or press the arrow keys (Shift: further, Home: to the mean of the honest).`);
  const said = h("p", { class: "drv-said", role: "status" });
  const heads = ["rule", "x", "y", "from the honest mean", "left out"].map((name) => h("th", { scope: "col" }, name));
  const table = h("table", {}, h("caption", {}, "Where each rule ends up. Press a rule's name to see which updates it leaves out."), h("thead", {}, h("tr", {}, ...heads)), body);
  const root = h(
    "div",
    { class: "decai-rules", "data-lm-suppress-shortcuts": "true" }, // or JupyterLab would take the keys
    ...(title ? [h("strong", {}, title)] : []),
    h("div", { class: "drv-body" }, h("div", { class: "drv-picture" }, canvas), h("div", { class: "drv-side" }, table, said)),
    hint,
  );
  root.dataset.answers = "0";
  const rows = looks.map((look) => {
    const swatch = h("canvas", { class: "drv-swatch", "aria-hidden": "true" });
    const button = h("button", { type: "button", "aria-pressed": "false", onclick: () => choose(look.name) }, look.name);
    const cells = [0, 1, 2, 3].map(() => h("td", {}));
    body.append(h("tr", {}, h("th", { scope: "row" }, swatch, button), ...cells));
    return { look, swatch, button, cells };
  });

  // -- the picture
  const side = () => canvas.clientWidth;
  const toScreen = ([x, y]) => [((x + reach) / (2 * reach)) * side(), ((reach - y) / (2 * reach)) * side()];
  const toPlane = (x, y) => [(2 * x / side() - 1) * reach, (1 - 2 * y / side()) * reach];
  const colors = () => (({ color, backgroundColor }) => ({ ink: color, paper: backgroundColor }))(getComputedStyle(root));
  const seen = (color, ink) => (color === INK ? ink : color);

  function sized(some) {
    const ratio = window.devicePixelRatio || 1;
    const [w, height] = [Math.round(some.clientWidth * ratio), Math.round(some.clientHeight * ratio)];
    if (some.width !== w || some.height !== height) [some.width, some.height] = [w, height];
    const context = some.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, some.clientWidth, some.clientHeight);
    return context;
  }

  function paint() {
    pending = 0;
    const { ink, paper } = colors();
    const c = sized(canvas);
    const marks = model.get("marks");
    const out = new Set(marks.find((mark) => mark.name === model.get("chosen"))?.out ?? []);
    c.globalAlpha = 0.18;
    c.strokeStyle = ink;
    c.lineWidth = 1;
    const [cx, cy] = toScreen([0, 0]);
    c.beginPath();
    c.moveTo(0, cy); c.lineTo(side(), cy);
    c.moveTo(cx, 0); c.lineTo(cx, side());
    c.stroke();
    c.globalAlpha = 1;
    const struck = ([x, y]) => {
      c.strokeStyle = ink;
      c.lineWidth = 2;
      c.beginPath();
      c.moveTo(x - 7, y - 7); c.lineTo(x + 7, y + 7);
      c.moveTo(x - 7, y + 7); c.lineTo(x + 7, y - 7);
      c.stroke();
    };
    honest.forEach((point, i) => {
      const place = toScreen(point);
      draw(c, "o", ...place, 5, "#8a8a8a", paper);
      if (out.has(i)) struck(place);
    });
    // The mean of the honest: where one would like to be.
    const [mx, my] = toScreen(mean);
    c.strokeStyle = ink;
    c.lineWidth = 1.5;
    c.beginPath();
    c.moveTo(mx - 11, my); c.lineTo(mx + 11, my);
    c.moveTo(mx, my - 11); c.lineTo(mx, my + 11);
    c.stroke();
    c.font = "12px system-ui, sans-serif";
    c.textBaseline = "middle";
    const taken = [];
    const label = (text, x, y, color) => {
      const width = c.measureText(text).width;
      let left = x + 13 + width > side() ? x - 13 - width : x + 13;
      left = Math.max(2, left);
      let top = Math.max(9, Math.min(side() - 9, y));
      for (let tries = 0; tries < 20 && taken.some((t) => Math.abs(t.top - top) < 14 && left < t.left + t.width && t.left < left + width); tries++) top = y + (tries % 2 ? 1 : -1) * 7 * (1 + (tries >> 1)) * 2;
      taken.push({ left, top, width });
      if (Math.abs(top - y) > 8) {
        // Moved out of another's way: a line says whose it is.
        c.lineWidth = 1;
        c.strokeStyle = color;
        c.globalAlpha = 0.5;
        c.beginPath();
        c.moveTo(x, y); c.lineTo(left - 2, top);
        c.stroke();
        c.globalAlpha = 1;
      }
      c.lineWidth = 3;
      c.strokeStyle = paper;
      c.strokeText(text, left, top);
      c.fillStyle = color;
      c.fillText(text, left, top);
    };
    const shown = marks.filter((mark) => mark.x !== null);
    for (const mark of shown) {
      const look = looks.find((one) => one.name === mark.name);
      draw(c, look.marker, ...toScreen([mark.x, mark.y]), mark.name === model.get("chosen") ? 10 : 7.5, seen(look.color, ink), paper);
    }
    const place = toScreen(attacker);
    c.save();
    c.lineWidth = 2.5;
    draw(c, "^", ...place, 11, "#D55E00", ink);
    c.restore();
    if (out.has(honest.length)) struck(place);
    for (const mark of shown) label(mark.name, ...toScreen([mark.x, mark.y]), ink);
    label(attackers === 1 ? "attacker" : `${attackers} attackers`, ...place, ink);
    rows.forEach(({ look, swatch }) => draw(sized(swatch), look.marker, 10, 10, 7, seen(look.color, ink), paper));
  }

  const schedule = () => (pending ||= requestAnimationFrame(paint));

  function tell() {
    const marks = model.get("marks");
    rows.forEach(({ look, button, cells }) => {
      const mark = marks.find((one) => one.name === look.name);
      const texts = mark ? [figure(mark.x), figure(mark.y), figure(mark.off), mark.error ? "refuses" : String(mark.out.length)] : ["–", "–", "–", "–"];
      cells.forEach((cell, i) => (cell.textContent = texts[i]));
      button.setAttribute("aria-pressed", String(look.name === model.get("chosen")));
    });
    const places = marks.map((mark) => (mark.error ? `${mark.name} refuses` : `${mark.name} at ${figure(mark.x)}, ${figure(mark.y)}`));
    canvas.setAttribute("aria-label", `${honest.length} honest updates, their mean at ${mean.map(figure).join(", ")}; ${who.toLowerCase()} at ${attacker.map(figure).join(", ")}. ${places.join("; ")}.`);
    const refused = marks.filter((mark) => mark.error).map((mark) => mark.error);
    said.textContent = refused.join("; ");
    schedule();
  }

  // -- what goes to Python: the newest position, once the one before is answered
  function push() {
    if (waiting && performance.now() - sentAt < SILENT_MS) return;
    const known = model.get("attacker");
    if (known[0] === attacker[0] && known[1] === attacker[1]) return;
    [waiting, sentAt] = [true, performance.now()];
    model.set("attacker", attacker);
    model.save_changes();
  }

  function move(to) {
    attacker = to.map((value) => Math.max(-reach, Math.min(reach, value)));
    tell();
    push();
  }

  function choose(name) {
    model.set("chosen", model.get("chosen") === name ? "" : name);
    model.save_changes();
    tell();
  }

  // -- pointer and keys
  const local = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const [x, y] = local(event);
    const [ax, ay] = toScreen(attacker);
    held = Math.hypot(x - ax, y - ay) < GRAB_PX ? [ax - x, ay - y] : [0, 0];
    canvas.setPointerCapture(event.pointerId);
    move(toPlane(x + held[0], y + held[1]));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [x, y] = local(event);
    move(toPlane(x + held[0], y + held[1]));
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (held = null));
  const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key !== "Home" && !(event.key in keys)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Home") return move([...mean]);
    const by = STEP * reach * (event.shiftKey ? 5 : 1);
    const [dx, dy] = keys[event.key];
    move([attacker[0] + by * dx, attacker[1] + by * dy]);
  });

  // -- what comes from Python
  const heard = {
    "change:marks": () => {
      root.dataset.answers = String(Number(root.dataset.answers) + 1);
      waiting = false;
      tell();
      push();
    },
    "change:attacker": () => {
      if (held || waiting) return;
      attacker = model.get("attacker");
      tell();
    },
    "change:chosen": tell,
  };
  for (const [name, handler] of Object.entries(heard)) model.on(name, handler);

  // -- begin, and end
  el.append(root);
  const observer = new ResizeObserver(schedule);
  observer.observe(canvas);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", schedule);
  const theme = new MutationObserver(schedule);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"] });
  tell();

  return () => {
    for (const [name, handler] of Object.entries(heard)) model.off(name, handler);
    observer.disconnect();
    theme.disconnect();
    dark.removeEventListener("change", schedule);
    cancelAnimationFrame(pending);
    pending = -1; // nothing is scheduled any more
    root.remove();
  };
}

export default { render };
