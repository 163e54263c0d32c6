"use strict";
// What the page does. All data comes from the element #data; every name in it is put on the page as
// a text node, never as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);

// -- elements and numbers -------------------------------------------------------------------------

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined));
  return element;
}

function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function scaled(number, units, step = 1000) {
  let unit = 0;
  while (Math.abs(number) >= step && unit < units.length - 1) { number /= step; unit += 1; }
  const digits = number >= 100 || number === 0 ? 0 : number >= 10 ? 1 : 2;
  return `${number.toFixed(digits)} ${units[unit]}`;
}

const time = seconds => scaled(seconds * 1e6, ["µs", "ms", "s"]);
const size = bytes => scaled(bytes, ["B", "KiB", "MiB", "GiB"], 1024);
const flops = count => scaled(count, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"]);
const rate = perSecond => scaled(perSecond, ["FLOP/s", "kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s"]);
const percent = share => share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`;
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : /(s|ch)$/.test(word) ? "es" : "s"}`;
const familyClass = family => family === "view" || family === "load" ? `${family}-op` : family;
const ending = (text, room) => text.length <= room ? text : "…" + text.slice(1 - room);   // of a path
const shortened = (text, room) => text.length <= room ? text : text.slice(0, room - 1) + "…";

function onKey(action) {                          // of elements that act like buttons
  return event => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); action(event); }
  };
}

// -- what is derived from the data ----------------------------------------------------------------

const stages = data.stages.filter(stage => !stage.idle);
const lastStage = stages[stages.length - 1];
const timed = data.steps.length > 0 && "seconds" in data.steps[0];
const total = timed ? data.steps.reduce((sum, step) => sum + step.seconds, 0) : 0;
const stepsOf = new Map();                        // value -> the numbers of its steps
data.steps.forEach((step, number) => {
  for (const node of step.nodes) {                // several where they are computed in one pass
    const value = data.nodes[node].value;
    stepsOf.set(value, [...(stepsOf.get(value) ?? []), number]);
  }
});
const secondsOf = value => timed && stepsOf.has(value)
  ? stepsOf.get(value).reduce((sum, number) =>
      sum + data.steps[number].seconds / data.steps[number].nodes.length, 0) : null;
const longest = Math.max(0, ...[...stepsOf.keys()].map(value => secondsOf(value) ?? 0));
const reasonsOf = value => data.left.filter(left => left.value === value);

for (const stage of stages) {
  stage.places = new Map();                       // value -> where its node is, and which it is
  stage.nodes = [];
  stage.sections.forEach((section, s) => section.blocks.forEach((block, b) =>
    block.forEach((node, i) => {
      stage.places.set(data.nodes[node].value, {section: s, block: b, index: i, node});
      stage.nodes.push(node);
    })));
}

function changes(stage, other) {                  // values whose node is not the same in the other
  const found = new Set();
  if (!other) return found;
  for (const [value, place] of stage.places) {
    const before = other.places.get(value);
    if (!before || data.nodes[before.node].text !== data.nodes[place.node].text) found.add(value);
  }
  return found;
}

const blockName = (section, number) => section.names[number] || "block";

// -- the state of the page ------------------------------------------------------------------------

// zoom: null until it is chosen, so that the graph is as wide as there is room
const state = {stage: stages.length - 1, open: new Map(), chosen: null, zoom: null, query: ""};
const READABLE = 0.65;                            // the smallest zoom that the page takes by itself

function show({stage = state.stage, chosen = state.chosen, reveal = false, focus = false} = {}) {
  state.stage = Math.max(0, Math.min(stages.length - 1, stage));
  state.chosen = chosen;
  if (reveal) openBlockOf(chosen);
  drawStage();
  drawViews();
  drawPanel();
  drawText();
  if (reveal) scrollTo(chosen, focus);
}

function openBlockOf(value) {
  const place = stages[state.stage].places.get(value);
  if (!place) return;
  if (stages[state.stage].sections[place.section].blocks.length > 1) {
    state.open.set(place.section, place.block);
  }
}

function scrollTo(value, focus) {
  const views = document.querySelectorAll(".view");
  const view = views[views.length - 1];
  const node = view.querySelector(`[data-value="${value}"]`);
  if (!node) return;
  const box = node.getBoundingClientRect(), around = view.getBoundingClientRect();
  view.scrollTop += box.top - around.top - around.height / 3;
  view.scrollLeft += box.left - around.left - (around.width - box.width) / 2;
  if (focus) node.focus({preventScroll: true});
}

function choose(value, focus = false) {
  const here = stages[state.stage].places.has(value);
  show({stage: here ? state.stage : stages.findLastIndex(stage => stage.places.has(value)),
        chosen: value, reveal: true, focus});
}

function chooseFromAfar(value) {                  // from a table that is elsewhere on the page
  choose(value, true);
  $("graph").scrollIntoView();
}

// -- the summary ----------------------------------------------------------------------------------

