// The player of a backward pass. Its data is in the element: the rows of the table, one a step
// (data-node, data-in and data-out tell the node and its edges), and the drawing. Numbers have
// names: the value of a <data>, the data-n of a text. What it computes, engine.js does.

// A site in another language knows what to say instead; a notebook says it in English.
const _ = (text) => (typeof Documentation === "undefined" ? text : Documentation.gettext(text));
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
const SVG = "http://www.w3.org/2000/svg";
const make = (tag, values = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name.startsWith("on") || name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};
const draw = (tag, values, ...children) => {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(values)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};
const sign = (path) => draw("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": true },
  draw("path", { d: path }));
const PLAY = "M3 1L14 8L3 15z";
const PAUSE = "M3 1h3.5v14H3zM9.5 1H13v14H9.5z";
const BACK = "M10 2L11.4 3.4L6.8 8L11.4 12.6L10 14L4 8z";
const ON = "M6 2L4.6 3.4L9.2 8L4.6 12.6L6 14L12 8z";
// In ms: an addend is shown, the sum is seen, a dot travels, and what came is read.
const ADDEND = 500, SUM = 400, FLIGHT = 650, REST = 1300;

// The numbers in a text: 2, -0.5, 1e-3, 16/3.
const NUMBERS = /[-−+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?:\s*\/\s*\d+\.?\d*)?|-?inf|nan/gi;
const numbersIn = (text) => (text.match(NUMBERS) ?? []).map((one) => {
  const [above, below = 1] = one.replace("−", "-").replace("inf", "Infinity").split("/");
  return Number(above) / Number(below);
});
const close = (one, other, part) => Object.is(one, other) || one === other
  || Math.abs(one - other) <= part * Math.max(Math.abs(one), Math.abs(other))
  || (one !== one && other !== other);
