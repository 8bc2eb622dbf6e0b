// Scales: a value -> a place on the paper, with the ticks between their ends.
const padded = (low, high, share) => {
  const room = (high - low) * share || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
};

function written(value, step) {
  if (Math.abs(value) < step * 1e-9) return "0";
  const places = Math.min(10, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  return decimals(value, places);
}

function steps(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    ticks.push({ value: i * step, text: written(i * step, step) });
  }
  return ticks;
}

function linear(low, high, from, to) {
  return {
    at: (value) => from + ((value - low) / (high - low)) * (to - from),
    ticks: (count) => steps(low, high, count),
  };
}

function logarithmic(low, high, from, to) {
  const line = linear(Math.log(low), Math.log(high), from, to);
  const ticks = (count) => {
    for (const digits of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7]]) {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        for (const digit of digits) {
          const value = Number((digit * 10 ** power).toPrecision(3));
          if (value >= low && value <= high)
            found.push({ value, text: value < 1e6 ? String(value).replace(/^0\./, ".") : value.toExponential() });
        }
      }
      if (found.length >= Math.min(4, count)) return found;
    }
    return steps(low, high, count);
  };
  return { at: (value) => line.at(Math.log(Math.max(value, low))), ticks };
}

// Of sparsities: by the density that is left, so that .9, .99 and .999 are as far apart; the ticks are given.
function sparsityScale(values, named, from, to) {
  const place = (sparsity) => -Math.log10(Math.max(1e-6, 1 - sparsity));
  const line = linear(...padded(Math.min(...values.map(place)), Math.max(...values.map(place)), 0.08), from, to);
  const at = (value) => line.at(place(value));
  const ticks = () => {
    const kept = [];
    for (const value of named) {
      if (!kept.length || at(value) - at(kept.at(-1)) > 26) kept.push(value);
    }
    return kept.map((value) => ({ value, text: sparsityText(value) }));
  };
  return { at, ticks };
}

// Of names, one beside the other; many are written as numbers.
function nominal(names, from, to) {
  const line = linear(-0.5, names.length - 0.5, from, to);
  const room = (to - from) / names.length;
  const every = Math.ceil(22 / room);
  const fits = names.every((name) => name.length * 6 < room);
  const ticks = () =>
    names
      .map((name, value) => ({ value, text: fits ? name : String(value + 1) }))
      .filter((tick) => fits || tick.value % every === 0);
  return { at: line.at, ticks };
}