function drawSummary() {
  $("model").textContent = data.model;
  const states = data.states[0] ? `, and ${plural(data.states[0], "state")}` : "";
  $("signature").textContent = `(${data.inputs.join(", ")}${states}) → ${data.outputs.join(", ")}`;
  const traced = stages[0].nodes.length, fused = lastStage.nodes.length;
  const idle = lastStage.nodes.filter(node => !stepsOf.has(data.nodes[node].value));
  const words = [`The model was traced as ${plural(traced, "operation")}. The compiler made `
    + `${plural(fused, "node")} of them, of which ${idle.length} cost a call nothing: they only look `
    + "at data in another way, or are computed when weights are loaded. The rest runs as "
    + `${plural(data.steps.length, "step")}.`];
  if (timed) words.push(...timeInWords());
  $("words").textContent = words.join(" ");
  const tiles = [["Traced → steps", `${traced} → ${data.steps.length}`,
                  plural(data.stages.length - 1, "pass")]];
  if (timed) {
    const work = data.steps.reduce((sum, step) => sum + step.flops, 0);
    const sizes = Object.entries(data.sizes).map(([name, n]) => `${name} = ${n}`).join(", ");
    tiles.push(["Time of a call", time(data.wall), `one thread${sizes ? `, ${sizes}` : ""}; its steps ${time(total)}`],
               ["Speed", rate(work / total), data.machine && !data.machine.exceeded
                 ? `${percent(work / total / data.machine.flops)} of this core's most` : flops(work)]);
  }
  const [count, bytes] = data.states;
  tiles.push(count ? ["States", size(bytes), `${plural(count, "array")} that a step updates`]
                    : ["Weights", size(data.weights), "as the model has them"]);
  const scratch = data.memory.slots.reduce((sum, slot) => sum + (slot.bytes ?? 0), 0);
  tiles.push(["Scratch memory", timed ? size(scratch) : plural(data.memory.slots.length, "slot"),
              `${data.memory.spans.length} values in ${plural(data.memory.slots.length, "slot")}`]);
  $("tiles").append(...tiles.map(([name, value, note]) =>
    html("div", {}, html("dt", {}, name), html("dd", {}, value, html("small", {}, note)))));
}

function timeInWords() {
  const top = data.layers[0];
  const layers = `${top.layer || "the model itself"}${top.times > 1 ? ` (${top.times} layers)` : ""}`;
  const words = [`A call takes ${time(data.wall)} on one thread. The largest part, `
    + `${percent(top.seconds / total)} of the time of its steps, goes to ${layers}: ${top.title}`];
  if ("bound" in top && !data.machine.exceeded) {
    words[0] += top.by === "arithmetic"
      ? `, which reaches ${percent(top.bound / top.seconds)} of what one core can compute`
      : `, which waits for data from ${top.by}`;
  }
  words[0] += ".";
  return words;
}

// -- time by layer, and the roofline --------------------------------------------------------------

function drawTime() {
  if (!timed) {
    $("time-about").textContent = "Nothing was timed: the report was made without inputs.";
    $("roofline").remove();
    return;
  }
  $("time-about").textContent = "Times are the least of several runs of each step, on one thread. "
    + "Layers that differ in a number alone are one row. “Of the bound” compares with the quickest "
    + "that this machine could be, measured by kernels that only compute or only read.";
  if (data.machine?.exceeded) {
    $("time-about").after(html("p", {class: "warning"}, "Steps were quicker than the limits of this machine: it "
      + "was busy while these were measured, and nothing is compared with them. nncompile hw --again "
      + "measures them again."));
  }
  const families = new Map();
  for (const step of data.steps) {
    const family = data.nodes[step.node].family;
    families.set(family, (families.get(family) ?? 0) + step.seconds);
  }
  const sorted = [...families].sort((a, b) => b[1] - a[1]);
  $("families").append(
    html("div", {class: "bar", role: "img", "aria-label": "Time by kind of work"},
         sorted.map(([family, seconds]) => {
           const part = html("span", {class: familyClass(family),
                                      title: `${data.families[family]}: ${time(seconds)}`});
           part.style.flexGrow = seconds / total;
           return part;
         })),
    html("ul", {class: "key"}, sorted.map(([family, seconds]) =>
      html("li", {}, html("span", {class: `dot ${familyClass(family)}`}),
           `${family === "view" ? "copies" : data.families[family]} ${percent(seconds / total)}`))));
  drawLayers();
  if (data.machine && !data.machine.exceeded) drawRoofline();
  else $("roofline").remove();
}

function drawLayers() {
  const head = ["Layer", "Time", "Share", "Work", "Bound by", "Of the bound", "Next thing to try"];
  const rows = data.layers.map((row, rank) => {
    const value = data.nodes[data.steps[row.steps[0]].node].value;
    const meter = html("span", {class: familyClass(row.family)});
    meter.style.width = `${100 * row.seconds / data.layers[0].seconds}%`;
    const known = "bound" in row && !data.machine.exceeded;
    return html("tr", {},
      html("td", {}, html("button", {class: "link mono", type: "button",
                                     onclick: () => chooseFromAfar(value)},
                          `${rank + 1} `, breakable(row.layer || "(model)")),
           html("span", {class: "op"}, row.title, row.times > 1 ? ` · ${row.times} times` : "")),
      html("td", {class: "number", "data-label": head[1]}, html("div", {}, time(row.seconds),
           html("div", {class: "meter"}, meter))),
      html("td", {class: "number", "data-label": head[2]}, percent(row.seconds / total)),
      html("td", {class: "number", "data-label": head[3]}, html("div", {}, flops(row.flops),
           html("br"), html("span", {class: "quiet"}, size(row.bytes)))),
      html("td", {"data-label": head[4]}, known ? row.by : "–"),
      html("td", {class: "number", "data-label": head[5]}, known && row.seconds
           ? html("div", {}, percent(Math.min(1, row.bound / row.seconds)), html("br"),
                  html("span", {class: "quiet"}, time(row.bound))) : "–"),
      html("td", {class: "hint", "data-label": head[6]}, known ? row.hint : ""));
  });
  const most = 12;
  const body = html("tbody", {}, rows.slice(0, most));
  $("layers").append(html("table", {class: "cards"},
    html("thead", {}, html("tr", {}, head.map((name, i) =>
      html("th", {scope: "col", class: [1, 2, 3, 5].includes(i) ? "number" : null}, name)))), body));
  if (rows.length > most) {
    const more = html("button", {type: "button", id: "more-layers",
      onclick: () => { body.append(...rows.slice(most)); more.remove(); }},
      `Show ${rows.length - most} more`);
    $("layers").append(more);
  }
}

