"""The HTML around the widgets and pictures: one column on a small screen, several on a wide one. Nothing is fetched."""

TEXT_STYLE = """
:host { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; }
p { margin: .4em 0; } p[role=alert] { background: #fdecea; border-left: 4px solid #d55e00; padding: .5em .8em; }
table { border-collapse: collapse; } th { font-weight: 600; text-align: left; } th, td { padding: .2em .7em .2em 0; }
td { font-variant-numeric: tabular-nums; }
pre { background: #f5f5f5; padding: .6em .8em; user-select: all; white-space: pre-wrap; overflow-wrap: anywhere; }
"""

TEMPLATE = """
{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
body { margin: 0; font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
main { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem; padding: 1rem; max-width: 1500px; margin: auto; }
h1 { font-size: 1.3rem; margin: 0; } header p { margin: .2rem 0; }
.pictures { display: grid;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: .75rem; align-content: start; }
.pictures > div, .text > div { min-width: 0; overflow: hidden; }
.text { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 1rem; }
.key span { display: inline-block; margin-right: 1rem; } .key i {
  display: inline-block; width: 2.2em; margin-right: .4em; vertical-align: middle; }
@media (min-width: 900px) { main { grid-template-columns: 260px minmax(0, 1fr); } header, .text { grid-column: 1 / -1; } }
</style>
{% endblock %}
{% block contents %}
<main>
<header>
<h1>dynsim explore</h1>
<p>A query that is local in all K clusters: what gradient flow of the chosen objective does to its correlations, expected over
images and masks (closed), beside what theory predicts.</p>
<p class="key">
<span><i style="border-top: 3px solid #0072B2"></i>own area</span>
<span><i style="border-top: 3px dashed #D55E00"></i>global area</span>
<span><i style="border-top: 3px dashed #009E73"></i>other areas</span>
<span><i style="border-top: 3px dotted #E69F00"></i>masked patches</span>
<span><i style="border-top: 3px dotted #CC79A7"></i>the query itself (PP); theory (loss)</span>
<span><i style="border-top: 2px dashed #666"></i>escape, theory at this P</span>
<span><i style="border-top: 2px dotted #666"></i>escape, theory for large P</span>
<span><i style="border-top: 2px dashed #D55E00"></i>collapse, measured</span>
<span><i style="border-top: 2px dotted #D55E00"></i>collapse, theory: its time, how far attention goes</span>
<span><i style="background: #e0e0e0; height: 1em"></i>phase II, between I and convergence</span>

<span><i style="border-top: 3px dashed #E69F00"></i>diagram: where the phases part for large P (Δ = 0)</span>
<span><i style="border-top: 3px solid #000"></i>at this P</span>
</p>
{{ embed(roots.message) }}
</header>
<div>{{ embed(roots.controls) }}</div>
<div class="pictures">
<div>{{ embed(roots.fp) }}</div><div>{{ embed(roots.attention) }}</div>
<div>{{ embed(roots.loss) }}{{ embed(roots.terms) }}</div><div>{{ embed(roots.pp) }}</div>
<div>{{ embed(roots.diagram) }}</div><div>{{ embed(roots.plane) }}{{ embed(roots.facts) }}</div>
</div>
<div class="text"><div>{{ embed(roots.code) }}</div></div>
{{ embed(roots.link) }}
</main>
{% endblock %}
"""
