// The arithmetic of the player: a recorded program runs again, forward and backward, with other
// numbers in its leaves. What an operation makes and what it sends back are the expressions that
// the panel prints; they come with the program, as trees: "g" is a name, 2 a number, and
// ["*", "g", "self"] a product. A tensor is {s: its shape, d: its numbers, in a row}; b marks a
// condition. Nothing here knows of a page: the build runs it alone, against torch.

const count = (shape) => shape.reduce((all, size) => all * size, 1);
const tensor = (s, d, b = false) => ({ s, d, b });
const nested = (numbers) => (Array.isArray(numbers) ? numbers.flatMap(nested) : [Number(numbers)]);
const same = (one, other) => one.length === other.length && one.every((size, at) => size === other[at]);

// The shape that both have when each is repeated where the other is longer.
const common = (one, other) => {
  const length = Math.max(one.length, other.length);
  return Array.from({ length }, (_, at) => {
    const a = one[at - length + one.length] ?? 1, b = other[at - length + other.length] ?? 1;
    return a === 1 ? b : a;
  });
};
// For each element of a shape, the place in a smaller one from which it is repeated.
const places = (shape, small) => {
  const steps = shape.map(() => 0);
  let step = 1;
  for (let at = small.length - 1; at >= 0; at--) {
    if (small[at] !== 1) steps[at + shape.length - small.length] = step;
    step *= small[at];
  }
  return Array.from({ length: count(shape) }, (_, index) => {
    let place = 0;
    for (let at = shape.length - 1; at >= 0; at--) {
      place += (index % shape[at]) * steps[at];
      index = Math.floor(index / shape[at]);
    }
    return place;
  });
};
const spread = (one, shape) => (same(one.s, shape) ? one
  : tensor(shape, places(shape, one.s).map((place) => one.d[place]), one.b));
// Repeated to a larger shape; or summed to a smaller one, as the gradient of what was repeated.
const fit = (one, shape, round) => {
  const whole = spread(one, common(one.s, shape));
  if (same(whole.s, shape)) return whole;
  const sums = new Array(count(shape)).fill(0);
  places(whole.s, shape).forEach((place, at) => { sums[place] += whole.d[at]; });
  return tensor(shape, sums.map(round));
};