function breakable(path) {                        // a path may be broken behind its dots
  return path.split(/(?<=[./])/).flatMap((part, i) => i ? [html("wbr"), part] : [part]);
}

function drawRoofline() {
  const machine = data.machine, width = 430, height = 330, left = 52, bottom = 40, top = 14, right = 12;
  const points = data.layers.map((row, rank) => ({row, rank, x: row.flops / row.bytes,
    y: row.flops / row.seconds})).filter(p => p.x > 0 && isFinite(p.x) && p.y > 0 && isFinite(p.y));
  const xs = points.map(p => p.x), ys = points.map(p => p.y);
  const low = Math.floor(Math.log10(Math.min(0.1, ...xs))), high = Math.ceil(Math.log10(Math.max(100, ...xs)));
  const upper = Math.ceil(Math.log10(machine.flops)), lower = Math.floor(Math.log10(Math.min(machine.flops / 1e3, ...ys)));
  const x = value => left + (Math.log10(value) - low) / (high - low) * (width - left - right);
  const y = value => height - bottom - (Math.log10(value) - lower) / (upper - lower) * (height - bottom - top);
  const parts = [];
  for (let power = low; power <= high; power += 1) {
    parts.push(svg("path", {class: "grid", d: `M${x(10 ** power)} ${top}V${height - bottom}`}),
      svg("text", {class: "axis", x: x(10 ** power), y: height - bottom + 15, "text-anchor": "middle"},
          String(+(10 ** power).toPrecision(1))));
  }
  for (let power = lower; power <= upper; power += 1) {
    parts.push(svg("path", {class: "grid", d: `M${left} ${y(10 ** power)}H${width - right}`}),
      svg("text", {class: "axis", x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end"},
          String(+(10 ** (power - 9)).toPrecision(1))));
  }
  for (const [level, speed] of Object.entries(machine.bytes)) {
    if (level === "L1") continue;
    const start = Math.max(10 ** low, 10 ** lower / speed), ridge = machine.flops / speed;
    parts.push(svg("path", {class: "roof", d: `M${x(start)} ${y(start * speed)}L${x(ridge)} `
                    + `${y(machine.flops)}H${width - right}`}));
    const at = start * (ridge / start) ** {L2: 0.3, L3: 0.5, memory: 0.7}[level];
    parts.push(svg("text", {class: "axis", x: x(at) - 5, y: y(at * speed) - 5, "text-anchor": "end"}, level));
  }
  parts.push(svg("text", {class: "axis", x: width - right, y: y(machine.flops) - 5, "text-anchor": "end"},
                 `${rate(machine.flops)}, arithmetic`));
  for (const {row, rank, x: across, y: up} of points) {
    const radius = 4 + 12 * Math.sqrt(row.seconds / total);
    parts.push(svg("circle", {class: `point ${familyClass(row.family)}`, cx: x(across), cy: y(up), r: radius},
                   svg("title", {}, `${row.layer} ${row.title}: ${rate(up)}, ${time(row.seconds)}`)));
  }
  for (const {row, rank, x: across, y: up} of points.slice(0, 9).reverse()) {
    const beside = row.seconds / total < 0.05;     // a number does not fit into a small circle
    parts.push(svg("text", {class: "point-label", x: x(across) + (beside ? 9 : 0), y: y(up) + 4,
                            "text-anchor": beside ? "start" : "middle"}, String(rank + 1)));
  }
  parts.push(svg("text", {class: "axis", x: (left + width) / 2, y: height - 6, "text-anchor": "middle"},
                 "operations for each byte read or written"),
             svg("text", {class: "axis", transform: `translate(12 ${height / 2 - 10}) rotate(-90)`,
                          "text-anchor": "middle"}, "GFLOP/s"));
  $("roofline").append(
    svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img",
                "aria-label": "Roofline: the rows of the table beside the limits of this machine"}, parts),
    html("figcaption", {}, "The roofline of one core of ", machine.name, ". Numbers are the rows of "
         + "the table, the area of a circle its time. No circle can be above the line of the memory "
         + "that its data come from."));
}

// -- other libraries ------------------------------------------------------------------------------

function drawPeers() {
  const peers = data.peers;
  if (!peers) return;
  $("peers").hidden = false;
  const versions = Object.entries(peers.versions).map(pair => pair.join(" ")).join(", ");
  $("peers-about").textContent = `${peers.title} on ${peers.machine}, timed by nncompile bench, `
    + `scenario ${peers.scenario}: the median time of a call, after outputs were compared with float64. ${versions}.`;
  $("peers-list").append(...peers.rows.map(row => {
    const own = row.results.find(result => result.name === "nncompile")?.seconds;
    const slowest = Math.max(...row.results.map(result => result.seconds ?? 0));
    return html("table", {},
      html("caption", {class: "quiet"}, `batch ${row.batch}, ${plural(row.threads, "thread")}`
           + (row.busy > 0.1 ? `; others used ${row.busy.toFixed(1)} CPUs` : "")),
      html("thead", {}, html("tr", {}, ["", "Call", "Of ours", ""].map((name, i) =>
        html("th", {scope: "col", class: i === 1 || i === 2 ? "number" : null}, name)))),
      html("tbody", {}, row.results.map(({name, note, seconds, low, high}) => {
        if (!seconds) return html("tr", {}, html("td", {}, name), html("td", {colspan: "3", class: "quiet"}, note));
        const meter = html("span", {class: name === "nncompile" ? "product" : "view-op"});
        meter.style.width = `${100 * seconds / slowest}%`;
        return html("tr", {class: name === "nncompile" ? "own" : null},
          html("td", {}, name),
          html("td", {class: "number", title: low ? `p50 between ${time(low)} and ${time(high)}` : null}, time(seconds)),
          html("td", {class: "number"}, own ? (seconds / own).toFixed(2) : "–"),
          html("td", {}, html("div", {class: "meter"}, meter)));
      })));
  }));
}

