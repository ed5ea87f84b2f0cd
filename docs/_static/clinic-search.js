// The message search of the Clinic: the same catalogue and the same steps as gradbook.understand.catalogue,
// so that a message finds the same entry here and in Python (tests hold the two against each other).
"use strict";

const ClinicSearch = (() => {
  const LONGEST_TEXT = 4000000, LONGEST_MESSAGE = 4000, LONGEST_SEARCH = 200000;
  const MOST_LINES = 30, MOST_HEADS = 300;
  const FOR_A_SYMPTOM = 24, FOR_A_WORDING = 200, FEWEST_PIECES = 40;
  const COLOUR = /\x1b\[[0-9;]*[A-Za-z]/g;
  const TRACEBACK = /Traceback \(most recent call last\)|^ *File "|^-+> ?\d+ /m;
  const HEAD = /(?:^|[\s|:>\]])(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*(?:Error|Exception|Warning|Failed)|Exception|Warning): ?(.*)$/;
  const HEAD_WORDS = ["Error:", "Exception:", "Warning:", "Failed:"];
  const STOP = /Traceback \(most recent call last\)|^\W*File "|^During handling of the above|^The above exception was the direct cause/;
  const flat = (text) => text.split(/\s+/).filter(Boolean).join(" ");
  const tail = (text, count) => text.slice(-count);
  const NAMED = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'", nbsp: "\u00a0" };
  const unescaped = (text) => text.replace(/&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|(\w{2,5}));/g, (all, ten, sixteen, name) => {
    const code = ten ? Number(ten) : parseInt(sixteen ?? "", 16);
    return name ? NAMED[name] ?? all : code > 0 && code < 0x110000 ? String.fromCodePoint(code) : all;
  });
  const count = (patterns, text) => patterns.filter((one) => new RegExp(one).test(text)).length;

  return class {
    constructor(catalogue) {
      this.entries = catalogue.entries;
      this.compiled = this.entries.filter((entry) => entry.patterns.length).map((entry) => ({
        entry,
        patterns: entry.patterns.map((one) => new RegExp(one)),
        everywhere: entry.patterns.map((one) => new RegExp(one, "g")),
        context: entry.context.map((one) => new RegExp(one)),
      }));
      // In the language of the site, too; a script without a site has no translations.
      const both = (texts) => (typeof _ === "undefined" ? texts : [...texts, ...texts.map((text) => _(text))]);
      const wordsOf = (entry) => new Set(ClinicSearch.words([
        entry.id.replaceAll("-", " "), entry.signal, ...entry.examples, ...entry.symptoms,
        ...both([entry.title, ...entry.because, ...entry.cures, ...entry.variants.map((one) => one.title)]),
      ].join(" ")));
      this.bags = this.entries.map(wordsOf);
      this.titles = this.entries.map((entry) => new Set(ClinicSearch.words([entry.id, ...both([entry.title])].join(" "))));
      const counts = new Map();
      for (const bag of this.bags) for (const word of bag) counts.set(word, (counts.get(word) ?? 0) + 1);
      this.weights = new Map([...counts].map(([word, n]) => [word, Math.log(this.bags.length / n)]));
    }

    static words(text) {
      // Chinese has no spaces, so each pair of characters is a word.
      const pairs = (text.match(/\p{Script=Han}{2,}/gu) ?? []).flatMap((run) => [...run.slice(1)].map((_one, n) => run.slice(n, n + 2)));
      return [...(text.toLowerCase().match(/[a-z_]{3,}/g) ?? []), ...pairs];
    }

    // Entries whose message occurs in the text, most telling first, each with that message. The text may
    // have been copied from the source of a web page.
    find(given) {
      const found = this.findIn(given);
      return found.length || !given.includes("&") ? found : this.findIn(unescaped(tail(given, LONGEST_SEARCH)));
    }

    findIn(given) {
      const text = tail(given, LONGEST_TEXT).replace(COLOUR, "");
      const lines = text.split(/\r\n|\r|\n/);
      const heads = this.heads(lines);
      let surroundings = TRACEBACK.test(text) ? text : null;
      const found = new Map();
      const add = (entry, message) => entry && !found.has(entry.id) && found.set(entry.id, { entry, message });
      const warns = ([name]) => name.endsWith("Warning");
      const distinct = (some) => [...new Map(some.reverse().map((head) => [head.join("\n"), head])).values()].slice(0, MOST_HEADS);
      for (const [name, message] of [...distinct(heads.filter((head) => !warns(head))), ...distinct(heads.filter(warns))]) {
        add(this.match(message, name, surroundings), message);
      }
      if (heads.length) surroundings = text;
      if (!found.size && text.length <= LONGEST_MESSAGE) {
        for (const message of [text, ...lines.slice(-MOST_LINES).reverse()]) add(this.match(message, "", surroundings), message);
      }
      if (!found.size) {
        const whole = tail(flat(text), LONGEST_SEARCH);
        const hits = [];
        for (const { entry, everywhere, context } of this.compiled) {
          for (const pattern of everywhere) {
            const last = [...whole.matchAll(pattern)].pop();
            if (last && this.believed(entry, context, "", surroundings)) hits.push([last.index, entry, last[0]]);
          }
        }
        hits.sort((a, b) => b[0] - a[0]).forEach(([, entry, message]) => add(entry, message));
      }
      return [...found.values()];
    }

    heads(lines) {
      const starts = new Map();
      lines.forEach((line, number) => {
        if (!HEAD_WORDS.some((word) => line.includes(word))) return;
        const head = line.slice(0, LONGEST_MESSAGE).match(HEAD);
        if (head) starts.set(number, head);
      });
      return [...starts].map(([number, head]) => {
        const message = [head[2]];
        for (let next = number + 1; next < Math.min(number + MOST_LINES, lines.length); next++) {
          if (starts.has(next) || STOP.test(lines[next].slice(0, LONGEST_MESSAGE))) break;
          message.push(lines[next].slice(0, LONGEST_MESSAGE));
        }
        return [head[1], flat(message.join(" ").slice(0, LONGEST_MESSAGE))];
      });
    }

    match(given, name, surroundings) {
      const message = flat(given.slice(0, LONGEST_MESSAGE));
      return this.compiled.find(({ entry, patterns, context }) =>
        patterns.some((pattern) => pattern.test(message)) && this.believed(entry, context, name, surroundings),
      )?.entry;
    }

    believed(entry, context, name, surroundings) {
      if (!context.length) return true;
      if (name && !entry.type.includes(name)) return false;
      return surroundings === null || context.some((one) => one.test(tail(surroundings, LONGEST_SEARCH)));
    }

    // The cause that a message tells, or the text around it; see gradbook.understand.pasted.
    cause({ variants }, message, text = "") {
      const around = tail(text, LONGEST_SEARCH);
      return variants.find((one) => one.when && new RegExp(one.when).test(message))
        ?? variants.find((one) => count(one.seen, around));
    }

    // The causes that are left, likeliest first: those that the message and the program's own lines hint at.
    likely({ variants }, message, text = "") {
      const around = tail(text, LONGEST_SEARCH);
      const shown = [message, ...ClinicSearch.frames(around).filter(({ own }) => own).map(({ code }) => code)].join("\n");
      return variants.filter((one) => !one.when && !count(one.unless, around))
        .map((one) => [count(one.hints, shown), one]).sort(([a], [b]) => b - a);
    }

    // How much of one of the entry's symptoms the words have: 1 is all, 0 is half of it or less.
    likeSymptom(entry, words) {
      const stem = (word) => (word.length > 4 ? word.replace(/(?:ing|ed|es|s|e)$/, "") : word);
      const given = new Set(words.map(stem));
      const weigh = (list) => list.reduce((sum, word) => sum + this.weights.get(word), 0);
      const shares = entry.symptoms.map((symptom) => {
        const wanted = [...new Set(ClinicSearch.words(symptom))];
        return weigh(wanted.filter((word) => given.has(stem(word)))) / weigh(wanted);
      });
      return Math.max(0, 2 * Math.max(0, ...shares) - 1);
    }

    // What stands in a text, three letters at a time: few of them change with a wrong letter.
    static pieces(text) {
      const letters = (text.toLowerCase().match(/[a-z]+/g) ?? []).join(" ");
      return new Set([...letters.slice(2)].map((_, n) => letters.slice(n, n + 3)));
    }

    // How much a text reads like one of the messages: 1 is whole, 0 is three quarters or less.
    likeWording(position, pieces) {
      if (pieces.size < FEWEST_PIECES) return 0;
      this.wordings ??= this.entries.map((entry) => entry.examples.map(ClinicSearch.pieces));
      const shares = this.wordings[position].map((one) => [...pieces].filter((piece) => one.has(piece)).length / pieces.size);
      return Math.max(0, 4 * Math.max(0, ...shares) - 3);
    }

    // Entries that share words with the text, or with its last message; rare words count more, words
    // of the title most. The last word may still be in the making, so its beginning counts.
    nearest(given, count = 8) {
      const lines = tail(given, LONGEST_TEXT).replace(COLOUR, "").split(/\r\n|\r|\n/);
      const text = this.heads(lines).pop()?.[1] ?? tail(given, LONGEST_MESSAGE);
      const words = [...new Set(ClinicSearch.words(text))];
      const last = words[words.length - 1];
      const pieces = ClinicSearch.pieces(text);
      const scored = this.entries.map((entry, position) => {
        let score = 0;
        for (const word of words) {
          const hit = this.bags[position].has(word) ? word
            : word === last && [...this.bags[position]].find((one) => one.startsWith(word));
          if (hit) score += (this.weights.get(hit) ?? 0) * (this.titles[position].has(hit) ? 3 : 1);
        }
        const symptom = FOR_A_SYMPTOM * this.likeSymptom(entry, words);
        const wording = FOR_A_WORDING * this.likeWording(position, pieces);
        return [score / this.bags[position].size ** 0.25 + symptom + wording, position, entry];
      });
      return scored.filter(([score]) => score > 0).sort((a, b) => b[0] - a[0] || a[1] - b[1])
        .slice(0, count).map(([, , entry]) => entry);
    }
  };
})();