const both = (f, condition = false) => (a, b, { round }) => {
  const shape = common(a.s, b.s);
  const x = spread(a, shape).d, y = spread(b, shape).d;
  return tensor(shape, x.map((one, at) => (condition ? +f(one, y[at]) : round(f(one, y[at])))), condition);
};
const each = (f) => (a, { round }) => tensor(a.s, a.d.map((one) => round(f(one))));
const transposed = (a) => {
  const [rows = 1, columns = 1] = a.s;
  return a.s.length < 2 ? a : tensor([columns, rows], a.d.map((_, at) =>
    a.d[(at % rows) * columns + Math.floor(at / rows)]));
};
const matmul = (a, b, { round }) => {
  const [n, k] = a.s.length < 2 ? [1, a.s[0]] : a.s;
  const m = b.s.length < 2 ? 1 : b.s[1];
  const d = Array.from({ length: n * m }, (_, at) => {
    let sum = 0;
    for (let i = 0; i < k; i++) sum += a.d[Math.floor(at / m) * k + i] * b.d[i * m + (at % m)];
    return round(sum);
  });
  return tensor([...a.s.slice(0, -1), ...b.s.slice(1)], d);
};
// Over the dimensions of the node, or all; they stay, with size 1.
const reduce = (f) => (a, { round, dims }) => {
  const shape = a.s.map((size, at) => (dims && !dims.includes(at) ? size : 1));
  const groups = Array.from({ length: count(shape) }, () => []);
  places(a.s, shape).forEach((place, at) => groups[place].push(a.d[at]));
  return tensor(shape, groups.map((group) => round(f(group))));
};
const product = both((x, y) => x * y);
const OPERATIONS = {
  "+": both((x, y) => x + y),
  "-": both((x, y) => x - y),
  "/": both((x, y) => x / y),
  // Torch takes the square root for these two: -0 and -Infinity tell.
  "**": both((x, y) => (y === 0.5 ? Math.sqrt(x) : y === -0.5 ? 1 / Math.sqrt(x) : x ** y)),
  // A condition that does not hold makes it 0, even of what is infinite.
  "*": (a, b, env) => {
    if (!a.b && !b.b) return product(a, b, env);
    const [number, condition] = b.b ? [a, b] : [b, a];
    return both((x, y) => (y ? x : 0))(number, condition, env);
  },
  "@": matmul,
  ">": both((x, y) => x > y, true),
  ">=": both((x, y) => x >= y, true),
  "<": both((x, y) => x < y, true),
  "<=": both((x, y) => x <= y, true),
  "==": both((x, y) => x === y, true),
  "!=": both((x, y) => x !== y, true),
  // These hold of nan, too.
  "!<=": both((x, y) => !(x <= y), true),
  "!<": both((x, y) => !(x < y), true),
  "!>": both((x, y) => !(x > y), true),
  same: both((x, y) => x === y || (x !== x && y !== y), true),
  neg: each((x) => -x),
  T: transposed,
  abs: each(Math.abs),
  sign: each((x) => (x > 0) - (x < 0)),
  exp: each(Math.exp),
  log: each(Math.log),
  sqrt: each(Math.sqrt),
  sin: each(Math.sin),
  cos: each(Math.cos),
  tanh: each(Math.tanh),
  sigmoid: each((x) => 1 / (1 + Math.exp(-x))),
  maximum: both(Math.max),
  minimum: both(Math.min),
  clamp: (a, low, high, env) => both(Math.min)(both(Math.max)(a, low, env), high, env),
  where: (c, a, b, env) => {
    const shape = common(common(c.s, a.s), b.s);
    const [x, y] = [spread(a, shape).d, spread(b, shape).d];
    return tensor(shape, spread(c, shape).d.map((holds, at) => (holds ? x[at] : y[at])));
  },
  outer: (a, b, env) => product(tensor([...a.s, 1], a.d), b, env),
  sum: reduce((group) => group.reduce((all, one) => all + one, 0)),
  amax: reduce((group) => Math.max(...group)),
  // The first that holds, in each group.
  first: (a, env) => {
    const kept = reduce((group) => group.findIndex((one) => one))(a, env);
    const shape = kept.s, seen = kept.d.map(() => 0);
    return tensor(a.s, places(a.s, shape).map((place) => +(seen[place]++ === kept.d[place])), true);
  },
  reshape: (a, { shape }) => tensor(shape, a.d),
};

const evaluate = (tree, env) => {
  if (typeof tree === "number") return tensor([], [env.round(tree)]);
  if (typeof tree === "string") return env.names[tree];
  const [operation, ...args] = tree;
  return OPERATIONS[operation](...args.map((one) => evaluate(one, env)), env);
};

