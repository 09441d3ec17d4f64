"""How the page looks: light and dark, on a phone, on a desk and on paper."""

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2329; --soft: #56626d; --line: #dce1e6; --rule: #aab4bd;
  --accent: #0b5c8f; --tint: #f4f7f9; --amber: #b36b00; --amber-tint: #fff6e0; --rust: #9c3d00; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #14191d; --ink: #e4e9ed; --soft: #a3afb9; --line: #323b43; --rule: #5b6770; --accent: #4da3d8;
    --tint: #1c2329; --amber: #e0a030; --amber-tint: #2c2415; --rust: #f0a06a; }
  figure img { border-radius: 3px; background: #fff; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.subtitle, .note { color: var(--soft); }
.note { font-size: .9rem; }
.headline { display: flex; flex-wrap: wrap; gap: .2rem 1.6rem; align-items: baseline; margin: 1.4rem 0 .4rem;
  padding: 1rem 1.2rem; background: var(--tint); border-left: 5px solid var(--accent); border-radius: 4px; }
.headline .value { font-size: 3rem; font-weight: 650; line-height: 1.1; font-variant-numeric: tabular-nums; }
.headline .what { flex: 1 1 18rem; }
.headline strong { display: block; }
.warnings { margin: 1.2rem 0; padding: .2rem 1.2rem .6rem; background: var(--amber-tint);
  border-left: 5px solid var(--amber); border-radius: 4px; }
.warnings h2 { margin: .6rem 0 .2rem; font-size: 1rem; }
.warnings ul { margin: 0; padding-left: 1.2rem; }
.scroll { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; font-size: .92rem; min-width: 60%; }
caption { text-align: left; color: var(--soft); font-size: .88rem; padding-bottom: .4rem; }
caption span { display: inline-block; position: sticky; left: 0; max-width: min(46rem, 100vw - 2rem); }
th, td { padding: .32rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--rule); font-weight: 600; white-space: nowrap; vertical-align: bottom; }
.groups th { border-bottom: 1px solid var(--line); text-align: center; }
.groups td { border-bottom: none; }
tbody th { font-weight: 500; white-space: nowrap; }
section > ul { margin: .4rem 0; padding-left: 1.3rem; max-width: 52rem; overflow-wrap: anywhere; }
.scroll td:last-child:not(.figure) { min-width: 9rem; }
tbody tr:nth-child(even) { background: var(--tint); }
.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.interval { display: block; color: var(--soft); font-size: .85em; }
.scores tbody th { position: sticky; left: 0; background: var(--paper); box-shadow: 1px 0 var(--line);
  max-width: 14rem; white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
.scores tbody tr:nth-child(even) th { background: var(--tint); }
.prose tbody th { white-space: normal; min-width: 8rem; }
.status { display: block; color: var(--rust); font-size: .8rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
.figures.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
.figures.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }
figure { margin: 0; padding: .6rem; border: 1px solid var(--line); border-radius: 4px; break-inside: avoid; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { font-size: .88rem; color: var(--soft); margin-top: .4rem; }
code { font-size: .85em; overflow-wrap: anywhere; }
dl { margin: .4rem 0; font-size: .92rem; max-width: 52rem; }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0; color: var(--soft); }
@media print {
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  tr, .headline, .warnings { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; }
  th, td { padding: .2rem .35rem; }
  .figures.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
.figures.wide { grid-template-columns: 1fr 1fr; }
}
"""
"""The style sheet of the report."""
