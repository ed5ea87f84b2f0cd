// The search page. All that it needs is in scripts beside this one: it works from a disk too.
"use strict";

const SiteSearch = (() => {
  const STOP = new Set(("a an and are as at be but by can do does for from has have how i if in into is it its my"
    + " not of on one or such that the their then there these they this to was what when where which will with you your").split(" "));
  const WORD = /\p{Script=Han}+|(?:(?!\p{Script=Han})[\p{L}\p{N}_])+/gu;
  const HAN = /\p{Script=Han}/u;
  // Pairs that say nothing of what is looked for.
  const PARTICLE = /[的了是嗎呢吧]|什麼|為什|怎麼|如何|可以/u;

  // The words of a text with their places. Chinese has no spaces, so each pair of characters is a word.
  const places = (text) => [...text.matchAll(WORD)].flatMap(({ 0: word, index }) => (
    HAN.test(word) && word.length > 1 ? [...word.slice(1)].map((_one, n) => [word.slice(n, n + 2), index + n]) : [[word, index]]
  ));
  const split = (text) => places(text).map(([word]) => word);
  // Of a name on a page, the parts count as words beside the whole of it.
  const parts = (word) => {
    const found = word.split(/_+|(?<=\p{Ll})(?=\p{Lu})/u).filter(Boolean);
    return found.length > 1 ? [word, ...found] : [word];
  };
  const splitNames = (text) => split(text).flatMap(parts);
  const term = (word) => {
    const low = word.toLowerCase();
    if (STOP.has(low) || /^\d+$/.test(low) || PARTICLE.test(low)) return null;
    return low.length > 3 ? low.replace(/(?<![su])s$/, "") : low; // one word for one and for many
  };

  return class {
    // `ready` comes when all is found; a page goes on reacting meanwhile.
    constructor(pages, { later = false } = {}) {
      this.places = Object.entries(pages).flatMap(([page, found]) => {
        const top = found.find(([id]) => !id)?.[2] ?? page;
        return found.map(([id, kind, title, text, code, keys]) => ({
          address: `${page}.html${id ? `#${id}` : ""}`, page, kind, top: id ? top : "", title, text, code, keys,
        }));
      });
      this.index = new MiniSearch({
        idField: "id", fields: ["title", "keys", "top", "text", "code"],
        tokenize: splitNames, processTerm: term,
        searchOptions: {
          tokenize: split,
          boostDocument: (id) => SiteSearch.weight[this.places[id].kind],
          prefix: (word) => word.length > 3 || (word.length === 1 && HAN.test(word)), fuzzy: (word) => (word.length > 5 ? 0.15 : false),
          weights: { prefix: 0.3, fuzzy: 0.15 },
        },
      });
      const documents = this.places.map((place, id) => ({ ...place, id }));
      if (later) this.ready = this.index.addAllAsync(documents, { chunkSize: 40 });
      else this.index.addAll(documents);
    }

    static weight = { page: 1.6, section: 1, term: 1.3, name: 1.2, message: 0.9 };

    // The best places, with the words that were found there.
    find(asked, count = 20) {
      const query = asked.replace(/(?<=\p{Script=Han})\s+(?=\p{Script=Han})/gu, ""); // with or without a space
      const pairs = SiteSearch.pairs(query);
      // A word or three are hardly a message, but in Chinese they may be what people type.
      const boost = { title: 6, keys: pairs.size < 3 && !HAN.test(query) ? 1 : 3, top: 1.5, code: 0.4 };
      const stems = SiteSearch.stems(query);
      return this.index.search(query, { boost })
        .map(({ id, terms, score }) => ({ ...this.places[id], terms, score: score * (this.said(id, pairs) + this.meant(id, stems)) }))
        .sort((a, b) => b.score - a.score).slice(0, count);
    }

    // Where nothing is found: entries of the Clinic whose words are a little like these.
    near(query, count = 3) {
      return this.index.search(query, { fuzzy: 0.4, prefix: true, weights: { prefix: 0.3, fuzzy: 0.3 } })
        .map(({ id, terms }) => ({ ...this.places[id], terms })).filter(({ kind }) => kind === "message").slice(0, count);
    }

    // A pasted message has the words of its entry in their order, but for shapes and names.
    said(id, pairs) {
      const { kind, keys } = this.places[id];
      if (kind !== "message" || pairs.size < 4) return 1;
      const own = SiteSearch.pairs(keys);
      return 1 + [...pairs].filter((pair) => own.has(pair)).length / pairs.size;
    }

    // Words of a symptom, in any order and form: 3 for all of one, nothing for half of it or less.
    meant(id, stems) {
      const place = this.places[id];
      if (place.kind !== "message") return 0;
      place.symptoms ??= place.keys.split("\n").slice(1).map(SiteSearch.stems);
      const shares = place.symptoms.map((wanted) => [...wanted].filter((one) => stems.has(one)).length / wanted.size);
      return 3 * Math.max(0, ...shares.map((share) => 2 * share - 1));
    }

    static stems(text) {
      const words = splitNames(text.replace(/n't\b/g, "")).map(term).filter(Boolean);
      return new Set(words.map((word) => (word.length > 4 ? word.replace(/(?:ing|ed|es|s|e)$/, "") : word)));
    }

    static pairs(text) {
      const words = split(text.toLowerCase()).filter((word) => !HAN.test(word)); // messages are English
      return new Set(words.slice(1).map((word, n) => `${words[n]} ${word}`));
    }

    // The part of a text that has the most of the words, in pieces: which of them were looked for.
    static excerpt(text, terms, most = 180) {
      const size = HAN.test(text) ? Math.round(most * 0.6) : most; // its characters are wide
      const spots = places(text).filter(([word]) => parts(word).some((one) => terms.includes(term(one))));
      let [start, best] = [0, 0];
      for (const [n, [, at]] of spots.entries()) {
        const near = new Set(spots.slice(n).filter(([, one]) => one < at + size - 40).map(([word]) => word.toLowerCase()));
        if (near.size > best) [start, best] = [at, near.size];
      }
      // At the next space, if there is one near.
      const after = (at) => (at ? at + 1 + text.slice(at, at + 20).indexOf(" ") : 0);
      const before = (at) => (at < text.length ? at - 1 - [...text.slice(at - 20, at)].reverse().indexOf(" ") : at);
      const from = after(text.length > size ? Math.max(0, start - 40) : 0);
      const to = before(Math.min(text.length, from + size));
      const pieces = [];
      let last = from;
      for (const [word, at] of spots.filter(([one, at]) => at >= from && at + one.length <= to)) {
        if (at > last) pieces.push([text.slice(last, at), false]);
        const [piece, found] = pieces.at(-1) ?? [];
        // Pairs of characters overlap.
        if (found && at <= last) pieces[pieces.length - 1] = [piece + text.slice(last, at + word.length), true];
        else pieces.push([text.slice(Math.max(last, at), at + word.length), true]);
        last = at + word.length;
      }
      pieces.push([text.slice(last, to), false]);
      return [...(from ? [["… ", false]] : []), ...pieces, ...(to < text.length ? [[" …", false]] : [])];
    }
  };
})();

if (typeof module !== "undefined") module.exports = { SiteSearch };

if (typeof document !== "undefined" && document.getElementById("search-field")) {
  const field = document.getElementById("search-field");
  const status = document.querySelector(".search-status");
  const list = document.getElementById("search-results");
  const root = document.documentElement.dataset.content_root ?? "./";
  const words = status.dataset; // the page is translated, this script is not
  const search = new SiteSearch(gradbookPlaces, { later: true });
  const make = (tag, className, ...children) => {
    const made = Object.assign(document.createElement(tag), { className });
    made.append(...children);
    return made;
  };

  const item = (place) => {
    const link = make("a", "", place.kind === "name" ? make("code", "", place.title) : place.title);
    link.href = root + place.address;
    const entry = make("li", `search-${place.kind}`, link);
    if (place.top) entry.append(make("span", "search-where", place.top));
    const excerpt = SiteSearch.excerpt(place.text, place.terms);
    entry.append(make("p", "", ...excerpt.map(([text, found]) => (found ? make("mark", "", text) : text))));
    return entry;
  };
  const show = () => {
    const query = field.value.trim();
    const found = query ? search.find(query) : [];
    const lost = query && !found.length;
    list.replaceChildren(...(lost ? search.near(query) : found).map(item));
    document.querySelector(".search-lost").hidden = !lost;
    status.textContent = !query ? "" : found.length ? words.found.replace("%s", found.length) : words.nothing;
  };

  field.value = new URLSearchParams(location.search).get("q") ?? "";
  search.ready.then(show);
  let timer;
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      await search.ready;
      show();
      const address = new URL(location.href);
      address.search = field.value.trim() ? new URLSearchParams({ q: field.value.trim() }) : "";
      if (location.protocol !== "file:") history.replaceState(null, "", address);
    }, 120);
  });
  // The page is here already: Enter goes to the answer's place in the order of the keyboard.
  field.form.addEventListener("submit", (event) => {
    event.preventDefault();
    list.querySelector("a")?.focus();
  });
}
