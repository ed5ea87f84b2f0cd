// The menu beside the copy button of a cell: this cell, or the cell with what it needs.
// `_` is Sphinx's own; it gives the text in the language of the site.
"use strict";

{
  // Snippets of the page; they are loaded when a reader comes near a menu.
  let loading = null;
  const load = () => loading ??= new Promise((done) => {
    const source = document.querySelector("meta[name=gradbook-snippets]")?.content;
    if (!source) return done(null);
    window.gradbookSnippets = done;
    const script = document.createElement("script");
    script.src = source;
    script.addEventListener("error", () => done(null));
    document.head.append(script);
  });

  // A cell shows its own code, or a program.
  const shown = "article div.cell_input, article div.tag_program div.highlight-python";
  const inputs = [...document.querySelectorAll(shown)];
  // A page may have a part of the cells of its file, in another order.
  const numberOf = (input) => input.closest("div.cell").className.match(/\bcell-(\d+)/)?.[1];
  const codeOf = (input) => input.querySelector("pre").textContent.replace(/\n$/, "");

  // Where a snippet comes from, and what it needs: comments at its top.
  const head = ({ ran, installs }, install, input) => {
    const canonical = document.querySelector("link[rel=canonical]")?.href;
    const address = canonical ?? location.href.replace(/[?#].*/, "");
    const place = input.closest("section[id]")?.id;
    const [packages, command] = installs[install];
    const versions = Object.entries(ran).map(([name, version]) => `${name} ${version}`).join(", ");
    const needs = packages ? _("Needs %s; ran with %s.").replace("%s", packages) : _("Ran with %s.");
    const lines = [place ? `${address}#${place}` : address, needs.replace("%s", versions), command];
    return lines.filter(Boolean).map((line) => `# ${line}\n`).join("");
  };

  const countLines = (text) => text.trimEnd().split("\n").length;

  // What was copied is said, for those who do not see the tick.
  const said = document.createElement("div");
  said.className = "copied visually-hidden";
  said.setAttribute("role", "status");
  document.body.append(said);
  const say = (text) => {
    said.textContent = "";
    setTimeout(() => { said.textContent = text; }, 50); // a text that stays is not read again
  };

  const write = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Where the page may not write, as in old browsers or without https.
      const field = document.createElement("textarea");
      field.value = text;
      field.className = "visually-hidden";
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      if (!done) throw new Error("not allowed");
    }
  };

  let open = null; // the menu that is open, its button, and whether this has been in view

  const close = (back) => {
    if (!open) return;
    open.menu.hidden = true;
    open.button.setAttribute("aria-expanded", "false");
    if (back) open.button.focus({ preventScroll: true });
    open = null;
  };

  // Cells cut off what does not fit into them: the menu lies on the window, below its button.
  const place = (menu, button) => {
    const { bottom, right, top } = button.getBoundingClientRect();
    const below = bottom + menu.offsetHeight <= innerHeight || top < menu.offsetHeight;
    menu.style.top = `${below ? bottom : top - menu.offsetHeight}px`;
    menu.style.left = `${Math.max(4, right - menu.offsetWidth)}px`;
  };

  // The menu goes along with its button, to which the page may still be on its way, until the
  // button leaves the window.
  const follow = () => {
    if (!open) return;
    const { bottom, top } = open.button.getBoundingClientRect();
    const inView = bottom > 0 && top < innerHeight;
    if (!inView && open.seen) return close(open.menu.contains(document.activeElement));
    open.seen = inView;
    place(open.menu, open.button);
  };

  const makeItem = (text, note) => {
    const item = document.createElement("button");
    item.type = "button";
    item.setAttribute("role", "menuitem");
    item.tabIndex = -1;
    item.append(text);
    if (note !== undefined) {
      const small = document.createElement("small");
      small.textContent = note;
      item.append(" ", small);
    }
    return item;
  };

  const fill = (menu, input, button, snippets) => {
    const number = Number(numberOf(input));
    const found = snippets?.cells[number];
    const copy = async (text, what) => {
      close(true);
      try {
        await write(text);
      } catch {
        return say(_("Failed to copy"));
      }
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 2000);
      say(`${what} ${_("Lines: %s").replace("%s", countLines(text))}`);
    };
    const code = codeOf(input);
    const cell = makeItem(_("This cell"), _("Lines: %s").replace("%s", countLines(code)));
    cell.addEventListener("click", () => copy(`${code}\n`, _("Copied this cell.")));
    menu.replaceChildren(cell);
    if (Array.isArray(found)) {
      const [install, ...needs] = found;
      const before = needs.map((one) => snippets.pieces[one]).join("");
      const all = `${before}${snippets.programs.includes(number) ? "" : code}\n`;
      const whole = `${head(snippets, install, input)}\n${all}`;
      const item = makeItem(_("With what it needs"), _("Lines: %s").replace("%s", countLines(all)));
      item.addEventListener("click", () => copy(whole, _("Copied the cell with what it needs.")));
      menu.append(item);
    } else {
      const item = makeItem(_("With what it needs"), found || _("Not proved yet"));
      item.setAttribute("aria-disabled", "true");
      menu.append(item);
    }
  };

  const show = async (menu, input, button, last) => {
    close(false);
    const snippets = await load();
    fill(menu, input, button, snippets);
    menu.hidden = false;
    button.setAttribute("aria-expanded", "true");
    open = { menu, button, seen: false };
    follow();
    const items = [...menu.children];
    (last ? items.at(-1) : items[0]).focus({ preventScroll: true });
  };

  const move = (menu, event) => {
    const items = [...menu.children];
    const at = items.indexOf(document.activeElement);
    const to = {
      ArrowDown: (at + 1) % items.length,
      ArrowUp: (at - 1 + items.length) % items.length,
      Home: 0,
      End: items.length - 1,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      items[to].focus();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      close(true);
    } else if (event.key === "Tab") {
      close(true); // and on from the button
    }
  };

  for (const [number, input] of inputs.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copymenu";
    button.setAttribute("aria-haspopup", "menu");
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-label", _("Copy with what it needs"));
    button.title = _("Copy with what it needs");
    const menu = document.createElement("div");
    menu.className = "copymenu-items";
    menu.id = `copymenu-${number}`;
    menu.setAttribute("role", "menu");
    menu.setAttribute("aria-label", _("Copy"));
    menu.hidden = true;
    button.setAttribute("aria-controls", menu.id);
    button.addEventListener("pointerenter", load);
    button.addEventListener("focus", load);
    button.addEventListener("click", () => (open?.button === button ? close(true) : show(menu, input, button)));
    button.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
      event.preventDefault();
      show(menu, input, button, event.key === "ArrowUp");
    });
    menu.addEventListener("keydown", (event) => move(menu, event));
    const box = document.createElement("div");
    box.className = "copymenu-box";
    box.append(button, menu);
    input.append(box);
  }

  addEventListener("scroll", follow, { passive: true });
  addEventListener("resize", () => close(false));
  document.addEventListener("click", (event) => {
    if (open && !open.menu.contains(event.target) && event.target !== open.button) close(false);
    // The button beside it, which sphinx-copybutton makes, says nothing.
    if (event.target.closest("button.copybtn")) say(_("Copied this cell."));
  });
}