// Four significant digits, as Python's "%.4g".
const write = (number) => {
  if (number !== number) return "nan";
  if (Math.abs(number) === Infinity) return number > 0 ? "inf" : "-inf";
  if (number === 0) return Object.is(number, -0) ? "-0" : "0";
  let [digits, power] = number.toExponential(3).split("e");
  // Half way between two it goes to the even one.
  const [exact, from] = number.toExponential(30).split("e"), cut = exact.length - 27;
  if (/^50+$/.test(exact.slice(cut)) && exact[cut - 1] % 2 === 0) {
    [digits, power] = [exact.slice(0, cut), from];
  }
  const short = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (power >= -4 && power < 4) return short((+`${digits}e${power}`).toFixed(3 - power));
  return `${short(digits)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
};
// A tensor as nested lists; or one row of a matrix, as a drawing shows it.
const written = (one, shape = one.s, from = 0) => {
  if (!shape.length) return write(+one.d[from]);
  const [size, ...rest] = shape;
  const parts = Array.from({ length: size }, (_, at) => written(one, rest, from + at * count(rest)));
  return `[${parts.join(", ")}]`;
};

const LEVEL = { "+": 1, "-": 1, "*": 2, "/": 2, "@": 2, "**": 4 };
const SIGN = { "-": "−", "*": "·", ">=": "≥", "<=": "≤", "==": "=", "!=": "≠", same: "=",
  "!<=": ">", "!<": "≥", "!>": "≤" };
// An expression with the numbers for its names.
const told = (tree, env, outer = 0) => {
  const bracketed = (text) => (text.startsWith("-") ? `(${text})` : text);
  if (typeof tree !== "object") return bracketed(written(evaluate(tree, env)));
  const [operation, ...args] = tree;
  const text = (at, level = 0) => told(args[at], env, level);
  if (operation === "neg") return `−${text(0, 3)}`;
  if (operation === "T") return `${text(0, 4)}ᵀ`;
  if (/^[<>=!]|same/.test(operation)) return `[${text(0)} ${SIGN[operation] ?? operation} ${text(1)}]`;
  const level = LEVEL[operation];
  if (!level) return `${operation}(${args.map((_, at) => text(at)).join(", ")})`;
  let whole;
  if (operation === "**") {
    const power = text(1);
    const raised = power === "2" ? "²" : power.includes(" ") ? `^(${power})` : `^${power}`;
    whole = text(0, level) + raised;
  } else whole = `${text(0, level)} ${SIGN[operation] ?? operation} ${text(1, level + 1)}`;
  return level < outer ? `(${whole})` : whole;
};

// Run a program.
//
// leaves: the numbers of each leaf, by the id of its node.
// Returns every number by its name: v3 is what node 3 made, g3 what came into it, e5 what passed
// along edge 5, d3 the .grad of leaf 3 afterwards; and rules, the rule of edge 5 in numbers.
const run = (program, leaves) => {
  const round = program.single ? Math.fround : (number) => number;
  const constant = (one) => (!Array.isArray(one) ? tensor([], [round(Number(one))])
    : tensor(one[0], nested(one[1]).map(round), !!one[2]));
  const found = {}, rules = {}, envs = {};
  for (const { id, shape } of program.leaves) found[`v${id}`] = tensor(shape, leaves[id].map(round));
  const source = (one) => (one.node === undefined ? constant(one.value) : found[`v${one.node}`]);
  for (const node of program.nodes) {
    const env = { names: {}, round, dims: node.dims, shape: node.shape };
    for (const [name, one] of Object.entries(node.constants)) env.names[name] = constant(one);
    for (const [name, from] of node.inputs) env.names[name] = found[`v${from}`];
    if (node.condition) {
      const [sign, left, right] = node.condition;
      env.names.condition = OPERATIONS[sign](source(left), source(right), env);
    }
    const made = evaluate(node.forward, env);
    env.kept = made.s; // with the dimensions that were summed away
    found[`v${node.id}`] = same(made.s, node.shape) ? made
      : count(made.s) === count(node.shape) ? tensor(node.shape, made.d) : fit(made, node.shape, round);
    envs[node.id] = env;
  }
  const receive = (id, one) => {
    const name = `g${id}`;
    found[name] = found[name] ? OPERATIONS["+"](found[name], one, { round }) : one;
  };
  for (const [id, shape, numbers] of program.seeds) receive(id, tensor(shape, nested(numbers).map(round)));
  for (const id of program.order) {
    const node = program.nodes.find((one) => one.id === id), came = found[`g${id}`];
    if (!node) {
      const { before, shape } = program.leaves.find((one) => one.id === id);
      found[`d${id}`] = before === null ? came
        : OPERATIONS["+"](tensor(shape, nested(before).map(round)), came, { round });
      continue;
    }
    const env = envs[id];
    const result = found[`v${id}`];
    env.names.g = count(came.s) === count(env.kept) ? tensor(env.kept, came.d) : came;
    env.names.result = count(result.s) === count(env.kept) ? tensor(env.kept, result.d) : result;
    node.gradients.forEach(([edge, rule], at) => {
      const [, from] = node.inputs[at], { s } = found[`v${from}`];
      env.shape = s;
      const sent = evaluate(rule, env);
      found[`e${edge}`] = count(sent.s) === count(s) && !same(common(sent.s, s), s)
        ? tensor(s, sent.d) : fit(sent, s, round);
      if (rule !== "g") {
        rules[edge] = told(rule, { ...env, names: { ...env.names, g: came, result } });
      }
      receive(from, found[`e${edge}`]);
    });
  }
  return { found, rules };
};