const say = (element, text) => element.textContent === text || (element.textContent = text);
const unbroken = (text) => text.replace(/, (?!\[)/g, ",\u00a0"); // a line may end between two rows

customElements.get("gradbook-player") || customElements.define("gradbook-player",
class extends HTMLElement {
  connectedCallback() {
    if (this.rows) return;
    // The parser may call this before the children are there.
    if (this.querySelector("tbody tr")) this.build();
    else addEventListener("DOMContentLoaded", () => this.build(), { once: true });
  }

  disconnectedCallback() {
    if (this.rows) this.pause();
  }

  build() {
    if (this.rows) return;
    const ids = (text) => (text ? text.split(" ") : []);
    this.stage = this.querySelector(".gb-stage");
    this.rows = [...this.querySelectorAll("tbody tr")].map((row) => ({
      row,
      node: this.stage.querySelector(`[data-node="${row.dataset.node}"]`),
      into: ids(row.dataset.in).map((edge) => this.edge(edge)),
      out: ids(row.dataset.out).map((edge) => this.edge(edge)),
    }));
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.at = 0; // steps done, with the one that is shown
    this.time = Infinity; // since that one began, in ms
    this.tabIndex = -1; // a click anywhere in it gives it the focus, and so the keys
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", _("Backward pass, step by step"));
    this.classList.add("gb-live");
    this.dataset.lmSuppressShortcuts = true; // JupyterLab would take keys for its own
    const button = (name, path, act) => {
      const made = make("button", { type: "button", title: name, onclick: () => {
        // A disabled button would lose the focus of who steps by keyboard.
        if (made.getAttribute("aria-disabled") !== "true") act();
      } }, sign(path));
      made.setAttribute("aria-label", name);
      return made;
    };
    this.toggle = button(_("Play"), PLAY, () => (this.playing ? this.pause() : this.play()));
    this.toggle.className = "gb-play";
    this.back = button(_("One step back"), BACK, () => this.go(this.at - 1));
    this.on = button(_("One step forward"), ON, () => this.go(this.at + 1));
    this.scrub = make("input", { type: "range", className: "gb-scrub", min: 0,
      max: this.rows.length, "aria-label": _("Step"), oninput: () => this.go(+this.scrub.value) });
    this.count = make("span", { className: "gb-count" });
    const bar = make("div", { className: "gb-bar" }, this.toggle, this.back, this.scrub, this.on,
      this.count);
    this.panel = make("div", { className: "gb-panel", "aria-live": "polite" });
    this.predict = make("input", { type: "checkbox", onchange: () => this.go(this.at) });
    const options = make("p", { className: "gb-options" },
      make("label", {}, this.predict, _("Predict, then play")));
    this.querySelector(".gb-side").replaceChildren(bar, this.panel, options);
    if (this.dataset.program) this.prepare(options);
    const svg = this.stage.querySelector("svg");
    svg.setAttribute("role", "group");
    this.rows.forEach(({ row, node }, index) => {
      if (!node) return;
      node.setAttribute("role", "button");
      node.onclick = () => this.go(index + 1);
      // On hover the node tells what it does with the gradient.
      const title = node.querySelector("title"), name = title.textContent;
      node.onpointerenter = () => {
        const words = [...row.cells[2].querySelectorAll("p, li")].map((one) => one.textContent);
        title.textContent = [name, ...words].join("\n");
      };
    });
    // On paper the pass is over.
    matchMedia("print").addEventListener("change", ({ matches }) => {
      if (matches) this.left = this.at;
      this.go(matches ? this.rows.length : this.left);
      if (matches) this.run(false);
      if (this.grads) this.put(false, true);
    });
    this.onkeydown = (event) => this.key(event);
    this.fit();
    new ResizeObserver(() => this.fit()).observe(this);
    this.move(1);
  }

  edge(number) {
    return this.stage.querySelector(`[data-edge~="${number}"]`);
  }

  key(event) {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.closest("input, form, .gb-scroll, summary")) return;
    const node = target.closest(".gb-node");
    const to = { ArrowLeft: this.at - 1, ArrowRight: this.at + 1, Home: 0,
      End: this.rows.length }[key];
    if (to !== undefined) {
      this.go(to);
      if (node) this.rows[this.at - 1]?.node?.focus({ preventScroll: true });
    } else if (node && (key === "Enter" || key === " ")) node.onclick();
    else if (key === " " && !target.closest("button")) this.toggle.click();
    else return;
    event.preventDefault();
  }

  // The panel is as high as its highest step, so that nothing below it moves.
  fit() {
    const width = this.panel.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    const tries = this.rows.map((one, index) => make("div", { className: "gb-measure gb-panel" },
      ...this.told(index + 1)));
    this.panel.append(...tries);
    const highest = Math.max(...tries.map((one) => one.offsetHeight));
    for (const one of tries) one.remove();
    this.panel.style.height = `${Math.min(highest + 2, Math.max(150, innerHeight * 0.36))}px`;
    // A panel that scrolls is reached by the keyboard.
    if (highest > this.panel.clientHeight) this.panel.tabIndex = 0;
    else this.panel.removeAttribute("tabindex");
    // What stands below a wide drawing, and is to be seen with it: the bar and the panel.
    const side = this.panel.parentElement.getBoundingClientRect();
    this.style.setProperty("--gb-side", `${this.panel.getBoundingClientRect().bottom - side.top}px`);
    this.classList.toggle("gb-below", side.top > this.stage.getBoundingClientRect().top + 9);
    this.reveal(true);
  }

  play() {
    this.playing = true;
    this.move(this.at === this.rows.length ? 1 : this.at + 1, true);
  }

  pause() {
    this.playing = false;
    clearTimeout(this.timer);
    this.show();
  }

  go(to) {
    this.playing = false;
    clearTimeout(this.timer);
    this.move(to, to === this.at + 1);
  }

  // Show a step: at once, or in motion.
  move(to, moving = false) {
    cancelAnimationFrame(this.frame);
    this.at = Math.max(0, Math.min(this.rows.length, to));
    if (this.grads) this.put(false);
    this.plan();
    this.panel.ariaLive = "polite";
    this.ask(moving && this.predict.checked);
    if (this.asking) this.playing = false;
    this.run(moving);
  }

  run(moving) {
    this.time = moving && !this.still.matches ? 0 : Infinity;
    if (this.asking) this.time = this.summed + 1; // the sum is seen, nothing is sent
    this.tell();
    this.show();
    this.reveal();
    if (this.time === 0) {
      const start = performance.now();
      const tick = () => {
        this.time = performance.now() - start;
        if (this.time >= this.length) this.time = Infinity;
        this.show();
        if (this.time < Infinity) this.frame = requestAnimationFrame(tick);
        else this.rest();
      };
      this.frame = requestAnimationFrame(tick);
    } else this.rest();
  }

  rest() {
    if (!this.playing) return;
    if (this.at === this.rows.length) this.pause();
    else this.timer = setTimeout(() => this.move(this.at + 1, true), this.still.matches ? 2 * REST : REST);
  }

  // When, in a step, its parts are seen: addends one by one, their sum, then what is sent.
  plan() {
    const { into = [], out = [] } = this.rows[this.at - 1] ?? {};
    const addends = into.length > 1 ? into.length : 0;
    this.summed = addends * ADDEND;
    this.starts = out.map((edge, index) => this.summed + (addends ? SUM : 0) + index * FLIGHT);
    this.length = this.summed + SUM + out.length * FLIGHT;
  }

  // The panel: the row of the table, as a text; or what it says so far, and a question.
  tell() {
    this.panel.replaceChildren(...this.told(this.at));
    if (!this.asking) return;
    for (const one of this.panel.querySelectorAll("li, p:not(.gb-in, :first-child)")) one.remove();
    this.panel.append(this.asking.form);
  }

  // Hide what comes next, and ask for it: what goes to the first receiver, or a leaf's .grad.
  ask(now) {
    this.asking = null;
    const { row, node } = this.rows[this.at - 1] ?? {};
    if (!now || !row) return;
    const item = row.querySelector("li");
    const number = item ? [...item.querySelectorAll("data")].at(-1)
      : row.querySelector(`data[value="d${row.dataset.node}"]`);
    const wanted = number ? numbersIn(number.textContent) : [];
    if (!node || !wanted.length || wanted.length > 6 || number.textContent.includes("(")) return;
    const said = make("output");
    const whom = item ? [...item.querySelectorAll("code, i")].map((one) => one.textContent).join(" ") : "";
    const question = item ? fill(_("What goes to {name}?"), { name: whom })
      : fill(_("What is {name}.grad now?"), { name: row.dataset.leaf });
    const field = make("input", { autocomplete: "off", spellcheck: false, "aria-label": question });
    const reveal = () => {
      const held = this.asking?.form.contains(document.activeElement);
      this.asking = null;
      this.run(true);
      if (held) this.on.focus({ preventScroll: true });
    };
    const form = make("form", { className: "gb-ask", onsubmit: (event) => {
      event.preventDefault();
      const given = numbersIn(field.value);
      if (given.length !== wanted.length) {
        said.textContent = fill(_("It has {count} numbers."), { count: wanted.length });
      } else if (given.every((one, at) => close(one, wanted[at], 0.006) || Math.abs(one - wanted[at]) < 1e-3)) {
        reveal();
      } else said.textContent = _("No. Try again, or see it.");
    } }, make("span", {}, question), field, make("button", {}, _("Check")),
      make("button", { type: "button", onclick: reveal }, _("Show")), said);
    this.asking = { form };
  }

  told(at) {
    const row = this.rows[at - 1]?.row;
    if (!row) {
      return [make("p", {}, _("Forward is over: each box shows what it made. Play, and see the gradients come."))];
    }
    const title = make("p", {}, `${fill(_("Step {at}:"), { at })} `,
      ...[...row.cells[1].cloneNode(true).childNodes].filter((one) => one.nodeName !== "BR"));
    title.querySelector("small")?.before(" ");
    return [title, ...row.cells[2].cloneNode(true).childNodes];
  }

  show() {
    const { at, rows, time } = this;
    const now = rows[at - 1];
    for (const [one, off] of [[this.back, !at], [this.on, at === rows.length]]) {
      one.setAttribute("aria-disabled", off);
    }
    const label = this.playing ? _("Pause") : _("Play");
    if (this.toggle.title !== label) {
      this.toggle.title = label;
      this.toggle.setAttribute("aria-label", label);
      this.toggle.replaceChildren(sign(this.playing ? PAUSE : PLAY));
    }
    const count = fill(_("step {at} of {count}"), { at, count: rows.length });
    if (this.count.textContent !== count) {
      this.count.textContent = count;
      this.scrub.value = at;
      this.scrub.setAttribute("aria-valuetext", count);
      this.name();
    }
    this.classList.toggle("gb-secret", this.predict.checked && (at < rows.length || !!this.asking));
    rows.forEach(({ node, out }, index) => {
      const current = index === at - 1;
      node?.classList.toggle("gb-done", index < at - 1);
      node?.classList.toggle("gb-now", current);
      node?.classList.toggle("gb-has", index < at - 1 || (current && time >= this.summed && !(this.asking && node.matches(".gb-leaf"))));
      out.forEach((edge, number) => {
        const start = current ? (this.asking ? Infinity : this.starts[number]) : 0;
        edge.classList.toggle("gb-flow", current && time >= start);
        edge.classList.toggle("gb-come", index < at - 1 || (current && time >= start + FLIGHT));
        this.fly(edge, current ? (time - start) / FLIGHT : -1);
      });
    });
    now?.into.forEach((edge, number) => {
      edge.classList.toggle("gb-add", now.into.length > 1 && time < this.summed && time >= number * ADDEND);
    });
    const [first] = this.panel.querySelectorAll(".gb-in");
    if (!first) return;
    const terms = [...first.querySelectorAll("data")];
    terms.forEach((one, number) => {
      const from = terms.length > 1 ? Math.min(number * ADDEND, this.summed) : 0;
      one.classList.toggle("gb-late", time < from);
    });
    for (const one of this.panel.querySelectorAll("p:not(.gb-in) data")) {
      one.classList.toggle("gb-late", time < this.summed);
    }
    this.panel.querySelectorAll("li").forEach((one, number) => {
      one.classList.toggle("gb-late", time < this.starts[number]);
    });
  }

  // A dot with the number travels from the sender to the receiver.
  fly(edge, part) {
    if (!(part >= 0 && part < 1)) {
      edge.dot?.remove();
      edge.dot = null;
      return;
    }
    const line = edge.querySelector(".gb-line");
    if (!edge.dot) {
      edge.dot = draw("g", { class: "gb-dot", "aria-hidden": true }, draw("circle", { r: 6 }));
      const said = edge.querySelector(".gb-grad");
      const svg = this.stage.querySelector("svg");
      svg.append(edge.dot);
      if (said) {
        const text = draw("text", { x: 11, y: 4 }, said.textContent);
        edge.dot.append(text);
        // It must not leave the drawing: right of the dot, left of it, or else over the line, where
        // it lets the dot pass, so that it covers neither box.
        const box = line.getBBox(), wide = text.getComputedTextLength(), most = svg.viewBox.baseVal.width;
        if (box.x + box.width + wide + 14 > most) {
          if (box.x >= wide + 14) text.setAttribute("x", -11 - wide);
          else {
            edge.dot.put = (x, passed) => {
              text.setAttribute("x", Math.max(3, Math.min(x - wide / 2, most - wide - 3)) - x);
              text.setAttribute("y", 32 * passed - 12);
            };
          }
        }
      }
    }
    const eased = part * part * (3 - 2 * part);
    const { x, y } = line.getPointAtLength(line.getTotalLength() * (1 - eased));
    edge.dot.put?.(x, eased);
    edge.dot.setAttribute("transform", `translate(${x} ${y})`);
  }

  // What if the leaves held other numbers? Only if the recorded ones give what torch computed.
  prepare(options) {
    const program = JSON.parse(this.dataset.program);
    this.recorded = Object.fromEntries(program.leaves.map(({ id, value }) => [id, value.map(Number)]));
    this.compute = () => run(program, this.leaves);
    this.leaves = structuredClone(this.recorded);
    const shown = this.stage.querySelectorAll("[data-n]");
    this.table = this.querySelector(".gb-steps");
    this.table.addEventListener("toggle", () => this.put());
    this.spots = [...shown, ...this.table.querySelectorAll("tbody data")].map((spot) => ({
      spot,
      name: spot.dataset.n ?? spot.value,
      text: spot.textContent,
      row: spot.ownerSVGElement && this.rowed(spot) ? +spot.dataset.row : -1,
      step: spot.closest("tr"),
      part: spot.closest(".gb-node, .gb-edge"),
    }));
    const made = this.compute();
    const differs = this.spots.some((one) => {
      const [is, was] = [this.text(one, made), one.text].map(numbersIn);
      return is.length !== was.length || !is.every((number, at) => close(number, was[at], 2e-3));
    });
    if (differs) {
      const reason = _("here it computes other numbers than torch");
      this.querySelector(".gb-side").after(make("p", { className: "gb-why" },
        fill(_("The numbers stay as recorded: {reason}."), { reason })));
      return;
    }
    this.unseen = new Set();
    const watch = new IntersectionObserver((changes) => {
      for (const { target, isIntersecting } of changes) {
        this.unseen[isIntersecting ? "delete" : "add"](target);
      }
      this.put(false);
    }, { root: this.stage, rootMargin: "100px" });
    for (const part of this.stage.querySelectorAll(".gb-node, .gb-edge")) watch.observe(part);
    this.fields = [];
    const leaves = program.leaves.map((leaf) => this.leaf(leaf));
    this.undo = make("button", { type: "button", className: "gb-reset", onclick: () => this.reset() }, _("Reset"));
    this.state = make("span");
    options.before(make("fieldset", { className: "gb-what" }, make("legend", {}, _("What if?")),
      make("p", {}, this.state, this.undo), ...leaves));
    this.put(false);
  }

  // Whether a text of the drawing shows one row of a matrix.
  rowed(spot) {
    return spot.closest("g").querySelectorAll(`[data-n="${spot.dataset.n}"]`).length > 1;
  }

  // What a place says of the computed numbers; as it is, where they have no say.
  text({ name, text, row }, { found, rules }) {
    if (name.startsWith("r")) return rules[name.slice(1)] ?? text;
    const one = found[name];
    if (!one) return text;
    if (text.includes("‖")) return `${text.split("=")[0]}= ${write(Math.hypot(...one.d))}`;
    if (row < 0) return written(one);
    const [size, ...rest] = one.s;
    const end = row === size - 1 ? "]" : ",";
    return `${row ? " " : "["}${written(one, rest, row * count(rest))}${end}`;
  }

  // The numbers of a leaf, to drag, to type, or to move with the arrow keys.
  leaf({ id, shape, value }) {
    const row = this.rows.find((one) => one.row.dataset.node === String(id)).row;
    const name = row.dataset.leaf;
    const size = Math.max(...value.map(Math.abs).filter(Number.isFinite), 0);
    const step = size ? 10 ** (Math.floor(Math.log10(size)) - 1) : 0.1;
    const move = (at, steps, from = this.leaves[id][at]) =>
      this.set(id, at, +((Math.round(from / step) + steps) * step).toPrecision(12));
    const drag = (spot, at) => {
      spot.classList.add("gb-knob");
      spot.onpointerdown = (down) => {
        if (down.button || document.activeElement === spot) return;
        down.preventDefault();
        down.stopPropagation();
        spot.setPointerCapture(down.pointerId);
        const from = this.leaves[id][at];
        let moved = false;
        spot.onpointermove = (now) => {
          moved ||= Math.abs(now.clientX - down.clientX) > 3;
          if (moved) move(at, Math.round((now.clientX - down.clientX) / 4), from);
        };
        spot.onpointerup = spot.onpointercancel = () => {
          spot.onpointermove = spot.onpointerup = spot.onpointercancel = null;
          this.fields.find((one) => one.id === id && one.at === at).field.focus({ preventScroll: true });
        };
      };
      spot.onclick = (event) => event.stopPropagation();
    };
    const fields = value.map((_number, at) => {
      const index = [];
      shape.reduceRight((rest, length) => (index.unshift(rest % length), Math.floor(rest / length)), at);
      const field = make("input", { className: "gb-number", inputMode: "decimal", autocomplete: "off",
        role: "spinbutton", "aria-label": `${name}${index.map((one) => `[${one}]`).join("")}` });
      field.oninput = () => {
        const [number, ...more] = numbersIn(field.value);
        const wrong = number === undefined || more.length > 0 || !Number.isFinite(number);
        field.setAttribute("aria-invalid", wrong);
        if (!wrong) this.set(id, at, number, field);
      };
      field.onfocus = () => {
        field.value = String(+this.leaves[id][at].toPrecision(9));
        field.select(); // what is typed takes its place
      };
      field.onblur = () => {
        this.typing = null;
        this.put();
      };
      field.onkeydown = (event) => {
        const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
        if (!way) return;
        event.preventDefault();
        move(at, way * (event.shiftKey ? 10 : 1));
      };
      drag(field, at);
      this.fields.push({ id, at, field });
      return field;
    });
    // In the drawing each number can be dragged, too.
    let at = 0;
    for (const text of this.stage.querySelectorAll(`[data-n="v${id}"]`)) {
      if (text.textContent.includes("‖")) break;
      const parts = text.textContent.split(/([^[\], ]+)/);
      text.replaceChildren(...parts.map((part, number) => {
        if (number % 2 === 0) return part;
        const knob = draw("tspan", {}, part);
        drag(knob, at++);
        return knob;
      }));
    }
    const numbers = make("span", { className: "gb-numbers", role: "group", "aria-label": name }, ...fields);
    if (shape.length > 1) {
      numbers.classList.add("gb-matrix");
      numbers.style.gridTemplateColumns =
        `repeat(${Math.min(shape.at(-1), 6)}, var(--gb-wide, 3.4rem))`;
    }
    this.grads ??= [];
    const grad = make("output", {}, "");
    this.grads.push([`d${id}`, grad]);
    return make("div", { className: "gb-row" }, make("code", {}, name), numbers,
      make("small", {}, make("code", {}, `${name}.grad`), ` ${_("after the pass")}`), grad);
  }

  set(id, at, number, field) {
    this.leaves[id][at] = number;
    this.typing = field;
    this.due ??= requestAnimationFrame(() => {
      this.due = undefined;
      this.put();
      clearTimeout(this.later);
      this.later = setTimeout(() => this.put(false, true), 300);
    });
  }

  reset() {
    this.leaves = structuredClone(this.recorded);
    this.put();
  }

  // Compute, and write every number where it stands.
  put(telling = true, all = false) {
    const made = this.compute();
    const current = this.rows[this.at - 1]?.row;
    for (const one of this.spots) {
      // What nobody sees is written when it comes into view.
      const seen = one.step ? one.step === current || this.table.open : !this.unseen.has(one.part);
      if (!seen && !all) continue;
      const text = this.text(one, made);
      if (text === one.now) continue;
      one.now = text;
      one.knobs ??= one.spot.querySelectorAll(".gb-knob");
      const parts = text.match(/[^[\], ]+/g);
      if (one.knobs.length) one.knobs.forEach((knob, at) => { knob.textContent = parts[at]; });
      else one.spot.textContent = one.spot.ownerSVGElement ? text : unbroken(text);
      this.squeeze(one);
    }
    for (const [name, grad] of this.grads) say(grad, unbroken(written(made.found[name])));
    let changed = false;
    for (const { id, at, field } of this.fields) {
      const number = this.leaves[id][at];
      changed ||= number !== this.recorded[id][at];
      if (field !== this.typing || document.activeElement !== field) {
        field.value = document.activeElement === field ? String(+number.toPrecision(9)) : write(number);
        field.removeAttribute("aria-invalid");
      }
      if (field.ariaValueNow !== String(number)) field.ariaValueNow = number;
      // A longer number widens the fields of its leaf, and a shorter one leaves them as they are.
      const { parentElement } = field, { length } = write(number);
      if (length > (parentElement.letters ??= 3)) {
        parentElement.letters = length;
        parentElement.style.setProperty("--gb-wide", `${length * 0.62 + 1}rem`);
      }
    }
    if (changed !== this.changed) {
      this.changed = changed;
      this.undo.setAttribute("aria-disabled", !changed);
      this.state.textContent = changed
        ? _("Computed here, by the rules that the steps show.")
        : _("As torch ran it. Drag a number, type one, or use the arrow keys.");
    }
    if (!telling) return;
    this.panel.ariaLive = "off";
    const said = current?.querySelectorAll("data") ?? [];
    this.panel.querySelectorAll("data").forEach((one, at) => {
      say(one, said[at].textContent);
    });
  }

  // A number that became longer must not leave its box.
  squeeze(one) {
    const { spot } = one;
    const text = one.step ? null : spot.parentElement;
    if (!text) return;
    // Measured by its letters: asking for its length would lay the page out once for each number.
    const wide = text.textContent.length * 7.4;
    if (!text.room) {
      const box = text.parentElement.querySelector(".gb-box"), x = text.x.baseVal[0].value;
      const most = 2 * Math.min(x, text.ownerSVGElement.viewBox.baseVal.width - x) - 6;
      text.room = box ? box.width.baseVal.value - 10 : Math.min(one.text.length * 7.4 + 24, most);
    }
    if (wide > text.room) {
      text.setAttribute("textLength", text.room);
      text.setAttribute("lengthAdjust", "spacingAndGlyphs");
    } else if (text.hasAttribute("textLength")) text.removeAttribute("textLength");
    const under = text.parentElement.querySelector(".gb-under"), most = Math.min(wide, text.room) + 4;
    if (under && under.width.baseVal.value < most) {
      under.setAttribute("x", text.x.baseVal[0].value - most / 2);
      under.setAttribute("width", most);
    }
  }

  // What a node is called for those who do not see it, and which one the keyboard reaches first.
  name() {
    const current = Math.max(0, this.at - 1);
    this.rows.forEach(({ row, node }, index) => {
      if (!node) return;
      const state = index === this.at - 1 ? _("runs now") : index < this.at ? _("done") : _("waiting");
      const title = [...row.cells[1].children].map((one) => one.textContent).filter(Boolean).join(", ");
      const values = { title, at: index + 1, state };
      node.setAttribute("aria-label", fill(_("{title}, step {at}, {state}"), values));
      node.setAttribute("tabindex", index === current ? 0 : -1);
      if (index === this.at - 1) node.setAttribute("aria-current", "step");
      else node.removeAttribute("aria-current");
    });
  }

  // Scroll the drawing, and nothing else, to the node that runs and to those that it sends to.
  reveal(jump = false) {
    const now = this.rows[this.at - 1];
    if (!now?.node) return;
    const nodes = [now.node, ...now.out.map((edge) =>
      this.stage.querySelector(`[data-node="${edge.dataset.dst}"]`))];
    const boxes = nodes.map((node) => node.getBoundingClientRect());
    const view = this.stage.getBoundingClientRect();
    const part = (low, high, size, from, length) => {
      const start = Math.min(...boxes.map((box) => box[low])) - 12;
      const end = Math.max(...boxes.map((box) => box[high])) + 12;
      if (start >= from && end <= from + length) return 0;
      if (end - start <= length) return (start + end) / 2 - from - length / 2;
      return boxes[0][high] + 12 - from - length; // not all of it: the one that runs
    };
    this.stage.scrollBy({
      top: part("top", "bottom", "height", view.top, this.stage.clientHeight),
      left: part("left", "right", "width", view.left, this.stage.clientWidth),
      behavior: jump || this.still.matches ? "auto" : "smooth",
    });
  }
});
