"""The page's style sheet. Its content security policy allows exactly this text, so it stands on no other page."""

from __future__ import annotations

from watcher.report.values import OUTCOMES

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--card:#f6f8fa;--bar:#0969da;
--loaded:#2a9d5c;--failed:#cf222e;--error:#e16f24;--duplicate:#8250df;--held:#bf8700;--undone:#6e7781;
--replaced:#57909a;--missing:#24292f;--waiting:#54aeff}
@media (prefers-color-scheme:dark){:root{--ground:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--card:#151b23;
--bar:#4493f8;--loaded:#3fb950;--failed:#f85149;--error:#f0883e;--duplicate:#ab7df8;--held:#d29922;--undone:#8b949e;
--replaced:#76b3bd;--missing:#f0f6fc;--waiting:#79c0ff}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:60rem;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:0}p{margin:.3rem 0}.soft,small{color:var(--soft)}
.verdict,article{border:1px solid var(--line);border-left:.4rem solid var(--line);border-radius:.4rem;
background:var(--card);padding:.7rem 1rem;margin:.8rem 0}
.systemic{border-left-color:var(--failed)}.recurring{border-left-color:var(--held)}.one-off{border-left-color:var(--bar)}
.fine{border-left-color:var(--loaded)}
.cards{display:flex;flex-wrap:wrap;gap:.6rem;list-style:none;margin:.8rem 0;padding:0}
.cards li{flex:1 1 8rem;border:1px solid var(--line);border-radius:.4rem;padding:.5rem .8rem}
.cards b{display:block;font-size:1.3rem}
figure{margin:1rem 0}figcaption{color:var(--soft);margin-bottom:.5rem}
svg{display:block;overflow:visible}svg text{fill:var(--soft);font-size:13px}
.axis{stroke:var(--line)}.track{fill:var(--line)}.bar{fill:var(--bar)}.striking{fill:var(--error)}
.mark{stroke:var(--ink);stroke-width:2}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;margin:.3rem 0;padding:0;font-size:.9rem}
.legend svg{display:inline-block;margin-right:.3rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;width:100%;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid var(--line);padding:.25rem .5rem;text-align:left;vertical-align:top;overflow-wrap:normal}
td.n,th.n{text-align:right;white-space:nowrap}details{margin:.5rem 0}summary{cursor:pointer;color:var(--soft)}
code{font:.85rem/1.4 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
article ul{margin:.4rem 0;padding-left:1.2rem}
""" + "".join(f".{outcome}{{fill:var(--{outcome})}}" for outcome in OUTCOMES)
