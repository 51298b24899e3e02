"""Documentation page of the API: shows the operations of the OpenAPI document and loads nothing from other servers."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>SomaGent API</title>
<style>body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
code{font-family:ui-monospace,monospace}summary{cursor:pointer;padding:.3rem 0}b{display:inline-block;width:4.5rem}
pre{background:#f4f4f2;padding:.8rem;overflow:auto}h2{margin-top:2rem;text-transform:capitalize}</style>
<h1>SomaGent API</h1><p>No mocks, no bypasses, no invented values: real servers, real data.</p>
<p><a href="/v1/openapi.json">openapi.json</a></p><main>Loading…</main><script>
const make = (tag, text) => Object.assign(document.createElement(tag), {textContent: text});
fetch('/v1/openapi.json').then(r => r.json()).then(doc => {
  const main = document.querySelector('main'); main.textContent = '';
  const groups = {};
  for (const [path, methods] of Object.entries(doc.paths))
    for (const [method, operation] of Object.entries(methods))
      (groups[(operation.tags || ['other'])[0]] ||= []).push([method.toUpperCase(), path, operation]);
  for (const [group, operations] of Object.entries(groups)) {
    main.append(make('h2', group));
    for (const [method, path, operation] of operations) {
      const details = document.createElement('details'), summary = document.createElement('summary');
      const code = document.createElement('code'); code.append(make('b', method), path);
      summary.append(code); details.append(summary, make('p', operation.description || ''));
      details.append(make('pre', JSON.stringify({parameters: operation.parameters, body: operation.requestBody,
        responses: Object.keys(operation.responses)}, null, 2)));
      main.append(details);
    }
  }
});</script></html>"""

# Only the page's own script and style may run, and it may reach only this API.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
)


@router.get("/docs")
async def documentation() -> HTMLResponse:
    """Show the operations of the API."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})
