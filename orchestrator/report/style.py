"""How the HTML report looks: light and dark, desk and phone, without anything from the network."""

STYLE = """
:root { --paper:#fff; --ink:#1b1f24; --soft:#66707c; --line:#e3e7ec; --bar:#4c78c9; --bar2:#b9cbea; --dot:#16294d;
  --good:#12784a;
  --good2:#dcf3e6; --bad:#b3322c; --bad2:#fbe3e0; --warn:#9a5b00; --warn2:#fff1d6; --code:#f5f7f9; --ref:#8b3fb0; }
@media (prefers-color-scheme: dark) { :root { --paper:#14171b; --ink:#e6e9ed; --soft:#98a2ae; --line:#2b3138; --bar:#5b8de0;
  --bar2:#33486c; --dot:#e9f0ff; --good:#5fd39a; --good2:#143726; --bad:#ff8d82; --bad2:#45201d; --warn:#ffbd66;
  --warn2:#3d2c0f;
  --code:#1c2127; --ref:#d08cf0; } }
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; letter-spacing: -.01em; } h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; color: var(--soft); }
p, li { max-width: 46rem; } small { color: var(--soft); font-size: .8rem; } .lead { color: var(--soft); margin: 0; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 2.2rem; margin: 1rem 0 .7rem; padding: 0; list-style: none; }
.facts b { display: block; font-size: 1.2rem; font-variant-numeric: tabular-nums; line-height: 1.25; }
.facts li { font-size: .8rem; color: var(--soft); } .facts b { color: var(--ink); }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .85rem; margin-top: .7rem; max-width: 60rem; }
.road .row { display: grid; grid-template-columns: minmax(9rem, 17rem) minmax(12rem, 1fr) 11.5rem; gap: 0 1rem;
  align-items: center; }
.road .name { font-weight: 600; padding: .3rem 0; line-height: 1.25; overflow-wrap: anywhere; }
.road .name small { display: block; font-weight: 400; line-height: 1.3; }
.road .track { position: relative; height: 2.7rem; }
.road .track > * { position: absolute; }
.axis .track { height: 1.4rem !important; }
.axis b { font-size: .75rem; font-weight: 400; color: var(--soft); transform: translateX(-50%); bottom: 0; }
.grid { top: 0; bottom: 0; width: 1px; background: var(--line); }
.base { top: 0; bottom: 0; width: 0; border-left: 1.5px dashed var(--soft); }
.bar { left: 0; top: 22%; height: 56%; background: var(--bar); border-radius: 0 3px 3px 0; }
.side .bar { background: var(--bar2); } .side .name { font-weight: 400; padding-left: .2rem; }
.control .bar { background: repeating-linear-gradient(90deg, var(--bar2) 0 8px, transparent 8px 11px); }
.bar.hatched { background: repeating-linear-gradient(45deg, var(--warn) 0 2px, transparent 2px 6px) !important;
  border: 1px solid var(--warn); }
.sick .word { color: var(--warn); } .word { font-style: normal; font-size: .82rem; color: var(--soft); top: 50%;
  transform: translateY(-50%); left: calc(6% + .6rem); white-space: nowrap; background: var(--paper); padding: 0 .2rem; }
.interval { top: 50%; height: 2px; margin-top: -1px; background: var(--ink); }
.interval::before, .interval::after { content: ""; position: absolute; top: -5px; height: 12px;
  border-left: 2px solid var(--ink); }
.interval::before { left: 0; } .interval::after { right: 0; }
.open-left::before, .open-right::after { display: none; }
.dot { width: 8px; height: 8px; margin: -4px 0 0 -4px; border-radius: 50%; background: var(--dot);
  border: 1.5px solid var(--paper); }
.dot.ill { background: var(--warn); }
.reference { top: 50%; width: 10px; height: 10px; margin: -5px 0 0 -5px; background: var(--ref); transform: rotate(45deg);
  border: 1.5px solid var(--paper); }
.numbers { display: flex; flex-wrap: wrap; gap: .1rem .6rem; align-items: baseline; font-variant-numeric: tabular-nums; }
.forest .numbers { line-height: 1.25; }
.forest .numbers small { flex-basis: 100%; } .value { font-weight: 600; } .value small { font-weight: 400; }
  .published { color: var(--ref); }
.chip { font-size: .82rem; padding: 0 .45em; border-radius: .7em; border: 1px solid transparent; }
.chip.better { background: var(--good2); color: var(--good); } .chip.worse { background: var(--bad2); color: var(--bad); }
.chip.open { color: var(--soft); border-color: var(--line); }
.forest .row { grid-template-columns: minmax(9rem, 19rem) minmax(12rem, 1fr) 13.5rem; } .forest .name { font-weight: 400; }
.forest .row { padding: .15rem 0; } .forest .track { height: 2.1rem; } .forest .value { font-weight: 500; font-size: .9rem; }
.forest .interval { background: var(--soft); }
  .forest .interval::before, .forest .interval::after { border-color: var(--soft); }
.point { top: 50%; width: 12px; height: 12px; margin: -6px 0 0 -6px; border-radius: 50%; background: var(--paper);
  border: 2.5px solid var(--soft); }
.better .point { background: var(--good); border-color: var(--good); } .worse .point { background: var(--bad);
  border-color: var(--bad); }
.places .row { grid-template-columns: minmax(7rem, 12rem) minmax(12rem, 1fr) 9rem; }
.places .point { width: 10px; height: 10px; margin: -5px 0 0 -5px; } .places .road-place { background: var(--bar);
  border-color: var(--bar); width: 12px; height: 12px; margin: -6px 0 0 -6px; }
.places .span { top: 50%; height: 2px; margin-top: -1px; background: var(--line); }
.wide { overflow-x: auto; margin: 0 -1.25rem; padding: 0 1.25rem;
  background: linear-gradient(90deg, transparent, var(--paper) 2rem) right / 3rem 100% no-repeat local,
    linear-gradient(270deg, var(--line), transparent) right / .8rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; font-size: .8rem; }
th { text-align: left; font-weight: 600; border-bottom: 2px solid var(--line); } td { border-bottom: 1px solid var(--line); }
th, td { padding: .32rem .8rem .32rem 0; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
th:first-child::before, td:first-child::before { content: ""; position: absolute; right: 100%; top: 0; bottom: 0; width: 1.25rem;
  background: var(--paper); }
th { white-space: normal; vertical-align: bottom; }
.number { text-align: right; } tr.side td { color: var(--soft); }
tr.sick td { color: var(--warn); }
td:nth-child(2) { white-space: normal; min-width: 9rem; } th.number { min-width: 3.5rem; }
.curves { margin-top: .7rem; display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem 1.2rem; }
.curves figcaption { margin: 0; color: var(--ink); font-weight: 600; } .curves .side figcaption { font-weight: 400; }
.curves svg { width: 100%; height: auto; display: block; } .curves text { font-size: 9px; fill: var(--soft); }
.curves .grid { stroke: var(--line); } polyline { fill: none; stroke-linejoin: round; }
.curve { stroke: var(--bar); stroke-width: 1.4; } .sick .curve { stroke: var(--warn); } .shadow { stroke: var(--line);
  stroke-width: 1.2; }
.tried { fill: var(--bar); } .tried.chosen { fill: var(--good); } .tried.ill { fill: none; stroke: var(--warn); }
.tried.pruned { fill: var(--soft); opacity: .6; }
.warning { border-left: 3px solid var(--warn); background: var(--warn2); padding: .5rem .9rem; margin: .7rem 0;
  border-radius: 0 5px 5px 0; }
.warning p { margin: 0; max-width: none; } .warning pre { margin: .5rem 0 0; }
pre { background: var(--code); padding: .7rem .9rem; overflow-x: auto; border-radius: 6px; font-size: .8rem;
  line-height: 1.45; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .88em; } summary { cursor: pointer;
  color: var(--soft); margin-top: .4rem; }
.notes { font-size: .87rem; color: var(--soft); } .notes p { margin: .4rem 0; max-width: 60rem; }
@media (max-width: 46rem) {
  body { padding: 1rem .9rem 3rem; } .wide { margin: 0 -.9rem; padding: 0 .9rem; }
  .road .row, .forest .row { grid-template-columns: 1fr auto; gap: 0 .6rem; padding: .35rem 0 .15rem; }
  .road .axis { padding: 0; position: sticky; top: 0; background: var(--paper); z-index: 2; }
  .road .axis > div:not(.track) { display: none; } .road .track { grid-column: 1 / -1; grid-row: 2; height: 1.9rem; }
  .axis .track { grid-row: 1; } .road .name { padding: 0; } .numbers { justify-content: end; text-align: right; }
  .forest .track { height: 1.5rem; } .forest .numbers { flex-direction: column; align-items: end; gap: 0; }
}
@media print { body { max-width: none; } .row, .small { break-inside: avoid; } }
"""
