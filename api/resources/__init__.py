"""The resources of the API, one folder each: routes, service, schemas."""
