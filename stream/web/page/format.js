// Numbers, spans and times as people read them; what is absent is a dash.
export const DASH = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const five = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });

export const isNumber = (x) => typeof x === "number" && Number.isFinite(x);

export function count(x) {
  return isNumber(x) ? whole.format(x) : DASH;
}

export function value(x) {
  if (!isNumber(x)) return DASH;
  const size = Math.abs(x);
  return x !== 0 && (size < 1e-4 || size >= 1e9) ? x.toExponential(3) : five.format(x);
}

export function fixed(x, digits) {
  return isNumber(x) ? x.toFixed(digits) : DASH;
}

export function percent(share) {
  if (!isNumber(share)) return DASH;
  const text = (100 * share).toFixed(1);
  return `${text === "100.0" && share < 1 ? ">99.9" : text.replace(/^100\.0$/, "100")} %`;
}

export function span(seconds) {
  if (!isNumber(seconds)) return DASH;
  if (seconds < 0.0995) return `${five.format(Number((seconds * 1000).toPrecision(2)))} ms`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(0)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(1)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} d`;
}

export function clock(text) {
  const time = new Date(text ?? NaN);
  return Number.isNaN(time.getTime()) ? DASH : time.toLocaleTimeString("en-GB");
}
