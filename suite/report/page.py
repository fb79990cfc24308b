"""The HTML page of a sweep's tables: one file, no scripts, nothing from the network."""

TEMPLATE = """\
{% macro head(names) %}
<thead><tr>{% for name in names %}<th{% if name in words %} class="words"{% endif %}>{{ name }}</th>{% endfor %}</tr></thead>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{{ tables.sweep }}</title>
<style>
  :root { color-scheme: light dark; --line: #d6dae0; --soft: #667085; --ink: #1d2433; --page: #fff; --tint: #f4f6f9;
          --warn: #a15c00 }
  @media (prefers-color-scheme: dark) {
    :root { --line: #39404d; --soft: #98a2b3; --ink: #e4e7ec; --page: #14181f; --tint: #1d232d; --warn: #f0b35e }
  }
  body { font: 14.5px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: var(--ink); background: var(--page);
         max-width: 84rem; margin: 2.5rem auto; padding: 0 1.5rem }
  h1 { font-size: 1.6rem; margin: 0 }
  h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem }
  h3 { font-size: .95rem; font-weight: 600; color: var(--soft); margin: 1.5rem 0 .4rem }
  p.lead { color: var(--soft); margin: .25rem 0 0 }
  div.wide { overflow-x: auto }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
  thead { border-top: 2px solid var(--ink); border-bottom: 1px solid var(--ink) }
  tbody { border-bottom: 2px solid var(--ink) }
  th, td { text-align: right; padding: .4rem .45rem; white-space: nowrap; vertical-align: top }
  th { font-weight: 600; white-space: normal; vertical-align: bottom }
  th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 12rem }
  tbody tr + tr td { border-top: 1px solid var(--line) }
  tbody tr:hover { background: var(--tint) }
  td.missing { color: var(--warn) }
  table.further { font-size: .9rem }
  th.words, td.words { text-align: left; white-space: normal }
  summary { cursor: pointer }
  summary::marker { color: var(--soft) }
  details ul { margin: .3rem 0 .2rem; padding-left: 1.1rem; list-style: none; font-size: .85rem }
  details code { white-space: nowrap }
  .state, sup, .notes, footer { color: var(--soft) }
  .notes { font-size: .88rem; margin-top: 2.5rem; padding-left: 0; list-style: none }
  .notes li { margin: .2rem 0; padding-left: 2.2rem; text-indent: -2.2rem }
  footer { font-size: .88rem; border-top: 1px solid var(--line); margin-top: 1.5rem; padding-top: .7rem }
  footer p { margin: .2rem 0 }
</style>
</head>
<body>
<h1>{{ tables.sweep }}</h1>
<p class="lead">{{ footer[0] }}</p>
{% for part in parts %}
<section>
<h2>{{ part.block.title }}</h2>
<div class="wide"><table>
{{ head(part.measured.columns) }}
<tbody>
{% for row, cells in rows(part) %}
<tr>
<td><details><summary>{{ cells[0] }}</summary><ul>
{% for trial, state in row.trials.items() %}
<li><code>{{ trial }}</code> <span class="state">{{ state }}</span></li>
{% endfor %}
</ul></details></td>
{% for cell in cells[1:] %}
<td class="{{ "words" if part.measured.columns[loop.index] in words }} {{ "missing" if cell == "missing" }}">{{ cell }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table></div>
{% if part.remark %}
<p class="lead">{{ part.remark }}</p>
{% endif %}
{% for title, frame in part.further %}
<h3>{{ title }}</h3>
<div class="wide"><table class="further">
{{ head(frame.columns) }}
<tbody>
{% for cells in frame.to_numpy().tolist() %}
<tr>{% for cell in cells %}<td{% if frame.columns[loop.index0] in words %} class="words"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% endfor %}
</section>
{% endfor %}
<ul class="notes">
{% for text in tables.footnotes %}
<li>[{{ loop.index }}] {{ text }}</li>
{% endfor %}
</ul>
<footer>
{% for line in footer[1:] %}
<p>{{ line }}</p>
{% endfor %}
</footer>
</body>
</html>
"""
