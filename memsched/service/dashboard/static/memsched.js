// What pages cannot do without a program: light or dark, charts, and saying that the service is away.
"use strict";

(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const charts = new Map(); // by the id of their place, which a frame replaces

  // Light or dark: what the system says, until somebody says otherwise.

  function stored() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  }

  function isDark() {
    return (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  }

  function switchTheme() {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // not kept, where nothing may be kept
    }
    redraw();
  }

  if (stored()) root.dataset.theme = stored();

  // Charts: uPlot, from the data that stands in their places.

  function options(place, data) {
    const color = (said) => {
      place.style.color = said;
      return getComputedStyle(place).color;
    };
    const axis = {
      stroke: color("var(--pico-muted-color)"),
      grid: { stroke: color("var(--line)"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui",
    };
    const span = data.x.at(-1) - data.x[0];
    const when = span > 172800 ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
    const moment = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...when, ...(span < 600 && { second: "2-digit" }) });
    const said = (value) => (value == null ? "" : `${Number(value.toFixed(2)).toLocaleString("en")}${data.unit ? ` ${data.unit}` : ""}`);
    const series = data.series.map((each, at) => {
      const own = `var(--series-${each.color ?? (at % 8) + 1})`;
      return {
        label: each.label,
        stroke: color(own),
        width: 2,
        fill: each.fill ? color(`color-mix(in srgb, ${own} 14%, transparent)`) : undefined,
        points: { show: data.x.length < 3 },
        spanGaps: true,
        value: (_, value) => said(value),
      };
    });
    const [low, high] = data.y ?? [0, null];
    return {
      width: place.clientWidth,
      height: Number(place.dataset.height),
      cursor: { drag: { x: false, y: false } },
      legend: { markers: { width: 0, fill: (plot, at) => plot.series[at].stroke?.(plot, at) } },
      scales: { y: { range: (_, least, most) => [Math.min(low, least ?? 0), high ?? Math.max(most ?? 0, 1e-9) * 1.08] } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      axes: [{ ...axis, size: 30, values: (_, marks) => marks.map((each) => moment.format(each * 1000)) }, { ...axis, size: 48, values: (_, marks) => marks.map((each) => Number(each.toFixed(3)).toLocaleString("en")) }],
      series: [{ label: "UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" }, ...series],
    };
  }

  function draw(place) {
    const data = JSON.parse(place.dataset.chart);
    const shape = JSON.stringify([data.series.map((each) => [each.label, each.color]), isDark()]);
    const values = [data.x, ...data.series.map((each) => each.values)];
    const before = charts.get(place.id);
    if (before?.shape === shape && place.clientWidth) {
      if (!place.contains(before.plot.root)) place.replaceChildren(before.plot.root);
      before.plot.setData(values);
      before.plot.setSize({ width: place.clientWidth, height: Number(place.dataset.height) });
      return;
    }
    before?.plot.destroy();
    place.replaceChildren();
    charts.set(place.id, { shape, plot: new uPlot(options(place, data), values, place) });
  }

  function redraw() {
    if (!window.uPlot) return;
    document.querySelectorAll("[data-chart]").forEach(draw);
    for (const [id, { plot }] of charts) {
      if (document.getElementById(id)) continue;
      plot.destroy();
      charts.delete(id);
    }
  }

  // The service: away, back again, and what it refuses.

  function away(is) {
    document.getElementById("away").hidden = !is;
  }

  function notice(text) {
    const place = document.getElementById("notice");
    place.textContent = text;
    place.hidden = !text;
  }

  async function refused(ctx) {
    let said = {};
    try {
      said = JSON.parse(ctx.text);
    } catch {
      // no problem document: the status has to do
    }
    notice(said.detail ?? `The service answered with ${ctx.response.status}.`);
  }

  document.addEventListener("htmx:response:error", (event) => refused(event.detail.ctx));
  document.addEventListener("htmx:before:request", () => notice(""));
  document.addEventListener("htmx:sse:after:connection", () => away(false));
  document.addEventListener("htmx:sse:error", ({ detail }) => {
    if (detail.status === 401 || detail.status === 404) location.reload(); // the session, or what is shown, is over
    else away(true);
  });
  document.addEventListener("htmx:error", ({ target }) => {
    away(true);
    // A stream that never began is not begun again by anybody else.
    if (target.hasAttribute?.("hx-sse:connect")) setTimeout(() => htmx.trigger(target, "again"), 2000);
  });
  for (const name of ["htmx:after:swap", "htmx:sse:after:message"]) document.addEventListener(name, redraw);

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-theme-switch]");
    button.hidden = false;
    button.addEventListener("click", switchTheme);
    dark.addEventListener("change", redraw);
    addEventListener("resize", redraw);
    if (document.querySelector("[data-again]")) setTimeout(() => location.reload(), 5000);
    redraw();
  });
})();
