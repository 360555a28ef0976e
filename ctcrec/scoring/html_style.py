"""Style sheet and script of an HTML report; plain CSS and JavaScript, nothing is fetched."""

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root { color-scheme: light dark; --fg: #1d2330; --bg: #fff; --soft: #f3f5f8; --line: #d7dce3; --dim: #69717f;
  --sub: #a15c00; --subbg: #ffefcf; --del: #b3261e; --delbg: #fde3e1; --ins: #1258b8; --insbg: #dfecff;
  --wer: #3b6fb6; --cer: #6bb1a0; --hot: #c8322b; }
@media (prefers-color-scheme: dark) { :root { --fg: #e4e8ee; --bg: #15181d; --soft: #1e232b; --line: #353c47;
  --dim: #99a2b0; --sub: #ffc46b; --subbg: #4a3510; --del: #ff9d96; --delbg: #50201d; --ins: #9cc4ff;
  --insbg: #17335c; --wer: #6d9be0; --cer: #58a291; --hot: #e0544c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); margin: 0 auto;
  max-width: 1180px; padding: 1rem 1.25rem 4rem; }
h1 { font-size: 1.5rem; margin: .4rem 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
code { font-size: .85rem; color: var(--dim); overflow-wrap: anywhere; }
.note { color: var(--dim); font-size: .9rem; margin: .3rem 0; }
.warning { background: var(--subbg); border-left: 4px solid var(--sub); padding: .5rem .8rem; margin: .5rem 0; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.card { background: var(--soft); border-radius: 8px; padding: .7rem 1.1rem; min-width: 9rem; }
.card b { display: block; font-size: 1.7rem; font-weight: 600; line-height: 1.25; }
.card span { color: var(--dim); font-size: .85rem; display: block; }
.scroll { overflow-x: auto; } .short { max-height: 19rem; overflow-y: auto; }
.tall { max-height: 40rem; overflow: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { font-weight: 600; } th:first-child, td:first-child, .text { text-align: left; }
table.sort th { cursor: pointer; user-select: none; white-space: nowrap; position: sticky; top: 0;
  background: var(--bg); }
table.sort th::after { content: "\\2195"; color: var(--line); padding-left: .3em; }
table.sort th[aria-sort="ascending"]::after { content: "\\2191"; color: var(--fg); }
table.sort th[aria-sort="descending"]::after { content: "\\2193"; color: var(--fg); }
.pair { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start; }
svg { display: block; max-width: 100%; height: auto; }
svg .grid { stroke: var(--line); } svg .tick { font-size: 11px; fill: var(--dim); }
svg .mid { text-anchor: middle; } svg .end { text-anchor: end; }
svg .wer { fill: var(--wer); } svg .cer { fill: var(--cer); } svg .dot { fill: var(--wer); fill-opacity: .75; }
svg .curve { fill: none; stroke: var(--wer); stroke-width: 1.5; }
svg .ideal { stroke: var(--dim); stroke-dasharray: 4 4; }
.key i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em 0 1em; }
.heat { font-size: .8rem; } .heat th, .heat td { padding: .1rem .3rem; text-align: center; min-width: 1.3em;
  border: 1px solid var(--line); } .heat .self { background: var(--soft); }
.heat .hot { background: color-mix(in srgb, var(--hot) var(--heat), transparent); }
.example { border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem; margin: .8rem 0; }
.example header { display: flex; flex-wrap: wrap; gap: .2rem 1rem; color: var(--dim); font-size: .9rem; }
.example header b { color: var(--fg); overflow-wrap: anywhere; }
.aligned { line-height: 1.35; margin: .5rem 0 .2rem; }
.aligned span.w { display: inline-block; vertical-align: top; margin: 0 .35em .35em 0; padding: 0 .15em;
  border-radius: 3px; }
.aligned span.w > span { display: block; min-height: 1.35em; }
.aligned .h > span + span { color: var(--dim); }
.s { background: var(--subbg); } .d { background: var(--delbg); } .i { background: var(--insbg); }
.s mark { background: none; color: var(--sub); font-weight: 700; }
.d .gone { color: var(--del); } .i .new { color: var(--ins); }
del { background: var(--delbg); color: var(--del); text-decoration: line-through; border-radius: 3px; padding: 0 .1em; }
ins { background: var(--insbg); color: var(--ins); text-decoration: none; border-radius: 3px; padding: 0 .1em; }
.strip { position: relative; margin: .6rem 0 1.7rem; }
.strip img { display: block; width: 100%; height: 96px; object-fit: fill; background: #fff; }
.strip.line img { height: auto; }
.span { position: absolute; top: 0; bottom: 0; border-left: 1px solid rgba(18, 88, 184, .55); box-sizing: border-box; }
.span:hover { background: rgba(18, 88, 184, .18); } .audio .span { cursor: pointer; }
.span b { position: absolute; top: 100%; left: 1px; max-width: 100%; overflow: hidden; white-space: pre;
  font: 12px/1.4 system-ui, sans-serif; }
.head { position: absolute; top: 0; bottom: 0; width: 2px; background: var(--del); left: 0; display: none; }
audio { width: 100%; max-width: 460px; height: 34px; }
input[type=search] { font: inherit; padding: .3rem .6rem; width: 22rem; max-width: 100%; }
.ids { overflow-wrap: anywhere; font-size: .85rem; }
"""

SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table.sort")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column], value = cell.dataset.v;
    return value === undefined ? cell.textContent : Number(value);
  };
  const sort = (column) => {
    const down = heads[column].getAttribute("aria-sort") !== "descending";
    heads.forEach(head => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map((row, index) => [key(row, column), index, row]);
    rows.sort(([a, i], [b, j]) => {
      const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
      return (down ? -order : order) || i - j;
    });
    body.append(...rows.map(entry => entry[2]));
  };
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    head.addEventListener("click", () => sort(column));
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(column); });
  });
}
for (const field of document.querySelectorAll("input[data-filter]")) {
  const rows = [...document.getElementById(field.dataset.filter).tBodies[0].rows];
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    rows.forEach(row => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
  });
}
for (const clip of document.querySelectorAll(".audio")) {
  const audio = clip.querySelector("audio"), head = clip.querySelector(".head");
  const extent = Number(clip.dataset.extent);
  let end = null;
  const follow = () => {
    head.style.left = 100 * Math.min(audio.currentTime / extent, 1) + "%";
    if (end !== null && audio.currentTime >= end) { audio.pause(); end = null; }
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => { head.style.display = "block"; follow(); });
  audio.addEventListener("seeked", follow);
  clip.querySelectorAll(".span").forEach(span => span.addEventListener("click", () => {
    audio.currentTime = Number(span.dataset.start);
    end = Number(span.dataset.end);
    audio.play();
  }));
  clip.querySelector("img").addEventListener("click", event => {
    end = null;
    audio.currentTime = extent * event.offsetX / event.target.clientWidth;
    audio.play();
  });
}
"""
