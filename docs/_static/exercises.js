// Answers to exercises, judged on the page: by the rules that the checks of gradbook have told the build,
// and as gradbook.check.answers judges, in the same sentences (tests hold the two against each other).
"use strict";

const gradbookAnswers = (() => {
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all).trimEnd();
  const unquoted = (text) => text.trim().replace(/^['"]+|['"]+$/g, "");
  const quoted = (text) => (text.includes("'") && !text.includes('"') ? `"${text}"` : `'${text.replaceAll("'", "\\'")}'`);
  const words = (text) => text.replace(/[[\](){},;'"]/g, " ").split(/\s+/).filter(Boolean);
  const NUMBER = /^[+-]?(?:(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|nan)$/i;
  const value = (text) => Number(text.replaceAll("_", "").replace(/inf/i, "Infinity"));
  const number = (word) => {
    const [over, under, more] = word.split("/");
    const well = more === undefined && [over, under ?? "1"].every((one) => NUMBER.test(one));
    return well ? value(over) / value(under ?? "1") : null;
  };
  const numbers = (text) => {
    const plain = text.replace(/[−–]/g, "-").replace(/\b(?:tensor|array)\(/g, " ").replace(/\s*\/\s*/g, "/");
    const found = words(plain.replace(/(^|[\s,[(])([+-])\s+(?=[\d.])/g, "$1$2")).map(number);
    return found.length && !found.includes(null) ? found : null;
  };
  const FLAGS = { yes: true, true: true, 1: true, no: false, false: false, 0: false };
  const flags = (text) => {
    const found = words(text.toLowerCase()).map((word) => FLAGS[word]);
    return found.length && !found.includes(undefined) ? found : null;
  };

  const close = (a, b, tolerance) => a === b || (Number.isFinite(a) && Number.isFinite(b)
    && Math.abs(a - b) <= tolerance * 1e-3 + tolerance * Math.abs(b));
  const same = (a, b, tolerance) => a.length === b.length && a.every((one, at) => close(one, b[at], tolerance));
  const side = (a, b) => (a < 0 && b < 0 ? (a < b ? "below" : "not_below") : a > b ? "large" : "small");

  const KINDS = {
    numbers(rule, text, say) {
      const given = numbers(text)?.map((one) => one / rule.unit);
      if (!given) return null;
      const wanted = rule.expected, tolerance = rule.counts ? 0 : rule.tolerance;
      if (same(given, wanted, tolerance)) return true;
      const known = rule.mistakes.find(([, those]) => same(given, those, rule.tolerance));
      if (known) return known[0];
      if (rule.counts && given.some((one) => Number.isNaN(one) || one % 1)) return say("fraction");
      const count = (list) => say(list.length === 1 ? "number" : "numbers", { count: list.length });
      if (given.length !== wanted.length) return say("count", { given: count(given), wanted: count(wanted) });
      if (given.some(Number.isNaN)) return say("nan");
      if (same(given, wanted.map((one) => -one), tolerance)) return say("sign");
      const far = (at) => say(side(given[at], wanted[at]));
      if (given.length === 1) return say("side", { side: far(0) });
      const ratio = given.map((one, at) => one / wanted[at]);
      const whole = [...given, ...wanted].every((one) => one !== 0);
      if (whole && ratio[0] > 0 && ratio.every((one) => close(one, ratio[0], tolerance))) return say("factor");
      const wrong = [...given.keys()].filter((at) => !close(given[at], wanted[at], tolerance));
      return say("numbers_wrong", { count: wrong.length, total: given.length, first: wrong[0], side: far(wrong[0]) });
    },
    word(rule, text, say) {
      const typed = unquoted(text), yes = FLAGS[typed.toLowerCase()];
      const known = rule.options.map((one) => one.toLowerCase());
      const isQuestion = yes !== undefined && known.length === 2 && known.includes("yes") && known.includes("no");
      const word = isQuestion ? (yes ? "yes" : "no") : typed.toLowerCase();
      if (word === rule.expected.toLowerCase()) return true;
      const given = quoted(isQuestion ? word : typed);
      if (!known.includes(word)) return say("no_option", { given, options: rule.options.map(quoted).join(", ") });
      return rule.mistakes.find(([option]) => option.toLowerCase() === word)?.[1] ?? say("not_it", { given });
    },
    flags(rule, text, say) {
      const given = flags(text), names = rule.expected.map(([name]) => name);
      if (!given) return null;
      const entries = say(given.length === 1 ? "entry" : "entries", { count: given.length });
      const asked = { given: entries, wanted: names.length, first: names[0], last: names[names.length - 1] };
      if (given.length !== names.length) return say("entries_asked", asked);
      const wrong = names.filter((_name, at) => given[at] !== rule.expected[at][1]);
      if (!wrong.length) return true;
      const reason = rule.reasons.find(([name]) => name === wrong[0])[1];
      return say(wrong.length === 1 ? "entry_wrong" : "entries_wrong", { count: wrong.length, name: wrong[0], reason });
    },
    letters(rule, text, say) {
      const typed = (text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? []).filter((one) => !["and", "none"].includes(one));
      const letters = [...typed.join("")], known = rule.options.map((one) => one.toLowerCase());
      const strange = letters.find((one) => !known.includes(one));
      const given = strange && quoted(strange.toUpperCase());
      if (strange) return say("no_option", { given, options: rule.options.join(", ") });
      const chosen = rule.options.filter((_one, at) => letters.includes(known[at])).join("");
      return chosen === rule.expected || rule.mistakes[rule.told[chosen]];
    },
  };

  // What the check says to a text, and whether it is right; null where the text is no such answer.
  const judge = (rule, text, sentences) => {
    const say = (sentence, values = {}) => fill(sentences[sentence], values);
    const found = text.trim() ? KINDS[rule.kind](rule, text, say) : null;
    if (found === null) return null;
    return found === true ? [true, say("right", { why: rule.right })] : [false, say("wrong", { why: found })];
  };
  return { judge };
})();

if (typeof document !== "undefined") {
  const KEY = "gradbook-exercises";
  const HELP = {
    numbers: _("Type numbers, such as 3, 16/3 or [1, 2]."),
    flags: _("Type True or False for each, such as True, False."),
    word: _("Type one of the words."),
    letters: _("Type letters, such as AB, or none."),
  };
  const decode = (text) => JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(text), (one) => one.charCodeAt(0))));
  const isKnown = (name) => gradbookExercises.some(([, one]) => one === name);
  let done = new Set();
  try { // storage may be forbidden, or hold anything
    done = new Set([JSON.parse(localStorage.getItem(KEY))].flat().filter(isKnown));
  } catch {}
  const keep = () => {
    try {
      if (done.size) localStorage.setItem(KEY, JSON.stringify([...done]));
      else localStorage.removeItem(KEY);
    } catch {}
    show();
  };
  const progress = (names) => _("{count} of {total} answers are right").replace("{count}", names.filter((one) => done.has(one)).length)
    .replace("{total}", names.length);

  const box = document.querySelector(".exercise-data");
  const data = box && decode(box.textContent.trim());
  const forms = [...document.querySelectorAll("form.exercise-field")];
  const show = () => {
    for (const form of forms) form.classList.toggle("answered", done.has(form.dataset.name));
    for (const place of document.querySelectorAll(".exercise-done")) {
      const names = gradbookExercises.filter(([page]) => page === place.dataset.page).map(([, name]) => name);
      place.textContent = names.some((one) => done.has(one)) ? `(${progress(names)})` : "";
    }
    for (const place of document.querySelectorAll(".exercise-progress")) {
      place.querySelector("span").textContent = progress(gradbookExercises.map(([, name]) => name));
      place.querySelector("button").disabled = !done.size;
    }
  };
  for (const form of forms) {
    const [field, told] = [form.querySelector("input"), form.querySelector("output")];
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const rule = data.rules[form.dataset.name];
      const found = gradbookAnswers.judge(rule, field.value.slice(0, 1000), data.sentences);
      told.textContent = found ? found[1] : HELP[rule.kind];
      told.className = found ? (found[0] ? "right" : "wrong") : "";
      if (!found?.[0]) return;
      done.add(form.dataset.name);
      keep();
      told.textContent += ` (${progress(gradbookExercises.map(([, name]) => name))})`;
    });
  }
  for (const button of document.querySelectorAll(".exercise-progress button")) {
    button.addEventListener("click", () => {
      done.clear();
      keep();
    });
  }
  show();
}
