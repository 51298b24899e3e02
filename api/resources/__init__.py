"""Resources of the API, a folder each: `routes` (HTTP), and for larger ones `service` (work), `schemas` (bodies)."""