// -- the pass -------------------------------------------------------------------------------------

function drawStage() {
  const stage = stages[state.stage], slider = $("stage");
  slider.max = stages.length - 1;
  slider.value = state.stage;
  slider.setAttribute("aria-valuetext", `${stage.name}, ${state.stage + 1} of ${stages.length}`);
  $("first").disabled = $("previous").disabled = state.stage === 0;
  $("last").disabled = $("next").disabled = state.stage === stages.length - 1;
  const name = stage.name.split(":")[0], left = data.left.filter(found => found.pass === name);
  const before = stages[state.stage - 1];
  const parts = [html("h3", {}, stage.name), " ", html("span", {class: "quiet"},
    before ? `${before.nodes.length} → ${plural(stage.nodes.length, "node")} · ${(stage.seconds * 1e3).toFixed(1)} ms · `
             + `${state.stage} of ${plural(stages.length - 1, "pass")} that changed something`
           : `${plural(stage.nodes.length, "node")}: the model as it was traced. `
             + `${stages.length - 1} of ${data.stages.length - 1} passes found something to change.`)];
  if (stage.rules.length) {
    parts.push(html("ul", {}, stage.rules.slice(0, 8).map(rule => html("li", {}, ruleInWords(rule)))));
    if (stage.rules.length > 8) parts.push(html("p", {class: "quiet"}, `and ${stage.rules.length - 8} more`));
  } else if (before) {
    parts.push(html("p", {class: "quiet"}, "It changed what nodes read, and no op."));
  }
  if (left.length) {
    parts.push(html("details", {}, html("summary", {}, `${plural(left.length, "place")} nearly matched, and why not`),
      html("ul", {}, left.slice(0, 30).map(found => html("li", {}, reason(found))))));
  }
  if (stage.about) {
    parts.push(html("details", {}, html("summary", {}, `What ${name} looks for`), html("pre", {}, stage.about)));
  }
  $("pass").replaceChildren(...parts);
  $("pipeline").replaceChildren(...stages.map((each, i) => html("li", {}, html("button", {
    type: "button", "aria-current": i === state.stage ? "step" : null, onclick: () => goTo(i)},
    each.name, " ", html("small", {}, i ? difference(each, stages[i - 1]) : `${each.nodes.length} nodes`)))));
}

function goTo(stage) {                            // and keep the focus, which redrawing would lose
  show({stage});
  $("pipeline").children[state.stage].firstChild.focus({preventScroll: true});
}

function difference(stage, before) {
  const count = stage.nodes.length - before.nodes.length;
  return count < 0 ? `−${-count}` : count > 0 ? `+${count}` : "±0";
}

function ruleInWords({was, is, times}) {
  const code = text => html("code", {}, text);
  const count = times > 1 ? html("strong", {}, `${times} × `) : null;
  if (!is) return [count, code(was), " is gone: nothing needs it"];
  if (!was) return [count, code(is), " is new"];
  return [count, code(was), " → ", code(is)];
}

function reason(found) {
  return [html("button", {type: "button", class: "link mono", onclick: () => chooseFromAfar(found.value)},
               found.layer || data.values[found.value][0]), ": ", found.text];
}

// -- the graph ------------------------------------------------------------------------------------

const MARGIN = 24, GAP = 44, HEADER = 34, FOLD = {width: 330, height: 66};

function drawViews() {
  const both = $("both").checked && state.stage > 0;
  const stage = stages[state.stage], before = stages[state.stage - 1];
  const old = [...document.querySelectorAll(".view")].map(view => [view.scrollLeft, view.scrollTop]);
  const views = [];
  if (both) views.push(viewOf(before, changes(before, stage), "gone", `before ${stage.name}`));
  views.push(viewOf(stage, changes(stage, before), "new", both ? `after ${stage.name}` : ""));
  const focused = document.activeElement?.closest?.(".view") ? document.activeElement.dataset.key : null;
  $("views").replaceChildren(...views.map(view => view.element));
  const zoom = state.zoom ?? Math.max(READABLE, fitting(views[views.length - 1]));
  for (const {drawing, width, height} of views) {
    drawing.setAttribute("width", Math.round(width * zoom));
    drawing.setAttribute("height", Math.round(height * zoom));
  }
  views.forEach(({element}, i) => {
    const middle = (element.scrollWidth - element.clientWidth) / 2;
    [element.scrollLeft, element.scrollTop] = state.zoom === null ? [middle, old[i]?.[1] ?? 0] : old[i] ?? [middle, 0];
  });
  if (focused) $("views").querySelector(`[data-key="${focused}"]`)?.focus({preventScroll: true});
}

function fitting({element, width}) {
  return Math.max(0.2, Math.min(1, (element.clientWidth - 4) / width));
}

