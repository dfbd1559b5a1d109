"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const box = document.getElementById("zoom");
  if (!box || !data.groups.length || typeof uPlot !== "function") return;
  const place = document.getElementById("zoom-plot");
  const what = document.getElementById("zoom-what");
  const says = document.getElementById("zoom-says");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // Colours that colour-blind eyes tell apart (Okabe and Ito), and dashes for the second half.
  const colours = dark => dark
    ? ["#56b4e9", "#e69f00", "#2fc79a", "#f0e442", "#f28a4b", "#d9a1c4"]
    : ["#0072b2", "#a86a00", "#00785a", "#7a6a00", "#b34a00", "#a34f7f"];
  const tones = ["--info", "--warning", "--critical"];
  let plot = null;
  let from = data.start, to = data.end;

  const two = n => String(n).padStart(2, "0");
  const clock = (s, span) => {
    const d = new Date((s + data.offset) * 1000);
    const time = two(d.getUTCHours()) + ":" + two(d.getUTCMinutes()) + ":" + two(d.getUTCSeconds());
    if (span > 86400) return two(d.getUTCMonth() + 1) + "-" + two(d.getUTCDate()) + " " + time.slice(0, 5);
    return span < 10 ? time + "." + Math.floor(d.getUTCMilliseconds() / 100) : time;
  };
  const grouped = v => v.toLocaleString("en-US", { maximumSignificantDigits: 4 });
  const nanos = v => v >= 1e9 ? grouped(v / 1e9) + " s" : v >= 1e6 ? grouped(v / 1e6) + " ms" : grouped(v / 1e3) + " µs";
  const value = (v, unit) => v == null ? "–" : unit === "ratio" ? grouped(v * 100) + " %"
    : unit === "ns" ? (v ? nanos(v) : "0") : grouped(v) + (unit ? " " + unit : "");

  const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const bands = {
    hooks: {
      drawClear: u => {
        const c = u.ctx;
        c.save();
        for (const [a, b, severity] of data.spans) {
          const x = u.valToPos(a, "x", true), y = u.valToPos(Math.max(b, a), "x", true);
          const left = Math.max(x, u.bbox.left), right = Math.min(Math.max(y, x + 2), u.bbox.left + u.bbox.width);
          if (right <= left) continue;
          c.globalAlpha = 0.13;
          c.fillStyle = style(tones[severity] || "--info");
          c.fillRect(left, u.bbox.top, right - left, u.bbox.height);
        }
        c.restore();
      },
    },
  };

  function show() {
    const g = data.groups[what.value];
    let n = 0;
    for (const s of g.series) n = Math.max(n, s.values.length);
    const times = [];
    for (let i = 0; i < n; i++) times.push(g.first + i * g.step);
    const list = colours(dark.matches);
    const series = [{ label: "time", value: (u, v) => v == null ? "–" : clock(v, to - from) }];
    const values = [times];
    g.series.forEach((s, i) => {
      values.push(s.values.concat(new Array(n - s.values.length).fill(null)));
      series.push({
        label: s.name, stroke: list[i % list.length], width: 1.5, dash: i >= list.length ? [6, 4] : undefined,
        paths: uPlot.paths.stepped({ align: 1 }), points: { show: false }, spanGaps: false,
        value: (u, v) => value(v, g.unit),
      });
    });
    if (plot) plot.destroy();
    const axis = { stroke: style("--quiet"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1 } };
    plot = new uPlot({
      width: Math.max(place.clientWidth, 240), height: 260, tzDate: s => uPlot.tzDate(new Date((s + data.offset) * 1000), "Etc/UTC"),
      scales: { x: { min: from, max: to }, y: { range: (u, min, max) => [0, g.full || (max > 0 ? max * 1.05 : 1)] } },
      axes: [
        { ...axis, values: (u, ticks) => ticks.map(s => clock(s, u.scales.x.max - u.scales.x.min)), space: 90 },
        { ...axis, size: 92, values: (u, ticks) => ticks.map(v => value(v, g.unit === "ratio" || g.unit === "ns" ? g.unit : "")) },
      ],
      padding: [12, 34, 0, 0],
      cursor: { drag: { x: true, y: false } },
      plugins: [bands],
      series,
      hooks: { setScale: [(u, key) => { if (key === "x") moved(u, g); }] },
    }, values, place);
  }

  function moved(u, g) {
    const s = u.scales.x;
    if (s.min == null) return;
    from = s.min;
    to = s.max;
    says.textContent = clock(from, to - from) + " to " + clock(to, to - from) + " " + data.zone
      + (g.unit && g.unit !== "ratio" && g.unit !== "ns" ? "; in " + g.unit : "")
      + "; a value is the highest of " + (g.step < 600 ? g.step + " s" : Math.round(g.step / 60) + " min")
      + (data.spans.length ? "; shaded: findings" : "");
  }

  function go(min, max) {
    const all = data.end - data.start, least = 1;
    let length = Math.min(Math.max(max - min, least), all);
    min = Math.min(Math.max(min, data.start), data.end - length);
    plot.setScale("x", { min, max: min + length });
  }
  const act = {
    in: () => go(from + (to - from) / 4, to - (to - from) / 4),
    out: () => go(from - (to - from) / 2, to + (to - from) / 2),
    left: () => go(from - (to - from) / 2, to - (to - from) / 2),
    right: () => go(from + (to - from) / 2, to + (to - from) / 2),
    all: () => go(data.start, data.end),
  };
  const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", "0": "all" };

  if (data.end <= data.start) return;
  data.groups.forEach((g, i) => what.add(new Option(g.label, i)));
  box.hidden = false;
  show();
  what.addEventListener("change", show);
  place.addEventListener("dblclick", act.all);
  place.addEventListener("keydown", e => {
    const name = keys[e.key];
    if (!name || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    act[name]();
  });
  for (const b of box.querySelectorAll("button")) b.addEventListener("click", () => act[b.dataset.do]());
  dark.addEventListener("change", show);
  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => plot.setSize({ width: Math.max(place.clientWidth, 240), height: 260 }));
  });
})();
