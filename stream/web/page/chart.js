// One small canvas: lag against its budget on the left axis, coverage on the right, over the last minutes.
import { span } from "./format.js";

const LONGEST = 600; // seconds shown
const SHORTEST = 60;
const EDGE = { left: 58, right: 46, top: 8, bottom: 20 }; // room for the words, px
const STEPS = [1, 2, 2.5, 5, 10];

export function draw(canvas, points, budget) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const look = getComputedStyle(canvas);
  const tone = (name) => look.getPropertyValue(`--${name}`).trim();
  pen.font = `11px ${look.fontFamily}`;
  const area = frame(points, budget, width, height);
  grid(pen, area, tone);
  if (budget > 0) limit(pen, area, budget, tone);
  line(pen, area, points, (p) => area.share(p.coverage), tone("coverage"));
  line(pen, area, points, (p) => area.seconds(p.lag), tone("lag"));
}

function frame(points, budget, width, height) {
  const end = points.length ? points[points.length - 1].time : 0;
  const first = points.length ? points[0].time : 0;
  const length = Math.min(LONGEST, Math.max(SHORTEST, end - first));
  const shown = points.filter((p) => p.time >= end - length);
  const top = round(Math.max(1.2 * budget, 1.1 * Math.max(0, ...shown.map((p) => p.lag)), 0.001));
  const [wide, high] = [width - EDGE.left - EDGE.right, height - EDGE.top - EDGE.bottom];
  const up = (share) => EDGE.top + high * (1 - Math.min(1, Math.max(0, share)));
  return {
    top, length, right: EDGE.left + wide, bottom: EDGE.top + high,
    at: (time) => EDGE.left + wide * (1 - (end - time) / length),
    ago: (seconds) => EDGE.left + wide * (1 - seconds / length),
    seconds: (lag) => up(lag / top),
    share: up,
  };
}

function round(x) {
  const size = 10 ** Math.floor(Math.log10(x));
  return size * STEPS.find((step) => step * size >= x * 0.9999);
}

function grid(pen, area, tone) {
  pen.strokeStyle = tone("line");
  pen.fillStyle = tone("quiet");
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    const y = Math.round(area.share(share)) + 0.5;
    stroke(pen, [[EDGE.left, y], [area.right, y]]);
    pen.textAlign = "right";
    pen.fillText(share === 0 ? "0" : span(share * area.top), EDGE.left - 8, y);
    pen.textAlign = "left";
    pen.fillText(`${100 * share} %`, area.right + 8, y);
  }
  pen.textBaseline = "alphabetic";
  for (const part of [1, 0.5, 0]) {
    pen.textAlign = part === 1 ? "left" : part === 0 ? "right" : "center";
    const ago = part * area.length;
    pen.fillText(part === 0 ? "now" : `${span(ago).replace(".0 ", " ")} ago`, area.ago(ago), area.bottom + 16);
  }
}

function limit(pen, area, budget, tone) {
  pen.strokeStyle = tone("bad");
  pen.setLineDash([4, 4]);
  stroke(pen, [[EDGE.left, area.seconds(budget)], [area.right, area.seconds(budget)]]);
  pen.setLineDash([]);
}

function line(pen, area, points, height, colour) {
  pen.save();
  pen.beginPath();
  pen.rect(EDGE.left, 0, area.right - EDGE.left, area.bottom + 2);
  pen.clip();
  pen.strokeStyle = colour;
  pen.lineWidth = 1.8;
  pen.lineJoin = "round";
  stroke(pen, points.map((p) => [area.at(p.time), height(p)]));
  pen.restore();
}

function stroke(pen, places) {
  pen.beginPath();
  places.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}