function viewOf(stage, changed, kind, caption) {
  const parts = [], exits = [];
  let top = MARGIN;
  const widths = stage.sections.map((section, s) => {
    const open = section.blocks.length === 1 || state.open.has(s);
    return open ? data.pictures[section.picture].width + (section.blocks.length > 1 ? 2 * MARGIN : 0) : FOLD.width;
  });
  const width = Math.max(FOLD.width, ...widths) + 2 * MARGIN, middle = width / 2;
  stage.sections.forEach((section, s) => {
    const picture = data.pictures[section.picture], repeated = section.blocks.length > 1;
    if (repeated && !state.open.has(s)) {
      parts.push(foldedBox(section, s, middle, top, changed, kind));
      join(parts, exits, stage, section.pills[0], () => ({x: middle, y: top}));
      const bottom = top + FOLD.height;
      exits.push(() => ({x: middle, y: bottom}));
      top = bottom + GAP;
      return;
    }
    const number = repeated ? Math.min(state.open.get(s), section.blocks.length - 1) : 0;
    const left = middle - picture.width / 2, y = top + (repeated ? HEADER + 8 : 0);
    if (repeated) parts.push(frame(section, s, number, left, top, picture));
    const block = section.blocks[number], pills = section.pills[number];
    parts.push(svg("g", {transform: `translate(${left} ${y})`},
      picture.edges.map(([, , points]) => svg("path", {class: "edge", d: "M" + points.map(p => p.join(" ")).join("L")})),
      block.map((node, i) => nodeBox(data.nodes[node], picture.boxes[i], stage, changed, kind)),
      pills.map((value, i) => pill(value, picture.boxes[block.length + i], stage))));
    const boxOf = index => ({x: left + picture.boxes[index][0], y: y + picture.boxes[index][1],
                             half: picture.boxes[index][3] / 2});
    if (number === 0) {
      join(parts, exits, stage, pills, i => { const box = boxOf(block.length + i); return {x: box.x, y: box.y - box.half}; });
    }
    const bottom = y + picture.height + (repeated ? 14 : 0);
    exits.push(place => {
      if (repeated) return {x: middle, y: bottom};
      const box = boxOf(place.index);
      return {x: box.x, y: box.y + box.half};
    });
    top = bottom + GAP;
  });
  const height = top - GAP + MARGIN;
  const drawing = svg("svg", {viewBox: `0 0 ${width} ${height}`}, parts);
  const element = html("div", {class: "view", tabindex: "0", role: "region",
    "aria-label": `The graph ${caption || `after ${stage.name}`}`},
    caption ? html("p", {}, caption) : null, drawing);
  element.addEventListener("wheel", event => {
    if (event.ctrlKey) { event.preventDefault(); zoom(event.deltaY < 0 ? 1.1 : 1 / 1.1); }
  }, {passive: false});
  return {element, drawing, width, height};
}

function join(parts, exits, stage, pills, place) {  // lines from the section above to these pills
  const done = new Set();
  pills.forEach((value, i) => {
    const source = stage.places.get(value);
    if (!source || source.section !== exits.length - 1) return;
    const from = exits[source.section](source), to = place(i), key = `${from.x} ${from.y} ${to.x} ${to.y}`;
    if (done.has(key)) return;
    done.add(key);
    const bend = (to.y - from.y) / 2;
    parts.unshift(svg("path", {class: "edge between",   // below the frames and their buttons
      d: `M${from.x} ${from.y}C${from.x} ${from.y + bend} ${to.x} ${to.y - bend} ${to.x} ${to.y}`}));
  });
}

function foldedBox(section, s, middle, top, changed, kind) {
  const open = () => { state.open.set(s, 0); state.zoom = null; show(); };
  const values = section.blocks.flat().map(node => data.nodes[node].value);
  const seconds = values.reduce((sum, value) => sum + (secondsOf(value) ?? 0), 0);
  const touched = values.filter(value => changed.has(value)).length;
  const about = [`${section.blocks[0].length} nodes each`];
  if (seconds) about.push(time(seconds), percent(seconds / total));
  if (touched) about.push(`${kind === "new" ? "+" : "−"} ${touched} changed`);
  const title = `▸ ${section.blocks.length} equal blocks: ${ending(blockName(section, 0), 18)} …`;
  const left = middle - FOLD.width / 2;
  return svg("g", {class: "fold", tabindex: "0", role: "button", "data-key": `fold${s}`,
                   "aria-label": `Open ${title.slice(2)} ${about.join(", ")}`, "aria-expanded": "false",
                   onclick: open, onkeydown: onKey(open)},
    [8, 4, 0].map(shift => svg("rect", {class: "shape", x: left + shift, y: top + shift, rx: 8,
                                        width: FOLD.width - 8, height: FOLD.height - 8})),
    svg("text", {class: "title", x: left + 18, y: top + 26}, shortened(title, 38)),
    svg("text", {class: "note", x: left + 18, y: top + 45}, about.join(" · ")));
}

function frame(section, s, number, left, top, picture) {
  const count = section.blocks.length, move = by => () => {
    state.open.set(s, (number + by + count) % count);
    show();
  };
  const close = () => { state.open.delete(s); state.zoom = null; show(); };
  const x = left - MARGIN / 2, width = Math.max(picture.width + MARGIN, 200);
  const button = (text, at, wide, label, key, action) =>
    svg("g", {class: "step-button", tabindex: "0", role: "button", "aria-label": label,
              "data-key": `${key}${s}`, onclick: action, onkeydown: onKey(action)},
      svg("rect", {x: at, y: top + 5, width: wide, height: 24, rx: 5}),
      svg("text", {x: at + wide / 2, y: top + 21}, text));
  const end = x + width;
  return svg("g", {},
    svg("rect", {class: "frame", x, y: top, width, height: picture.height + HEADER + 22, rx: 8}),
    svg("text", {class: "note", x: x + 10, y: top + 21},
        shortened(`${blockName(section, number)}: ${number + 1} of ${count} equal blocks`, Math.floor((width - 130) / 6.8))),
    button("‹", end - 116, 26, "The block before", "back", move(-1)),
    button("›", end - 86, 26, "The next block", "on", move(1)),
    button("close", end - 56, 50, "Fold the equal blocks", "close", close));
}

