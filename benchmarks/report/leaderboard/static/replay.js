// Plays recorded episodes of grid tasks. Their data stand in the page as JSON; without this file its link to them is left.
"use strict";

const PIXELS = 480; // of the longer side of the canvas
const PAUSE = 120; // milliseconds of a step

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function setUp(figure) {
  const replay = JSON.parse(figure.querySelector("script").textContent);
  const scale = Math.floor(PIXELS / Math.max(replay.width, replay.height));
  const canvas = element("canvas", { width: replay.width * scale, height: replay.height * scale });
  canvas.setAttribute("role", "img");
  const titles = replay.episodes.map(({ title, solved }, i) =>
    element("option", { value: i, textContent: `${title}: ${solved ? "solved" : "not solved"}` }));
  const choice = element("select", {}, ...titles);
  choice.setAttribute("aria-label", `Episode of ${figure.dataset.label}`);
  const slider = element("input", { type: "range", min: 0, value: 0 });
  slider.setAttribute("aria-label", "Step");
  const button = (label, textContent) => {
    const made = element("button", { type: "button", textContent, title: label });
    made.setAttribute("aria-label", label);
    return made;
  };
  const [back, play, forward] = [button("One step back", "\u25c2"), button("Play", "Play"), button("One step on", "\u25b8")];
  const told = element("p", { className: "told" });
  figure.prepend(choice, canvas, element("div", { className: "controls" }, back, play, forward, slider), told);

  let timer = null;
  const episode = () => replay.episodes[Number(choice.value)];
  const at = () => Number(slider.value);

  function draw() {
    const { shapes, path, taken, solved } = episode();
    const style = getComputedStyle(figure);
    const context = canvas.getContext("2d");
    const paint = (name, x, y, width, height) => {
      context.fillStyle = style.getPropertyValue(name);
      context.fillRect(x * scale, y * scale, width * scale, height * scale);
    };
    const [width, height] = replay.agent;
    paint("--empty", 0, 0, replay.width, replay.height);
    for (const [kind, ...place] of shapes) paint(`--replay-${kind}`, ...place);
    for (const [x, y] of path.slice(0, at())) paint("--replay-path", x + width / 2 - 0.15, y + height / 2 - 0.15, 0.3, 0.3);
    paint("--replay-agent", ...path[at()], width, height);
    const last = at() === taken.length;
    const words = last ? (solved ? "solved" : "not solved") : `next: ${replay.actions[taken[at()]]}`;
    told.textContent = `Step ${at()} of ${taken.length}, ${words}`;
    canvas.setAttribute("aria-label", `${figure.dataset.label}: ${episode().title}. ${told.textContent}`);
  }

  function show(step) {
    slider.value = Math.min(Math.max(step, 0), episode().taken.length);
    draw();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    play.setAttribute("aria-label", "Play");
    play.title = "Play";
  }

  function start() {
    if (at() === episode().taken.length) show(0);
    play.textContent = "Pause";
    play.setAttribute("aria-label", "Pause");
    play.title = "Pause";
    timer = setInterval(() => {
      show(at() + 1);
      if (at() === episode().taken.length) stop();
    }, PAUSE);
  }

  play.addEventListener("click", () => (timer === null ? start() : stop()));
  back.addEventListener("click", () => { stop(); show(at() - 1); });
  forward.addEventListener("click", () => { stop(); show(at() + 1); });
  slider.addEventListener("input", () => { stop(); draw(); });
  choice.addEventListener("change", () => {
    stop();
    slider.max = episode().taken.length;
    show(0);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  slider.max = episode().taken.length;
  draw();
}

for (const figure of document.querySelectorAll("figure.replay")) setUp(figure);