if (typeof module !== "undefined") module.exports = { ClinicSearch };

// The frames of a pasted text, the innermost last: as Python prints them, and as IPython does.
ClinicSearch.frames = (text) => {
  const FRAME = /^(?:\[\w+\]:)?[^\w"]*File "([^"]+)", line (\d+), in /;
  const CELL = /^(?:Cell (In ?\[\d+\])|(?:File )?([~/\w.<>\\:-]{1,300}?)(?::\d+,)? in )/;
  const ARROW = /^-{1,6}> ?(\d+) (.*)/;
  const LIBRARY = /(?:site|dist)-packages|(?:^|[\\/])lib[\\/]python\d|<frozen /;
  const lines = text.slice(-200000).split(/\r\n|\r|\n/);
  const found = [];
  const add = (file, line, code) => found.push({
    file, line: Number(line.slice(0, 9)), code: code.trim().slice(0, 200), own: !LIBRARY.test(file),
  });
  let cell = "";
  lines.forEach((text, number) => {
    let match;
    if ((match = FRAME.exec(text))) {
      const code = (lines[number + 1] ?? "").replace(/^\[\w+\]:/, "");
      add(match[1], match[2], FRAME.test(code) ? "" : code);
    } else if ((match = CELL.exec(text))) {
      cell = match[1] ?? match[2];
    } else if (cell && (match = ARROW.exec(text))) {
      add(cell, match[1], match[2]);
    }
  });
  return found;
};

// The place in the reader's own program: the last frame that is not of a library.
ClinicSearch.ownFrame = (text) => ClinicSearch.frames(text).filter(({ own }) => own).pop();

// What both the field of the Clinic and the search box show of an answer.
const clinicAnswers = (() => {
  // `_` is Sphinx's own; it gives a text in the language of the site.
  const make = (tag, values = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), values);
    made.append(...children);
    return made;
  };
  // Titles hold `code`, and begin with a capital where they stand alone.
  const code = (text) => text.split("`").map((part, n) => (n % 2 ? make("code", { textContent: part }) : part));
  const title = (english) => {
    const text = _(english);
    return code(text.charAt(0).toUpperCase() + text.slice(1));
  };
  const sentence = (text) => make("p", {}, ...code(text));
  const root = () => document.documentElement.dataset.content_root ?? "./";
  const link = (entry) => make("a", { href: root() + entry.path }, ...title(entry.title));
  // The entry, its cause and cure: those that the text tells, or else the likeliest with the others behind it.
  const answer = (search, { entry, message }, text) => {
    const told = search.cause(entry, message, text);
    const item = make("li", {}, link(entry));
    if (told) {
      item.append(sentence(`${_(told.title)}: ${_(told.because)}`), sentence(`${_("Cure")}: ${_(told.cure)}`));
      return item;
    }
    const left = search.likely(entry, message, text);
    item.append(sentence(_(entry.because[0])));
    if (!left.length || !left[0][0]) item.append(sentence(`${_("Cure")}: ${_(entry.cures[0])}`));
    if (left.length) {
      const causes = left.map(([hints, one]) => make("li", {},
        // The first one is what the page begins with.
        make("a", { href: root() + entry.path + (one === entry.variants[0] ? "" : `#${one.anchor}`) }, ...title(one.title)),
        ...(hints ? [sentence(_(one.because)), sentence(`${_("Cure")}: ${_(one.cure)}`)] : [])));
      item.append(make("p", { className: "clinic-causes" }, left[0][0] ? _("Causes, the likeliest here first:") : _("It is one of these:")),
        make("ul", {}, ...causes));
    }
    return item;
  };
  const place = (text) => {
    const own = ClinicSearch.ownFrame(text);
    if (!own) return [];
    const words = _("In your program: line {line} of {file}").replace("{line}", own.line).replace("{file}", own.file.split(/[\\/]/).pop());
    return [make("p", { className: "clinic-place" }, words, ...(own.code ? [": ", make("code", { textContent: own.code })] : []))];
  };

  // The catalogue is large: a page that may not need it has it fetched when it does.
  let wanted;
  const search = () => {
    wanted ??= new Promise((resolve, reject) => {
      if (typeof gradbookCatalogue !== "undefined") return resolve();
      const script = make("script", { src: `${root()}_static/clinic-catalogue.js`, onload: resolve, onerror: reject });
      document.head.append(script);
    }).then(() => new ClinicSearch(gradbookCatalogue));
    return wanted;
  };
  // No text leads to an empty page: where no word is known, what is asked most; and where no message
  // is, the questions that find a cause without one.
  const near = (search, text, count) => {
    const found = search.nearest(text, count);
    return found.length ? found : search.entries.filter(({ top }) => top).slice(0, count);
  };
  const tree = () => make("a", { href: `${root()}clinic/gradient-trouble.html` }, _("Gradient trouble: from what you see to the cause"));
  return { answer, link, make, near, place, search, tree };
})();

if (typeof document !== "undefined" && document.querySelector(".clinic-search")) {
  const { answer, link, make, near, place, tree } = clinicAnswers;
  const box = document.querySelector(".clinic-search");
  const field = make("textarea", {
    id: "clinic-field", rows: 3, spellcheck: false, autocomplete: "off",
    placeholder: "RuntimeError: element 0 of tensors does not require grad ...",
  });
  const label = make("label", { htmlFor: "clinic-field", textContent: _("Paste a message or a whole traceback, or type a few words") });
  const status = make("p", { className: "clinic-status" });
  status.setAttribute("role", "status");
  const where = make("div");
  const results = make("ol", { className: "clinic-results" });
  const onwards = make("p", { className: "clinic-onwards" });
  box.replaceChildren(label, field, status, where, results, onwards);

  // At least one link before the index: the answer is one Tab away.
  const showWith = (search) => {
    const text = field.value.trim();
    const found = text ? search.find(text) : [];
    const known = found.length || search.nearest(text, 1).length;
    where.replaceChildren(...(found.length ? place(text) : []));
    results.replaceChildren(...(found.length || !text ? found.map((one) => answer(search, one, text))
      : near(search, text, known ? 8 : 5).map((entry) => make("li", {}, link(entry)))));
    onwards.replaceChildren(...(found.length || !text ? [] : [_("No message, but something is wrong?"), " ", tree()]));
    const alone = /\w*(Error|Exception|Warning)\b/.test(text);
    status.textContent = !text ? "" : found.length ? (found.length === 1 ? _("One entry:") : _("{count} entries:").replace("{count}", found.length))
      : !known ? _("Nothing found with these words. Most asked:")
        : alone ? _("Not recognised. The nearest entries:") : _("Entries with these words:");
  };
  let ready;
  const show = () => (ready ? showWith(ready) : clinicAnswers.search().then((search) => { ready = search; showWith(search); }));
  if (typeof gradbookCatalogue !== "undefined") ready = new ClinicSearch(gradbookCatalogue);
  field.addEventListener("focus", () => clinicAnswers.search(), { once: true });
  let timer;
  // A browser takes minutes to paste ten thousand lines as if they were typed.
  field.addEventListener("paste", (event) => {
    const pasted = event.clipboardData.getData("text/plain");
    if (pasted.length < 2000) return;
    event.preventDefault();
    field.setRangeText(pasted, field.selectionStart, field.selectionEnd, "end");
    show();
  });
  field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(show, 60); });
  // An answer can be linked: clinic/?q=the message
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) field.value = asked;
  if (field.value) show();
  if (box.dataset.focus !== undefined || asked || location.hash === "#clinic-field") field.focus({ preventScroll: !asked });
}