function nodeBox(node, [x, y, width, height], stage, changed, kind) {
  const left = x - width / 2, top = y - height / 2, small = height < 30;
  const [name, type] = data.values[node.value];
  const seconds = stage === lastStage ? secondsOf(node.value) : null;
  const marked = changed.has(node.value);
  const classes = ["node", marked ? kind : "", state.chosen === node.value ? "chosen" : "",
                   state.query && matches(node) ? "found" : ""].filter(Boolean).join(" ");
  const room = Math.floor((width - 20) / 7.2);
  const act = () => show({chosen: node.value});
  const inside = [svg("rect", {class: "shape", x: left, y: top, width, height, rx: 5}),
    svg("rect", {class: familyClass(node.family), x: left, y: top, width: 5, height, rx: 2})];
  if (small) inside.push(svg("text", {class: "type", x: left + 12, y: top + 16}, shortened(`${node.op}  ${type}`, Math.floor((width - 18) / 6.7))));
  else {
    inside.push(svg("text", {x: left + 12, y: top + 19}, shortened(node.title, room)),
                svg("text", {class: "type", x: left + 12, y: top + 35}, shortened(type, room)));
    if (seconds) inside.push(svg("rect", {class: familyClass(node.family), x: left + 5, y: top + height - 5,
                                          width: Math.max(1, (width - 6) * seconds / longest), height: 4}));
  }
  if (marked) inside.push(svg("text", {class: "mark", x: left + width - 13, y: top + 15}, kind === "new" ? "+" : "−"));
  const about = `${name}: ${node.title}, ${type}${node.layer ? `, layer ${node.layer}` : ""}`
    + `${seconds ? `, ${time(seconds)}` : ""}${marked ? `, ${kind === "new" ? "changed here" : "changed by the pass"}` : ""}`;
  return svg("g", {class: classes, tabindex: "0", role: "button", "aria-label": about, "data-value": node.value,
                   "data-key": `node${node.value}`, "aria-pressed": String(state.chosen === node.value),
                   onclick: act, onkeydown: event => nodeKey(event, node, stage, act)},
             svg("title", {}, about), inside);
}

function pill(value, [x, y, width, height], stage) {
  const go = () => stage.places.has(value) && choose(value, true);
  const known = stage.places.has(value);
  return svg("g", {class: "pill", "data-pill": value, tabindex: known ? "0" : null, role: known ? "button" : null,
                   "aria-label": `${data.values[value][0]} from above`, onclick: go, onkeydown: onKey(go)},
    svg("title", {}, `${data.values[value].join(": ")}${known ? "" : ", an input"}`),
    svg("rect", {x: x - width / 2, y: y - height / 2, width, height, rx: height / 2}),
    svg("text", {x, y: y + 4, "text-anchor": "middle"}, shortened(data.values[value][0], Math.floor((width - 12) / 6.7))));
}

function nodeKey(event, node, stage, act) {
  const users = () => stage.nodes.find(other => data.nodes[other].reads.includes(node.value));
  const moves = {ArrowUp: () => node.reads.find(value => stage.places.has(value)),
                 ArrowDown: () => { const user = users(); return user === undefined ? undefined : data.nodes[user].value; }};
  if (event.key in moves) {
    event.preventDefault();
    const value = moves[event.key]();
    if (value !== undefined) choose(value, true);
  } else onKey(act)(event);
}

function zoom(factor) {
  state.zoom = Math.max(0.2, Math.min(3, shownZoom() * factor));
  drawViews();
}

function shownZoom() {
  const drawing = document.querySelector(".view:last-child > svg");
  return drawing.width.baseVal.value / drawing.viewBox.baseVal.width;
}

function fit() {                                  // the whole width, however small it gets
  const element = document.querySelector(".view:last-child");
  state.zoom = fitting({element, width: element.querySelector("svg").viewBox.baseVal.width});
  drawViews();
}

// -- the selected node ----------------------------------------------------------------------------

function drawPanel() {
  const panel = $("panel"), value = state.chosen;
  const place = value === null ? undefined : stages[state.stage].places.get(value)
    ?? stages.findLast(stage => stage.places.has(value))?.places.get(value);
  if (!place) {
    panel.replaceChildren(html("h3", {}, "Nothing selected"),
      html("p", {class: "quiet"}, "Click a node of the graph for its layer and source line, the generated "
        + "code, the machine code of its kernel, and its time."),
      html("p", {class: "quiet"}, "Keys: Tab and the arrows ↑ ↓ go from node to node, Enter selects; [ and ] go "
        + "from pass to pass; / searches; + and − zoom."));
    return;
  }
  const node = data.nodes[place.node], [name, type] = data.values[value], stage = stages[state.stage];
  const final = data.final[value] ?? name;
  const link = other => html("button", {class: "link", type: "button", onclick: () => choose(other)}, data.values[other][0]);
  const listed = values => values.length ? values.flatMap((other, i) => [i ? ", " : "",
    stage.places.has(other) ? link(other) : data.values[other][0]]) : "nothing";
  const users = stage.nodes.map(i => data.nodes[i]).filter(other => other.reads.includes(value)).map(other => other.value);
  const isOutput = stage.outputs.includes(value);
  panel.replaceChildren(
    html("h3", {}, html("span", {class: `dot ${familyClass(node.family)}`}), node.title),
    html("dl", {},
      ...[["Value", name === final ? name : `${name}, ${final} in the generated code`], ["Type", type], ["Layer", node.layer || "–"], ["Source line", node.line || "–"],
          ["Kind", data.families[node.family]], ["Reads", listed(node.reads)],
          ["Read by", isOutput ? ["the caller", users.length ? ", " : "", ...(users.length ? listed(users) : [])] : listed(users)]]
        .flatMap(([term, about]) => [html("dt", {}, term), html("dd", {}, about)])),
    html("pre", {class: "call"}, `${name}: ${type} = ${node.text}`),
    ...reasonsOf(value).map(found => html("p", {class: "warning"}, `${found.pass}: ${found.text}`)),
    ...(stepsOf.get(value) ?? []).map(stepPart), ...history(value));
}

function stepPart(number) {
  const step = data.steps[number];
  const facts = [];
  if (timed) {
    facts.push(["Time", `${time(step.seconds)}, ${percent(step.seconds / total)} of a call`],
               ["Work", `${flops(step.flops)}, ${size(step.bytes)}`]);
    if (step.seconds) facts.push(["Speed", rate(step.flops / step.seconds)]);
    if ("bound" in step && !data.machine.exceeded) facts.push(["At least", `${time(step.bound)}, by ${step.by}`
      + (step.seconds ? ` (${percent(Math.min(1, step.bound / step.seconds))})` : "")]);
  }
  return html("div", {class: "step"},
    html("h4", {}, `Step ${number}${step.nodes.length > 1 ? `, which computes ${step.nodes.length} nodes` : ""}: ${step.purpose ? step.purpose.replace(", for ", ", kernel ") : "kernel "}${step.kernels.join(", ")}`),
    html("dl", {}, facts.flatMap(([term, about]) => [html("dt", {}, term), html("dd", {}, about)])),
    step.hint && !data.machine.exceeded ? html("p", {class: "quiet"}, step.hint) : null,
    html("pre", {}, step.lines),
    ...step.kernels.filter(kernel => kernel in data.asm).map(kernel =>
      html("details", {class: "asm"}, html("summary", {}, `Machine code of ${kernel}`), html("pre", {}, data.asm[kernel]))));
}

function history(value) {
  const found = [];
  stages.forEach((stage, i) => {
    const place = stage.places.get(value), text = place ? data.nodes[place.node].text : null;
    if (text !== null && text !== found[found.length - 1]?.text) found.push({name: stage.name, i, text});
  });
  if (found.length < 2) return [];
  return [html("h4", {}, "Through the passes"), ...found.map(({name, i, text}) => html("div", {},
    html("button", {class: "link mono", type: "button", onclick: () => show({stage: i, reveal: true})}, name),
    html("pre", {class: "call"}, text)))];
}

// -- the text -------------------------------------------------------------------------------------

function drawText() {
  const stage = stages[state.stage], before = stages[state.stage - 1];
  const all = $("all-blocks").checked, only = $("changed-only").checked && before;
  const shown = part => part.sections.flatMap(section => {
    const blocks = all ? section.blocks : section.blocks.slice(0, 1);
    const rest = section.blocks.length - blocks.length;
    return [...blocks.flat(), ...(rest ? [{gap: `… ${plural(rest, "more block")} like it`}] : [])];
  });
  const lines = [], line = (kind, node) => lines.push({kind, node});
  const old = before ? shown(before).filter(node => typeof node === "number") : [];
  const position = new Map(old.map((node, i) => [data.nodes[node].value, i]));
  let next = 0;
  for (const node of shown(stage)) {
    if (typeof node !== "number") { lines.push(node); continue; }
    const value = data.nodes[node].value, at = position.get(value);
    if (before && at !== undefined) {
      for (; next < at; next += 1) if (!stage.places.has(data.nodes[old[next]].value)) line("gone", old[next]);
      next = Math.max(next, at + 1);
    }
    const was = before?.places.get(value)?.node;
    if (!before || (was !== undefined && data.nodes[was].text === data.nodes[node].text)) { line("", node); continue; }
    if (was !== undefined) line("gone", was);
    line("new", node);
  }
  for (; next < old.length; next += 1) if (!stage.places.has(data.nodes[old[next]].value)) line("gone", old[next]);
  const kept = only ? lines.filter(each => each.gap || each.kind) : lines;
  const widest = Math.min(40, Math.max(0, ...kept.map(each => each.gap ? 0 : label(each.node).length)));
  $("text").replaceChildren(...kept.map(each => {
    if (each.gap) return html("div", {class: "gap"}, `   ${each.gap}`);
    const node = data.nodes[each.node], sign = {new: "+", gone: "−"}[each.kind] ?? " ";
    const chosen = node.value === state.chosen ? " chosen" : "";
    return html("div", {class: each.kind + chosen}, `${sign} `,
      each.kind === "gone" ? label(each.node)
        : html("button", {class: "link", type: "button", onclick: () => choose(node.value)}, label(each.node)),
      " ".repeat(Math.max(0, widest - label(each.node).length)), ` = ${node.text}`,
      html("span", {class: "origin"}, node.layer || node.line ? `   # ${[node.layer, node.line].filter(Boolean).join("   ")}` : ""));
  }));
}

const label = node => data.values[data.nodes[node].value].join(": ");

// -- search ---------------------------------------------------------------------------------------

function matches(node) {
  return [node.layer, node.line, node.title, node.text, data.values[node.value][0]]
    .some(text => text.toLowerCase().includes(state.query));
}

function search() {
  state.query = $("query").value.trim().toLowerCase();
  const found = state.query ? stages[state.stage].nodes.map(i => data.nodes[i]).filter(matches) : [];
  $("found").textContent = state.query ? plural(found.length, "match") : "";
  $("results").hidden = found.length === 0;
  $("results").replaceChildren(...found.slice(0, 50).map(node => html("li", {},
    html("button", {type: "button", onclick: () => choose(node.value, true)},
         html("span", {class: "mono"}, `${data.values[node.value][0]} ${node.title}`),
         html("span", {class: "quiet"}, `   ${[node.layer, node.line].filter(Boolean).join("   ")}`)))));
  drawViews();
  return found;
}

function nextMatch() {
  const found = search(), at = found.findIndex(node => node.value === state.chosen);
  if (found.length) choose(found[(at + 1) % found.length].value);
}

// -- what was left alone, memory, code ------------------------------------------------------------

function drawLeft() {
  if (!data.left.length) {
    $("left-list").append(html("p", {class: "quiet"}, "No pass left anything alone that it nearly matched."));
    return;
  }
  const groups = new Map();                       // layers that differ in a number alone are one
  for (const found of data.left) {
    const key = [found.pass, found.layer, found.text].join("\n").replace(/[0-9]+/g, "*");
    groups.set(key, [...(groups.get(key) ?? []), found]);
  }
  $("left-list").append(html("ul", {}, [...groups.values()].map(group => html("li", {}, reason(group[0]),
    html("span", {class: "quiet"}, ` (${group[0].pass}${group.length > 1 ? `, and ${plural(group.length - 1, "place")} like it` : ""})`)))));
}

function drawMemory() {
  const {slots, spans} = data.memory;
  $("memory-about").textContent = slots.length
    ? "Each row is a piece of scratch memory, each bar a value that it holds from the step that writes "
      + "it to the last that reads it; its colour is the kind of work that made it. Values that are not needed at the same time share a piece."
    : "No step needs scratch memory.";
  if (!slots.length) return;
  const left = 120, row = 30, width = Math.max(760, left + data.steps.length * 9 + 20), unit = (width - left - 10) / data.steps.length;
  const height = slots.length * row + 34, parts = [];
  for (let step = 0; step <= data.steps.length; step += data.steps.length > 60 ? 10 : 5) {
    parts.push(svg("path", {class: "grid", d: `M${left + step * unit} 0V${height - 24}`}),
               svg("text", {class: "axis", x: left + step * unit, y: height - 8, "text-anchor": "middle"}, String(step)));
  }
  slots.forEach((slot, i) => parts.push(svg("text", {class: "axis", x: 0, y: i * row + 19},
    `${slot.name}  ${slot.bytes === null ? shortened(slot.size, 12) : size(slot.bytes)}`)));
  for (const span of spans) {
    const node = data.nodes[span.node], go = () => chooseFromAfar(node.value);
    const about = `${span.what}${data.values[node.value][0]} = ${node.title}, steps ${span.first} to ${span.last}`;
    parts.push(svg("rect", {class: `span ${familyClass(node.family)}`, x: left + span.first * unit, y: span.slot * row + 4, rx: 3,
      width: Math.max(2, (span.last - span.first + 1) * unit), height: row - 9, tabindex: "0", role: "button",
      "aria-label": about, onclick: go, onkeydown: onKey(go)}, svg("title", {}, about)));
  }
  $("memory-plan").append(svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height}, parts));
}

function drawCode() {
  const kernels = Object.keys(data.asm);
  $("code-list").append(
    html("ul", {}, data.notes.map(note => html("li", {}, note.trim()))),
    html("details", {}, html("summary", {}, `The generated Python, ${data.source.split("\n").length} lines`), html("pre", {}, data.source)),
    ...kernels.map(name => html("details", {}, html("summary", {}, `Machine code of ${name}, `
      + `${plural(data.asm[name].split("\n").length, "line")}`), html("pre", {}, data.asm[name]))));
}

function drawLegend() {
  $("legend").append(html("ul", {class: "key"}, Object.entries(data.families).map(([family, about]) =>
    html("li", {}, html("span", {class: `dot ${familyClass(family)}`}), about)),
    html("li", {}, "+ made or changed by this pass"), html("li", {}, "bar below a node: its time")));
}

// -- what the reader does -------------------------------------------------------------------------

const THEMES = [["Auto", "light dark", "as the system says"], ["Light", "light", "light"], ["Dark", "dark", "dark"]];

function listen() {
  let theme = 0;
  $("theme").addEventListener("click", () => {
    theme = (theme + 1) % THEMES.length;
    const [name, scheme, about] = THEMES[theme];
    document.documentElement.style.colorScheme = scheme;
    $("theme").textContent = name;
    $("theme").setAttribute("aria-label", `Colours: ${about}`);
  });
  const go = stage => show({stage});
  $("stage").addEventListener("input", () => go(Number($("stage").value)));
  $("first").addEventListener("click", () => go(0));
  $("last").addEventListener("click", () => go(stages.length - 1));
  $("previous").addEventListener("click", () => go(state.stage - 1));
  $("next").addEventListener("click", () => go(state.stage + 1));
  $("query").addEventListener("input", search);
  $("query").addEventListener("keydown", event => {
    if (event.key === "Enter") nextMatch();
    if (event.key === "Escape") { $("query").value = ""; search(); }
  });
  $("both").addEventListener("change", () => { state.zoom = null; drawViews(); });
  $("larger").addEventListener("click", () => zoom(1.25));
  $("smaller").addEventListener("click", () => zoom(1 / 1.25));
  $("fit").addEventListener("click", fit);
  for (const box of ["changed-only", "all-blocks"]) $(box).addEventListener("change", drawText);
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, textarea, select")) return;
    const actions = {"/": () => $("query").focus(), "[": () => go(state.stage - 1), "]": () => go(state.stage + 1),
                     "+": () => zoom(1.25), "-": () => zoom(1 / 1.25)};
    if (event.key in actions) { event.preventDefault(); actions[event.key](); }
  });
}

drawSummary();
drawTime();
drawPeers();
drawLegend();
drawLeft();
drawMemory();
drawCode();
listen();
show();
